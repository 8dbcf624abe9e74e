"""Gates in an engine: each is once the only thing that prevents the trades, and is counted.

`test_gates.py` asks the gates alone; here a strategy runs the same market with and without each.
"""

from __future__ import annotations

from typing import Any, get_args

import pytest
from cascade_market import market
from engine_market import SECOND, START
from nautilus_trader.model import Bar, TradeTick
from phoenix_strategies.gates import GateName
from strategy_run import SUITES, Outcome, ordinary

BLOCKED = [
    ("liquidity_pressure", {"gates": {"quote_max_age_ms": 1}}, "stale_quote"),
    ("liquidity_pressure", {"gates": {"depth_max_age_ms": 1}}, "stale_depth"),
    ("liquidity_pressure", {"max_spread_bps": 0.01}, "spread"),
    ("liquidity_pressure", {"gates": {"funding_window_minutes": 600}}, "funding_window"),
    ("phoenix_lpi", {"max_rel_spread_bps": 0.01}, "spread"),
    ("phoenix_lpi", {"min_depth_notional": 1e9}, "min_depth"),
    ("phoenix_lpi", {"gates": {"funding_window_minutes": 600}}, "funding_window"),
    ("phoenix", {"gates": {"funding_window_minutes": 600}}, "funding_window"),
    ("phoenix", {"oi_z_threshold": 100.0}, "open_interest"),
    ("toxicity_volatility", {"gates": {"max_toxicity": 0.01}}, "toxicity"),
    ("toxicity_volatility", {"gates": {"max_trades_per_hour": 0}}, "max_trades_per_hour"),
]
KILL_SWITCHES = {
    "daily_loss": {"max_daily_loss_share": 0.0005},
    "drawdown": {"max_drawdown_share": 0.0005},
    "spread_collapse": {"spread_collapse_multiple": 2.0},
    "depth_collapse": {"depth_collapse_share": 0.5},
}


@pytest.mark.parametrize(("name", "values", "gate"), BLOCKED)
def test_a_gate_is_the_only_thing_that_prevents_the_trades_and_is_counted(
    name: str, values: dict[str, Any], gate: str
) -> None:
    o = Outcome(name, SUITES[name] | values, market())
    assert ordinary(name).entries  # without it there are some
    assert not o.orders
    refused = [why for _, _, g, why in o.decisions if g == gate]
    assert o.control.refusals[str(o.strategy.strategy_id), gate] == len(refused) > 0
    assert all(why.startswith("wait: ") for why in refused)


def test_a_low_leverage_prior_alone_prevents_mean_reversion_and_is_counted() -> None:
    values = SUITES["phoenix_lpi"] | {"momentum_enabled": False, "theta_exh_high": 0.3}
    assert Outcome("phoenix_lpi", values, market()).entries
    o = Outcome("phoenix_lpi", values | {"lev_min": 1e9}, market())
    assert not o.orders
    assert o.control.refusals[str(o.strategy.strategy_id), "lev_min"] > 0


def test_missing_bars_alone_prevent_the_trades_and_are_counted() -> None:
    bars = [x for x in market() if isinstance(x, Bar)]
    gappy = [x for x in market() if not (isinstance(x, Bar) and bars.index(x) % 2)]
    values = SUITES["liquidity_pressure"]
    assert Outcome("liquidity_pressure", values, gappy).entries
    o = Outcome("liquidity_pressure", values | {"gates": {"max_bar_gap_bars": 0}}, gappy)
    assert not o.orders
    assert o.control.refusals[str(o.strategy.strategy_id), "missing_bars"] > 0


@pytest.mark.parametrize("gate", KILL_SWITCHES)
def test_a_kill_switch_closes_ends_the_day_and_says_so(gate: str) -> None:
    values = SUITES["phoenix_lpi"] | {"trade_size": "5"}
    free = Outcome("phoenix_lpi", values, market())
    o = Outcome("phoenix_lpi", values | {"gates": KILL_SWITCHES[gate]}, market())
    ((killed, refusal),) = o.strategy.gates.kills
    assert refusal.gate == gate
    sent = [x.ts_init for x in free.entries]
    assert [x.ts_init for x in o.entries] == [ts for ts in sent if ts < killed]
    assert sent[-1] > killed  # without it the day goes on
    leave = next(ts for ts, _, g, why in o.decisions if g == gate and why.startswith("leave"))
    assert leave == killed
    refusals = {reason: n for (_, reason), n in o.control.refusals.items()}
    assert refusals[f"kill_switch: {gate} ended the day"] == 1
    assert refusals[gate] > 0
    assert o.strategy.ledger.position == 0


def test_every_gate_has_stood_alone_in_an_engine() -> None:
    tried = {gate for _, _, gate in BLOCKED} | set(KILL_SWITCHES) | {"missing_bars"}
    assert tried >= set(get_args(GateName))


def test_flat_before_funding_closes_and_keeps_out() -> None:
    # The market begins 106 minutes before a settlement; a window of 96 opens at its second 600,
    # while a position is held.
    begins = START + 600 * SECOND
    gates = {"funding_window_minutes": 96, "funding_action": "flat"}
    o = Outcome("phoenix_lpi", SUITES["phoenix_lpi"] | {"gates": gates}, market())
    leave = next(ts for ts, _, g, i in o.decisions if g == "funding_window" and "leave" in i)
    assert leave == begins
    assert o.entries
    assert all(x.ts_init < begins for x in o.entries)
    assert o.strategy.ledger.position == 0


def test_flat_before_funding_waits_for_no_decision() -> None:
    # Notional buckets, and no trade prints after second 500: no bucket closes, nothing is decided,
    # and the position of second 495 must go when the window opens at second 540 all the same.
    values = SUITES["phoenix_lpi"] | {
        "bucket_mode": "notional", "bucket_notional_threshold": 200_000,
    }  # fmt: skip
    last = START + 500 * SECOND
    data = [x for x in market() if not (isinstance(x, TradeTick) and x.ts_init >= last)]
    free = Outcome("phoenix_lpi", values, data)
    assert [x.tags for x in free.orders][-1] == ["close"]  # held to the end of the run
    gates = {"funding_window_minutes": 97, "funding_action": "flat"}
    o = Outcome("phoenix_lpi", values | {"gates": gates}, data)
    (entry,) = o.entries
    close = o.orders[-1]
    assert entry.ts_init < last
    assert (close.tags, close.ts_init) == (["exit"], START + 540 * SECOND)
    assert o.acts[-1].startswith("leave: funding_window: 97.0 min before")
