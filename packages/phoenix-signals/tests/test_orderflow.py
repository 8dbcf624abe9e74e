"""Order flow: the stylised book, mirror symmetry, brute force, and the micro-price as a forecast."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import real_market
from hypothesis import given, settings
from hypothesis import strategies as st
from phoenix_signals import batch
from phoenix_signals.conformance import compare, random_inputs, run, run_batch
from phoenix_signals.errors import InputError, ParameterError
from phoenix_signals.orderflow import (
    MicroPrice,
    MicroPriceTable,
    OrderFlowImbalance,
    OrderFlowImbalanceSum,
    QueueImbalance,
    SignedVolumeImbalance,
    WeightedMid,
)


def e_of(before, after):
    """One update's e, from the words of the paper, side by side."""
    bid, ask, bid_size, ask_size = after
    bid0, ask0, bid_size0, ask_size0 = before
    if bid > bid0:
        demand = bid_size
    elif bid == bid0:
        demand = bid_size - bid_size0
    else:
        demand = -bid_size0
    if ask < ask0:
        supply = ask_size
    elif ask == ask0:
        supply = ask_size - ask_size0
    else:
        supply = -ask_size0
    return demand - supply


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ((100, 102, 8, 7), 3),  # three join the bid
        ((100, 102, 5, 9), -2),  # two join the ask
        ((101, 102, 4, 7), 4),  # the bid rises: its whole queue is new demand
        ((99, 102, 6, 7), -5),  # the bid falls: the old queue is gone
        ((100, 101, 5, 3), -3),  # the ask falls: its whole queue is new supply
        ((100, 103, 5, 9), 7),  # the ask rises: the old supply is gone
        ((101, 103, 2, 9), 9),  # both rise
        ((99, 101, 2, 4), -9),  # both fall
    ],
)
def test_slip_12_the_ask_side_of_ofi_has_its_sign(after, expected):
    """A widely copied version has the ask side reversed on ask moves."""
    ofi = OrderFlowImbalance()
    ofi.update(100, 102, 5, 7)
    assert ofi.value is None
    ofi.update(*after)
    assert ofi.value == expected == e_of((100, 102, 5, 7), after)


def test_ofi_equals_its_transcription_on_random_quotes():
    rows = list(zip(*random_inputs(OrderFlowImbalance(), 300, seed=1).values(), strict=True))
    got = batch.ofi(*zip(*rows, strict=True))
    assert got[1:].tolist() == [e_of(a, b) for a, b in itertools.pairwise(rows)]


def mirrored(rows):
    """The same market seen by a seller: prices negated around a level, sides exchanged."""
    return [(200_000 - a, 200_000 - b, size_a, size_b) for b, a, size_b, size_a in rows]


def test_directional_indices_change_sign_in_the_mirror():
    rows = list(zip(*random_inputs(OrderFlowImbalance(), 200, seed=2).values(), strict=True))
    there, back = (np.array(r, dtype=np.int64).T for r in (rows, mirrored(rows)))
    np.testing.assert_array_equal(batch.ofi(*there), -batch.ofi(*back))
    np.testing.assert_allclose(batch.obi(*there[2:]), -batch.obi(*back[2:]), rtol=1e-15)
    mids = batch.weighted_mid(*there)
    np.testing.assert_allclose(mids, 200_000 - batch.weighted_mid(*back), rtol=1e-12)
    inputs = random_inputs(SignedVolumeImbalance(1), 200, seed=3)
    values = list(inputs.values())
    other = [values[0], values[1], [-d for d in values[2]]]
    np.testing.assert_array_equal(
        batch.svi(*values, window_ns=10**9), -batch.svi(*other, window_ns=10**9)
    )
    flows = np.array([[3, 5, 0], [1, 0, 0]])
    np.testing.assert_allclose(batch.fsi(*flows), 1 - batch.fsi(*flows[::-1]))


def stylised_book(seed, depth, events):
    """Cont, Kukanov, Stoikov's book: depth D on every level behind the touch, unit events at it.

    An empty queue uncovers the next level, which holds D; when a queue holds D, the next order that
    joins opens a new level in front of it.
    """
    rng = np.random.default_rng(seed)
    bid, ask, bid_size, ask_size = 10_000, 10_500, depth, depth
    quotes = [(bid, ask, bid_size, ask_size)]
    flows = [0, 0]
    for event in rng.integers(0, 4, events):
        step = 1 if event % 2 else -1
        if event < 2:
            bid_size += step
            flows[0] += step
            if bid_size == 0:
                bid, bid_size = bid - 1, depth
            elif bid_size > depth:
                bid, bid_size = bid + 1, 1
        else:
            ask_size += step
            flows[1] += step
            if ask_size == 0:
                ask, ask_size = ask + 1, depth
            elif ask_size > depth:
                ask, ask_size = ask - 1, 1
        quotes.append((bid, ask, bid_size, ask_size))
    return quotes, flows


@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(1, 400))
@settings(max_examples=60)
def test_in_the_stylised_book_the_price_moves_by_ofi_over_twice_the_depth(seed, depth, events):
    """Cont, Kukanov, Stoikov (2014), section 2: |dP - OFI/(2D)| < 1 tick."""
    quotes, (bid_flow, ask_flow) = stylised_book(seed, depth, events)
    total = int(np.nansum(batch.ofi(*np.array(quotes).T)))
    assert total == bid_flow - ask_flow
    move = (quotes[-1][0] + quotes[-1][1] - quotes[0][0] - quotes[0][1]) / 2
    assert abs(move - total / (2 * depth)) < 1
    if bid_flow % depth == 0 and ask_flow % depth == 0:
        assert move == total / (2 * depth)


@pytest.mark.parametrize("window_ns", [1, 150_000_000, 2_000_000_000])
def test_window_sums_equal_brute_force(window_ns):
    trades = random_inputs(SignedVolumeImbalance(1), 250, seed=4)
    ts, size, side = (np.array(v) for v in trades.values())
    got = batch.svi(*trades.values(), window_ns=window_ns)
    quotes = random_inputs(OrderFlowImbalanceSum(1), 250, seed=4)
    sums = batch.ofi_sum(*quotes.values(), window_ns=window_ns)
    flows = np.nan_to_num(batch.ofi(*list(quotes.values())[1:]))
    for i in range(250):
        inside = (ts > ts[i] - window_ns) & (np.arange(250) <= i)
        if ts[i] - window_ns < ts[0]:
            assert np.isnan(got[i])
            assert np.isnan(sums[i])
        else:
            assert got[i] == pytest.approx((side * size)[inside].sum() / size[inside].sum())
            assert sums[i] == flows[inside].sum()


def test_weighted_mid_is_the_mid_shifted_by_the_queue_imbalance():
    rows = list(zip(*random_inputs(WeightedMid(), 200, seed=5).values(), strict=True))
    for bid, ask, bid_size, ask_size in rows:
        mid, obi = WeightedMid(), QueueImbalance()
        mid.update(bid, ask, bid_size, ask_size)
        obi.update(bid_size, ask_size)
        tilt = 0.0 if obi.value is None else obi.value
        assert mid.value == pytest.approx((bid + ask) / 2 + tilt * (ask - bid) / 2, rel=1e-12)


def simulated_quotes(seed, rows):
    """A book whose queue imbalance decides the next move, and whose spread is one or two ticks."""
    rng = np.random.default_rng(seed)
    imbalance, wide, mid2 = 0.5, 0, 20_000
    quotes = []
    for u, v, w in rng.random((rows, 3)):
        imbalance = min(0.999, max(0.001, imbalance + 0.4 * (v - 0.5)))
        if w < 0.2:
            mid2 += 1 if u < imbalance else -1
            wide = 1 - wide
            imbalance = 0.5
        spread = 1 + (mid2 + 1) % 2  # an odd doubled mid needs an odd spread
        bid = (mid2 - spread) // 2
        quotes.append((bid, bid + spread, 1_000 * imbalance, 1_000 * (1 - imbalance)))
    return np.array(quotes).T


def test_micro_price_is_the_mid_expected_after_many_moves():
    """Fitted on one half, the table forecasts the mid 30 updates later on the other half."""
    quotes = simulated_quotes(6, 120_000)
    half = 60_000
    table = batch.fit_micro_price(
        *quotes[:, :half], tick_size=1.0, imbalance_cells=4, max_spread_ticks=2
    )
    test = quotes[:, half:]
    micro = batch.micro_price(*test, table=table)
    mid = (test[0] + test[1]) / 2
    ahead = mid[30:] - mid[:-30]
    shift = (micro - mid)[:-30]
    for value in np.unique(shift):
        moves = ahead[shift == value]
        error = moves.std() / math.sqrt(len(moves) / 30)  # windows of 30 overlap
        assert moves.mean() == pytest.approx(value, abs=4 * error)
    assert np.abs(shift).max() > 0.15
    assert np.mean((ahead - shift) ** 2) < np.mean(ahead**2) * 0.99
    for row in table.adjustment:
        assert list(row) == sorted(row), "more bids, higher price"
        np.testing.assert_allclose(row, [-x for x in row[::-1]], atol=1e-9)


def test_micro_price_looks_up_clipped_spreads_and_cells():
    table = MicroPriceTable(1.0, ((-0.1, 0.1), (-0.3, 0.3)))
    micro = MicroPrice(table)
    for quote, expected in (
        ((10.0, 11.0, 1.0, 3.0), 10.4), ((10.0, 12.0, 3.0, 1.0), 11.3),
        ((10.0, 15.0, 3.0, 1.0), 12.8), ((10.0, 10.0, 3.0, 0.0), 10.1),
        ((10.0, 11.0, 0.0, 0.0), 10.5),
    ):  # fmt: skip
        micro.update(*quote)
        assert micro.value == pytest.approx(expected)


def test_a_micro_price_that_does_not_exist_is_refused():
    still = np.array([[100.0] * 50, [101.0] * 50, [1.0] * 50, [2.0] * 50])
    with pytest.raises(InputError, match="must move from every state"):
        batch.fit_micro_price(*still, tick_size=1.0)
    with pytest.raises(ParameterError, match="rows of one length"):
        MicroPriceTable(1.0, ((0.0,), (0.0, 1.0)))
    with pytest.raises(ParameterError, match=r"table must be a MicroPriceTable .was None"):
        MicroPrice(None)


@pytest.mark.real_data
@pytest.mark.parametrize("year", ["2023", "2024"])
def test_real_quotes_give_the_same_in_a_stream_and_in_batch(year):
    quotes, trades = real_market.capture(year)
    rows = slice(0, 20_000)
    second = 1_000_000_000
    for signal, source in (
        (OrderFlowImbalance(), quotes), (OrderFlowImbalanceSum(second), quotes),
        (SignedVolumeImbalance(60 * second), trades),
    ):  # fmt: skip
        names = random_inputs(signal, 1, seed=0)
        inputs = {n: getattr(source, n)[rows].tolist() for n in names}
        assert compare(run(signal, inputs), run_batch(signal, inputs)) is None


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("year", "seconds", "expected"),
    [("2023", 1, 0.44), ("2023", 10, 0.55), ("2024", 1, 0.62), ("2024", 10, 0.86)],
)
def test_ofi_explains_real_mid_changes(year, seconds, expected):
    """R^2 of mid changes on OFI over the same interval; found, not tuned."""
    quotes, _ = real_market.capture(year)
    flow = np.nan_to_num(
        batch.ofi(quotes.bid_raw, quotes.ask_raw, quotes.bid_size_raw, quotes.ask_size_raw)
    )
    mid = (quotes.bid_raw + quotes.ask_raw) / 2
    interval = quotes.ts_ns // (seconds * 1_000_000_000)
    last = np.append(np.flatnonzero(np.diff(interval)), len(interval) - 1)
    flows = np.diff(np.cumsum(flow)[last])
    moves = np.diff(mid[last])
    assert np.corrcoef(flows, moves)[0, 1] ** 2 == pytest.approx(expected, abs=0.01)
