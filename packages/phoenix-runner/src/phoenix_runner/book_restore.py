"""Puts the quoted book back after every trade.

NautilusTrader lets a trade overwrite a top-of-book market: until the next quote both bid and ask stand
at the trade's price with its size, so that a buy after a sale fills at the bid, or a market order is
canceled because the price is off the tick. (Tried on 2.0.0rc6, with and without `trade_execution`.) The
archive's quotes already contain what trades did to the book. So after the trades of an instant the book
of the last quote is delivered again, as a one-level depth update, which the simulated exchange takes
and no strategy sees.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from phoenix_schemas.arrow import DECIMAL

from phoenix_runner.catalog_series import init_times

_LEVEL = pa.struct(
    [
        pa.field("price", DECIMAL, False),
        pa.field("size", DECIMAL, False),
        pa.field("count", pa.uint32(), False),
        pa.field("order_id", pa.uint64(), False),
    ]
)
_LEVELS = pa.list_(pa.field("item", _LEVEL, False))


class BookRestorer:
    """Depth updates of one instrument, window after window."""

    def __init__(self, instrument_id: str) -> None:
        self._instrument_id = instrument_id
        self._last_quote: pa.Table | None = None

    def restore(self, quotes: pa.Table | None, trades: pa.Table | None) -> pa.Table | None:
        """One update for each distinct trade time that has a quote at or before it.

        `quotes` and `trades` are a window's, in order of delivery (quotes first at equal times).
        """
        known = self._last_quote
        if quotes is not None:
            self._last_quote = quotes.slice(quotes.num_rows - 1)
            known = quotes if known is None else pa.concat_tables([known, quotes])
        if trades is None or known is None:
            return None
        times = np.unique(init_times(trades))
        row = np.searchsorted(init_times(known), times, side="right") - 1
        times, row = times[row >= 0], row[row >= 0]
        if not len(times):
            return None
        at = known.take(pa.array(row)).combine_chunks()
        stamp = pa.array(times).cast(at.schema.field("ts_init").type)
        zero = np.zeros(len(times))
        columns = {
            "bids": _levels(at["bid_price"], at["bid_size"], 1),
            "asks": _levels(at["ask_price"], at["ask_size"], 2),
            "flags": pa.array(zero, pa.uint8()),
            "sequence": pa.array(zero, pa.uint64()),
            "ts_event": stamp,
            "ts_init": stamp,
        }
        precisions = {k: known.schema.metadata[k] for k in (b"price_precision", b"size_precision")}
        metadata = {
            b"type_name": b"OrderBookDepth",
            b"instrument_id": self._instrument_id.encode(),
            **precisions,
        }
        fields = [pa.field(name, array.type, False) for name, array in columns.items()]
        return pa.table(list(columns.values()), schema=pa.schema(fields, metadata))


def _levels(price: pa.ChunkedArray, size: pa.ChunkedArray, order_id: int) -> pa.Array:
    """One level for each row, as the engine's schema nests them."""
    count = len(price)
    level = pa.StructArray.from_arrays(
        [
            _one(price),
            _one(size),
            pa.array(np.ones(count), pa.uint32()),
            pa.array(np.full(count, order_id), pa.uint64()),
        ],
        fields=list(_LEVEL),
    )
    offsets = pa.array(np.arange(count + 1), pa.int32())
    return pa.ListArray.from_arrays(offsets, level, type=_LEVELS)


def _one(column: pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks()
    return array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
