"""Batch twins of `phoenix_signals.rolling`: same arithmetic, whole columns at once."""

from __future__ import annotations

from bisect import bisect_left, insort

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from phoenix_signals import rolling
from phoenix_signals.batch.robust import LEAST_WINDOW, full_window_median_mad
from phoenix_signals.errors import NUMBER_MAX, column, size_error
from phoenix_signals.rolling import (
    MAD_TO_SD,
    SD_SHARE,
    MeanVariance,
    MedianMad,
    ew_alpha,
    median_mad,
)

Floats = NDArray[np.float64]

_CELLS = 4_000_000
"""Window cells held at once where a window has to be laid out (32 MB)."""

_HISTORY_BLOCK = 512
"""Rows ranked at once against the sorted history before them."""


def rolling_sum(x: ArrayLike, *, window_count: int) -> Floats:
    """Twin of [RollingSum][phoenix_signals.rolling.RollingSum].

    Units: those of x.
    Returns: float64, one value per row; NaN where the value is None; warm-up: a full window.
    Raises: NaN or infinity raises InputError with the row. window_count below 2 raises
        ParameterError.

    >>> rolling_sum([1.0, 2.0, 4.0], window_count=2).tolist()
    [nan, 3.0, 6.0]
    """
    rolling.RollingSum(window_count)
    values = column("x", x)
    n = window_count
    blocks = np.pad(values, (0, -len(values) % n)).reshape(-1, n)
    sums = np.cumsum(blocks, axis=1)
    sums[1:, :-1] += np.cumsum(blocks[:-1, ::-1], axis=1)[:, -2::-1]
    sums[:1, :-1] = np.nan
    return sums.ravel()[: len(values)]


def rolling_mean_variance(
    x: ArrayLike, *, window_count: int, min_count: int | None = None
) -> MeanVariance[Floats]:
    """Twin of [RollingMeanVariance][phoenix_signals.rolling.RollingMeanVariance]: two columns.

    Units: those of x, and their square.
    Returns: MeanVariance of float64 columns, one entry per row; NaN where the value is None;
        warm-up: `min_count` values (default: a full window).
    Raises: NaN or infinity raises InputError with the row. window_count below 2 or min_count
        outside 1..window_count raises ParameterError.

    >>> rolling_mean_variance([1.0, 2.0, 3.0, 4.0], window_count=3).mean.tolist()
    [nan, nan, 2.0, 3.0]
    """
    least = rolling.RollingMeanVariance(window_count, min_count).min_count
    ref, mean, m2, count = moments(column("x", x), window_count)
    ready = count >= least
    return MeanVariance(np.where(ready, ref + mean, np.nan), np.where(ready, m2 / count, np.nan))


def moments(x: Floats, window_count: int) -> tuple[Floats, Floats, Floats, NDArray[np.int64]]:
    """(reference, mean - reference, sum of squared deviations, count) of each row's window."""
    rows = len(x)
    n = window_count
    blocks = np.pad(x, (0, -rows % n)).reshape(-1, n)  # the padding lies behind every real row
    ref, mean, m2 = (np.empty_like(blocks) for _ in range(3))
    step = max(1, _CELLS // n)
    for start in range(0, len(blocks), step):
        _block_moments(blocks, slice(start, start + step), ref, mean, m2)
    count = np.minimum(np.arange(1, rows + 1), n)
    return ref.ravel()[:rows], mean.ravel()[:rows], m2.ravel()[:rows], count


def _block_moments(blocks: Floats, part: slice, ref: Floats, mean: Floats, m2: Floats) -> None:
    """Fill in the moments of some blocks, which need the block before the first of them."""
    n = blocks.shape[1]
    head_ref, head_mean, head_m2 = _prefix_moments(blocks[part])
    ref[part] = head_ref[:, None]
    mean[part] = head_mean
    m2[part] = head_m2
    skip = int(part.start == 0)  # the very first block has none before it
    tail_ref, tail_mean, tail_m2 = _prefix_moments(
        blocks[part.start + skip - 1 : part.start + len(head_ref) - 1, ::-1]
    )
    # Column p of a block joins its own first p + 1 values with the last n - 1 - p before it.
    into = (slice(part.start + skip, part.start + len(head_ref)), slice(0, n - 1))
    before = slice(n - 2, None, -1)
    head = np.arange(1, n)
    share = head / n
    delta = (head_ref[skip:] - tail_ref)[:, None] + (head_mean[skip:, :-1] - tail_mean[:, before])
    m2[into] = (tail_m2[:, before] + head_m2[skip:, :-1]) + delta * delta * ((n - head) * share)
    mean[into] = tail_mean[:, before] + delta * share
    ref[into] = tail_ref[:, None]


def _prefix_moments(blocks: Floats) -> tuple[Floats, Floats, Floats]:
    """Reference, mean and m2 of the first 1, 2, ... values of each row."""
    ref = blocks[:, 0]
    y = blocks - ref[:, None]
    k = np.arange(1, blocks.shape[1] + 1)
    mean = np.cumsum(y, axis=1) / k
    d = y.copy()
    d[:, 1:] -= mean[:, :-1]
    return ref, mean, np.cumsum(d * d * ((k - 1) / k), axis=1)


def ew_mean_variance(
    x: ArrayLike, *, half_life_count: float, min_count: int = 1
) -> MeanVariance[Floats]:
    """Twin of [EwMeanVariance][phoenix_signals.rolling.EwMeanVariance]: two columns.

    Values agree to 1e-12 of the largest term of the weighted sum, not of the sum itself: terms are
    added pairwise instead of one after the other.

    Units: those of x, and their square.
    Returns: MeanVariance of float64 columns, one entry per row; NaN where the value is None;
        warm-up: `min_count` values (default 1).
    Raises: NaN or infinity raises InputError with the row. half_life_count of 0 or below raises
        ParameterError.

    >>> ew_mean_variance([0.0, 4.0], half_life_count=1).mean.tolist()
    [0.0, 2.0]
    """
    rolling.EwMeanVariance(half_life_count, min_count)
    values = column("x", x)
    if len(values) == 0:
        return MeanVariance(values, values)
    alpha = ew_alpha(half_life_count)
    keep = 1.0 - alpha
    y = values - values[0]
    mean = decayed_sum(alpha * y, keep)
    d = y.copy()
    d[1:] -= mean[:-1]
    variance = decayed_sum(keep * (alpha * (d * d)), keep)
    ready = np.arange(1, len(y) + 1) >= min_count
    return MeanVariance(
        np.where(ready, values[0] + mean, np.nan), np.where(ready, variance, np.nan)
    )


def decayed_sum(x: Floats, keep: float) -> Floats:
    """y_i = keep y_(i-1) + x_i, by doubling: after k passes each row holds its last 2^k terms."""
    y = x.copy()
    shift = 1
    factor = keep
    while shift < len(y) and factor > 0.0:
        y[shift:] = y[shift:] + factor * y[:-shift]
        shift *= 2
        factor *= factor
    return y


def rolling_median_mad(
    x: ArrayLike, *, window_count: int, min_count: int | None = None
) -> MedianMad[Floats]:
    """Twin of [RollingMedianMad][phoenix_signals.rolling.RollingMedianMad]: two columns.

    Full windows are taken in blocks (see `phoenix_signals.batch.robust`), growing and very short
    ones one by one from a sorted list.

    Units: those of x.
    Returns: MedianMad of float64 columns, one entry per row; NaN where the value is None;
        warm-up: `min_count` values (default: a full window).
    Raises: NaN or infinity raises InputError with the row. window_count below 2 raises
        ParameterError.

    >>> rolling_median_mad([7.0, 1.0, 2.0, 4.0, 100.0], window_count=4).mad.tolist()
    [nan, nan, nan, 1.5, 1.5]
    """
    least = rolling.RollingMedianMad(window_count, min_count).min_count
    values = column("x", x)
    rows = values.tolist()
    median, mad = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    full = len(rows)
    if window_count >= LEAST_WINDOW and len(rows) >= window_count:
        full = window_count - 1
        median[full:], mad[full:] = full_window_median_mad(values, window_count)
    ordered = sorted(rows[: least - 1])
    found = []
    left = 0
    for i in range(least - 1, full):
        if i >= window_count:
            del ordered[bisect_left(ordered, rows[i - window_count])]
        insort(ordered, rows[i])
        m, d, left = median_mad(ordered, left)
        found.append((m, d))
    median[least - 1 : full], mad[least - 1 : full] = np.array(found).reshape(-1, 2).T
    return MedianMad(median, mad)


def zscore_mean_std(
    x: ArrayLike,
    min_scale: ArrayLike = 0.0,
    *,
    window_count: int,
    min_count: int = 30,
    z_clip: float = 10.0,
) -> Floats:
    """Twin of [ZScoreMeanStd][phoenix_signals.rolling.ZScoreMeanStd].

    Units: none; `min_scale` is in units of x, given with each value because half a tick over the
        mid moves with the mid.
    Returns: float64, one value per row; NaN where the value is None; warm-up: `min_count` values.
    Raises: NaN or infinity raises InputError with the row. window_count below 2, min_count
        outside 1..window_count or z_clip not above 0 raises ParameterError; a negative min_scale
        raises InputError.

    >>> zscore_mean_std([1.0, 2.0, 3.0], window_count=3, min_count=2).round(4).tolist()
    [nan, 1.0, 1.2247]
    """
    rolling.ZScoreMeanStd(window_count, min_count, z_clip)
    values = column("x", x)
    ref, mean, m2, count = moments(values, window_count)
    scale = np.maximum(np.sqrt(m2 / count), scale_column(min_scale, len(values)))
    return _z((values - ref) - mean, scale, count >= min_count, z_clip)


def zscore_median_mad(
    x: ArrayLike,
    min_scale: ArrayLike = 0.0,
    *,
    window_count: int,
    min_count: int = 30,
    z_clip: float = 10.0,
) -> Floats:
    """Twin of [ZScoreMedianMad][phoenix_signals.rolling.ZScoreMedianMad].

    Units: none; `min_scale` is in units of x, given with each value because half a tick over the
        mid moves with the mid.
    Returns: float64, one value per row; NaN where the value is None; warm-up: `min_count` values.
    Raises: NaN or infinity raises InputError with the row. window_count below 2, min_count
        outside 1..window_count or z_clip not above 0 raises ParameterError; a negative min_scale
        raises InputError.

    >>> zscore_median_mad([1.0, 2.0, 3.0, 4.0, 9.0], window_count=5, min_count=5).round(4).tolist()
    [nan, nan, nan, nan, 4.0469]
    """
    rolling.ZScoreMedianMad(window_count, min_count, z_clip)
    values = column("x", x)
    _, _, m2, count = moments(values, window_count)
    median, mad = rolling_median_mad(values, window_count=window_count, min_count=min_count)
    sd = np.sqrt(m2 / count)
    scale = np.maximum(
        np.maximum(MAD_TO_SD * mad, SD_SHARE * sd), scale_column(min_scale, len(values))
    )
    return _z(values - median, scale, count >= min_count, z_clip)


def zscore(
    kind: rolling.ZKind,
    x: ArrayLike,
    min_scale: ArrayLike = 0.0,
    *,
    window_count: int,
    min_count: int = 30,
    z_clip: float = 10.0,
) -> Floats:
    """The z-score of one kind, as [zscore][phoenix_signals.rolling.zscore] chooses it.

    >>> zscore("mean_std", [1.0, 1.0], window_count=2, min_count=1).tolist()
    [0.0, 0.0]
    """
    chosen = rolling.zscore(kind, window_count, min_count, z_clip)
    twin = zscore_mean_std if chosen.ID == "zscore_mean_std" else zscore_median_mad
    return twin(x, min_scale, window_count=window_count, min_count=min_count, z_clip=z_clip)


def percentile(x: ArrayLike, *, window_count: int | None = None, min_count: int = 30) -> Floats:
    """Twin of [Percentile][phoenix_signals.rolling.Percentile].

    Units: none.
    Returns: float64, one value per row; NaN where the value is None; warm-up: `min_count` values.
    Raises: NaN or infinity raises InputError with the row. window_count below 2 raises
        ParameterError.

    >>> percentile([3.0, 1.0, 2.0], min_count=1).round(4).tolist()
    [1.0, 0.5, 0.6667]
    """
    rolling.Percentile(window_count, min_count)
    values = column("x", x)
    rows = len(values)
    if rows == 0:
        return values
    if window_count is None:
        rank = _expanding_rank(values)
        count = np.arange(1, rows + 1)
    else:
        rank = np.empty(rows, dtype=np.int64)
        padded = np.pad(values, (window_count - 1, 0), constant_values=np.inf)
        windows = sliding_window_view(padded, window_count)
        step = max(1, _CELLS // window_count)
        for start in range(0, rows, step):
            part = windows[start : start + step]
            rank[start : start + step] = (part <= part[:, -1:]).sum(axis=1)
        count = np.minimum(np.arange(1, rows + 1), window_count)
    return np.where(count >= min_count, rank / np.maximum(count, 1), np.nan)


def _expanding_rank(x: Floats) -> NDArray[np.int64]:
    """#{j <= i : x_j <= x_i} for every row i."""
    rank = np.empty(len(x), dtype=np.int64)
    history = x[:0]
    for start in range(0, len(x), _HISTORY_BLOCK):
        part = x[start : start + _HISTORY_BLOCK]
        inside = np.tril(part[None, :] <= part[:, None]).sum(axis=1)
        rank[start : start + len(part)] = inside + np.searchsorted(history, part, side="right")
        history = np.sort(np.concatenate([history, part]), kind="stable")  # merges sorted runs
    return rank


def scale_column(min_scale: ArrayLike, rows: int) -> Floats:
    """`min_scale` on every row, each a finite number of at least 0.

    >>> scale_column(0.5, 2).tolist()
    [0.5, 0.5]
    """
    scales = np.broadcast_to(np.asarray(min_scale, dtype=np.float64), (rows,))
    bad = ~((scales >= 0.0) & (scales < NUMBER_MAX))
    if bad.any():
        row = int(np.argmax(bad))
        raise size_error("min_scale", f"{scales[row]} at row {row}")
    return scales


def _z(deviation: Floats, scale: Floats, ready: NDArray[np.bool_], z_clip: float) -> Floats:
    z = np.divide(deviation, scale, out=np.zeros(len(scale)), where=scale != 0.0)
    return np.where(ready, np.clip(z, -z_clip, z_clip), np.nan)
