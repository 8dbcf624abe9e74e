"""Proof of a catalog: what lies on disk, what NautilusTrader reads of it, and where each row is from.

Three questions, each answered without the code that wrote the catalog:

1. Is every file in the catalog's folder one that the manifest names, byte for byte (files_proof)?
2. Does NautilusTrader's own reader return every stored value unchanged? (It truncates silently to the
   precision in a file's metadata; reader_proof.)
3. Given the dump files: does every source row appear exactly once, or in the ledger as a duplicate,
   conflict, rejected line, out of range or superseded, and does each stored value equal its text?
   The text is read as text and compared as decimals (source_proof).
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from phoenix_schemas.timestamps import UNIT_NS

from phoenix_etl import manifest as manifests
from phoenix_etl.commit import CatalogStore
from phoenix_etl.errors import CatalogError, NothingFoundError, SourceError
from phoenix_etl.files_proof import prove_files
from phoenix_etl.inventory import SourceFile, take_inventory
from phoenix_etl.manifest import Manifest, PartitionEntry
from phoenix_etl.reader_proof import ReaderProof
from phoenix_etl.reading import MAX_LINE_BYTES
from phoenix_etl.rejects import rejects_path
from phoenix_etl.scheduler import Progress, Silent
from phoenix_etl.source_proof import SourceRows, read_as_text, stored_form
from phoenix_etl.table_difference import difference, without_duplicates


@dataclass
class Verification:
    """What was checked, and every problem found, each with its own message.

    `left_out` are files that the ingest could not read, with the reason; each is a problem, too.
    `not_ingested` are files under the raw roots that no ingest was asked for; they are no problem of
    the catalog.
    """

    files: int = 0
    rows: int = 0
    source_rows: int = 0
    problems: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    not_ingested: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {
            "files": self.files,
            "rows": self.rows,
            "source_rows": self.source_rows,
            "problems": self.problems,
            "left_out": self.left_out,
            "not_ingested": self.not_ingested,
        }


def verify(
    catalog: Path,
    raw_roots: Iterable[Path] = (),
    *,
    manifest_path: Path | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Check a catalog; with raw roots, also against its sources.

    `manifest_path` is where the manifest lies if not in the catalog's folder. A manifest that was
    edited by hand is a problem like any other, named in the result.

    Raises NothingFoundError when there is no manifest or no dump file, UsageError for a raw root that is
    no folder.
    """
    progress = progress or Silent()
    roots = list(raw_roots)
    sources = {f.path: f for f in take_inventory(roots).files} if roots else {}
    result = Verification()
    path = manifest_path or catalog / "manifest.json"
    try:
        manifest = manifests.load(path)
    except CatalogError as error:
        result.problems.append(str(error))
        return result
    if manifest is None:
        raise NothingFoundError(f"{path}: no manifest there; ingest into this catalog first")
    if CatalogStore(catalog, path).is_interrupted:
        result.problems.append(
            f"{catalog}: a commit was interrupted; run the ingest again, it finishes it"
        )
        return result
    for name, failed in sorted(manifest.failed.items()):
        result.left_out[name] = failed.error
        result.problems.append(f"left out: {failed.error}")
    files = prove_files(catalog, path, manifest, progress)
    sound, result.files = files.sound, files.files
    result.problems += files.problems
    _check_reader(catalog, manifest, sound, result, progress)
    if roots:
        result.not_ingested = sorted(
            sources.keys() - manifest.files.keys() - manifest.failed.keys()
        )
        _check_sources(catalog, manifest, sources, sound, result, progress)
    return result


def _check_reader(
    catalog: Path,
    manifest: Manifest,
    sound: Collection[str],
    result: Verification,
    progress: Progress,
) -> None:
    """Every value as NautilusTrader reads it equals the stored value."""
    files = [file for file in manifest.catalog_files() if file.path in sound]
    progress.note("reading back through NautilusTrader")
    progress.start(len(files), sum(file.bytes for file in files))
    proof = ReaderProof(catalog)
    for file in files:
        rows = pq.read_metadata(catalog / file.path).num_rows
        result.rows += rows
        if rows != file.rows:
            result.problems.append(f"{file.path}: holds {rows:,} rows, not {file.rows:,}")
            continue
        problem = proof.difference(file, progress.advance)
        progress.file_done(file.path)
        if problem:
            result.problems.append(f"{file.path}: NautilusTrader reads other values: {problem}")


def _check_sources(
    catalog: Path,
    manifest: Manifest,
    sources: Mapping[str, SourceFile],
    sound: Collection[str],
    result: Verification,
    progress: Progress,
) -> None:
    """Every source row is where the ledger says, and every stored value equals its text."""
    there = [sources[path] for path in manifest.files if path in sources]
    progress.note("comparing with the dump files")
    progress.start(len(there), sum(source.size_bytes for source in there))
    # A partition is compared once the last of its sources has been read; then rows can go.
    complete_at: dict[str, list[str]] = {}
    needed_until: dict[str, str] = {}
    for name, part in manifest.partitions.items():
        last = max(part.inputs)
        complete_at.setdefault(last, []).append(name)
        for path in part.inputs:
            needed_until[path] = max(last, needed_until.get(path, ""))
    read: dict[str, SourceRows] = {}
    for path in sorted(manifest.files):
        entry = manifest.files[path]
        source = sources.get(path)
        if source is None:
            result.problems.append(f"{path}: in the manifest, but not under the raw roots")
        elif _sha256(source.location) != entry.report.sha256:
            result.problems.append(
                f"{path}: the source changed since it was ingested; run the ingest again"
            )
        else:
            _check_source(catalog, manifest, path, result, read, source)
        for name in complete_at.get(path, ()):
            part = manifest.partitions[name]
            if all(p in read for p in part.inputs):
                _check_partition(catalog, name, part, read, sound, result)
        for finished in [p for p in read if needed_until.get(p, "") <= path]:
            del read[finished]
        if source is not None:
            progress.advance(source.size_bytes, entry.report.rows_read)
            progress.file_done(path)


def _check_source(
    catalog: Path,
    manifest: Manifest,
    path: str,
    result: Verification,
    read: dict[str, SourceRows],
    source: SourceFile,
) -> None:
    """Read a source as text and hold it against its entry in the ledger."""
    entry = manifest.files[path]
    report = entry.report
    listed = _listed_lines(catalog / rejects_path(entry, path), result).get(path, set())
    if len(listed) != report.rejected:
        result.problems.append(
            f"{path}: {report.rejected} lines were rejected, its rejects file lists {len(listed)}; "
            "delete that and run the same ingest again, which writes it anew"
        )
    try:
        rows = read_as_text(
            source,
            clock=report.clock,
            unit_ns=UNIT_NS[report.time_unit],
            rejected=listed,
            start_ns=entry.start_ns,
            end_ns=entry.end_ns,
            replaced_days=entry.replaced_days,
        )
    except SourceError as error:
        result.problems.append(str(error))
        return
    result.source_rows += rows.count
    found = {
        "rows": (rows.count, report.rows_read),
        "rows out of range": (rows.out_of_range, report.out_of_range),
        "superseded rows": (rows.superseded, report.superseded),
        "rows by day": ({d: t.num_rows for d, t in rows.days.items()}, report.days),
    }
    for what, (counted, said) in found.items():
        if counted != said:
            result.problems.append(f"{path}: holds {counted} {what}, the ledger says {said}")
    read[path] = rows


def _listed_lines(path: Path, result: Verification) -> dict[str, set[int]]:
    """Line numbers that a rejects file lists, by source file; none where there is no file."""
    lines: dict[str, set[int]] = {}
    if path.exists():
        csv.field_size_limit(8 * MAX_LINE_BYTES)  # a bad line may be long
        try:
            with path.open(newline="", encoding="utf-8") as stream:
                for row in csv.DictReader(stream):
                    lines.setdefault(row["file"], set()).add(int(row["line"]))
        except (ValueError, TypeError, KeyError, csv.Error):
            result.problems.append(
                f"{path}: no longer the list of lines that was written; delete it and run the same "
                "ingest again, which writes it anew"
            )
    return lines


def _check_partition(
    catalog: Path,
    name: str,
    part: PartitionEntry,
    read: dict[str, SourceRows],
    sound: Collection[str],
    result: Verification,
) -> None:
    lost = _listed_lines(catalog / part.conflicts_file, result) if part.conflicts_file else {}
    taken = []
    for path, share in part.inputs.items():
        rows = read[path].days.get(part.day)
        if rows is None:
            continue
        if share.counts.conflicts:
            keep = ~np.isin(rows.column("line").to_numpy(), list(lost.get(path, ())))
            rows = rows.filter(pa.array(keep))
        taken.append(rows)
    expected = pa.concat_tables(taken)
    if sum(share.counts.duplicates for share in part.inputs.values()):
        expected = without_duplicates(expected, [n for n in expected.column_names if n != "line"])
    spec = read[next(iter(part.inputs))].spec
    for file, target in zip(part.files, spec.targets, strict=True):
        if file.path in sound:
            stored = pq.read_table(catalog / file.path, partitioning=None)
            expected_form = stored_form(expected, target, stored.schema)
            problem = difference(stored.select(expected_form.column_names), expected_form)
            if problem:
                result.problems.append(
                    f"{name}: {file.type_name} differs from its source: {problem}"
                )


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
