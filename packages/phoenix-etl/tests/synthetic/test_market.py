"""What must hold of every simulated market, read back from its files."""

from __future__ import annotations

import hashlib
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
from phoenix_etl.synthetic import SyntheticError, SyntheticMarket, write_market

SEED = 7
START = date(2024, 1, 1)


def digests(market: SyntheticMarket) -> dict[str, str]:
    return {
        file.path: hashlib.sha256((market.raw_root / file.path).read_bytes()).hexdigest()
        for file in market.files
    }


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> SyntheticMarket:
    out = tmp_path_factory.mktemp("market") / "raw"
    return write_market(
        out, symbols=["BTCUSDT", "NEARUSDT"], start=START, days=2, seed=SEED, profile="small"
    )


def frame(market: SyntheticMarket, dataset: str, symbol: str = "BTCUSDT", day: int = 0):
    name = "1m" if "lines" in dataset else dataset
    path = f"futures/daily/{dataset}/{symbol}-{name}-2024-01-{day + 1:02}.csv"
    return pd.read_csv(market.raw_root / path, dtype_backend="numpy_nullable", dtype="string")


def test_one_day_alone_is_that_day_of_a_longer_run(market: SyntheticMarket, tmp_path: Path) -> None:
    alone = write_market(
        tmp_path / "raw", symbols=["NEARUSDT"], start=date(2024, 1, 2), days=1, seed=SEED,
        profile="small",
    )  # fmt: skip
    whole, part = digests(market), digests(alone)
    daily = [path for path in part if "daily" in path]
    assert len(daily) == 9
    assert {path: part[path] for path in daily} == {path: whole[path] for path in daily}


def test_no_quote_is_crossed_and_ids_grow(market: SyntheticMarket) -> None:
    for symbol in ("BTCUSDT", "NEARUSDT"):
        quotes = frame(market, "bookTicker", symbol)
        bid, ask = quotes.best_bid_price.astype(float), quotes.best_ask_price.astype(float)
        assert (bid < ask).all()
        assert (quotes.update_id.astype("int64").diff().dropna() > 0).all()
        late = quotes.event_time.astype("int64") - quotes.transaction_time.astype("int64")
        assert late.between(3, 12).all()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"symbols": ["DOGEUSDT"]}, "symbol must be listed"),
        ({"days": 0}, "days must be at least 1"),
        ({"profile": "huge"}, "profile must be one of"),
        ({"start": date(1999, 1, 1)}, "day must lie from"),
        ({"symbols": []}, "symbols must be named"),
    ],
)
def test_what_cannot_be_simulated_is_refused(tmp_path: Path, wrong: dict, said: str) -> None:
    asked = {"symbols": ["BTCUSDT"], "start": START, "days": 1, "seed": 1, "profile": "small"}
    with pytest.raises(SyntheticError, match=said):
        write_market(tmp_path / "raw", **(asked | wrong))
    assert not list(tmp_path.iterdir())
