"""Batch twins of `phoenix_signals.liquidity`."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phoenix_signals import liquidity
from phoenix_signals.batch.alignment import hold
from phoenix_signals.batch.orderflow import check_quotes, quote_columns, share
from phoenix_signals.errors import InputError, column, size_error, time_column
from phoenix_signals.liquidity import BPS

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def spread_bps(bid: ArrayLike, ask: ArrayLike) -> Floats:
    """Twin of [SpreadBps][phoenix_signals.liquidity.SpreadBps].

    Units: basis points.
    Returns: float64, one value per quote; NaN where the value is None.
    Raises: a crossed quote or a price not above 0 raises InputError with the row; a locked quote
        has spread 0.

    >>> spread_bps([99.99], [100.01]).round(9).tolist()
    [2.0]
    """
    b = column("bid", bid)
    a = column("ask", ask, len(b))
    check_quotes(b, a)
    return BPS * ((a - b) / ((a + b) * 0.5))


def quoted_depth(
    bid: ArrayLike, ask: ArrayLike, bid_size: ArrayLike, ask_size: ArrayLike
) -> Floats:
    """Twin of [QuotedDepth][phoenix_signals.liquidity.QuotedDepth].

    Units: the quote asset.
    Returns: float64, one value per quote; NaN where the value is None.
    Raises: a crossed quote, a price not above 0 or a negative size raises InputError with the
        row.

    >>> quoted_depth([100.0], [101.0], [2.0], [1.0]).tolist()
    [301.0]
    """
    b, a, bids, asks = quote_columns(bid, ask, bid_size, ask_size)
    return b * bids + a * asks


def depth_within(
    ts_ns: ArrayLike, percentage: ArrayLike, notional: ArrayLike, *, depth_pct: float = 5.0
) -> Floats:
    """Twin of [DepthWithin][phoenix_signals.liquidity.DepthWithin].

    Units: the quote asset; percentages in percent.
    Returns: float64, one value per row of bookDepth; NaN where the value is None; warm-up: one
        snapshot with both sides.
    Raises: time going back, a level twice at one time or a negative notional raises InputError
        with the row.

    >>> depth_within([0, 0, 0], [-2.0, -1.0, 1.0], [90.0, 40.0, 50.0], depth_pct=1.0).tolist()
    [nan, nan, 90.0]
    """
    liquidity.DepthWithin(depth_pct)
    row, bid, ask, rows = _both_sides(ts_ns, percentage, notional, depth_pct)
    return hold(row, bid + ask, rows)


def nobi(
    ts_ns: ArrayLike, percentage: ArrayLike, notional: ArrayLike, *, depth_pct: float = 5.0
) -> Floats:
    """Twin of [DepthImbalance][phoenix_signals.liquidity.DepthImbalance].

    Units: none, in [-1, 1].
    Returns: float64, one value per row of bookDepth; NaN where the value is None; warm-up: one
        snapshot with both sides.
    Raises: time going back, a level twice at one time or a negative notional raises InputError
        with the row.

    >>> nobi([0, 0], [-1.0, 1.0], [75.0, 25.0], depth_pct=1.0).tolist()
    [nan, 0.5]
    """
    liquidity.DepthImbalance(depth_pct)
    row, bid, ask, rows = _both_sides(ts_ns, percentage, notional, depth_pct)
    return hold(row, share(bid - ask, bid + ask), rows)


def ldr(
    ts_ns: ArrayLike,
    percentage: ArrayLike,
    notional: ArrayLike,
    *,
    depth_pct: float = 1.0,
    side: liquidity.Side = "bid",
) -> Floats:
    """Twin of [LiquidityDepletion][phoenix_signals.liquidity.LiquidityDepletion].

    Units: none.
    Returns: float64, one value per row of bookDepth; NaN where the value is None; warm-up: one
        snapshot.
    Raises: time going back, the level twice at one time or a negative notional raises InputError
        with the row.

    >>> ldr([0, 0, 30], [-1.0, -2.0, -1.0], [80.0, 90.0, 60.0]).tolist()
    [1.0, 1.0, 0.75]
    """
    liquidity.LiquidityDepletion(depth_pct, side)
    ts, percentages, notionals = _depth_columns(ts_ns, percentage, notional)
    row = _level(ts, percentages, -depth_pct if side == "bid" else depth_pct)
    depth = notionals[row]
    ratio = np.ones(len(row))
    np.divide(depth[1:], depth[:-1], out=ratio[1:], where=depth[:-1] != 0)
    return hold(row, ratio, len(ts))


def _depth_columns(
    ts_ns: ArrayLike, percentage: ArrayLike, notional: ArrayLike
) -> tuple[Ints, Floats, Floats]:
    ts = time_column(ts_ns)
    percentages = column("percentage", percentage, len(ts))
    notionals = column("notional", notional, len(ts))
    if len(ts) and notionals.min() < 0:
        row = int(np.argmin(notionals))
        raise size_error("notional", f"{notionals[row]} at row {row}")
    outside = np.abs(percentages) > 100.0
    if outside.any():
        row = int(np.argmax(outside))
        raise InputError(
            f"percentage must lie in [-100, 100] (was {percentages[row]} at row {row})"
        )
    return ts, percentages, notionals


def _level(ts: Ints, percentages: Floats, level: float) -> Ints:
    """Rows of one level and side, one per snapshot."""
    rows = np.flatnonzero(percentages == level)
    repeated = ts[rows[1:]] == ts[rows[:-1]]
    if repeated.any():
        row = int(rows[1:][repeated][0])
        raise InputError(
            f"(ts_ns, percentage) must be unique (was {ts[row]}, {level} again at row {row}); "
            "drop repeated rows of the snapshot"
        )
    return rows


def _both_sides(
    ts_ns: ArrayLike, percentage: ArrayLike, notional: ArrayLike, depth_pct: float
) -> tuple[Ints, Floats, Floats, int]:
    """The row that completes each snapshot, and its two notionals within `depth_pct`."""
    ts, percentages, notionals = _depth_columns(ts_ns, percentage, notional)
    bids, asks = _level(ts, percentages, -depth_pct), _level(ts, percentages, depth_pct)
    _, in_bids, in_asks = np.intersect1d(
        ts[bids], ts[asks], assume_unique=True, return_indices=True
    )
    bids, asks = bids[in_bids], asks[in_asks]
    return np.maximum(bids, asks), notionals[bids], notionals[asks], len(ts)


def source_age(ts_ns: ArrayLike, is_source: ArrayLike) -> Floats:
    """Twin of [SourceAge][phoenix_signals.liquidity.SourceAge].

    Units: nanoseconds.
    Returns: float64, one value per event; NaN where the value is None; warm-up: the first record
        of the source.
    Raises: time going back raises InputError with the row.

    >>> source_age([100, 130], [1, 0]).tolist()
    [0.0, 30.0]
    """
    ts = time_column(ts_ns)
    of_source = column("is_source", is_source, len(ts))
    if not np.isin(of_source, (0.0, 1.0)).all():
        raise InputError("is_source must be 1 or 0 on every row; say whose event it is")
    row = np.flatnonzero(of_source)
    newest = np.repeat(np.append(0, ts[row]), np.diff(row, prepend=0, append=len(ts)))
    age: Floats = (ts - newest).astype(np.float64)
    age[: row[0] if len(row) else len(ts)] = np.nan
    return age
