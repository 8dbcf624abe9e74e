"""Signal engines: events in, one record per bucket, bar or decision out.

Every engine keeps the protocol of [SignalEngine][] and takes one frozen config. Their batch forms,
over columns of a catalog, stand in `phoenix_signals.batch`.
"""

from phoenix_signals.engines.lpi import LpiConfig, LpiEngine
from phoenix_signals.engines.protocol import SignalEngine

__all__ = ["LpiConfig", "LpiEngine", "SignalEngine"]
