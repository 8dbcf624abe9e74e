"""Covariance matrices against numpy, pandas, scikit-learn and a double loop over intervals."""

from __future__ import annotations

import importlib
import itertools
import os

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phoenix_signals.batch.covariance import (
    ew_covariance,
    hayashi_yoshida,
    hayashi_yoshida_raw,
    rolling_covariance,
    shrinkage_covariance,
)
from phoenix_signals.covariance import (
    EwCovariance,
    HayashiYoshida,
    RollingCovariance,
    ShrinkageCovariance,
    nearest_psd,
)
from phoenix_signals.errors import InputError, ParameterError


def returns(rows: int, assets: int, seed: int = 1, offset: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(assets, assets))
    return rng.normal(size=(rows, assets)) @ mixing * 1e-3 + offset


def close(a, b):
    """Equal to 1e-12 of the root of the product of the two variances."""
    assert np.isnan(a).tolist() == np.isnan(b).tolist()
    a, b = np.nan_to_num(a), np.nan_to_num(b)
    sd = np.sqrt(np.diagonal(b, axis1=-2, axis2=-1))
    np.testing.assert_array_less(
        np.abs(a - b), 1e-12 * sd[..., :, None] * sd[..., None, :] + 1e-300
    )


def stream(estimator, *columns):
    k = estimator.asset_count
    rows = []
    for arguments in zip(*columns, strict=True):
        estimator.update(*arguments)
        value = estimator.value
        rows.append(np.full((k, k), np.nan) if value is None else value)
    return np.array(rows).reshape(-1, k, k)


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_rolling_is_numpy_cov_of_the_window(offset):
    x = returns(90, 3, offset=offset)
    got = stream(RollingCovariance(3, 25, min_count=2), x)
    for i in range(1, len(x)):
        expected = np.cov(x[max(0, i - 24) : i + 1].T, bias=True)
        np.testing.assert_allclose(got[i], expected, rtol=0, atol=1e-12 * np.trace(expected))
    close(got, rolling_covariance(x, asset_count=3, window_count=25, min_count=2))


def test_ew_is_pandas_ewm_cov():
    x = returns(200, 3)
    got = stream(EwCovariance(3, half_life_count=12.5), x)
    expected = pd.DataFrame(x).ewm(halflife=12.5, adjust=False).cov(bias=True).to_numpy()
    close(got, expected.reshape(-1, 3, 3))
    close(got, ew_covariance(x, asset_count=3, half_life_count=12.5))


@pytest.mark.parametrize(("method", "oracle"), [("ledoit_wolf", "LedoitWolf"), ("oas", "OAS")])
def test_shrinkage_is_that_of_the_library(method, oracle):
    sklearn_covariance = importlib.import_module("sklearn.covariance")
    x = returns(40, 4)
    got = stream(ShrinkageCovariance(4, 15, method=method), x)
    close(got[-1], getattr(sklearn_covariance, oracle)().fit(x[-15:]).covariance_)
    close(got, shrinkage_covariance(x, asset_count=4, window_count=15, method=method))
    assert np.linalg.cond(got[-1]) < np.linalg.cond(np.cov(x[-15:].T))


def test_shrinkage_without_the_library_names_the_extra(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr("phoenix_signals.covariance.import_module", missing)
    with pytest.raises(ParameterError, match=r"install phoenix-signals\[shrinkage\]"):
        ShrinkageCovariance(2, 10)


asynchronous = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 2), st.floats(0.5, 2.0)), max_size=40
).map(lambda steps: [(t, *s[1:]) for t, s in zip(itertools.accumulate(s[0] for s in steps), steps)])  # noqa: B905


def brute_force(rows, assets):
    """Double loop over the intervals of the last price per asset and time."""
    intervals = []
    for asset in range(assets):
        last = {ts: np.log(price) for ts, a, price in rows if a == asset}
        ticks = sorted(last.items())
        intervals.append([(s, t, q - p) for (s, p), (t, q) in itertools.pairwise(ticks)])
    total = np.zeros((assets, assets))
    for i, j in itertools.product(range(assets), repeat=2):
        for s, t, r in intervals[i]:
            for u, v, q in intervals[j]:
                if max(s, u) < min(t, v):
                    total[i, j] += r * q
    return total if all(intervals) else None


@given(asynchronous)
@settings(max_examples=150, deadline=None)
def test_hayashi_yoshida_counts_each_overlapping_pair_once(rows):
    estimator = HayashiYoshida(3)
    streamed = []
    for stop, row in enumerate(rows, start=1):
        estimator.update(*row)
        expected = brute_force(rows[:stop], 3)
        raw = estimator.raw
        assert (raw is None) == (expected is None)
        if raw is not None:
            np.testing.assert_allclose(raw, expected, rtol=1e-12, atol=1e-12)
        streamed.append(np.full((3, 3), np.nan) if raw is None else raw)
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    np.testing.assert_allclose(
        hayashi_yoshida_raw(*columns, asset_count=3),
        np.array(streamed).reshape(-1, 3, 3),
        rtol=1e-12,
        atol=1e-12,
    )


def test_hayashi_yoshida_finds_the_correlation_that_a_grid_loses():
    rng = np.random.default_rng(5)
    steps = 20_000
    path = np.cumsum(rng.normal(size=(steps, 2)) @ np.linalg.cholesky([[1, 0.8], [0.8, 1]]).T, 0)
    seen = rng.random((steps, 2)) < 0.1  # each asset ticks once in ten steps
    when, asset = np.nonzero(seen)
    prices = np.exp(path[when, asset] * 1e-4)
    matrix = hayashi_yoshida(when, asset, prices, asset_count=2)[-1]
    correlation = matrix[0, 1] / np.sqrt(matrix[0, 0] * matrix[1, 1])
    assert abs(correlation - 0.8) < 0.06  # sampling error of about 2,000 intervals
    filled = pd.DataFrame(np.where(seen, path, np.nan)).ffill().diff().dropna()
    assert filled.corr().iloc[0, 1] < 0.3  # Epps effect on the one-step grid


def is_psd(matrix):
    return (matrix == matrix.T).all() and np.linalg.eigvalsh(matrix)[0] >= -1e-12 * np.trace(matrix)


@pytest.mark.parametrize("assets", [1, 2, 6])
def test_matrices_are_symmetric_and_positive_semi_definite(assets):
    x = returns(300, assets)
    x[:, -1] = x[:, 0]  # a singular truth
    for estimator in (
        RollingCovariance(assets, 4, min_count=2),  # fewer observations than assets
        EwCovariance(assets, 3),
        ShrinkageCovariance(assets, 5),
    ):
        for matrix in stream(estimator, x):
            assert np.isnan(matrix).all() or is_psd(matrix), estimator


def test_ew_stays_positive_semi_definite_over_a_long_run():
    """By default as long as a test may take; `nox -s studies` makes it a million."""
    updates = 1_000_000 if os.environ.get("PHOENIX_LONG_RUNS") else 20_000
    estimator = EwCovariance(3, half_life_count=50)
    x = returns(updates, 3, offset=1e3)
    for i, vector in enumerate(x):
        estimator.update(vector)
        if i % 500 == 0:
            assert is_psd(estimator.value)
    expected = pd.DataFrame(x[-5_000:] - 1e3).ewm(halflife=50, adjust=False).cov(bias=True)
    np.testing.assert_allclose(
        estimator.value,
        expected.to_numpy()[-3:],
        rtol=0,
        atol=1e-9 * np.trace(estimator.value),  # the offset has cost x seven digits
    )


def test_a_million_ew_matrices_are_symmetric_and_positive_semi_definite():
    x = returns(1_000_000, 2, seed=3, offset=1e3)
    x[:, 1] = x[:, 0] + 1e-9 * x[:, 1]  # all but singular
    matrices = ew_covariance(x, asset_count=2, half_life_count=500)
    a, b, c = matrices[:, 0, 0], matrices[:, 0, 1], matrices[:, 1, 1]
    assert (b == matrices[:, 1, 0]).all()
    assert (a >= 0).all()
    assert (a * c - b * b >= -1e-12 * a * c).all()


@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_nearest_psd_keeps_the_diagonal(k, seed):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(k, k))
    indefinite = a + a.T
    indefinite[np.arange(k), np.arange(k)] = rng.random(k)
    fixed = nearest_psd(indefinite)
    assert is_psd(fixed)
    assert (np.diagonal(fixed) == np.diagonal(indefinite)).all()
    good = a @ a.T + np.eye(k)
    assert (nearest_psd(good) == good).all()


def test_an_asset_that_never_moves_has_zero_covariance():
    matrix = nearest_psd([[1.0, 0.0, 2.0], [0.0, 0.0, 0.0], [2.0, 0.0, 1.0]])
    np.testing.assert_allclose(matrix, [[1, 0, 1], [0, 0, 0], [1, 0, 1]], rtol=1e-15)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: RollingCovariance(2, 5).update([1.0]), "2 numbers, one per asset"),
        (lambda: EwCovariance(2, 5).update([1.0, float("nan")]), "finite number"),
        (lambda: HayashiYoshida(2).update(0, 2, 1.0), r"asset must be in 0\.\.1 \(was 2\)"),
        (lambda: HayashiYoshida(2).update(0, 0, -1.0), "positive and finite"),
        (lambda: rolling_covariance([[1.0]], asset_count=2, window_count=5), "2 columns"),
        (lambda: ew_covariance([[1.0, np.inf]], asset_count=2, half_life_count=5), "at row 0"),
        (lambda: hayashi_yoshida([0], [3], [1.0], asset_count=2), "asset must be in"),
        (lambda: hayashi_yoshida([0], [1], [np.nan], asset_count=2), "positive and finite"),
        (lambda: hayashi_yoshida([1, 0], [1, 0], [1, 1], asset_count=2), "not go back"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_time_going_back_is_refused_and_leaves_the_state():
    estimator = HayashiYoshida(2)
    estimator.update(5, 0, 1.0)
    before = estimator.snapshot()
    with pytest.raises(InputError, match="must not go back"):
        estimator.update(4, 1, 1.0)
    assert repr(estimator.snapshot()) == repr(before)
