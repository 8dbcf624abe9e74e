"""Median and MAD of whole columns: the same bits as a sort of each window."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phoenix_signals.batch import robust
from phoenix_signals.batch.alignment import last_rows
from phoenix_signals.batch.robust import LEAST_WINDOW, full_window_median_mad

KINDS = {
    "noise": lambda rng, n: rng.normal(size=n),
    "grid": lambda rng, n: rng.integers(-3, 4, n).astype(float),
    "mostly zero": lambda rng, n: np.where(rng.random(n) < 0.7, 0.0, rng.normal(size=n)),
    "walk": lambda rng, n: np.cumsum(rng.normal(size=n)),
    "constant": lambda rng, n: np.full(n, 2.5),
    "two worlds": lambda rng, n: np.where(np.arange(n) < n // 2, 0.0, 1e9) + rng.normal(size=n),
}


def brute_force(x, n):
    windows = np.lib.stride_tricks.sliding_window_view(x, n)
    median = np.median(windows, axis=1)
    return median, np.median(np.abs(windows - median[:, None]), axis=1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("window", [LEAST_WINDOW, 9, 15, 16, 17, 60, 61])
def test_blocks_give_what_sorted_windows_give(kind, window):
    for seed, rows in ((1, window), (2, window + 1), (3, 3 * window + 5), (4, 300)):
        x = KINDS[kind](np.random.default_rng(seed), max(rows, window))
        for found, expected in zip(
            full_window_median_mad(x, window), brute_force(x, window), strict=True
        ):
            np.testing.assert_array_equal(found, expected)


def test_a_long_column_is_cut_into_parts(monkeypatch):
    monkeypatch.setattr(robust, "_ROWS", 64)
    x = np.random.default_rng(5).normal(size=500)
    for found, expected in zip(full_window_median_mad(x, 20), brute_force(x, 20), strict=True):
        np.testing.assert_array_equal(found, expected)


@given(st.integers(0, 2**32 - 1), st.booleans(), st.integers(1, 60), st.integers(0, 90))
def test_last_rows_are_those_of_one_search(seed, strictly, known, rows):
    rng = np.random.default_rng(seed)
    known_ts, ts_ns = np.sort(rng.integers(0, 25, known)), np.sort(rng.integers(-3, 28, rows))
    expected = np.searchsorted(known_ts, ts_ns, side="left" if strictly else "right") - 1
    with pytest.MonkeyPatch.context() as patch:
        for size in (1, 7, 64):
            patch.setattr("phoenix_signals.batch.alignment.SLICE", size)
            assert last_rows(known_ts, ts_ns, strictly=strictly).tolist() == expected.tolist()
    assert (last_rows(known_ts[:0], ts_ns, strictly=strictly) == -1).all()
