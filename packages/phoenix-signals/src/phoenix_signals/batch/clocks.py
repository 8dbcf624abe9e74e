"""Batch twins of `phoenix_signals.clocks`: the same buckets from whole columns.

The functions return [Buckets][]: the columns of a `Bucket`, and the row of the event that closed
it. Amounts come from integer cumulative sums, so they are exact.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phoenix_signals.clocks import (
    BUY,
    HOUR_NS,
    SELL,
    BucketMode,
    NotionalClock,
    TimeClock,
    VolumeClock,
    check_fills,
)
from phoenix_signals.errors import InputError, raw_column, time_column

Ints = NDArray[np.int64]

INT64_MAX = 2**63 - 1


class Buckets(NamedTuple):
    """Closed buckets as columns; `row` is the input row whose event closed the bucket."""

    row: Ints
    ts_open_ns: Ints
    ts_close_ns: Ints
    buy_raw: Ints
    sell_raw: Ints
    trades: Ints
    valid: NDArray[np.bool_]


def time_clock(
    ts_ns: ArrayLike,
    amount_raw: ArrayLike,
    side: ArrayLike,
    *,
    interval_ns: int,
    max_gap_ns: int = HOUR_NS,
) -> Buckets:
    """Twin of [TimeClock][phoenix_signals.clocks.TimeClock].

    Units: nanoseconds; amounts in any one raw unit.
    Returns: the closed buckets as columns, amounts int64; the open one is not among them.
    Raises: time going back, a non-positive amount or a side other than +1, -1 raises InputError
        with the row; max_gap_ns below interval_ns raises ParameterError.

    >>> time_clock([3, 25], [5, 1], [1, -1], interval_ns=10).ts_close_ns.tolist()
    [10, 20]
    """
    TimeClock(interval_ns, max_gap_ns)
    ts, amount, is_buy = checked_trades(ts_ns, amount_raw, side, "amount_raw")
    if len(ts) == 0:
        return _join([])
    index = ts // interval_ns
    first = np.flatnonzero(np.diff(index, prepend=index[0] - 1))  # first row of each seen bucket
    end = first[1:]  # the row that closes each of them, except the open last one
    seen = index[first]
    steps = np.diff(seen)
    valid = ts[end] - ts[end - 1] <= max_gap_ns
    emitted = np.where(valid, steps, 1)
    at = np.cumsum(emitted) - emitted  # where each seen bucket stands among all
    count = int(emitted.sum())
    opened = (np.arange(count) - np.repeat(at - seen[:-1], emitted)) * interval_ns

    def placed(flow: NDArray[Any]) -> NDArray[Any]:
        out = np.zeros(count, dtype=flow.dtype)
        out[at] = flow
        return out

    bought = np.add.reduceat(np.where(is_buy, amount, 0), first)[:-1]
    sold = np.add.reduceat(np.where(is_buy, 0, amount), first)[:-1]
    every = np.ones(count, dtype=np.bool_)
    every[at] = valid
    return Buckets(
        row=np.repeat(end, emitted),
        ts_open_ns=opened,
        ts_close_ns=opened + interval_ns,
        buy_raw=placed(bought),
        sell_raw=placed(sold),
        trades=placed(np.diff(first)),
        valid=every,
    )


def volume_clock(
    ts_ns: ArrayLike,
    size_raw: ArrayLike,
    side: ArrayLike,
    *,
    bucket_raw: int,
    bucket_mode: BucketMode = "whole",
    max_gap_ns: int = HOUR_NS,
) -> Buckets:
    """Twin of [VolumeClock][phoenix_signals.clocks.VolumeClock].

    Units: `size_raw` and `bucket_raw` in lots of 10^-size_precision.
    Returns: the closed buckets as columns, amounts int64; the open one is not among them.
    Raises: time going back, a non-positive size or a side other than +1, -1 raises InputError
        with the row.

    >>> buckets = volume_clock([1, 2], [7, 15], [1, -1], bucket_raw=10, bucket_mode="split")
    >>> buckets.buy_raw.tolist(), buckets.sell_raw.tolist(), buckets.row.tolist()
    ([7, 0], [3, 10], [1, 1])
    """
    VolumeClock(bucket_raw, bucket_mode, max_gap_ns)
    return amount_clock(*checked_trades(ts_ns, size_raw, side), bucket_raw, bucket_mode, max_gap_ns)


def notional_clock(
    ts_ns: ArrayLike,
    price_raw: ArrayLike,
    size_raw: ArrayLike,
    side: ArrayLike,
    *,
    bucket_raw: int,
    bucket_mode: BucketMode = "whole",
    max_gap_ns: int = HOUR_NS,
) -> Buckets:
    """Twin of [NotionalClock][phoenix_signals.clocks.NotionalClock].

    Units: `bucket_raw` in 10^-(price_precision + size_precision) of the quote asset.
    Returns: the closed buckets as columns, amounts int64; the open one is not among them.
    Raises: time going back, a non-positive price or size or a side other than +1, -1 raises
        InputError with the row.

    >>> notional_clock([1, 2], [99, 99], [10, 5], [1, -1], bucket_raw=1_000).buy_raw.tolist()
    [990]
    """
    NotionalClock(bucket_raw, bucket_mode, max_gap_ns)
    ts, size, is_buy = checked_trades(ts_ns, size_raw, side)
    amount = notional(price_raw, size)
    return amount_clock(ts, amount, is_buy, bucket_raw, bucket_mode, max_gap_ns)


def notional(price_raw: ArrayLike, size_raw: ArrayLike) -> Ints:
    """price_raw * size_raw per row, in int64; refused when the sum would not fit.

    >>> notional([99, 100], [10, 5]).tolist()
    [990, 500]
    """
    size = raw_column("size_raw", size_raw)
    price = raw_column("price_raw", price_raw, len(size))
    if (price <= 0).any():
        row = int(np.argmax(price <= 0))
        raise InputError(f"price_raw must be above 0 (was {price[row]} at row {row})")
    _check_sum(
        "price_raw * size_raw", float(np.dot(price.astype(np.float64), size.astype(np.float64)))
    )
    return price * size


def checked_trades(
    ts_ns: ArrayLike, size_raw: ArrayLike, side: ArrayLike, name: str = "size_raw"
) -> tuple[Ints, Ints, Any]:
    """Times, sizes and who bought, of trades that can be; `name` is that of the sizes in messages.

    >>> checked_trades([1, 2], [5, 3], [1, -1])
    (array([1, 2]), array([5, 3]), array([ True, False]))
    """
    ts = time_column(ts_ns)
    size = raw_column(name, size_raw, len(ts))
    if len(size) and size.min() <= 0:
        row = int(np.argmax(size <= 0))
        raise InputError(f"{name} must be above 0 (was {size[row]} at row {row})")
    sides = raw_column("side", side, len(ts))
    is_buy = sides == BUY
    known = is_buy | (sides == SELL)
    if not known.all():
        row = int(np.argmin(known))
        raise InputError(f"side must be +1 or -1 (was {sides[row]} at row {row})")
    _check_sum(name, float(size.astype(np.float64).sum()))
    return ts, size, is_buy


def _check_sum(name: str, total: float) -> None:
    if total > 0.99 * INT64_MAX:
        raise InputError(
            f"the sum of {name} must fit in 63 bits (was {total:.3g}); "
            "pass a shorter stretch, or units of the instrument's own precision"
        )


def amount_clock(
    ts: Ints,
    amount: Ints,
    is_buy: NDArray[np.bool_],
    bucket_raw: int,
    bucket_mode: BucketMode,
    max_gap_ns: int,
) -> Buckets:
    """Buckets of checked trades by amount.

    >>> trades = checked_trades([1, 2], [7, 15], [1, -1])
    >>> amount_clock(*trades, 10, "split", HOUR_NS).sell_raw.tolist()
    [3, 10]
    """
    parts = []
    buckets_of = _split_buckets if bucket_mode == "split" else _whole_buckets
    cuts = [0, *(np.flatnonzero(np.diff(ts) > max_gap_ns) + 1).tolist(), len(ts)]
    for start, stop in pairwise(cuts):
        if start == stop:
            continue
        part = buckets_of(ts[start:stop], amount[start:stop], is_buy[start:stop], bucket_raw)
        if stop == len(ts) or part.ts_close_ns[-1] < 0:  # the open bucket at the end of the stream
            part = Buckets._make(values[:-1] for values in part)
        parts.append(part._replace(row=part.row + start))
    return _join(parts)


def _whole_buckets(ts: Ints, amount: Ints, is_buy: NDArray[np.bool_], bucket_raw: int) -> Buckets:
    total = np.cumsum(amount)
    stop = 0
    done = 0
    stops = []
    while total[-1] - done >= bucket_raw:
        stop = int(total.searchsorted(done + bucket_raw)) + 1
        done = int(total[stop - 1])
        stops.append(stop)
    stops.append(len(ts))
    ends = np.array(stops)
    starts = np.concatenate([[0], ends[:-1]])
    bought = _running(np.where(is_buy, amount, 0))
    buy = bought[ends] - bought[starts]
    whole = _running(amount)
    return _closed(ts, starts, ends - 1, buy, whole[ends] - whole[starts] - buy, ends - starts)


def _split_buckets(ts: Ints, amount: Ints, is_buy: NDArray[np.bool_], bucket_raw: int) -> Buckets:
    check_fills("a trade", int(amount.max()), bucket_raw)
    total = np.cumsum(amount)
    count = int(total[-1]) // bucket_raw
    edge = np.append(np.arange(count + 1) * bucket_raw, total[-1])
    bought = _running(np.where(is_buy, amount, 0))
    # The row that reaches an edge gives to the bucket before it only what is missing there.
    reach = np.searchsorted(total, edge)
    reach[0] = 0
    before = np.where(reach > 0, total[reach - 1], 0)
    buy = np.diff(bought[reach] + np.where(is_buy[reach], edge - before, 0))
    first = np.minimum(np.searchsorted(total, edge[:-1], side="right"), len(ts) - 1)
    begun = np.append(0, total[:-1])
    trades = np.diff(np.append(np.searchsorted(begun, edge[:-1]), len(ts)))
    return _closed(ts, first, reach[1:], buy, np.diff(edge) - buy, trades)


def _closed(ts: Ints, first: Ints, last: Ints, buy: Ints, sell: Ints, trades: Ints) -> Buckets:
    """Buckets of one stretch without a gap; the last is the partial one, empty or not.

    Its row is the event behind the gap, which is what closes it; an empty one has time -1.
    """
    valid = np.ones(len(first), dtype=np.bool_)
    valid[-1] = False
    close = ts[last]
    row = last.copy()
    row[-1] = len(ts)
    if buy[-1] + sell[-1] == 0:
        close[-1] = -1
    return Buckets(row, ts[np.minimum(first, len(ts) - 1)], close, buy, sell, trades, valid)


def _running(values: Ints) -> Ints:
    out = np.empty(len(values) + 1, dtype=np.int64)
    out[0] = 0
    np.cumsum(values, out=out[1:])
    return out


def _join(parts: list[Buckets]) -> Buckets:
    if not parts:
        empty = np.empty(0, dtype=np.int64)
        return Buckets(empty, empty, empty, empty, empty, empty, empty.astype(np.bool_))
    return Buckets._make(np.concatenate(columns) for columns in zip(*parts, strict=True))
