"""The published numbers of Bailey and Lopez de Prado, and overfitting with a known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phoenix_runner import inference
from phoenix_runner.inference import InferenceError
from scipy import stats


def test_deflated_sharpe_of_the_paper() -> None:
    # Bailey, Lopez de Prado (2014), "The Deflated Sharpe Ratio", numerical example: annual SR 2.5,
    # five years of 250 days, 100 trials, annual variance 1/2, skew -3, kurtosis 10.
    variance = 0.5 / 250
    assert inference.expected_maximum_sharpe(100, variance) == pytest.approx(0.1132, abs=5e-5)
    value = inference.deflated_sharpe_ratio(
        2.5 / math.sqrt(250), 1250, trials=100, trial_variance=variance, skewness=-3, kurtosis=10
    )
    assert value == pytest.approx(0.9004, abs=5e-5)


def test_probabilistic_sharpe_of_the_paper() -> None:
    # Bailey, Lopez de Prado (2012), "The Sharpe Ratio Efficient Frontier": two years of monthly
    # returns, SR .458, skew -2.448, kurtosis 10.164: .913; under normal returns .982.
    psr = inference.probabilistic_sharpe_ratio
    assert psr(0.458, 24, skewness=-2.448, kurtosis=10.164) == pytest.approx(0.913, abs=5e-4)
    assert psr(0.458, 24) == pytest.approx(0.982, abs=5e-4)


def test_minimum_track_record_of_the_paper() -> None:
    # The same paper: SR 2 against 1 at 95 %, daily normal returns, 250 a year: 2.73 years.
    day = math.sqrt(250)
    length = inference.minimum_track_record_length(2 / day, benchmark=1 / day)
    assert length / 250 == pytest.approx(2.73, abs=5e-3)


@pytest.mark.parametrize(("trials", "expected"), [(10, 1.5746), (1000, 3.2551)])
def test_expected_maximum_of_the_formula(trials: int, expected: float) -> None:
    # Bailey, Lopez de Prado (2014), equation for E[max] of N independent normals.
    assert inference.expected_maximum_of_normals(trials) == pytest.approx(expected, abs=5e-5)


def test_expected_maximum_against_simulation() -> None:
    # The formula is asymptotic; 20,000 maxima of 1000 have a standard error of .0025.
    maxima = np.random.default_rng(3).standard_normal((20_000, 1000)).max(axis=1).mean()
    assert inference.expected_maximum_of_normals(1000) == pytest.approx(maxima, abs=0.02)


def test_one_trial_needs_no_deflation() -> None:
    assert inference.expected_maximum_sharpe(1, 0.3) == 0.0
    plain = inference.probabilistic_sharpe_ratio(0.1, 300)
    assert inference.deflated_sharpe_ratio(0.1, 300, trials=1, trial_variance=0.3) == plain


@given(
    sharpe=st.floats(0.01, 0.5),
    skewness=st.floats(-2, 1),
    excess=st.floats(0.5, 10),
    confidence=st.floats(0.6, 0.99),
)
def test_minimum_track_record_is_where_psr_reaches_the_confidence(
    sharpe: float, skewness: float, excess: float, confidence: float
) -> None:
    shape = {"skewness": skewness, "kurtosis": skewness**2 + 1 + excess}
    length = inference.minimum_track_record_length(sharpe, confidence=confidence, **shape)
    after = inference.probabilistic_sharpe_ratio(sharpe, math.ceil(length) + 1, **shape)
    assert after >= confidence - 1e-9
    if length > 3:
        before = inference.probabilistic_sharpe_ratio(sharpe, math.floor(length), **shape)
        assert before <= confidence + 1e-9


def test_a_benchmark_above_the_ratio_is_never_reached() -> None:
    assert inference.minimum_track_record_length(0.05, benchmark=0.06) == math.inf


def test_moments_equal_scipy() -> None:
    x = np.random.default_rng(5).standard_t(5, 500) * 0.01 + 0.001
    m = inference.moments(x)
    assert m.observations == 500
    assert m.sharpe == pytest.approx(x.mean() / x.std(ddof=1), rel=1e-12)
    assert m.skewness == pytest.approx(stats.skew(x), rel=1e-10)
    assert m.kurtosis == pytest.approx(stats.kurtosis(x, fisher=False), rel=1e-10)


def test_psr_covers_as_it_says() -> None:
    # Under a true Sharpe ratio equal to the benchmark PSR is uniform, so 10 % of 4,000 samples
    # fall below .1; the standard error of that share is .005. Skewed returns, to test g3 and g4.
    rng = np.random.default_rng(11)
    samples = rng.gamma(4.0, 1.0, (4000, 250)) - 3.8  # mean .2, standard deviation 2
    values = []
    for row in samples:
        m = inference.moments(row)
        values.append(
            inference.probabilistic_sharpe_ratio(
                m.sharpe, 250, skewness=m.skewness, kurtosis=m.kurtosis, benchmark=0.1
            )
        )
    share = np.mean(np.asarray(values) < 0.1)
    assert share == pytest.approx(0.10, abs=0.02)


def test_pbo_of_noise_is_a_half_on_average() -> None:
    # acceptance.md: mean over 200 noise matrices .50 +- .04; one alone scatters by .18.
    rng = np.random.default_rng(2017)
    values = [
        inference.probability_of_backtest_overfitting(rng.standard_normal((160, 10))).probability
        for _ in range(200)
    ]
    assert np.mean(values) == pytest.approx(0.50, abs=0.04)
    assert 0.10 < np.std(values) < 0.26


def test_pbo_of_a_set_with_skill_is_small() -> None:
    x = np.random.default_rng(4).standard_normal((320, 20))
    x[:, 13] += 0.5
    found = inference.probability_of_backtest_overfitting(x)
    assert found.probability == 0.0
    assert found.splits == 12_870
    assert found.relative_ranks.min() == pytest.approx(20 / 21)


def test_pbo_of_sets_that_take_turns_is_one() -> None:
    # Each of 16 sets shines in one block and pays for it elsewhere: what is best in one half of
    # the blocks is among the worst in the other.
    x = np.random.default_rng(9).normal(0, 1e-3, (160, 16))
    for j in range(16):
        x[:, j] -= 0.1
        x[10 * j : 10 * (j + 1), j] += 1.6
    found = inference.probability_of_backtest_overfitting(x)
    assert found.probability == 1.0
    assert found.probability_of_loss == 1.0


def test_pbo_equals_a_plain_loop() -> None:
    from itertools import combinations

    x = np.random.default_rng(8).normal(0.01, 0.02, (26, 5)) + 100 * np.arange(5)
    found = inference.probability_of_backtest_overfitting(x, blocks=6)
    assert (found.days_used, found.days_dropped) == (24, 2)
    cut = np.split(x[2:], 6)
    ranks = []
    for train in combinations(range(6), 3):
        a = np.concatenate([cut[i] for i in train])
        b = np.concatenate([cut[i] for i in range(6) if i not in train])
        best = (a.mean(0) / a.std(0, ddof=1)).argmax()
        ranks.append(stats.rankdata(b.mean(0) / b.std(0, ddof=1))[best] / 6)
    assert found.relative_ranks == pytest.approx(np.asarray(ranks))
    assert found.probability == np.mean(np.asarray(ranks) <= 0.5)


def test_pbo_of_a_set_that_never_trades() -> None:
    x = np.random.default_rng(6).normal(-0.5, 1, (64, 4))
    x[:, 2] = 0.0
    found = inference.probability_of_backtest_overfitting(x)
    assert found.splits == 12_870
    assert np.isfinite(found.chosen_out_of_sample).all()


@pytest.mark.parametrize(
    ("matrix", "blocks", "message"),
    [
        (np.ones((40, 1)), 16, "at least 2 sets"),
        (np.ones((31, 3)), 16, "at least 2 days for each of 16 blocks"),
        (np.ones((40, 3)), 15, "blocks must be even"),
        (np.ones((40, 3)), 16, "must vary or be zero"),
        (np.full((40, 3), np.nan), 16, "must be finite"),
    ],
)
def test_pbo_refuses(matrix: np.ndarray, blocks: int, message: str) -> None:
    with pytest.raises(InferenceError, match=message):
        inference.probability_of_backtest_overfitting(matrix, blocks=blocks)


def test_impossible_moments_are_refused() -> None:
    with pytest.raises(InferenceError, match="not excess kurtosis"):
        inference.probabilistic_sharpe_ratio(0.1, 100, kurtosis=0.0)
    with pytest.raises(InferenceError, match="trials must be a whole number of at least 1"):
        inference.expected_maximum_of_normals(0)
    with pytest.raises(InferenceError, match="confidence must be"):
        inference.minimum_track_record_length(0.1, confidence=0.4)
    with pytest.raises(InferenceError, match="trial_variance"):
        inference.expected_maximum_sharpe(4, -1.0)
    with pytest.raises(InferenceError, match="observations"):
        inference.probabilistic_sharpe_ratio(0.1, 1)


def test_infer_puts_the_pieces_together() -> None:
    x = np.random.default_rng(10).normal(0.001, 0.01, 400)
    m = inference.moments(x)
    found = inference.infer(x, trials=24, trial_variance=0.001)
    shape = {"skewness": m.skewness, "kurtosis": m.kurtosis}
    assert found.sharpe == m.sharpe
    assert found.probabilistic == inference.probabilistic_sharpe_ratio(m.sharpe, 400, **shape)
    assert found.deflated == inference.deflated_sharpe_ratio(
        m.sharpe, 400, trials=24, trial_variance=0.001, **shape
    )
    assert found.minimum_track_record == inference.minimum_track_record_length(m.sharpe, **shape)
    assert found.undefined is None


@pytest.mark.parametrize(
    ("returns", "reason"),
    [
        ([], "at least 2"),
        ([0.1], "at least 2"),
        ([0.1] * 9, "must vary"),
        ([0.1, math.nan], "finite"),
    ],
)
def test_infer_says_why_not(returns: list[float], reason: str) -> None:
    found = inference.infer(returns, trials=3, trial_variance=0.1)
    assert found.probabilistic is None
    assert found.deflated is None
    assert reason in (found.undefined or "")


def test_nothing_is_deflated_by_trials_without_their_variance() -> None:
    with pytest.raises(InferenceError, match="trial_variance must be given with 24 trials"):
        inference.infer([0.1, 0.2, 0.0], trials=24)
    with pytest.raises(InferenceError, match=r"trials must be a whole number .*\(was 2.5\)"):
        inference.infer([0.1, 0.2, 0.0], trials=2.5, trial_variance=0.1)  # type: ignore[arg-type]
    assert inference.infer([0.1, 0.2, 0.0]).deflated is not None


def test_a_matrix_is_no_series() -> None:
    with pytest.raises(InferenceError, match=r"one series \(had shape \(9, 2\)\); pass a column"):
        inference.moments(np.ones((9, 2)))
