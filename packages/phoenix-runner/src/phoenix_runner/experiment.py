"""A suite from its file to its published bundle.

The experiment id is a hash of what decides the result: the config without paths and names, the
catalog's digest, package and estimator versions, the code itself, the seed (in the config).
A finished id is not run again unless asked; an unfinished run leaves nothing behind.
"""

from __future__ import annotations

import datetime as dt
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml
from phoenix_schemas.timestamps import format_utc
from phoenix_strategies.errors import CallbackError

from phoenix_runner.backtest import Progress, RunResult, run_backtest
from phoenix_runner.bundle import (
    ACCOUNT_COLUMNS,
    FILL_COLUMNS,
    FUNDING_COLUMNS,
    ORDER_COLUMNS,
    POSITION_COLUMNS,
    BundleFiles,
    BundleWriter,
    experiment_id,
    is_finished,
    read_json,
)
from phoenix_runner.catalog_manifest import catalog_digest, is_simulated, require_as_ingested
from phoenix_runner.catalog_series import public_path
from phoenix_runner.environment import (
    deciding_code,
    deciding_versions,
    describe_environment,
    require_unedited,
)
from phoenix_runner.errors import StrategyFailedError
from phoenix_runner.records import TWAP_PARENTS, parents_summary
from phoenix_runner.replay import DEFAULT_WINDOW_NS
from phoenix_runner.suite import Suite, require_suite
from phoenix_runner.summary import summarize as figures


@dataclass(frozen=True)
class Published:
    """A finished run: where it is, what it says, and whether it was already there."""

    folder: Path
    summary: dict[str, Any]
    reused: bool
    address: str | None = None
    """Where it is on an object store, if it was published there."""


def describe_experiment(suite: Suite, digest: str) -> dict[str, Any]:
    """`experiment.json`: everything that decides the result, and nothing else."""
    config = suite.to_builtins()
    for section in ("catalog", "output"):
        del config[section]
    strategy = suite.config.strategy.name
    code = deciding_code(strategy)
    require_unedited(strategy, suite.spec, code)
    return {
        "config": config,
        "instruments": [msgspec.to_builtins(spec) for spec in suite.instruments.values()],
        "catalog_digest": digest,
        "packages": deciding_versions(),
        "code": code,
        "estimators": suite.spec.estimators(suite.settings),
    }


def run_suite(
    suite: Suite,
    *,
    window_ns: int = DEFAULT_WINDOW_NS,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Published:
    """Run a suite and publish its bundle, or return the finished one."""
    require_suite(suite)
    digest = catalog_digest(suite)
    experiment = describe_experiment(suite, digest)
    identity = experiment_id(experiment)
    output = suite.config.output
    folder = Path(output.dir) / identity
    if is_finished(folder) and not (overwrite or output.overwrite):
        return Published(folder, read_json(folder, "summary.json"), reused=True)
    require_as_ingested(suite)
    started = now_utc()
    time = suite.config.time
    with BundleWriter(folder) as bundle:
        try:
            result = run_backtest(
                suite, time.start_ns, time.end_ns, window_ns=window_ns, progress=progress
            )
        except CallbackError as error:
            log = folder.with_suffix(".error.log")
            log.write_text("".join(traceback.format_exception(error.__cause__)), encoding="utf-8")
            raise StrategyFailedError(f"{error}; its traceback is in {log}") from error
        files = run_files(suite, identity, experiment, digest, result)
        files.json("timing.json", timing(started, output.suite_name, result.seconds, result.events))
        bundle.write(files.content)
        from phoenix_runner.report.writing import write_report

        write_report(bundle.folder)
        bundle.publish()
    return Published(folder, read_json(folder, "summary.json"), reused=False)


def now_utc() -> str:
    """Wall clock, for `timing.json` alone."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def timing(started_utc: str, suite_name: str, seconds: float, events: int) -> dict[str, Any]:
    """`timing.json`."""
    return {
        "started_utc": started_utc,
        "suite_name": suite_name,
        "seconds": round(seconds, 3),
        "events_per_second": round(events / max(seconds, 1e-9)),
    }


def run_files(
    suite: Suite, identity: str, experiment: dict[str, Any], digest: str, result: RunResult
) -> BundleFiles:
    """One run's files, without its timing and report."""
    files = BundleFiles()
    files.json("experiment.json", experiment)
    files.text("config_resolved.yaml", config_text(suite))
    files.csv("orders.csv", ORDER_COLUMNS, result.orders)
    files.csv("fills.csv", FILL_COLUMNS, result.fills)
    files.csv("funding.csv", FUNDING_COLUMNS, result.funding)
    files.csv("positions.csv", POSITION_COLUMNS, result.positions)
    files.csv("account_report.csv", ACCOUNT_COLUMNS, result.account)
    files.parquet("equity.parquet", result.equity)
    files.parquet("marks.parquet", result.marks)
    if result.decisions is not None:
        files.parquet("decision_trace.parquet", result.decisions)
    for name, table in sorted(result.records.items()):
        files.parquet(name, table)
    files.json(
        "manifest_ref.json",
        {
            "catalog_digest": digest,
            "rows": result.rows,
            "ranges": result.ranges,
            "gaps": result.gaps,
            "data_start_ns": result.data_start_ns,
        },
    )
    files.json("summary.json", summarize(suite, identity, result))
    files.json("environment.json", describe_environment())
    return files


def config_text(suite: Suite) -> str:
    """The resolved config as YAML, every default written out; addresses without credentials."""
    values = suite.to_builtins()
    for section, key in (("catalog", "path"), ("output", "dir")):
        if "://" in values[section][key]:
            values[section][key] = public_path(values[section][key])
    return yaml.safe_dump(_plain(values), sort_keys=False)


def summarize(suite: Suite, identity: str, result: RunResult) -> dict[str, Any]:
    """`summary.json`."""
    record = result.record
    parts = record.attribution
    parents = result.records.get(TWAP_PARENTS)
    bars = suite.config.execution.bar_execution
    return {
        "experiment_id": identity,
        "strategy": suite.config.strategy.name,
        "instrument_ids": list(suite.instruments),
        "simulated": is_simulated(suite),
        "venue": suite.config.universe.venue,
        "currency": record.currency,
        "start_utc": format_utc(record.start_ns - suite.config.time.warmup_ns),
        "trading_start_utc": format_utc(record.start_ns),
        "end_utc": format_utc(record.end_ns),
        "bar_fills": None if bars is None else msgspec.to_builtins(bars),
        "funding_mode": suite.config.funding_section.mode,
        "starting_equity": f"{record.starting_equity:f}",
        "final_equity": f"{record.final_equity:f}",
        "gross": f"{parts.gross:f}",
        "fees": f"{parts.fees:f}",
        "spread": f"{parts.spread:f}",
        "funding": f"{parts.funding:f}",
        "net": f"{parts.net:f}",
        "residual": f"{parts.reconcile(record.final_equity - record.starting_equity):f}",
        "orders": len(result.orders),
        "fills": len(result.fills),
        "positions": len(result.positions),
        "open_positions": result.open_positions,
        "events": result.events,
        "refusals": result.refusals,
        **({"signals": result.signal_figures} if result.signal_figures else {}),
        **({"twap": parents_summary(parents)} if parents is not None else {}),
        "gaps": result.gaps,
        "figures": figures(record),
    }


def _plain(value: Any) -> Any:
    """Tuples as lists, for YAML."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
