"""One block of CSV text into exact columns, and every line that cannot be one, with its reason.

The fast path hands the block to `pyarrow.csv`, which reads decimals straight into integers at the
precision the catalog keeps. It is lenient in places (`3.5E-999` is 0 to it) and stops at the first bad
cell without naming the row, so a block that fails, loses a line, or holds what its leniency touches
is read again line by line against a strict grammar; the good lines, in one plain form, then take the
fast path. Both paths yield the same columns.

Columns by kind: PRICE, SIZE and PRICE_8 as int64 in units of the last decimal; AMOUNT as
decimal128(38, 16); INTEGER and EPOCH as int64; DATETIME as int64 seconds; FLAG as bool; RATIO as
float64; TEXT as string. UNUSED columns are dropped.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from phoenix_schemas.arrow import DECIMAL, MAX_VALUE
from phoenix_schemas.datasets import Column, DatasetSpec, Kind
from pyarrow import csv

from phoenix_etl.arrays import decimal_words, float_array, int64_array, int64_of_decimals, numbers
from phoenix_etl.errors import SourceError
from phoenix_etl.reading import Block

PRICE_8_PRECISION = 8
_AMOUNT_PRECISION = 16
# Characters that a number parser lets through but no dump writes: hexadecimal, exponents (`1E-999999999`
# makes Arrow read outside its tables, up to a crash), blanks, quotes.
_SUSPICIOUS = (b"x", b"X", b"E", b'"', b"\t", b"\x00")
_INTEGER_LIMIT = 10**18

_INTEGER = re.compile(r"-?0*[0-9]{1,18}")
_DECIMAL = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?")
_DATETIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")
_PLAIN_DECIMAL = r"^-?[0-9]+(?:\.[0-9]+)?$"
_SURE_DIGITS = 15
"""Every decimal of so many digits comes back from the nearest float64, so equals its shortest form."""
_FLAGS = {"true": True, "True": True, "false": False, "False": False}


@dataclass(frozen=True)
class Reject:
    """A line that is not written, and why. `text` is the line as it stands."""

    line: int
    reason: str
    text: str


@dataclass(frozen=True)
class Parsed:
    """Rows of one block: columns, the line of each row, rejected lines, blank lines."""

    table: pa.Table
    lines: np.ndarray
    rejects: list[Reject]
    blank_lines: int


@dataclass(frozen=True)
class Precisions:
    """Decimals that the catalog keeps of an instrument's prices and sizes."""

    price: int
    size: int

    def of(self, kind: Kind) -> int:
        return {
            Kind.PRICE: self.price,
            Kind.SIZE: self.size,
            Kind.PRICE_8: PRICE_8_PRECISION,
            Kind.AMOUNT: _AMOUNT_PRECISION,
        }[kind]


SCALED = frozenset({Kind.PRICE, Kind.SIZE, Kind.PRICE_8})
"""Kinds that become int64 in units of their last decimal."""


_UTF_16 = ("\\xff\\xfe", "\\xfe\\xff")
"""Its byte order marks, as they stand in text that was decoded with escapes."""


def sniff_header(spec: DatasetSpec, first_line: str, name: str) -> tuple[tuple[Column, ...], bool]:
    """Columns of a file in file order, and whether its first line is a header.

    The line is a header when most of its cells are names this dataset has had. Otherwise the file has
    the columns of the spec by position.

    Raises SourceError when a header lacks a column, or the number of columns is wrong.
    """
    if first_line.startswith(_UTF_16):  # whose cells may be as many as they should be
        raise SourceError(f"{name}:1: must be UTF-8 text; {_what_to_do(first_line)}")
    cells = [cell.strip().strip('"') for cell in first_line.split(",")]
    by_name = {n: column for column in reversed(spec.columns) for n in reversed(column.names)}
    # A name that is one column's own beats the same word as another's alias.
    by_name |= {column.name: column for column in spec.columns}
    known = [by_name.get(cell) for cell in cells]
    if 2 * sum(column is not None for column in known) <= len(cells):
        if len(cells) != len(spec.columns):
            raise SourceError(
                f"{name}:1: {spec.name} must have {len(spec.columns)} columns "
                f"(has {len(cells)}: {first_line[:80]!r}); {_what_to_do(first_line)}"
            )
        return spec.columns, False
    for cell, column in zip(cells, known, strict=True):
        if column is None:
            raise SourceError(
                f"{name}:1: unknown column {cell!r} in the header of {spec.name}; "
                f"known columns: {', '.join(c.name for c in spec.columns)}"
            )
    found = [column for column in known if column is not None]
    names = [column.name for column in found]
    for column in spec.columns:
        if names.count(column.name) != 1 and column.kind is not Kind.UNUSED:
            raise SourceError(
                f"{name}:1: the header must name {column.name} once "
                f"(names it {names.count(column.name)} times: {first_line[:120]!r})"
            )
    return tuple(found), True


def _what_to_do(first_line: str) -> str:
    """The next step with a file whose first line is none of its dataset."""
    if first_line.startswith("\x1f\\x8b"):
        return "it is packed by gzip: unpack it"
    if first_line.startswith("PK\x03\x04"):
        return "it is a ZIP file: unpack it, or name it .zip"
    if first_line.startswith(_UTF_16):
        return "it is UTF-16: save it as UTF-8"
    if first_line.startswith("<"):
        return "it is the answer of a web server: download it again"
    if "\r" in first_line:
        return "its lines end in carriage returns alone: convert them to newlines"
    if any(mark in first_line for mark in ";\t"):
        return "cells must be separated by commas"
    return "is this another file?"


def written_decimals(columns: tuple[Column, ...], line: str) -> dict[str, int]:
    """How many decimals a line writes in each column of prices or sizes.

    Other lines may write more or fewer; where most write as many, parsing is faster.
    """
    cells = line.split(",")
    if len(cells) != len(columns):
        return {}
    return {
        column.name: min(len(cell.partition(".")[2]), _AMOUNT_PRECISION)
        for column, cell in zip(columns, cells, strict=True)
        if column.kind in SCALED
    }


class BlockParser:
    """Parses blocks of one file; safe to call from several threads.

    `columns` in file order (from [sniff_header][]); `written` (from [written_decimals][]) says how
    many decimals the file writes, where that is known.
    """

    def __init__(
        self,
        columns: tuple[Column, ...],
        precisions: Precisions,
        written: Mapping[str, int] | None = None,
    ) -> None:
        self._columns = columns
        self._precisions = precisions
        self._written = written or {}
        self._names = [column.name for column in columns]
        kept = [column for column in columns if column.kind is not Kind.UNUSED]
        self._kept = kept
        # A blank is legal only inside a DATETIME, once.
        self._blanks_per_line = sum(c.kind is Kind.DATETIME for c in columns)
        self._flags = sum(c.kind is Kind.FLAG for c in columns)
        self._convert = self._convert_options(self._written)
        self._convert_strict = self._convert_options({})
        self._parse = csv.ParseOptions(quote_char=False, ignore_empty_lines=False)
        self._grammar: list[Callable[[str], str | None]] = [
            self._cell_check(column) for column in columns
        ]

    def __call__(self, block: Block) -> Parsed:
        """Columns of a block; never raises for a bad line."""
        is_plain = self._is_plain(block)
        table = self._fast(block.data, block.lines, self._convert) if is_plain else None
        if table is not None:
            lines = np.arange(block.first_line, block.first_line + block.lines, dtype=np.int64)
            return Parsed(table, lines, [], 0)
        return self._strict(block)

    def empty(self) -> pa.Table:
        """No rows, in the columns this parser yields."""
        schema = pa.schema([pa.field(c.name, self._final_type(c)) for c in self._kept])
        return schema.empty_table()

    def _is_plain(self, block: Block) -> bool:
        """Whether a block holds nothing that `pyarrow.csv` reads more leniently than the grammar."""
        data = block.data
        return (
            data.isascii()
            and not any(mark in data for mark in _SUSPICIOUS)
            and _holds(data, b" ", block.lines * self._blanks_per_line)
            and not (_has_exponent(data) if self._flags else b"e" in data)
        )

    def _convert_options(self, written: Mapping[str, int]) -> csv.ConvertOptions:
        return csv.ConvertOptions(
            column_types={c.name: self._csv_type(c, written) for c in self._kept},
            include_columns=[c.name for c in self._kept],
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["true", "True"],
            false_values=["false", "False"],
        )

    def _csv_type(self, column: Column, written: Mapping[str, int]) -> pa.DataType:
        match column.kind:
            case Kind.PRICE | Kind.SIZE | Kind.PRICE_8:
                # A parser that must not rescale each value is a third faster.
                precision = self._precisions.of(column.kind)
                return pa.decimal128(38, max(precision, written.get(column.name, 0)))
            case Kind.AMOUNT:
                return pa.decimal128(38, self._precisions.of(column.kind))
            case Kind.INTEGER | Kind.EPOCH:
                return pa.int64()
            case Kind.FLAG:
                return pa.bool_()
            case _:
                return pa.string()

    def _final_type(self, column: Column) -> pa.DataType:
        match column.kind:
            case Kind.AMOUNT:
                return DECIMAL
            case Kind.FLAG:
                return pa.bool_()
            case Kind.RATIO:
                return pa.float64()
            case Kind.TEXT:
                return pa.string()
            case _:
                return pa.int64()

    def _fast(self, data: bytes, rows: int, convert: csv.ConvertOptions) -> pa.Table | None:
        """The block by pyarrow's parser, or None if it needs the strict reading."""
        try:
            table = csv.read_csv(
                pa.BufferReader(data),
                read_options=csv.ReadOptions(
                    column_names=self._names, use_threads=False, block_size=len(data) + 1
                ),
                parse_options=self._parse,
                convert_options=convert,
            )
        except (pa.ArrowInvalid, pa.ArrowKeyError):
            return None
        if table.num_rows != rows:
            return None
        arrays = []
        for column in self._kept:
            array = table.column(column.name).combine_chunks()
            if array.null_count and not column.nullable:
                return None
            exact = self._exact(column, array)
            if exact is None:
                return None
            arrays.append(exact)
        return pa.table(arrays, names=[c.name for c in self._kept])

    def _exact(self, column: Column, array: pa.Array) -> pa.Array | None:
        """The column as it is kept, or None if a value is out of range or inexact."""
        match column.kind:
            case Kind.PRICE | Kind.SIZE | Kind.PRICE_8:
                precision = self._precisions.of(column.kind)
                values = int64_of_decimals(array)
                if values is not None and array.type.scale > precision:
                    values = _at_precision(values, array.type.scale - precision)
                if values is None or _beyond(values, int(_limit(precision) * 10**precision)):
                    return None
                return int64_array(values)
            case Kind.AMOUNT:
                return array if _within_limit(array) else None
            case Kind.DATETIME:
                return _seconds(array)
            case Kind.RATIO:
                return _exact_floats(array)
            case Kind.INTEGER | Kind.EPOCH:
                values = numbers(array)
                if _beyond(values, _INTEGER_LIMIT - 1):
                    return None
                return array
            case _:
                return array

    def _strict(self, block: Block) -> Parsed:
        """The block line by line: good lines by the fast path, the others with their reasons."""
        rejects: list[Reject] = []
        good: list[bytes] = []
        lines: list[int] = []
        blank = 0
        for number, raw in enumerate(block.data.split(b"\n")[:-1], start=block.first_line):
            raw = raw.removesuffix(b"\r")
            if not raw.strip():
                blank += 1
                continue
            try:
                text = raw.decode("utf-8")
            except UnicodeDecodeError:
                shown = raw.decode("utf-8", errors="backslashreplace")
                rejects.append(Reject(number, "bytes must be UTF-8", shown))
                continue
            reason = self._line_reason(text)
            if reason is None:
                good.append(self._plain_line(text))
                lines.append(number)
            else:
                rejects.append(Reject(number, reason, text))
        if not good:
            return Parsed(self.empty(), np.empty(0, np.int64), rejects, blank)
        table = self._fast(b"\n".join(good) + b"\n", len(good), self._convert_strict)
        if table is None:  # the grammar and the parser must agree; losing rows silently is worse
            raise SourceError(
                f"lines {lines[0]} to {lines[-1]}: the strict grammar accepts what the parser "
                "refuses; this is a defect of phoenix-etl, please report these lines"
            )
        return Parsed(table, np.array(lines, np.int64), rejects, blank)

    def _line_reason(self, text: str) -> str | None:
        if "\r" in text:
            return "must not hold a carriage return inside"
        cells = text.split(",")
        if len(cells) != len(self._columns):
            return f"must have {len(self._columns)} columns (has {len(cells)})"
        for column, check, cell in zip(self._columns, self._grammar, cells, strict=True):
            if cell == "":
                if column.nullable or column.kind is Kind.UNUSED:
                    continue
                return f"{column.name} must not be blank"
            reason = check(cell)
            if reason is not None:
                return f"{column.name} {reason} (was {cell[:40]!r})"
        return None

    def _plain_line(self, text: str) -> bytes:
        """A line that the grammar accepts, its numbers without exponents and needless zeros."""
        plain = {Kind.PRICE, Kind.SIZE, Kind.PRICE_8, Kind.AMOUNT, Kind.INTEGER, Kind.EPOCH}
        cells = []
        for column, cell in zip(self._columns, text.split(","), strict=True):
            if column.kind in plain and cell:
                number = format(Decimal(cell), "f")
                cell = number.rstrip("0").rstrip(".") if "." in number else number
            cells.append("" if column.kind is Kind.UNUSED else cell)
        return ",".join(cells).encode()

    def _cell_check(self, column: Column) -> Callable[[str], str | None]:
        match column.kind:
            case Kind.PRICE | Kind.SIZE | Kind.PRICE_8 | Kind.AMOUNT:
                precision = self._precisions.of(column.kind)
                limit = _limit(precision) if column.kind in SCALED else Decimal(MAX_VALUE)
                return lambda cell: _decimal_reason(cell, precision, limit)
            case Kind.INTEGER | Kind.EPOCH:
                return lambda cell: None if _INTEGER.fullmatch(cell) else "must be a whole number"
            case Kind.DATETIME:
                return _datetime_reason
            case Kind.FLAG:
                return lambda cell: None if cell in _FLAGS else "must be true or false"
            case Kind.RATIO:
                return _ratio_reason
            case _:
                return lambda _cell: None


def _limit(precision: int) -> Decimal:
    """Largest magnitude of a scaled value: what NautilusTrader holds, and what int64 holds."""
    return min(Decimal(MAX_VALUE), Decimal(2**63 - 1).scaleb(-precision))


def _holds(data: bytes, character: bytes, times: int) -> bool:
    return data.count(character) == times if times else character not in data


def _has_exponent(data: bytes) -> bool:
    """Whether an `e` is followed by a digit or sign; in `true` and `false` it ends the cell."""
    characters = np.frombuffer(data, np.uint8)
    after = characters[1:][characters[:-1] == ord("e")]
    return bool(np.any((after >= ord("+")) & (after <= ord("9")) & (after != ord(","))))


def _decimal_reason(cell: str, precision: int, limit: Decimal) -> str | None:
    if not _DECIMAL.fullmatch(cell):
        return "must be a decimal number"
    value = Decimal(cell)
    if abs(value) > limit:
        return f"must be within +-{limit:f}"
    needed = _decimals_of(value)
    if needed > precision:
        return f"needs {needed} decimals where the catalog keeps {precision}"
    return None


def _decimals_of(value: Decimal) -> int:
    """Decimals that hold a value exactly; by its digits, as `normalize` would round to 28."""
    _, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)  # the grammar admits finite numbers only
    significant = "".join(map(str, digits)).rstrip("0")
    return max(0, -exponent - len(digits) + len(significant)) if significant else 0


def _datetime_reason(cell: str) -> str | None:
    if not _DATETIME.fullmatch(cell):
        return "must be a time such as 2024-01-31 23:55:00"
    try:
        dt.datetime.fromisoformat(cell)
    except ValueError:
        return "must exist in the calendar"
    return None


def _ratio_reason(cell: str) -> str | None:
    if not _DECIMAL.fullmatch(cell):
        return "must be a decimal number"
    return None if _float_is_exact(cell) else "must equal its shortest float64 form"


def _float_is_exact(cell: str) -> bool:
    return Decimal(cell) == Decimal(repr(float(cell)))  # infinity, of an overflow, equals nothing


def _exact_floats(array: pa.Array) -> pa.Array | None:
    """float64 of decimal texts, or None if one is not exact."""
    longest = pc.max(pc.binary_length(array)).as_py() or 0
    if longest <= _SURE_DIGITS and (
        pc.all(pc.match_substring_regex(array, _PLAIN_DECIMAL), min_count=0).as_py()
    ):
        return array.cast(pa.float64())
    texts = array.to_pylist()
    exact = {t for t in set(texts) if t is not None}
    if not all(_DECIMAL.fullmatch(t) and _float_is_exact(t) for t in exact):
        return None
    floats = {t: float(t) for t in exact}
    return float_array([None if t is None else floats[t] for t in texts])


def _seconds(array: pa.Array) -> pa.Array | None:
    """int64 seconds since 1970 of `YYYY-MM-DD hh:mm:ss`, or None if a text is no such time."""
    regex = f"^{_DATETIME.pattern}$"
    if not pc.all(pc.match_substring_regex(array, regex), min_count=0).as_py():
        return None
    try:
        return array.cast(pa.timestamp("s")).cast(pa.int64())
    except pa.ArrowInvalid:
        return None


def _beyond(values: np.ndarray, limit: int) -> bool:
    """Whether a magnitude exceeds a limit (as Python integers: -(-2**63) is no int64)."""
    return bool(len(values)) and max(-int(values.min()), int(values.max())) > limit


def _within_limit(array: pa.Array) -> bool:
    """Whether every decimal128(38, 16) lies within +-MAX_VALUE."""
    words = decimal_words(array)
    if not len(words):
        return True
    high = words[:, 1]
    bound = MAX_VALUE * 10**_AMOUNT_PRECISION
    if high.min() > -(bound >> 64) and high.max() < bound >> 64:
        return True
    return all(v is None or abs(v) <= MAX_VALUE for v in array.to_pylist())


def _at_precision(values: np.ndarray, surplus: int) -> np.ndarray | None:
    """Values with `surplus` fewer decimals, or None if one needs more than are left."""
    factor = np.int64(10**surplus)
    kept = values // factor
    return kept if np.array_equal(kept * factor, values) else None
