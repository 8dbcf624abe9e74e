"""One run after another: nothing to do, restated, changed and removed sources, changed options; and
the same bytes whatever the order, the number of workers or the way the rows are split into files."""

from __future__ import annotations

import os
import shutil
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from phoenix_etl import manifest as manifests
from phoenix_etl import scheduler
from phoenix_etl.config import load_config
from phoenix_etl.coverage import coverage_of
from phoenix_etl.errors import CatalogError, NothingFoundError, UsageError
from phoenix_etl.pipeline import ingest
from phoenix_etl.verify import verify
from phoenix_etl.worker_pool import WorkerPool
from phoenix_schemas.timestamps import parse_utc

from .conftest import Catalog, Dumps

T0 = 1_704_067_200_000  # 2024-01-01T00:00:00Z in ms
DAY = 86_400_000
BARS = "BTCUSDT-PERP.BINANCE-1-MINUTE-LAST-EXTERNAL"


def trade(number: int, at: int, price: str = "42000.1", size: str = "0.5") -> str:
    return f"{number},{price},{size},{number},{number},{at},true"


def quote(number: int, at: int, bid: str = "42000.1") -> str:
    return f"{number},{bid},1,42000.9,2,{at},{at}"


def kline(minute: int, close: str = "42000.1", start: int = T0) -> str:
    at = start + minute * 60_000
    return f"{at},42000.1,42010,41990,{close},1,{at + 59_999},42000.1,7,0.5,21000,0"


def days_of(catalog: Catalog) -> list[str]:
    return [str(t["trade_id"]) for t in catalog.rows("TradeTick")]


@pytest.fixture
def three_days(dumps: Dumps) -> Dumps:
    for n in range(3):
        at = T0 + n * DAY
        dumps.add("aggTrades", f"2024-01-0{n + 1}", [trade(10 * n, at), trade(10 * n + 1, at + 5)])
    return dumps


def test_a_second_run_does_nothing_and_says_so(three_days, catalog) -> None:
    three_days.add("klines", "2024-01-01", [kline(0), "nonsense", *(kline(n) for n in range(1, 9))])
    first = catalog.ingest()
    before = {path: path.stat().st_mtime_ns for path in catalog.root.rglob("*") if path.is_file()}
    again = catalog.ingest()
    assert not first.nothing_to_do
    assert again.nothing_to_do
    assert (again.files_known, again.files_read) == (4, 0)
    assert again.manifest == first.manifest
    after = {path: path.stat().st_mtime_ns for path in catalog.root.rglob("*") if path.is_file()}
    hidden = catalog.root / ".phoenix"
    assert {p: t for p, t in after.items() if hidden not in p.parents} == {
        p: t for p, t in before.items() if hidden not in p.parents
    }


def test_a_file_that_was_only_touched_is_hashed_and_known(three_days, catalog) -> None:
    first = catalog.ingest()
    path = three_days.root / "futures/daily/aggTrades/BTCUSDT-aggTrades-2024-01-02.csv"
    os.utime(path, ns=(1, 1))
    assert catalog.ingest().nothing_to_do
    assert catalog.ingest(rehash=True).nothing_to_do
    assert catalog.ingest().manifest.catalog_digest == first.manifest.catalog_digest


def test_changed_bytes_of_the_same_stat_are_found_by_rehash(three_days, catalog) -> None:
    path = three_days.root / "futures/daily/aggTrades/BTCUSDT-aggTrades-2024-01-02.csv"
    catalog.ingest()
    stat = path.stat()
    with path.open("r+b") as stream:  # in place: same size, inode and (set back) time
        stream.write(path.read_bytes().replace(b"42000.1", b"42000.2"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert catalog.ingest().nothing_to_do
    assert len(catalog.ingest(rehash=True).restated) == 1


def test_new_files_are_added_and_the_others_left_alone(three_days, catalog, another) -> None:
    late = three_days.root / "futures/daily/aggTrades/BTCUSDT-aggTrades-2024-01-03.csv"
    kept = late.read_bytes()
    late.unlink()
    catalog.ingest()
    late.write_bytes(kept)
    result = catalog.ingest()
    assert (result.files_read, result.partitions_built) == (1, 1)
    another.ingest()
    assert catalog.tree() == another.tree()


def test_a_restated_source_is_named_and_its_day_rebuilt(three_days, catalog, another) -> None:
    path = three_days.root / "futures/daily/aggTrades/BTCUSDT-aggTrades-2024-01-02.csv"
    before = catalog.ingest()
    path.write_bytes(path.read_bytes().replace(b"42000.1", b"43000.1"))
    after = catalog.ingest()
    assert after.restated == ("futures/daily/aggTrades/BTCUSDT-aggTrades-2024-01-02.csv",)
    assert (after.files_read, after.partitions_built) == (1, 1)
    assert after.manifest.catalog_digest != before.manifest.catalog_digest
    another.ingest()
    assert catalog.tree() == another.tree()


def test_rows_that_a_new_version_lacks_are_gone_and_their_day_with_them(
    dumps, catalog, another
) -> None:
    path = dumps.add("bookTicker", "2024-01-01", [quote(1, T0), quote(2, T0 + DAY + 3)])
    catalog.ingest()
    assert len(catalog.rows("QuoteTick")) == 2
    dumps.add("bookTicker", "2024-01-01", [quote(1, T0)])
    result = catalog.ingest()
    assert (result.restated, result.partitions_removed) == ((path,), 1)
    assert len(catalog.rows("QuoteTick")) == 1
    another.ingest()
    assert catalog.tree() == another.tree()


def test_a_day_of_two_files_is_rebuilt_when_one_of_them_changes(dumps, catalog, another) -> None:
    dumps.add("bookTicker", "2024-01-01", [quote(1, T0), quote(2, T0 + DAY + 3)])
    dumps.add("bookTicker", "2024-01-02", [quote(3, T0 + DAY + 2), quote(4, T0 + DAY + 9)])
    catalog.ingest()
    dumps.add("bookTicker", "2024-01-02", [quote(3, T0 + DAY + 2), quote(5, T0 + DAY + 8)])
    catalog.ingest()
    another.ingest()
    assert [t["ts_event"] // 1_000_000 - T0 for t in catalog.rows("QuoteTick")] == [
        0, DAY + 2, DAY + 3, DAY + 8,
    ]  # fmt: skip
    assert catalog.tree() == another.tree()


@pytest.mark.parametrize("change", [
    {"quote_clock": "transaction_time"},
    {"trade_source": "trades"},
    {"instrument_specs_path": "specs.yaml"},
])  # fmt: skip
def test_changed_options_give_what_a_fresh_catalog_has(
    three_days, catalog, another, tmp_path: Path, change: dict[str, str]
) -> None:
    three_days.add("bookTicker", "2024-01-01", [f"1,42000.1,1,42000.9,2,{T0 + 1},{T0 + 9}"])
    three_days.add("trades", "2024-01-01", [f"1,42000.1,2,84000.2,{T0},true"])
    if "instrument_specs_path" in change:
        from phoenix_schemas.instruments import default_specs_text

        specs = tmp_path / "specs.yaml"
        text = default_specs_text().replace("price_precision: 2", "price_precision: 3", 1)
        specs.write_text(text)
        change = {"instrument_specs_path": str(specs)}
    catalog.ingest()
    catalog.ingest(**change)
    another.ingest(**change)
    assert catalog.data() == another.data()
    assert catalog.verify().problems == []


def test_strictness_is_asked_again_of_known_files(dumps, catalog) -> None:
    rows = [trade(n, T0 + n) for n in range(40)]
    path = dumps.add("aggTrades", "2024-01-01", [*rows, "nonsense"])
    first = catalog.ingest()
    assert not first.failed
    strict = catalog.ingest(strict=True)
    assert strict.failed[path].startswith(
        f"{path}:42: must have 7 columns (has 1); strict allows no"
    )
    # What an earlier run took stays until the file can be read as asked.
    assert len(catalog.rows("TradeTick")) == 40
    assert "NOT COMPLETE" in catalog.report()
    assert not catalog.ingest().failed
    assert "NOT COMPLETE" not in catalog.report()


@pytest.mark.parametrize(("bad", "accepted"), [(1, True), (4, True), (5, False)])
def test_a_small_file_may_lose_a_tenth_of_its_rows(
    dumps, catalog, bad: int, accepted: bool
) -> None:
    rows = [trade(n, T0 + n) for n in range(40 - bad)]
    path = dumps.add("aggTrades", "2024-01-01", [*rows, *["nonsense"] * bad])
    result = catalog.ingest()
    assert (path not in result.failed) == accepted
    if accepted:
        assert catalog.ingest().nothing_to_do
    else:
        assert (
            f"{bad} of 40 rows are bad ({bad / 40:.2%}), more than max_reject_share"
            in (result.failed[path])
        )
        assert catalog.data().keys() == {
            n for n in catalog.data() if "crypto_perpetual" in n
        }  # nothing of it was written


def test_a_file_that_became_unreadable_takes_nothing_away(three_days, catalog) -> None:
    path = three_days.root / "futures/daily/aggTrades/BTCUSDT-aggTrades-2024-01-02.csv"
    good = path.read_bytes()
    before = catalog.ingest()
    data = catalog.data()
    path.write_bytes(b"<html>404</html>\n")
    result = catalog.ingest()
    assert list(result.failed) == ["futures/daily/aggTrades/BTCUSDT-aggTrades-2024-01-02.csv"]
    assert catalog.data() == data
    path.write_bytes(good)
    after = catalog.ingest()
    assert not after.failed
    assert after.manifest.catalog_digest == before.manifest.catalog_digest


def test_a_bad_file_that_was_deleted_is_no_longer_held_against_the_catalog(
    three_days, catalog
) -> None:
    path = three_days.put("futures/daily/aggTrades/BTCUSDT-aggTrades-2024-01-09.csv", "x\n")
    assert catalog.ingest().failed
    (three_days.root / path).unlink()
    catalog.ingest()
    assert "unreadable" not in catalog.report().split("## Ledger")[0]


def test_sources_may_be_deleted_after_the_ingest(three_days, catalog) -> None:
    (three_days.root / "futures/daily/aggTrades/BTCUSDT-aggTrades-2024-01-01.csv").unlink()
    three_days.add("aggTrades", "2024-01-01", [trade(0, T0)])
    catalog.ingest()
    data = catalog.data()
    for path in three_days.root.rglob("*-01.csv"):
        path.unlink()
    three_days.add("aggTrades", "2024-01-04", [trade(40, T0 + 3 * DAY)])
    assert not catalog.ingest().failed
    assert data.items() <= catalog.data().items()


def test_a_later_range_adds_to_the_earlier_one(three_days, catalog, another) -> None:
    catalog.ingest(start="2024-01-01", end="2024-01-02")
    assert days_of(catalog) == ["0", "1"]
    catalog.ingest(start="2024-01-02", end="2024-01-02T00:00:00.005Z")
    assert days_of(catalog) == ["0", "1", "10"]
    assert catalog.verify().problems == []
    catalog.ingest(start="2024-01-02", end="2024-01-04")
    another.ingest()
    assert days_of(catalog) == days_of(another)
    assert catalog.data() == another.data()
    assert catalog.ingest(start="2024-01-02", end="2024-01-03").nothing_to_do
    assert catalog.verify().problems == []


def test_two_sources_of_trades_in_separate_runs_never_double_the_volume(
    dumps, catalog, tmp_path: Path
) -> None:
    dumps.add("aggTrades", "2024-01-01", [trade(1, T0, size="5")])
    dumps.add(
        "trades", "2024-01-01", [f"1,42000.1,2,84000.2,{T0},true", f"2,42000.1,3,1,{T0},true"]
    )
    catalog.ingest(datasets=["trades"], trade_source="trades")
    assert sum(catalog.table("TradeTick").column("size").to_pylist()) == 5
    held = catalog.ingest(datasets=["aggTrades"])  # the day is there already, from trades
    assert sum(catalog.table("TradeTick").column("size").to_pylist()) == 5
    assert held.manifest.datasets["futures/aggTrades"].superseded == 1
    assert catalog.verify().problems == []
    catalog.ingest()  # both are asked for: aggTrades is the configured source
    assert [t["size"] for t in catalog.rows("TradeTick")] == [5]
    assert catalog.verify().problems == []
    (trades,) = (c for c in coverage_of(catalog.ingest().manifest) if c.dataset == "futures/trades")
    assert (len(trades.replaced), trades.empty) == (1, ())


def test_an_archive_unpacked_later_is_the_same_file(dumps, catalog, another) -> None:
    packed = dumps.add("aggTrades", "2024-01-01", [trade(1, T0), "bad", *(
        trade(n, T0 + n) for n in range(2, 12)
    )], ending="zip")  # fmt: skip
    before = catalog.ingest()
    data = catalog.data()
    text = "".join(
        f"{line}\n" for line in [trade(1, T0), "bad", *(trade(n, T0 + n) for n in range(2, 12))]
    )
    dumps.put(packed.replace(".zip", ".csv"), text)
    (dumps.root / packed).unlink()
    after = catalog.ingest()
    assert catalog.data() == data
    assert after.manifest.catalog_digest == before.manifest.catalog_digest
    assert list(after.manifest.files) == [packed.replace(".zip", ".csv")]
    another.ingest()
    assert catalog.tree() == another.tree()  # the rejects file of the ZIP is gone, too


def test_a_daily_file_that_comes_later_takes_over_its_day(dumps, catalog, another) -> None:
    dumps.add("klines", "2024-01", [kline(0, "42001"), kline(0, "42002", T0 + DAY)])
    catalog.ingest()
    dumps.add("klines", "2024-01-02", [kline(0, "42003", T0 + DAY)])
    catalog.ingest()
    assert [bar["close"] for bar in catalog.rows("Bar", BARS)] == [42001, 42003]
    another.ingest()
    assert catalog.tree() == another.tree()


def test_a_catalog_file_that_was_deleted_is_built_anew(three_days, catalog) -> None:
    catalog.ingest()
    tree = catalog.tree()
    victim = next((catalog.root / "data/trades").rglob("*.parquet"))
    victim.unlink()
    result = catalog.ingest()
    assert (result.files_read, result.partitions_built) == (0, 1)
    assert catalog.tree() == tree


def test_a_day_that_cannot_be_rebuilt_without_its_source_says_which(dumps, catalog) -> None:
    gone = dumps.add("bookTicker", "2024-01-01", [quote(1, T0), quote(2, T0 + DAY + 3)])
    dumps.add("bookTicker", "2024-01-02", [quote(3, T0 + DAY + 9)])
    catalog.ingest()
    tree = catalog.tree()
    (dumps.root / gone).unlink()
    dumps.add("bookTicker", "2024-01-02", [quote(4, T0 + DAY + 9)])
    with pytest.raises(
        CatalogError, match=rf"{gone}: needed to rebuild futures/bookTicker/BTCUSDT"
    ):
        catalog.ingest()
    assert catalog.tree() == tree


def test_a_source_that_changes_during_the_run_is_noticed(dumps, catalog, monkeypatch) -> None:
    first = dumps.add("bookTicker", "2024-01-01", [quote(1, T0), quote(2, T0 + DAY + 3)])
    dumps.add("bookTicker", "2024-01-02", [quote(3, T0 + DAY + 9)])
    catalog.ingest()
    tree = catalog.tree()
    dumps.add("bookTicker", "2024-01-02", [quote(4, T0 + DAY + 9)])
    real = scheduler.read_source

    def read_source(source: Any, *args: Any, **kwargs: Any) -> Any:
        if source.path == first:  # known, and read again for the day it shares
            dumps.add("bookTicker", "2024-01-01", [quote(1, T0), quote(9, T0 + DAY + 3)])
        return real(source, *args, **kwargs)

    monkeypatch.setattr(scheduler, "read_source", read_source)
    result = catalog.ingest()
    assert "changed while it was ingested; run the same command again" in result.failed[first]
    assert catalog.data() == {n: s for n, s in tree.items() if n.startswith("data/")}
    monkeypatch.undo()
    assert catalog.ingest().restated == (first,)
    assert [q["ts_event"] for q in catalog.rows("QuoteTick")][1:] == [
        (T0 + DAY + 3) * 1_000_000, (T0 + DAY + 9) * 1_000_000,
    ]  # fmt: skip
    assert catalog.verify().problems == []


def test_nothing_that_matches_is_said_with_what_is_there(three_days, catalog) -> None:
    with pytest.raises(
        NothingFoundError, match=r"symbols ETHUSDT; futures files there: BTCUSDT agg"
    ):
        catalog.ingest(symbols=["ETHUSDT"])
    with pytest.raises(
        NothingFoundError, match=r"2025-01-01 to the end; .* 2024-01-01 to 2024-01-03"
    ):
        catalog.ingest(start="2025-01-01")
    assert not catalog.root.exists()


def test_workers_and_their_order_change_no_byte(dumps, catalog, another, monkeypatch) -> None:
    for n in range(6):
        at = T0 + n * DAY
        dumps.add("aggTrades", f"2024-01-0{n + 1}", [trade(n, at), trade(n, at + 5, "1.1")])
        dumps.add(
            "bookTicker", f"2024-01-0{n + 1}", [quote(n, at + DAY - 1), quote(n, at + DAY + 1)]
        )
    dumps.add("klines", "2024-01", [kline(0, start=T0 + n * DAY) for n in range(30)])
    dumps.put("futures/daily/aggTrades/BTCUSDT-aggTrades-2024-01-09.csv", "bad\n")
    catalog.ingest(ingest_workers=1)
    monkeypatch.setattr(scheduler, "_INLINE_BYTES", 0)
    result = another.ingest(ingest_workers=2)
    assert len(result.failed) == 1
    assert catalog.tree() == another.tree()


@st.composite
def split_rows(draw: st.DrawFn) -> list[list[str]]:
    """Rows of three days, shuffled, some twice, some with another content, in two files each."""
    rows: list[tuple[int, str]] = []
    for number in range(draw(st.integers(1, 12))):
        at = T0 + draw(st.integers(0, 2)) * DAY + draw(st.sampled_from([0, 0, 1, 7, DAY - 1]))
        bids = draw(st.lists(st.sampled_from(["1.1", "1.10", "2.2"]), min_size=1, max_size=3))
        rows += [(at, quote(number // 2, at, bid)) for bid in bids]
    files: list[list[str]] = [[], [], []]
    for at, row in draw(st.permutations(rows)):
        # A file takes rows up to a day off its own: any of two files may hold a row.
        day = (at - T0) // DAY
        files[draw(st.sampled_from([d for d in (day - 1, day, day + 1) if 0 <= d <= 2]))].append(
            row
        )
    for day, file in enumerate(files):  # and one of its own at least
        file.append(quote(100 + day, T0 + day * DAY + 9))
    return files


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(split_rows(), st.lists(st.sampled_from(["csv", "zip"]), min_size=4, max_size=4))
def test_order_duplicates_conflicts_and_splits_change_no_byte(
    tmp_path: Path, files: list[list[str]], endings: list[str]
) -> None:
    """Against one sorted monthly file of the same rows."""
    folder = tmp_path / "property"
    shutil.rmtree(folder, ignore_errors=True)
    split, whole = Dumps(folder / "split"), Dumps(folder / "whole")
    for n, rows in enumerate(files):
        split.add("bookTicker", f"2024-01-0{n + 1}", rows, ending=endings[n])
    rows = sorted(row for rows in files for row in rows)
    whole.add("bookTicker", "2024-01", rows, ending=endings[3])
    catalogs = [Catalog(folder / "a", split.root), Catalog(folder / "b", whole.root)]
    ledgers = [c.ingest().manifest.datasets["futures/bookTicker"] for c in catalogs]
    assert catalogs[0].data() == catalogs[1].data()
    assert ledgers[0].events == ledgers[1].events
    assert (
        ledgers[0].duplicates + ledgers[0].conflicts == ledgers[1].duplicates + ledgers[1].conflicts
    )
    for ledger in ledgers:
        assert ledger.rows_read == ledger.events + ledger.duplicates + ledger.conflicts
    assert catalogs[0].verify().problems == []


def test_on_a_conflict_the_smallest_content_is_kept(dumps, catalog) -> None:
    rows = [trade(1, T0, "42000.3"), trade(1, T0, "42000.1"), trade(1, T0, "42000.2"),
            trade(1, T0, "42000.1"), trade(1, T0, "42000.3")]  # fmt: skip
    path = dumps.add("aggTrades", "2024-01-01", rows)
    result = catalog.ingest()
    assert [str(t["price"].normalize()) for t in catalog.rows("TradeTick")] == ["42000.1"]
    counts = result.manifest.partitions["futures/aggTrades/BTCUSDT/2024-01-01"].inputs[path].counts
    assert (counts.written, counts.duplicates, counts.conflicts) == (1, 1, 3)
    listed = catalog.rejects("futures/aggTrades/BTCUSDT-2024-01-01-conflicts.csv")
    assert [int(line.split(",")[1]) for line in listed] == [2, 4, 6]
    assert all(f"kept the row of {path} line 3" in line for line in listed)
    assert all(rows[int(line.split(",")[1]) - 2] in line for line in listed)
    assert catalog.verify().problems == []


@pytest.mark.parametrize("dataset", ["bookTicker", "aggTrades"])
def test_a_small_memory_budget_changes_no_byte(
    dumps, catalog, another, monkeypatch, dataset: str
) -> None:
    from phoenix_etl import spilled_rows

    # Out of order, with duplicates (every tenth), conflicts (every 50th) and keys at two times.
    times = [T0 + (n * 7919) % 500 for n in range(500)]
    row = {"bookTicker": quote, "aggTrades": trade}[dataset]
    rows = [row(n, t) for n, t in enumerate(times)]
    rows += rows[::10] + [row(n, times[n], "70000") for n in range(0, 500, 50)]
    rows += [row(n, times[n] + 1000) for n in range(3, 500, 100)]
    dumps.add(dataset, "2024-01-01", rows)
    whole = catalog.ingest()
    made: list[int] = []
    lexsort = np.lexsort

    def counted(keys: Any) -> np.ndarray:
        made.append(len(keys[0]))
        return lexsort(keys)

    monkeypatch.setattr(spilled_rows, "MIN_SLICE_ROWS", 40)
    monkeypatch.setattr(np, "lexsort", counted)
    sliced = another.ingest(memory_budget="0.001 MiB")
    assert len(made) > 10
    assert max(made) < 200
    assert catalog.data() == another.data()
    [one], [other] = whole.manifest.partitions.values(), sliced.manifest.partitions.values()
    assert one == other
    [counts] = [i.counts for i in one.inputs.values()]
    expected = {"bookTicker": (50, 10), "aggTrades": (50, 15)}[dataset]
    assert (counts.duplicates, counts.conflicts) == expected


@pytest.mark.parametrize("split", [False, True])
def test_an_identifier_that_comes_again_later_is_a_conflict(dumps, catalog, split: bool) -> None:
    """Rows in order of time, so nothing needs sorting; the key is the identifier alone."""
    rows = [trade(1, T0), trade(2, T0 + 5), trade(1, T0 + 9)]
    dumps.add("aggTrades", "2024-01-01", rows[: 2 if split else 3])
    if split:  # the same day's last row, in the next day's file
        dumps.add("aggTrades", "2024-01-02", [rows[2], trade(3, T0 + DAY)])
    result = catalog.ingest()
    shares = result.manifest.partitions["futures/aggTrades/BTCUSDT/2024-01-01"].inputs.values()
    assert sum(s.counts.conflicts for s in shares) == 1
    assert sum(s.counts.written for s in shares) == 2


def test_tables_hold_whole_moments() -> None:
    from phoenix_etl.spilled_rows import MIN_SLICE_ROWS, _whole_moments

    rng = np.random.default_rng(3)
    ts = np.sort(rng.integers(0, MIN_SLICE_ROWS // 3, 4 * MIN_SLICE_ROWS))
    batches = pa.table({"ts_event": ts}).to_batches(max_chunksize=9_973)
    tables = list(_whole_moments(iter(batches)))
    assert len(tables) > 2
    assert np.array_equal(np.concatenate([t.column(0).to_numpy() for t in tables]), ts)
    edges = [(t.column(0)[0].as_py(), t.column(0)[-1].as_py()) for t in tables]
    assert all(before[1] < after[0] for before, after in pairwise(edges))
    one_moment = pa.table({"ts_event": np.zeros(3 * MIN_SLICE_ROWS, np.int64)})
    assert len(list(_whole_moments(iter(one_moment.to_batches(max_chunksize=10_000))))) == 1


def test_both_markets_share_a_catalog(dumps, catalog) -> None:
    dumps.add("aggTrades", "2024-01-01", [trade(1, T0)])
    dumps.add("aggTrades", "2024-01-01", [f"{trade(1, T0)},True"], market="spot")
    catalog.ingest()
    result = catalog.ingest(universe="spot")
    assert set(result.manifest.datasets) == {"futures/aggTrades", "spot/aggTrades"}
    assert len(catalog.rows("TradeTick")) == 1
    assert len(catalog.rows("TradeTick", "BTCUSDT.BINANCE")) == 1
    assert catalog.ingest().nothing_to_do
    assert catalog.verify().problems == []


def test_the_manifest_and_report_may_lie_elsewhere(dumps, catalog, tmp_path: Path) -> None:
    dumps.add("aggTrades", "2024-01-01", [trade(1, T0)])
    places = {
        "manifest_path": str(tmp_path / "m" / "manifest.json"),
        "validation_report_path": str(tmp_path / "m" / "report.md"),
    }
    catalog.ingest(**places)
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["manifest.json", "report.md"]
    assert not (catalog.root / "manifest.json").exists()
    assert catalog.ingest(**places).nothing_to_do


def test_the_digest_names_the_data_and_nothing_of_this_machine(dumps, tmp_path: Path) -> None:
    dumps.add("aggTrades", "2024-01-01", [trade(1, T0)])
    moved = tmp_path / "moved" / "raw"
    shutil.copytree(dumps.root, moved)
    os.utime(next(moved.rglob("*.csv")), ns=(parse_utc("2020-01-01"),) * 2)
    one = Catalog(tmp_path / "one", dumps.root).ingest().manifest
    two = Catalog(tmp_path / "two", moved).ingest().manifest
    assert one.catalog_digest == two.catalog_digest
    assert one.raw_roots != two.raw_roots


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no signal masks there")
def test_ctrl_c_is_for_the_coordinator_from_a_workers_first_moment() -> None:
    with WorkerPool(1) as pool:
        blocked = pool.submit(signal.pthread_sigmask, signal.SIG_BLOCK, []).result(timeout=60)
    assert signal.SIGINT in blocked
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_python_may_name_folders_by_path_or_text_and_is_told_what_is_neither(
    three_days, catalog
) -> None:
    roots = [catalog.raw]
    config = load_config(None, raw_roots=roots, catalog_path=catalog.root, ingest_workers=1)
    assert ingest(config).manifest == manifests.load(str(catalog.root / "manifest.json"))
    assert verify(str(catalog.root), [str(root) for root in roots]).problems == []
    with pytest.raises(
        UsageError, match=r"must be a list of folders \(was 'raw'\); write \['raw'\]"
    ):
        verify(catalog.root, "raw")
    with pytest.raises(
        UsageError, match=r"must be an EtlConfig \(was dict\); make it with load_config"
    ):
        ingest({"raw_roots": roots})
