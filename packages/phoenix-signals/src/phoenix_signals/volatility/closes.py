"""Variances from closes alone."""

from __future__ import annotations

from phoenix_signals.errors import check_count, check_positive
from phoenix_signals.estimator import Estimator
from phoenix_signals.rolling import RollingMeanVariance, ew_alpha
from phoenix_signals.volatility.bars import check_price, log_ratio


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
