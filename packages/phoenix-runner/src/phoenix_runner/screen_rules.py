"""What strategies would hold, decision by decision, from batch signals: the rules of a screen.

A rule takes the settings of many parameter sets at once and the columns of a stretch of time, and says
for each set when it decides and what it then wants to hold. Signals come from the batch twins, once for
all sets that share them; decisions come from the strategies' own policies, so a threshold means the
same here as in a replay. [RULES][] has the strategies that can be screened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray
from phoenix_schemas.instruments import InstrumentSpec
from phoenix_schemas.signal_records import BarLpiSignal, SignalSnapshot, from_table
from phoenix_schemas.timestamps import NS_PER_HOUR
from phoenix_signals.batch import bar_lpi_engine, lpi_engine
from phoenix_signals.batch.columns import (
    Bars,
    Depth,
    Funding,
    Metrics,
    Quotes,
    Trades,
    depth_snapshots,
)
from phoenix_strategies.ema_cross import EmaCrossSettings
from phoenix_strategies.gates import GatesConfig, MarketState
from phoenix_strategies.liquidity_pressure import LiquidityPressurePolicy
from phoenix_strategies.phoenix_lpi import PhoenixLpiPolicy
from phoenix_strategies.trade_cycle import Decision

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Stretch:
    """Columns of one instrument from somewhat before `start_ns` to `end_ns` (excluded)."""

    start_ns: int
    end_ns: int
    quotes: Quotes
    bars: Bars | None = None
    trades: Trades | None = None
    depth: Depth | None = None
    metrics: Metrics | None = None
    funding: Funding | None = None

    def inside(self, ts_ns: Ints) -> slice:
        """Rows of a sorted time column that lie in [start, end)."""
        first, last = np.searchsorted(ts_ns, (self.start_ns, self.end_ns))
        return slice(int(first), int(last))

    def next_event(self, ts_ns: Ints) -> Ints:
        """Time of the first quote or trade at or after each time: when a closed bucket is noticed."""
        far = np.array([np.iinfo(np.int64).max])
        found = np.full(len(ts_ns), far)
        for own in (self.quotes, self.trades):
            if own is not None:
                times = np.concatenate([own.ts_ns, far])
                found = np.minimum(found, times[np.searchsorted(own.ts_ns, ts_ns, side="left")])
        return found

    def quote_at(self, ts_ns: Ints) -> tuple[Floats, Floats, Ints]:
        """Bid, ask (raw units) and time of the quote in force at each time; NaN and -1 before any."""
        row = np.searchsorted(self.quotes.ts_ns, ts_ns, side="right") - 1
        if not len(self.quotes):
            nothing = np.full(len(ts_ns), np.nan)
            return nothing, nothing, np.full(len(ts_ns), -1, dtype=np.int64)
        bid = np.where(row >= 0, self.quotes.bid_raw[row], np.nan)
        ask = np.where(row >= 0, self.quotes.ask_raw[row], np.nan)
        return bid, ask, np.where(row >= 0, self.quotes.ts_ns[row], -1)


@dataclass(frozen=True)
class Targets:
    """What one set wants to hold (signed, base units) from each of its decisions on."""

    ts_ns: Ints
    held: Floats


class Rule(Protocol):
    """Decisions of many sets of one strategy on one instrument, stretch after stretch."""

    def decide(self, stretch: Stretch) -> list[Targets]:
        """One for each set, in order; times in [start, end) of the stretch."""
        ...  # pragma: no cover  a protocol has no body


class EmaCrossRule:
    """EMA cross on bars, all sets in step: the recursions of `EmaCrossPolicy` over a vector."""

    def __init__(self, settings: Sequence[EmaCrossSettings], spec: InstrumentSpec) -> None:
        def column(name: str) -> Floats:
            return np.array([float(getattr(s, name)) for s in settings])

        self._unit = 10.0**-spec.price_precision
        self._fast_weight = 2.0 / (column("fast_bars") + 1)
        self._slow_weight = 2.0 / (column("slow_bars") + 1)
        self._warm_up = column("slow_bars")
        self._band = column("flat_band_bps") / 10_000.0
        self._short = np.where([s.long_only for s in settings], 0.0, -1.0)
        self._size = column("trade_size")
        self._seen = 0
        self._fast = self._slow = np.zeros(len(settings))
        self._held = np.zeros(len(settings))

    def decide(self, stretch: Stretch) -> list[Targets]:
        bars = stretch.bars
        assert bars is not None  # RULES asks for them
        own = stretch.inside(bars.ts_ns)
        closes = bars.close_raw[own] * self._unit
        held = np.empty((len(closes), len(self._size)))
        for i, close in enumerate(closes):
            if self._seen == 0:
                self._fast = self._slow = np.full(len(self._size), close)
            else:
                self._fast = self._fast + self._fast_weight * (close - self._fast)
                self._slow = self._slow + self._slow_weight * (close - self._slow)
            self._seen += 1
            gap = self._fast - self._slow
            side = np.where(gap > 0, 1.0, self._short)
            side = np.where(np.abs(gap) <= self._band * self._slow, 0.0, side)
            self._held = np.where(self._seen < self._warm_up, self._held, side * self._size)
            held[i] = self._held
        return [Targets(bars.ts_ns[own], held[:, i]) for i in range(len(self._size))]


@dataclass(frozen=True)
class PolicyParts:
    """What tells one strategy's policy from another's in a [PolicyRule][]."""

    policy: Callable[[Any], Any]
    """The policy of settings."""
    signals: Callable[[Stretch, Any], list[Any]]
    """Signal records of a stretch, by the batch twin of the strategy's engine."""
    ask: Callable[[Any, Any, MarketState, int], Decision]
    """The policy's decision on a record, given the side held."""
    decided_at: Callable[[Stretch, Ints], Ints]
    """When records of those times are decided on."""
    depth_pct: Callable[[Any], float]
    """Level of the depth that its gates look at."""


class PolicyRule:
    """Sets whose own policies decide on signal records, one signal for all sets that share it.

    An entry is taken to fill at once. Gates see quote and depth; those under `gates` in the settings
    (losses, funding windows, ...) are left out, because a screen keeps no account.
    """

    def __init__(self, parts: PolicyParts, settings: Sequence[Any], spec: InstrumentSpec) -> None:
        self._parts = parts
        self._spec = spec
        self._settings = [msgspec.structs.replace(s, gates=GatesConfig()) for s in settings]
        self._policies = [parts.policy(s) for s in self._settings]
        self._sides = [0] * len(settings)

    def decide(self, stretch: Stretch) -> list[Targets]:
        """Targets of every set."""
        sharing: dict[Any, list[int]] = {}
        for number, settings in enumerate(self._settings):
            config = replace(
                settings.engine_config(float(self._spec.price_increment)),
                price_precision=self._spec.price_precision,
                size_precision=self._spec.size_precision,
            )
            sharing.setdefault((config, self._parts.depth_pct(settings)), []).append(number)
        found: dict[int, Targets] = {}
        for (config, depth_pct), members in sharing.items():
            records = self._parts.signals(stretch, config)
            ts_ns = np.array([record.ts_event for record in records], dtype=np.int64)
            ts_ns = self._parts.decided_at(stretch, ts_ns)
            own = stretch.inside(ts_ns)
            ts_ns, records = ts_ns[own], records[own]
            held = np.zeros((len(records), len(members)))
            for i, market in enumerate(self._markets(stretch, ts_ns, depth_pct)):
                for j, number in enumerate(members):
                    held[i, j] = self._sides[number] = self._step(number, records[i], market)
            for j, number in enumerate(members):
                size = float(self._settings[number].trade_size)
                found[number] = Targets(ts_ns, held[:, j] * size)
        return [found[number] for number in range(len(self._settings))]

    def _step(self, number: int, record: Any, market: MarketState) -> int:
        policy, side, ask = self._policies[number], self._sides[number], self._parts.ask
        decision = ask(policy, record, market, side)
        if decision.act == "leave":
            side = 0
            if decision.side:  # a reversal: the same record decides again, flat
                decision = ask(policy, record, market, 0)
        return decision.side if decision.act == "enter" else side

    def _markets(self, stretch: Stretch, ts_ns: Ints, depth_pct: float) -> list[MarketState]:
        unit = 10.0**-self._spec.price_precision
        bid, ask, quote_ts = stretch.quote_at(ts_ns)
        depth_ts, bids, asks = depth_snapshots(stretch.depth, depth_pct)
        row = np.searchsorted(depth_ts, ts_ns, side="left") - 1
        return [
            MarketState(
                now=int(ts),
                bid=None if at < 0 else b * unit,
                ask=None if at < 0 else a * unit,
                quote_ts=None if at < 0 else int(at),
                depth_notional=None if d < 0 else float(bids[d] + asks[d]),
                depth_ts=None if d < 0 else int(depth_ts[d]),
            )
            for ts, b, a, at, d in zip(ts_ns, bid, ask, quote_ts, row, strict=True)
        ]


def _lpi_signals(stretch: Stretch, config: Any) -> list[SignalSnapshot]:
    s = stretch
    assert s.trades is not None  # RULES asks for them
    depth = s.depth if config.use_depth else None
    metrics = s.metrics if config.use_open_interest else None
    table = lpi_engine(s.trades, s.quotes, depth, metrics, s.funding, config=config)
    return from_table(table, SignalSnapshot)


def _bar_lpi_signals(stretch: Stretch, config: Any) -> list[BarLpiSignal]:
    assert stretch.bars is not None  # RULES asks for them
    table = bar_lpi_engine(stretch.bars, stretch.quotes, stretch.depth, config=config)
    return from_table(table, BarLpiSignal)


def _ask_lpi(policy: Any, record: Any, market: MarketState, side: int) -> Decision:
    decision: Decision = policy.decide(record, market, side=side, entering=False)
    return decision


def _ask_bar_lpi(policy: Any, record: Any, market: MarketState, side: int) -> Decision:
    decision: Decision = policy.decide(record.lpi, market, side=side)
    return decision


_LPI = PolicyParts(
    PhoenixLpiPolicy, _lpi_signals, _ask_lpi, Stretch.next_event, lambda s: s.depth_pct_abs
)
_BAR_LPI = PolicyParts(
    LiquidityPressurePolicy, _bar_lpi_signals, _ask_bar_lpi, lambda _s, ts_ns: ts_ns, lambda _s: 5.0
)


@dataclass(frozen=True)
class Screenable:
    """How a strategy is screened: its rule, and how much time before a day its signals need."""

    build: Callable[[Sequence[Any], InstrumentSpec], Rule]
    lookback_ns: int
    """0 for a rule that carries its state from stretch to stretch."""


RULES: Mapping[str, Screenable] = {
    "ema_cross": Screenable(EmaCrossRule, 0),
    "liquidity_pressure": Screenable(partial(PolicyRule, _BAR_LPI), 6 * NS_PER_HOUR),
    "phoenix_lpi": Screenable(partial(PolicyRule, _LPI), 6 * NS_PER_HOUR),
}
"""By strategy name. The others size and exit on every quote, which decisions alone cannot show."""
