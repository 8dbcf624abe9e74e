"""VPIN: hand cases, exact splitting, both classifications against scipy."""

from __future__ import annotations

import numpy as np
import pytest
import real_market
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from phoenix_signals import batch, toxicity
from phoenix_signals.conformance import compare, run, run_batch
from phoenix_signals.errors import InputError, ParameterError
from phoenix_signals.toxicity import (
    BulkVpin,
    Vpin,
    average_day_bucket,
    buy_share,
    distribution_function,
    median_bar_bucket,
    normal_cdf,
)

trades = st.lists(st.tuples(st.integers(1, 40), st.sampled_from([1, -1])), min_size=1, max_size=80)


def vpin_of(rows, **parameters):
    vpin = Vpin(**parameters)
    for i, (size, side) in enumerate(rows):
        vpin.update(i, size, side)
    return vpin.value


def test_single_sided_buying_is_one():
    """Easley, Lopez de Prado, O'Hara (2012): four buckets' worth of buys."""
    assert vpin_of([(7, 1)] * 40, bucket_raw=70, window_buckets=4) == 1.0


def test_equal_buying_and_selling_that_tile_each_bucket_are_zero():
    assert vpin_of([(5, 1), (5, -1)] * 20, bucket_raw=20, window_buckets=4) == 0.0


def test_one_trade_may_fill_many_buckets():
    assert vpin_of([(80, 1)], bucket_raw=10, window_buckets=8) == 1.0
    assert vpin_of([(35, 1), (45, -1)], bucket_raw=10, window_buckets=8) == 7 / 8


@given(trades, st.integers(1, 60), st.integers(2, 6))
@settings(max_examples=80)
def test_vpin_equals_counting_lot_by_lot(rows, bucket_raw, n):
    lots = [side for size, side in rows for _ in range(size)]
    buckets = [
        abs(sum(lots[i : i + bucket_raw]))
        for i in range(0, len(lots) - bucket_raw + 1, bucket_raw)
    ]  # fmt: skip
    expected = sum(buckets[-n:]) / (n * bucket_raw) if len(buckets) >= n else None
    assert vpin_of(rows, bucket_raw=bucket_raw, window_buckets=n) == expected


@given(trades)
@settings(max_examples=40)
def test_vpin_is_the_same_in_the_mirror_and_in_other_lots(rows):
    base = vpin_of(rows, bucket_raw=25, window_buckets=3)
    assert vpin_of([(q, -d) for q, d in rows], bucket_raw=25, window_buckets=3) == base
    assert vpin_of([(q * 8, d) for q, d in rows], bucket_raw=200, window_buckets=3) == base


def test_behind_a_gap_the_partial_bucket_is_dropped():
    vpin = Vpin(bucket_raw=10, window_buckets=2, max_gap_ns=5)
    for ts_ns, size, side in ((0, 10, 1), (1, 9, 1), (100, 5, 1), (101, 5, -1)):
        vpin.update(ts_ns, size, side)
    assert vpin.value == 0.5, "buckets of 10 and of 5 - 5; the nine are gone"


@pytest.mark.parametrize(
    ("distribution", "dof"), [("normal", 1.0), ("student_t", 0.25), ("student_t", 4)]
)
def test_distribution_functions_equal_scipy(distribution, dof):
    x = np.concatenate([np.linspace(-8, 8, 101), [-37.0, 0.0]])
    reference = scipy.stats.norm.cdf(x) if distribution == "normal" else scipy.stats.t.cdf(x, dof)
    ours = [distribution_function(distribution, dof)(v) for v in x]
    np.testing.assert_allclose(ours, reference, rtol=1e-12)


@pytest.mark.parametrize("distribution", ["normal", "student_t"])
def test_bulk_vpin_equals_an_independent_transcription(distribution):
    """Bars are cut into single lots, each with its bar's share of buying."""
    rng = np.random.default_rng(1)
    closes = np.round(100 + np.cumsum(rng.standard_normal(150)), 1)
    volumes = rng.integers(0, 30, 150)
    n, window, bucket, dof = 4, 10, 45, 0.25
    changes = np.diff(closes)
    lots = []
    for i in range(window, len(changes)):
        z = changes[i] / np.std(changes[i - window : i])
        share = scipy.stats.norm.cdf(z) if distribution == "normal" else scipy.stats.t.cdf(z, dof)
        lots += [2 * share - 1] * int(volumes[i + 1])
    imbalances = [abs(sum(lots[i : i + bucket])) for i in range(0, len(lots) - bucket + 1, bucket)]
    vpin = BulkVpin(bucket, n, window, distribution, dof)
    for i in range(150):
        vpin.update(i, float(closes[i]), int(volumes[i]))
    assert vpin.value == pytest.approx(sum(imbalances[-n:]) / (n * bucket), rel=1e-9)
    assert len(imbalances) > 20


def test_bulk_classification_uses_the_past_bars_alone():
    """sigma of bar i comes from the bars before it: a huge move does not shrink its own z."""
    calm = [100.0, 100.1] * 20
    vpin = BulkVpin(10, 2, 20)
    for i, close in enumerate([*calm, 200.0, 200.0]):
        vpin.update(i, close, 20 if close == 200.0 else 0)
        if close == 200.0:
            assert vpin.value == pytest.approx(1.0), "both buckets of the bar are pure buying"
            break


def test_share_of_a_bar_without_volatility_follows_the_sign():
    assert [buy_share(c, 0.0, normal_cdf) for c in (-1.0, 0.0, 1.0)] == [0.0, 0.5, 1.0]


def test_student_t_without_scipy_says_what_to_install(monkeypatch):
    import builtins

    real_import = builtins.__import__

    def no_scipy(name, *args, **kwargs):
        if name.startswith("scipy"):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_scipy)
    with pytest.raises(ParameterError, match=r"install phoenix-signals\[student-t\]"):
        toxicity.BulkVpin(10, distribution="student_t")
    assert BulkVpin(10).value is None, "the normal distribution needs nothing"


def test_bucket_sizes_from_a_training_range():
    assert median_bar_bucket([1, 2, 3, 100]) == 2
    assert median_bar_bucket(np.array([0, 0, 5])) == 1, "a bucket holds at least one lot"
    assert average_day_bucket([50_000, 100_000]) == 1_500
    assert average_day_bucket([1_000], buckets_per_day=10) == 100
    for call in (median_bar_bucket, average_day_bucket):
        with pytest.raises(InputError, match="must hold at least one"):
            call([])


def test_impossible_parameters_are_refused():
    with pytest.raises(ParameterError, match="bucket_raw"):
        Vpin(0)
    with pytest.raises(ParameterError, match="distribution must be one of normal, student_t"):
        BulkVpin(10, distribution="cauchy")
    with pytest.raises(ParameterError, match="dof must be a finite number above 0"):
        BulkVpin(10, dof=0.0)


@pytest.mark.real_data
def test_a_real_day_gives_the_same_in_a_stream_and_in_batch():
    trades = real_market.spot_day()
    inputs = {
        "ts_ns": trades.ts_ns.tolist(),
        "amount_raw": (trades.price_raw * trades.size_raw).tolist(),
        "side": trades.side.tolist(),
    }
    vpin = Vpin(sum(inputs["amount_raw"]) // 200)
    assert compare(run(vpin, inputs), run_batch(vpin, inputs)) is None
    assert 0 < vpin.value < 1


@pytest.mark.real_data
def test_shifting_the_start_moves_vpin_little():
    """Cross-start standard deviation: about .015 on E-mini (the source); a day of BTC spot here."""
    trades = real_market.spot_day()
    bucket = int(trades.size_raw.sum()) // 500
    series = []
    for start in range(0, 20_000, 2_000):
        _, values = batch.vpin_of_buckets(
            batch.volume_clock(
                trades.ts_ns[start:], trades.size_raw[start:], trades.side[start:],
                bucket_raw=bucket, bucket_mode="split",
            ),
            bucket_raw=bucket,
        )  # fmt: skip
        series.append(values[-300:])
    spread = np.std(np.array(series), axis=0).mean()
    assert spread == pytest.approx(0.009, abs=0.001)


def test_messages_name_the_argument_that_was_given():
    for call in (
        lambda: Vpin(5).update(1, 0, 1),
        lambda: batch.vpin([1], [0], [1], bucket_raw=5),
        lambda: batch.time_clock([1], [0], [1], interval_ns=5),
    ):
        with pytest.raises(InputError, match="amount_raw must be"):
            call()
