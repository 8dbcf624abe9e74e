"""Gates: each is once the only thing that prevents a trade, and says so."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from phoenix_strategies.errors import StrategyError
from phoenix_strategies.gates import (
    DAY_NS,
    HOUR_NS,
    MINUTE_NS,
    MS_NS,
    Gates,
    GatesConfig,
    MarketState,
)

NOW = 19_000 * DAY_NS + 12 * HOUR_NS
ALL = GatesConfig(
    quote_max_age_ms=1_000,
    max_rel_spread_bps=20.0,
    depth_max_age_ms=60_000,
    min_depth_notional=1_000.0,
    max_bar_gap_bars=0,
    spread_collapse_multiple=10.0,
    depth_collapse_share=0.1,
    max_toxicity=0.8,
    funding_window_minutes=5.0,
    max_daily_loss_share=0.02,
    max_drawdown_share=0.05,
    max_trades_per_hour=2,
)
GOOD = MarketState(
    now=NOW,
    bid=99.99,
    ask=100.01,
    quote_ts=NOW - 10 * MS_NS,
    depth_notional=50_000.0,
    depth_ts=NOW - 30_000 * MS_NS,
    slow_rel_spread_bps=2.0,
    slow_depth_notional=60_000.0,
    missing_bars=0,
    toxicity=0.4,
    last_funding_ns=NOW - 4 * HOUR_NS,
    next_funding_ns=NOW + 4 * HOUR_NS,
    equity=10_000.0,
)

CASES = {
    "stale_quote": {"quote_ts": NOW - 1_001 * MS_NS},
    "spread": {"bid": 99.8, "ask": 100.05, "slow_rel_spread_bps": 20.0},
    "stale_depth": {"depth_ts": NOW - 60_001 * MS_NS},
    "min_depth": {"depth_notional": 999.0, "slow_depth_notional": 999.0},
    "missing_bars": {"missing_bars": 1},
    "spread_collapse": {"slow_rel_spread_bps": 0.1},
    "depth_collapse": {"slow_depth_notional": 500_001.0},
    "toxicity": {"toxicity": 0.81},
    "funding_window": {"next_funding_ns": NOW + 5 * MINUTE_NS},
}


def test_nothing_refuses_when_all_is_well() -> None:
    gates = Gates(ALL)
    assert gates.refuse_entry(GOOD) is None
    assert not gates.refusals


@pytest.mark.parametrize("gate", CASES)
def test_each_gate_alone_prevents_the_trade_and_is_counted(gate: str) -> None:
    gates = Gates(ALL)
    refusal = gates.refuse_entry(replace(GOOD, **CASES[gate]))
    assert refusal is not None
    assert refusal.gate == gate
    assert refusal.why
    assert gates.refusals == {gate: 1}
    # The same market without that gate trades: nothing else prevented it.
    off = {
        "stale_quote": "quote_max_age_ms",
        "spread": "max_rel_spread_bps",
        "stale_depth": "depth_max_age_ms",
        "min_depth": "min_depth_notional",
        "missing_bars": "max_bar_gap_bars",
        "spread_collapse": "spread_collapse_multiple",
        "depth_collapse": "depth_collapse_share",
        "toxicity": "max_toxicity",
        "funding_window": "funding_window_minutes",
    }[gate]
    without = msgspec.structs.replace(ALL, **{off: None})
    assert Gates(without).refuse_entry(replace(GOOD, **CASES[gate])) is None


@pytest.mark.parametrize(
    ("gate", "missing"),
    [
        ("stale_quote", {"quote_ts": None}),
        ("spread_collapse", {"bid": None, "ask": None}),
        ("stale_depth", {"depth_ts": None}),
        ("depth_collapse", {"depth_notional": None}),
        ("missing_bars", {"missing_bars": None}),
        ("toxicity", {"toxicity": None}),
        ("funding_window", {"next_funding_ns": None, "last_funding_ns": None}),
        ("drawdown", {"equity": None}),
    ],
)
def test_a_gate_without_its_input_refuses(gate: str, missing: dict[str, None]) -> None:
    refusal = Gates(ALL).refuse_entry(replace(GOOD, **missing))
    assert refusal is not None
    assert refusal.gate == gate


def test_an_unconfigured_gate_does_not_exist() -> None:
    gates = Gates(GatesConfig())
    assert gates.refuse_entry(MarketState(now=NOW)) is None
    assert gates.must_flatten(MarketState(now=NOW)) is None


def test_daily_loss_closes_and_ends_the_utc_day_only() -> None:
    gates = Gates(GatesConfig(max_daily_loss_share=0.02))
    assert gates.refuse_entry(replace(GOOD, equity=10_000.0)) is None
    assert gates.must_flatten(replace(GOOD, now=NOW + 1, equity=9_801.0)) is None
    fired = gates.must_flatten(replace(GOOD, now=NOW + 2, equity=9_800.0))
    assert fired is not None
    assert (fired.gate, fired.why) == (
        "daily_loss",
        "2.00% lost since 00:00 UTC, limit 2.00%",
    )
    # Recovered equity does not reopen the day; midnight does, from the new day's equity.
    assert gates.refuse_entry(replace(GOOD, now=NOW + 3, equity=10_500.0)) == fired
    midnight = 19_001 * DAY_NS
    assert gates.refuse_entry(replace(GOOD, now=midnight, equity=9_800.0)) is None
    assert gates.kills == [(NOW + 2, fired)]


def test_a_drawdown_is_measured_from_the_peak_and_holds_over_midnight() -> None:
    gates = Gates(GatesConfig(max_drawdown_share=0.05))
    assert gates.must_flatten(replace(GOOD, equity=12_000.0)) is None
    fired = gates.must_flatten(replace(GOOD, now=NOW + 1, equity=11_400.0))
    assert fired is not None
    assert fired.gate == "drawdown"
    assert gates.must_flatten(replace(GOOD, now=NOW + DAY_NS, equity=11_400.0)) is not None


def test_a_collapse_closes_and_ends_the_day() -> None:
    gates = Gates(GatesConfig(spread_collapse_multiple=10.0))
    wide = replace(GOOD, bid=99.0, ask=101.0)
    assert gates.must_flatten(GOOD) is None
    assert gates.must_flatten(wide) is not None
    refusal = gates.refuse_entry(replace(GOOD, now=NOW + MINUTE_NS))
    assert refusal is not None
    assert refusal.gate == "spread_collapse"


def test_funding_flat_closes_and_no_entry_does_not() -> None:
    near = replace(GOOD, next_funding_ns=NOW + MINUTE_NS)
    flat = Gates(GatesConfig(funding_window_minutes=5.0, funding_action="flat"))
    assert flat.must_flatten(near) is not None
    no_entry = Gates(GatesConfig(funding_window_minutes=5.0))
    assert no_entry.must_flatten(near) is None
    assert no_entry.refuse_entry(near) is not None


@pytest.mark.parametrize(
    ("ahead_min", "behind_min", "refused"),
    [(5, 100, True), (5.01, 100, False), (100, 4.99, True), (100, 5, False), (0, 480, True)],
)
def test_the_funding_window_has_two_sides(
    ahead_min: float, behind_min: float, refused: bool
) -> None:
    gates = Gates(GatesConfig(funding_window_minutes=5.0))
    market = replace(
        GOOD,
        next_funding_ns=NOW + int(ahead_min * MINUTE_NS),
        last_funding_ns=NOW - int(behind_min * MINUTE_NS),
    )
    assert (gates.refuse_entry(market) is not None) is refused


def test_entries_leave_the_hour_after_an_hour() -> None:
    gates = Gates(GatesConfig(max_trades_per_hour=2))
    gates.on_entry(NOW)
    gates.on_entry(NOW + MINUTE_NS)
    late = replace(GOOD, now=NOW + HOUR_NS - 1)
    refusal = gates.refuse_entry(late)
    assert refusal is not None
    assert refusal.gate == "max_trades_per_hour"
    assert gates.refuse_entry(replace(GOOD, now=NOW + HOUR_NS)) is None


@pytest.mark.parametrize(
    "values",
    [
        {"quote_max_age_ms": -1},
        {"max_daily_loss_share": 2.0},
        {"depth_collapse_share": 0.0},
        {"spread_collapse_multiple": 0.5},
        {"funding_window_minutes": 0.5, "funding_action": "flat"},
    ],
)
def test_impossible_bounds_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(StrategyError, match=r"must .*\(was .*\); "):
        GatesConfig(**values)  # type: ignore[arg-type]


def test_unknown_keys_are_refused_with_their_path() -> None:
    with pytest.raises(msgspec.ValidationError, match="max_spread"):
        msgspec.convert({"max_spread": 1}, GatesConfig)
