"""Engine objects die in the thread that made them, and at the end of their run.

The engine's components belong to one thread: dropped in another they are leaked, with a complaint on
stderr. Whatever keeps them in a cycle leaves them to the garbage collector, and that runs in
whichever thread happens to allocate: the one that reads ahead, one of Dask, one of a notebook.
"""

from __future__ import annotations

import gc
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

_ONE_AT_A_TIME = threading.RLock()
"""A run inside a run, of one thread, is no reason to wait for ever."""


@contextmanager
def collecting_here() -> Iterator[None]:
    """Collect cyclic garbage in this thread only, at the end; an exception keeps no engine alive.

    There is one collector in a process: a second thread (of a Dask worker that has many) waits. It loses
    nothing, for strategies are Python and threads take turns at that.
    """
    handled = sys.exception()  # the caller is handling it: its frames are not ours to clear
    with _ONE_AT_A_TIME:
        automatic = gc.isenabled()
        try:
            gc.disable()
            gc.freeze()  # what lives already is not looked through again and again
            yield
        except BaseException as error:
            release_frames(error, handled)
            raise
        finally:
            try:
                gc.collect()
            finally:  # Ctrl-C may come while it collects
                gc.unfreeze()
                if automatic:
                    gc.enable()


def release_frames(error: BaseException, handled: BaseException | None = None) -> None:
    """Clear the variables of every finished frame that an exception, or one behind it, came through.

    Nothing is touched of `handled` and of what is behind that.

    They would keep strategies and engine alive as long as the exception. Files, lines and messages
    stay.

    Examples
    --------
    >>> def fail():
    ...     held = object()
    ...     raise ValueError("planted")
    >>> try:
    ...     fail()
    ... except ValueError as error:
    ...     frame = error.__traceback__.tb_next.tb_frame
    ...     before = "held" in frame.f_locals
    ...     release_frames(error)
    ...     before, "held" in frame.f_locals
    (True, False)
    """
    waiting: list[BaseException | None] = [error]
    seen = {id(handled)}
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        traceback.clear_frames(each.__traceback__)
        waiting += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions
