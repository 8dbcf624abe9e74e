"""Pressure: three indices of forced trading, kept apart by name.

1. **LPI fast, EXH, LEV**: [LiquidationPressure][], [Exhaustion][], [LeveragePrior][]. Prints beyond
   the touch per short bucket, the fading of that pressure, and a slow prior. Positive LPI means
   that sellers are forced.
2. **Composite LPI**: [CompositeLpi][]. Forced selling, depletion of bids and one-sidedness per
   notional bucket, in [0, 1]; it knows no buy side.
3. **Bar LPI**: [BarLpi][]. Book imbalance at a bar's close, weighted by volume and spread.
   Positive means a bid-heavy book: the opposite sense of LPI fast.

They take what one bucket or bar adds up to; the engines of `phoenix_signals.engines` do the adding
up from trades, quotes and custom data. No z-score here is taken of a z-score, except that EXH
measures a change of LPI by the spread of its own recent changes, as its formula says.
"""

from phoenix_signals.pressure.bar import BarLpi
from phoenix_signals.pressure.composite import CompositeLpi
from phoenix_signals.pressure.liquidation import (
    LIQUIDITY_MODES,
    Exhaustion,
    ExhaustionValue,
    LeveragePrior,
    LiquidationPressure,
    LiquidityMode,
    PressureValue,
)
from phoenix_signals.pressure.standard_units import (
    PressureZKind,
    ZScore,
    check_optional,
    check_weight,
    sgn,
    standardized,
    standardizer,
)

__all__ = [
    "LIQUIDITY_MODES",
    "BarLpi",
    "CompositeLpi",
    "Exhaustion",
    "ExhaustionValue",
    "LeveragePrior",
    "LiquidationPressure",
    "LiquidityMode",
    "PressureValue",
    "PressureZKind",
    "ZScore",
    "check_optional",
    "check_weight",
    "sgn",
    "standardized",
    "standardizer",
]
