"""Phoenix: provide liquidity to forced sellers, measured by the composite LPI.

Composite LPI rises with forced selling (FSI), depletion of depth (LDR) and toxicity (VPIN), once
per notional bucket. Entry: the signal is valid, lpi > lpi_entry_threshold and the open-interest
z-score is at least oi_z_threshold: a post-only BUY at min(bid + n ticks, ask - 1 tick), sized by
fractional Kelly, gone after its time limit. Exit: lpi < lpi_exit_threshold, the stop, or the time
stop, whatever open interest and validity say by then.

Read from top to bottom: settings, policy (pure), strategy (translates events).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

import msgspec
from phoenix_schemas.signal_records import PhoenixSignal

from phoenix_strategies.gates import Gates, GatesConfig, MarketState
from phoenix_strategies.order_rules import OrderRules
from phoenix_strategies.settings import StrategySettings
from phoenix_strategies.sizing import Caps, Size, kelly_fraction, size_for_notional
from phoenix_strategies.stops import StopConfig, TimeStop, TrailingStop
from phoenix_strategies.trade_cycle import Decision

SECOND_NS = 1_000_000_000
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
    rv_window_minutes: Annotated[int, msgspec.Meta(ge=2)] = 60
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
        if not signal.is_valid or lpi is None:
            return Decision("wait", "signal not valid")
        if lpi <= self.settings.lpi_entry_threshold:
            return Decision("wait", "no forced selling")
        threshold, oi_z = self.settings.oi_z_threshold, signal.oi_zscore
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
