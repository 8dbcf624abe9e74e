"""Parsed columns into dated, checked rows.

Times become int64 ns UTC by integer multiplication, the clock and the availability of the dataset
give `ts_event` and `ts_init`, and the rules of its spec are applied to whole columns. What breaks a
rule is rejected with the reason, the line and the text; nothing is repaired.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from phoenix_schemas.datasets import (
    METRICS_START_LABEL_ERA_NS,
    Availability,
    Check,
    DatasetSpec,
    Kind,
    Rule,
)
from phoenix_schemas.timestamps import (
    NS_PER_DAY,
    NS_PER_HOUR,
    NS_PER_MINUTE,
    NS_PER_SECOND,
    UNIT_NS,
    epoch_bounds,
    epoch_unit,
)

from phoenix_etl.arrays import decimal_words, flags, int64_array, mask_array, numbers, text_array
from phoenix_etl.errors import SourceError
from phoenix_etl.parsing import Parsed, Reject
from phoenix_etl.reading import Block

MAX_SETTLEMENT_DELAY_NS = NS_PER_MINUTE
"""Funding is calculated 0 to 13 ms after its boundary; a minute is far outside."""
_METRICS_PERIOD_NS = 5 * NS_PER_MINUTE


@dataclass(frozen=True)
class Rows:
    """Dated rows of one block, in file order.

    `table` holds `ts_event`, `ts_init`, `line` (and `boundary` for funding) before the columns of the
    dataset, times in int64 ns UTC.
    """

    table: pa.Table
    rejects: list[Reject]
    off_tick: int
    """Rows with a price that is no multiple of the instrument's price increment."""
    blank_lines: int


@dataclass(frozen=True)
class FileContext:
    """What a file's rows are held against.

    `span_ns` is the period of the file's name; a row more than a day outside it is no row of this
    file. `tick` is the price increment in units of the price's last decimal.
    """

    name: str
    symbol: str
    span_ns: tuple[int, int]
    clock: str
    tick: int


class Normalizer:
    """Dates and checks parsed blocks of one file; safe to call from several threads.

    `unit` is the unit of the file's integer times (see [epoch_unit_of][]).
    """

    def __init__(self, spec: DatasetSpec, context: FileContext, unit: str) -> None:
        self._spec = spec
        self._context = context
        self._unit_ns = UNIT_NS[unit]
        self._unit = unit
        self._epochs = [c.name for c in spec.columns if c.kind is Kind.EPOCH]
        self._datetimes = [c.name for c in spec.columns if c.kind is Kind.DATETIME]
        self._prices = [c.name for c in spec.columns if c.kind is Kind.PRICE]

    def __call__(self, parsed: Parsed, block: Block) -> Rows:
        table, lines = parsed.table, parsed.lines
        rejects = list(parsed.rejects)
        keep = np.ones(table.num_rows, bool)

        def reject(bad: np.ndarray, reason: Callable[[int], str]) -> None:
            bad = bad & keep
            if not bad.any():
                return
            text = block.data.split(b"\n")
            for row in np.flatnonzero(bad).tolist():
                line = int(lines[row])
                raw = text[line - block.first_line].removesuffix(b"\r")
                rejects.append(Reject(line, reason(row), raw.decode("utf-8", "backslashreplace")))
            keep[bad] = False

        times: dict[str, np.ndarray] = {}
        low, high = epoch_bounds(self._unit)
        for name in self._epochs:
            raw = numbers(table.column(name))
            outside = (raw < low) | (raw >= high)
            if outside.any():
                self._refuse_mixed_units(name, raw[outside], lines[outside])
                reject(
                    outside,
                    lambda row, name=name, raw=raw: (  # type: ignore[misc]
                        f"{name} must be a time in {self._unit} (was {raw[row]})"
                    ),
                )
                raw = np.where(outside, low, raw)
            times[name] = raw * self._unit_ns
        first_second, end_second = epoch_bounds("s")
        for name in self._datetimes:
            seconds = numbers(table.column(name))
            outside = (seconds < first_second) | (seconds >= end_second)
            # Past 2262 the nanoseconds would wrap around, even into the file's own day.
            reject(outside, lambda _row, n=name: f"{n} must be a market time, 2010 to 2100")  # type: ignore[misc]
            times[name] = np.where(outside, first_second, seconds) * NS_PER_SECOND

        ts_event = times[self._context.clock]
        ts_init = available_at(self._spec.availability, ts_event)
        first, end = self._context.span_ns
        reject(
            (ts_event < first - NS_PER_DAY) | (ts_event >= end + NS_PER_DAY),
            lambda _row: f"{self._context.clock} must lie within a day of the file's period",
        )
        for check in self._spec.checks:
            for name, bad in self._breaches(check, table, times):
                reject(bad, lambda _row, n=name, r=check.rule: f"{n} {r.value}")  # type: ignore[misc]
        own = {"ts_event": ts_event, "ts_init": ts_init, "line": lines}
        if any(target.ts == "boundary" for target in self._spec.targets):
            interval = numbers(table.column("funding_interval_hours")) * NS_PER_HOUR
            boundary = ts_event - ts_event % np.maximum(interval, NS_PER_HOUR)
            reject(
                ts_event - boundary > MAX_SETTLEMENT_DELAY_NS,
                lambda _row: "calc_time must lie within a minute after a funding boundary",
            )
            own["boundary"] = boundary

        columns = {name: int64_array(values) for name, values in own.items()}
        for name in table.column_names:
            columns[name] = int64_array(times[name]) if name in times else table.column(name)
        dated = pa.table(columns)
        if not keep.all():
            dated = dated.filter(mask_array(keep))
        rejects.sort(key=lambda r: r.line)
        return Rows(dated, rejects, self._count_off_tick(dated), parsed.blank_lines)

    def _refuse_mixed_units(self, name: str, values: np.ndarray, lines: np.ndarray) -> None:
        for value, line in zip(values.tolist(), lines.tolist(), strict=True):
            unit = epoch_unit(value)
            if unit is not None:
                raise SourceError(
                    f"{self._context.name}:{line}: times must keep one unit; {name} is in {unit} "
                    f"here (was {value}) and in {self._unit} before"
                )

    def _breaches(
        self, check: Check, table: pa.Table, times: dict[str, np.ndarray]
    ) -> list[tuple[str, np.ndarray]]:
        """(column, rows that break the rule) for a check."""

        def values(name: str) -> np.ndarray:
            return times[name] if name in times else _comparable(table.column(name))

        columns = check.columns
        match check.rule:
            case Rule.POSITIVE:
                return [(c, (values(c) <= 0) & flags(table.column(c).is_valid())) for c in columns]
            case Rule.NOT_NEGATIVE:
                return [(c, values(c) < 0) for c in columns]
            case Rule.INSTRUMENT_SYMBOL:
                same = pc.equal(table.column(columns[0]), text_array([self._context.symbol])[0])
                return [(columns[0], ~flags(same))]
            case Rule.OHLC:
                opened, high, low, close = (values(c) for c in columns)
                bad = (low > np.minimum(opened, close)) | (high < np.maximum(opened, close))
                return [("high/low", bad)]
            case Rule.CLOSE_TIME:
                assert self._spec.interval_ns is not None  # every kline has an interval
                expected = values(columns[0]) + self._spec.interval_ns - self._unit_ns
                return [(columns[1], values(columns[1]) != expected)]
            case Rule.ID_RANGE:
                return [(columns[1], values(columns[1]) < values(columns[0]))]
            case Rule.WHOLE_HOURS:
                hours = values(columns[0])
                return [(columns[0], (hours < 1) | (hours > 24))]

    def _count_off_tick(self, table: pa.Table) -> int:
        if self._context.tick <= 1 or not table.num_rows:
            return 0
        off = np.zeros(table.num_rows, bool)
        for name in self._prices:
            price = numbers(table.column(name))
            # Several times as fast as a remainder.
            off |= price // self._context.tick * self._context.tick != price
        return int(np.count_nonzero(off))


def available_at(availability: Availability, ts_event: np.ndarray) -> np.ndarray:
    """First moment at which a row could be known, ns UTC.

    Metrics rows label the end of their 5 minutes until 2026-06-25, the start since.
    """
    if availability is Availability.AT_CLOCK:
        return ts_event
    later = np.where(ts_event >= METRICS_START_LABEL_ERA_NS, _METRICS_PERIOD_NS, 0)
    return ts_event + later


def epoch_unit_of(parsed: Parsed, spec: DatasetSpec) -> str | None:
    """Unit of a file's integer times, from the first that reads as one; "s" if it has none.

    None when the rows so far do not tell.
    """
    epochs = [c.name for c in spec.columns if c.kind is Kind.EPOCH]
    if not epochs:
        return "s"
    for value in parsed.table.column(epochs[0]).to_pylist():
        unit = epoch_unit(value)
        if unit is not None:
            return unit
    return None


def _comparable(column: pa.ChunkedArray) -> np.ndarray:
    """Numbers whose sign and order are the column's; nulls compare as 0."""
    array = column.combine_chunks()
    if pa.types.is_decimal(array.type):
        # The sign of a decimal128 is that of its high word; 0 has both words 0.
        words = decimal_words(array)
        sign = np.where(words[:, 1] < 0, -1, (words != 0).any(axis=1).astype(np.int64))
        valid = flags(array.is_valid())
        return np.where(valid, sign, 0)
    if array.null_count:
        return np.where(flags(array.is_valid()), numbers(array), 0)
    return numbers(array)
