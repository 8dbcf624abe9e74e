"""Strategy names, as suites write them, and what each one is made of.

A suite may also name a strategy of the user's own as ``"package.module:SPEC"``, where `SPEC` is a
[StrategySpec][]; worker processes find it the same way, by importing it.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from phoenix_signals.clocks import MINUTE_NS, SECOND_NS
from phoenix_signals.engines import (
    BarLpiEngine,
    CompositeLpiEngine,
    LpiEngine,
    ToxicityVolatilityEngine,
)
from phoenix_signals.estimator import Versioned
from phoenix_signals.fusion import EnsembleFusion
from phoenix_signals.pressure import (
    BarLpi,
    CompositeLpi,
    Exhaustion,
    LeveragePrior,
    LiquidationPressure,
)
from phoenix_signals.realized import RealizedMeasures
from phoenix_signals.regime import Crowding, FlowPressure, ToxicityIndex, VolatilityRegimes
from phoenix_signals.toxicity import Vpin
from phoenix_signals.volatility import CompressionFactor, EwmaVariance

from phoenix_strategies.ema_cross import EmaCross, EmaCrossSettings
from phoenix_strategies.errors import UnknownStrategyError
from phoenix_strategies.liquidity_pressure import LiquidityPressure, LiquidityPressureSettings
from phoenix_strategies.nautilus_seam import GuardedAlgorithm, PhoenixStrategy, SeamConfig
from phoenix_strategies.phoenix import Phoenix, PhoenixSettings
from phoenix_strategies.phoenix_lpi import PhoenixLpi, PhoenixLpiSettings
from phoenix_strategies.run_control import RunControl
from phoenix_strategies.settings import StrategySettings
from phoenix_strategies.toxicity_volatility import (
    ToxicityVolatility,
    ToxicityVolatilitySettings,
)
from phoenix_strategies.twap_algorithm import ALGORITHM_ID, TwapAlgorithm


@dataclass(frozen=True, slots=True)
class StrategySpec:
    """One strategy: how its settings are read, what it needs, how it is built.

    `data_types` gives, for settings, the catalog types that must be in the suite's `data.include`
    (names as in `phoenix_schemas.arrow.CATALOG_TYPES`). `posts_limit_orders` tells the runner
    whether queue assumptions matter. `estimators` gives the `{id: version}` that decide.
    `longest_holding_ns` is the strategy's time stop, 0 where nothing bounds a holding: a walk-forward
    must purge at least as much between training and test.
    """

    name: str
    settings_type: type[StrategySettings]
    strategy_type: type[PhoenixStrategy[Any]]
    data_types: Callable[[Any], frozenset[str]]
    posts_limit_orders: Callable[[Any], bool]
    estimators: Callable[[Any], dict[str, int]]
    algorithms: Callable[[Any, RunControl], Sequence[GuardedAlgorithm]] = lambda _s, _c: ()
    longest_holding_ns: Callable[[Any], int] = lambda _settings: 0

    def build(
        self, instrument_id: str, number: int, settings: StrategySettings, control: RunControl
    ) -> PhoenixStrategy[Any]:
        """The strategy for one instrument; `number` keeps ids apart within a run."""
        strategy_id = f"{self.name.rpartition(':')[2].upper().replace('_', '')}-{number:03d}"
        return self.strategy_type(SeamConfig(strategy_id, instrument_id, settings, control))


def _versions(*signals: type[Versioned]) -> dict[str, int]:
    return {signal.ID: signal.VERSION for signal in signals}


def _lpi_data(settings: PhoenixLpiSettings) -> frozenset[str]:
    types = {"QuoteTick", "TradeTick"}
    if settings.use_depth_pct:
        types.add("BinanceBookDepthPct")
    if settings.lev_min is not None:
        types.add("BinanceOiMetrics")
    if settings.needs_funding:
        types.add("BinanceFundingRate")
    return frozenset(types)


def _bar_lpi_data(settings: LiquidityPressureSettings) -> frozenset[str]:
    types = {"QuoteTick", "Bar"}
    if settings.needs_depth:
        types.add("BinanceBookDepthPct")
    if settings.gates.funding_window_minutes is not None:
        types.add("BinanceFundingRate")
    return frozenset(types)


def _composite_data(settings: PhoenixSettings) -> frozenset[str]:
    types = {"QuoteTick", "TradeTick", "BinanceBookDepthPct"}
    if settings.oi_z_threshold is not None:
        types.add("BinanceOiMetrics")
    if settings.gates.funding_window_minutes is not None:
        types.add("BinanceFundingRate")
    return frozenset(types)


_SPECS = {
    spec.name: spec
    for spec in (
        StrategySpec(
            name="ema_cross",
            settings_type=EmaCrossSettings,
            strategy_type=EmaCross,
            data_types=lambda _settings: frozenset({"Bar"}),
            posts_limit_orders=lambda _settings: False,
            estimators=lambda _settings: {},
        ),
        StrategySpec(
            name="liquidity_pressure",
            settings_type=LiquidityPressureSettings,
            strategy_type=LiquidityPressure,
            data_types=_bar_lpi_data,
            posts_limit_orders=lambda _settings: False,
            estimators=lambda _settings: _versions(BarLpiEngine, BarLpi),
        ),
        StrategySpec(
            name="phoenix",
            settings_type=PhoenixSettings,
            strategy_type=Phoenix,
            data_types=_composite_data,
            posts_limit_orders=lambda _settings: True,
            estimators=lambda _settings: _versions(
                CompositeLpiEngine, CompositeLpi, RealizedMeasures
            ),
            longest_holding_ns=lambda s: round(s.max_hold_secs * SECOND_NS),
        ),
        StrategySpec(
            name="phoenix_lpi",
            settings_type=PhoenixLpiSettings,
            strategy_type=PhoenixLpi,
            data_types=_lpi_data,
            posts_limit_orders=lambda s: not (s.momentum_use_market and not s.mean_rev_post_only),
            estimators=lambda _settings: _versions(
                LpiEngine, LiquidationPressure, Exhaustion, LeveragePrior
            ),
            longest_holding_ns=lambda s: s.longest_holding_ns,
        ),
        StrategySpec(
            name="toxicity_volatility",
            settings_type=ToxicityVolatilitySettings,
            strategy_type=ToxicityVolatility,
            data_types=lambda _settings: frozenset(
                {"QuoteTick", "TradeTick", "Bar", "BinanceBookDepthPct", "BinanceOiMetrics",
                 "BinanceFundingRate"}
            ),
            posts_limit_orders=lambda s: (
                s.execution == "limit" or (s.execution == "twap" and s.twap.passive_share > 0)
            ),
            estimators=lambda _settings: _versions(
                ToxicityVolatilityEngine, CompressionFactor, EwmaVariance, Vpin, FlowPressure,
                ToxicityIndex, Crowding, VolatilityRegimes, EnsembleFusion,
            ),
            algorithms=lambda s, control: (
                [TwapAlgorithm(ALGORITHM_ID, control)] if s.execution == "twap" else []
            ),
            longest_holding_ns=lambda s: s.h_max_bars * MINUTE_NS,
        ),
    )
}  # fmt: skip

DEFAULT = "ema_cross"
"""What a suite without a `strategy` section runs."""


def names() -> list[str]:
    """The registered names."""
    return sorted(_SPECS)


def find(name: str) -> StrategySpec:
    """The strategy a suite names.

    >>> find("ema_cross").settings_type.__name__
    'EmaCrossSettings'
    >>> find("ema_cros")
    Traceback (most recent call last):
    ...
    phoenix_strategies.errors.UnknownStrategyError: strategy must be one of ema_cross, liquidity_pressure,
    phoenix, phoenix_lpi, toxicity_volatility, or
    "package.module:SPEC" (was 'ema_cros'); did you mean ema_cross?
    """
    if name in _SPECS:
        return _SPECS[name]
    module_name, colon, attribute = name.partition(":")
    if colon:
        return _import_spec(name, module_name, attribute)
    close = difflib.get_close_matches(name, names(), n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    known = ", ".join(names())
    msg = f'strategy must be one of {known}, or "package.module:SPEC" (was {name!r}){hint}'
    raise UnknownStrategyError(msg)


def _import_spec(name: str, module_name: str, attribute: str) -> StrategySpec:
    try:
        spec = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        hint = (
            "put it into a module of its own, for workers do not run your script"
            if module_name == "__main__"
            else "is it installed?"
        )
        msg = f"strategy {name!r} must be importable as module:attribute ({error}); {hint}"
        raise UnknownStrategyError(msg) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # also one that would end the program, as sys.exit does
        msg = (
            f"strategy {name!r} must be importable, but its module raised {type(error).__name__}: "
            f"{error}"
        )
        raise UnknownStrategyError(msg) from error
    if not isinstance(spec, StrategySpec):
        msg = f"strategy {name!r} must be a StrategySpec (was {type(spec).__name__})"
        raise UnknownStrategyError(msg)
    _require_types(name, spec)
    return spec


def _require_types(name: str, spec: StrategySpec) -> None:
    """Raises UnknownStrategyError for a spec of a user's own whose parts are not what they must be."""
    parts: dict[str, tuple[object, type]] = {
        "settings_type": (spec.settings_type, StrategySettings),
        "strategy_type": (spec.strategy_type, PhoenixStrategy),
    }
    for part, (found, base) in parts.items():
        if not (isinstance(found, type) and issubclass(found, base)):
            msg = f"{part} of {name!r} must be a subclass of {base.__name__} (was {found!r})"
            raise UnknownStrategyError(msg)
    given: object = spec.name
    if not isinstance(given, str):
        msg = f"name of {name!r} must be text (was {spec.name!r})"
        raise UnknownStrategyError(msg)
    for part in (
        "data_types", "posts_limit_orders", "estimators", "algorithms", "longest_holding_ns",
    ):  # fmt: skip
        if not callable(getattr(spec, part)):
            msg = (
                f"{part} of {name!r} must be a function of the settings (was "
                f"{getattr(spec, part)!r}); write lambda settings: ..."
            )
            raise UnknownStrategyError(msg)
