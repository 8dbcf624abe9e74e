"""LPI fast, EXH and LEV: pressure of forced trades, its fading, and a slow prior."""

from __future__ import annotations

from typing import Literal, NamedTuple

from phoenix_signals.errors import NUMBER_MAX, check_choice, check_count, number_error, size_error
from phoenix_signals.estimator import Estimator
from phoenix_signals.pressure.standard_units import (
    PressureZKind,
    check_optional,
    check_weight,
    sgn,
    standardized,
    standardizer,
)

LiquidityMode = Literal["signed", "additive"]

LIQUIDITY_MODES = ("signed", "additive")


class PressureValue[Number](NamedTuple):
    """LPI and its two parts; each is None (NaN in batch) while it cannot be known."""

    lpi: Number
    pressure_z: Number
    ld_z: Number


class LiquidationPressure(Estimator):
    """LPI fast of one bucket: forced prints against a liquidity that is already thin.

    Formula:
        P = Z(impulse), impulse = IS - IB: notional of sells below b (1 - eta) minus notional of
        buys above a (1 + eta). L = Z(liquidity), liquidity = the relative spread (a - b) / m, or
        (a - b) / (D + eps) with depth. `signed`: LPI = P + lambda_ld sgn(P) max(0, L): thin
        liquidity strengthens whichever side presses. `additive` (as published): LPI = P +
        lambda_ld L: a wide spread alone reads as selling, and a buy cascade is weakened.
        Z is a z-score over `window_count` buckets. With `z_kind` "none" it is the number itself:
        the units then differ, so thresholds and lambda_ld must be set anew.
    Units: impulse in quote currency; liquidity and `min_scale` in one unit of the caller's choice,
        `min_scale` being half a tick in that unit (it keeps the z of a spread that is pinned at one
        tick from exploding). LPI in standard deviations.
    Clock: one closed bucket per update.
    Warm-up: `min_count` buckets, for P and for L each.
    Missing data: liquidity None (no quote, or depth missing or stale) gives ld_z and lpi None and
        does not enter the window of L; P goes on.
    Errors: NaN or infinity raises `InputError`, the state stays; `liquidity_mode` other than
        `signed` or `additive` raises `ParameterError`.
    Symmetry: impulse -> -impulse negates pressure_z and, when signed, lpi.

    Example:
        >>> pressure = LiquidationPressure(window_count=10, min_count=3)
        >>> for impulse, spread in ((0.0, 1e-4), (10.0, 1e-4), (-10.0, 1e-4), (50.0, 3e-4)):
        ...     pressure.update(impulse, spread)
        >>> pressure.value
        PressureValue(lpi=13.035208417644679, pressure_z=3.0352084176446787, ld_z=10.0)

    Source: design note "signals", Pressure indices, 1.
    """

    ID = "liquidation_pressure"
    VERSION = 1
    EXAMPLES = (
        {"window_count": 20, "min_count": 5},
        {"window_count": 30, "min_count": 2, "liquidity_mode": "additive", "lambda_ld": 0.5,
         "z_kind": "mean_std", "z_clip": 4.0},
        {"window_count": 20, "min_count": 5, "z_kind": "none"},
    )  # fmt: skip

    __slots__ = (
        "_liquidity", "_pressure", "_value", "lambda_ld", "liquidity_mode", "min_count",
        "window_count", "z_clip", "z_kind",
    )  # fmt: skip

    def __init__(
        self,
        window_count: int = 600,
        min_count: int = 30,
        z_kind: PressureZKind = "median_mad",
        z_clip: float = 10.0,
        lambda_ld: float = 1.0,
        liquidity_mode: LiquidityMode = "signed",
    ) -> None:
        self.window_count = window_count
        self.min_count = min_count
        self.z_kind = z_kind
        self.z_clip = z_clip
        self.lambda_ld = check_weight("lambda_ld", lambda_ld)
        check_choice("liquidity_mode", liquidity_mode, LIQUIDITY_MODES)
        self.liquidity_mode: LiquidityMode = liquidity_mode
        self._pressure = standardizer(z_kind, window_count, min_count, z_clip)
        self._liquidity = standardizer(z_kind, window_count, min_count, z_clip)
        self._value: PressureValue[float | None] = PressureValue(None, None, None)

    def update(self, impulse: float, liquidity: float | None, min_scale: float = 0.0) -> None:
        """Take one closed bucket."""
        check_optional("liquidity", liquidity)
        if not 0.0 <= min_scale < NUMBER_MAX:
            raise size_error("min_scale", min_scale)
        if not -NUMBER_MAX < impulse < NUMBER_MAX:
            raise number_error("impulse", impulse)
        p = standardized(self._pressure, impulse)
        ld = None
        if liquidity is not None:
            ld = standardized(self._liquidity, liquidity, min_scale)
        lpi = None
        if p is not None and ld is not None:
            if self.liquidity_mode == "additive":
                lpi = p + self.lambda_ld * ld
            else:
                lpi = p + self.lambda_ld * sgn(p) * max(0.0, ld)
        self._value = PressureValue(lpi, p, ld)

    @property
    def value(self) -> PressureValue[float | None]:
        """LPI, P and L of the last bucket, each None while unknown."""
        return self._value

    @property
    def ready(self) -> bool:
        """True when the last bucket has an LPI."""
        return self._value.lpi is not None


class ExhaustionValue[Number](NamedTuple):
    """EXH and the change of LPI that it comes from; each None (NaN in batch) while unknown."""

    exh: Number
    delta_lpi: Number


NO_EXHAUSTION: ExhaustionValue[float | None] = ExhaustionValue(None, None)


class Exhaustion(Estimator):
    """EXH: the pressure of the present side fades and liquidity comes back.

    Formula:
        EXH_b = -sgn(LPI_b) Z(LPI_b - LPI_{b-1}) + relief_b, with relief = lambda_liq Z(dD), dD the
        change of depth between the last two snapshots known at the close, or without depth
        -lambda_spr Z(s_b - s_{b-1}). For LPI > 0 this is the published formula; the sign makes it
        hold for buy pressure as well.
    Units: standard deviations; higher means more exhausted.
    Clock: one closed bucket per update.
    Warm-up: an LPI in this bucket and in the one before, `min_count` such changes, and a relief.
    Missing data: LPI None now or one bucket earlier gives None and enters no window; a relief of
        None gives None, but the change of LPI still enters its window.
    Errors: NaN or infinity raises `InputError`, the state stays.
    Symmetry: LPI -> -LPI with the same relief leaves EXH unchanged.

    Example:
        >>> exhaustion = Exhaustion(window_count=10, min_count=2)
        >>> for lpi in (0.0, 4.0, 5.0, 1.0):
        ...     exhaustion.update(lpi, 0.5)
        >>> exhaustion.value
        ExhaustionValue(exh=1.6241512657943253, delta_lpi=-4.0)

    Source: design note "signals", Pressure indices, 1.
    """

    ID = "exhaustion"
    VERSION = 1
    EXAMPLES = (
        {"window_count": 20, "min_count": 5},
        {"window_count": 15, "min_count": 2, "z_kind": "mean_std", "z_clip": 2.0},
        {"window_count": 20, "min_count": 5, "z_kind": "none"},
    )

    __slots__ = (
        "_before", "_change", "_value", "min_count", "window_count", "z_clip", "z_kind",
    )  # fmt: skip

    def __init__(
        self,
        window_count: int = 600,
        min_count: int = 30,
        z_kind: PressureZKind = "median_mad",
        z_clip: float = 10.0,
    ) -> None:
        self.window_count = window_count
        self.min_count = min_count
        self.z_kind = z_kind
        self.z_clip = z_clip
        self._change = standardizer(z_kind, window_count, min_count, z_clip)
        self._before: float | None = None
        self._value = NO_EXHAUSTION

    def update(self, lpi: float | None, relief: float | None) -> None:
        """Take one closed bucket: its LPI, and the weighted z of the liquidity that came back."""
        check_optional("lpi", lpi)
        check_optional("relief", relief)
        before = self._before
        self._before = lpi
        if lpi is None or before is None:
            self._value = NO_EXHAUSTION
            return
        delta = lpi - before
        z = standardized(self._change, delta)
        exh = None if z is None or relief is None else relief - sgn(lpi) * z
        self._value = ExhaustionValue(exh, delta)

    def interrupt(self) -> None:
        """Forget the last LPI: after a gap the next bucket has none before it."""
        self._before = None

    @property
    def value(self) -> ExhaustionValue[float | None]:
        """EXH and the change of LPI of the last bucket, each None while unknown."""
        return self._value

    @property
    def ready(self) -> bool:
        """True when the last bucket has an EXH."""
        return self._value.exh is not None


class LeveragePrior(Estimator):
    """LEV: how much leverage stands in the market. A slow prior that only ever filters entries.

    Formula:
        LEV = Z(open interest) + lambda_f Z(funding rate), each z over its own rows and window.
        `lambda_f` 0 leaves funding out entirely.
    Units: standard deviations.
    Clock: one published row per update: open interest every 5 minutes, funding every 1 to 8 hours;
        a row may hold both.
    Warm-up: `min_count` rows of each.
    Missing data: None enters no window; the last z stands until the next row.
    Errors: NaN, infinity or a negative open interest raises `InputError`, the state stays.

    Example:
        >>> prior = LeveragePrior(oi_window_rows=5, min_count=2, z_kind="mean_std", lambda_f=0.0)
        >>> for open_interest in (100.0, 110.0, 120.0):
        ...     prior.update(open_interest, None)
        >>> round(prior.value, 4)
        1.2247

    Source: design note "signals", Pressure indices, 1.
    """

    ID = "leverage_prior"
    VERSION = 1
    EXAMPLES = (
        {"oi_window_rows": 20, "funding_window_rows": 12, "min_count": 3},
        {"oi_window_rows": 20, "min_count": 5, "lambda_f": 0.0, "z_kind": "mean_std"},
        {"oi_window_rows": 20, "funding_window_rows": 12, "min_count": 3, "z_kind": "none"},
    )

    __slots__ = (
        "_funding", "_oi", "funding_window_rows", "funding_z", "lambda_f", "min_count",
        "oi_window_rows", "oi_z", "z_clip", "z_kind",
    )  # fmt: skip

    def __init__(
        self,
        oi_window_rows: int = 8640,
        funding_window_rows: int = 90,
        min_count: int = 30,
        z_kind: PressureZKind = "median_mad",
        z_clip: float = 10.0,
        lambda_f: float = 1.0,
    ) -> None:
        self.oi_window_rows = check_count("oi_window_rows", oi_window_rows, 2, "8640")
        self.funding_window_rows = check_count("funding_window_rows", funding_window_rows, 2, "90")
        self.min_count = min_count
        self.z_kind = z_kind
        self.z_clip = z_clip
        self.lambda_f = check_weight("lambda_f", lambda_f)
        self._oi = standardizer(z_kind, oi_window_rows, min_count, z_clip)
        self._funding = standardizer(z_kind, funding_window_rows, min_count, z_clip)
        self.oi_z: float | None = None
        self.funding_z: float | None = None

    def update(self, open_interest: float | None, funding_rate: float | None) -> None:
        """Take one row of open interest, of funding, or of both."""
        if open_interest is not None and not 0.0 <= open_interest < NUMBER_MAX:
            raise size_error("open_interest", open_interest)
        check_optional("funding_rate", funding_rate)
        if open_interest is not None:
            self.oi_z = standardized(self._oi, open_interest)
        if funding_rate is not None:
            self.funding_z = standardized(self._funding, funding_rate)

    @property
    def value(self) -> float | None:
        """LEV, None until both windows are ready."""
        oi, funding = self.oi_z, self.funding_z
        if oi is None or self.lambda_f == 0.0:
            return oi
        return None if funding is None else oi + self.lambda_f * funding
