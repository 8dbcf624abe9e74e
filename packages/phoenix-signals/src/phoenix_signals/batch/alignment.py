"""Bringing rows of different clocks together without looking ahead."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phoenix_signals.errors import time_column
from phoenix_signals.liquidity import ImpulseQuote, QuoteBefore

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def hold(row: Ints, values: ArrayLike, rows: int) -> Floats:
    """Values that appear at increasing `row`s, held until the next; NaN before the first.

    Of several values at one row the last holds.

    >>> hold(np.array([1, 3]), [5.0, 6.0], 5).tolist()
    [nan, 5.0, 5.0, 6.0, 6.0]
    """
    known = np.append(np.nan, np.asarray(values, dtype=np.float64))
    return np.repeat(known, np.diff(row, prepend=0, append=rows))


def quote_before(
    quote_ts_ns: ArrayLike,
    trade_ts_ns: ArrayLike,
    *,
    impulse_quote: ImpulseQuote = "strictly_before",
) -> Ints:
    """Row of the quote that each trade met, -1 where there is none.

    Twin of [QuoteBefore][phoenix_signals.liquidity.QuoteBefore].

    >>> quote_before([10, 20, 20], [10, 20, 21]).tolist()
    [-1, 0, 2]
    """
    QuoteBefore(impulse_quote)
    quotes = time_column(quote_ts_ns)
    times = time_column(trade_ts_ns)
    if impulse_quote == "strictly_before":
        return np.searchsorted(quotes, times, side="left") - 1
    return np.searchsorted(quotes, times, side="right") - 1
