"""Real market data for tests, read with pandas; skipped when PHOENIX_REAL_DATA is unset."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

MS_NS = 1_000_000
CAPTURES = {"2023": ("2023-04-04", "2023-04-05"), "2024": ("2024-07-18", "2024-07-19")}


def folder() -> Path:
    root = os.environ.get("PHOENIX_REAL_DATA")
    if not root:
        pytest.skip("PHOENIX_REAL_DATA is unset: real market data not tested")
    return Path(root) / "raw"


@dataclass(frozen=True)
class Trades:
    ts_ns: np.ndarray
    price_raw: np.ndarray
    size_raw: np.ndarray
    side: np.ndarray


@dataclass(frozen=True)
class Quotes:
    ts_ns: np.ndarray
    bid_raw: np.ndarray
    ask_raw: np.ndarray
    bid_size_raw: np.ndarray
    ask_size_raw: np.ndarray


def _raw(values: pd.Series, precision: int) -> np.ndarray:
    return np.rint(values.to_numpy() * 10**precision).astype(np.int64)


@cache
def capture(year: str) -> tuple[Quotes, Trades]:
    """BTCUSDT futures minutes around midnight, on transaction time, in ticks of 0.01 and 0.001."""
    daily = folder() / "futures" / "daily"
    quotes, trades = (
        pd.concat([
            pd.read_csv(next((daily / kind).glob(f"BTCUSDT-{kind}-{day}.*")))
            for day in CAPTURES[year]
        ])
        for kind in ("bookTicker", "trades")
    )  # fmt: skip
    quotes = quotes.sort_values(["transaction_time", "update_id"], kind="stable")
    trades = trades.sort_values(["time", "id"], kind="stable")
    return (
        Quotes(
            quotes["transaction_time"].to_numpy() * MS_NS,
            _raw(quotes["best_bid_price"], 2),
            _raw(quotes["best_ask_price"], 2),
            _raw(quotes["best_bid_qty"], 3),
            _raw(quotes["best_ask_qty"], 3),
        ),
        Trades(
            trades["time"].to_numpy() * MS_NS,
            _raw(trades["price"], 2),
            _raw(trades["qty"], 3),
            np.where(trades["is_buyer_maker"], -1, 1),
        ),
    )


@cache
def spot_day() -> Trades:
    """BTCUSDT spot aggTrades of 2024-01-01, 863,403 rows, in units of 0.01 and 0.00001."""
    path = folder() / "spot_data" / "daily" / "aggTrades" / "BTCUSDT-aggTrades-2024-01-01.zip"
    names = ["id", "price", "qty", "first", "last", "time", "is_buyer_maker", "is_best_match"]
    table = pd.read_csv(path, names=names)
    return Trades(
        table["time"].to_numpy() * MS_NS,
        _raw(table["price"], 2),
        _raw(table["qty"], 5),
        np.where(table["is_buyer_maker"], -1, 1),
    )


@cache
def klines(name: str) -> pd.DataFrame:
    """One month of 1-minute futures bars, such as AVAXUSDT-1m-2023-09."""
    return pd.read_csv(next((folder() / "futures" / "monthly" / "klines").glob(f"{name}.*")))


@cache
def book_depth() -> pd.DataFrame:
    """BTCUSDT bookDepth of 2023-10-16: 2,880 snapshots of 10 levels."""
    path = folder() / "futures" / "daily" / "bookDepth" / "BTCUSDT-bookDepth-2023-10-16.zip"
    table = pd.read_csv(path)
    times = pd.to_datetime(table["timestamp"], utc=True).to_numpy(dtype="datetime64[ns]")
    return table.assign(ts_ns=times.astype(np.int64))
