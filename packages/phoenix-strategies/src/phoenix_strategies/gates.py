"""What must hold before a position may be opened, and what ends the day.

A gate is one condition with a name. [Gates.refuse_entry][] asks them in the order of this file and
answers with the first that says no and why; refusals are counted by gate. [Gates.must_flatten][]
asks the few that close a position which is already there: the kill-switches and, if configured,
the funding window. A gate that is not configured does not exist; one that is configured and lacks
its input refuses, since a bound that cannot be checked is not kept.

    MarketState -> Gates.refuse_entry -> Refusal | None      (before an entry)
                -> Gates.must_flatten -> Refusal | None      (always, before anything else, and
                                                              each minute, see `one_position`)
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import Literal

import msgspec

from phoenix_strategies.errors import SettingsError

MS_NS = 1_000_000
MINUTE_NS = 60_000_000_000
HOUR_NS = 3_600_000_000_000
DAY_NS = 86_400_000_000_000

GateName = Literal[
    "stale_quote",
    "spread",
    "stale_depth",
    "min_depth",
    "missing_bars",
    "spread_collapse",
    "depth_collapse",
    "toxicity",
    "funding_window",
    "daily_loss",
    "drawdown",
    "max_trades_per_hour",
]


class GatesConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Bounds of every gate; None leaves a gate out.

    quote_max_age_ms, depth_max_age_ms: age of the last quote and depth snapshot (snapshots come 19
    to 42 s apart, so a depth bound below that refuses most of the time). max_rel_spread_bps: of the
    mid. min_depth_notional: of the last depth snapshot. max_bar_gap_bars: missing bars among the
    latest. spread_collapse_multiple, depth_collapse_share: kill-switch when the spread exceeds that
    multiple of its slow average (over about an hour), or depth falls under that share of its own.
    max_toxicity: VPIN (or its percentile, whichever the strategy feeds). funding_window_minutes: on
    either side of a settlement; funding_action: `no_entry` or `flat` (close before it).
    max_daily_loss_share, max_drawdown_share: kill-switches on the loss from the day's first equity
    and from its peak. Every kill-switch closes and ends the UTC day. max_trades_per_hour: entries
    in the last hour.
    """

    quote_max_age_ms: int | None = None
    max_rel_spread_bps: float | None = None
    depth_max_age_ms: int | None = None
    min_depth_notional: float | None = None
    max_bar_gap_bars: int | None = None
    spread_collapse_multiple: float | None = None
    depth_collapse_share: float | None = None
    max_toxicity: float | None = None
    funding_window_minutes: float | None = None
    funding_action: Literal["no_entry", "flat"] = "no_entry"
    max_daily_loss_share: float | None = None
    max_drawdown_share: float | None = None
    max_trades_per_hour: int | None = None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, int | float) and value < 0:
                raise SettingsError(f"{name} must not be negative (was {value}); null is no gate")
        for name in ("max_daily_loss_share", "max_drawdown_share", "depth_collapse_share"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise SettingsError(f"{name} must lie between 0 and 1 (was {value}); 0.02 is 2 %")
        window = self.funding_window_minutes
        if self.funding_action == "flat" and window is not None and window < 1:
            raise SettingsError(
                "funding_window_minutes must be at least 1 with funding_action flat "
                f"(was {window}); positions are looked at each minute"
            )
        if self.spread_collapse_multiple is not None and self.spread_collapse_multiple <= 1:
            raise SettingsError(
                "spread_collapse_multiple must exceed 1 "
                f"(was {self.spread_collapse_multiple}); 10 is ten times the usual spread"
            )


@dataclass(slots=True)
class MarketState:
    """What gates look at, kept up to date by the strategy; None is not known yet.

    Times are ns UTC. `next_funding_ns` and `last_funding_ns` are settlements (multiples of the
    interval). `slow_rel_spread_bps` and `slow_depth_notional` are the averages that a collapse is
    measured against. `missing_bars` counts the bars that should have arrived and did not.
    """

    now: int = 0
    bid: float | None = None
    ask: float | None = None
    quote_ts: int | None = None
    depth_notional: float | None = None
    depth_ts: int | None = None
    slow_rel_spread_bps: float | None = None
    slow_depth_notional: float | None = None
    missing_bars: int | None = None
    toxicity: float | None = None
    last_funding_ns: int | None = None
    next_funding_ns: int | None = None
    equity: float | None = None

    @property
    def mid(self) -> float | None:
        """(bid + ask) / 2, or None before the first quote."""
        return None if self.bid is None or self.ask is None else (self.bid + self.ask) / 2

    @property
    def rel_spread_bps(self) -> float | None:
        """(ask - bid) / mid in bps, or None before the first quote."""
        if self.bid is None or self.ask is None:
            return None
        return (self.ask - self.bid) / (self.bid + self.ask) * 20_000


@dataclass(frozen=True, slots=True)
class Refusal:
    """A gate that said no, and why."""

    gate: GateName
    why: str


class Gates:
    """The configured gates of one strategy, with the counts of what they refused.

    >>> gates = Gates(GatesConfig(max_rel_spread_bps=5.0))
    >>> gates.refuse_entry(MarketState(bid=99.9, ask=100.1))
    Refusal(gate='spread', why='20.00 bps is above 5')
    >>> gates.refuse_entry(MarketState(bid=99.99, ask=100.01)), dict(gates.refusals)
    (None, {'spread': 1})
    """

    def __init__(self, config: GatesConfig) -> None:
        self.config = config
        self.refusals: Counter[str] = Counter()
        self.ended: Refusal | None = None
        """The kill-switch that ended the present UTC day, or None."""
        self.kills: list[tuple[int, Refusal]] = []
        """Every kill-switch that fired, with its time."""
        self._day: int | None = None
        self._day_start_equity: float | None = None
        self._peak_equity = 0.0
        self._entries: deque[int] = deque()

    def on_entry(self, now: int) -> None:
        """An entry order was sent at `now`: counts towards max_trades_per_hour."""
        self._entries.append(now)

    def refuse_entry(self, market: MarketState) -> Refusal | None:
        """The first gate that refuses an entry now, counted; None if all agree."""
        refusal = (
            self.must_flatten(market)
            or self._unchecked(market)
            or self._quality(market)
            or self._schedule(market)
        )
        if refusal is not None:
            self.refusals[refusal.gate] += 1
        return refusal

    def must_flatten(self, market: MarketState) -> Refusal | None:
        """What closes an open position now: a kill-switch, or funding with action `flat`.

        A kill-switch holds until the UTC day is over. A drawdown still there the next day fires
        again, so it ends the run.
        """
        return self._kill_switch(market) or self._flat_for_funding(market)

    def _kill_switch(self, market: MarketState) -> Refusal | None:
        day = market.now // DAY_NS
        if day != self._day:
            self._day, self.ended, self._day_start_equity = day, None, None
        if (equity := market.equity) is not None:
            if self._day_start_equity is None:
                self._day_start_equity = equity
            self._peak_equity = max(self._peak_equity, equity)
        if self.ended is None:
            self.ended = self._losses(equity) or self._collapse(market)
            if self.ended is not None:
                self.kills.append((market.now, self.ended))
        return self.ended

    def _losses(self, equity: float | None) -> Refusal | None:
        if equity is None or self._day_start_equity is None:
            return None
        limit = self.config.max_drawdown_share
        if limit is not None and equity <= self._peak_equity * (1 - limit):
            fallen = 1 - equity / self._peak_equity
            return Refusal("drawdown", f"equity is {fallen:.2%} under its peak, limit {limit:.2%}")
        limit = self.config.max_daily_loss_share
        if limit is not None and equity <= self._day_start_equity * (1 - limit):
            lost = 1 - equity / self._day_start_equity
            return Refusal("daily_loss", f"{lost:.2%} lost since 00:00 UTC, limit {limit:.2%}")
        return None

    def _collapse(self, market: MarketState) -> Refusal | None:
        multiple = self.config.spread_collapse_multiple
        if multiple is not None:
            spread, usual = market.rel_spread_bps, market.slow_rel_spread_bps
            if spread is not None and usual is not None and spread > multiple * usual:
                return Refusal(
                    "spread_collapse", f"{spread:.2f} bps is over {multiple:g} times {usual:.2f}"
                )
        share = self.config.depth_collapse_share
        if share is not None:
            depth, usual = market.depth_notional, market.slow_depth_notional
            if depth is not None and usual is not None and depth < share * usual:
                return Refusal("depth_collapse", f"{depth:.0f} is under {share:g} of {usual:.0f}")
        return None

    def _flat_for_funding(self, market: MarketState) -> Refusal | None:
        return self._funding(market) if self.config.funding_action == "flat" else None

    def _unchecked(self, market: MarketState) -> Refusal | None:
        """A kill-switch that cannot be checked closes nothing, but opens nothing either."""
        config = self.config
        if config.spread_collapse_multiple is not None and (
            market.rel_spread_bps is None or market.slow_rel_spread_bps is None
        ):
            return Refusal("spread_collapse", "usual spread not known yet")
        if config.depth_collapse_share is not None and (
            market.depth_notional is None or market.slow_depth_notional is None
        ):
            return Refusal("depth_collapse", "usual depth not known yet")
        if market.equity is None:
            if config.max_drawdown_share is not None:
                return Refusal("drawdown", "equity not known yet")
            if config.max_daily_loss_share is not None:
                return Refusal("daily_loss", "equity not known yet")
        return None

    def _quality(self, market: MarketState) -> Refusal | None:
        config = self.config
        if config.quote_max_age_ms is not None:
            stale = _too_old(market.now, market.quote_ts, config.quote_max_age_ms, "quote")
            if stale is not None:
                return Refusal("stale_quote", stale)
        if config.max_rel_spread_bps is not None:
            spread = market.rel_spread_bps
            if spread is None:
                return Refusal("spread", "no quote yet")
            if spread > config.max_rel_spread_bps:
                return Refusal("spread", f"{spread:.2f} bps is above {config.max_rel_spread_bps:g}")
        if config.depth_max_age_ms is not None:
            stale = _too_old(market.now, market.depth_ts, config.depth_max_age_ms, "depth")
            if stale is not None:
                return Refusal("stale_depth", stale)
        if config.min_depth_notional is not None and config.min_depth_notional > 0:
            depth = market.depth_notional
            if depth is None:
                return Refusal("min_depth", "no depth yet")
            if depth < config.min_depth_notional:
                return Refusal("min_depth", f"{depth:.0f} is under {config.min_depth_notional:g}")
        if config.max_bar_gap_bars is not None:
            missing = market.missing_bars
            if missing is None:
                return Refusal("missing_bars", "no bar yet")
            if missing > config.max_bar_gap_bars:
                return Refusal("missing_bars", f"{missing} bars missing")
        if config.max_toxicity is not None:
            if market.toxicity is None:
                return Refusal("toxicity", "not known yet")
            if market.toxicity > config.max_toxicity:
                return Refusal(
                    "toxicity", f"{market.toxicity:.3f} is above {config.max_toxicity:g}"
                )
        return None

    def _schedule(self, market: MarketState) -> Refusal | None:
        if (refusal := self._funding(market)) is not None:
            return refusal
        limit = self.config.max_trades_per_hour
        if limit is None:
            return None
        while self._entries and self._entries[0] <= market.now - HOUR_NS:
            self._entries.popleft()
        if len(self._entries) >= limit:
            return Refusal("max_trades_per_hour", f"{len(self._entries)} entries in the last hour")
        return None

    def _funding(self, market: MarketState) -> Refusal | None:
        minutes = self.config.funding_window_minutes
        if minutes is None:
            return None
        if market.next_funding_ns is None and market.last_funding_ns is None:
            return Refusal("funding_window", "settlement times not known yet")
        window = int(minutes * MINUTE_NS)
        ahead, behind = market.next_funding_ns, market.last_funding_ns
        if ahead is not None and 0 <= ahead - market.now <= window:
            return Refusal("funding_window", f"{(ahead - market.now) / MINUTE_NS:.1f} min before")
        if behind is not None and 0 <= market.now - behind < window:
            return Refusal("funding_window", f"{(market.now - behind) / MINUTE_NS:.1f} min after")
        return None


def _too_old(now: int, then: int | None, limit_ms: int, what: str) -> str | None:
    if then is None:
        return f"no {what} yet"
    age_ms = (now - then) // MS_NS
    return f"{what} is {age_ms} ms old, limit {limit_ms}" if age_ms > limit_ms else None
