"""What the ingest is measured against: loaders that anyone would write first.

They do less than an ingest: no hashes, no ledger, no checks, no order, no duplicates, no durable commit.
"""

from __future__ import annotations

import csv
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
from nautilus_trader.model import (
    AggressorSide,
    CustomData,
    DataType,
    InstrumentId,
    Price,
    Quantity,
    QuoteTick,
    TradeId,
    TradeTick,
)
from nautilus_trader.persistence import ParquetDataCatalog
from phoenix_schemas.arrow import DECIMAL
from phoenix_schemas.custom_data import (
    BinanceBookDepthPct,
    BinanceOiMetrics,
    register_custom_data,
)
from phoenix_schemas.datasets import Kind, dataset
from phoenix_schemas.timestamps import parse_utc
from pyarrow import csv as arrow_csv

INSTRUMENT = "BTCUSDT-PERP.BINANCE"
_CHUNK = 500_000
_NS_PER_MS = 1_000_000


def bare_parse(path: Path, name: str) -> int:
    """A streaming parse of the same columns into the types of the catalog, and nothing else."""
    kinds = {
        Kind.PRICE: DECIMAL,
        Kind.SIZE: DECIMAL,
        Kind.INTEGER: pa.int64(),
        Kind.EPOCH: pa.int64(),
        Kind.FLAG: pa.bool_(),
    }
    columns = {c.name: kinds[c.kind] for c in dataset("futures", name).columns}
    options = arrow_csv.ConvertOptions(column_types=columns)
    return sum(batch.num_rows for batch in arrow_csv.open_csv(path, convert_options=options))


def _catalog(folder: Path) -> ParquetDataCatalog:
    folder.mkdir(parents=True, exist_ok=True)
    return ParquetDataCatalog(str(folder))


def _price(text: str) -> Price:
    return Price.from_decimal_dp(Decimal(text), 2)


def _size(text: str) -> Quantity:
    return Quantity.from_decimal_dp(Decimal(text), 3)


def quotes_by_rows(path: Path, catalog: Path) -> int:
    """bookTicker row by row into Nautilus objects, written by the catalog's own writer."""
    writer = _catalog(catalog)
    instrument = InstrumentId.from_str(INSTRUMENT)
    rows: list[QuoteTick] = []
    count = 0
    with path.open(newline="") as stream:
        for row in csv.DictReader(stream):
            ts = int(row["event_time"]) * _NS_PER_MS
            rows.append(
                QuoteTick(
                    instrument,
                    _price(row["best_bid_price"]),
                    _price(row["best_ask_price"]),
                    _size(row["best_bid_qty"]),
                    _size(row["best_ask_qty"]),
                    ts,
                    ts,
                )
            )
            if len(rows) == _CHUNK:
                writer.write_quote_ticks(rows, skip_disjoint_check=True)
                count, rows = count + len(rows), []
    if rows:
        writer.write_quote_ticks(rows, skip_disjoint_check=True)
    return count + len(rows)


def trades_by_rows(path: Path, catalog: Path) -> int:
    """aggTrades row by row into Nautilus objects, written by the catalog's own writer."""
    writer = _catalog(catalog)
    instrument = InstrumentId.from_str(INSTRUMENT)
    rows = []
    with path.open(newline="") as stream:
        for row in csv.DictReader(stream):
            ts = int(row["transact_time"]) * _NS_PER_MS
            sold = row["is_buyer_maker"] == "true"
            rows.append(
                TradeTick(
                    instrument,
                    _price(row["price"]),
                    _size(row["quantity"]),
                    AggressorSide.SELL if sold else AggressorSide.BUY,
                    TradeId(row["agg_trade_id"]),
                    ts,
                    ts,
                )
            )
    writer.write_trade_ticks(rows)
    return len(rows)


def custom_by_rows(paths: list[Path], catalog: Path) -> int:
    """bookDepth or metrics row by row into custom data objects, written by the catalog's writer."""
    register_custom_data()
    writer = _catalog(catalog)
    count = 0
    for path in paths:
        make = _depth if "bookDepth" in path.name else _metrics
        with path.open(newline="") as stream:
            records = [make(row) for row in csv.DictReader(stream)]
        data_type = DataType(type(records[0]).__name__, identifier=INSTRUMENT)
        writer.write_custom_data([CustomData(data_type, record) for record in records])
        count += len(records)
    return count


def _depth(row: dict[str, str]) -> BinanceBookDepthPct:
    ts = parse_utc(row["timestamp"])
    return BinanceBookDepthPct(
        ts_event=ts,
        ts_init=ts,
        instrument_id=INSTRUMENT,
        percentage=float(row["percentage"]),
        depth=Decimal(row["depth"]),
        notional=Decimal(row["notional"]),
    )


def _metrics(row: dict[str, str]) -> BinanceOiMetrics:
    ts = parse_utc(row["create_time"])
    return BinanceOiMetrics(
        ts_event=ts,
        ts_init=ts,
        instrument_id=INSTRUMENT,
        sum_open_interest=Decimal(row["sum_open_interest"]),
        sum_open_interest_value=Decimal(row["sum_open_interest_value"]),
        count_toptrader_long_short_ratio=float(row["count_toptrader_long_short_ratio"]),
        sum_toptrader_long_short_ratio=float(row["sum_toptrader_long_short_ratio"]),
        count_long_short_ratio=float(row["count_long_short_ratio"]),
        sum_taker_long_short_vol_ratio=float(row["sum_taker_long_short_vol_ratio"]),
    )
