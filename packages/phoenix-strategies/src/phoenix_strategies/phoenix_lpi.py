"""Phoenix LPI: with a liquidation cascade while it runs, against it once it is exhausted.

The signal is liquidation pressure (LPI, positive = forced selling) and its exhaustion (EXH, higher
= the pressure fades and liquidity returns), once per bucket. When |LPI| >= theta_lpi:

- EXH <= theta_exh_low, **momentum**: go with the pressure (LPI > 0 sells), market orders. Out on
  the time stop, when EXH reaches theta_exh_high, or when the spread gate says no.
- EXH >= theta_exh_high, **mean reversion**: go against it (LPI > 0 buys), post-only, in tranches
  if asked, each with a time limit. Out when |LPI| <= lpi_exit_abs, on the time stop, on the markout
  guard, or when the pressure accelerates again: same sign, |LPI| above its value at entry, EXH <=
  theta_exh_low.
- in between: no trade.

Read from top to bottom: settings, policy (pure), strategy (translates events).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from phoenix_schemas.signal_records import SignalSnapshot

from phoenix_strategies.gates import Gates, GatesConfig, MarketState
from phoenix_strategies.settings import StrategySettings
from phoenix_strategies.sizing import Caps
from phoenix_strategies.stops import MarkoutGuardConfig
from phoenix_strategies.trade_cycle import Decision

Variant = Literal["momentum", "mean_reversion"]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class PhoenixLpiSettings(StrategySettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of `phoenix_lpi`; names and defaults are the published ones unless noted."""

    trade_size: Decimal = Decimal("0.01")
    """Position in base currency, split over the tranches."""
    caps: Caps = Caps()
    """Upper bounds on the position, beside the fixed size."""

    # Signal
    bucket_mode: Literal["time", "notional"] = "time"
    bucket_interval_ms: Count = 10_000
    bucket_notional_threshold: Positive = 1_000_000.0
    eta_bps: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """How far through the touch a trade must print to count; the published 5 selects almost nothing
    in calm markets."""
    use_depth_pct: bool = True
    """Liquidity from depth within depth_pct_abs percent, else from the spread alone."""
    depth_pct_abs: Positive = 5.0
    use_zscore: bool = True
    z_kind: Literal["median_mad", "mean_std"] = "median_mad"
    z_window_buckets: Annotated[int, msgspec.Meta(ge=2)] = 600
    z_min_count: Annotated[int, msgspec.Meta(ge=2)] = 30
    z_clip: Positive = 10.0
    liquidity_mode: Literal["signed", "additive"] = "signed"
    lambda_ld: float = 1.0
    lambda_liq: float = 1.0
    lambda_spr: float = 1.0
    lambda_f: float = 1.0

    # Decision
    momentum_enabled: bool = True
    mean_rev_enabled: bool = True
    theta_lpi: Positive = 2.0
    theta_exh_low: float = -0.5
    theta_exh_high: float = 0.5
    lpi_exit_abs: Annotated[float, msgspec.Meta(ge=0)] = 0.5
    lev_min: float | None = None
    """Least leverage prior for a mean-reversion entry; None leaves the open-interest prior out."""
    max_hold_buckets_momentum: Count = 10
    max_hold_buckets_mean_rev: Count = 60
    markout_guard: MarkoutGuardConfig | None = None

    # Execution
    momentum_use_market: bool = True
    """False posts momentum entries at the touch: with mean_rev_post_only, maker only."""
    mean_rev_post_only: bool = True
    """False crosses the spread with market orders."""
    mean_rev_improve_ticks: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Ticks inside the touch, never through it."""
    mean_rev_tranches: Count = 1
    mean_rev_tranche_ticks: Count = 1
    """Distance between tranches."""
    entry_ttl_buckets: Count = 5

    # Gates
    quote_max_age_ms: int | None = 1_000
    max_rel_spread_bps: float | None = 20.0
    depth_max_age_ms: int | None = 60_000
    """The published 5000 is shorter than the half minute between snapshots."""
    min_depth_notional: float = 0.0
    gates: GatesConfig = GatesConfig()
    """Any further gates."""

    def __post_init__(self) -> None:
        if self.theta_exh_low >= self.theta_exh_high:
            raise ValueError(
                f"theta_exh_low must be < theta_exh_high = {self.theta_exh_high} "
                f"(was {self.theta_exh_low}); -0.5 and 0.5"
            )
        if self.lpi_exit_abs >= self.theta_lpi:
            raise ValueError(
                f"lpi_exit_abs must be < theta_lpi = {self.theta_lpi} (was {self.lpi_exit_abs}); 0.5"
            )
        if not (self.momentum_enabled or self.mean_rev_enabled):
            raise ValueError("momentum_enabled or mean_rev_enabled must be true (was neither)")
        self.all_gates()

    def all_gates(self) -> GatesConfig:
        """The gates named at the top level together with those under `gates`."""
        top: dict[str, float | None] = {
            "quote_max_age_ms": self.quote_max_age_ms,
            "max_rel_spread_bps": self.max_rel_spread_bps,
            "depth_max_age_ms": self.depth_max_age_ms if self.use_depth_pct else None,
            "min_depth_notional": self.min_depth_notional if self.use_depth_pct else None,
        }
        for name in top:
            if getattr(self.gates, name) is not None:
                raise ValueError(f"gates.{name} must stand beside gates, as {name}, not inside")
        return msgspec.structs.replace(self.gates, **top)


@dataclass(slots=True)
class LpiTrade:
    """What the exits need to know of the trade in progress."""

    variant: Variant
    side: int
    bucket: int
    """Number of the bucket of the entry decision."""
    lpi: float


class PhoenixLpiPolicy:
    """Decides once per closed bucket; exits first, whatever the gates and validity say."""

    def __init__(self, settings: PhoenixLpiSettings) -> None:
        self.settings = settings
        self.gates = Gates(settings.all_gates())
        self.trade: LpiTrade | None = None
        self.bucket = -1

    def decide(
        self, snapshot: SignalSnapshot, market: MarketState, *, side: int, entering: bool
    ) -> Decision:
        """One closed bucket.

        `side` is the position's (+1, 0, -1) and `entering` whether an entry still works, both from
        the order events. Without either, the trade is over.
        """
        self.bucket += 1
        if side == 0 and not entering:
            self.trade = None
        if self.trade is not None:
            return self._exit(self.trade, snapshot, market, side, entering)
        return self._entry(snapshot, market)

    def _exit(
        self, trade: LpiTrade, s: SignalSnapshot, market: MarketState, side: int, entering: bool
    ) -> Decision:
        settings = self.settings
        if (kill := self.gates.must_flatten(market)) is not None:
            return Decision("leave", f"{kill.gate}: {kill.why}", gate=kill.gate)
        age = self.bucket - trade.bucket
        lpi, exh = s.lpi_fast, s.exh
        if trade.variant == "momentum":
            if age >= settings.max_hold_buckets_momentum:
                return Decision("leave", f"time stop after {age} buckets")
            if exh is not None and exh >= settings.theta_exh_high:
                return Decision("leave", f"exhausted, exh {exh:.2f}")
            spread, limit = market.rel_spread_bps, settings.max_rel_spread_bps
            if spread is not None and limit is not None and spread > limit:
                return Decision("leave", f"spread {spread:.2f} bps", gate="spread")
        else:
            if age >= settings.max_hold_buckets_mean_rev:
                return Decision("leave", f"time stop after {age} buckets")
            if lpi is not None and abs(lpi) <= settings.lpi_exit_abs:
                return Decision("leave", f"pressure gone, lpi {lpi:.2f}")
            if (
                lpi is not None
                and exh is not None
                and lpi * trade.lpi > 0
                and abs(lpi) > abs(trade.lpi)
                and exh <= settings.theta_exh_low
            ):
                return Decision("leave", f"accelerates again, lpi {lpi:.2f}, exh {exh:.2f}")
        if entering and age >= settings.entry_ttl_buckets:
            return Decision("cancel", f"entry unfilled after {age} buckets")
        return Decision("wait", "holding" if side else "entry working")

    def _entry(self, s: SignalSnapshot, market: MarketState) -> Decision:
        settings = self.settings
        lpi, exh = s.lpi_fast, s.exh
        if lpi is None or exh is None:
            return Decision("wait", f"signal not valid ({s.validity_flags!r})")
        if abs(lpi) < settings.theta_lpi:
            return Decision("wait", "no pressure")
        if settings.liquidity_mode == "additive" and not (s.pressure_z or 0.0) * lpi > 0:
            # Additive LPI rises with the spread alone: that is not forced trading.
            return Decision("wait", "pressure and lpi disagree")
        selling = 1 if lpi > 0 else -1
        variant: Variant
        if exh <= settings.theta_exh_low and settings.momentum_enabled:
            variant, side = "momentum", -selling
        elif exh >= settings.theta_exh_high and settings.mean_rev_enabled:
            variant, side = "mean_reversion", selling
            if settings.lev_min is not None and (s.lev is None or s.lev < settings.lev_min):
                return Decision("wait", f"lev {s.lev} under lev_min", gate="lev_min")
        else:
            return Decision("wait", f"between the thresholds, exh {exh:.2f}")
        if (refusal := self.gates.refuse_entry(market)) is not None:
            return Decision("wait", f"{refusal.gate}: {refusal.why}", gate=refusal.gate)
        self.trade = LpiTrade(variant, side, self.bucket, lpi)
        return Decision("enter", f"{variant}, lpi {lpi:.2f}, exh {exh:.2f}", side=side)

    def abandon(self) -> None:
        """The entry that was decided could not be sent: there is no trade."""
        self.trade = None
