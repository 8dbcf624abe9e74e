"""Screening: many parameter sets over one range from batch signals, without an engine.

The fill rule, stated in every report that used a screen: what a set wants to hold at a decision it
holds from that instant on, bought or sold at the mid in force then plus half of the spread (or the
spread and slippage assumed for bars), with the taker fee on every change. No latency, queue, partial
fill, margin or funding; what is held at the end is sold there. Good enough to put a hundred sets in
order, not to say what one earns: the best are replayed (see `walk_forward`).

Signals are computed day by day in UTC, each with the hours before it that they need (see
`screen_rules`), so that memory does not grow with the range.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from phoenix_schemas.instruments import InstrumentSpec
from phoenix_schemas.timestamps import NS_PER_DAY, NS_PER_HOUR
from phoenix_signals.batch.columns import Bars, Columns, Depth, Funding, Metrics, Quotes, Trades

from phoenix_runner.catalog_series import Catalog
from phoenix_runner.config import Search
from phoenix_runner.errors import SuiteError
from phoenix_runner.feeds import Feed, FlatFunding, open_feeds
from phoenix_runner.screen_rules import RULES, Floats, Ints, Stretch
from phoenix_runner.search import ParameterSet, with_parameters
from phoenix_runner.suite import Suite
from phoenix_runner.venue import fee_rates

FILL_RULE = (
    "what a set wants to hold at a decision is held from then on, at the mid plus half the spread and "
    "the taker fee on every change, without latency, queue, margin or funding"
)
_COLUMNS: Mapping[str, str] = {
    "QuoteTick": "quotes", "Bar": "bars", "TradeTick": "trades", "BinanceBookDepthPct": "depth",
    "BinanceOiMetrics": "metrics", "BinanceFundingRate": "funding",
}  # fmt: skip


@dataclass(frozen=True)
class Screened:
    """What one set would have done by the fill rule: a value per UTC day with a decision."""

    day_ns: Ints
    returns: Floats
    net: float
    maximum_drawdown: float
    """Of daily closes."""
    fills: int


def check_screenable(suite: Suite, search: Search) -> None:
    """Raises SuiteError if the suite's strategy or parameters are beyond a screen."""
    name = suite.spec.name
    if name not in RULES:
        raise SuiteError(
            f"mode.search.screen must go with one of {', '.join(sorted(RULES))} (was {name}); leave "
            "it out to replay every set"
        )
    for key in search.parameters:
        if not key.startswith("strategy.config."):
            raise SuiteError(
                f"mode.search.screen must go with parameters of strategy.config (was {key}); leave it "
                "out to replay every set"
            )


def screen(
    suite: Suite, sets: Sequence[ParameterSet], *, start_utc: str, end_utc: str
) -> list[Screened]:
    """Every set over [start, end), in order, after the suite's warm-up."""
    suites = [with_parameters(suite, s, start_utc=start_utc, end_utc=end_utc) for s in sets]
    base = suites[0]
    catalog = Catalog.open(base.config.catalog.path)
    days: list[dict[int, float]] = [{} for _ in sets]
    fills = np.zeros(len(sets), dtype=np.int64)
    for name in base.traded:
        settings = [s.settings for s in suites]
        fills += _instrument(base, catalog, base.instruments[name], settings, days)
    equity = float(
        sum((Decimal(b.split()[0]) for b in base.config.universe.starting_balances), Decimal(0))
    )
    return [_screened(own, equity, int(n)) for own, n in zip(days, fills, strict=True)]


def _instrument(
    suite: Suite,
    catalog: Catalog,
    spec: InstrumentSpec,
    settings: Sequence[Any],
    days: list[dict[int, float]],
) -> NDArray[np.int64]:
    """Add one instrument's daily results to `days`; returns the changes of position by set."""
    screenable = RULES[suite.spec.name]
    rule = screenable.build(settings, spec)
    taker = float(fee_rates(suite.config.execution.fees, (spec.maker_fee, spec.taker_fee))[1])
    books = [_Book(taker, found) for found in days]
    time, unit = suite.config.time, 10.0**-spec.price_precision
    # A rule that looks back needs no warm-up; one that carries its state has only that.
    first = time.start_ns if screenable.lookback_ns else time.start_ns - time.warmup_ns
    for day in range(first - first % NS_PER_DAY, time.end_ns, NS_PER_DAY):
        start, end = max(day, first), min(day + NS_PER_DAY, time.end_ns)
        stretch = _stretch(suite, catalog, spec, start, end, screenable.lookback_ns)
        if stretch is None:
            continue
        for book, targets in zip(books, rule.decide(stretch), strict=True):
            trading = targets.ts_ns >= time.start_ns
            ts_ns, held = targets.ts_ns[trading], targets.held[trading]
            bid, ask, known = stretch.quote_at(ts_ns)
            has_market = known >= 0
            book.take(
                day,
                held[has_market],
                (bid + ask)[has_market] / 2 * unit,
                ((ask - bid) / (ask + bid))[has_market],
            )
    for book in books:
        book.close()
    return np.array([book.changes for book in books], dtype=np.int64)


class _Book:
    """Position and daily result of one set by the fill rule."""

    def __init__(self, fee: float, days: dict[int, float]) -> None:
        self._fee = fee
        self._days = days
        self._held = self._mid = self._cost = 0.0
        self._day = 0
        self.changes = 0

    def take(self, day: int, held: Floats, mid: Floats, half_spread: Floats) -> None:
        """The decisions of a day: what is held from each on, mid and half the relative spread."""
        if not len(held):
            return
        before = np.concatenate([[self._held], held[:-1]])
        moved = np.diff(np.concatenate([[self._mid or mid[0]], mid]))
        change = np.abs(held - before)
        cost = mid * (self._fee + half_spread)
        self._days[day] = self._days.get(day, 0.0) + float((before * moved - change * cost).sum())
        self.changes += int(np.count_nonzero(change))
        self._held, self._mid = float(held[-1]), float(mid[-1])
        self._day, self._cost = day, float(cost[-1])

    def close(self) -> None:
        """Sell what is held at the last price seen."""
        if self._held:
            self._days[self._day] -= abs(self._held) * self._cost
            self.changes += 1


def _screened(days: Mapping[int, float], equity: float, fills: int) -> Screened:
    day_ns = np.array(sorted(days), dtype=np.int64)
    results = np.array([days[int(day)] for day in day_ns])
    closes = equity + np.cumsum(results)
    opens = closes - results
    peak = np.maximum.accumulate(np.concatenate([[equity], closes]))[1:]
    returns = np.divide(results, opens, out=np.zeros_like(results), where=opens > 0)
    return Screened(
        day_ns=day_ns,
        returns=returns,
        net=float(results.sum()),
        maximum_drawdown=float(((peak - closes) / peak).max(initial=0.0)),
        fills=fills,
    )


def _stretch(
    suite: Suite,
    catalog: Catalog,
    spec: InstrumentSpec,
    start_ns: int,
    end_ns: int,
    lookback_ns: int,
) -> Stretch | None:
    """Columns of one instrument, read by the hour; None where it has no market."""
    parts: dict[str, list[Columns]] = {}
    feeds = [
        feed
        for feed in open_feeds(suite, catalog, start_ns - lookback_ns, end_ns, strict=False)
        if not isinstance(feed, FlatFunding)
        and feed.instrument_id == spec.instrument_id
        and _is_needed(feed, suite)
    ]
    for hour in range(start_ns - lookback_ns, end_ns, NS_PER_HOUR):
        for feed in feeds:
            for batch in feed.read(hour, min(hour + NS_PER_HOUR, end_ns)):
                if (name := _COLUMNS.get(batch.type_name)) is not None:
                    parts.setdefault(name, []).append(_columns(name, batch.table, spec))
    if "quotes" not in parts:
        return None
    joined: dict[str, Any] = {name: _join(found) for name, found in parts.items()}
    return Stretch(start_ns, end_ns, **joined)


def _is_needed(feed: Feed, suite: Suite) -> bool:
    wanted = {"QuoteTick", *suite.spec.data_types(suite.settings)}
    makes_market = feed.market is not None or feed.trade_bars is not None
    return feed.type_name in wanted or makes_market


def _columns(name: str, table: pa.Table, spec: InstrumentSpec) -> Columns:
    priced: dict[str, Any] = {"quotes": Quotes, "bars": Bars, "trades": Trades}
    other: dict[str, Any] = {"depth": Depth, "metrics": Metrics, "funding": Funding}
    if name in priced:
        rows = priced[name].from_catalog(table, spec.price_precision, spec.size_precision)
    else:
        rows = other[name].from_catalog(table)
    columns: Columns = rows
    return columns


def _join(parts: Sequence[Columns]) -> Columns:
    first: Any = parts[0]
    joined: Columns = replace(
        first, **{n: np.concatenate([p.arrays()[n] for p in parts]) for n in first.arrays()}
    )
    return joined
