"""Window means of the range inside each bar; blind to gaps between bars."""

from __future__ import annotations

from typing import ClassVar

from phoenix_signals.errors import check_count
from phoenix_signals.estimator import Estimator
from phoenix_signals.rolling import RollingSum
from phoenix_signals.volatility.bars import check_bar, garman_klass, parkinson, rogers_satchell


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
