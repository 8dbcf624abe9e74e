"""Datasets held against each other: what agrees, what differs, and when it is looked at again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from phoenix_etl import ingest_run
from phoenix_etl.crosschecks import CheckSummary, CrossCheck, MinuteBars, run_check, summaries
from phoenix_etl.errors import CatalogError
from phoenix_etl.synthetic import write_market
from phoenix_etl.validation import validate
from phoenix_schemas.timestamps import NS_PER_DAY, NS_PER_MINUTE, parse_utc

from .conftest import Catalog, Dumps

DAY = "2024-01-01"
START_MS = parse_utc(DAY) // 1_000_000
KEY = f"futures/BTCUSDT/{DAY}"

# (id, price, quantity, first id, last id, ms after midnight, buyer is maker): minutes 0 and 2
TRADES = [
    (1, "100.00", "1.000", 11, 12, 0, "false"),
    (2, "103.50", "0.500", 13, 13, 30_000, "true"),
    (3, "99.00", "2.000", 14, 17, 59_999, "true"),
    (4, "101.00", "0.250", 18, 18, 120_000, "false"),
]
# (open, high, low, close, volume, count, taker buy volume) of minutes 0, 1 and 2
BARS = [
    ("100.00", "103.50", "99.00", "99.00", "3.500", 7, "1.000"),
    ("99.00", "99.00", "99.00", "99.00", "0", 0, "0"),
    ("101.00", "101.00", "101.00", "101.00", "0.250", 1, "0.250"),
]


def agg_trades(trades: list[tuple[Any, ...]]) -> list[str]:
    return [",".join(str(v) for v in (*t[:5], START_MS + t[5], t[6])) for t in trades]


def fills(trades: list[tuple[Any, ...]]) -> list[str]:
    """The same trades one by one: the quantity on the first, a thousandth moved to each other."""
    lines = []
    for _, price, quantity, first, last, ms, maker in trades:
        rest = [0.001] * (last - first)
        sizes = [float(quantity) - sum(rest), *rest]
        lines += [
            f"{number},{price},{size:.3f},1.0,{START_MS + ms},{maker}"
            for number, size in zip(range(first, last + 1), sizes, strict=True)
        ]
    return lines


def klines(bars: list[tuple[Any, ...]], first_minute: int = 0) -> list[str]:
    lines = []
    for minute, (o, h, low, c, volume, count, taker) in enumerate(bars, start=first_minute):
        opened = START_MS + 60_000 * minute
        lines.append(f"{opened},{o},{h},{low},{c},{volume},{opened + 59_999},1,{count},{taker},1,0")
    return lines


def quotes(ms: list[int]) -> list[str]:
    return [f"{i},99.9,1,100.1,1,{START_MS + t},{START_MS + t}" for i, t in enumerate(ms, start=1)]


def check_of(catalog: Catalog, **settings: Any) -> CrossCheck:
    return catalog.ingest(**settings).manifest.crosschecks[KEY]


def summary(catalog: Catalog, check: str) -> CheckSummary:
    [found] = [s for s in summaries(catalog.ingest().manifest) if s.check.startswith(check)]
    return found


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = tmp_path_factory.mktemp("market") / "raw"
    write_market(raw, symbols=["BTCUSDT"], start=date(2024, 1, 1), days=2, seed=11, profile="small")
    return raw


def test_every_check_of_a_sound_market_passes(market: Path, tmp_path: Path) -> None:
    manifest = Catalog(tmp_path / "catalog", market).ingest().manifest
    found = {s.check: s for s in summaries(manifest)}
    assert set(found) == {
        "klines equal bars of the trades", "a quote within 60 s before every trade",
        "funding boundaries complete", "aggTrades and trades agree in total", "spread never negative",
    }  # fmt: skip
    assert all(s.differing == 0 and s.compared for s in found.values()), found
    assert found["klines equal bars of the trades"].compared == 2 * 1440
    assert found["funding boundaries complete"].compared == 31 * 3  # a monthly file
    assert validate(manifest).to_json()["crosschecks"][0]["differing"] == 0


def test_the_other_source_of_trades_gives_the_same_bars(dumps: Dumps, catalog: Catalog) -> None:
    dumps.add("aggTrades", DAY, agg_trades(TRADES))
    dumps.add("trades", DAY, fills(TRADES))
    dumps.add("klines", DAY, klines(BARS))
    expected = {"minutes": 3, "differing": 0, "missing": 0, "fields": {}, "examples": []}
    for source, other in (("aggTrades", "trades"), ("trades", "aggTrades")):
        check = check_of(catalog, trade_source=source, catalog_path=f"{catalog.root}-{source}")
        assert check.bars is not None
        assert {name: getattr(check.bars, name) for name in expected} == expected
        [totals] = check.totals
        assert f"/{other}/" in totals.file
        assert (totals.fills, totals.quantity) == (8, "3.750")
        assert totals.agrees


def changed(bars: list[tuple[Any, ...]], minute: int, place: int, value: Any) -> list[Any]:
    bars = list(bars)
    bars[minute] = (*bars[minute][:place], value, *bars[minute][place + 1 :])
    return bars


@pytest.mark.parametrize(
    ("minute", "place", "value", "field", "example"),
    [
        (0, 0, "100.01", "open", "00:00Z open: trades 100.00, kline 100.01"),
        (0, 1, "104.00", "high", "00:00Z high: trades 103.50, kline 104.00"),
        (0, 2, "98.99", "low", "00:00Z low: trades 99.00, kline 98.99"),
        (2, 4, "0.251", "volume", "02:00Z volume: trades 0.250, kline 0.251"),
        (2, 5, 2, "count", "02:00Z count: trades 1, kline 2"),
        (0, 6, "3.000", "taker_buy_volume", "taker_buy_volume: trades 1.000, kline 3.000"),
        (1, 4, "5", "volume", "01:00Z volume: trades no trade, kline 5.000"),
        (1, 1, "99.10", "high", "01:00Z high: trades no trade, kline 99.10"),
    ],
)
def test_a_bar_that_differs_is_named(
    dumps: Dumps, catalog: Catalog, minute: int, place: int, value: Any, field: str, example: str
) -> None:
    dumps.add("aggTrades", DAY, agg_trades(TRADES))
    dumps.add("klines", DAY, klines(changed(BARS, minute, place, value)))
    bars = check_of(catalog).bars
    assert bars is not None
    assert (bars.differing, bars.fields) == (1, {field: 1})
    assert bars.examples[0].endswith(example)
    assert bars.examples[0] in catalog.report()
    assert summary(catalog, "klines equal").differing_days == 1


def test_a_minute_of_trades_without_a_bar_is_missing(dumps: Dumps, catalog: Catalog) -> None:
    dumps.add("aggTrades", DAY, agg_trades(TRADES))
    dumps.add("klines", DAY, klines(BARS[:2]))
    bars = check_of(catalog).bars
    assert bars is not None
    assert (bars.minutes, bars.differing, bars.missing) == (2, 0, 1)
    assert "2024-01-01: 1 minutes without a kline" in catalog.report()


def test_rebuilt_bars_do_not_depend_on_where_the_trades_are_cut() -> None:
    rng = np.random.default_rng(5)
    count = 5_000
    ts = np.sort(rng.integers(0, NS_PER_DAY, count)) + parse_utc(DAY)
    price, size = rng.integers(1, 10**9, count), rng.integers(1, 10**6, count)
    is_buy = rng.random(count) < 0.5
    whole = MinuteBars()
    whole.add(ts, price, size, is_buy)
    for cut in (1, 7, 64, 1000):
        parts = MinuteBars()
        for low in range(0, count, cut):
            rows = slice(low, low + cut)
            parts.add(ts[rows], price[rows], size[rows], is_buy[rows])
        for name, values in whole.values.items():
            np.testing.assert_array_equal(values, parts.values[name], err_msg=name)
    minute = (ts - parse_utc(DAY)) // NS_PER_MINUTE
    for m in np.unique(minute)[:50]:
        mine = price[minute == m]
        bar = {name: values[m] for name, values in whole.values.items()}
        assert (bar["open"], bar["high"], bar["low"], bar["close"]) == (
            mine[0], mine.max(), mine.min(), mine[-1],
        )  # fmt: skip
        assert bar["volume"] == size[minute == m].sum()


def test_a_quantity_that_the_other_source_does_not_have_is_told(
    dumps: Dumps, catalog: Catalog
) -> None:
    dumps.add("aggTrades", DAY, agg_trades(TRADES))
    dumps.add("trades", DAY, fills(TRADES)[:-1])
    found = summary(catalog, "aggTrades and trades")
    assert found.differing == 1
    assert "7 trades, 3.500 in futures/daily/trades/" in found.examples[0]
    assert "8 trades, 3.750 in the catalog" in found.examples[0]


def test_trades_without_a_fresh_quote_are_counted(dumps: Dumps, catalog: Catalog) -> None:
    dumps.add("aggTrades", DAY, agg_trades(TRADES))
    dumps.add("bookTicker", DAY, quotes([10_000, 59_998, 59_999]))
    check = check_of(catalog).quotes
    assert check is not None
    # The first trade has no quote before it; the last has one of 60.001 s.
    assert (check.trades, check.stale, check.oldest_ns) == (4, 2, 60_001 * 10**6)
    assert check.first_stale_ns == parse_utc(DAY)


def test_the_last_quote_of_the_day_before_counts(dumps: Dumps, catalog: Catalog) -> None:
    dumps.add("aggTrades", DAY, agg_trades(TRADES[:1]))
    dumps.add("bookTicker", DAY, quotes([70_000]))
    dumps.add("bookTicker", "2023-12-31", quotes([-50_000]))
    check = check_of(catalog).quotes
    assert check is not None
    assert (check.stale, check.oldest_ns) == (0, 50_000 * 10**6)


def funding(hours: list[tuple[int, int]]) -> list[str]:
    return [f"{START_MS + hour * 3_600_000 + 5},{interval},0.0001" for hour, interval in hours]


@pytest.mark.parametrize(
    ("rows", "missing"),
    [
        ([(0, 8), (8, 8), (16, 8)], []),
        ([(0, 8), (16, 8)], [8]),
        ([(8, 8), (16, 8)], [0]),
        ([(0, 8), (8, 8)], [16]),
        ([(0, 8), (8, 8), (12, 4), (16, 4), (20, 4)], []),
        ([(0, 8), (8, 8), (16, 4), (20, 4)], [12]),
        ([(16, 8)], [0, 8]),
    ],
)
def test_missing_funding_boundaries_are_listed(
    dumps: Dumps, catalog: Catalog, rows: list[tuple[int, int]], missing: list[int]
) -> None:
    dumps.add("fundingRate", DAY[:7], funding(rows))
    check = check_of(catalog, end="2024-01-02").funding
    assert check is not None
    assert check.boundaries == len(rows)
    assert [(ns - parse_utc(DAY)) // (60 * NS_PER_MINUTE) for ns in check.missing_ns] == missing


def test_boundaries_outside_the_range_are_not_missed(dumps: Dumps, catalog: Catalog) -> None:
    dumps.add("fundingRate", DAY[:7], funding([(0, 8), (8, 8), (16, 8)]))
    check = check_of(catalog, start="2024-01-01T04:00", end="2024-01-01T12:00").funding
    assert check is not None
    assert (check.boundaries, check.missing_ns) == (1, [])


def test_only_days_that_changed_are_checked_again(
    market: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def counted(task: Any) -> CrossCheck:
        made.append(task.key)
        return run_check(task)

    monkeypatch.setattr(ingest_run, "run_check", counted)
    catalog = Catalog(tmp_path / "catalog", market)
    first = catalog.ingest(end="2024-01-02").manifest.crosschecks
    # A quote sent just before midnight arrives after it: the second day may exist already.
    assert KEY in made
    made.clear()
    catalog.ingest(end="2024-01-02")
    assert made == []
    both = catalog.ingest().manifest.crosschecks
    assert "futures/BTCUSDT/2024-01-02" in made
    assert first[KEY].bars == both[KEY].bars


def test_datasets_added_later_come_to_the_same_checks(market: Path, tmp_path: Path) -> None:
    at_once = Catalog(tmp_path / "at_once", market).ingest().manifest
    catalog = Catalog(tmp_path / "later", market)
    for datasets in (["klines", "trades"], ["aggTrades"], ["bookTicker", "fundingRate"], None):
        manifest = catalog.ingest(datasets=datasets).manifest
    assert set(manifest.crosschecks) == set(at_once.crosschecks)


def test_a_check_goes_with_its_files(dumps: Dumps, catalog: Catalog) -> None:
    dumps.add("aggTrades", DAY, agg_trades(TRADES))
    klines_path = dumps.root / dumps.add("klines", DAY, klines(BARS))
    assert check_of(catalog).bars is not None
    klines_path.write_text(klines_path.read_text().replace("103.50", "103.60"))
    bars = check_of(catalog).bars
    assert bars is not None
    assert bars.fields == {"high": 1}


def test_a_file_that_cannot_be_read_back_is_named(dumps: Dumps, catalog: Catalog) -> None:
    dumps.add("aggTrades", DAY, agg_trades(TRADES))
    catalog.ingest()
    [stored] = (catalog.root / "data" / "trades").rglob("*.parquet")
    stored.write_bytes(b"x" * stored.stat().st_size)
    dumps.add("klines", DAY, klines(BARS))
    with pytest.raises(CatalogError, match=f"{KEY}: its catalog files cannot be read back"):
        catalog.ingest()


def test_a_summary_adds_up_days(market: Path, tmp_path: Path) -> None:
    manifest = Catalog(tmp_path / "catalog", market).ingest().manifest
    found: dict[str, Callable[[CheckSummary], object]] = {s.check: s for s in summaries(manifest)}
    quotes_checked = dataclasses.asdict(found["a quote within 60 s before every trade"])
    trades = manifest.datasets["futures/aggTrades"].events
    assert quotes_checked["compared"] == trades
