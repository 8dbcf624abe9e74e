"""Fusion against a textbook filter, the exact posterior, and hand cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phoenix_signals.batch.fusion import ensemble_fusion, kalman_fusion
from phoenix_signals.errors import InputError, ParameterError
from phoenix_signals.fusion import EnsembleFusion, KalmanFusion
from scipy import stats

SECOND = 10**9


def random_rows(seed: int, rows: int, factors: int, missing: float = 0.6):
    rng = np.random.default_rng(seed)
    ts = np.cumsum(rng.integers(0, 5 * SECOND, rows))
    z = rng.normal(size=(rows, factors)) * 2
    z[rng.random(z.shape) < missing] = np.nan
    return ts, z


def optional(row):
    return tuple(None if math.isnan(v) else v for v in row.tolist())


def textbook(ts, z, noise, h, q, p0):
    """Kalman filter in vector form: all observations of a time at once, standard covariance."""
    h, r = np.array(h)[:, None], np.diag(noise)
    x, p = np.zeros((1, 1)), np.array([[p0]])
    out = []
    for i, row in enumerate(z):
        p = p + q * ((ts[i] - ts[i - 1]) / SECOND if i else 0.0)
        seen = ~np.isnan(row)
        nis = 0.0
        if seen.any():
            hs, rs = h[seen], r[np.ix_(seen, seen)]
            v = row[seen][:, None] - hs @ x
            s = hs @ p @ hs.T + rs
            k = p @ hs.T @ np.linalg.inv(s)
            x = x + k @ v
            p = (np.eye(1) - k @ hs) @ p
            nis = float((v.T @ np.linalg.inv(s) @ v)[0, 0])
        out.append((x[0, 0], p[0, 0], nis))
    return np.array(out)


@pytest.mark.parametrize("seed", range(5))
def test_kalman_is_the_textbook_filter_with_missing_observations(seed):
    noise, h, q, p0 = (1.0, 4.0, 0.3), (1.0, -0.5, 2.0), 0.05, 10.0
    ts, z = random_rows(seed, 300, 3)
    model = KalmanFusion(noise, h, q, p0)
    expected = textbook(ts, z, noise, h, q, p0)
    seen = False
    for i in range(len(ts)):
        model.update(int(ts[i]), optional(z[i]))
        seen = seen or bool((~np.isnan(z[i])).any())
        assert model.ready == seen
        if seen:
            state = model.value
            np.testing.assert_allclose(
                [state.mean, state.variance, state.nis], expected[i], rtol=1e-10, atol=1e-12
            )
            assert state.theta == math.tanh(state.mean)
            assert state.observed == np.count_nonzero(~np.isnan(z[i]))


def test_kalman_is_the_exact_posterior():
    """Condition the joint Gaussian of all states and observations on what was seen."""
    noise, h, q, p0 = (1.0, 2.0), (1.0, 0.7), 0.2, 3.0
    ts, z = random_rows(3, 25, 2)
    seconds = (ts - ts[0]) / SECOND
    prior = p0 + q * np.minimum.outer(seconds, seconds)
    rows, factors = np.nonzero(~np.isnan(z))
    loading = np.zeros((len(rows), len(ts)))
    loading[np.arange(len(rows)), rows] = np.array(h)[factors]
    s = loading @ prior @ loading.T + np.diag(np.array(noise)[factors])
    gain = prior @ loading.T @ np.linalg.inv(s)
    mean = gain @ z[rows, factors]
    covariance = prior - gain @ loading @ prior
    state = kalman_fusion(
        ts, z, noise_variances=noise, loadings=h, drift_variance_per_s=q, initial_variance=p0
    )
    assert state.mean[-1] == pytest.approx(mean[-1], rel=1e-9)
    assert state.variance[-1] == pytest.approx(covariance[-1, -1], rel=1e-9)


def test_several_calls_at_one_time_are_one_row():
    together, apart = KalmanFusion((1.0, 2.0)), KalmanFusion((1.0, 2.0))
    for ts, a, b in ((0, 1.0, -0.5), (3 * SECOND, 0.2, 2.0)):
        together.update(ts, (a, b))
        apart.update(ts, (a, None))
        apart.update(ts, (None, b))
    assert together.value[:3] == apart.value[:3]


EXTREME = {
    "noise_variances": (1e-12, 1e12, 1.0), "loadings": (1.0, -1.0, 1e3),
    "drift_variance_per_s": 1e-9, "initial_variance": 1e12,
}  # fmt: skip


def test_kalman_variance_stays_positive_over_a_million_updates():
    """A million observations, all in the batch form, whose arithmetic is that of the other."""
    rows = 350_000
    z = np.random.default_rng(1).normal(size=(rows, 3))
    ts = np.arange(rows) * 1000
    states = kalman_fusion(ts, z, **EXTREME)
    assert states.observed.sum() > 1_000_000
    assert states.variance.min() > 0.0
    assert states.variance[-1] < 1e-12
    assert np.isfinite(states.mean).all()
    model = KalmanFusion(**EXTREME)
    for i in range(2_000):
        model.update(int(ts[i]), tuple(z[i].tolist()))
        assert (model.value.mean, model.value.variance) == (states.mean[i], states.variance[i])


def test_nis_is_chi_squared_when_the_noise_is_right():
    rng = np.random.default_rng(11)
    rows, noise, q = 20_000, np.array([0.5, 2.0]), 0.01
    x = np.cumsum(rng.normal(size=rows) * math.sqrt(q))
    z = x[:, None] + rng.normal(size=(rows, 2)) * np.sqrt(noise)
    state = kalman_fusion(
        np.arange(rows) * SECOND, z, noise_variances=tuple(noise), drift_variance_per_s=q
    )
    # One number per row with 2 degrees of freedom: the mean has standard error 2 / sqrt(rows).
    assert abs(state.nis.mean() - 2.0) < 4 * 2.0 / math.sqrt(rows)
    assert stats.kstest(state.nis[100:], stats.chi2(2).cdf).pvalue > 1e-3


def scalar_ensemble(history, ts, weights, ages, gain, clip, least):
    """Independent transcription: look back through all news at each time."""
    num = den = 0.0
    fresh = 0
    for i, w in enumerate(weights):
        news = [(t, row[i]) for t, row in history if row[i] is not None]
        if news and ts - news[-1][0] <= ages[i]:
            fresh += 1
            num += w * min(max(news[-1][1], -clip), clip)
            den += abs(w)
    return math.tanh(gain * num / den) if fresh >= least else None


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.floats(0.1, 3), st.floats(0.5, 5))
@settings(max_examples=40, deadline=None)
def test_ensemble_uses_only_fresh_factors(seed, least, gain, clip):
    ts, z = random_rows(seed, 40, 3)
    weights, ages = (1.0, -0.5, 2.0), (2 * SECOND, 4 * SECOND, 9 * SECOND)
    model = EnsembleFusion(weights, ages, least, gain, clip)
    twin = ensemble_fusion(
        ts, z, weights=weights, max_ages_ns=ages, min_factors=least, gain=gain, z_clip=clip
    )
    history = []
    for i in range(len(ts)):
        row = optional(z[i])
        history.append((int(ts[i]), row))
        model.update(int(ts[i]), row)
        expected = scalar_ensemble(history, int(ts[i]), weights, ages, gain, clip, least)
        assert model.value == (None if expected is None else pytest.approx(expected, rel=1e-12))
        assert (expected is None) == math.isnan(twin[i])
        if expected is not None:
            assert twin[i] == pytest.approx(expected, rel=1e-12)


def test_a_factor_is_fresh_up_to_its_age_and_not_beyond():
    model = EnsembleFusion((1.0, 1.0), (10, 10))
    model.update(0, (1.0, None))
    for ts, theta in ((10, math.tanh(0.5)), (11, math.tanh(0.0))):
        model.update(ts, (None, 0.0))
        assert model.value == pytest.approx(theta)
    z = [[1.0, np.nan], [np.nan, 0.0], [np.nan, 0.0]]
    twin = ensemble_fusion([0, 10, 11], z, weights=(1.0, 1.0), max_ages_ns=(10, 10))
    assert twin.tolist() == pytest.approx([math.tanh(1.0), math.tanh(0.5), 0.0])


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_kalman_twin_agrees_and_the_sign_mirrors(seed):
    ts, z = random_rows(seed, 60, 3)
    model, mirror = KalmanFusion((1.0, 2.0, 0.5)), KalmanFusion((1.0, 2.0, 0.5))
    twin = kalman_fusion(ts, z, noise_variances=(1.0, 2.0, 0.5))
    for i in range(len(ts)):
        model.update(int(ts[i]), optional(z[i]))
        mirror.update(int(ts[i]), optional(-z[i]))
        got = [column[i] for column in twin]
        if model.value is None:
            assert np.isnan(got).all()
        else:
            np.testing.assert_allclose(got, model.value, rtol=1e-12)
            assert mirror.value.theta == -model.value.theta
            assert mirror.value.variance == model.value.variance


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: EnsembleFusion((), ()), "one finite number per factor"),
        (lambda: EnsembleFusion(None, (1,)), "weights must be one finite number .* .was None"),
        (lambda: EnsembleFusion((1.0,), None), "max_ages_ns must be a tuple"),
        (lambda: KalmanFusion(("1", 2.0)), "noise_variances must be one finite number"),
        (lambda: KalmanFusion((0.5, 1.0), initial_variance=math.inf), "initial_variance"),
        (lambda: EnsembleFusion((1.0, 0.0), (1, 1)), "must not hold 0"),
        (lambda: EnsembleFusion((1.0,), (1, 1)), "one age per weight"),
        (lambda: EnsembleFusion((1.0,), (1,), min_factors=2), "at most the 1 factors"),
        (lambda: EnsembleFusion((1.0,), (1,), gain=0.0), "gain must be a finite number above 0"),
        (lambda: KalmanFusion((0.0,)), "noise_variances must be a finite number above 0"),
        (lambda: KalmanFusion((1.0,), (1.0, 1.0)), "one number per factor"),
        (lambda: KalmanFusion((1.0,), drift_variance_per_s=-1.0), "at least 0"),
    ],
)
def test_bad_parameters_are_refused(build, message):
    with pytest.raises(ParameterError, match=message):
        build()


@pytest.mark.parametrize(
    "model", [EnsembleFusion((1.0, 1.0), (9, 9)), KalmanFusion((1.0, 1.0))], ids=["e", "k"]
)
@pytest.mark.parametrize(
    ("ts", "row", "message"),
    [
        (9, (1.0,), "2 entries, one per factor"),
        (9, (1.0, math.nan), "finite number"),
        (4, (1.0, 1.0), "must not go back"),
    ],
)
def test_bad_rows_are_refused_and_leave_the_state(model, ts, row, message):
    model.reset()
    model.update(5, (1.0, None))
    before = model.snapshot()
    with pytest.raises(InputError, match=message):
        model.update(ts, row)
    assert model.snapshot() == before
