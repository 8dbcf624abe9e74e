"""Worker processes on this machine: started without the user's script, deaf to the user's Ctrl-C."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from types import ModuleType


class WorkerPool(ProcessPoolExecutor):
    """Spawned processes that are deaf to Ctrl-C from their first moment and do not run the user's script.

    Ctrl-C is for the coordinator; one that comes while they import would have each print its traceback.
    They start when work comes, and end when their coordinator does, even by kill -9.
    """

    def __init__(self, workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        super().__init__(workers, context, initializer=_start_worker)

    def submit[**P, T](self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        with _ctrl_c_waits(), _main_stays_out():
            return super().submit(fn, *args, **kwargs)


@contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Put off Ctrl-C to the end of the block; processes that start in it do not hear it at all.

    A child inherits what the thread blocks. But another thread may take the signal, and Python would
    then interrupt this one half-way through the start of a child, so the handler waits as well.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or not hasattr(signal, "pthread_sigmask"):  # elsewhere, or Windows
        yield
        return
    came: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _frame: came.append(number))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)  # what was held back comes here
        signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)


_MAIN = threading.Lock()


@contextmanager
def _main_stays_out() -> Iterator[None]:
    """Processes that start in the block do not import the main script of this one.

    They would run it again, down to where they are started, unless it says `if __name__ ==
    "__main__":`. It is imported for what may have to be unpickled from it, and ours are sent functions of
    these packages only.
    """
    with _MAIN:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


def _start_worker() -> None:
    """Leave Ctrl-C to the coordinator, and do not finish what nobody will read."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_coordinator, daemon=True).start()


def _end_with_coordinator() -> None:
    coordinator = multiprocessing.parent_process()
    if coordinator is not None:
        coordinator.join()
        os._exit(1)
