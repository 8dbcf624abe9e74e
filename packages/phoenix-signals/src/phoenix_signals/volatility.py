"""Volatility from bars: variances of one bar, their window means, and compression.

Every class with `Variance` in its name returns a variance per bar (of log returns), never its root.
All take the same arguments, (open_, high, low, close), so they can be exchanged for one another.

- [ParkinsonVariance][], [GarmanKlassVariance][], [RogersSatchellVariance][]: from the range inside
  each bar; blind to gaps between bars.
- [YangZhangVariance][]: gaps included, independent of drift.
- [CloseToCloseVariance][], [EwmaVariance][]: from closes alone.
- [VolatilityCompression][] and [CompressionFactor][]: short against long.

Logs of ratios are taken as log1p((a - b) / b): a minute's range is 1e-4, and a difference of two
logs would lose four digits.
"""

from __future__ import annotations

import math
from typing import ClassVar

from phoenix_signals.errors import (
    INF,
    InputError,
    ParameterError,
    check_count,
    check_positive,
    number_error,
    time_error,
)
from phoenix_signals.estimator import Estimator
from phoenix_signals.rolling import RollingMeanVariance, RollingSum, ZKind, ew_alpha, zscore

PARKINSON = 1.0 / (4.0 * math.log(2.0))
GARMAN_KLASS = 2.0 * math.log(2.0) - 1.0

COMPRESSION_RESOLUTION = 1e-9
"""Least scale of the z of a compression: a relative difference below it is rounding."""


def log_ratio(a: float, b: float) -> float:
    """ln(a / b) without loss of digits when a is close to b.

    >>> log_ratio(1.0, 1.0)
    0.0
    """
    return math.log1p((a - b) / b)


def parkinson(open_: float, high: float, low: float, close: float) -> float:  # noqa: ARG001  # one signature
    """Parkinson variance of one bar, ln(H/L)^2 / (4 ln 2).

    >>> round(parkinson(100.0, 101.0, 99.0, 100.0), 8)
    0.00014428
    """
    u = log_ratio(high, low)
    return PARKINSON * (u * u)


def garman_klass(open_: float, high: float, low: float, close: float) -> float:
    """Garman-Klass variance of one bar, 0.5 ln(H/L)^2 - (2 ln 2 - 1) ln(C/O)^2.

    >>> round(garman_klass(100.0, 101.0, 99.0, 100.0), 8)
    0.00020001
    """
    u = log_ratio(high, low)
    r = log_ratio(close, open_)
    return 0.5 * (u * u) - GARMAN_KLASS * (r * r)


def rogers_satchell(open_: float, high: float, low: float, close: float) -> float:
    """Rogers-Satchell variance of one bar, ln(H/O) ln(H/C) + ln(L/O) ln(L/C).

    >>> round(rogers_satchell(100.0, 101.0, 99.0, 100.0), 8)
    0.00020002
    """
    return log_ratio(high, open_) * log_ratio(high, close) + log_ratio(low, open_) * log_ratio(
        low, close
    )


class _RangeVariance(Estimator):
    """Window mean of the variance of single bars."""

    _bar_variance: ClassVar[staticmethod[[float, float, float, float], float]]

    __slots__ = ("_sum", "window_bars")

    def __init__(self, window_bars: int) -> None:
        self.window_bars = check_count("window_bars", window_bars, 2, "60")
        self._sum = RollingSum(window_bars)

    def update(self, open_: float, high: float, low: float, close: float) -> None:
        """Take a bar."""
        check_bar(open_, high, low, close)
        self._sum.update(self._bar_variance(open_, high, low, close))

    @property
    def value(self) -> float | None:
        """Variance per bar, None during warm-up."""
        total = self._sum.value
        return None if total is None else total / self.window_bars


class ParkinsonVariance(_RangeVariance):
    """Parkinson variance: window mean of squared ranges.

    Formula:
        mean over n bars of (h - l)^2 / (4 ln 2), logs of high and low.
    Units: variance of log returns per bar.
    Clock: bars at their close.
    Warm-up: `window_bars` bars.
    Missing data: a bar without trades has range 0 and counts; gaps between bars are not seen.
    Errors: a bar with a price not above 0, or not low <= open, close <= high, raises `InputError`.

    Example:
        >>> estimator = ParkinsonVariance(window_bars=2)
        >>> estimator.update(100.0, 101.0, 99.0, 100.0)
        >>> estimator.update(100.0, 100.5, 99.5, 100.0)
        >>> round(estimator.value, 8)
        9.017e-05

    Source: Parkinson (1980), J. Business 53(1).
    """

    ID = "parkinson_variance"
    VERSION = 1
    EXAMPLES = ({"window_bars": 5}, {"window_bars": 30})

    __slots__ = ()

    _bar_variance = staticmethod(parkinson)


class GarmanKlassVariance(_RangeVariance):
    """Garman-Klass variance: range and open-to-close move.

    Formula:
        mean over n bars of 0.5 (h - l)^2 - (2 ln 2 - 1)(c - o)^2, in logs.
    Units: variance of log returns per bar.
    Clock: bars at their close.
    Warm-up: `window_bars` bars.
    Missing data: a bar without trades has range 0 and counts; gaps between bars are not seen.
    Errors: a bar with a price not above 0, or not low <= open, close <= high, raises `InputError`.

    Example:
        >>> estimator = GarmanKlassVariance(window_bars=2)
        >>> estimator.update(100.0, 101.0, 99.0, 100.5)
        >>> estimator.update(100.5, 101.0, 99.5, 100.0)
        >>> round(estimator.value, 8)
        0.00014637

    Source: Garman, Klass (1980), J. Business 53(1).
    """

    ID = "garman_klass_variance"
    VERSION = 1
    EXAMPLES = ({"window_bars": 5}, {"window_bars": 30})

    __slots__ = ()

    _bar_variance = staticmethod(garman_klass)


class RogersSatchellVariance(_RangeVariance):
    """Rogers-Satchell variance: unbiased whatever the drift.

    Formula:
        mean over n bars of (h - o)(h - c) + (l - o)(l - c), in logs.
    Units: variance of log returns per bar.
    Clock: bars at their close.
    Warm-up: `window_bars` bars.
    Missing data: a bar without trades has range 0 and counts; gaps between bars are not seen.
    Errors: a bar with a price not above 0, or not low <= open, close <= high, raises `InputError`.

    Example:
        >>> estimator = RogersSatchellVariance(window_bars=2)
        >>> estimator.update(100.0, 101.0, 99.0, 100.5)
        >>> estimator.update(100.5, 101.0, 99.5, 100.0)
        >>> round(estimator.value, 8)
        0.00015001

    Source: Rogers, Satchell (1991), Annals of Applied Probability 1(4).
    """

    ID = "rogers_satchell_variance"
    VERSION = 1
    EXAMPLES = ({"window_bars": 5}, {"window_bars": 30})

    __slots__ = ()

    _bar_variance = staticmethod(rogers_satchell)


def yang_zhang_k(window_sessions: int) -> float:
    """Weight k = 0.34 / (1.34 + (n + 1)/(n - 1)) that minimises the variance of the estimate.

    >>> round(yang_zhang_k(10), 4)
    0.1327
    """
    n = window_sessions
    return 0.34 / (1.34 + (n + 1) / (n - 1))


class YangZhangVariance(Estimator):
    """Yang-Zhang variance: independent of drift, gaps between sessions included.

    Formula:
        V_o + k V_c + (1 - k) V_rs over n sessions, in logs: V_o sample variance (n - 1, demeaned)
        of o_i - c_(i-1), V_c sample variance of c_i - o_i, V_rs mean of Rogers-Satchell,
        k = 0.34 / (1.34 + (n + 1)/(n - 1)).
    Units: variance of log returns per session.
    Clock: bars at their close. For a market that never closes the "overnight" term is the gap
        between consecutive sessions. `session_ns` None makes every bar a session; HOUR_NS or DAY_NS
        merges bars into sessions of UTC time, (i S, (i + 1) S] by close time, and a session is
        known when the first bar of the next one arrives.
    Warm-up: n + 1 sessions.
    Missing data: a session without bars is passed over; its move is in the next gap.
    Errors: time going back, or a bar with a price not above 0, or not low <= open, close <= high,
        raises `InputError`; `window_sessions` below 2 raises `ParameterError`.

    Example:
        >>> estimator = YangZhangVariance(window_sessions=2)
        >>> for i, shift in enumerate((0.0, 0.5, 0.25)):
        ...     estimator.update(i, 100.0 + shift, 101.0 + shift, 99.0 + shift, 100.5 + shift)
        >>> round(estimator.value, 8)
        0.00021121

    Source: Yang, Zhang (2000), J. Business 73(3); values as R's TTR::volatility(calc="yang.zhang"),
    which returns sqrt(N variance) with N = 260.
    """

    ID = "yang_zhang_variance"
    VERSION = 1
    EXAMPLES = (
        {"window_sessions": 5},
        {"window_sessions": 3, "session_ns": 1_000_000_000},
    )

    __slots__ = (
        "_bar", "_close", "_end", "_gaps", "_k", "_last", "_moves", "_ranges", "session_ns",
        "value", "window_sessions",
    )  # fmt: skip

    def __init__(self, window_sessions: int, session_ns: int | None = None) -> None:
        self.window_sessions = check_count("window_sessions", window_sessions, 2, "20")
        if session_ns is not None:
            check_count("session_ns", session_ns, 1, "3_600_000_000_000, or None for each bar")
        self.session_ns = session_ns
        self._k = yang_zhang_k(window_sessions)
        self._gaps = RollingMeanVariance(window_sessions)
        self._moves = RollingMeanVariance(window_sessions)
        self._ranges = RollingSum(window_sessions)
        self._bar: tuple[float, float, float, float] | None = None  # the open session
        self._end = self._last = 0
        self._close: float | None = None
        self.value: float | None = None

    def update(self, ts_ns: int, open_: float, high: float, low: float, close: float) -> None:
        """Take a bar, with the time of its close."""
        check_bar(open_, high, low, close)
        if ts_ns < self._last:
            raise time_error(ts_ns, self._last)
        self._last = ts_ns
        width = self.session_ns
        if width is None:
            self._take_session(open_, high, low, close)
            return
        bar = self._bar
        if bar is not None and ts_ns <= self._end:
            self._bar = (bar[0], max(bar[1], high), min(bar[2], low), close)
            return
        if bar is not None:
            self._take_session(*bar)
        self._bar = (open_, high, low, close)
        self._end = -(-ts_ns // width) * width

    def _take_session(self, open_: float, high: float, low: float, close: float) -> None:
        before = self._close
        self._close = close
        self._moves.update(log_ratio(close, open_))
        self._ranges.update(rogers_satchell(open_, high, low, close))
        if before is None:
            return
        self._gaps.update(log_ratio(open_, before))
        gaps = self._gaps.value
        moves = self._moves.value
        ranges = self._ranges.value
        if gaps is None or moves is None or ranges is None:
            return
        n = self.window_sessions
        k = self._k
        sample = n / (n - 1)
        self.value = sample * (gaps.variance + k * moves.variance) + (1.0 - k) * (ranges / n)


class CloseToCloseVariance(Estimator):
    """Close-to-close variance: the sample variance of log returns.

    Formula:
        sum (r_i - mean r)^2 / (n - 1) over n returns r_i = ln(c_i / c_(i-1)).
    Units: variance of log returns per bar.
    Clock: bars at their close.
    Warm-up: `window_bars` + 1 closes.
    Missing data: none is made up; a missing bar makes one longer return.
    Errors: a close not above 0, NaN or infinite raises `InputError`.

    Example:
        >>> estimator = CloseToCloseVariance(window_bars=2)
        >>> for close in (100.0, 101.0, 100.0):
        ...     estimator.update(close)
        >>> round(estimator.value, 8)
        0.00019802

    Source: Hull, Options, Futures, and Other Derivatives, "Estimating volatility".
    """

    ID = "close_to_close_variance"
    VERSION = 1
    EXAMPLES = ({"window_bars": 5}, {"window_bars": 30})

    __slots__ = ("_close", "_returns", "window_bars")

    def __init__(self, window_bars: int) -> None:
        self.window_bars = check_count("window_bars", window_bars, 2, "60")
        self._returns = RollingMeanVariance(window_bars)
        self._close: float | None = None

    def update(self, close: float) -> None:
        """Take a close."""
        check_price("close", close)
        if self._close is not None:
            self._returns.update(log_ratio(close, self._close))
        self._close = close

    @property
    def value(self) -> float | None:
        """Sample variance per bar, None during warm-up."""
        moments = self._returns.value
        n = self.window_bars
        return None if moments is None else moments.variance * (n / (n - 1))


class EwmaVariance(Estimator):
    """Exponentially weighted variance of returns about zero.

    Formula:
        v_t = (1 - alpha) v_(t-1) + alpha r_t^2, alpha = 1 - 2^(-1/h), r = ln(c_t / c_(t-1)); the
        first r^2 starts it.
    Units: variance of log returns per bar; the half-life counts bars.
    Clock: bars at their close.
    Warm-up: `min_count` returns (default 1).
    Missing data: none is made up; a missing bar makes one longer return.
    Errors: a close not above 0, NaN or infinite raises `InputError`; a half-life of 0 or below
        raises `ParameterError`.

    Example:
        >>> estimator = EwmaVariance(half_life_bars=1)
        >>> for close in (100.0, 101.0, 101.0):
        ...     estimator.update(close)
        >>> round(estimator.value, 8)
        4.95e-05

    Source: J.P. Morgan/Reuters, RiskMetrics Technical Document (1996), section 5.2.
    """

    ID = "ewma_variance"
    VERSION = 1
    EXAMPLES = ({"half_life_bars": 5}, {"half_life_bars": 30.5, "min_count": 10})

    __slots__ = ("_alpha", "_close", "_count", "_mean", "half_life_bars", "min_count")

    def __init__(self, half_life_bars: float, min_count: int = 1) -> None:
        self.half_life_bars = check_positive("half_life_bars", half_life_bars, "60")
        self.min_count = check_count("min_count", min_count, 1, "1")
        self._alpha = ew_alpha(half_life_bars)
        self._close: float | None = None
        self._count = 0
        self._mean = 0.0

    def update(self, close: float) -> None:
        """Take a close."""
        check_price("close", close)
        if self._close is not None:
            r = log_ratio(close, self._close)
            weight = self._alpha if self._count else 1.0
            self._mean += weight * (r * r - self._mean)
            self._count += 1
        self._close = close

    @property
    def value(self) -> float | None:
        """Variance per bar, None during warm-up."""
        return self._mean if self._count >= self.min_count else None


class VolatilityCompression(Estimator):
    """Volatility compression VC: the log of short against long volatility.

    Formula:
        VC = ln(sigma_short / sigma_long), both roots of exponentially weighted means (by
        half-life) of the Garman-Klass variance of single bars; below 0 the market is compressed.
    Units: none.
    Clock: bars at their close; half-lives count bars.
    Warm-up: `min_count` bars (default: the long half-life, rounded up).
    Missing data: None while either volatility is 0.
    Errors: a bar with a price not above 0, or not low <= open, close <= high, raises `InputError`;
        half-lives not 0 < short < long raise `ParameterError`.

    Example:
        >>> compression = VolatilityCompression(half_life_short_bars=1, half_life_long_bars=4)
        >>> for half_range in (2.0, 2.0, 2.0, 1.0, 0.5):
        ...     compression.update(100.0, 100.0 + half_range, 100.0 - half_range, 100.0)
        >>> round(compression.value, 4)
        -0.3904

    Source: design note "signals", Volatility from bars.
    """

    ID = "volatility_compression"
    VERSION = 1
    EXAMPLES = (
        {"half_life_short_bars": 3, "half_life_long_bars": 12},
        {"half_life_short_bars": 10.5, "half_life_long_bars": 60, "min_count": 20},
    )

    __slots__ = (
        "_alpha_long", "_alpha_short", "_count", "_long", "_short", "half_life_long_bars",
        "half_life_short_bars", "min_count",
    )  # fmt: skip

    def __init__(
        self, half_life_short_bars: float, half_life_long_bars: float, min_count: int | None = None
    ) -> None:
        self.half_life_short_bars = check_positive(
            "half_life_short_bars", half_life_short_bars, "30"
        )
        self.half_life_long_bars = check_positive("half_life_long_bars", half_life_long_bars, "360")
        if half_life_short_bars >= half_life_long_bars:
            raise ParameterError(
                f"half_life_short_bars must be below half_life_long_bars {half_life_long_bars} "
                f"(was {half_life_short_bars}); typical: 30 and 360"
            )
        if min_count is None:
            min_count = max(1, math.ceil(half_life_long_bars))
        self.min_count = check_count("min_count", min_count, 1, "the long half-life")
        self._alpha_short = ew_alpha(half_life_short_bars)
        self._alpha_long = ew_alpha(half_life_long_bars)
        self._short = self._long = 0.0
        self._count = 0

    def update(self, open_: float, high: float, low: float, close: float) -> None:
        """Take a bar."""
        check_bar(open_, high, low, close)
        variance = garman_klass(open_, high, low, close)
        if self._count:
            self._short += self._alpha_short * (variance - self._short)
            self._long += self._alpha_long * (variance - self._long)
        else:
            self._short = self._long = variance
        self._count += 1

    @property
    def value(self) -> float | None:
        """VC, None during warm-up and while a volatility is 0."""
        if self._count < self.min_count or self._short <= 0.0 or self._long <= 0.0:
            return None
        return 0.5 * math.log(self._short / self._long)


class CompressionFactor(Estimator):
    """Compression factor F1: how unusual the present compression is.

    Formula:
        F1 = z(-VC), VC as `VolatilityCompression`, its scale at least 1e-9; high when volatility is
        compressed.
    Units: none.
    Clock: bars at their close; windows and half-lives count bars.
    Warm-up: that of VC, then `min_count` values of it.
    Missing data: bars on which VC is None do not enter the window and give None.
    Errors: as `VolatilityCompression` and the z-score of `z_kind`.

    Example:
        >>> factor = CompressionFactor(1, 4, window_bars=5, min_count=2, z_kind="mean_std")
        >>> for half_range in (2.0, 2.0, 2.0, 2.0, 1.0):
        ...     factor.update(100.0, 100.0 + half_range, 100.0 - half_range, 100.0)
        >>> round(factor.value, 4)
        1.0

    Source: design note "signals", Volatility from bars.
    """

    ID = "compression_factor"
    VERSION = 1
    EXAMPLES = (
        {
            "half_life_short_bars": 3,
            "half_life_long_bars": 12,
            "window_bars": 20,
            "min_count": 5,
        },
        {
            "half_life_short_bars": 3,
            "half_life_long_bars": 12,
            "window_bars": 20,
            "min_count": 5,
            "z_kind": "mean_std",
        },
    )

    __slots__ = (
        "_compression", "_z", "half_life_long_bars", "half_life_short_bars", "min_count", "value",
        "window_bars", "z_clip", "z_kind",
    )  # fmt: skip

    def __init__(
        self,
        half_life_short_bars: float,
        half_life_long_bars: float,
        window_bars: int,
        min_count: int = 30,
        z_kind: ZKind = "median_mad",
        z_clip: float = 10.0,
    ) -> None:
        self.half_life_short_bars = half_life_short_bars
        self.half_life_long_bars = half_life_long_bars
        self.window_bars = check_count("window_bars", window_bars, 2, "1440")
        self.min_count = min_count
        self.z_kind = z_kind
        self.z_clip = z_clip
        self._compression = VolatilityCompression(half_life_short_bars, half_life_long_bars)
        self._z = zscore(z_kind, window_bars, min_count, z_clip)
        self.value: float | None = None

    def update(self, open_: float, high: float, low: float, close: float) -> None:
        """Take a bar."""
        self._compression.update(open_, high, low, close)
        compression = self._compression.value
        if compression is None:
            self.value = None
            return
        self._z.update(-compression, COMPRESSION_RESOLUTION)
        self.value = self._z.value


def check_bar(open_: float, high: float, low: float, close: float) -> None:
    """Refuse a bar whose prices contradict one another.

    >>> check_bar(100.0, 99.0, 98.0, 99.0)
    Traceback (most recent call last):
    phoenix_signals.errors.InputError: a bar must have 0 < low <= open, close <= high \
(was open 100.0, high 99.0, low 98.0, close 99.0); fix its source
    """
    if not (0.0 < low <= open_ <= high < INF and low <= close <= high):
        raise InputError(
            "a bar must have 0 < low <= open, close <= high "
            f"(was open {open_}, high {high}, low {low}, close {close}); fix its source"
        )


def check_price(name: str, price: float) -> None:
    """Refuse a price that is not a number above 0.

    >>> check_price("close", 0.0)
    Traceback (most recent call last):
    phoenix_signals.errors.InputError: close must be above 0 (was 0.0); fix its source
    """
    if not 0.0 < price < INF:
        if price <= 0.0:
            raise InputError(f"{name} must be above 0 (was {price}); fix its source")
        raise number_error(name, price)
