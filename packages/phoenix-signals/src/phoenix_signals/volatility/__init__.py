"""Volatility from bars: variances of one bar, their window means, and compression.

Every class with `Variance` in its name returns a variance per bar (of log returns), never its root.
All take the same arguments, (open_, high, low, close), so they can be exchanged for one another.

- [ParkinsonVariance][], [GarmanKlassVariance][], [RogersSatchellVariance][]: from the range inside
  each bar; blind to gaps between bars.
- [YangZhangVariance][]: gaps included, independent of drift.
- [CloseToCloseVariance][], [EwmaVariance][]: from closes alone.
- [VolatilityCompression][] and [CompressionFactor][]: short against long.

Logs of ratios are taken as log1p((a - b) / b): a minute's range is 1e-4, and a difference of two
logs would lose four digits.
"""

from phoenix_signals.volatility.bars import (
    GARMAN_KLASS,
    PARKINSON,
    check_bar,
    check_price,
    garman_klass,
    log_ratio,
    parkinson,
    rogers_satchell,
)
from phoenix_signals.volatility.closes import CloseToCloseVariance, EwmaVariance
from phoenix_signals.volatility.compression import (
    COMPRESSION_RESOLUTION,
    CompressionFactor,
    VolatilityCompression,
)
from phoenix_signals.volatility.ranges import (
    GarmanKlassVariance,
    ParkinsonVariance,
    RogersSatchellVariance,
)
from phoenix_signals.volatility.yang_zhang import YangZhangVariance, yang_zhang_k

__all__ = [
    "COMPRESSION_RESOLUTION",
    "GARMAN_KLASS",
    "PARKINSON",
    "CloseToCloseVariance",
    "CompressionFactor",
    "EwmaVariance",
    "GarmanKlassVariance",
    "ParkinsonVariance",
    "RogersSatchellVariance",
    "VolatilityCompression",
    "YangZhangVariance",
    "check_bar",
    "check_price",
    "garman_klass",
    "log_ratio",
    "parkinson",
    "rogers_satchell",
    "yang_zhang_k",
]
