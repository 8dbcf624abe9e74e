"""Sums, means and variances of a window, and by half-life. Nothing is ever subtracted."""

from __future__ import annotations

import math
from itertools import accumulate
from typing import NamedTuple

from phoenix_signals.errors import (
    NUMBER_MAX,
    check_count,
    check_min_count,
    check_positive,
    number_error,
)
from phoenix_signals.estimator import Estimator


class MeanVariance[T](NamedTuple):
    """Mean and variance (population) of a window, in units and units squared."""

    mean: T
    variance: T


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
        if not -NUMBER_MAX < x < NUMBER_MAX:
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
        self.min_count = check_min_count(min_count, window_count)
        self._block = [0.0] * window_count
        self._filled = 0
        self._head_ref = self._head_sum = self._head_mean = self._head_m2 = 0.0
        # Moments of the last 1, 2, ... values of the block before; empty in the first block.
        self._tail_ref = 0.0
        self._tail_mean: list[float] = []
        self._tail_m2: list[float] = []

    def update(self, x: float) -> None:
        """Take the next value."""
        if not -NUMBER_MAX < x < NUMBER_MAX:
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
        if not -NUMBER_MAX < x < NUMBER_MAX:
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


def ew_alpha(half_life_count: float) -> float:
    """Weight of the newest value, 1 - 2^(-1/h), without loss of digits at long half-lives.

    >>> ew_alpha(1)
    0.5
    """
    return -math.expm1(-math.log(2.0) / half_life_count)
