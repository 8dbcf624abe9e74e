"""One backtest, or one screen, as a task that any worker can do: plain values in, files out.

A task names its work, a function of a module, and carries its suite as plain values (configs of the
engine do not pickle); it returns the files of its bundle as bytes, so that workers share nothing but the
catalog. A [TaskStore][] keeps what is
finished under the task's experiment id; a suite that stops half-way goes on from there.
"""

from __future__ import annotations

import importlib
import os
import shutil
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol

from phoenix_schemas.errors import PhoenixError
from phoenix_strategies.errors import CallbackError

from phoenix_runner.backtest import run_backtest
from phoenix_runner.bundle import BundleFiles, experiment_id
from phoenix_runner.errors import InterruptedRunError, StrategyFailedError
from phoenix_runner.executors import WorkerDiedError
from phoenix_runner.experiment import describe_experiment, now_utc, run_files, timing
from phoenix_runner.fitting import fit
from phoenix_runner.metrics import daily_returns
from phoenix_runner.screening import screen
from phoenix_runner.search import ParameterSet
from phoenix_runner.suite import Suite, suite_from
from phoenix_runner.writable import require_writable

type Files = dict[str, bytes]
type Work = Callable[[Mapping[str, Any]], Files]
"""What a worker does with a task's request; found by its name in the worker's process."""
type TaskProgress = Callable[[int, int, str], None]
"""Called with (tasks done, tasks in all, label of the last)."""


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


_NEEDED_FOR_THE_REPORT = ("pandas", "phoenix_runner.report.writing")
"""What is drawn with, and what pyarrow imports when it makes its first value."""


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


class TaskStore:
    """Finished tasks of an output folder, by identity and kind; `fresh` takes none from before."""

    def __init__(self, output: Path, *, fresh: bool = False) -> None:
        require_writable(output, "output.dir")
        self._root = output / ".tasks"
        self._fresh = fresh
        self._saved: set[Path] = set()

    def _folder(self, task: AnyTask) -> Path:
        return self._root / task.identity

    def load(self, task: AnyTask) -> Files | None:
        """The files of a task that was finished before."""
        folder = self._folder(task)
        if (self._fresh and folder not in self._saved) or not folder.is_dir():
            return None
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    def save(self, task: AnyTask, files: Files) -> None:
        """Keep a task's files, all or none."""
        folder = self._folder(task)
        staging = folder.with_name(f".{folder.name}.{os.getpid()}")
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        for name, content in files.items():
            (staging / name).write_bytes(content)
        shutil.rmtree(folder, ignore_errors=True)
        staging.rename(folder)
        self._saved.add(folder)

    def forget(self, tasks: Sequence[AnyTask]) -> None:
        """Drop tasks whose suite is published."""
        for task in tasks:
            folder = self._folder(task)
            cut_short = self._root.glob(f".{folder.name}.*")  # by a kill
            for path in (folder, *cut_short):
                shutil.rmtree(path, ignore_errors=True)
        if self._root.is_dir() and not any(self._root.iterdir()):
            self._root.rmdir()


def run_tasks(
    tasks: Sequence[AnyTask],
    executor: Executor,
    store: TaskStore,
    *,
    progress: TaskProgress | None = None,
    then: Callable[[int, Files], AnyTask | None] | None = None,
    following: int = 0,
) -> list[Files]:
    """Files of every task, in the order given; finished ones come from the store.

    `then(index, files)` may return a task that the files of task `index` make possible, `following` of
    them in all. They are done as soon as a worker is free, and kept in the store.

    A task that fails, or whose workers die, does not stop the others: they are finished and kept,
    then the first failure is raised with its label. Ctrl-C raises InterruptedRunError.
    """
    todo = list(tasks)
    place = list(range(len(todo)))  # of what follows: after all others, in the order of its cause
    results: list[Files | None] = [None for _ in todo]
    submitted = done = 0
    total = len(tasks) + following
    waiting: dict[Future[dict[str, Any]], int] = {}
    # Not `concurrent.futures.wait`: a Ctrl-C that falls into it leaves futures locked for ever.
    finished: SimpleQueue[Future[dict[str, Any]]] = SimpleQueue()
    failures: list[tuple[int, PhoenixError, str | None]] = []

    def load(index: int) -> None:
        files = store.load(todo[index])
        if files is not None:
            keep(index, files)

    def keep(index: int, files: Files) -> None:
        nonlocal done
        done += 1
        results[index] = files
        if then is not None and index < len(tasks) and (task := then(index, files)) is not None:
            todo.append(task)
            place.append(len(tasks) + index)
            results.append(None)
            load(len(todo) - 1)

    def take(future: Future[dict[str, Any]], index: int) -> None:
        task = todo[index]
        try:
            answer = future.result()
        except Exception as error:  # noqa: BLE001  a worker's death has as many names as executors
            lost = (
                "" if isinstance(error, WorkerDiedError) else "its worker or scheduler was lost, "
            )
            why = f"{task.label}: {lost}{str(error) or type(error).__name__}"
            kept = "; what is finished is kept, the same command goes on from there"
            failures.append((place[index], WorkerDiedError(why + kept), None))
            return
        if "error" in answer:
            failures.append((place[index], _failure(task, answer), answer["traceback"]))
            return
        store.save(task, answer["files"])
        keep(index, answer["files"])
        if progress is not None:
            progress(done, total, task.label)

    def submit_new() -> None:
        nonlocal submitted
        while submitted < len(todo):
            index, task = submitted, todo[submitted]
            submitted += 1
            if results[index] is not None:
                continue
            future: Future[dict[str, Any]]
            try:
                future = executor.submit(run_task, task.work, task.request())
            except Exception as error:  # noqa: BLE001  as above; the others are still waited for
                future = Future()
                future.set_exception(error)
            if not future.done():
                waiting[future] = index
                future.add_done_callback(finished.put)
                continue
            take(future, index)  # in this process: keep it before the next begins
            if any(isinstance(e, InterruptedRunError) for _, e, _ in failures):
                raise KeyboardInterrupt

    for index in range(len(tasks)):
        load(index)
    if progress is not None:
        progress(done, total, "")
    try:
        submit_new()
        if waiting:  # while they work: slow imports of what comes after them
            for name in _NEEDED_FOR_THE_REPORT:
                importlib.import_module(name)
        while waiting:
            future = finished.get()
            take(future, waiting.pop(future))
            submit_new()
    except KeyboardInterrupt:
        raise InterruptedRunError(
            f"stopped by the user; {done} of {total} runs are kept, the same command goes on "
            "from there"
        ) from None
    if failures:
        raise _first(failures, store)
    return [files for files in results[: len(tasks)] if files is not None]


def _failure(task: AnyTask, answer: Mapping[str, Any]) -> PhoenixError:
    kind = InterruptedRunError if answer["exit_code"] == 130 else StrategyFailedError
    error = kind(f"{task.label}: {answer['error']}")
    error.exit_code = answer["exit_code"]
    return error


def _first(failures: list[tuple[int, PhoenixError, str | None]], store: TaskStore) -> PhoenixError:
    """The failure of the earliest task; its traceback, if there is one, goes into a log."""
    _, error, text = min(failures, key=lambda f: f[0])
    more = f" ({len(failures) - 1} more runs failed)" if len(failures) > 1 else ""
    where = ""
    if text is not None:
        log = store._root.with_name("failed-task.error.log")
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(text, encoding="utf-8")
        where = f"; its traceback is in {log}"
    final = type(error)(f"{error}{where}{more}")
    final.exit_code = error.exit_code
    return final
