"""Mistakes of earlier prototypes (slips.md, Data), each a test that it does not come back."""

from __future__ import annotations

import zipfile
from decimal import Decimal
from pathlib import Path

import pytest
from phoenix_etl import pipeline, scheduler
from phoenix_schemas.timestamps import parse_utc

D = Decimal
MS = 1_000_000
T0 = 1_704_067_200_000  # 2024-01-01T00:00:00Z in ms
PERP = "BTCUSDT-PERP.BINANCE"


def trade(number: int, at: int = T0, price: str = "42000.1", maker: str = "true") -> str:
    return f"{number},{price},0.5,{number},{number},{at},{maker}"


def test_slip_01_values_keep_every_decimal_and_never_pass_through_float(dumps, catalog) -> None:
    # 0.1 + 0.2 and 2^53 + 1 are where floats and fixed formats go wrong.
    rows = [
        f"1,42000.13,0.001,1,1,{T0},true",
        f"2,9007199254740.93,9007199254.993,2,2,{T0 + 1},true",
        f"3,0.30,0.300,3,3,{T0 + 2},true",
    ]
    dumps.add("aggTrades", "2024-01-01", rows)
    dumps.add(
        "bookDepth", "2024-01-01", ["2024-01-01 00:00:30,1,0.1234567890123456,9007199254740993.1"]
    )
    dumps.add(
        "bookDepth", "2024-01-02", ["2024-01-02 00:00:30,1,0.1234567890123456,9007199254740.1"]
    )
    result = catalog.ingest()
    found = [(t["price"], t["size"]) for t in catalog.rows("TradeTick")]
    assert found == [
        (D("42000.13"), D("0.001")), (D("9007199254740.93"), D("9007199254.993")), (D("0.3"), D("0.3")),
    ]  # fmt: skip
    depth = [(d["depth"], d["notional"]) for d in catalog.rows("BinanceBookDepthPct")]
    assert depth == [(D("0.1234567890123456"), D("9007199254740.1"))]
    assert len(result.failed) == 1  # the other notional is more than NautilusTrader holds


def test_slip_02_quotes_carry_event_time_and_bars_their_close_time(dumps, catalog) -> None:
    dumps.add("bookTicker", "2024-01-01", [f"1,42000.1,1,42000.2,1,{T0},{T0 + 7}"])
    dumps.add("klines", "2024-01-01", [f"{T0},1,2,1,2,1,{T0 + 59_999},1,1,1,1,0"])
    catalog.ingest()
    (quote,) = catalog.rows("QuoteTick")
    (bar,) = catalog.rows("Bar", f"{PERP}-1-MINUTE-LAST-EXTERNAL")
    assert quote["ts_event"] == quote["ts_init"] == (T0 + 7) * MS
    assert bar["ts_event"] == bar["ts_init"] == (T0 + 59_999) * MS


def test_slip_03_the_side_is_read_from_the_word_not_from_its_truth(dumps, catalog) -> None:
    words = ["true", "false", "True", "False"]
    dumps.add("aggTrades", "2024-01-01", [trade(n, maker=w) for n, w in enumerate(words)])
    catalog.ingest()
    sides = [t["aggressor_side"] for t in catalog.rows("TradeTick")]
    # The buyer was the maker, so the aggressor sold.
    assert sides == ["SELL", "BUY", "SELL", "BUY"]


@pytest.mark.parametrize(
    ("dataset", "first"),
    [
        ("aggTrades", trade(1)),  # letters: true
        ("metrics", "2024-01-01 00:05:00,BTCUSDT,1,1,1,1,1,1"),  # letters: the symbol; a date first
        ("bookDepth", "2024-01-01 00:00:30,-5,1.06e+06,1"),  # letters: an exponent; a date first
        ("fundingRate", f"{T0},8,1.06e-04"),
    ],
)
@pytest.mark.parametrize("header", [True, False])
def test_slip_04_the_first_row_is_neither_eaten_nor_taken_for_a_header(
    dumps, catalog, dataset: str, first: str, header: bool
) -> None:
    date = "2024-01" if dataset == "fundingRate" else "2024-01-01"
    path = dumps.add(dataset, date, [first], header=header)
    report = catalog.ingest().manifest.files[path].report
    assert report.has_header == header
    assert (report.rows_read, report.rejected, sum(report.days.values())) == (1, 0, 1)
    assert catalog.verify().problems == []


def test_slip_05_bad_bytes_and_bad_times_are_rejected_and_never_repaired(dumps, catalog) -> None:
    good = [trade(n, T0 + n) for n in range(2, 60)]
    path = dumps.add("aggTrades", "2024-01-01", [
        *good, "1,42000.1,0.5,1,1,0,true", "61,42000.1,0.5,1,1,,true",
        "62,42000.1,0.5,1,1,1.70406E+12,true", "63,42000.1,0.5,1,1,1704067200123.0,true",
    ])  # fmt: skip
    with (dumps.root / path).open("ab") as stream:
        stream.write(b"64,42000.1,0.5,1,1,170406720\xff000,true\n")
    result = catalog.ingest()
    report = result.manifest.files[path].report
    assert (report.rejected, sum(report.days.values())) == (5, len(good))
    assert report.reject_reasons == {
        "bytes must be UTF-8": 1,
        "transact_time must be a time in ms": 1,
        "transact_time must be a whole number": 2,
        "transact_time must not be blank": 1,
    }
    assert catalog.rows("TradeTick")[0]["ts_event"] == (T0 + 2) * MS  # no row in 1970


def test_slip_05_times_survive_to_the_last_digit(dumps, catalog) -> None:
    # In microseconds a float has lost the last digits; int64 of a datetime depends on its unit.
    at = parse_utc("2025-01-01") // 1_000 + 999_999
    dumps.add("aggTrades", "2025-01-01", [f"1,1.1,1,1,1,{at},True,True"], market="spot")
    catalog.ingest(universe="spot")
    assert catalog.rows("TradeTick", "BTCUSDT.BINANCE")[0]["ts_event"] == at * 1_000


def test_slip_06_columns_are_known_by_name_and_a_blank_ratio_is_no_zero(dumps, catalog) -> None:
    funding = dumps.put(
        "futures/monthly/fundingRate/BTCUSDT-fundingRate-2024-01.csv",
        f"calc_time,last_funding_rate\n{T0},0.0001\n",
    )
    dumps.add("metrics", "2024-01-01", ["2024-01-01 00:05:00,BTCUSDT,1,1,,0,1,1"])
    result = catalog.ingest()
    assert (
        "the header must name funding_interval_hours once (names it 0 times"
        in (result.failed[funding])
    )
    (row,) = catalog.rows("BinanceOiMetrics")
    assert row["count_toptrader_long_short_ratio"] is None
    assert row["sum_toptrader_long_short_ratio"] == 0.0


def test_slip_07_no_row_disappears_without_a_line_in_the_ledger(dumps, catalog) -> None:
    rows = [trade(n, T0 + n) for n in range(30)]
    path = dumps.add("aggTrades", "2024-01-01", [*rows[:10], "1;2;3", *rows[10:]])
    report = catalog.ingest().manifest.files[path].report
    assert report.rows_read == 31 == report.rejected + sum(report.days.values())
    (line,) = catalog.rejects("futures/aggTrades/daily/BTCUSDT-aggTrades-2024-01-01.csv.csv")
    assert line == f"{path},12,must have 7 columns (has 1),1;2;3"


def test_slip_07_a_run_that_fails_leaves_the_catalog_of_before(dumps, catalog, monkeypatch) -> None:
    dumps.add("aggTrades", "2024-01-01", [trade(1)])
    catalog.ingest()
    tree = catalog.tree()
    dumps.add("aggTrades", "2024-01-02", [trade(2, T0 + 86_400_000)])

    def fail(_task: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(scheduler, "build_partition", fail)
    with pytest.raises(pipeline.EtlError, match="No space left on device"):
        catalog.ingest()
    assert catalog.tree() == tree


def test_slip_07_a_file_that_exists_is_not_taken_for_complete(dumps, catalog) -> None:
    dumps.add("aggTrades", "2024-01-01", [trade(1)])
    catalog.ingest()
    stored = next((catalog.root / "data/trades").rglob("*.parquet"))
    whole = stored.read_bytes()
    stored.write_bytes(whole[: len(whole) // 2])
    assert catalog.ingest().partitions_built == 1
    assert stored.read_bytes() == whole


@pytest.mark.parametrize("member", ["../../escaped.csv", "/etc/escaped.csv", "a/../../b.csv"])
def test_slip_07_a_member_name_is_never_a_path(dumps, catalog, tmp_path: Path, member: str) -> None:
    path = dumps.root / "futures/daily/aggTrades/BTCUSDT-aggTrades-2024-01-01.zip"
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, trade(1) + "\n")
    before = {p for p in tmp_path.rglob("*") if "catalog" not in p.parts}
    catalog.ingest()
    assert len(catalog.rows("TradeTick")) == 1
    assert {p for p in tmp_path.rglob("*") if "catalog" not in p.parts} == before


def test_slip_08_one_day_of_trades_has_one_source(dumps, catalog) -> None:
    dumps.add("aggTrades", "2024-01-01", [f"1,42000.1,5,1,2,{T0},true"])
    dumps.add("trades", "2024-01-01", [f"1,42000.1,2,1,{T0},true", f"2,42000.1,3,1,{T0},true"])
    catalog.ingest()
    assert sum(t["size"] for t in catalog.rows("TradeTick")) == 5


def test_slip_09_custom_data_carries_the_identifier_that_routes_it(dumps, catalog) -> None:
    """How it reaches a strategy: tests-integration/test_catalog_in_an_engine.py."""
    from nautilus_trader.model import NautilusDataType
    from nautilus_trader.persistence import ParquetDataCatalog
    from phoenix_schemas.custom_data import register_custom_data

    dumps.add("metrics", "2024-01-01", ["2024-01-01 00:05:00,BTCUSDT,1,1,,0,1,1"])
    catalog.ingest()
    register_custom_data()
    opened = ParquetDataCatalog(str(catalog.root))
    (found,) = opened.query(NautilusDataType.Custom("BinanceOiMetrics"), [PERP])
    assert found.data_type.identifier == PERP
    assert found.data.sum_open_interest == D(1)
