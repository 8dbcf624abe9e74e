"""Batch twins of `phoenix_signals.orderflow`, and the offline fit of the micro-price table."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phoenix_signals.batch.clocks import checked_trades
from phoenix_signals.errors import (
    InputError,
    check_count,
    check_positive,
    column,
    raw_column,
    size_error,
    time_column,
)
from phoenix_signals.orderflow import (
    MicroPriceTable,
    OrderFlowImbalanceSum,
    SignedVolumeImbalance,
)

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_SETTLED = 1e-12
"""The micro-price is settled when another move shifts it by less than this share of a tick."""

_MOVES = 100_000
"""Moves after which a micro-price that has not settled never will."""


def svi(ts_ns: ArrayLike, size_raw: ArrayLike, side: ArrayLike, *, window_ns: int) -> Floats:
    """Twin of [SignedVolumeImbalance][phoenix_signals.orderflow.SignedVolumeImbalance].

    Units: none, in [-1, 1]; sizes in integer raw units, so the sums are exact.
    Returns: float64, one value per trade; NaN where the value is None.
    Raises: time going back, a non-positive size or a side other than +1, -1 raises InputError
        with the row.

    >>> svi([0, 4, 12], [5, 3, 1], [1, 1, -1], window_ns=10).tolist()
    [nan, nan, 0.5]
    """
    SignedVolumeImbalance(window_ns)
    ts, size, is_buy = checked_trades(ts_ns, size_raw, side)
    flow = _window_sum(ts, np.where(is_buy, size, -size), window_ns)
    return _warm(ts, window_ns, flow / _window_sum(ts, size, window_ns))


def ofi(
    bid_raw: ArrayLike, ask_raw: ArrayLike, bid_size_raw: ArrayLike, ask_size_raw: ArrayLike
) -> Floats:
    """Twin of [OrderFlowImbalance][phoenix_signals.orderflow.OrderFlowImbalance].

    Units: integer raw size units.
    Returns: float64, one value per quote; NaN where the value is None; warm-up: one quote.
    Raises: a crossed quote, a price not above 0 or a negative size raises InputError with the
        row.

    >>> ofi([100, 100], [101, 102], [5, 7], [5, 9]).tolist()
    [nan, 7.0]
    """
    flow = _flows(bid_raw, ask_raw, bid_size_raw, ask_size_raw).astype(np.float64)
    flow[:1] = np.nan
    return flow


def ofi_sum(
    ts_ns: ArrayLike,
    bid_raw: ArrayLike,
    ask_raw: ArrayLike,
    bid_size_raw: ArrayLike,
    ask_size_raw: ArrayLike,
    *,
    window_ns: int,
) -> Floats:
    """Twin of [OrderFlowImbalanceSum][phoenix_signals.orderflow.OrderFlowImbalanceSum].

    Units: integer raw size units; exact.
    Returns: float64, one value per quote; NaN where the value is None.
    Raises: time going back, a crossed quote, a price not above 0 or a negative size raises
        InputError with the row.

    >>> ofi_sum([0, 4, 12], [9, 9, 9], [10, 10, 10], [5, 9, 10], [5, 5, 5], window_ns=10).tolist()
    [nan, nan, 5.0]
    """
    OrderFlowImbalanceSum(window_ns)
    ts = time_column(ts_ns)
    flow = _flows(bid_raw, ask_raw, bid_size_raw, ask_size_raw, len(ts))
    return _warm(ts, window_ns, _window_sum(ts, flow, window_ns).astype(np.float64))


def _flows(
    bid_raw: ArrayLike,
    ask_raw: ArrayLike,
    bid_size_raw: ArrayLike,
    ask_size_raw: ArrayLike,
    rows: int | None = None,
) -> Ints:
    """e of each row against the row before; 0 in the first."""
    bid = raw_column("bid_raw", bid_raw, rows)
    ask = raw_column("ask_raw", ask_raw, len(bid))
    bid_size = raw_column("bid_size_raw", bid_size_raw, len(bid))
    ask_size = raw_column("ask_size_raw", ask_size_raw, len(bid))
    check_quotes(bid, ask, bid_size, ask_size)
    flow = np.zeros(len(bid), dtype=np.int64)
    up, down = bid[1:] >= bid[:-1], bid[1:] <= bid[:-1]
    flow[1:] = bid_size[1:] * up
    flow[1:] -= bid_size[:-1] * down
    up, down = ask[1:] >= ask[:-1], ask[1:] <= ask[:-1]
    flow[1:] -= ask_size[1:] * down
    flow[1:] += ask_size[:-1] * up
    return flow


def _window_sum(ts: Ints, values: Ints, window_ns: int) -> Ints:
    running = np.zeros(len(values) + 1, dtype=np.int64)
    np.cumsum(values, out=running[1:])
    return running[1:] - running[np.searchsorted(ts, ts - window_ns, side="right")]


def _warm(ts: Ints, window_ns: int, values: Floats) -> Floats:
    return np.where(ts - window_ns >= ts[:1], values, np.nan)


def obi(bid_size: ArrayLike, ask_size: ArrayLike) -> Floats:
    """Twin of [QueueImbalance][phoenix_signals.orderflow.QueueImbalance].

    Units: none, in [-1, 1].
    Returns: float64, one value per quote; NaN where the value is None.
    Raises: a negative, NaN or infinite size raises InputError with the row.

    >>> obi([3.0, 0.0], [1.0, 0.0]).tolist()
    [0.5, nan]
    """
    bids = column("bid_size", bid_size)
    asks = column("ask_size", ask_size, len(bids))
    _check_sizes("bid_size", bids)
    _check_sizes("ask_size", asks)
    return share(bids - asks, bids + asks)


def weighted_mid(
    bid: ArrayLike, ask: ArrayLike, bid_size: ArrayLike, ask_size: ArrayLike
) -> Floats:
    """Twin of [WeightedMid][phoenix_signals.orderflow.WeightedMid].

    Units: those of the prices.
    Returns: float64, one value per quote; NaN where the value is None.
    Raises: a crossed quote, a price not above 0 or a negative size raises InputError with the
        row.

    >>> weighted_mid([100.0], [101.0], [3.0], [1.0]).tolist()
    [100.75]
    """
    b, a, bids, asks = quote_columns(bid, ask, bid_size, ask_size)
    total = bids + asks
    weight: Floats = np.full(len(b), 0.5)
    np.divide(bids, total, out=weight, where=total > 0)
    return b + (a - b) * weight


def micro_price(
    bid: ArrayLike,
    ask: ArrayLike,
    bid_size: ArrayLike,
    ask_size: ArrayLike,
    *,
    table: MicroPriceTable,
) -> Floats:
    """Twin of [MicroPrice][phoenix_signals.orderflow.MicroPrice].

    Units: those of the prices.
    Returns: float64, one value per quote; NaN where the value is None.
    Raises: a crossed quote, a price not above 0 or a negative size raises InputError with the
        row.

    >>> table = MicroPriceTable(tick_size=1.0, adjustment=((-0.25, 0.0, 0.25),))
    >>> micro_price([100.0], [101.0], [9.0], [1.0], table=table).tolist()
    [100.75]
    """
    b, a, bids, asks = quote_columns(bid, ask, bid_size, ask_size)
    adjustment = np.array(table.adjustment)
    spread, cell = _states(b, a, bids, asks, table.tick_size, adjustment.shape)
    shift = np.where(bids + asks > 0, adjustment[spread, cell], 0.0)
    return (b + (a - b) * 0.5) + shift


def _states(
    bid: Floats,
    ask: Floats,
    bid_size: Floats,
    ask_size: Floats,
    tick_size: float,
    shape: tuple[int, ...],
) -> tuple[Ints, Ints]:
    """Spread (ticks - 1) and imbalance cell of each quote, both clipped into the table."""
    spreads, cells = shape
    total = bid_size + ask_size
    weight = np.divide(bid_size, total, out=np.zeros(len(bid)), where=total > 0)
    spread = np.rint((ask - bid) / tick_size).astype(np.int64)
    cell = (weight * cells).astype(np.int64)
    return np.clip(spread, 1, spreads) - 1, np.minimum(cell, cells - 1)


def fit_micro_price(
    bid: ArrayLike,
    ask: ArrayLike,
    bid_size: ArrayLike,
    ask_size: ArrayLike,
    *,
    tick_size: float,
    imbalance_cells: int = 10,
    max_spread_ticks: int = 3,
) -> MicroPriceTable:
    """Fit Stoikov's micro-price table on the quotes of a training range.

    States are (spread in ticks, imbalance cell). From the transitions between consecutive quotes:
    Q (the mid stays), T (the mid moves) and r = E[dm 1{dm != 0}] per state, with every transition
    also counted in the mirror (I -> 1 - I, dm -> -dm). Then G1 = (1 - Q)^-1 r is the expected first
    move, B = (1 - Q)^-1 T, and the adjustment is G* = sum_k B^k G1. Quotes with two empty queues
    are left out; a state that was never seen has adjustment 0.

    Raises:
        InputError: the quotes never leave some set of states, so no micro-price exists.

    >>> rng = np.random.default_rng(1)
    >>> size = rng.integers(1, 9, 5_000)
    >>> step = np.where(rng.random(5_000) < size / 9, 1, -1) * (rng.random(5_000) < 0.3)
    >>> bid = 1_000 + np.concatenate([[0], np.cumsum(step)[:-1]])
    >>> table = fit_micro_price(bid, bid + 1, size, 9 - size, tick_size=1.0, imbalance_cells=3)
    >>> [round(x, 1) + 0.0 for x in table.adjustment[0]]
    [-0.2, 0.0, 0.2]
    """
    check_positive("tick_size", tick_size, "the price increment, 0.1")
    check_count("imbalance_cells", imbalance_cells, 1, "10")
    check_count("max_spread_ticks", max_spread_ticks, 1, "3")
    b, a, bids, asks = quote_columns(bid, ask, bid_size, ask_size)
    seen = bids + asks > 0
    b, a, bids, asks = b[seen], a[seen], bids[seen], asks[seen]
    shape = (max_spread_ticks, imbalance_cells)
    spread, cell = _states(b, a, bids, asks, tick_size, shape)
    state = spread * imbalance_cells + cell
    mirror = spread * imbalance_cells + (imbalance_cells - 1 - cell)
    half_ticks = np.diff(np.rint((a + b) / tick_size).astype(np.int64))
    size = max_spread_ticks * imbalance_cells
    stay, move, gain = np.zeros((size, size)), np.zeros((size, size)), np.zeros(size)
    moved = half_ticks != 0
    for states, sign in ((state, 1.0), (mirror, -1.0)):
        source, target = states[:-1], states[1:]
        np.add.at(stay, (source[~moved], target[~moved]), 1.0)
        np.add.at(move, (source[moved], target[moved]), 1.0)
        np.add.at(gain, source, sign * 0.5 * tick_size * half_ticks)
    visits = np.maximum(stay.sum(axis=1) + move.sum(axis=1), 1.0)
    settle = np.eye(size) - stay / visits[:, None]
    try:
        first = np.linalg.solve(settle, gain / visits)
        onward = np.linalg.solve(settle, move / visits[:, None])
    except np.linalg.LinAlgError as error:
        raise _no_micro_price() from error
    total = first.copy()
    for _ in range(_MOVES):
        first = onward @ first
        total += first
        if not np.isfinite(first).all():
            break
        if np.abs(first).max(initial=0.0) < _SETTLED * tick_size:
            rows = total.reshape(shape).tolist()
            return MicroPriceTable(tick_size, tuple(tuple(row) for row in rows))
    raise _no_micro_price()


def _no_micro_price() -> InputError:
    return InputError(
        "quotes must move from every state to the others (some never do); "
        "pass a longer training range, or fewer imbalance_cells and max_spread_ticks"
    )


def fsi(buy_raw: ArrayLike, sell_raw: ArrayLike) -> Floats:
    """Twin of [ForcedSellingIntensity][phoenix_signals.orderflow.ForcedSellingIntensity].

    Units: none, in [0, 1]; notionals in integer raw units.
    Returns: float64, one value per bucket; NaN where the value is None.
    Raises: a negative amount raises InputError with the row.

    >>> fsi([25, 0], [75, 0]).tolist()
    [0.75, nan]
    """
    buy = raw_column("buy_raw", buy_raw)
    sell = raw_column("sell_raw", sell_raw, len(buy))
    _check_sizes("buy_raw", buy)
    _check_sizes("sell_raw", sell)
    return share(sell, buy + sell)


def share(part: NDArray[Any], total: NDArray[Any]) -> Floats:
    """part / total, NaN where the total is 0."""
    out: Floats = np.full(len(total), np.nan)
    np.divide(part, total, out=out, where=total != 0)
    return out


def quote_columns(
    bid: ArrayLike, ask: ArrayLike, bid_size: ArrayLike, ask_size: ArrayLike
) -> tuple[Floats, Floats, Floats, Floats]:
    """Checked columns of quotes."""
    b = column("bid", bid)
    a, bids, asks = (
        column(name, values, len(b))
        for name, values in (("ask", ask), ("bid_size", bid_size), ("ask_size", ask_size))
    )
    check_quotes(b, a, bids, asks)
    return b, a, bids, asks


def check_quotes(
    bid: NDArray[Any],
    ask: NDArray[Any],
    bid_size: NDArray[Any] | None = None,
    ask_size: NDArray[Any] | None = None,
) -> None:
    """Refuse crossed or one-sided quotes and negative sizes, naming the row."""
    bad = (bid <= 0) | (ask < bid)
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            f"a quote must have 0 < bid <= ask (was {bid[row]} / {ask[row]} at row {row}); "
            "drop it, or merge the two updates that it stands between"
        )
    for name, sizes in (("bid_size", bid_size), ("ask_size", ask_size)):
        if sizes is not None:
            _check_sizes(name, sizes)


def _check_sizes(name: str, sizes: NDArray[Any]) -> None:
    if len(sizes) and sizes.min() < 0:
        row = int(np.argmin(sizes))
        raise size_error(name, f"{sizes[row]} at row {row}")
