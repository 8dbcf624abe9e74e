"""Every dataset from its text to the catalog: values, sides, clocks, availability, targets."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from phoenix_schemas.timestamps import parse_utc

D = Decimal
MS = 1_000_000
PERP = "BTCUSDT-PERP.BINANCE"
SPOT = "BTCUSDT.BINANCE"
T0 = 1_704_067_200_000  # 2024-01-01T00:00:00Z in ms


def ns(text: str) -> int:
    return parse_utc(text)


def kline(minute: int, ohlc: str = "42000.10,42010.00,41990.00,42005.50", start: int = T0) -> str:
    opened = start + minute * 60_000
    return f"{opened},{ohlc},12.345,{opened + 59_999},518500.123456,77,6.5,273000.654321,0"


# dataset, market, rows, {(type, identifier): expected rows}
CASES: list[tuple[str, str, list[str], dict[tuple[str, str], list[dict[str, Any]]]]] = [
    (
        "aggTrades", "futures",
        [f"100,42000.10,0.500,7,9,{T0 + 1},true", f"101,71799.36,1,10,10,{T0 + 1},false"],
        {("TradeTick", PERP): [
            {"price": D("42000.10"), "size": D("0.5"), "aggressor_side": "SELL", "trade_id": "100",
             "ts_event": (T0 + 1) * MS, "ts_init": (T0 + 1) * MS},
            {"price": D("71799.36"), "size": D(1), "aggressor_side": "BUY", "trade_id": "101",
             "ts_event": (T0 + 1) * MS, "ts_init": (T0 + 1) * MS},
        ]},
    ),
    (
        "trades", "futures",
        [f"7,42000.1,0.001,42.0001,{T0},True", f"8,42000.2,2,84000.4,{T0 + 5},False"],
        {("TradeTick", PERP): [
            {"price": D("42000.1"), "size": D("0.001"), "aggressor_side": "SELL", "trade_id": "7",
             "ts_event": T0 * MS, "ts_init": T0 * MS},
            {"price": D("42000.2"), "size": D(2), "aggressor_side": "BUY", "trade_id": "8",
             "ts_event": (T0 + 5) * MS, "ts_init": (T0 + 5) * MS},
        ]},
    ),
    (
        "bookTicker", "futures",
        [f"5,42000.1,3.25,42000.2,0.000,{T0},{T0 + 4}"],
        {("QuoteTick", PERP): [
            {"bid_price": D("42000.1"), "ask_price": D("42000.2"), "bid_size": D("3.25"),
             "ask_size": D(0), "ts_event": (T0 + 4) * MS, "ts_init": (T0 + 4) * MS},
        ]},
    ),
    (
        "klines", "futures", [kline(0)],
        {("Bar", f"{PERP}-1-MINUTE-LAST-EXTERNAL"): [
            {"open": D("42000.1"), "high": D(42010), "low": D(41990), "close": D("42005.5"),
             "volume": D("12.345"), "ts_event": (T0 + 59_999) * MS, "ts_init": (T0 + 59_999) * MS},
        ], ("BinanceKlineExtras", PERP): [
            {"instrument_id": PERP, "quote_volume": D("518500.123456"), "trade_count": 77,
             "taker_buy_volume": D("6.5"), "taker_buy_quote_volume": D("273000.654321"),
             "type": "BinanceKlineExtras", "ts_event": (T0 + 59_999) * MS,
             "ts_init": (T0 + 59_999) * MS,
             "data_type": '{"type_name":"BinanceKlineExtras","metadata":null,'
                          f'"identifier":"{PERP}"}}'},
        ]},
    ),
    (
        "markPriceKlines", "futures",
        [f"{T0},42000.12345678,42001,41999.5,42000.87654321,0,{T0 + 59_999},0,60,0,0,0"],
        {("MarkPriceUpdate", PERP): [
            {"value": D("42000.87654321"), "ts_event": (T0 + 59_999) * MS,
             "ts_init": (T0 + 59_999) * MS},
        ], ("Bar", f"{PERP}-1-MINUTE-MARK-EXTERNAL"): [
            {"open": D("42000.12345678"), "high": D(42001), "low": D("41999.5"),
             "close": D("42000.87654321"), "volume": D(0), "ts_event": (T0 + 59_999) * MS,
             "ts_init": (T0 + 59_999) * MS},
        ]},
    ),
    (
        "indexPriceKlines", "futures",
        [f"{T0},42000.12345678,42001,41999.5,42000.87654321,0,{T0 + 59_999},0,60,0,0,0"],
        {("IndexPriceUpdate", PERP): [
            {"value": D("42000.87654321"), "ts_event": (T0 + 59_999) * MS,
             "ts_init": (T0 + 59_999) * MS},
        ], ("BinanceIndexPriceKline", PERP): [
            {"open": D("42000.12345678"), "high": D(42001), "low": D("41999.5"),
             "close": D("42000.87654321"), "ts_init": (T0 + 59_999) * MS},
        ]},
    ),
    (
        "premiumIndexKlines", "futures",
        [f"{T0},-0.00012345,0.00001,-0.0005,-0.00000001,0,{T0 + 59_999},0,12,0,0,0"],
        {("BinancePremiumIndex", PERP): [
            {"open": D("-0.00012345"), "high": D("0.00001"), "low": D("-0.0005"),
             "close": D("-0.00000001"), "ts_event": (T0 + 59_999) * MS},
        ]},
    ),
    (
        "metrics", "futures",
        ["2024-01-01 00:05:00,BTCUSDT,83000.1230000000000001,3500000000.5,1.2,0E-8,,2.5"],
        {("BinanceOiMetrics", PERP): [
            {"sum_open_interest": D("83000.1230000000000001"),
             "sum_open_interest_value": D("3500000000.5"), "count_toptrader_long_short_ratio": 1.2,
             "sum_toptrader_long_short_ratio": 0.0, "count_long_short_ratio": None,
             "sum_taker_long_short_vol_ratio": 2.5, "ts_event": ns("2024-01-01T00:05:00Z"),
             "ts_init": ns("2024-01-01T00:05:00Z")},
        ]},
    ),
    (
        "fundingRate", "futures",
        [f"{T0 + 13},8,0.00010000", f"{T0 + 4 * 3_600_000},4,-0.000251"],
        {("FundingRateUpdate", PERP): [
            {"rate": "0.0001", "interval": 480, "next_funding_ns": None, "ts_event": T0 * MS,
             "ts_init": T0 * MS},
            {"rate": "-0.000251", "interval": 240, "next_funding_ns": None,
             "ts_event": (T0 + 4 * 3_600_000) * MS, "ts_init": (T0 + 4 * 3_600_000) * MS},
        ], ("BinanceFundingRate", PERP): [
            {"rate": D("0.0001"), "interval_hours": 8, "ts_event": (T0 + 13) * MS,
             "ts_init": (T0 + 13) * MS},
            {"rate": D("-0.000251"), "interval_hours": 4,
             "ts_event": (T0 + 4 * 3_600_000) * MS, "ts_init": (T0 + 4 * 3_600_000) * MS},
        ]},
    ),
    (
        "bookDepth", "futures",
        ["2024-01-01 00:00:30,-5,9.123,380000.25", "2024-01-01 00:00:30,-0.20,1,42000"],
        {("BinanceBookDepthPct", PERP): [
            {"percentage": -5.0, "depth": D("9.123"), "notional": D("380000.25"),
             "ts_event": ns("2024-01-01T00:00:30Z"), "ts_init": ns("2024-01-01T00:00:30Z")},
            {"percentage": -0.2, "depth": D(1), "notional": D(42000)},
        ]},
    ),
    (
        "aggTrades", "spot", [f"100,42000.10000000,0.00012000,7,9,{T0 + 1},True,True"],
        {("TradeTick", SPOT): [
            {"price": D("42000.1"), "size": D("0.00012"), "aggressor_side": "SELL",
             "trade_id": "100", "ts_event": (T0 + 1) * MS},
        ]},
    ),
    (
        "trades", "spot", [f"7,42000.10000000,0.00012000,5.04001200,{T0},False,True"],
        {("TradeTick", SPOT): [
            {"price": D("42000.1"), "size": D("0.00012"), "aggressor_side": "BUY", "trade_id": "7"},
        ]},
    ),
    (
        "klines", "spot",
        [f"{T0},42000.10000000,42010.0,41990.0,42005.5,12.34500000,{T0 + 59_999},518500.1,77,6.5,27.1,0"],
        {("Bar", f"{SPOT}-1-MINUTE-LAST-EXTERNAL"): [
            {"close": D("42005.5"), "volume": D("12.345"), "ts_init": (T0 + 59_999) * MS},
        ], ("BinanceKlineExtras", SPOT): [{"trade_count": 77, "quote_volume": D("518500.1")}]},
    ),
]  # fmt: skip
IDS = [f"{market}-{dataset}" for dataset, market, _, _ in CASES]


@pytest.mark.parametrize("period", ["daily", "monthly"])
@pytest.mark.parametrize("ending", ["csv", "zip"])
@pytest.mark.parametrize(("dataset", "market", "rows", "expected"), CASES, ids=IDS)
def test_every_value_arrives_as_written(
    dumps, catalog, dataset, market, rows, expected, ending, period
) -> None:
    date = "2024-01-01" if period == "daily" else "2024-01"
    dumps.add(dataset, date, rows, market=market, ending=ending)
    result = catalog.ingest(
        universe=market, trade_source="trades" if dataset == "trades" else "aggTrades"
    )
    assert not result.failed
    for (type_name, identifier), wanted in expected.items():
        found = catalog.rows(type_name, identifier)
        assert [
            {k: row[k] for k in want} for row, want in zip(found, wanted, strict=True)
        ] == wanted
    if ending == "csv":  # the text proves it once more, through Nautilus's reader
        assert catalog.verify().problems == []


def test_values_at_the_ends_of_what_nautilus_holds_survive(dumps, catalog) -> None:
    low, high = "0.0000000000000001", "17014118346046"
    dumps.add("bookDepth", "2024-01-01", [f"2024-01-01 00:00:30,1,{low},{high}"])
    dumps.add("aggTrades", "2024-01-01", [
        f"1,{high},{high},1,1,{T0},true", f"2,0.01,0.001,2,2,{T0},true",
        f"3,17014118346047,1,3,3,{T0},true",
    ])  # fmt: skip
    result = catalog.ingest(max_reject_share=0.5)
    assert not result.failed
    (depth,) = catalog.rows("BinanceBookDepthPct")
    assert (depth["depth"], depth["notional"]) == (D(low), D(high))
    trades = catalog.rows("TradeTick")
    assert [(t["price"], t["size"]) for t in trades] == [
        (D(high), D(high)),
        (D("0.01"), D("0.001")),
    ]
    assert catalog.verify().problems == []
    (reject,) = catalog.rejects("futures/aggTrades/daily/BTCUSDT-aggTrades-2024-01-01.csv.csv")
    assert "price must be within +-17014118346046 (was '17014118346047')" in reject


@pytest.mark.parametrize(
    "path",
    [
        "futures/daily/klines/BTCUSDT-1m-2024-01-01.csv",
        "futures/daily/klines_1m/BTCUSDT-1m-2024-01-01.csv",
        "futures/daily/klines_1m/BTCUSDT-1m-2024-01-01.zip",
        "futures/monthly/klines/BTCUSDT-1m-2024-01.zip",
        "future_data/daily_data/klines/BTCUSDT-1m-2024-01-01.csv",
        "future_data/monthly_data/klines_1m/BTCUSDT-1m-2024-01.csv",
        "data/futures/um/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01-01.zip",
        "data/futures/um/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01.zip",
        "spot_data/daily/klines/BTCUSDT-1m-2024-01-01.csv",
        "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01-01.zip",
    ],
)  # fmt: skip
def test_every_layout_is_read(dumps, catalog, path: str) -> None:
    market = "spot" if "spot" in path else "futures"
    dumps.put(path, kline(0) + "\n")
    catalog.ingest(universe=market)
    bars = catalog.rows("Bar", f"{SPOT if market == 'spot' else PERP}-1-MINUTE-LAST-EXTERNAL")
    assert [bar["close"] for bar in bars] == [D("42005.50")]


def test_the_quote_clock_is_chosen_and_recorded(dumps, catalog, another) -> None:
    path = dumps.add("bookTicker", "2024-01-01", [f"5,42000.1,3.25,42000.2,1,{T0},{T0 + 4}"])
    by_event = catalog.ingest()
    by_transaction = another.ingest(quote_clock="transaction_time")
    assert catalog.rows("QuoteTick")[0]["ts_init"] == (T0 + 4) * MS
    assert another.rows("QuoteTick")[0]["ts_init"] == T0 * MS
    assert by_event.manifest.files[path].report.clock == "event_time"
    assert by_transaction.manifest.files[path].report.clock == "transaction_time"
    assert another.verify().problems == []


def test_a_quote_after_midnight_goes_to_its_own_day(dumps, catalog) -> None:
    midnight = T0 + 86_400_000
    dumps.add("bookTicker", "2024-01-01", [
        f"5,42000.1,1,42000.2,1,{midnight - 5},{midnight - 1}",
        f"6,42000.1,2,42000.2,1,{midnight - 2},{midnight + 3}",
    ])  # fmt: skip
    dumps.add("bookTicker", "2024-01-02", [f"7,42000.1,3,42000.2,1,{midnight},{midnight + 9}"])
    result = catalog.ingest()
    days = {p.day: sum(f.rows for f in p.files) for p in result.manifest.partitions.values()}
    assert days == {"2024-01-01": 1, "2024-01-02": 2}
    assert [q["bid_size"] for q in catalog.rows("QuoteTick")] == [1, 2, 3]


def test_metrics_are_known_at_the_end_of_their_period_in_both_eras(dumps, catalog) -> None:
    values = "BTCUSDT,1,1,1,1,1,1"
    dumps.add("metrics", "2026-06-24", [f"2026-06-24 23:55:00,{values}"])
    dumps.add("metrics", "2026-06-25", [
        f"2026-06-25 00:00:00,{values}", f"2026-06-25 23:55:00,{values}",
    ])  # fmt: skip
    catalog.ingest()
    times = [(r["ts_event"], r["ts_init"]) for r in catalog.rows("BinanceOiMetrics")]
    assert times == [
        (ns("2026-06-24T23:55:00Z"), ns("2026-06-24T23:55:00Z")),
        (ns("2026-06-25T00:00:00Z"), ns("2026-06-25T00:05:00Z")),
        (ns("2026-06-25T23:55:00Z"), ns("2026-06-26T00:00:00Z")),
    ]
    assert catalog.verify().problems == []


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("2608-07-21 23:34:34,BTCUSDT,1,1,1,1,1,1", "create_time must be a market time"),
        ("2024-01-01 24:00:00,BTCUSDT,1,1,1,1,1,1", "create_time must exist in the calendar"),
        ("2024-01-05 00:00:00,BTCUSDT,1,1,1,1,1,1", "create_time must lie within a day of the file"),
        ("2024-01-01 00:05:00,ETHUSDT,1,1,1,1,1,1", "symbol must equal the symbol of the file's name"),
        ("2024-01-01 00:05:00,BTCUSDT,0,1,1,1,1,1", "sum_open_interest must be positive"),
        ("2024-01-01 00:05:00,BTCUSDT,1,1,-1,1,1,1", "count_toptrader_long_short_ratio must not be"),
        ("2024-01-01 00:05:00,BTCUSDT,1,1,Infinity,1,1,1", "must be a decimal number"),
    ],
)  # fmt: skip
def test_nonsense_in_metrics_is_rejected(dumps, catalog, row: str, reason: str) -> None:
    dumps.add("metrics", "2024-01-01", ["2024-01-01 00:10:00,BTCUSDT,,,,,,", row])
    catalog.ingest(max_reject_share=1)
    (kept,) = catalog.rows("BinanceOiMetrics")
    assert kept["sum_open_interest"] is None  # blank, and not taken for 0
    (reject,) = catalog.rejects("futures/metrics/daily/BTCUSDT-metrics-2024-01-01.csv.csv")
    assert reason in reject
    assert reject.startswith("futures/daily/metrics/BTCUSDT-metrics-2024-01-01.csv,3,")
    assert row in reject
    assert catalog.verify().problems == []


@pytest.mark.parametrize(
    ("dataset", "good", "bad", "reason"),
    [
        ("bookTicker", f"1,10,1,11,1,{T0},{T0}", f"2,0,1,11,1,{T0},{T0}",
         "best_bid_price must be positive"),
        ("bookTicker", f"1,10,1,11,1,{T0},{T0}", f"2,10,-1,11,1,{T0},{T0}",
         "best_bid_qty must not be negative"),
        ("aggTrades", f"1,10,1,1,1,{T0},true", f"2,10,0,1,1,{T0},true",
         "quantity must be positive"),
        ("aggTrades", f"1,10,1,1,1,{T0},true", f"2,10,1,5,4,{T0},true",
         "last_trade_id must not be below first_trade_id"),
        ("klines", kline(0), kline(1, "10,9,8,9"), "high/low must hold low <= open, close <= high"),
        ("klines", kline(0), kline(1).replace(f"{T0 + 119_999}", f"{T0 + 120_000}"),
         "close_time must be one interval after open_time"),
        ("fundingRate", f"{T0},8,0.1", f"{T0 + 3_600_000},8,0.1",
         "calc_time must lie within a minute after a funding boundary"),
        ("fundingRate", f"{T0},8,0.1", f"{T0 + 3_600_000},0,0.1",
         "funding_interval_hours must be 1 to 24 hours"),
        ("bookDepth", "2024-01-01 00:00:30,1,1,1", "2024-01-01 00:00:30,2,-1,1",
         "depth must not be negative"),
    ],
)  # fmt: skip
def test_a_row_that_breaks_a_rule_is_rejected(
    dumps, catalog, dataset: str, good: str, bad: str, reason: str
) -> None:
    date = "2024-01" if dataset == "fundingRate" else "2024-01-01"
    path = dumps.add(dataset, date, [good, bad])
    result = catalog.ingest(max_reject_share=1)
    report = result.manifest.files[path].report
    assert (report.rows_read, report.rejected, sum(report.days.values())) == (2, 1, 1)
    (said,) = report.reject_reasons
    assert said.startswith(reason)
    assert reason in catalog.report()
    assert catalog.verify().problems == []


def test_spot_times_are_microseconds_from_2025(dumps, catalog) -> None:
    late = parse_utc("2025-01-01") // 1_000
    old = dumps.add(
        "aggTrades", "2024-12-31", [f"1,10.1,1,1,1,{late // 1000 - 1},True,True"], market="spot"
    )
    new = dumps.add(
        "aggTrades", "2025-01-01", [f"2,10.1,1,2,2,{late + 1},True,True"], market="spot"
    )
    result = catalog.ingest(universe="spot")
    assert result.manifest.files[old].report.time_unit == "ms"
    assert result.manifest.files[new].report.time_unit == "us"
    times = [r["ts_event"] for r in catalog.rows("TradeTick", SPOT)]
    assert times == [late * 1_000 - MS, late * 1_000 + 1_000]


def test_an_off_tick_price_is_kept_and_counted_or_rejected_with_its_precision(
    dumps, catalog
) -> None:
    path = dumps.add("aggTrades", "2024-01-01", [
        f"1,71799.36,1,1,1,{T0},true", f"2,71799.3,1,2,2,{T0},true",
        f"3,71799.365,1,3,3,{T0},true", f"4,71799.4,0.0005,4,4,{T0},true",
    ])  # fmt: skip
    result = catalog.ingest(max_reject_share=1)
    assert [t["price"] for t in catalog.rows("TradeTick")] == [D("71799.36"), D("71799.3")]
    report = result.manifest.files[path].report
    assert report.off_tick == 1
    assert report.reject_reasons == {
        "price needs 3 decimals where the catalog keeps 2": 1,
        "quantity needs 4 decimals where the catalog keeps 3": 1,
    }
    assert "| prices off the instrument's tick | 1 | kept exactly |" in catalog.report()


def test_a_range_ends_before_its_end(dumps, catalog) -> None:
    second = T0 + 1_000
    path = dumps.add("aggTrades", "2024-01-01", [
        f"{i},10.1,1,{i},{i},{at},true" for i, at in enumerate((T0, second - 1, second, second + 1))
    ])  # fmt: skip
    result = catalog.ingest(start="2024-01-01T00:00:00Z", end="2024-01-01T00:00:01Z")
    assert [t["trade_id"] for t in catalog.rows("TradeTick")] == ["0", "1"]
    report = result.manifest.files[path].report
    assert (report.rows_read, report.out_of_range) == (4, 2)
    assert catalog.verify().problems == []


def test_the_published_end_date_is_inclusive(dumps, catalog) -> None:
    for day in ("2024-01-01", "2024-01-02", "2024-01-03"):
        at = parse_utc(day) // MS
        dumps.add("aggTrades", day, [f"{at},10.1,1,1,1,{at},true"])
    catalog.ingest(start_date_key="2024-01-01", end_date_key="2024-01-02")
    assert len(catalog.rows("TradeTick")) == 2


def test_a_daily_file_counts_over_the_monthly_one(dumps, catalog) -> None:
    next_day = T0 + 86_400_000
    monthly = dumps.add("klines", "2024-01", [
        kline(0, "1,1,1,1"), kline(1, "1,1,1,1"), kline(0, "1,1,1,1", next_day),
    ])  # fmt: skip
    daily = dumps.add("klines", "2024-01-01", [kline(0, "2,2,2,2")])
    result = catalog.ingest()
    bars = catalog.rows("Bar", f"{PERP}-1-MINUTE-LAST-EXTERNAL")
    assert [bar["close"] for bar in bars] == [D(2), D(1)]
    files = result.manifest.files
    assert files[monthly].report.superseded == 2
    assert files[daily].report.superseded == 0
    assert "| rows taken from another file | 2 | superseded |" in catalog.report()
    assert catalog.verify().problems == []


@pytest.mark.parametrize("source", ["aggTrades", "trades"])
def test_one_source_of_trades_per_day_and_the_other_where_it_is_missing(
    dumps, catalog, source: str
) -> None:
    other = {"aggTrades": "trades", "trades": "aggTrades"}[source]
    rows = {
        "aggTrades": lambda at: [f"1,10.1,5,1,2,{at},true"],
        "trades": lambda at: [f"1,10.1,2,20.2,{at},true", f"2,10.1,3,30.3,{at},true"],
    }
    next_day = T0 + 86_400_000
    dumps.add(source, "2024-01-01", rows[source](T0))
    lost = dumps.add(other, "2024-01-01", rows[other](T0))
    dumps.add(other, "2024-01-02", rows[other](next_day))
    result = catalog.ingest(trade_source=source)
    table = catalog.table("TradeTick")
    assert sum(table.column("size").to_pylist()) == 10  # each day's volume once
    days = {(p.dataset, p.day) for p in result.manifest.partitions.values()}
    assert days == {(source, "2024-01-01"), (other, "2024-01-02")}
    report = result.manifest.files[lost].report
    assert report.superseded == report.rows_read == len(rows[other](T0))
    assert catalog.verify().problems == []
