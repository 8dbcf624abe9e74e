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

import math
from collections.abc import Sequence
from decimal import Decimal
from statistics import median
from typing import Annotated, Any, Literal, NamedTuple, Self

import msgspec
from nautilus_trader.model import Bar, BarType, QuoteTick, TradeTick
from phoenix_schemas.custom_data import BinanceRecord
from phoenix_schemas.signal_records import VolatilityRegime
from phoenix_signals.engines import (
    ToxicityVolatilityConfig,
    ToxicityVolatilityEngine,
    ToxicityVolatilityFeatures,
)

from phoenix_strategies.errors import StrategyError
from phoenix_strategies.gates import Gates, GatesConfig, MarketState
from phoenix_strategies.intents import BUY, Limit, Market
from phoenix_strategies.one_position import RAW_PRECISION, OnePosition, aggressor, raw_quote
from phoenix_strategies.order_rules import OrderRules
from phoenix_strategies.settings import StrategySettings, TrainingRange
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
from phoenix_strategies.twap_algorithm import ALGORITHM_ID, regime_signal, theta_signal

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
WINDOW_TO_HALF_LIFE = math.log(2) / 2
"""A window of n bars and a half-life of n ln(2) / 2 bars have the same mean age."""
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

    vpin_bucket: Positive | None = None
    """V of VPIN, in the preset's unit. None: walk-forward fits it on each fold's training range; a
    single run fits it on its first fit_minutes (its warm-up)."""
    fit_minutes: Count = 120
    toxicity_threshold: float | None = None
    """tau. None: walk-forward takes the percentile of T over each fold's training range; a single
    run the percentile of T's history so far."""
    z_min_count: Annotated[int, msgspec.Meta(ge=2)] = 30
    bar_type: str | None = None
    """Bars to decide on; None means the 1-minute bars of the traded instrument."""

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
        self.engine_config("-", 0.1, self.vpin_bucket or 1.0)  # the engine's own bounds

    @property
    def bucket_minutes(self) -> int:
        """Minutes whose median volume is V."""
        return 5 if self.resolved().bucket == "median_5m" else 1

    @property
    def known_bucket(self) -> float | None:
        """V if it needs no fitting: given, or the preset's fixed notional."""
        if self.vpin_bucket is None and self.resolved().bucket == "notional_10m":
            return 10_000_000.0
        return self.vpin_bucket

    @property
    def needs_fit(self) -> bool:
        """Whether V or tau is open."""
        return self.known_bucket is None or self.toxicity_threshold is None

    def fit(self, training: TrainingRange) -> Self:
        """V, then tau with that V, from a training range; what is given stays."""
        fitted = self
        if self.known_bucket is None:
            bucket = fit_vpin_bucket(training.bar_volumes(), self.bucket_minutes)
            fitted = msgspec.structs.replace(fitted, vpin_bucket=bucket)
        if self.toxicity_threshold is None:
            decisions = training.decision_values(fitted)
            known = [values["toxicity"] for values in decisions if "toxicity" in values]
            tau = fit_toxicity_threshold(known, self.resolved().toxicity_percentile)
            fitted = msgspec.structs.replace(fitted, toxicity_threshold=tau)
        return fitted

    def bar_type_for(self, instrument_id: str) -> str:
        """The bar type of one instrument."""
        return self.bar_type or f"{instrument_id}-1-MINUTE-LAST-EXTERNAL"

    def engine_config(
        self, instrument_id: str, price_increment: float, vpin_bucket: float
    ) -> ToxicityVolatilityConfig:
        """The signal engine's parameters, for prices and sizes as Nautilus's raw integers."""
        p = self.resolved()
        a1, a2, a3 = self.crowding_weights
        return ToxicityVolatilityConfig(
            instrument_id=instrument_id,
            price_precision=RAW_PRECISION,
            size_precision=RAW_PRECISION,
            price_increment=price_increment,
            vpin_bucket=vpin_bucket,
            vpin_unit="notional" if p.bucket == "notional_10m" else "base",
            decision_interval_ns=p.decision_minutes * MINUTE_NS,
            half_life_short_bars=p.short_minutes * WINDOW_TO_HALF_LIFE,
            half_life_long_bars=p.long_minutes * WINDOW_TO_HALF_LIFE,
            z_window_bars=p.long_minutes,
            z_min_count=self.z_min_count,
            svi_window_bars=self.svi_window_minutes,
            ofi_window_bars=self.ofi_window_minutes,
            toxicity_share=p.toxicity_percentile / 100,
            toxicity_threshold=self.toxicity_threshold,
            crowding_threshold=p.crowding_threshold,
            a1=a1,
            a2=a2,
            a3=a3,
            oi_mode=self.oi_mode,
        )

    def resolved(self) -> Preset:
        """The preset with whatever this config sets itself."""
        own = {
            name: value
            for name in Preset._fields
            if (value := getattr(self, name, None)) is not None
        }
        return PRESETS[self.preset]._replace(**own)


NOTHING_KNOWN = ToxicityVolatilityFeatures(
    0, *[None] * (len(ToxicityVolatilityFeatures._fields) - 1)
)
"""Features before anything was measured."""


class ToxicityVolatilityPolicy:
    """Decides on closes of its cadence, and stops on quotes; exits first.

    >>> policy = ToxicityVolatilityPolicy(ToxicityVolatilitySettings())
    >>> squeezed = NOTHING_KNOWN._replace(f1=1.5, f2=2.0, f3=0, is_toxic=False, variance=2.5e-7)
    >>> str(policy.decide(squeezed, MarketState(), side=0))
    'enter long: expansion, f1 1.50, f2 2.00'
    >>> crowded_long = squeezed._replace(f1=0.0, f2=-0.4, f3=-1)
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
        self,
        features: ToxicityVolatilityFeatures,
        market: MarketState,
        *,
        side: int,
        entering: bool = False,
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

    def _entry(self, f: ToxicityVolatilityFeatures, market: MarketState) -> Decision:
        if f.f1 is None or f.f2 is None or f.f3 is None or f.variance is None:
            return Decision("wait", "features not ready")
        direction = (f.f2 > 0) - (f.f2 < 0)
        if direction == 0:  # toxic flow, or none: whatever abs_f2_min and execution are
            return Decision("wait", "no pressure")
        if f.f3 == 0:
            if f.f1 < self.settings.f1_min or abs(f.f2) < self.settings.abs_f2_min:
                return Decision("wait", f"no expansion, f1 {f.f1:.2f}, f2 {f.f2:.2f}")
            side, why = direction, f"expansion, f1 {f.f1:.2f}, f2 {f.f2:.2f}"
        elif direction == f.f3:
            side, why = f.f3, f"fade crowd, f2 {f.f2:.2f}"
        else:
            return Decision("wait", f"crowded {f.f3}, flow does not confirm, f2 {f.f2:.2f}")
        if self.settings.execution == "limit":
            if f.is_toxic is not False or f.regime is VolatilityRegime.HIGH_VARIANCE:
                return Decision("wait", "toxic: no passive entry", gate="passive_toxic")
            spread = f.spread_bps
            if spread is None or spread < self.settings.limit_min_spread_bps:
                return Decision("wait", f"spread {spread} too tight", gate="passive_spread")
        if (refusal := self.gates.refuse_entry(market)) is not None:
            return Decision("wait", f"{refusal.gate}: {refusal.why}", gate=refusal.gate)
        return Decision("enter", why, side=side)

    def size(
        self, f: ToxicityVolatilityFeatures, *, equity: float, price: Decimal, rules: OrderRules
    ) -> Size:
        """Volatility target over h_max_bars; the budget shrinks with spread and VPIN."""
        settings = self.settings
        assert f.variance is not None  # _entry has checked
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
            sigma_per_bar=self.sigma(f.variance),
            holding_bars=settings.h_max_bars,
        )
        return size_for_notional(
            notional, price=price, rules=rules, caps=settings.caps, equity=equity
        )

    def sigma(self, variance: float) -> float:
        """Volatility per minute from the variance of a minute, no lower than min_volatility."""
        return max(math.sqrt(variance), self.settings.min_volatility)

    def opened(self, now: int, side: Literal[1, -1], price: float, variance: float) -> None:
        """The first fill of a position: arms the stops."""
        self._stop = TrailingStop(self.settings.stop, side, price, self.sigma(variance))
        self._time_stop = TimeStop(now, self.settings.h_max_bars * MINUTE_NS)

    def on_quote(self, now: int, bid: float, ask: float, variance: float | None) -> str | None:
        """A quote while a position is held: the reason to leave, or None."""
        if self._stop is None or self._time_stop is None:
            return None
        sigma = None if variance is None else self.sigma(variance)
        return self._stop.update(bid, ask, sigma) or self._time_stop.update(now)

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


class ToxicityVolatility(OnePosition[ToxicityVolatilitySettings]):
    """Feeds the engine each kind of event at its own pace; decides on bars, stops on quotes.

    Until V of VPIN is known (`vpin_bucket`, or the median volume of the first bars) nothing is fed.
    """

    def begin(self) -> None:
        super().begin()
        settings = self.settings
        self.policy = ToxicityVolatilityPolicy(settings)
        self.gates = self.policy.gates
        self.signal: ToxicityVolatilityEngine | None = None
        self._volumes: list[float] = []
        self._traded = 0.0
        if (bucket := settings.known_bucket) is not None:
            self._start_engine(bucket)
        self.want_quotes(True)  # the sum of OFI takes every one
        self.subscribe_trades(self.instrument_id)
        self.subscribe_bars(BarType.from_str(settings.bar_type_for(str(self.instrument_id))))
        for kind in ("BinanceBookDepthPct", "BinanceOiMetrics", "BinanceFundingRate"):
            self.subscribe_custom(kind)

    @property
    def _variance(self) -> float | None:
        """Variance of a minute at the last decision."""
        features = None if self.signal is None else self.signal.features
        return None if features is None else features.variance

    def _start_engine(self, vpin_bucket: float) -> None:
        self.signal = ToxicityVolatilityEngine(
            self.settings.engine_config(
                str(self.instrument_id), float(self.rules.price_increment), vpin_bucket
            )
        )

    def on_quote(self, quote: QuoteTick) -> None:
        if self.signal is not None:
            self.signal.on_quote(*raw_quote(quote))
        if self.engaged:
            self._watch_stops(quote)

    def _watch_stops(self, quote: QuoteTick) -> None:
        why = self.policy.on_quote(
            quote.ts_init,
            quote.bid_price.as_double(),
            quote.ask_price.as_double(),
            self._variance if self.settings.stop.update_sigma else None,
        )
        if why is not None:
            self.leave(why)
        self.advance()

    def on_trade(self, trade: TradeTick) -> None:
        if self.settings.execution == "twap":
            self._traded += trade.size.as_double()
            self.control.volume[str(self.instrument_id)] = self._traded
        if self.signal is not None and self.signal.on_trade(
            trade.ts_init, trade.price.raw, trade.size.raw, aggressor(trade)
        ):
            self._publish()  # VPIN crossed its threshold between decisions

    def on_bar(self, bar: Bar) -> None:
        self.saw_bar(bar.ts_event)
        if self.signal is None:
            self._fit(bar.volume.as_double())
        elif self.signal.on_bar(
            bar.ts_init, bar.open.raw, bar.high.raw, bar.low.raw, bar.close.raw, bar.volume.raw
        ):
            self._publish()
            if self.signal.features is not None:
                self._decide(self.signal.features)

    def _fit(self, volume: float) -> None:
        """V from the first bars, fixed from then on: nothing later can change it."""
        self._volumes.append(volume)
        if len(self._volumes) >= self.settings.fit_minutes:
            self._start_engine(fit_vpin_bucket(self._volumes, self.settings.bucket_minutes))

    def receive(self, record: BinanceRecord) -> None:
        if self.signal is not None:
            self.signal.on_custom_data(record)

    def _publish(self) -> None:
        """Record the engine's signals, and steer the TWAP algorithm with them."""
        assert self.signal is not None
        while (signal := self.signal.maybe_emit()) is not None:
            self.record(signal)
            if self.settings.execution == "twap":
                ts = signal.ts_event
                if signal.theta is not None:
                    name = theta_signal(self.instrument_id)
                    self.publish_signal(name, repr(signal.theta), ts)
                self.publish_signal(regime_signal(self.instrument_id), str(signal.regime), ts)

    def _decide(self, features: ToxicityVolatilityFeatures) -> None:
        market = self.look(self.clock.timestamp_ns())
        market.toxicity = features.vpin
        decision = self.policy.decide(
            features, market, side=self.cycle.side, entering=bool(self.cycle.entries())
        )
        names = ("f1", "f2", "f3", "crowding", "funding_z", "toxicity", "vpin", "theta", "variance")
        values = {name: getattr(features, name) for name in names}
        self.carry_out(decision, values, lambda side: self._entry(features, side))

    def _entry(self, features: ToxicityVolatilityFeatures, side: int) -> list[Market] | list[Limit]:
        settings, quote = self.settings, self.quote
        bid, ask = quote.bid_price.as_decimal(), quote.ask_price.as_decimal()
        passive = settings.execution == "limit"
        price = bid if (side == BUY) == passive else ask
        equity = self.market.equity or 0.0
        size = self.policy.size(features, equity=equity, price=price, rules=self.rules)
        if size.refusal is not None:
            self.refuse(size.refusal)
            return []
        if passive:
            expire = self.clock.timestamp_ns() + round(settings.entry_ttl_secs * SECOND_NS)
            return [Limit(side, size.quantity, price, "entry", expire_ns=expire)]
        if settings.execution == "twap":
            params = {
                name: str(value)
                for name, value in msgspec.structs.asdict(settings.twap).items()
                if value is not None
            }
            return [
                Market(
                    side, size.quantity, "entry", algorithm=ALGORITHM_ID, algorithm_params=params
                )
            ]
        return [Market(side, size.quantity, "entry")]

    def opened(self, event: Any) -> None:
        assert self._variance is not None  # an entry needs it
        side: Literal[1, -1] = 1 if event.is_buy else -1
        self.policy.opened(event.ts_event, side, event.last_px.as_double(), self._variance)

    def closed(self) -> None:
        self.policy.closed()


def fit_vpin_bucket(volumes_1m: Sequence[float], minutes: int) -> float:
    """V of VPIN from a training range: the median volume of `minutes` consecutive minutes.

    >>> fit_vpin_bucket([1.0, 9.0, 2.0, 4.0, 3.0], 1)
    3.0
    >>> fit_vpin_bucket([1.0, 9.0, 2.0, 4.0, 3.0], 2)   # 10, 6; the odd minute is left out
    8.0
    """
    groups = len(volumes_1m) // minutes
    sums = [math.fsum(volumes_1m[g * minutes : (g + 1) * minutes]) for g in range(groups)]
    traded = [total for total in sums if total > 0]
    if not traded:
        raise StrategyError(
            f"V of VPIN must be fitted on minutes with volume (was {len(volumes_1m)} minutes "
            "without); give vpin_bucket, or start where the instrument trades"
        )
    return float(round(median(traded), 8))  # the archive's sizes have no more digits


def fit_toxicity_threshold(toxicity: Sequence[float], percentile: float) -> float:
    """tau from the T of a training range: the least one that this share of them does not exceed.

    >>> fit_toxicity_threshold([3.0, -1.0, 0.5, 2.0], 70)   # 2.0 is the third of four: 75 %
    2.0
    """
    if not toxicity:
        raise StrategyError(
            "tau must be fitted on a range in which toxicity is known (was nowhere); train for "
            "longer than long_minutes, or give toxicity_threshold"
        )
    return sorted(toxicity)[math.ceil(len(toxicity) * percentile / 100) - 1]
