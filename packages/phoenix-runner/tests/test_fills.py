"""Attribution adds up exactly, round trips cut where they should, mark-outs use what was known."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phoenix_runner.fills import (
    Attribution,
    Fill,
    FillError,
    FundingPayment,
    attribute,
    markouts,
    round_trips,
    sample_asof,
    trade_statistics,
)

D = Decimal
MARKS = {"A": D("101.25"), "B": D("0.0333")}


def positive(places: int) -> st.SearchStrategy[Decimal]:
    return st.decimals(D(1).scaleb(-places), D("99999"), places=places)


def some_fills(max_size: int = 30) -> st.SearchStrategy[list[Fill]]:
    one = st.builds(
        Fill,
        ts_ns=st.integers(0, 10**6),
        instrument_id=st.sampled_from(["A", "B"]),
        side=st.sampled_from([1, -1]),
        quantity=positive(3) | st.sampled_from([D(1), D(2)]),
        price=positive(4),
        reference_price=positive(5),
        commission=st.decimals(D("-5"), D("50"), places=8),
        maker=st.booleans(),
    )
    return st.lists(one, max_size=max_size).map(lambda f: sorted(f, key=lambda x: x.ts_ns))


payments = st.lists(
    st.builds(
        FundingPayment,
        ts_ns=st.integers(0, 10**6),
        instrument_id=st.sampled_from(["A", "B"]),
        amount=st.decimals(D("-9"), D("9"), places=8),
    ),
    max_size=10,
)


@given(some_fills(), payments)
def test_the_parts_add_up_to_the_cash_and_the_marked_position(
    fills: list[Fill], funding: list[FundingPayment]
) -> None:
    parts = attribute(fills, funding, MARKS)
    # The account's own arithmetic: cash paid and received, plus what is left at its mark.
    cash = sum((-f.side * f.quantity * f.price - f.commission for f in fills), D(0))
    cash += sum((p.amount for p in funding), D(0))
    left = {
        i: sum((f.side * f.quantity for f in fills if f.instrument_id == i), D(0)) for i in MARKS
    }
    equity_change = cash + sum(left[i] * MARKS[i] for i in MARKS)
    assert parts.net == equity_change
    assert parts.net == parts.gross + parts.fees + parts.spread + parts.funding
    assert parts.reconcile(equity_change) == 0


@given(some_fills(), payments)
def test_round_trips_carry_every_commission_and_the_whole_price_result(
    fills: list[Fill], funding: list[FundingPayment]
) -> None:
    trips = round_trips(fills, funding)
    assert sum((t.commission for t in trips), D(0)) == sum((f.commission for f in fills), D(0))
    closed = {t.instrument_id for t in trips} - {
        t.instrument_id for t in trips if t.exit_ns is None
    }
    for instrument in closed:
        own = [f for f in fills if f.instrument_id == instrument]
        earned = sum((t.pnl for t in trips if t.instrument_id == instrument), D(0))
        assert earned == sum((-f.side * f.quantity * f.price for f in own), D(0))
    for trip in trips:
        assert trip.exit_ns is None or trip.exit_ns >= trip.entry_ns


def test_worked_by_hand() -> None:
    # Buy 2 at 100.1 (mid 100.0), sell 1 at 102.9 (mid 103), 1 still open, marked at 101.25.
    fills = [
        Fill(1, "A", 1, D(2), D("100.1"), D(100), D("0.08")),
        Fill(5, "A", -1, D(1), D("102.9"), D(103), D("0.02"), maker=True),
    ]
    parts = attribute(fills, [FundingPayment(3, "A", D("-0.01"))], MARKS)
    assert parts == Attribution(
        gross=D("4.25"), fees=D("-0.10"), spread=D("-0.3"), funding=D("-0.01")
    )
    assert parts.net == D("3.84")
    [trip] = round_trips(fills, [FundingPayment(3, "A", D("-0.01"))])
    assert trip.exit_ns is None
    assert trip.pnl == D("2.8")
    assert trip.net == D("2.69")


def test_a_fill_through_zero_closes_one_trip_and_opens_the_next() -> None:
    fills = [
        Fill(1, "A", 1, D(1), D(100), D(100), D("0.03")),
        Fill(2, "A", -1, D(3), D(110), D(110), D("0.10")),
        Fill(4, "A", 1, D(2), D(105), D(105), D("0.04")),
    ]
    funding = [FundingPayment(t, "A", D(t)) for t in (1, 2, 3)]
    first, second = round_trips(fills, funding)
    assert (first.side, first.entry_ns, first.exit_ns, first.pnl) == (1, 1, 2, D(10))
    assert (second.side, second.entry_ns, second.exit_ns, second.pnl) == (-1, 2, 4, D(10))
    assert first.commission + second.commission == D("0.17")
    assert first.commission == D("0.0633333333333333")
    assert (first.funding, second.funding) == (D(2), D(3))
    assert (second.entry_price, second.exit_price) == (110.0, 105.0)


def test_statistics_of_round_trips() -> None:
    def trade(start: int, side: int, price_in: str, price_out: str) -> list[Fill]:
        return [
            Fill(start * 10**9, "A", side, D(1), D(price_in), D(price_in), D("0.5")),
            Fill((start + 60) * 10**9, "A", -side, D(1), D(price_out), D(price_out), D("0.5")),
        ]

    fills = [*trade(0, 1, "100", "104"), *trade(100, -1, "100", "98"), *trade(300, 1, "100", "99")]
    s = trade_statistics(round_trips([*fills, Fill(10**12, "A", 1, D(1), D(1), D(1))]))
    assert (s.count, s.still_open, s.long_count, s.wins) == (3, 1, 2, 2)
    assert s.win_rate == pytest.approx(2 / 3)
    assert s.profit_factor == 2.0  # 3 + 1 against 2
    assert (s.best, s.worst, s.mean_win, s.mean_loss) == (3.0, -2.0, 2.0, -2.0)
    assert (s.median_holding_s, s.longest_holding_s) == (60.0, 60.0)


def test_statistics_of_nothing_are_undefined() -> None:
    s = trade_statistics(())
    assert (s.count, s.win_rate, s.profit_factor, s.best, s.median_holding_s) == (
        0, None, None, None, None,
    )  # fmt: skip


def test_an_account_that_disagrees_is_an_error() -> None:
    parts = attribute([], [FundingPayment(0, "A", D("1.5"))])
    assert parts.reconcile(D("1.509")) == D("0.009")
    with pytest.raises(FillError, match=r"within 0\.01 \(was off by 0\.02\)"):
        parts.reconcile(D("1.52"))


def test_an_open_position_needs_a_mark() -> None:
    fills = [Fill(0, "A", 1, D(1), D(1), D(1))]
    with pytest.raises(FillError, match="final_marks must price"):
        attribute(fills)


@pytest.mark.parametrize("bad", [{"quantity": D(0)}, {"price": D(-1)}, {"side": 2}])
def test_impossible_fills_are_refused(bad: dict[str, object]) -> None:
    good = {"side": 1, "quantity": D(1), "price": D(1), "reference_price": D(1)}
    fill = Fill(0, "A", **{**good, **bad})  # type: ignore[arg-type]
    with pytest.raises(FillError):
        attribute([fill])
    with pytest.raises(FillError):
        round_trips([fill])


def test_markouts_are_signed_and_count_what_is_missing() -> None:
    found = markouts(
        [1, -1, 1], [100.0, 200.0, 50.0], {1: [100.1, 199.0, np.nan], 60: [np.nan] * 3}
    )
    assert found[0].mean_bps == pytest.approx((10 + 50) / 2)
    assert found[0].standard_error_bps == pytest.approx(np.std([10, 50], ddof=1) / 2**0.5)
    assert (found[0].count, found[0].missing) == (2, 1)
    assert (found[1].count, found[1].mean_bps, found[1].standard_error_bps) == (0, None, None)


def test_sampling_takes_the_last_known_value_never_a_later_one() -> None:
    ts, values = [10, 20, 20, 30], [1.0, 2.0, 3.0, 4.0]
    at = [9, 10, 19, 20, 25, 30, 35, 36]
    found = sample_asof(ts, values, at, max_age_ns=5)
    assert np.array_equal(found, [np.nan, 1.0, np.nan, 3.0, 3.0, 4.0, 4.0, np.nan], equal_nan=True)
    assert np.isnan(sample_asof([], [], at, max_age_ns=5)).all()
    with pytest.raises(FillError, match="must not decrease"):
        sample_asof([2, 1], [0.0, 0.0], [3], max_age_ns=1)
