"""Rows of a day on their way from the files that hold them to the catalog.

While a file is read its rows are spilled in file order, as one Arrow IPC file per day. When the day is
built they come back in order of (ts_event, key), each key once. Where the files were in order already,
which is the rule, they pass as they lie; otherwise one slice of time after the other is gathered and
sorted, so that memory stays within a budget whatever the day's size and disorder.

Of rows with one key the same content counts once; where contents differ the winner is the smallest
row by content, so the order of rows and files never decides what is kept.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from phoenix_schemas.datasets import DatasetSpec

from phoenix_etl.arrays import int64_array, mask_array, numbers

MIN_SLICE_ROWS = 100_000
_COPIES_OF_A_SLICE = 6
"""A slice exists as it was gathered and as it was sorted, beside its keys and its text on the way out."""
_SOURCE = "source"
"""Column of a gathered row: the number of its part."""
_LINE_BITS = 40


@dataclass(frozen=True)
class Spill:
    """Rows of one file that belong to one day, in file order.

    `first` and `last` are (ts_event, key) of the first and the last row. `is_ordered`: rows increase
    strictly in that order, and no two share a key.
    """

    path: Path
    rows: int
    first: tuple[Any, ...]
    last: tuple[Any, ...]
    is_ordered: bool


@dataclass(frozen=True)
class Part:
    """The rows that a source file gives to a day."""

    source: str
    spill: Spill


@dataclass(frozen=True)
class Conflict:
    """A row that lost to another of the same key."""

    source: str
    line: int
    reason: str


def order_of(spec: DatasetSpec) -> list[str]:
    """Columns by which rows are ordered: the time, then the key."""
    return ["ts_event", *(name for name in spec.key if name != "ts_event")]


class SpillWriter:
    """Spills the rows of one day of one file, in file order."""

    def __init__(self, path: Path, spec: DatasetSpec, schema: pa.Schema) -> None:
        self._path = path
        self._order = order_of(spec)
        # A key that holds no time may come again at another one.
        self._alone = None if "ts_event" in spec.key else spec.key[0]
        self._sink = pa.OSFile(os.fspath(path), "wb")
        self._writer = pa.ipc.new_file(self._sink, schema)
        self._rows = 0
        self._first: tuple[Any, ...] = ()
        self._last: tuple[Any, ...] = ()
        self._is_ordered = True

    def write(self, table: pa.Table) -> None:
        """Append rows (at least one)."""
        columns = [numbers(table.column(name)) for name in self._order]
        if self._is_ordered:
            first = tuple(values[0].item() for values in columns)
            self._is_ordered = _increases(columns) and (not self._rows or self._last < first)
            if self._alone is not None and self._is_ordered:
                place = self._order.index(self._alone)
                self._is_ordered = _increases([columns[place]]) and (
                    not self._rows or self._last[place] < first[place]
                )
            self._first = self._first or first
        self._last = tuple(values[-1].item() for values in columns)
        self._rows += table.num_rows
        self._writer.write_table(table)

    def close(self) -> Spill:
        self._writer.close()
        self._sink.close()
        return Spill(self._path, self._rows, self._first, self._last, self._is_ordered)


def _increases(columns: Sequence[np.ndarray]) -> bool:
    """Whether rows increase strictly in the lexicographic order of the columns.

    >>> _increases([np.array([1, 1, 2]), np.array([5, 6, 0])])
    True
    >>> _increases([np.array([1, 1])])
    False
    """
    first, *rest = columns
    increases = first[1:] > first[:-1]
    if not rest or increases.all():
        return bool(increases.all())
    equal = first[1:] == first[:-1]
    for values in rest:
        increases |= equal & (values[1:] > values[:-1])
        equal &= values[1:] == values[:-1]
    return bool(increases.all())


class DayRows:
    """The rows of a day in order of (ts_event, key), each key once; use it as a context manager.

    Iterating (once) gives tables that hold all rows of every moment they touch. After that `lost`
    says how many rows of each part were duplicates or conflicts, and `conflicts` which were.
    """

    def __init__(self, spec: DatasetSpec, parts: Sequence[Part], budget_bytes: int) -> None:
        self._spec = spec
        self._parts = parts
        self._order = order_of(spec)
        self._budget_bytes = budget_bytes
        self._stack = ExitStack()
        self.lost = [0] * len(parts)
        self.conflicts: list[Conflict] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def __iter__(self) -> Iterator[pa.Table]:
        chain = self._chain()
        if chain is None:
            yield from self._sorted()
        else:
            yield from _whole_moments(self._as_they_lie(chain))
        self.conflicts.sort(key=lambda c: (c.source, c.line))

    def _chain(self) -> list[Part] | None:
        """The parts one after another, if that is the order of their rows and no key comes twice."""
        parts = sorted(self._parts, key=lambda part: part.spill.first)
        if not all(part.spill.is_ordered for part in parts):
            return None
        for before, after in pairwise(parts):
            last, first = before.spill.last, after.spill.first
            places = range(1 if "ts_event" in self._spec.key else len(first))
            if any(last[place] >= first[place] for place in places):
                return None
        return parts

    def _as_they_lie(self, parts: Sequence[Part]) -> Iterator[pa.RecordBatch]:
        for part in parts:
            file = self._open(part)
            for index in range(file.num_record_batches):
                yield file.get_batch(index)

    def _open(self, part: Part, columns: list[str] | None = None) -> pa.RecordBatchFileReader:
        """A spilled file, or some of its columns. Not mapped: what was read makes room again."""
        source = self._stack.enter_context(pa.OSFile(os.fspath(part.spill.path), "rb"))
        file = self._stack.enter_context(pa.ipc.open_file(source))
        if columns is None:
            return file
        fields = [file.schema.get_field_index(name) for name in columns]
        options = pa.ipc.IpcReadOptions(included_fields=fields)
        return self._stack.enter_context(pa.ipc.open_file(source, options=options))

    def _sorted(self) -> Iterator[pa.Table]:
        by_time = "ts_event" in self._spec.key
        key = None if by_time else self._spec.key[0]
        files = [self._open(part) for part in self._parts]
        slice_rows = self._slice_rows(files[0].schema)
        spans: list[
            tuple[int, int, int, int]
        ] = []  # of each batch: first time, last time, part, number
        times, keys = [], []
        for part, spilled in enumerate(self._parts):
            file = self._open(spilled, ["ts_event", *([key] if key else [])])
            for number in range(file.num_record_batches):
                batch = file.get_batch(number)
                ts = numbers(batch.column("ts_event"))
                spans.append((int(ts.min()), int(ts.max()), part, number))
                times.append(ts)
                if key:
                    keys.append(numbers(batch.column(key)))

        def gather(low: int, high: int, column: str, wanted: np.ndarray | None = None) -> pa.Table:
            """Rows of times from `low` to before `high`, or of them those with wanted values."""
            found = []
            for first, last, part, number in spans:
                if last < low or first >= high:
                    continue
                batch = files[part].get_batch(number)
                values = numbers(batch.column(column))
                inside = (
                    (values >= low) & (values < high) if wanted is None else np.isin(values, wanted)
                )
                if not inside.all():
                    batch = batch.filter(mask_array(inside))
                number_of = int64_array(np.full(batch.num_rows, part, np.int64))
                found.append(batch.append_column(_SOURCE, number_of))
            return pa.Table.from_batches(found)

        first_ns, end_ns = min(s[0] for s in spans), max(s[1] for s in spans) + 1
        losers = np.empty(0, np.int64)
        if key:
            found = [
                self._losers(gather(first_ns, end_ns, key, some))
                for some in _repeated(_joined(keys), slice_rows)
            ]
            losers = np.sort(np.concatenate([losers, *found]))
        ordered = _joined(times)
        ordered.sort()
        bounds = np.unique(ordered[::slice_rows])
        del ordered
        for low, high in zip(bounds.tolist(), [*bounds[1:].tolist(), end_ns], strict=True):
            table = gather(low, high, "ts_event")
            if by_time:
                losers = np.sort(self._losers(table))
            place = np.lexsort([numbers(table.column(n)) for n in reversed(self._order)])
            if len(losers):
                place = place[~np.isin(_row_names(table), losers)[place]]
            if len(place):
                positions = int64_array(place)
                names = [name for name in table.column_names if name != _SOURCE]
                yield pa.table(
                    [table.column(n).combine_chunks().take(positions) for n in names], names=names
                )

    def _slice_rows(self, schema: pa.Schema) -> int:
        per_row = sum(16 if pa.types.is_string(f.type) else f.type.bit_width // 8 for f in schema)
        return max(MIN_SLICE_ROWS, self._budget_bytes // (_COPIES_OF_A_SLICE * per_row))

    def _losers(self, rows: pa.Table) -> np.ndarray:
        """Names (see [_row_names][]) of the rows that are not written, taken into account."""
        mask, conflicts = find_losers(rows, self._spec, [part.source for part in self._parts])
        self.conflicts += conflicts
        lost: np.ndarray = _row_names(rows)[mask]
        for part, count in enumerate(np.bincount(lost >> _LINE_BITS, minlength=len(self.lost))):
            self.lost[part] += int(count)
        return lost


def _row_names(rows: pa.Table) -> np.ndarray:
    """One number for each gathered row, from its part and its line."""
    names: np.ndarray = numbers(rows.column(_SOURCE)) << _LINE_BITS | numbers(rows.column("line"))
    return names


def _joined(pieces: list[np.ndarray]) -> np.ndarray:
    """The pieces as one array; they are given up."""
    joined = np.concatenate(pieces)
    pieces.clear()
    return joined


def _repeated(values: np.ndarray, rows: int) -> list[np.ndarray]:
    """Values that stand there more than once, in portions that cover about so many rows.

    >>> _repeated(np.array([3, 1, 3, 2, 1, 1]), 3)
    [array([1]), array([3])]
    """
    values.sort()
    starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    counts = np.diff(np.append(starts, len(values)))
    found, counts = values[starts[counts > 1]], counts[counts > 1]
    if not len(found):
        return []
    portion = (np.cumsum(counts) - counts) // rows
    return np.split(found, np.flatnonzero(np.diff(portion)) + 1)


def _whole_moments(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Batches as tables of a good size, none of which ends within rows of one time."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        held.append(batch)
        rows += batch.num_rows
        if rows < MIN_SLICE_ROWS:
            continue
        ts = numbers(batch.column("ts_event"))
        cut = int(np.searchsorted(ts, ts[-1]))
        if cut:
            yield pa.Table.from_batches([*held[:-1], batch.slice(0, cut)])
            held = [batch.slice(cut)]
            rows = batch.num_rows - cut
    if held:
        yield pa.Table.from_batches(held)


def find_losers(
    rows: pa.Table, spec: DatasetSpec, sources: Sequence[str]
) -> tuple[np.ndarray, list[Conflict]]:
    """Among rows of one key: the first of equal ones stays, the smallest of different ones stays.

    Gives the rows that do not, and of them those with another content than the one that does.
    """
    keys = [numbers(rows.column(name)) for name in spec.key]
    lines = numbers(rows.column("line"))
    source_of = numbers(rows.column(_SOURCE))
    conflicts: list[Conflict] = []
    losers = np.zeros(rows.num_rows, bool)
    by_key = np.lexsort((lines, source_of, *reversed(keys)))
    same = np.ones(max(rows.num_rows - 1, 0), bool)
    for values in keys:
        ordered = values[by_key]
        same &= ordered[1:] == ordered[:-1]
    if not same.any():
        return losers, conflicts
    tied = np.zeros(rows.num_rows, bool)
    tied[1:] |= same
    tied[:-1] |= same
    positions = by_key[tied]  # rows that share their key with another, runs adjacent
    starts = np.concatenate([[True], ~same])[tied]
    content = [n for n in rows.column_names if n not in ("line", _SOURCE)]
    table = rows.select(content).take(int64_array(positions)).combine_chunks()
    repeats = ~starts
    for name in content:
        repeats[1:] &= _equal_to_previous(table.column(name).combine_chunks())
    run_of = np.cumsum(starts) - 1
    differs = np.bincount(run_of, weights=~repeats & ~starts) > 0
    # Runs of equal rows: the first (by source and line) stays.
    losers[positions[repeats & ~differs[run_of]]] = True
    # Runs with different contents, few: the smallest content stays, in its first place.
    for run in np.flatnonzero(differs).tolist():
        low, high = np.searchsorted(run_of, [run, run + 1]).tolist()
        texts = [canonical_text(table, i) for i in range(low, high)]
        winner = min(range(len(texts)), key=lambda i: (texts[i], i))
        kept = int(positions[low + winner])
        for i, text in enumerate(texts):
            if i == winner:
                continue
            position = int(positions[low + i])
            losers[position] = True
            if text != texts[winner]:
                conflicts.append(
                    Conflict(
                        sources[int(source_of[position])],
                        int(lines[position]),
                        "same key as another row, other content; kept the row of "
                        f"{sources[int(source_of[kept])]} line {int(lines[kept])}",
                    )
                )
    return losers, conflicts


def _equal_to_previous(column: pa.Array) -> np.ndarray:
    """For each row but the first: equal to the one before, where blank equals blank."""
    codes = numbers(column.dictionary_encode(null_encoding="encode").indices)
    equal: np.ndarray = codes[1:] == codes[:-1]
    return equal


def canonical_text(table: pa.Table, row: int) -> str:
    """A row's content as text, one form whatever its source wrote."""
    return ",".join(_text(table.column(name)[row].as_py()) for name in table.column_names)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return format(value, "f") if isinstance(value, Decimal) else str(value)
