"""Defaults and constants are those of the design notes "defaults" and "signals", every one of them.

The engines' names differ from the published keys where a unit was added (`bucket_interval_ms` 10000 is
`bucket_interval_ns` here); thresholds of entries and exits belong to the strategies.
"""

from __future__ import annotations

import pytest
from phoenix_signals import registry
from phoenix_signals.clocks import MINUTE_NS, SECOND_NS
from phoenix_signals.engines import (
    BarLpiConfig,
    CompositeLpiConfig,
    LpiConfig,
    ToxicityVolatilityConfig,
)
from phoenix_signals.rolling import MAD_TO_SD, SD_SHARE

PRECISIONS = {"price_precision": 2, "size_precision": 3}

CONFIGS = {
    LpiConfig(**PRECISIONS, price_increment=0.1): {
        "bucket_mode": "time", "bucket_interval_ns": 10 * SECOND_NS,
        "bucket_notional": 1_000_000.0, "eta_bps": 0.0, "impulse_quote": "strictly_before",
        "use_depth": True, "depth_pct": 5.0, "depth_max_age_ns": 60 * SECOND_NS,
        "z_kind": "median_mad", "z_window_buckets": 600, "z_min_count": 30, "z_clip": 10.0,
        "liquidity_mode": "signed", "lambda_ld": 1.0, "lambda_liq": 1.0, "lambda_spr": 1.0,
        "lambda_f": 1.0, "oi_window_rows": 8640, "funding_window_rows": 90,
    },
    CompositeLpiConfig(**PRECISIONS): {
        "bucket_notional": 1_000_000.0, "fsi_window_buckets": 100, "oi_window_rows": 8640,
        "z_min_count": 30, "depth_pct": 1.0, "depth_side": "bid", "depth_max_age_ns": MINUTE_NS,
    },
    BarLpiConfig(**PRECISIONS, price_increment=0.1): {
        "lookback_bars": 60, "imbalance": "l1", "z_min_count": 30, "z_kind": "median_mad",
    },
    ToxicityVolatilityConfig(
        **PRECISIONS, price_increment=0.1, instrument_id="BTCUSDT-PERP.BINANCE", vpin_bucket=10.0
    ): {
        "vpin_window_buckets": 50, "a1": 1.0, "a2": 1.0, "a3": 1.0, "crowding_threshold": 1.0,
        "funding_window_rows": 90, "bar_interval_ns": MINUTE_NS, "decision_interval_ns": MINUTE_NS,
        "half_life_short_bars": 30, "half_life_long_bars": 360, "ofi_window_bars": 1,
        "spread_share": 0.95, "depth_share": 0.05, "variance_share": 0.90,
    },
}  # fmt: skip

SIGNALS = {
    "zscore_mean_std": {"min_count": 30, "z_clip": 10.0},
    "zscore_median_mad": {"min_count": 30, "z_clip": 10.0},
    "percentile": {"window_count": None},
    "vpin": {"window_buckets": 50},
    "bulk_vpin": {"window_buckets": 50, "distribution": "normal"},
    "ldr": {"depth_pct": 1.0, "side": "bid"},
    "quote_before": {"impulse_quote": "strictly_before"},
    "liquidation_pressure": {
        "window_count": 600, "min_count": 30, "z_kind": "median_mad", "z_clip": 10.0,
        "lambda_ld": 1.0, "liquidity_mode": "signed",
    },
    "exhaustion": {"window_count": 600, "min_count": 30, "z_kind": "median_mad", "z_clip": 10.0},
    "leverage_prior": {
        "oi_window_rows": 8640, "funding_window_rows": 90, "min_count": 30, "lambda_f": 1.0,
    },
    "composite_lpi": {"window_count": 100, "min_count": 30},
    "bar_lpi": {"lookback_bars": 60, "min_count": 30},
    "crowding": {
        "crowding_threshold": 1.0, "a1": 1.0, "a2": 1.0, "a3": 1.0, "funding_window_rows": 90,
        "oi_mode": "additive",
    },
    "taker_ratio": {"window_rows": 8640, "min_count": 30, "z_kind": "median_mad"},
    "volatility_regimes": {"spread_share": 0.95, "depth_share": 0.05, "variance_share": 0.90},
}  # fmt: skip


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: type(c).__name__)
def test_configs_have_the_defaults_of_the_design_note(config):
    assert {name: getattr(config, name) for name in CONFIGS[config]} == CONFIGS[config]


@pytest.mark.parametrize("signal_id", SIGNALS)
def test_signals_have_the_defaults_of_the_design_note(signal_id):
    found = registry.find(signal_id).parameters
    assert {name: found[name] for name in SIGNALS[signal_id]} == SIGNALS[signal_id]


def test_robust_scales_have_the_published_constants():
    assert (MAD_TO_SD, SD_SHARE) == (1.4826, 0.1)
