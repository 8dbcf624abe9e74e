"""Every execution switch changes the outcome by the amount computed by hand."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from phoenix_runner.backtest import RunResult, run_backtest
from phoenix_runner.suite import suite_from
from small_catalog import INSTRUMENT, MINUTE, SECOND, START, quote, suite_values, trade, write

CALM = [quote(START + i * 10 * SECOND, "100.00", "100.10", "5.000") for i in range(60)]
SELLS = [trade(START + 100 * SECOND + i * SECOND, "100.00", "2.000", "SELL", i) for i in range(5)]
LIMIT = {"buy_at": 3, "limit_price": "100.00", "quantity": "1.0"}


@pytest.fixture
def run(tmp_path: Path) -> Any:
    def run_probe(
        config: dict[str, Any],
        execution: dict[str, Any] | None = None,
        quotes: list[dict[str, Any]] = CALM,
        trades: list[dict[str, Any]] | None = None,
        seed: int = 0,
        **universe: Any,
    ) -> RunResult:
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        write(root, "QuoteTick", quotes)
        include = ["QuoteTick"]
        if trades:
            write(root, "TradeTick", trades)
            include.append("TradeTick")
        probe = {"listen": ["QuoteTick"], "close_positions_on_stop": False, **config}
        values = suite_values(
            root,
            universe={"instrument_ids": [INSTRUMENT], **universe},
            data={"include": include},
            strategy={"name": "probe_strategies:PROBE", "config": probe},
            execution=execution or {},
            determinism_seed=seed,
        )
        suite = suite_from(values, source="test")
        return run_backtest(suite, suite.config.time.start_ns, suite.config.time.end_ns)

    return run_probe


def fills(result: RunResult) -> list[tuple[int, str, str, str]]:
    return [
        ((f["ts_ns"] - START) // SECOND, f["quantity"], f["price"], f["liquidity"])
        for f in result.fills
    ]


def net(result: RunResult) -> Decimal:
    record = result.record
    assert record.attribution.net == record.final_equity - record.starting_equity
    return record.attribution.net


def test_trades_fill_resting_orders_only_with_trade_execution(run: Any) -> None:
    assert fills(run(LIMIT, trades=SELLS)) == []
    # The first sale at 100.00 fills the order resting there.
    result = run(LIMIT, {"trade_execution": True}, trades=SELLS)
    assert fills(result) == [(100, "1.000", "100.00", "MAKER")]
    # 1 x 100 x 2 bps maker fee; marked at the bid, where it was bought.
    assert net(result) == Decimal("-0.02")


@pytest.mark.parametrize(
    ("fees", "expected"),
    [
        ({"source": "spec"}, "-0.02"),
        ({"source": "tier", "tier": "VIP0"}, "-0.02"),
        ({"source": "tier", "tier": "VIP3"}, "-0.012"),
        ({"source": "tier", "tier": "VIP9"}, "0"),
        ({"source": "rates", "maker": "-0.00005", "taker": "0.0005"}, "0.005"),
    ],
)
def test_a_resting_order_pays_the_makers_fee(run: Any, fees: dict[str, str], expected: str) -> None:
    # 1 at 100.00, marked at the bid, where it was bought: 2, 1.2 and 0 bps, and a rebate of half a one.
    result = run(LIMIT, {"trade_execution": True, "fees": fees}, trades=SELLS)
    assert fills(result) == [(100, "1.000", "100.00", "MAKER")]
    assert net(result) == Decimal(expected)


def test_a_queue_must_trade_before_a_resting_order_does(run: Any) -> None:
    # 5.000 stand ahead: sales of 2 + 2 + 2 reach past them with the third, at 102 s.
    execution = {"trade_execution": True, "queue_position": True}
    assert fills(run(LIMIT, execution, trades=SELLS)) == [(102, "1.000", "100.00", "MAKER")]
    assert fills(run(LIMIT, execution, trades=SELLS[:2])) == []


def test_a_touched_order_fills_with_its_probability(run: Any) -> None:
    def filled_at(share: float, seed: int = 0) -> list[int]:
        execution = {"trade_execution": True, "fill": {"prob_fill_on_limit": share}}
        return [f[0] for f in fills(run(LIMIT, execution, trades=SELLS, seed=seed))]

    assert filled_at(1.0) == [100]
    assert filled_at(0.0) == []
    # Not touched but traded through, at 101 s: luck has no say, at the order's own price.
    through = [*SELLS[:1], trade(START + 101 * SECOND, "99.90", "2.000", "SELL", 9)]
    execution = {"trade_execution": True, "fill": {"prob_fill_on_limit": 0.0}}
    assert fills(run(LIMIT, execution, trades=through)) == [(101, "1.000", "100.00", "MAKER")]
    # Between, the seed decides, and the same seed decides the same.
    outcomes = [filled_at(0.5, seed) for seed in range(4)]
    assert outcomes == [filled_at(0.5, seed) for seed in range(4)]
    assert len({str(o) for o in outcomes}) > 1


def test_slippage_costs_one_tick(run: Any) -> None:
    config = {"buy_at": 3, "quantity": "1.0"}
    smooth = run(config)
    rough = run(config, {"fill": {"prob_slippage": 1.0}})
    assert fills(smooth) == [(20, "1.000", "100.10", "TAKER")]
    assert fills(rough) == [(20, "1.000", "100.20", "TAKER")]
    # 0.10 on the price, and the taker fee on it.
    assert net(smooth) - net(rough) == Decimal("0.10") + Decimal("0.10") * Decimal("0.0004")


def test_size_beyond_the_touch_fills_one_tick_worse(run: Any) -> None:
    result = run({"buy_at": 3, "quantity": "8.0"})
    assert fills(result) == [(20, "5.000", "100.10", "TAKER"), (20, "3.000", "100.20", "TAKER")]
    # To the bid of 100.00: 5 x 0.10 + 3 x 0.20 = 1.10; fees 4 bps of 500.50 + 300.60.
    assert net(result) == -(Decimal("1.10") + Decimal("801.10") * Decimal("0.0004"))


def test_consumed_liquidity_is_gone_until_the_quote_changes(run: Any) -> None:
    # Two buys of 5 on one quote that displays 5.
    quotes = [quote(START, "100.00", "100.10"), quote(START + 30 * MINUTE, "100.00", "100.10")]
    config = {"buy_at": 1, "quantity": "5.0", "buy_again_after_s": 5}
    free = run(config, quotes=quotes)
    assert fills(free) == [(0, "5.000", "100.10", "TAKER"), (5, "5.000", "100.10", "TAKER")]
    used = run(config, {"liquidity_consumption": True}, quotes=quotes)
    assert fills(used) == [(0, "5.000", "100.10", "TAKER")]
    assert [o["status"] for o in used.orders] == ["FILLED", "REJECTED"]
    # Each buy: 5 x 0.10 to the bid, and 4 bps of 500.50.
    assert net(used) == -Decimal("0.7002")
    assert net(free) == 2 * net(used)


def test_leverage_is_what_margin_allows(run: Any) -> None:
    # 150 x 100.10 = 15,015 of notional on 10,000 USDT: too much at 1, allowed at 2.
    config = {"buy_at": 3, "quantity": "150"}
    refused = run(config, leverage=1)
    assert [o["status"] for o in refused.orders] == ["DENIED"]
    [(reason, count)] = refused.refusals["PROBE-001"].items()
    assert count == 1
    assert reason.startswith("rejected: INITIAL_MARGIN_EXCEEDS_FREE_BALANCE")
    assert net(refused) == 0
    held = run(config, leverage=2)
    assert [o["status"] for o in held.orders] == ["FILLED"]
    # Maintenance is 0.4 % of 150 at the last price paid, 100.20; leverage does not change it.
    assert Decimal(held.account[-1]["margin_maintenance"]) == Decimal("60.12")
    # At leverage 1 the account buys 99.9 for 9,999.99, and not a tenth more.
    for quantity, status in (("99.9", "FILLED"), ("100.0", "DENIED")):
        result = run({"buy_at": 3, "quantity": quantity}, leverage=1)
        assert [o["status"] for o in result.orders] == [status]


def falling() -> list[dict[str, Any]]:
    """From the eleventh quote on the price falls by 1.00 every ten seconds."""
    prices = [100 - max(0, i - 9) for i in range(60)]
    return [
        quote(START + i * 10 * SECOND, f"{p}.00", f"{p}.10", "5000.000")
        for i, p in enumerate(prices)
    ]


def test_liquidation_closes_when_equity_falls_below_maintenance(run: Any) -> None:
    config, universe = {"buy_at": 3, "quantity": "900"}, {"leverage": 10}
    held = run(config, quotes=falling(), **universe)
    # Bought at 100.10 for a fee of 36.036, marked at the last bid of 50.00.
    assert net(held) == -(900 * Decimal("50.10") + Decimal("36.036"))
    # Equity at bid b is 9,963.964 - 900 (100.10 - b): 873.96 at 90 against a maintenance of
    # 0.4 % of 81,000 = 324; below it at 89, twenty quotes in, sold there for 32.04 more of fees.
    closed = run(config, {"liquidation": {"enabled": True}}, quotes=falling(), **universe)
    assert fills(closed)[1] == (200, "900.000", "89.00", "TAKER")
    assert net(closed) == -(900 * Decimal("11.10") + Decimal("36.036") + Decimal("32.04"))
    assert [(o["client_order_id"], o["purpose"]) for o in closed.orders][1] == (
        "LIQUIDATION-1", "liquidation",
    )  # fmt: skip
    # Its ids, random in the engine, are the same in every bundle.
    again = run(config, {"liquidation": {"enabled": True}}, quotes=falling(), **universe)
    assert (again.orders, again.fills) == (closed.orders, closed.fills)
    # An earlier trigger: below twice the maintenance margin the same quote is the first; four
    # times 324 is above 873.96, so 90 already closes.
    early = run(config, {"liquidation": {"enabled": True, "trigger_ratio": 4.0}},
                quotes=falling(), **universe)  # fmt: skip
    assert fills(early)[1] == (190, "900.000", "90.00", "TAKER")


def test_cancel_latency_leaves_an_order_exposed_for_that_long(run: Any) -> None:
    # Canceled 95 s in, sold into at 100 s: filled only if the cancel takes longer than that.
    config = {**LIMIT, "cancel_after_s": 75}
    for cancel_ms, expected in ((4_000, []), (6_000, [(100, "1.000", "100.00", "MAKER")])):
        execution = {"trade_execution": True, "latency": {"cancel_ms": cancel_ms}}
        assert fills(run(config, execution, trades=SELLS)) == expected


def test_a_fill_is_judged_by_the_mid_before_the_event_that_filled_it(run: Any) -> None:
    def references(config: dict[str, Any], quotes: list[dict[str, Any]], ms: int = 0) -> list[str]:
        found = run(config, {"latency": {"insert_ms": ms}}, quotes=quotes)
        return [f"{f['liquidity']} {f['price']} {f['reference_price']}" for f in found.fills]

    rising = [quote(START + i * 10 * SECOND, f"{100 + i}.00", f"{100 + i}.10") for i in range(60)]
    # Decided at 20 s; taken on the quote of 20 s, or on that of 30 s which is in force at 35 s.
    assert references({"buy_at": 3}, rising) == ["TAKER 102.10 102.05"]
    assert references({"buy_at": 3}, rising, 15_000) == ["TAKER 103.10 103.05"]
    # The quote of 100 s, a dollar lower, runs over a buy resting at 100.00: judged by the one before.
    falling = [*CALM[:10], quote(START + 100 * SECOND, "99.00", "99.10")]
    assert references(LIMIT, falling) == ["MAKER 100.00 100.05"]


def test_update_latency_keeps_the_old_price_for_that_long(run: Any) -> None:
    # Rests at 99.90, where nothing trades; moved to 100.00 at 85 s, where sales come from 100 s on.
    config = {**LIMIT, "limit_price": "99.90", "reprice_after_s": 65, "reprice_to": "100.00"}
    for update_ms, expected in (
        (0, [(100, "1.000", "100.00", "MAKER")]),
        (17_500, [(103, "1.000", "100.00", "MAKER")]),
        (60_000, []),
    ):
        execution = {"trade_execution": True, "latency": {"update_ms": update_ms}}
        assert fills(run(config, execution, trades=SELLS)) == expected


def test_insert_latency_misses_what_came_before_it(run: Any) -> None:
    # The limit order, decided at 20 s, rests from 20 s + latency on; sales come from 100 s to 104 s.
    for insert_ms, first in ((0, 100), (81_500, 102)):
        execution = {"trade_execution": True, "latency": {"insert_ms": insert_ms}}
        assert [f[0] for f in fills(run(LIMIT, execution, trades=SELLS))] == [first]


@pytest.mark.parametrize(
    ("price", "side"), [("100.00", "SELL"), ("100.10", "BUY"), ("100.05", "SELL")]
)
@pytest.mark.parametrize("trade_execution", [False, True])
def test_a_trade_does_not_stand_in_for_the_quote(
    run: Any, price: str, side: str, trade_execution: bool
) -> None:
    # Decided at 20 s, arriving at 101.5 s: half a second after a trade, long before a quote.
    trades = [trade(START + 101 * SECOND, price, "2.000", side)]
    execution = {"trade_execution": trade_execution, "latency": {"insert_ms": 81_500}}
    result = run({"buy_at": 3, "quantity": "8.0"}, execution, trades=trades)
    assert fills(result) == [(101, "5.000", "100.10", "TAKER"), (101, "3.000", "100.20", "TAKER")]
