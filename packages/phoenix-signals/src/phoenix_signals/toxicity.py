"""Toxicity of order flow: VPIN, by aggressor flag or by bulk classification.

VPIN is a risk state, not an alpha: high values say that flow was one-sided, and its power to
predict volatility beyond volume and volatility themselves is disputed (Andersen and Bondarenko
2014, J. Financial Markets 17, with the reply of Easley, Lopez de Prado, O'Hara there). The two
classifications are never compared with one another: their levels differ.

How large a bucket is decides what VPIN measures. Fix V by hand (base or notional), or from the
training range only: [median_bar_bucket][] or [average_day_bucket][]. For its rank in history use
`phoenix_signals.rolling.Percentile`.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal

from phoenix_signals.clocks import HOUR_NS, VolumeClock, check_fills
from phoenix_signals.errors import (
    NUMBER_MAX,
    InputError,
    ParameterError,
    check_choice,
    check_count,
    check_positive,
    check_raw,
    check_time,
    number_error,
)
from phoenix_signals.estimator import Estimator
from phoenix_signals.rolling import RollingMeanVariance

Distribution = Literal["normal", "student_t"]


class Vpin(Estimator):
    """Volume-synchronised probability of informed trading, by aggressor flag.

    A state of risk, not an alpha: it says that flow was one-sided, and whether it foretells volatility
    beyond volume and volatility themselves is disputed (see Source).

    Formula:
        VPIN = sum |V_B - V_S| / (n V) over the last n buckets of exactly V; a trade that does not
        fit is split across buckets.
    Units: none, in [0, 1]; amounts in integer raw units, base (size) or quote (notional).
    Clock: trades; the value changes when a bucket closes.
    Warm-up: n buckets.
    Missing data: behind a gap longer than `max_gap_ns` the open bucket is dropped; the buckets
        before it stay in the window.
    Errors: time going back, a non-positive amount or a side other than +1, -1 raises `InputError`.

    Example:
        >>> vpin = Vpin(bucket_raw=10, window_buckets=2)
        >>> [vpin.update(*trade) for trade in ((0, 15, 1), (1, 5, -1))]
        [True, True]
        >>> vpin.value
        0.5

    Source: Easley, Lopez de Prado, O'Hara (2012), "Flow toxicity and liquidity in a high-frequency
    world", Review of Financial Studies 25(5); dispute: Andersen, Bondarenko (2014), J. Financial
    Markets 17.
    """

    ID = "vpin"
    VERSION = 1
    EXAMPLES = (
        {"bucket_raw": 1_000, "window_buckets": 5},
        {"bucket_raw": 300, "window_buckets": 20, "max_gap_ns": 500_000_000},
    )

    __slots__ = (
        "_clock", "_imbalance", "_imbalances", "bucket_raw", "max_gap_ns", "value",
        "window_buckets",
    )  # fmt: skip

    def __init__(
        self, bucket_raw: int, window_buckets: int = 50, max_gap_ns: int = HOUR_NS
    ) -> None:
        self.bucket_raw = bucket_raw
        self.window_buckets = check_count("window_buckets", window_buckets, 2, "50")
        self.max_gap_ns = max_gap_ns
        self._clock = VolumeClock(bucket_raw, "split", max_gap_ns)
        self._imbalances: deque[int] = deque(maxlen=window_buckets)
        self._imbalance = 0
        self.value: float | None = None

    def update(self, ts_ns: int, amount_raw: int, side: int) -> bool:
        """Take a trade; True when it closed a bucket, so that the value is a new one."""
        check_raw("amount_raw", amount_raw, 1)
        closed = self._clock.update(ts_ns, amount_raw, side)
        if not closed:
            return False
        imbalances = self._imbalances
        is_new = False
        for bucket in closed:
            if not bucket.valid:
                continue
            is_new = True
            if len(imbalances) == self.window_buckets:
                self._imbalance -= imbalances[0]
            imbalance = abs(bucket.buy_raw - bucket.sell_raw)
            imbalances.append(imbalance)
            self._imbalance += imbalance
        if len(imbalances) == self.window_buckets:
            self.value = self._imbalance / (self.window_buckets * self.bucket_raw)
        return is_new


class BulkVpin(Estimator):
    """VPIN with bulk classification of bars, for data without an aggressor flag.

    A state of risk, not an alpha, like [Vpin][], and never to be compared with it: levels differ.

    Formula:
        for each fixed bar, dP = close - close before, sigma = standard deviation (population) of
        the last `sigma_window_bars` dP before this bar; the share of buying is F(dP / sigma), F the
        normal or Student-t distribution function; the bar's volume is then poured into buckets of
        exactly V with that share, and VPIN = sum |V_B - V_S| / (n V). With sigma 0 the share is
        1, 1/2 or 0 by the sign of dP. Student-t is used as it stands, not scaled to unit variance.
    Units: none, in [0, 1]; volumes in integer raw units.
    Clock: bars of a fixed length (1 minute in the source), at their close.
    Warm-up: one close, `sigma_window_bars` dP, then n buckets.
    Missing data: behind a gap longer than `max_gap_ns` the open bucket is dropped and dP starts
        anew; the buckets and the dP before stay in their windows. A bar without volume counts in
        sigma.
    Errors: time going back, a close not above 0 or a negative volume raises `InputError`; an
        unknown distribution, or Student-t without scipy, raises `ParameterError`.

    Example:
        >>> vpin = BulkVpin(bucket_raw=10, window_buckets=2, sigma_window_bars=2)
        >>> for i, close in enumerate((100.0, 101.0, 100.0, 101.0, 100.0)):
        ...     vpin.update(i, close, 10)
        >>> round(vpin.value, 4)
        0.6827

    Source: Easley, Lopez de Prado, O'Hara (2012), RFS 25(5); (2016), "Discerning information from
    trade data", JFE 120(2), Student-t with 0.25 degrees of freedom. Never comparable with `Vpin`.
    """

    ID = "bulk_vpin"
    VERSION = 1
    EXAMPLES = (
        {"bucket_raw": 1_000, "window_buckets": 5, "sigma_window_bars": 10},
        {
            "bucket_raw": 300,
            "window_buckets": 8,
            "sigma_window_bars": 20,
            "distribution": "student_t",
            "max_gap_ns": 500_000_000,
        },
    )

    __slots__ = (
        "_cdf", "_close", "_flow", "_held", "_imbalances", "_last", "_moments", "bucket_raw",
        "distribution", "dof", "max_gap_ns", "sigma_window_bars", "value", "window_buckets",
    )  # fmt: skip

    def __init__(
        self,
        bucket_raw: int,
        window_buckets: int = 50,
        sigma_window_bars: int = 60,
        distribution: Distribution = "normal",
        dof: float = 0.25,
        max_gap_ns: int = HOUR_NS,
    ) -> None:
        self.bucket_raw = check_count("bucket_raw", bucket_raw, 1, "the mean volume of a minute")
        self.window_buckets = check_count("window_buckets", window_buckets, 2, "50")
        self.sigma_window_bars = check_count("sigma_window_bars", sigma_window_bars, 2, "60")
        self.distribution = check_choice("distribution", distribution, ("normal", "student_t"))
        self.dof = check_positive("dof", dof, "0.25")
        self.max_gap_ns = check_count("max_gap_ns", max_gap_ns, 1, "3_600_000_000_000")
        self._cdf = distribution_function(distribution, dof)
        self._moments = RollingMeanVariance(sigma_window_bars)
        self._imbalances: deque[float] = deque(maxlen=window_buckets)
        self._close: float | None = None
        self._last = 0
        self._held = 0
        self._flow = 0.0
        self.value: float | None = None

    def update(self, ts_ns: int, close: float, volume_raw: int) -> None:
        """Take a bar: its close and its volume."""
        if not 0.0 < close < NUMBER_MAX:
            raise number_error("close", close)
        check_raw("volume_raw", volume_raw, 0)
        check_fills("volume_raw", volume_raw, self.bucket_raw)
        last = self._last
        check_time(ts_ns, last)
        before = self._close
        if before is not None and ts_ns - last > self.max_gap_ns:
            before = None
            self._held = 0
            self._flow = 0.0
        self._last = ts_ns
        self._close = close
        if before is None:
            return
        change = close - before
        moments = self._moments
        past = moments.value
        moments.update(change)
        if past is None:
            return
        tilt = 2.0 * buy_share(change, past.variance, self._cdf) - 1.0
        self._pour(volume_raw, tilt)

    def _pour(self, volume: int, tilt: float) -> None:
        held = self._held
        flow = self._flow
        bucket = self.bucket_raw
        imbalances = self._imbalances
        while (room := bucket - held) <= volume:
            imbalances.append(abs(flow + room * tilt))
            volume -= room
            held = 0
            flow = 0.0
        self._held = held + volume
        self._flow = flow + volume * tilt
        if len(imbalances) == self.window_buckets:
            self.value = math.fsum(imbalances) / (self.window_buckets * bucket)


def buy_share(change: float, variance: float, cdf: Callable[[float], float]) -> float:
    """Share of a bar's volume that bulk classification calls buying.

    >>> buy_share(0.0, 4.0, normal_cdf), buy_share(-1.0, 0.0, normal_cdf)
    (0.5, 0.0)
    """
    if variance > 0.0:
        return cdf(change / math.sqrt(variance))
    return 0.5 if change == 0.0 else float(change > 0.0)


def normal_cdf(x: float) -> float:
    """Phi(x), accurate in both tails.

    >>> normal_cdf(0.0)
    0.5
    """
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


def distribution_function(distribution: Distribution, dof: float) -> Callable[[float], float]:
    """F of bulk classification; Student-t comes from scipy, an extra.

    >>> distribution_function("normal", 0.25)(0.0)
    0.5
    """
    if distribution == "normal":
        return normal_cdf
    try:
        from scipy.special import stdtr
    except ImportError as error:
        raise ParameterError(
            "distribution student_t must have scipy (was not found); "
            "install phoenix-signals[student-t]"
        ) from error
    return lambda x: float(stdtr(dof, x))


def median_bar_bucket(volume_raw: Sequence[int]) -> int:
    """V as the median volume of the bars (1 or 5 minutes) of a training range.

    Pass volumes of the training range only: a median over the test range looks ahead.

    >>> median_bar_bucket([3, 10, 50])
    10
    """
    if len(volume_raw) == 0:
        raise InputError("volume_raw must hold at least one bar (was empty); give a training range")
    return max(1, round(statistics.median(int(v) for v in volume_raw)))


def average_day_bucket(volume_raw: Sequence[int], buckets_per_day: int = 50) -> int:
    """V as average daily volume / 50, from the daily volumes of a training range.

    >>> average_day_bucket([1_000, 2_000])
    30
    """
    check_count("buckets_per_day", buckets_per_day, 1, "50")
    if len(volume_raw) == 0:
        raise InputError("volume_raw must hold at least one day (was empty); give a training range")
    return max(1, round(sum(int(v) for v in volume_raw) / len(volume_raw) / buckets_per_day))
