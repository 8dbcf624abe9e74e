"""The planted defects: each is in its file as the list says, and nothing else is damaged."""

from __future__ import annotations

import hashlib
import io
import itertools
import re
import zipfile
from pathlib import Path

import pandas as pd
import pytest

TABLE = {
    "bookTicker interleaved": ["interleaved quotes"],
    "bookTicker coverage": [
        "partial quotes", "hole in quotes", "stopped quotes", "empty quotes", "missing quotes",
    ],
    "aggTrades interleaved": ["interleaved trades"],
    "exact duplicates": ["duplicate trades"],
    "conflicts": ["conflicting trades"],
    "id holes": ["id holes", "id holes in trades"],
    "off-tick": ["off-tick price"],
    "headers": ["headerless aggTrades", "headerless trades", "older kline header"],
    "time units": ["spot ms", "spot us", "mixed time units"],
    "bars": ["flat bars", "missing minutes"],
    "derived bars": ["missing mark prices", "missing premium day"],
    "metrics": [
        "missing metrics", "duplicate metrics", "blank metrics", "bad metrics times",
        "exponent zero", "zero open interest", "infinite metrics ratio", "conflicting metrics",
    ],
    "bookDepth": ["twelve levels", "frozen depth"],
    "blank line": ["stray number"],
    "archives": [
        "truncated archive", "archive without member", "archive with two members",
        "wrong checksum", "right checksum", "file of no bytes", "not a CSV", "replaced source",
    ],
    "spreadsheet": ["spreadsheet times"],
    "strangers": ["misplaced file", "unknown file"],
}  # fmt: skip


def defect(damaged, kind: str) -> dict:
    (found,) = (d for d in damaged.truth["defects"] if d["kind"] == kind)
    return found


def lines_of(damaged, found: dict) -> list[str]:
    return (damaged.market.raw_root / found["file"]).read_text().split("\n")[:-1]


def test_every_row_of_the_defect_table_is_planted_once_in_a_file_of_its_own(damaged) -> None:
    kinds = [d["kind"] for d in damaged.truth["defects"]]
    assert sorted(kinds) == sorted(kind for row in TABLE.values() for kind in row)
    files = [d["file"] for d in damaged.truth["defects"]]
    assert len(set(files)) == len(files)


def test_ledgers_balance_and_count_the_lines_that_are_there(damaged) -> None:
    counted = 0
    for found in damaged.truth["defects"]:
        expected = found["expected"]
        if "duplicates" not in expected:
            continue
        lost = expected["duplicates"] + expected["conflicts"] + expected["rejected"]
        assert expected["rows"] == expected["written"] + lost
        lines = lines_of(damaged, found)
        header = 0 if "headerless" in found["kind"] else 1
        assert len(lines) - header - lines.count("") == expected["rows"], found["kind"]
        assert lines.count("") == expected["blank_lines"]
        assert all(1 <= line <= len(lines) for line in found["lines"])
        counted += 1
    assert counted > 20


@pytest.mark.parametrize(
    ("kind", "pattern"),
    [
        ("stray number", r"|17"),
        ("spreadsheet times", r".*,\d\.\d{5}E\+12,(true|false)"),
        ("mixed time units", r".*,\d{16},(true|false)"),
        ("bad metrics times", r"(2024-01-04 24:61:00|1970-01-01),.*"),
        ("zero open interest", r"[^,]*,BTCUSDT,(0\.0{16}|0E-16),.*"),
        ("infinite metrics ratio", r".*,(Infinity|NaN)"),
        ("exponent zero", r".*,0E-8"),
        ("blank metrics", r"([^,]*,){4},,,[\d.]+"),
        ("off-tick price", r"\d+,\d+\.\d(6|004),.*"),
        ("older kline header", r"open_time,.*number_of_trades.*"),
    ],
)
def test_the_listed_lines_hold_the_defect_and_no_others_do(
    damaged, kind: str, pattern: str
) -> None:
    found = defect(damaged, kind)
    lines = lines_of(damaged, found)
    held = [i + 1 for i, line in enumerate(lines) if re.fullmatch(pattern, line)]
    assert held == found["lines"]


def test_interleaved_files_hold_the_same_rows_in_another_order(damaged) -> None:
    quotes = pd.read_csv(damaged.market.raw_root / defect(damaged, "interleaved quotes")["file"])
    key = pd.MultiIndex.from_frame(quotes[["event_time", "update_id"]])
    inversions = sum(b < a for a, b in itertools.pairwise(key))
    assert inversions == defect(damaged, "interleaved quotes")["expected"]["inversions"] > 100
    assert quotes.update_id.is_unique
    found = defect(damaged, "interleaved trades")
    trades = pd.read_csv(damaged.market.raw_root / found["file"])
    key = pd.MultiIndex.from_frame(trades[["transact_time", "agg_trade_id"]])
    assert sum(b < a for a, b in itertools.pairwise(key)) == found["expected"]["inversions"]
    ids = trades.agg_trade_id.sort_values()
    assert (ids.diff().dropna() == 1).all()
    stuck = trades.transact_time == found["expected"]["stuck_time_ns"] // 10**6
    assert stuck.sum() == found["expected"]["stuck_rows"] >= 7


def test_duplicates_and_conflicts_are_what_pandas_counts(damaged) -> None:
    for kind in ("duplicate trades", "duplicate metrics"):
        found = defect(damaged, kind)
        rows = pd.Series(lines_of(damaged, found))
        assert rows.duplicated().sum() == found["expected"]["duplicates"]
    for kind, key in (
        ("conflicting trades", "agg_trade_id"),
        ("conflicting metrics", "create_time"),
    ):
        found = defect(damaged, kind)
        rows = pd.read_csv(damaged.market.raw_root / found["file"], dtype=str)
        assert not rows.duplicated().any()
        assert rows[key].duplicated().sum() == found["expected"]["conflicts"]
        # The row as simulated has the smallest text, so it is the one to be kept.
        whole = pd.Series(lines_of(damaged, found)[1:])
        smallest = whole.groupby(rows[key]).transform("min") == whole
        assert [i + 2 for i in smallest.index[~smallest]] == found["lines"]


def test_id_holes_and_the_gap_are_the_only_breaks(damaged) -> None:
    found = defect(damaged, "id holes")
    expected = found["expected"]
    agg = pd.read_csv(damaged.market.raw_root / found["file"])
    step = agg.first_trade_id.iloc[1:].to_numpy() - agg.last_trade_id.iloc[:-1].to_numpy()
    holes = [int(agg.last_trade_id[i]) + 1 for i in range(len(step)) if step[i] == 2]
    assert holes == expected["one_id_holes"]
    (wide,) = (i for i in range(len(step)) if step[i] > 2)
    gap = expected["id_gap"]
    assert gap["trade_ids"] == [agg.last_trade_id[wide] + 1, agg.first_trade_id[wide + 1] - 1]
    assert gap["agg_trade_ids"] == [agg.agg_trade_id[wide] + 1, agg.agg_trade_id[wide + 1] - 1]
    fills = pd.read_csv(
        damaged.market.raw_root / defect(damaged, "id holes in trades")["file"]
    ).set_index("id")
    for row in agg[agg.last_trade_id.isin([hole - 1 for hole in holes])].itertuples():
        parts = fills.loc[row.first_trade_id : row.last_trade_id]
        assert parts.qty.sum() == pytest.approx(row.quantity, abs=1e-9)
        assert (parts.qty * parts.price).to_numpy() == pytest.approx(parts.quote_qty.to_numpy())
    # Bars know every trade but not the lost fills: they differ only where the gap is.
    bars = pd.read_csv(
        damaged.market.raw_root / "futures/daily/klines_1m/BTCUSDT-1m-2024-01-04.csv"
    )
    volume = agg.quantity.groupby(agg.transact_time // 60_000 * 60_000).sum()
    differ = (
        bars.set_index("open_time").volume - volume.reindex(bars.open_time, fill_value=0)
    ).abs()
    assert [t * 10**6 for t in differ.index[differ > 1e-6]] == expected["bars_differing_open_ns"]


def test_gaps_are_where_the_list_says(damaged) -> None:
    for kind in ("partial quotes", "hole in quotes", "stopped quotes"):
        found = defect(damaged, kind)
        times = pd.read_csv(damaged.market.raw_root / found["file"]).event_time * 10**6
        for gap in found["expected"]["gaps"]:
            assert not times.between(gap["from_ns"], gap["to_ns"], inclusive="neither").any()
            assert gap["to_ns"] - gap["from_ns"] >= 300 * 10**9
    hole = defect(damaged, "hole in quotes")["expected"]["gaps"]
    assert any(700 <= (gap["to_ns"] - gap["from_ns"]) / 1e9 <= 1200 for gap in hole)
    for kind, rows in (("missing minutes", 7), ("missing mark prices", 20)):
        found = defect(damaged, kind)
        opens = pd.read_csv(damaged.market.raw_root / found["file"]).open_time * 10**6
        (gap,) = found["expected"]["gaps"]
        assert gap["to_ns"] - gap["from_ns"] == rows * 60 * 10**9
        assert not opens.between(gap["from_ns"], gap["to_ns"], inclusive="left").any()
        assert gap["to_ns"] in set(opens)
    for kind in ("missing quotes", "missing premium day"):
        assert not (damaged.market.raw_root / defect(damaged, kind)["file"]).exists()


def test_flat_bars_depth_and_spot_are_as_listed(damaged) -> None:
    root = damaged.market.raw_root
    found = defect(damaged, "flat bars")
    bars = pd.read_csv(root / found["file"])
    assert (bars["count"] == 0).sum() == found["expected"]["flat_bars"] > 0
    depth = pd.read_csv(root / defect(damaged, "twelve levels")["file"], dtype=str)
    assert depth.percentage.head(12).tolist()[4:8] == ["-1.00", "-0.20", "0.20", "1.00"]
    found = defect(damaged, "frozen depth")
    depth = pd.read_csv(root / found["file"], dtype=str)
    frozen = depth[depth.timestamp >= found["expected"]["frozen_since"]]
    assert len(frozen) == 10 * found["expected"]["frozen_snapshots"]
    assert (frozen.groupby("percentage").depth.nunique() == 1).all()
    for kind, digits, row in (("spot ms", 13, "2024-12-31"), ("spot us", 16, "2025-01-01")):
        lines = lines_of(damaged, defect(damaged, kind))
        assert len(lines) == 500
        fields = lines[0].split(",")
        assert len(fields) == 8
        assert len(fields[5]) == digits
        assert str(pd.Timestamp(int(fields[5]) * 10 ** (19 - digits)))[:10] == row
        assert re.fullmatch(r"\d+\.\d{8}", fields[1])
        assert {line.rsplit(",", 1)[1] for line in lines} == {"True"}


def test_archives_fail_in_their_own_ways(damaged) -> None:
    root: Path = damaged.market.raw_root

    def data(kind: str) -> bytes:
        return (root / defect(damaged, kind)["file"]).read_bytes()

    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(io.BytesIO(data("truncated archive")))
    assert zipfile.ZipFile(io.BytesIO(data("archive without member"))).namelist() == []
    assert len(zipfile.ZipFile(io.BytesIO(data("archive with two members"))).namelist()) == 2
    for kind, right in (("right checksum", True), ("wrong checksum", False)):
        path = root / (defect(damaged, kind)["file"] + ".CHECKSUM")
        digest, name = path.read_text().split()
        assert name == path.name.removesuffix(".CHECKSUM")
        assert (digest == hashlib.sha256(data(kind)).hexdigest()) is right
        assert zipfile.ZipFile(io.BytesIO(data(kind))).testzip() is None
    assert data("file of no bytes") == b""
    found = defect(damaged, "replaced source")
    new = damaged.market.truth_root / found["expected"]["replacement"]
    lines = lines_of(damaged, found)
    changed = [
        i + 1 for i, (a, b) in enumerate(zip(lines, new.read_text().split(), strict=True)) if a != b
    ]
    assert changed == found["lines"]


def test_files_without_a_defect_are_clean(damaged, tmp_path: Path) -> None:
    touched = {d["file"] for d in damaged.truth["defects"]}
    touched.add("futures/daily/klines_1m/BTCUSDT-1m-2024-01-04.csv")  # knows of the id holes
    for file in damaged.truth["files"]:
        text = (damaged.market.raw_root / file["path"]).read_bytes()
        if file["path"] not in touched:
            assert text.count(b"\n") == file["rows"] + 1
    trades = damaged.trades(day=9)
    assert (trades.agg_trade_id.diff().dropna() == 1).all()
