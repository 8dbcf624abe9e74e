"""Regime: who is crowded, how toxic flow is, which way it presses, how rough the market is.

- [Crowding][]: C and F3 from funding, open interest and the long/short ratio.
- [TakerRatio][]: what takers do beside it, bought against sold.
- [ToxicityIndex][]: T from VPIN and the spread.
- [FlowPressure][]: F2 from the book, trades and quotes, 0 while flow is toxic.
- [VolatilityRegimes][]: NORMAL, HIGH_VARIANCE or LOW_LIQUIDITY, with hysteresis.

Each z-score and percentile is taken over the past only, the current value included.
"""

from phoenix_signals.regime.crowding import Crowding, CrowdingValue, OiMode, TakerRatio
from phoenix_signals.regime.flow import FlowPressure, FlowPressureValue, ToxicityIndex
from phoenix_signals.regime.volatility_states import REGIMES, VolatilityRegimes, check_share

__all__ = [
    "REGIMES",
    "Crowding",
    "CrowdingValue",
    "FlowPressure",
    "FlowPressureValue",
    "OiMode",
    "TakerRatio",
    "ToxicityIndex",
    "VolatilityRegimes",
    "check_share",
]
