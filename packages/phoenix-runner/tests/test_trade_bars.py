"""Bars from trades: the exchange's klines, whatever the window; and a market made of bars."""

from __future__ import annotations

import random
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from phoenix_runner.catalog_series import Catalog, StoredSeries, init_times
from phoenix_runner.trade_bars import BarMarket, TradeBars
from phoenix_schemas.arrow import CATALOG_TYPES
from small_catalog import (
    BAR_TYPE,
    HOUR,
    INSTRUMENT,
    MINUTE,
    MS,
    SECOND,
    START,
    bar_rows,
    trade,
    write,
)

type Row = tuple[int, Decimal, Decimal, Decimal, Decimal, Decimal]


def stored(root: Path, type_name: str, identifier: str) -> StoredSeries:
    catalog = Catalog.open(str(root))
    return StoredSeries(catalog, catalog.files(CATALOG_TYPES[type_name], identifier))


def built(root: Path, end: int, window: int) -> list[Row]:
    series = stored(root, "TradeTick", INSTRUMENT)
    builder = TradeBars(INSTRUMENT, 2, 3)
    rows: list[Row] = []
    for start in range(START, end, window):
        stop = min(start + window, end)
        table = builder.build(series.read(start, stop), start, stop)
        if table is not None:
            columns = [table[n].to_pylist() for n in ("open", "high", "low", "close", "volume")]
            rows += list(zip(init_times(table).tolist(), *columns, strict=True))
    return rows


def klines(trades: list[dict[str, object]], end: int) -> list[Row]:
    """The same by hand: one minute after the other."""
    rows: list[Row] = []
    last = None
    for minute in range(START, end, MINUTE):
        inside = [t for t in trades if minute <= t["ts"] < minute + MINUTE]  # type: ignore[operator]
        if inside:
            prices = [Decimal(str(t["price"])) for t in inside]
            last = prices[-1]
            volume = sum((Decimal(str(t["size"])) for t in inside), Decimal(0))
            ohlc = (prices[0], max(prices), min(prices), last)
        elif last is None:
            continue
        else:
            ohlc, volume = (last, last, last, last), Decimal(0)
        rows.append((minute + MINUTE - MS, *ohlc, volume))
    return rows


@pytest.mark.parametrize("window", [MINUTE, 7 * MINUTE, HOUR, 24 * HOUR])
@pytest.mark.parametrize("seed", [1, 2])
def test_bars_equal_klines_for_every_window(tmp_path: Path, window: int, seed: int) -> None:
    draw = random.Random(seed)
    times = sorted(START + draw.randrange(5 * 60, 150 * 60) * SECOND for _ in range(90))
    times += [START + 10 * MINUTE, START + 11 * MINUTE - MS]  # first and last instant of a minute
    rows = [
        trade(t, f"{draw.randrange(9_900, 10_100) / 100:.2f}", f"0.{draw.randrange(1, 999):03d}")
        for t in sorted(times)
    ]
    write(tmp_path, "TradeTick", rows, row_group_size=17)
    end = START + 3 * HOUR
    assert built(tmp_path, end, window) == klines(rows, end)


def test_a_trade_on_the_minute_belongs_to_the_minute_it_begins(tmp_path: Path) -> None:
    rows = [trade(START, "10.00"), trade(START + MINUTE, "20.00")]
    write(tmp_path, "TradeTick", rows)
    first, second = built(tmp_path, START + 2 * MINUTE, HOUR)
    assert (first[0], first[4], second[0], second[1]) == (
        START + MINUTE - MS, Decimal(10), START + 2 * MINUTE - MS, Decimal(20),
    )  # fmt: skip


def test_microsecond_trades_close_a_microsecond_before_the_minute(tmp_path: Path) -> None:
    rows = [trade(START + 59 * SECOND + 999_500_000, "10.00")]
    write(tmp_path, "TradeTick", rows)
    [only] = built(tmp_path, START + MINUTE, HOUR)
    assert only[0] == START + MINUTE - 1_000 > rows[0]["ts"]  # never known before its last trade


def test_a_bar_market_stands_spread_and_slippage_around_the_close(tmp_path: Path) -> None:
    write(tmp_path, "Bar", bar_rows(["40000.00", "40000.04"]), BAR_TYPE)
    bars = stored(tmp_path, "Bar", BAR_TYPE).read(START, START + HOUR)
    market = BarMarket(
        INSTRUMENT,
        price_increment=Decimal("0.10"),
        price_precision=2,
        size_precision=3,
        spread_bps=2.0,
        slippage_bps=0.5,
    )
    quotes = market.quotes(bars)
    assert isinstance(quotes, pa.Table)
    # 40000 * (1 +- 1.5 bps) = 39994 / 40006; 40000.04 gives 39994.03999 / 40006.04, on the tick.
    assert quotes["bid_price"].to_pylist() == [Decimal("39994.00"), Decimal("39994.00")]
    assert quotes["ask_price"].to_pylist() == [Decimal("40006.00"), Decimal("40006.10")]
    assert quotes["ts_init"].to_pylist() == bars["ts_init"].to_pylist()
