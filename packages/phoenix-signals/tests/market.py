"""A small random market as columns, for the tests of engines; and its replay, event by event."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np
from phoenix_schemas.custom_data import BinanceBookDepthPct, BinanceFundingRate, BinanceOiMetrics
from phoenix_signals.batch.columns import Bars, Depth, Funding, Metrics, Quotes, Trades

MS = 1_000_000
SECOND = 1000 * MS
START = 1_700_000_000 * SECOND
INSTRUMENT = "BTCUSDT-PERP.BINANCE"
PRICE_PRECISION, SIZE_PRECISION = 2, 3


@dataclass(frozen=True)
class Market:
    trades: Trades
    quotes: Quotes
    depth: Depth
    metrics: Metrics
    funding: Funding
    bars: Bars

    def columns(self) -> tuple:
        return self.trades, self.quotes, self.depth, self.metrics, self.funding

    def until(self, ts_ns: int) -> Market:
        """What was known at a time, inclusive."""
        return Market(
            *(
                part.before(int(np.searchsorted(part.ts_ns, ts_ns, side="right")))
                for part in (*self.columns(), self.bars)
            )
        )

    def moved(self, by_ns: int) -> Market:
        """The same events at another time."""
        return Market(
            *(replace(part, ts_ns=part.ts_ns + by_ns) for part in (*self.columns(), self.bars))
        )


def random_market(
    seed: int,
    seconds: float = 120.0,
    events: int = 2_000,
    gaps_s: tuple[float, ...] = (),
    depth_every_s: float = 3.0,
    metrics_every_s: float = 5.0,
) -> Market:
    """Quotes and trades on whole milliseconds, many at one time; holes of `gaps_s` in the feed."""
    rng = np.random.default_rng(seed)
    span = int(seconds * 1000)

    def clock(count: int) -> np.ndarray:
        ms = np.sort(rng.integers(0, span, count))
        for i, gap in enumerate(gaps_s, start=1):
            ms = ms + np.where(ms > span * i / (len(gaps_s) + 1), int(gap * 1000), 0)
        return START + ms * MS

    quote_ts = clock(events * 4 // 5)
    tick = 10
    walk = np.cumsum(rng.integers(-1, 2, len(quote_ts)) * (rng.random(len(quote_ts)) < 0.3)) * tick
    bid = 3_000_000 + walk
    ask = bid + tick * rng.choice([1, 1, 1, 1, 2, 5], len(quote_ts))
    sizes = 1 + np.floor(rng.pareto(1.5, (2, len(quote_ts))) * 500).astype(np.int64)
    quotes = Quotes(quote_ts, bid, ask, *sizes)
    trade_ts = clock(events // 5)
    at = np.maximum(np.searchsorted(quote_ts, trade_ts) - 1, 0)
    side = rng.choice([1, -1], len(trade_ts))
    beyond = tick * rng.choice([0, 0, 0, 1, 4, 30], len(trade_ts))
    price = np.where(side > 0, ask[at], bid[at]) + side * beyond
    size = 1 + np.floor(rng.pareto(1.5, len(trade_ts)) * 300).astype(np.int64)
    trades = Trades(trade_ts, price, size, side)

    stamps = START + (np.arange(0.5, seconds, depth_every_s) * 1000).astype(np.int64) * MS
    percentages = np.array([-5.0, -4.0, -3.0, -2.0, -1.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    steps = rng.exponential(1e6, (len(stamps), 10)).round()
    below, above = np.cumsum(steps[:, 4::-1], 1)[:, ::-1], np.cumsum(steps[:, 5:], 1)
    keep = rng.random((len(stamps), 10)).ravel() < 0.97
    depth = Depth(
        np.repeat(stamps, 10)[keep],
        np.tile(percentages, len(stamps))[keep],
        np.hstack([below, above]).ravel()[keep],
    )
    stamps = START + (np.arange(1.0, seconds, metrics_every_s) * 1000).astype(np.int64) * MS
    interest = (1e5 * np.exp(np.cumsum(rng.normal(size=len(stamps)) * 0.01))).round(3)
    interest[rng.random(len(stamps)) < 0.1] = np.nan
    metrics = Metrics(stamps, interest, np.exp(rng.normal(size=len(stamps)) * 0.3).round(4))
    stamps = START + (np.arange(0.2, seconds, 4 * metrics_every_s) * 1000).astype(np.int64) * MS
    funding = Funding(stamps, (rng.normal(size=len(stamps)) * 1e-4).round(8))

    width = 1000
    closes = START + np.arange(width - 1, span, width) * MS
    mid = 3_000_000 + np.cumsum(rng.integers(-30, 31, (len(closes), 4)), axis=1) * tick
    bars = Bars(
        closes, mid[:, 0], mid.max(axis=1), mid.min(axis=1), mid[:, 3],
        np.floor(rng.pareto(1.2, len(closes)) * 2_000).astype(np.int64),
    )  # fmt: skip
    return Market(trades, quotes, depth, metrics, funding, bars)


def replay(engine, market: Market, price_scale: int = 1, size_scale: int = 1) -> list:
    """Feed an engine in replay order; all records that it emits."""
    found = [r for step in steps(engine, market, price_scale, size_scale) for r in step]
    assert engine.maybe_emit() is None, "a record waits although no call said so"
    return found


def steps(engine, market: Market, price_scale: int = 1, size_scale: int = 1) -> Iterator[list]:
    """Feed an engine in replay order; after each event the records that it brought."""
    for _, _, call, arguments in _events(engine, market, price_scale, size_scale):
        found = []
        if call(*arguments):
            while (record := engine.maybe_emit()) is not None:
                found.append(record)
        yield found


def _events(engine, market: Market, p: int, s: int):
    t, q, b = market.trades, market.quotes, market.bars
    streams = [
        [
            (ts, 0, engine.on_quote, (ts, bid * p, ask * p, bs * s, as_ * s))
            for ts, bid, ask, bs, as_ in zip(
                *(c.tolist() for c in (q.ts_ns, q.bid_raw, q.ask_raw, q.bid_size_raw)),
                q.ask_size_raw.tolist(),
                strict=True,
            )
        ],
        [
            (ts, 1, engine.on_trade, (ts, price * p, size * s, side))
            for ts, price, size, side in zip(
                *(c.tolist() for c in (t.ts_ns, t.price_raw, t.size_raw, t.side)), strict=True
            )
        ],
        [(row.ts_init, 2 + rank, engine.on_custom_data, (row,)) for rank, row in records(market)],
        [
            (ts, 6, engine.on_bar, (ts, o * p, h * p, low * p, c * p, v * s))
            for ts, o, h, low, c, v in zip(
                *(
                    x.tolist()
                    for x in (b.ts_ns, b.open_raw, b.high_raw, b.low_raw, b.close_raw, b.volume_raw)
                ),
                strict=True,
            )
        ],
    ]
    return heapq.merge(*streams, key=lambda event: event[:2])


def records(market: Market) -> list:
    """The custom data as records, with their rank in a replay."""
    d, m, f = market.depth, market.metrics, market.funding
    found = []
    for ts, percentage, notional in zip(
        d.ts_ns.tolist(), d.percentage.tolist(), d.notional.tolist(), strict=True
    ):
        found.append((0, BinanceBookDepthPct(
            ts_event=ts, ts_init=ts, instrument_id=INSTRUMENT, percentage=percentage,
            depth=Decimal(1), notional=Decimal(str(notional)),
        )))  # fmt: skip
    for ts, oi, ratio in zip(
        m.ts_ns.tolist(), m.open_interest.tolist(), m.long_short_ratio.tolist(), strict=True
    ):
        found.append((1, BinanceOiMetrics(
            ts_event=ts, ts_init=ts, instrument_id=INSTRUMENT,
            sum_open_interest=None if oi != oi else Decimal(str(oi)),
            sum_open_interest_value=None, count_toptrader_long_short_ratio=None,
            sum_toptrader_long_short_ratio=None, count_long_short_ratio=ratio,
            sum_taker_long_short_vol_ratio=None,
        )))  # fmt: skip
    for ts, rate in zip(f.ts_ns.tolist(), f.rate.tolist(), strict=True):
        found.append((2, BinanceFundingRate(
            ts_event=ts, ts_init=ts, instrument_id=INSTRUMENT, rate=Decimal(str(rate)),
            interval_hours=8,
        )))  # fmt: skip
    return sorted(found, key=lambda row: (row[1].ts_init, row[0]))


def tail(columns, cut: int):
    """The rows of columns behind a time."""
    row = int(np.searchsorted(columns.ts_ns, cut, side="right"))
    return type(columns)(*(array[row:] for array in columns.arrays().values()))


def after(market: Market, cut: int) -> Market:
    """What becomes known behind a time."""
    return Market(*(tail(part, cut) for part in (*market.columns(), market.bars)))


def empty(columns):
    """The same columns without rows."""
    return columns.before(0)


def assert_same(found: list, expected: list, rel: float = 1e-12) -> None:
    """Counts, times, flags and booleans exactly; values to `rel` of themselves or their column."""
    assert len(found) == len(expected)
    if not expected:
        return
    for name in expected[0].__struct_fields__:
        a = [getattr(s, name) for s in found]
        b = [getattr(s, name) for s in expected]
        if not any(isinstance(x, float) for x in b):
            assert a == b, name
            continue
        assert [x is None for x in a] == [x is None for x in b], name
        known = np.array([x for x in b if x is not None], dtype=float)
        np.testing.assert_allclose(
            np.array([x for x in a if x is not None], dtype=float),
            known,
            rtol=rel,
            atol=rel * np.abs(known).max(initial=0.0),
            err_msg=name,
        )
