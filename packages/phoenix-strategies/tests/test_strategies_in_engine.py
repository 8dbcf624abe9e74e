"""Every strategy in an engine, on a market with a cascade: trades, books, no look-ahead."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from cascade_market import CASCADE_TO, market
from engine_market import SECOND, START
from nautilus_trader.model import TimeInForce
from phoenix_schemas.custom_data import BinanceBookDepthPct
from phoenix_signals.engines import LpiEngine
from phoenix_strategies.one_position import aggressor
from phoenix_strategies.twap_algorithm import TwapReport
from strategy_run import SUITES, Outcome, ordinary

strategies = pytest.mark.parametrize("name", SUITES)


@strategies
def test_slip_19_it_trades_and_leaves_nothing_open_on_stop(name: str) -> None:
    o = ordinary(name)
    assert any(order.filled_qty.as_decimal() > 0 for order in o.orders)
    # Closed in on_stop, after which a strategy hears no more events: the engine's books count.
    assert not o.engine.cache.orders_open()
    assert not o.engine.cache.positions_open()


@strategies
def test_books_of_strategy_and_engine_agree(name: str) -> None:
    o = Outcome(name, SUITES[name] | {"close_positions_on_stop": False}, market(seed=3))
    held = sum((Decimal(str(p.signed_qty)) for p in o.engine.cache.positions_open()), Decimal(0))
    assert o.strategy.ledger.position == held


@strategies
def test_cutting_the_future_leaves_earlier_decisions_unchanged(name: str) -> None:
    full = ordinary(name).decisions
    for seconds in (500, 650):
        cut_ns = START + seconds * SECOND
        part = Outcome(name, SUITES[name], [x for x in market() if x.ts_init < cut_ns])
        # At the cut itself the run ends: only what was decided before it counts.
        assert [d for d in part.decisions if d[0] < cut_ns] == [d for d in full if d[0] < cut_ns]
        assert any(d[0] < cut_ns for d in full)


@strategies
def test_another_future_leaves_earlier_decisions_unchanged(name: str) -> None:
    cut_ns = START + 600 * SECOND
    other = [x for x in market() if x.ts_init < cut_ns]
    other += [x for x in market(seed=99) if x.ts_init >= cut_ns]
    changed = Outcome(name, SUITES[name], other).decisions
    full = ordinary(name).decisions
    assert [d for d in changed if d[0] < cut_ns] == [d for d in full if d[0] < cut_ns]
    assert changed != full


@strategies
def test_the_same_input_gives_the_same_orders(name: str) -> None:
    def rows(o: Outcome) -> list[tuple[Any, ...]]:
        return [
            (str(x.client_order_id), str(x.side), str(x.quantity), str(x.filled_qty), x.ts_init)
            for x in o.orders
        ]

    assert rows(Outcome(name, SUITES[name], market())) == rows(ordinary(name))


@strategies
def test_warm_up_feeds_the_signal_but_sends_nothing(name: str) -> None:
    start = START + CASCADE_TO * SECOND
    o = Outcome(name, SUITES[name], market(), {"trading_start_ns": start})
    assert all(order.ts_init >= start for order in o.orders)
    assert [(ts, values) for ts, values, _, _ in o.decisions] == [
        (ts, values) for ts, values, _, _ in ordinary(name).decisions
    ]


@strategies
def test_nothing_is_held_or_open_after_the_trading_end(name: str) -> None:
    end = START + 615 * SECOND  # in the middle of the cascade
    o = Outcome(name, SUITES[name], market(), {"trading_end_ns": end})
    assert o.strategy.ledger.position == 0
    assert not o.engine.cache.orders_open()
    assert all(order.ts_init <= end for order in o.orders)


@strategies
def test_with_latency_the_books_still_agree(name: str) -> None:
    latency = SECOND // 5
    end = START + 890 * SECOND
    o = Outcome(
        name, SUITES[name], market(),
        {"insert_latency_ns": latency, "cancel_latency_ns": latency, "trading_end_ns": end},
    )  # fmt: skip
    assert o.orders
    assert o.strategy.ledger.position == 0
    assert not o.engine.cache.positions_open()
    assert not o.engine.cache.orders_open()


def largest_position(o: Outcome) -> Decimal:
    position = largest = Decimal(0)
    fills = [e for order in o.orders for e in order.events() if type(e).__name__ == "OrderFilled"]
    for event in sorted(fills, key=lambda e: (e.ts_event, int(str(e.trade_id).rpartition("-")[2]))):
        quantity = event.last_qty.as_decimal()
        position += quantity if event.is_buy else -quantity
        largest = max(largest, abs(position))
    return largest


@strategies
def test_slip_20_no_order_asks_for_all_or_nothing(name: str) -> None:
    # An L1 book cannot answer fill-or-kill: it refuses what exceeds the displayed size.
    assert {x.time_in_force for x in ordinary(name).orders} <= {TimeInForce.GTC, TimeInForce.GTD}


@pytest.mark.parametrize("name", ["liquidity_pressure", "phoenix_lpi"])
@pytest.mark.parametrize("latency", [0, SECOND // 5])
def test_slip_20_a_position_is_never_doubled(name: str, latency: int) -> None:
    o = Outcome(
        name, SUITES[name], market(seed=5),
        {"insert_latency_ns": latency, "cancel_latency_ns": latency},
    )  # fmt: skip
    assert 0 < largest_position(o) <= Decimal("0.01")


def test_lpi_trades_are_mirrored_in_a_mirrored_market() -> None:
    plain = ordinary("phoenix_lpi")
    mirrored = Outcome("phoenix_lpi", SUITES["phoenix_lpi"], market(mirrored=True))
    turn = {" long": " short", " short": " long"}

    def directions(o: Outcome) -> list[tuple[int, str]]:
        return [(ts, i.split(":")[0]) for ts, _, _, i in o.decisions if i.startswith("enter")]

    expected = [(ts, "enter" + turn[i.removeprefix("enter")]) for ts, i in directions(plain)]
    assert directions(mirrored) == expected
    assert expected


def test_lpi_mean_reversion_posts_tranches_and_withdraws_them_in_time() -> None:
    values = SUITES["phoenix_lpi"] | {
        "momentum_enabled": False, "theta_exh_high": 0.3, "mean_rev_tranches": 2,
        "mean_rev_tranche_ticks": 2, "trade_size": "0.011", "entry_ttl_buckets": 2,
    }  # fmt: skip
    o = Outcome("phoenix_lpi", values, market())
    entries = [x for x in o.orders if x.tags == ["entry"]]
    assert len(entries) >= 4
    assert all(x.is_post_only for x in entries)
    first, second = entries[:2]
    assert (first.quantity.as_decimal(), second.quantity.as_decimal()) == (
        Decimal("0.006"), Decimal("0.005"),
    )  # fmt: skip
    assert abs(first.price.as_decimal() - second.price.as_decimal()) == Decimal("0.2")
    bucket = 2 * SECOND
    for x in entries:
        assert x.is_closed
        lived = x.ts_last - x.ts_init
        assert lived <= 2 * bucket + SECOND // 4 or x.filled_qty.as_decimal() > 0


def test_the_markout_guard_closes_between_decisions() -> None:
    values = SUITES["phoenix_lpi"] | {
        "momentum_enabled": False, "theta_exh_high": 0.3, "mean_rev_post_only": False,
        "lpi_exit_abs": 0.0, "markout_guard": {"horizon_secs": 1, "limit_bps": 0.05},
    }  # fmt: skip
    o = Outcome("phoenix_lpi", values, market())
    assert "leave: markout" in o.acts
    without = Outcome(
        "phoenix_lpi", {k: v for k, v in values.items() if k != "markout_guard"}, market()
    )
    assert "leave: markout" not in without.acts


@pytest.mark.parametrize("mode", ["time", "notional"])
def test_feeding_only_the_quotes_that_matter_changes_no_snapshot(mode: str) -> None:
    values = SUITES["phoenix_lpi"] | {"bucket_mode": mode, "bucket_notional_threshold": 200_000}
    o = Outcome("phoenix_lpi", values, market())
    engine = LpiEngine(o.strategy.signal.config)
    expected = []
    for x in market():
        match type(x).__name__:
            case "QuoteTick":
                engine.on_quote(
                    x.ts_init, x.bid_price.raw, x.ask_price.raw, x.bid_size.raw, x.ask_size.raw
                )
            case "TradeTick":
                engine.on_trade(x.ts_init, x.price.raw, x.size.raw, aggressor(x))
            case "CustomData" if isinstance(x.data, BinanceBookDepthPct):
                engine.on_custom_data(x.data)
        while (snapshot := engine.maybe_emit()) is not None:
            expected.append(snapshot)
    assert o.records == expected
    assert len(expected) > 100


def test_signal_snapshots_are_recorded_once_per_bucket() -> None:
    o = ordinary("phoenix_lpi")
    times = [record.ts_event for record in o.records]
    assert times == sorted(set(times))
    assert len(times) > 400


def test_toxicity_publishes_a_volatility_signal_at_each_decision() -> None:
    o = ordinary("toxicity_volatility")
    times = {r.ts_event for r in o.records if type(r).__name__ == "VolatilitySignal"}
    assert times >= {ts for ts, *_ in o.decisions}
    assert len(times) > len(o.decisions)  # VPIN crossed its threshold in between


@pytest.mark.parametrize("side_of_market", [False, True])
def test_toxicity_through_twap_keeps_the_books_and_reports_each_parent(
    side_of_market: bool,
) -> None:
    values = SUITES["toxicity_volatility"] | {
        "execution": "twap", "twap": {"horizon_secs": 30, "interval_secs": 5, "half_life_secs": 60},
    }  # fmt: skip
    end = START + 890 * SECOND
    o = Outcome(
        "toxicity_volatility", values, market(mirrored=side_of_market), {"trading_end_ns": end}
    )
    reports = [r for r in o.records if isinstance(r, TwapReport)]
    assert len(reports) >= 2
    assert {r.client_order_id for r in reports} <= {str(x.client_order_id) for x in o.orders}
    for r in reports:
        assert r.filled + r.abandoned == r.quantity
        assert r.participation is not None
        assert 0 < r.participation < 1
        assert r.shortfall_bps is not None
        assert abs(r.shortfall_bps) < 50
    assert o.strategy.ledger.position == 0
    assert o.strategy.ledger.working() is None
    assert not o.engine.cache.positions_open()


def test_toxic_flow_opens_nothing() -> None:
    # F2 is 0 while T is at or above tau, so in a toxic regime there is no entry, passive or not.
    values = SUITES["toxicity_volatility"] | {"toxicity_threshold": -1e9, "abs_f2_min": 0.0}
    for execution in ("market", "limit", "twap"):
        o = Outcome("toxicity_volatility", values | {"execution": execution}, market())
        assert len(o.decisions) > 5
        assert not o.orders


def test_toxicity_with_passive_entries_rests_at_the_touch_and_expires() -> None:
    values = SUITES["toxicity_volatility"] | {"execution": "limit", "entry_ttl_secs": 20}
    o = Outcome("toxicity_volatility", values, market())
    entries = [x for x in o.orders if x.tags == ["entry"]]
    assert entries
    for x in entries:
        assert x.is_post_only
        assert x.ts_last - x.ts_init <= 20 * SECOND + SECOND // 2


def test_v_of_vpin_is_fitted_on_the_first_minutes_only() -> None:
    values = {k: v for k, v in SUITES["toxicity_volatility"].items() if k != "vpin_bucket"}
    o = Outcome("toxicity_volatility", values | {"fit_minutes": 3}, market())
    volumes = [x.volume.as_double() for x in market() if type(x).__name__ == "Bar"]
    assert o.strategy.signal.config.vpin_bucket == sorted(volumes[:3])[1]
    assert o.decisions[0][0] > START + 180 * SECOND
