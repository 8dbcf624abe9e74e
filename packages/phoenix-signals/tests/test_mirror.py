"""The mirror: the same market seen with bid and ask, buyers and sellers, up and down exchanged.

Slip 14 was an index that held for one side only. Every signal that the registry finds is either in
MIRRORS, with what its mirror image says, or in NEUTRAL, because it knows no direction; a new one
must choose. The LPI engine has a mirror of its own in test_engine_lpi.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from market import START, Market, random_market, replay
from phoenix_signals import conformance, registry
from phoenix_signals.batch import Depth, Funding, Metrics, Quotes, Trades
from phoenix_signals.engines import BarLpiEngine, ToxicityVolatilityEngine
from test_engines import bar_config, volatility_config

LEVEL = 60_000
"""Prices p and LEVEL - p are each other's image; the random market trades around the half of it."""


def negated(*names):
    def mirror(inputs):
        return inputs | {n: [opposite(v) for v in inputs[n]] for n in names}

    return mirror


def opposite(v):
    if isinstance(v, list):
        return [opposite(x) for x in v]
    return None if v is None else -v


def exchanged(a, b):
    return lambda inputs: inputs | {a: inputs[b], b: inputs[a]}


def book(level, bid, ask):
    """Prices mirrored around half of `level`, and sides exchanged with all that rests on them."""

    def mirror(inputs):
        other = {
            bid: [level - v for v in inputs[ask]], ask: [level - v for v in inputs[bid]],
            "bid_size": inputs.get("ask_size"), "ask_size": inputs.get("bid_size"),
            "bid_size_raw": inputs.get("ask_size_raw"), "ask_size_raw": inputs.get("bid_size_raw"),
        }  # fmt: skip
        return {n: other.get(n, v) for n, v in inputs.items()}

    return mirror


def crowd(inputs):
    """Funding the other way, and longs per short turned over."""
    ratio = [None if v is None else 1.0 / v for v in inputs["long_short_ratio"]]
    return negated("funding_rate")(inputs) | {"long_short_ratio": ratio}


def upside_down(*names):
    """Prices or ratios inverted: every logarithm changes its sign, and none its size."""
    return lambda inputs: inputs | {n: [v and 1.0 / v for v in inputs[n]] for n in names}


def same(x):
    return x


def minus(x):
    return -x


PRESSURE = {"lpi": minus, "pressure_z": minus, "ld_z": same}

MIRRORS = {
    "svi": (negated("side"), minus),
    "ofi": (book(LEVEL, "bid_raw", "ask_raw"), minus),
    "ofi_sum": (book(LEVEL, "bid_raw", "ask_raw"), minus),
    "obi": (exchanged("bid_size", "ask_size"), minus),
    "weighted_mid": (book(LEVEL / 10, "bid", "ask"), lambda x: LEVEL / 10 - x),
    "micro_price": (book(LEVEL / 10, "bid", "ask"), lambda x: LEVEL / 10 - x),
    "fsi": (exchanged("buy_raw", "sell_raw"), lambda x: 1.0 - x),
    "nobi": (negated("percentage"), minus),
    "vpin": (negated("side"), same),
    "bulk_vpin": (lambda inputs: inputs | {"close": [6_000.0 - c for c in inputs["close"]]}, same),
    "liquidation_pressure": (negated("impulse"), PRESSURE),
    "exhaustion": (negated("lpi"), {"exh": same, "delta_lpi": minus}),
    "bar_lpi": (negated("imbalance"), minus),
    "crowding": (
        crowd,
        {
            "crowding": minus,
            "f3": minus,
            "funding_z": minus,
            "long_short_z": minus,
            "oi_change_z": same,
        },
    ),
    "taker_ratio": (upside_down("taker_ratio"), minus),
    "flow_pressure": (negated("obi", "svi", "ofi"), minus),
    "ensemble_fusion": (negated("z"), minus),
    "kalman_fusion": (
        negated("z"),
        {"theta": minus, "mean": minus, "variance": same, "nis": same, "observed": same},
    ),
    "zscore_mean_std": (negated("x"), minus),
    "zscore_median_mad": (negated("x"), minus),
    "realized_correlation": (upside_down("price_1"), minus),
}

NEUTRAL = {
    # Clocks, sizes of things, and statistics of whatever they are given.
    "time_clock", "volume_clock", "notional_clock", "rolling_sum", "rolling_mean_variance",
    "ew_mean_variance", "rolling_median_mad", "percentile", "spread_bps", "quoted_depth",
    "depth_within", "source_age", "quote_before", "realized_measures", "har_composite",
    # Variances have no sign, regimes and toxicity no side, a covariance neither.
    "parkinson_variance", "garman_klass_variance", "rogers_satchell_variance",
    "yang_zhang_variance", "close_to_close_variance", "ewma_variance", "volatility_compression",
    "compression_factor", "toxicity_index", "volatility_regimes", "rolling_covariance",
    "ew_covariance", "shrinkage_covariance", "hayashi_yoshida",
    # Looks at sellers and bids alone, and says so; a prior that only filters.
    "composite_lpi", "composite_lpi_engine", "ldr", "leverage_prior",
}  # fmt: skip

ENGINES = {"lpi_engine", "bar_lpi_engine", "toxicity_volatility_engine"}


def test_every_signal_has_chosen():
    assert {e.id for e in registry.installed()} == MIRRORS.keys() | NEUTRAL | ENGINES
    assert not MIRRORS.keys() & NEUTRAL


def holds(signal_id, parameters):
    """Published variants that know one side are exempt."""
    if signal_id == "crowding":
        return parameters.get("oi_mode") == "amplify"
    return parameters.get("liquidity_mode") != "additive"


@pytest.mark.parametrize("signal_id", MIRRORS)
def test_slip_14_the_mirror_says_the_opposite(signal_id):
    entry = registry.find(signal_id)
    mirror, image = MIRRORS[signal_id]
    found = 0
    for parameters in entry.signal.EXAMPLES:
        if not holds(signal_id, parameters):
            continue
        signal = entry.signal(**parameters)
        inputs = conformance.random_inputs(signal, 200, seed=5)
        if signal_id == "micro_price":  # an imbalance on the edge of a cell has no image
            inputs["bid_size"] = [v + 0.00123 for v in inputs["bid_size"]]
        here = conformance.run(signal, inputs)
        there = conformance.run(entry.signal(**parameters), mirror(inputs))
        for name, column in here.items():
            expected = (image[name] if isinstance(image, dict) else image)(column)
            known = ~np.isnan(expected)
            assert np.array_equal(known, ~np.isnan(there[name])), (parameters, name)
            np.testing.assert_allclose(
                there[name][known], expected[known], rtol=1e-9, atol=1e-9, err_msg=name
            )
            found += int((expected[known] != 0.0).sum())
    assert found > 20, "a mirror in which nothing is seen proves nothing"


def still_market(seed: int) -> tuple[Market, Market]:
    """A market whose mid stands still, and its image: prices around the mid, sides exchanged."""
    market = random_market(seed)
    rng = np.random.default_rng(seed)
    mid = 3_000_000
    q, t, d = market.quotes, market.trades, market.depth
    half = 5 * rng.choice([1, 1, 1, 2, 4], len(q))
    here = dataclasses.replace(
        market,
        quotes=Quotes(q.ts_ns, mid - half, mid + half, q.bid_size_raw, q.ask_size_raw),
        trades=Trades(t.ts_ns, mid + 5 * t.side, t.size_raw, t.side),
    )
    there = dataclasses.replace(
        here,
        quotes=Quotes(q.ts_ns, mid - half, mid + half, q.ask_size_raw, q.bid_size_raw),
        trades=Trades(t.ts_ns, mid - 5 * t.side, t.size_raw, -t.side),
        depth=Depth(d.ts_ns, -d.percentage, d.notional),
        metrics=Metrics(
            market.metrics.ts_ns, market.metrics.open_interest,
            1.0 / market.metrics.long_short_ratio,
        ),
        funding=Funding(market.funding.ts_ns, -market.funding.rate),
    )  # fmt: skip
    return here, there


@pytest.mark.parametrize("imbalance", ["l1", "depth_pct"])
def test_slip_14_the_mirror_negates_the_bar_engine(imbalance):
    config = bar_config(imbalance=imbalance, depth_pct=1.0)
    here, there = (replay(BarLpiEngine(config), market) for market in still_market(61))
    assert sum(bool(s.lpi) for s in here) > 20
    for a, b in zip(here, there, strict=True):
        assert b.lpi == (None if a.lpi is None else -a.lpi)
        assert (b.spread_bps, b.volume, b.validity_flags) == (
            a.spread_bps, a.volume, a.validity_flags,
        )  # fmt: skip


def test_slip_14_the_mirror_negates_the_direction_of_the_volatility_engine():
    config = volatility_config(oi_mode="amplify", vpin_bucket=1.0)
    here, there = (replay(ToxicityVolatilityEngine(config), m) for m in still_market(62))
    assert here[0].ts_event > START
    assert sum(bool(s.theta) for s in here) > 20
    for a, b in zip(here, there, strict=True):
        assert b.theta == (None if a.theta is None else pytest.approx(-a.theta, rel=1e-9))
        assert (b.regime, b.variance, b.vpin, b.valid) == (a.regime, a.variance, a.vpin, a.valid)
