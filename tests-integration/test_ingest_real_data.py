"""The main job on real input: Binance's own files, CSV and ZIP mixed, into one catalog, and proven."""

from __future__ import annotations

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
from phoenix_etl.pipeline import IngestResult, ingest
from phoenix_etl.verify import verify

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module")
def ingested(
    real_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, IngestResult]:
    catalog = tmp_path_factory.mktemp("real") / "catalog"
    config = load_config(
        None,
        raw_roots=[str(real_data / "raw")],
        catalog_path=str(catalog),
        datasets=["bookTicker", "trades", "aggTrades", "bookDepth", "metrics", "fundingRate"],
    )
    result = ingest(config)
    assert result.failed == {}
    for symbol in ("AVAXUSDT", "NEARUSDT"):
        klines = {"symbols": [symbol], "datasets": ["klines"]}
        result = ingest(
            load_config(
                None, raw_roots=[str(real_data / "raw")], catalog_path=str(catalog), **klines
            )
        )
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
    catalog, result = ingested
    totals = result.manifest.datasets
    assert totals["futures/bookDepth"].events == 28_800
    assert totals["futures/fundingRate"].events == 90
    assert totals["futures/klines"].events == 43_200 + 43_200 + 41_760
    for t in totals.values():
        assert t.rows_read == t.events
    near = [p.stats for p in result.manifest.partitions.values() if p.symbol == "NEARUSDT"]
    assert sum(s.zero_volume_bars for s in near if s) == 144
    assert sum(s.gap_count for s in near if s) == 0
    crossed = [p.stats.crossed_quotes for p in result.manifest.partitions.values() if p.stats]
    assert sum(crossed) == 0
    assert verify(catalog).problems == []


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
    ingested: tuple[Path, IngestResult], real_data: Path, tmp_path: Path
) -> None:
    catalog = tmp_path / "catalog"
    config = load_config(
        None,
        raw_roots=[str(real_data / "raw")],
        catalog_path=str(catalog),
        datasets=["bookTicker", "trades", "metrics", "fundingRate"],
    )
    result = ingest(config)
    checked = verify(catalog, [real_data / "raw"])
    assert checked.problems == []
    assert checked.source_rows == result.rows_read


def test_spot_day_of_863403_trades(real_data: Path, tmp_path: Path) -> None:
    config = load_config(
        None, raw_roots=[str(real_data / "raw")], catalog_path=str(tmp_path / "c"), universe="spot"
    )
    result = ingest(config)
    assert result.failed == {}
    day = result.manifest.partitions["spot/aggTrades/BTCUSDT/2024-01-01"]
    assert day.files[0].rows == 863_403
    assert day.stats is not None
    assert (day.stats.one_id_holes, day.stats.missing_ids) == (0, 0)
    files = {f.report.time_unit for p, f in result.manifest.files.items() if "aggTrades" in p}
    assert files == {"ms", "us"}
