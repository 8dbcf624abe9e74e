"""`phoenix demo`: the whole road on a market of its own, from dump files to reports.

Everything lands in one folder: `raw` (the dump files of three simulated days), `catalog` (ingested from
them), three suites to be edited and run again, and `runs` (their bundles): EMA cross and Phoenix LPI on
the first day, and EMA cross walked forward over all three. The market is the same for the same seed on
any machine, and so are the results.
"""

from __future__ import annotations

import datetime as dt
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml
from phoenix_etl.config import EtlConfig
from phoenix_etl.pipeline import ingest
from phoenix_etl.synthetic import write_market

from phoenix_runner.errors import RunnerError
from phoenix_runner.experiment import Published
from phoenix_runner.modes import run_experiment
from phoenix_runner.suite import load_suite

DAY = dt.date(2024, 3, 5)
DAYS = 3
_LATENCY = {"insert_ms": 20, "update_ms": 20, "cancel_ms": 20}
_EMA_CROSS = {
    "name": "ema_cross",
    "config": {"fast_bars": 10, "slow_bars": 20, "trade_size": "0.05"},
}
_BARS = {"include": ["QuoteTick", "TradeTick", "Bar", "MarkPriceUpdate"]}


def _days(first: int, last: int, **more: str) -> dict[str, str]:
    """A time section from one day of the demo to another (excluded)."""
    start, end = (DAY + dt.timedelta(n) for n in (first, last))
    return {"start_utc": start.isoformat(), "end_utc": end.isoformat(), **more}


SUITES: dict[str, dict[str, Any]] = {
    "ema_cross": {
        "data": _BARS,
        "time": _days(0, 1),
        "strategy": _EMA_CROSS,
        "execution": {"latency": _LATENCY},
    },
    "phoenix_lpi": {
        "data": {"include": ["QuoteTick", "TradeTick", "BinanceBookDepthPct", "MarkPriceUpdate"]},
        "time": _days(0, 1),
        # Only trades that print 5 bps beyond the touch count: forced ones.
        "strategy": {"name": "phoenix_lpi", "config": {"trade_size": "0.05", "eta_bps": 5.0}},
        "execution": {"latency": _LATENCY, "trade_execution": True, "queue_position": True},
    },
    "walk_forward": {
        "data": _BARS,
        "time": _days(0, DAYS),
        "mode": {
            "kind": "walk_forward",
            "train": "1d",
            "test": "1d",
            "objective": "net",
            "search": {"parameters": {"strategy.config.slow_bars": [20, 60]}},
        },
        "strategy": _EMA_CROSS,
        "execution": {"latency": _LATENCY},
    },
}
"""The sections of each suite that differ from the others'."""
MARKER = ".phoenix-demo"
_PARTS = ("raw", "raw-truth", "catalog", "runs")


def run_demo(folder: Path, *, seed: int, quiet: bool) -> dict[str, Published]:
    """Simulate days, ingest them, run each suite; what came out, by the suite's name.

    `folder` must be new, empty, or an earlier demo's, which is replaced.
    """
    _prepare(folder)
    _say(f"simulating {DAYS} days of BTCUSDT from {DAY} in {folder / 'raw'}", quiet)
    market = write_market(
        folder / "raw", symbols=["BTCUSDT"], start=DAY, days=DAYS, seed=seed, profile="small"
    )
    rows = sum(file.rows for file in market.files)
    _say(f"ingesting {len(market.files)} files, {rows:,} rows, into {folder / 'catalog'}", quiet)
    result = ingest(
        EtlConfig(raw_roots=[str(folder / "raw")], catalog_path=str(folder / "catalog"))
    )
    if result.failed:
        raise RunnerError(f"{folder}: ingest of the simulated days failed ({result.failed})")
    done = {}
    for name, sections in SUITES.items():
        path = folder / f"{name}.yaml"
        path.write_text(_suite_text(folder, name, sections), encoding="utf-8")
        _say(f"running {path}", quiet)
        done[name] = run_experiment(load_suite(path), quiet=quiet)
    return done


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


def _suite_text(folder: Path, name: str, sections: dict[str, Any]) -> str:
    values = {
        "schema_version": "1",
        "catalog": {"path": str(folder / "catalog")},
        "output": {"dir": str(folder / "runs"), "suite_name": f"demo_{name}"},
        "universe": {
            "instrument_ids": ["BTCUSDT-PERP.BINANCE"],
            "starting_balances": ["10000 USDT"],
            "leverage": 5,
        },
        **sections,
        "funding": {"mode": "settle"},
    }
    return yaml.safe_dump(values, sort_keys=False)


def _say(text: str, quiet: bool) -> None:
    if not quiet:
        print(text, file=sys.stderr, flush=True)  # noqa: T201  progress of a command
