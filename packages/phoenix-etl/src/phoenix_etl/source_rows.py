"""One source file into dated rows, routed to their UTC days and spilled to the staging area.

Blocks are parsed and checked on a few threads and taken in file order, so memory is bounded by the
blocks in flight. A row goes to the day of its `ts_init`, which is not always its file's day. What a
file held is told by its [FileReport][], whose counts add up to the rows read.
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from phoenix_schemas.datasets import Availability, DatasetSpec
from phoenix_schemas.timestamps import NS_PER_DAY, day_start, utc_day

from phoenix_etl.arrays import mask_array, numbers
from phoenix_etl.errors import RejectLimitError, SourceError
from phoenix_etl.inventory import SourceFile
from phoenix_etl.normalize import FileContext, Normalizer, Rows, epoch_unit_of
from phoenix_etl.parsing import (
    BlockParser,
    Parsed,
    Precisions,
    Reject,
    sniff_header,
    written_decimals,
)
from phoenix_etl.reading import Block, SourceReader, split_first_line
from phoenix_etl.spilled_rows import Spill, SpillWriter
from phoenix_etl.trade_totals import TradeSum, TradeTotals, trade_target

SMALL_FILE_REJECTS = 10
"""A file may lose this many rows (but no more than a tenth) whatever its share of rejects allows."""


@dataclass(frozen=True)
class ReadOptions:
    """How a file is read; everything here is part of what its rows are.

    `replaced_days` are days that a file of higher priority covers (a daily file over a monthly one,
    the chosen trade source over the other); rows of those days are counted and left out.
    """

    precisions: Precisions
    tick: int
    clock: str
    start_ns: int | None
    end_ns: int | None
    replaced_days: frozenset[dt.date]
    strict: bool
    max_reject_share: float


class FileReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one source file held. Counts are rows; `rows_read` is the sum of where they went:

    rows_read = sum(days) + rejected + out_of_range + superseded

    and the rows of a day are, by the partition's own account, written, duplicates or conflicts.
    """

    path: str
    sha256: str
    has_header: bool
    time_unit: str
    clock: str
    rows_read: int
    rejected: int
    out_of_range: int
    superseded: int
    blank_lines: int
    inversions: int
    off_tick: int
    first_ts_event: int | None
    last_ts_event: int | None
    days: dict[str, int]
    reject_reasons: dict[str, int]
    replaced_totals: dict[str, TradeTotals] = {}
    """Of trades: what the superseded rows of each day add up to."""


@dataclass
class _Tally:
    """Running counts while a file is read."""

    rows_read: int = 0
    rejected: int = 0
    out_of_range: int = 0
    superseded: int = 0
    blank_lines: int = 0
    inversions: int = 0
    off_tick: int = 0
    first_ts: int | None = None
    last_ts: int | None = None
    has_own_row: bool = False
    """Whether a row is of the period of the file's name."""
    days: dict[dt.date, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    replaced: dict[dt.date, TradeSum] = field(default_factory=dict)
    last_key: tuple[Any, ...] | None = None


@dataclass(frozen=True)
class ReadResult:
    """A file's report, its rejected lines, and where the rows of each day were spilled."""

    report: FileReport
    rejects: list[Reject]
    spills: dict[dt.date, Spill]


def read_source(
    file: SourceFile,
    options: ReadOptions,
    spill_name: Path,
    *,
    threads: int = 1,
    only_days: frozenset[dt.date] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> ReadResult:
    """Read a whole file; spill the rows of each day (or of `only_days`) as Arrow IPC files, named
    `<spill_name>-<day>.arrow`.

    `on_progress` is called with (bytes, rows) since its last call.

    Raises SourceError when the file is not what its name says, RejectLimitError when too many of its
    rows are bad. Nothing it spilled counts then.
    """
    reader = SourceReader(file.location, file.path)
    tally = _Tally()
    rejects: list[Reject] = []
    spills = _Spills(spill_name, file.spec, only_days)
    header = False
    unit = "s"
    bytes_seen = 0
    with spills, ThreadPoolExecutor(threads) as pool:
        stream = _FileStream(file, options, reader)
        for rows in _in_order(pool, stream, depth=threads + 2):
            _account(tally, rows, file.path, options, rejects)
            kept = _route(tally, rows.table, file, options, spills)
            if on_progress is not None:
                on_progress(reader.bytes_read - bytes_seen, kept)
                bytes_seen = reader.bytes_read
        header, unit = stream.has_header, stream.unit or "s"
    if not stream.has_begun:
        raise SourceError(f"{file.path}: empty, not even a header; download it again")
    if rejects and rejects[-1].line == reader.unended_line:
        cells = rejects[-1].text.count(",") + 1
        if cells < stream.columns:
            raise SourceError(
                f"{file.path}:{reader.unended_line}: cut off, its last line has {cells} of "
                f"{stream.columns} columns and no end; download it again"
            )
    _check_reject_share(tally, rejects, file.path, options)
    _check_period(tally, file)
    report = FileReport(
        path=file.path,
        sha256=reader.sha256,
        has_header=header,
        time_unit=unit,
        clock=options.clock,
        rows_read=tally.rows_read,
        rejected=tally.rejected,
        out_of_range=tally.out_of_range,
        superseded=tally.superseded,
        blank_lines=tally.blank_lines,
        inversions=tally.inversions,
        off_tick=tally.off_tick,
        first_ts_event=tally.first_ts,
        last_ts_event=tally.last_ts,
        days={day.isoformat(): count for day, count in sorted(tally.days.items())},
        reject_reasons=dict(sorted(tally.reasons.items())),
        replaced_totals={d.isoformat(): s.result() for d, s in sorted(tally.replaced.items())},
    )
    accounted = sum(tally.days.values()) + tally.rejected + tally.out_of_range + tally.superseded
    if accounted != tally.rows_read:
        raise SourceError(
            f"{file.path}: {tally.rows_read:,} rows were read and {accounted:,} accounted for; "
            "this is a defect of phoenix-etl, nothing of this file is written"
        )
    return ReadResult(report, rejects, spills.done)


class _FileStream:
    """The blocks of a file with the parser and normaliser that its first lines decide."""

    def __init__(self, file: SourceFile, options: ReadOptions, reader: SourceReader) -> None:
        self._file = file
        self._options = options
        self._blocks = iter(reader)
        self.has_header = False
        self.columns = 0
        """How many the file has."""
        self.unit: str | None = None
        self._parser: BlockParser | None = None
        self._normalizer: Normalizer | None = None

    @property
    def has_begun(self) -> bool:
        """Whether the file has a first line."""
        return self._parser is not None

    def __iter__(self) -> Iterator[Callable[[], Rows]]:
        """Work to do for each block, in file order, to be run on any thread."""
        for block in self._blocks:
            if self._parser is None:
                block = self._start(block)
                if block.lines == 0:
                    continue
            parser, normalizer = self._parser, self._normalizer
            assert parser is not None  # set by _start
            if normalizer is None:
                # The file's time unit is not known yet: decide on this block, here.
                parsed = parser(block)
                self.unit = epoch_unit_of(parsed, self._file.spec)
                if self.unit is None:
                    yield lambda p=parsed, b=block: self._undated(p, b)  # type: ignore[misc]
                    continue
                normalizer = self._normalizer = self._normalizer_for(self.unit)
                yield lambda n=normalizer, p=parsed, b=block: n(p, b)  # type: ignore[misc]
                continue
            yield lambda p=parser, n=normalizer, b=block: n(p(b), b)  # type: ignore[misc]

    def _start(self, block: Block) -> Block:
        """Read the header, if there is one; the block without it."""
        first, rest = split_first_line(block)
        text = first.decode("utf-8", "backslashreplace")
        columns, self.has_header = sniff_header(self._file.spec, text, self._file.path)
        self.columns = len(columns)
        second = rest.data.lstrip().partition(b"\n")[0] if self.has_header else first
        row = second.removesuffix(b"\r").decode("utf-8", "backslashreplace")
        written = written_decimals(columns, row)
        self._parser = BlockParser(columns, self._options.precisions, written)
        if not self.has_header:
            return block
        return rest

    def _normalizer_for(self, unit: str) -> Normalizer:
        context = FileContext(
            name=self._file.path,
            symbol=self._file.symbol,
            span_ns=self._file.span_ns,
            clock=self._options.clock,
            tick=self._options.tick,
        )
        return Normalizer(self._file.spec, context, unit)

    def _undated(self, parsed: Parsed, block: Block) -> Rows:
        """A block in which no time reads as a market time: no row of it can be dated."""
        return self._normalizer_for("ms")(parsed, block)


def _in_order(pool: ThreadPoolExecutor, work: _FileStream, depth: int) -> Iterator[Rows]:
    """Results of work in order, with at most `depth` blocks in flight.

    The first block, which is all of a small file, is worked on here: sooner done than handed over.
    """
    pending: deque[Future[Rows]] = deque()
    jobs = iter(work)
    for job in jobs:
        yield job()
        break
    try:
        for job in jobs:
            pending.append(pool.submit(job))
            if len(pending) >= depth:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


def _account(
    tally: _Tally, rows: Rows, name: str, options: ReadOptions, rejects: list[Reject]
) -> None:
    tally.rows_read += rows.table.num_rows + len(rows.rejects)
    tally.rejected += len(rows.rejects)
    tally.off_tick += rows.off_tick
    tally.blank_lines += rows.blank_lines
    for bad in rows.rejects:
        # The value is in the rejects file; counts are kept by rule.
        reason = bad.reason.partition(" (was ")[0]
        tally.reasons[reason] = tally.reasons.get(reason, 0) + 1
    if rows.rejects and options.strict:
        bad = rows.rejects[0]
        raise RejectLimitError(
            f"{name}:{bad.line}: {bad.reason}; strict allows no rejected row (line: {bad.text[:120]!r})"
        )
    rejects.extend(rows.rejects)


def _route(
    tally: _Tally, table: pa.Table, file: SourceFile, options: ReadOptions, spills: _Spills
) -> int:
    """Send rows to their days; the number of rows kept."""
    if table.num_rows == 0:
        return 0
    ts_event = numbers(table.column("ts_event"))
    ts_init = numbers(table.column("ts_init"))
    first, last = int(ts_event.min()), int(ts_event.max())
    tally.first_ts = first if tally.first_ts is None else min(tally.first_ts, first)
    tally.last_ts = last if tally.last_ts is None else max(tally.last_ts, last)
    tally.inversions += _inversions(tally, table, file.spec.key)
    tally.has_own_row |= _has_own_row(file, ts_event, ts_init)

    first_known, last_known = int(ts_init.min()), int(ts_init.max())
    keep = np.ones(table.num_rows, bool)
    if options.start_ns is not None and first_known < options.start_ns:
        keep &= ts_init >= options.start_ns
    if options.end_ns is not None and last_known >= options.end_ns:
        keep &= ts_init < options.end_ns
    tally.out_of_range += int(np.count_nonzero(~keep))
    if options.replaced_days:
        for day in sorted(options.replaced_days):
            begin = day_start(day)
            if last >= begin and first < begin + NS_PER_DAY:
                replaced = keep & (ts_event >= begin) & (ts_event < begin + NS_PER_DAY)
                tally.superseded += int(np.count_nonzero(replaced))
                keep &= ~replaced
                if trade_target(file.spec) is not None:
                    if day not in tally.replaced:
                        tally.replaced[day] = TradeSum(file.spec, options.precisions.size)
                    tally.replaced[day].add(table.filter(mask_array(replaced)))
    if not keep.all():
        table = table.filter(mask_array(keep))
        ts_init = ts_init[keep]
        if not len(ts_init):
            return 0
    days = [int(ts_init.min()) // NS_PER_DAY, int(ts_init.max()) // NS_PER_DAY]
    if days[0] == days[1]:
        spills.write(utc_day(int(ts_init[0])), table, tally)
        return len(ts_init)
    day_of = ts_init // NS_PER_DAY
    for number in np.unique(day_of).tolist():
        part = table.filter(mask_array(day_of == number))
        spills.write(utc_day(number * NS_PER_DAY), part, tally)
    return len(ts_init)


def _has_own_row(file: SourceFile, ts_event: np.ndarray, ts_init: np.ndarray) -> bool:
    begin, end = file.span_ns
    if file.spec.availability is Availability.AT_CLOCK:
        return bool(((ts_event >= begin) & (ts_event < end)).any())
    # Rows of periods, known at their end: the last one's is the midnight after the file's day.
    return bool(((ts_init > begin) & (ts_init <= end)).any())


def _check_period(tally: _Tally, file: SourceFile) -> None:
    """Refuse a file all of whose rows are of other days than its name says."""
    if tally.first_ts is None or tally.last_ts is None or tally.has_own_row:
        return
    days = sorted({utc_day(tally.first_ts).isoformat(), utc_day(tally.last_ts).isoformat()})
    raise SourceError(
        f"{file.path}: holds {' to '.join(days)}, its name says {file.date_key}; rename it or "
        "download it again"
    )


def _inversions(tally: _Tally, table: pa.Table, key: tuple[str, ...]) -> int:
    """Rows that come before their predecessor in (ts_event, key), in file order."""
    names = ["ts_event", *(k for k in key if k != "ts_event")]
    columns = [numbers(table.column(name)) for name in names]
    smaller = np.zeros(len(columns[0]) - 1, bool)
    equal = np.ones(len(columns[0]) - 1, bool)
    for values in columns:
        smaller |= equal & (values[1:] < values[:-1])
        equal &= values[1:] == values[:-1]
    first = tuple(values[0] for values in columns)
    across = tally.last_key is not None and first < tally.last_key
    tally.last_key = tuple(values[-1] for values in columns)
    return int(np.count_nonzero(smaller)) + int(across)


def allowed_rejects(rows: int, *, strict: bool, max_share: float) -> float:
    """How many of a file's rows may be rejected before the file is refused."""
    if strict or max_share == 0:
        return 0
    return max(rows * max_share, min(SMALL_FILE_REJECTS, rows / 10))


def _check_reject_share(
    tally: _Tally, rejects: list[Reject], name: str, options: ReadOptions
) -> None:
    allowed = allowed_rejects(
        tally.rows_read, strict=options.strict, max_share=options.max_reject_share
    )
    if tally.rejected > allowed:
        first = rejects[0]
        raise RejectLimitError(
            f"{name}: {tally.rejected:,} of {tally.rows_read:,} rows are bad "
            f"({tally.rejected / tally.rows_read:.2%}), more than max_reject_share allows; the first "
            f"is line {first.line}: {first.reason} (line: {first.text[:120]!r})"
        )


class _Spills:
    """A [SpillWriter][] for each day, opened when its first row comes; `done` when all are closed."""

    def __init__(self, name: Path, spec: DatasetSpec, only_days: frozenset[dt.date] | None) -> None:
        self._name = name
        self._spec = spec
        self._only = only_days
        self._writers: dict[dt.date, SpillWriter] = {}
        self.done: dict[dt.date, Spill] = {}

    def __enter__(self) -> _Spills:
        self._name.parent.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_error: object) -> None:
        for day, writer in self._writers.items():
            self.done[day] = writer.close()

    def write(self, day: dt.date, table: pa.Table, tally: _Tally) -> None:
        tally.days[day] = tally.days.get(day, 0) + table.num_rows
        if self._only is not None and day not in self._only:
            return
        if day not in self._writers:
            path = self._name.with_name(f"{self._name.name}-{day.isoformat()}.arrow")
            self._writers[day] = SpillWriter(path, self._spec, table.schema)
        self._writers[day].write(table)


def lines_of(file: SourceFile, wanted: set[int]) -> dict[int, str]:
    """Text of some lines of a source file, by line number (conflicts are few)."""
    found: dict[int, str] = {}
    for block in SourceReader(file.location, file.path):
        here = [n for n in wanted if block.first_line <= n < block.first_line + block.lines]
        if here:
            lines = block.data.split(b"\n")
            for number in here:
                raw = lines[number - block.first_line].removesuffix(b"\r")
                found[number] = raw.decode("utf-8", "backslashreplace")
    return found
