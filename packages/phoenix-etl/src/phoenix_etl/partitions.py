"""One UTC day of one dataset and symbol: ordered, without duplicates, as catalog files.

A partition is rebuilt from all the files that hold rows of its day. Rows are ordered by
(ts_event, key). Of rows with one key the same content counts once; where contents differ the winner
is the smallest row by content, so the order of rows and files never decides what is kept. Files are
written in row groups of fixed size by single calls, which makes their bytes a function of the rows.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from phoenix_schemas.arrow import (
    SIDES,
    TIME,
    CatalogType,
    catalog_type,
    data_type_json,
    file_name,
)
from phoenix_schemas.datasets import DatasetSpec, Kind, Target
from phoenix_schemas.timestamps import NS_PER_HOUR, NS_PER_MINUTE

from phoenix_etl import durable
from phoenix_etl.arrays import int64_array, numbers, scaled_decimal, text_array
from phoenix_etl.hashing import BackgroundHash
from phoenix_etl.parsing import SCALED, Precisions
from phoenix_etl.trade_totals import TradeSum, TradeTotals, trade_target

ROW_GROUP_ROWS = 100_000
_REPEATED = ("instrument_id", "type", "data_type", "aggressor_side")
"""Columns of few distinct values: only these are dictionary-encoded."""
_TIMES = ("ts_event", "ts_init")
"""Nearly sorted, so small as differences; and what readers prune row groups by."""


@dataclass(frozen=True)
class Part:
    """Rows of one source file that belong to the partition's day."""

    source: str
    spill: Path


@dataclass(frozen=True)
class PartitionTask:
    """What to build: the parts in any order, and the instrument. Its files are staged side by side
    as `<staging>-<n>.parquet`, in the order of the targets."""

    spec: DatasetSpec
    instrument_id: str
    precisions: Precisions
    parts: tuple[Part, ...]
    staging: Path
    memory_budget_bytes: int


class WrittenFile(msgspec.Struct, frozen=True, kw_only=True):
    """A catalog file: path relative to the catalog root, rows, size and sha256."""

    path: str
    type_name: str
    identifier: str
    rows: int
    bytes: int
    sha256: str
    first_ts_init: int
    last_ts_init: int


class InputCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Where the rows of one source file went within a partition."""

    rows: int
    written: int
    duplicates: int
    conflicts: int


class PartitionStats(msgspec.Struct, frozen=True, kw_only=True):
    """What a reader of the data wants to know of a day, from its final rows.

    `gaps` are the longest intervals without a row that exceed the dataset's `gap_ns`, as
    (last time before, first time after) in ns, up to [MAX_GAPS][] of them; `gap_count` counts all.
    `one_id_holes` counts single identifiers that are left out (a fill of the insurance fund leaves
    one), `id_gap_count` longer runs, of which `id_gaps` are the longest as (first, last) missing.
    `frozen_since` is the first snapshot that repeats the one before it.
    """

    first_ts_event: int
    last_ts_event: int
    gap_count: int = 0
    gaps: list[tuple[int, int]] = []
    one_id_holes: int = 0
    id_gap_count: int = 0
    id_gaps: list[tuple[int, int]] = []
    missing_ids: int = 0
    first_id: int | None = None
    last_id: int | None = None
    crossed_quotes: int = 0
    locked_quotes: int = 0
    zero_volume_bars: int = 0
    frozen_snapshots: int = 0
    frozen_since: int | None = None
    blank_cells: int = 0
    totals: TradeTotals | None = None
    """Of trades: what they add up to."""


MAX_GAPS = 20
FILLS_KEY = "phoenix_fills_by_minute"
"""In the metadata of a file of trades: how many trades each minute of the day had, which joined trades
do not tell by themselves."""


@dataclass(frozen=True)
class Conflict:
    """A row that lost to another of the same key."""

    source: str
    line: int
    reason: str


@dataclass(frozen=True)
class Partition:
    """Result of a build: catalog files, and where each lies in the staging area."""

    files: tuple[WrittenFile, ...]
    staged: tuple[Path, ...]
    inputs: dict[str, InputCounts]
    stats: PartitionStats | None
    conflicts: tuple[Conflict, ...]


def build_partition(task: PartitionTask) -> Partition:
    """Order, deduplicate and write the rows of a partition."""
    parts = sorted(task.parts, key=lambda p: p.source)
    tables = [pa.ipc.open_file(pa.memory_map(os.fspath(p.spill), "r")).read_all() for p in parts]
    counts = [t.num_rows for t in tables]
    rows = pa.concat_tables(tables)
    source_of = np.repeat(np.arange(len(parts), dtype=np.int32), counts)

    order_names = ["ts_event", *(k for k in task.spec.key if k != "ts_event")]
    order = [numbers(rows.column(name)) for name in order_names]
    is_ordered = _strictly_increasing(order)
    if is_ordered and _is_unique(rows, task.spec.key, order):
        losers = _Losers.none(rows.num_rows)
    else:
        losers = _find_losers(rows, task.spec, source_of, [p.source for p in parts])
    keep = ~losers.mask

    inputs = {}
    for index, part in enumerate(parts):
        mine = source_of == index
        conflicts = sum(1 for c in losers.conflicts if c.source == part.source)
        lost = int(np.count_nonzero(losers.mask & mine))
        inputs[part.source] = InputCounts(
            rows=counts[index],
            written=counts[index] - lost,
            duplicates=lost - conflicts,
            conflicts=conflicts,
        )
    if not keep.any():
        return Partition((), (), inputs, None, tuple(losers.conflicts))

    slices = _Slices(rows, order, keep, is_ordered, task.memory_budget_bytes)
    stats = _StatsOfDay(task.spec, task.precisions)
    with ExitStack() as stack:
        writers = [
            stack.enter_context(
                _TargetWriter(
                    task,
                    target,
                    rows,
                    keep,
                    task.staging.with_name(f"{task.staging.name}-{n}.parquet"),
                )
            )
            for n, target in enumerate(task.spec.targets)
        ]
        for table in slices:
            stats.add(table)
            for writer in writers:
                writer.write(table)
        files = tuple(writer.finish(stats.fills_by_minute) for writer in writers)
    staged = tuple(writer.staged for writer in writers)
    return Partition(files, staged, inputs, stats.result(), tuple(losers.conflicts))


def _strictly_increasing(columns: list[np.ndarray]) -> bool:
    """Whether rows increase strictly in the lexicographic order of the columns."""
    if len(columns[0]) < 2:
        return True
    increases = np.zeros(len(columns[0]) - 1, bool)
    equal = np.ones(len(columns[0]) - 1, bool)
    for values in columns:
        increases |= equal & (values[1:] > values[:-1])
        equal &= values[1:] == values[:-1]
    return bool(increases.all())


def _is_unique(rows: pa.Table, key: tuple[str, ...], order: list[np.ndarray]) -> bool:
    """Whether no two rows share a key, for rows that increase strictly in `order`."""
    if "ts_event" in key or len(key) != 1 or len(order) == 1:
        return True  # the key contains the order
    values = numbers(rows.column(key[0]))
    if bool((values[1:] > values[:-1]).all()):
        return True
    ordered = np.sort(values)
    return not bool((ordered[1:] == ordered[:-1]).any())


@dataclass(frozen=True)
class _Losers:
    """Rows that are not written: duplicates, and conflicts with their reasons."""

    mask: np.ndarray
    conflicts: list[Conflict]

    @classmethod
    def none(cls, rows: int) -> _Losers:
        return cls(np.zeros(rows, bool), [])


def _find_losers(
    rows: pa.Table, spec: DatasetSpec, source_of: np.ndarray, sources: list[str]
) -> _Losers:
    """Among rows of one key: the first of equal ones stays, the smallest of different ones stays."""
    keys = [numbers(rows.column(name)) for name in spec.key]
    lines = numbers(rows.column("line"))
    by_key = np.lexsort((lines, source_of, *reversed(keys)))
    same = np.ones(max(rows.num_rows - 1, 0), bool)
    for values in keys:
        ordered = values[by_key]
        same &= ordered[1:] == ordered[:-1]
    losers = _Losers.none(rows.num_rows)
    if not same.any():
        return losers
    tied = np.zeros(rows.num_rows, bool)
    tied[1:] |= same
    tied[:-1] |= same
    positions = by_key[tied]  # rows that share their key with another, runs adjacent
    starts = np.concatenate([[True], ~same])[tied]
    content = [n for n in rows.column_names if n != "line"]
    table = rows.select(content).take(int64_array(positions)).combine_chunks()
    repeats = ~starts
    for name in content:
        repeats[1:] &= _equal_to_previous(table.column(name).combine_chunks())
    run_of = np.cumsum(starts) - 1
    differs = np.bincount(run_of, weights=~repeats & ~starts) > 0
    # Runs of equal rows: the first (by source and line) stays.
    losers.mask[positions[repeats & ~differs[run_of]]] = True
    # Runs with different contents, few: the smallest content stays, in its first place.
    for run in np.flatnonzero(differs).tolist():
        members = np.flatnonzero(run_of == run) if len(run_of) < 10_000 else _run(run_of, run)
        texts = [canonical_text(table, int(i)) for i in members]
        winner = min(range(len(texts)), key=lambda i: (texts[i], i))
        for i, member in enumerate(members.tolist()):
            if i == winner:
                continue
            position = int(positions[member])
            losers.mask[position] = True
            if texts[i] != texts[winner]:
                losers.conflicts.append(
                    Conflict(
                        sources[int(source_of[position])],
                        int(lines[position]),
                        "same key as another row, other content; kept the row of "
                        f"{sources[int(source_of[positions[members[winner]]])]} line "
                        f"{int(lines[positions[members[winner]]])}",
                    )
                )
    losers.conflicts.sort(key=lambda c: (c.source, c.line))
    return losers


def _run(run_of: np.ndarray, run: int) -> np.ndarray:
    low, high = np.searchsorted(run_of, [run, run + 1])
    return np.arange(low, high)


def _equal_to_previous(column: pa.Array) -> np.ndarray:
    """For each row but the first: equal to the one before, where blank equals blank."""
    encoded = column.dictionary_encode(null_encoding="encode")
    codes = numbers(encoded.indices)
    equal: np.ndarray = codes[1:] == codes[:-1]
    return equal


def canonical_text(table: pa.Table, row: int) -> str:
    """A row's content as text, one form whatever its source wrote."""
    values = (table.column(name)[row].as_py() for name in table.column_names)
    return ",".join("" if v is None else _text(v) for v in values)


def _text(value: Any) -> str:
    return format(value, "f") if isinstance(value, Decimal) else str(value)


class _Slices:
    """The kept rows in order, in tables that fit the memory budget.

    Rows already in order pass as they lie; otherwise time slices are gathered and sorted one by one.
    """

    def __init__(
        self,
        rows: pa.Table,
        order: list[np.ndarray],
        keep: np.ndarray,
        is_ordered: bool,
        budget_bytes: int,
    ) -> None:
        self._rows = rows
        self._order = order
        self._keep = keep
        self._as_it_lies = is_ordered and bool(keep.all())
        per_row = max(1, rows.nbytes // max(1, rows.num_rows))
        # A gathered slice exists twice (taken and written) beside its sort keys.
        self._slice_rows = max(ROW_GROUP_ROWS, budget_bytes // (3 * per_row))

    def __iter__(self) -> Iterator[pa.Table]:
        if self._as_it_lies:
            yield self._rows
            return
        ts_event = self._order[0]
        kept = np.flatnonzero(self._keep)
        if len(kept) <= self._slice_rows:
            yield self._gather(kept)
            return
        times = np.sort(ts_event[kept])
        bounds = np.unique(times[:: self._slice_rows])
        for low, high in zip(bounds, [*bounds[1:], times[-1] + 1], strict=True):
            inside = self._keep & (ts_event >= low) & (ts_event < high)
            yield self._gather(np.flatnonzero(inside))

    def _gather(self, positions: np.ndarray) -> pa.Table:
        order = np.lexsort([values[positions] for values in reversed(self._order)])
        return self._rows.take(int64_array(positions[order]))


class _TargetWriter:
    """Writes one catalog type of a partition, in row groups of fixed size.

    A row group is encoded and packed on a thread of its own while the next one is put together.
    """

    def __init__(
        self,
        task: PartitionTask,
        target: Target,
        rows: pa.Table,
        keep: np.ndarray,
        staged: Path,
    ) -> None:
        self.staged = staged
        self._task = task
        self._target = target
        self._type = catalog_type(target.type_name)
        self._identifier = target.identifier.format(id=task.instrument_id)
        times = numbers(rows.column("boundary" if target.ts == "boundary" else "ts_init"))[keep]
        self._first, self._last = int(times.min()), int(times.max())
        price = task.precisions.price
        if any(task.spec.column(c).kind is Kind.PRICE_8 for c in target.columns.values()):
            price = task.precisions.of(Kind.PRICE_8)
        self._schema = self._type.schema(self._identifier, price, task.precisions.size)
        self.path = f"{self._type.folder(self._identifier)}/{file_name(self._first, self._last)}"
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="parquet")
        self._writing: Future[None] | None = None
        self._rest: list[pa.Table] = []
        self._rest_rows = 0
        self._rows = 0

    def write(self, table: pa.Table) -> None:
        start = 0
        while start < table.num_rows:
            wanted = min(ROW_GROUP_ROWS - self._rest_rows, table.num_rows - start)
            self._rest.append(table.slice(start, wanted))
            self._rest_rows += wanted
            start += wanted
            if self._rest_rows == ROW_GROUP_ROWS:
                self._flush()

    def __enter__(self) -> Self:
        self.staged.parent.mkdir(parents=True, exist_ok=True)
        self._sink = _HashingFile(self.staged)
        try:
            self._writer = pq.ParquetWriter(
                pa.PythonFile(self._sink, mode="w"),
                self._schema,
                compression="zstd",
                compression_level=1,
                use_dictionary=[n for n in _REPEATED if n in self._schema.names],
                column_encoding=dict.fromkeys(_TIMES, "DELTA_BINARY_PACKED"),
                write_statistics=list(_TIMES),
            )
        except BaseException:
            self._sink.release()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self._thread.shutdown(cancel_futures=True)
        self._sink.release()

    def finish(self, fills_by_minute: np.ndarray | None) -> WrittenFile:
        if self._rest_rows:
            self._flush()
        self._await_writing()
        if fills_by_minute is not None:
            counts = ",".join(map(str, fills_by_minute.tolist()))
            self._writer.add_key_value_metadata({FILLS_KEY: counts})
        self._writer.close()
        size = self._sink.finish()
        return WrittenFile(
            path=self.path,
            type_name=self._type.name,
            identifier=self._identifier,
            rows=self._rows,
            bytes=size,
            sha256=self._sink.sha256,
            first_ts_init=self._first,
            last_ts_init=self._last,
        )

    def _flush(self) -> None:
        group = pa.concat_tables(self._rest) if len(self._rest) > 1 else self._rest[0]
        rows = catalog_rows(self._task, self._target, self._type, group, self._schema)
        self._await_writing()
        self._writing = self._thread.submit(
            self._writer.write_table, rows, row_group_size=ROW_GROUP_ROWS
        )
        self._rows += group.num_rows
        self._rest, self._rest_rows = [], 0

    def _await_writing(self) -> None:
        if self._writing is not None:
            self._writing.result()


def catalog_rows(
    task: PartitionTask, target: Target, kind: CatalogType, rows: pa.Table, schema: pa.Schema
) -> pa.Table:
    """Dated rows in the columns of a catalog type."""
    count = rows.num_rows
    columns: dict[str, pa.Array] = {}
    for name, source in target.columns.items():
        column = task.spec.column(source)
        array = rows.column(source).combine_chunks()
        wanted = schema.field(name).type
        if column.kind in SCALED:
            array = scaled_decimal(numbers(array), task.precisions.of(column.kind))
        elif kind.name == "FundingRateUpdate" and name == "rate":
            texts = [format(v.normalize(), "f") for v in array.to_pylist()]
            array = text_array(texts)
        elif kind.name == "FundingRateUpdate" and name == "interval":
            minutes = numbers(array) * (NS_PER_HOUR // NS_PER_MINUTE)
            array = int64_array(minutes, pa.uint64())
        elif column.kind is Kind.FLAG:
            # The buyer was the maker, so the aggressor sold.
            codes = array.cast(pa.int8())
            array = pa.DictionaryArray.from_arrays(codes, text_array(list(SIDES)))
        columns[name] = array.cast(wanted)
    if target.ts == "boundary":
        columns["ts_event"] = columns["ts_init"] = rows.column("boundary").cast(TIME)
    else:
        columns["ts_event"] = rows.column("ts_event").cast(TIME)
        columns["ts_init"] = rows.column("ts_init").cast(TIME)
    constants = {
        "instrument_id": task.instrument_id,
        "type": kind.name,
        "data_type": data_type_json(kind.name, task.instrument_id),
    }
    for name in schema.names:
        if name in constants and name not in columns:
            columns[name] = text_array([constants[name]]).take(
                int64_array(np.zeros(count, np.int64))
            )
        elif name not in columns:
            columns[name] = pa.nulls(count, schema.field(name).type)
    return pa.table([columns[name] for name in schema.names], schema=schema)


class _HashingFile:
    """A file being written, with the sha256 and size of what went in."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("wb")
        self._hash = BackgroundHash()
        self._size = 0
        self.sha256 = ""

    @property
    def closed(self) -> bool:
        return self._stream.closed

    def write(self, data: bytes) -> int:
        if self.closed:  # after a failure: a writer that was given up still closes itself
            return len(data)
        self._hash.update(data)
        self._size += len(data)
        self._stream.write(data)
        return len(data)

    def flush(self) -> None:
        self._stream.flush()

    def tell(self) -> int:
        return self._size

    def close(self) -> None:
        """The Parquet writer closes its sink; `finish` is what ends the file."""

    def finish(self) -> int:
        """Force the bytes to disk; the file's size."""
        durable.sync_file(self._stream)
        self.sha256 = self._hash.hexdigest()
        self.release()
        return self._size

    def release(self) -> None:
        """Close what is open, also after a failure."""
        self._stream.close()
        self._hash.close()


def _longest(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return sorted(sorted(spans, key=lambda s: (s[0] - s[1], s[0]))[:MAX_GAPS])


class _StatsOfDay:
    """Collects [PartitionStats][] over tables in order."""

    def __init__(self, spec: DatasetSpec, precisions: Precisions) -> None:
        self._spec = spec
        self._trades = TradeSum(spec, precisions.size) if trade_target(spec) else None
        self._first: int | None = None
        self._last = 0
        self._gaps: list[tuple[int, int]] = []
        self._last_id: int | None = None
        self._first_id: int | None = None
        self._counts: dict[str, int] = {}
        self._snapshot: tuple[int, bytes] | None = None
        self._id_gaps: list[tuple[int, int]] = []
        self._frozen_since: int | None = None

    def add(self, table: pa.Table) -> None:
        ts = numbers(table.column("ts_event"))
        if self._first is None:
            self._first = self._last = int(ts[0])
        if self._spec.gap_ns is not None:
            times = np.concatenate([[self._last], ts])
            for i in np.flatnonzero(np.diff(times) > self._spec.gap_ns).tolist():
                self._gaps.append((int(times[i]), int(times[i + 1])))
        self._last = int(ts[-1])
        if self._spec.continuous_ids is not None:
            self._add_ids(table, *self._spec.continuous_ids)
        if self._trades is not None:
            self._trades.add(table)
        names = set(table.column_names)
        if {"best_bid_price", "best_ask_price"} <= names:
            bid = numbers(table.column("best_bid_price"))
            ask = numbers(table.column("best_ask_price"))
            self._count("crossed_quotes", bid > ask)
            self._count("locked_quotes", bid == ask)
        if self._spec.name == "klines":
            self._count("zero_volume_bars", numbers(table.column("volume")) == 0)
        if self._spec.name == "metrics":
            self._counts["blank_cells"] = self._counts.get("blank_cells", 0) + sum(
                table.column(c.name).null_count for c in self._spec.columns if c.nullable
            )
        if self._spec.name == "bookDepth":
            self._add_snapshots(table, ts)

    @property
    def fills_by_minute(self) -> np.ndarray | None:
        return None if self._trades is None else self._trades.by_minute

    def _count(self, name: str, mask: np.ndarray) -> None:
        self._counts[name] = self._counts.get(name, 0) + int(np.count_nonzero(mask))

    def _add_ids(self, table: pa.Table, first_name: str, last_name: str) -> None:
        first = numbers(table.column(first_name))
        last = numbers(table.column(last_name))
        previous = np.concatenate(
            [[first[0] - 1 if self._last_id is None else self._last_id], last]
        )
        missing = first - previous[:-1] - 1
        self._count("one_id_holes", missing == 1)
        self._count("id_gap_count", missing > 1)
        for i in np.flatnonzero(missing > 1).tolist():
            self._id_gaps.append((int(previous[i]) + 1, int(first[i]) - 1))
        total = self._counts.get("missing_ids", 0) + int(missing[missing > 0].sum())
        self._counts["missing_ids"] = total
        if self._first_id is None:
            self._first_id = int(first[0])
        self._last_id = int(last[-1])

    def _add_snapshots(self, table: pa.Table, ts: np.ndarray) -> None:
        """Count snapshots equal to the one before (a frozen feed repeats itself for hours)."""
        starts = np.flatnonzero(np.concatenate([[True], ts[1:] != ts[:-1]]))
        ends = np.append(starts[1:], len(ts))
        content = [
            table.column(n).combine_chunks().cast(pa.string()).to_pylist()
            for n in ("percentage", "depth", "notional")
        ]
        frozen = 0
        for low, high in zip(starts.tolist(), ends.tolist(), strict=True):
            text = "|".join(v for column in content for v in column[low:high]).encode()
            digest = hashlib.blake2b(text, digest_size=16).digest()
            if self._snapshot is not None:
                same_time = self._snapshot[0] == int(ts[low])
                if not same_time and self._snapshot[1] == digest:
                    frozen += 1
                    if self._frozen_since is None:
                        self._frozen_since = int(ts[low])
            self._snapshot = (int(ts[low]), digest)
        self._counts["frozen_snapshots"] = self._counts.get("frozen_snapshots", 0) + frozen

    def result(self) -> PartitionStats:
        assert self._first is not None  # a partition has rows
        return PartitionStats(
            first_ts_event=self._first,
            last_ts_event=self._last,
            gap_count=len(self._gaps),
            gaps=_longest(self._gaps),
            id_gaps=_longest(self._id_gaps),
            frozen_since=self._frozen_since,
            first_id=self._first_id,
            last_id=self._last_id,
            totals=None if self._trades is None else self._trades.result(),
            **self._counts,
        )
