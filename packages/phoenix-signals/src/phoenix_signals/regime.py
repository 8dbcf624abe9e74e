"""Regime: who is crowded, how toxic flow is, which way it presses, how rough the market is.

- [Crowding][]: C and F3 from funding, open interest and the long/short ratio.
- [ToxicityIndex][]: T from VPIN and the spread.
- [FlowPressure][]: F2 from the book, trades and quotes, 0 while flow is toxic.
- [VolatilityRegimes][]: NORMAL, HIGH_VARIANCE or LOW_LIQUIDITY, with hysteresis.

Each z-score and percentile is taken over the past only, the current value included.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from phoenix_schemas.signal_records import VolatilityRegime

from phoenix_signals.errors import (
    INF,
    InputError,
    ParameterError,
    check_choice,
    check_count,
    check_positive,
    size_error,
)
from phoenix_signals.estimator import Estimator
from phoenix_signals.pressure import check_optional, check_weight, sgn
from phoenix_signals.rolling import Percentile, ZKind, zscore

OiMode = Literal["additive", "amplify"]

REGIMES = (
    VolatilityRegime.NORMAL,
    VolatilityRegime.HIGH_VARIANCE,
    VolatilityRegime.LOW_LIQUIDITY,
)
"""Regimes by the number that [VolatilityRegimes][] gives them."""


class CrowdingValue[Number](NamedTuple):
    """C, the position F3 that a fade would take, and the parts; None (NaN) while unknown."""

    crowding: Number
    f3: Number
    funding_z: Number
    oi_change_z: Number
    long_short_z: Number


class Crowding(Estimator):
    """Crowding C and F3: which side has piled in.

    Formula:
        C = a1 z(f) + a2 z(dOI) + a3 z(ln LS): f the funding rate, dOI = ln OI_t - ln OI_(t-1) per
        row, LS the ratio of long to short accounts. `oi_mode` "additive" is the published form; in
        "amplify" the middle term is a2 sgn(z(f)) max(0, z(dOI)): growing open interest strengthens
        whichever side is crowded. F3 = -1 when C > crowding_threshold (crowded long), +1 when
        C < -crowding_threshold, else 0: F3 is the position that fades the crowd.
    Units: C in standard deviations.
    Clock: one published row per update; a row may hold funding, metrics or both. Funding z is over
        settlements, the others over rows of metrics.
    Warm-up: `min_count` of each part whose weight is not 0.
    Missing data: None enters no window and the part's last z stands; a row of metrics without open
        interest has no change, and neither has the next. A row of funding alone is no such row.
    Errors: NaN, infinity, an open interest or ratio not above 0 raises `InputError`, the state
        stays.
    Symmetry: in "amplify", funding and ln LS negated negate C and F3.

    Example:
        >>> crowding = Crowding(a2=0.0, a3=0.0, funding_window_rows=5, min_count=2)
        >>> for rate in (0.0001, 0.0001, 0.0002):
        ...     crowding.update(rate, None, None)
        >>> round(crowding.value.crowding, 4), crowding.value.f3
        (10.0, -1)

    Source: design note "signals", Regime.
    """

    ID = "crowding"
    VERSION = 1
    EXAMPLES = (
        {"funding_window_rows": 12, "metrics_window_rows": 20, "min_count": 3},
        {"funding_window_rows": 12, "metrics_window_rows": 20, "min_count": 3,
         "oi_mode": "amplify", "z_kind": "mean_std", "a3": 0.5, "crowding_threshold": 0.8},
    )  # fmt: skip

    __slots__ = (
        "_funding", "_interest", "_long_short", "_oi_change", "_value", "a1", "a2", "a3",
        "crowding_threshold", "funding_window_rows", "metrics_window_rows", "min_count", "oi_mode",
        "z_clip", "z_kind",
    )  # fmt: skip

    def __init__(
        self,
        crowding_threshold: float = 1.0,
        a1: float = 1.0,
        a2: float = 1.0,
        a3: float = 1.0,
        oi_mode: OiMode = "additive",
        funding_window_rows: int = 90,
        metrics_window_rows: int = 8640,
        min_count: int = 30,
        z_kind: ZKind = "median_mad",
        z_clip: float = 10.0,
    ) -> None:
        self.crowding_threshold = check_positive("crowding_threshold", crowding_threshold, "1.0")
        self.a1 = check_weight("a1", a1)
        self.a2 = check_weight("a2", a2)
        self.a3 = check_weight("a3", a3)
        check_choice("oi_mode", oi_mode, ("additive", "amplify"))
        self.oi_mode: OiMode = oi_mode
        self.funding_window_rows = check_count("funding_window_rows", funding_window_rows, 2, "90")
        self.metrics_window_rows = check_count(
            "metrics_window_rows", metrics_window_rows, 2, "8640"
        )
        self.min_count = min_count
        self.z_kind = z_kind
        self.z_clip = z_clip
        self._funding = zscore(z_kind, funding_window_rows, min_count, z_clip)
        self._oi_change = zscore(z_kind, metrics_window_rows, min_count, z_clip)
        self._long_short = zscore(z_kind, metrics_window_rows, min_count, z_clip)
        self._interest: float | None = None
        self._value: CrowdingValue[float | None] = CrowdingValue(None, None, None, None, None)

    def update(
        self,
        funding_rate: float | None,
        open_interest: float | None,
        long_short_ratio: float | None,
    ) -> None:
        """Take one row; None where it says nothing."""
        check_optional("funding_rate", funding_rate)
        for name, x in (("open_interest", open_interest), ("long_short_ratio", long_short_ratio)):
            if x is not None and not 0.0 < x < INF:
                raise InputError(f"{name} must be above 0 and finite (was {x}); pass None for none")
        if funding_rate is not None:
            self._funding.update(funding_rate)
        if open_interest is not None or funding_rate is None:
            before, self._interest = self._interest, open_interest
            if open_interest is not None and before is not None:
                self._oi_change.update(math.log1p((open_interest - before) / before))
        if long_short_ratio is not None:
            self._long_short.update(math.log(long_short_ratio))
        self._value = self._combined()

    def _combined(self) -> CrowdingValue[float | None]:
        funding, change, ratio = self._funding.value, self._oi_change.value, self._long_short.value
        parts = CrowdingValue(None, None, funding, change, ratio)
        if (
            (self.a1 and funding is None)
            or (self.a2 and (change is None or (self.oi_mode == "amplify" and funding is None)))
            or (self.a3 and ratio is None)
        ):
            return parts
        c = self.a1 * (funding or 0.0) + self.a3 * (ratio or 0.0)
        growth = change or 0.0
        if self.oi_mode == "amplify":
            growth = sgn(funding or 0.0) * max(0.0, growth)
        c += self.a2 * growth
        threshold = self.crowding_threshold
        f3 = -1 if c > threshold else 1 if c < -threshold else 0
        return parts._replace(crowding=c, f3=f3)

    @property
    def value(self) -> CrowdingValue[float | None]:
        """C, F3 and the parts, each None while unknown."""
        return self._value

    @property
    def ready(self) -> bool:
        """True when C is known."""
        return self._value.crowding is not None


class ToxicityIndex(Estimator):
    """Toxicity T: one-sided flow where trading is dear.

    Formula:
        T = z(VPIN) + z(spread).
    Units: standard deviations; spread and `min_scale` (half a tick) in one unit.
    Clock: one sample of both per update, e.g. at each bar's close.
    Warm-up: `min_count` samples of each.
    Missing data: None enters no window; T is None unless both are there.
    Errors: a negative VPIN or spread, NaN or infinity raises `InputError`, the state stays.

    Example:
        >>> toxicity = ToxicityIndex(window_count=5, min_count=2, z_kind="mean_std")
        >>> for vpin in (0.2, 0.2, 0.5):
        ...     toxicity.update(vpin, 1.0)
        >>> round(toxicity.value, 4)
        1.4142

    Source: design note "signals", Regime.
    """

    ID = "toxicity_index"
    VERSION = 1
    EXAMPLES = (
        {"window_count": 20, "min_count": 5},
        {"window_count": 30, "min_count": 3, "z_kind": "mean_std"},
    )

    __slots__ = ("_spread", "_vpin", "min_count", "value", "window_count", "z_clip", "z_kind")

    def __init__(
        self,
        window_count: int = 360,
        min_count: int = 30,
        z_kind: ZKind = "median_mad",
        z_clip: float = 10.0,
    ) -> None:
        self.window_count = window_count
        self.min_count = min_count
        self.z_kind = z_kind
        self.z_clip = z_clip
        self._vpin = zscore(z_kind, window_count, min_count, z_clip)
        self._spread = zscore(z_kind, window_count, min_count, z_clip)
        self.value: float | None = None

    def update(self, vpin: float | None, spread: float | None, min_scale: float = 0.0) -> None:
        """Take one sample."""
        for name, x in (("vpin", vpin), ("spread", spread), ("min_scale", min_scale)):
            if x is not None and not 0.0 <= x < INF:
                raise size_error(name, x)
        vpin_z = spread_z = None
        if vpin is not None:
            self._vpin.update(vpin)
            vpin_z = self._vpin.value
        if spread is not None:
            self._spread.update(spread, min_scale)
            spread_z = self._spread.value
        self.value = None if vpin_z is None or spread_z is None else vpin_z + spread_z


class FlowPressureValue[Number](NamedTuple):
    """F2 and the z-scores it sums; None (NaN) while unknown."""

    f2: Number
    obi_z: Number
    svi_z: Number
    ofi_z: Number


class FlowPressure(Estimator):
    """Flow pressure F2: the direction that book, trades and quotes agree on, while not toxic.

    Formula:
        F2 = [z(OBI) + z(SVI) + z(sum OFI)] 1{T < tau}; the caller decides whether flow is toxic.
    Units: standard deviations; positive is up.
    Clock: one sample of all per update, e.g. at each bar's close. Toxic samples enter the windows
        like any other.
    Warm-up: `min_count` samples of each.
    Missing data: None enters no window; F2 is None unless all three, and the toxicity, are known.
    Errors: NaN or infinity raises `InputError`, the state stays.
    Symmetry: all three negated negate F2.

    Example:
        >>> pressure = FlowPressure(window_count=5, min_count=2, z_kind="mean_std")
        >>> for flow in (0.0, 0.0, 1.0):
        ...     pressure.update(flow, flow, flow, is_toxic=0)
        >>> round(pressure.value.f2, 4)
        4.2426

    Source: design note "signals", Regime.
    """

    ID = "flow_pressure"
    VERSION = 1
    EXAMPLES = (
        {"window_count": 20, "min_count": 5},
        {"window_count": 30, "min_count": 3, "z_kind": "mean_std"},
    )

    __slots__ = ("_obi", "_ofi", "_svi", "_value", "min_count", "window_count", "z_clip", "z_kind")

    def __init__(
        self,
        window_count: int = 360,
        min_count: int = 30,
        z_kind: ZKind = "median_mad",
        z_clip: float = 10.0,
    ) -> None:
        self.window_count = window_count
        self.min_count = min_count
        self.z_kind = z_kind
        self.z_clip = z_clip
        self._obi = zscore(z_kind, window_count, min_count, z_clip)
        self._svi = zscore(z_kind, window_count, min_count, z_clip)
        self._ofi = zscore(z_kind, window_count, min_count, z_clip)
        self._value: FlowPressureValue[float | None] = FlowPressureValue(None, None, None, None)

    def update(
        self, obi: float | None, svi: float | None, ofi: float | None, is_toxic: int | None
    ) -> None:
        """Take one sample; `is_toxic` 1 or 0, None while T or tau is unknown."""
        for name, x in (("obi", obi), ("svi", svi), ("ofi", ofi), ("is_toxic", is_toxic)):
            check_optional(name, x)
        zs: list[float | None] = []
        for x, z in ((obi, self._obi), (svi, self._svi), (ofi, self._ofi)):
            if x is None:
                zs.append(None)
            else:
                z.update(x)
                zs.append(z.value)
        obi_z, svi_z, ofi_z = zs
        f2 = None
        if obi_z is not None and svi_z is not None and ofi_z is not None and is_toxic is not None:
            f2 = 0.0 if is_toxic else obi_z + svi_z + ofi_z
        self._value = FlowPressureValue(f2, obi_z, svi_z, ofi_z)

    @property
    def value(self) -> FlowPressureValue[float | None]:
        """F2 and its parts, each None while unknown."""
        return self._value

    @property
    def ready(self) -> bool:
        """True when F2 is known."""
        return self._value.f2 is not None


class VolatilityRegimes(Estimator):
    """Volatility regime with hysteresis, from ranks in all history so far.

    Formula:
        LOW_LIQUIDITY (2) when the spread is among its widest 1 - spread_share or depth among its
        thinnest `depth_share`, else HIGH_VARIANCE (1) when the variance is among its highest
        1 - variance_share, else NORMAL (0). A state that is entered is left only when its rank has
        come back by `hysteresis` (spread and depth both). Ties count as ordinary: rank from above is
        the share of history >= the value, so a spread that is pinned at one tick, where every value
        is "the widest", is not a thin market.
    Units: none; any unit that stays the same for each input.
    Clock: one sample of all per update, e.g. at each bar's close.
    Warm-up: `min_count` samples of the variance.
    Missing data: None enters no history and enters or leaves no state; a state that only depth can
        leave is left without it while depth is unknown.
    Errors: a negative input, NaN or infinity raises `InputError`, the state stays.
    Memory: all history, three numbers per sample: only an expanding history never looks ahead.

    Example:
        >>> regimes = VolatilityRegimes(min_count=1, variance_share=0.5)
        >>> for variance in (1.0, 3.0, 2.0, 9.0):
        ...     regimes.update(variance, 1.0, None)
        >>> regimes.value, str(regimes.regime)
        (1, 'HIGH_VARIANCE')

    Source: design note "signals", Regime.
    """

    ID = "volatility_regimes"
    VERSION = 1
    EXAMPLES = (
        {"min_count": 5},
        {"min_count": 10, "spread_share": 0.8, "depth_share": 0.2, "variance_share": 0.7,
         "hysteresis": 0.1},
    )  # fmt: skip

    __slots__ = (
        "_is_rough", "_is_thin", "_rough", "_thin", "_wide", "depth_share", "hysteresis",
        "min_count", "spread_share", "value", "variance_share",
    )  # fmt: skip

    def __init__(
        self,
        min_count: int = 30,
        spread_share: float = 0.95,
        depth_share: float = 0.05,
        variance_share: float = 0.90,
        hysteresis: float = 0.05,
    ) -> None:
        self.min_count = check_count("min_count", min_count, 1, "30")
        self.spread_share = check_share("spread_share", spread_share, "0.95")
        self.depth_share = check_share("depth_share", depth_share, "0.05")
        self.variance_share = check_share("variance_share", variance_share, "0.90")
        if not 0.0 <= hysteresis < 1.0:
            raise ParameterError(f"hysteresis must lie in [0, 1) (was {hysteresis}); typical: 0.05")
        self.hysteresis = hysteresis
        # Ranks from above take the negated value: the share of history at or above it.
        self._wide = Percentile(None, min_count)
        self._thin = Percentile(None, min_count)
        self._rough = Percentile(None, min_count)
        self._is_thin = self._is_rough = False
        self.value: int | None = None

    def update(self, variance: float | None, spread: float | None, depth: float | None) -> None:
        """Take one sample."""
        for name, x in (("variance", variance), ("spread", spread), ("depth", depth)):
            if x is not None and not 0.0 <= x < INF:
                raise size_error(name, x)
        wide = _rank(self._wide, None if spread is None else -spread)
        thin = _rank(self._thin, depth)
        rough = _rank(self._rough, None if variance is None else -variance)
        slack = self.hysteresis
        top = 1.0 - self.spread_share
        if (wide is not None and wide <= top) or (thin is not None and thin <= self.depth_share):
            self._is_thin = True
        elif (
            wide is not None
            and wide > top + slack
            and (thin is None or thin > self.depth_share + slack)
        ):
            self._is_thin = False
        top = 1.0 - self.variance_share
        if rough is not None:
            if rough <= top:
                self._is_rough = True
            elif rough > top + slack:
                self._is_rough = False
        if self._rough.value is not None:
            self.value = 2 if self._is_thin else int(self._is_rough)

    @property
    def regime(self) -> VolatilityRegime | None:
        """The regime by name, None during warm-up."""
        return None if self.value is None else REGIMES[self.value]


def check_share(name: str, value: float, typical: str) -> float:
    """Return `value` when it lies in (0, 1).

    >>> check_share("spread_share", 95, "0.95")
    Traceback (most recent call last):
    phoenix_signals.errors.ParameterError: spread_share must lie between 0 and 1 (was 95); \
typical: 0.95
    """
    if isinstance(value, bool) or not 0.0 < value < 1.0:
        raise ParameterError(f"{name} must lie between 0 and 1 (was {value}); typical: {typical}")
    return value


def _rank(percentile: Percentile, x: float | None) -> float | None:
    if x is None:
        return None
    percentile.update(x)
    return percentile.value
