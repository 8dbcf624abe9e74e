"""The speed that phoenix-signals promises, measured as ratios within one run.

    python packages/phoenix-signals/benchmarks/bench_signals.py [--events 2500000]

A ratio compares two processor times of the same minute on the same machine (the best of several
rounds, in turns), so that a slow or busy machine changes both. Prints one line per promise; the exit
code is 0 also when a promise is missed, because a busy machine must not fail a build.

Indented lines promise nothing. Some of them are floors: what the operations that nobody can leave
out cost alone, written as tersely as they can be.
"""

# the empty methods must take what the measured ones take
from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
from phoenix_schemas.custom_data import (
    BinanceBookDepthPct,
    BinanceFundingRate,
    BinanceOiMetrics,
    BinanceRecord,
)
from phoenix_signals import batch
from phoenix_signals.batch import Depth, Funding, Metrics, Quotes, Trades
from phoenix_signals.batch.alignment import last_rows
from phoenix_signals.clocks import SECOND_NS, VolumeClock
from phoenix_signals.engines import LpiConfig, LpiEngine
from phoenix_signals.orderflow import OrderFlowImbalance
from phoenix_signals.rolling import RollingMeanVariance, RollingMedianMad, ZScoreMedianMad
from phoenix_signals.toxicity import Vpin

DAY_NS = 86_400 * SECOND_NS
ROUNDS = 5
INSTRUMENT = "BTCUSDT-PERP.BINANCE"
CONFIG = LpiConfig(price_precision=2, size_precision=3, price_increment=0.1)


class Empty:
    """A call that does nothing: the least a Python method can cost."""

    __slots__ = ()

    def on_quote(
        self, ts_ns: int, bid_raw: int, ask_raw: int, bid_size_raw: int, ask_size_raw: int
    ) -> bool:
        """Nothing."""
        return False

    def on_trade(self, ts_ns: int, price_raw: int, size_raw: int, side: int) -> bool:
        """Nothing."""
        return False

    def on_custom_data(self, data: BinanceRecord) -> bool:
        """Nothing."""
        return False


class Floor:
    """What no streaming engine can leave out: refuse what cannot be, compare two times, keep it."""

    __slots__ = ("_ask", "_bid", "_kept", "_now", "_until")

    def __init__(self) -> None:
        self._bid, self._ask, self._now, self._until = 0, 1 << 62, 0, 1 << 62

    def on_quote(
        self, ts_ns: int, bid_raw: int, ask_raw: int, bid_size_raw: int, ask_size_raw: int
    ) -> bool:
        """Keep a quote."""
        if bid_raw <= 0 or ask_raw < bid_raw or bid_size_raw < 0 or ask_size_raw < 0:
            raise ValueError
        if ts_ns < self._now or ts_ns >= self._until:
            raise ValueError
        self._kept = self._now = ts_ns
        self._kept = bid_size_raw
        self._kept = ask_size_raw
        self._bid = bid_raw
        self._ask = ask_raw
        return False

    def on_trade(self, ts_ns: int, price_raw: int, size_raw: int, side: int) -> bool:
        """Compare a trade with the touch."""
        if size_raw <= 0 or price_raw <= 0 or ts_ns < self._now or ts_ns >= self._until:
            raise ValueError
        if side == 1:
            if price_raw > self._ask:
                self._kept = price_raw * size_raw
        elif side != -1:
            raise ValueError
        elif price_raw < self._bid:
            self._kept = price_raw * size_raw
        self._now = ts_ns
        return False

    def on_custom_data(self, data: BinanceRecord) -> bool:
        """Keep a row."""
        self._kept = data.ts_init
        return False


def market(events: int) -> tuple[Quotes, Trades]:
    """A day of four quotes to one trade, in ticks of 0.01 and lots of 0.001."""
    rng = np.random.default_rng(1)
    trades = events // 5
    quotes = events - trades
    ts_ns = np.sort(rng.integers(0, DAY_NS // 1_000_000, quotes)) * 1_000_000
    bid = 3_000_000 + 10 * np.cumsum(rng.integers(-1, 2, quotes) * (rng.random(quotes) < 0.1))
    ask = bid + 10 * rng.choice([1, 1, 1, 2], quotes)
    sizes = rng.integers(1, 20_000, (2, quotes))
    at = np.sort(rng.integers(0, quotes, trades))
    side = rng.choice([1, -1], trades)
    price = np.where(side > 0, ask[at], bid[at]) + 10 * side * rng.integers(0, 2, trades)
    size = 1 + np.floor(rng.pareto(1.5, trades) * 50).astype(np.int64)
    return Quotes(ts_ns, bid, ask, *sizes), Trades(ts_ns[at], price, size, side)


def surroundings() -> tuple[Depth, Metrics, Funding]:
    """What else a day brings: depth at ten levels each 30 s, open interest each 5 minutes, funding."""
    rng = np.random.default_rng(4)
    seconds = np.repeat(np.arange(0, 86_400, 30), 10)
    levels = np.tile([-5.0, -4.0, -3.0, -2.0, -1.0, 1.0, 2.0, 3.0, 4.0, 5.0], 2_880)
    notional = 1e7 * np.abs(levels) * rng.uniform(0.5, 1.5, len(levels))
    rows = np.arange(0, 86_400, 300)
    interest = 80_000.0 + np.cumsum(rng.standard_normal(len(rows)))
    return (
        Depth(seconds * SECOND_NS, levels, notional),
        Metrics(rows * SECOND_NS, interest, np.ones(len(rows))),
        Funding(np.arange(0, 86_400, 28_800) * SECOND_NS, np.array([1e-4, 2e-4, 1e-4])),
    )


def records(depth: Depth, metrics: Metrics, funding: Funding) -> list[BinanceRecord]:
    """The same as the rows that a streaming engine is given."""
    rows: list[BinanceRecord] = []
    for ts_ns, percentage, notional in rows_of(depth, ["ts_ns", "percentage", "notional"]):
        at = {"ts_event": ts_ns, "ts_init": ts_ns, "instrument_id": INSTRUMENT}
        amount = Decimal(str(notional))
        rows.append(
            BinanceBookDepthPct(**at, percentage=percentage, depth=Decimal(1), notional=amount)
        )
    for ts_ns, interest in rows_of(metrics, ["ts_ns", "open_interest"]):
        at = {"ts_event": ts_ns, "ts_init": ts_ns, "instrument_id": INSTRUMENT}
        rows.append(
            BinanceOiMetrics(
                **at,
                sum_open_interest=Decimal(str(interest)),
                sum_open_interest_value=None,
                count_toptrader_long_short_ratio=None,
                sum_toptrader_long_short_ratio=None,
                count_long_short_ratio=None,
                sum_taker_long_short_vol_ratio=None,
            )
        )
    for ts_ns, rate in rows_of(funding, ["ts_ns", "rate"]):
        at = {"ts_event": ts_ns, "ts_init": ts_ns, "instrument_id": INSTRUMENT}
        rows.append(BinanceFundingRate(**at, rate=Decimal(str(rate)), interval_hours=8))
    return rows


Job = Callable[[], Any]


def best(*jobs: Job, rounds: int = ROUNDS) -> list[float]:
    """Least time of each job over some rounds, taken in turns."""
    return best_prepared(*(lambda job=job: job for job in jobs), rounds=rounds)


def best_prepared(*prepare: Callable[[], Job], rounds: int = ROUNDS) -> list[float]:
    """The same, where each job is made anew before its time runs."""
    found = [float("inf")] * len(prepare)
    for _ in range(rounds):
        for i, make in enumerate(prepare):
            job = make()
            start = time.process_time()
            job()
            found[i] = min(found[i], time.process_time() - start)
    return found


def calls(target: Callable[..., Any], rows: list[tuple[Any, ...]]) -> Callable[[], None]:
    def job() -> None:
        for row in rows:
            target(*row)

    return job


def report(what: str, found: float, promise: float, at_most: bool) -> None:
    kept = found <= promise if at_most else found >= promise
    sign = "at most" if at_most else "at least"
    print(f"{what:<58} {found:8.1f} x   {sign} {promise:g} x   {'kept' if kept else 'MISSED'}")


def rows_of(table: Any, names: list[str], rows: int | None = None) -> list[tuple[Any, ...]]:
    return list(zip(*(getattr(table, n)[:rows].tolist() for n in names), strict=True))


QUOTE = ["ts_ns", "bid_raw", "ask_raw", "bid_size_raw", "ask_size_raw"]
TRADE = ["ts_ns", "price_raw", "size_raw", "side"]
SAMPLE = 25_000

Event = tuple[int, tuple[Any, ...]]
"""Which method takes it (quote, trade, custom data), and the arguments."""


def day_in_order(quotes: Quotes, trades: Trades, others: list[BinanceRecord]) -> list[Event]:
    """Events as a replay delivers them, up to the time of the last quote given."""
    end_ns = quotes.ts_ns[-1]
    events = [(row[0], 0, row) for row in rows_of(quotes, QUOTE)]
    events += [(row[0], 1, row) for row in rows_of(trades, TRADE) if row[0] <= end_ns]
    events += [(row.ts_init, 2, (row,)) for row in others if row.ts_init <= end_ns]
    events.sort(key=lambda event: event[:2])
    return [(kind, arguments) for _, kind, arguments in events]


def replayed(target: Any, events: list[Event]) -> Job:
    """Feed events of all kinds and take what comes out."""
    take = (target.on_quote, target.on_trade, target.on_custom_data)
    emit = getattr(target, "maybe_emit", None)

    def job() -> None:
        for kind, arguments in events:
            if take[kind](*arguments):
                while emit() is not None:
                    pass

    return job


def engines(quotes: Quotes, trades: Trades) -> None:
    """Against empty calls: events as the day brings them, from the middle of it, and by kind."""
    depth, metrics, funding = surroundings()
    others = records(depth, metrics, funding)
    events = day_in_order(quotes.before(16 * SAMPLE), trades, others)
    warm = LpiEngine(CONFIG)
    replayed(warm, events[:-SAMPLE])()
    state = warm.snapshot()

    def resumed() -> LpiEngine:
        engine = LpiEngine(CONFIG)
        engine.restore(state)
        return engine

    sample = events[-SAMPLE:]
    stream_s, empty_s, floor_s = best_prepared(
        lambda: replayed(resumed(), sample),
        lambda: replayed(Empty(), sample),
        lambda: replayed(Floor(), sample),
        rounds=4 * ROUNDS,
    )
    for kind, what in enumerate(("quote", "trade")):
        alone = [arguments for k, arguments in events if k == kind][-SAMPLE:]

        def feed(make: Callable[[], Any], what: str = what, alone: list[Any] = alone) -> Job:
            return calls(getattr(make(), f"on_{what}"), alone)

        engine_s, alone_s, floor_s = best_prepared(
            lambda feed=feed: feed(lambda: LpiEngine(CONFIG)),
            lambda feed=feed: feed(Empty),
            lambda feed=feed: feed(Floor),
            rounds=4 * ROUNDS,
        )
        report(f"streaming LPI, {what}s alone", engine_s / alone_s, 3, True)
        print(f"  of which the floor {floor_s / alone_s:.1f} x")
    # No quote was known, so no trade lay beyond one. Now all do, and time stands still.
    now, quote = 86_400 * SECOND_NS, (2_000_000, 2_000_010, 5, 5)
    sides = [(1_999_990, 1, -1), (2_000_020, 1, 1)]
    alone = [(now + i, *sides[i % 2]) for i in range(SAMPLE)]

    def beyond() -> Job:
        engine = LpiEngine(CONFIG)
        engine.on_quote(now - 1, *quote)
        return calls(engine.on_trade, alone)

    engine_s, alone_s = best_prepared(
        beyond, lambda: calls(Empty().on_trade, alone), rounds=4 * ROUNDS
    )
    print(f"  a trade beyond the touch: {engine_s / alone_s:.1f} x")

    print(
        f"  an event of the day, buckets, depth and funding included: {stream_s / empty_s:.1f} x"
        f" (floor {floor_s / empty_s:.1f} x)"
    )
    batch_s, search_s = best(
        lambda: batch.lpi_engine(trades, quotes, depth, metrics, funding, config=CONFIG),
        lambda: quotes.bid_raw[last_rows(quotes.ts_ns, trades.ts_ns, strictly=True)],
    )
    count = len(quotes) + len(trades) + len(others)
    ratio = (stream_s / SAMPLE) / (batch_s / count)
    report(f"batch LPI on {count:,} events, against streaming", ratio, 30, False)
    print(
        f"  {batch_s / count * 1e9:.0f} ns an event; finding each trade's quote is already "
        f"{search_s / count * 1e9:.0f} ns of them"
    )


def robust() -> None:
    x = np.random.default_rng(2).standard_normal(3_000).tolist()
    window = 600

    def ours() -> None:
        estimator = RollingMedianMad(window)
        for value in x:
            estimator.update(value)
            _ = estimator.value

    def recomputed() -> None:
        array = np.array(x)
        for i in range(window, len(x)):
            part = array[i - window : i]
            median = np.median(part)
            np.median(np.abs(part - median))

    ours_s, numpy_s = best(ours, recomputed)
    ratio = (numpy_s / (len(x) - window)) / (ours_s / len(x))
    report("rolling median and MAD, window 600, against numpy", ratio, 5, False)


def columns(rows: int) -> None:
    """Whichever is easier: 10 million rows a second, or three cumulative sums over each column."""
    quotes, trades = market(5 * rows)
    quotes = quotes.before(rows)
    bucket_raw = int(trades.size_raw.sum()) // 2_000
    flow = (quotes.bid_raw, quotes.ask_raw, quotes.bid_size_raw, quotes.ask_size_raw)
    tape = (trades.ts_ns, trades.size_raw, trades.side)
    jobs: list[tuple[str, tuple[Any, ...], Callable[[], Any]]] = [
        ("VPIN", tape, lambda: batch.vpin(*tape, bucket_raw=bucket_raw)),
        ("OFI", flow, lambda: batch.ofi(*flow)),
    ]
    for name, arrays, job in jobs:

        def plain(arrays: tuple[Any, ...] = arrays) -> None:
            for array in arrays:
                np.cumsum(array)

        ours_s, plain_s = best(job, plain)
        rate = len(arrays[0]) / ours_s / 1e6
        sums = ours_s / plain_s
        kept = rate >= 10 or sums <= 3
        print(
            f"batch {name}, {len(arrays[0]):,} rows: {rate:.1f} million rows/s, {sums:.1f} x np.cumsum"
            f"   at least 10 or at most 3 x   {'kept' if kept else 'MISSED'}"
        )


def updates() -> None:
    """What one update costs, in empty calls; no promise, for orientation."""
    rng = np.random.default_rng(3)
    rows = 20_000
    x = [(v,) for v in rng.standard_normal(rows).tolist()]
    quotes, trades = market(5 * rows)
    quote_rows = rows_of(quotes, ["bid_raw", "ask_raw", "bid_size_raw", "ask_size_raw"], rows)
    trade_rows = rows_of(trades, ["ts_ns", "size_raw", "side"], rows)
    for estimator, inputs in (
        (RollingMeanVariance(600), x), (RollingMedianMad(600), x), (ZScoreMedianMad(600), x),
        (OrderFlowImbalance(), quote_rows), (VolumeClock(10_000, "split"), trade_rows),
        (Vpin(10_000), trade_rows),
    ):  # fmt: skip
        fresh = type(estimator)(**estimator.parameters)

        def update(fresh: Any = fresh, inputs: list[Any] = inputs) -> None:
            fresh.reset()
            calls(fresh.update, inputs)()

        update_s, empty_s = best(update, calls(nothing, inputs))
        cost = f"{update_s / rows * 1e6:6.2f} us an update, {update_s / empty_s:5.1f} empty calls"
        print(f"  {estimator.ID:<24} {cost}")


def nothing(*_row: Any) -> None:
    """The call that updates are measured in."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=2_500_000, help="events of the batch day")
    parser.add_argument("--rows", type=int, default=5_000_000, help="rows of VPIN and OFI")
    arguments = parser.parse_args()
    engines(*market(arguments.events))
    robust()
    columns(arguments.rows)
    updates()


if __name__ == "__main__":
    main()
