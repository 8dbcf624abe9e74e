"""Crowding, toxicity, flow pressure and volatility regimes: transcriptions, mirrors, slips."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phoenix_schemas.signal_records import VolatilityRegime
from phoenix_signals import batch
from phoenix_signals.errors import InputError, ParameterError
from phoenix_signals.regime import (
    Crowding,
    FlowPressure,
    TakerRatio,
    ToxicityIndex,
    VolatilityRegimes,
)


def z_of(window, kind, clip=10.0):
    sd = statistics.pstdev(window)
    centre = statistics.fmean(window) if kind == "mean_std" else statistics.median(window)
    scale = sd
    if kind == "median_mad":
        scale = max(1.4826 * statistics.median(abs(v - centre) for v in window), 0.1 * sd)
    return 0.0 if scale == 0 else max(-clip, min(clip, (window[-1] - centre) / scale))


def approx(x):
    return None if x is None else pytest.approx(x, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("mode", ["additive", "amplify"])
@pytest.mark.parametrize("kind", ["mean_std", "median_mad"])
def test_crowding_is_its_formula(mode, kind):
    rng = np.random.default_rng(1)
    model = Crowding(0.8, 1.0, 0.7, 0.5, mode, 10, 15, 4, kind)
    rates, interests, ratios, changes = [], [], [], []
    seen = set()
    for i in range(150):
        if i % 6 == 0:
            rates.append(float(rng.normal() * 1e-4))
            model.update(rates[-1], None, None)
        else:
            oi = float(1e5 * np.exp(rng.normal() * 0.05)) if rng.random() < 0.9 else None
            ratios.append(float(np.exp(rng.normal() * 0.3)))
            if oi is not None and interests and interests[-1] is not None:
                changes.append(math.log(oi) - math.log(interests[-1]))
            interests.append(oi)
            model.update(None, oi, ratios[-1])
        ready = len(rates) >= 4 and len(changes) >= 4 and len(ratios) >= 4
        assert model.ready == ready
        if not ready:
            continue
        f, o = z_of(rates[-10:], kind), z_of(changes[-15:], kind)
        r = z_of([math.log(v) for v in ratios[-15:]], kind)
        middle = o if mode == "additive" else np.sign(f) * max(0, o)
        c = f + 0.7 * middle + 0.5 * r
        value = model.value
        assert value.crowding == approx(c)
        assert value.f3 == (-1 if c > 0.8 else 1 if c < -0.8 else 0)
        seen.add(value.f3)
    assert seen == {-1, 0, 1}


def test_f3_is_the_position_that_fades_the_crowd():
    """Slip 21, at its source: crowded long gives -1."""
    model = Crowding(a2=0.0, a3=0.0, min_count=3)
    for rate in (1e-4, 1e-4, 1e-4, 9e-4):
        model.update(rate, None, None)
    assert model.value.crowding > 1
    assert model.value.f3 == -1


def test_mirror_negates_crowding_when_open_interest_amplifies():
    rng = np.random.default_rng(2)
    one, other = (Crowding(oi_mode="amplify", min_count=3) for _ in range(2))
    for i in range(120):
        rate = float(rng.normal() * 1e-4)
        oi, ratio = float(1e5 * np.exp(rng.normal() * 0.05)), float(np.exp(rng.normal()))
        one.update(*((rate, None, None) if i % 6 == 0 else (None, oi, ratio)))
        other.update(*((-rate, None, None) if i % 6 == 0 else (None, oi, 1 / ratio)))
        if one.ready:
            assert other.value.crowding == approx(-one.value.crowding)
            assert other.value.f3 == -one.value.f3
    assert one.ready


def test_growing_open_interest_strengthens_either_side_only_when_it_amplifies():
    def crowd(mode, sign):
        model = Crowding(oi_mode=mode, a3=0.0, min_count=3)
        rng = np.random.default_rng(3)
        for _ in range(20):
            model.update(float(rng.normal()) * 1e-5, None, None)
            model.update(None, float(1e5 + rng.normal()), None)
        model.update(sign * 5e-5, None, None)
        before = model.value.crowding
        model.update(None, 1.1e5, None)
        return abs(model.value.crowding) - abs(before)

    assert crowd("additive", 1) > 0 > crowd("additive", -1)
    assert crowd("amplify", 1) > 0 < crowd("amplify", -1)


def test_a_blank_row_breaks_the_change_of_open_interest():
    model = Crowding(a1=0.0, a3=0.0, min_count=1)
    for oi in (100.0, None, 200.0):
        model.update(None, oi, None)
    assert model.value.crowding is None
    model.update(1e-4, None, None)  # a row of funding alone lies between two rows of metrics
    model.update(None, 220.0, None)
    assert model.value.crowding == 0.0


@pytest.mark.parametrize("kind", ["mean_std", "median_mad"])
def test_taker_ratio_is_its_formula(kind):
    rng = np.random.default_rng(4)
    takers, logs = TakerRatio(15, 4, kind), []
    for _ in range(60):
        ratio = float(np.exp(rng.normal() * 0.3)) if rng.random() < 0.8 else None
        takers.update(ratio)
        if ratio is not None:
            logs.append(math.log(ratio))
        is_known = ratio is not None and len(logs) >= 4
        assert takers.value == approx(z_of(logs[-15:], kind) if is_known else None)


@given(st.integers(0, 2**32 - 1))
def test_mirror_negates_flow_pressure(seed):
    rng = np.random.default_rng(seed)
    one, other = FlowPressure(15, 3), FlowPressure(15, 3)
    for flow in rng.normal(size=(40, 3)):
        toxic = int(rng.random() < 0.3)
        one.update(*flow, toxic)
        other.update(*-flow, toxic)
        assert other.value == tuple(None if v is None else -v for v in one.value)


@pytest.mark.parametrize("kind", ["mean_std", "median_mad"])
def test_flow_pressure_and_toxicity_are_their_formulas(kind):
    rng = np.random.default_rng(5)
    flow = rng.normal(size=(60, 3))
    toxicity, pressure = ToxicityIndex(15, 4, kind), FlowPressure(15, 4, kind)
    vpins, spreads = rng.random(60).tolist(), rng.choice([1.0, 1.0, 2.0], 60).tolist()
    for i in range(60):
        toxicity.update(vpins[i], spreads[i])
        window = slice(max(0, i - 14), i + 1)
        if i < 3:
            assert toxicity.value is None
        else:
            expected = z_of(vpins[window], kind) + z_of(spreads[window], kind)
            assert toxicity.value == approx(expected)
        toxic = None if toxicity.value is None else int(toxicity.value > 1)
        pressure.update(*flow[i], toxic)
        if toxic is None:
            assert pressure.value.f2 is None
        else:
            total = sum(z_of(flow[window, k].tolist(), kind) for k in range(3))
            assert pressure.value.f2 == approx(0.0 if toxic else total)


def test_slip_15_toxic_samples_enter_the_windows():
    """Slip 15: windows that skip what a gate refused."""
    flow = np.random.default_rng(6).normal(size=(30, 3))
    gated, free = FlowPressure(10, 3), FlowPressure(10, 3)
    for i, row in enumerate(flow):
        gated.update(*row, int(10 <= i < 20))
        free.update(*row, 0)
        assert gated.value[1:] == free.value[1:]


def share_at_or_above(history, x):
    return sum(v >= x for v in history) / len(history)


def test_regimes_follow_their_ranks_with_hysteresis():
    rng = np.random.default_rng(7)
    model = VolatilityRegimes(10, 0.8, 0.2, 0.7, 0.1)
    logs = np.zeros((600, 3))
    for i, shock in enumerate(rng.normal(size=(599, 3)), start=1):
        logs[i] = 0.8 * logs[i - 1] + shock
    samples = [(v, s, d if rng.random() < 0.8 else None) for v, s, d in np.exp(logs).tolist()]
    thin = rough = False
    seen = set()
    for i in range(len(samples)):
        model.update(*samples[i])
        past = samples[: i + 1]
        variance, spread, depth = samples[i]
        depths = [d for _, _, d in past if d is not None]
        if i + 1 < 10:
            assert model.value is None
            continue
        wide = share_at_or_above([s for _, s, _ in past], spread)
        high = share_at_or_above([v for v, _, _ in past], variance)
        low = None
        if depth is not None and len(depths) >= 10:
            low = sum(d <= depth for d in depths) / len(depths)
        if wide <= 1 - 0.8 or (low is not None and low <= 0.2):
            thin = True
        elif wide > 1 - 0.8 + 0.1 and (low is None or low > 0.2 + 0.1):
            thin = False
        rough = True if high <= 1 - 0.7 else False if high > 1 - 0.7 + 0.1 else rough
        assert model.value == (2 if thin else int(rough))
        seen.add(model.regime)
    assert seen == set(VolatilityRegime)


def test_slip_13_a_pinned_spread_is_not_a_thin_market():
    """Slip 13, in ranks: with <= a spread that is always one tick would be its own 95th percentile."""
    model = VolatilityRegimes(min_count=5)
    rng = np.random.default_rng(8)
    for variance in rng.random(200):
        model.update(float(variance), 1.0, 5.0)
        assert model.regime is not VolatilityRegime.LOW_LIQUIDITY
    model.update(0.5, 3.0, 5.0)
    assert model.regime is VolatilityRegime.LOW_LIQUIDITY
    model.update(0.5, 1.0, 5.0)
    assert model.regime is not VolatilityRegime.LOW_LIQUIDITY


def test_slip_17_ranks_look_back_only():
    """Slip 17: percentiles over the full sample."""
    rng = np.random.default_rng(9)
    variance, spread, depth = np.exp(rng.normal(size=(3, 300)))
    whole = batch.volatility_regimes(variance, spread, depth)
    for cut in (31, 60, 150):
        calm = [x.copy() for x in (variance, spread, depth)]
        for x in calm:
            x[cut:] = 1e6  # a future in which all of the past looks small
        assert np.array_equal(batch.volatility_regimes(*calm)[:cut], whole[:cut], equal_nan=True)
    rising = batch.volatility_regimes(
        np.arange(1.0, 101.0), np.full(100, np.nan), np.full(100, np.nan)
    )
    assert (rising[30:] == 1.0).all()  # over the full sample only the last ten would be high


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Crowding().update(math.nan, None, None), "funding_rate must be a finite"),
        (lambda: Crowding().update(None, 0.0, None), "open_interest must be above 0"),
        (lambda: Crowding().update(None, None, -1.0), "long_short_ratio must be above 0"),
        (lambda: TakerRatio().update(0.0), "taker_ratio must be above 0"),
        (lambda: TakerRatio().update(math.nan), "taker_ratio must be above 0 and finite"),
        (lambda: batch.taker_ratio([1.0, 0.0]), "at row 1"),
        (lambda: ToxicityIndex().update(-0.1, None), "vpin"),
        (lambda: ToxicityIndex().update(0.1, math.inf), "spread"),
        (lambda: FlowPressure().update(math.nan, 0.0, 0.0, 0), "obi must be a finite"),
        (lambda: VolatilityRegimes().update(-1.0, None, None), "variance"),
        (lambda: batch.crowding([np.nan], [0.0], [np.nan]), "at row 0"),
        (lambda: batch.toxicity_index([-1.0], [1.0]), "at row 0"),
        (lambda: batch.volatility_regimes([1.0], [-1.0], [1.0]), "at row 0"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Crowding(crowding_threshold=0.0), "crowding_threshold"),
        (lambda: Crowding(a1=-1.0), "a1 must be a number of at least 0"),
        (lambda: Crowding(oi_mode="both"), "oi_mode must be one of additive, amplify"),
        (lambda: VolatilityRegimes(spread_share=95), "spread_share must lie between 0 and 1"),
        (lambda: VolatilityRegimes(hysteresis=1.0), "hysteresis must lie in"),
        (lambda: ToxicityIndex(window_count=1), "window_count"),
    ],
)
def test_bad_parameters_are_refused(build, message):
    with pytest.raises(ParameterError, match=message):
        build()
