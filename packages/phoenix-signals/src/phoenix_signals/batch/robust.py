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
        part = np.append(
            x[start : stop + window_count - 1], np.full(-(stop - start) % block, x[-1])
        )
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
    beside = sliding_window_view(ends, block - 1, axis=1)
    candidates[:, :, near:] = beside
    median = _middle(candidates, block - 1, upper - dropped)

    # Distances of the core from m rise to both sides of m. The `dropped` smallest form a run, which
    # begins the further right the greater m is: so those of the block's least and greatest m bound it.
    flat = core.ravel()
    first = core.shape[1] * np.arange(groups)[:, None] + near
    edges = np.stack([median.min(axis=1), median.max(axis=1)], axis=1)
    bounds = _runs(flat, dropped, edges, first, first + size - dropped)
    low = _runs(flat, dropped, median, bounds[:, :1], bounds[:, 1:])
    # Of the next `near` values to each side, both sorted, the pairs of equal place hold the `near`
    # least distances of all, one each.
    centre = median[:, :, None]
    distances = candidates  # the place of what is done with
    left, right = _stretches(flat, low - near, near), _stretches(flat, low + dropped, near)
    np.subtract(centre, left, out=left)
    np.subtract(right, centre, out=right)
    np.minimum(left, right, out=distances[:, :, :near])
    np.subtract(beside, centre, out=distances[:, :, near:])
    np.abs(distances[:, :, near:], out=distances[:, :, near:])
    return median.ravel(), _middle(distances, block - 1, upper - dropped).ravel()


def _middle(candidates: Floats, lower: int, upper: int) -> Floats:
    """Mean of two order statistics of each row; sorts the rows in place."""
    candidates.sort(axis=2)
    if lower == upper:
        return candidates[:, :, lower].copy()
    middle: Floats = (candidates[:, :, lower] + candidates[:, :, upper]) * 0.5
    return middle


def _runs(flat: Floats, count: int, centre: Floats, low: Ints, high: Ints) -> Ints:
    """Where the `count` sorted values nearest each centre begin, somewhere in [low, high].

    That is the first place from which the value `count` further on is not nearer.
    """
    low, high = (np.broadcast_to(bound, centre.shape) for bound in (low, high))
    while (low < high).any():
        middle = (low + high) // 2
        is_far = centre - flat[middle] > flat[middle + count] - centre
        low = np.where(is_far, middle + 1, low)
        high = np.where(is_far, high, middle)
    return low


def _stretches(flat: Floats, start: Ints, count: int) -> Floats:
    """`count` values of a row from each start, on a last axis of their own."""
    # Items of that many bytes: copied at once, several times faster than value by value.
    items: NDArray[np.void] = np.ndarray(
        len(flat) - count + 1, f"V{8 * count}", buffer=flat, strides=(8,)
    )
    return items[start].view(np.float64).reshape(*start.shape, count)
