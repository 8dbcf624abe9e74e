"""The order cycle under stress: random venue behaviour, and the slips it must not repeat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from phoenix_strategies.errors import StrategyError
from phoenix_strategies.intents import BUY, SELL, Cancel, Intent, Limit, Market
from phoenix_strategies.order_ledger import OrderLedger, OrderStatus
from phoenix_strategies.trade_cycle import Decision, Phase, TradeCycle

D = Decimal
LOT = D("0.001")


@dataclass
class VenueOrder:
    """An order as the venue has it: the truth that the ledger hears about by events."""

    side: int
    leaves: Decimal
    reduce_only: bool
    post_only: bool
    accepted: bool = False
    cancel_requested: bool = False


class CycleAgainstAVenue(RuleBasedStateMachine):
    """The venue accepts, fills in parts, rejects, expires, loses races with cancels, in any order.

    Between a cancel request and its confirmation anything can happen. With `late`, events reach the
    ledger only when they are delivered, in their order, while venue and strategy go on.
    """

    @initialize(late=st.booleans())
    def begin(self, late: bool) -> None:
        self.late = late
        self.mail: list[Callable[[], object]] = []
        self.ledger = OrderLedger()
        self.cycle = TradeCycle(self.ledger)
        self.now = 0
        self.ids = 0
        self.venue: dict[str, VenueOrder] = {}
        self.position = D(0)
        self.entered = D(0)  # the quantity the present cycle may hold at most
        self.stopping = False

    # What the strategy does ---------------------------------------------------------------------

    def send(self, intents: Sequence[Intent]) -> None:
        for intent in intents:
            if isinstance(intent, Cancel):
                order = self.ledger.get(intent.client_order_id)
                assert order is not None, "a cancel names an open order"
                assert not order.cancel_sent, "and is asked for once"
                order.cancel_sent = True
                at_venue = self.venue.get(intent.client_order_id)
                if at_venue is not None:
                    at_venue.cancel_requested = True
                else:  # it was gone already, and the news of that is on its way
                    assert self.late
                    self.refuse_cancel(intent.client_order_id)
                continue
            self.ids += 1
            order_id = f"O-{self.ids}"
            post_only = isinstance(intent, Limit) and intent.post_only
            price = intent.price if isinstance(intent, Limit) else None
            self.ledger.sent(
                order_id, intent.purpose, intent.side, intent.quantity,
                intent.reduce_only, price, self.now,
            )  # fmt: skip
            self.venue[order_id] = VenueOrder(
                intent.side, intent.quantity, intent.reduce_only, post_only
            )

    def tell(self, *events: Callable[[], object]) -> None:
        """Send events of the venue on their way; at once unless they come late."""
        self.mail += events
        if not self.late:
            self.deliver(len(self.mail))

    def deliver(self, count: int) -> None:
        for _ in range(min(count, len(self.mail))):
            self.mail.pop(0)()
            self.send(self.cycle.advance(self.now))

    @precondition(lambda self: self.mail)
    @rule(count=st.integers(1, 3))
    def events_arrive(self, count: int) -> None:
        self.deliver(count)

    @rule(
        side=st.sampled_from([BUY, SELL]),
        lots=st.integers(1, 20),
        tranches=st.integers(1, 3),
        passive=st.booleans(),
    )
    def enter(self, side: int, lots: int, tranches: int, passive: bool) -> None:
        was_flat = self.position == 0 and not self.venue
        orders = [
            Limit(side, lots * LOT, D(100) - i, "entry") if passive
            else Market(side, lots * LOT, "entry")
            for i in range(tranches)
        ]  # fmt: skip
        intents = self.cycle.enter(orders)
        assert was_flat or not intents, "an entry leaves only when flat at the venue too"
        assert intents or not was_flat or self.mail, "and leaves when flat and everything is known"
        if intents:
            self.entered = sum((o.quantity for o in orders), D(0))
        self.send(intents)

    @rule(lots=st.integers(0, 30))
    def reduce(self, lots: int) -> None:
        self.send(self.cycle.reduce(lots * LOT))

    @rule()
    def leave(self) -> None:
        self.send(self.cycle.leave("stop", self.now))

    @rule()
    def cancel_entries(self) -> None:
        self.send(self.cycle.cancel_entries())

    @rule(ns=st.integers(0, 3))
    def market_event(self, ns: int) -> None:
        self.now += ns
        self.send(self.cycle.advance(self.now))

    # What the venue does ------------------------------------------------------------------------

    def open_ids(self) -> list[str]:
        return sorted(self.venue)

    def finish(self, order_id: str, status: OrderStatus) -> None:
        del self.venue[order_id]
        self.tell(lambda: self.ledger.closed(order_id, status))

    def refuse_cancel(self, order_id: str) -> None:
        self.tell(lambda: self.ledger.cancel_rejected(order_id))

    @precondition(lambda self: self.venue)
    @rule(data=st.data())
    def accept(self, data: st.DataObject) -> None:
        order_id = data.draw(st.sampled_from(self.open_ids()))
        self.venue[order_id].accepted = True
        self.tell(lambda: self.ledger.accepted(order_id))

    @precondition(lambda self: self.venue)
    @rule(data=st.data())
    def fill(self, data: st.DataObject) -> None:
        order_id = data.draw(st.sampled_from(self.open_ids()))
        order = self.venue[order_id]
        most = order.leaves
        if order.reduce_only:
            against = max(-order.side * self.position, D(0))
            most = min(most, against)
            if most == 0:  # nothing left to reduce: the venue refuses
                self.finish(order_id, OrderStatus.REJECTED)
                return
        quantity = data.draw(st.integers(1, int(most / LOT))) * LOT
        order.leaves -= quantity
        self.position += order.side * quantity
        if order.leaves == 0:
            del self.venue[order_id]
        self.tell(lambda: self.ledger.filled(order_id, order.side, quantity))

    @precondition(lambda self: any(not o.accepted for o in self.venue.values()))
    @rule(data=st.data())
    def reject(self, data: st.DataObject) -> None:
        pending = [i for i in self.open_ids() if not self.venue[i].accepted]
        self.finish(data.draw(st.sampled_from(pending)), OrderStatus.REJECTED)

    @precondition(lambda self: any(o.post_only for o in self.venue.values()))
    @rule(data=st.data())
    def reject_post_only_or_expire(self, data: st.DataObject) -> None:
        passive = [i for i in self.open_ids() if self.venue[i].post_only]
        self.finish(data.draw(st.sampled_from(passive)), OrderStatus.EXPIRED)

    @precondition(lambda self: any(o.cancel_requested for o in self.venue.values()))
    @rule(data=st.data(), confirmed=st.booleans())
    def answer_cancel(self, data: st.DataObject, confirmed: bool) -> None:
        asked = [i for i in self.open_ids() if self.venue[i].cancel_requested]
        order_id = data.draw(st.sampled_from(asked))
        if confirmed:
            self.finish(order_id, OrderStatus.CANCELED)
            return
        self.venue[order_id].cancel_requested = False
        self.refuse_cancel(order_id)

    @rule(number=st.integers(1, 30))
    def repeated_event_of_a_closed_order(self, number: int) -> None:
        order_id = f"O-{number}"
        if order_id not in self.venue and not self.mail:
            assert self.ledger.closed(order_id, OrderStatus.CANCELED) is None
            assert self.ledger.accepted(order_id) is None
            assert self.ledger.cancel_rejected(order_id) is None
            self.send(self.cycle.advance(self.now))

    # What must hold -----------------------------------------------------------------------------

    @invariant()
    def ledger_and_venue_agree(self) -> None:
        if not hasattr(self, "ledger"):
            return
        assert abs(self.position) <= self.entered, "never more than one entry's size"
        if self.mail:
            return
        assert self.ledger.position == self.position
        books = {o.client_order_id: o for o in self.ledger.orders()}
        assert set(books) == set(self.venue), "no orphan order on either side"
        for order_id, order in self.venue.items():
            assert books[order_id].leaves == order.leaves
        could_hold = abs(self.position) + sum(
            (o.leaves for o in self.venue.values() if not o.reduce_only), D(0)
        )
        assert could_hold <= self.entered
        closing = sum((o.leaves for o in self.venue.values() if o.reduce_only), D(0))
        assert closing <= abs(self.position), "closing orders never exceed what is held"
        match self.cycle.phase:
            case Phase.FLAT:
                assert self.position == 0
                assert not self.venue
            case Phase.ENTERING:
                assert any(not o.reduce_only for o in self.venue.values())
            case Phase.HOLDING:
                assert self.position != 0
            case Phase.LEAVING:
                assert self.position != 0 or self.venue

    def teardown(self) -> None:
        if not hasattr(self, "ledger"):
            return
        # Stop: with a venue that answers, nothing is left open.
        self.send(self.cycle.leave("stop", self.now))
        for _ in range(50):
            self.now += 1
            for order_id in self.open_ids():
                order = self.venue.get(order_id)
                if order is None:
                    continue
                if order.reduce_only and self.position * order.side < 0:
                    quantity = min(order.leaves, abs(self.position))
                    order.leaves -= quantity
                    self.position += order.side * quantity
                    if order.leaves == 0:
                        del self.venue[order_id]
                    self.tell(partial(self.ledger.filled, order_id, order.side, quantity))
                else:
                    self.finish(order_id, OrderStatus.CANCELED)
            self.deliver(len(self.mail))
            self.send(self.cycle.advance(self.now))
        assert self.position == 0
        assert not self.venue
        assert self.cycle.phase is Phase.FLAT


CycleAgainstAVenue.TestCase.settings = settings(
    max_examples=150, stateful_step_count=50, deadline=None
)
TestCycleAgainstAVenue = CycleAgainstAVenue.TestCase


def entered(quantity: str = "0.010") -> tuple[OrderLedger, TradeCycle]:
    ledger = OrderLedger()
    ledger.sent("O-1", "entry", BUY, D(quantity), False, D(100), 0)
    return ledger, TradeCycle(ledger)


def test_slip_19_a_partial_fill_does_not_let_a_second_entry_out() -> None:
    ledger, cycle = entered()
    ledger.filled("O-1", BUY, D("0.004"))
    assert cycle.phase is Phase.ENTERING
    assert cycle.enter([Market(BUY, D("0.010"), "entry")]) == []


def test_slip_19_orders_are_known_by_client_order_id_only() -> None:
    ledger, cycle = entered()
    assert ledger.closed("VENUE-7", OrderStatus.CANCELED) is None  # a venue id is a stranger
    assert cycle.phase is Phase.ENTERING
    assert cycle.cancel_entries() == [Cancel("O-1")]


def test_slip_20_a_reversal_waits_for_the_close_to_be_confirmed() -> None:
    ledger, cycle = entered()
    ledger.filled("O-1", BUY, D("0.010"))
    (close,) = cycle.leave("reversal", now=1)
    assert close == Market(SELL, D("0.010"), "exit", reduce_only=True)
    ledger.sent("O-2", "exit", SELL, D("0.010"), True, None, 1)
    assert cycle.enter([Market(SELL, D("0.010"), "entry")]) == []
    ledger.filled("O-2", SELL, D("0.006"))
    assert cycle.enter([Market(SELL, D("0.010"), "entry")]) == []
    ledger.filled("O-2", SELL, D("0.004"))
    assert cycle.advance(2) == []
    assert cycle.enter([Market(SELL, D("0.010"), "entry")]) != []


def test_a_fill_after_the_cancel_request_is_closed_too() -> None:
    ledger, cycle = entered()
    ledger.filled("O-1", BUY, D("0.004"))
    cancel, close = cycle.leave("stop", now=1)
    assert (cancel, close.quantity) == (Cancel("O-1"), D("0.004"))
    order = ledger.get("O-1")
    assert order is not None
    order.cancel_sent = True
    ledger.sent("O-2", "exit", SELL, D("0.004"), True, None, 1)
    ledger.filled("O-1", BUY, D("0.001"))  # faster than the cancel
    (more,) = cycle.advance(2)
    assert more == Market(SELL, D("0.001"), "exit", reduce_only=True)


def test_a_rejected_close_is_sent_again_later_not_in_a_loop() -> None:
    ledger, cycle = entered()
    ledger.filled("O-1", BUY, D("0.010"))
    assert len(cycle.leave("stop", now=1)) == 1
    ledger.sent("O-2", "exit", SELL, D("0.010"), True, None, 1)
    ledger.closed("O-2", OrderStatus.REJECTED)
    assert cycle.advance(1) == []
    assert len(cycle.advance(2)) == 1


def test_reducing_never_takes_more_than_is_held_and_goes_once() -> None:
    ledger, cycle = entered()
    assert cycle.reduce(D("0.005")) == []  # nothing held yet
    ledger.filled("O-1", BUY, D("0.004"))
    assert cycle.reduce(D("0.001")) == [
        Cancel("O-1"), Market(SELL, D("0.001"), "reduce", reduce_only=True),
    ]  # fmt: skip
    ledger.filled("O-1", BUY, D("0.006"))
    (cut,) = cycle.reduce(D("0.025"))
    assert cut.quantity == D("0.010")
    ledger.sent("O-2", "reduce", SELL, D("0.005"), True, None, 1)
    assert cycle.reduce(D("0.005")) == []


def test_leaving_while_flat_is_nothing() -> None:
    cycle = TradeCycle(OrderLedger())
    assert cycle.leave("stop", now=0) == []
    assert cycle.phase is Phase.FLAT


def test_a_client_order_id_is_used_once() -> None:
    ledger, _ = entered()
    with pytest.raises(StrategyError, match="O-1"):
        ledger.sent("O-1", "entry", BUY, D(1), False, None, 0)


def test_a_decision_reads_as_a_sentence() -> None:
    assert str(Decision("enter", "lpi 0.80 over 0.75", side=1)) == "enter long: lpi 0.80 over 0.75"
    assert str(Decision("wait", "no signal")) == "wait: no signal"
