"""The main job on real input: dump files to catalog to bundle, exact and repeatable."""

from __future__ import annotations

import csv
import os
import zipfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from phoenix_etl.config import EtlConfig
from phoenix_etl.pipeline import ingest
from phoenix_runner.bundle import verify_bundle
from phoenix_runner.catalog_series import Catalog, StoredSeries
from phoenix_runner.decoding import decoder
from phoenix_runner.experiment import Published, run_suite
from phoenix_runner.suite import load_suite
from phoenix_runner.trade_bars import TradeBars
from phoenix_schemas.arrow import CATALOG_TYPES
from phoenix_schemas.timestamps import NS_PER_MINUTE, parse_utc

REAL = os.environ.get("PHOENIX_REAL_DATA")
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(REAL is None, reason="PHOENIX_REAL_DATA is not set: no real market data"),
]
CONFIGS = Path(__file__).parents[1] / "configs"
BTC = "BTCUSDT-PERP.BINANCE"


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("real") / "catalog"
    config = EtlConfig(
        raw_roots=[f"{REAL}/raw"],
        catalog_path=str(root),
        symbols=["BTCUSDT", "AVAXUSDT"],
        datasets=["bookTicker", "trades", "klines"],
        trade_source="trades",
        end="2024-03-01",
        ingest_workers=1,
    )
    assert ingest(config).failed == {}
    return root


def run(name: str, catalog: Path, runs: Path, **options: Any) -> Published:
    overrides = [f"catalog.path={catalog}", f"output.dir={runs}"]
    return run_suite(load_suite(CONFIGS / f"{name}.yaml", overrides), **options)


def source_rows(dataset: str) -> Iterator[list[str]]:
    """Rows of the two midnight files as their text, in file order."""
    folder = Path(f"{REAL}/raw/futures/daily/{dataset}")
    for day in ("2023-04-04", "2023-04-05"):
        path = folder / f"BTCUSDT-{dataset}-{day}.csv"
        if path.exists():
            lines = path.read_text().splitlines()
        else:
            with zipfile.ZipFile(path.with_suffix(".zip")) as archive:
                lines = archive.read(archive.namelist()[0]).decode().splitlines()
        yield from (row for row in csv.reader(lines) if row[0].isdigit())


def stored(catalog: Path, type_name: str) -> tuple[pa.Table, list[Any]]:
    opened = Catalog.open(str(catalog))
    series = StoredSeries(opened, opened.files(CATALOG_TYPES[type_name], BTC))
    table = series.read(parse_utc("2023-04-04"), parse_utc("2023-04-06"))
    assert table is not None
    return table, decoder(type_name, BTC)(table)


def test_what_replays_is_what_the_archive_says(catalog: Path) -> None:
    # bookTicker: update_id, bid price, bid qty, ask price, ask qty, transaction_time, event_time
    source = sorted(source_rows("bookTicker"), key=lambda r: (int(r[6]), int(r[0])))
    _, quotes = stored(catalog, "QuoteTick")
    assert len(quotes) == len(source)
    for quote, row in zip(quotes, source, strict=True):
        told = (quote.bid_price, quote.bid_size, quote.ask_price, quote.ask_size)
        assert [v.as_decimal() for v in told] == [Decimal(cell) for cell in row[1:5]]
        assert quote.ts_init == int(row[6]) * 1_000_000
    shared = len(quotes) - len({q.ts_init for q in quotes})
    assert shared > len(quotes) / 4  # so file order within a millisecond matters

    source = sorted(source_rows("trades"), key=lambda r: (int(r[4]), int(r[0])))
    _, trades = stored(catalog, "TradeTick")
    assert [(str(t.trade_id), t.price.as_decimal(), t.size.as_decimal()) for t in trades] == [
        (row[0], Decimal(row[1]), Decimal(row[2])) for row in source
    ]


def test_a_month_of_bars_becomes_a_bundle_that_adds_up(catalog: Path, tmp_path: Path) -> None:
    done = run("ema_cross", catalog, tmp_path)
    verify_bundle(done.folder)
    summary = done.summary
    # A bar and its assumed quote each minute, and three funding boundaries a day.
    assert summary["events"] == 29 * (2 * 1440 + 3)
    assert Decimal(summary["residual"]) == 0
    assert summary["fills"] == summary["orders"] > 500
    assert Decimal(summary["fees"]) < 0
    assert Decimal(summary["spread"]) < 0
    assert summary["open_positions"] == {}
    html = (done.folder / "report.html").read_text("utf-8")
    assert "http://" not in html.replace("http://www.w3.org/", "")
    assert "https://" not in html


def test_ticks_run_the_same_for_every_window(catalog: Path, tmp_path: Path) -> None:
    hashes = {}
    for minutes in (15, 60, 1440):
        done = run(
            "ema_cross_btcusdt_ticks", catalog, tmp_path / str(minutes),
            window_ns=minutes * NS_PER_MINUTE,
        )  # fmt: skip
        hashes[minutes] = verify_bundle(done.folder)
        assert done.summary["fills"] > 3
    assert len(set(hashes.values())) == 1
    # Every fill is at a price the book showed, not at a bar's close.
    _, quotes = stored(catalog, "QuoteTick")
    shown = {str(q.bid_price) for q in quotes} | {str(q.ask_price) for q in quotes}
    with (done.folder / "fills.csv").open() as file:
        assert {row["price"] for row in csv.DictReader(file)} <= shown


def test_bars_from_real_trades_hold_their_minute(catalog: Path) -> None:
    table, trades = stored(catalog, "TradeTick")
    start, end = parse_utc("2023-04-04T23:58:00Z"), parse_utc("2023-04-05T00:07:00Z")
    bars = TradeBars(BTC, 2, 3).build(table, start, end)
    assert bars is not None
    assert bars.num_rows == 9
    for bar in bars.to_pylist():
        close_ns = int(bar["ts_init"].value)
        first = close_ns + 1_000_000 - NS_PER_MINUTE
        inside = [t for t in trades if first <= t.ts_init < first + NS_PER_MINUTE]
        prices = [t.price.as_decimal() for t in inside]
        assert (bar["open"], bar["close"]) == (prices[0], prices[-1])
        assert (bar["high"], bar["low"]) == (max(prices), min(prices))
        assert bar["volume"] == sum(t.size.as_decimal() for t in inside)
