"""One-minute bars of trades, as the exchange builds them.

Minutes are half-open, [open, open + 60 s). `count` counts single fills. A minute without a trade is
a flat bar at the close before it, with zero volume.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from phoenix_etl.synthetic.draws import Ints
from phoenix_etl.synthetic.latent import MINUTES
from phoenix_etl.synthetic.prints import Prints


@dataclass(frozen=True)
class Bars:
    """1,440 bars: prices in ticks, volumes in lots, quote volumes in ticks times lots."""

    open: Ints
    high: Ints
    low: Ints
    close: Ints
    volume: Ints
    quote_volume: Ints
    count: Ints
    taker_buy_volume: Ints
    taker_buy_quote_volume: Ints


def _sums(values: Ints, edges: Ints) -> Ints:
    running = np.concatenate([[0], np.cumsum(values)])
    return np.asarray(running[edges[1:]] - running[edges[:-1]])


def build(prints: Prints) -> Bars:
    """Bars of a day's prints; the day's first trade lies in its first minute."""
    minute = prints.milliseconds // 60_000
    edges = np.searchsorted(minute, np.arange(MINUTES + 1))
    traded = np.flatnonzero(edges[1:] > edges[:-1])
    last = np.maximum.accumulate(np.where(edges[1:] > edges[:-1], edges[1:] - 1, 0))
    close = prints.ticks[last]
    flat = np.concatenate([close[:1], close[:-1]])
    open_, high, low = flat.copy(), flat.copy(), flat.copy()
    open_[traded] = prints.ticks[edges[traded]]
    high[traded] = np.maximum.reduceat(prints.ticks, edges[traded])
    low[traded] = np.minimum.reduceat(prints.ticks, edges[traded])
    quote = prints.ticks * prints.lots
    return Bars(
        open=open_,
        high=high,
        low=low,
        close=close,
        volume=_sums(prints.lots, edges),
        quote_volume=_sums(quote, edges),
        count=_sums(prints.fills, edges),
        taker_buy_volume=_sums(np.where(prints.sells, 0, prints.lots), edges),
        taker_buy_quote_volume=_sums(np.where(prints.sells, 0, quote), edges),
    )
