"""Stops: never loosen, fire where the formula says, long and short are mirrors."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from phoenix_strategies.errors import StrategyError
from phoenix_strategies.stops import (
    SECOND_NS,
    MarkoutGuard,
    MarkoutGuardConfig,
    StopConfig,
    TimeStop,
    TrailingStop,
)

quotes = st.lists(
    st.tuples(st.floats(50, 150), st.floats(0, 0.5), st.floats(1e-5, 0.01)), max_size=60
)
configs = st.builds(
    StopConfig,
    k_stop=st.floats(0.1, 5),
    h_stop_bars=st.floats(1, 60),
    k_tp=st.none() | st.floats(0.5, 3),
    update_sigma=st.booleans(),
)


@given(configs, st.sampled_from([1, -1]), st.floats(1e-5, 0.01), quotes)
def test_a_trailing_stop_never_loosens(
    config: StopConfig, side: int, sigma: float, path: list[tuple[float, float, float]]
) -> None:
    stop = TrailingStop(config, side, 100.0, sigma)
    for bid, spread, now_sigma in path:
        before = stop.level
        stop.update(bid, bid + spread, now_sigma)
        assert side * (stop.level - before) >= 0


@given(configs, st.floats(1e-5, 0.01), quotes)
def test_a_long_stop_is_the_running_maximum_of_the_formula(
    config: StopConfig, sigma: float, path: list[tuple[float, float, float]]
) -> None:
    stop = TrailingStop(config, 1, 100.0, sigma)
    level = 100.0 * (1 - config.k_stop * sigma * math.sqrt(config.h_stop_bars))
    for bid, spread, now_sigma in path:
        fired = stop.update(bid, bid + spread, now_sigma)
        assert (fired == "trailing_stop") == (bid <= level)
        if fired:
            return
        distance = (
            config.k_stop
            * math.sqrt(config.h_stop_bars)
            * (now_sigma if config.update_sigma else sigma)
        )
        level = max(level, bid * (1 - distance))
        assert stop.level == pytest.approx(level, rel=1e-12)


def test_a_short_stop_mirrors_on_the_ask() -> None:
    config = StopConfig(k_stop=2, h_stop_bars=16)  # 2 * 0.0025 * 4 = 2 %
    stop = TrailingStop(config, -1, 100.0, 0.0025)
    assert stop.level == pytest.approx(102.0)
    assert stop.update(89.0, 90.0) is None
    assert stop.level == pytest.approx(91.8)
    assert stop.update(91.0, 91.79) is None
    assert stop.update(91.0, 91.81) == "trailing_stop"


def test_sigma_is_fixed_at_entry_unless_asked() -> None:
    fixed = TrailingStop(StopConfig(k_stop=1, h_stop_bars=1), 1, 100.0, 0.02)
    following = TrailingStop(StopConfig(k_stop=1, h_stop_bars=1, update_sigma=True), 1, 100.0, 0.02)
    for stop in (fixed, following):
        assert stop.update(100.0, 100.1, 0.01) is None
    assert fixed.level == pytest.approx(98.0)
    assert following.level == pytest.approx(99.0)
    assert following.update(99.5, 99.6, 0.5) is None  # a wilder sigma does not lower the stop
    assert following.level == pytest.approx(99.0)
    assert following.update(99.5, 99.6, 0.0) is None  # stale sigma keeps the last distance


@pytest.mark.parametrize(("side", "bid", "ask"), [(1, 104.0, 104.1), (-1, 95.9, 96.0)])
def test_take_profit_is_a_multiple_of_the_entry_distance(side: int, bid: float, ask: float) -> None:
    config = StopConfig(k_stop=2, h_stop_bars=16, k_tp=2.0)  # 2 % stop, 4 % profit
    stop = TrailingStop(config, side, 100.0, 0.0025)
    assert stop.update(bid - side * 0.1, ask - side * 0.1) is None
    assert stop.update(bid, ask) == "take_profit"


def test_a_time_stop_counts_from_the_entry() -> None:
    stop = TimeStop(entered=7, limit=3)
    assert [stop.update(t) for t in (7, 9, 10, 11)] == [None, None, "time_stop", "time_stop"]


def test_a_markout_uses_the_last_mid_known_at_the_horizon() -> None:
    guard = MarkoutGuard(MarkoutGuardConfig(horizon_secs=5, limit_bps=50.0), 1)
    guard.on_fill(0, mid=100.0, quantity=1.0)
    guard.on_mid(4 * SECOND_NS, 99.0)
    guard.on_mid(9 * SECOND_NS, 120.0)  # after the horizon: not this one
    assert guard.average_bps == pytest.approx(-100.0)
    exact = MarkoutGuard(MarkoutGuardConfig(horizon_secs=5, limit_bps=50.0), 1)
    exact.on_fill(0, mid=100.0, quantity=1.0)
    exact.on_mid(4 * SECOND_NS, 99.0)
    exact.on_mid(5 * SECOND_NS, 101.0)  # exactly at the horizon: this one
    assert exact.average_bps == pytest.approx(100.0)


def test_markouts_average_by_quantity_and_know_the_side() -> None:
    guard = MarkoutGuard(MarkoutGuardConfig(horizon_secs=1, limit_bps=5.0), -1)
    guard.on_fill(0, mid=100.0, quantity=3.0)
    guard.on_fill(SECOND_NS // 2, mid=100.0, quantity=1.0)
    assert guard.on_mid(SECOND_NS, 99.9) is None  # short: +10 bps on 3
    assert guard.on_mid(3 * SECOND_NS // 2, 100.2) is None  # -20 bps on 1
    assert guard.average_bps == pytest.approx((30 - 20) / 4)
    guard.on_fill(2 * SECOND_NS, mid=100.0, quantity=4.0)
    assert guard.on_mid(3 * SECOND_NS, 100.2) == "markout"  # (30 - 20 - 80) / 8 = -8.75


@pytest.mark.parametrize(
    "call",
    [
        lambda: StopConfig(k_stop=0.0),
        lambda: StopConfig(h_stop_bars=-1.0),
        lambda: StopConfig(k_tp=0.0),
        lambda: TrailingStop(StopConfig(), 1, 100.0, 0.0),
        lambda: TrailingStop(StopConfig(), 1, float("nan"), 0.01),
        lambda: MarkoutGuardConfig(horizon_secs=0),
        lambda: MarkoutGuardConfig(limit_bps=0.0),
    ],
)
def test_nonsense_is_refused_with_a_rule_and_the_value(call: object) -> None:
    with pytest.raises(StrategyError, match=r"must .*\(was .*\); "):
        call()  # type: ignore[operator]
