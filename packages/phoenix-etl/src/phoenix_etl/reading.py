"""Bytes of a dump file, CSV or ZIP, as newline-aligned blocks, hashed on the way.

Blocks keep memory bounded whatever the file's size, and let a bad line be found by re-reading one
block instead of the file. A ZIP's member name is never used as a path, and what it claims about its
size is checked before it is believed.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from phoenix_etl.errors import SourceError
from phoenix_etl.hashing import BackgroundHash

BLOCK_BYTES = 1 << 20
MAX_LINE_BYTES = 1 << 20
MAX_EXPANSION = 200
"""Dump files deflate 5 to 20 times; a member that claims more than this is not one."""
_SMALL_MEMBER = 64 << 20
_BOM = b"\xef\xbb\xbf"
_BAD_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    ValueError,
    OverflowError,
)
"""What zipfile raises on damaged bytes."""


@dataclass(frozen=True)
class Block:
    """Whole lines of a file; `first_line` counts from 1."""

    first_line: int
    data: bytes
    lines: int


def split_first_line(block: Block) -> tuple[bytes, Block]:
    """The first line of a file that is not blank, and the lines after it; the blank ones before it are
    left to be counted there."""
    rest, blank = block.data, 0
    first = b""
    while rest:
        first, _, rest = rest.partition(b"\n")
        if first.strip():
            break
        blank += 1
    data = b"\n" * blank + rest if blank else rest
    return first.removesuffix(b"\r"), Block(block.first_line + 1, data, block.lines - 1)


class SourceReader:
    """Iterates over the blocks of one file; `sha256` (of the file as it lies on disk) after the last.

    Raises SourceError for a file that cannot be read, is no proper ZIP, or whose `.CHECKSUM` file
    beside it names another hash.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._name = name
        self.sha256 = ""
        self.bytes_read = 0
        """Bytes of the file on disk consumed so far."""
        self.unended_line: int | None = None
        """The last line, if no newline ends it."""

    def __iter__(self) -> Iterator[Block]:
        try:
            with BackgroundHash() as hashed:
                if self._path.suffix == ".zip":
                    yield from self._blocks_of_zip(hashed)
                else:
                    with self._path.open("rb") as stream:
                        yield from self._blocks(stream, hashed)
                self.sha256 = hashed.hexdigest()
        except OSError as error:
            reason = error.strerror or str(error)
            raise SourceError(f"{self._name}: cannot be read ({reason})") from error
        self._compare_checksum()

    def _blocks_of_zip(self, hashed: BackgroundHash) -> Iterator[Block]:
        with self._path.open("rb") as file, self._path.open("rb") as packed:
            before = _state(file)
            size = file.seek(0, io.SEEK_END)

            def hash_up_to(end: int) -> None:
                while self.bytes_read < end and (chunk := packed.read(BLOCK_BYTES)):
                    hashed.update(chunk)
                    self.bytes_read += len(chunk)

            try:
                with zipfile.ZipFile(file) as archive:
                    member = self._only_member(archive, size)
                    with archive.open(member) as stream:
                        for block in self._blocks(stream, None):
                            hash_up_to(file.tell())
                            yield block
                hash_up_to(size)
                if _state(packed) != before:
                    raise SourceError(f"{self._name}: it changed while it was read; run again")
            except _BAD_ZIP as error:
                hash_up_to(size)
                self.sha256 = hashed.hexdigest()
                self._compare_checksum()  # says more, where there is one
                raise SourceError(
                    f"{self._name}: not a whole ZIP ({error}); download it again"
                ) from None
            except SourceError:
                raise
            except RuntimeError as error:  # an encrypted member
                raise SourceError(f"{self._name}: cannot be unpacked ({error})") from None

    def _only_member(self, archive: zipfile.ZipFile, size: int) -> zipfile.ZipInfo:
        members = [m for m in archive.infolist() if not m.is_dir()]
        if len(members) != 1:
            raise SourceError(f"{self._name}: must hold one CSV (holds {len(members)} files)")
        member = members[0]
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise SourceError(
                f"{self._name}: its member must be deflated, as the archive packs "
                f"(is packed by method {member.compress_type})"
            )
        if member.file_size > max(_SMALL_MEMBER, size * MAX_EXPANSION):
            raise SourceError(
                f"{self._name}: its member claims {member.file_size:,} bytes out of {size:,}, "
                f"more than {MAX_EXPANSION} times; not a dump file"
            )
        return member

    def _blocks(self, stream: IO[bytes], hashed: BackgroundHash | None) -> Iterator[Block]:
        line = 1
        while data := stream.read(BLOCK_BYTES):
            if not data.endswith(b"\n"):
                rest = stream.readline(MAX_LINE_BYTES)
                if len(rest) == MAX_LINE_BYTES:
                    bad = line + data.count(b"\n")
                    raise SourceError(
                        f"{self._name}:{bad}: a line of over {MAX_LINE_BYTES:,} bytes; not a CSV"
                    )
                data += rest
            if hashed is not None:
                hashed.update(data)
                self.bytes_read += len(data)
            if line == 1:
                data = data.removeprefix(_BOM)
            if not data.endswith(b"\n"):
                data += b"\n"  # the file's last line
                self.unended_line = line + data.count(b"\n") - 1
            lines = data.count(b"\n")
            yield Block(line, data, lines)
            line += lines

    def _compare_checksum(self) -> None:
        """Compare with the `<file>.CHECKSUM` that the archive delivers beside a ZIP."""
        companion = self._path.with_name(self._path.name + ".CHECKSUM")
        if not companion.is_file():
            return
        try:
            words = companion.read_text("utf-8", errors="replace").split()
        except OSError as error:
            reason = error.strerror or str(error)
            raise SourceError(f"{self._name}.CHECKSUM: cannot be read ({reason})") from error
        expected = words[0].lower() if words else ""
        if expected != self.sha256:
            raise SourceError(
                f"{self._name}: sha256 {self.sha256} differs from its CHECKSUM file "
                f"({expected or 'empty'}); download it again"
            )


def _state(file: IO[bytes]) -> tuple[int, int, int]:
    """What tells a file from another one, or from itself rewritten."""
    status = os.fstat(file.fileno())
    return status.st_ino, status.st_size, status.st_mtime_ns
