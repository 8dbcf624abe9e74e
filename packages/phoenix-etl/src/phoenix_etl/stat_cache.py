"""Hashes of source files that need not be computed again.

They lie in the catalog's hidden folder and not in the manifest, because they speak of one machine.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from phoenix_etl import durable
from phoenix_etl.inventory import SourceFile
from phoenix_etl.manifest import FileEntry


class StatCache:
    """sha256 of files whose size, mtime and inode did not change since they were hashed."""

    def __init__(self, path: Path, rehash: bool) -> None:
        self._path = path
        self._rehash = rehash
        try:
            self._entries: dict[str, list[Any]] = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            self._entries = {}

    def sha256(self, source: SourceFile, entry: FileEntry) -> str:
        """Hash of a file, from the cache if its stat is the cached one."""
        if entry.size_bytes != source.size_bytes:
            return ""  # certainly another content
        cached = self._entries.get(str(source.location.resolve()))
        if not self._rehash and cached is not None and cached[:3] == _stat(source):
            return str(cached[3])
        with source.location.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        self.remember(source, sha256)
        return sha256

    def remember(self, source: SourceFile, sha256: str) -> None:
        self._entries[str(source.location.resolve())] = [*_stat(source), sha256]

    def save(self) -> None:
        data = json.dumps(self._entries, indent=0, sort_keys=True).encode()
        if not self._path.exists() or self._path.read_bytes() != data:
            durable.write_file(self._path, data)


def _stat(source: SourceFile) -> list[Any]:
    return [source.size_bytes, source.mtime_ns, source.inode]
