"""The listed perpetuals of the simulated market: grids, text precisions and typical levels.

Grids and precisions are those of the shipped instrument specs; levels (price, volatility, depth,
open interest) are rough figures of early 2024, chosen so that plots look like the symbol.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from phoenix_etl.synthetic.errors import SyntheticError


@dataclass(frozen=True)
class Listing:
    """One perpetual. A price is `ticks * 10**-tick_decimals`, a size `lots * 10**-lot_decimals`."""

    symbol: str
    tick_decimals: int
    """Decimals of the price increment, 10**-tick_decimals."""
    price_decimals: int
    """Decimals that the archive prints for bar prices (finer than the increment for some)."""
    lot_decimals: int
    price_ticks: int
    """Level on 2024-01-01, in ticks."""
    daily_volatility: float
    """Typical standard deviation of a day's log return."""
    queue_lots: int
    """Typical size at the touch."""
    order_lots: float
    """Median size of a taker order."""
    depth_lots: int
    """Typical cumulative size within 1 % of the touch."""
    interest_lots: int
    """Typical open interest."""
    common: float
    """Correlation of the symbol's returns with the common factor."""


LISTINGS: Final = {
    listing.symbol: listing
    for listing in (
        Listing("BTCUSDT", 1, 2, 3, 423_140, 0.021, 6_000, 40.0, 3_300_000, 84_000_000, 0.92),
        Listing("ETHUSDT", 2, 2, 3, 229_250, 0.025, 45_000, 300.0, 32_000_000, 1_150_000_000, 0.88),
        Listing("AVAXUSDT", 3, 4, 0, 38_600, 0.045, 900, 9.0, 110_000, 5_200_000, 0.72),
        Listing("NEARUSDT", 3, 4, 0, 3_640, 0.050, 18_000, 160.0, 900_000, 24_000_000, 0.68),
        Listing("FILUSDT", 3, 3, 1, 6_930, 0.048, 21_000, 150.0, 2_400_000, 160_000_000, 0.66),
        Listing("LINKUSDT", 3, 3, 2, 14_930, 0.040, 42_000, 400.0, 12_000_000, 1_900_000_000, 0.70),
    )
}


def listing(symbol: str) -> Listing:
    """The listing of `symbol`.

    >>> listing("BTCUSDT").lot_decimals
    3
    """
    try:
        return LISTINGS[symbol]
    except KeyError:
        raise SyntheticError(
            f"symbol must be listed in the simulated market (was {symbol!r}); "
            f"one of {', '.join(LISTINGS)}"
        ) from None
