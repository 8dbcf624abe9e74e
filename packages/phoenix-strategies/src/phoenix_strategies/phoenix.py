"""Phoenix: provide liquidity to forced sellers, measured by the composite LPI.

Composite LPI rises with forced selling (FSI), depletion of depth (LDR) and toxicity (VPIN), once
per notional bucket. Entry: the signal is valid, lpi > lpi_entry_threshold and the open-interest
z-score is at least oi_z_threshold: a post-only BUY at min(bid + n ticks, ask - 1 tick), sized by
fractional Kelly, gone after its time limit. Exit: lpi < lpi_exit_threshold, the stop, or the time
stop, whatever open interest and validity say by then.

Read from top to bottom: settings, policy (pure), strategy (translates events).
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from nautilus_trader.model import QuoteTick, TradeTick
from phoenix_schemas.custom_data import BinanceRecord
from phoenix_schemas.signal_records import PhoenixSignal
from phoenix_signals.engines import CompositeLpiConfig, CompositeLpiEngine
from phoenix_signals.realized import RealizedMeasures

from phoenix_strategies.gates import Gates, GatesConfig, MarketState
from phoenix_strategies.intents import Limit
from phoenix_strategies.one_position import RAW_PRECISION, OnePosition, aggressor
from phoenix_strategies.order_rules import OrderRules, touch_price
from phoenix_strategies.settings import StrategySettings
from phoenix_strategies.sizing import Caps, Size, kelly_fraction, size_for_notional
from phoenix_strategies.stops import StopConfig, TimeStop, TrailingStop
from phoenix_strategies.trade_cycle import Decision

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
Positive = Annotated[float, msgspec.Meta(gt=0)]


class PhoenixSettings(StrategySettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of `phoenix`; names and defaults are the published ones unless noted."""

    # Signal
    vol_bucket_size: Positive = 1_000_000.0
    """Notional of one bucket, in quote currency."""
    fsi_window: Annotated[int, msgspec.Meta(ge=2)] = 100
    oi_window: Annotated[int, msgspec.Meta(ge=2)] = 8_640
    """Open-interest rows: 30 days of 5 minutes."""
    min_history: Annotated[int, msgspec.Meta(ge=2)] = 30
    rv_window_minutes: Annotated[int, msgspec.Meta(ge=3)] = 60
    depth_max_age_ms: Annotated[int, msgspec.Meta(ge=1)] = 60_000

    # Decision
    lpi_entry_threshold: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.75
    """0.60 is the second preset: without depletion lpi cannot pass 0.7."""
    lpi_exit_threshold: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.20
    oi_z_threshold: float | None = 1.5
    """Least open-interest z of an entry; None drops the filter (and the need for it)."""
    stop: StopConfig = StopConfig()
    """In sigmas of 1-minute mid returns, floored like the size's (chosen here)."""
    max_hold_secs: Positive = 3_600.0
    """Chosen here."""

    # Size
    kelly_kappa: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.5
    expected_alpha: Positive = 0.0005
    """mu over the holding horizon, as a return."""
    jump_risk_variance: Annotated[float, msgspec.Meta(ge=0)] = 0.0001
    """Variance added for jumps over the horizon."""
    holding_minutes: Positive = 60.0
    """The horizon H of mu, sigma and jumps."""
    min_volatility: Positive = 0.001
    """Floor of sigma per minute (of sigma, not of the variance)."""
    max_leverage: Positive = 2.0
    caps: Caps = Caps()
    """Any further caps."""

    # Execution
    maker_offset_ticks: Annotated[int, msgspec.Meta(ge=0)] = 1
    entry_ttl_secs: Positive = 60.0
    """Chosen here."""
    gates: GatesConfig = GatesConfig()

    def __post_init__(self) -> None:
        if self.lpi_exit_threshold >= self.lpi_entry_threshold:
            raise ValueError(
                f"lpi_exit_threshold must be < lpi_entry_threshold = {self.lpi_entry_threshold} "
                f"(was {self.lpi_exit_threshold}); 0.20"
            )
        if self.caps.max_leverage is not None:
            raise ValueError("caps.max_leverage must be given as max_leverage, beside caps")
        self.engine_config()  # the engine's own bounds

    def engine_config(self) -> CompositeLpiConfig:
        """The signal engine's parameters, for prices and sizes as Nautilus's raw integers."""
        return CompositeLpiConfig(
            price_precision=RAW_PRECISION,
            size_precision=RAW_PRECISION,
            bucket_notional=self.vol_bucket_size,
            fsi_window_buckets=self.fsi_window,
            oi_window_rows=self.oi_window,
            z_min_count=self.min_history,
            depth_max_age_ns=self.depth_max_age_ms * 1_000_000,
        )


class PhoenixPolicy:
    """Decides on every closed bucket, and on quotes while something is held; exits first."""

    def __init__(self, settings: PhoenixSettings) -> None:
        self.settings = settings
        self.gates = Gates(settings.gates)
        self._stop: TrailingStop | None = None
        self._time_stop: TimeStop | None = None

    def decide(
        self,
        signal: PhoenixSignal,
        market: MarketState,
        *,
        sigma_per_minute: float | None,
        side: int,
        entering: bool,
    ) -> Decision:
        """One closed bucket. `sigma_per_minute` is None until its window is full.

        `side` is the position's and `entering` whether an entry still works, both from the order
        events.
        """
        lpi = signal.lpi
        if side or entering:
            if (kill := self.gates.must_flatten(market)) is not None:
                return Decision("leave", f"{kill.gate}: {kill.why}", gate=kill.gate)
            if lpi is not None and lpi < self.settings.lpi_exit_threshold:
                return Decision("leave", f"lpi {lpi:.2f} under exit threshold")
            return Decision("wait", "holding" if side else "entry working")
        threshold, oi_z = self.settings.oi_z_threshold, signal.oi_zscore
        # Without the filter open interest need not be there, and lpi is all of the signal.
        if lpi is None or not (signal.is_valid or threshold is None):
            return Decision("wait", "signal not valid")
        if lpi <= self.settings.lpi_entry_threshold:
            return Decision("wait", "no forced selling")
        if threshold is not None and (oi_z is None or oi_z < threshold):
            return Decision("wait", f"open interest z {oi_z}", gate="open_interest")
        if sigma_per_minute is None:
            return Decision("wait", "realized volatility not ready", gate="rv_warmup")
        if (refusal := self.gates.refuse_entry(market)) is not None:
            return Decision("wait", f"{refusal.gate}: {refusal.why}", gate=refusal.gate)
        return Decision("enter", f"lpi {lpi:.2f}", side=1)

    def size(
        self, sigma_per_minute: float, *, equity: float, price: Decimal, rules: OrderRules
    ) -> Size:
        """Fractional Kelly over the holding horizon, within the leverage cap."""
        settings = self.settings
        fraction = kelly_fraction(
            mu_horizon=settings.expected_alpha,
            sigma_per_bar=self.floored(sigma_per_minute),
            holding_bars=settings.holding_minutes,
            jump_variance_horizon=settings.jump_risk_variance,
            kappa=settings.kelly_kappa,
        )
        caps = msgspec.structs.replace(settings.caps, max_leverage=settings.max_leverage)
        return size_for_notional(
            fraction * equity, price=price, rules=rules, caps=caps, equity=equity
        )

    def floored(self, sigma_per_minute: float) -> float:
        """Sigma, no lower than min_volatility."""
        return max(sigma_per_minute, self.settings.min_volatility)

    def opened(self, now: int, price: float, sigma_per_minute: float) -> None:
        """The first fill of a position: arms the stops."""
        self._stop = TrailingStop(self.settings.stop, 1, price, self.floored(sigma_per_minute))
        self._time_stop = TimeStop(now, round(self.settings.max_hold_secs * SECOND_NS))

    def on_quote(
        self, now: int, bid: float, ask: float, sigma_per_minute: float | None
    ) -> str | None:
        """A quote while a position is held: the reason to leave, or None."""
        if self._stop is None or self._time_stop is None:
            return None
        sigma = None if sigma_per_minute is None else self.floored(sigma_per_minute)
        return self._stop.update(bid, ask, sigma) or self._time_stop.update(now)

    def closed(self) -> None:
        """The position is gone: disarms the stops."""
        self._stop = self._time_stop = None


class Phoenix(OnePosition[PhoenixSettings]):
    """Feeds the composite engine and a volatility of minute mids; carries out the decisions."""

    depth_pct = 1.0

    def begin(self) -> None:
        super().begin()
        settings = self.settings
        self.policy = PhoenixPolicy(settings)
        self.gates = self.policy.gates
        self.signal = CompositeLpiEngine(settings.engine_config())
        self._realized = RealizedMeasures(settings.rv_window_minutes)
        # A nanosecond before the minute, since data of the very minute belong to the next one.
        last_ns = self.clock.timestamp_ns() // MINUTE_NS * MINUTE_NS - 1
        self.every("minute", MINUTE_NS, last_ns, lambda _event: self._close_minute())
        self.subscribe_trades(self.instrument_id)
        self.subscribe_custom("BinanceBookDepthPct")
        if settings.oi_z_threshold is not None:
            self.subscribe_custom("BinanceOiMetrics")
        if settings.gates.funding_window_minutes is not None:
            self.subscribe_custom("BinanceFundingRate")

    @property
    def sigma_per_minute(self) -> float | None:
        """Volatility of a 1-minute mid return over the window; None until it is full."""
        realized = self._realized.value
        if realized is None:
            return None
        return math.sqrt(realized.variance / self.settings.rv_window_minutes)

    def on_quote(self, quote: QuoteTick) -> None:
        """A quote while something is held or works: stops, and what is missing on the way out."""
        why = self.policy.on_quote(
            quote.ts_init,
            quote.bid_price.as_double(),
            quote.ask_price.as_double(),
            self.sigma_per_minute if self.settings.stop.update_sigma else None,
        )
        if why is not None:
            self.leave(why)
        self.advance()

    def on_trade(self, trade: TradeTick) -> None:
        if self.signal.on_trade(
            trade.ts_init, trade.price.raw, trade.size.raw, aggressor(trade)
        ):  # fmt: skip
            self._decide()

    def receive(self, record: BinanceRecord) -> None:
        self.signal.on_custom_data(record)

    def _close_minute(self) -> None:
        """The mid in force at the end of a minute enters the volatility."""
        quote = self.last_quote()
        if quote is not None:
            bid, ask = quote.bid_price.as_double(), quote.ask_price.as_double()
            self._realized.update((bid + ask) / 2)

    def _decide(self) -> None:
        while (signal := self.signal.maybe_emit()) is not None:
            self.record(signal)
            decision = self.policy.decide(
                signal,
                self.look(self.clock.timestamp_ns()),
                sigma_per_minute=self.sigma_per_minute,
                side=self.cycle.side,
                entering=bool(self.cycle.entries()),
            )
            values = {"lpi": signal.lpi, "oi_z": signal.oi_zscore, "ldr": signal.ldr,
                      "fsi": signal.fsi, "vpin": signal.vpin}  # fmt: skip
            self.carry_out(decision, values, self._entry)

    def _entry(self, side: int) -> list[Limit]:
        quote, settings, sigma = self.quote, self.settings, self.sigma_per_minute
        assert sigma is not None  # decide has checked
        price = touch_price(
            side,
            quote.bid_price.as_decimal(),
            quote.ask_price.as_decimal(),
            self.rules.price_increment,
            settings.maker_offset_ticks,
        )
        equity = self.market.equity or 0.0
        size = self.policy.size(sigma, equity=equity, price=price, rules=self.rules)
        if size.refusal is not None:
            self.refuse(size.refusal)
            return []
        expire = self.clock.timestamp_ns() + round(settings.entry_ttl_secs * SECOND_NS)
        return [Limit(side, size.quantity, price, "entry", expire_ns=expire)]

    def opened(self, event: Any) -> None:
        sigma = self.sigma_per_minute
        assert sigma is not None  # an entry needs it, and a full window stays full
        self.policy.opened(event.ts_event, event.last_px.as_double(), sigma)

    def closed(self) -> None:
        self.policy.closed()
