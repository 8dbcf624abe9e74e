"""Rolling statistics against pandas, exact rationals and brute force; and the slips they had."""

from __future__ import annotations

import math
import os
import statistics
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phoenix_signals import batch
from phoenix_signals.errors import InputError, ParameterError
from phoenix_signals.rolling import (
    EwMeanVariance,
    Percentile,
    RollingMeanVariance,
    RollingMedianMad,
    RollingSum,
    ZScoreMeanStd,
    ZScoreMedianMad,
    ew_alpha,
    zscore,
)

floats = st.floats(-1e6, 1e6).map(lambda x: round(x, 3))
series = st.lists(floats, min_size=1, max_size=60)
windows = st.integers(2, 17)


def hard_series(seed, rows=3_000):
    """Steps, spikes, repeats and long constants."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(rows)
    x[rows // 5 : 2 * rows // 5] = np.round(x[rows // 5 : 2 * rows // 5], 1)
    x[2 * rows // 5 : 3 * rows // 5] = 0.1
    x[rows // 2] = 1e6
    x[4 * rows // 5 :] += 1e4
    return x


def exact_moments(window):
    values = [Fraction(v) for v in window]
    mean = sum(values) / len(values)
    return mean, sum((v - mean) ** 2 for v in values) / len(values)


@pytest.mark.parametrize("window_count", [2, 7, 50, 600])
def test_mean_and_variance_equal_pandas(window_count):
    x = hard_series(1)
    got = batch.rolling_mean_variance(x, window_count=window_count)
    rolling = pd.Series(x).rolling(window_count)
    np.testing.assert_allclose(got.mean, rolling.mean(), rtol=1e-9, atol=1e-9)
    shifted = [x[max(0, i - window_count + 1) : i + 1] for i in range(len(x))]
    brute = [np.var(w - w[0]) if len(w) == window_count else np.nan for w in shifted]
    np.testing.assert_allclose(got.variance, brute, rtol=1e-9, atol=1e-18)


@given(series, windows)
@settings(max_examples=50)
def test_moments_equal_exact_rational_arithmetic(x, n):
    estimator = RollingMeanVariance(n, min_count=1)
    for i, value in enumerate(x):
        estimator.update(value)
        window = x[max(0, i - n + 1) : i + 1]
        mean, variance = exact_moments(window)
        scale = max(abs(v) for v in window)
        got = estimator.value
        assert got.mean == pytest.approx(float(mean), rel=1e-12, abs=1e-13 * scale)
        # The error of a sum of squares grows with the square of the deviations, not of the level.
        spread = max(window) - min(window)
        assert got.variance == pytest.approx(float(variance), rel=1e-12, abs=1e-14 * spread**2)
        assert estimator.count == len(window)


@pytest.mark.parametrize("offset", [0.0, 1e9])
def test_slip_11_variance_is_not_a_difference_of_large_squares(offset):
    """E[x^2] - E[x]^2 has no digit left at an offset of 1e9; an unshifted Welford loses seven."""
    rng = np.random.default_rng(2)
    x = offset + rng.integers(-512, 512, 200) / 1024  # exact at either offset
    expected = [float(exact_moments((x - offset)[i - 50 : i])[1]) for i in range(50, 201)]
    got = batch.rolling_mean_variance(x, window_count=50).variance[49:]
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    slip = pd.Series(x**2).rolling(50).mean() - pd.Series(x).rolling(50).mean() ** 2
    if offset:
        assert np.abs(slip.to_numpy()[49:] / expected - 1).max() > 1.0


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e9 + 1 / 3, -7e-300])
def test_a_constant_window_has_no_variance_whatever_came_before(constant):
    x = [1e12, -3.7, 0.3, *[constant] * 40]
    for value in (x, x[3:]):
        got = batch.rolling_mean_variance(value, window_count=7).variance[-20:]
        assert got.tolist() == [0.0] * 20
        assert (
            batch.zscore_mean_std(value, window_count=7, min_count=3)[-20:].tolist() == [0.0] * 20
        )
        robust = batch.zscore_median_mad(value, window_count=7, min_count=3)[-20:]
        assert robust.tolist() == [0.0] * 20


def test_a_value_that_left_the_window_leaves_no_trace():
    rng = np.random.default_rng(3)
    clean = rng.standard_normal(400)
    spiked = clean.copy()
    spiked[100] = 1e15
    settled = slice(100 + 50, None)
    for name, parameters in (
        ("rolling_mean_variance", {"window_count": 50}),
        ("rolling_median_mad", {"window_count": 50}),
    ):
        a = getattr(batch, name)(clean, **parameters)
        b = getattr(batch, name)(spiked, **parameters)
        np.testing.assert_allclose(a[1][settled], b[1][settled], rtol=1e-13)


def test_ten_million_updates_do_not_drift():
    rng = np.random.default_rng(4)
    x = 1e9 + rng.integers(-512, 512, 10_000_000) / 1024
    got = batch.rolling_mean_variance(x, window_count=600)
    for end in (10_000_000, 9_999_777, 5_000_001):
        mean, variance = exact_moments((x - 1e9)[end - 600 : end])
        assert got.mean[end - 1] == pytest.approx(1e9 + float(mean), rel=1e-15)
        assert got.variance[end - 1] == pytest.approx(float(variance), rel=1e-12)


LONG = 10_000_000 if os.environ.get("PHOENIX_LONG_RUNS") else 200_000
"""Updates one by one; `nox -s studies` makes them ten million."""


def exact_last(x, kind):
    """The value after the last of `x`, in exact arithmetic about an offset of 1e9."""
    window = [Fraction(v) - 10**9 for v in x[-600:]]
    if kind is RollingSum:
        return (float(sum(window) + 600 * 10**9),)
    mean, variance = exact_moments(window)
    return float(mean + 10**9), float(variance)


@pytest.mark.parametrize("kind", [RollingSum, RollingMeanVariance])
def test_a_long_run_of_updates_one_by_one_does_not_drift(kind):
    rng = np.random.default_rng(14)
    estimator = kind(600)
    recent: list[float] = []
    for _ in range(0, LONG, 100_000):
        recent = (1e9 + rng.integers(-512, 512, 100_000) / 1024).tolist()
        for x in recent:
            estimator.update(x)
    found = (estimator.value,) if kind is RollingSum else estimator.value
    assert found == pytest.approx(exact_last(recent, kind), rel=1e-12)


def test_exponential_weights_do_not_drift_over_a_long_run_of_updates():
    rng = np.random.default_rng(15)
    estimator = EwMeanVariance(half_life_count=100)
    recent: list[float] = []
    for _ in range(0, LONG, 100_000):
        recent = (1e9 + rng.integers(-512, 512, 100_000) / 1024).tolist()
        for x in recent:
            estimator.update(x)
    fresh = EwMeanVariance(half_life_count=100)  # 100,000 values are 1,000 half-lives
    for x in recent:
        fresh.update(x)
    assert estimator.value.mean == pytest.approx(fresh.value.mean, rel=1e-15)
    assert estimator.value.variance == pytest.approx(fresh.value.variance, rel=1e-12)


def test_a_long_stream_is_its_last_windows():
    """Bit by bit: nothing before the last two windows is in the state."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal(200_000).tolist()
    long, short = RollingMeanVariance(100), RollingMeanVariance(100)
    for value in x:
        long.update(value)
    for value in x[-200:]:
        short.update(value)
    assert long.value == short.value


@pytest.mark.parametrize("window_count", [2, 7, 30])
def test_sum_equals_exact_sum_and_is_zero_only_when_all_are(window_count):
    rng = np.random.default_rng(6)
    x = rng.exponential(1.0, 500) * (rng.random(500) < 0.2)
    x[50] = 1e20
    got = batch.rolling_sum(x, window_count=window_count)
    for i in range(window_count - 1, 500):
        window = x[i - window_count + 1 : i + 1]
        assert got[i] == pytest.approx(math.fsum(window), rel=1e-14)
        assert (got[i] == 0.0) == (window.max() == 0.0)


@pytest.mark.parametrize("half_life_count", [0.5, 3, 40.5, 1_000])
def test_exponential_weights_equal_pandas(half_life_count):
    x = hard_series(7)
    ewm = pd.Series(x).ewm(halflife=half_life_count, adjust=False)
    got = batch.ew_mean_variance(x, half_life_count=half_life_count)
    np.testing.assert_allclose(got.mean, ewm.mean(), rtol=1e-10)
    np.testing.assert_allclose(got.variance, ewm.var(bias=True), rtol=1e-9, atol=1e-9)


def test_half_life_halves_a_weight():
    ew = EwMeanVariance(half_life_count=7)
    for x in (1.0, *[0.0] * 7):
        ew.update(x)
    assert ew.value.mean == pytest.approx(0.5, rel=1e-15)
    assert ew_alpha(1e12) == pytest.approx(math.log(2) / 1e12, rel=1e-12)


@given(series, windows)
@settings(max_examples=50)
def test_median_and_mad_equal_the_definition(x, n):
    estimator = RollingMedianMad(n, min_count=1)
    for i, value in enumerate(x):
        estimator.update(value)
        window = x[max(0, i - n + 1) : i + 1]
        median = statistics.median(window)
        assert estimator.value.median == median
        assert estimator.value.mad == statistics.median(abs(v - median) for v in window)


@pytest.mark.parametrize("window_count", [2, 7, 100])
def test_median_equals_pandas(window_count):
    x = hard_series(8)
    got = batch.rolling_median_mad(x, window_count=window_count).median
    np.testing.assert_array_equal(got, pd.Series(x).rolling(window_count).median())


def brute_z(window, kind, min_scale=0.0, clip=10.0):
    mean = math.fsum(window) / len(window)
    sd = math.sqrt(math.fsum((v - mean) ** 2 for v in window) / len(window))
    centre, scale = mean, max(sd, min_scale)
    if kind == "median_mad":
        centre = statistics.median(window)
        mad = statistics.median(abs(v - centre) for v in window)
        scale = max(1.4826 * mad, 0.1 * sd, min_scale)
    if min(window) == max(window):
        return 0.0
    return max(-clip, min(clip, (window[-1] - centre) / scale))


@pytest.mark.parametrize("kind", ["mean_std", "median_mad"])
@given(series, windows, st.sampled_from([0.0, 0.5, 100.0]), st.sampled_from([1.0, 10.0]))
@settings(max_examples=40)
def test_z_equals_its_definition(kind, x, n, min_scale, z_clip):
    z = zscore(kind, n, min_count=2, z_clip=z_clip)
    for i, value in enumerate(x):
        z.update(value, min_scale)
        window = x[max(0, i - n + 1) : i + 1]
        if len(window) < 2:
            assert z.value is None
        else:
            expected = brute_z(window, kind, min_scale, z_clip)
            assert z.value == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_slip_13_a_spread_pinned_at_a_tick_neither_vanishes_nor_explodes():
    """MAD is 0 when more than half of the window is one value; a plain robust z then divides by 0."""
    spread = [1e-5] * 95 + [1e-5 * (1 + 1e-9)] + [2e-5] + [1e-5] * 3
    half_tick = 5e-6
    z = ZScoreMedianMad(100, min_count=30)
    values = []
    for s in spread:
        z.update(s, half_tick)
        values.append(z.value)
    assert abs(values[95]) < 1e-6, "a rounding error is no event"
    assert values[96] == pytest.approx(2.0), "one more tick is two half ticks"
    free = ZScoreMedianMad(100, min_count=30)
    for s in spread[:97]:
        free.update(s)
    assert free.value == pytest.approx(10.0), "without a tick size a tenth of the deviation holds"


def test_slip_13_mostly_zero_impulses_still_have_a_scale():
    rng = np.random.default_rng(9)
    x = np.where(rng.random(600) < 0.9, 0.0, rng.standard_normal(600) * 1e5)
    z = batch.zscore_median_mad(x, window_count=300, min_count=30)[30:]
    moved = x[30:] != 0
    assert (z[~moved] == 0.0).all()
    assert (np.abs(z[moved]) > 0).all()
    assert (np.abs(z) < 10.0).mean() > 0.9, "clipping is the exception"


@pytest.mark.parametrize("kind", ["mean_std", "median_mad"])
@given(series.filter(lambda x: len(x) > 3))
@settings(max_examples=40)
def test_z_does_not_depend_on_units_and_mirrors(kind, x):
    z = batch.zscore(kind, x, window_count=10, min_count=3)
    scaled = batch.zscore(kind, [v * 1024.0 for v in x], window_count=10, min_count=3)
    mirrored = batch.zscore(kind, [-v for v in x], window_count=10, min_count=3)
    np.testing.assert_array_equal(z, scaled)
    np.testing.assert_allclose(z, -mirrored, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("window_count", [None, 5, 40])
def test_percentile_equals_its_definition(window_count):
    rng = np.random.default_rng(10)
    x = np.round(rng.standard_normal(1_500), 1)
    got = batch.percentile(x, window_count=window_count, min_count=3)
    for i in range(1_500):
        history = x[: i + 1] if window_count is None else x[max(0, i - window_count + 1) : i + 1]
        expected = (history <= x[i]).mean() if len(history) >= 3 else np.nan
        assert got[i] == expected or (np.isnan(got[i]) and np.isnan(expected))


def test_slip_17_a_percentile_knows_only_its_past():
    rising = batch.percentile(np.arange(100.0), min_count=1)
    assert (rising == 1.0).all(), "over the full sample the first would be at 1 %"


def test_share_at_or_below_leaves_the_history_alone():
    rank = Percentile(min_count=2)
    rank.update(1.0)
    assert rank.share_at_or_below(5.0) is None
    rank.update(3.0)
    assert rank.share_at_or_below(2.0) == 0.5
    assert rank.share_at_or_below(3.0) == 1.0
    assert rank.value == 1.0


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: RollingMeanVariance(1), "window_count must be an integer of at least 2"),
        (lambda: RollingSum(2.5), "window_count must be an integer"),
        (lambda: RollingMedianMad(5, min_count=6), "min_count must be at most window_count 5"),
        (lambda: ZScoreMeanStd(5), "min_count must be at most window_count 5 .was 30."),
        (lambda: ZScoreMedianMad(50, z_clip=0.0), "z_clip must be a finite number above 0"),
        (lambda: EwMeanVariance(0), "half_life_count must be a finite number above 0 .was 0."),
        (lambda: EwMeanVariance(math.nan), "half_life_count must be a finite number above 0"),
        (lambda: Percentile(True), "window_count must be an integer"),
        (lambda: zscore("robust", 10), "z_kind must be one of mean_std, median_mad"),
    ],
)
def test_impossible_parameters_are_refused(build, words):
    with pytest.raises(ParameterError, match=words):
        build()


def test_batch_errors_name_the_row():
    with pytest.raises(
        InputError, match=r"x must be a finite number below 1e100 \(was nan at row 2\)"
    ):
        batch.rolling_sum([1.0, 2.0, math.nan], window_count=2)
    with pytest.raises(InputError, match="one-dimensional"):
        batch.rolling_sum([[1.0]], window_count=2)
    with pytest.raises(InputError, match=r"min_scale .* at row 1"):
        batch.zscore_mean_std([1.0, 2.0], [0.0, -1.0], window_count=2, min_count=1)
