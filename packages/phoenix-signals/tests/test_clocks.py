"""Bucket clocks: conservation, boundaries, gaps."""

from __future__ import annotations

import numpy as np
import pytest
import real_market
from hypothesis import given, settings
from hypothesis import strategies as st
from phoenix_signals import batch
from phoenix_signals.clocks import BUY, SELL, NotionalClock, TimeClock, VolumeClock
from phoenix_signals.conformance import compare, run, run_batch
from phoenix_signals.errors import InputError, ParameterError

trades = st.lists(
    st.tuples(st.integers(0, 30), st.integers(1, 40), st.sampled_from([BUY, SELL])),
    min_size=1,
    max_size=60,
)


def columns(rows):
    gaps, sizes, sides = zip(*rows, strict=True)
    return {
        "ts_ns": np.cumsum(gaps).tolist(), "size_raw": list(sizes), "side": list(sides),
    }  # fmt: skip


def closed_by(clock, inputs):
    return [b for row in zip(*inputs.values(), strict=True) for b in clock.update(*row)]


@given(trades, st.integers(1, 70), st.sampled_from(["whole", "split"]))
@settings(max_examples=60)
def test_amounts_are_conserved_to_the_last_lot(rows, bucket_raw, mode):
    inputs = columns(rows)
    clock = VolumeClock(bucket_raw, mode)
    buckets = closed_by(clock, inputs)
    open_buy, open_sell = clock._buy, clock._sell
    for side, name, rest in ((BUY, "buy_raw", open_buy), (SELL, "sell_raw", open_sell)):
        traded = sum(
            q for q, d in zip(inputs["size_raw"], inputs["side"], strict=True) if d == side
        )
        assert sum(getattr(b, name) for b in buckets) + rest == traded
    assert sum(b.trades for b in buckets) + clock._trades == len(rows) + 0 * open_buy
    for bucket in buckets:
        total = bucket.buy_raw + bucket.sell_raw
        assert total == bucket_raw if mode == "split" else total >= bucket_raw
        assert bucket.ts_open_ns <= bucket.ts_close_ns


@given(trades, st.integers(1, 70), st.integers(1, 40))
@settings(max_examples=60)
def test_a_split_bucket_equals_lot_by_lot_counting(rows, bucket_raw, max_gap_ns):
    """An independent count: every lot is a trade of its own."""
    inputs = columns(rows)
    got = [
        (b.buy_raw, b.sell_raw, b.ts_open_ns, b.ts_close_ns, b.valid)
        for b in closed_by(VolumeClock(bucket_raw, "split", max_gap_ns), inputs)
    ]
    lots = [
        (ts, side)
        for ts, size, side in zip(*inputs.values(), strict=True)
        for _ in range(size)
    ]  # fmt: skip
    expected, held = [], []
    for ts, side in lots:
        if held and ts - held[-1][0] > max_gap_ns:
            expected.append(summary(held, valid=False))
            held = []
        held.append((ts, side))
        if len(held) == bucket_raw:
            expected.append(summary(held, valid=True))
            held = []
    assert got == expected


def summary(lots, valid):
    sides = [side for _, side in lots]
    return sides.count(BUY), sides.count(SELL), lots[0][0], lots[-1][0], valid


@given(trades, st.integers(1, 25))
@settings(max_examples=60)
def test_time_buckets_tile_the_time(rows, interval_ns):
    inputs = columns(rows)
    buckets = closed_by(TimeClock(interval_ns), inputs)
    first = inputs["ts_ns"][0] // interval_ns
    last = inputs["ts_ns"][-1] // interval_ns
    assert [b.ts_open_ns for b in buckets] == [i * interval_ns for i in range(first, last)]
    for b in buckets:
        inside = [
            q * d
            for t, q, d in zip(*inputs.values(), strict=True)
            if b.ts_open_ns <= t < b.ts_close_ns
        ]
        assert b.buy_raw - b.sell_raw == sum(inside)
        assert b.buy_raw + b.sell_raw == sum(abs(q) for q in inside)
        assert b.trades == len(inside)
        assert b.valid


def test_an_event_on_the_boundary_belongs_to_the_next_bucket():
    clock = TimeClock(interval_ns=10)
    assert clock.update(0, 1, BUY) == ()
    (bucket,) = clock.update(10, 5, BUY)
    assert (bucket.ts_open_ns, bucket.ts_close_ns, bucket.buy_raw) == (0, 10, 1)


def test_quotes_close_time_buckets_without_adding_flow():
    clock = TimeClock(interval_ns=10)
    clock.update(1, 7, SELL)
    assert [b.sell_raw for b in clock.advance(35)] == [7, 0, 0]
    assert clock.advance(36) == ()


def test_behind_a_gap_the_partial_bucket_is_marked_and_nothing_is_made_up():
    clock = TimeClock(interval_ns=10, max_gap_ns=30)
    clock.update(1, 7, SELL)
    (bucket,) = clock.update(1_000_005, 1, BUY)
    assert (bucket.ts_close_ns, bucket.valid) == (10, False)
    (fresh,) = clock.advance(1_000_011)
    assert (fresh.ts_open_ns, fresh.buy_raw, fresh.valid) == (1_000_000, 1, True)
    volume = VolumeClock(10, max_gap_ns=30)
    volume.update(1, 7, SELL)
    (bucket,) = volume.update(50, 3, BUY)
    assert (bucket.sell_raw, bucket.ts_close_ns, bucket.valid) == (7, 1, False)
    (bucket,) = volume.update(51, 7, BUY)
    assert (bucket.buy_raw, bucket.sell_raw, bucket.valid) == (10, 0, True)


def test_whole_and_split_treat_the_filling_trade_differently():
    whole, split = VolumeClock(10), VolumeClock(10, "split")
    for clock in (whole, split):
        clock.update(1, 4, BUY)
    assert [(b.buy_raw, b.sell_raw) for b in whole.update(2, 30, SELL)] == [(4, 30)]
    assert [(b.buy_raw, b.sell_raw) for b in split.update(2, 30, SELL)] == [
        (4, 6),
        (0, 10),
        (0, 10),
    ]


@given(trades, st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_notional_buckets_do_not_depend_on_the_order_of_equal_times(rows, random):
    """Integer sums are exact in any order: total flows of one timestamp agree."""
    inputs = columns([(0, q, d) for _, q, d in rows])
    prices = [100 + q % 7 for q in inputs["size_raw"]]
    shuffled = list(zip(prices, inputs["size_raw"], inputs["side"], strict=True))
    random.shuffle(shuffled)
    clocks = [NotionalClock(10**12), NotionalClock(10**12)]
    for p, q, d in zip(prices, inputs["size_raw"], inputs["side"], strict=True):
        clocks[0].update(5, p, q, d)
    for p, q, d in shuffled:
        clocks[1].update(5, p, q, d)
    assert clocks[0].snapshot()["state"] == clocks[1].snapshot()["state"]


def test_more_than_63_bits_are_refused_in_batch_and_exact_in_a_stream():
    price, size = 10**18, 10**4
    clock = NotionalClock(bucket_raw=10**22, bucket_mode="split")
    assert clock.update(1, price, size - 1, BUY) == ()
    (bucket,) = clock.update(1, price, 1, SELL)
    assert (bucket.buy_raw, bucket.sell_raw) == (price * (size - 1), price)
    with pytest.raises(InputError, match="must fit in 63 bits"):
        batch.notional_clock([1], [price], [size], [BUY], bucket_raw=10**18)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: TimeClock(0), "interval_ns must be an integer of at least 1"),
        (lambda: TimeClock(100, max_gap_ns=50), "max_gap_ns must be at least interval_ns 100"),
        (lambda: VolumeClock(10, "half"), "bucket_mode must be one of whole, split"),
        (lambda: VolumeClock(1.5), "bucket_raw must be an integer"),
    ],
)
def test_impossible_parameters_are_refused(build, words):
    with pytest.raises(ParameterError, match=words):
        build()


def test_a_trade_without_an_aggressor_is_refused():
    with pytest.raises(InputError, match=r"side must be \+1"):
        VolumeClock(10).update(1, 5, 0)
    with pytest.raises(InputError, match=r"side must be \+1 or -1 \(was 0 at row 1\)"):
        batch.volume_clock([1, 2], [5, 5], [1, 0], bucket_raw=10)
    with pytest.raises(InputError, match=r"size_raw must hold integers"):
        batch.volume_clock([1, 2], [5.0, 5.0], [1, 1], bucket_raw=10)


@pytest.mark.real_data
@pytest.mark.parametrize("market", ["2023", "2024", "spot"])
def test_real_trades_give_the_same_buckets_in_a_stream_and_in_batch(market):
    trades = real_market.spot_day() if market == "spot" else real_market.capture(market)[1]
    rows = slice(0, 20_000)
    inputs = {n: getattr(trades, n)[rows].tolist() for n in ("ts_ns", "size_raw", "side")}
    total = sum(inputs["size_raw"])
    second = 1_000_000_000
    clocks = [
        VolumeClock(total // 300, "split"), VolumeClock(total // 300), TimeClock(second),
        TimeClock(second // 5, max_gap_ns=second // 2), VolumeClock(total // 50, "split", second // 2),
    ]  # fmt: skip
    for clock in clocks:
        streamed = run(clock, inputs)
        assert compare(streamed, run_batch(clock, inputs), 0.0) is None
        assert len(streamed["row"]) > 40
    inputs = {
        n: getattr(trades, n)[rows].tolist() for n in ("ts_ns", "price_raw", "size_raw", "side")
    }
    for mode in ("whole", "split"):
        clock = NotionalClock(total * inputs["price_raw"][0] // 300, mode)
        assert compare(run(clock, inputs), run_batch(clock, inputs), 0.0) is None
