"""The TWAP schedule: its invariant under any sequence, and each rule of the pace by hand."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from phoenix_strategies.errors import StrategyError
from phoenix_strategies.twap import (
    SECOND_NS,
    Action,
    CancelChild,
    Slice,
    TwapConfig,
    TwapSchedule,
    twap_config,
)

S = SECOND_NS

configs = st.builds(
    TwapConfig,
    interval_secs=st.sampled_from([5.0, 10.0]),
    horizon_secs=st.sampled_from([10.0, 35.0, 60.0]),
    half_life_secs=st.sampled_from([None, 3.0, 20.0]),
    floor=st.sampled_from([0.0, 0.05]),
    damping=st.sampled_from([1.0, 3.0]),
    on_horizon=st.sampled_from(["cross", "abandon"]),
    on_decay=st.sampled_from(["finish", "abandon"]),
    grace_secs=st.sampled_from([0.0, 15.0]),
    passive_share=st.sampled_from([0.0, 0.5, 0.9]),
)


class TwapUnderAnything(RuleBasedStateMachine):
    """Random signals, regimes, fills, rejections and cancels against an honest venue."""

    @initialize(
        config=configs,
        side=st.sampled_from([1, -1]),
        parent=st.integers(1, 200),
        minimum=st.integers(1, 12),
        start=st.integers(0, 10**18),
    )
    def begin(self, config: TwapConfig, side: int, parent: int, minimum: int, start: int) -> None:
        self.twap = TwapSchedule(config, side, parent, minimum)
        self.now = start
        self.venue: dict[int, int] = {}  # open lots by child
        self.cancels: list[int] = []  # requested, not yet confirmed
        self.sent = 0
        self.returned = 0
        self.filled = 0
        self.take(self.twap.start(start))

    def take(self, actions: list[Action], *, dead: bool = False) -> None:
        for action in actions:
            if isinstance(action, Slice):
                assert not dead
                assert self.now <= self.twap.end
                assert not self.twap.paused
                assert action.lots >= self.twap.min_lots
                assert action.child not in self.venue
                self.venue[action.child] = action.lots
                self.sent += action.lots
            else:
                assert action.child in self.venue
                assert action.child not in self.cancels  # asked once
                self.cancels.append(action.child)

    @rule(ms=st.integers(0, 30_000))
    def time_passes(self, ms: int) -> None:
        # As an alert would: stop at every wanted wake-up on the way.
        target = self.now + ms * 1_000_000
        while (wake := self.twap.next_wake) is not None and wake <= target:
            self.now = wake
            self.take(self.twap.on_time(wake))
        self.now = target
        self.take(self.twap.on_time(target))

    @rule(ms=st.integers(0, 30_000))
    def time_jumps(self, ms: int) -> None:
        # A late alert: nothing may leave after the end because of it (checked in take).
        self.now += ms * 1_000_000
        self.take(self.twap.on_time(self.now))

    @rule(theta=st.floats(-1, 1), age_ms=st.integers(0, 5_000))
    def signal(self, theta: float, age_ms: int) -> None:
        actions = self.twap.on_signal(self.now, theta, self.now - age_ms * 1_000_000)
        effective = self.twap.theta_eff(self.now)
        assert effective is not None
        against = effective * self.twap.side < 0 and abs(effective) >= self.twap.config.lower
        self.take(actions, dead=against)

    @rule(regime=st.sampled_from(["NORMAL", "HIGH_VARIANCE", "LOW_LIQUIDITY"]))
    def regime(self, regime: str) -> None:
        self.take(self.twap.on_regime(self.now, regime))  # type: ignore[arg-type]

    @precondition(lambda self: self.venue)
    @rule(data=st.data())
    def fill(self, data: st.DataObject) -> None:
        child = data.draw(st.sampled_from(sorted(self.venue)))
        lots = data.draw(st.integers(1, self.venue[child]))
        self.venue[child] -= lots
        self.filled += lots
        if self.venue[child] == 0:
            del self.venue[child]
        self.take(self.twap.on_fill(self.now, child, lots))

    @precondition(lambda self: self.venue)
    @rule(data=st.data())
    def reject_or_expire(self, data: st.DataObject) -> None:
        self.close(data.draw(st.sampled_from(sorted(self.venue))))

    @precondition(lambda self: any(c in self.venue for c in self.cancels))
    @rule(data=st.data())
    def cancel_confirmed(self, data: st.DataObject) -> None:
        self.close(data.draw(st.sampled_from([c for c in self.cancels if c in self.venue])))

    def close(self, child: int) -> None:
        self.returned += self.venue.pop(child)
        over = self.twap.ending is not None
        self.take(self.twap.on_closed(self.now, child), dead=over)

    @rule(child=st.integers(1, 50))
    def late_or_repeated_close(self, child: int) -> None:
        if child not in self.venue:
            before = (self.twap.filled, self.twap.open, self.twap.unscheduled)
            assert self.twap.on_closed(self.now, child) == []
            assert (self.twap.filled, self.twap.open, self.twap.unscheduled) == before

    @rule()
    def cancel_parent(self) -> None:
        self.take(self.twap.cancel(self.now), dead=True)
        assert self.twap.unscheduled == 0
        assert set(self.venue) <= set(self.cancels)

    @invariant()
    def every_lot_is_somewhere(self) -> None:
        if not hasattr(self, "twap"):
            return
        t = self.twap
        assert t.filled + t.open + t.unscheduled + t.abandoned == t.parent_lots
        assert min(t.filled, t.open, t.unscheduled, t.abandoned) >= 0
        assert t.open == sum(self.venue.values())
        assert t.filled == self.filled
        assert self.sent == self.filled + self.returned + t.open
        assert t.slice_lots >= t.min_lots
        if t.ending is not None:
            assert t.unscheduled == 0
            assert t.next_wake is None
        else:
            assert t.next_wake is not None
            assert t.next_wake > self.now

    def teardown(self) -> None:
        if not hasattr(self, "twap"):
            return
        while (wake := self.twap.next_wake) is not None:
            self.now = wake
            self.take(self.twap.on_time(wake))
            for child in [c for c in self.cancels if c in self.venue]:
                self.close(child)
        for child in list(self.venue):
            self.close(child)
        assert self.twap.done
        assert self.twap.filled + self.twap.abandoned == self.twap.parent_lots
        self.every_lot_is_somewhere()


TwapUnderAnything.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None
)
TestTwapUnderAnything = TwapUnderAnything.TestCase


def run(twap: TwapSchedule, events: dict[int, tuple[str, object]] | None = None) -> list[tuple]:
    """Fill every slice at once; apply `events` {second: (method, argument)}; the slices sent."""
    events = {t * S: e for t, e in (events or {}).items()}
    sent: list[tuple[float, int]] = []

    def take(now: int, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Slice):
                sent.append((now / S, action.lots))
                if not action.passive:
                    take(now, twap.on_fill(now, action.child, action.lots))
            elif isinstance(action, CancelChild):
                take(now, twap.on_closed(now, action.child))

    take(0, twap.start(0))
    while twap.next_wake is not None or events:
        times = [t for t in (twap.next_wake, min(events, default=None)) if t is not None]
        now = min(times)
        if now in events:
            method, argument = events.pop(now)
            take(now, getattr(twap, method)(now, *([argument] if argument is not None else [])))
        take(now, twap.on_time(now))
    return sent


def plain(lots: int = 60, **values: object) -> TwapSchedule:
    config = TwapConfig(**{"horizon_secs": 60.0, "interval_secs": 10.0} | values)  # type: ignore[arg-type]
    return TwapSchedule(config, 1, lots)


def test_without_a_signal_it_is_a_plain_twap() -> None:
    assert run(plain()) == [(0, 10), (10, 10), (20, 10), (30, 10), (40, 10), (50, 10)]


def test_rounding_leaves_a_rest_for_the_horizon() -> None:
    assert run(plain(65)) == [(0, 10), (10, 10), (20, 10), (30, 10), (40, 10), (50, 10), (60, 5)]
    twap = plain(65, on_horizon="abandon")
    run(twap)
    assert (twap.filled, twap.abandoned, twap.ending) == (60, 5, "horizon")


def test_a_rest_too_small_to_leave_alone_goes_with_the_slice_before() -> None:
    twap = TwapSchedule(TwapConfig(horizon_secs=60, interval_secs=10), 1, 64, min_lots=6)
    assert [lots for _, lots in run(twap)] == [10, 10, 10, 10, 10, 14]


def test_slices_never_fall_below_the_minimum() -> None:
    twap = TwapSchedule(TwapConfig(horizon_secs=60, interval_secs=10), 1, 20, min_lots=8)
    assert [lots for _, lots in run(twap)] == [8, 12]  # 20/6 = 3 is under 8; 4 left would be too


def test_a_parent_below_the_minimum_is_abandoned() -> None:
    twap = TwapSchedule(TwapConfig(horizon_secs=60, interval_secs=10), 1, 5, min_lots=8)
    assert run(twap) == []
    assert (twap.ending, twap.abandoned) == ("below_minimum", 5)


def test_a_strong_aligned_signal_accelerates() -> None:
    # 1 / (1 + 2 (1.0 - 0.5)) = 1/2: every 5 s.
    twap = plain()
    assert run(twap, {0: ("on_signal", 1.0)}) == [(t, 10) for t in (0, 5, 10, 15, 20, 25)]


def test_a_signal_in_the_middle_of_a_wait_moves_the_next_slice() -> None:
    assert run(plain(), {7: ("on_signal", 1.0)})[:3] == [(0, 10), (7, 10), (12, 10)]


def test_a_weak_signal_of_either_sign_damps() -> None:
    for theta in (0.05, -0.05):
        assert run(plain(), {0: ("on_signal", theta)})[:3] == [(0, 10), (20, 10), (40, 10)]


def test_high_variance_halves_the_wait() -> None:
    assert run(plain(), {0: ("on_regime", "HIGH_VARIANCE")})[:3] == [(0, 10), (5, 10), (10, 10)]


def test_the_wait_is_clamped() -> None:
    twap = plain(min_interval_secs=4.0, max_interval_secs=12.0, acceleration=100.0)
    assert run(twap, {0: ("on_signal", 1.0)})[:2] == [(0, 10), (4, 10)]
    twap = plain(min_interval_secs=4.0, max_interval_secs=12.0)
    assert run(twap, {0: ("on_signal", 0.0)})[:2] == [(0, 10), (12, 10)]


def test_low_liquidity_pauses_and_grace_extends_the_end() -> None:
    events = {15: ("on_regime", "LOW_LIQUIDITY"), 58: ("on_regime", "NORMAL")}
    assert run(plain(), dict(events)) == [(0, 10), (10, 10), (58, 10), (60, 30)]
    assert run(plain(grace_secs=30.0), dict(events)) == [
        (0, 10), (10, 10), (58, 10), (68, 10), (78, 10), (88, 10),
    ]  # fmt: skip
    assert plain(grace_secs=30.0).config.grace_secs == 30
    unpaused = plain(65, grace_secs=30.0)
    run(unpaused)
    assert unpaused.ended_at == 60 * S  # grace only after a pause


def test_a_pause_that_outlasts_the_end_abandons() -> None:
    twap = plain(grace_secs=30.0)
    assert run(twap, {15: ("on_regime", "LOW_LIQUIDITY")}) == [(0, 10), (10, 10)]
    assert (twap.abandoned, twap.ended_at) == (40, 90 * S)


def test_alpha_decays_by_half_lives() -> None:
    twap = plain(half_life_secs=10.0)
    twap.start(0)
    twap.on_signal(0, 0.8)
    assert twap.theta_eff(0) == 0.8
    assert twap.theta_eff(10 * S) == pytest.approx(0.4)
    assert twap.theta_eff(30 * S) == pytest.approx(0.1)
    twap.on_signal(5 * S, 0.8, 0)  # published late: its age counts from when it was made
    assert twap.theta_eff(10 * S) == pytest.approx(0.4)


def test_decay_slows_an_accelerated_schedule_down() -> None:
    sent = run(plain(120, horizon_secs=120.0, half_life_secs=10.0), {0: ("on_signal", 1.0)})
    waits = [b[0] - a[0] for a, b in itertools.pairwise(sent)]
    assert waits[0] == 5.0
    assert waits[1] == pytest.approx(10 / (1 + 2 * (2**-0.5 - 0.5)), abs=1e-6)
    assert waits[2] == pytest.approx(10.0)  # under `upper`: plain again
    assert max(waits) == 20.0  # and under `lower`: damped


def test_under_the_floor_it_finishes_or_abandons() -> None:
    values = {"half_life_secs": 10.0, "floor": 0.1, "lower": 0.2}
    twap = plain(**values)
    assert run(twap, {0: ("on_signal", 0.4)}) == [(0, 10), (10, 10), (20, 10), (40, 30)]
    assert twap.slices[-1].why == "decayed"
    twap = plain(on_decay="abandon", **values)
    assert run(twap, {0: ("on_signal", 0.4)}) == [(0, 10), (10, 10), (20, 10)]
    assert (twap.ending, twap.abandoned) == ("decayed", 30)


def test_a_flip_of_sign_stops() -> None:
    twap = plain()
    assert run(twap, {0: ("on_signal", 0.3), 25: ("on_signal", -0.1)}) == [
        (0, 10), (10, 10), (20, 10),
    ]  # fmt: skip
    assert (twap.ending, twap.abandoned) == ("flipped", 30)


def test_a_sell_parent_mirrors() -> None:
    config = TwapConfig(horizon_secs=60, interval_secs=10)
    buy, sell = TwapSchedule(config, 1, 60), TwapSchedule(config, -1, 60)
    up = run(buy, {0: ("on_signal", 0.8), 12: ("on_signal", -0.5)})
    down = run(sell, {0: ("on_signal", -0.8), 12: ("on_signal", 0.5)})
    assert up == down


def test_cancel_withdraws_children_and_keeps_counting_their_fills() -> None:
    twap = plain()
    twap.start(0)
    assert twap.cancel(S) == [CancelChild(1)]
    assert twap.cancel(S) == []  # asked once
    assert twap.on_fill(2 * S, 1, 4) == []  # the fill was faster than the cancel
    assert twap.on_closed(2 * S, 1) == []
    assert (twap.filled, twap.abandoned, twap.done) == (4, 56, True)


def test_a_rejected_child_returns_to_the_schedule() -> None:
    twap = plain()
    twap.start(0)
    assert twap.on_closed(0, 1) == []  # not again in the same instant
    assert twap.unscheduled == 60
    assert twap.on_time(10 * S) == [Slice(2, 10, passive=False)]


def test_passive_first_rests_then_crosses() -> None:
    twap = plain(passive_share=0.5)
    assert twap.start(0) == [Slice(1, 10, passive=True)]
    twap.on_fill(2 * S, 1, 4)
    assert twap.next_wake == 5 * S
    assert twap.on_time(5 * S) == [CancelChild(1)]
    assert twap.on_closed(5 * S, 1) == [Slice(2, 6, passive=False)]
    assert twap.next_wake == 10 * S  # crossing does not shift the rhythm


def test_the_horizon_withdraws_what_rests_and_sends_the_rest() -> None:
    twap = plain(65, passive_share=0.9)
    sent = run(twap)
    assert (
        sum(lots for _, lots in sent) == 6 * 10 + 6 * 10 + 5
    )  # each rested, crossed, then the rest
    assert twap.filled == 65


@pytest.mark.parametrize(
    "values",
    [
        {"interval_secs": 0.0},
        {"horizon_secs": 5.0},
        {"min_interval_secs": 11.0},
        {"max_interval_secs": 9.0},
        {"half_life_secs": 0.0},
        {"floor": 0.2},
        {"lower": 0.6},
        {"acceleration": -1.0},
        {"damping": 0.5},
        {"high_variance_factor": 0.0},
        {"grace_secs": -1.0},
        {"passive_share": 1.0},
    ],
)
def test_impossible_parameters_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(StrategyError, match=r"must be .*\(was .*\); "):
        plain(**values)


def test_parameters_arrive_as_strings_and_unknown_ones_are_refused() -> None:
    config = twap_config({"horizon_secs": "60", "interval_secs": "10", "passive_share": "0.5"})
    assert (config.horizon_secs, config.passive_share) == (60.0, 0.5)
    with pytest.raises(StrategyError, match="horizon_seconds"):
        twap_config({"horizon_seconds": "60", "interval_secs": "10"})
    with pytest.raises(StrategyError, match="passive_share"):
        twap_config({"horizon_secs": "60", "interval_secs": "10", "passive_share": "half"})


def test_theta_out_of_range_and_impossible_fills_are_errors() -> None:
    twap = plain()
    with pytest.raises(StrategyError, match="started"):
        _ = twap.end
    twap.start(0)
    with pytest.raises(StrategyError, match="tanh"):
        twap.on_signal(0, 1.5)
    with pytest.raises(StrategyError, match="leaves"):
        twap.on_fill(0, 1, 11)
    with pytest.raises(StrategyError, match="not open"):
        twap.on_fill(0, 9, 1)
    with pytest.raises(StrategyError, match="positive"):
        TwapSchedule(TwapConfig(horizon_secs=60, interval_secs=10), 1, 0)
