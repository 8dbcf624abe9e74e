"""Liquidity: like with like, cumulative levels, and the quote that a trade met."""

from __future__ import annotations

import numpy as np
import pytest
import real_market
from hypothesis import given, settings
from hypothesis import strategies as st
from phoenix_signals import batch
from phoenix_signals.conformance import compare, run, run_batch
from phoenix_signals.errors import InputError, ParameterError
from phoenix_signals.liquidity import (
    DepthImbalance,
    DepthWithin,
    LiquidityDepletion,
    QuoteBefore,
    SourceAge,
    SpreadBps,
)

SNAPSHOT = ((-5.0, 500.0), (-1.0, 100.0), (1.0, 120.0), (5.0, 700.0))


def feed(signal, *snapshots):
    for ts_ns, rows in snapshots:
        for percentage, notional in rows:
            signal.update(ts_ns, percentage, notional)
    return signal.value


def test_slip_10_depletion_compares_one_level_with_itself():
    """Neighbouring rows of one snapshot are other levels, not the past."""
    assert feed(LiquidityDepletion(), (0, SNAPSHOT)) == 1.0
    halved = [(p, n / 2 if p < 0 else n * 3) for p, n in SNAPSHOT]
    assert feed(LiquidityDepletion(), (0, SNAPSHOT), (30, halved)) == 0.5
    assert feed(LiquidityDepletion(side="ask"), (0, SNAPSHOT), (30, halved)) == 3.0
    assert feed(LiquidityDepletion(5.0), (0, SNAPSHOT), (30, halved)) == 0.5


def test_depletion_is_one_behind_an_empty_level():
    empty = [(-1.0, 0.0), (1.0, 5.0)]
    assert feed(LiquidityDepletion(), (0, empty), (30, SNAPSHOT)) == 1.0
    assert feed(LiquidityDepletion(), (0, SNAPSHOT), (30, empty)) == 0.0
    assert feed(LiquidityDepletion(2.0), (0, SNAPSHOT)) is None


def test_depth_within_is_two_rows_and_never_a_sum_over_levels():
    """Rows are cumulative from the touch."""
    assert feed(DepthWithin(5.0), (0, SNAPSHOT)) == 1_200.0
    assert feed(DepthWithin(1.0), (0, SNAPSHOT)) == 220.0
    assert feed(DepthImbalance(5.0), (0, SNAPSHOT)) == pytest.approx(-1 / 6)


def test_half_a_snapshot_is_not_a_depth():
    half = [(-1.0, 70.0)]
    assert feed(DepthWithin(1.0), (0, half)) is None
    assert feed(DepthWithin(1.0), (0, SNAPSHOT), (30, half)) == 220.0
    assert feed(DepthWithin(1.0), (0, half), (30, [(1.0, 50.0)])) is None, "two times, no snapshot"


def test_nobi_changes_sign_in_the_mirror():
    there = feed(DepthImbalance(1.0), (0, SNAPSHOT))
    assert feed(DepthImbalance(1.0), (0, [(-p, n) for p, n in SNAPSHOT[::-1]])) == -there


def test_a_level_twice_in_one_snapshot_is_refused():
    with pytest.raises(InputError, match="must be unique"):
        feed(LiquidityDepletion(), (0, SNAPSHOT), (0, SNAPSHOT))
    with pytest.raises(InputError, match=r"again at row 1"):
        batch.ldr([0, 0], [-1.0, -1.0], [5.0, 5.0])
    with pytest.raises(InputError, match=r"percentage must lie in \[-100, 100\]"):
        LiquidityDepletion().update(0, 150.0, 1.0)
    with pytest.raises(ParameterError, match="depth_pct must be a finite number above 0"):
        LiquidityDepletion(-1.0)


def test_spread_of_a_locked_quote_is_zero():
    spread = SpreadBps()
    spread.update(100.0, 100.0)
    assert spread.value == 0.0


def test_age_counts_from_the_newest_record_of_the_source():
    age = SourceAge()
    seen = []
    for ts_ns, is_source in ((5, 0), (10, 1), (17, 0), (20, 1), (20, 0)):
        age.update(ts_ns, is_source)
        seen.append(age.value)
    assert seen == [None, 0, 7, 0, 0]


@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=20).map(sorted),
    st.lists(st.integers(0, 14), min_size=1, max_size=20).map(sorted),
    st.sampled_from(["strictly_before", "at_or_before"]),
)
@settings(max_examples=100)
def test_the_quote_before_a_trade_is_the_same_in_a_stream_and_in_batch(quotes, trades, rule):
    """A replay delivers quotes before trades of the same time."""
    stream = QuoteBefore(rule)
    events = sorted(
        [(ts, 0, i) for i, ts in enumerate(quotes)] + [(ts, 1, i) for i, ts in enumerate(trades)]
    )
    streamed = []
    for ts, kind, i in events:
        if kind == 0:
            stream.update(ts, i)
        else:
            met = stream.at(ts)
            streamed.append(-1 if met is None else met[1])
            if met is not None:
                assert met[0] < ts or (met[0] == ts and rule == "at_or_before")
    assert streamed == batch.quote_before(quotes, trades, impulse_quote=rule).tolist()


def test_a_trade_older_than_the_last_quote_is_refused():
    quotes = QuoteBefore()
    quotes.update(10, "q")
    with pytest.raises(InputError, match="must not go back"):
        quotes.at(9)


@pytest.mark.real_data
def test_real_snapshots_are_cumulative_and_give_the_same_in_a_stream_and_in_batch():
    table = real_market.book_depth()
    columns = {n: table[n].tolist() for n in ("ts_ns", "percentage", "notional")}
    for signal in (
        DepthWithin(5.0), DepthWithin(1.0), DepthImbalance(), LiquidityDepletion(),
        LiquidityDepletion(5.0, "ask"),
    ):  # fmt: skip
        assert compare(run(signal, columns), run_batch(signal, columns)) is None
    ldr = batch.ldr(*columns.values())[9::10]
    assert len(ldr) == 2_880
    assert 0.5 < np.median(ldr) < 1.5
    for level in (1.0, 2.0, 3.0, 4.0):
        inner, outer = (
            batch.depth_within(*columns.values(), depth_pct=pct)[9::10]
            for pct in (level, level + 1)
        )
        assert (inner <= outer).all(), "cumulative from the touch"


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("year", "rule", "at_or_through", "through"),
    [
        ("2023", "strictly_before", 0.9997, 0.24), ("2024", "strictly_before", 0.9998, 0.33),
        ("2023", "at_or_before", 0.900, 0.20), ("2024", "at_or_before", 0.685, 0.127),
    ],
)  # fmt: skip
def test_real_trades_print_at_or_through_the_quote_strictly_before(
    year, rule, at_or_through, through
):
    quotes, trades = real_market.capture(year)
    row = batch.quote_before(quotes.ts_ns, trades.ts_ns, impulse_quote=rule)
    known = row >= 0
    row, side, price = row[known], trades.side[known], trades.price_raw[known]
    beyond = np.where(side > 0, price - quotes.ask_raw[row], quotes.bid_raw[row] - price)
    assert (beyond >= 0).mean() == pytest.approx(at_or_through, abs=0.0005)
    assert (beyond > 0).mean() == pytest.approx(through, abs=0.005)
