"""Rolling statistics: the ground that every window in this package stands on.

- [RollingSum][]: exact sum of the last n values.
- [RollingMeanVariance][]: exact mean and population variance of the last n values.
- [EwMeanVariance][]: exponentially weighted, by half-life.
- [RollingMedianMad][]: exact median and median absolute deviation.
- [ZScoreMeanStd][], [ZScoreMedianMad][] and the choice between them, [zscore][].
- [Percentile][]: share of history at or below the current value.

All count observations, never time, and all refuse NaN and infinity with `InputError`. The current
value is in its window.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from itertools import accumulate
from typing import Literal, NamedTuple

from sortedcontainers import SortedList

from phoenix_signals.errors import (
    INF,
    ParameterError,
    check_choice,
    check_count,
    check_positive,
    number_error,
    size_error,
)
from phoenix_signals.estimator import Estimator

MAD_TO_SD = 1.4826
"""Scale that turns the MAD of normal data into its standard deviation, 1 / Phi^-1(3/4)."""

SD_SHARE = 0.1
"""Share of the standard deviation below which a MAD scale may not fall."""


class MeanVariance[T](NamedTuple):
    """Mean and variance (population) of a window, in units and units squared."""

    mean: T
    variance: T


class MedianMad[T](NamedTuple):
    """Median and median absolute deviation from it, both in units of the data."""

    median: T
    mad: T


class RollingSum(Estimator):
    """Sum of the last `window_count` values.

    Formula:
        the stream is cut into blocks of one window length; the sum is the running sum of the open
        block plus the suffix sum of the block before, computed once per window length. Nothing is
        subtracted: a sum of non-negative values keeps its relative precision and is 0 exactly when
        all of them are.
    Units: those of x.
    Clock: one observation per update.
    Warm-up: a full window.
    Missing data: NaN or infinity raises `InputError`, the state stays.
    Errors: `window_count` below 2 raises `ParameterError`.

    Example:
        >>> total = RollingSum(window_count=2)
        >>> for x in (1.0, 2.0, 4.0):
        ...     total.update(x)
        >>> total.value
        6.0

    Source: design note "signals", Rolling statistics (removal without subtraction).
    """

    ID = "rolling_sum"
    VERSION = 1
    EXAMPLES = ({"window_count": 7}, {"window_count": 2})

    __slots__ = ("_block", "_filled", "_head", "_tail", "window_count")

    def __init__(self, window_count: int) -> None:
        self.window_count = check_count("window_count", window_count, 2, "60")
        self._block = [0.0] * window_count
        self._filled = 0
        self._head = 0.0
        self._tail: list[float] = []  # sums of the last 1, 2, ... values of the block before

    def update(self, x: float) -> None:
        """Take the next value."""
        if not -INF < x < INF:
            raise number_error("x", x)
        filled = self._filled
        if filled == self.window_count:
            self._tail = list(accumulate(self._block[:0:-1]))
            self._head = 0.0
            filled = 0
        self._block[filled] = x
        self._head += x
        self._filled = filled + 1

    @property
    def value(self) -> float | None:
        """The sum, None during warm-up."""
        rest = self.window_count - self._filled
        if rest == 0:
            return self._head
        return self._tail[rest - 1] + self._head if self._tail else None


class RollingMeanVariance(Estimator):
    """Mean and population variance of the last `window_count` values.

    Formula:
        mean = sum x / n, variance = sum (x - mean)^2 / n. The stream is cut into blocks of one
        window length. Inside a block Welford's recursion only adds; the part of the window that
        lies in the block before comes from that block's suffix moments, computed exactly once per
        window length; both are joined by Chan's formula. Nothing is ever subtracted, so a value
        that left the window leaves no trace, and rounding cannot pile up over a long run. Each
        block is shifted by a value inside the window (its first, or its last for the suffix), so
        data at an offset of 1e9 keep their digits and a constant window has variance 0 exactly.
    Units: those of x, and their square.
    Clock: one observation per update.
    Warm-up: `min_count` values (default: a full window).
    Missing data: NaN or infinity raises `InputError`, the state stays.
    Errors: `window_count` below 2 or `min_count` outside 1..window_count raises `ParameterError`.

    Example:
        >>> moments = RollingMeanVariance(window_count=3)
        >>> for x in (1.0, 2.0, 3.0, 4.0):
        ...     moments.update(x)
        >>> moments.value
        MeanVariance(mean=3.0, variance=0.6666666666666666)

    Source: Welford (1962), Technometrics 4(3); Chan, Golub, LeVeque (1983), Am. Statistician 37(3).
    """

    ID = "rolling_mean_variance"
    VERSION = 1
    EXAMPLES = ({"window_count": 7}, {"window_count": 20, "min_count": 2})

    __slots__ = (
        "_block", "_filled", "_head_m2", "_head_mean", "_head_ref", "_head_sum", "_tail_m2",
        "_tail_mean", "_tail_ref", "min_count", "window_count",
    )  # fmt: skip

    def __init__(self, window_count: int, min_count: int | None = None) -> None:
        self.window_count = check_count("window_count", window_count, 2, "600")
        self.min_count = _check_min_count(min_count, window_count)
        self._block = [0.0] * window_count
        self._filled = 0
        self._head_ref = self._head_sum = self._head_mean = self._head_m2 = 0.0
        # Moments of the last 1, 2, ... values of the block before; empty in the first block.
        self._tail_ref = 0.0
        self._tail_mean: list[float] = []
        self._tail_m2: list[float] = []

    def update(self, x: float) -> None:
        """Take the next value."""
        if not -INF < x < INF:
            raise number_error("x", x)
        filled = self._filled
        if filled == self.window_count:
            self._close_block()
            filled = 0
        self._block[filled] = x
        filled += 1
        if filled == 1:
            self._head_ref = x
            self._head_sum = self._head_mean = self._head_m2 = 0.0
        else:
            y = x - self._head_ref
            total = self._head_sum + y
            d = y - self._head_mean
            self._head_m2 += d * d * ((filled - 1) / filled)
            self._head_sum = total
            self._head_mean = total / filled
        self._filled = filled

    def _close_block(self) -> None:
        block = self._block
        self._tail_ref = ref = block[-1]
        total = mean = m2 = 0.0
        means = [0.0]
        m2s = [0.0]
        k = 1
        for x in block[-2:0:-1]:
            y = x - ref
            total += y
            d = y - mean
            m2 += d * d * (k / (k + 1))
            k += 1
            mean = total / k
            means.append(mean)
            m2s.append(m2)
        self._tail_mean = means
        self._tail_m2 = m2s

    def moments(self) -> tuple[float, float, float, int]:
        """(reference, mean - reference, sum of squared deviations, count), whatever the count.

        The reference is a value inside the window: differences from the mean lose no digits when
        they are taken as (x - reference) - (mean - reference).
        """
        head = self._filled
        tail = self.window_count - head
        if not self._tail_mean or tail == 0:
            return self._head_ref, self._head_mean, self._head_m2, head
        tail_mean = self._tail_mean[tail - 1]
        delta = (self._head_ref - self._tail_ref) + (self._head_mean - tail_mean)
        share = head / self.window_count
        m2 = (self._tail_m2[tail - 1] + self._head_m2) + delta * delta * (tail * share)
        return self._tail_ref, tail_mean + delta * share, m2, self.window_count

    @property
    def count(self) -> int:
        """Values in the window."""
        return self.window_count if self._tail_mean else self._filled

    @property
    def value(self) -> MeanVariance[float] | None:
        """Mean and population variance, None during warm-up."""
        ref, mean, m2, count = self.moments()
        return MeanVariance(ref + mean, m2 / count) if count >= self.min_count else None


class EwMeanVariance(Estimator):
    """Exponentially weighted mean and variance by half-life.

    Formula:
        alpha = 1 - 2^(-1/h); the first value starts the mean with variance 0; then d = x - mean,
        mean += alpha d, variance = (1 - alpha) (variance + alpha d^2). The same as pandas
        `ewm(halflife=h, adjust=False)` with `.mean()` and `.var(bias=True)`. The recursion runs on
        x - x0, x0 the first value of the stream.
    Units: those of x, and their square.
    Clock: one observation per update; the half-life counts observations.
    Warm-up: `min_count` values (default 1).
    Missing data: NaN or infinity raises `InputError`, the state stays.
    Errors: `half_life_count` of 0 or below raises `ParameterError`.

    Example:
        >>> ew = EwMeanVariance(half_life_count=1)
        >>> for x in (0.0, 4.0):
        ...     ew.update(x)
        >>> ew.value
        MeanVariance(mean=2.0, variance=4.0)

    Source: West (1979), Communications of the ACM 22(9); pandas, "Exponentially weighted window".
    """

    ID = "ew_mean_variance"
    VERSION = 1
    EXAMPLES = ({"half_life_count": 5}, {"half_life_count": 30.5, "min_count": 10})

    __slots__ = (
        "_alpha", "_keep", "_mean", "_ref", "_variance", "count", "half_life_count", "min_count",
    )  # fmt: skip

    def __init__(self, half_life_count: float, min_count: int = 1) -> None:
        self.half_life_count = check_positive("half_life_count", half_life_count, "60")
        self.min_count = check_count("min_count", min_count, 1, "1")
        self._alpha = ew_alpha(half_life_count)
        self._keep = 1.0 - self._alpha
        self._ref = self._mean = self._variance = 0.0
        self.count = 0

    def update(self, x: float) -> None:
        """Take the next value."""
        if not -INF < x < INF:
            raise number_error("x", x)
        if self.count == 0:
            self._ref = x
        alpha = self._alpha
        d = (x - self._ref) - self._mean
        self._mean += alpha * d
        self._variance = self._keep * (self._variance + alpha * (d * d))
        self.count += 1

    @property
    def value(self) -> MeanVariance[float] | None:
        """Mean and variance, None during warm-up."""
        if self.count < self.min_count:
            return None
        return MeanVariance(self._ref + self._mean, self._variance)


class RollingMedianMad(Estimator):
    """Exact median and median absolute deviation of the last `window_count` values.

    Formula:
        median m of the window, MAD = median of |x - m|; an even count takes the mean of the middle
        two, in both. The window is kept sorted; the deviations from m are two sorted runs, left
        and right of it, and their middle is found by bisection.
    Units: those of x.
    Clock: one observation per update. O(log n) comparisons, plus moving up to n pointers in a list
        of numbers: faster than sortedcontainers up to windows of about 50,000.
    Warm-up: `min_count` values (default: a full window).
    Missing data: NaN or infinity raises `InputError`, the state stays.
    Errors: `window_count` below 2 raises `ParameterError`.

    Example:
        >>> robust = RollingMedianMad(window_count=4)
        >>> for x in (7.0, 1.0, 2.0, 4.0, 100.0):
        ...     robust.update(x)
        >>> robust.value
        MedianMad(median=3.0, mad=1.5)

    Source: Hampel (1974), JASA 69(346).
    """

    ID = "rolling_median_mad"
    VERSION = 1
    EXAMPLES = ({"window_count": 7}, {"window_count": 20, "min_count": 1})

    __slots__ = ("_left", "_order", "_sorted", "min_count", "window_count")

    def __init__(self, window_count: int, min_count: int | None = None) -> None:
        self.window_count = check_count("window_count", window_count, 2, "600")
        self.min_count = _check_min_count(min_count, window_count)
        self._order: deque[float] = deque(maxlen=window_count)
        self._sorted: list[float] = []
        self._left = 0  # where the search for the MAD ended last; it moves little per update

    def update(self, x: float) -> None:
        """Take the next value."""
        if not -INF < x < INF:
            raise number_error("x", x)
        order = self._order
        ordered = self._sorted
        if len(order) == self.window_count:
            del ordered[bisect_left(ordered, order[0])]
        order.append(x)
        insort(ordered, x)

    @property
    def count(self) -> int:
        """Values in the window."""
        return len(self._order)

    @property
    def value(self) -> MedianMad[float] | None:
        """Median and MAD, None during warm-up."""
        return MedianMad(*self.pair()) if self.count >= self.min_count else None

    def pair(self) -> tuple[float, float]:
        """Median and MAD of what is there, whatever the count: a plain tuple, quicker to make."""
        median, mad, self._left = median_mad(self._sorted, self._left)
        return median, mad

    def median(self) -> float:
        """The median alone, of what is there."""
        ordered = self._sorted
        m = len(ordered) // 2
        return ordered[m] if len(ordered) % 2 else (ordered[m - 1] + ordered[m]) * 0.5


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
        self.min_count = _check_min_count(min_count, window_count)
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
        self.min_count = _check_min_count(min_count, window_count)
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


class Percentile(Estimator):
    """Share of history at or below the current value.

    Formula:
        #{j : x_j <= x} / n over the history of n values, the current one included; so the value
        lies in (0, 1]. History is everything so far, or the last `window_count` values.
    Units: none.
    Clock: one observation per update. Only the past counts: a percentile over the full sample
        would look ahead.
    Warm-up: `min_count` values.
    Missing data: NaN or infinity raises `InputError`, the state stays.
    Errors: `window_count` below 2 raises `ParameterError`.
    Memory: the history; without `window_count` it grows by one number per update.

    Example:
        >>> rank = Percentile(min_count=1)
        >>> for x in (3.0, 1.0, 2.0):
        ...     rank.update(x)
        >>> round(rank.value, 4)
        0.6667

    Source: design note "signals", Toxicity; Easley, Lopez de Prado, O'Hara (2012), RFS 25(5), who
    use the empirical CDF.
    """

    ID = "percentile"
    VERSION = 1
    EXAMPLES = ({"min_count": 1}, {"window_count": 25, "min_count": 5})

    __slots__ = ("_order", "_sorted", "min_count", "value", "window_count")

    def __init__(self, window_count: int | None = None, min_count: int = 30) -> None:
        if window_count is not None:
            check_count("window_count", window_count, 2, "2000, or None for all history")
        self.window_count = window_count
        self.min_count = _check_min_count(min_count, window_count)
        self._order: deque[float] = deque(maxlen=window_count or 0)
        self._sorted = SortedList()
        self.value: float | None = None

    def update(self, x: float) -> None:
        """Take the next value."""
        if not -INF < x < INF:
            raise number_error("x", x)
        ordered = self._sorted
        if self.window_count is not None:
            order = self._order
            if len(order) == self.window_count:
                ordered.remove(order[0])
            order.append(x)
        ordered.add(x)
        count = len(ordered)
        if count >= self.min_count:
            self.value = ordered.bisect_right(x) / count

    def share_at_or_below(self, x: float) -> float | None:
        """Share of the history at or below `x`, without taking `x` into it."""
        count = len(self._sorted)
        return self._sorted.bisect_right(x) / count if count >= self.min_count else None

    def quantile(self, share: float) -> float | None:
        """The least value of the history that at least `share` of it does not exceed."""
        count = len(self._sorted)
        if count < self.min_count:
            return None
        return float(self._sorted[max(0, math.ceil(share * count) - 1)])


def median_mad(ordered: Sequence[float], guess: int = 0) -> tuple[float, float, int]:
    """Median of sorted values, the median of the distances from it, and where that was found.

    Args:
        guess: Where it was found for a similar window; any number gives the same result.

    >>> median_mad([1.0, 2.0, 4.0, 100.0])
    (3.0, 1.5, 2)
    """
    s = ordered
    count = len(s)
    m = count // 2
    is_odd = count % 2
    median = s[m] if is_odd else (s[m - 1] + s[m]) * 0.5
    # The m + 1 smallest distances belong to the run s[m-i .. 2m-i]: i of them lie left of the
    # middle. Find the least i at which the next one to the left would not be smaller: in growing
    # steps away from the guess, then by halving.
    low = 1 - is_odd
    high = m
    i = guess
    step = 1
    while low <= i < high:
        if median - s[m - 1 - i] < s[2 * m - i] - median:
            low = i + 1
            i += step
        else:
            high = i
            i -= step
        step += step
    while low < high:
        i = (low + high) // 2
        if median - s[m - 1 - i] < s[2 * m - i] - median:
            low = i + 1
        else:
            high = i
    first = m - low
    last = 2 * m - low
    left = median - s[first]
    right = s[last] - median
    if is_odd:
        return median, (max(right, left)), low
    if left > right:
        second = median - s[first + 1]
        return median, (left + (max(right, second))) * 0.5, low
    second = s[last - 1] - median
    return median, (right + (max(left, second))) * 0.5, low


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


def ew_alpha(half_life_count: float) -> float:
    """Weight of the newest value, 1 - 2^(-1/h), without loss of digits at long half-lives.

    >>> ew_alpha(1)
    0.5
    """
    return -math.expm1(-math.log(2.0) / half_life_count)


def _check_min_count(min_count: int | None, window_count: int | None) -> int:
    if min_count is None:
        if window_count is None:
            raise ParameterError("min_count must be given without a window (was None); typical: 30")
        return window_count
    check_count("min_count", min_count, 1, "30")
    if window_count is not None and min_count > window_count:
        raise ParameterError(
            f"min_count must be at most window_count {window_count} (was {min_count}); typical: 30"
        )
    return min_count


def _check_min_scale(min_scale: float) -> None:
    if not 0.0 <= min_scale < INF:
        raise size_error("min_scale", min_scale)


def _clipped(deviation: float, scale: float, z_clip: float) -> float:
    if scale == 0.0:
        return 0.0
    z = deviation / scale
    if z > z_clip:
        return z_clip
    return max(-z_clip, z)
