"""`phoenix demo`: the whole road on a market of its own, from dump files to a report.

Everything lands in one folder: `raw` (the dump files of a simulated day), `catalog` (ingested from
them), `ema_cross.yaml` (the suite, to be edited and run again) and `runs` (the bundle). The market is
the same for the same seed on any machine, and so is the result.
"""

from __future__ import annotations

import datetime as dt
import shutil
import sys
from pathlib import Path

import yaml
from phoenix_etl.config import EtlConfig
from phoenix_etl.pipeline import ingest
from phoenix_etl.synthetic import write_market

from phoenix_runner.errors import RunnerError
from phoenix_runner.experiment import Published, run_suite
from phoenix_runner.progress import RunProgress
from phoenix_runner.suite import load_suite

DAY = dt.date(2024, 3, 5)
MARKER = ".phoenix-demo"
_PARTS = ("raw", "raw-truth", "catalog", "runs")


def run_demo(folder: Path, *, seed: int, quiet: bool) -> Published:
    """Simulate a day, ingest it, run EMA cross on it.

    `folder` must be new, empty, or an earlier demo's, which is replaced.
    """
    _prepare(folder)
    _say(f"simulating {DAY} of BTCUSDT in {folder / 'raw'}", quiet)
    market = write_market(
        folder / "raw", symbols=["BTCUSDT"], start=DAY, days=1, seed=seed, profile="small"
    )
    rows = sum(file.rows for file in market.files)
    _say(f"ingesting {len(market.files)} files, {rows:,} rows, into {folder / 'catalog'}", quiet)
    result = ingest(
        EtlConfig(raw_roots=[str(folder / "raw")], catalog_path=str(folder / "catalog"))
    )
    if result.failed:
        raise RunnerError(f"{folder}: ingest of the simulated day failed ({result.failed})")
    suite_path = folder / "ema_cross.yaml"
    suite_path.write_text(_suite_text(folder), encoding="utf-8")
    _say(f"running {suite_path}", quiet)
    suite = load_suite(suite_path)
    time = suite.config.time
    with RunProgress("ema_cross", time.start_ns, time.end_ns, quiet=quiet) as progress:
        return run_suite(suite, progress=progress)


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


def _suite_text(folder: Path) -> str:
    values = {
        "schema_version": "1",
        "catalog": {"path": str(folder / "catalog")},
        "output": {"dir": str(folder / "runs"), "suite_name": "demo_ema_cross"},
        "universe": {
            "instrument_ids": ["BTCUSDT-PERP.BINANCE"],
            "starting_balances": ["10000 USDT"],
            "leverage": 5,
        },
        "data": {"include": ["QuoteTick", "TradeTick", "Bar", "MarkPriceUpdate"]},
        "time": {"start_utc": DAY.isoformat(), "end_utc": (DAY + dt.timedelta(1)).isoformat()},
        "strategy": {
            "name": "ema_cross",
            "config": {"fast_bars": 10, "slow_bars": 20, "trade_size": "0.05"},
        },
        "execution": {"latency": {"insert_ms": 20, "update_ms": 20, "cancel_ms": 20}},
        "funding": {"mode": "settle"},
    }
    return yaml.safe_dump(values, sort_keys=False)


def _say(text: str, quiet: bool) -> None:
    if not quiet:
        print(text, file=sys.stderr, flush=True)  # noqa: T201  progress of a command
