"""Batch twins of `phoenix_signals.fusion`: rows of z-scores, NaN where a factor has no news."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phoenix_signals import fusion
from phoenix_signals.errors import NUMBER_MAX, InputError, number_error, time_column
from phoenix_signals.fusion import KalmanState

Floats = NDArray[np.float64]


def ensemble_fusion(
    ts_ns: ArrayLike,
    z: ArrayLike,
    *,
    weights: tuple[float, ...],
    max_ages_ns: tuple[int, ...],
    min_factors: int = 1,
    gain: float = 1.0,
    z_clip: float = 3.0,
) -> Floats:
    """Twin of [EnsembleFusion][phoenix_signals.fusion.EnsembleFusion]; z has shape (rows, factors).

    Units: z-scores in, a number in (-1, 1) out.
    Returns: float64, one value per row; NaN where the value is None; warm-up: `min_factors` fresh
        factors; fewer at any later time give None again.
    Raises: infinity, a row of another length or time going back raises InputError with the row;
        weights that are empty or 0 or max_ages_ns of another length raise ParameterError. NaN
        stands for the stream's None, where that may be.

    >>> z = [[1.0, np.nan], [np.nan, -1.0]]
    >>> ensemble_fusion([0, 5], z, weights=(1.0, 3.0), max_ages_ns=(10, 10)).round(4).tolist()
    [0.7616, -0.4621]
    """
    fusion.EnsembleFusion(weights, max_ages_ns, min_factors, gain, z_clip)
    times = time_column(ts_ns)
    table = _table(z, len(times), len(weights))
    rows = np.arange(len(times))
    fresh = np.zeros(len(times), dtype=np.int64)
    weighted, total = np.zeros(len(times)), np.zeros(len(times))
    for news, weight, age in zip(table.T, weights, max_ages_ns, strict=True):
        known = np.maximum.accumulate(np.where(np.isnan(news), -1, rows))
        used = (known >= 0) & (times - times[known] <= age)
        value = np.clip(news[known], -z_clip, z_clip)
        fresh += used
        weighted += np.where(used, weight * value, 0.0)
        total += np.where(used, abs(weight), 0.0)
    score = gain * weighted / np.where(total > 0.0, total, 1.0)
    return np.where(fresh >= min_factors, np.tanh(score), np.nan)


def kalman_fusion(
    ts_ns: ArrayLike,
    z: ArrayLike,
    *,
    noise_variances: tuple[float, ...],
    loadings: tuple[float, ...] | None = None,
    drift_variance_per_s: float = 1e-3,
    initial_variance: float = 1.0,
) -> KalmanState[Floats]:
    """Twin of [KalmanFusion][phoenix_signals.fusion.KalmanFusion]; z has shape (rows, factors).

    A recursion in which every step needs the one before: it runs row by row here too.

    Units: z-scores in; `drift_variance_per_s` in squared z per second.
    Returns: KalmanState of float64 columns, one entry per row; NaN where the value is None;
        warm-up: the first observation.
    Raises: infinity, a row of another length or time going back raises InputError with the row;
        variances not above 0 or lengths that differ raise ParameterError. NaN stands for the
        stream's None, where that may be.

    >>> z = [[1.0, np.nan], [np.nan, 1.0]]
    >>> state = kalman_fusion([0, 10**9], z, noise_variances=(1.0, 1.0), drift_variance_per_s=0.0)
    >>> state.mean.round(4).tolist()
    [0.5, 0.6667]
    """
    model = fusion.KalmanFusion(noise_variances, loadings, drift_variance_per_s, initial_variance)
    times = time_column(ts_ns)
    table = _table(z, len(times), len(noise_variances))
    factors = list(zip(model.loadings, noise_variances, strict=True))
    grown = (np.diff(times, prepend=times[:1]) * 1e-9 * drift_variance_per_s).tolist()
    mean, variance = 0.0, initial_variance
    states = []
    for growth, row in zip(grown, table.tolist(), strict=True):
        variance += growth
        nis = 0.0
        for news, (h, noise) in zip(row, factors, strict=True):
            if news == news:  # not NaN, at a tenth of the cost of math.isnan
                v = news - h * mean
                s = h * variance * h + noise
                k = variance * h / s
                mean += k * v
                keep = 1.0 - k * h
                variance = keep * variance * keep + k * noise * k
                nis += v * v / s
        states.append((math.tanh(mean), mean, variance, nis))
    observed = np.count_nonzero(~np.isnan(table), axis=1)
    columns = np.column_stack([np.array(states, dtype=np.float64).reshape(-1, 4), observed])
    columns[np.cumsum(observed) == 0] = np.nan
    return KalmanState._make(columns.T)


def _table(z: ArrayLike, rows: int, factors: int) -> Floats:
    table = np.asarray(z, dtype=np.float64)
    if table.size == 0:
        table = table.reshape(rows, factors)
    if table.shape != (rows, factors):
        raise InputError(
            f"z must have shape ({rows}, {factors}), one column per factor (was {table.shape}); "
            "NaN means no news"
        )
    bad = np.abs(table) >= NUMBER_MAX
    if bad.any():
        row = int(bad.any(axis=1).argmax())
        raise number_error("z", f"{table[row]} at row {row}")
    return table
