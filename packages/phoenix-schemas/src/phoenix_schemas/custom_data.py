"""Binance's non-standard streams as NautilusTrader custom data.

Each class is a frozen record with `ts_event` and `ts_init` (int64 ns UTC) and the instrument id.
Money and quantities are `decimal.Decimal`, exact; ratios are floats; a blank cell of the archive is
None. A strategy receives them in `on_data` after

    self.subscribe_data(DataType("BinanceOiMetrics", identifier="BTCUSDT-PERP.BINANCE"),
                        client_id=ClientId("BINANCE"))

Call [register_custom_data][] once per process before reading them through NautilusTrader.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from functools import cache
from typing import Any, Self

import pyarrow as pa

from phoenix_schemas.arrow import CATALOG_TYPES, DECIMAL


@dataclass(frozen=True, slots=True, kw_only=True)
class BinanceRecord:
    """What NautilusTrader asks of a custom data class, from the Arrow schema of its type."""

    ts_event: int
    ts_init: int
    instrument_id: str

    @classmethod
    def type_name_static(cls) -> str:
        return cls.__name__

    @classmethod
    def arrow_schema_py(cls) -> pa.Schema:
        schema = CATALOG_TYPES[cls.__name__].schema("")
        return pa.schema([f for f in schema if f.name != "data_type"])

    @classmethod
    def decode_record_batch_py(cls, _metadata: dict[str, str], batch: pa.RecordBatch) -> list[Self]:
        names = [f.name for f in fields(cls)]
        columns = [batch.column(name) for name in names]
        values = [
            # A list of timestamps would need pandas, and lose nanoseconds.
            (c.cast(pa.int64()) if pa.types.is_timestamp(c.type) else c).to_pylist()
            for c in columns
        ]
        return [cls(**dict(zip(names, row, strict=True))) for row in zip(*values, strict=True)]

    def encode_record_batch_py(self, items: list[Self]) -> pa.RecordBatch:
        schema = self.arrow_schema_py()
        rows = [{"type": type(self).__name__, **asdict(item)} for item in items]
        return pa.RecordBatch.from_pylist(rows, schema=schema)

    def to_dict(self) -> dict[str, Any]:
        values = {k: str(v) if isinstance(v, Decimal) else v for k, v in asdict(self).items()}
        return {"type": type(self).__name__, **values}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        known = {f.name for f in fields(cls)}
        decimals = {f.name for f in cls.arrow_schema_py() if f.type == DECIMAL}
        own: dict[str, Any] = {
            k: Decimal(v) if k in decimals and v is not None else v
            for k, v in values.items()
            if k in known
        }
        return cls(**own)

    def to_json(self) -> str:
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, data: bytes | str | dict[str, Any]) -> Self:
        return cls.from_dict(json.loads(data) if isinstance(data, bytes | str) else data)


@dataclass(frozen=True, slots=True, kw_only=True)
class BinanceKlineExtras(BinanceRecord):
    """What a kline says beyond NautilusTrader's Bar; `ts_event` is the bar's close_time.

    Volumes in base units, `*_quote_volume` in quote currency, `trade_count` in trades.
    """

    quote_volume: Decimal
    trade_count: int
    taker_buy_volume: Decimal
    taker_buy_quote_volume: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class BinanceIndexPriceKline(BinanceRecord):
    """One minute of the index price (spot basket), in quote currency, at close_time."""

    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class BinancePremiumIndex(BinanceRecord):
    """One minute of the premium index (mark against index, signed fraction), at close_time."""

    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class BinanceOiMetrics(BinanceRecord):
    """Open interest and positioning over 5 minutes.

    `ts_event` is `create_time`; `ts_init` is the end of the period it describes (the same before
    2026-06-25, five minutes later since). Open interest in base units and quote currency; ratios are
    long over short, or taker buy over taker sell volume. None where the archive's cell is blank.
    """

    sum_open_interest: Decimal | None
    sum_open_interest_value: Decimal | None
    count_toptrader_long_short_ratio: float | None
    sum_toptrader_long_short_ratio: float | None
    count_long_short_ratio: float | None
    sum_taker_long_short_vol_ratio: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BinanceFundingRate(BinanceRecord):
    """The funding rate as published at `calc_time`, for strategies and signals.

    `rate` is a fraction per interval (positive: longs pay shorts). The engine settles from
    FundingRateUpdate, which lies on the exact boundary; this record lies on the raw time.
    """

    rate: Decimal
    interval_hours: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BinanceBookDepthPct(BinanceRecord):
    """Resting depth within `percentage` of the mid, cumulative from the touch.

    Negative percentages are bids. `depth` in base units, `notional` in quote currency. A snapshot is
    several records of one `ts_event`, one for each level.
    """

    percentage: float
    depth: Decimal
    notional: Decimal


CUSTOM_TYPES: tuple[type[BinanceRecord], ...] = (
    BinanceBookDepthPct,
    BinanceOiMetrics,
    BinanceFundingRate,
    BinanceIndexPriceKline,
    BinancePremiumIndex,
    BinanceKlineExtras,
)


@cache
def register_custom_data() -> None:
    """Make the classes known to NautilusTrader; calling it again does nothing."""
    from nautilus_trader.model import register_custom_data_class

    for cls in CUSTOM_TYPES:
        register_custom_data_class(cls)
