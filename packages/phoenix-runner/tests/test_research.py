"""Studies with a known truth: labels, decay, regimes, chained folds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phoenix_runner.metrics import DAY_NS, DailyReturns
from phoenix_runner.research.decay import (
    DecayError,
    DecayRow,
    Family,
    decay,
    family,
    persistence_ns,
    ranks,
)
from phoenix_runner.research.decay_verdict import DecayStudy, decay_verdict
from phoenix_runner.research.labels import LabelError, forward_labels
from phoenix_runner.research.out_of_sample import (
    OutOfSampleError,
    chain,
    parameter_stability,
    walk_forward_efficiency,
)
from phoenix_runner.research.regimes import RegimeError, split_by_regime
from scipy import stats
from scipy.signal import lfilter

MINUTE = 60 * 10**9


def test_a_label_is_known_a_horizon_later_and_uses_nothing_after_that() -> None:
    ts = MINUTE * np.arange(100)
    mid = 100 + np.random.default_rng(0).normal(size=100).cumsum()
    at = ts[:50]
    whole = forward_labels(ts, mid, at, horizons_ns=[5 * MINUTE])
    assert whole["known_5m_ns"].to_pylist() == [t + 5 * MINUTE for t in at.tolist()]
    assert whole["ret_5m"][3].as_py() == pytest.approx(mid[8] / mid[3] - 1)
    # With the future altered beyond a time, no label known by then changes.
    altered = np.where(ts > ts[30], 1.0, mid)
    again = forward_labels(ts, altered, at, horizons_ns=[5 * MINUTE])
    for known, a, b in zip(
        whole["known_5m_ns"].to_pylist(), whole["ret_5m"].to_pylist(),
        again["ret_5m"].to_pylist(), strict=True,
    ):  # fmt: skip
        assert a == b or known > ts[30]


def test_labels_over_a_gap_or_past_the_end_are_unknown() -> None:
    ts = np.array([0, 1, 2, 30, 31]) * MINUTE
    table = forward_labels(ts, [1.0, 2.0, 3.0, 4.0, 5.0], ts, horizons_ns=[MINUTE])
    assert table["ret_1m"].to_pylist() == [1.0, 0.5, 0.0, 0.25, None]
    assert forward_labels(ts, [1.0] * 5, [10 * MINUTE], horizons_ns=[MINUTE])[
        "ret_1m"
    ].to_pylist() == [None]
    with pytest.raises(LabelError, match="must be positive"):
        forward_labels(ts, [1.0] * 5, ts, horizons_ns=[0])


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=40))
def test_ranks_equal_scipy(values: list[int]) -> None:
    assert np.array_equal(ranks(values), stats.rankdata(values))


def test_ic_equals_scipy() -> None:
    rng = np.random.default_rng(1)
    ts = MINUTE * np.arange(3001)
    mid = 100 * np.exp(rng.normal(0, 1e-3, 3001).cumsum())
    forward = mid[1:] / mid[:-1] - 1
    signal = 0.2 * forward / forward.std() + rng.normal(size=3000)
    rows = decay(ts[:-1], signal, ts, mid, seed=0, horizons_ns=[MINUTE], draws=200).rows
    row = rows[0]
    assert (row.kind, row.observations) == ("predictive", 3000)
    assert row.linear_ic.value == pytest.approx(stats.pearsonr(signal, forward).statistic)
    assert row.rank_ic.value == pytest.approx(stats.spearmanr(signal, forward).statistic)
    assert row.same_sign.value == pytest.approx(np.mean(np.sign(signal) == np.sign(forward)))
    for estimate in (row.rank_ic, row.linear_ic, row.same_sign):
        assert estimate.low < estimate.value < estimate.high  # type: ignore[operator]
    assert row.linear_ic.low > 0.1  # type: ignore[operator]


def test_describing_the_past_is_told_apart_from_predicting() -> None:
    rng = np.random.default_rng(2)
    ts = MINUTE * np.arange(4000)
    mid = 100 * np.exp(rng.normal(0, 1e-3, 4000).cumsum())
    at = ts[15:-15]
    signal = mid[15:-15] / mid[10:-20] - 1  # the last five minutes, nothing else
    rows = {(r.kind, r.horizon_ns): r for r in decay(at, signal, ts, mid, seed=0, draws=300).rows}
    assert rows["contemporaneous", 5 * MINUTE].linear_ic.value == pytest.approx(1.0)
    ahead = rows["predictive", 5 * MINUTE].linear_ic
    assert ahead.low < 0 < ahead.high  # type: ignore[operator]


def persistent(rng: np.random.Generator, n: int, half_life: float) -> np.ndarray:
    """AR(1) noise, from its stationary distribution on."""
    phi = 2 ** (-1 / half_life) if half_life else 0.0
    shocks = rng.normal(size=n)
    shocks[0] /= math.sqrt(1 - phi**2)
    return np.asarray(lfilter([1.0], [1.0, -phi], shocks))


@pytest.mark.parametrize("half_life", [10, 60])
def test_intervals_miss_a_true_zero_no_more_often_than_they_say(half_life: float) -> None:
    # 200 worlds of overlapping 15-minute moves; 5 % of misses have a binomial error of 1.5 %. Blocks
    # of one horizon missed 10 % and more.
    rng = np.random.default_rng(3)
    n, worlds, missed, judged = 5760, 200, 0, 0
    ts = MINUTE * np.arange(n)
    for world in range(worlds):
        mid = 100 * np.exp(rng.normal(0, 1e-3, n).cumsum())
        signal = persistent(rng, n, half_life)
        ic = decay(ts, signal, ts, mid, seed=world, horizons_ns=[15 * MINUTE], draws=300).rows[0]
        if ic.rank_ic.low is not None:
            judged += 1
            missed += not ic.rank_ic.low < 0 < ic.rank_ic.high  # type: ignore[operator]
    assert judged > worlds // 2
    assert missed / judged <= 0.085


def test_blocks_are_longer_than_what_depends_on_each_other() -> None:
    rng = np.random.default_rng(8)
    n = 20_000
    ts = MINUTE * np.arange(n)
    mid = 100 * np.exp(rng.normal(0, 1e-3, n).cumsum())
    for half_life in (30, 120):
        signal = persistent(rng, n, half_life)
        assert persistence_ns(ts, signal) / MINUTE == pytest.approx(
            half_life / math.log(2), rel=0.3
        )
        row = decay(ts, signal, ts, mid, seed=0, draws=100).rows[0]
        assert row.block_ns == 3 * persistence_ns(ts, signal)
        assert row.blocks == math.ceil(n * MINUTE / row.block_ns)
    noise = decay(ts, rng.normal(size=n), ts, mid, seed=0, draws=100).rows[0]
    assert noise.block_ns == 3 * 15 * MINUTE
    # A signal that outlasts its range cannot be judged, where blocks of a horizon would have.
    drift = decay(ts, np.arange(n) + rng.normal(size=n), ts, mid, seed=0, draws=100)
    assert drift.rows[0].rank_ic.low is None
    assert family([drift]) == Family(0, None, 0.95)


def test_a_verdict_over_many_worthless_signals_is_as_rare_as_over_one() -> None:
    # 6 signals x 3 horizons, none of which knows anything: 5 % of studies may say otherwise, with a
    # binomial error of 2.2 %; in every third study some row alone excludes zero.
    rng = np.random.default_rng(11)
    n, studies, wrong, alone = 1440, 100, 0, 0
    ts = MINUTE * np.arange(n)
    for study in range(studies):
        mid = 100 * np.exp(rng.normal(0, 1e-3, n).cumsum())
        found = [
            decay(ts, persistent(rng, n, half_life), ts, mid, seed=study, draws=250)
            for half_life in (0, 0, 2, 2, 5, 5)
        ]
        limit = family(found)
        rows = [row for one in found for row in one.rows if row.kind == "predictive"]
        assert limit.comparisons == len(rows) == 18
        wrong += any(limit.beyond_chance(row) for row in rows)
        alone += any(row.rank_ic.low > 0 or row.rank_ic.high < 0 for row in rows)  # type: ignore[operator]
    assert wrong / studies <= 0.12
    assert alone / studies > 0.25


def test_a_signal_that_knows_something_stands_out_among_many() -> None:
    rng = np.random.default_rng(12)
    n = 2880
    ts = MINUTE * np.arange(n)
    moves = rng.normal(0, 1e-3, n)
    mid = 100 * np.exp(moves.cumsum())
    ahead = np.r_[moves[1:], 0.0] / 1e-3
    found = {f"noise {i}": rng.normal(size=n) for i in range(9)}
    found["planted"] = 0.15 * ahead + rng.normal(size=n)
    study = {name: decay(ts, x, ts, mid, seed=1, draws=500) for name, x in found.items()}
    said = decay_verdict(DecayStudy(study, family(study.values())))
    assert said.startswith("planted orders the next 1m with a rank correlation of 0.1")
    assert said.endswith(", more than chance shows in the best of 30 comparisons")
    del study["planted"]
    assert decay_verdict(DecayStudy(study, family(study.values()))) == (
        "No signal orders the moves that follow it beyond chance (27 comparisons)"
    )


def test_same_signs_are_of_signals_that_take_both() -> None:
    rng = np.random.default_rng(13)
    ts = MINUTE * np.arange(2000)
    mid = 100 + rng.normal(size=2000).cumsum() * 0.01
    signal = rng.normal(size=2000)
    assert decay(ts, signal, ts, mid, seed=0, draws=100).rows[0].same_sign.value is not None
    for one_sided in (np.abs(signal), -np.abs(signal)):
        row = decay(ts, one_sided, ts, mid, seed=0, draws=100).rows[0]
        assert row.same_sign.value is None
        assert row.rank_ic.value is not None


def test_decay_is_the_same_for_the_same_seed() -> None:
    rng = np.random.default_rng(4)
    ts = MINUTE * np.arange(2000)
    mid = 100 + rng.normal(size=2000).cumsum() * 0.01
    signal = rng.normal(size=2000)

    def rows(seed: int) -> tuple[DecayRow, ...]:
        return decay(ts, signal, ts, mid, seed=seed).rows

    assert rows(5) == rows(5)
    assert rows(5) != rows(6)
    with pytest.raises(DecayError, match="one length"):
        decay(ts, signal[1:], ts, mid, seed=5)


def test_too_few_blocks_or_a_constant_signal_have_no_interval() -> None:
    ts = MINUTE * np.arange(100)
    mid = 100 + np.random.default_rng(6).normal(size=100).cumsum()
    short = decay(ts, np.sin(np.arange(100)), ts, mid, seed=0).rows[0]
    assert short.blocks < 20
    assert short.rank_ic.value is not None
    assert short.rank_ic.low is None
    flat = decay(ts, np.ones(100), ts, mid, seed=0).rows[0]
    assert flat.linear_ic.value is None
    assert flat.rank_ic.value is None
    none = decay(ts + 10**15, np.ones(100), ts, mid, seed=0).rows[0]
    assert (none.observations, none.same_sign.value) == (0, None)


def test_regimes_are_those_known_at_the_start() -> None:
    regime_ts = [0, 100, 200]
    table = split_by_regime(
        "spread", [99, 100, 150, 201, 999], [1.0, 2.0, -3.0, 4.0, 5.0], regime_ts,
        [1.0, 2.0, 3.0], max_age_ns=100, edges=[1.5, 2.5],
    )  # fmt: skip
    # 201 lies after the last regime value, which was known then; at 999 it is too old.
    assert [(r.count, r.total, r.share_positive) for r in table.rows] == [
        (1, 1.0, 1.0), (2, -1.0, 0.5), (1, 4.0, 1.0),
    ]  # fmt: skip
    assert table.unknown == 1
    assert not table.edges_from_sample
    assert (table.rows[0].low, table.rows[-1].high) == (-math.inf, math.inf)


@given(st.lists(st.tuples(st.floats(-9, 9), st.integers(0, 5)), min_size=1, max_size=50))
def test_regimes_lose_no_result(pairs: list[tuple[float, int]]) -> None:
    results = [p[0] for p in pairs]
    ts = list(range(len(pairs)))
    table = split_by_regime("toxicity", ts, results, ts, [float(p[1]) for p in pairs], max_age_ns=1)
    assert table.edges_from_sample
    assert sum(r.count for r in table.rows) + table.unknown == len(pairs)
    assert sum(r.total for r in table.rows) == pytest.approx(sum(results), abs=1e-9)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40))
def test_no_regime_of_the_sample_is_empty(states: list[int]) -> None:
    ts = list(range(len(states)))
    table = split_by_regime("x", ts, [1.0] * len(ts), ts, [float(s) for s in states], max_age_ns=1)
    assert min(row.count for row in table.rows) > 0
    assert len(table.rows) == min(len(table.rows), len(set(states)))
    assert (len(table.rows) == 1) == (table.constant is not None) == (len(set(states)) == 1)


def test_regime_refusals() -> None:
    for wrong in ({"edges": [2.0, 1.0]}, {"quantiles": [1.5]}):
        with pytest.raises(RegimeError):
            split_by_regime("x", [1], [1.0], [1], [1.0], max_age_ns=1, **wrong)  # type: ignore[arg-type]


def test_folds_chain_by_compounding_and_days_between_are_absent() -> None:
    a = DailyReturns(DAY_NS * np.array([1, 2]), np.array([0.1, 0.1]))
    b = DailyReturns(DAY_NS * np.array([7, 8]), np.array([-0.5, 1.0]))
    curve = chain([a, b], starting_equity=1000.0)
    assert curve.equity == pytest.approx([1100, 1210, 605, 1210])
    assert (curve.day_ns // DAY_NS).tolist() == [1, 2, 7, 8]
    assert curve.fold.tolist() == [0, 0, 1, 1]
    with pytest.raises(OutOfSampleError, match=r"1970-01-02 after 1970-01-09"):
        chain([b, a], starting_equity=1.0)
    with pytest.raises(OutOfSampleError, match="at least one"):
        chain([], starting_equity=1.0)


def test_efficiency_is_undefined_when_training_promised_nothing() -> None:
    assert walk_forward_efficiency([0.01, 0.0], [0.02, 0.0]) == pytest.approx(0.5)
    assert walk_forward_efficiency([-0.01], [0.02]) == pytest.approx(-0.5)
    assert walk_forward_efficiency([0.01], [0.0]) is None
    assert walk_forward_efficiency([0.01], [-0.02]) is None
    with pytest.raises(OutOfSampleError):
        walk_forward_efficiency([0.01], [])


def test_stability_of_parameters() -> None:
    chosen = [{"n": 10, "kind": "a"}, {"n": 30, "kind": "a"}, {"n": 10, "kind": "b"}]
    n, kind = parameter_stability(chosen, {"n": [10, 20, 30], "kind": ["a", "b"]})
    assert (n.values, n.distinct, n.modal_value, n.changes, n.mean_step) == (
        (10, 30, 10), 2, 10, 2, 1.0,
    )  # fmt: skip
    assert (kind.modal_value, kind.changes, kind.mean_step) == ("a", 1, None)
