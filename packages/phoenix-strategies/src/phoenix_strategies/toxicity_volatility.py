"""Toxicity-conditioned volatility alpha: momentum out of compression, fading of crowds.

Three features, each known at the decision: F1 = z(-compression), high when volatility is squeezed;
F2 = order-flow pressure, 0 while flow is toxic; F3 = crowding, -1 crowded long, +1 crowded short,
0 neutral (F3 is the position a fade would take).

- Neutral, F1 >= f1_min and |F2| >= abs_f2_min: go with the flow, direction sgn(F2).
- Crowded, and the flow confirms (sgn(F2) = F3): fade the crowd, direction F3.
- Holding, and F3 changes or the funding z crosses 0 against the position: reduce by reduce_share,
  never reverse in the same decision.

Decides on closes of the preset's cadence; stops act on every quote; a volatility signal with theta
is published at each decision and when VPIN crosses its threshold in between.

Read from top to bottom: presets, settings, policy (pure), strategy (translates events).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Literal, NamedTuple

import msgspec
from phoenix_schemas.signal_records import VolatilityRegime

from phoenix_strategies.gates import Gates, GatesConfig, MarketState
from phoenix_strategies.order_rules import OrderRules
from phoenix_strategies.settings import StrategySettings
from phoenix_strategies.sizing import (
    Caps,
    Size,
    shrink_budget,
    size_for_notional,
    volatility_target,
)
from phoenix_strategies.stops import StopConfig, TimeStop, TrailingStop
from phoenix_strategies.trade_cycle import Decision
from phoenix_strategies.twap import TwapConfig

MINUTE_NS = 60_000_000_000
Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class Preset(NamedTuple):
    """What a preset letter stands for."""

    decision_minutes: int
    short_minutes: int
    long_minutes: int
    bucket: str
    """How the VPIN bucket V is chosen: median volume of 1 or 5 minutes, or a fixed notional."""
    toxicity_percentile: float
    crowding_threshold: float


PRESETS = {
    "A": Preset(1, 30, 360, "median_1m", 70.0, 1.0),
    "B": Preset(5, 60, 720, "median_5m", 60.0, 1.25),
    "C": Preset(15, 120, 1_440, "notional_10m", 50.0, 1.5),
}


class ToxicityVolatilitySettings(
    StrategySettings, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """Settings of `toxicity_volatility`; None takes the preset's value."""

    preset: Literal["A", "B", "C"] = "A"
    decision_minutes: Count | None = None
    short_minutes: Count | None = None
    long_minutes: Count | None = None
    toxicity_percentile: Annotated[float, msgspec.Meta(gt=0, lt=100)] | None = None
    crowding_threshold: Positive | None = None
    crowding_weights: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """a1 funding, a2 open-interest change, a3 long/short ratio."""
    oi_mode: Literal["additive", "amplify"] = "additive"
    ofi_window_minutes: Count = 1
    svi_window_minutes: Annotated[int, msgspec.Meta(ge=1, le=5)] = 1

    f1_min: float = 1.0
    abs_f2_min: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    reduce_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.5
    stop: StopConfig = StopConfig(k_stop=2.0, h_stop_bars=15.0, k_tp=1.5)
    h_max_bars: Count = 60
    """Time stop, in minutes (bars)."""

    risk_budget_bps: Annotated[float, msgspec.Meta(gt=0, le=500)] = 30.0
    """One-sigma loss over h_max_bars, of equity; published range 20 to 50."""
    spread_ref_bps: Positive | None = 2.0
    """The budget shrinks when the spread is wider than this (chosen here)."""
    min_volatility: Positive = 0.0001
    """Floor of sigma per minute (chosen here)."""
    caps: Caps = Caps(max_leverage=2.0)

    execution: Literal["market", "limit", "twap"] = "market"
    limit_min_spread_bps: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """Guardrail of `limit`: a passive entry needs at least this spread to earn."""
    entry_ttl_secs: Positive = 60.0
    """Time limit of a passive entry (chosen here)."""
    twap: TwapConfig = TwapConfig(horizon_secs=300.0, interval_secs=15.0, half_life_secs=120.0)
    gates: GatesConfig = GatesConfig()

    def __post_init__(self) -> None:
        p = self.resolved()
        if p.short_minutes >= p.long_minutes:
            raise ValueError(
                f"short_minutes must be < long_minutes = {p.long_minutes} (was {p.short_minutes}); "
                "30 and 360 in preset A"
            )

    def resolved(self) -> Preset:
        """The preset with whatever this config sets itself."""
        own = {
            name: value
            for name in Preset._fields
            if (value := getattr(self, name, None)) is not None
        }
        return PRESETS[self.preset]._replace(**own)


@dataclass(frozen=True, slots=True)
class Features:
    """Everything a decision looks at; None is not known yet.

    `toxic` says that T is at or above its percentile (then F2 is 0). `vpin_reference` is what the
    budget shrinks against. `sigma_per_minute` is a volatility, not a variance.
    """

    f1: float | None = None
    f2: float | None = None
    f3: int | None = None
    funding_z: float | None = None
    toxic: bool | None = None
    regime: VolatilityRegime = VolatilityRegime.NORMAL
    sigma_per_minute: float | None = None
    spread_bps: float | None = None
    vpin: float | None = None
    vpin_reference: float | None = None


class ToxicityVolatilityPolicy:
    """Decides on closes of its cadence, and stops on quotes; exits first.

    >>> policy = ToxicityVolatilityPolicy(ToxicityVolatilitySettings())
    >>> squeezed = Features(f1=1.5, f2=2.0, f3=0, toxic=False, sigma_per_minute=0.0005)
    >>> str(policy.decide(squeezed, MarketState(), side=0))
    'enter long: expansion, f1 1.50, f2 2.00'
    >>> crowded_long = Features(f1=0.0, f2=-0.4, f3=-1, toxic=False, sigma_per_minute=0.0005)
    >>> str(policy.decide(crowded_long, MarketState(), side=0))   # the position is F3
    'enter short: fade crowd, f2 -0.40'
    """

    def __init__(self, settings: ToxicityVolatilitySettings) -> None:
        self.settings = settings
        self.gates = Gates(settings.gates)
        self._stop: TrailingStop | None = None
        self._time_stop: TimeStop | None = None
        self._last_f3: int | None = None
        self._last_funding_z: float | None = None

    def decide(
        self, features: Features, market: MarketState, *, side: int, entering: bool = False
    ) -> Decision:
        """One decision time; `side` and `entering` come from the order events."""
        crowd_changed = (
            features.f3 is not None and self._last_f3 is not None and features.f3 != self._last_f3
        )
        funding_turned = side != 0 and _crossed_against(
            side, self._last_funding_z, features.funding_z
        )
        if features.f3 is not None:
            self._last_f3 = features.f3
        if features.funding_z is not None:
            self._last_funding_z = features.funding_z
        if side or entering:
            if (kill := self.gates.must_flatten(market)) is not None:
                return Decision("leave", f"{kill.gate}: {kill.why}", gate=kill.gate)
            if self._time_stop is not None and (why := self._time_stop.update(market.now)):
                return Decision("leave", why)
            share = self.settings.reduce_share
            if side and crowd_changed:
                return Decision("reduce", f"crowding is now {features.f3}", share=share)
            if funding_turned:
                z = features.funding_z
                return Decision("reduce", f"funding z {z:.2f} against the position", share=share)
            return Decision("wait", "holding" if side else "entry working")
        return self._entry(features, market)

    def _entry(self, f: Features, market: MarketState) -> Decision:
        if f.f1 is None or f.f2 is None or f.f3 is None or f.sigma_per_minute is None:
            return Decision("wait", "features not ready")
        direction = (f.f2 > 0) - (f.f2 < 0)
        if f.f3 == 0:
            if f.f1 < self.settings.f1_min or abs(f.f2) < self.settings.abs_f2_min:
                return Decision("wait", f"no expansion, f1 {f.f1:.2f}, f2 {f.f2:.2f}")
            side, why = direction, f"expansion, f1 {f.f1:.2f}, f2 {f.f2:.2f}"
        elif direction == f.f3:
            side, why = f.f3, f"fade crowd, f2 {f.f2:.2f}"
        else:
            return Decision("wait", f"crowded {f.f3}, flow does not confirm, f2 {f.f2:.2f}")
        if self.settings.execution == "limit":
            if f.toxic is not False or f.regime is VolatilityRegime.HIGH_VARIANCE:
                return Decision("wait", "toxic: no passive entry", gate="passive_toxic")
            spread = f.spread_bps
            if spread is None or spread < self.settings.limit_min_spread_bps:
                return Decision("wait", f"spread {spread} too tight", gate="passive_spread")
        if (refusal := self.gates.refuse_entry(market)) is not None:
            return Decision("wait", f"{refusal.gate}: {refusal.why}", gate=refusal.gate)
        return Decision("enter", why, side=side)

    def size(self, f: Features, *, equity: float, price: Decimal, rules: OrderRules) -> Size:
        """Volatility target over h_max_bars; the budget shrinks with spread and VPIN."""
        settings = self.settings
        assert f.sigma_per_minute is not None  # _entry has checked
        budget = shrink_budget(
            settings.risk_budget_bps,
            spread_bps=f.spread_bps,
            spread_ref_bps=settings.spread_ref_bps,
            vpin=f.vpin,
            vpin_ref=f.vpin_reference,
        )
        notional = volatility_target(
            equity=equity,
            risk_budget_bps=budget,
            sigma_per_bar=self.floored(f.sigma_per_minute),
            holding_bars=settings.h_max_bars,
        )
        return size_for_notional(
            notional, price=price, rules=rules, caps=settings.caps, equity=equity
        )

    def floored(self, sigma_per_minute: float) -> float:
        """Sigma, no lower than min_volatility."""
        return max(sigma_per_minute, self.settings.min_volatility)

    def opened(self, now: int, side: Literal[1, -1], price: float, sigma_per_minute: float) -> None:
        """The first fill of a position: arms the stops."""
        self._stop = TrailingStop(self.settings.stop, side, price, self.floored(sigma_per_minute))
        self._time_stop = TimeStop(now, self.settings.h_max_bars * MINUTE_NS)

    def on_quote(self, now: int, bid: float, ask: float, sigma: float | None) -> str | None:
        """A quote while a position is held: the reason to leave, or None."""
        if self._stop is None or self._time_stop is None:
            return None
        floored = None if sigma is None else self.floored(sigma)
        return self._stop.update(bid, ask, floored) or self._time_stop.update(now)

    def closed(self) -> None:
        """The position is gone: disarms the stops."""
        self._stop = self._time_stop = None


def _crossed_against(side: int, before: float | None, now: float | None) -> bool:
    """Whether the funding z crossed 0 to the side that makes the position pay.

    Positive funding is paid by longs, so a rise through 0 is against a long.
    """
    if before is None or now is None:
        return False
    return side * before <= 0 < side * now
