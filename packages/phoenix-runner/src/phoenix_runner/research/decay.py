"""How well a signal orders the returns that follow it, and how fast that fades.

For each horizon h the signal at t is held against two moves of the mid: the predictive one,
t to t + h, and the contemporaneous one, t - h to t. Only the first could be traded; a signal that
explains the second alone describes what happened, and the two are never mixed.

- linear IC: Pearson's correlation of signal and move;
- rank IC: Spearman's, the same of their ranks (ties share the mean rank);
- hit rate: share of equal signs where both are not zero.

Moves over overlapping horizons depend on each other, so intervals come from a bootstrap of
consecutive blocks of time, drawn whole and with replacement; a block is at least as long as the
longest horizon. Ranks are those of the full sample in every draw, which leaves the interval's width
unchanged to first order and makes all draws one matrix product.

Source: Kunsch, "The jackknife and the bootstrap for general stationary observations", Annals of
Statistics 17(3), 1989 (blocks); Grinold and Kahn, "Active Portfolio Management", 2000 (IC).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phoenix_runner.errors import RunnerError
from phoenix_runner.research.labels import HORIZONS_NS, MINUTE_NS, move_between

LEAST_BLOCKS = 20
"""With fewer blocks than this there is no interval: too few draws differ."""

Floats = NDArray[np.float64]


class DecayError(RunnerError):
    """A decay study was set up so that its figures would mislead."""

    exit_code = 2


@dataclass(frozen=True)
class Estimate:
    """A statistic with its bootstrap interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class DecayRow:
    """One horizon, one direction."""

    horizon_ns: int
    kind: Literal["predictive", "contemporaneous"]
    observations: int
    blocks: int
    rank_ic: Estimate
    linear_ic: Estimate
    hit_rate: Estimate


def decay(
    at_ns: ArrayLike,
    signal: ArrayLike,
    mid_ts_ns: ArrayLike,
    mid: ArrayLike,
    *,
    seed: int,
    horizons_ns: Sequence[int] = HORIZONS_NS,
    block_ns: int | None = None,
    draws: int = 1000,
    confidence: float = 0.95,
    max_age_ns: int = MINUTE_NS,
) -> tuple[DecayRow, ...]:
    """IC and hit rate of `signal` (known at `at_ns`) against moves of the mid, by horizon.

    `at_ns` must not decrease; signals or moves that are NaN are left out. `block_ns` defaults to
    the longest horizon and may not be shorter. Intervals are percentile intervals at `confidence`
    of `draws` resamples, the same for every call with one `seed`; with fewer than
    [LEAST_BLOCKS][] blocks they are None.
    """
    times, values = np.asarray(at_ns, dtype=np.int64), np.asarray(signal, dtype=np.float64)
    if times.shape != values.shape or np.any(np.diff(times) < 0):
        raise DecayError("at_ns and signal must have one length, times not decreasing")
    longest = max(horizons_ns)
    block = longest if block_ns is None else block_ns
    if block < longest:
        raise DecayError(
            f"block_ns must be at least the longest horizon, {longest} (was {block}); shorter "
            "blocks make intervals too narrow"
        )
    if draws < 1:
        raise DecayError(f"draws must be at least 1 (was {draws}); 1000 is typical")
    if not 0 < confidence < 1:
        raise DecayError(f"confidence must be between 0 and 1 (was {confidence}); try 0.95")
    rows = []
    for kind in ("predictive", "contemporaneous"):
        for horizon in horizons_ns:
            ends = (times, times + horizon) if kind == "predictive" else (times - horizon, times)
            moves = move_between(mid_ts_ns, mid, *ends, max_age_ns=max_age_ns)
            use = np.isfinite(values) & np.isfinite(moves)
            rows.append(
                _row(kind, horizon, times[use], values[use], moves[use], block, draws, confidence, seed)
            )  # fmt: skip
    return tuple(rows)


def ranks(x: ArrayLike) -> Floats:
    """Ranks from 1, ties sharing their mean.

    >>> ranks([10.0, 30.0, 10.0, 20.0]).tolist()
    [1.5, 4.0, 1.5, 3.0]
    """
    _, inverse, counts = np.unique(np.asarray(x), return_inverse=True, return_counts=True)
    upper = np.cumsum(counts)
    return np.asarray((upper - (counts - 1) / 2)[inverse], dtype=np.float64)


def _row(
    kind: Literal["predictive", "contemporaneous"],
    horizon_ns: int,
    times: NDArray[np.int64],
    signal: Floats,
    moves: Floats,
    block_ns: int,
    draws: int,
    confidence: float,
    seed: int,
) -> DecayRow:
    _, member = np.unique(times // block_ns, return_inverse=True)
    blocks = int(member.max()) + 1 if times.size else 0
    weights = None
    if blocks >= LEAST_BLOCKS:
        rng = np.random.default_rng(seed)
        weights = rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=draws).astype(float)

    def estimate(parts: Floats, statistic: type[_Correlation] | type[_Share]) -> Estimate:
        sums = np.stack([np.bincount(member, part, blocks) for part in parts], axis=1)
        value = _number(statistic.of(sums.sum(axis=0)))
        if weights is None or value is None:
            return Estimate(value, None, None)
        drawn = statistic.of((weights @ sums).T)
        tail = (1 - confidence) / 2
        low, high = np.nanquantile(drawn, [tail, 1 - tail])
        return Estimate(value, float(low), float(high))

    if times.size == 0:
        nothing = Estimate(None, None, None)
        return DecayRow(horizon_ns, kind, 0, 0, nothing, nothing, nothing)
    both = (signal != 0) & (moves != 0)
    return DecayRow(
        horizon_ns=horizon_ns,
        kind=kind,
        observations=int(times.size),
        blocks=blocks,
        rank_ic=estimate(_products(ranks(signal), ranks(moves)), _Correlation),
        linear_ic=estimate(_products(signal, moves), _Correlation),
        hit_rate=estimate(
            np.stack([both & (np.sign(signal) == np.sign(moves)), both]).astype(float), _Share
        ),
    )


def _products(x: Floats, y: Floats) -> Floats:
    """What a correlation needs, from values brought to mean 0 and scale 1 (sums stay exact)."""
    x, y = _standard(x), _standard(y)
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y])


def _standard(x: Floats) -> Floats:
    spread = float(x.std())
    return (x - x.mean()) / spread if spread > 1e-12 * float(np.abs(x).max()) else np.zeros_like(x)


class _Correlation:
    """Pearson's correlation from sums of 1, x, y, xx, yy, xy."""

    @staticmethod
    def of(sums: Floats) -> Floats:
        n, x, y, xx, yy, xy = sums
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = (xx - x * x / n) * (yy - y * y / n)
            return np.asarray(np.where(spread > 1e-18, (xy - x * y / n) / np.sqrt(spread), np.nan))


class _Share:
    """Hits over cases."""

    @staticmethod
    def of(sums: Floats) -> Floats:
        hits, cases = sums
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.where(cases > 0, hits / cases, np.nan))


def _number(value: Floats) -> float | None:
    return float(value) if np.isfinite(value) else None
