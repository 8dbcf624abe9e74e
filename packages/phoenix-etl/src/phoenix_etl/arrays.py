"""NumPy values as Arrow arrays, and decimals as integers, by their buffers.

`pyarrow.array` and `to_numpy` import pandas wherever it is installed, half a second in every worker
that no ingest needs.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from phoenix_schemas.arrow import DECIMAL

_DTYPES = {pa.float64(): "float64"}


def numbers(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """The integers or floats of a column, without a copy where it is of one piece; nulls read as 0
    or as they lie.

    >>> numbers(pa.chunked_array([[1, 2], [3]]))
    array([1, 2, 3])
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    dtype = np.dtype(_DTYPES.get(column.type) or str(column.type))
    data = np.frombuffer(column.buffers()[1] or b"", dtype)
    return data[column.offset : column.offset + len(column)]


def flags(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """A boolean column without nulls as numpy booleans.

    >>> flags(pa.array([True, False, True])[1:])
    array([False,  True])
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    bits = np.frombuffer(column.buffers()[1] or b"", np.uint8)
    end = column.offset + len(column)
    return np.unpackbits(bits, count=end, bitorder="little")[column.offset :].view(bool)


def int64_array(values: np.ndarray, kind: pa.DataType | None = None) -> pa.Array:
    """An Arrow array over 64-bit values, as int64 or another type of that width."""
    return pa.Array.from_buffers(kind or pa.int64(), len(values), [None, _buffer(values)])


def mask_array(mask: np.ndarray) -> pa.BooleanArray:
    """A boolean array, for `filter`."""
    bits = np.packbits(mask, bitorder="little")
    return pa.Array.from_buffers(pa.bool_(), len(mask), [None, pa.py_buffer(bits)])


def float_array(values: list[float | None]) -> pa.Array:
    """float64 with nulls for None."""
    valid = np.array([v is not None for v in values], bool)
    numbers = np.array([0.0 if v is None else v for v in values], np.float64)
    bits = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(pa.float64(), len(values), [bits, _buffer(numbers)])


def text_array(values: list[str]) -> pa.StringArray:
    """Texts, none of them null.

    >>> text_array(["BUY", "", "SELL"]).to_pylist()
    ['BUY', '', 'SELL']
    """
    parts = [value.encode() for value in values]
    ends = np.cumsum([0, *(len(part) for part in parts)], dtype=np.int32)
    return pa.StringArray.from_buffers(
        len(parts), pa.py_buffer(ends), pa.py_buffer(b"".join(parts))
    )


def decimal_words(array: pa.Array) -> np.ndarray:
    """(n, 2) view of decimal128 values: low and high 64-bit words; nulls read as they lie."""
    data = np.frombuffer(array.buffers()[1], dtype=np.int64)
    return data[2 * array.offset : 2 * (array.offset + len(array))].reshape(-1, 2)


def int64_of_decimals(array: pa.Array) -> np.ndarray | None:
    """Unscaled int64 values of decimal128, or None if one does not fit."""
    words = decimal_words(array)
    low = np.ascontiguousarray(words[:, 0])
    return low if np.array_equal(words[:, 1], low >> 63) else None


def scaled_decimal(values: np.ndarray, precision: int) -> pa.Array:
    """decimal128(38, 16) of int64 values in units of 10^-precision, by integers alone.

    10^k = 5^k 2^k: where the product with 5^k fits 64 bits, a shift over both words does the rest,
    four times as fast as a cast.

    >>> scaled_decimal(np.array([-12345, 7]), 2).to_pylist()
    [Decimal('-123.4500000000000000'), Decimal('0.0700000000000000')]
    """
    shift = 16 - precision
    words = np.empty((len(values), 2), np.int64)
    bound = (1 << 63) // 5**shift
    if shift and len(values) and -bound < values.min() and values.max() < bound:
        product = values * 5**shift
        words[:, 0] = product << shift
        words[:, 1] = product >> (64 - shift)
        return pa.Array.from_buffers(DECIMAL, len(values), [None, pa.py_buffer(words)])
    words[:, 0] = values
    words[:, 1] = values >> 63
    narrow = pa.decimal128(38, precision)
    return pa.Array.from_buffers(narrow, len(values), [None, pa.py_buffer(words)]).cast(DECIMAL)


def _buffer(values: np.ndarray) -> pa.Buffer:
    return pa.py_buffer(np.ascontiguousarray(values))
