"""What decides the numbers of the LPI engine, streaming and batch."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from phoenix_signals.clocks import HOUR_NS, MINUTE_NS, SECOND_NS
from phoenix_signals.engines.protocol import scaled
from phoenix_signals.errors import (
    ParameterError,
    check_choice,
    check_count,
    check_positive,
    check_windows,
    is_number,
)
from phoenix_signals.liquidity import ImpulseQuote
from phoenix_signals.pressure import (
    LIQUIDITY_MODES,
    LiquidityMode,
    PressureZKind,
    check_weight,
    standardizer,
)

LpiBucketMode = Literal["time", "notional"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LpiConfig:
    """Everything that decides the numbers of an [LpiEngine][phoenix_signals.engines.LpiEngine].

    Raises:
        ParameterError: A value is outside its range; the message names it.
    """

    price_precision: int
    """`price_raw` = price * 10^price_precision in every call; 16 for NautilusTrader's `raw`."""
    size_precision: int
    """The same for sizes."""
    price_increment: float
    """One tick in quote currency; half a tick is the least scale of any spread z."""
    bucket_mode: LpiBucketMode = "time"
    bucket_interval_ns: int = 10 * SECOND_NS
    bucket_notional: float = 1_000_000.0
    """Quote currency per bucket when `bucket_mode` is notional; the filling trade closes it."""
    eta_bps: float = 0.0
    """A print is an impulse when it lies more than this beyond the touch; presets 0 and 5."""
    impulse_quote: ImpulseQuote = "strictly_before"
    use_depth: bool = True
    """Measure thin liquidity by (a - b) / (D + eps) instead of by the relative spread."""
    depth_pct: float = 5.0
    """D = notional within this percentage of the touch, both sides."""
    depth_max_age_ns: int = MINUTE_NS
    quote_max_age_ns: int = MINUTE_NS
    """Older than this the feed is taken for dead. bookTicker sends changes only, so a calm book is
    not a dead one; a strategy's own gate on quote age may be tighter."""
    z_kind: PressureZKind = "median_mad"
    z_window_buckets: int = 600
    """Window of every z but those of LEV; that of the changes of depth counts snapshots."""
    z_min_count: int = 30
    """Values that a window must hold before there is a z."""
    z_clip: float = 10.0
    """Every z is cut to +- this."""
    liquidity_mode: LiquidityMode = "signed"
    """LPI = P + lambda_ld sgn(P) max(0, L); `additive`, as published, P + lambda_ld L."""
    lambda_ld: float = 1.0
    """Weight of thin liquidity L in LPI."""
    lambda_liq: float = 1.0
    """Weight of z(dD), returning depth, in EXH."""
    lambda_spr: float = 1.0
    """Weight of -z(ds), a closing spread, in EXH when `use_depth` is off."""
    lambda_f: float = 1.0
    """Weight of z(funding) in LEV; 0 leaves funding out."""
    use_open_interest: bool = True
    """Compute LEV at all."""
    oi_window_rows: int = 8640
    """30 days of rows of 5 minutes, for z(open interest)."""
    oi_max_age_ns: int = 15 * MINUTE_NS
    funding_window_rows: int = 90
    """30 days of settlements every 8 hours, for z(funding)."""
    rv_window_buckets: int = 60
    """Squared returns of the mid, one per bucket, that sum to `rv`."""
    max_gap_ns: int = HOUR_NS
    """Behind a longer silence of trades and quotes the open bucket is discarded."""

    def __post_init__(self) -> None:
        check_count("price_precision", self.price_precision, 0, "2, or 16 for Nautilus's raw")
        check_count("size_precision", self.size_precision, 0, "3, or 16 for Nautilus's raw")
        scaled("price_increment", self.price_increment, self.price_precision)
        check_choice("bucket_mode", self.bucket_mode, ("time", "notional"))
        check_count("bucket_interval_ns", self.bucket_interval_ns, 1, "10_000_000_000")
        scaled("bucket_notional", self.bucket_notional, self.notional_precision)
        if not is_number(self.eta_bps) or not 0.0 <= self.eta_bps < 10_000.0:
            raise ParameterError(
                f"eta_bps must lie in [0, 10000) (was {self.eta_bps!r}); presets: 0 and 5"
            )
        check_choice("impulse_quote", self.impulse_quote, ("strictly_before", "at_or_before"))
        check_positive("depth_pct", self.depth_pct, "5.0")
        for name in ("depth_max_age_ns", "quote_max_age_ns", "oi_max_age_ns"):
            check_count(name, getattr(self, name), 0, "60_000_000_000")
        check_choice("liquidity_mode", self.liquidity_mode, LIQUIDITY_MODES)
        for name in ("lambda_ld", "lambda_liq", "lambda_spr", "lambda_f"):
            check_weight(name, getattr(self, name))
        check_count("rv_window_buckets", self.rv_window_buckets, 2, "60")
        check_count("max_gap_ns", self.max_gap_ns, 1, "3_600_000_000_000")
        if self.bucket_mode == "time" and self.max_gap_ns < self.bucket_interval_ns:
            raise ParameterError(
                f"max_gap_ns must be at least bucket_interval_ns {self.bucket_interval_ns} "
                f"(was {self.max_gap_ns}); typical: one hour"
            )
        check_windows(self, "z_window_buckets", "oi_window_rows", "funding_window_rows")
        standardizer(self.z_kind, self.z_window_buckets, self.z_min_count, self.z_clip)

    @property
    def notional_precision(self) -> int:
        """Notional is an integer in units of 10^-notional_precision of the quote currency."""
        return self.price_precision + self.size_precision

    @property
    def eta(self) -> Fraction:
        """`eta_bps` as an exact share."""
        return Fraction(str(self.eta_bps)) / 10_000
