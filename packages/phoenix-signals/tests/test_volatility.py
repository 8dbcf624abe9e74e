"""Range estimators against transcriptions, published efficiencies and R's TTR convention.

Published values: Parkinson (1980), Garman and Klass (1980), Rogers and Satchell (1991), Yang and
Zhang (2000). The Monte Carlo numbers at 1,440 steps a day (.965/.952/.952 and 4.74/7.09/5.62) were
found with 500,000 paths, to about 1 %; with 20,000 paths here a mean is known to 0.6 % and an
efficiency to 3 % (one standard error), and the tolerances are three of them.
"""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
import real_market
from phoenix_signals import batch
from phoenix_signals.conformance import random_inputs
from phoenix_signals.volatility import (
    CompressionFactor,
    GarmanKlassVariance,
    VolatilityCompression,
    YangZhangVariance,
    garman_klass,
    parkinson,
    rogers_satchell,
    yang_zhang_k,
)

PATHS = 20_000
STEPS = 1_440
SIGMA = 0.01


def simulated_days(seed, paths=PATHS, steps=STEPS, drift=0.0):
    """(open, high, low, close) of contiguous days of a discrete walk; drift in sigmas per day."""
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(0, paths, 1_000):
        walk = rng.standard_normal((1_000, steps), dtype=np.float32)
        walk *= steps**-0.5
        walk += drift / steps
        np.cumsum(walk, axis=1, out=walk)
        high = np.maximum(walk.max(axis=1), 0.0)
        parts.append(np.stack([high, np.minimum(walk.min(axis=1), 0.0), walk[:, -1]]))
    high, low, close = SIGMA * np.concatenate(parts, axis=1).astype(np.float64)
    start = np.append(0.0, np.cumsum(close)[:-1])
    return np.exp(start), np.exp(start + high), np.exp(start + low), np.exp(start + close)


@pytest.fixture(scope="module")
def driftless():
    return simulated_days(seed=1)


@pytest.fixture(scope="module")
def drifting():
    return simulated_days(seed=2, drift=1.0)


def every_other(name, days):
    """Variance of pairs of days that do not overlap, in sigma^2 per day."""
    return getattr(batch, name)(*days, window_bars=2)[1::2] / SIGMA**2


@pytest.mark.parametrize(
    ("name", "mean", "efficiency"),
    [
        ("parkinson_variance", 0.965, 4.74),
        ("garman_klass_variance", 0.952, 7.09),
        ("rogers_satchell_variance", 0.952, 5.62),
    ],
)
def test_published_means_and_efficiencies(driftless, name, mean, efficiency):
    pairs = every_other(name, driftless)
    assert pairs.mean() == pytest.approx(mean, rel=0.02)
    # A squared open-to-close of a normal move has variance 2 sigma^4; pairs halve the variance.
    found = 2.0 / (2.0 * pairs.var() / pairs.mean() ** 2)
    assert found == pytest.approx(efficiency, rel=0.09)


@pytest.mark.parametrize(
    ("name", "mean"),
    [
        ("parkinson_variance", 1.34),
        ("garman_klass_variance", 1.08),
        ("rogers_satchell_variance", 0.946),
    ],
)
def test_drift_of_one_sigma_a_day(drifting, name, mean):
    assert every_other(name, drifting).mean() == pytest.approx(mean, rel=0.03)


def test_slip_16_yang_zhang_is_demeaned(driftless, drifting):
    """Under a drift of one sigma: .954 demeaned, 1.11 to 1.15 without, squared closes 2.01."""
    n = 20
    o, _, _, c = drifting
    yang_zhang = (
        batch.yang_zhang_variance(np.arange(PATHS), *drifting, window_sessions=n) / SIGMA**2
    )
    assert np.nanmean(yang_zhang) == pytest.approx(0.954, rel=0.02)
    moves = np.log(c / o)
    assert (moves**2).mean() / SIGMA**2 == pytest.approx(2.01, rel=0.03)
    k = yang_zhang_k(n)
    ranges = batch.rogers_satchell_variance(*drifting, window_bars=n)[n:]
    slip = n / (n - 1) * k * (moves**2).mean() + (1 - k) * ranges.mean()
    assert slip / SIGMA**2 == pytest.approx(1.11, abs=0.02)
    calm = batch.yang_zhang_variance(np.arange(PATHS), *driftless, window_sessions=n) / SIGMA**2
    assert np.nanmean(calm) == pytest.approx(0.954, rel=0.02), "drift changes nothing"


@pytest.mark.parametrize(
    ("n", "peak", "contiguous"), [(2, 13.76, 12.76), (10, 8.54, 7.54), (20, 8.19, 7.19)]
)
def test_published_yang_zhang_efficiencies(n, peak, contiguous):
    """1/(f^2 + (1-f)^2 k): peak 1 + 1/k at f = k/(1+k), 1/k for contiguous bars (f = 0)."""
    k = yang_zhang_k(n)
    f = k / (1 + k)
    assert 1 / (f**2 + (1 - f) ** 2 * k) == pytest.approx(peak, abs=0.005)
    assert 1 / k == pytest.approx(contiguous, abs=0.005)


@pytest.mark.parametrize("share", [0.0, 0.117, 0.5])
def test_yang_zhang_efficiency_is_found_with_and_without_gaps(driftless, share):
    """Against the 10-bar sample variance of closes; 1,800 windows know it to about 8 %.

    `share` is that of the gap in the whole variance: 7.54 without one, 8.54 at the peak, 3.53 at a half.
    """
    n = 10
    k = yang_zhang_k(n)
    inside = np.log(np.array(driftless) / driftless[0])
    gaps = SIGMA * np.sqrt(share / (1.0 - share)) * np.random.default_rng(3).standard_normal(PATHS)
    start = np.cumsum(gaps) + np.append(0.0, np.cumsum(inside[3])[:-1])
    days = np.exp(start + inside)
    yang_zhang = batch.yang_zhang_variance(np.arange(PATHS), *days, window_sessions=n)
    closes = batch.close_to_close_variance(days[3], window_bars=n)
    apart = slice(n, None, n + 1)
    a, b = closes[apart], yang_zhang[apart]
    found = (a.var() / a.mean() ** 2) / (b.var() / b.mean() ** 2)
    assert found == pytest.approx(1 / (share**2 + (1 - share) ** 2 * k), rel=0.2)


def ttr_yang_zhang(bars, n, annual=260):
    """R's TTR::volatility(OHLC, n, calc="yang.zhang", N=260), transcribed: sqrt(N variance)."""
    opens = [math.log(b[0] / a[3]) for a, b in zip(bars[-n - 1 : -1], bars[-n:], strict=True)]
    closes = [math.log(b[3] / b[0]) for b in bars[-n:]]
    ranges = [
        math.log(h / c) * math.log(h / o) + math.log(low / c) * math.log(low / o)
        for o, h, low, c in bars[-n:]
    ]
    k = (1.34 - 1) / (1.34 + (n + 1) / (n - 1))
    s2o = annual * statistics.variance(opens)
    s2c = annual * statistics.variance(closes)
    s2rs = annual / n * math.fsum(ranges)
    return math.sqrt(s2o + k * s2c + (1 - k) * s2rs)


def test_yang_zhang_equals_ttr_on_every_bar():
    inputs = random_inputs(YangZhangVariance(2), 80, seed=5)
    bars = list(zip(*(inputs[n] for n in ("open_", "high", "low", "close")), strict=True))
    for n in (2, 10, 20):
        estimator = YangZhangVariance(window_sessions=n)
        for i, row in enumerate(zip(*inputs.values(), strict=True)):
            estimator.update(*row)
            if i < n:
                assert estimator.value is None, "ready after n + 1 bars"
            else:
                expected = ttr_yang_zhang(bars[: i + 1], n)
                assert math.sqrt(260 * estimator.value) == pytest.approx(expected, rel=1e-9)


def test_bar_variances_equal_their_formulas():
    for o, h, low, c in ((100.0, 103.0, 99.0, 101.0), (5.0, 5.0, 4.0, 4.0), (1.0, 1.0, 1.0, 1.0)):
        u, d, r = math.log(h / low), math.log(c / o), math.log
        assert parkinson(o, h, low, c) == pytest.approx(u**2 / (4 * r(2)), rel=1e-12)
        assert garman_klass(o, h, low, c) == pytest.approx(
            0.5 * u**2 - (2 * r(2) - 1) * d**2, rel=1e-12
        )
        assert rogers_satchell(o, h, low, c) == pytest.approx(
            r(h / o) * r(h / c) + r(low / o) * r(low / c), rel=1e-12
        )


def test_a_tiny_range_keeps_its_digits():
    """ln h - ln l at 30,000 has 1e-15 absolute error, 1e-8 of a range of one tick."""
    exact = 0.1 / 30_000 - 0.5 * (0.1 / 30_000) ** 2
    value = parkinson(30_000.0, 30_000.1, 30_000.0, 30_000.0)
    assert math.sqrt(value * 4 * math.log(2)) == pytest.approx(exact, rel=1e-11)


@pytest.mark.parametrize("session_ns", [10, 37])
def test_sessions_are_bars_merged_by_close_time(session_ns):
    inputs = random_inputs(YangZhangVariance(2), 100, seed=6)
    inputs["ts_ns"] = list(range(3, 303, 3))
    bars = list(zip(*inputs.values(), strict=True))
    sessions = {}
    for ts, *bar in bars:
        sessions.setdefault((ts - 1) // session_ns, []).append(bar)
    merged = [
        (b[0][0], max(x[1] for x in b), min(x[2] for x in b), b[-1][3]) for b in sessions.values()
    ]
    by_session = YangZhangVariance(3, session_ns)
    values = []
    for bar in bars:
        before = by_session.value
        by_session.update(*bar)
        if by_session.value != before:
            values.append(by_session.value)
    by_bar = YangZhangVariance(3)
    expected = []
    for i, bar in enumerate(merged[:-1]):  # the last session is still open
        by_bar.update(i, *bar)
        if by_bar.value is not None:
            expected.append(by_bar.value)
    assert values == expected
    assert len(values) > 3


def test_a_session_holds_its_close_time_and_not_its_open_time():
    """Closing stamps of 23:59:59.999 and of 24:00 both belong to the day that ends."""
    day = YangZhangVariance(2, session_ns=100)
    for ts_ns, close in ((99, 2.0), (100, 3.0), (101, 4.0)):
        day.update(ts_ns, close, close, close, close)
    assert day._close == 3.0


@pytest.mark.parametrize("name", ["parkinson", "garman_klass", "rogers_satchell"])
def test_range_variances_do_not_depend_on_the_price_level(name):
    days = [np.array(v) for v in list(random_inputs(GarmanKlassVariance(5), 50, seed=7).values())]
    function = getattr(batch, f"{name}_variance")
    np.testing.assert_array_equal(
        function(*days, window_bars=5), function(*(64.0 * v for v in days), window_bars=5)
    )


def test_compression_is_negative_when_the_market_calms_and_has_no_value_when_it_stands():
    vc = VolatilityCompression(2, 10)
    for half_range in [1.0] * 15:
        vc.update(100.0, 100.0 + half_range, 100.0 - half_range, 100.0)
    assert vc.value == 0.0
    for half_range in [0.25] * 5:
        vc.update(100.0, 100.0 + half_range, 100.0 - half_range, 100.0)
    assert vc.value < -0.3
    flat = VolatilityCompression(2, 10, min_count=1)
    flat.update(100.0, 100.0, 100.0, 100.0)
    assert flat.value is None
    with pytest.raises(
        ValueError, match="half_life_short_bars must be below half_life_long_bars 2"
    ):
        VolatilityCompression(10, 2)


def test_compression_equals_its_transcription_and_its_factor_is_the_z_of_its_negative():
    inputs = random_inputs(VolatilityCompression(3, 12), 150, seed=8)
    vc, factor = VolatilityCompression(3, 12), CompressionFactor(3, 12, 40, 5, "mean_std")
    short = long = None
    history = []
    for i, bar in enumerate(zip(*inputs.values(), strict=True)):
        vc.update(*bar)
        factor.update(*bar)
        g = garman_klass(*bar)
        short = g if short is None else short + (1 - 2 ** (-1 / 3)) * (g - short)
        long = g if long is None else long + (1 - 2 ** (-1 / 12)) * (g - long)
        if i + 1 < 12:
            assert vc.value is None
            continue
        assert vc.value == pytest.approx(math.log(math.sqrt(short) / math.sqrt(long)), rel=1e-9)
        history = [*history, -vc.value][-40:]
        if len(history) >= 5:
            z = (history[-1] - statistics.fmean(history)) / statistics.pstdev(history)
            assert factor.value == pytest.approx(z, rel=1e-8)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("month", "share"),
    [
        ("AVAXUSDT-1m-2023-09", 0.0139), ("AVAXUSDT-1m-2024-02", 0.0021),
        ("FILUSDT-1m-2023-05", 0.0355), ("NEARUSDT-1m-2023-09", 0.434),
    ],
)  # fmt: skip
def test_share_of_the_gap_in_the_variance_of_real_minutes(month, share):
    """Small on liquid perpetuals, .43 on a thin one: what Yang-Zhang adds there."""
    bars = real_market.klines(month)
    o, c = bars["open"].to_numpy(), bars["close"].to_numpy()
    found = np.log(o[1:] / c[:-1]).var() / np.log(c[1:] / c[:-1]).var()
    assert found == pytest.approx(share, rel=0.02)


@pytest.mark.real_data
@pytest.mark.parametrize("month", ["AVAXUSDT-1m-2024-02", "NEARUSDT-1m-2023-09"])
def test_real_minutes_give_the_same_in_a_stream_and_in_batch(month):
    table = real_market.klines(month).head(3_000)
    bars = [table[n].tolist() for n in ("open", "high", "low", "close")]
    times = (table["close_time"].to_numpy() * 1_000_000).tolist()
    for estimator in (YangZhangVariance(20), YangZhangVariance(5, 3_600_000_000_000)):
        found = batch.yang_zhang_variance(times, *bars, **estimator.parameters)
        for i, row in enumerate(zip(times, *bars, strict=True)):
            estimator.update(*row)
            if estimator.value is None:
                assert np.isnan(found[i])
            else:
                assert found[i] == pytest.approx(estimator.value, rel=1e-12)
        assert estimator.value > 0
