"""Batch twins of `phoenix_signals.covariance`: one matrix per row, shape (rows, assets, assets).

A row without an estimate holds NaN in every cell. Cells agree to 1e-12 of the root of the product
of their two variances: an entry near 0 is a difference of large sums.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from phoenix_signals import covariance
from phoenix_signals.batch.rolling import decayed_sum
from phoenix_signals.covariance import Matrix, ShrinkageKind, nearest_psd, population, shrunk
from phoenix_signals.errors import (
    NUMBER_MAX,
    InputError,
    number_error,
    raw_column,
    time_column,
)
from phoenix_signals.rolling import ew_alpha


def rolling_covariance(
    x: ArrayLike, *, asset_count: int, window_count: int, min_count: int | None = None
) -> Matrix:
    """Twin of [RollingCovariance][phoenix_signals.covariance.RollingCovariance].

    Units: those of x, squared.
    Returns: float64 of shape (rows, assets, assets), one matrix per row; NaN where the value is
        None; warm-up: `min_count` vectors (default: a full window).
    Raises: a NaN or infinity anywhere raises InputError with the row. asset_count below 1 or
        window_count below 2 raises ParameterError; a vector of another length raises InputError.

    >>> rolling_covariance([[1, 1], [3, -1]], asset_count=2, window_count=2)[-1]
    array([[ 1., -1.],
           [-1.,  1.]])
    """
    least = covariance.RollingCovariance(asset_count, window_count, min_count).min_count
    return _over_windows(population, _vectors(x, asset_count), window_count, least)


def ew_covariance(
    x: ArrayLike, *, asset_count: int, half_life_count: float, min_count: int = 1
) -> Matrix:
    """Twin of [EwCovariance][phoenix_signals.covariance.EwCovariance].

    Units: those of x, squared.
    Returns: float64 of shape (rows, assets, assets), one matrix per row; NaN where the value is
        None; warm-up: `min_count` vectors (default 1).
    Raises: a NaN or infinity anywhere raises InputError with the row. half_life_count of 0 or
        below raises ParameterError; a vector of another length raises InputError.

    >>> ew_covariance([[0, 0], [4, 2]], asset_count=2, half_life_count=1)[-1]
    array([[4., 2.],
           [2., 1.]])
    """
    covariance.EwCovariance(asset_count, half_life_count, min_count)
    vectors = _vectors(x, asset_count)
    if len(vectors) == 0:
        return np.empty((0, asset_count, asset_count))
    alpha = ew_alpha(half_life_count)
    keep = 1.0 - alpha
    y = vectors - vectors[0]
    d = y.copy()
    d[1:] -= decayed_sum(alpha * y, keep)[:-1]
    terms = keep * (alpha * (d[:, :, None] * d[:, None, :]))
    matrices = decayed_sum(terms, keep)
    matrices[: min_count - 1] = np.nan
    return matrices


def shrinkage_covariance(
    x: ArrayLike,
    *,
    asset_count: int,
    window_count: int,
    min_count: int | None = None,
    method: ShrinkageKind = "ledoit_wolf",
) -> Matrix:
    """Twin of [ShrinkageCovariance][phoenix_signals.covariance.ShrinkageCovariance].

    Units: those of x, squared.
    Returns: float64 of shape (rows, assets, assets), one matrix per row; NaN where the value is
        None; warm-up: `min_count` vectors (default: a full window).
    Raises: a NaN or infinity anywhere raises InputError with the row. without scikit-learn the
        constructor raises ParameterError that names the extra; window_count below 2 raises
        ParameterError; a vector of another length InputError.

    >>> x = [[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]]
    >>> shrinkage_covariance(x, asset_count=2, window_count=4)[-1]
    array([[1.20833333, 0.        ],
           [0.        , 1.29166667]])
    """
    least = covariance.ShrinkageCovariance(asset_count, window_count, min_count, method).min_count
    vectors = _vectors(x, asset_count)
    return _over_windows(lambda window: shrunk(window, method), vectors, window_count, least)


def hayashi_yoshida(
    ts_ns: ArrayLike, asset: ArrayLike, price: ArrayLike, *, asset_count: int
) -> Matrix:
    """Twin of [HayashiYoshida][phoenix_signals.covariance.HayashiYoshida].

    Units: squared log returns over the time observed.
    Returns: float64 of shape (rows, assets, assets), one matrix per price; NaN where the value is
        None; warm-up: two prices, at different times, of every asset.
    Raises: a price that is not positive and finite raises InputError. an asset outside
        0..asset_count-1, a price that is not positive or time going back raises InputError.
        Microstructure noise (bid-ask bounce) inflates the diagonal: use mids.

    >>> rows = hayashi_yoshida([0, 0, 2, 3], [0, 1, 0, 1], [1, 1, np.e, np.e], asset_count=2)
    >>> rows[-1]
    array([[1., 1.],
           [1., 1.]])
    """
    matrices = hayashi_yoshida_raw(ts_ns, asset, price, asset_count=asset_count)
    ready = ~np.isnan(matrices[:, 0, 0])
    matrices[ready] = nearest_psd(matrices[ready])
    return matrices


def hayashi_yoshida_raw(
    ts_ns: ArrayLike, asset: ArrayLike, price: ArrayLike, *, asset_count: int
) -> Matrix:
    """The sum itself, `HayashiYoshida.raw` at every row: possibly indefinite.

    >>> rows = hayashi_yoshida_raw([0, 0, 2, 3], [0, 1, 0, 1], [1, 1, np.e, np.e], asset_count=2)
    >>> rows[-1]
    array([[1., 1.],
           [1., 1.]])
    """
    covariance.HayashiYoshida(asset_count)
    times = time_column(ts_ns)
    owner = raw_column("asset", asset, len(times))
    prices = np.asarray(price, dtype=np.float64)
    if prices.shape != times.shape or not ((prices > 0.0) & (prices < NUMBER_MAX)).all():
        raise InputError(
            f"price must be positive and finite on each of {len(times)} rows (was not); "
            "drop the rows without a price"
        )
    if not ((owner >= 0) & (owner < asset_count)).all():
        raise InputError(f"asset must be in 0..{asset_count - 1} on every row; number them from 0")
    logs = np.log(prices)
    rows = np.arange(len(times))
    ticks = [rows[owner == i] for i in range(asset_count)]
    added = np.zeros((len(times), asset_count, asset_count))
    intervals = np.zeros((len(times), asset_count), dtype=bool)
    for i, mine in enumerate(ticks):
        if len(mine) == 0:
            continue
        mine_ts, mine_log = times[mine], logs[mine]
        # Where the interval that ends at each tick began: the last own tick of an earlier time.
        began = np.searchsorted(mine_ts, mine_ts, side="left") - 1
        ends = mine[began >= 0]
        start = began[began >= 0]
        intervals[ends, i] = True
        own = np.flatnonzero(began >= 0)
        move = mine_log[own] - mine_log[own - 1]
        for j, theirs in enumerate(ticks):
            if j == i:
                a, b = mine_log[own] - mine_log[start], mine_log[own - 1] - mine_log[start]
                added[ends, i, i] = move * (a + b)
            elif len(theirs):
                now = np.searchsorted(theirs, ends) - 1
                their_ts, their_log = times[theirs], logs[theirs]
                then = np.searchsorted(their_ts, mine_ts[start], side="right") - 1
                # No tick that early: the first price counts, as far as it is corrected by now.
                first = np.searchsorted(their_ts, their_ts[0], side="right") - 1
                then = np.where(then >= 0, then, np.minimum(now, first))
                overlap = their_log[now] - their_log[then]
                cross = np.where(now >= 0, move * overlap, 0.0)
                added[ends, i, j] += cross
                added[ends, j, i] += cross
    matrices = np.cumsum(added, axis=0)
    ready = np.logical_or.accumulate(intervals, axis=0).all(axis=1)
    matrices[~ready] = np.nan
    return matrices


def _over_windows(
    estimate: Callable[[Matrix], Matrix], vectors: Matrix, window_count: int, least: int
) -> Matrix:
    matrices = np.full((len(vectors), vectors.shape[1], vectors.shape[1]), np.nan)
    for stop in range(least, len(vectors) + 1):
        matrices[stop - 1] = estimate(vectors[max(0, stop - window_count) : stop])
    return matrices


def _vectors(x: ArrayLike, asset_count: int) -> Matrix:
    vectors = np.asarray(x, dtype=np.float64)
    if vectors.size == 0:
        vectors = vectors.reshape(0, asset_count)
    if vectors.ndim != 2 or vectors.shape[1] != asset_count:
        raise InputError(
            f"x must have {asset_count} columns, one per asset (was shape {vectors.shape}); "
            "keep only times at which every asset has a return"
        )
    finite = (np.abs(vectors) < NUMBER_MAX).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise number_error("x", f"{vectors[row]} at row {row}")
    return vectors
