"""Ctrl-C during a run: noticed inside the engine within a second, and said in one line.

While the engine runs Python sees a signal only when a callback does; the recorder's minute timer and
the strategies' own callbacks see to that. The first Ctrl-C asks the run to end, a second one ends
the program at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from phoenix_strategies.run_control import RunControl


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

    before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
