"""A simulated day as the archive's files: names, headers, columns, decimals.

Headers and decimals are those of the archive in 2024: prices of bars with the decimals of the
symbol's price precision, sizes of quotes and depth with eight, metrics with sixteen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Final

import numpy as np

from phoenix_etl.synthetic import latent, streams
from phoenix_etl.synthetic.draws import Draws, Ints
from phoenix_etl.synthetic.dump import Column, Flag, Number, Text
from phoenix_etl.synthetic.simulation import SimulatedDay
from phoenix_etl.synthetic.story import Story

_AGG_TRADES: Final = (
    "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"
)
_TRADES: Final = "id,price,qty,quote_qty,time,is_buyer_maker"
_BOOK_TICKER: Final = (
    "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time"
)
_KLINES: Final = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,"
    "taker_buy_volume,taker_buy_quote_volume,ignore"
)
_METRICS: Final = (
    "create_time,symbol,sum_open_interest,sum_open_interest_value,"
    "count_toptrader_long_short_ratio,sum_toptrader_long_short_ratio,"
    "count_long_short_ratio,sum_taker_long_short_vol_ratio"
)
_FUNDING_HOURS: Final = 8

Table = tuple[str, str, str, list[Column]]
"""Dataset folder, file stem after the symbol, header, columns."""


def tables(made: SimulatedDay) -> Iterator[Table]:
    """The daily files of a simulated day."""
    listed, day = made.listing, made.day.date.isoformat()
    start = made.day.midnight_seconds * 1000
    tick, lot = listed.tick_decimals, listed.lot_decimals
    tape, touch = made.prints, made.book

    yield (
        "aggTrades",
        f"aggTrades-{day}",
        _AGG_TRADES,
        [
            Number(tape.agg_id),
            Number(tape.ticks, tick),
            Number(tape.lots, lot),
            Number(tape.first_fill),
            Number(tape.last_fill),
            Number(start + tape.milliseconds),
            Flag(tape.sells),
        ],
    )
    fills = tape.fills
    fill_ticks = np.repeat(tape.ticks, fills)
    yield (
        "trades",
        f"trades-{day}",
        _TRADES,
        [
            Number(made.day.first_fill + np.arange(len(tape.fill_lots))),
            Number(fill_ticks, tick),
            Number(tape.fill_lots, lot),
            Number(fill_ticks * tape.fill_lots, tick + lot, strip=True),
            Number(start + np.repeat(tape.milliseconds, fills)),
            Flag(np.repeat(tape.sells, fills)),
        ],
    )
    yield (
        "bookTicker",
        f"bookTicker-{day}",
        _BOOK_TICKER,
        [
            Number(made.update_id),
            Number(touch.bid, tick, zeros=8 - tick),
            _eight(touch.bid_lots, lot),
            Number(touch.ask, tick, zeros=8 - tick),
            _eight(touch.ask_lots, lot),
            Number(start + made.milliseconds),
            Number(start + made.event_ms),
        ],
    )
    minute = start + 60_000 * np.arange(latent.MINUTES)
    traded, price = made.bars, listed.price_decimals
    scale = 10 ** (price - tick)
    yield (
        "klines_1m",
        f"1m-{day}",
        _KLINES,
        [
            Number(minute),
            *(
                Number(v * scale, price)
                for v in (traded.open, traded.high, traded.low, traded.close)
            ),
            Number(traded.volume, lot),
            Number(minute + 59_999),
            Number(traded.quote_volume * scale, price + lot),
            Number(traded.count),
            Number(traded.taker_buy_volume, lot),
            Number(traded.taker_buy_quote_volume * scale, price + lot),
            Text.same("0", latent.MINUTES),
        ],
    )
    refs = made.references
    for dataset, quoted, samples in (
        ("markPriceKlines", refs.mark, "60"),
        ("indexPriceKlines", refs.index, "60"),
        ("premiumIndexKlines", refs.premium, "12"),
    ):
        zero = Text.same("0", latent.MINUTES)
        yield (
            dataset,
            f"1m-{day}",
            _KLINES,
            [
                Number(minute),
                *(Number(v, 8) for v in (quoted.open, quoted.high, quoted.low, quoted.close)),
                zero,
                Number(minute + 59_999),
                zero,
                Text.same(samples, latent.MINUTES),
                zero,
                zero,
                zero,
            ],
        )
    yield _depth_table(made, start)
    yield _metrics_table(made, start)


def _eight(lots: Ints, decimals: int) -> Number:
    """A size with eight decimals, as bookTicker and bookDepth print it."""
    if decimals:
        return Number(lots, decimals, zeros=8 - decimals)
    return Number(lots * 10**8, 8)


def _depth_table(made: SimulatedDay, start: int) -> Table:
    listed, depth = made.listing, made.depth
    decimals = listed.price_decimals + listed.lot_decimals
    coarse = made.day.date < streams.TWELVE_LEVELS_FROM
    return (
        "bookDepth",
        f"bookDepth-{made.day.date.isoformat()}",
        "timestamp,percentage,depth,notional",
        [
            Text.times(start // 1000 + depth.second),
            Number(depth.percentage // 100) if coarse else Number(depth.percentage, 2),
            _eight(depth.lots, listed.lot_decimals),
            Number(
                depth.notional * 10 ** (listed.price_decimals - listed.tick_decimals),
                decimals,
                zeros=8 - decimals,
            ),
        ],
    )


def _metrics_table(made: SimulatedDay, start: int) -> Table:
    listed, metrics = made.listing, made.metrics
    value = listed.tick_decimals + listed.lot_decimals
    return (
        "metrics",
        f"metrics-{made.day.date.isoformat()}",
        _METRICS,
        [
            Text.times(start // 1000 + metrics.second),
            Text.same(listed.symbol, len(metrics.second)),
            Number(metrics.interest_lots, listed.lot_decimals, zeros=16 - listed.lot_decimals)
            if listed.lot_decimals
            else Number(metrics.interest_lots * 10, 1, zeros=15),
            Number(metrics.interest_value, value, zeros=16 - value),
            Number(metrics.top_count_ratio, 8),
            Number(metrics.top_sum_ratio, 6, zeros=2),
            Number(metrics.all_count_ratio, 8),
            Number(metrics.taker_ratio, 6, zeros=2),
        ],
    )


def funding_tables(story: Story, days: Sequence[date], seed: int) -> Iterator[Table]:
    """One file per month that `days` touch, with every settlement of that month."""
    listed = story.listing
    for month in sorted({day.replace(day=1) for day in days}):
        day = month
        times: list[int] = []
        rates: list[int] = []
        before = latent.premium_path(listed, story.day(day - timedelta(days=1)), seed)
        while (day.year, day.month) == (month.year, month.month):
            today = story.day(day)
            here = latent.premium_path(listed, today, seed)
            premium = np.concatenate([before[:-1], here])
            late = Draws(seed, listed.symbol, day.isoformat(), "funding").exponential(3) * 5.0
            for k in range(24 // _FUNDING_HOURS):
                end = latent.MINUTES + 60 * _FUNDING_HOURS * k
                boundary = today.midnight_seconds * 1000 + 3_600_000 * _FUNDING_HOURS * k
                times.append(boundary + min(max(int(late[k]) - 2, 0), 13))
                rates.append(streams.funding_rate(premium[end - 60 * _FUNDING_HOURS : end]))
            before, day = here, day + timedelta(days=1)
        yield (
            "fundingRate",
            f"fundingRate-{month.isoformat()[:7]}",
            "calc_time,funding_interval_hours,last_funding_rate",
            [
                Number(np.array(times)),
                Text.same(str(_FUNDING_HOURS), len(times)),
                Number(np.array(rates), 8),
            ],
        )
