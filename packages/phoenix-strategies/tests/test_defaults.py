"""The defaults of every strategy, written out: a default that moves is noticed here.

They are those of the published prototypes; where one differs, the reason stands beside the setting.
Stretches that are the same everywhere (instrument, closing on stop) are left out.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from phoenix_strategies import registry
from phoenix_strategies.settings import StrategySettings
from phoenix_strategies.toxicity_volatility import PRESETS

NO_GATES = dict.fromkeys(
    ["quote_max_age_ms", "max_rel_spread_bps", "depth_max_age_ms", "min_depth_notional",
     "max_bar_gap_bars", "spread_collapse_multiple", "depth_collapse_share", "max_toxicity",
     "funding_window_minutes", "max_daily_loss_share", "max_drawdown_share", "max_trades_per_hour"],
) | {"funding_action": "no_entry"}  # fmt: skip
NO_CAPS = dict.fromkeys(["max_notional", "max_leverage", "max_quantity", "max_depth_share"])

DEFAULTS: dict[str, dict[str, Any]] = {
    "ema_cross": {
        "fast_bars": 10, "slow_bars": 20, "trade_size": "0.01",
        "long_only": False, "flat_band_bps": 0.0, "bar_type": None,
    },
    "phoenix_lpi": {
        "trade_size": "0.01", "caps": NO_CAPS,
        "bucket_mode": "time", "bucket_interval_ms": 10_000, "bucket_notional_threshold": 1_000_000,
        "eta_bps": 0.0, "use_depth_pct": True, "depth_pct_abs": 5.0, "min_depth_notional": 0.0,
        "depth_max_age_ms": 60_000, "use_zscore": True, "z_kind": "median_mad",
        "z_window_buckets": 600, "z_min_count": 30, "z_clip": 10.0, "liquidity_mode": "signed",
        "theta_lpi": 2.0, "theta_exh_low": -0.5, "theta_exh_high": 0.5, "lpi_exit_abs": 0.5,
        "lambda_ld": 1.0, "lambda_liq": 1.0, "lambda_spr": 1.0, "lambda_f": 1.0, "lev_min": None,
        "max_rel_spread_bps": 20.0, "quote_max_age_ms": 1_000,
        "momentum_enabled": True, "mean_rev_enabled": True,
        "momentum_use_market": True, "mean_rev_post_only": True, "mean_rev_improve_ticks": 0,
        "mean_rev_tranches": 1, "mean_rev_tranche_ticks": 1, "markout_guard": None,
        "entry_ttl_buckets": 5, "max_hold_buckets_momentum": 10, "max_hold_buckets_mean_rev": 60,
        "gates": NO_GATES,
    },
    "phoenix": {
        "vol_bucket_size": 1_000_000, "fsi_window": 100, "oi_window": 8_640, "min_history": 30,
        "rv_window_minutes": 60, "depth_max_age_ms": 60_000,
        "lpi_entry_threshold": 0.75, "lpi_exit_threshold": 0.20, "oi_z_threshold": 1.5,
        "kelly_kappa": 0.5, "expected_alpha": 0.0005, "jump_risk_variance": 0.0001,
        "max_leverage": 2.0, "min_volatility": 0.001, "maker_offset_ticks": 1,
        "holding_minutes": 60.0, "max_hold_secs": 3_600.0, "entry_ttl_secs": 60.0,
        "stop": {"k_stop": 2.0, "h_stop_bars": 15.0, "k_tp": None, "update_sigma": False},
        "caps": NO_CAPS, "gates": NO_GATES,
    },
    "liquidity_pressure": {
        "lookback_bars": 60, "entry_threshold": 1.0, "exit_threshold": 0.2, "max_spread_bps": 5.0,
        "flatten_on_spread_gate": True, "imbalance": "l1", "trade_size": "0.01",
        "depth_max_age_ms": 60_000, "bar_type": None, "caps": NO_CAPS, "gates": NO_GATES,
    },
    "toxicity_volatility": {
        "preset": "A", "decision_minutes": None, "short_minutes": None, "long_minutes": None,
        "toxicity_percentile": None, "crowding_threshold": None,
        "crowding_weights": (1.0, 1.0, 1.0), "oi_mode": "additive", "ofi_window_minutes": 1,
        "svi_window_minutes": 1, "vpin_bucket": None, "fit_minutes": 120,
        "toxicity_threshold": None, "z_min_count": 30, "bar_type": None,
        "f1_min": 1.0, "abs_f2_min": 1.0, "reduce_share": 0.5, "h_max_bars": 60,
        "stop": {"k_stop": 2.0, "h_stop_bars": 15.0, "k_tp": 1.5, "update_sigma": False},
        "risk_budget_bps": 30.0, "spread_ref_bps": 2.0, "min_volatility": 0.0001,
        "caps": NO_CAPS | {"max_leverage": 2.0}, "execution": "market",
        "limit_min_spread_bps": 0.0, "entry_ttl_secs": 60.0, "gates": NO_GATES,
        "twap": {
            "horizon_secs": 300.0, "interval_secs": 15.0, "half_life_secs": 120.0,
            "min_interval_secs": None, "max_interval_secs": None, "upper": 0.5, "lower": 0.1,
            "floor": 0.0, "acceleration": 2.0, "damping": 2.0, "high_variance_factor": 0.5,
            "on_horizon": "cross", "on_decay": "finish", "grace_secs": 0.0, "passive_share": 0.0,
        },
    },
}  # fmt: skip


@pytest.mark.parametrize("name", registry.names())
def test_defaults_are_those_written_here(name: str) -> None:
    values = msgspec.to_builtins(registry.find(name).settings_type())
    common = msgspec.to_builtins(StrategySettings())
    assert {k: values.pop(k) for k in common} == common
    assert common["close_positions_on_stop"] is common["reduce_only_on_stop"] is True
    assert values == DEFAULTS[name]


def test_presets_are_those_written_here() -> None:
    assert {letter: tuple(preset) for letter, preset in PRESETS.items()} == {
        "A": (1, 30, 360, "median_1m", 70.0, 1.0),
        "B": (5, 60, 720, "median_5m", 60.0, 1.25),
        "C": (15, 120, 1_440, "notional_10m", 50.0, 1.5),
    }
