"""z-scores of the current value in its window, and the choice between the two kinds.

The scale never vanishes and never explodes: a share of the standard deviation stands below a MAD, the
caller's `min_scale` (half a tick, for a spread) below both, and z is clipped.
"""

from __future__ import annotations

import math
from typing import Literal

from phoenix_signals.errors import (
    NUMBER_MAX,
    check_choice,
    check_count,
    check_min_count,
    check_positive,
    size_error,
)
from phoenix_signals.estimator import Estimator
from phoenix_signals.rolling.moments import RollingMeanVariance
from phoenix_signals.rolling.order_statistics import RollingMedianMad

MAD_TO_SD = 1.4826
"""Scale that turns the MAD of normal data into its standard deviation, 1 / Phi^-1(3/4)."""

SD_SHARE = 0.1
"""Share of the standard deviation below which a MAD scale may not fall."""


class ZScoreMeanStd(Estimator):
    """z-score of the current value by the mean and standard deviation of its window.

    Formula:
        z = (x - mean) / max(sd, min_scale), sd the population standard deviation, clipped to
        +-`z_clip`; 0 when the scale is 0.
    Units: none; `min_scale` is in units of x, given with each value because half a tick over the
        mid moves with the mid.
    Clock: one observation per update; the current value is in its window.
    Warm-up: `min_count` values.
    Missing data: NaN or infinity raises `InputError`, the state stays.
    Errors: `window_count` below 2, `min_count` outside 1..window_count or `z_clip` not above 0
        raises `ParameterError`; a negative `min_scale` raises `InputError`.

    Example:
        >>> z = ZScoreMeanStd(window_count=3, min_count=2)
        >>> for x in (1.0, 2.0, 3.0):
        ...     z.update(x)
        >>> round(z.value, 4)
        1.2247

    Source: design note "signals", Rolling statistics.
    """

    ID = "zscore_mean_std"
    VERSION = 1
    EXAMPLES = ({"window_count": 9, "min_count": 3}, {"window_count": 40, "z_clip": 1.5})

    __slots__ = ("_moments", "min_count", "value", "window_count", "z_clip")

    def __init__(self, window_count: int, min_count: int = 30, z_clip: float = 10.0) -> None:
        self.window_count = check_count("window_count", window_count, 2, "600")
        self.min_count = check_min_count(min_count, window_count)
        self.z_clip = check_positive("z_clip", z_clip, "10")
        self._moments = RollingMeanVariance(window_count, min_count)
        self.value: float | None = None

    def update(self, x: float, min_scale: float = 0.0) -> None:
        """Take the next value and the least scale that its z may be measured with."""
        _check_min_scale(min_scale)
        self._moments.update(x)
        ref, mean, m2, count = self._moments.moments()
        if count < self.min_count:
            return
        scale = math.sqrt(m2 / count)
        if scale < min_scale:
            scale = min_scale
        self.value = _clipped((x - ref) - mean, scale, self.z_clip)


class ZScoreMedianMad(Estimator):
    """z-score of the current value by the median and MAD of its window.

    Formula:
        z = (x - median) / max(1.4826 MAD, 0.1 sd, min_scale), clipped to +-`z_clip`; 0 when the
        scale is 0. The share of the standard deviation keeps the scale from vanishing on
        quantised or mostly-zero data, where the MAD is 0.
    Units: none; `min_scale` is in units of x, given with each value because half a tick over the
        mid moves with the mid.
    Clock: one observation per update; the current value is in its window.
    Warm-up: `min_count` values.
    Missing data: NaN or infinity raises `InputError`, the state stays.
    Errors: `window_count` below 2, `min_count` outside 1..window_count or `z_clip` not above 0
        raises `ParameterError`; a negative `min_scale` raises `InputError`.

    Example:
        >>> z = ZScoreMedianMad(window_count=5, min_count=3)
        >>> for x in (1.0, 2.0, 3.0, 4.0, 9.0):
        ...     z.update(x)
        >>> round(z.value, 4)
        4.0469

    Source: Iglewicz and Hoaglin (1993), How to Detect and Handle Outliers; design note "signals".
    """

    ID = "zscore_median_mad"
    VERSION = 1
    EXAMPLES = ({"window_count": 9, "min_count": 3}, {"window_count": 40, "z_clip": 1.5})

    __slots__ = ("_moments", "_robust", "min_count", "value", "window_count", "z_clip")

    def __init__(self, window_count: int, min_count: int = 30, z_clip: float = 10.0) -> None:
        self.window_count = check_count("window_count", window_count, 2, "600")
        self.min_count = check_min_count(min_count, window_count)
        self.z_clip = check_positive("z_clip", z_clip, "10")
        self._moments = RollingMeanVariance(window_count, min_count)
        self._robust = RollingMedianMad(window_count, min_count)
        self.value: float | None = None

    def update(self, x: float, min_scale: float = 0.0) -> None:
        """Take the next value and the least scale that its z may be measured with."""
        if min_scale != 0.0:
            _check_min_scale(min_scale)
        self._moments.update(x)
        robust = self._robust
        robust.update(x)
        if robust.count < self.min_count:
            return
        if x == robust.median():  # most values of mostly-zero data: 0 whatever the scale
            self.value = 0.0
            return
        median, mad = robust.pair()
        _, _, m2, count = self._moments.moments()
        scale = MAD_TO_SD * mad
        floor = SD_SHARE * math.sqrt(m2 / count)
        if scale < floor:
            scale = floor
        if scale < min_scale:
            scale = min_scale
        self.value = _clipped(x - median, scale, self.z_clip)


ZKind = Literal["mean_std", "median_mad"]

_Z_SCORES: dict[str, type[ZScoreMeanStd] | type[ZScoreMedianMad]] = {
    "mean_std": ZScoreMeanStd,
    "median_mad": ZScoreMedianMad,
}


def zscore(
    kind: ZKind, window_count: int, min_count: int = 30, z_clip: float = 10.0
) -> ZScoreMeanStd | ZScoreMedianMad:
    """The z-score of one `kind`, as configurations name it.

    >>> zscore("mean_std", window_count=100)
    ZScoreMeanStd(window_count=100, min_count=30, z_clip=10.0)
    """
    check_choice("z_kind", kind, tuple(_Z_SCORES))
    return _Z_SCORES[kind](window_count, min_count, z_clip)


def _check_min_scale(min_scale: float) -> None:
    if not 0.0 <= min_scale < NUMBER_MAX:
        raise size_error("min_scale", min_scale)


def _clipped(deviation: float, scale: float, z_clip: float) -> float:
    if scale == 0.0:
        return 0.0
    z = deviation / scale
    if z > z_clip:
        return z_clip
    return max(-z_clip, z)
