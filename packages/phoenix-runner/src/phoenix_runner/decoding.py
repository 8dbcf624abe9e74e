"""Arrow tables of the catalog's types to NautilusTrader objects, row by row in table order.

Quotes, trades and bars go through the engine's own wranglers; the other types have none and are rare
enough for Python. Precisions come from the table's metadata, as the engine's reader takes them.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
from nautilus_trader.model import (
    CustomData,
    DataType,
    FundingRateUpdate,
    IndexPriceUpdate,
    InstrumentId,
    MarkPriceUpdate,
    Price,
)
from nautilus_trader.persistence import (
    BarDataWrangler,
    OrderBookDepthDataWrangler,
    QuoteTickDataWrangler,
    TradeTickDataWrangler,
)
from phoenix_schemas.custom_data import CUSTOM_TYPES, BinanceRecord

type Decoder = Callable[[pa.Table], list[Any]]

_WRANGLERS: dict[str, Any] = {
    "QuoteTick": QuoteTickDataWrangler,
    "TradeTick": TradeTickDataWrangler,
    "Bar": BarDataWrangler,
    "OrderBookDepth": OrderBookDepthDataWrangler,
}
_CUSTOM = {cls.__name__: cls for cls in CUSTOM_TYPES}


def decoder(type_name: str, identifier: str) -> Decoder:
    """The function that turns tables of one type and identifier into objects.

    `identifier` is the instrument id, for bars the bar type.
    """
    if type_name in _WRANGLERS:
        wrangler_type = _WRANGLERS[type_name]
        return lambda table: _wrangle(wrangler_type, identifier, table)
    if type_name in _CUSTOM:
        custom = _CUSTOM[type_name]
        kind = DataType(type_name, identifier=identifier)
        return lambda table: _custom(custom, kind, table)
    instrument = InstrumentId.from_str(identifier)
    if type_name == "FundingRateUpdate":
        return lambda table: _funding(instrument, table)
    update = {"MarkPriceUpdate": MarkPriceUpdate, "IndexPriceUpdate": IndexPriceUpdate}[type_name]
    return lambda table: _prices(update, instrument, table)


def _wrangle(wrangler_type: Any, identifier: str, table: pa.Table) -> list[Any]:
    metadata = table.schema.metadata or {}
    wrangler = wrangler_type(
        identifier, int(metadata[b"price_precision"]), int(metadata[b"size_precision"])
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table.combine_chunks())
    objects: list[Any] = wrangler.process_record_batch_bytes(sink.getvalue().to_pybytes())
    return objects


def _custom(custom: type[BinanceRecord], kind: DataType, table: pa.Table) -> list[Any]:
    return [
        CustomData(kind, record)
        for batch in table.to_batches()
        for record in custom.decode_record_batch_py({}, batch)
    ]


def _times(table: pa.Table) -> tuple[list[int], list[int]]:
    event, init = (table[n].cast(pa.int64()).to_pylist() for n in ("ts_event", "ts_init"))
    return event, init


def _prices(update: Any, instrument: InstrumentId, table: pa.Table) -> list[Any]:
    precision = int((table.schema.metadata or {})[b"price_precision"])
    values: list[Decimal] = table["value"].to_pylist()
    rows = zip(values, *_times(table), strict=True)
    return [update(instrument, Price.from_decimal_dp(v, precision), e, i) for v, e, i in rows]


def _funding(instrument: InstrumentId, table: pa.Table) -> list[Any]:
    following = table["next_funding_ns"].cast(pa.int64()).to_pylist()
    columns = (table["rate"].to_pylist(), table["interval"].to_pylist(), following)
    return [
        FundingRateUpdate(instrument, Decimal(rate), event, init, interval, next_ns)
        for rate, interval, next_ns, event, init in zip(*columns, *_times(table), strict=True)
    ]
