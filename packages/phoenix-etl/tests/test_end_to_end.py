"""From small dump files, written by hand, to a catalog: what is kept, what is said, what stays equal."""

from __future__ import annotations

import hashlib
import random
import shutil
import zipfile
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from phoenix_etl.config import load_config
from phoenix_etl.errors import NothingFoundError, RejectLimitError, UsageError
from phoenix_etl.inventory import take_inventory
from phoenix_etl.manifest import load
from phoenix_etl.pipeline import IngestResult, ingest
from phoenix_etl.synthetic import write_market
from phoenix_etl.verify import verify
from phoenix_schemas.timestamps import parse_utc

AGG_HEADER = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"
DAY_MS = parse_utc("2024-01-01") // 1_000_000
TRADES = "data/trades/BTCUSDT-PERP.BINANCE"


def agg_rows(count: int, first: int = 100, at_ms: int = DAY_MS) -> list[str]:
    return [
        f"{first + i},{42000 + i % 7}.{i % 10},0.{i % 9 + 1:03d},{2 * (first + i)},"
        f"{2 * (first + i) + 1},{at_ms + 137 * (i // 3)},{'true' if i % 2 else 'false'}"
        for i in range(count)
    ]


def write(root: Path, path: str, lines: list[str], header: str | None = None) -> Path:
    location = root / path
    location.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join([*([header] if header else []), *lines]) + "\n"
    if location.suffix == ".zip":
        with zipfile.ZipFile(location, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(location.name.replace(".zip", ".csv"), text)
    else:
        location.write_text(text, "utf-8")
    return location


def agg(root: Path, day: str, lines: list[str], ending: str = "csv") -> Path:
    path = f"futures/daily/aggTrades/BTCUSDT-aggTrades-{day}.{ending}"
    return write(root, path, lines, AGG_HEADER)


def run(raw: Path, catalog: Path, **settings: object) -> IngestResult:
    return ingest(load_config(None, raw_roots=[str(raw)], catalog_path=str(catalog), **settings))


def tree(catalog: Path) -> dict[str, str]:
    """sha256 of every file of a catalog but the hidden folder and the manifest."""
    return {
        p.relative_to(catalog).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(catalog.rglob("*"))
        if p.is_file() and ".phoenix" not in p.parts and p.name != "manifest.json"
    }


def read(catalog: Path, folder: str = TRADES) -> list[dict]:
    table = pq.read_table(catalog / folder)
    keep = [n for n in table.column_names if n not in ("ts_event", "ts_init")]
    times = {n: table.column(n).cast("int64").to_pylist() for n in ("ts_event", "ts_init")}
    rows = table.select(keep).to_pylist()
    return [
        row | {"ts_event": e, "ts_init": i}
        for row, e, i in zip(rows, times["ts_event"], times["ts_init"], strict=True)
    ]


def test_every_value_equals_its_text_and_the_maker_flag_decides_the_side(tmp_path: Path) -> None:
    lines = ["7,42000.1,0.001,10,11,1704067200005,true", "8,42000.20,1.5,12,12,1704067200005,false"]
    agg(tmp_path / "raw", "2024-01-01", lines)
    run(tmp_path / "raw", tmp_path / "c")
    sold, bought = read(tmp_path / "c")
    assert (sold["price"], sold["size"]) == (Decimal("42000.1"), Decimal("0.001"))
    assert (sold["aggressor_side"], sold["trade_id"]) == ("SELL", "7")
    assert (bought["price"], bought["size"]) == (Decimal("42000.2"), Decimal("1.5"))
    assert (bought["aggressor_side"], bought["trade_id"]) == ("BUY", "8")
    assert sold["ts_event"] == sold["ts_init"] == 1704067200005000000


def test_ledger_names_where_every_row_went(tmp_path: Path) -> None:
    lines = agg_rows(2000)
    lines += [lines[5]]  # the same row again
    lines += [lines[6].replace("0.007", "0.008")]  # one key, another content
    lines += ["x,1,1,1,1,1704067200000,true", "", "9999,42000.123,1,1,1,1704067200000,true"]
    agg(tmp_path / "raw", "2024-01-01", lines)
    result = run(tmp_path / "raw", tmp_path / "c", end="2024-01-01T00:01:00")
    totals = result.manifest.datasets["futures/aggTrades"]
    late = sum(1 for line in agg_rows(2000) if int(line.split(",")[5]) >= DAY_MS + 60_000)
    assert late > 0
    assert totals.rows_read == 2004
    assert (totals.duplicates, totals.conflicts, totals.rejected) == (1, 1, 2)
    assert totals.out_of_range == late
    assert totals.events == 2000 - late == len(read(tmp_path / "c"))
    rejects = (
        tmp_path / "c/rejects/futures/aggTrades/daily/BTCUSDT-aggTrades-2024-01-01.csv.csv"
    ).read_text("utf-8")
    assert "agg_trade_id must be a whole number" in rejects
    assert "price needs 3 decimals where the catalog keeps 2" in rejects
    conflicts = (
        tmp_path / "c/rejects/futures/aggTrades/BTCUSDT-2024-01-01-conflicts.csv"
    ).read_text("utf-8")
    assert conflicts.count("same key as another row") == 1


def test_bytes_do_not_depend_on_row_order_file_order_split_or_workers(tmp_path: Path) -> None:
    lines = agg_rows(3000)
    agg(tmp_path / "a", "2024-01-01", lines)
    run(tmp_path / "a", tmp_path / "ca")
    expected = {k: v for k, v in tree(tmp_path / "ca").items() if k.startswith("data/")}

    shuffled = lines * 2
    random.Random(3).shuffle(shuffled)
    agg(tmp_path / "b", "2024-01-01", shuffled, "zip")
    # A monthly file with the same day is superseded by the daily one.
    monthly = "futures/monthly/aggTrades/BTCUSDT-aggTrades-2024-01.zip"
    write(tmp_path / "b", monthly, lines[:500])
    result = run(tmp_path / "b", tmp_path / "cb", ingest_workers=1)
    assert {k: v for k, v in tree(tmp_path / "cb").items() if k.startswith("data/")} == expected
    totals = result.manifest.datasets["futures/aggTrades"]
    assert (totals.duplicates, totals.superseded) == (3000, 500)


def test_rerun_does_nothing_and_a_changed_source_is_a_restatement(tmp_path: Path) -> None:
    raw, catalog = tmp_path / "raw", tmp_path / "c"
    agg(raw, "2024-01-01", agg_rows(300))
    agg(raw, "2024-01-02", agg_rows(300, 900, DAY_MS + 86_400_000))
    run(raw, catalog)
    before = tree(catalog), (catalog / "manifest.json").read_bytes()
    again = run(raw, catalog)
    assert again.nothing_to_do
    assert (tree(catalog), (catalog / "manifest.json").read_bytes()) == before

    changed = agg(raw, "2024-01-02", agg_rows(299, 900, DAY_MS + 86_400_000))
    restated = run(raw, catalog)
    assert restated.restated == (changed.relative_to(raw).as_posix(),)
    assert restated.files_read == 1
    assert restated.partitions_built == 1
    assert len(read(catalog)) == 599
    assert verify(catalog, [raw]).problems == []


def test_a_row_goes_to_the_day_it_was_known_whatever_its_file(tmp_path: Path) -> None:
    header = (
        "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,"
        "transaction_time,event_time"
    )
    midnight = DAY_MS + 86_400_000
    rows = [f"1,42000.1,1.000,42000.2,2.000,{midnight - 5},{midnight - 2}"]
    rows += [f"2,42000.1,1.000,42000.2,2.000,{midnight - 3},{midnight + 1}"]
    path = "futures/daily/bookTicker/BTCUSDT-bookTicker-2024-01-0{}.csv"
    write(tmp_path / "raw", path.format(1), rows, header)
    rows = [f"3,42000.1,1.000,42000.2,2.000,{midnight},{midnight + 4}"]
    write(tmp_path / "raw", path.format(2), rows, header)
    run(tmp_path / "raw", tmp_path / "c")
    files = sorted((tmp_path / "c/data/quotes/BTCUSDT-PERP.BINANCE").iterdir())
    assert [pq.read_metadata(f).num_rows for f in files] == [1, 2]
    # By transaction time the same rows lie two and one.
    run(tmp_path / "raw", tmp_path / "c2", quote_clock="transaction_time")
    files = sorted((tmp_path / "c2/data/quotes/BTCUSDT-PERP.BINANCE").iterdir())
    assert [pq.read_metadata(f).num_rows for f in files] == [2, 1]


@pytest.mark.parametrize(
    ("create_time", "known"),
    [
        ("2026-06-24 23:55:00", "2026-06-24T23:55:00"),
        ("2026-06-25 00:00:00", "2026-06-25T00:05:00"),
        ("2026-09-15 00:25:00", "2026-09-15T00:30:00"),
    ],
)
def test_metrics_are_known_when_their_five_minutes_are_over(
    tmp_path: Path, create_time: str, known: str
) -> None:
    day = create_time[:10]
    header = (
        "create_time,symbol,sum_open_interest,sum_open_interest_value,"
        "count_toptrader_long_short_ratio,sum_toptrader_long_short_ratio,"
        "count_long_short_ratio,sum_taker_long_short_vol_ratio"
    )
    row = f"{create_time},BTCUSDT,103513.5610000000000000,8088539305.18,1.21791190,2.0,,0E-8"
    write(tmp_path / "raw", f"futures/daily/metrics/BTCUSDT-metrics-{day}.csv", [row], header)
    run(tmp_path / "raw", tmp_path / "c")
    (stored,) = read(tmp_path / "c", "data/custom/BinanceOiMetrics/BTCUSDT-PERP.BINANCE")
    assert stored["ts_event"] == parse_utc(create_time)
    assert stored["ts_init"] == parse_utc(known)
    assert stored["sum_open_interest"] == Decimal("103513.561")
    assert stored["count_long_short_ratio"] is None
    assert stored["sum_taker_long_short_vol_ratio"] == 0.0


def test_funding_settles_on_the_boundary_and_is_seen_at_its_raw_time(tmp_path: Path) -> None:
    rows = ["1704067200007,8,-0.00003449", "1704096000000,8,0.0001"]
    write(
        tmp_path / "raw",
        "futures/monthly/fundingRate/BTCUSDT-fundingRate-2024-01.csv",
        rows,
        "calc_time,funding_interval_hours,last_funding_rate",
    )
    run(tmp_path / "raw", tmp_path / "c")
    settled = read(tmp_path / "c", "data/funding_rates/BTCUSDT-PERP.BINANCE")
    assert [r["ts_event"] for r in settled] == [1704067200000000000, 1704096000000000000]
    assert [(r["rate"], r["interval"]) for r in settled] == [("-0.00003449", 480), ("0.0001", 480)]
    seen = read(tmp_path / "c", "data/custom/BinanceFundingRate/BTCUSDT-PERP.BINANCE")
    assert [r["ts_init"] for r in seen] == [1704067200007000000, 1704096000000000000]


def test_a_catalog_knows_that_its_market_is_simulated(tmp_path: Path) -> None:
    market = write_market(
        tmp_path / "raw",
        symbols=["BTCUSDT"],
        start=date(2024, 1, 1),
        days=1,
        seed=1,
        profile="small",
    )
    run(market.raw_root, tmp_path / "simulated", datasets=["fundingRate"])
    assert load(tmp_path / "simulated" / "manifest.json").simulated
    shutil.copytree(market.raw_root, tmp_path / "other" / "dumps")
    run(tmp_path / "other" / "dumps", tmp_path / "real", datasets=["fundingRate"])
    assert not load(tmp_path / "real" / "manifest.json").simulated


def test_one_source_of_trades_counts_for_a_day(tmp_path: Path) -> None:
    agg(tmp_path / "raw", "2024-01-01", agg_rows(10))
    rows = [f"{i},42000.1,0.001,42.0001,{DAY_MS + i},true" for i in range(5)]
    header = "id,price,qty,quote_qty,time,is_buyer_maker"
    write(tmp_path / "raw", "futures/daily/trades/BTCUSDT-trades-2024-01-01.csv", rows, header)
    result = run(tmp_path / "raw", tmp_path / "c")
    assert len(read(tmp_path / "c")) == 10
    assert result.manifest.datasets["futures/trades"].superseded == 5
    # The other choice, on the same catalog, replaces the day.
    run(tmp_path / "raw", tmp_path / "c", trade_source="trades")
    assert len(read(tmp_path / "c")) == 5


def test_a_bad_file_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    agg(tmp_path / "raw", "2024-01-01", agg_rows(50))
    bad = tmp_path / "raw/futures/daily/aggTrades/BTCUSDT-aggTrades-2024-01-02.zip"
    bad.write_bytes(b"PK\x03\x04 truncated")
    few = agg(tmp_path / "raw", "2024-01-03", ["1,2,3"])
    few.write_text("a,b,c\n1,2,3\n", "utf-8")
    result = run(tmp_path / "raw", tmp_path / "c")
    assert len(read(tmp_path / "c")) == 50
    assert len(result.failed) == 2
    texts = " ".join(result.failed.values())
    assert "not a whole ZIP" in texts
    assert "must have 7 columns (has 3" in texts
    report = (tmp_path / "c/validation_report.md").read_text("utf-8")
    assert "NOT COMPLETE: 2 file(s) need attention" in report


@pytest.mark.parametrize("is_beside_the_right_file", [True, False])
def test_a_file_of_another_day_than_its_name_says_is_refused(
    tmp_path: Path, is_beside_the_right_file: bool
) -> None:
    lines = agg_rows(50)
    path = agg(tmp_path / "raw", "2024-01-02", lines).relative_to(tmp_path / "raw").as_posix()
    if is_beside_the_right_file:
        agg(tmp_path / "raw", "2024-01-01", lines)
    result = run(tmp_path / "raw", tmp_path / "c")
    assert result.failed == {
        path: f"{path}: holds 2024-01-01, its name says 2024-01-02; rename it or download it again"
    }
    assert len(result.manifest.partitions) == is_beside_the_right_file
    # One row of its own day, and the others are kept as well.
    agg(tmp_path / "raw", "2024-01-02", [*lines, *agg_rows(1, 900, DAY_MS + 86_400_000)])
    result = run(tmp_path / "raw", tmp_path / "c")
    assert result.failed == {}
    assert len(read(tmp_path / "c")) == 51


@pytest.mark.parametrize(
    ("day", "create_time", "is_refused"),
    [
        ("2024-01-01", "2024-01-02 00:00:00", False),  # the end of the day's last five minutes
        ("2024-01-01", "2024-01-02 00:05:00", True),
        ("2024-01-02", "2024-01-02 00:00:00", True),
        ("2026-09-15", "2026-09-15 00:00:00", False),  # a start
        ("2026-09-15", "2026-09-15 23:55:00", False),
        ("2026-09-15", "2026-09-16 00:00:00", True),
    ],
)
def test_metrics_belong_to_the_day_of_their_five_minutes(
    tmp_path: Path, day: str, create_time: str, is_refused: bool
) -> None:
    path = f"futures/daily/metrics/BTCUSDT-metrics-{day}.csv"
    write(tmp_path / "raw", path, [f"{create_time},BTCUSDT,1,1,1,1,1,1"])
    assert (path in run(tmp_path / "raw", tmp_path / "c").failed) == is_refused


def test_too_many_bad_rows_refuse_the_file_and_strict_the_first(tmp_path: Path) -> None:
    lines = agg_rows(200)
    lines[3] = lines[3].replace("true", "TRUE").replace("false", "FALSE")
    agg(tmp_path / "raw", "2024-01-01", lines)
    assert run(tmp_path / "raw", tmp_path / "c").failed == {}
    failed = run(tmp_path / "raw", tmp_path / "c2", strict=True).failed
    (text,) = failed.values()
    assert ":5: is_buyer_maker must be true or false" in text
    assert not (tmp_path / "c2" / TRADES).exists()
    assert issubclass(RejectLimitError, Exception)


def test_nothing_to_find_says_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="existing folder"):
        take_inventory([tmp_path / "no"])
    with pytest.raises(NothingFoundError, match="no dump file under"):
        take_inventory([tmp_path])
    agg(tmp_path / "raw", "2024-01-01", agg_rows(5))
    with pytest.raises(NothingFoundError, match="BTCUSDT aggTrades, 2024-01-01"):
        run(tmp_path / "raw", tmp_path / "c", start="2025-01-01")
    path = "futures/daily/aggTrades/ABCUSDT-aggTrades-2024-01-01.csv"
    write(tmp_path / "raw", path, agg_rows(5), AGG_HEADER)
    with pytest.raises(UsageError, match=r"ABCUSDT .* must have an instrument specification"):
        run(tmp_path / "raw", tmp_path / "c")
    assert not (tmp_path / "c" / "manifest.json").exists()


def test_a_file_whose_folder_and_name_disagree_is_listed(tmp_path: Path) -> None:
    agg(tmp_path / "raw", "2024-01-01", agg_rows(5))
    path = "futures/daily/aggTrades/BTCUSDT-bookTicker-2024-01-01.csv"
    write(tmp_path / "raw", path, agg_rows(5))
    found = take_inventory([tmp_path / "raw"])
    assert len(found.files) == 1
    (odd,) = found.unrecognised
    assert "its folder says aggTrades" in odd.reason


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("flip", "its bytes changed since it was written"),
        ("delete", "missing; run the same ingest again"),
        ("extra", "an extra file that the manifest does not know"),
        ("manifest", "edited by hand"),
        ("source", "the source changed since it was ingested"),
    ],
)
def test_verify_finds_damage(tmp_path: Path, damage: str, message: str) -> None:
    raw, catalog = tmp_path / "raw", tmp_path / "c"
    source = agg(raw, "2024-01-01", agg_rows(100))
    run(raw, catalog)
    assert verify(catalog, [raw]).problems == []
    (file,) = (catalog / TRADES).iterdir()
    if damage == "flip":
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    elif damage == "delete":
        file.unlink()
    elif damage == "extra":
        (catalog / TRADES / "extra.parquet").write_bytes(file.read_bytes())
    elif damage == "manifest":
        manifest = catalog / "manifest.json"
        manifest.write_text(
            manifest.read_text("utf-8").replace('"rows_read": 100', '"rows_read": 99')
        )
    else:
        source.write_text(source.read_text("utf-8").replace("42000.0", "42000.5"), "utf-8")
    problems = verify(catalog, [raw]).problems
    assert problems
    assert message in problems[0]
