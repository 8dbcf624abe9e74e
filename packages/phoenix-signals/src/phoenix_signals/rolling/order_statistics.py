"""Median, MAD and ranks: what needs a window, or a history, in order."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from sortedcontainers import SortedList

from phoenix_signals.errors import NUMBER_MAX, check_count, check_min_count, number_error
from phoenix_signals.estimator import Estimator


class MedianMad[T](NamedTuple):
    """Median and median absolute deviation from it, both in units of the data."""

    median: T
    mad: T


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
        self.min_count = check_min_count(min_count, window_count)
        self._order: deque[float] = deque(maxlen=window_count)
        self._sorted: list[float] = []
        self._left = 0  # where the search for the MAD ended last; it moves little per update

    def update(self, x: float) -> None:
        """Take the next value."""
        if not -NUMBER_MAX < x < NUMBER_MAX:
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
        self.min_count = check_min_count(min_count, window_count)
        self._order: deque[float] = deque(maxlen=window_count or 0)
        self._sorted = SortedList()
        self.value: float | None = None

    def update(self, x: float) -> None:
        """Take the next value."""
        if not -NUMBER_MAX < x < NUMBER_MAX:
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
