"""Every known defect of the archive: what the ledger, the report and the rejects file say of it.

`synth --profile defects` plants them and lists in `truth.json` what a correct ingestion comes to.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import filelock
import pytest
from phoenix_etl.coverage import Coverage
from phoenix_etl.synthetic import write_market
from phoenix_etl.validation import validate
from phoenix_schemas.timestamps import NS_PER_MINUTE

from .conftest import Catalog

# kind: parts of one line that the validation report must have of it, with the truth filled in
REPORT: dict[str, list[str]] = {
    "interleaved quotes": ["futures/bookTicker | rows out of order", "{file}"],
    "partial quotes": ["futures/bookTicker | BTCUSDT |", "2024-01-02T11:48:"],
    "hole in quotes": ["futures/bookTicker | BTCUSDT |", "2024-01-03T1"],
    "stopped quotes": ["futures/bookTicker | BTCUSDT |", "2024-01-04T04:59:"],
    "empty quotes": ["futures/bookTicker | BTCUSDT |", "1: 2024-01-06 | 1: 2024-01-07"],
    "missing quotes": ["futures/bookTicker | BTCUSDT |", "1: 2024-01-06 | 1: 2024-01-07"],
    "stray number": ["futures/bookTicker | must have 7 columns (has 1) | 1 | rejected", "{file}"],
    "interleaved trades": ["futures/aggTrades | rows out of order", "{file}"],
    "duplicate trades": ["futures/aggTrades | duplicate rows | 8 | dropped", "{file}"],
    "conflicting trades": ["futures/aggTrades | rows of one key with different content | 3", "{file}"],
    "id holes in trades": ["futures/trades | single identifiers left out | 3 | kept", "2024-01-04"],
    "id holes": ["futures/aggTrades | BTCUSDT |", "{id_before} | {id_after} |"],
    "off-tick price": ["futures/aggTrades | price needs 4 decimals where the catalog keeps 2 | 1"],
    "headerless aggTrades": ["futures/aggTrades | BTCUSDT | 2024-01-01 | 2024-01-09 | 8 |"],
    "headerless trades": ["futures/trades | BTCUSDT | 2024-01-01 | 2024-01-09 | 9 |"],
    "older kline header": ["futures/klines | BTCUSDT | 2024-01-01 | 2024-01-09 | 9 |"],
    "mixed time units": ["- unreadable file: {file}", "times must keep one unit"],
    "spreadsheet times": ["transact_time must be a whole number | 3 | rejected", "{file}"],
    "spot ms": ["spot/aggTrades | BTCUSDT | 2024-12-31 | 2025-01-01 | 2 |"],
    "spot us": ["spot/aggTrades | BTCUSDT | 2024-12-31 | 2025-01-01 | 2 |"],
    "missing minutes": ["futures/klines | BTCUSDT | 1 |", "480.000"],
    "missing mark prices": ["futures/markPriceKlines | BTCUSDT | 1 |", "1260.000"],
    "flat bars": ["futures/klines | bars without a trade", "BTCUSDT 2024-01-03 ({flat_bars:,})"],
    "missing premium day": ["futures/premiumIndexKlines | BTCUSDT |", "0 | 1: 2024-01-04 |"],
    "missing metrics": ["futures/metrics | BTCUSDT |", "2024-01-01T08:20:00Z | 2024-01-01T08:40:00Z"],
    "duplicate metrics": ["futures/metrics | duplicate rows | 2 | dropped", "{file}"],
    "blank metrics": ["futures/metrics | blank cells | 6 | kept as null", "2024-01-03"],
    "bad metrics times": ["futures/metrics | create_time must exist in the calendar | 1", "{file}"],
    "zero open interest": ["futures/metrics | sum_open_interest must be positive | 2", "{file}"],
    "infinite metrics ratio": ["sum_taker_long_short_vol_ratio must be a decimal number | 2", "{file}"],
    "exponent zero": ["futures/metrics | BTCUSDT | 2024-01-01 | 2024-01-09 |"],
    "conflicting metrics": ["futures/metrics | rows of one key with different content | 1", "{file}"],
    "twelve levels": ["futures/bookDepth | BTCUSDT | 2024-01-01 | 2024-01-09 | 9 |"],
    "frozen depth": ["depth snapshots equal to the one before | {repeats:,}", "from 2024-01-02T12:00:"],
    "truncated archive": ["- unreadable file: {file}: not a whole ZIP"],
    "archive without member": ["- unreadable file: {file}: must hold one CSV (holds 0 files)"],
    "archive with two members": ["- unreadable file: {file}: must hold one CSV (holds 2 files)"],
    "wrong checksum": ["- unreadable file: {file}: sha256", "differs from its CHECKSUM file"],
    "right checksum": ["futures/indexPriceKlines | BTCUSDT |", "| 3 | 0 | 0 | 6:"],
    "file of no bytes": ["- unreadable file: {file}: empty, not even a header"],
    "not a CSV": ["- unreadable file: {file}:1: indexPriceKlines must have 12 columns (has 1"],
    "replaced source": ["futures/klines | BTCUSDT |"],
    "misplaced file": ["- not read: {file}: its folder says aggTrades", "its name bookTicker"],
    "unknown file": ["- not read: {file}: not a dump file's name"],
}  # fmt: skip


class Defects:
    """The damaged market, ingested."""

    def __init__(self, folder: Path) -> None:
        self.raw = folder / "raw"
        truth = json.loads((folder / "raw-truth" / "truth.json").read_text("utf-8"))
        self.planted: dict[str, dict[str, Any]] = {d["kind"]: d for d in truth["defects"]}
        self.truth_root = folder / "raw-truth"
        self.main = Catalog(folder / "catalog", self.raw)
        self.fills = Catalog(folder / "fills", self.raw)

    def make(self) -> None:
        write_market(
            self.raw, symbols=["BTCUSDT"], start=date(2024, 1, 1), days=9, seed=7, profile="defects"
        )
        self.main.ingest()
        self.main.ingest(universe="spot")
        self.fills.ingest(datasets=["trades"], trade_source="trades")

    def catalog_of(self, dataset: str) -> Catalog:
        return self.fills if dataset == "trades" else self.main


@pytest.fixture(scope="session")
def defects(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Defects:
    """Made once, whatever the number of test processes."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "defects"
    with filelock.FileLock(f"{folder}.lock"):
        if not (folder / "made").exists():
            folder.mkdir()
            (folder / "raw-truth").mkdir()
            (folder / "raw-truth" / "truth.json").write_text('{"defects": []}')
            Defects(folder).make()
            (folder / "made").touch()
    return Defects(folder)


def manifest_of(catalog: Catalog) -> Any:
    from phoenix_etl.manifest import load

    found = load(catalog.root / "manifest.json")
    assert found is not None
    return found


def coverage_of(catalog: Catalog, dataset: str) -> Coverage:
    market, _, name = dataset.rpartition(" ")
    name = f"{market or 'futures'}/{name.removesuffix('_1m')}"
    (found,) = (c for c in validate(manifest_of(catalog)).coverage if c.dataset == name)
    return found


def test_every_planted_kind_is_looked_at(defects: Defects) -> None:
    assert set(REPORT) == set(defects.planted)


@pytest.mark.parametrize("kind", REPORT)
def test_the_report_has_its_line(defects: Defects, kind: str) -> None:
    planted = defects.planted[kind]
    truth = planted | planted["expected"]
    if "id_gap" in truth:
        low, high = truth["id_gap"]["trade_ids"]
        truth |= {"id_before": low - 1, "id_after": high + 1}
    if "frozen_snapshots" in truth:  # the first of them repeats nothing
        truth["repeats"] = truth["frozen_snapshots"] - 1
    parts = [part.format(**truth) for part in REPORT[kind]]
    lines = defects.catalog_of(planted["dataset"]).report().splitlines()
    assert any(all(part in line for part in parts) for line in lines), parts


LEDGER = [k for k in REPORT if k not in {
    "missing quotes", "missing premium day", "mixed time units", "truncated archive",
    "archive without member", "archive with two members", "wrong checksum", "file of no bytes",
    "not a CSV", "replaced source", "misplaced file", "unknown file",
}]  # fmt: skip


@pytest.mark.parametrize("kind", LEDGER)
def test_the_ledger_balances_and_says_what_was_planted(defects: Defects, kind: str) -> None:
    planted = defects.planted[kind]
    expected = planted["expected"]
    manifest = manifest_of(defects.catalog_of(planted["dataset"]))
    report = manifest.files[planted["file"]].report
    shares = [p.inputs[planted["file"]].counts for p in manifest.partitions.values()
              if planted["file"] in p.inputs]  # fmt: skip
    found = {
        "rows": report.rows_read,
        "written": sum(s.written for s in shares),
        "duplicates": sum(s.duplicates for s in shares),
        "conflicts": sum(s.conflicts for s in shares),
        "rejected": report.rejected,
        "blank_lines": report.blank_lines,
        "inversions": report.inversions,
        "unit": report.time_unit,
    }
    assert {k: v for k, v in found.items() if k in expected} == {
        k: v for k, v in expected.items() if k in found
    }
    assert report.rows_read == (
        found["written"] + found["duplicates"] + found["conflicts"] + found["rejected"]
        + report.out_of_range + report.superseded
    )  # fmt: skip
    if "off_tick_lines" in expected:
        assert report.off_tick == len(expected["off_tick_lines"])


@pytest.mark.parametrize("kind", [k for k in LEDGER if k != "right checksum"])
def test_the_rejects_file_holds_the_lines_as_they_stand(defects: Defects, kind: str) -> None:
    planted = defects.planted[kind]
    catalog = defects.catalog_of(planted["dataset"])
    name = Path(planted["file"]).name
    source = (defects.raw / planted["file"]).read_text("utf-8").split("\n")
    listed: dict[int, str] = {}
    for path in (catalog.root / "rejects").rglob(f"{name}.csv"):
        with path.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                if row["file"] == planted["file"]:
                    listed[int(row["line"])] = row["text"]
    assert sorted(listed) == planted["expected"].get("rejected_lines", [])
    assert all(text == source[line - 1] for line, text in listed.items())


@pytest.mark.parametrize("kind", ["conflicting trades", "conflicting metrics"])
def test_the_row_that_lost_is_kept_with_the_one_that_won(defects: Defects, kind: str) -> None:
    planted = defects.planted[kind]
    dataset, day = planted["dataset"], planted["date_key"]
    path = defects.main.root / f"rejects/futures/{dataset}/BTCUSDT-{day}-conflicts.csv"
    source = (defects.raw / planted["file"]).read_text("utf-8").split("\n")
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["line"]) for row in rows] == planted["lines"]
    for row in rows:
        assert row["text"] == source[int(row["line"]) - 1]
        winner = re.search(r"kept the row of (\S+) line (\d+)", row["reason"])
        assert winner is not None
        assert winner[1] == planted["file"]
        assert int(winner[2]) == int(row["line"]) - 1  # the row as simulated stands before it


@pytest.mark.parametrize("kind", [
    "partial quotes", "hole in quotes", "stopped quotes", "missing minutes", "missing mark prices",
    "missing metrics",
])  # fmt: skip
def test_every_gap_is_listed_to_the_edges_of_the_day(defects: Defects, kind: str) -> None:
    planted = defects.planted[kind]
    gaps = coverage_of(defects.main, planted["dataset"]).gaps
    assert planted["expected"]["gaps"]
    for gap in planted["expected"]["gaps"]:
        # A gap runs from row to row: past midnight, where the next day goes on.
        inside = [g for g in gaps if g.before <= gap["from_ns"] and g.after >= gap["to_ns"]]
        assert len(inside) == 1, gap
        assert inside[0].length <= gap["to_ns"] - gap["from_ns"] + 5 * NS_PER_MINUTE


def test_data_empty_missing_and_unreadable_are_different_things(defects: Defects) -> None:
    quotes = coverage_of(defects.main, "bookTicker")
    assert (quotes.data, quotes.empty, quotes.missing) == (
        7,
        (date(2024, 1, 6),),
        (date(2024, 1, 7),),
    )
    assert coverage_of(defects.main, "premiumIndexKlines").missing == (date(2024, 1, 4),)
    index = coverage_of(defects.main, "indexPriceKlines")
    assert index.unreadable == tuple(date(2024, 1, d) for d in (1, 2, 3, 4, 6, 7))
    assert index.missing == index.empty == ()
    fills = coverage_of(defects.main, "trades")
    assert len(fills.replaced) == 8
    assert (fills.data, fills.empty) == (1, ())  # the day whose aggTrades cannot be read
    assert coverage_of(defects.main, "aggTrades").unreadable == (date(2024, 1, 7),)


def test_single_holes_and_real_gaps_of_identifiers_are_told_apart(defects: Defects) -> None:
    planted = defects.planted["id holes"]["expected"]
    low, high = planted["id_gap"]["trade_ids"]
    gaps = coverage_of(defects.main, "aggTrades").id_gaps
    assert (low - 1, high + 1) in [(gap.before, gap.after) for gap in gaps]
    assert len(gaps) <= 3  # and where rows were rejected
    parts = manifest_of(defects.main).partitions
    assert parts["futures/aggTrades/BTCUSDT/2024-01-04"].stats.one_id_holes == 3
    fills = manifest_of(defects.fills).partitions["futures/trades/BTCUSDT/2024-01-04"].stats
    assert (fills.one_id_holes, fills.id_gap_count) == (3, 0)


def test_bars_snapshots_and_blanks_are_counted(defects: Defects) -> None:
    parts = manifest_of(defects.main).partitions

    def stats(kind: str) -> tuple[Any, dict[str, Any]]:
        planted = defects.planted[kind]
        dataset = planted["dataset"].removesuffix("_1m")
        key = f"futures/{dataset}/BTCUSDT/{planted['date_key']}"
        return parts[key].stats, planted["expected"]

    found, expected = stats("flat bars")
    assert found.zero_volume_bars == expected["flat_bars"]
    found, expected = stats("frozen depth")  # the first of them repeats nothing
    assert found.frozen_snapshots == expected["frozen_snapshots"] - 1
    found, expected = stats("blank metrics")
    assert found.blank_cells == expected["null_cells"]
    depth = defects.main.table("BinanceBookDepthPct").to_pandas()
    snapshot = depth[depth.ts_event == depth.ts_event.min()]
    assert sorted(snapshot.percentage) == [-5, -4, -3, -2, -1, -0.2, 0.2, 1, 2, 3, 4, 5]
    metrics = defects.main.table("BinanceOiMetrics").to_pandas()
    assert int(metrics.sum_taker_long_short_vol_ratio.isna().sum()) == 0  # 0E-8 is a number
    assert int(metrics.count_toptrader_long_short_ratio.isna().sum()) == 2  # and a blank is none


def test_the_whole_catalog_is_proven_against_its_sources(defects: Defects) -> None:
    found = defects.main.verify()
    assert found.problems == [f"left out: {text}" for text in found.left_out.values()]
    assert len(found.left_out) == 7
    assert found.source_rows > 400_000


def test_a_replaced_source_is_a_loud_restatement(
    defects: Defects, dumps: Any, catalog: Catalog
) -> None:
    planted = defects.planted["replaced source"]
    target = dumps.root / planted["file"]
    target.parent.mkdir(parents=True)
    shutil.copy(defects.raw / planted["file"], target)
    before = catalog.ingest()
    old = catalog.rows("Bar", "BTCUSDT-PERP.BINANCE-1-MINUTE-LAST-EXTERNAL")
    target.write_bytes((defects.truth_root / planted["expected"]["replacement"]).read_bytes())
    after = catalog.ingest()
    assert before.restated == ()
    assert after.restated == (planted["file"],)
    assert after.manifest.catalog_digest != before.manifest.catalog_digest
    new = catalog.rows("Bar", "BTCUSDT-PERP.BINANCE-1-MINUTE-LAST-EXTERNAL")
    changed = [i for i, (a, b) in enumerate(zip(old, new, strict=True)) if a != b]
    assert changed == [line - 2 for line in planted["lines"]]
    assert catalog.verify().problems == []
