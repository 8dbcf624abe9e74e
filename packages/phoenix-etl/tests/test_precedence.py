"""Which file of several counts for a day: only one that reads well and holds rows of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from phoenix_etl import scheduler
from phoenix_etl.coverage import Coverage, coverage_of
from phoenix_etl.manifest import Manifest

from .conftest import Catalog, Dumps

T0 = 1_704_067_200_000  # 2024-01-01T00:00:00Z in ms
DAY = 86_400_000


def agg(number: int, at: int, size: str = "0.5") -> str:
    return f"{number},42000.1,{size},{number},{number},{at},true"


def tick(number: int, at: int) -> str:
    return f"{number},42000.1,2,84000.2,{at},true"


def kline(at: int, close: str) -> str:
    return f"{at},42000.1,42010,41990,{close},1,{at + 59_999},42000.1,7,0.5,21000,0"


def ids(catalog: Catalog) -> list[str]:
    return [str(t["trade_id"]) for t in catalog.rows("TradeTick")]


def coverage(manifest: Manifest, dataset: str) -> Coverage:
    (found,) = (c for c in coverage_of(manifest) if c.dataset == f"futures/{dataset}")
    return found


def balances(manifest: Manifest) -> bool:
    return all(
        t.rows_read
        == t.events + t.duplicates + t.conflicts + t.rejected + t.out_of_range + t.superseded
        for t in manifest.datasets.values()
    )


BAD = {
    "garbage": ("zip", b"PK\x03\x04 truncated"),
    "no CSV": ("csv", b"<html>404</html>\n"),
    "too many bad rows": ("csv", b"1,2\n3,4\n"),
}


@pytest.mark.parametrize("bad", sorted(BAD))
@pytest.mark.parametrize("is_committed", [True, False])
def test_a_broken_daily_file_takes_no_day_from_the_month(
    dumps: Dumps, catalog: Catalog, another: Catalog, bad: str, is_committed: bool
) -> None:
    dumps.add("aggTrades", "2024-01", [agg(1, T0), agg(2, T0 + 5), agg(3, T0 + DAY)])
    if is_committed:
        catalog.ingest()
    ending, content = BAD[bad]
    path = dumps.put(f"futures/daily/aggTrades/BTCUSDT-aggTrades-2024-01-01.{ending}", content)
    result = catalog.ingest()
    assert list(result.failed) == [path]
    assert ids(catalog) == ["1", "2", "3"]
    assert result.manifest.datasets["futures/aggTrades"].superseded == 0
    assert balances(result.manifest)
    assert catalog.ingest().files_read == 0
    assert [p for p in catalog.verify().problems if path not in p] == []
    another.ingest()
    assert catalog.tree() == another.tree()
    # Downloaded again, it counts.
    (dumps.root / path).unlink()
    dumps.add("aggTrades", "2024-01-01", [agg(1, T0, "0.7"), agg(2, T0 + 5)])
    assert not catalog.ingest().failed
    assert [str(t["size"].normalize()) for t in catalog.rows("TradeTick")] == ["0.7", "0.5", "0.5"]
    assert catalog.verify().problems == []


def test_a_broken_aggtrades_file_takes_no_day_from_trades(
    dumps: Dumps, catalog: Catalog, another: Catalog
) -> None:
    dumps.add("trades", "2024-01-01", [tick(1, T0), tick(2, T0 + 5)])
    dumps.add("trades", "2024-01-02", [tick(3, T0 + DAY)])
    before = catalog.ingest().manifest
    path = dumps.put("futures/daily/aggTrades/BTCUSDT-aggTrades-2024-01-01.csv", "x\n")
    result = catalog.ingest()
    assert list(result.failed) == [path]
    assert ids(catalog) == ["1", "2", "3"]
    assert result.manifest.catalog_digest == before.catalog_digest
    another.ingest()
    assert catalog.tree() == another.tree()
    # The day of a good one is taken, the other left.
    dumps.add("aggTrades", "2024-01-01", [agg(7, T0)])
    assert catalog.ingest().manifest.datasets["futures/trades"].superseded == 2
    assert ids(catalog) == ["7", "3"]
    assert catalog.verify().problems == []


@pytest.mark.parametrize("dataset", ["aggTrades", "klines"])
def test_a_daily_file_without_a_row_takes_no_day_from_the_month(
    dumps: Dumps, catalog: Catalog, another: Catalog, dataset: str
) -> None:
    rows = {
        "aggTrades": [agg(1, T0), agg(2, T0 + DAY)],
        "klines": [kline(T0, "42001"), kline(T0 + DAY, "42002")],
    }[dataset]
    dumps.add(dataset, "2024-01", rows)
    data = catalog.ingest().manifest.catalog_digest
    dumps.add(dataset, "2024-01-01", [])
    result = catalog.ingest()
    assert result.manifest.catalog_digest == data
    assert len(result.manifest.partitions) == 2
    assert catalog.ingest().nothing_to_do
    assert catalog.verify().problems == []
    another.ingest()
    assert catalog.tree() == another.tree()


def test_an_empty_month_of_aggtrades_takes_no_day_from_trades(
    dumps: Dumps, catalog: Catalog
) -> None:
    """Nor the days of it that it does not reach."""
    dumps.add("aggTrades", "2024-01", [agg(1, T0)])
    dumps.add("trades", "2024-01-01", [tick(10, T0)])
    dumps.add("trades", "2024-01-02", [tick(20, T0 + DAY)])
    result = catalog.ingest()
    assert ids(catalog) == ["1", "20"]
    assert result.manifest.datasets["futures/trades"].superseded == 1
    assert balances(result.manifest)
    assert catalog.ingest().nothing_to_do
    assert catalog.verify().problems == []


def test_a_daily_file_that_breaks_leaves_its_day_as_it_is_committed(
    dumps: Dumps, catalog: Catalog
) -> None:
    dumps.add("aggTrades", "2024-01", [agg(1, T0), agg(2, T0 + DAY)])
    path = dumps.add("aggTrades", "2024-01-01", [agg(1, T0, "0.7")])
    catalog.ingest()
    data = catalog.data()
    dumps.put(path, "x\n")
    result = catalog.ingest()
    assert list(result.failed) == [path]
    assert catalog.data() == data
    assert balances(result.manifest)


def test_a_range_does_not_let_a_daily_file_take_what_it_leaves_out(
    dumps: Dumps, catalog: Catalog
) -> None:
    dumps.add("aggTrades", "2024-01", [agg(1, T0), agg(2, T0 + DAY - 5), agg(3, T0 + DAY)])
    catalog.ingest()
    dumps.add("aggTrades", "2024-01-01", [agg(1, T0), agg(2, T0 + DAY - 5)])
    catalog.ingest(start="2024-01-02")
    assert ids(catalog) == ["1", "2", "3"]
    catalog.ingest(start="2024-01-01T12:00:00")
    assert ids(catalog) == ["1", "2", "3"]
    assert catalog.verify().problems == []


def test_rows_beyond_a_files_days_are_kept_unless_the_other_source_has_that_day(
    dumps: Dumps, catalog: Catalog, another: Catalog
) -> None:
    """What an aggTrades file has of the next day: trades has that day, or its name alone says so."""
    dumps.add("aggTrades", "2024-01-01", [agg(1, T0), agg(2, T0 + DAY + 1)])
    dumps.add("trades", "2024-01-02", [tick(20, T0 + DAY)])
    catalog.ingest()
    assert ids(catalog) == ["1", "20"]
    dumps.put("futures/daily/trades/BTCUSDT-trades-2024-01-02.csv", "x\n")
    another.ingest()
    assert ids(another) == ["1", "2"]
    assert another.ingest().files_read == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_files_wait_for_those_that_may_replace_them(
    dumps: Dumps, catalog: Catalog, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(scheduler, "_INLINE_BYTES", 0)
    dumps.add("aggTrades", "2024-01", [agg(n, T0 + n * DAY) for n in range(31)])
    for n in (0, 30):
        dumps.add("aggTrades", f"2024-01-{n + 1:02}", [agg(n, T0 + n * DAY, "0.7")])
    dumps.put("futures/daily/aggTrades/BTCUSDT-aggTrades-2024-02-01.csv", "x\n")
    dumps.add("trades", "2024-02", [tick(100, T0 + 31 * DAY), tick(200, T0 + 32 * DAY)])
    dumps.add("trades", "2024-01", [tick(100 + n, T0 + n * DAY) for n in range(31)])
    result = catalog.ingest(ingest_workers=workers)
    assert ids(catalog) == [*map(str, range(31)), "100", "200"]
    assert result.files_read == 5
    totals = result.manifest.datasets
    assert totals["futures/aggTrades"].superseded == 2
    assert totals["futures/trades"].superseded == 31
    assert catalog.ingest().files_read == 0


def test_the_day_of_a_file_that_cannot_be_read_is_unreadable_and_not_empty(
    dumps: Dumps, catalog: Catalog
) -> None:
    dumps.add("aggTrades", "2024-01", [agg(1, T0), agg(3, T0 + 2 * DAY)])
    dumps.put("futures/daily/aggTrades/BTCUSDT-aggTrades-2024-01-01.csv", "x\n")
    dumps.put("futures/daily/aggTrades/BTCUSDT-aggTrades-2024-01-02.csv", "x\n")
    found = coverage(catalog.ingest().manifest, "aggTrades")
    assert [d.day for d in found.unreadable] == [2]
    assert (found.data, len(found.empty)) == (2, 28)


def test_an_unknown_file_is_no_reason_to_read_a_known_one_again(
    dumps: Dumps, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    dumps.add("aggTrades", "2024-01", [agg(1, T0), agg(2, T0 + DAY)])
    catalog.ingest()
    bad = dumps.put("futures/daily/aggTrades/BTCUSDT-aggTrades-2024-01-01.csv", "x\n")
    read: list[str] = []
    real = scheduler.read_source

    def noted(source: Any, *args: Any, **kwargs: Any) -> Any:
        read.append(source.path)
        return real(source, *args, **kwargs)

    monkeypatch.setattr(scheduler, "read_source", noted)
    result = catalog.ingest()
    assert read == [bad]
    assert (result.files_read, result.files_known) == (0, 1)


def test_no_instant_of_a_run_is_without_the_day(
    dumps: Dumps, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every commit of a run that meets a broken daily file has the month's rows."""
    from phoenix_etl import publication

    monkeypatch.setattr(publication, "COMMIT_INTERVAL_S", 0.0)
    dumps.add("aggTrades", "2024-01", [agg(n, T0 + n * DAY) for n in range(5)])
    catalog.ingest()
    dumps.put("futures/daily/aggTrades/BTCUSDT-aggTrades-2024-01-01.csv", "x\n")
    dumps.add("aggTrades", "2024-01-03", [agg(2, T0 + 2 * DAY, "0.7")])
    seen: list[int] = []
    real = publication.CatalogStore.commit

    def commit(self: Any, moves: Any, removals: Any, data: bytes) -> None:
        real(self, moves, removals, data)
        seen.append(len(ids(catalog)))

    monkeypatch.setattr(publication.CatalogStore, "commit", commit)
    catalog.ingest()
    assert set(seen) == {5}
