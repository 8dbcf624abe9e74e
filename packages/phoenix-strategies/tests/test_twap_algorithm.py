"""The TWAP algorithm in an engine: timelines, signals as strings, books that agree."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from engine_market import INSTRUMENT, SECOND, START, engine_with, quote, quotes, run
from nautilus_trader.model import ClientOrderId
from phoenix_strategies.intents import BUY, SELL, Market
from phoenix_strategies.nautilus_seam import PhoenixStrategy, SeamConfig
from phoenix_strategies.run_control import RunControl
from phoenix_strategies.settings import StrategySettings
from phoenix_strategies.twap_algorithm import (
    ALGORITHM_ID,
    TwapAlgorithm,
    TwapReport,
    regime_signal,
    theta_signal,
)

PARAMS = {"horizon_secs": "60", "interval_secs": "10"}


class Trader(PhoenixStrategy[StrategySettings]):
    """Runs `script[second]` on the quote of that second."""

    script: dict[int, Any]

    def begin(self) -> None:
        self.fills: list[tuple[int, str]] = []
        self.reasons: list[str] = []
        self.parent: str | None = None
        self.subscribe_quotes(self.instrument_id)

    def on_quote(self, tick: Any) -> None:
        action = self.script.get((tick.ts_init - START) // SECOND)
        if action is not None:
            action(self)

    def order_update(self, order: Any, event: Any) -> None:
        kind = type(event).__name__
        if kind == "OrderFilled":
            self.fills.append(((event.ts_event - START) // SECOND, str(event.last_qty)))
        elif kind in ("OrderDenied", "OrderRejected"):
            self.reasons.append(event.reason)

    def order(self, quantity: str = "6", side: int = BUY, **params: str) -> None:
        reduce_only = bool(params.pop("reduce_only", ""))
        self.parent = self.submit(
            Market(side, Decimal(quantity), "entry", reduce_only, ALGORITHM_ID, PARAMS | params)
        )

    def theta(self, value: float) -> None:
        self.publish_signal(
            theta_signal(self.instrument_id), repr(value), self.clock.timestamp_ns()
        )

    def regime(self, value: str) -> None:
        self.publish_signal(regime_signal(self.instrument_id), value, self.clock.timestamp_ns())


class Outcome:
    def __init__(
        self, script: dict[int, Any], *, seconds: int = 100, data: Any = None, **control: Any
    ) -> None:
        self.records: list[TwapReport] = []
        latency = control.get("insert_latency_ns", 0)
        self.control = RunControl(
            records=lambda _s, _i, record: self.records.append(record), **control
        )
        settings = StrategySettings(close_positions_on_stop=False)
        self.trader = Trader(SeamConfig("TEST-001", str(INSTRUMENT), settings, self.control))
        self.trader.script = script
        engine = engine_with(
            self.trader, algorithms=[TwapAlgorithm(ALGORITHM_ID, self.control)], latency_ns=latency
        )
        run(engine, quotes(seconds) if data is None else data)
        if self.control.error is not None:
            raise self.control.error
        self.ledger = self.trader.ledger
        self.engine = engine

    @property
    def timeline(self) -> list[tuple[int, str]]:
        return self.trader.fills


SIX = [(0, "1.000"), (10, "1.000"), (20, "1.000"), (30, "1.000"), (40, "1.000"), (50, "1.000")]


def test_a_plain_parent_fills_in_equal_slices_and_leaves_nothing_open() -> None:
    o = Outcome({0: lambda s: s.order()})
    assert o.timeline == SIX
    assert o.ledger.position == 6
    assert o.ledger.working() is None
    (report,) = o.records
    assert (report.filled, report.abandoned, report.ending) == (6, 0, "complete")
    assert (report.slices, report.arrival_mid, report.average_price) == (6, 100.05, 100.10)
    assert report.shortfall_bps == pytest.approx(0.05 / 100.05 * 1e4)


def test_no_slice_leaves_in_a_gap_of_the_data() -> None:
    gap = [*quotes(13), *quotes(60, START + 40 * SECOND)]
    o = Outcome({0: lambda s: s.order()}, data=gap, longest_silence_ns=15 * SECOND)
    # The slice of 30 s waits until there are quotes again; what was due meanwhile goes then.
    assert [t for t, _ in o.timeline][:3] == [0, 10, 20]
    assert not any(27 < t < 40 for t, _ in o.timeline)
    assert o.ledger.position == 6


def test_a_stale_snapshot_of_the_parent_does_not_overfill() -> None:
    # 0.040 once filled 0.070: the children were cut from the object that on_order was given.
    o = Outcome({0: lambda s: s.order("0.4", interval_secs="15")})
    assert o.ledger.position == Decimal("0.4")


def test_signals_accelerate_damp_and_stop() -> None:
    strong = Outcome({0: lambda s: s.order(), 3: lambda s: s.theta(1.0)})
    assert [t for t, _ in strong.timeline] == [0, 5, 10, 15, 20, 25]
    weak = Outcome({0: lambda s: s.order(on_horizon="abandon"), 3: lambda s: s.theta(0.0)})
    assert [t for t, _ in weak.timeline] == [0, 20, 40]
    assert weak.records[0].abandoned == 3
    flipped = Outcome({0: lambda s: s.order(), 13: lambda s: s.theta(-0.3)})
    assert [t for t, _ in flipped.timeline] == [0, 10]
    assert (flipped.records[0].ending, flipped.records[0].abandoned) == ("flipped", 4)
    assert flipped.trader.reasons == ["TWAP ended: flipped"]
    for outcome in (strong, weak, flipped):
        assert outcome.ledger.working() is None


def test_a_signal_from_before_the_parent_counts_with_its_age() -> None:
    script = {0: lambda s: s.theta(0.9), 20: lambda s: s.order(half_life_secs="10")}
    o = Outcome(script)  # 0.9 / 4 = 0.225: neither fast nor slow yet
    assert [t for t, _ in o.timeline][:2] == [20, 30]


def test_low_liquidity_pauses_until_it_lifts() -> None:
    script = {0: lambda s: s.order(grace_secs="30"), 12: lambda s: s.regime("LOW_LIQUIDITY"),
              37: lambda s: s.regime("NORMAL")}  # fmt: skip
    assert [t for t, _ in Outcome(script).timeline] == [0, 10, 37, 47, 57, 67]


def test_a_canceled_parent_cancels_children_and_timers() -> None:
    def cancel(s: Trader) -> None:
        s.cancel_order(ClientOrderId(s.parent))

    o = Outcome({0: lambda s: s.order(passive_share="0.9"), 4: cancel})
    assert o.timeline == []
    assert o.ledger.working() is None
    assert o.records[0].ending == "canceled"
    assert not o.engine.cache.orders_open()


def test_the_seam_can_cancel_everything_at_once() -> None:
    o = Outcome({0: lambda s: s.order(passive_share="0.9"), 4: lambda s: s.cancel_all()})
    assert o.timeline == []
    assert o.ledger.working() is None
    assert not o.engine.cache.orders_open()
    assert (o.records[0].filled, o.records[0].abandoned) == (0, 6)


def test_passive_first_then_across() -> None:
    o = Outcome({0: lambda s: s.order(passive_share="0.5")})
    assert [t for t, _ in o.timeline] == [5, 15, 25, 35, 45, 55]
    assert o.records[0].passive_slices == 6


def test_a_resting_slice_that_fills_earns_the_spread() -> None:
    data = [quote(START + i * SECOND) for i in range(3)]
    data += [quote(START + 3 * SECOND, "99.80", "99.90")]  # the market comes through the bid
    data += [quote(START + i * SECOND) for i in range(4, 100)]
    o = Outcome({0: lambda s: s.order("1", passive_share="0.5", interval_secs="60")}, data=data)
    assert o.timeline == [(3, "1.000")]
    assert o.records[0].shortfall_bps == pytest.approx(-0.05 / 100.05 * 1e4)


def test_children_of_a_reduce_only_parent_are_reduce_only() -> None:
    def buy(s: Trader) -> None:
        s.submit(Market(BUY, Decimal(2), "entry"))

    o = Outcome({0: buy, 5: lambda s: s.order("6", SELL, reduce_only="yes")})
    assert o.ledger.position == 0  # six asked, two held: never short
    assert o.ledger.working() is None
    children = [c for c in o.engine.cache.orders() if str(c.client_order_id).count("-E")]
    assert children
    assert all(c.is_reduce_only for c in children)


def test_slices_never_fall_under_the_minimum_notional() -> None:
    o = Outcome({0: lambda s: s.order("0.25")})  # 0.041 a slice is 4.1 USDT, the least is 5
    assert [q for _, q in o.timeline] == ["0.050", "0.050", "0.050", "0.050", "0.050"]


def test_latency_shifts_fills_and_loses_nothing() -> None:
    o = Outcome(
        {0: lambda s: s.order(passive_share="0.5")},
        insert_latency_ns=SECOND, cancel_latency_ns=SECOND,
    )  # fmt: skip
    assert o.ledger.position == 6
    assert o.ledger.working() is None


def test_a_run_that_ends_reports_the_unfinished_parent() -> None:
    o = Outcome({0: lambda s: s.order()}, seconds=25)
    (report,) = o.records
    assert (report.filled, report.abandoned, report.ending) == (3, 3, "canceled")


def test_participation_is_measured_against_the_counted_volume() -> None:
    def trade(s: Trader) -> None:
        s.control.volume[str(s.instrument_id)] = 124.0

    def before(s: Trader) -> None:
        s.control.volume[str(s.instrument_id)] = 100.0
        s.order()

    assert Outcome({0: before, 30: trade}).records[0].participation == 0.25
    assert Outcome({0: lambda s: s.order()}).records[0].participation is None


def test_wrong_parameters_end_the_run_with_their_name() -> None:
    with pytest.raises(Exception, match="horizon_seconds"):
        Outcome({0: lambda s: s.order(horizon_seconds="60")})
