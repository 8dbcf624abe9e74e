"""Signal engines: events in, one record per bucket, bar or decision out.

Every engine keeps the protocol of [SignalEngine][] and takes one frozen config. Their batch forms,
over columns of a catalog, stand in `phoenix_signals.batch`.
"""

from phoenix_signals.engines.bar_lpi import BarLpiConfig, BarLpiEngine
from phoenix_signals.engines.composite import CompositeLpiConfig, CompositeLpiEngine
from phoenix_signals.engines.lpi import LpiEngine
from phoenix_signals.engines.lpi_config import LpiConfig
from phoenix_signals.engines.protocol import SignalEngine
from phoenix_signals.engines.toxicity_volatility import (
    ToxicityVolatilityConfig,
    ToxicityVolatilityEngine,
    ToxicityVolatilityFeatures,
)

__all__ = [
    "BarLpiConfig",
    "BarLpiEngine",
    "CompositeLpiConfig",
    "CompositeLpiEngine",
    "LpiConfig",
    "LpiEngine",
    "SignalEngine",
    "ToxicityVolatilityConfig",
    "ToxicityVolatilityEngine",
    "ToxicityVolatilityFeatures",
]
