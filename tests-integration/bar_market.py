"""A small catalog of bars, written with pyarrow, for tests of what runs on it."""

from __future__ import annotations

import hashlib
import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from phoenix_schemas.arrow import CATALOG_TYPES, DECIMAL, TIME, file_name
from phoenix_schemas.timestamps import NS_PER_MINUTE, NS_PER_MS, parse_utc

INSTRUMENT = "BTCUSDT-PERP.BINANCE"
BAR_TYPE = f"{INSTRUMENT}-1-MINUTE-LAST-EXTERNAL"
START = parse_utc("2024-01-28")


def write_bars(root: Path, days: int) -> Path:
    """Slow waves in 1-minute bars, with the manifest that a run asks for."""
    count = days * 1440
    times = [START + (i + 1) * NS_PER_MINUTE - NS_PER_MS for i in range(count)]
    closes = [
        Decimal(round(40_000 + 300 * math.sin(i / 47) + 500 * math.sin(i / 411)))
        for i in range(count)
    ]
    prices = pa.array(closes, DECIMAL)
    stamps = pa.array(times).cast(TIME)
    schema = CATALOG_TYPES["Bar"].schema(BAR_TYPE, 2, 3)
    volume = pa.array([Decimal(1)] * count, DECIMAL)
    folder = root / CATALOG_TYPES["Bar"].folder(BAR_TYPE)
    folder.mkdir(parents=True)
    path = folder / file_name(times[0], times[-1])
    pq.write_table(pa.table([prices] * 4 + [volume, stamps, stamps], schema=schema), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (root / "manifest.json").write_text(json.dumps({"catalog_digest": digest}), "utf-8")
    return root


def write_suite(path: Path, catalog: str, runs: Path, end: str, **sections: Any) -> Path:
    """A suite of EMA cross over those bars."""
    values = {
        "catalog": {"path": catalog},
        "output": {"dir": str(runs), "suite_name": path.stem},
        "universe": {"instrument_ids": [INSTRUMENT], "leverage": 5},
        "data": {"include": ["Bar"]},
        "time": {"start_utc": "2024-01-28", "end_utc": end, "warmup": "2h"},
        "strategy": {"config": {"trade_size": "0.05"}},
        "execution": {"bar_execution": {"spread_bps": 1.0}},
        "funding": "flat",
        **sections,
    }
    path.write_text(yaml.safe_dump(values), "utf-8")
    return path
