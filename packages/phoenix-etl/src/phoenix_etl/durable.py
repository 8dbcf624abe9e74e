"""File operations that survive a crash: whole or not at all, and on disk when they return."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import IO


def sync_file(stream: IO[bytes]) -> None:
    """Force an open file's content to disk."""
    stream.flush()
    os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Force a folder's entries (new names, renames, removals) to disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, durably."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        try:
            path.mkdir(exist_ok=True)
        except FileExistsError:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None
        sync_folder(path.parent)


def temporary_name(path: Path) -> Path:
    """Where [write_file][] writes before it renames."""
    return path.with_name(f".{path.name}.new")


def write_file(path: Path, data: bytes) -> None:
    """Replace a file's content atomically: a reader sees the old or the new, never a part."""
    make_folder(path.parent)
    temporary = temporary_name(path)
    write_new(temporary, data)
    os.replace(temporary, path)  # noqa: PTH105 -- the call that fault injection wraps
    sync_folder(path.parent)


def write_new(path: Path, data: bytes) -> None:
    """Write a file whose bytes are on disk when this returns; its name is once its folder is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def move(source: Path, target: Path) -> None:
    """Move a file that is on disk to its place; doing it again after a crash is harmless."""
    make_folder(target.parent)
    if source.exists():
        os.replace(source, target)  # noqa: PTH105


def remove(path: Path) -> None:
    """Remove a file if it is there."""
    path.unlink(missing_ok=True)
