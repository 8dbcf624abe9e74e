"""Replay speed: suites with EMA cross and with Phoenix LPI against a bare engine, in one process.

The bare engine gets the same windows, decoded the same way, and a strategy that subscribes to the same
data and does nothing with them. Prints events per second of processor time (a busy machine changes it
little) of both and their ratio; to reach: 0.85 for EMA cross, 0.5 for Phoenix LPI.

    python packages/phoenix-runner/benchmarks/bench_replay.py [--quotes 1000000] [--repeat 3]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from nautilus_trader.backtest import BacktestEngine, BacktestEngineConfig
from nautilus_trader.common import LoggerConfig
from nautilus_trader.model import BarType, ClientId, DataType, InstrumentId
from nautilus_trader.trading import Strategy, StrategyConfig
from phoenix_runner.backtest import run_backtest
from phoenix_runner.catalog_series import Catalog
from phoenix_runner.replay import Replay, delivery
from phoenix_runner.suite import Suite
from phoenix_runner.venue import add_venue
from phoenix_schemas.custom_data import register_custom_data
from random_walk import DEPTH, INSTRUMENT, suite_over, write_catalog

TO_REACH = {"ema_cross": 0.85, "phoenix_lpi": 0.5}


class Bars(Strategy):
    """Listens to what EMA cross listens to."""

    def on_start(self) -> None:
        self.subscribe_bars(BarType.from_str(f"{INSTRUMENT}-1-MINUTE-LAST-EXTERNAL"))

    def on_bar(self, bar: Any) -> None:
        pass


class Ticks(Strategy):
    """Listens to what Phoenix LPI listens to."""

    def on_start(self) -> None:
        instrument = InstrumentId.from_str(INSTRUMENT)
        self.subscribe_quotes(instrument)
        self.subscribe_trades(instrument)
        self.subscribe_data(DataType(DEPTH, identifier=INSTRUMENT), client_id=ClientId("BINANCE"))

    def on_quote(self, tick: Any) -> None:
        pass

    def on_trade(self, tick: Any) -> None:
        pass

    def on_data(self, data: Any) -> None:
        pass


def run_bare(suite: Suite, listener: type[Strategy]) -> tuple[int, float]:
    section = suite.config.time
    began = time.process_time()
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggerConfig(bypass_logging=True)))
    add_venue(engine, suite, 0)
    engine.add_strategy(listener(StrategyConfig()))
    catalog = Catalog.open(suite.config.catalog.path)
    replay = Replay(suite, catalog, section.start_ns, section.end_ns)
    events, client = 0, ClientId("BINANCE")
    decoders: dict[tuple[str, str], Any] = {}
    for window in replay.windows():
        for batch, objects in delivery(window, decoders):
            engine.add_data(
                objects, client_id=client if batch.is_custom else None, validate=False, sort=False
            )
        engine.sort_data()
        engine.run(streaming=True)
        engine.clear_data()
        events += window.rows
    engine.end()
    engine.dispose()
    return events, time.process_time() - began


def measure(suite: Suite, listener: type[Strategy], name: str, repeat: int) -> None:
    run_bare(suite, listener)  # warms the file cache and the imports
    ratios = []
    for _ in range(repeat):
        events, bare = run_bare(suite, listener)
        began = time.process_time()
        result = run_backtest(suite, suite.config.time.start_ns, suite.config.time.end_ns)
        taken = time.process_time() - began
        ratios.append((result.events / taken) / (events / bare))
        print(
            f"{name}: bare {events / bare:,.0f} events/s, suite {result.events / taken:,.0f} "
            f"events/s with {len(result.orders)} orders, ratio {ratios[-1]:.2f}"
        )
    median = sorted(ratios)[len(ratios) // 2]
    print(f"suite with {name} / bare engine: median {median:.2f} (to reach {TO_REACH[name]})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quotes", type=int, default=1_000_000)
    parser.add_argument("--hours", type=int, default=12)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    register_custom_data()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "catalog"
        write_catalog(root, options.quotes, hours=options.hours)
        for name, listener in (("ema_cross", Bars), ("phoenix_lpi", Ticks)):
            suite = suite_over(root, name, hours=options.hours)
            measure(suite, listener, name, options.repeat)


if __name__ == "__main__":
    main()
