"""Liquidity: what it costs to trade now, and how much the book holds.

- From quotes: [SpreadBps][], [QuotedDepth][].
- From bookDepth, whose rows are cumulative from the touch: [DepthWithin][], [DepthImbalance][],
  [LiquidityDepletion][]. Rows of one snapshot share their time; the bid side has negative
  percentages. Snapshots come 19 to 42 s apart, so bounds on their age below that refuse most of
  the time.
- Clocks between sources: [SourceAge][] and [QuoteBefore][], the quote that a trade met.
"""

from __future__ import annotations

from typing import Literal

from phoenix_signals.errors import (
    NUMBER_MAX,
    InputError,
    check_choice,
    check_positive,
    check_time,
    size_error,
)
from phoenix_signals.estimator import Estimator, Versioned
from phoenix_signals.orderflow import check_quote

BPS = 10_000.0
"""Basis points in one."""

Side = Literal["bid", "ask"]
ImpulseQuote = Literal["strictly_before", "at_or_before"]


class SpreadBps(Estimator):
    """Quoted spread in basis points of the mid.

    Formula:
        10,000 (a - b) / m, m = (a + b) / 2.
    Units: basis points.
    Clock: quote updates.
    Warm-up: none.
    Missing data: none is made up.
    Errors: a crossed quote or a price not above 0 raises `InputError`; a locked quote has spread 0.

    Example:
        >>> spread = SpreadBps()
        >>> spread.update(99.99, 100.01)
        >>> round(spread.value, 9)
        2.0

    Source: Foucault, Pagano, Roell (2013), Market Liquidity, section 2.2.
    """

    ID = "spread_bps"
    VERSION = 1
    EXAMPLES = ({},)

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float | None = None

    def update(self, bid: float, ask: float) -> None:
        """Take a quote."""
        check_quote(bid, ask)
        self.value = BPS * ((ask - bid) / ((ask + bid) * 0.5))


class QuotedDepth(Estimator):
    """Notional that stands at the touch.

    Formula:
        b B + a A.
    Units: the quote asset.
    Clock: quote updates.
    Warm-up: none.
    Missing data: none is made up.
    Errors: a crossed quote, a price not above 0 or a negative size raises `InputError`.

    Example:
        >>> depth = QuotedDepth()
        >>> depth.update(100.0, 101.0, 2.0, 1.0)
        >>> depth.value
        301.0

    Source: Foucault, Pagano, Roell (2013), Market Liquidity, section 2.2.
    """

    ID = "quoted_depth"
    VERSION = 1
    EXAMPLES = ({},)

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float | None = None

    def update(self, bid: float, ask: float, bid_size: float, ask_size: float) -> None:
        """Take a quote."""
        check_quote(bid, ask, bid_size, ask_size)
        self.value = bid * bid_size + ask * ask_size


class DepthWithin(Estimator):
    """Depth within X percent of the touch, both sides.

    Formula:
        D(X) = notional(-X) + notional(+X) of one snapshot; rows are cumulative from the touch, so
        levels are never added up.
    Units: the quote asset; percentages in percent.
    Clock: rows of bookDepth; the value changes when both sides of a snapshot are in.
    Warm-up: one snapshot with both sides.
    Missing data: a snapshot that lacks a side leaves the value before; see its age.
    Errors: time going back, a level twice at one time or a negative notional raises `InputError`.

    Example:
        >>> depth = DepthWithin(depth_pct=1.0)
        >>> for percentage, notional in ((-2.0, 90.0), (-1.0, 40.0), (1.0, 50.0)):
        ...     depth.update(0, percentage, notional)
        >>> depth.value
        90.0

    Source: design note "signals", Liquidity; bookDepth of data.binance.vision.
    """

    ID = "depth_within"
    VERSION = 1
    EXAMPLES = ({"depth_pct": 5.0}, {"depth_pct": 1.0})

    __slots__ = (
        "_ask", "_ask_ts", "_bid", "_bid_ts", "_last", "_snapshot_ts", "depth_pct", "value",
    )  # fmt: skip

    def __init__(self, depth_pct: float = 5.0) -> None:
        self.depth_pct = check_positive("depth_pct", depth_pct, "5.0")
        self._bid = self._ask = 0.0
        self._bid_ts = self._ask_ts = self._snapshot_ts = -1
        self._last = 0
        self.value: float | None = None

    def update(self, ts_ns: int, percentage: float, notional: float) -> None:
        """Take a row of bookDepth."""
        check_depth(ts_ns, self._last, percentage, notional)
        if percentage == -self.depth_pct:
            check_new_level(ts_ns, self._bid_ts, percentage)
            self._bid = notional
            self._bid_ts = ts_ns
        elif percentage == self.depth_pct:
            check_new_level(ts_ns, self._ask_ts, percentage)
            self._ask = notional
            self._ask_ts = ts_ns
        self._last = ts_ns
        if self._bid_ts == self._ask_ts == ts_ns:
            self._snapshot_ts = ts_ns
            self.value = self._estimate(self._bid, self._ask)

    @property
    def snapshot_ts_ns(self) -> int | None:
        """Time of the snapshot behind the value, None before the first: its age is yours to bound."""
        return self._snapshot_ts if self._snapshot_ts >= 0 else None

    def _estimate(self, bid: float, ask: float) -> float | None:
        return bid + ask


class DepthImbalance(DepthWithin):
    """Notional order book imbalance NOBI within X percent of the touch.

    Formula:
        NOBI = (notional(-X) - notional(+X)) / (notional(-X) + notional(+X)) of one snapshot.
    Units: none, in [-1, 1].
    Clock: rows of bookDepth; the value changes when both sides of a snapshot are in.
    Warm-up: one snapshot with both sides.
    Missing data: None while both sides are empty; a snapshot that lacks a side leaves the value
        before.
    Errors: time going back, a level twice at one time or a negative notional raises `InputError`.

    Example:
        >>> nobi = DepthImbalance(depth_pct=1.0)
        >>> nobi.update(0, -1.0, 75.0)
        >>> nobi.update(0, 1.0, 25.0)
        >>> nobi.value
        0.5

    Source: design note "signals", Liquidity.
    """

    ID = "nobi"
    VERSION = 1
    EXAMPLES = ({"depth_pct": 5.0}, {"depth_pct": 1.0})

    __slots__ = ()

    def _estimate(self, bid: float, ask: float) -> float | None:
        total = bid + ask
        return (bid - ask) / total if total else None


class LiquidityDepletion(Estimator):
    """Liquidity depletion LDR: depth against the snapshot before, same level and side.

    Formula:
        LDR = notional_t / notional_(t-1) at one percentage of consecutive snapshots; 1 until there
        are two, or if the one before is 0. Below 1 the book thins.
    Units: none.
    Clock: rows of bookDepth; only rows of the chosen level and side matter.
    Warm-up: one snapshot.
    Missing data: a snapshot that lacks the level is passed over.
    Errors: time going back, the level twice at one time or a negative notional raises `InputError`.

    Example:
        >>> ldr = LiquidityDepletion()
        >>> for ts_ns, percentage, notional in ((0, -1.0, 80.0), (0, -2.0, 90.0), (30, -1.0, 60.0)):
        ...     ldr.update(ts_ns, percentage, notional)
        >>> ldr.value
        0.75

    Source: design note "signals", Liquidity.
    """

    ID = "ldr"
    VERSION = 1
    EXAMPLES = ({}, {"depth_pct": 5.0, "side": "ask"})

    __slots__ = ("_last", "_level", "_notional", "_seen_ts", "depth_pct", "side", "value")

    def __init__(self, depth_pct: float = 1.0, side: Side = "bid") -> None:
        self.depth_pct = check_positive("depth_pct", depth_pct, "1.0")
        self.side = check_choice("side", side, ("bid", "ask"))
        self._level = -depth_pct if side == "bid" else depth_pct
        self._notional = 0.0
        self._last = 0
        self._seen_ts = -1
        self.value: float | None = None

    def update(self, ts_ns: int, percentage: float, notional: float) -> None:
        """Take a row of bookDepth."""
        check_depth(ts_ns, self._last, percentage, notional)
        if percentage == self._level:
            check_new_level(ts_ns, self._seen_ts, percentage)
            self.value = notional / self._notional if self._notional else 1.0
            self._notional = notional
            self._seen_ts = ts_ns
        self._last = ts_ns


class SourceAge(Estimator):
    """Age of the newest record of a source, at each event.

    Formula:
        ts_ns - (time of the newest record of the source at or before this event).
    Units: nanoseconds.
    Clock: any merged event stream; `is_source` marks the events of the source itself (1) among
        the others (0).
    Warm-up: the first record of the source.
    Missing data: None before the first record.
    Errors: time going back raises `InputError`.

    Example:
        >>> age = SourceAge()
        >>> age.update(100, 1)
        >>> age.update(130, 0)
        >>> age.value
        30

    Source: design note "signals", Liquidity.
    """

    ID = "source_age"
    VERSION = 1
    EXAMPLES = ({},)

    __slots__ = ("_last", "_seen", "value")

    def __init__(self) -> None:
        self._last = 0
        self._seen: int | None = None
        self.value: int | None = None

    def update(self, ts_ns: int, is_source: int) -> None:
        """Take an event, of the source or not."""
        check_time(ts_ns, self._last)
        if is_source not in (0, 1):
            raise InputError(f"is_source must be 1 or 0 (was {is_source}); say whose event it is")
        self._last = ts_ns
        if is_source:
            self._seen = ts_ns
        if self._seen is not None:
            self.value = ts_ns - self._seen


class QuoteBefore(Versioned):
    """The quote that a trade met: the last one strictly before the trade's time.

    Formula:
        argmax over quotes of t_quote < t_trade (`strictly_before`), or <= (`at_or_before`).
    Units: any quote object, returned as it was given.
    Clock: one time for quotes and trades. At an equal time a replay delivers the quote first, and
        that quote often already shows the trade's own effect: on recorded BTCUSDT minutes the
        strict rule finds 33 % of trades through the touch, ties-first 13 %.
    Warm-up: None until there is a quote before the trade.
    Missing data: no bound on the quote's age; its time is returned with it.
    Errors: time going back raises `InputError`; so does a quote older than the last trade asked.

    Example:
        >>> quotes = QuoteBefore()
        >>> quotes.update(10, "old")
        >>> quotes.update(20, "new")
        >>> quotes.at(20), quotes.at(21)
        ((10, 'old'), (20, 'new'))

    Source: Lee, Ready (1991), J. Finance 46(2); design note "signals", The quote before a trade.
    """

    ID = "quote_before"
    VERSION = 1
    EXAMPLES = ({}, {"impulse_quote": "at_or_before"})

    __slots__ = ("_before", "_current", "_strict", "_ts", "impulse_quote")

    def __init__(self, impulse_quote: ImpulseQuote = "strictly_before") -> None:
        self.impulse_quote = check_choice(
            "impulse_quote", impulse_quote, ("strictly_before", "at_or_before")
        )
        self._strict = impulse_quote == "strictly_before"
        self._ts = 0
        self._current: tuple[int, object] | None = None
        self._before: tuple[int, object] | None = None  # last quote of the timestamp before

    def update(self, ts_ns: int, quote: object) -> None:
        """Take a quote."""
        check_time(ts_ns, self._ts)
        if ts_ns > self._ts:
            self._before = self._current
            self._ts = ts_ns
        self._current = (ts_ns, quote)

    def at(self, ts_ns: int) -> tuple[int, object] | None:
        """(time, quote) that a trade at `ts_ns` met, None when there is none."""
        check_time(ts_ns, self._ts)
        return self._before if self._strict and ts_ns == self._ts else self._current


def check_depth(ts_ns: int, last_ns: int, percentage: float, notional: float) -> None:
    """Refuse a bookDepth row that goes back in time or holds no number."""
    check_time(ts_ns, last_ns)
    if not 0 <= notional < NUMBER_MAX:
        raise size_error("notional", notional)
    if not -100.0 <= percentage <= 100.0:
        raise InputError(f"percentage must lie in [-100, 100] (was {percentage}); fix its source")


def check_new_level(ts_ns: int, seen_ns: int, percentage: float) -> None:
    """Refuse a second row of one level in one snapshot."""
    if ts_ns == seen_ns:
        raise InputError(
            f"(ts_ns, percentage) must be unique (was {ts_ns}, {percentage} twice); "
            "drop repeated rows of the snapshot"
        )
