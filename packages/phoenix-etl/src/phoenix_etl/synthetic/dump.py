"""Dump files as the archive writes them: text from integers, CSV or ZIP, the same bytes each time.

A value is an integer with a number of decimals and becomes text by its digits alone. A block of
rows is one matrix of characters (fields padded to their widest) and a mask of those that count.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from phoenix_etl.synthetic.draws import Bools, Ints

Bytes = npt.NDArray[np.uint8]

_ROWS: Final = 100_000  # per block: about 10 MB of characters
_FOUR: Final = np.frombuffer(
    b"".join(b"%04d" % i for i in range(10_000)), dtype=np.dtype("<u4")
)  # the text of every four digits, as one word
_POWERS: Final = np.array([10**k for k in range(1, 19)], dtype=np.int64)


class Column(Protocol):
    """A field of every row."""

    def __len__(self) -> int: ...

    def characters(self, rows: slice) -> tuple[Bytes, Bools]:
        """Characters of the rows, and which of them are written."""


@dataclass(frozen=True)
class Number:
    """`values * 10**-decimals` with exactly that many decimals, then `zeros` more zeros.

    `strip` drops the zeros at the end of the fraction, and the point when nothing is left.
    """

    values: Ints
    decimals: int = 0
    zeros: int = 0
    strip: bool = False

    def __len__(self) -> int:
        return len(self.values)

    def characters(self, rows: slice) -> tuple[Bytes, Bools]:
        values = self.values[rows]
        size = np.abs(values)
        groups = -(-max(len(str(int(size.max(initial=0)))), self.decimals + 1) // 4)
        words = np.empty((len(size), groups), dtype=np.dtype("<u4"))
        rest = size
        for group in range(groups - 1, -1, -1):
            upper = rest // 10_000
            words[:, group] = _FOUR[rest - upper * 10_000]
            rest = upper
        digits = words.view(np.uint8).reshape(len(size), groups * 4)
        width = groups * 4
        written = np.maximum(np.searchsorted(_POWERS, size, side="right") + 1, self.decimals + 1)
        keep = np.arange(width) >= (width - written)[:, None]
        whole = width - self.decimals
        parts = [_constant(b"-", len(size)), digits[:, :whole]]
        masks = [(values < 0)[:, None], keep[:, :whole]]
        if self.decimals:
            fraction = digits[:, whole:]
            shown = np.ones(fraction.shape, dtype=np.bool_)
            if self.strip:
                used = fraction != ord("0")
                shown = np.logical_or.accumulate(used[:, ::-1], axis=1)[:, ::-1]
            parts += [_constant(b".", len(size)), fraction]
            masks += [shown[:, :1], shown]
        if self.zeros:
            parts.append(_constant(b"0" * self.zeros, len(size)))
            masks.append(np.ones((len(size), self.zeros), dtype=np.bool_))
        return np.concatenate(parts, axis=1), np.concatenate(masks, axis=1)


@dataclass(frozen=True)
class Flag:
    """`true` or `false`."""

    values: Bools

    def __len__(self) -> int:
        return len(self.values)

    def characters(self, rows: slice) -> tuple[Bytes, Bools]:
        values = self.values[rows]
        both = np.frombuffer(b"falsetrue\0", dtype=np.uint8).reshape(2, 5)
        return both[values.astype(np.int64)], np.array([[True] * 5, [True] * 4 + [False]])[
            values.astype(np.int64)
        ]


@dataclass(frozen=True)
class Text:
    """Fixed texts: `values` is an array of bytes (dtype S), or one text for all `rows`."""

    values: npt.NDArray[np.bytes_]

    @classmethod
    def same(cls, text: str, rows: int) -> Text:
        return cls(np.full(rows, text.encode()))

    @classmethod
    def times(cls, seconds: Ints) -> Text:
        """`2024-01-31 23:59:59` of seconds since 1970."""
        text = np.datetime_as_string(seconds.astype("datetime64[s]")).astype("S19")
        characters = text.view(np.uint8).reshape(len(seconds), 19).copy()
        characters[:, 10] = ord(" ")
        return cls(characters.view("S19").reshape(-1))

    def __len__(self) -> int:
        return len(self.values)

    def characters(self, rows: slice) -> tuple[Bytes, Bools]:
        values = np.ascontiguousarray(self.values[rows])
        characters = values.view(np.uint8).reshape(len(values), values.dtype.itemsize)
        return characters, characters != 0


def _constant(text: bytes, rows: int) -> Bytes:
    return np.broadcast_to(np.frombuffer(text, dtype=np.uint8), (rows, len(text)))


def lines(columns: Sequence[Column]) -> Iterator[bytes]:
    """The rows of a file as text, block by block.

    >>> b"".join(lines([Number(np.array([281451, -5]), 2), Flag(np.array([True, False]))]))
    b'2814.51,true\\n-0.05,false\\n'
    """
    rows = len(columns[0])
    for start in range(0, rows, _ROWS):
        block = slice(start, min(start + _ROWS, rows))
        parts: list[Bytes] = []
        masks: list[Bools] = []
        for i, column in enumerate(columns):
            characters, mask = column.characters(block)
            parts += [characters, _constant(b"\n" if i == len(columns) - 1 else b",", len(mask))]
            masks += [mask, np.ones((len(mask), 1), dtype=np.bool_)]
        yield np.concatenate(parts, axis=1)[np.concatenate(masks, axis=1)].tobytes()


@contextmanager
def _open(path: Path, stamp: date) -> Iterator[_Writer]:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        with path.open("wb") as file:
            yield file
        return
    # Fixed time and attributes; the packed bytes depend on the zlib in use, the content does not.
    info = zipfile.ZipInfo(
        path.with_suffix(".csv").name, (stamp.year, stamp.month, stamp.day, 0, 0, 0)
    )
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    info.create_system = 3
    with zipfile.ZipFile(path, "w") as archive, archive.open(info, "w") as member:
        yield member


class _Writer(Protocol):
    def write(self, data: bytes, /) -> object: ...


def write(path: Path, header: str, columns: Sequence[Column], day: date) -> int:
    """Write one file, `.csv` or `.zip` by its name, and return its number of rows."""
    with _open(path, day + timedelta(days=1)) as file:
        file.write(header.encode() + b"\n")
        for block in lines(columns):
            file.write(block)
    return len(columns[0])
