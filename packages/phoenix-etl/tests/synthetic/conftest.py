"""Simulated markets, made once per test process and read back from their files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from phoenix_etl.synthetic import SyntheticMarket, write_market

SEED = 7
START = date(2024, 1, 1)


class Read:
    """A market's files as frames of text, and its truth."""

    TICKS: ClassVar = {"BTCUSDT": 10, "NEARUSDT": 1000}
    LOTS: ClassVar = {"BTCUSDT": 1000, "NEARUSDT": 1}

    def __init__(self, market: SyntheticMarket) -> None:
        self.market = market
        self.truth: dict[str, Any] = json.loads((market.truth_root / "truth.json").read_text())

    @staticmethod
    def scaled(text: pd.Series, scale: int) -> np.ndarray:
        """Decimal texts as exact integers of 1/scale; fails on anything finer."""
        exact = pc.cast(pa.array(text.tolist(), pa.string()), pa.decimal128(38, 8))
        eighth = np.frombuffer(exact.buffers()[1], np.int64).reshape(-1, 2)[:, 0]
        assert (eighth % (10**8 // scale) == 0).all()
        return eighth // (10**8 // scale)

    @cache  # noqa: B019 - one market per process
    def text(self, dataset: str, symbol: str = "BTCUSDT", day: int = 1) -> pd.DataFrame:
        stem = "1m" if "lines" in dataset else dataset
        path = f"futures/daily/{dataset}/{symbol}-{stem}-2024-01-{day:02}.csv"
        return pd.read_csv(self.market.raw_root / path, dtype=str)

    @cache  # noqa: B019 - one market per process
    def trades(self, symbol: str = "BTCUSDT", day: int = 1) -> pd.DataFrame:
        text = self.text("aggTrades", symbol, day)
        frame = text.drop(columns=["price", "quantity", "is_buyer_maker"]).astype("int64")
        frame["ticks"] = self.scaled(text.price, self.TICKS[symbol])
        frame["lots"] = self.scaled(text.quantity, self.LOTS[symbol])
        frame["sells"] = text.is_buyer_maker == "true"
        return frame

    @cache  # noqa: B019 - one market per process
    def quotes(self, symbol: str = "BTCUSDT", day: int = 1) -> pd.DataFrame:
        text = self.text("bookTicker", symbol, day)
        ids = ["update_id", "transaction_time", "event_time"]
        frame = text[ids].astype("int64")
        for side in ("bid", "ask"):
            frame[side] = self.scaled(text[f"best_{side}_price"], self.TICKS[symbol])
            frame[f"{side}_lots"] = self.scaled(text[f"best_{side}_qty"], self.LOTS[symbol])
        frame["mid"] = 0.5 * (frame.bid + frame.ask)
        return frame

    def path(self, symbol: str = "BTCUSDT") -> pd.DataFrame:
        return pd.read_parquet(self.market.truth_root / f"{symbol}-path.parquet")

    def episodes(self, kind: str, symbol: str = "BTCUSDT") -> Iterator[dict[str, Any]]:
        for episode in self.truth["episodes"]:
            if (episode["kind"], episode["symbol"]) == (kind, symbol):
                yield episode


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Read:
    out = tmp_path_factory.mktemp("clean") / "raw"
    return Read(
        write_market(
            out, symbols=["BTCUSDT", "NEARUSDT"], start=START, days=2, seed=SEED, profile="small"
        )
    )


@pytest.fixture(scope="session")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Read:
    out: Path = tmp_path_factory.mktemp("damaged") / "raw"
    return Read(
        write_market(out, symbols=["BTCUSDT"], start=START, days=9, seed=SEED, profile="defects")
    )
