"""Where tasks run: in this process, in worker processes here, or on a Dask cluster.

Everything that fans out takes a `concurrent.futures.Executor`. [LocalWorkers][] is ours rather than
`ProcessPoolExecutor`, whose pool is lost as a whole when one worker dies: here each worker is a process
of its own, a death costs only the task it was doing, and that task is tried again. Workers are spawned
(a fork after an engine ran hangs) and run one engine at a time.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from typing import Any

from phoenix_etl.cluster import dask_executor
from phoenix_etl.worker_pool import WorkerPool

from phoenix_runner.errors import RunnerError

ATTEMPTS = 3
"""How often a task is given to a worker before its death is blamed on it."""


class WorkerDiedError(RunnerError):
    """A task's worker ended without an answer, on every attempt (killed, out of memory)."""


class Inline(Executor):
    """Runs each task at once, in this process."""

    def submit[**P, T](self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  it belongs to the future
            future.set_exception(error)
        return future


class LocalWorkers(Executor):
    """`workers` processes on this machine, each with one task at a time."""

    def __init__(self, workers: int) -> None:
        self._tasks: queue.SimpleQueue[tuple[Future[Any], Callable[..., Any], Any, Any] | None] = (
            queue.SimpleQueue()
        )
        self._closing = threading.Event()
        self._killing = threading.Event()
        self._pids: set[int] = set()
        resource_tracker.ensure_running()  # a thread that started it would get its signals unblocked
        self._threads = [
            threading.Thread(target=self._serve, name=f"worker-{i}", daemon=True)
            for i in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit[**P, T](self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        if self._closing.is_set():
            raise RuntimeError("cannot submit to workers that are shut down")
        future: Future[T] = Future()
        self._tasks.put((future, fn, args, kwargs))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the workers end; with `cancel_futures` drop what waits and kill what runs."""
        self._closing.set()
        if cancel_futures:
            self._killing.set()
            with contextlib.suppress(queue.Empty):
                while (task := self._tasks.get_nowait()) is not None:
                    task[0].cancel()
            for pid in list(self._pids):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for _ in self._threads:
            self._tasks.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _serve(self) -> None:
        # Workers inherit what their thread blocks: a Ctrl-C of the terminal, which goes to all of its
        # processes, would else end those that are still starting with a traceback.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        pool: WorkerPool | None = None
        pid = 0
        while (task := self._tasks.get()) is not None:
            future, fn, args, kwargs = task
            if not future.set_running_or_notify_cancel():
                continue
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    if pool is None:
                        pool, pid = WorkerPool(1), 0
                        pid = pool.submit(os.getpid).result()
                        self._pids.add(pid)
                    if self._killing.is_set():  # it came up after the others were killed
                        os.kill(pid, signal.SIGKILL)
                    future.set_result(pool.submit(fn, *args, **kwargs).result())
                except BrokenProcessPool:
                    self._pids.discard(pid)
                    # Here, where the pool is let go of in time: its own thread keeps this frame (by the
                    # traceback) and would wait for itself if it were the last to do so.
                    pool = None
                    if attempt < ATTEMPTS and not self._closing.is_set():
                        continue
                    future.set_exception(
                        WorkerDiedError(
                            f"a worker must live through its task (died {attempt} times); free "
                            "memory or use fewer workers"
                        )
                    )
                except BaseException as error:  # noqa: BLE001  it belongs to the future, SystemExit too
                    if pid not in self._pids:  # it did not come up
                        pool = None
                    future.set_exception(error)
                break
        if pool is not None:
            pool.shutdown()
            self._pids.discard(pid)


@contextlib.contextmanager
def open_executor(kind: str, *, workers: int, scheduler: str | None = None) -> Iterator[Executor]:
    """The executor a command asks for: `local` with so many workers, or `dask` at a scheduler.

    Leaving by an exception drops what has not run. Raises UsageError for Dask without a scheduler, and
    what `phoenix_etl.cluster.dask_executor` raises.
    """
    if kind == "dask":
        if scheduler is None:
            raise UsageError("--executor dask must come with --scheduler tcp://host:port")
        with dask_executor(scheduler) as (executor, _):
            yield executor
        return
    executor = Inline() if workers == 1 else LocalWorkers(workers)
    try:
        yield executor
    except BaseException:
        executor.shutdown(wait=True, cancel_futures=True)
        raise
    executor.shutdown()


class UsageError(RunnerError):
    """An executor was asked for in a way that cannot work."""

    exit_code = 2
