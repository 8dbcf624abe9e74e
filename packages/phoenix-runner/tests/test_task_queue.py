"""Tasks and what follows them: nothing is lost, and what is said depends on no order of finishing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from phoenix_runner.errors import StrategyFailedError
from phoenix_runner.executors import Inline, WorkerDiedError
from phoenix_runner.task_queue import TaskStore, run_tasks
from phoenix_runner.tasks import Files, Work, run_task


def echo(request: Mapping[str, Any]) -> Files:
    if request["leaves"]:
        raise SystemExit(request["label"])
    return {"label.txt": request["label"].encode()}


@dataclass(frozen=True)
class Job:
    label: str
    leaves: bool = False

    @property
    def identity(self) -> str:
        return f"job-{self.label}"

    @property
    def work(self) -> Work:
        return echo

    def request(self) -> dict[str, Any]:
        return {"label": self.label, "leaves": self.leaves}


@dataclass
class OutOfOrder(Executor):
    """Answers in another thread, the last submitted of a batch first, and fails where it is told to."""

    lost_from: int = 1_000
    submitted: list[str] = field(default_factory=list)
    _batch: list[tuple[Future[Any], Callable[[], Any]]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        if len(self.submitted) >= self.lost_from:
            raise ConnectionError("the scheduler is gone")
        self.submitted.append(args[1]["label"])
        future: Future[Any] = Future()
        with self._lock:
            self._batch.append((future, lambda: fn(*args, **kwargs)))
        threading.Timer(0.05, self._answer).start()
        return future

    def _answer(self) -> None:
        with self._lock:
            future, call = self._batch.pop()
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)


def follow(index: int, files: Files) -> Job:
    return Job(f"after-{files['label.txt'].decode()}", leaves=index < 2)


@pytest.mark.parametrize("executor", [Inline, OutOfOrder])
def test_what_follows_is_done_counted_and_kept(tmp_path: Path, executor: type[Executor]) -> None:
    jobs = [Job(str(n)) for n in range(4)]
    told: list[tuple[int, int]] = []

    def run(store: TaskStore) -> list[Files]:
        told.clear()
        return run_tasks(
            jobs, executor(), store,
            progress=lambda done, total, _last: told.append((done, total)),
            then=lambda index, _files: None if index == 0 else Job(f"after-{index}"), following=3,
        )  # fmt: skip

    store = TaskStore(tmp_path)
    expected = [{"label.txt": str(n).encode()} for n in range(4)]
    assert run(store) == expected
    assert told == [(done, 7) for done in range(8)]
    assert store.load(Job("after-3")) == {"label.txt": b"after-3"}
    store.forget([Job("2"), Job("after-1")])
    assert run(store) == expected
    # Kept are 0, 1, 3 and what follows 3; when 2 is done, what follows it is there.
    assert (told[0], told[-1], len(told)) == ((4, 7), (7, 7), 3)


@pytest.mark.parametrize("executor", [Inline, OutOfOrder])
def test_the_failure_that_is_named_is_the_first_of_the_suite(
    tmp_path: Path, executor: type[Executor]
) -> None:
    jobs = [Job(str(n)) for n in range(3)]
    with pytest.raises(StrategyFailedError, match=r"^after-0: unexpected SystemExit.*1 more run"):
        run_tasks(jobs, executor(), TaskStore(tmp_path), then=follow, following=3)
    assert TaskStore(tmp_path).load(Job("after-2")) is not None  # the others were not stopped


def test_a_scheduler_that_is_lost_before_what_follows_is_said(tmp_path: Path) -> None:
    jobs = [Job(str(n)) for n in range(3)]
    with pytest.raises(
        WorkerDiedError, match=r"^after-0: its worker or scheduler was lost, the sch"
    ):
        run_tasks(jobs, OutOfOrder(lost_from=3), TaskStore(tmp_path), then=follow, following=3)
    assert all(TaskStore(tmp_path).load(job) is not None for job in jobs)


def test_leaving_is_a_failure_of_the_run() -> None:
    answer = run_task(echo, Job("x", leaves=True).request())
    assert answer["error"] == "unexpected SystemExit: x"
