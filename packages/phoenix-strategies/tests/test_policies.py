"""Decisions of the policies, without an engine: rules, exits first, slips."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phoenix_schemas.signal_records import (
    PhoenixSignal,
    SignalSnapshot,
    Validity,
    VolatilityRegime,
)
from phoenix_strategies.gates import GatesConfig, MarketState
from phoenix_strategies.liquidity_pressure import (
    LiquidityPressurePolicy,
    LiquidityPressureSettings,
)
from phoenix_strategies.order_rules import OrderRules, touch_price
from phoenix_strategies.phoenix import PhoenixPolicy, PhoenixSettings
from phoenix_strategies.phoenix_lpi import PhoenixLpiPolicy, PhoenixLpiSettings
from phoenix_strategies.stops import StopConfig
from phoenix_strategies.toxicity_volatility import (
    NOTHING_KNOWN,
    PRESETS,
    ToxicityVolatilityPolicy,
    ToxicityVolatilitySettings,
)

D = Decimal
NOW = 1_700_000_000_000_000_000
SEC = 1_000_000_000
GOOD = MarketState(
    now=NOW, bid=99.99, ask=100.01, quote_ts=NOW, depth_notional=1e6, depth_ts=NOW, equity=1e4
)
RULES = OrderRules(D("0.10"), D("0.001"), D("0.001"), None, D("5"))


def bucket(lpi: float | None, exh: float | None = 0.0, **values: object) -> SignalSnapshot:
    snapshot = SignalSnapshot(
        ts_event=NOW, lpi_fast=lpi, exh=exh, lev=None, pressure_z=lpi, ld_z=None, delta_lpi=None,
        spread=0.0002, depth_proxy=1e6, rv=None, zero_impulse_share=0.5,
        validity_flags=Validity.VALID,
    )  # fmt: skip
    return msgspec.structs.replace(snapshot, **values)


INVALID = bucket(None, None, validity_flags=Validity.DEPTH_STALE)


def lpi_policy(**values: object) -> PhoenixLpiPolicy:
    return PhoenixLpiPolicy(msgspec.convert(values, PhoenixLpiSettings))


def step(policy: PhoenixLpiPolicy, s: SignalSnapshot, side: int = 0, **kw: object) -> str:
    market = kw.pop("market", GOOD)
    entering = bool(kw.pop("entering", False))
    return str(policy.decide(s, market, side=side, entering=entering))  # type: ignore[arg-type]


# Phoenix LPI ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lpi", "exh", "expected"),
    [
        (3.0, -0.5, "enter short: momentum"),  # forced selling runs: sell with it
        (-3.0, -0.5, "enter long: momentum"),
        (3.0, 0.5, "enter long: mean_reversion"),  # forced selling is exhausted: buy
        (-3.0, 0.5, "enter short: mean_reversion"),
        (3.0, 0.0, "wait: between"),
        (1.99, 0.9, "wait: no pressure"),
        (None, 0.9, "wait: signal not valid"),
        (3.0, None, "wait: signal not valid"),
    ],
)
def test_lpi_and_exhaustion_choose_variant_and_side(
    lpi: float | None, exh: float | None, expected: str
) -> None:
    assert step(lpi_policy(), bucket(lpi, exh)).startswith(expected)


@given(st.floats(-10, 10), st.floats(-3, 3))
def test_selling_and_buying_pressure_are_mirrors(lpi: float, exh: float) -> None:
    # Slip 14: LPI and EXH must work for both sides.
    down = lpi_policy().decide(bucket(lpi, exh), GOOD, side=0, entering=False)
    up = lpi_policy().decide(bucket(-lpi, exh), GOOD, side=0, entering=False)
    assert (down.act, down.side) == (up.act, -up.side)


def test_variants_can_be_switched_off() -> None:
    assert step(lpi_policy(momentum_enabled=False), bucket(3.0, -1.0)).startswith("wait")
    assert step(lpi_policy(mean_rev_enabled=False), bucket(3.0, 1.0)).startswith("wait")


def test_momentum_leaves_on_time_exhaustion_and_spread() -> None:
    for snapshot, market, why in [
        (bucket(5.0, 0.5), GOOD, "exhausted"),
        (bucket(5.0, -2.0), replace(GOOD, bid=99.0, ask=100.0), "spread"),
    ]:
        policy = lpi_policy()
        step(policy, bucket(3.0, -1.0))
        assert step(policy, bucket(5.0, -2.0), side=-1) == "wait: holding"
        assert step(policy, snapshot, side=-1, market=market).startswith(f"leave: {why}")
    policy = lpi_policy(max_hold_buckets_momentum=3)
    step(policy, bucket(3.0, -1.0))
    assert [step(policy, bucket(3.0, -1.0), side=-1)[:5] for _ in range(3)] == [
        "wait:", "wait:", "leave",
    ]  # fmt: skip


def test_mean_reversion_leaves_when_pressure_is_gone_or_accelerates() -> None:
    def opened() -> PhoenixLpiPolicy:
        policy = lpi_policy()
        assert step(policy, bucket(3.0, 1.0)).startswith("enter long")
        assert step(policy, bucket(2.5, 0.2), side=1) == "wait: holding"
        return policy

    assert step(opened(), bucket(-0.5, 0.0), side=1).startswith("leave: pressure gone")
    assert step(opened(), bucket(3.1, -0.5), side=1).startswith("leave: accelerates")
    assert step(opened(), bucket(3.1, -0.4), side=1) == "wait: holding"  # not exhausted enough
    assert step(opened(), bucket(2.9, -0.5), side=1) == "wait: holding"  # not above entry
    assert step(opened(), bucket(-3.1, -0.5), side=1) == "wait: holding"  # other side


@pytest.mark.parametrize("first", [bucket(3.0, -1.0), bucket(3.0, 1.0)])
def test_slip_18_the_time_stop_holds_on_invalid_signals_and_closed_gates(
    first: SignalSnapshot,
) -> None:
    policy = lpi_policy(max_hold_buckets_momentum=5, max_hold_buckets_mean_rev=5)
    side = policy.decide(first, GOOD, side=0, entering=False).side
    stale = replace(GOOD, quote_ts=NOW - 3_600 * SEC, depth_ts=None)
    decisions = [step(policy, INVALID, side=side, market=stale) for _ in range(5)]
    assert decisions[-1].startswith("leave: time stop")
    assert all(d == "wait: holding" for d in decisions[:-1])


def test_slip_19_entries_have_a_time_limit_even_when_partly_filled() -> None:
    policy = lpi_policy(entry_ttl_buckets=2)
    step(policy, bucket(3.0, 1.0))
    assert step(policy, bucket(3.0, 1.0), entering=True) == "wait: entry working"
    assert step(policy, bucket(3.0, 1.0), entering=True).startswith("cancel: entry unfilled")
    assert step(policy, bucket(3.0, 1.0), entering=True, side=1).startswith(
        "cancel: entry unfilled"
    )


def test_an_entry_that_ended_without_a_fill_frees_the_policy() -> None:
    policy = lpi_policy()
    assert step(policy, bucket(3.0, 1.0)).startswith("enter")
    assert step(policy, bucket(3.0, 1.0)).startswith("enter")  # rejected: may try again


def test_additive_lpi_needs_pressure_of_its_own_sign() -> None:
    wide = bucket(3.0, 1.0, pressure_z=-0.1)
    assert step(lpi_policy(liquidity_mode="additive"), wide).startswith("wait: pressure")
    assert step(lpi_policy(liquidity_mode="signed"), wide).startswith("enter")
    unknown = bucket(3.0, 1.0, pressure_z=None)
    assert step(lpi_policy(liquidity_mode="additive"), unknown).startswith("wait: pressure")


def test_lev_min_filters_mean_reversion_entries_only() -> None:
    policy = lpi_policy(lev_min=1.0)
    assert step(policy, bucket(3.0, 1.0, lev=0.5)).startswith("wait: lev")
    assert step(policy, bucket(3.0, 1.0)).startswith("wait: lev")
    assert step(policy, bucket(3.0, -1.0, lev=0.5)).startswith("enter short")
    assert step(lpi_policy(lev_min=1.0), bucket(3.0, 1.0, lev=1.0)).startswith("enter long")


@pytest.mark.parametrize(
    ("gate", "market"),
    [
        ("stale_quote", replace(GOOD, quote_ts=NOW - 1_001_000_000)),
        ("spread", replace(GOOD, bid=99.0)),
        ("stale_depth", replace(GOOD, depth_ts=NOW - 61 * SEC)),
    ],
)
def test_lpi_entries_pass_the_gates(gate: str, market: MarketState) -> None:
    policy = lpi_policy()
    decision = policy.decide(bucket(3.0, 1.0), market, side=0, entering=False)
    assert (decision.act, decision.gate) == ("wait", gate)
    assert policy.gates.refusals == {gate: 1}
    assert policy.decide(bucket(3.0, 1.0), GOOD, side=0, entering=False).act == "enter"


def test_depth_gates_need_depth_only_if_depth_is_used() -> None:
    blind = replace(GOOD, depth_ts=None, depth_notional=None)
    assert step(lpi_policy(use_depth_pct=False), bucket(3.0, 1.0), market=blind).startswith("enter")
    assert step(lpi_policy(), bucket(3.0, 1.0), market=blind).startswith("wait: stale_depth")


def test_a_kill_switch_closes_a_position() -> None:
    policy = lpi_policy(gates={"max_daily_loss_share": 0.02})
    step(policy, bucket(3.0, 1.0))
    assert step(policy, bucket(3.0, 0.4), side=1) == "wait: holding"
    poor = replace(GOOD, equity=9_700.0)
    assert step(policy, bucket(3.0, 0.4), side=1, market=poor).startswith("leave: daily_loss")


# Phoenix (composite LPI) ------------------------------------------------------------------------

SELLING = PhoenixSignal(NOW, fsi=0.9, vpin=0.8, ldr=0.4, oi_zscore=2.0, lpi=0.8, is_valid=True)


def composite(signal: PhoenixSignal, side: int = 0, **kw: object) -> str:
    policy = kw.pop("policy", None) or PhoenixPolicy(PhoenixSettings())
    sigma = kw.pop("sigma", 0.0005)
    return str(
        policy.decide(signal, kw.pop("market", GOOD), sigma_per_minute=sigma, side=side,
                      entering=bool(kw.pop("entering", False)))
    )  # fmt: skip


def test_phoenix_buys_into_forced_selling() -> None:
    assert composite(SELLING) == "enter long: lpi 0.80"


@pytest.mark.parametrize(
    ("signal", "why"),
    [
        (msgspec.structs.replace(SELLING, lpi=0.75), "wait: no forced"),  # strictly above
        (msgspec.structs.replace(SELLING, is_valid=False), "wait: signal not valid"),
        (msgspec.structs.replace(SELLING, lpi=None), "wait: signal not valid"),
        (msgspec.structs.replace(SELLING, oi_zscore=1.49), "wait: open interest"),
        (msgspec.structs.replace(SELLING, oi_zscore=None), "wait: open interest"),
    ],
)
def test_phoenix_entry_filters(signal: PhoenixSignal, why: str) -> None:
    assert composite(signal).startswith(why)


def test_phoenix_waits_for_realized_volatility() -> None:
    assert composite(SELLING, sigma=None).startswith("wait: realized volatility")


def test_the_open_interest_filter_can_be_dropped() -> None:
    policy = PhoenixPolicy(PhoenixSettings(oi_z_threshold=None))
    assert composite(msgspec.structs.replace(SELLING, oi_zscore=None), policy=policy).startswith(
        "enter"
    )


@given(
    oi=st.none() | st.floats(-5, 5),
    valid=st.booleans(),
    sigma=st.none() | st.floats(0, 0.01),
    lpi=st.floats(0, 0.199),
    stale=st.booleans(),
)
def test_slip_18_phoenix_leaves_whatever_open_interest_and_validity_say(
    oi: float | None, valid: bool, sigma: float | None, lpi: float, stale: bool
) -> None:
    signal = msgspec.structs.replace(SELLING, oi_zscore=oi, is_valid=valid, lpi=lpi)
    market = replace(GOOD, quote_ts=0) if stale else GOOD
    assert composite(signal, side=1, sigma=sigma, market=market).startswith("leave: lpi")
    assert composite(signal, entering=True, sigma=sigma, market=market).startswith("leave: lpi")


def test_phoenix_stops_on_quotes_and_time() -> None:
    policy = PhoenixPolicy(PhoenixSettings(stop=StopConfig(k_stop=2, h_stop_bars=16)))
    assert policy.on_quote(NOW, 1.0, 1.1, None) is None  # nothing held
    policy.opened(NOW, 100.0, 0.0025)
    assert policy.on_quote(NOW + 1, 98.1, 98.2, None) is None
    assert policy.on_quote(NOW + 2, 98.0, 98.1, None) == "trailing_stop"
    assert policy.on_quote(NOW + 3_600 * SEC, 99.0, 99.1, None) == "time_stop"
    policy.closed()
    assert policy.on_quote(NOW + 3_601 * SEC, 50.0, 51.0, None) is None


def test_slip_11_the_volatility_floor_is_a_sigma() -> None:
    # sigma 0.0005 is floored to 0.001; 0.001^2 * 60 + 1e-4 = 1.6e-4; f = 0.5 * 0.0005 / 1.6e-4
    # = 1.5625, under the leverage cap of 2: 15,625 / 100 = 156.25.
    policy = PhoenixPolicy(PhoenixSettings())
    size = policy.size(0.0005, equity=10_000.0, price=D(100), rules=RULES)
    assert (size.quantity, size.limited_by) == (D("156.250"), "target")
    # With jumps left out f = 4.17: the leverage cap decides.
    policy = PhoenixPolicy(PhoenixSettings(jump_risk_variance=0.0))
    size = policy.size(0.0005, equity=10_000.0, price=D(100), rules=RULES)
    assert (size.quantity, size.limited_by) == (D("200.000"), "max_leverage")
    # A wilder market than the floor trades less.
    assert policy.size(0.01, equity=1e4, price=D(100), rules=RULES).quantity < 100


@given(
    st.integers(1, 10**7), st.integers(1, 500), st.integers(0, 600),
    st.sampled_from([D("0.1"), D("0.01"), D("0.25")]),
)  # fmt: skip
def test_a_passive_price_joins_or_improves_and_never_crosses(
    bid: int, spread: int, offset: int, tick: Decimal
) -> None:
    b, a = bid * tick, (bid + spread) * tick
    assert b <= touch_price(1, b, a, tick, offset) < a
    assert b < touch_price(-1, b, a, tick, offset) <= a


# Liquidity pressure -----------------------------------------------------------------------------


def bar_policy(**values: object) -> LiquidityPressurePolicy:
    return LiquidityPressurePolicy(msgspec.convert(values, LiquidityPressureSettings))


@pytest.mark.parametrize(
    ("lpi", "side", "expected"),
    [
        (1.01, 0, "enter long"),
        (-1.01, 0, "enter short"),
        (1.0, 0, "wait"),
        (None, 0, "wait: warming"),
        (0.19, 1, "leave: lpi"),
        (-0.19, -1, "leave: lpi"),
        (0.2, 1, "wait: holding"),
        (None, 1, "wait: holding"),
        (-1.01, 1, "leave short: reversal"),
        (1.01, -1, "leave long: reversal"),
        (-0.9, 1, "wait: holding"),
    ],
)
def test_bar_lpi_thresholds(lpi: float | None, side: int, expected: str) -> None:
    assert str(bar_policy().decide(lpi, GOOD, side=side)).startswith(expected)


def test_the_spread_gate_refuses_and_flattens_if_configured() -> None:
    wide = replace(GOOD, bid=99.9, ask=100.0)  # 10 bps
    assert bar_policy().decide(2.0, wide, side=0).gate == "spread"
    assert bar_policy().decide(2.0, wide, side=1).act == "leave"
    assert bar_policy(flatten_on_spread_gate=False).decide(2.0, wide, side=1).act == "wait"
    assert bar_policy(max_spread_bps=None).decide(2.0, wide, side=0).act == "enter"


def test_slip_18_a_faded_signal_leaves_through_a_closed_gate() -> None:
    policy = bar_policy(flatten_on_spread_gate=False)
    assert policy.decide(0.0, replace(GOOD, bid=90.0), side=1).act == "leave"


# Toxicity-conditioned volatility ----------------------------------------------------------------

FLOW = NOTHING_KNOWN._replace(
    f1=1.5, f2=2.0, f3=0, is_toxic=False, variance=0.0005**2, spread_bps=2.0
)


def tox(settings: dict[str, object] | None = None) -> ToxicityVolatilityPolicy:
    return ToxicityVolatilityPolicy(msgspec.convert(settings or {}, ToxicityVolatilitySettings))


@pytest.mark.parametrize(
    ("f1", "f2", "f3", "expected"),
    [
        (1.0, 1.0, 0, "enter long: expansion"),
        (1.0, -1.0, 0, "enter short: expansion"),
        (0.99, 5.0, 0, "wait: no expansion"),
        (5.0, 0.99, 0, "wait: no expansion"),
        (5.0, -0.1, -1, "enter short: fade"),  # slip 21: the position is F3
        (-5.0, 0.1, 1, "enter long: fade"),
        (5.0, 3.0, -1, "wait: crowded -1"),
        (5.0, 0.0, 0, "wait: no pressure"),
        (5.0, 0.0, 1, "wait: no pressure"),
        (5.0, None, 1, "wait: features"),
        (None, 1.0, 1, "wait: features"),
        (5.0, 1.0, None, "wait: features"),
    ],
)
def test_regime_flow_and_compression_choose_the_side(
    f1: float | None, f2: float | None, f3: int | None, expected: str
) -> None:
    features = FLOW._replace(f1=f1, f2=f2, f3=f3)
    assert str(tox().decide(features, GOOD, side=0)).startswith(expected)


@given(st.floats(-5, 5), st.floats(-5, 5), st.sampled_from([-1, 1]))
def test_slip_21_in_a_crowd_every_position_is_f3(f1: float, f2: float, f3: int) -> None:
    decision = tox().decide(FLOW._replace(f1=f1, f2=f2, f3=f3), GOOD, side=0)
    assert decision.act == "wait" or decision.side == f3


def test_a_change_of_crowding_reduces_and_does_not_reverse() -> None:
    policy = tox({"reduce_share": 0.4})
    policy.decide(FLOW, GOOD, side=0)
    cut = policy.decide(FLOW._replace(f2=-3.0, f3=-1), GOOD, side=1)
    assert (cut.act, cut.share) == ("reduce", 0.4)
    assert policy.decide(FLOW._replace(f2=-3.0, f3=-1), GOOD, side=1).act == "wait"


@pytest.mark.parametrize(
    ("side", "before", "after", "reduces"),
    [(1, -0.5, 0.1, True), (1, 0.0, 0.1, True), (1, 0.5, -0.1, False), (1, 0.1, 0.5, False),
     (-1, 0.5, -0.1, True), (-1, -0.5, 0.1, False), (1, None, 0.5, False)],
)  # fmt: skip
def test_funding_that_turns_against_the_position_reduces(
    side: int, before: float | None, after: float, reduces: bool
) -> None:
    policy = tox()
    policy.decide(FLOW._replace(funding_z=before), GOOD, side=side)
    decision = policy.decide(FLOW._replace(funding_z=after), GOOD, side=side)
    assert decision.act == ("reduce" if reduces else "wait")


def test_no_passive_entry_in_a_toxic_regime() -> None:
    passive = {"execution": "limit"}
    assert tox(passive).decide(FLOW, GOOD, side=0).act == "enter"
    for toxic in (
        FLOW._replace(is_toxic=True),
        FLOW._replace(is_toxic=None),
        FLOW._replace(regime=VolatilityRegime.HIGH_VARIANCE),
    ):
        assert tox(passive).decide(toxic, GOOD, side=0).gate == "passive_toxic"
        assert tox().decide(toxic, GOOD, side=0).act == "enter"  # market orders may
    tight = tox(passive | {"limit_min_spread_bps": 2.5})
    assert tight.decide(FLOW, GOOD, side=0).gate == "passive_spread"


def test_slip_18_stops_hold_without_features() -> None:
    policy = tox()
    policy.decide(FLOW, GOOD, side=0)
    policy.opened(NOW, -1, 100.0, 0.0025**2)
    nothing = NOTHING_KNOWN
    assert policy.decide(nothing, replace(GOOD, now=NOW + 3_599 * SEC), side=-1).act == "wait"
    late = replace(GOOD, now=NOW + 3_600 * SEC, quote_ts=None)
    assert str(policy.decide(nothing, late, side=-1)) == "leave: time_stop"
    # Short from 100, d = 2 * 0.0025 * sqrt(15) = 1.94 %: the ask at 102 is beyond.
    assert policy.on_quote(NOW, 101.9, 102.0, None) == "trailing_stop"


def test_the_budget_shrinks_with_spread_and_toxicity() -> None:
    # b = 30 bps of 10,000 = 30; sigma sqrt(60) = 0.003873: N = 7,746, or 77.459 at 100.
    policy = tox()
    calm = policy.size(FLOW, equity=10_000.0, price=D(100), rules=RULES)
    assert calm.quantity == D("77.459")
    wide = policy.size(FLOW._replace(spread_bps=4.0), equity=1e4, price=D(100), rules=RULES)
    assert wide.quantity == D("38.729")
    toxic = FLOW._replace(vpin=0.6, vpin_reference=0.3)
    assert policy.size(toxic, equity=1e4, price=D(100), rules=RULES).quantity == D("38.729")


def test_presets_are_the_published_ones_and_can_be_overridden() -> None:
    assert ToxicityVolatilitySettings().resolved() == PRESETS["A"]
    assert PRESETS["B"][:3] == (5, 60, 720)
    assert PRESETS["C"].toxicity_percentile == 50
    own = ToxicityVolatilitySettings(preset="B", long_minutes=90, crowding_threshold=9.0)
    assert own.resolved() == PRESETS["B"]._replace(long_minutes=90, crowding_threshold=9.0)


# Settings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (PhoenixLpiSettings, {"theta_exh_low": 0.5}, "theta_exh_low must be <"),
        (PhoenixLpiSettings, {"lpi_exit_abs": 2.0}, "lpi_exit_abs must be <"),
        (PhoenixLpiSettings, {"momentum_enabled": False, "mean_rev_enabled": False}, "neither"),
        (PhoenixLpiSettings, {"gates": {"max_rel_spread_bps": 5.0}}, "beside gates"),
        (PhoenixLpiSettings, {"z_window_buckets": "600s"}, "z_window_buckets"),
        (PhoenixLpiSettings, {"theta": 2.0}, "theta"),
        (PhoenixLpiSettings, {"z_window_buckets": 10}, "min_count must be"),
        (PhoenixSettings, {"fsi_window": 10}, "min_count must be"),
        (ToxicityVolatilitySettings, {"short_minutes": 5, "long_minutes": 10}, "min_count must be"),
        (PhoenixSettings, {"lpi_exit_threshold": 0.8}, "lpi_exit_threshold must be <"),
        (PhoenixSettings, {"caps": {"max_leverage": 2.0}}, "beside caps"),
        (PhoenixSettings, {"stop": {"k_stop": 0}}, "k_stop must be positive"),
        (LiquidityPressureSettings, {"exit_threshold": 1.0}, "exit_threshold must be <"),
        (LiquidityPressureSettings, {"gates": {"max_rel_spread_bps": 1.0}}, "max_spread_bps"),
        (ToxicityVolatilitySettings, {"short_minutes": 400}, "short_minutes must be <"),
        (ToxicityVolatilitySettings, {"preset": "D"}, "preset"),
        (ToxicityVolatilitySettings, {"twap": {"interval_secs": 1}}, "horizon_secs"),
    ],
)  # fmt: skip
def test_contradictory_settings_are_refused_with_the_rule(
    kind: type, values: dict[str, object], message: str
) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(values, kind)


def test_published_gate_keys_reach_the_gates() -> None:
    gates = PhoenixLpiSettings().all_gates()
    assert gates == GatesConfig(
        quote_max_age_ms=1_000, max_rel_spread_bps=20.0, depth_max_age_ms=60_000,
        min_depth_notional=0.0,
    )  # fmt: skip
