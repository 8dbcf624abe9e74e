"""The main job on real input: Binance's own files, CSV and ZIP mixed, into one catalog, and proven."""

from __future__ import annotations

import bisect
import csv
import io
import zipfile
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from nautilus_trader.model import NautilusDataType
from nautilus_trader.persistence import ParquetDataCatalog
from phoenix_etl.config import load_config
from phoenix_etl.crosschecks import BarCheck
from phoenix_etl.pipeline import IngestResult, ingest
from phoenix_etl.verify import verify

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module")
def ingested(
    real_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, IngestResult]:
    """Every file there is, of both markets, in one catalog."""
    catalog = tmp_path_factory.mktemp("real") / "catalog"
    for universe in ("futures", "spot"):
        config = load_config(
            None,
            raw_roots=[str(real_data / "raw")],
            catalog_path=str(catalog),
            universe=universe,
        )
        result = ingest(config)
        assert result.failed == {}
    return catalog, result


def rows_of(path: Path) -> list[list[str]]:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            text = archive.read(archive.namelist()[0]).decode()
    else:
        text = path.read_text()
    return list(csv.reader(io.StringIO(text)))[1:]


def test_counts_are_those_of_the_archive(ingested: tuple[Path, IngestResult]) -> None:
    _, result = ingested
    totals = result.manifest.datasets
    assert totals["futures/bookDepth"].events == 28_800
    assert totals["futures/fundingRate"].events == 90
    # AVAX September and February, NEAR September, FIL May, ten minutes of BTC.
    assert totals["futures/klines"].events == 43_200 + 41_760 + 43_200 + 44_640 + 10
    assert totals["spot/aggTrades"].events == 863_403 + 10_001
    assert totals["spot/klines"].events == 2 * 1_440
    for t in totals.values():
        assert t.rows_read == t.events
    near = [p.stats for p in result.manifest.partitions.values() if p.symbol == "NEARUSDT"]
    assert sum(s.zero_volume_bars for s in near if s) == 144
    assert sum(s.gap_count for s in near if s) == 0
    crossed = [p.stats.crossed_quotes for p in result.manifest.partitions.values() if p.stats]
    assert sum(crossed) == 0


def test_quotes_read_by_nautilus_are_the_text_of_the_files(
    ingested: tuple[Path, IngestResult], real_data: Path
) -> None:
    catalog, _ = ingested
    folder = real_data / "raw/futures/daily/bookTicker"
    source = [
        row
        for name in ("BTCUSDT-bookTicker-2023-04-04.csv", "BTCUSDT-bookTicker-2023-04-05.zip")
        for row in rows_of(folder / name)
    ]
    # A quote made before midnight and sent after it lies in the next day's partition.
    stored = sorted(
        f
        for f in (catalog / "data/quotes/BTCUSDT-PERP.BINANCE").iterdir()
        if f.name.startswith("2023-04")
    )
    table = pa.concat_tables([pq.read_table(f) for f in stored])
    assert table.num_rows == len(source)
    # In file order, whatever shares a millisecond.
    for column, index in (("bid_price", 1), ("bid_size", 2), ("ask_price", 3), ("ask_size", 4)):
        assert table.column(column).to_pylist() == [Decimal(row[index]) for row in source]
    events = [int(row[6]) * 1_000_000 for row in source]
    assert table.column("ts_init").cast("int64").to_pylist() == events

    reader = ParquetDataCatalog(str(catalog))
    quotes = reader.query(
        NautilusDataType("QuoteTick"), ["BTCUSDT-PERP.BINANCE"], start=events[0], end=events[-1]
    )
    assert len(quotes) == len(source)
    as_read = sorted((q.ts_init, str(q.bid_price), str(q.ask_size)) for q in quotes)
    as_text = sorted(
        (t, f"{Decimal(r[1]):.2f}", f"{Decimal(r[4]):.3f}")
        for t, r in zip(events, source, strict=True)
    )
    assert as_read == as_text


def test_every_source_row_is_accounted_for(
    ingested: tuple[Path, IngestResult], real_data: Path
) -> None:
    """Milliseconds and microseconds, CSV and ZIP, headers old, new and none, off the tick or on it."""
    catalog, result = ingested
    reports = {path: entry.report for path, entry in result.manifest.files.items()}
    assert {r.time_unit for r in reports.values()} == {"ms", "us", "s"}
    assert {Path(path).suffix for path in reports} == {".csv", ".zip"}
    assert {r.has_header for r in reports.values()} == {True, False}
    assert reports["futures/daily/klines_1m/BTCUSDT-1m-2022-05-06.csv"].has_header
    assert (
        "quote_asset_volume"
        in (real_data / "raw/futures/daily/klines_1m/BTCUSDT-1m-2022-05-06.csv")
        .read_text()
        .partition("\n")[0]
    )
    checked = verify(catalog, [real_data / "raw"])
    assert checked.problems == []
    assert checked.source_rows == sum(r.rows_read for r in reports.values())
    assert set(reports) == {
        p.relative_to(real_data / "raw").as_posix()
        for p in (real_data / "raw").rglob("*")
        if p.suffix in {".csv", ".zip"}
    }


def test_prices_off_the_tick_are_kept_and_counted(real_data: Path, tmp_path: Path) -> None:
    """Two decimals are archived of BTCUSDT now and then, where an order's grid has one."""
    lines = (real_data / "raw/futures/daily/aggTrades/BTCUSDT-aggTrades-2026-09-15.csv").read_text()
    header, first, *rest = lines.splitlines()
    cells = first.split(",")
    cells[1] = "71799.36"  # the price that the archive has on 2024-03-15
    folder = tmp_path / "raw/futures/daily/aggTrades"
    folder.mkdir(parents=True)
    path = folder / "BTCUSDT-aggTrades-2026-09-15.csv"
    path.write_text("\n".join([header, ",".join(cells), *rest]) + "\n", "utf-8")
    config = load_config(None, raw_roots=[str(tmp_path / "raw")], catalog_path=str(tmp_path / "c"))
    (entry,) = ingest(config).manifest.files.values()
    assert entry.report.off_tick == 1
    reader = ParquetDataCatalog(str(tmp_path / "c"))
    assert str(reader.query_trade_ticks()[0].price) == "71799.36"


def test_spot_day_of_863403_trades(ingested: tuple[Path, IngestResult]) -> None:
    _, result = ingested
    day = result.manifest.partitions["spot/aggTrades/BTCUSDT/2024-01-01"]
    assert day.files[0].rows == 863_403
    assert day.stats is not None
    assert (day.stats.one_id_holes, day.stats.missing_ids) == (0, 0)
    report = next(f.report for p, f in result.manifest.files.items() if "Trades-2024-01-01" in p)
    assert report.inversions == 0
    files = {f.report.time_unit for p, f in result.manifest.files.items() if "aggTrades" in p}
    assert files == {"ms", "us"}


def rebuilt_klines(path: Path) -> list[list[str]]:
    """Klines of a day from its spot aggTrades, in whole units of 1e-8, one row after another."""
    unit = 10**8
    bars: dict[int, list[int]] = {}
    with zipfile.ZipFile(path) as archive:
        text = archive.read(archive.namelist()[0]).decode()
    for line in text.splitlines():
        _, price_text, size_text, first, last, time, is_buyer_maker, _ = line.split(",")
        price, size = (int(t.replace(".", "")) for t in (price_text, size_text))
        fills = int(last) - int(first) + 1
        bought = 0 if is_buyer_maker == "True" else size
        bar = bars.setdefault(int(time) // 60_000, [price, price, price, price, 0, 0, 0, 0, 0])
        bar[1], bar[2], bar[3] = max(bar[1], price), min(bar[2], price), price
        for at, amount in ((4, size), (5, price * size), (6, fills), (7, bought)):
            bar[at] += amount
        bar[8] += price * bought

    def shown(value: int) -> str:
        return f"{value // unit}.{value % unit:08}"

    return [
        [str(m * 60_000), *map(shown, b[:5]), str(m * 60_000 + 59_999), shown(b[5] // unit), str(b[6]),
         shown(b[7]), shown(b[8] // unit), "0"]
        for m, b in sorted(bars.items())
    ]  # fmt: skip


def test_klines_rebuilt_from_the_spot_day_agree_and_wrong_ones_are_found(
    real_data: Path, tmp_path: Path
) -> None:
    klines = rebuilt_klines(
        real_data / "raw/spot_data/daily/aggTrades/BTCUSDT-aggTrades-2024-01-01.zip"
    )
    assert len(klines) == 1_440
    # The day as every chart of it shows it.
    assert (klines[0][1], klines[-1][4]) == ("42283.58000000", "44179.55000000")
    assert sum(int(k[8]) for k in klines) > 863_403  # trades, of which aggTrades join some
    folder = tmp_path / "raw/spot_data/daily/klines"
    folder.mkdir(parents=True)

    def check() -> BarCheck:
        text = "\n".join(",".join(k) for k in klines) + "\n"
        (folder / "BTCUSDT-1m-2024-01-01.csv").write_text(text, "utf-8")
        roots = [str(real_data / "raw"), str(tmp_path / "raw")]
        config = load_config(
            None, raw_roots=roots, catalog_path=str(tmp_path / "c"), universe="spot",
            start="2024-01-01", end="2024-01-02",
        )  # fmt: skip
        result = ingest(config)
        assert result.failed == {}
        bars = result.manifest.crosschecks["spot/BTCUSDT/2024-01-01"].bars
        assert bars is not None
        return bars

    found = check()
    assert (found.minutes, found.differing, found.missing) == (1_440, 0, 0)
    # A difference in the last decimal that is kept of each field, and a minute left out.
    planted = {
        "open": (1, "0.01"), "high": (2, "0.01"), "low": (3, "-0.01"), "close": (4, "0.01"),
        "volume": (5, "0.00001"), "count": (8, "1"), "taker_buy_volume": (9, "0.00001"),
    }  # fmt: skip
    for minute, (place, step) in enumerate(planted.values(), start=100):
        klines[minute][place] = str(Decimal(klines[minute][place]) + Decimal(step))
    # High and low must still enclose open and close.
    for minute in (100, 103):
        klines[minute][2] = str(max(Decimal(v) for v in klines[minute][1:5]))
    del klines[500]
    found = check()
    assert (found.minutes, found.missing) == (1_439, 1)
    assert found.differing == len(planted)
    assert set(found.fields) == set(planted)


def test_the_age_of_the_quote_before_each_trade(
    ingested: tuple[Path, IngestResult], real_data: Path
) -> None:
    """Held against a search in the text, for each day of the recordings."""
    _, result = ingested
    folder = real_data / "raw/futures/daily"
    quotes = sorted(
        int(row[6]) for path in (folder / "bookTicker").iterdir() for row in rows_of(path)
    )
    checked = 0
    for path in sorted((folder / "trades").iterdir()):
        day = path.stem.partition("trades-")[2]
        check = result.manifest.crosschecks[f"futures/BTCUSDT/{day}"].quotes
        assert check is not None
        ages = []
        for row in rows_of(path):
            place = bisect.bisect_right(quotes, int(row[4])) - 1
            before = quotes[place] if place >= 0 else None
            ages.append(None if before is None else int(row[4]) - before)
        near = [age for age in ages if age is not None and age < 86_400_000]
        assert check.trades == len(ages)
        assert check.stale == sum(age is None or age > 60_000 for age in ages)
        assert check.oldest_ns == max(near) * 1_000_000
        checked += check.trades
    assert checked > 10_000
