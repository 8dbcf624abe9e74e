"""Dump files of the benchmark: plausible rows, any number of them, the same for the same arguments.

Plain random walks; what counts here is the text (widths, types, order), not the market.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
from phoenix_etl.synthetic.dump import Flag, Number, Text, write

DAY = dt.date(2024, 3, 1)
_MS_PER_DAY = 86_400_000


def _day_ms(day: dt.date) -> int:
    return (day - dt.date(1970, 1, 1)).days * _MS_PER_DAY


def _ending(compress: bool) -> str:
    return "zip" if compress else "csv"


def book_ticker(
    root: Path,
    rows: int,
    *,
    compress: bool = False,
    days: int = 1,
    shuffled: bool = False,
    day: int = 0,
) -> Path:
    """Quotes of one day (the first, or `day` days later), or of `days` days as a monthly file;
    `shuffled` interleaves two streams."""
    first = DAY + dt.timedelta(days=day)
    rng = np.random.default_rng(1)
    stamps = np.sort(rng.integers(0, days * _MS_PER_DAY - 20, rows)) + _day_ms(first)
    bid = 690_000 + np.cumsum(np.where(rng.random(rows) < 0.1, rng.integers(-1, 2, rows), 0))
    ids = 4_000_000_000_000 + np.cumsum(rng.integers(1, 900, rows))
    # One side changes at a time, as in the archive.
    of_bid = rng.random(rows) < 0.5
    bid_size, ask_size = (
        rng.integers(1, 20_000, rows)[np.maximum.accumulate(np.where(side, np.arange(rows), 0))]
        for side in (of_bid, ~of_bid)
    )
    sent = np.maximum.accumulate(stamps + rng.integers(3, 12, rows))
    place = np.arange(rows)
    if shuffled:  # every second row comes later in the file, by minutes
        place[1::2] += rows // 200
    order = np.argsort(place, kind="stable")
    columns = [
        Number(ids[order]),
        Number(bid[order], 1, 7),
        Number(bid_size[order], 3, 5),
        Number(bid[order] + 1, 1, 7),
        Number(ask_size[order], 3, 5),
        Number(stamps[order]),
        Number(sent[order]),
    ]
    period, key = ("daily", first.isoformat()) if days == 1 else ("monthly", DAY.isoformat()[:7])
    path = root / f"futures/{period}/bookTicker/BTCUSDT-bookTicker-{key}.{_ending(compress)}"
    header = (
        "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,"
        "transaction_time,event_time"
    )
    write(path, header, columns, DAY)
    return path


def agg_trades(root: Path, rows: int, *, compress: bool = False, day: int = 0) -> Path:
    first = DAY + dt.timedelta(days=day)
    rng = np.random.default_rng(2)
    stamps = np.sort(rng.integers(0, _MS_PER_DAY, rows)) + _day_ms(first)
    fills = rng.integers(1, 5, rows)
    last = 8_000_000_000 + np.cumsum(fills)
    columns = [
        Number(3_400_000_000 + np.arange(rows)),
        Number(690_000 + np.cumsum(rng.integers(-1, 2, rows)), 1),
        Number(rng.integers(1, 20_000, rows), 3),
        Number(last - fills + 1),
        Number(last),
        Number(stamps),
        Flag(rng.integers(0, 2, rows).astype(bool)),
    ]
    path = root / f"futures/daily/aggTrades/BTCUSDT-aggTrades-{first}.{_ending(compress)}"
    header = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"
    write(path, header, columns, DAY)
    return path


def book_depth(root: Path, days: int) -> list[Path]:
    """2,880 snapshots of ten levels a day."""
    paths = []
    for i in range(days):
        day = DAY + dt.timedelta(days=i)
        rng = np.random.default_rng([3, i])
        snapshots, levels = 2_880, np.array([-5, -4, -3, -2, -1, 1, 2, 3, 4, 5])
        seconds = np.repeat(_day_ms(day) // 1000 + 30 * np.arange(snapshots), len(levels))
        depth = np.sort(rng.integers(1_000_000, 20_000_000, (snapshots, 10)), axis=1).ravel()
        columns = [
            Text.times(seconds),
            Number(np.tile(levels, snapshots)),
            Number(depth, 3, 5),
            Number(depth * 69, 3, 5),
        ]
        path = root / f"futures/daily/bookDepth/BTCUSDT-bookDepth-{day}.csv"
        write(path, "timestamp,percentage,depth,notional", columns, day)
        paths.append(path)
    return paths


def metrics(root: Path, days: int, symbol: str = "BTCUSDT") -> list[Path]:
    """288 rows of six numbers a day."""
    paths = []
    for i in range(days):
        day = DAY + dt.timedelta(days=i)
        rng = np.random.default_rng([4, i])
        rows = 288
        seconds = _day_ms(day) // 1000 + 300 * np.arange(rows)
        interest = 80_000_000 + np.cumsum(rng.integers(-9_000, 9_000, rows))
        ratios = rng.integers(50_000_000, 300_000_000, (4, rows))
        columns = [
            Text.times(seconds),
            Text.same(symbol, rows),
            Number(interest, 3, 13),
            Number(interest * 69, 3, 13),
            *(Number(ratio, 8) for ratio in ratios),
        ]
        path = root / f"futures/daily/metrics/{symbol}-metrics-{day}.csv"
        header = (
            "create_time,symbol,sum_open_interest,sum_open_interest_value,"
            "count_toptrader_long_short_ratio,sum_toptrader_long_short_ratio,"
            "count_long_short_ratio,sum_taker_long_short_vol_ratio"
        )
        write(path, header, columns, day)
        paths.append(path)
    return paths
