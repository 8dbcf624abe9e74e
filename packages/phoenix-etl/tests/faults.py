"""Makes the k-th file operation of an ingest fail, and counts them.

Watched are the calls through which anything changes below a folder: open for writing, write, fsync,
rename, unlink, mkdir, rmdir, and the spill files of pyarrow.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

KILLED = 99
"""Exit code of a process that a fault killed."""


class Faults:
    """Counts operations below `root` and lets one of them fail: with an errno, by `os._exit`, or as
    Ctrl-C would have it."""

    def __init__(self, root: Path, at: int | None, kind: str) -> None:
        self.root = os.fspath(root)
        self.at = at
        self.kind = kind
        self.calls: list[str] = []

    def step(self, what: str, path: object, part: Callable[[], object] | None = None) -> None:
        """Count one operation; if it is the one, do a part of it and fail."""
        self.calls.append(f"{what} {path}")
        if self.at != len(self.calls):
            return
        if part is not None:
            part()
        if self.kind == "kill":
            os._exit(KILLED)
        if self.kind == "ctrl-c":
            raise KeyboardInterrupt
        number = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC, "EROFS": errno.EROFS}[self.kind]
        raise OSError(number, os.strerror(number), str(path))

    def watches(self, path: object) -> bool:
        return isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self.root)


class _Stream:
    """A file open for writing whose writes are steps."""

    def __init__(self, stream: Any, path: object, faults: Faults) -> None:
        self._stream, self._path, self._faults = stream, path, faults

    def write(self, data: Any) -> int:
        half = memoryview(data).cast("B")[: len(data) // 2] if not isinstance(data, str) else ""

        def part() -> None:
            self._stream.write(half)
            self._stream.flush()

        self._faults.step("write", self._path, part)
        return int(self._stream.write(data))

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def injected(faults: Faults) -> Iterator[None]:
    """The operations of this process below the folder of `faults` are watched."""
    saved = {name: getattr(os, name) for name in ("fsync", "replace", "unlink", "mkdir", "rmdir")}
    real_open, real_spill = io.open, pa.OSFile

    def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if not faults.watches(file) or not set(mode) & set("wax+"):
            return real_open(file, mode, *args, **kwargs)
        faults.step("open", file)
        return _Stream(real_open(file, mode, *args, **kwargs), file, faults)

    def spill(file: Any, mode: str = "r", **kwargs: Any) -> Any:
        if faults.watches(file) and "w" in mode:
            faults.step("spill", file)
        return real_spill(file, mode, **kwargs)

    def watched(name: str) -> Callable[..., Any]:
        def call(path: Any, *args: Any, **kwargs: Any) -> Any:
            if name == "fsync" or faults.watches(path) or any(faults.watches(a) for a in args):
                faults.step(name, path)
            # What a disk does with a sync is its own; here it only costs time.
            return None if name == "fsync" else saved[name](path, *args, **kwargs)

        return call

    io.open = builtins.open = opened  # pathlib and everybody else
    pa.OSFile = spill
    for name in saved:
        setattr(os, name, watched(name))
    try:
        yield
    finally:
        io.open = builtins.open = real_open
        pa.OSFile = real_spill
        for name, call in saved.items():
            setattr(os, name, call)


def run_in_child(action: Callable[[], object]) -> int:
    """Exit code of a forked process that does something (the parent must have no threads at work)."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            action()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
