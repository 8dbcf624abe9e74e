"""How well a signal orders the returns that follow it, and how fast that fades.

For each horizon h the signal at t is held against two moves of the mid: the predictive one,
t to t + h, and the contemporaneous one, t - h to t. Only the first could be traded; a signal that
explains the second alone describes what happened, and the two are never mixed.

- linear IC: Pearson's correlation of signal and move;
- rank IC: Spearman's, the same of their ranks (ties share the mean rank);
- same sign: share of equal signs where both are not zero; only of a signal that takes both signs.

Moves over overlapping horizons depend on each other, and so do the values of a signal that lasts.
Intervals therefore come from a bootstrap of consecutive blocks of time, drawn whole and with
replacement; a block is [BLOCK_REACH][] times the longest horizon or the signal's [persistence_ns][],
whichever is longer. Blocks no longer than the dependence would take overlapping moves for more than
they are: with blocks of one horizon, an interval at 95 % misses a true zero one time in ten.

A statistic theta is linearised, theta* - theta = sum of block influences u_b, and studentised in the
sample and in every draw alike: t = theta / se with se^2 = B / (B - 1) sum (u_b - mean u)^2. A row's
interval is theta +- q se, q the quantile of its drawn |t|. Ranks are those of the full sample in every
draw, which changes nothing to first order where there is no correlation.

A row's interval is of that row alone. Of many rows, some exclude zero by luck; a verdict over all
therefore asks for more: |t| above the quantile of the largest drawn |t| of all predictive rows
([Family][]), so that worthless signals give a verdict in 5 % of studies, not each of them. Signals with
blocks of one length share their draws, and with them how they depend on each other; others are drawn
apart, which can only make the limit higher (Sidak's inequality).

Source: Kunsch, "The jackknife and the bootstrap for general stationary observations", Annals of
Statistics 17(3), 1989 (blocks); Hall, "The Bootstrap and Edgeworth Expansion", 1992 (studentised,
symmetric); Romano and Wolf, "Exact and approximate stepdown methods for multiple hypothesis testing",
JASA 100, 2005 (the largest |t|); Grinold and Kahn, "Active Portfolio Management", 2000 (IC).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phoenix_runner.errors import RunnerError
from phoenix_runner.research.labels import HORIZONS_NS, MINUTE_NS, move_between
from phoenix_runner.time_columns import times_ns

LEAST_BLOCKS = 20
"""With fewer blocks than this there is no interval: too few draws differ."""

BLOCK_REACH = 3
"""Lengths of the dependence in a block: what crosses its ends is then a ninth of the variance at most."""

Floats = NDArray[np.float64]


class DecayError(RunnerError):
    """A decay study was set up so that its figures would mislead."""

    exit_code = 2


@dataclass(frozen=True)
class Estimate:
    """A statistic with the bootstrap interval of it alone; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


UNDEFINED = Estimate(None, None, None)


@dataclass(frozen=True)
class DecayRow:
    """One horizon, one direction. `rank_t`: the rank IC over its standard error.

    `same_sign` is undefined for a signal that does not take both signs.
    """

    horizon_ns: int
    kind: Literal["predictive", "contemporaneous"]
    observations: int
    block_ns: int
    blocks: int
    rank_ic: Estimate
    rank_t: float | None
    linear_ic: Estimate
    same_sign: Estimate


@dataclass(frozen=True)
class Decay:
    """One signal: its rows, and the largest |t| of its predictive rank ICs in each draw.

    `extremes` has a value per draw; it is empty where nothing could be judged.
    """

    rows: tuple[DecayRow, ...]
    extremes: Floats


@dataclass(frozen=True)
class Family:
    """All predictive rank ICs of a study that can be judged.

    `t_limit`: what the largest |t| of `comparisons` worthless ones stays below with probability
    `confidence`; None without any.
    """

    comparisons: int
    t_limit: float | None
    confidence: float

    def beyond_chance(self, row: DecayRow) -> bool | None:
        """Whether a row stands out among all; None for one that was not judged."""
        if self.t_limit is None or row.rank_t is None or row.kind != "predictive":
            return None
        return abs(row.rank_t) > self.t_limit


def family(found: Iterable[Decay], *, confidence: float = 0.95) -> Family:
    """The limit that one of all predictive rank ICs has to pass, from one number of draws each."""
    judged = [one for one in found if one.extremes.size]
    if not judged:
        return Family(0, None, confidence)
    largest = np.max(np.stack([one.extremes for one in judged]), axis=0)
    rows = [r for one in judged for r in one.rows if r.kind == "predictive"]
    count = sum(r.rank_t is not None for r in rows)
    return Family(count, float(np.quantile(largest, confidence)), confidence)


def decay(
    at_ns: ArrayLike,
    signal: ArrayLike,
    mid_ts_ns: ArrayLike,
    mid: ArrayLike,
    *,
    seed: int,
    horizons_ns: Sequence[int] = HORIZONS_NS,
    draws: int = 1000,
    confidence: float = 0.95,
    max_age_ns: int = MINUTE_NS,
) -> Decay:
    """IC and share of same signs of `signal` (known at `at_ns`) against moves of the mid, by horizon.

    `at_ns` must not decrease; signals or moves that are NaN are left out. Intervals are at `confidence`
    from `draws` resamples, the same for every call with one `seed`; with fewer than
    [LEAST_BLOCKS][] blocks they are None.
    """
    times, values = times_ns("at_ns", at_ns), np.asarray(signal, dtype=np.float64)
    if times.shape != values.shape or np.any(np.diff(times) < 0):
        raise DecayError("at_ns and signal must have one length, times not decreasing")
    if draws < 1:
        raise DecayError(f"draws must be at least 1 (was {draws}); 1000 is typical")
    if not 0 < confidence < 1:
        raise DecayError(f"confidence must be between 0 and 1 (was {confidence}); try 0.95")
    block_ns = BLOCK_REACH * max(*horizons_ns, persistence_ns(times, values))
    # Blocks of all times, also of those at which this signal is unknown: signals then share draws.
    _, member = np.unique(times // block_ns, return_inverse=True)
    blocks = int(member.max()) + 1 if times.size else 0
    weights = np.empty((0, blocks))
    if blocks >= LEAST_BLOCKS:
        rng = np.random.default_rng([seed, blocks])
        weights = rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=draws).astype(float)
    known = values[np.isfinite(values)]
    signed = bool(known.size and known.min() < 0 < known.max())
    rows: list[DecayRow] = []
    drawn: list[Floats] = []
    for kind in ("predictive", "contemporaneous"):
        for horizon in horizons_ns:
            ends = (times, times + horizon) if kind == "predictive" else (times - horizon, times)
            moves = move_between(mid_ts_ns, mid, *ends, max_age_ns=max_age_ns)
            use = np.isfinite(values) & np.isfinite(moves)
            x, y, own = values[use], moves[use], member[use]
            filled = int(np.unique(own).size)
            enough = weights if filled >= LEAST_BLOCKS else weights[:0]
            rank_ic, rank_t, rank_drawn = _estimate(
                *_correlation(ranks(x), ranks(y)), own, enough, confidence, (-1.0, 1.0)
            )
            if kind == "predictive" and rank_t is not None:
                drawn.append(rank_drawn)
            rows.append(
                DecayRow(
                    horizon_ns=horizon,
                    kind=kind,
                    observations=int(x.size),
                    block_ns=block_ns,
                    blocks=filled,
                    rank_ic=rank_ic,
                    rank_t=rank_t,
                    linear_ic=_estimate(
                        *_correlation(x, y), own, enough, confidence, (-1.0, 1.0)
                    )[0],
                    same_sign=_estimate(
                        *_same_sign(x, y), own, enough, confidence, (0.0, 1.0)
                    )[0] if signed else UNDEFINED,
                )
            )  # fmt: skip
    extremes = np.max(np.stack(drawn), axis=0) if drawn else np.empty(0)
    return Decay(tuple(rows), extremes)


def persistence_ns(times_ns: NDArray[np.int64], signal: Floats) -> int:
    """How long a signal remembers itself: where the autocorrelation of its ranks falls below 1 / e.

    The first such lag in values, times their median distance; for a signal that forgets exponentially,
    its half-life / ln 2. Unknown values are passed over, 0 for fewer than three known or a constant.

    >>> persistence_ns(np.arange(6), np.array([1.0, 1.0, 1.0, -1.0, -1.0, -1.0]))
    2
    """
    known = np.isfinite(signal)
    if known.sum() < 3:
        return 0
    x = _standard(ranks(signal[known]))
    if not x.any():
        return 0
    size = 1 << (2 * x.size - 1).bit_length()  # long enough that the ends do not meet
    spectrum = np.fft.rfft(x, size)
    correlation = np.fft.irfft(spectrum * spectrum.conj(), size)[: x.size] / x.size
    lag = int(np.argmax(correlation < 1 / math.e))  # lag n - 1 is always below
    return lag * int(np.median(np.diff(times_ns[known])))


def ranks(x: ArrayLike) -> Floats:
    """Ranks from 1, ties sharing their mean.

    >>> ranks([10.0, 30.0, 10.0, 20.0]).tolist()
    [1.5, 4.0, 1.5, 3.0]
    """
    _, inverse, counts = np.unique(np.asarray(x), return_inverse=True, return_counts=True)
    upper = np.cumsum(counts)
    return np.asarray((upper - (counts - 1) / 2)[inverse], dtype=np.float64)


def _correlation(x: Floats, y: Floats) -> tuple[float | None, Floats]:
    """Pearson's correlation and the influence of each pair on it."""
    x, y = _standard(x), _standard(y)
    if not x.any() or not y.any():
        return None, np.zeros_like(x)
    value = float(np.mean(x * y))
    return value, (x * y - value * (x * x + y * y) / 2) / x.size


def _same_sign(x: Floats, y: Floats) -> tuple[float | None, Floats]:
    """Share of equal signs where both are not zero, and the influence of each pair on it."""
    cases = (x != 0) & (y != 0)
    if not cases.any():
        return None, np.zeros_like(x)
    hits = cases & (np.sign(x) == np.sign(y))
    value = float(hits.sum() / cases.sum())
    return value, (hits - value * cases) / cases.sum()


def _estimate(
    value: float | None,
    influence: Floats,
    member: NDArray[np.int64],
    weights: Floats,
    confidence: float,
    bounds: tuple[float, float],
) -> tuple[Estimate, float | None, Floats]:
    """The estimate, its t against zero, and |t| in each draw of blocks; undrawn without weights."""
    if value is None or not len(weights):
        return Estimate(value, None, None), None, np.empty(0)
    parts = np.bincount(member, influence, weights.shape[1])
    blocks = parts.size
    # Each draw is centred on the sample, in which influences add up to zero.
    sums, squares = weights @ parts, weights @ parts**2
    spread = np.sqrt(np.maximum(squares - sums**2 / blocks, 0.0) * blocks / (blocks - 1))
    error = math.sqrt(float(np.sum(parts**2)) * blocks / (blocks - 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = np.where(spread > 1e-9 * error, np.abs(sums) / spread, 0.0)
    reach = float(np.quantile(drawn, confidence)) * error
    low, high = max(bounds[0], value - reach), min(bounds[1], value + reach)
    t = value / error if error > 1e-12 else math.copysign(math.inf, value)
    return Estimate(value, low, high), t, drawn


def _standard(x: Floats) -> Floats:
    spread = float(x.std()) if x.size else 0.0
    return (x - x.mean()) / spread if x.size and spread > 1e-12 * float(np.abs(x).max()) else (
        np.zeros_like(x)
    )  # fmt: skip
