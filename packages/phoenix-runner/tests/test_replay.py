"""Replay: file order, type order, window independence, ends excluded, gaps."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from phoenix_runner.backtest import run_backtest
from phoenix_runner.catalog_series import (
    Catalog,
    CatalogError,
    CatalogOrderError,
    StoredSeries,
    init_times,
)
from phoenix_runner.errors import NoDataError
from phoenix_runner.replay import Replay
from phoenix_runner.suite import suite_from
from phoenix_schemas.arrow import CATALOG_TYPES
from probe_strategies import Probe
from small_catalog import (
    BAR_TYPE,
    DAY,
    HOUR,
    INSTRUMENT,
    MINUTE,
    MS,
    SECOND,
    START,
    bar,
    bar_rows,
    quote,
    suite_values,
    trade,
    write,
)


def probe_suite(root: Path, include: list[str], **sections: Any) -> Any:
    listen = [*include, *sections.pop("listen", [])]
    values = suite_values(
        root,
        data={"include": include, **sections.pop("data", {})},
        strategy={"name": "probe_strategies:PROBE", "config": {"listen": listen}},
        **sections,
    )
    if "QuoteTick" in include:
        values["execution"] = {}
    return suite_from(values, source="test")


def delivered(suite: Any, **options: Any) -> list[tuple[str, int, str]]:
    time = suite.config.time
    run_backtest(suite, time.start_ns, time.end_ns, **options)
    return list(Probe.log)


def crowded_quotes(count: int, span_ns: int, seed: int) -> list[dict[str, Any]]:
    """Quotes of which most share a millisecond with others; each bid tells its place in the file."""
    draw = random.Random(seed)
    times = sorted(START + draw.randrange(span_ns // MS // 7) * 7 * MS for _ in range(count))
    # Bunch them: several rows on one instant, in an order no sort could restore.
    times = [t - t % (10 * SECOND) for t in times]
    bids = list(range(count))
    return [quote(t, f"{100 + b / 100:.2f}", "900.00") for t, b in zip(times, bids, strict=True)]


@pytest.mark.parametrize("window_ns", [15 * MINUTE, HOUR, DAY])
@pytest.mark.parametrize("row_group_size", [97, 100_000])
def test_rows_of_one_instant_come_in_file_order(
    tmp_path: Path, window_ns: int, row_group_size: int
) -> None:
    rows = crowded_quotes(5000, 3 * HOUR, seed=3)
    write(tmp_path / "c", "QuoteTick", rows, row_group_size=row_group_size)
    suite = probe_suite(
        tmp_path / "c", ["QuoteTick"],
        time={"start_utc": "2024-01-28", "end_utc": "2024-01-28T03:00:00Z"},
    )  # fmt: skip
    got = delivered(suite, window_ns=window_ns)
    assert len({ts for _, ts, _ in got}) < len(got) / 3  # the ties are there
    assert [bid for _, _, bid in got] == [row["bid_price"] for row in rows]


ONE_OF_EACH: dict[str, dict[str, Any]] = {
    "QuoteTick": quote(0, "100.00", "100.10"),
    "TradeTick": trade(0, "100.00"),
    "BinanceBookDepthPct": {"ts": 0, "percentage": -1.0, "depth": "5", "notional": "500"},
    "BinanceOiMetrics": {"ts": 0, "sum_open_interest": "7"},
    "FundingRateUpdate": {"ts": 0, "rate": "0.0001", "interval": 480},
    "BinanceFundingRate": {"ts": 0, "rate": "0.0001", "interval_hours": 8},
    "MarkPriceUpdate": {"ts": 0, "value": "100.05"},
    "IndexPriceUpdate": {"ts": 0, "value": "100.04"},
    "BinanceIndexPriceKline": {"ts": 0, "open": "1", "high": "1", "low": "1", "close": "1"},
    "BinancePremiumIndex": {"ts": 0, "open": "1", "high": "1", "low": "1", "close": "1"},
    "Bar": bar(0, "100.00"),
    "BinanceKlineExtras": {
        "ts": 0, "quote_volume": "1", "trade_count": 1, "taker_buy_volume": "1",
        "taker_buy_quote_volume": "1",
    },
}  # fmt: skip


def test_types_of_one_nanosecond_come_in_the_stated_order(tmp_path: Path) -> None:
    root = tmp_path / "c"
    at = START + 10 * MINUTE
    for name, row in ONE_OF_EACH.items():
        first = {**row, "ts": START + MINUTE}
        identifier = BAR_TYPE if name == "Bar" else INSTRUMENT
        write(root, name, [first, {**row, "ts": at}], identifier)
    include = [name for name in reversed(ONE_OF_EACH) if name != "FundingRateUpdate"]
    suite = probe_suite(root, include, listen=["FundingRateUpdate"], funding="settle")
    order = [kind for kind, ts, _ in delivered(suite) if ts == at]
    assert order == list(ONE_OF_EACH)
    # The order is that of the design: quotes, trades, depth, metrics, funding, mark/index, bars.
    ranks = [CATALOG_TYPES[kind].rank for kind in order]
    assert all(a <= b for a, b in itertools.pairwise(ranks))


@pytest.mark.parametrize("window_ns", [MINUTE, HOUR])
def test_any_two_types_of_one_nanosecond_come_in_the_stated_order(
    tmp_path: Path, window_ns: int
) -> None:
    root = tmp_path / "c"
    pairs = list(itertools.combinations(ONE_OF_EACH, 2))
    assert len(pairs) == 66
    # A nanosecond of its own for every pair, a second apart, over two minutes.
    instants = {START + (i + 1) * SECOND: pair for i, pair in enumerate(pairs)}
    for name, row in ONE_OF_EACH.items():
        rows = [{**row, "ts": ts} for ts, pair in instants.items() if name in pair]
        write(root, name, rows, BAR_TYPE if name == "Bar" else INSTRUMENT)
    include = [name for name in reversed(ONE_OF_EACH) if name != "FundingRateUpdate"]
    suite = probe_suite(root, include, listen=["FundingRateUpdate"], funding="settle")
    got = delivered(suite, window_ns=window_ns)
    for ts, pair in instants.items():
        assert [kind for kind, at, _ in got if at == ts] == list(pair)


def test_instruments_of_one_nanosecond_come_in_the_order_of_the_suite(tmp_path: Path) -> None:
    root, other = tmp_path / "c", "AVAXUSDT-PERP.BINANCE"
    write(root, "QuoteTick", [quote(START, "100.00", "100.10")])
    write(root, "TradeTick", [trade(START, "100.00", i=100)])
    fine = {"price_precision": 4, "size_precision": 0}
    write(root, "QuoteTick", [quote(START, "30.0000", "30.0010", "5")], other, **fine)
    write(root, "TradeTick", [trade(START, "30.0000", "1", i=30)], other, **fine)
    for names, first, second in (
        ([INSTRUMENT, other], ("100.00", "100"), ("30.0000", "30")),
        ([other, INSTRUMENT], ("30.0000", "30"), ("100.00", "100")),
    ):
        suite = probe_suite(
            root, ["TradeTick", "QuoteTick"], universe={"instrument_ids": names}
        )  # the quotes of both come before the trades of either
        told = [what for _, _, what in delivered(suite)]
        assert told == [first[0], second[0], first[1], second[1]]


def test_the_end_of_a_range_and_of_every_window_is_excluded(tmp_path: Path) -> None:
    root = tmp_path / "c"
    times = [START, START + HOUR - 1, START + HOUR, START + 2 * HOUR - 1, START + 2 * HOUR]
    write(root, "QuoteTick", [quote(t, "100.00", "100.10") for t in times])
    write(root, "MarkPriceUpdate", [{"ts": t, "value": "100.00"} for t in times])
    write(root, "BinanceFundingRate",
          [{"ts": t, "rate": "0.0001", "interval_hours": 8} for t in times])  # fmt: skip
    include = ["QuoteTick", "MarkPriceUpdate", "BinanceFundingRate"]
    time = {"start_utc": "2024-01-28", "end_utc": "2024-01-28T02:00:00Z"}
    suite = probe_suite(root, include, time=time)
    for window in (MINUTE, HOUR, DAY):
        got = delivered(suite, window_ns=window)
        for kind in include:
            assert [ts for k, ts, _ in got if k == kind] == times[:-1]


def test_custom_data_reach_the_strategy_exactly(tmp_path: Path) -> None:
    root = tmp_path / "c"
    write(root, "QuoteTick", [quote(START + SECOND, "100.00", "100.10")])
    write(root, "BinanceOiMetrics", [{"ts": START + MINUTE, "sum_open_interest": "12345.678901"}])
    got = delivered(probe_suite(root, ["QuoteTick", "BinanceOiMetrics"]))
    assert [k for k, _, _ in got] == ["QuoteTick", "BinanceOiMetrics"]
    assert "Decimal('12345.678901" in got[1][2]
    assert "count_long_short_ratio=None" in got[1][2]


def test_empty_windows_are_skipped_and_gaps_reported(tmp_path: Path) -> None:
    root = tmp_path / "c"
    times = [START + 7 * HOUR, START + 7 * HOUR + MINUTE, START + 15 * HOUR]
    write(root, "QuoteTick", [quote(t, "100.00", "100.10") for t in times])
    time = {"start_utc": "2024-01-28", "end_utc": "2024-01-29"}
    suite = probe_suite(root, ["QuoteTick"], time=time)
    result = run_backtest(suite, START, START + DAY)
    assert [ts for _, ts, _ in Probe.log] == times
    assert [(g["start_utc"][8:16], g["end_utc"][8:16]) for g in result.gaps] == [
        ("28T00:00", "28T07:00"), ("28T07:01", "28T15:00"), ("28T15:00", "29T00:00"),
    ]  # fmt: skip
    # Equity stands on every minute of the range all the same.
    minutes = result.equity["ts_ns"].to_numpy()
    assert np.array_equal(minutes, np.arange(START, START + DAY + 1, MINUTE))
    assert result.rows == {"QuoteTick": {INSTRUMENT: 3}}
    assert result.ranges == {
        "QuoteTick": {INSTRUMENT: ["2024-01-28T07:00:00Z", "2024-01-28T15:00:00Z"]}
    }


def test_a_range_or_type_without_data_is_an_error_that_says_what_is_there(tmp_path: Path) -> None:
    root = tmp_path / "c"
    write(root, "Bar", bar_rows(["100.00"] * 60), BAR_TYPE)
    late = {"start_utc": "2024-02-01", "end_utc": "2024-02-02"}
    for suite, words in (
        (probe_suite(root, ["Bar"], time=late), "the catalog has it from 2024-01-28T00:00:59.999Z"),
        (probe_suite(root, ["QuoteTick", "Bar"]), "no QuoteTick of BTCUSDT-PERP.BINANCE"),
        (probe_suite(root, ["Bar"], funding="settle"), "set funding to flat or off"),
    ):
        catalog = Catalog.open(str(root))
        with pytest.raises(NoDataError, match=words) as caught:
            Replay(suite, catalog, suite.config.time.start_ns, suite.config.time.end_ns)
        assert caught.value.exit_code == 3
    with pytest.raises(NoDataError, match="no catalog here"):
        Catalog.open(str(tmp_path / "absent"))


def test_rows_out_of_order_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "c"
    rows = [quote(START + t, "100.00", "100.10") for t in (0, 5, 3, 9)]
    write(root, "QuoteTick", rows)
    with pytest.raises(CatalogOrderError, match="ts_init must not decrease"):
        delivered(probe_suite(root, ["QuoteTick"]))


def test_reading_prunes_files_and_row_groups(tmp_path: Path) -> None:
    root = tmp_path / "c"
    for day in range(3):
        rows = [quote(START + day * DAY + i * SECOND, "100.00", "100.10") for i in range(1000)]
        write(root, "QuoteTick", rows, row_group_size=100)
    catalog = Catalog.open(str(root))
    files = catalog.files(CATALOG_TYPES["QuoteTick"], INSTRUMENT)
    assert len(files) == 3
    series = StoredSeries(catalog, files)
    start = START + DAY + 450 * SECOND
    table = series.read(start, start + 10 * SECOND)
    assert list(init_times(table) - start) == [i * SECOND for i in range(10)]
    # One row group is held beyond the window, nothing more.
    assert series._held is not None
    assert series._held[0].num_rows <= 100
    assert series.read(start + DAY, start + DAY + SECOND).num_rows == 1


def test_trades_that_only_build_bars_stay_out_of_the_engine(tmp_path: Path) -> None:
    root = tmp_path / "c"
    write(root, "QuoteTick", [quote(START + i * MINUTE, "100.00", "100.10") for i in range(60)])
    write(root, "TradeTick", [trade(START + i * MINUTE, "100.00") for i in range(60)])
    data = {"include": ["QuoteTick", "TradeTick", "Bar"], "bars_from_trades": True}

    def types(**sections: Any) -> set[str]:
        suite = suite_from(suite_values(root, data=data, **sections), source="test")
        replay = Replay(suite, Catalog.open(str(root)), START, START + HOUR)
        found = {b.type_name for window in replay.windows() for b in window.batches}
        assert replay.rows()["TradeTick"] == {INSTRUMENT: 60}
        return found

    assert types(execution={}) == {"QuoteTick", "Bar"}
    with_trades = {"QuoteTick", "TradeTick", "OrderBookDepth", "Bar"}
    assert types(execution={"trade_execution": True}) == with_trades
    listening = {"name": "probe_strategies:PROBE", "config": {"listen": ["TradeTick"]}}
    assert types(execution={}, strategy=listening) == with_trades


def _damaged(path: Path, how: str) -> None:
    table = pq.read_table(path)
    if how == "cut short":
        path.write_bytes(path.read_bytes()[:-20])
    elif how == "other bytes":
        content = bytearray(path.read_bytes())
        content[100:400] = bytes(300)
        path.write_bytes(bytes(content))
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "column":
        pq.write_table(table.drop_columns(["bid_price"]), path)
    elif how == "type":
        sizes = table["bid_size"].cast(pa.float64())
        pq.write_table(table.set_column(2, "bid_size", sizes), path)
    else:
        metadata = {**table.schema.metadata, b"price_precision": b"1"}
        pq.write_table(table.replace_schema_metadata(metadata), path)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("cut short", "must be a readable Parquet file"),
        ("other bytes", "must be a readable Parquet file"),
        ("empty", "must be a readable Parquet file"),
        ("column", "must have a column bid_price"),
        ("type", "bid_size must be .*decimal128.*double"),
        ("precision", r"price_precision must be 2, .* \(was 1\)"),
    ],
)
def test_a_file_that_is_not_as_ingested_is_named(tmp_path: Path, how: str, said: str) -> None:
    rows = [quote(START + i * SECOND, f"{100 + i % 7}.00", "108.00") for i in range(3000)]
    write(tmp_path / "c", "QuoteTick", rows)
    [path] = (tmp_path / "c").rglob("*.parquet")
    _damaged(path, how)
    suite = suite_from(
        suite_values(
            tmp_path / "c", data={"include": ["QuoteTick"]}, execution={},
            strategy={"name": "probe_strategies:PROBE", "config": {}},
        ),
        source="test",
    )  # fmt: skip
    replay = Replay(suite, Catalog.open(str(tmp_path / "c")), START, START + HOUR)
    with pytest.raises(CatalogError, match=said) as caught:
        list(replay.windows())
    assert str(caught.value).startswith(str(path))


def test_mark_prices_have_digits_of_their_own(tmp_path: Path) -> None:
    write(tmp_path / "c", "QuoteTick", [quote(START, "100.00", "108.00")])
    marks = [{"ts": START + SECOND, "value": "103.12345678"}]
    write(tmp_path / "c", "MarkPriceUpdate", marks, price_precision=8)
    suite = suite_from(
        suite_values(
            tmp_path / "c", data={"include": ["QuoteTick", "MarkPriceUpdate"]}, execution={},
            strategy={"name": "probe_strategies:PROBE", "config": {}},
        ),
        source="test",
    )  # fmt: skip
    replay = Replay(suite, Catalog.open(str(tmp_path / "c")), START, START + HOUR)
    assert [window.rows for window in replay.windows()] == [2]
