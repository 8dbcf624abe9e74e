"""One backtest, or one screen, as a task that any worker can do: plain values in, files out.

A task names its work, a function of a module, and carries its suite as plain values (configs of the
engine do not pickle); it returns the files of its bundle as bytes, so that workers share nothing but the
catalog. What is finished is kept under the task's experiment id (see `task_queue`); a suite that stops
half-way goes on from there.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from phoenix_schemas.errors import PhoenixError
from phoenix_strategies.errors import CallbackError

from phoenix_runner.backtest import run_backtest
from phoenix_runner.bundle import BundleFiles, experiment_id
from phoenix_runner.experiment import describe_experiment, now_utc, run_files, timing
from phoenix_runner.fitting import fit
from phoenix_runner.metrics import daily_returns
from phoenix_runner.screening import screen
from phoenix_runner.search import ParameterSet
from phoenix_runner.suite import Suite, suite_from

type Files = dict[str, bytes]
type Work = Callable[[Mapping[str, Any]], Files]
"""What a worker does with a task's request; found by its name in the worker's process."""


class AnyTask(Protocol):
    """What [run_tasks][] needs to know of a task."""

    @property
    def label(self) -> str: ...

    @property
    def identity(self) -> str:
        """Names the task's result: equal identities give equal files."""

    @property
    def work(self) -> Work: ...

    def request(self) -> dict[str, Any]:
        """What travels to a worker."""


DAILY = "daily.json"
FITTED = "fitted.json"
"""Settings that were fitted before the run, by key path."""
SCREENED = "screened.json"


@dataclass(frozen=True)
class Task:
    """A suite over its own range. `whole` asks for the whole bundle, else figures alone.

    `fit` has the settings fitted on that range first; what was fitted is among the files.
    """

    label: str
    suite: Suite
    catalog_digest: str
    whole: bool
    fit: bool = False

    @property
    def identity(self) -> str:
        """Experiment id of this run by itself, and what is kept of it."""
        experiment = experiment_id(describe_experiment(self.suite, self.catalog_digest))
        return f"{experiment}-{'bundle' if self.whole else 'fitted' if self.fit else 'figures'}"

    @property
    def work(self) -> Work:
        """What a worker does."""
        return _run

    def request(self) -> dict[str, Any]:
        """What travels to a worker."""
        return {
            "suite": self.suite.to_builtins(),
            "catalog_digest": self.catalog_digest,
            "whole": self.whole,
            "fit": self.fit,
        }


@dataclass(frozen=True)
class ScreenTask:
    """All parameter sets of a suite over its range, by batch signals."""

    label: str
    suite: Suite
    catalog_digest: str
    sets: tuple[ParameterSet, ...]

    @property
    def identity(self) -> str:
        """Experiment id of the suite with the sets that were screened."""
        experiment = describe_experiment(self.suite, self.catalog_digest)
        return f"{experiment_id({**experiment, 'screened': list(self.sets)})}-screen"

    @property
    def work(self) -> Work:
        """What a worker does."""
        return _screen

    def request(self) -> dict[str, Any]:
        """What travels to a worker."""
        return {"suite": self.suite.to_builtins(), "sets": list(self.sets)}


def run_task(work: Work, request: Mapping[str, Any]) -> dict[str, Any]:
    """Do a task: `{"files": ...}`, or `{"error": ...}` for what went wrong in the run itself."""
    try:
        return {"files": work(request)}
    except CallbackError as error:
        text = "".join(traceback.format_exception(error.__cause__))
        return {"error": str(error), "exit_code": error.exit_code, "traceback": text}
    except PhoenixError as error:
        return {"error": str(error), "exit_code": error.exit_code, "traceback": None}
    except (Exception, SystemExit) as error:  # noqa: BLE001  a defect, not a worker's death
        what = f"unexpected {type(error).__name__}: {error}"
        return {"error": what, "exit_code": 1, "traceback": traceback.format_exc()}


def _run(request: Mapping[str, Any]) -> Files:
    suite = suite_from(request["suite"], source="task")
    suite, fitted = fit(suite) if request["fit"] else (suite, {})
    files = run_whole(suite, request["catalog_digest"])
    if request["whole"]:
        return files
    small = BundleFiles()
    small.content |= {name: files[name] for name in ("summary.json", DAILY)}
    small.json(FITTED, fitted)
    return small.content


def run_whole(suite: Suite, digest: str, *, strict: bool = True) -> Files:
    """Every file of a suite's run over its range but the report, and `daily.json` with its returns."""
    started = now_utc()
    time = suite.config.time
    result = run_backtest(suite, time.start_ns, time.end_ns, strict=strict)
    experiment = describe_experiment(suite, digest)
    files = run_files(suite, experiment_id(experiment), experiment, digest, result)
    files.json("timing.json", timing(started, "", result.seconds, result.events))
    record = result.record
    daily = daily_returns(
        record.ts_ns,
        record.equity,
        start_ns=record.start_ns,
        starting_equity=float(record.starting_equity),
    )
    series = {"day_ns": daily.day_ns.tolist(), "returns": daily.returns.tolist()}
    files.json(DAILY, series)
    return files.content


def _screen(request: Mapping[str, Any]) -> Files:
    suite = suite_from(request["suite"], source="task")
    time = suite.config.time
    found = screen(suite, request["sets"], start_utc=time.start_utc, end_utc=time.end_utc)
    files = BundleFiles()
    files.json(
        SCREENED,
        [
            {
                "day_ns": s.day_ns.tolist(),
                "returns": s.returns.tolist(),
                "net": s.net,
                "maximum_drawdown": s.maximum_drawdown,
                "fills": s.fills,
            }
            for s in found
        ],
    )
    return files.content
