"""Small catalogs for tests, written with pyarrow in the catalog's own layout."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from phoenix_schemas.arrow import CATALOG_TYPES, SIDE, data_type_json, file_name

INSTRUMENT = "BTCUSDT-PERP.BINANCE"
BAR_TYPE = f"{INSTRUMENT}-1-MINUTE-LAST-EXTERNAL"
MS = 1_000_000
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
START = 19_750 * DAY  # 2024-01-28T00:00:00Z


def write(
    root: Path,
    type_name: str,
    rows: Sequence[dict[str, Any]],
    identifier: str = INSTRUMENT,
    *,
    row_group_size: int = 100_000,
    price_precision: int = 2,
    size_precision: int = 3,
) -> None:
    """One file of a type; each row has `ts` (ns) and the type's own columns as text or numbers."""
    kind = CATALOG_TYPES[type_name]
    schema = kind.schema(identifier, price_precision, size_precision)
    columns = []
    for field in schema:
        if field.name in ("ts_event", "ts_init"):
            values: list[Any] = [row.get(field.name, row["ts"]) for row in rows]
        elif field.name == "instrument_id":
            values = [identifier] * len(rows)
        elif field.name == "type":
            values = [type_name] * len(rows)
        elif field.name == "data_type":
            values = [data_type_json(type_name, identifier)] * len(rows)
        else:
            values = [row.get(field.name) for row in rows]
        if pa.types.is_decimal(field.type):
            columns.append(
                pa.array([None if v is None else Decimal(v) for v in values], field.type)
            )
        elif pa.types.is_timestamp(field.type):
            columns.append(pa.array(values, pa.int64()).cast(field.type))
        elif field.type == SIDE:
            columns.append(pa.array(values).dictionary_encode().cast(SIDE))
        else:
            columns.append(pa.array(values, field.type))
    folder = root / kind.folder(identifier)
    folder.mkdir(parents=True, exist_ok=True)
    name = file_name(rows[0]["ts"], rows[-1]["ts"])
    pq.write_table(pa.table(columns, schema=schema), folder / name, row_group_size=row_group_size)
    digest = hashlib.sha256()
    for path in sorted(root.glob("data/**/*.parquet")):
        digest.update(path.read_bytes())
    manifest = json.dumps({"catalog_digest": digest.hexdigest()})
    (root / "manifest.json").write_text(manifest, "utf-8")


def quote(ts: int, bid: str, ask: str, size: str = "5.000") -> dict[str, Any]:
    return {"ts": ts, "bid_price": bid, "ask_price": ask, "bid_size": size, "ask_size": size}


def trade(
    ts: int, price: str, size: str = "1.000", side: str = "BUY", i: int = 0
) -> dict[str, Any]:
    return {"ts": ts, "price": price, "size": size, "aggressor_side": side, "trade_id": str(i)}


def bar(ts: int, close: str, **ohlc: str) -> dict[str, Any]:
    prices = {name: ohlc.get(name, close) for name in ("open", "high", "low")}
    return {"ts": ts, **prices, "close": close, "volume": ohlc.get("volume", "1.000")}


def bar_rows(closes: Iterable[str], start: int = START) -> list[dict[str, Any]]:
    """One bar a minute, stamped at its close_time."""
    return [bar(start + (i + 1) * MINUTE - MS, close) for i, close in enumerate(closes)]


def suite_values(root: Path, **sections: Any) -> dict[str, Any]:
    """A suite over bars of one hour; sections replace or extend it."""
    values: dict[str, Any] = {
        "catalog": {"path": str(root)},
        "output": {"dir": str(root.parent / "runs")},
        "universe": {"instrument_ids": [INSTRUMENT]},
        "data": {"include": ["Bar"]},
        "time": {"start_utc": "2024-01-28", "end_utc": "2024-01-28T01:00:00Z"},
        "strategy": {"name": "ema_cross", "config": {"fast_bars": 2, "slow_bars": 4}},
        "execution": {"bar_execution": {"spread_bps": 0.0}},
        "funding": "off",
    }
    return {**values, **sections}
