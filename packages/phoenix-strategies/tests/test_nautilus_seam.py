"""The seam in a real engine: guard, warm-up, books, closing, latency."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from engine_market import INSTRUMENT, SECOND, START, engine_with, quote, quotes, run
from nautilus_trader.model import Quantity
from phoenix_strategies.intents import BUY, SELL, Cancel, Limit, Market
from phoenix_strategies.nautilus_seam import GuardedAlgorithm, PhoenixStrategy, SeamConfig
from phoenix_strategies.run_control import RunControl
from phoenix_strategies.settings import StrategySettings


@pytest.fixture(autouse=True)
def collected_here() -> Iterator[None]:
    """An exception that was kept holds its engine in a cycle: it dies in this thread, like the rest."""
    yield
    gc.collect()


class Scripted(PhoenixStrategy[StrategySettings]):
    """Does `script[n]` at the n-th quote."""

    script: dict[int, Any]

    def begin(self) -> None:
        self.seen: list[int] = []
        self.updates: list[tuple[str, str]] = []
        self.subscribe_quotes(self.instrument_id)

    def on_quote(self, tick: Any) -> None:
        self.seen.append(tick.ts_init)
        action = self.script.get(len(self.seen))
        if action is not None:
            action(self)

    def order_update(self, order: Any, event: Any) -> None:
        self.updates.append((type(event).__name__, "" if order is None else order.status))


def scripted(
    script: dict[int, Any], control: RunControl | None = None, **settings: Any
) -> Scripted:
    config = SeamConfig(
        "TEST-001", str(INSTRUMENT), StrategySettings(**settings), control or RunControl()
    )
    strategy = Scripted(config)
    strategy.script = script
    return strategy


def buy(strategy: Scripted) -> None:
    strategy.submit(Market(BUY, Decimal("0.1"), "entry"))


def boom(_strategy: Any) -> None:
    raise KeyError("planted")


def fills(engine: Any) -> list[tuple[str, str, str, int]]:
    report = engine.generate_fills_report()
    return [
        (row["order_side"], row["last_qty"], row["last_px"], row["ts_event"].value)
        for _, row in report.iterrows()
    ]


@pytest.mark.parametrize("error", [KeyError, SystemExit, KeyboardInterrupt, RecursionError])
def test_an_exception_in_a_callback_is_kept_and_ends_the_engine_at_that_event(error) -> None:
    control = RunControl()

    def fail(_strategy: Any) -> None:
        raise error("planted")

    strategy = scripted({3: fail}, control)
    engine = engine_with(strategy)
    run(engine, quotes(1000))
    assert control.error is not None
    assert isinstance(control.error.__cause__, error)
    assert str(control.error).startswith(f"Scripted.on_quote raised {error.__name__}")
    assert control.error.ts_ns == START + 2 * SECOND
    assert len(strategy.seen) == 3
    assert engine.iteration < 10


class FailsInBegin(PhoenixStrategy[StrategySettings]):
    def begin(self) -> None:
        boom(self)


class FailsInFinish(PhoenixStrategy[StrategySettings]):
    def finish(self) -> None:
        boom(self)


class FailsOnOrder(Scripted):
    def order_update(self, order: Any, event: Any) -> None:
        boom(self)


class FailsOnPosition(Scripted):
    def on_position_event(self, event: Any) -> None:
        boom(self)


class FailsOnTimer(Scripted):
    def begin(self) -> None:
        super().begin()
        self.at("alarm", START + 5 * SECOND, boom)


class FailsOnRepeatingTimer(Scripted):
    def begin(self) -> None:
        super().begin()
        self.every("tick", SECOND, START, boom)


class FailsOnTimeEvent(Scripted):
    def on_time_event(self, event: Any) -> None:
        boom(self)

    def begin(self) -> None:
        super().begin()
        self.clock.set_time_alert_ns("alarm", START + 5 * SECOND)


class FailsOnAnAlertOfItsOwn(Scripted):
    def begin(self) -> None:
        super().begin()
        self.clock.set_time_alert_ns("alarm", START + 5 * SECOND, boom)


class FailsOnATimerOfItsOwn(Scripted):
    def begin(self) -> None:
        super().begin()
        self.clock.set_timer_ns("tick", SECOND, START, callback=boom)


@pytest.mark.parametrize(
    "kind",
    [FailsInBegin, FailsInFinish, FailsOnOrder, FailsOnPosition, FailsOnTimer,
     FailsOnRepeatingTimer, FailsOnTimeEvent, FailsOnAnAlertOfItsOwn, FailsOnATimerOfItsOwn],
)  # fmt: skip
def test_every_kind_of_callback_is_guarded(kind: type[PhoenixStrategy[Any]]) -> None:
    control = RunControl()
    strategy = kind(SeamConfig("TEST-001", str(INSTRUMENT), StrategySettings(), control))
    if isinstance(strategy, Scripted):
        strategy.script = {2: buy}
    run(engine_with(strategy), quotes(20))
    assert control.error is not None
    assert isinstance(control.error.__cause__, KeyError)


def test_a_requested_stop_ends_the_engine_at_the_next_event() -> None:
    control = RunControl()
    strategy = scripted({5: lambda _: control.stop()}, control)
    engine = engine_with(strategy)
    run(engine, quotes(1000))
    assert len(strategy.seen) == 5
    assert engine.iteration < 10


def test_the_seams_own_callbacks_cannot_be_replaced() -> None:
    with pytest.raises(TypeError, match=r"must define begin\(\) instead of on_start\(\)"):
        type("Wrong", (PhoenixStrategy,), {"on_start": lambda self: None})


def test_warm_up_feeds_but_cannot_trade() -> None:
    control = RunControl(trading_start_ns=START + 5 * SECOND)
    results: list[Any] = []
    submit = lambda s: results.append(s.submit(Market(BUY, Decimal("0.1"), "entry")))  # noqa: E731
    strategy = scripted({1: submit, 5: submit, 6: submit}, control, close_positions_on_stop=False)
    engine = engine_with(strategy)
    run(engine, quotes(10))
    assert len(strategy.seen) == 10
    assert results[:2] == [None, None]
    assert results[2] is not None
    assert [ts for *_, ts in fills(engine)] == [START + 5 * SECOND]
    assert not control.refusals  # nothing is counted before trading starts


def test_ledger_follows_fills_and_the_position_is_closed_at_the_end() -> None:
    strategy = scripted({2: buy})
    engine = engine_with(strategy)
    run(engine, quotes(10))
    assert [(side, qty, px) for side, qty, px, _ in fills(engine)] == [
        ("BUY", "0.100", "100.10"),
        ("SELL", "0.100", "100.00"),
    ]
    assert engine.cache.positions_open() == []
    assert ("OrderFilled", "filled") in strategy.updates


def test_an_open_position_stays_open_if_so_configured() -> None:
    strategy = scripted({2: buy}, close_positions_on_stop=False)
    engine = engine_with(strategy)
    run(engine, quotes(10))
    assert len(fills(engine)) == 1
    assert strategy.ledger.position == Decimal("0.1")


def test_a_resting_order_is_canceled_by_its_id_and_at_the_end() -> None:
    ids: list[str] = []

    def rest(s: Scripted) -> None:
        ids.append(s.submit(Limit(BUY, Decimal("0.1"), Decimal("99.97"), "entry")))

    strategy = scripted({1: rest, 3: lambda s: s.submit(Cancel(ids[0])), 5: rest})
    engine = engine_with(strategy)
    run(engine, quotes(10))
    orders = engine.generate_orders_report()
    assert list(orders["status"]) == ["CANCELED", "CANCELED"]
    assert list(orders["price"]) == ["99.90", "99.90"]  # rounded away from the market
    assert fills(engine) == []


def test_a_partial_fill_keeps_the_entry_working() -> None:
    working: list[Any] = []

    def rest(s: Scripted) -> None:
        s.submit(Limit(BUY, Decimal("0.2"), Decimal("100.00"), "entry"))

    strategy = scripted({1: rest, 4: lambda s: working.append(s.ledger.working("entry").leaves)})
    engine = engine_with(strategy)
    ticks = quotes(6)
    ticks[2] = quote(START + 2 * SECOND, "99.80", "99.90", "0.050")  # trades through, small size
    run(engine, ticks)
    orders = engine.generate_orders_report()
    assert orders["filled_qty"].iloc[0] == "0.050"
    assert working == [Decimal("0.150")]
    assert engine.cache.positions_open() == []


def test_too_small_orders_are_refused_and_counted() -> None:
    control = RunControl()
    strategy = scripted(
        {1: lambda s: s.submit(Market(SELL, Decimal("0.0009"), "entry")),
         2: lambda s: s.submit(Market(SELL, Decimal("0.0499"), "entry"))},
        control,
    )  # fmt: skip
    engine = engine_with(strategy)
    run(engine, quotes(5))
    assert fills(engine) == []
    assert control.refusals == {("TEST-001", "zero_quantity"): 1, ("TEST-001", "min_notional"): 1}


def test_latency_is_exact_in_a_quiet_market() -> None:
    latency = 250_000_000
    control = RunControl(insert_latency_ns=latency)
    strategy = scripted({1: buy}, control, close_positions_on_stop=False)
    engine = engine_with(strategy, latency_ns=latency)
    # The next quote is ten seconds later and far away; the order must fill at the old one.
    run(engine, [quote(START), quote(START + 10 * SECOND, "110.00", "110.10")])
    assert fills(engine) == [("BUY", "0.100", "100.10", START + latency)]


def test_positions_close_before_the_end_when_orders_take_time() -> None:
    latency = 250_000_000
    end = START + 60 * SECOND
    control = RunControl(insert_latency_ns=latency, trading_end_ns=end - SECOND)
    late: list[Any] = []
    strategy = scripted({2: buy, 12: lambda s: late.append(s.submit(
        Market(BUY, Decimal("0.1"), "entry")))}, control)  # fmt: skip
    engine = engine_with(strategy, latency_ns=latency)
    ticks = [*quotes(10), quote(end - 500_000_000), quote(end - 400_000_000), quote(end - 1)]
    run(engine, ticks, end_ns=end - 1)
    assert fills(engine)[-1] == ("SELL", "0.100", "100.00", end - SECOND + latency)
    assert late == [None]
    assert strategy.ledger.position == 0


def test_strategy_and_order_ids_are_the_same_in_every_run() -> None:
    def ids() -> list[str]:
        engine = engine_with(scripted({2: buy}))
        run(engine, quotes(10))
        return [str(i) for i in engine.generate_fills_report().index]

    assert ids() == ids() != []


class Halves(GuardedAlgorithm):
    """Sends half of the parent now and half two seconds later."""

    fail = False

    def on_order(self, order: Any) -> None:
        if self.fail:
            boom(self)
        half = Quantity.from_decimal_dp(order.quantity.as_decimal() / 2, 3)
        self.spawn(order, half)
        later = self.clock.timestamp_ns() + 2 * SECOND
        self.at("second", later, lambda _event: self.spawn(order, half))

    def spawn(self, order: Any, quantity: Any) -> None:
        parent = self.cache.order(order.client_order_id)
        self.submit_order(self.spawn_market(parent, quantity))


def buy_by_halves(strategy: Scripted) -> None:
    strategy.submit(Market(BUY, Decimal("0.1"), "entry", algorithm="HALVES"))


class Curious(Scripted):
    """Uses the engine at every order event, and says what it was in the middle of."""

    def begin(self) -> None:
        super().begin()
        self.inside = False

    def on_quote(self, tick: Any) -> None:
        self.inside = True
        self.seen.append(tick.ts_init)
        self.script.get(len(self.seen), lambda _: None)(self)
        self.inside = False

    def order_update(self, order: Any, event: Any) -> None:
        assert self.clock.timestamp_ns() >= event.ts_event
        self.subscribe_trades(self.instrument_id)
        self.unsubscribe_trades(self.instrument_id)
        self.updates.append((type(event).__name__, self.inside))


def rest(strategy: Scripted) -> None:
    strategy.submit(Limit(BUY, Decimal("0.1"), Decimal(50), "entry"))


def cancel(strategy: Scripted) -> None:
    strategy.cancel_all()


@pytest.mark.parametrize("latency_ns", [0, 20_000_000])
def test_order_events_may_use_the_engine_and_never_interrupt_a_callback(latency_ns: int) -> None:
    control = RunControl(insert_latency_ns=latency_ns, cancel_latency_ns=latency_ns)
    config = SeamConfig("TEST-001", str(INSTRUMENT), StrategySettings(), control)
    strategy = Curious(config)
    strategy.script = {2: rest, 4: cancel, 6: buy}
    run(engine_with(strategy, latency_ns=latency_ns), quotes(10))
    assert control.error is None
    names = ["Initialized", "Submitted", "Accepted", "PendingCancel", "Canceled",
             "Initialized", "Submitted", "Filled"]  # fmt: skip
    assert strategy.updates[:8] == [(f"Order{name}", False) for name in names]


class Interrupted(Scripted):
    """Raises where the engine holds it: in an event that it reports before the command returns."""

    def on_order_initialized(self, _event: Any) -> None:
        raise KeyError("planted")


def test_an_exception_inside_a_command_is_kept_too() -> None:
    control = RunControl()
    strategy = Interrupted(SeamConfig("TEST-001", str(INSTRUMENT), StrategySettings(), control))
    strategy.script = {2: buy}
    engine = engine_with(strategy)
    run(engine, quotes(1000))
    assert control.error is not None
    assert control.error.where == "Interrupted.on_order_initialized"
    assert control.error.ts_ns is None
    assert engine.iteration < 10


def test_an_algorithms_children_are_in_the_ledger() -> None:
    control = RunControl()
    held: list[Any] = []
    look = lambda s: held.append(s.ledger.position)  # noqa: E731
    script = {1: buy_by_halves, 3: look, 5: look}
    strategy = scripted(script, control, close_positions_on_stop=False)
    engine = engine_with(strategy, algorithms=[Halves("HALVES", control)])
    run(engine, quotes(10))
    assert control.error is None
    assert held == [Decimal("0.05"), Decimal("0.1")]
    assert strategy.ledger.working() is None


def test_an_algorithms_exception_ends_the_run_too() -> None:
    control = RunControl()
    algorithm = Halves("HALVES", control)
    algorithm.fail = True
    strategy = scripted({1: buy_by_halves}, control)
    engine = engine_with(strategy, algorithms=[algorithm])
    run(engine, quotes(1000))
    assert control.error is not None
    assert control.error.where == "Halves.on_order"
    assert engine.iteration < 10


class OwnAlarm(Scripted):
    """Sets an alert by the engine's clock itself."""

    def begin(self) -> None:
        super().begin()
        self.clock.set_time_alert_ns("alarm", START + SECOND, lambda _event: self.refuse("alarm"))
        self.at("later", START + 2 * SECOND, lambda _event: self.refuse("later"))


def test_components_die_with_their_engine_and_wait_for_no_collection() -> None:
    # A collection runs in any thread, and the engine's objects must die in the one that made them.
    control = RunControl()
    strategy = OwnAlarm(SeamConfig("TEST-001", str(INSTRUMENT), StrategySettings(), control))
    strategy.script = {5: buy_by_halves}
    algorithm = Halves("HALVES", control)
    alive = [weakref.ref(strategy), weakref.ref(algorithm)]
    gc.collect()
    gc.disable()
    try:
        engine = engine_with(strategy, algorithms=[algorithm])
        run(engine, quotes(10))
        assert control.refusals["TEST-001", "alarm"] == control.refusals["TEST-001", "later"] == 1
        assert control.error is None
        engine.dispose()
        del engine, strategy, algorithm
        assert [reference() for reference in alive] == [None, None]
    finally:
        gc.enable()
