"""Tasks handed to an executor as they become possible, and what comes of them.

[run_tasks][] is the one way to do many runs: what a [TaskStore][] has is not done again, one failure
does not stop the others, and neither the results nor what is said of failures depends on which worker
ends first.
"""

from __future__ import annotations

import importlib
import os
import shutil
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from phoenix_schemas.errors import PhoenixError

from phoenix_runner.errors import InterruptedRunError, StrategyFailedError
from phoenix_runner.executors import WorkerDiedError
from phoenix_runner.tasks import AnyTask, Files, run_task
from phoenix_runner.writable import require_writable

type TaskProgress = Callable[[int, int, str], None]
"""Called with (tasks done, tasks in all, label of the last)."""
type Following = Callable[[int, Files], AnyTask | None]
"""Called with the place and the files of a task that is done; the task that they make possible."""

_NEEDED_FOR_THE_REPORT = ("pandas", "phoenix_runner.report.writing")
"""What is drawn with, and what pyarrow imports when it makes its first value."""


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
    then: Following | None = None,
    following: int = 0,
) -> list[Files]:
    """Files of every task, in the order given; finished ones come from the store.

    `then(index, files)` may return a task that the files of task `index` make possible, `following` of
    them in all. They are done as soon as a worker is free, and kept in the store.

    A task that fails, or whose workers die, does not stop the others: they are finished and kept,
    then the first failure is raised with its label. Ctrl-C raises InterruptedRunError.
    """
    queue = _TaskQueue(tasks, executor, store, progress, then, following)
    try:
        queue.work_off()
    except KeyboardInterrupt:
        raise InterruptedRunError(
            f"stopped by the user; {queue.done} of {queue.total} runs are kept, the same command goes "
            "on from there"
        ) from None
    if queue.failures:
        raise _first(queue.failures, store)
    return queue.results()


@dataclass
class _Entry:
    task: AnyTask
    place: int
    """In which order failures are named: what follows comes after all others, in turn of its cause."""
    files: Files | None = None


@dataclass(frozen=True)
class _Failure:
    place: int
    error: PhoenixError
    traceback: str | None


class _TaskQueue:
    """The state of one [run_tasks][]."""

    def __init__(
        self,
        tasks: Sequence[AnyTask],
        executor: Executor,
        store: TaskStore,
        progress: TaskProgress | None,
        then: Following | None,
        following: int,
    ) -> None:
        self._executor, self._store = executor, store
        self._progress, self._then = progress, then
        self._first = [_Entry(task, place) for place, task in enumerate(tasks)]
        self._to_submit = deque(self._first)
        self._waiting: dict[Future[dict[str, Any]], _Entry] = {}
        # Not `concurrent.futures.wait`: a Ctrl-C that falls into it leaves futures locked for ever.
        self._finished: SimpleQueue[Future[dict[str, Any]]] = SimpleQueue()
        self.failures: list[_Failure] = []
        self.done = 0
        self.total = len(tasks) + following

    def work_off(self) -> None:
        for entry in self._first:
            self._load(entry)
        self._show("")
        self._submit()
        if self._waiting:  # while they work: slow imports of what comes after them
            for name in _NEEDED_FOR_THE_REPORT:
                importlib.import_module(name)
        while self._waiting:
            future = self._finished.get()
            self._take(self._waiting.pop(future), future)
            self._submit()

    def results(self) -> list[Files]:
        return [entry.files for entry in self._first if entry.files is not None]

    def _load(self, entry: _Entry) -> None:
        files = self._store.load(entry.task)
        if files is not None:
            self._keep(entry, files)

    def _submit(self) -> None:
        while self._to_submit:
            entry = self._to_submit.popleft()
            if entry.files is not None:
                continue
            future: Future[dict[str, Any]]
            try:
                future = self._executor.submit(run_task, entry.task.work, entry.task.request())
            except Exception as error:  # noqa: BLE001  a worker's death; the others are still waited for
                future = Future()
                future.set_exception(error)
            if not future.done():
                self._waiting[future] = entry
                future.add_done_callback(self._finished.put)
                continue
            self._take(entry, future)  # in this process: keep it before the next begins
            if any(isinstance(failure.error, InterruptedRunError) for failure in self.failures):
                raise KeyboardInterrupt

    def _take(self, entry: _Entry, future: Future[dict[str, Any]]) -> None:
        task = entry.task
        try:
            answer = future.result()
        except Exception as error:  # noqa: BLE001  a worker's death has as many names as executors
            lost = (
                "" if isinstance(error, WorkerDiedError) else "its worker or scheduler was lost, "
            )
            why = f"{task.label}: {lost}{str(error) or type(error).__name__}"
            kept = "; what is finished is kept, the same command goes on from there"
            self.failures.append(_Failure(entry.place, WorkerDiedError(why + kept), None))
            return
        if "error" in answer:
            failed = _Failure(entry.place, _failure(task, answer), answer["traceback"])
            self.failures.append(failed)
            return
        self._store.save(task, answer["files"])
        self._keep(entry, answer["files"])
        self._show(task.label)

    def _keep(self, entry: _Entry, files: Files) -> None:
        entry.files = files
        self.done += 1
        if self._then is None or entry.place >= len(self._first):
            return
        task = self._then(entry.place, files)
        if task is not None:
            following = _Entry(task, len(self._first) + entry.place)
            self._to_submit.append(following)
            self._load(following)

    def _show(self, label: str) -> None:
        if self._progress is not None:
            self._progress(self.done, self.total, label)


def _failure(task: AnyTask, answer: Mapping[str, Any]) -> PhoenixError:
    kind = InterruptedRunError if answer["exit_code"] == 130 else StrategyFailedError
    error = kind(f"{task.label}: {answer['error']}")
    error.exit_code = answer["exit_code"]
    return error


def _first(failures: Sequence[_Failure], store: TaskStore) -> PhoenixError:
    """The failure of the earliest task; its traceback, if there is one, goes into a log."""
    first = min(failures, key=lambda failure: failure.place)
    error, text = first.error, first.traceback
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
