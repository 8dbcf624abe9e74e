"""Proof of a catalog: what lies on disk, what NautilusTrader reads of it, and where each row is from.

Three questions, each answered without the code that wrote the catalog:

1. Is every file in the catalog's folder one that the manifest names, byte for byte (files_proof)?
2. Does NautilusTrader's own reader return every stored value unchanged? (It truncates silently to the
   precision in a file's metadata; reader_proof.)
3. Given the dump files: does every source row appear exactly once, or in the ledger as a duplicate,
   conflict, rejected line, out of range or superseded, and does each stored value equal its text?
   The text is read as text and compared as decimals (source_proof, partition_proof).
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from phoenix_schemas.timestamps import UNIT_NS

from phoenix_etl import manifest as manifests
from phoenix_etl.commit import CatalogStore
from phoenix_etl.errors import CatalogError, NothingFoundError, SourceError
from phoenix_etl.files_proof import prove_files
from phoenix_etl.inventory import SourceFile, root_folders, take_inventory
from phoenix_etl.manifest import Manifest, PartitionEntry, partition_key
from phoenix_etl.partition_proof import PartitionProof
from phoenix_etl.reader_proof import ReaderProof
from phoenix_etl.reading import MAX_LINE_BYTES
from phoenix_etl.rejects import rejects_path
from phoenix_etl.scheduler import Progress, Silent
from phoenix_etl.source_proof import SourceCounts, read_as_text


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
    catalog: Path | str,
    raw_roots: Iterable[Path | str] = (),
    *,
    manifest_path: Path | str | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Check a catalog; with raw roots, also against its sources.

    `manifest_path` is where the manifest lies if not in the catalog's folder. A manifest that was
    edited by hand is a problem like any other, named in the result.

    Raises NothingFoundError when there is no manifest or no dump file, UsageError for a raw root that is
    no folder.
    """
    progress = progress or Silent()
    roots = root_folders(raw_roots)
    sources = {f.path: f for f in take_inventory(roots).files} if roots else {}
    result = Verification()
    catalog = Path(catalog)
    path = Path(manifest_path or catalog / "manifest.json")
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
        _SourceCheck(catalog, manifest, sources, sound, result).run(progress)
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


class _SourceCheck:
    """Every source row is where the ledger says, and every stored value equals its text."""

    def __init__(
        self,
        catalog: Path,
        manifest: Manifest,
        sources: Mapping[str, SourceFile],
        sound: Collection[str],
        result: Verification,
    ) -> None:
        self._catalog = catalog
        self._manifest = manifest
        self._sources = sources
        self._sound = sound
        self._result = result
        self._proofs: dict[str, PartitionProof] = {}
        """Of days some of whose files were read."""
        self._read: set[str] = set()
        """Files that could be read to their end."""

    def run(self, progress: Progress) -> None:
        there = [self._sources[path] for path in self._manifest.files if path in self._sources]
        progress.note("comparing with the dump files")
        progress.start(len(there), sum(source.size_bytes for source in there))
        complete_at: dict[str, list[str]] = {}
        for name, part in self._manifest.partitions.items():
            complete_at.setdefault(max(part.inputs), []).append(name)
        for path in sorted(self._manifest.files):
            entry = self._manifest.files[path]
            source = self._sources.get(path)
            if source is None:
                self._tell(f"{path}: in the manifest, but not under the raw roots")
            elif _sha256(source.location) != entry.report.sha256:
                self._tell(
                    f"{path}: the source changed since it was ingested; run the ingest again"
                )
            else:
                self._check_source(path)
            for name in complete_at.get(path, ()):
                self._finish(name)
            if source is not None:
                progress.advance(source.size_bytes, entry.report.rows_read)
                progress.file_done(path)

    def _tell(self, problem: str) -> None:
        self._result.problems.append(problem)

    def _check_source(self, path: str) -> None:
        """Read a source as text, and hold it against its entry in the ledger."""
        entry = self._manifest.files[path]
        report = entry.report
        rejects = self._catalog / rejects_path(entry, path)
        listed = _listed_lines(rejects, self._result).get(path, set())
        if len(listed) != report.rejected:
            self._tell(
                f"{path}: {report.rejected} lines were rejected, its rejects file lists "
                f"{len(listed)}; delete that and run the same ingest again, which writes it anew"
            )
        try:
            rows = self._read_as_text(path, listed, lambda day, rows: self._take(path, day, rows))
        except SourceError as error:
            self._tell(str(error))
            return
        self._read.add(path)
        self._result.source_rows += rows.count
        found = {
            "rows": (rows.count, report.rows_read),
            "rows out of range": (rows.out_of_range, report.out_of_range),
            "superseded rows": (rows.superseded, report.superseded),
            "rows by day": (rows.days, report.days),
        }
        for what, (counted, said) in found.items():
            if counted != said:
                self._tell(f"{path}: holds {counted} {what}, the ledger says {said}")

    def _read_as_text(
        self, path: str, listed: set[int], on_rows: Callable[[str, pa.Table], None]
    ) -> SourceCounts:
        entry = self._manifest.files[path]
        return read_as_text(
            self._sources[path],
            clock=entry.report.clock,
            unit_ns=UNIT_NS[entry.report.time_unit],
            rejected=listed,
            start_ns=entry.start_ns,
            end_ns=entry.end_ns,
            replaced_days=entry.replaced_days,
            on_rows=on_rows,
        )

    def _take(self, path: str, day: str, rows: pa.Table) -> None:
        entry = self._manifest.files[path]
        name = partition_key(entry.market, entry.dataset, entry.symbol, day)
        part = self._manifest.partitions.get(name)
        if part is None or path not in part.inputs:
            return
        if name not in self._proofs:
            self._proofs[name] = self._proof_of(part, in_slices=True)
        self._proofs[name].add(path, rows)

    def _proof_of(self, part: PartitionEntry, *, in_slices: bool) -> PartitionProof:
        lost: dict[str, set[int]] = {}
        if part.conflicts_file:
            lost = _listed_lines(self._catalog / part.conflicts_file, self._result)
        return PartitionProof(self._catalog, part, lost, self._sound, in_slices=in_slices)

    def _finish(self, name: str) -> None:
        """Compare what is left of a day, whose files were all read, if they could be."""
        part = self._manifest.partitions[name]
        proof = self._proofs.pop(name, None) or self._proof_of(part, in_slices=True)
        with proof:
            if not part.inputs.keys() <= self._read or not proof.finish():
                return
        # Another content, or rows so far out of order that they missed their slice: that is told by the
        # whole day.
        with self._proof_of(part, in_slices=False) as whole:
            for path in sorted(part.inputs):
                rejects = self._catalog / rejects_path(self._manifest.files[path], path)
                listed = _listed_lines(rejects, Verification()).get(path, set())

                def take(day: str, rows: pa.Table, path: str = path) -> None:
                    if day == part.day:
                        whole.add(path, rows)

                self._read_as_text(path, listed, take)
            for problem in whole.finish():
                self._tell(f"{name}: {problem}")


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
            problem = (
                f"{path}: no longer the list of lines that was written; delete it and run the same "
                "ingest again, which writes it anew"
            )
            if problem not in result.problems:
                result.problems.append(problem)
    return lines


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
