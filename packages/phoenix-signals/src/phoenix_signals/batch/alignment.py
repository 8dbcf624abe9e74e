"""Bringing rows of different clocks together without looking ahead."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

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

    Units: nanoseconds.
    Returns: int64, one row number per trade.
    Raises: time going back in either column raises InputError with the row.

    >>> quote_before([10, 20, 20], [10, 20, 21]).tolist()
    [-1, 0, 2]
    """
    QuoteBefore(impulse_quote)
    strictly = impulse_quote == "strictly_before"
    return last_rows(time_column(quote_ts_ns), time_column(trade_ts_ns), strictly=strictly)


SLICE = 4_096
"""Rows searched at once: a slice of times that stays in the cache halves the time of a day."""


def last_rows(known_ts: Ints, ts_ns: Ints, *, strictly: bool) -> Ints:
    """Row of the last known time before each time, strictly or not; -1 where there is none.

    Both columns ascend.

    >>> last_rows(np.array([10, 20, 20]), np.array([10, 20, 21]), strictly=True).tolist()
    [-1, 0, 2]
    """
    side: Literal["left", "right"] = "left" if strictly else "right"
    rows = np.empty(len(ts_ns), dtype=np.int64)
    # Times before the cut of a slice lie before or at its first row: an earlier slice finds them.
    cuts = np.searchsorted(ts_ns, known_ts[::SLICE], "right" if strictly else "left").tolist()
    rows[: cuts[0] if cuts else len(ts_ns)] = -1
    for i, (start, stop) in enumerate(pairwise([*cuts, len(ts_ns)])):
        first = i * SLICE
        found = known_ts[first : first + SLICE].searchsorted(ts_ns[start:stop], side)
        np.add(found, first - 1, out=rows[start:stop])
    return rows
