"""Order flow: who pushes, seen in trades and in the queues at the touch.

- [SignedVolumeImbalance][]: aggressor volume over a time window, in [-1, 1].
- [OrderFlowImbalance][] and [OrderFlowImbalanceSum][]: what quote updates add to and take from the
  two queues.
- [QueueImbalance][], [WeightedMid][], [MicroPrice][]: what one quote says about the next price.
- [ForcedSellingIntensity][]: share of aggressive selling in a bucket.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from phoenix_signals.clocks import BUY, check_trade
from phoenix_signals.errors import (
    NUMBER_MAX,
    InputError,
    ParameterError,
    check_count,
    check_positive,
    check_raw,
    check_time,
    size_error,
)
from phoenix_signals.estimator import Estimator


class SignedVolumeImbalance(Estimator):
    """Signed volume imbalance SVI of the trades in a time window.

    Formula:
        SVI = sum d q / sum q over the trades with t - window_ns < t_k <= t, d = +1 for a buyer as
        the aggressor, -1 for a seller.
    Units: none, in [-1, 1]; sizes in integer raw units, so the sums are exact.
    Clock: trades; the value is that at the last trade.
    Warm-up: None until `window_ns` has passed since the first trade.
    Missing data: a window in which little was traded is still a window; it holds at least the
        current trade.
    Errors: time going back, a non-positive size or a side other than +1, -1 raises `InputError`.

    Example:
        >>> svi = SignedVolumeImbalance(window_ns=10)
        >>> for ts_ns, size_raw, side in ((0, 5, 1), (4, 3, 1), (12, 1, -1)):
        ...     svi.update(ts_ns, size_raw, side)
        >>> svi.value
        0.5

    Source: Chordia, Roll, Subrahmanyam (2002), JFE 65(1), order imbalance.
    """

    ID = "svi"
    VERSION = 1
    EXAMPLES = ({"window_ns": 2_000_000_000}, {"window_ns": 300_000_000})

    __slots__ = ("_first", "_flow", "_last", "_total", "_trades", "value", "window_ns")

    def __init__(self, window_ns: int) -> None:
        self.window_ns = check_count("window_ns", window_ns, 1, "60_000_000_000")
        self._trades: deque[tuple[int, int]] = deque()  # (time, signed size)
        self._flow = self._total = self._last = 0
        self._first: int | None = None
        self.value: float | None = None

    def update(self, ts_ns: int, size_raw: int, side: int) -> None:
        """Take a trade."""
        check_trade(size_raw, side)
        check_time(ts_ns, self._last)
        if self._first is None:
            self._first = ts_ns
        self._last = ts_ns
        trades = self._trades
        signed = size_raw if side == BUY else -size_raw
        trades.append((ts_ns, signed))
        flow = self._flow + signed
        total = self._total + size_raw
        start = ts_ns - self.window_ns
        while trades[0][0] <= start:
            _, old = trades.popleft()
            flow -= old
            total -= abs(old)
        self._flow = flow
        self._total = total
        if start >= self._first:
            self.value = flow / total


class OrderFlowImbalance(Estimator):
    """Order flow imbalance e of one quote update.

    Formula:
        e = 1{b >= b'} B - 1{b <= b'} B' - 1{a <= a'} A + 1{a >= a'} A', with b', B', a', A' the
        quote before. A bid that rises adds its whole queue, one that falls takes the old queue
        away; on an unchanged price both terms fire and the change of the queue remains. The ask
        side mirrors it: an ask that falls is selling pressure, -A; one that rises is +A'.
    Units: integer raw size units.
    Clock: quote updates.
    Warm-up: one quote.
    Missing data: none is made up; a missed update is merged into the next.
    Errors: a crossed quote, a price not above 0 or a negative size raises `InputError`.

    Example:
        >>> ofi = OrderFlowImbalance()
        >>> ofi.update(100, 101, 5, 5)
        >>> ofi.update(100, 102, 7, 9)  # two more at the bid; the ask moved up, its 5 are gone
        >>> ofi.value
        7

    Source: Cont, Kukanov, Stoikov (2014), J. Financial Econometrics 12(1), eq. 4.
    """

    ID = "ofi"
    VERSION = 1
    EXAMPLES = ({},)

    __slots__ = ("_ask", "_ask_size", "_bid", "_bid_size", "value")

    def __init__(self) -> None:
        self._bid = self._ask = self._bid_size = self._ask_size = 0
        self.value: int | None = None

    def update(self, bid_raw: int, ask_raw: int, bid_size_raw: int, ask_size_raw: int) -> None:
        """Take a quote."""
        check_raw_quote(bid_raw, ask_raw, bid_size_raw, ask_size_raw)
        if self._bid:
            flow = 0
            if bid_raw >= self._bid:
                flow += bid_size_raw
            if bid_raw <= self._bid:
                flow -= self._bid_size
            if ask_raw <= self._ask:
                flow -= ask_size_raw
            if ask_raw >= self._ask:
                flow += self._ask_size
            self.value = flow
        self._bid = bid_raw
        self._ask = ask_raw
        self._bid_size = bid_size_raw
        self._ask_size = ask_size_raw


class OrderFlowImbalanceSum(Estimator):
    """Order flow imbalance summed over a time window.

    Formula:
        sum of e (see `OrderFlowImbalance`) over the quote updates with t - window_ns < t_k <= t.
    Units: integer raw size units; exact.
    Clock: quote updates; the value is that at the last quote.
    Warm-up: None until `window_ns` has passed since the first quote.
    Missing data: none is made up; a missed update is merged into the next.
    Errors: time going back, a crossed quote, a price not above 0 or a negative size raises
        `InputError`.

    Example:
        >>> ofi = OrderFlowImbalanceSum(window_ns=10)
        >>> for ts_ns, bid_size_raw in ((0, 5), (4, 9), (12, 10)):
        ...     ofi.update(ts_ns, 100, 101, bid_size_raw, 5)
        >>> ofi.value
        5

    Source: Cont, Kukanov, Stoikov (2014), J. Financial Econometrics 12(1), eq. 5.
    """

    ID = "ofi_sum"
    VERSION = 1
    EXAMPLES = ({"window_ns": 2_000_000_000}, {"window_ns": 300_000_000})

    __slots__ = ("_first", "_flows", "_last", "_ofi", "_sum", "value", "window_ns")

    def __init__(self, window_ns: int) -> None:
        self.window_ns = check_count("window_ns", window_ns, 1, "60_000_000_000")
        self._ofi = OrderFlowImbalance()
        self._flows: deque[tuple[int, int]] = deque()
        self._sum = self._last = 0
        self._first: int | None = None
        self.value: int | None = None

    def update(
        self, ts_ns: int, bid_raw: int, ask_raw: int, bid_size_raw: int, ask_size_raw: int
    ) -> None:
        """Take a quote."""
        check_time(ts_ns, self._last)
        self._ofi.update(bid_raw, ask_raw, bid_size_raw, ask_size_raw)
        self._last = ts_ns
        if self._first is None:
            self._first = ts_ns
        flow = self._ofi.value
        flows = self._flows
        if flow is not None:
            flows.append((ts_ns, flow))
            self._sum += flow
        start = ts_ns - self.window_ns
        while flows and flows[0][0] <= start:
            self._sum -= flows.popleft()[1]
        if start >= self._first:
            self.value = self._sum


class QueueImbalance(Estimator):
    """Order book imbalance OBI of the two queues at the touch.

    Formula:
        OBI = (B - A) / (B + A).
    Units: none, in [-1, 1].
    Clock: quote updates.
    Warm-up: none.
    Missing data: None while both queues are empty.
    Errors: a negative, NaN or infinite size raises `InputError`.

    Example:
        >>> obi = QueueImbalance()
        >>> obi.update(3.0, 1.0)
        >>> obi.value
        0.5

    Source: Gould, Bonart (2016), Market Microstructure and Liquidity 2(2).
    """

    ID = "obi"
    VERSION = 1
    EXAMPLES = ({},)

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float | None = None

    def update(self, bid_size: float, ask_size: float) -> None:
        """Take the two queue sizes of a quote."""
        check_sizes(bid_size, ask_size)
        total = bid_size + ask_size
        self.value = (bid_size - ask_size) / total if total else None


class WeightedMid(Estimator):
    """Mid weighted by the opposite queues.

    Formula:
        (a B + b A) / (A + B) = m + OBI (a - b) / 2.
    Units: those of the prices.
    Clock: quote updates.
    Warm-up: none.
    Missing data: the mid while both queues are empty.
    Errors: a crossed quote, a price not above 0 or a negative size raises `InputError`.

    Example:
        >>> mid = WeightedMid()
        >>> mid.update(100.0, 101.0, 3.0, 1.0)
        >>> mid.value
        100.75

    Source: Stoikov (2018), Quantitative Finance 18(12), section 2.
    """

    ID = "weighted_mid"
    VERSION = 1
    EXAMPLES = ({},)

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float | None = None

    def update(self, bid: float, ask: float, bid_size: float, ask_size: float) -> None:
        """Take a quote."""
        check_quote(bid, ask, bid_size, ask_size)
        total = bid_size + ask_size
        share = bid_size / total if total else 0.5
        self.value = bid + (ask - bid) * share


@dataclass(frozen=True)
class MicroPriceTable:
    """Expected distance from the mid to the micro-price, fitted offline.

    `adjustment[s - 1][i]` is in units of price, for a spread of s ticks and imbalance cell i of
    I = B / (A + B); the last row stands for every wider spread. Fit one with
    `phoenix_signals.batch.fit_micro_price` on a training range only.
    """

    tick_size: float
    adjustment: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        check_positive("tick_size", self.tick_size, "the price increment, 0.1")
        widths = {len(row) for row in self.adjustment}
        if len(widths) != 1 or 0 in widths:
            raise ParameterError(
                "adjustment must have rows of one length, one per spread "
                f"(was {sorted(widths)}); fit it with batch.fit_micro_price"
            )


class MicroPrice(Estimator):
    """Stoikov's micro-price: the mid that is expected after many moves, given the quote.

    Formula:
        P = m + G*(I, S), with I = B / (A + B) in equal cells, S the spread in ticks and
        G* = sum_k B^k G1 from the transitions of the quote on a training range.
    Units: those of the prices.
    Clock: quote updates.
    Warm-up: none here; the table comes from a training range.
    Missing data: the mid while both queues are empty.
    Errors: a crossed quote, a price not above 0 or a negative size raises `InputError`.

    Example:
        >>> table = MicroPriceTable(tick_size=1.0, adjustment=((-0.25, 0.0, 0.25),))
        >>> micro = MicroPrice(table)
        >>> micro.update(100.0, 101.0, 9.0, 1.0)
        >>> micro.value
        100.75

    Source: Stoikov (2018), "The micro-price: a high-frequency estimator of future prices",
    Quantitative Finance 18(12).
    """

    ID = "micro_price"
    VERSION = 1
    EXAMPLES = (
        {"table": MicroPriceTable(0.1, ((-0.03, 0.0, 0.03), (-0.05, 0.0, 0.05)))},
        {"table": MicroPriceTable(0.1, ((-0.04, 0.04),))},
    )

    __slots__ = ("table", "value")

    def __init__(self, table: MicroPriceTable) -> None:
        if not isinstance(table, MicroPriceTable):
            raise ParameterError(
                f"table must be a MicroPriceTable (was {table!r}); fit it with batch.fit_micro_price"
            )
        self.table = table
        self.value: float | None = None

    def update(self, bid: float, ask: float, bid_size: float, ask_size: float) -> None:
        """Take a quote."""
        check_quote(bid, ask, bid_size, ask_size)
        mid = bid + (ask - bid) * 0.5
        total = bid_size + ask_size
        if total:
            rows = self.table.adjustment
            spread = max(1, min(len(rows), round((ask - bid) / self.table.tick_size)))
            row = rows[spread - 1]
            mid += row[min(len(row) - 1, int(bid_size / total * len(row)))]
        self.value = mid


class ForcedSellingIntensity(Estimator):
    """Forced selling intensity FSI: the share of aggressive selling in a bucket.

    Formula:
        FSI = aggressive sell notional / total notional of the bucket.
    Units: none, in [0, 1]; notionals in integer raw units.
    Clock: one update per closed bucket, notional or time.
    Warm-up: none.
    Missing data: an empty bucket has no flow to share: None.
    Errors: a negative amount raises `InputError`.

    Example:
        >>> fsi = ForcedSellingIntensity()
        >>> fsi.update(25, 75)
        >>> fsi.value
        0.75

    Source: design note "signals", Order flow.
    """

    ID = "fsi"
    VERSION = 1
    EXAMPLES = ({},)

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float | None = None

    def update(self, buy_raw: int, sell_raw: int) -> None:
        """Take the notional that buyers and sellers moved in a bucket."""
        check_raw("buy_raw", buy_raw, 0)
        check_raw("sell_raw", sell_raw, 0)
        total = buy_raw + sell_raw
        self.value = sell_raw / total if total else None


def check_sizes(bid_size: float, ask_size: float) -> None:
    """Refuse a negative, NaN or infinite size.

    >>> check_sizes(1.0, -1.0)
    Traceback (most recent call last):
    phoenix_signals.errors.InputError: ask_size must be a finite number of at least 0 and below 1e100 \
(was -1.0); drop the observation or fix its source
    """
    if not 0 <= bid_size < NUMBER_MAX:
        raise size_error("bid_size", bid_size)
    if not 0 <= ask_size < NUMBER_MAX:
        raise size_error("ask_size", ask_size)


def check_quote(bid: float, ask: float, bid_size: float = 0, ask_size: float = 0) -> None:
    """Refuse a quote that is crossed, one-sided or has a negative size; a locked one is a quote.

    >>> check_quote(101.0, 100.0)
    Traceback (most recent call last):
    phoenix_signals.errors.InputError: a quote must have 0 < bid <= ask (was 101.0 / 100.0); \
drop it, or merge the two updates that it stands between
    """
    if not 0 < bid <= ask < NUMBER_MAX:
        raise InputError(
            f"a quote must have 0 < bid <= ask (was {bid} / {ask}); "
            "drop it, or merge the two updates that it stands between"
        )
    check_sizes(bid_size, ask_size)


def check_raw_quote(bid_raw: int, ask_raw: int, bid_size_raw: int, ask_size_raw: int) -> None:
    """The same in raw units, which are integers.

    >>> check_raw_quote(100, 101, 1.5, 2)
    Traceback (most recent call last):
    phoenix_signals.errors.InputError: bid_size_raw must be an integer of at least 0 and below \
2^255 (was 1.5); drop the observation or fix its source
    """
    check_raw("bid_raw", bid_raw, 1)
    check_raw("ask_raw", ask_raw, 1)
    if bid_raw > ask_raw:
        raise InputError(
            f"a quote must have 0 < bid <= ask (was {bid_raw} / {ask_raw}); "
            "drop it, or merge the two updates that it stands between"
        )
    check_raw("bid_size_raw", bid_size_raw, 0)
    check_raw("ask_size_raw", ask_size_raw, 0)
