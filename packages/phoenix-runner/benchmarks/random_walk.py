"""A catalog of a random walk, and suites over it: what the benchmarks measure on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from phoenix_runner.suite import Suite, suite_from
from phoenix_schemas.arrow import (
    CATALOG_TYPES,
    DECIMAL,
    SIDE,
    SIDES,
    TIME,
    data_type_json,
    file_name,
)
from phoenix_schemas.timestamps import NS_PER_DAY, NS_PER_SECOND, format_utc

INSTRUMENT = "BTCUSDT-PERP.BINANCE"
START = 19_750 * NS_PER_DAY
DEPTH = "BinanceBookDepthPct"
STRATEGIES: dict[str, dict[str, Any]] = {
    "ema_cross": {"config": {"trade_size": "0.01"}},
    "phoenix_lpi": {"name": "phoenix_lpi", "config": {"trade_size": "0.01"}},
}
INCLUDE = {
    "ema_cross": ["QuoteTick", "TradeTick", "Bar"],
    "phoenix_lpi": ["QuoteTick", "TradeTick", DEPTH],
}


def write_catalog(root: Path, quotes: int, days: int = 1, hours: int = 24) -> None:
    """`quotes` quotes in the first `hours` of each day, a quarter as many trades, depth each 30 s."""
    draw = np.random.default_rng(5)
    for day in range(days):
        start = START + day * NS_PER_DAY
        for name, count in (("QuoteTick", quotes), ("TradeTick", quotes // 4)):
            times = np.sort(draw.integers(0, hours * 3_600_000, count)) * 1_000_000 + start
            _write(root, name, times, _market(draw, name, count))
        times = np.repeat(
            np.arange(start, start + hours * 3600 * NS_PER_SECOND, 30 * NS_PER_SECOND), 2
        )
        levels = np.tile([-5.0, 5.0], len(times) // 2)
        notional = _decimals(draw.integers(10**9, 2 * 10**9, len(times)), 2)
        columns = {"percentage": pa.array(levels), "depth": notional, "notional": notional}
        _write(root, DEPTH, times, columns)
    digest = hashlib.sha256(f"{quotes} {days} {hours}".encode()).hexdigest()
    (root / "manifest.json").write_text(json.dumps({"catalog_digest": digest}), "utf-8")


def _market(draw: np.random.Generator, name: str, count: int) -> dict[str, pa.Array]:
    ticks = 400_000 + np.cumsum(draw.integers(-1, 2, count))
    price = _decimals(ticks, 1)
    size = _decimals(draw.integers(1, 5_000, count), 3)
    if name == "QuoteTick":
        return {"bid_price": price, "ask_price": _decimals(ticks + 1, 1), "bid_size": size,
                "ask_size": size}  # fmt: skip
    codes = pa.array(draw.integers(0, 2, count), pa.int8())
    sides = pa.DictionaryArray.from_arrays(codes, pa.array(SIDES)).cast(SIDE)
    ids = pa.array(np.arange(count)).cast(pa.string())
    return {"price": price, "size": size, "aggressor_side": sides, "trade_id": ids}


def _write(root: Path, name: str, times: Any, columns: dict[str, pa.Array]) -> None:
    kind = CATALOG_TYPES[name]
    schema = kind.schema(INSTRUMENT, 2, 3)
    stamp = pa.array(times).cast(TIME)
    constant = {
        "instrument_id": INSTRUMENT, "type": name, "data_type": data_type_json(name, INSTRUMENT),
    }  # fmt: skip
    arrays = []
    for field in schema:
        if field.name in ("ts_event", "ts_init"):
            arrays.append(stamp)
        elif field.name in columns:
            arrays.append(columns[field.name].cast(field.type))
        else:
            arrays.append(pa.array([constant[field.name]] * len(times), field.type))
    folder = root / kind.folder(INSTRUMENT)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file_name(int(times[0]), int(times[-1]))
    pq.write_table(
        pa.table(arrays, schema=schema), path, row_group_size=100_000, compression="zstd"
    )


def _decimals(values: Any, places: int) -> pa.Array:
    texts = pa.array(np.char.add(values.astype(str), f"e-{places}"))
    return texts.cast(DECIMAL)


def suite_over(
    root: Path, strategy: str = "ema_cross", *, hours: int = 24, days: int = 1, **sections: Any
) -> Suite:
    """A suite of one strategy over the catalog's range."""
    end = START + (days - 1) * NS_PER_DAY + hours * 3600 * NS_PER_SECOND
    values = {
        "catalog": {"path": str(root)},
        "output": {"dir": str(root.parent / "runs")},
        "universe": {"instrument_ids": [INSTRUMENT]},
        "data": {"include": INCLUDE[strategy], "bars_from_trades": strategy == "ema_cross"},
        "time": {"start_utc": format_utc(START), "end_utc": format_utc(end)},
        "strategy": STRATEGIES[strategy],
        "funding": "off",
        **sections,
    }
    return suite_from(values, source="benchmark")
