"""Realized measures against transcriptions, numpy and `arch`."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from arch.univariate import HARX
from phoenix_signals import batch
from phoenix_signals.errors import InputError, ParameterError
from phoenix_signals.realized import HarComposite, HarModel, RealizedMeasures, fit_har


def walk(seed, rows, sigma=1e-3):
    rng = np.random.default_rng(seed)
    return 100.0 * np.exp(np.cumsum(rng.standard_normal(rows) * sigma))


def test_measures_equal_their_formulas():
    n = 12
    prices = np.round(walk(1, 100), 2)
    measures = RealizedMeasures(n)
    for i, price in enumerate(prices):
        measures.update(price)
        if i < n:
            assert measures.value is None
            continue
        r = [
            math.log(b / a)
            for a, b in zip(prices[i - n : i], prices[i - n + 1 : i + 1], strict=True)
        ]
        rv = math.fsum(x * x for x in r)
        bv = (
            math.pi / 2 * n / (n - 1) * math.fsum(abs(a) * abs(b) for a, b in itertools.pairwise(r))
        )
        got = measures.value
        assert got.variance == pytest.approx(rv, rel=1e-9)
        assert got.volatility == pytest.approx(math.sqrt(rv), rel=1e-9)
        assert got.downside_semivariance == pytest.approx(
            math.fsum(x * x for x in r if x < 0), rel=1e-9
        )
        assert got.upside_semivariance == pytest.approx(
            math.fsum(x * x for x in r if x > 0), rel=1e-9
        )
        assert got.bipower_variation == pytest.approx(bv, rel=1e-9)
        assert got.jump_share == pytest.approx(max(0.0, 1 - bv / rv), abs=1e-9)


def test_slip_11_variance_and_volatility_are_two_things():
    got = batch.realized_measures(walk(2, 50), window_returns=10)
    np.testing.assert_allclose(got.volatility**2, got.variance, rtol=1e-14)
    np.testing.assert_allclose(
        got.downside_semivariance + got.upside_semivariance, got.variance, rtol=1e-13
    )


def test_bipower_ignores_a_jump_and_the_jump_share_finds_it():
    """Constant volatility: BV estimates the same as RV (to 2 %); one jump goes to the share."""
    n = 20_000
    prices = walk(3, n + 1)
    calm = batch.realized_measures(prices, window_returns=n)
    assert calm.bipower_variation[-1] == pytest.approx(n * 1e-6, rel=0.03)
    jumped = prices.copy()
    jumped[n // 2 :] *= math.exp(0.1)
    jump = batch.realized_measures(jumped, window_returns=n)
    assert jump.variance[-1] - calm.variance[-1] == pytest.approx(0.01, rel=0.05)
    assert jump.jump_share[-1] == pytest.approx(0.01 / (0.01 + n * 1e-6), rel=0.05)
    assert calm.jump_share[-1] < 0.02


def test_prices_that_stand_still_have_no_variance_and_no_jump():
    got = batch.realized_measures([5.0] * 10, window_returns=4)
    assert got.variance[-1] == got.bipower_variation[-1] == got.jump_share[-1] == 0.0


def test_trade_prints_contain_the_bid_ask_bounce():
    """Half a squared spread per observation, as the docstring says: mid still, prints alternate."""
    spread = 2e-4
    prints = 100.0 * (1 + spread / 2 * np.where(np.arange(2_001) % 2, 1, -1))
    rng = np.random.default_rng(4)
    random_side = 100.0 * (1 + spread / 2 * rng.choice([-1, 1], 2_001))
    assert batch.realized_measures(prints, window_returns=2_000).variance[-1] == pytest.approx(
        2_000 * spread**2, rel=1e-3
    )
    assert batch.realized_measures(random_side, window_returns=2_000).variance[-1] == pytest.approx(
        2_000 * spread**2 / 2, rel=0.1
    )


def test_correlation_equals_numpy_on_zero_mean_returns():
    rng = np.random.default_rng(5)
    common = rng.standard_normal(400)
    r1, r2 = 1e-3 * (common + rng.standard_normal(400)), 1e-3 * (common + rng.standard_normal(400))
    p1, p2 = 100 * np.exp(np.append(0, np.cumsum(r1))), 7 * np.exp(np.append(0, np.cumsum(r2)))
    got = batch.realized_correlation(p1, p2, window_returns=50)
    for i in (50, 123, 400):
        a, b = r1[i - 50 : i], r2[i - 50 : i]
        assert got[i] == pytest.approx((a @ b) / math.sqrt((a @ a) * (b @ b)), rel=1e-9)
    mirrored = batch.realized_correlation(p1, 1 / p2, window_returns=50)
    np.testing.assert_allclose(mirrored, -got, rtol=1e-9)
    assert np.isnan(batch.realized_correlation(p1, np.full(401, 7.0), window_returns=50)).all()


@pytest.mark.parametrize("form", ["level", "log"])
def test_har_equals_arch(form):
    """Ordinary least squares parity with arch's HARX(lags=[1, 5, 22]), to 1e-10."""
    rng = np.random.default_rng(6)
    rv = np.exp(0.1 * np.cumsum(rng.standard_normal(400) * 0.5) + rng.standard_normal(400) * 0.3)
    model = fit_har(rv, form)
    if form == "level":
        fitted = HARX(pd.Series(rv), lags=[1, 5, 22], rescale=False).fit(disp="off")
        expected = fitted.params.iloc[:4].to_numpy()
    else:  # arch averages logs; the log form here takes logs of averages
        terms = np.column_stack(
            [np.ones(378)]
            + [[math.log(rv[t - lag : t].mean()) for t in range(22, 400)] for lag in (1, 5, 22)]
        )
        expected = np.linalg.solve(terms.T @ terms, terms.T @ np.log(rv[22:]))
    got = [model.constant, *model.coefficients]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-10 * np.abs(expected).max())
    assert model.observations == 378


def test_har_forecast_is_the_regression_line():
    rng = np.random.default_rng(7)
    rv = np.exp(rng.standard_normal(300) * 0.3)
    level = fit_har(rv)
    terms = [rv[-lag:].mean() for lag in (1, 5, 22)]
    line = level.constant + sum(b * x for b, x in zip(level.coefficients, terms, strict=True))
    assert level.forecast(rv) == pytest.approx(line, rel=1e-12)
    log = HarModel("log", 0.1, (0.5, 0.2, 0.1), 0.04, 100)
    expected = math.exp(
        0.1 + 0.5 * math.log(terms[0]) + 0.2 * math.log(terms[1]) + 0.1 * math.log(terms[2]) + 0.02
    )
    assert log.forecast(rv) == pytest.approx(expected, rel=1e-12)
    calm = HarModel("level", 0.0, (0.1, 0.0, 0.0), 1.0, 100)
    assert calm.forecast(rv) == pytest.approx(0.1 * rv[-1], rel=1e-12)
    assert calm.forecast(rv) < rv[-22:].min(), "a forecast below what was seen stands"
    falling = HarModel("level", -5.0, (0.1, 0.0, 0.0), 1.0, 100)
    assert falling.forecast(rv) == rv[-22:].min(), "a variance is never negative"


def test_composite_averages_and_includes_the_newest_period():
    rv = list(range(1, 31))
    har = HarComposite(0.5, 0.3, 0.2)
    for x in rv:
        har.update(float(x))
    assert har.value == pytest.approx(0.5 * 30 + 0.3 * 28 + 0.2 * np.mean(rv[-22:]), rel=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: HarComposite(0.5, 0.5, 0.5), ParameterError, "sum to 1"),
        (lambda: HarComposite(1.5, -0.5, 0.0), ParameterError, "non-negative"),
        (lambda: fit_har([1.0] * 10), InputError, "at least 30 periods"),
        (lambda: fit_har([0.0] * 40, "log"), InputError, "above 0 for the log form"),
        (lambda: fit_har([1.0] * 40, "cubic"), ParameterError, "form must be one of level, log"),
        (lambda: fit_har([1.0, -1.0] * 20), InputError, "at least 0 and below 1e100 .was -1.0 at row 1"),
        (
            lambda: HarModel("level", 0.0, (1.0, 0.0, 0.0), 0.0, 50).forecast([1.0]),
            InputError, "22 periods",
        ),
        (lambda: RealizedMeasures(2), ParameterError, "window_returns must be an integer of at"),
    ],
)  # fmt: skip
def test_impossible_arguments_are_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
