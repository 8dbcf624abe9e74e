"""Sizing: exact rounding down, the smallest cap, honest refusals, monotone targets."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from phoenix_strategies.errors import StrategyError
from phoenix_strategies.order_rules import OrderRules
from phoenix_strategies.sizing import (
    Caps,
    kelly_fraction,
    kelly_weights,
    shrink_budget,
    size_fixed,
    size_for_notional,
    volatility_target,
)

D = Decimal
PERP = OrderRules(D("0.10"), D("0.001"), D("0.001"), D("1000"), D("5"))

rules_strategy = st.builds(
    OrderRules,
    size_increment=st.sampled_from([D("1"), D("0.1"), D("0.001"), D("0.0025"), D("0.00000001")]),
    min_quantity=st.sampled_from([D("0.001"), D("0.01"), D("1")]),
    min_notional=st.sampled_from([D("0"), D("5"), D("100")]),
    price_increment=st.sampled_from([D("0.1"), D("0.0001"), D("0.25")]),
    max_quantity=st.none() | st.sampled_from([D("10"), D("1000")]),
)
prices = st.decimals("0.01", "200000", places=4)
notionals = st.floats(0.01, 1e9)
caps_strategy = st.builds(
    Caps,
    max_notional=st.none() | st.decimals("1", "1000000", places=2),
    max_leverage=st.none() | st.floats(0.01, 50),
    max_quantity=st.none() | st.decimals("0.001", "1000", places=3),
    max_depth_share=st.none() | st.floats(0.001, 1.0),
)


@given(rules_strategy, prices, notionals, caps_strategy, st.floats(1, 1e7), prices)
def test_a_size_is_on_the_lot_within_every_cap_and_above_every_minimum(
    rules: OrderRules, price: Decimal, notional: float, caps: Caps, equity: float, visible: Decimal
) -> None:
    size = size_for_notional(
        notional, price=price, rules=rules, caps=caps, equity=equity, visible_quantity=visible
    )
    quantity, p = Fraction(size.quantity), Fraction(price)
    assert (quantity / Fraction(rules.size_increment)).denominator == 1
    assert quantity * p <= Fraction(notional)
    if caps.max_notional is not None:
        assert quantity * p <= Fraction(caps.max_notional)
    if caps.max_leverage is not None:
        assert quantity * p <= Fraction(equity) * Fraction(D(repr(caps.max_leverage)))
    if caps.max_quantity is not None:
        assert quantity <= Fraction(caps.max_quantity)
    if caps.max_depth_share is not None:
        assert quantity <= Fraction(visible) * Fraction(D(repr(caps.max_depth_share)))
    if rules.max_quantity is not None:
        assert quantity <= Fraction(rules.max_quantity)
    if size.refusal is None:
        assert size.quantity >= rules.min_quantity
        assert quantity * p >= Fraction(rules.min_notional)
    else:
        assert size.quantity == 0


@given(rules_strategy, prices, notionals)
def test_rounding_loses_less_than_one_lot(
    rules: OrderRules, price: Decimal, notional: float
) -> None:
    size = size_for_notional(notional, price=price, rules=rules)
    assume(size.refusal is None and size.limited_by == "target")
    assert Fraction(notional) / Fraction(price) - Fraction(size.quantity) < Fraction(
        rules.size_increment
    )


@given(st.decimals("0.001", "100", places=5), prices)
def test_a_fixed_size_on_the_grid_is_kept_exactly(quantity: Decimal, price: Decimal) -> None:
    on_grid = PERP.lots(quantity)
    size = size_fixed(on_grid, price=price, rules=PERP)
    assert size.quantity == (on_grid if size.refusal is None else 0)


def test_the_smallest_cap_wins_and_is_named() -> None:
    caps = Caps(max_notional=D(700), max_leverage=3.0, max_quantity=D("0.02"), max_depth_share=0.1)
    kwargs = {"price": D(70000), "rules": PERP}
    size = size_for_notional(1e6, caps=caps, equity=1000.0, visible_quantity=D(5), **kwargs)
    assert (size.quantity, size.limited_by) == (D("0.010"), "max_notional")
    size = size_for_notional(1e6, caps=caps, equity=100.0, visible_quantity=D(5), **kwargs)
    assert (size.quantity, size.limited_by) == (D("0.004"), "max_leverage")
    size = size_for_notional(1e6, caps=caps, equity=1e6, visible_quantity=D("0.09"), **kwargs)
    assert (size.quantity, size.limited_by) == (D("0.009"), "max_depth_share")
    size = size_for_notional(1e6, caps=Caps(max_quantity=D("0.02")), **kwargs)
    assert (size.quantity, size.limited_by) == (D("0.020"), "max_quantity")
    size = size_for_notional(1e12, **kwargs)
    assert (size.quantity, size.limited_by) == (D("1000.000"), "venue_max_quantity")


def test_a_share_of_three_tenths_is_not_lost_to_binary() -> None:
    # 0.3 as a float is 0.29999..., which would cost a lot of one unit here.
    rules = OrderRules(D("0.1"), D(1), D(1))
    size = size_fixed(
        D(9), price=D(10), rules=rules, caps=Caps(max_depth_share=0.3), visible_quantity=D(10)
    )
    assert size.quantity == 3


@pytest.mark.parametrize(
    ("quantity", "price", "refusal"),
    [
        ("0.0009", "70000", "zero_quantity"),
        ("0.001", "4999.99", "min_notional"),
        ("0.001", "5000", None),
        ("-1", "70000", "zero_quantity"),
    ],
)
def test_what_the_venue_would_refuse_is_refused_here(
    quantity: str, price: str, refusal: str | None
) -> None:
    assert size_fixed(D(quantity), price=D(price), rules=PERP).refusal == refusal


def test_quantity_under_the_minimum_above_the_lot() -> None:
    rules = OrderRules(D("0.1"), D("0.001"), D("0.01"))
    assert size_fixed(D("0.009"), price=D(70000), rules=rules).refusal == "min_quantity"


def test_a_rest_under_the_minimum_notional_can_still_be_closed() -> None:
    assert size_fixed(D("0.001"), price=D(100), rules=PERP).refusal == "min_notional"
    assert size_fixed(D("0.001"), price=D(100), rules=PERP, reduce_only=True).refusal is None


def test_a_cap_that_cannot_be_checked_refuses() -> None:
    size = size_fixed(D(1), price=D(100), rules=PERP, caps=Caps(max_leverage=2.0))
    assert (size.quantity, size.refusal) == (0, "equity_unknown")
    size = size_fixed(D(1), price=D(100), rules=PERP, caps=Caps(max_depth_share=0.5))
    assert (size.quantity, size.refusal) == (0, "depth_unknown")


def test_ruined_accounts_do_not_trade() -> None:
    caps = Caps(max_leverage=2.0)
    assert (
        size_fixed(D(1), price=D(100), rules=PERP, caps=caps, equity=-5.0).refusal
        == "zero_quantity"
    )
    assert (
        volatility_target(equity=-5, risk_budget_bps=20, sigma_per_bar=0.001, holding_bars=1) == 0
    )


positive = st.floats(1e-6, 0.1)


@given(st.floats(0, 1e9), st.floats(0, 100), st.floats(0, 100), positive, st.floats(0.5, 1e4))
def test_the_volatility_target_rises_with_the_budget(
    equity: float, b1: float, b2: float, sigma: float, bars: float
) -> None:
    low, high = (
        volatility_target(equity=equity, risk_budget_bps=b, sigma_per_bar=sigma, holding_bars=bars)
        for b in sorted((b1, b2))
    )
    assert low <= high


@given(st.floats(0, 1e9), positive, positive, st.floats(0.5, 1e4), st.floats(0.5, 1e4))
def test_the_volatility_target_falls_with_volatility_and_holding_time(
    equity: float, s1: float, s2: float, h1: float, h2: float
) -> None:
    calm, wild = (
        volatility_target(equity=equity, risk_budget_bps=20, sigma_per_bar=s, holding_bars=h1)
        for s in sorted((s1, s2))
    )
    assert calm >= wild
    short, long = (
        volatility_target(equity=equity, risk_budget_bps=20, sigma_per_bar=s1, holding_bars=h)
        for h in sorted((h1, h2))
    )
    assert short >= long


@given(st.floats(1, 1e9), st.floats(1, 100), positive, st.floats(0.5, 1e4))
def test_one_sigma_of_the_target_costs_the_budget(
    equity: float, budget: float, sigma: float, bars: float
) -> None:
    notional = volatility_target(
        equity=equity, risk_budget_bps=budget, sigma_per_bar=sigma, holding_bars=bars
    )
    assert notional * sigma * bars**0.5 == pytest.approx(equity * budget / 10_000)


@given(st.floats(0, 100), *[st.none() | st.floats(0.01, 100)] * 4)
def test_the_budget_only_shrinks(
    budget: float, spread: float | None, sref: float | None, vpin: float | None, vref: float | None
) -> None:
    shrunk = shrink_budget(budget, spread_bps=spread, spread_ref_bps=sref, vpin=vpin, vpin_ref=vref)
    assert 0 <= shrunk <= budget
    if spread is not None:
        wider = shrink_budget(
            budget, spread_bps=spread * 2, spread_ref_bps=sref, vpin=vpin, vpin_ref=vref
        )
        assert wider <= shrunk


@given(st.floats(-0.1, 0.1), positive, positive, st.floats(1, 1e4))
def test_kelly_has_the_sign_of_the_forecast_and_shrinks_with_volatility(
    mu: float, s1: float, s2: float, bars: float
) -> None:
    calm, wild = (
        kelly_fraction(
            mu_horizon=mu, sigma_per_bar=s, holding_bars=bars, jump_variance_horizon=1e-4
        )
        for s in sorted((s1, s2))
    )
    assert np.sign(calm) == np.sign(mu)
    assert abs(calm) >= abs(wild)


def test_kelly_compares_variances_with_variances() -> None:
    # Slip 11: a floor of sigma enters squared. 0.001^2 * 60 = 6e-5, not 0.001 * 60.
    f = kelly_fraction(mu_horizon=0.0005, sigma_per_bar=0.001, holding_bars=60, kappa=1.0)
    assert f == pytest.approx(0.0005 / 6e-5)


def test_kelly_of_one_asset_equals_the_scalar() -> None:
    w = kelly_weights([0.0005], [[1.6e-4]], max_weight=100, max_gross=100)
    assert w[0] == pytest.approx(
        kelly_fraction(
            mu_horizon=0.0005,
            sigma_per_bar=0.001,
            holding_bars=60,
            jump_variance_horizon=1e-4,
        )
    )


@given(st.integers(1, 5), st.randoms(use_true_random=False), st.floats(0.05, 3), st.floats(0.05, 3))
def test_kelly_weights_respect_both_bounds(n: int, rng: object, clip: float, gross: float) -> None:
    generator = np.random.default_rng(rng.randrange(2**32))  # type: ignore[attr-defined]
    factor = generator.normal(size=(n, n)) * 0.01
    sigma = factor @ factor.T + 1e-5 * np.eye(n)
    mu = generator.normal(size=n) * 1e-3
    w = kelly_weights(mu, sigma, max_weight=clip, max_gross=gross)
    assert np.abs(w).max() <= clip * (1 + 1e-12)
    assert np.abs(w).sum() <= gross * (1 + 1e-12)
    loose = kelly_weights(mu, sigma, max_weight=1e9, max_gross=1e9)
    assert np.array_equal(np.sign(w), np.sign(loose))
    assert loose == pytest.approx(0.5 * np.linalg.solve(sigma, mu))


@pytest.mark.parametrize(
    "call",
    [
        lambda: volatility_target(equity=1, risk_budget_bps=1, sigma_per_bar=0, holding_bars=1),
        lambda: volatility_target(
            equity=1, risk_budget_bps=1, sigma_per_bar=float("nan"), holding_bars=1
        ),
        lambda: volatility_target(equity=1, risk_budget_bps=-1, sigma_per_bar=1, holding_bars=1),
        lambda: kelly_fraction(mu_horizon=1, sigma_per_bar=0, holding_bars=1),
        lambda: kelly_weights([1.0], [[1.0, 0.0]], max_weight=1, max_gross=1),
        lambda: kelly_weights([1.0, 1.0], [[1.0, 2.0], [2.0, 1.0]], max_weight=1, max_gross=1),
        lambda: kelly_weights([1.0, 1.0], [[1.0, 0.5], [0.1, 1.0]], max_weight=1, max_gross=1),
        lambda: kelly_weights([np.nan], [[1.0]], max_weight=1, max_gross=1),
        lambda: size_for_notional(float("nan"), price=D(1), rules=PERP),
        lambda: size_for_notional(1.0, price=D(0), rules=PERP),
        lambda: Caps(max_leverage=0.0),
        lambda: Caps(max_depth_share=1.5),
    ],
)
def test_nonsense_is_refused_with_a_rule_and_the_value(call: object) -> None:
    with pytest.raises(StrategyError, match=r"must .*\((was|had) "):
        call()  # type: ignore[operator]


@given(prices, st.sampled_from([D("0.1"), D("0.25"), D("0.0001")]))
def test_prices_move_to_the_tick_in_the_stated_direction(price: Decimal, tick: Decimal) -> None:
    rules = OrderRules(tick, D(1))
    low, high = rules.passive_price(1, price), rules.passive_price(-1, price)
    assert low <= price <= high
    assert high - low in (0, tick)
    assert (Fraction(low) / Fraction(tick)).denominator == 1
