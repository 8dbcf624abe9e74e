"""Replay speed: a suite with EMA cross against a bare engine, over the same windows, in one process.

The bare engine gets the same windows, decoded the same way, and a strategy that subscribes to the same
bars and does nothing. Prints events per second of processor time (a busy machine changes it little) of
both, their ratio (to reach: 0.85), and the memory after a quarter of the range and at its end.

    python packages/phoenix-runner/benchmarks/bench_replay.py [--quotes 2000000] [--repeat 3]
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from nautilus_trader.backtest import BacktestEngine, BacktestEngineConfig
from nautilus_trader.common import LoggerConfig
from nautilus_trader.model import BarType
from nautilus_trader.trading import Strategy, StrategyConfig
from phoenix_runner.backtest import run_backtest
from phoenix_runner.catalog_series import Catalog
from phoenix_runner.replay import Replay, delivery
from phoenix_runner.suite import Suite, suite_from
from phoenix_runner.venue import add_venue
from phoenix_schemas.arrow import CATALOG_TYPES, DECIMAL, SIDE, SIDES, TIME, file_name

INSTRUMENT = "BTCUSDT-PERP.BINANCE"
HOUR = 3600 * 10**9
START = 19_750 * 24 * HOUR


def write_catalog(root: Path, quotes: int, hours: int) -> None:
    """A random walk with `quotes` quotes and a quarter as many trades."""
    draw = np.random.default_rng(5)
    for name, count in (("QuoteTick", quotes), ("TradeTick", quotes // 4)):
        times = np.sort(draw.integers(0, hours * 3_600_000, count)) * 1_000_000 + START
        ticks = 400_000 + np.cumsum(draw.integers(-1, 2, count))
        kind = CATALOG_TYPES[name]
        stamp = pa.array(times).cast(TIME)
        price = _decimals(ticks, 1)
        size = _decimals(draw.integers(1, 5_000, count), 3)
        if name == "QuoteTick":
            columns = [price, _decimals(ticks + 1, 1), size, size]
        else:
            sides = pa.DictionaryArray.from_arrays(
                pa.array(draw.integers(0, 2, count), pa.int8()), pa.array(SIDES)
            ).cast(SIDE)
            columns = [price, size, sides, pa.array(np.arange(count)).cast(pa.string())]
        table = pa.table([*columns, stamp, stamp], schema=kind.schema(INSTRUMENT, 2, 3))
        folder = root / kind.folder(INSTRUMENT)
        folder.mkdir(parents=True)
        path = folder / file_name(int(times[0]), int(times[-1]))
        pq.write_table(table, path, row_group_size=100_000, compression="zstd")


def _decimals(values: Any, places: int) -> pa.Array:
    texts = pa.array(np.char.add(values.astype(str), f"e-{places}"))
    return texts.cast(DECIMAL)


def suite_over(root: Path, hours: int) -> Suite:
    values = {
        "catalog": {"path": str(root)},
        "universe": {"instrument_ids": [INSTRUMENT]},
        "data": {"include": ["QuoteTick", "TradeTick", "Bar"], "bars_from_trades": True},
        "time": {"start_utc": "2024-01-28", "end_utc": f"2024-01-28T{hours:02d}:00:00Z"},
        "strategy": {"config": {"trade_size": "0.01"}},
        "funding": "off",
    }
    return suite_from(values, source="benchmark")


class DoNothing(Strategy):
    def on_start(self) -> None:
        self.subscribe_bars(BarType.from_str(f"{INSTRUMENT}-1-MINUTE-LAST-EXTERNAL"))

    def on_bar(self, bar: Any) -> None:
        pass


def run_bare(suite: Suite) -> tuple[int, float]:
    section = suite.config.time
    began = time.process_time()
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggerConfig(bypass_logging=True)))
    add_venue(engine, suite, 0)
    engine.add_strategy(DoNothing(StrategyConfig()))
    replay = Replay(
        suite, Catalog.open(suite.config.catalog.path), section.start_ns, section.end_ns
    )
    events = 0
    decoders: dict[tuple[str, str], Any] = {}
    for window in replay.windows():
        for _, objects in delivery(window, decoders):
            engine.add_data(objects, validate=False, sort=False)
        engine.sort_data()
        engine.run(streaming=True)
        engine.clear_data()
        events += window.rows
    engine.end()
    engine.dispose()
    return events, time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quotes", type=int, default=1_000_000)
    parser.add_argument("--hours", type=int, default=12)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "catalog"
        write_catalog(root, options.quotes, options.hours)
        suite = suite_over(root, options.hours)
        run_bare(suite)  # warms the file cache and the imports
        ratios = []
        for _ in range(options.repeat):
            events, bare = run_bare(suite)
            memory: list[int] = []
            began = time.process_time()
            result = run_backtest(
                suite, suite.config.time.start_ns, suite.config.time.end_ns,
                progress=lambda _ns, _events, seen=memory: seen.append(
                    resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
                ),
            )  # fmt: skip
            taken = time.process_time() - began
            ratios.append((result.events / taken) / (events / bare))
            print(
                f"bare {events / bare:,.0f} events/s, suite {result.events / taken:,.0f} "
                f"events/s, ratio {ratios[-1]:.2f}; memory {memory[len(memory) // 4]} to "
                f"{memory[-1]} MiB"
            )
        median = sorted(ratios)[len(ratios) // 2]
        print(f"suite with EMA cross / bare engine: median {median:.2f} (to reach 0.85)")


if __name__ == "__main__":
    main()
