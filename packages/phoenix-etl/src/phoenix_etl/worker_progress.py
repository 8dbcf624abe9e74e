"""How far workers are within a file, told through the staging area that they share with the coordinator.

It works the same for processes of this machine and for a cluster. A worker writes sixteen bytes twice a
second; the coordinator looks at them while it waits.
"""

from __future__ import annotations

import os
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

INTERVAL_S = 0.5
_FORM = struct.Struct("<qq")


class ProgressTeller:
    """A worker's side: call it with (bytes, rows) since the last call."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        self._bytes = self._rows = 0
        self._next = time.monotonic() + INTERVAL_S

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        os.close(self._handle)

    def __call__(self, bytes_read: int, rows: int) -> None:
        self._bytes += bytes_read
        self._rows += rows
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + INTERVAL_S
            os.lseek(self._handle, 0, os.SEEK_SET)
            os.write(self._handle, _FORM.pack(self._bytes, self._rows))


class ProgressListener:
    """The coordinator's side, of one task."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._heard = (0, 0)

    def news(self) -> tuple[int, int]:
        """(bytes, rows) since the last call; nothing where the worker has not begun."""
        with suppress(OSError, struct.error):  # not there yet, or just begun
            return self._advance(*_FORM.unpack(self._path.read_bytes()))
        return 0, 0

    def finish(self, total_bytes: int, rows: int) -> tuple[int, int]:
        """What of the whole file was not heard of yet."""
        self._path.unlink(missing_ok=True)
        return self._advance(total_bytes, rows)

    def _advance(self, total_bytes: int, rows: int) -> tuple[int, int]:
        news = (total_bytes - self._heard[0], rows - self._heard[1])
        self._heard = (total_bytes, rows)
        return news
