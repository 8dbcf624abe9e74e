"""How much a Sharpe ratio proves, after the number of things that were tried.

Everything here is per period and without annualising: the Sharpe ratio is mean / standard deviation
of the returns as sampled (daily, in Phoenix), kurtosis is not excess (a normal has 3), T counts
returns. Annual figures are for reading only and are made in `phoenix_runner.metrics`.

- [probabilistic_sharpe_ratio][] (PSR): one-sided confidence that the true ratio exceeds a benchmark,
  one minus the p-value; not the probability of skill given the data.
- [expected_maximum_sharpe][]: the ratio that the best of N worthless trials shows on average.
- [deflated_sharpe_ratio][] (DSR): PSR against that.
- [minimum_track_record_length][] (MinTRL): how many returns a claim needs.
- [probability_of_backtest_overfitting][] (PBO): how often the best set in one half of the days is
  below the median in the other half.
- [infer][]: all of it for one series of returns, with a reason where something is undefined.

Sources: Bailey and Lopez de Prado, "The Sharpe Ratio Efficient Frontier", Journal of Risk 15(2),
2012 (PSR, MinTRL); the same, "The Deflated Sharpe Ratio", Journal of Portfolio Management 40(5),
2014; Bailey, Borwein, Lopez de Prado, Zhu, "The Probability of Backtest Overfitting", Journal of
Computational Finance 20(4), 2017.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import combinations
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phoenix_runner.errors import RunnerError

ENOUGH_DAYS = 30
"""Fewer daily returns than this are called too few to judge."""

_NORMAL = NormalDist()
_EULER_GAMMA = 0.5772156649015329


class InferenceError(RunnerError):
    """Statistics were asked of numbers that cannot carry them."""


@dataclass(frozen=True)
class ReturnMoments:
    """What the inference needs of a return series: T, Sharpe per period, skewness, kurtosis."""

    observations: int
    sharpe: float
    skewness: float
    kurtosis: float


@dataclass(frozen=True)
class Overfitting:
    """Result of combinatorially symmetric cross-validation.

    `relative_ranks` holds w of every split: the out-of-sample rank of the set that was best in
    sample, over N + 1. `chosen_in_sample` and `chosen_out_of_sample` are its two Sharpe ratios.
    """

    probability: float
    splits: int
    sets: int
    days_used: int
    days_dropped: int
    relative_ranks: NDArray[np.float64]
    chosen_in_sample: NDArray[np.float64]
    chosen_out_of_sample: NDArray[np.float64]

    @property
    def probability_of_loss(self) -> float:
        """Share of splits in which the chosen set lost money out of sample."""
        return float(np.mean(self.chosen_out_of_sample < 0))


@dataclass(frozen=True)
class SharpeInference:
    """PSR, DSR and MinTRL of one return series; None where undefined, and `undefined` says why.

    `minimum_track_record` is infinite (null in JSON) where no record is long enough, the ratio being
    at most 0; `minimum_track_record_is` tells that from undefined. `too_few`: fewer observations than
    `enough`, so that reports show none of this.
    """

    observations: int
    trials: int
    trial_variance: float
    confidence: float
    sharpe: float | None
    skewness: float | None
    kurtosis: float | None
    expected_maximum: float
    probabilistic: float | None
    deflated: float | None
    minimum_track_record: float | None
    undefined: str | None
    enough: int = ENOUGH_DAYS
    too_few: bool = field(init=False)
    minimum_track_record_is: Literal["finite", "never", "undefined"] = field(init=False)

    def __post_init__(self) -> None:
        length = self.minimum_track_record
        kind = "undefined" if length is None else "finite" if math.isfinite(length) else "never"
        object.__setattr__(self, "too_few", self.observations < self.enough)
        object.__setattr__(self, "minimum_track_record_is", kind)


def moments(returns: ArrayLike) -> ReturnMoments:
    """Sharpe ratio per period, skewness and (not excess) kurtosis of a return series.

    Sharpe = mean / s with s the sample standard deviation (n - 1); skewness and kurtosis are the
    plain moment ratios m3 / m2^1.5 and m4 / m2^2 about the mean, with divisor n.

    Raises [InferenceError][] for fewer than two returns, a value that is not finite, or returns
    that are all equal.

    >>> m = moments([0.01, -0.01, 0.02, 0.0])
    >>> m.observations, round(m.sharpe, 4), round(m.skewness, 4), round(m.kurtosis, 4)
    (4, 0.3873, 0.0, 1.64)
    """
    x = np.asarray(returns, dtype=np.float64)
    if x.ndim > 1:
        raise InferenceError(
            f"returns must be one series (had shape {x.shape}); pass a column, or a matrix to "
            "probability_of_backtest_overfitting"
        )
    if x.ndim != 1 or x.size < 2:
        raise InferenceError(
            f"daily returns must be at least 2 in a row (had {x.size}); 30 days is a start"
        )
    if not np.isfinite(x).all():
        raise InferenceError("returns must be finite; leave absent days out instead of NaN")
    centred = x - x.mean()
    second = float(np.mean(centred**2))
    if second <= (1e-12 * float(np.abs(x).max())) ** 2:
        raise InferenceError(
            f"returns must vary (all {x.size} equal {x[0]:g}); a series without risk has no Sharpe"
        )
    deviation = math.sqrt(second * x.size / (x.size - 1))
    return ReturnMoments(
        observations=int(x.size),
        sharpe=float(x.mean()) / deviation,
        skewness=float(np.mean(centred**3)) / second**1.5,
        kurtosis=float(np.mean(centred**4)) / second**2,
    )


def probabilistic_sharpe_ratio(
    sharpe: float,
    observations: int,
    *,
    skewness: float = 0.0,
    kurtosis: float = 3.0,
    benchmark: float = 0.0,
) -> float:
    """Confidence that the true Sharpe ratio exceeds `benchmark`: one minus the one-sided p-value.

    The share of samples of this length in which a true ratio at `benchmark` would show less than
    `sharpe`; no probability of the true ratio, which would need a prior.

    PSR = Phi((SR - SR*) sqrt(T - 1) / sqrt(1 - g3 SR + (g4 - 1) / 4 SR^2)), everything per period,
    g3 skewness, g4 kurtosis (3 for a normal).

    >>> round(probabilistic_sharpe_ratio(0.458, 24, skewness=-2.448, kurtosis=10.164), 3)
    0.913
    """
    if observations < 2:
        raise InferenceError(f"observations must be at least 2 (was {observations})")
    spread = math.sqrt(_variance_factor(sharpe, skewness, kurtosis))
    distance = (sharpe - benchmark) * math.sqrt(observations - 1)
    if spread == 0.0:  # two-point returns at the limit of the moments: no sampling error left
        return 0.5 if distance == 0 else float(distance > 0)
    return _NORMAL.cdf(distance / spread)


def expected_maximum_of_normals(trials: int) -> float:
    """Expected largest of N independent standard normals, by the formula of the DSR paper.

    (1 - g) Q(1 - 1/N) + g Q(1 - 1/(N e)), g Euler's constant, Q the normal quantile. N = 1 is 0.
    The formula is asymptotic: 2 % above the exact 1.5388 at N = 10.

    >>> round(expected_maximum_of_normals(10), 4), round(expected_maximum_of_normals(1000), 4)
    (1.5746, 3.2551)
    """
    if trials < 1 or trials != int(trials):
        raise InferenceError(
            f"trials must be a whole number of at least 1 (was {trials}); the run itself is one"
        )
    if trials == 1:
        return 0.0
    quantile = _NORMAL.inv_cdf
    return (1 - _EULER_GAMMA) * quantile(1 - 1 / trials) + _EULER_GAMMA * quantile(
        1 - 1 / (trials * math.e)
    )


def expected_maximum_sharpe(trials: int, trial_variance: float) -> float:
    """SR0: the Sharpe ratio that the best of N trials without skill shows on average.

    sqrt(V) times [expected_maximum_of_normals][]; V is the variance (n - 1) across trials of their
    Sharpe ratios, per period squared. One trial gives 0.

    >>> round(expected_maximum_sharpe(100, 0.5 / 250), 4)
    0.1132
    """
    if not (math.isfinite(trial_variance) and trial_variance >= 0):
        raise InferenceError(f"trial_variance must be finite and >= 0 (was {trial_variance})")
    return math.sqrt(trial_variance) * expected_maximum_of_normals(trials)


def deflated_sharpe_ratio(
    sharpe: float,
    observations: int,
    *,
    trials: int,
    trial_variance: float,
    skewness: float = 0.0,
    kurtosis: float = 3.0,
) -> float:
    """PSR against the best that `trials` worthless attempts would have shown.

    DSR = PSR(SR0), SR0 = [expected_maximum_sharpe][]`(trials, trial_variance)`; per period.

    >>> per_day = 2.5 / 250**0.5
    >>> round(deflated_sharpe_ratio(per_day, 1250, trials=100, trial_variance=0.5 / 250,
    ...                             skewness=-3, kurtosis=10), 4)
    0.9004
    """
    return probabilistic_sharpe_ratio(
        sharpe,
        observations,
        skewness=skewness,
        kurtosis=kurtosis,
        benchmark=expected_maximum_sharpe(trials, trial_variance),
    )


def minimum_track_record_length(
    sharpe: float,
    *,
    benchmark: float = 0.0,
    skewness: float = 0.0,
    kurtosis: float = 3.0,
    confidence: float = 0.95,
) -> float:
    """Number of returns after which PSR(benchmark) reaches `confidence`; infinite if it never does.

    MinTRL = 1 + (1 - g3 SR + (g4 - 1) / 4 SR^2) (Q(confidence) / (SR - SR*))^2, in periods.

    >>> day = 250**0.5
    >>> round(minimum_track_record_length(2 / day, benchmark=1 / day) / 250, 2)
    2.73
    """
    if not 0.5 < confidence < 1:
        raise InferenceError(f"confidence must be between 0.5 and 1 (was {confidence}); try 0.95")
    if sharpe <= benchmark:
        return math.inf
    factor = _variance_factor(sharpe, skewness, kurtosis)
    return 1 + factor * (_NORMAL.inv_cdf(confidence) / (sharpe - benchmark)) ** 2


def probability_of_backtest_overfitting(returns: ArrayLike, *, blocks: int = 16) -> Overfitting:
    """PBO by combinatorially symmetric cross-validation of a days-by-sets matrix of returns.

    The days are cut into `blocks` equal runs (the oldest remainder is dropped and counted). Every
    choice of half the blocks is a training set and the rest its test set: C(16, 8) = 12,870
    splits. In each, the set with the best Sharpe ratio in training (the first, when tied) takes its
    rank among all N test ratios (1 the worst, ties share the middle), w = rank / (N + 1). PBO is
    the share of splits with w <= 1/2. Pure noise gives 1/2 on average over matrices; one matrix
    alone scatters by .18.

    `returns` is (days, sets), without missing values. A set that does nothing in a half (all zeros)
    has a ratio of 0 there.

    Raises [InferenceError][] for fewer than 2 sets, fewer than 2 days a block, odd `blocks`, or a
    set whose returns are constant and not zero.

    >>> rng = np.random.default_rng(1)
    >>> noise = rng.normal(0, 0.01, (320, 20))
    >>> skilled = noise + 0.01 * (np.arange(20) == 7)
    >>> probability_of_backtest_overfitting(skilled).probability
    0.0
    """
    x = np.asarray(returns, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] < 2:
        raise InferenceError(
            f"returns must be a (days, sets) matrix of at least 2 sets (had shape {x.shape})"
        )
    if blocks < 2 or blocks % 2:
        raise InferenceError(f"blocks must be even and at least 2 (was {blocks}); 16 is usual")
    size = x.shape[0] // blocks
    if size < 2:
        raise InferenceError(
            f"returns must hold at least 2 days for each of {blocks} blocks (had {x.shape[0]}); "
            f"use fewer blocks or a longer range"
        )
    if not np.isfinite(x).all():
        raise InferenceError("returns must be finite; use days that every set has")
    dropped = x.shape[0] - size * blocks
    cut = x[dropped:].reshape(blocks, size, x.shape[1])

    half = blocks // 2
    # Each split and its mirror image are both in the list, as the paper has it.
    chosen_blocks = list(combinations(range(blocks), half))
    train = np.zeros((len(chosen_blocks), blocks))
    train[np.arange(len(chosen_blocks))[:, None], np.asarray(chosen_blocks)] = 1.0

    # Sums about the set's own mean: a subset's variance from sums loses no digits that way.
    centre = x[dropped:].mean(axis=0)
    sums = (cut - centre).sum(axis=1)
    squares = ((cut - centre) ** 2).sum(axis=1)
    days = half * size
    scale = np.sqrt(np.mean(x[dropped:] ** 2, axis=0))
    in_sample = _subset_sharpe(train, sums, squares, centre, days, scale)
    out_of_sample = in_sample[::-1]  # combinations come in order: the k-th from the end mirrors k

    best = in_sample.argmax(axis=1)
    rows = np.arange(len(best))
    chosen = out_of_sample[rows, best]
    below = (out_of_sample < chosen[:, None]).sum(axis=1)
    equal = (out_of_sample == chosen[:, None]).sum(axis=1)
    w = (below + (equal + 1) / 2) / (x.shape[1] + 1)
    return Overfitting(
        probability=float(np.mean(w <= 0.5)),
        splits=len(best),
        sets=int(x.shape[1]),
        days_used=size * blocks,
        days_dropped=dropped,
        relative_ranks=w,
        chosen_in_sample=in_sample[rows, best],
        chosen_out_of_sample=chosen,
    )


def infer(
    returns: ArrayLike,
    *,
    trials: int = 1,
    trial_variance: float | None = None,
    confidence: float = 0.95,
) -> SharpeInference:
    """PSR against 0, DSR and MinTRL of a series of returns, for a report.

    `trials` is the number of distinct parameter sets that were evaluated, plus the earlier ones
    that are declared; `trial_variance` the variance (n - 1) across them of their Sharpe ratio per
    period, needed with more than one of them: without it nothing would be deflated. MinTRL is against 0
    at `confidence`. A series that cannot carry the statistics (too short, constant) gives None and the
    reason instead of raising.

    Raises [InferenceError][] for `trials` that are no count, or are several without their variance.

    >>> found = infer([0.01, -0.01, 0.02, 0.0, 0.01], trials=24, trial_variance=0.02)
    >>> round(found.probabilistic, 3), round(found.deflated, 3)
    (0.831, 0.673)
    >>> infer([0.0, 0.0, 0.0]).undefined
    'returns must vary (all 3 equal 0); a series without risk has no Sharpe'
    """
    if trial_variance is None:
        if trials > 1:
            raise InferenceError(
                f"trial_variance must be given with {trials} trials (was None); the variance (n - 1) of "
                "their Sharpe ratios per period"
            )
        trial_variance = 0.0
    expected = expected_maximum_sharpe(trials, trial_variance)
    x = np.asarray(returns, dtype=np.float64)
    try:
        m = moments(x)
    except InferenceError as error:
        return SharpeInference(
            observations=int(x.size),
            trials=trials,
            trial_variance=trial_variance,
            confidence=confidence,
            sharpe=None,
            skewness=None,
            kurtosis=None,
            expected_maximum=expected,
            probabilistic=None,
            deflated=None,
            minimum_track_record=None,
            undefined=str(error),
        )
    shape = {"skewness": m.skewness, "kurtosis": m.kurtosis}
    return SharpeInference(
        observations=m.observations,
        trials=trials,
        trial_variance=trial_variance,
        confidence=confidence,
        sharpe=m.sharpe,
        skewness=m.skewness,
        kurtosis=m.kurtosis,
        expected_maximum=expected,
        probabilistic=probabilistic_sharpe_ratio(m.sharpe, m.observations, **shape),
        deflated=probabilistic_sharpe_ratio(m.sharpe, m.observations, benchmark=expected, **shape),
        minimum_track_record=minimum_track_record_length(m.sharpe, confidence=confidence, **shape),
        undefined=None,
    )


def _variance_factor(sharpe: float, skewness: float, kurtosis: float) -> float:
    """1 - g3 SR + (g4 - 1) / 4 SR^2; never negative for moments that a distribution can have."""
    # Sample moments touch the bound exactly for two-point returns, hence the rounding allowance.
    if not kurtosis >= skewness**2 + 1 - 1e-9 * (1 + skewness**2):
        raise InferenceError(
            f"kurtosis must be at least skewness^2 + 1 = {skewness**2 + 1:g} (was {kurtosis:g}); "
            "it is not excess kurtosis, a normal has 3"
        )
    return max(0.0, 1 - skewness * sharpe + (kurtosis - 1) / 4 * sharpe**2)


def _subset_sharpe(
    subsets: NDArray[np.float64],
    sums: NDArray[np.float64],
    squares: NDArray[np.float64],
    centre: NDArray[np.float64],
    days: int,
    scale: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Sharpe ratio of every set in every subset of blocks, from block sums: (splits, sets)."""
    offset = subsets @ sums / days
    mean = centre + offset
    variance = (subsets @ squares - days * offset**2) / (days - 1)
    still = variance <= (1e-9 * scale) ** 2
    if np.any(still & (np.abs(mean) > 1e-9 * scale)):
        raise InferenceError(
            "returns of a set must vary or be zero within half of the days; a constant return has "
            "no Sharpe ratio"
        )
    return np.where(still, 0.0, mean / np.sqrt(np.where(still, 1.0, variance)))
