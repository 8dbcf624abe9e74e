"""The three pressure indices: transcriptions, mirror symmetry, missing inputs, named slips."""

from __future__ import annotations

import itertools
import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phoenix_signals import batch
from phoenix_signals.errors import InputError, ParameterError
from phoenix_signals.pressure import (
    BarLpi,
    CompositeLpi,
    Exhaustion,
    LeveragePrior,
    LiquidationPressure,
)


def z_of(window, kind="median_mad", min_scale=0.0, clip=10.0):
    """z of the last value of `window`, written out from its definition."""
    x = window[-1]
    sd = math.sqrt(sum((v - statistics.fmean(window)) ** 2 for v in window) / len(window))
    if kind == "mean_std":
        centre, scale = statistics.fmean(window), max(sd, min_scale)
    else:
        centre = statistics.median(window)
        mad = statistics.median(abs(v - centre) for v in window)
        scale = max(1.4826 * mad, 0.1 * sd, min_scale)
    return 0.0 if scale == 0 else max(-clip, min(clip, (x - centre) / scale))


def buckets(seed, count=80, missing=0.1):
    """Mostly zero impulses, a spread on a tick grid with holes."""
    rng = np.random.default_rng(seed)
    impulse = np.where(rng.random(count) < 0.6, 0.0, rng.normal(size=count) * 1e5)
    spread = rng.choice([1e-5, 2e-5, 5e-5], size=count, p=[0.8, 0.15, 0.05])
    holes = rng.random(count) < missing
    return impulse.tolist(), [None if h else float(s) for h, s in zip(holes, spread, strict=True)]


def run_lpi(impulse, spread, min_scale=0.0, **parameters):
    pressure = LiquidationPressure(**parameters)
    out = []
    for row in zip(impulse, spread, strict=True):
        pressure.update(*row, min_scale)
        out.append(pressure.value)
    return out


def approx(expected):
    return None if expected is None else pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("mode", ["signed", "additive"])
@pytest.mark.parametrize("kind", ["median_mad", "mean_std"])
@pytest.mark.parametrize("seed", range(3))
def test_lpi_fast_is_its_formula(mode, kind, seed):
    impulse, spread = buckets(seed)
    n, least, lam, half_tick = 20, 5, 0.7, 4e-6
    got = run_lpi(
        impulse, spread, half_tick, window_count=n, min_count=least, z_kind=kind,
        lambda_ld=lam, liquidity_mode=mode,
    )  # fmt: skip
    seen = []
    for i, value in enumerate(got):
        p = z_of(impulse[max(0, i - n + 1) : i + 1], kind) if i + 1 >= least else None
        ld = None
        if spread[i] is not None:
            seen.append(spread[i])
            ld = z_of(seen[-n:], kind, half_tick) if len(seen) >= least else None
        lpi = None
        if p is not None and ld is not None:
            thin = ld if mode == "additive" else math.copysign(1, p) * max(0, ld) if p else 0.0
            lpi = p + lam * thin
        assert value.pressure_z == approx(p)
        assert value.ld_z == approx(ld)
        assert value.lpi == approx(lpi)
    assert sum(v.lpi is not None for v in got) > 40


def test_raw_numbers_take_the_place_of_z():
    got = run_lpi([5.0, -3.0], [0.5, 0.25], z_kind="none", lambda_ld=2.0)
    assert [v.lpi for v in got] == [6.0, -3.5]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_mirror_negates_pressure_and_signed_lpi(seed):
    impulse, spread = buckets(seed)
    parameters = {"window_count": 15, "min_count": 3}
    for a, b in zip(
        run_lpi(impulse, spread, **parameters),
        run_lpi([-x for x in impulse], spread, **parameters),
        strict=True,
    ):
        assert b.pressure_z == (None if a.pressure_z is None else -a.pressure_z)
        assert b.lpi == (None if a.lpi is None else -a.lpi)
        assert b.ld_z == a.ld_z


def test_slip_14_additive_mode_weakens_buy_cascades_and_signed_does_not():
    """Slip 14: an LPI that holds only for sell pressure."""
    rng = np.random.default_rng(2)
    calm = (rng.normal(size=40).tolist(), (1e-5 + 1e-6 * rng.random(40)).tolist())
    last = {}
    for side, mode in itertools.product((1.0, -1.0), ("signed", "additive")):
        out = run_lpi([*calm[0], side * 8.0], [*calm[1], 3e-5], min_count=5, liquidity_mode=mode)
        last[side, mode] = out[-1].lpi
    assert last[1.0, "signed"] > 12
    assert last[-1.0, "signed"] < -12
    assert last[1.0, "additive"] > 12
    assert last[-1.0, "additive"] > last[-1.0, "signed"] + 10  # weakened


def run_exh(lpi, relief, **parameters):
    exhaustion = Exhaustion(**parameters)
    out = []
    for row in zip(lpi, relief, strict=True):
        exhaustion.update(*row)
        out.append(exhaustion.value)
    return out


@pytest.mark.parametrize("kind", ["median_mad", "mean_std"])
def test_exhaustion_is_its_formula(kind):
    rng = np.random.default_rng(4)
    lpi = [None if rng.random() < 0.1 else float(v) for v in rng.normal(size=80) * 2]
    relief = [None if rng.random() < 0.1 else float(v) for v in rng.normal(size=80)]
    got = run_exh(lpi, relief, window_count=20, min_count=5, z_kind=kind)
    deltas = []
    for i, value in enumerate(got):
        if i == 0 or lpi[i] is None or lpi[i - 1] is None:
            assert value == (None, None)
            continue
        deltas.append(lpi[i] - lpi[i - 1])
        assert value.delta_lpi == deltas[-1]
        if relief[i] is None or len(deltas) < 5:
            assert value.exh is None
        else:
            sign = math.copysign(1, lpi[i])
            assert value.exh == approx(-sign * z_of(deltas[-20:], kind) + relief[i])


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_slip_14_exhaustion_is_the_same_for_both_sides(seed):
    """Slip 14: an EXH that holds only for sell pressure."""
    rng = np.random.default_rng(seed)
    lpi, relief = (rng.normal(size=60) * 2).tolist(), rng.normal(size=60).tolist()
    parameters = {"window_count": 15, "min_count": 3}
    sells = run_exh(lpi, relief, **parameters)
    buys = run_exh([-v for v in lpi], relief, **parameters)
    assert [v.exh for v in sells] == [v.exh for v in buys]
    assert any(v.exh is not None for v in sells)


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_fading_pressure_and_returning_depth_raise_exhaustion(side):
    rng = np.random.default_rng(3)
    calm = (side * 3.0 + rng.normal(size=50) * 0.3).tolist()
    fading = run_exh([*calm, side * 6, side * 2], [0.0] * 52, min_count=5)
    growing = run_exh([*calm, side * 2, side * 6], [0.0] * 52, min_count=5)
    assert fading[-1].exh > 3 > -3 > growing[-1].exh
    assert run_exh([*calm, side * 6, side * 2], [0.0] * 51 + [2.0], min_count=5)[-1].exh == (
        pytest.approx(fading[-1].exh + 2.0)
    )


def test_after_an_interruption_there_is_no_change():
    exhaustion = Exhaustion(window_count=5, min_count=1)
    exhaustion.update(1.0, 0.0)
    exhaustion.interrupt()
    exhaustion.update(2.0, 0.0)
    assert exhaustion.value == (None, None)


@pytest.mark.parametrize("kind", ["median_mad", "mean_std"])
def test_leverage_prior_is_its_formula(kind):
    rng = np.random.default_rng(6)
    oi = [None if rng.random() < 0.2 else float(v) for v in rng.uniform(1e4, 2e4, 60)]
    funding = [float(v) if i % 4 == 0 else None for i, v in enumerate(rng.normal(size=60) * 1e-4)]
    prior = LeveragePrior(15, 8, 3, kind, lambda_f=0.5)
    seen_oi, seen_f = [], []
    for a, b in zip(oi, funding, strict=True):
        prior.update(a, b)
        seen_oi += [] if a is None else [a]
        seen_f += [] if b is None else [b]
        if len(seen_oi) < 3 or len(seen_f) < 3:
            assert prior.value is None
        else:
            expected = z_of(seen_oi[-15:], kind) + 0.5 * z_of(seen_f[-8:], kind)
            assert prior.value == approx(expected)
    assert prior.ready


def test_composite_lpi_is_its_formula():
    rng = np.random.default_rng(8)
    fsi = rng.random(60).tolist()
    ldr = [None if rng.random() < 0.1 else float(v) for v in rng.uniform(0, 2, 60)]
    composite = CompositeLpi(window_count=20, min_count=5)
    for i in range(60):
        imbalance = abs(2 * fsi[i] - 1)
        composite.update(fsi[i], imbalance, ldr[i])
        if i < 4 or ldr[i] is None:
            assert composite.value is None
            continue
        z = z_of(fsi[max(0, i - 19) : i + 1], "mean_std")
        expected = 0.6 * math.tanh(max(0, z)) + 0.3 * max(0, 1 - ldr[i]) + 0.1 * imbalance
        assert composite.value == approx(expected)
        assert composite.fsi_z == approx(z)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 3)), max_size=40))
def test_composite_lpi_stays_in_its_range(rows):
    composite = CompositeLpi(window_count=10, min_count=2)
    for fsi, imbalance, ldr in rows:
        composite.update(fsi, imbalance, ldr)
        if composite.value is not None:
            assert 0.0 <= composite.value <= 1.0
            assert ldr < 1.0 or composite.value <= 0.7


@pytest.mark.parametrize("kind", ["median_mad", "mean_std"])
def test_bar_lpi_is_its_formula(kind):
    rng = np.random.default_rng(9)
    volume = rng.lognormal(size=80).tolist()
    spread = [None if rng.random() < 0.1 else float(v) for v in rng.choice([1.0, 2.0, 5.0], 80)]
    imbalance = [None if rng.random() < 0.1 else float(v) for v in rng.uniform(-1, 1, 80)]
    bar = BarLpi(lookback_bars=20, min_count=5, z_kind=kind)
    logs, spreads = [], []
    for v, s, i in zip(volume, spread, imbalance, strict=True):
        bar.update(v, s, i, 0.4)
        logs.append(math.log(1 + v))
        spreads += [] if s is None else [s]
        if s is None or i is None or len(logs) < 5 or len(spreads) < 5:
            assert bar.value is None
            continue
        loud = max(0, z_of(logs[-20:], kind))
        wide = max(0, z_of(spreads[-20:], kind, 0.4))
        assert bar.value == approx(i * loud / (1 + wide))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_mirror_negates_bar_lpi(seed):
    rng = np.random.default_rng(seed)
    one, other = BarLpi(10, 3), BarLpi(10, 3)
    for volume, spread, imbalance in zip(
        rng.lognormal(size=40), rng.uniform(1, 3, 40), rng.uniform(-1, 1, 40), strict=True
    ):
        one.update(volume, spread, imbalance)
        other.update(volume, spread, -imbalance)
        assert other.value == (None if one.value is None else -one.value)


def test_about_half_of_all_bars_give_zero():
    rng = np.random.default_rng(10)
    lpi = batch.bar_lpi(rng.lognormal(size=5_000), np.ones(5_000), np.full(5_000, 0.5))
    share = np.mean(lpi[30:] == 0.0)
    assert 0.45 < share < 0.55


def test_slip_13_no_z_of_a_z():
    """Slip 13: the terms of each index are z-scores of raw numbers, taken once.

    Doubling the unit of every input leaves the index as it is; and P is the z of the raw impulse,
    which a second z-score over a window of z-scores would not be.
    """
    impulse, spread = buckets(12, missing=0.0)
    parameters = {"window_count": 20, "min_count": 5}
    for a, b in zip(
        run_lpi(impulse, spread, **parameters),
        run_lpi([2 * x for x in impulse], [2 * x for x in spread], **parameters),
        strict=True,
    ):
        assert (a.lpi is None) == (b.lpi is None)
        if a.lpi is not None:
            assert b.lpi == pytest.approx(a.lpi, rel=1e-12)
    growing = [(-1.1) ** i for i in range(40)]  # the spread of each window differs
    pressed = [v.pressure_z for v in run_lpi(growing, [1e-5] * 40, min_count=5)]
    assert pressed[-1] == approx(z_of(growing))
    assert abs(z_of(pressed[4:]) - pressed[-1]) > 0.1


def test_slip_15_windows_go_on_while_a_value_is_missing():
    """Slip 15: windows that skip what a gate or a missing partner refused."""
    rng = np.random.default_rng(13)
    volume = rng.lognormal(size=40).tolist()
    gated, whole = BarLpi(10, 3), BarLpi(10, 3)
    for i, v in enumerate(volume):
        gated.update(v, 1.0, None if 10 <= i < 20 else 0.5)
        whole.update(v, 1.0, 0.5)
        if not 10 <= i < 20:
            assert gated.value == whole.value
    fsi = rng.random(40).tolist()
    stale, fresh = CompositeLpi(10, 3), CompositeLpi(10, 3)
    for i, share in enumerate(fsi):
        stale.update(share, 0.5, None if 10 <= i < 20 else 0.9)
        fresh.update(share, 0.5, 0.9)
        if not 10 <= i < 20:
            assert stale.value == fresh.value
    impulse, _ = buckets(14)
    holes = [None if 10 <= i < 20 else 1e-5 for i in range(80)]
    pressed = [v.pressure_z for v in run_lpi(impulse, holes, window_count=15, min_count=3)]
    assert pressed == [
        v.pressure_z for v in run_lpi(impulse, [1e-5] * 80, window_count=15, min_count=3)
    ]


def test_slip_13_a_spread_pinned_at_one_tick_does_not_explode():
    """Slip 13: scales that collapse or explode; half a tick is the least scale of a spread."""
    spread = [1e-5] * 50 + [1.0000001e-5]
    calm = run_lpi([0.0] * 51, spread, 5e-6, min_count=5)[-1]
    wild = run_lpi([0.0] * 51, spread, 0.0, min_count=5)[-1]
    assert abs(calm.ld_z) < 1e-6
    assert abs(wild.ld_z) > 5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LiquidationPressure().update(math.nan, 1.0), "impulse must be a finite"),
        (lambda: LiquidationPressure().update(0.0, math.inf), "liquidity must be a finite"),
        (lambda: LiquidationPressure().update(0.0, 1.0, -1.0), "min_scale"),
        (lambda: Exhaustion().update(math.nan, None), "lpi must be a finite"),
        (lambda: LeveragePrior().update(-1.0, None), "open_interest"),
        (lambda: CompositeLpi().update(1.5, 0.0, None), r"fsi must lie in \[0, 1\]"),
        (lambda: CompositeLpi().update(0.5, -0.1, None), r"imbalance must lie in \[0, 1\]"),
        (lambda: CompositeLpi().update(0.5, 0.0, -1.0), "ldr"),
        (lambda: BarLpi().update(-1.0, None, None), "volume"),
        (lambda: BarLpi().update(1.0, -1.0, None), "spread_bps"),
        (lambda: BarLpi().update(1.0, 1.0, 2.0), r"imbalance must lie in \[-1, 1\]"),
        (lambda: batch.bar_lpi([1.0], [1.0], [2.0]), "at row 0"),
        (lambda: batch.composite_lpi([0.5, 2.0], [0.5, 0.5], [1.0, 1.0]), "at row 1"),
        (lambda: batch.leverage_prior([-1.0], [0.0]), "at row 0"),
        (lambda: batch.liquidation_pressure([np.nan], [1.0]), "at row 0"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LiquidationPressure(liquidity_mode="both"), "liquidity_mode must be one of"),
        (lambda: LiquidationPressure(lambda_ld=-1.0), "lambda_ld must be a number of at least 0"),
        (lambda: LiquidationPressure(window_count=1), "window_count"),
        (lambda: Exhaustion(z_kind="sigma"), "z_kind must be one of"),
        (lambda: LeveragePrior(lambda_f=math.nan), "lambda_f"),
        (lambda: BarLpi(lookback_bars=1), "lookback_bars"),
    ],
)
def test_bad_parameters_are_refused(build, message):
    with pytest.raises(ParameterError, match=message):
        build()
