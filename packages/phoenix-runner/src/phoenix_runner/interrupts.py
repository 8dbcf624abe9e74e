"""Ctrl-C during a run: noticed inside the engine within a second, and said in one line.

While the engine runs Python sees a signal only when a callback does; the recorder's minute timer and
the strategies' own callbacks see to that. The first Ctrl-C asks the run to end, a second one ends
the program at once. Where a callback does not return, that is said, for only the second one ends it.
"""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from phoenix_strategies.run_control import RunControl

PATIENCE_SECONDS = 1.0
"""How long a run may take to end before the user hears why it has not."""


@contextmanager
def stop_on_signal(control: RunControl) -> Iterator[None]:
    """SIGINT and SIGTERM stop `control`'s run while inside; does nothing outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if control.stop_requested:
            previous = before[signal.Signals(number)]
            if callable(previous):
                previous(number, frame)
            raise KeyboardInterrupt
        control.stop()
        # Not threading.Thread: this may have interrupted another's start, whose lock it would wait for.
        _thread.start_new_thread(_say_what_is_waited_for, (ended,))

    ended = threading.Event()
    before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        ended.set()
        for number, handler in before.items():
            signal.signal(number, handler)


def _say_what_is_waited_for(ended: threading.Event) -> None:
    message = "phoenix: stopping once the event at hand is done; Ctrl-C again ends it at once"
    if not ended.wait(PATIENCE_SECONDS):
        sys.stderr.write(f"{message}\n")
