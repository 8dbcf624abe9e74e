"""Proof of a catalog: what lies on disk, what NautilusTrader reads of it, and where each row is from.

Three questions, each answered without the code that wrote the catalog:

1. Are the files the ones the manifest names, byte for byte?
2. Does NautilusTrader's own reader return every stored value unchanged? (It truncates silently to the
   precision in a file's metadata.)
3. Given the dump files: does every source row appear exactly once, or in the ledger as a duplicate,
   conflict, rejected line, out of range or superseded, and does each stored value equal its text?
   The text is read as text here and compared as decimals.
"""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from phoenix_schemas.arrow import CATALOG_TYPES, DECIMAL
from phoenix_schemas.custom_data import register_custom_data
from phoenix_schemas.datasets import Kind, Target
from phoenix_schemas.timestamps import NS_PER_DAY, NS_PER_HOUR, UNIT_NS, utc_day

from phoenix_etl.commit import CatalogStore
from phoenix_etl.errors import CatalogError, NothingFoundError, SourceError
from phoenix_etl.inventory import SourceFile, take_inventory
from phoenix_etl.manifest import Manifest, PartitionEntry, digest_of, load
from phoenix_etl.normalize import available_at
from phoenix_etl.parsing import sniff_header
from phoenix_etl.partitions import WrittenFile
from phoenix_etl.pipeline import rejects_path
from phoenix_etl.reading import SourceReader


@dataclass
class Verification:
    """What was checked, and every problem found, each with its own message."""

    files: int = 0
    rows: int = 0
    source_rows: int = 0
    problems: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {
            "files": self.files,
            "rows": self.rows,
            "source_rows": self.source_rows,
            "problems": self.problems,
        }


def verify(
    catalog: Path,
    raw_roots: Iterable[Path] = (),
    *,
    on_progress: Callable[[str], None] | None = None,
) -> Verification:
    """Check a catalog; with raw roots, also against its sources.

    Raises NothingFoundError when there is no manifest. A manifest that was edited by hand is a
    problem like any other, named in the result.
    """
    say = on_progress or (lambda _message: None)
    result = Verification()
    path = catalog / "manifest.json"
    try:
        manifest = load(path)
    except CatalogError as error:
        result.problems.append(str(error))
        return result
    if manifest is None:
        raise NothingFoundError(f"{catalog}: no manifest.json there; ingest into it first")
    if CatalogStore(catalog, path).is_interrupted:
        result.problems.append(
            f"{catalog}: a commit was interrupted; run the ingest again, it finishes it"
        )
        return result
    say(f"checking {sum(1 for _ in manifest.catalog_files()):,} files")
    sound = _check_files(catalog, manifest, result)
    say("reading back through NautilusTrader")
    _check_reader(catalog, manifest, sound, result)
    roots = list(raw_roots)
    if roots:
        _check_sources(catalog, manifest, roots, sound, result, say)
    return result


def _check_files(catalog: Path, manifest: Manifest, result: Verification) -> set[str]:
    """Compare the files on disk with the manifest; paths of those that are as they should be."""
    expected = {file.path: file.sha256 for file in manifest.catalog_files()}
    expected |= manifest.instruments
    sound = set()
    for path, sha256 in sorted(expected.items()):
        result.files += 1
        location = catalog / path
        if not location.is_file():
            result.problems.append(
                f"{path}: missing; restore it, or delete manifest.json and ingest"
            )
        elif _sha256(location) != sha256:
            result.problems.append(
                f"{path}: its bytes changed since it was written; restore it from a copy or ingest anew"
            )
        else:
            sound.add(path)
    for location in sorted((catalog / "data").rglob("*")):
        name = location.relative_to(catalog).as_posix()
        if location.is_file() and name not in expected:
            result.problems.append(
                f"{name}: an extra file that the manifest does not know; NautilusTrader would read "
                "it as data. Move it out of the catalog"
            )
    if digest_of(manifest) != manifest.catalog_digest:
        result.problems.append("manifest.json: catalog_digest does not match its own entries")
    return sound


def _check_reader(catalog: Path, manifest: Manifest, sound: set[str], result: Verification) -> None:
    """Every value as NautilusTrader reads it equals the stored value."""
    from nautilus_trader.persistence import ParquetDataCatalog

    register_custom_data()
    reader = ParquetDataCatalog(str(catalog))
    for file in manifest.catalog_files():
        if file.path not in sound:
            continue
        stored = pq.read_table(catalog / file.path, partitioning=None)
        result.rows += stored.num_rows
        if stored.num_rows != file.rows:
            result.problems.append(
                f"{file.path}: holds {stored.num_rows:,} rows, not {file.rows:,}"
            )
            continue
        read = _as_nautilus_reads(reader, file)
        problem = _difference(stored, read)
        if problem:
            result.problems.append(f"{file.path}: NautilusTrader reads other values: {problem}")


def _as_nautilus_reads(reader: Any, file: WrittenFile) -> pa.Table:
    """The rows of a file through `ParquetDataCatalog.query`, as a table again."""
    from nautilus_trader import serialization
    from nautilus_trader.model import NautilusDataType

    kind = CATALOG_TYPES[file.type_name]
    data_type = (
        NautilusDataType.Custom(kind.name) if kind.is_custom else NautilusDataType(kind.name)
    )
    objects = reader.query(
        data_type, [file.identifier], start=file.first_ts_init, end=file.last_ts_init
    )
    encoders: dict[str, Callable[[Any], bytes]] = {
        "QuoteTick": serialization.quotes_to_arrow_record_batch_bytes,
        "TradeTick": serialization.trades_to_arrow_record_batch_bytes,
        "Bar": serialization.bars_to_arrow_record_batch_bytes,
        "MarkPriceUpdate": serialization.mark_prices_to_arrow_record_batch_bytes,
        "IndexPriceUpdate": serialization.index_prices_to_arrow_record_batch_bytes,
    }
    encode = encoders.get(kind.name)
    if encode is not None and objects:
        return pa.ipc.open_stream(pa.py_buffer(encode(objects))).read_all()
    schema = kind.schema(file.identifier)
    if kind.is_custom:
        rows: list[dict[str, Any]] = [_values_of(o.data, schema) for o in objects]
    else:
        rows = [
            {
                "rate": format(o.rate.normalize(), "f"),
                "interval": o.interval,
                "next_funding_ns": o.next_funding_ns,
                "ts_event": o.ts_event,
                "ts_init": o.ts_init,
            }
            for o in objects
        ]
    return pa.Table.from_pylist(rows, schema=schema)


def _values_of(record: Any, schema: pa.Schema) -> dict[str, Any]:
    return {name: getattr(record, name, None) for name in schema.names}


def _difference(stored: pa.Table, read: pa.Table) -> str | None:
    """First difference of two tables as sets of rows (the reader shuffles equal times), or None."""
    if stored.num_rows != read.num_rows:
        return f"{read.num_rows:,} rows instead of {stored.num_rows:,}"
    names = [n for n in stored.column_names if n not in ("type", "data_type")]
    ordered = [_sorted(_comparable(t.select(names))) for t in (stored, read)]
    for name in names:
        left, right = (t.column(name).combine_chunks() for t in ordered)
        if left.equals(right):
            continue
        for row in range(len(left)):
            if left[row] != right[row]:
                return f"{name} is {right[row].as_py()} where {left[row].as_py()} is stored"
    return None


def _comparable(table: pa.Table) -> pa.Table:
    """Columns in forms that sort and compare: text for dictionaries, int64 for times."""
    columns = {}
    for name in table.column_names:
        column = table.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.cast(pa.string())
        elif pa.types.is_timestamp(column.type):
            column = column.cast(pa.int64())
        columns[name] = column
    return pa.table(columns)


def _sorted(table: pa.Table) -> pa.Table:
    order = ["ts_init", *(n for n in table.column_names if n != "ts_init")]
    return table.sort_by([(name, "ascending") for name in order])


def _check_sources(
    catalog: Path,
    manifest: Manifest,
    roots: list[Path],
    sound: set[str],
    result: Verification,
    say: Callable[[str], None],
) -> None:
    sources = {f.path: f for f in take_inventory(roots).files}
    intact: set[str] = set()
    rejected: dict[str, set[int]] = {}
    for path, entry in sorted(manifest.files.items()):
        source = sources.get(path)
        if source is None:
            result.problems.append(f"{path}: in the manifest, but not under the raw roots")
        elif _sha256(source.location) != entry.report.sha256:
            result.problems.append(
                f"{path}: the source changed since it was ingested; run the ingest again"
            )
        else:
            intact.add(path)
            rejected[path] = _lines_listed(catalog / rejects_path(source, path), path)
            if len(rejected[path]) != entry.report.rejected:
                result.problems.append(
                    f"{path}: {entry.report.rejected} lines were rejected, its rejects file lists "
                    f"{len(rejected[path])}"
                )
            counted = _count_rows(source)
            result.source_rows += counted
            if counted != entry.report.rows_read:
                result.problems.append(
                    f"{path}: holds {counted:,} rows, the ledger says {entry.report.rows_read:,}"
                )
    for path in sorted(set(sources) - set(manifest.files) - set(manifest.failed)):
        say(f"not ingested: {path}")
    for name, part in manifest.partitions.items():
        if not all(path in intact for path in part.inputs):
            continue
        conflicts = _conflict_lines(catalog, part)
        taken = [
            _rows_of_day(sources[path], manifest, part, rejected[path] | conflicts.get(path, set()))
            for path in part.inputs
        ]
        expected = pa.concat_tables(taken)
        for file, target in zip(part.files, _targets(sources, part), strict=True):
            if file.path not in sound:
                continue
            stored = pq.read_table(catalog / file.path, partitioning=None)
            problem = _source_difference(expected, stored, target)
            if problem:
                result.problems.append(
                    f"{name}: {file.type_name} differs from its source: {problem}"
                )


def _targets(sources: dict[str, SourceFile], part: PartitionEntry) -> tuple[Target, ...]:
    return sources[next(iter(part.inputs))].spec.targets


def _lines_listed(rejects: Path, source: str) -> set[int]:
    if not rejects.exists():
        return set()
    with rejects.open(newline="", encoding="utf-8") as stream:
        return {int(row["line"]) for row in csv.DictReader(stream) if row["file"] == source}


def _conflict_lines(catalog: Path, part: PartitionEntry) -> dict[str, set[int]]:
    lines: dict[str, set[int]] = defaultdict(set)
    if part.conflicts_file:
        with (catalog / part.conflicts_file).open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                lines[row["file"]].add(int(row["line"]))
    return lines


def _text_rows(source: SourceFile) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of every row of a file, read as plain text."""
    header: bool | None = None
    for block in SourceReader(source.location, source.path):
        for number, raw in enumerate(block.data.split(b"\n")[:-1], start=block.first_line):
            if header is None:
                first = raw.removesuffix(b"\r").decode("utf-8", "backslashreplace")
                _, header = sniff_header(source.spec, first, source.path)
                if header:
                    continue
            if raw.strip():
                yield number, raw.removesuffix(b"\r").decode("utf-8", "backslashreplace").split(",")


def _count_rows(source: SourceFile) -> int:
    return sum(1 for _ in _text_rows(source))


@lru_cache(maxsize=4)
def _text_table(source: SourceFile) -> pa.Table:
    """All rows of a file as text columns under the spec's names, with their line numbers."""
    first = next(iter(SourceReader(source.location, source.path)), None)
    if first is None:
        raise SourceError(f"{source.path}: empty")
    line = first.data.split(b"\n")[0].removesuffix(b"\r").decode("utf-8", "backslashreplace")
    columns, _ = sniff_header(source.spec, line, source.path)
    rows = [(n, cells) for n, cells in _text_rows(source) if len(cells) == len(columns)]
    table = {"line": pa.array([n for n, _ in rows], pa.int64())}
    for index, column in enumerate(columns):
        if column.kind is not Kind.UNUSED:
            table[column.name] = pa.array([cells[index] for _, cells in rows], pa.string())
    return pa.table(table)


def _rows_of_day(
    source: SourceFile, manifest: Manifest, part: PartitionEntry, without: set[int]
) -> pa.Table:
    """Rows of a file that belong to a partition, typed anew from their text."""
    table = _text_table(source)
    if without:
        keep = ~np.isin(table.column("line").to_numpy(), np.array(sorted(without)))
        table = table.filter(pa.array(keep))
    report = manifest.files[source.path].report
    spec = source.spec
    unit = UNIT_NS[report.time_unit]
    typed: dict[str, Any] = {}
    for column in spec.columns:
        if column.kind is Kind.UNUSED:
            continue
        text = table.column(column.name)
        match column.kind:
            case Kind.EPOCH:
                typed[column.name] = pc.multiply(text.cast(pa.int64()), unit)
            case Kind.DATETIME:
                typed[column.name] = text.cast(pa.timestamp("ns")).cast(pa.int64())
            case Kind.PRICE | Kind.SIZE | Kind.PRICE_8 | Kind.AMOUNT:
                typed[column.name] = _decimals(text)
            case Kind.RATIO:
                typed[column.name] = _blank_to_null(text).cast(pa.float64())
            case Kind.INTEGER:
                typed[column.name] = text.cast(pa.int64())
            case _:
                typed[column.name] = text
    ts_event = typed[report.clock].to_numpy()
    ts_init = available_at(spec.availability, ts_event)
    days = np.array(
        [utc_day(int(d) * NS_PER_DAY).isoformat() for d in np.unique(ts_init // NS_PER_DAY)]
    )
    wanted = (
        days[np.searchsorted(np.unique(ts_init // NS_PER_DAY), ts_init // NS_PER_DAY)] == part.day
    )
    start_ns, end_ns = manifest.options.get("start_ns"), manifest.options.get("end_ns")
    if start_ns is not None:
        wanted &= ts_init >= start_ns
    if end_ns is not None:
        wanted &= ts_init < end_ns
    typed["ts_event"], typed["ts_init"] = pa.array(ts_event), pa.array(ts_init)
    if "funding_interval_hours" in typed:
        hours = typed["funding_interval_hours"].to_numpy() * NS_PER_HOUR
        typed["boundary"] = pa.array(ts_event // hours * hours)
    return pa.table(typed).filter(pa.array(wanted))


def _blank_to_null(text: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)


def _decimals(text: pa.ChunkedArray) -> pa.ChunkedArray:
    return _blank_to_null(text).cast(DECIMAL)


def _source_difference(expected: pa.Table, stored: pa.Table, target: Target) -> str | None:
    """First difference between source rows (duplicates folded) and the stored rows of a target."""
    columns = {}
    for name, source in target.columns.items():
        column = expected.column(source)
        field_type = stored.schema.field(name).type
        if name == "aggressor_side":
            maker = pc.is_in(column, value_set=pa.array(["true", "True"]))
            column = pc.if_else(maker, "SELL", "BUY")
        elif target.type_name == "FundingRateUpdate" and name == "rate":
            texts = [format(v.normalize(), "f") for v in column.to_pylist()]
            column = pa.chunked_array([pa.array(texts, pa.string())])
        elif target.type_name == "FundingRateUpdate" and name == "interval":
            column = pc.multiply(column, 60).cast(pa.uint64())
        elif pa.types.is_string(field_type):
            column = column.cast(pa.string())
        columns[name] = column
    ts = ("boundary", "boundary") if target.ts == "boundary" else ("ts_event", "ts_init")
    columns["ts_event"], columns["ts_init"] = (expected.column(n) for n in ts)
    # The key tells duplicates from rows that merely look alike in the target.
    keys = [n for n in expected.column_names if n != "line"]
    first = pa.table({**columns, "_row": _row_numbers(expected.select(keys))})
    kept = first.take(pa.array(np.unique(first.column("_row").to_numpy(), return_index=True)[1]))
    return _difference(stored.select([*columns]), kept.select([*columns]))


def _row_numbers(table: pa.Table) -> np.ndarray:
    """A number for each row, equal for rows of equal content."""
    numbers = np.zeros(table.num_rows, np.int64)
    for name in table.column_names:
        encoded = table.column(name).combine_chunks().dictionary_encode(null_encoding="encode")
        codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        numbers = numbers * (int(codes.max(initial=0)) + 1) + codes
        numbers = np.unique(numbers, return_inverse=True)[1]
    return numbers


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
