"""A dump file read a second time, as text, for comparison with what was stored of it.

Nothing here uses the parser of the ingest: cells are split as text and each column becomes decimals,
integers or times by a cast of that text. A line belongs to the rejected ones, to a day, or is out of
range or superseded; what cannot be read and was not rejected is an error.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from phoenix_schemas.arrow import DECIMAL
from phoenix_schemas.datasets import Column, Kind, Target
from phoenix_schemas.timestamps import NS_PER_DAY, NS_PER_HOUR, NS_PER_SECOND, day_start, utc_day
from pyarrow import csv

from phoenix_etl.errors import SourceError
from phoenix_etl.inventory import SourceFile
from phoenix_etl.normalize import available_at
from phoenix_etl.parsing import sniff_header
from phoenix_etl.reading import Block, SourceReader, split_first_line

_DECIMALS = (Kind.PRICE, Kind.SIZE, Kind.PRICE_8, Kind.AMOUNT)


@dataclass(frozen=True)
class SourceCounts:
    """How many rows a source file holds: all of them, and where they belong."""

    count: int
    out_of_range: int
    superseded: int
    days: dict[str, int]


def read_as_text(
    source: SourceFile,
    *,
    clock: str,
    unit_ns: int,
    rejected: set[int],
    start_ns: int | None,
    end_ns: int | None,
    replaced_days: list[str],
    on_rows: Callable[[str, pa.Table], None],
) -> SourceCounts:
    """Read a file and hand its rows, typed from their text, block by block to `on_rows`: the UTC day at
    which they could be known, and a table.

    Raises SourceError for a line that is not rejected and yet cannot be read.
    """
    reader = _TextReader(source)
    days: dict[str, int] = defaultdict(int)
    count = out_of_range = superseded = 0
    unread = np.array(sorted(rejected), np.int64)
    replaced = [day_start(dt.date.fromisoformat(day)) for day in replaced_days]
    for text in reader.tables():
        count += text.num_rows
        lines = text.column("line").to_numpy()
        kept = ~np.isin(lines, unread)
        text = text if kept.all() else text.filter(pa.array(kept))
        rows = _typed(text, source, clock, unit_ns)
        ts_event, ts_init = (rows.column(n).to_numpy() for n in ("ts_event", "ts_init"))
        inside = np.ones(len(ts_init), bool)
        if start_ns is not None:
            inside &= ts_init >= start_ns
        if end_ns is not None:
            inside &= ts_init < end_ns
        out_of_range += int(np.count_nonzero(~inside))
        for begin in replaced:
            taken = inside & (ts_event >= begin) & (ts_event < begin + NS_PER_DAY)
            superseded += int(np.count_nonzero(taken))
            inside &= ~taken
        numbers = ts_init // NS_PER_DAY
        for number in np.unique(numbers[inside]).tolist():
            mine = rows.filter(pa.array(inside & (numbers == number)))
            day = utc_day(number * NS_PER_DAY).isoformat()
            days[day] += mine.num_rows
            on_rows(day, mine)
    return SourceCounts(count, out_of_range, superseded, dict(sorted(days.items())))


def stored_form(rows: pa.Table, target: Target, schema: pa.Schema) -> pa.Table:
    """Rows of a source in the columns of a catalog type that come from it."""
    columns = {}
    for name, source in target.columns.items():
        column = rows.column(source)
        if name == "aggressor_side":
            # The buyer was the maker, so the aggressor sold.
            column = pc.if_else(column, "SELL", "BUY")
        elif target.type_name == "FundingRateUpdate" and name == "rate":
            texts = [_shortest(str(v)) for v in column.to_pylist()]
            column = pa.chunked_array([pa.array(texts, pa.string())])
        elif target.type_name == "FundingRateUpdate" and name == "interval":
            column = pc.multiply(column, 60).cast(pa.uint64())
        elif pa.types.is_string(schema.field(name).type):
            column = column.cast(pa.string())
        columns[name] = column
    times = ("boundary", "boundary") if target.ts == "boundary" else ("ts_event", "ts_init")
    columns["ts_event"], columns["ts_init"] = (rows.column(n) for n in times)
    return pa.table(columns)


def _shortest(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


class _TextReader:
    """Cells of a file as text, under the names of its columns, with line numbers."""

    def __init__(self, source: SourceFile) -> None:
        self._source = source
        self._columns: tuple[Column, ...] = ()

    def tables(self) -> Iterator[pa.Table]:
        """One table for each block; lines of another width have their line number alone."""
        for block in SourceReader(self._source.location, self._source.path):
            if not self._columns:
                first, rest = split_first_line(block)
                line = first.decode("utf-8", "backslashreplace")
                self._columns, header = sniff_header(self._source.spec, line, self._source.path)
                if header:
                    block = rest
            if block.lines:
                yield self._split(block)

    def _split(self, block: Block) -> pa.Table:
        names = [column.name for column in self._columns]
        table = None
        # Arrow takes an empty line for a row of empty cells.
        if b"\r" not in block.data and b"\n\n" not in b"\n" + block.data:
            table = self._split_by_arrow(block, names)
        if table is None:
            table = self._split_by_line(block, names)
        return table

    def _split_by_arrow(self, block: Block, names: list[str]) -> pa.Table | None:
        try:
            table = csv.read_csv(
                pa.BufferReader(block.data),
                read_options=csv.ReadOptions(
                    column_names=names, use_threads=False, block_size=len(block.data) + 1
                ),
                parse_options=csv.ParseOptions(quote_char=False, ignore_empty_lines=False),
                convert_options=csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()),
                    null_values=[],
                    strings_can_be_null=False,
                ),
            )
        except pa.ArrowInvalid:
            return None
        if table.num_rows != block.lines:
            return None
        lines = np.arange(block.first_line, block.first_line + block.lines)
        return table.append_column("line", pa.array(lines))

    def _split_by_line(self, block: Block, names: list[str]) -> pa.Table:
        lines: list[int] = []
        rows: list[list[str | None]] = []
        for number, raw in enumerate(block.data.split(b"\n")[:-1], start=block.first_line):
            if raw.strip():
                cells = raw.removesuffix(b"\r").decode("utf-8", "backslashreplace").split(",")
                lines.append(number)
                rows.append([*cells] if len(cells) == len(names) else [None] * len(names))
        columns = zip(*rows, strict=True) if rows else ((),) * len(names)
        arrays = [pa.array(list(cells), pa.string()) for cells in columns]
        return pa.table([*arrays, pa.array(lines, pa.int64())], names=[*names, "line"])


def _typed(text: pa.Table, source: SourceFile, clock: str, unit_ns: int) -> pa.Table:
    """Text columns cast to what they mean, with the times of each row."""
    typed: dict[str, Any] = {"line": text.column("line").combine_chunks()}
    for column in source.spec.columns:
        if column.kind is not Kind.UNUSED:
            try:
                cells = text.column(column.name).combine_chunks()
                typed[column.name] = _cast(column, cells, unit_ns)
            except pa.ArrowInvalid as error:
                lines = typed["line"]
                raise SourceError(
                    f"{source.path}: a line between {lines[0]} and {lines[-1]} is not in the rejects "
                    f"file and {column.name} cannot be read ({error})"
                ) from None
    ts_event = typed[clock].to_numpy()
    typed["ts_event"] = typed[clock]
    typed["ts_init"] = pa.array(available_at(source.spec.availability, ts_event))
    if "funding_interval_hours" in typed:
        hours = typed["funding_interval_hours"].to_numpy() * NS_PER_HOUR
        typed["boundary"] = pa.array(ts_event // hours * hours)
    return pa.table(typed)


def _cast(column: Column, cells: pa.Array, unit_ns: int) -> pa.Array:
    if cells.null_count:
        raise pa.ArrowInvalid("another number of cells")
    if column.nullable:
        cells = pc.if_else(pc.equal(cells, ""), pa.scalar(None, pa.string()), cells)
    if column.kind in _DECIMALS:
        return _without_exponents(cells).cast(DECIMAL)
    match column.kind:
        case Kind.EPOCH:
            return pc.multiply(cells.cast(pa.int64()), unit_ns)
        case Kind.DATETIME:
            return pc.multiply(cells.cast(pa.timestamp("s")).cast(pa.int64()), NS_PER_SECOND)
        case Kind.RATIO:
            return cells.cast(pa.float64())
        case Kind.INTEGER:
            return cells.cast(pa.int64())
        case Kind.FLAG:
            return pc.is_in(cells, value_set=pa.array(["true", "True"]))
        case _:
            return cells


def _without_exponents(cells: pa.Array) -> pa.Array:
    """The same numbers written out; Arrow reads outside its tables at `1e-999999999`."""
    if not pc.any(pc.match_substring(cells, "e", ignore_case=True)).as_py():
        return cells
    return pa.array([c if c is None else _written_out(c) for c in cells.to_pylist()], pa.string())


def _written_out(cell: str) -> str:
    try:
        value = Decimal(cell)
    except InvalidOperation:
        raise pa.ArrowInvalid(f"{cell[:40]!r} is no decimal number") from None
    if not value:
        return "0"
    if not value.is_finite() or abs(value.adjusted()) > DECIMAL.precision:
        raise pa.ArrowInvalid(f"{cell[:40]!r} is out of range")
    return format(value, "f")
