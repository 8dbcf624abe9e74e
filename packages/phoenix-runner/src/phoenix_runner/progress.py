"""Progress of long work on standard error: a bar with time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from phoenix_schemas.timestamps import format_utc
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

PLAIN_STEP = 0.1
"""Share of the work between two plain lines."""


class RunProgress:
    """Shows how far a replay from `start_ns` to `end_ns` has come.

    Call it with the time reached and the events so far. Used as a context manager.
    """

    def __init__(self, label: str, start_ns: int, end_ns: int, *, quiet: bool = False) -> None:
        self._label = label
        self._start_ns = start_ns
        self._span_ns = end_ns - start_ns
        self._began = time.monotonic()
        self._next_plain = PLAIN_STEP
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._quiet = quiet
        if not quiet and sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} %  {task.fields[rate]}"),
                TimeRemainingColumn(),
                TextColumn("left"),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task(label, total=1.0, rate="")

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, reached_ns: int, events: int) -> None:
        if self._quiet:
            return
        share = (reached_ns - self._start_ns) / self._span_ns
        elapsed = time.monotonic() - self._began
        rate = f"{events / max(elapsed, 1e-9):,.0f} events/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=share, rate=rate)
        elif share >= self._next_plain:
            left = elapsed * (1 - share) / share
            line = (
                f"{self._label}: {format_utc(reached_ns)}, {share:.0%}, {rate}, {left:.0f} s left"
            )
            print(line, file=sys.stderr, flush=True)  # noqa: T201  progress is this module's output
            self._next_plain = (share // PLAIN_STEP + 1) * PLAIN_STEP


class TaskBar:
    """Shows how many of a suite's runs are done, and the time left.

    Call it with (done, in all, label of the last). Used as a context manager.
    """

    def __init__(self, label: str, *, quiet: bool = False) -> None:
        self._label = label
        self._quiet = quiet
        self._began = time.monotonic()
        self._first: int | None = None
        self._bar: Progress | None = None
        self._task = TaskID(0)
        if not quiet and sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed:.0f} of {task.total:.0f} runs  {task.fields[last]}"),
                TimeRemainingColumn(),
                TextColumn("left"),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task(label, total=1.0, last="")

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: int, total: int, last: str) -> None:
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total, last=last)
            return
        if self._first is None or not last:
            self._first, self._began = done, time.monotonic()
            kept = f", {done} kept from before" if done else ""
            line = f"{self._label}: {total} runs{kept}"
        else:
            each = (time.monotonic() - self._began) / max(done - self._first, 1)
            line = f"{self._label}: {done} of {total}, {last}, {each * (total - done):.0f} s left"
        print(line, file=sys.stderr, flush=True)  # noqa: T201  progress is this module's output
