"""The catalog as the engine receives it: windows in time, types in order within an instant.

A [Replay][] cuts [start, end) into windows and reads each one's tables ahead of the engine, one
window at a time, in a thread of its own (Parquet decoding releases the interpreter). Within one
nanosecond types come in the order of `phoenix_schemas.arrow` (quotes, trades, depth, metrics,
funding, mark and index prices, bars), instruments in the order of the suite, and rows of one type
and instrument as they lie in their file. The engine's sort is stable, so adding in that order is
enough. Results do not depend on the window's length.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from phoenix_schemas.arrow import CATALOG_TYPES, TIME, bar_instrument
from phoenix_schemas.instruments import InstrumentSpec
from phoenix_schemas.timestamps import NS_PER_HOUR, NS_PER_MINUTE, format_utc

from phoenix_runner.catalog_series import Catalog, StoredSeries, init_times
from phoenix_runner.config import FundingSection
from phoenix_runner.errors import NoDataError, SuiteError
from phoenix_runner.suite import Suite
from phoenix_runner.trade_bars import BarMarket, TradeBars

DEFAULT_WINDOW_NS = NS_PER_HOUR
GAP_NS = {"QuoteTick": 5 * NS_PER_MINUTE, "TradeTick": 5 * NS_PER_MINUTE, "Bar": 2 * NS_PER_MINUTE}
"""Silence of a market type that counts as a gap in the data."""


@dataclass(frozen=True)
class Batch:
    """Rows of one type and identifier within a window."""

    type_name: str
    identifier: str
    table: pa.Table
    derived: bool = False
    """Made here from other rows: bars from trades, a market from bars, an assumed rate."""

    @property
    def instrument_id(self) -> str:
        return bar_instrument(self.identifier) if self.type_name == "Bar" else self.identifier

    @property
    def is_custom(self) -> bool:
        """Whether the engine must be told which client it came from."""
        return CATALOG_TYPES[self.type_name].is_custom


@dataclass(frozen=True)
class Window:
    """What happens in [start, end), in order of delivery at equal times."""

    start_ns: int
    end_ns: int
    batches: tuple[Batch, ...]

    @property
    def rows(self) -> int:
        return sum(batch.table.num_rows for batch in self.batches)


@dataclass
class GapFinder:
    """Stretches in which a series was silent for longer than its kind allows."""

    threshold_ns: int
    last_ns: int
    found: list[tuple[int, int]] = field(default_factory=list)

    def see(self, table: pa.Table) -> None:
        """Take a table's times, in order."""
        times = np.r_[self.last_ns, init_times(table)]
        for index in np.flatnonzero(np.diff(times) > self.threshold_ns):
            self.found.append((int(times[index]), int(times[index + 1])))
        self.last_ns = int(times[-1])

    def close(self, end_ns: int) -> list[tuple[int, int]]:
        """All gaps, the one up to the end of the range included."""
        if end_ns - self.last_ns > self.threshold_ns:
            return [*self.found, (self.last_ns, end_ns)]
        return self.found


class Replay:
    """One pass over the catalog for a suite, from `start_ns` to `end_ns` (excluded).

    The `warmup_ns` before the start are replayed too, as far as the catalog has them. Raises
    NoDataError before any work if a type that the suite includes has no rows for an instrument in
    the range.
    """

    def __init__(
        self, suite: Suite, catalog: Catalog, start_ns: int, end_ns: int, warmup_ns: int = 0
    ) -> None:
        self.start_ns = start_ns - warmup_ns
        self.end_ns = end_ns
        self._feeds = _feeds(suite, catalog, start_ns, end_ns)
        self._gaps = {
            (feed.type_name, feed.instrument_id): GapFinder(GAP_NS[feed.type_name], start_ns)
            for feed in self._feeds
            if feed.type_name in GAP_NS
        }
        self.rows: dict[str, dict[str, int]] = {}

    def windows(self, length_ns: int = DEFAULT_WINDOW_NS) -> Iterator[Window]:
        """Windows that hold anything, in order; the next one is being read meanwhile."""
        if length_ns % NS_PER_MINUTE:
            raise SuiteError(f"window must be whole minutes (was {length_ns} ns); 1h is typical")
        starts = range(self.start_ns, self.end_ns, length_ns)
        with ThreadPoolExecutor(1, thread_name_prefix="replay-read") as reader:
            pending = None
            for start in starts:
                following = reader.submit(self._read, start, min(start + length_ns, self.end_ns))
                if pending is not None and (window := pending.result()).batches:
                    yield window
                pending = following
            if pending is not None and (window := pending.result()).batches:
                yield window

    def gaps(self) -> list[dict[str, Any]]:
        """Gaps of the market types that were read, [start_ns, end_ns) each."""
        return [
            {"what": f"{type_name} of {instrument_id}", "start_ns": first, "end_ns": last}
            for (type_name, instrument_id), finder in sorted(self._gaps.items())
            for first, last in finder.close(self.end_ns)
        ]

    def _read(self, start_ns: int, end_ns: int) -> Window:
        batches = [batch for feed in self._feeds for batch in feed.read(start_ns, end_ns)]
        for batch in batches:
            if batch.derived:
                continue
            counts = self.rows.setdefault(batch.type_name, {})
            counts[batch.instrument_id] = counts.get(batch.instrument_id, 0) + batch.table.num_rows
            finder = self._gaps.get((batch.type_name, batch.instrument_id))
            if finder is not None:
                finder.see(batch.table)
        order = {name: position for position, name in enumerate(CATALOG_TYPES)}
        batches.sort(key=lambda b: order[b.type_name])  # stable: instruments keep their order
        return Window(start_ns, end_ns, tuple(batches))


@dataclass
class Feed:
    """A stored series and what is made of it: bars from trades, a market from bars."""

    type_name: str
    instrument_id: str
    identifier: str
    series: StoredSeries
    trade_bars: TradeBars | None = None
    market: BarMarket | None = None

    def read(self, start_ns: int, end_ns: int) -> list[Batch]:
        """Batches of one window."""
        table = self.series.read(start_ns, end_ns)
        batches = [Batch(self.type_name, self.identifier, table)] if table is not None else []
        bars = table if self.type_name == "Bar" else None
        if self.trade_bars is not None:
            bars = self.trade_bars.build(table, start_ns, end_ns)
            if bars is not None:
                batches.append(Batch("Bar", self.trade_bars.bar_type, bars, derived=True))
        if self.market is not None and bars is not None:
            quotes = self.market.quotes(bars)
            batches.append(Batch("QuoteTick", self.instrument_id, quotes, derived=True))
        return batches


@dataclass
class FlatFunding:
    """A constant funding rate at every boundary, in place of the archive's."""

    instrument_id: str
    section: FundingSection
    type_name: str = "FundingRateUpdate"

    def read(self, start_ns: int, end_ns: int) -> list[Batch]:
        """The boundaries of one window."""
        interval_ns = self.section.interval_hours * NS_PER_HOUR
        first = -(-start_ns // interval_ns) * interval_ns
        times = np.arange(first, end_ns, interval_ns, dtype=np.int64)
        if not len(times):
            return []
        stamp = pa.array(times).cast(TIME)
        rate = pa.array([str(self.section.flat_rate)] * len(times))
        interval = pa.array([self.section.interval_hours * 60] * len(times), pa.uint64())
        schema = CATALOG_TYPES[self.type_name].schema(self.instrument_id)
        arrays = [rate, interval, pa.nulls(len(times), TIME), stamp, stamp]
        table = pa.table(arrays, schema=schema)
        return [Batch(self.type_name, self.instrument_id, table, derived=True)]


def _feeds(suite: Suite, catalog: Catalog, start_ns: int, end_ns: int) -> list[Feed | FlatFunding]:
    config = suite.config
    wanted = [name for name in config.data.include if not _is_built(suite, name)]
    feeds: list[Feed | FlatFunding] = []
    for instrument_id, spec in suite.instruments.items():
        feeds += [_stored(suite, catalog, name, spec, start_ns, end_ns) for name in wanted]
        funding = config.funding_section
        if funding.mode == "flat":
            feeds.append(FlatFunding(instrument_id, funding))
        elif funding.mode == "settle":
            feeds.append(_stored(suite, catalog, "FundingRateUpdate", spec, start_ns, end_ns))
    return feeds


def _is_built(suite: Suite, type_name: str) -> bool:
    return type_name == "Bar" and suite.config.data.bars_from_trades


def _stored(
    suite: Suite,
    catalog: Catalog,
    type_name: str,
    spec: InstrumentSpec,
    start_ns: int,
    end_ns: int,
) -> Feed:
    kind = CATALOG_TYPES[type_name]
    instrument_id = spec.instrument_id
    is_bar = type_name == "Bar"
    identifier = f"{instrument_id}-1-MINUTE-LAST-EXTERNAL" if is_bar else instrument_id
    series = StoredSeries(catalog, catalog.files(kind, identifier))
    if not series.overlaps(start_ns, end_ns):
        raise NoDataError(_nothing(catalog, type_name, identifier, series, start_ns, end_ns))
    feed = Feed(type_name, instrument_id, identifier, series)
    makes_bars = type_name == "TradeTick" and suite.config.data.bars_from_trades
    if makes_bars:
        feed.trade_bars = TradeBars(instrument_id, spec.price_precision, spec.size_precision)
    assumed = suite.config.execution.bar_execution
    if assumed is not None and (is_bar or makes_bars):
        feed.market = BarMarket(
            instrument_id,
            price_increment=spec.price_increment,
            price_precision=spec.price_precision,
            size_precision=spec.size_precision,
            spread_bps=assumed.spread_bps,
            slippage_bps=assumed.slippage_bps,
        )
    return feed


def _nothing(
    catalog: Catalog, type_name: str, identifier: str, series: StoredSeries, start: int, end: int
) -> str:
    asked = f"{format_utc(start)} to {format_utc(end)}"
    if series.files:
        held = f"{format_utc(series.files[0].first_ns)} to {format_utc(series.files[-1].last_ns)}"
        what = f"the catalog has it from {held}; change time"
    elif type_name == "FundingRateUpdate":
        what = "ingest fundingRate, or set funding to flat or off"
    elif type_name == "Bar":
        what = "ingest klines, or build bars with data.bars_from_trades: true"
    else:
        have = ", ".join(catalog.identifiers(CATALOG_TYPES[type_name])) or "no instrument"
        what = f"the catalog has that type for {have}; ingest it, or correct the suite"
    return f"{catalog.root}: no {type_name} of {identifier} in {asked}; {what}"


def delivery(
    window: Window, decoders: dict[tuple[str, str], Any]
) -> Iterator[tuple[Batch, list[Any]]]:
    """Batches of a window with their decoded rows, in order of delivery."""
    from phoenix_runner.decoding import decoder

    for batch in window.batches:
        key = (batch.type_name, batch.identifier)
        if key not in decoders:
            decoders[key] = decoder(*key)
        yield batch, decoders[key](batch.table)
