"""One run of a registered strategy over the cascade market, and what it left behind."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import msgspec
from cascade_market import market
from engine_market import INSTRUMENT, engine_with
from nautilus_trader.model import ClientId, CustomData
from phoenix_schemas.custom_data import register_custom_data
from phoenix_strategies import registry
from phoenix_strategies.run_control import RunControl

SUITES: dict[str, dict[str, Any]] = {
    "ema_cross": {"fast_bars": 2, "slow_bars": 4},
    "liquidity_pressure": {"lookback_bars": 4, "entry_threshold": 0.05, "exit_threshold": 0.01},
    "phoenix": {
        "vol_bucket_size": 100_000, "fsi_window": 50, "min_history": 20, "rv_window_minutes": 5,
        "lpi_entry_threshold": 0.4, "oi_z_threshold": 0.5, "entry_ttl_secs": 20, "max_hold_secs": 60,
    },
    "phoenix_lpi": {"bucket_interval_ms": 2_000, "z_window_buckets": 200},
    "toxicity_volatility": {
        "short_minutes": 2, "long_minutes": 6, "z_min_count": 3, "vpin_bucket": 1.0,
        "crowding_weights": [0, 1, 1],
        "f1_min": -3.0, "abs_f2_min": 0.2, "crowding_threshold": 3.0, "toxicity_percentile": 95,
        "risk_budget_bps": 30, "h_max_bars": 2,
    },
}  # fmt: skip


@dataclass
class Outcome:
    """A run's decisions, records, orders and books."""

    name: str
    values: dict[str, Any]
    data: list[Any]
    control_values: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        register_custom_data()
        self.decisions: list[tuple[int, dict[str, float], str, str]] = []
        self.records: list[Any] = []
        self.control = RunControl(
            decisions=lambda ts, _s, _i, values, gates, intent: self.decisions.append(
                (ts, dict(values), gates, intent)
            ),
            records=lambda _s, _i, record: self.records.append(record),
            **self.control_values,
        )
        spec = registry.find(self.name)
        settings = msgspec.convert(self.values, spec.settings_type)
        self.strategy = spec.build(str(INSTRUMENT), 1, settings, self.control)
        self.engine = engine_with(
            self.strategy,
            algorithms=spec.algorithms(settings, self.control),
            latency_ns=self.control.insert_latency_ns,
        )
        plain = [x for x in self.data if not isinstance(x, CustomData)]
        custom = [x for x in self.data if isinstance(x, CustomData)]
        self.engine.add_data(plain, sort=False)
        if custom:
            self.engine.add_data(custom, client_id=ClientId("BINANCE"), sort=False)
        self.engine.sort_data()
        self.engine.run(streaming=True)
        self.engine.end()
        if self.control.error is not None:
            raise self.control.error

    @property
    def acts(self) -> list[str]:
        return [intent for _, _, _, intent in self.decisions if not intent.startswith("wait")]

    @property
    def entries(self) -> list[Any]:
        """Orders that open a position."""
        return [order for order in self.orders if order.tags == ["entry"]]

    @property
    def orders(self) -> list[Any]:
        return sorted(self.engine.cache.orders(), key=lambda o: (o.ts_init, str(o.client_order_id)))


@cache
def ordinary(name: str) -> Outcome:
    return Outcome(name, SUITES[name], market())
