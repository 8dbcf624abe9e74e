"""How each type lies in the catalog: folder, Arrow schema, file name, and replay order.

NautilusTrader stores prices and sizes as decimal128(38, 16) and times as timestamp[ns, UTC]; the
precision in a file's metadata is what its reader keeps, so it must hold every value. The schemas are
written out here, because importing the engine to copy a file would cost every worker; a test compares
them with `nautilus_trader.serialization.get_arrow_schema_bytes`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from phoenix_schemas.errors import SchemaError
from phoenix_schemas.timestamps import format_utc, parse_utc

DECIMAL = pa.decimal128(38, 16)
TIME = pa.timestamp("ns", tz="UTC")
SIDE = pa.dictionary(pa.int8(), pa.string())
SIDES = ("BUY", "SELL")
"""Dictionary of aggressor sides, in this order in every file."""
MAX_VALUE = 17_014_118_346_046
"""Largest price or size NautilusTrader holds; one value beyond fails a whole query."""


@dataclass(frozen=True)
class CatalogType:
    """A type of the catalog.

    `fields` are its own columns; `rank` its place among types at equal `ts_init` in a replay.
    """

    name: str
    directory: str
    fields: tuple[pa.Field, ...]
    rank: int
    is_custom: bool = False
    has_precision: tuple[bool, bool] = (False, False)

    def schema(
        self, identifier: str, price_precision: int = 0, size_precision: int = 0
    ) -> pa.Schema:
        """Arrow schema of one file, metadata included.

        `identifier` is the instrument id, or the bar type for bars.
        """
        times = [pa.field("ts_event", TIME, False), pa.field("ts_init", TIME, False)]
        if self.is_custom:
            # The columns, and their order, that NautilusTrader writes for custom data.
            own = [pa.field("instrument_id", pa.string(), False), *self.fields]
            tail = [
                pa.field("type", pa.string()),
                *times,
                pa.field("data_type", pa.string(), False),
            ]
            return pa.schema([*own, *tail], {"type_name": self.name})
        metadata = {"type_name": self.name}
        if self.name == "Bar":
            metadata["bar_type"] = identifier
            identifier = bar_instrument(identifier)
        metadata["instrument_id"] = identifier
        with_price, with_size = self.has_precision
        if with_price:
            metadata["price_precision"] = str(price_precision)
        if with_size:
            metadata["size_precision"] = str(size_precision)
        return pa.schema([*self.fields, *times], metadata)

    def folder(self, identifier: str) -> str:
        """Folder of one identifier, relative to the catalog root.

        >>> CATALOG_TYPES["QuoteTick"].folder("BTCUSDT-PERP.BINANCE")
        'data/quotes/BTCUSDT-PERP.BINANCE'
        """
        return f"data/{self.directory}/{identifier}"


def _decimals(*names: str, nullable: bool = False) -> tuple[pa.Field, ...]:
    return tuple(pa.field(name, DECIMAL, nullable) for name in names)


def _custom(name: str, rank: int, *fields: pa.Field) -> CatalogType:
    return CatalogType(name, f"custom/{name}", fields, rank, is_custom=True)


_OHLC = _decimals("open", "high", "low", "close")
_TYPES = (
    CatalogType(
        "QuoteTick",
        "quotes",
        _decimals("bid_price", "ask_price", "bid_size", "ask_size"),
        rank=0,
        has_precision=(True, True),
    ),
    CatalogType(
        "TradeTick",
        "trades",
        (
            *_decimals("price", "size"),
            pa.field("aggressor_side", SIDE, False),
            pa.field("trade_id", pa.string(), False),
        ),
        rank=1,
        has_precision=(True, True),
    ),
    _custom(
        "BinanceBookDepthPct",
        2,
        pa.field("percentage", pa.float64(), False),
        *_decimals("depth", "notional"),
    ),
    _custom(
        "BinanceOiMetrics",
        3,
        *_decimals("sum_open_interest", "sum_open_interest_value", nullable=True),
        pa.field("count_toptrader_long_short_ratio", pa.float64()),
        pa.field("sum_toptrader_long_short_ratio", pa.float64()),
        pa.field("count_long_short_ratio", pa.float64()),
        pa.field("sum_taker_long_short_vol_ratio", pa.float64()),
    ),
    CatalogType(
        "FundingRateUpdate",
        "funding_rates",
        (
            pa.field("rate", pa.string(), False),
            pa.field("interval", pa.uint64()),
            pa.field("next_funding_ns", TIME),
        ),
        rank=4,
    ),
    _custom(
        "BinanceFundingRate",
        4,
        *_decimals("rate"),
        pa.field("interval_hours", pa.int64(), False),
    ),
    CatalogType(
        "MarkPriceUpdate",
        "mark_prices",
        (pa.field("value", DECIMAL),),
        rank=5,
        has_precision=(True, False),
    ),
    CatalogType(
        "IndexPriceUpdate",
        "index_prices",
        (pa.field("value", DECIMAL),),
        rank=5,
        has_precision=(True, False),
    ),
    _custom("BinanceIndexPriceKline", 5, *_OHLC),
    _custom("BinancePremiumIndex", 5, *_OHLC),
    CatalogType(
        "Bar",
        "bars",
        (*_OHLC, *_decimals("volume")),
        rank=6,
        has_precision=(True, True),
    ),
    _custom(
        "BinanceKlineExtras",
        7,
        *_decimals("quote_volume"),
        pa.field("trade_count", pa.int64(), False),
        *_decimals("taker_buy_volume", "taker_buy_quote_volume"),
    ),
)

CATALOG_TYPES: Mapping[str, CatalogType] = {t.name: t for t in _TYPES}
"""Every type that Phoenix stores, in replay order at equal `ts_init`."""


def data_type_json(type_name: str, identifier: str) -> str:
    """What NautilusTrader keeps in the `data_type` column of custom data.

    >>> data_type_json("BinanceOiMetrics", "BTCUSDT-PERP.BINANCE")
    '{"type_name":"BinanceOiMetrics","metadata":null,"identifier":"BTCUSDT-PERP.BINANCE"}'
    """
    value = {"type_name": type_name, "metadata": None, "identifier": identifier}
    return json.dumps(value, separators=(",", ":"))


def bar_instrument(bar_type: str) -> str:
    """Instrument id of a bar type.

    >>> bar_instrument("BTCUSDT-PERP.BINANCE-1-MINUTE-LAST-EXTERNAL")
    'BTCUSDT-PERP.BINANCE'
    """
    return bar_type.rsplit("-", 4)[0]


def catalog_type(name: str) -> CatalogType:
    """A catalog type by name.

    Raises SchemaError, which lists the known ones, for another name.
    """
    found = CATALOG_TYPES.get(name)
    if found is None:
        raise SchemaError(f"type must be one of {', '.join(CATALOG_TYPES)} (was {name!r})")
    return found


def file_name(first_ns: int, last_ns: int) -> str:
    """Name of a catalog file that holds `ts_init` from first to last, both included.

    >>> file_name(1711756800008000000, 1711756800009000000)
    '2024-03-30T00-00-00-008000000Z_2024-03-30T00-00-00-009000000Z.parquet'
    """
    return f"{_stamp(first_ns)}_{_stamp(last_ns)}.parquet"


def _stamp(ns: int) -> str:
    text = format_utc(ns - ns % 1_000_000_000)[:-1]
    return f"{text.replace(':', '-')}-{ns % 1_000_000_000:09d}Z"


_FILE_NAME = re.compile(r"(.{10})T(..)-(..)-(..)-(\d{9})Z")


def file_span(name: str) -> tuple[int, int] | None:
    """(first, last) `ts_init` that a catalog file's name claims, or None for another name.

    >>> file_span(file_name(5, 7))
    (5, 7)
    """
    stem, dot, ending = name.rpartition(".")
    parts = (
        [_FILE_NAME.fullmatch(p) for p in stem.split("_")] if dot and ending == "parquet" else []
    )
    if len(parts) != 2 or parts[0] is None or parts[1] is None:
        return None
    first, last = (
        parse_utc(f"{m[1]}T{m[2]}:{m[3]}:{m[4]}.{m[5]}Z") for m in parts if m is not None
    )
    return first, last
