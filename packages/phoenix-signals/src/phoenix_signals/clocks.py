"""Bucket clocks: when one bucket of market activity ends and the next begins.

- [TimeClock][]: buckets [i D, (i + 1) D) of UTC time.
- [VolumeClock][]: a fixed amount of the base asset per bucket.
- [NotionalClock][]: a fixed amount of the quote asset per bucket.

Amounts are integers in raw units, so sums are exact in any order. For an instrument with price
precision P and size precision Q: `price_raw` = price * 10^P, `size_raw` = size * 10^Q, and notional
is `price_raw * size_raw`, in units of 10^-(P + Q). `update` returns the buckets that an event
closed, mostly none.

An amount clock has two modes. `whole`: the trade that fills the bucket closes it and belongs to it
entirely, the next bucket starts at 0. `split`: the part of the trade beyond the bucket continues in
the next one, so that every bucket holds exactly the same amount.

After a gap longer than `max_gap_ns` nobody knows what happened: the open bucket is closed as not
valid, no bucket is made up for the gap, and the clock starts anew at the event behind it.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from phoenix_signals.errors import (
    InputError,
    ParameterError,
    check_choice,
    check_count,
    check_raw,
    check_time,
)
from phoenix_signals.estimator import Versioned

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
HOUR_NS = 60 * MINUTE_NS
DAY_NS = 24 * HOUR_NS

BUY = 1
"""Aggressor d of a trade whose buyer crossed the spread."""

SELL = -1
"""Aggressor d of a trade whose seller crossed the spread."""

BucketMode = Literal["whole", "split"]

MOST_FILLS = 1_000_000
"""Buckets that one event may fill in mode `split`: more is a slip in the units, and takes for ever."""


class Bucket[Int, Flag](NamedTuple):
    """One closed bucket; amounts in the raw unit of its clock.

    `ts_close_ns` is the boundary of a time bucket, and the time of the trade that filled an amount
    bucket (the last trade before the gap when it is not valid). `trades` counts the trades that
    began in it. `valid` is False for a partial bucket cut off by a gap: do not use its amounts.
    """

    ts_open_ns: Int
    ts_close_ns: Int
    buy_raw: Int
    sell_raw: Int
    trades: Int
    valid: Flag


ClosedBuckets = tuple[Bucket[int, bool], ...]
_NONE: ClosedBuckets = ()


class Clock(Versioned):
    """A bucket clock: `update(...)` returns the buckets that the event closed, oldest first."""

    __slots__ = ()


class TimeClock(Clock):
    """Buckets of UTC time, [i D, (i + 1) D).

    Formula:
        i = ts_ns // interval_ns. The first event at or behind a boundary closes the bucket before
        it, and with it every empty bucket in between (amounts 0), each stamped at its boundary:
        a bucket is known only when something proves that it is over.
    Units: nanoseconds; amounts in any one raw unit.
    Clock: event time (`ts_init` in a replay).
    Warm-up: none; the first bucket starts with the first event and may be partial.
    Missing data: empty buckets up to a gap of `max_gap_ns`; behind a longer one a fresh start.
    Errors: time going back, a non-positive amount or a side other than +1, -1 raises `InputError`;
        `max_gap_ns` below `interval_ns` raises `ParameterError`.

    Example:
        >>> clock = TimeClock(interval_ns=10)
        >>> clock.update(3, 5, BUY)
        ()
        >>> [(b.ts_close_ns, b.buy_raw) for b in clock.update(25, 1, SELL)]
        [(10, 5), (20, 0)]

    Source: design note "signals", Clocks.
    """

    ID = "time_clock"
    VERSION = 1
    EXAMPLES = (
        {"interval_ns": SECOND_NS},
        {"interval_ns": SECOND_NS // 4, "max_gap_ns": 2 * SECOND_NS},
    )

    __slots__ = ("_buy", "_end", "_last", "_sell", "_trades", "interval_ns", "max_gap_ns")

    def __init__(self, interval_ns: int, max_gap_ns: int = HOUR_NS) -> None:
        self.interval_ns = check_count("interval_ns", interval_ns, 1, "10_000_000_000")
        self.max_gap_ns = check_count("max_gap_ns", max_gap_ns, 1, "3_600_000_000_000")
        if max_gap_ns < interval_ns:
            raise ParameterError(
                f"max_gap_ns must be at least interval_ns {interval_ns} (was {max_gap_ns}); "
                "typical: one hour"
            )
        self._buy = self._sell = self._trades = 0
        self._end: int | None = None
        self._last = 0

    def update(self, ts_ns: int, amount_raw: int, side: int) -> ClosedBuckets:
        """Take a trade: close the buckets that ended before it, then add it to the open one."""
        check_trade(amount_raw, side, "amount_raw")
        closed = self.advance(ts_ns)
        self._trades += 1
        if side == BUY:
            self._buy += amount_raw
        else:
            self._sell += amount_raw
        return closed

    def advance(self, ts_ns: int) -> ClosedBuckets:
        """Take an event without flow (a quote, a timer): close the buckets that ended before it."""
        check_time(ts_ns, self._last)
        end = self._end
        if end is None:
            self._end = ts_ns - ts_ns % self.interval_ns + self.interval_ns
            self._last = ts_ns
            return _NONE
        last = self._last
        self._last = ts_ns
        return self._turn(ts_ns, end, ts_ns - last) if ts_ns >= end else _NONE

    def _turn(self, ts_ns: int, end: int, gap_ns: int) -> ClosedBuckets:
        width = self.interval_ns
        start = ts_ns - ts_ns % width
        valid = gap_ns <= self.max_gap_ns
        first = Bucket(end - width, end, self._buy, self._sell, self._trades, valid)
        self._buy = self._sell = self._trades = 0
        self._end = start + width
        if start == end or not valid:
            return (first,)
        empty = [Bucket(t, t + width, 0, 0, 0, True) for t in range(end, start, width)]
        return (first, *empty)


class _AmountClock(Clock):
    """What volume and notional clocks share: buckets of `bucket_raw`, whole or split."""

    __slots__ = (
        "_buy", "_last", "_open", "_sell", "_split", "_trades", "bucket_mode", "bucket_raw",
        "max_gap_ns",
    )  # fmt: skip

    def __init__(
        self, bucket_raw: int, bucket_mode: BucketMode = "whole", max_gap_ns: int = HOUR_NS
    ) -> None:
        self.bucket_raw = check_count("bucket_raw", bucket_raw, 1, "the mean volume of a minute")
        self.bucket_mode = check_choice("bucket_mode", bucket_mode, ("whole", "split"))
        self.max_gap_ns = check_count("max_gap_ns", max_gap_ns, 1, "3_600_000_000_000")
        self._split = bucket_mode == "split"
        self._buy = self._sell = self._trades = 0
        self._open = self._last = 0

    def _take(self, ts_ns: int, amount_raw: int, side: int) -> ClosedBuckets:
        buy = self._buy
        sell = self._sell
        held = buy + sell
        last = self._last
        closed: ClosedBuckets = _NONE
        check_time(ts_ns, last)
        if self._split:
            check_fills("a trade", amount_raw, self.bucket_raw)
        if held and ts_ns - last > self.max_gap_ns:
            closed = (Bucket(self._open, last, buy, sell, self._trades, False),)
            buy = sell = held = self._trades = 0
        self._last = ts_ns
        if held == 0:
            self._open = ts_ns
        self._trades += 1
        total = held + amount_raw
        if total < self.bucket_raw:
            if side == BUY:
                self._buy, self._sell = buy + amount_raw, sell
            else:
                self._buy, self._sell = buy, sell + amount_raw
            return closed
        if not self._split:
            buy, sell = (buy + amount_raw, sell) if side == BUY else (buy, sell + amount_raw)
            bucket = Bucket(self._open, ts_ns, buy, sell, self._trades, True)
            self._buy = self._sell = self._trades = 0
            return (*closed, bucket)
        return (*closed, *self._fill(ts_ns, amount_raw, side, buy, sell))

    def _fill(self, ts_ns: int, amount: int, side: int, buy: int, sell: int) -> ClosedBuckets:
        """Close every bucket that the trade fills; what is left opens the next one."""
        closed = []
        while (room := self.bucket_raw - buy - sell) <= amount:
            amount -= room
            buy, sell = (buy + room, sell) if side == BUY else (buy, sell + room)
            closed.append(Bucket(self._open, ts_ns, buy, sell, self._trades, True))
            buy = sell = self._trades = 0
            self._open = ts_ns
        self._buy, self._sell = (amount, 0) if side == BUY else (0, amount)
        return tuple(closed)


class VolumeClock(_AmountClock):
    """Buckets of a fixed amount of the base asset.

    Formula:
        a bucket closes when the sum of `size_raw` reaches `bucket_raw`; see the module for `whole`
        and `split`.
    Units: `size_raw` and `bucket_raw` in lots of 10^-size_precision.
    Clock: trades.
    Warm-up: none.
    Missing data: behind a gap longer than `max_gap_ns` the open bucket is returned as not valid and
        the next starts at 0.
    Errors: time going back, a non-positive size or a side other than +1, -1 raises `InputError`.

    Example:
        >>> clock = VolumeClock(bucket_raw=10, bucket_mode="split")
        >>> clock.update(1, 7, BUY)
        ()
        >>> [(b.buy_raw, b.sell_raw) for b in clock.update(2, 15, SELL)]
        [(7, 3), (0, 10)]

    Source: Easley, Lopez de Prado, O'Hara (2012), RFS 25(5); design note "signals", Clocks.
    """

    ID = "volume_clock"
    VERSION = 1
    EXAMPLES = (
        {"bucket_raw": 2_000},
        {"bucket_raw": 500, "bucket_mode": "split", "max_gap_ns": SECOND_NS // 2},
    )

    __slots__ = ()

    def update(self, ts_ns: int, size_raw: int, side: int) -> ClosedBuckets:
        """Take a trade."""
        check_trade(size_raw, side)
        return self._take(ts_ns, size_raw, side)


class NotionalClock(_AmountClock):
    """Buckets of a fixed amount of the quote asset.

    Formula:
        a bucket closes when the sum of `price_raw * size_raw` reaches `bucket_raw`; see the module
        for `whole` and `split`.
    Units: `bucket_raw` in 10^-(price_precision + size_precision) of the quote asset.
    Clock: trades.
    Warm-up: none.
    Missing data: behind a gap longer than `max_gap_ns` the open bucket is returned as not valid and
        the next starts at 0.
    Errors: time going back, a non-positive price or size or a side other than +1, -1 raises
        `InputError`.

    Example:
        >>> clock = NotionalClock(bucket_raw=1_000)
        >>> clock.update(1, 99, 10, BUY)
        ()
        >>> [(b.buy_raw, b.sell_raw) for b in clock.update(2, 99, 5, SELL)]
        [(990, 495)]

    Source: design note "signals", Clocks.
    """

    ID = "notional_clock"
    VERSION = 1
    EXAMPLES = (
        {"bucket_raw": 40_000_000, "max_gap_ns": SECOND_NS // 2},
        {"bucket_raw": 10_000_000, "bucket_mode": "split"},
    )

    __slots__ = ()

    def update(self, ts_ns: int, price_raw: int, size_raw: int, side: int) -> ClosedBuckets:
        """Take a trade."""
        check_raw("price_raw", price_raw, 1)
        check_trade(size_raw, side)
        return self._take(ts_ns, price_raw * size_raw, side)


def check_trade(size_raw: int, side: int, name: str = "size_raw") -> None:
    """Refuse a trade without a size, or without an aggressor.

    >>> check_trade(-5, BUY)
    Traceback (most recent call last):
    phoenix_signals.errors.InputError: size_raw must be an integer of at least 1 and below 2^255 \
(was -5); drop the observation or fix its source
    """
    check_raw(name, size_raw, 1)
    if side not in (BUY, SELL):
        raise InputError(
            f"side must be +1 (buyer is the aggressor) or -1 (was {side}); "
            "classify trades without an aggressor first, or leave them out"
        )


def check_fills(name: str, amount_raw: int, bucket_raw: int) -> None:
    """Refuse an amount that would be split over more than `MOST_FILLS` buckets.

    >>> check_fills("volume_raw", 10**30, 1_000)
    Traceback (most recent call last):
    phoenix_signals.errors.InputError: volume_raw must fill at most 1000000 buckets of 1000 \
(was 1e+30); check its unit, or take a larger bucket_raw
    """
    if amount_raw > MOST_FILLS * bucket_raw:
        raise InputError(
            f"{name} must fill at most {MOST_FILLS} buckets of {bucket_raw} "
            f"(was {float(amount_raw):.4g}); check its unit, or take a larger bucket_raw"
        )
