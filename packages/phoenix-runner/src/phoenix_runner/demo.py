"""`phoenix demo`: the whole road on a market of its own, from dump files to reports.

Everything lands in one folder: `raw` (the dump files of four simulated days), `catalog` (ingested from
them), three suites (to be edited and run again) and `runs` (their bundles): EMA cross, Phoenix LPI, and
a walk-forward of EMA cross; `comparison.html` sets the first two side by side. The market is the same
for the same seed on any machine, and so are the results.
"""

from __future__ import annotations

import datetime as dt
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from phoenix_etl.config import EtlConfig
from phoenix_etl.pipeline import ingest
from phoenix_etl.synthetic import write_market

from phoenix_runner.errors import RunnerError
from phoenix_runner.experiment import Published
from phoenix_runner.modes import run_experiment
from phoenix_runner.report.writing import write_comparison
from phoenix_runner.suite import load_suite

START = dt.date(2024, 3, 5)
DAYS = 4  # a walk-forward tests on whole days: two to choose on, and two more to judge on
MARKER = ".phoenix-demo"
_PARTS = ("raw", "raw-truth", "catalog", "runs")


@dataclass(frozen=True)
class Demo:
    """The three finished runs by suite name, and the page that compares two of them."""

    runs: dict[str, Published]
    comparison: Path


def run_demo(folder: Path, *, seed: int, quiet: bool) -> Demo:
    """Simulate four days, ingest them, run three suites.

    `folder` must be new, empty, or an earlier demo's, which is replaced.
    """
    _prepare(folder)
    _say(f"simulating {DAYS} days of BTCUSDT in {folder / 'raw'}", quiet)
    market = write_market(
        folder / "raw", symbols=["BTCUSDT"], start=START, days=DAYS, seed=seed, profile="small"
    )
    rows = sum(file.rows for file in market.files)
    _say(f"ingesting {len(market.files)} files, {rows:,} rows, into {folder / 'catalog'}", quiet)
    result = ingest(
        EtlConfig(raw_roots=[str(folder / "raw")], catalog_path=str(folder / "catalog"))
    )
    if result.failed:
        raise RunnerError(f"{folder}: ingest of the simulated days failed ({result.failed})")
    runs = {}
    for name, values in _suites(folder).items():
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
        _say(f"running {path}", quiet)
        runs[name] = run_experiment(load_suite(path), quiet=quiet)
    singles = {name: run.folder for name, run in runs.items() if name != "walk_forward"}
    return Demo(runs, write_comparison(singles, folder / "comparison.html"))


def _prepare(folder: Path) -> None:
    marker = folder / MARKER
    if folder.exists() and any(folder.iterdir()) and not marker.exists():
        raise RunnerError(
            f"{folder}: must be a new or empty folder (it holds other files); choose another --dir"
        )
    for part in _PARTS:
        shutil.rmtree(folder / part, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    marker.write_text("made by `phoenix demo`, which may replace this folder\n", encoding="utf-8")


def _suites(folder: Path) -> dict[str, dict[str, Any]]:
    """The three suites by name, as a person would write them."""
    last = START + dt.timedelta(DAYS)

    def suite(name: str, start: str, include: list[str], **sections: Any) -> dict[str, Any]:
        return {
            "schema_version": "1",
            "catalog": {"path": str(folder / "catalog")},
            "output": {"dir": str(folder / "runs"), "suite_name": name},
            "universe": {
                "instrument_ids": ["BTCUSDT-PERP.BINANCE"],
                "starting_balances": ["10000 USDT"],
                "leverage": 5,
            },
            "data": {"include": include},
            "time": {"start_utc": start, "end_utc": last.isoformat(), "warmup": "2h"},
            **sections,
            "funding": {"mode": "settle"},
        }

    after_warmup = f"{START.isoformat()}T02:00:00Z"
    market = ["QuoteTick", "TradeTick", "Bar", "MarkPriceUpdate"]
    latency = {"insert_ms": 20, "update_ms": 20, "cancel_ms": 20}
    ema = {
        "name": "ema_cross",
        "config": {"fast_bars": 10, "slow_bars": 20, "trade_size": "0.01"},
    }
    resting = {"latency": latency, "trade_execution": True, "queue_position": True}
    return {
        "ema_cross": suite(
            "ema_cross", after_warmup, market, strategy=ema, execution={"latency": latency}
        ),
        "phoenix_lpi": suite(
            "phoenix_lpi",
            after_warmup,
            ["QuoteTick", "TradeTick", "BinanceBookDepthPct", "BinanceFundingRate",
             "MarkPriceUpdate"],
            strategy={"name": "phoenix_lpi", "config": {"trade_size": "0.01"}},
            execution=resting,
        ),
        "walk_forward": suite(
            "walk_forward",
            START.isoformat(),
            ["QuoteTick", "Bar", "MarkPriceUpdate"],
            mode={
                "kind": "walk_forward", "train": "2d", "test": "1d", "objective": "net",
                "search": {
                    "parameters": {
                        "strategy.config.fast_bars": [10, 30],
                        "strategy.config.slow_bars": [60, 120],
                    }
                },
            },
            strategy=ema,
            execution={"latency": latency},
        ),
    }  # fmt: skip


def _say(text: str, quiet: bool) -> None:
    if not quiet:
        print(text, file=sys.stderr, flush=True)  # noqa: T201  progress of a command
