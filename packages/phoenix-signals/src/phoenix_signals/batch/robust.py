"""Median and MAD of every full window at once, exactly.

Neighbouring windows share most of their values. So the rows are taken in blocks: what all windows of
a block have in common (the core) is sorted once, and an order statistic of one window can only lie
among a few neighbours of its rank in the core and the few values that the window has beside it.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BLOCK = 16
"""Rows of a block: a small one sorts more cores, a large one more candidates per row."""

LEAST_WINDOW = 8
"""Below this window a block would share nothing worth sorting."""

_ROWS = 4_096
"""Rows worked on at once: few enough that a window of some hundred stays in the cache."""


def full_window_median_mad(x: Floats, window_count: int) -> tuple[Floats, Floats]:
    """Median and median absolute deviation of x[i - window_count + 1 .. i], for every full window.

    Returns:
        Two arrays of len(x) - window_count + 1 rows. An even window takes the mean of the middle
        two. The comparisons, and so the results, are those of a sort of each window.

    >>> full_window_median_mad(np.array([5.0, 1, 2, 4, 100, 3, 9, 8, 6]), 8)[0].tolist()
    [4.5, 5.0]
    """
    rows = len(x) - window_count + 1
    block = min(BLOCK, window_count // 2)
    median, mad = np.empty(max(rows, 0)), np.empty(max(rows, 0))
    for start in range(0, rows, _ROWS):
        stop = min(start + _ROWS, rows)
        # The last value again and again fills the last block; its rows are cut off below.
        part = x[start : stop + window_count - 1]
        part = np.pad(part, (0, -(stop - start) % block), mode="edge")
        m, d = _blocks(part, window_count, block)
        median[start:stop], mad[start:stop] = m[: stop - start], d[: stop - start]
    return median, mad


def _blocks(x: Floats, n: int, block: int) -> tuple[Floats, Floats]:
    groups = (len(x) - n + 1) // block
    # Windows of the rows r .. r + block - 1 all hold x[r + block - 1 .. r + n - 1], their core.
    spans = sliding_window_view(x, n + block - 1)[::block]
    size = n - block + 1
    lower, upper = (n - 1) // 2, n // 2  # ranks of the middle two, the same if n is odd
    dropped = lower - (block - 1)  # core values too small to reach rank `lower` in any window
    near = upper + 1 - dropped
    core = np.full((groups, size + 2 * near), np.inf)  # infinities around it need no bounds
    core[:, :near] = -np.inf
    core[:, near : near + size] = spans[:, block - 1 : n]
    core[:, near : near + size].sort(axis=1)
    ends = np.concatenate([spans[:, : block - 1], spans[:, n:]], axis=1)

    # Candidates of each row: some of the core, and what its window has beside the core.
    candidates = np.empty((groups, block, near + block - 1))
    candidates[:, :, :near] = core[:, None, near + dropped : near + upper + 1]
    candidates[:, :, near:] = sliding_window_view(ends, block - 1, axis=1)
    beside = candidates[:, :, near:].copy()
    median = _middle(candidates, block - 1, upper - dropped)

    # Distances of the core from m rise to both sides of its place in the core. The `dropped`
    # smallest form a run; it begins where the next value to its left is not nearer any more.
    flat = core.ravel()
    base = core.shape[1] * np.arange(groups)[:, None] + near
    place = base + _places(flat, base, size, median)
    low = np.maximum(place - dropped, base)
    high = np.minimum(place, base + size - dropped)
    while (low < high).any():
        middle = (low + high) // 2
        is_far = median - flat[middle] > flat[middle + dropped] - median
        is_open = low < high
        low = np.where(is_open & is_far, middle + 1, low)
        high = np.where(is_open & ~is_far, middle, high)
    runs = sliding_window_view(flat, near)
    distances = np.empty((groups, block, 2 * near + block - 1))
    distances[:, :, :near] = runs[low - near]
    distances[:, :, near : 2 * near] = runs[low + dropped]
    distances[:, :, 2 * near :] = beside
    distances -= median[:, :, None]
    np.abs(distances, out=distances)
    return median.ravel(), _middle(distances, block - 1, upper - dropped).ravel()


def _middle(candidates: Floats, lower: int, upper: int) -> Floats:
    """Mean of two order statistics of each row; sorts the rows in place."""
    candidates.sort(axis=2)
    if lower == upper:
        return candidates[:, :, lower]
    middle: Floats = (candidates[:, :, lower] + candidates[:, :, upper]) * 0.5
    return middle


def _places(flat: Floats, base: Ints, size: int, values: Floats) -> Ints:
    """How many of the `size` sorted values from each base lie below each value."""
    places = np.zeros(values.shape, dtype=np.int64)
    step = 1 << (size.bit_length() - 1)
    while step:
        at = places + step
        # Behind the core stand infinities, though fewer than a step may reach.
        below = flat[base + np.minimum(at, size + 1) - 1] < values
        places = np.where(below, at, places)
        step //= 2
    return places
