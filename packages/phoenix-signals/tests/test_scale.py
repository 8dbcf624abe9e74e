"""Scale: the same market in units four times as small, so that its numbers are four times as large.

Every signal that the registry finds is either in SCALES, with the columns that are multiplied and the
power of the factor in each output, or in NEUTRAL, because it takes no amount; a new one must choose.
Engines have a test of their own: the scale of integers does not matter to them.
"""

from __future__ import annotations

import numpy as np
import pytest
from phoenix_signals import conformance, registry
from phoenix_signals.orderflow import MicroPriceTable

FACTOR = 4
BARS = ("open_", "high", "low", "close")
BUCKETS = {
    "row": 0, "ts_open_ns": 0, "ts_close_ns": 0, "buy_raw": 1, "sell_raw": 1, "trades": 0, "valid": 0,
}  # fmt: skip
CROWD = dict.fromkeys(("crowding", "f3", "funding_z", "oi_change_z", "long_short_z"), 0)

SCALES = {
    # Shares and ratios of amounts say the same in any unit.
    "svi": (("size_raw",), 0),
    "obi": (("bid_size", "ask_size"), 0),
    "fsi": (("buy_raw", "sell_raw"), 0),
    "nobi": (("notional",), 0),
    "ldr": (("notional",), 0),
    "vpin": (("amount_raw",), 0),
    "bulk_vpin": (("volume_raw", "close"), 0),
    "spread_bps": (("bid", "ask"), 0),
    # Amounts and prices grow with their inputs; an index of variance with their square.
    "ofi": (("bid_size_raw", "ask_size_raw"), 1),
    "ofi_sum": (("bid_size_raw", "ask_size_raw"), 1),
    "weighted_mid": (("bid", "ask"), 1),
    "micro_price": (("bid", "ask"), 1),
    "quoted_depth": (("bid_size", "ask_size"), 1),
    "depth_within": (("notional",), 1),
    "time_clock": (("amount_raw",), BUCKETS),
    "volume_clock": (("size_raw",), BUCKETS),
    "notional_clock": (("price_raw",), BUCKETS),
    "rolling_sum": (("x",), 1),
    "rolling_mean_variance": (("x",), {"mean": 1, "variance": 2}),
    "ew_mean_variance": (("x",), {"mean": 1, "variance": 2}),
    "rolling_median_mad": (("x",), {"median": 1, "mad": 1}),
    "rolling_covariance": (("x",), 2),
    "ew_covariance": (("x",), 2),
    "shrinkage_covariance": (("x",), 2),
    "har_composite": (("variance",), 1),
    # Logarithms of ratios, ranks and z-scores know no unit.
    "parkinson_variance": (BARS, 0),
    "garman_klass_variance": (BARS, 0),
    "rogers_satchell_variance": (BARS, 0),
    "yang_zhang_variance": (BARS, 0),
    "close_to_close_variance": (BARS, 0),
    "ewma_variance": (BARS, 0),
    "volatility_compression": (BARS, 0),
    "compression_factor": (BARS, 0),
    "realized_measures": (("price",), 0),
    "realized_correlation": (("price_1", "price_2"), 0),
    "hayashi_yoshida": (("price",), 0),
    "percentile": (("x",), 0),
    "zscore_mean_std": (("x", "min_scale"), 0),
    "zscore_median_mad": (("x", "min_scale"), 0),
    "volatility_regimes": (("variance", "spread", "depth"), 0),
    "toxicity_index": (("vpin", "spread", "min_scale"), 0),
    "flow_pressure": (("obi", "svi", "ofi"), 0),
    "taker_ratio": (("taker_ratio",), 0),
    "crowding": (("funding_rate", "open_interest", "long_short_ratio"), CROWD),
    "liquidation_pressure": (("impulse", "liquidity", "min_scale"), 0),
    "exhaustion": (("lpi",), {"exh": 0, "delta_lpi": 1}),
    "leverage_prior": (("open_interest", "funding_rate"), 0),
    "bar_lpi": (("spread_bps", "min_scale"), 0),
}

NEUTRAL = {
    "source_age", "quote_before",  # times alone
    "composite_lpi", "ensemble_fusion", "kalman_fusion",  # shares and z-scores, in fixed ranges
    "lpi_engine", "composite_lpi_engine", "bar_lpi_engine", "toxicity_volatility_engine",
}  # fmt: skip


def larger_table(table: MicroPriceTable) -> MicroPriceTable:
    rows = tuple(tuple(FACTOR * cell for cell in row) for row in table.adjustment)
    return MicroPriceTable(FACTOR * table.tick_size, rows)


PARAMETERS = {"bucket_raw": lambda v: FACTOR * v, "table": larger_table}
"""Parameters that are amounts themselves."""


def test_every_signal_has_chosen():
    assert {e.id for e in registry.installed()} == SCALES.keys() | NEUTRAL
    assert not SCALES.keys() & NEUTRAL


def multiplied(v):
    if isinstance(v, list):
        return [multiplied(x) for x in v]
    return None if v is None else FACTOR * v


@pytest.mark.parametrize("signal_id", SCALES)
def test_the_unit_of_the_inputs_is_that_of_the_output(signal_id):
    entry = registry.find(signal_id)
    columns, powers = SCALES[signal_id]
    found = 0
    for parameters in entry.signal.EXAMPLES:
        if parameters.get("z_kind") == "none":
            continue  # weighs amounts of two units as they are
        signal = entry.signal(**parameters)
        inputs = conformance.random_inputs(signal, 200, seed=9)
        larger = {n: multiplied(v) if n in columns else v for n, v in inputs.items()}
        assert larger != inputs
        scaled = {n: PARAMETERS.get(n, lambda v: v)(v) for n, v in parameters.items()}
        here = conformance.run(signal, inputs)
        there = conformance.run(entry.signal(**scaled), larger)
        for name, column in here.items():
            power = powers[name] if isinstance(powers, dict) else powers
            np.testing.assert_allclose(
                there[name], column * FACTOR**power, rtol=1e-9, atol=1e-9, err_msg=name
            )
            found += int(np.count_nonzero(~np.isnan(column.astype(float)) & (column != 0)))
    assert found > 20, "a scale at which nothing is seen proves nothing"
