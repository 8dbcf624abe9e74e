"""What a person sees while an ingest runs: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as RichProgress,
)

from phoenix_etl.download import DownloadProgress, SilentDownload
from phoenix_etl.scheduler import Progress, Silent

PLAIN_INTERVAL_S = 5.0


@contextmanager
def shown(console: Console, quiet: bool = False) -> Iterator[Progress]:
    """A [Progress][] that fits where `console` (stderr) writes to."""
    if quiet:
        yield Silent()
    elif console.is_terminal:
        bar = _Bar(console)
        with bar.live:
            yield bar
    else:
        yield _Lines(console)


class _Rate:
    """Rows and bytes so far, and how fast they come."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.rows = 0
        self.bytes = 0

    def add(self, bytes_read: int, rows: int) -> None:
        self.bytes += bytes_read
        self.rows += rows

    @property
    def seconds(self) -> float:
        return max(time.monotonic() - self.started, 1e-9)

    def __str__(self) -> str:
        return f"{self.rows:,} rows, {self.rows / self.seconds:,.0f} rows/s"


class _Bar:
    """Bytes as a bar, with files, rows, rows/s and time left."""

    def __init__(self, console: Console) -> None:
        self.live = RichProgress(
            TextColumn("{task.fields[files]}"),
            BarColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
        )
        self._rate = _Rate()
        self._files = 0
        self._done = 0
        self._task: TaskID | None = None

    def start(self, files: int, total_bytes: int) -> None:
        self._rate, self._files, self._done = _Rate(), files, 0
        if self._task is not None:
            self.live.remove_task(self._task)
            self._task = None
        if files:
            self._task = self.live.add_task("", total=total_bytes, rate="", files="")
            self._show()

    def advance(self, bytes_read: int, rows: int) -> None:
        self._rate.add(bytes_read, rows)
        self._show()

    def file_done(self, path: str) -> None:
        self._done += 1
        self._show()

    def note(self, message: str) -> None:
        self.live.console.print(message, markup=False, highlight=False, soft_wrap=True)

    def _show(self) -> None:
        if self._task is not None:
            files = f"{self._done}/{self._files} files"
            self.live.update(
                self._task, completed=self._rate.bytes, rate=str(self._rate), files=files
            )


class _Lines:
    """One line every few seconds, for logs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rate = _Rate()
        self._files = 0
        self._done = 0
        self._total_bytes = 0
        self._last = 0.0

    def start(self, files: int, total_bytes: int) -> None:
        self._rate, self._done = _Rate(), 0
        self._files, self._total_bytes = files, total_bytes
        if files:
            self.note(f"{files} file(s) to read, {total_bytes:,} bytes")

    def advance(self, bytes_read: int, rows: int) -> None:
        self._rate.add(bytes_read, rows)
        if time.monotonic() - self._last > PLAIN_INTERVAL_S and self._last:
            left = self._rate.seconds * (self._total_bytes / max(self._rate.bytes, 1) - 1)
            self.note(f"{self._done}/{self._files} files, {self._rate}, {left:.0f} s left")
        self._last = self._last or time.monotonic()

    def file_done(self, path: str) -> None:
        self._done += 1

    def note(self, message: str) -> None:
        self._last = time.monotonic()
        self._console.print(message, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def download_shown(console: Console, quiet: bool = False) -> Iterator[DownloadProgress]:
    """A [DownloadProgress][] that fits where `console` (stderr) writes to."""
    if quiet:
        yield SilentDownload()
    elif console.is_terminal:
        bar = _DownloadBar(console)
        with bar.live:
            yield bar
    else:
        yield _DownloadLines(console)


class _DownloadCount:
    """Files and bytes so far, and how fast they come."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self.files = self.done = self.bytes = 0

    def start(self, files: int) -> None:
        self.files = files

    def __str__(self) -> str:
        rate = self.bytes / max(time.monotonic() - self._started, 1e-9)
        return (
            f"{self.done}/{self.files} files, {self.bytes / (1 << 20):,.1f} MiB, "
            f"{rate / (1 << 20):,.1f} MiB/s"
        )


class _DownloadBar:
    """Files as a bar (their sizes are not known beforehand), with MiB, MiB/s and time left."""

    def __init__(self, console: Console) -> None:
        self.live = RichProgress(
            BarColumn(), TextColumn("{task.fields[count]}"), TimeRemainingColumn(), console=console
        )
        self._count = _DownloadCount()
        self._task = self.live.add_task("", total=None, count="")

    def start(self, files: int) -> None:
        self._count.start(files)
        self.live.update(self._task, total=files, count=str(self._count))

    def advance(self, bytes_read: int) -> None:
        self._count.bytes += bytes_read
        self.live.update(self._task, count=str(self._count))

    def file_done(self, path: str, outcome: str) -> None:
        self._count.done += 1
        self.live.update(self._task, completed=self._count.done, count=str(self._count))

    def note(self, message: str) -> None:
        self.live.console.print(message, markup=False, highlight=False, soft_wrap=True)


class _DownloadLines:
    """One line every few seconds, for logs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._count = _DownloadCount()
        self._last = time.monotonic()

    def start(self, files: int) -> None:
        self._count.start(files)
        self.note(f"{files} file(s) asked for")

    def advance(self, bytes_read: int) -> None:
        self._count.bytes += bytes_read

    def file_done(self, path: str, outcome: str) -> None:
        self._count.done += 1
        if time.monotonic() - self._last > PLAIN_INTERVAL_S:
            self.note(str(self._count))

    def note(self, message: str) -> None:
        self._last = time.monotonic()
        self._console.print(message, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def writing_shown(
    console: Console, quiet: bool = False
) -> Iterator[Callable[[int, int, str], None] | None]:
    """A function to call with (files written, of how many, path) for each file that was written."""
    if quiet:
        yield None
    elif console.is_terminal:
        bar = RichProgress(
            TextColumn("{task.completed}/{task.total} files"),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            console=console,
        )
        task = bar.add_task("", total=None)
        with bar:
            yield lambda done, total, path: bar.update(
                task, completed=done, total=total, description=path.rpartition("/")[2]
            )
    else:
        began = last = time.monotonic()

        def line(done: int, total: int, path: str) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last > PLAIN_INTERVAL_S or done == total:
                last = now
                left = (now - began) * (total / done - 1)
                console.print(
                    f"{done}/{total} files, {left:.0f} s left: {path}",
                    markup=False, highlight=False, soft_wrap=True,
                )  # fmt: skip

        yield line
