"""Where a suite's events come from: stored series, and what is made of them on the way.

A [Feed][] reads one type of one instrument. From trades it can build bars, from bars a market (see
`trade_bars`); [FlatFunding][] replaces the archive's rates. Trades that only serve to build bars stay
out of the engine, which would let each of them overwrite the book (see `book_restore`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from phoenix_schemas.arrow import CATALOG_TYPES, TIME
from phoenix_schemas.instruments import InstrumentSpec
from phoenix_schemas.timestamps import NS_PER_HOUR, NS_PER_MINUTE, format_utc

from phoenix_runner.catalog_series import Catalog, StoredSeries, init_times
from phoenix_runner.config import FundingSection
from phoenix_runner.errors import NoDataError
from phoenix_runner.suite import Suite
from phoenix_runner.trade_bars import BarMarket, TradeBars

GAP_NS = {"QuoteTick": 5 * NS_PER_MINUTE, "TradeTick": 5 * NS_PER_MINUTE, "Bar": 2 * NS_PER_MINUTE}
"""Silence of a market type that counts as a gap in the data."""


@dataclass(frozen=True)
class Batch:
    """Rows of one type and identifier within a window."""

    type_name: str
    identifier: str
    table: pa.Table

    @property
    def is_custom(self) -> bool:
        """Whether the engine must be told which client it came from."""
        kind = CATALOG_TYPES.get(self.type_name)
        return kind is not None and kind.is_custom


@dataclass
class GapFinder:
    """Stretches in which a series was silent for longer than its kind allows."""

    threshold_ns: int
    last_ns: int
    found: list[tuple[int, int]] = field(default_factory=list)
    first_ns: int | None = None

    def see(self, table: pa.Table) -> None:
        """Take a table's times, in order."""
        times = np.r_[self.last_ns, init_times(table)]
        if self.first_ns is None:
            self.first_ns = int(times[1])
        for index in np.flatnonzero(np.diff(times) > self.threshold_ns):
            self.found.append((int(times[index]), int(times[index + 1])))
        self.last_ns = int(times[-1])

    def close(self, end_ns: int) -> list[tuple[int, int]]:
        """All gaps, the one up to the end of the range included."""
        if end_ns - self.last_ns > self.threshold_ns:
            return [*self.found, (self.last_ns, end_ns)]
        return self.found


@dataclass
class Feed:
    """A stored series and what is made of it: bars from trades, a market from bars."""

    type_name: str
    instrument_id: str
    identifier: str
    series: StoredSeries
    gaps: GapFinder | None
    trade_bars: TradeBars | None = None
    market: BarMarket | None = None
    delivered: bool = True
    """Whether the engine gets the rows themselves, or only what is made of them."""

    def read(self, start_ns: int, end_ns: int) -> list[Batch]:
        """Batches of one window."""
        table = self.series.read(start_ns, end_ns)
        batches = []
        if table is not None:
            if self.gaps is not None:
                self.gaps.see(table)
            if self.delivered:
                batches.append(Batch(self.type_name, self.identifier, table))
        bars = table if self.type_name == "Bar" else None
        if self.trade_bars is not None:
            bars = self.trade_bars.build(table, start_ns, end_ns)
            if bars is not None:
                batches.append(Batch("Bar", self.trade_bars.bar_type, bars))
        if self.market is not None and bars is not None:
            quotes = self.market.quotes(bars)
            batches.append(Batch("QuoteTick", self.instrument_id, quotes))
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
        return [Batch(self.type_name, self.instrument_id, table)]


def open_feeds(
    suite: Suite, catalog: Catalog, start_ns: int, end_ns: int, *, strict: bool = True
) -> list[Feed | FlatFunding]:
    """The feeds of a suite, instruments in its order.

    Raises NoDataError if `strict` and a type that the suite includes has no rows for an instrument in
    the range.
    """
    config = suite.config
    wanted = [name for name in config.data.include if not _is_built(suite, name)]
    feeds: list[Feed | FlatFunding] = []
    for instrument_id, spec in suite.instruments.items():
        feeds += [_stored(suite, catalog, name, spec, start_ns, end_ns, strict) for name in wanted]
        funding = config.funding_section
        if funding.mode == "flat":
            feeds.append(FlatFunding(instrument_id, funding))
        elif funding.mode == "settle":
            rates = _stored(suite, catalog, "FundingRateUpdate", spec, start_ns, end_ns, strict)
            feeds.append(rates)
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
    strict: bool,
) -> Feed:
    kind = CATALOG_TYPES[type_name]
    instrument_id = spec.instrument_id
    is_bar = type_name == "Bar"
    identifier = f"{instrument_id}-1-MINUTE-LAST-EXTERNAL" if is_bar else instrument_id
    schema = kind.schema(identifier, spec.price_precision, spec.size_precision)
    if type_name not in GAP_NS:  # mark and index prices have more digits than the market's
        schema = schema.remove_metadata()
    series = StoredSeries(catalog, catalog.files(kind, identifier), schema)
    if strict and not series.overlaps(start_ns, end_ns):
        raise NoDataError(_nothing(catalog, type_name, identifier, series, start_ns, end_ns))
    gaps = GapFinder(GAP_NS[type_name], start_ns) if type_name in GAP_NS else None
    feed = Feed(type_name, instrument_id, identifier, series, gaps)
    makes_bars = type_name == "TradeTick" and suite.config.data.bars_from_trades
    if makes_bars:
        feed.trade_bars = TradeBars(instrument_id, spec.price_precision, spec.size_precision)
        needed = "TradeTick" in suite.spec.data_types(suite.settings)
        feed.delivered = needed or bool(suite.config.execution.trade_execution)
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
    if series.files and series.files[0].first_ns < start and end <= series.files[-1].last_ns:
        what = "the catalog has a gap there; ingest the missing days, or change time"
    elif series.files:
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
