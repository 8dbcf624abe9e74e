"""One-minute bars from trades, equal to the exchange's klines, and a market made of bars.

NautilusTrader's own aggregation puts a trade at exactly 60.000 s into the bar that closes then and
stamps it 60.000. A kline covers the half-open minute [start, start + 60 s) and is stamped with its
close_time, the last instant of its unit before the next minute: start + 59.999 s in a millisecond
archive, start + 59.999999 s in a microsecond one. A minute without trades has a flat bar at the last
close with volume 0; before the first trade there are none.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from phoenix_schemas.arrow import CATALOG_TYPES, DECIMAL, TIME
from phoenix_schemas.timestamps import NS_PER_MINUTE, NS_PER_MS, NS_PER_US

from phoenix_runner.catalog_series import init_times


class TradeBars:
    """Bars of one instrument from its trades, window after window.

    Windows must be whole minutes and follow each other; tables are in `ts_init` order. Arithmetic
    is decimal and exact.
    """

    def __init__(self, instrument_id: str, price_precision: int, size_precision: int) -> None:
        self.bar_type = f"{instrument_id}-1-MINUTE-LAST-EXTERNAL"
        self.schema = CATALOG_TYPES["Bar"].schema(self.bar_type, price_precision, size_precision)
        self._last_close: pa.Scalar | None = None
        self._unit_ns = NS_PER_MS

    def build(self, trades: pa.Table | None, start_ns: int, end_ns: int) -> pa.Table | None:
        """Bars of the minutes in [start, end), or None before the first trade ever."""
        if trades is None or trades.num_rows == 0:
            if self._last_close is None:
                return None
            minutes = np.arange(start_ns, end_ns, NS_PER_MINUTE, dtype=np.int64)
            columns = [self._repeat(self._last_close, len(minutes))] * 4
            return self._table(minutes, columns, self._repeat(pa.scalar(0, DECIMAL), len(minutes)))
        times = init_times(trades)
        if np.any(times % NS_PER_MS):
            self._unit_ns = NS_PER_US
        minute = times // NS_PER_MINUTE
        opens = np.flatnonzero(np.r_[True, minute[1:] != minute[:-1]])
        closes = np.r_[opens[1:] - 1, len(minute) - 1]
        grouped = (
            pa.table({"minute": minute, "price": trades["price"], "size": trades["size"]})
            .group_by("minute", use_threads=False)
            .aggregate([("price", "max"), ("price", "min"), ("size", "sum")])
            .sort_by("minute")
        )
        price = trades["price"].combine_chunks()
        traded = [
            price.take(pa.array(opens)),
            _flat(grouped["price_max"]),
            _flat(grouped["price_min"]),
            price.take(pa.array(closes)),
        ]
        volume = _flat(grouped["size_sum"]).cast(DECIMAL)
        close = traded[3]
        known = self._last_close
        self._last_close = close[len(close) - 1]

        # Row of the traded minute that each minute shows; -1 before the first of this window.
        first = start_ns if known is not None else int(minute[opens[0]]) * NS_PER_MINUTE
        minutes = np.arange(first, end_ns, NS_PER_MINUTE, dtype=np.int64)
        row = np.searchsorted(minute[opens], minutes // NS_PER_MINUTE, side="right") - 1
        flat = (row < 0) | (minute[opens][np.maximum(row, 0)] != minutes // NS_PER_MINUTE)
        carried = pa.concat_arrays([self._repeat(known, 1), close]) if known is not None else close
        shift = 1 if known is not None else 0
        last_closes = carried.take(pa.array(row + shift))
        columns = [_where(flat, last_closes, values.take(_at(row))) for values in traded]
        zero = self._repeat(pa.scalar(0, DECIMAL), len(minutes))
        return self._table(minutes, columns, _where(flat, zero, volume.take(_at(row))))

    def _repeat(self, value: pa.Scalar, count: int) -> pa.Array:
        return pa.array([value.as_py()] * count, DECIMAL)

    def _table(
        self, minutes: NDArray[np.int64], ohlc: list[pa.Array], volume: pa.Array
    ) -> pa.Table:
        stamp = pa.array(minutes + NS_PER_MINUTE - self._unit_ns).cast(TIME)
        return pa.table([*ohlc, volume, stamp, stamp], schema=self.schema)


class BarMarket:
    """Quotes that stand for a market known only by its bars.

    Each bar's close c becomes a quote of bid c (1 - x) and ask c (1 + x), x = (spread_bps / 2 +
    slippage_bps) / 10,000, rounded outward to the price increment, at the bar's own time and with
    unlimited size: an order sent on the bar fills at that close plus the assumed cost.
    """

    SIZE = Decimal(1_000_000_000)

    def __init__(
        self,
        instrument_id: str,
        *,
        price_increment: Decimal,
        price_precision: int,
        size_precision: int,
        spread_bps: float,
        slippage_bps: float,
    ) -> None:
        self.schema = CATALOG_TYPES["QuoteTick"].schema(
            instrument_id, price_precision, size_precision
        )
        self._increment = price_increment
        self._cost = Decimal(repr(spread_bps)) / 20_000 + Decimal(repr(slippage_bps)) / 10_000

    def quotes(self, bars: pa.Table) -> pa.Table:
        """One quote for each bar."""
        closes = bars["close"].to_pylist()
        with localcontext(prec=38):
            bids = [self._grid(close * (1 - self._cost), ROUND_FLOOR) for close in closes]
            asks = [self._grid(close * (1 + self._cost), ROUND_CEILING) for close in closes]
        size = pa.array([self.SIZE] * len(closes), DECIMAL)
        times = [bars["ts_event"].combine_chunks(), bars["ts_init"].combine_chunks()]
        arrays = [pa.array(bids, DECIMAL), pa.array(asks, DECIMAL), size, size, *times]
        return pa.table(arrays, schema=self.schema)

    def _grid(self, price: Decimal, rounding: str) -> Decimal:
        return (price / self._increment).to_integral_value(rounding) * self._increment


def _flat(column: pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks()
    return array.chunk(0) if isinstance(array, pa.ChunkedArray) else array


def _at(row: NDArray[np.int64]) -> pa.Array:
    return pa.array(np.maximum(row, 0))


def _where(mask: NDArray[np.bool_], yes: pa.Array, no: pa.Array) -> pa.Array:
    """`yes` where the mask says so, else `no`; element by element."""
    index = np.where(mask, np.arange(len(yes)), np.arange(len(no)) + len(yes))
    return pa.concat_arrays([yes, no]).take(pa.array(index))
