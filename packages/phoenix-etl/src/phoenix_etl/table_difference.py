"""Whether two tables hold the same rows, in any order, and where they first differ."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from phoenix_etl.arrays import decimal_words

_MIX = np.uint64(0x9E3779B97F4A7C15)
"""Odd, so multiplication loses nothing (Knuth's multiplicative hashing)."""


def difference(stored: pa.Table, other: pa.Table) -> str | None:
    """First difference between two tables of the same columns as multisets of rows, or None.

    Rows are brought into one order by a hash of their values and then compared value by value; where
    that order does not settle it (rows of one hash), by all columns.
    """
    if stored.num_rows != other.num_rows:
        return f"{other.num_rows:,} rows instead of {stored.num_rows:,}"
    left, right = (_comparable(t) for t in (stored, other))
    by_hash = [t.take(pa.array(np.argsort(_hashes(t), kind="stable"))) for t in (left, right)]
    if by_hash[0].equals(by_hash[1]):
        return None
    names = left.column_names
    ordered = [t.sort_by([(name, "ascending") for name in names]) for t in (left, right)]
    for name in names:
        ours, theirs = (t.column(name).combine_chunks() for t in ordered)
        if ours.equals(theirs):
            continue
        row = next(i for i in range(len(ours)) if ours[i] != theirs[i])
        return f"{name} is {theirs[row].as_py()} where {ours[row].as_py()} is stored"
    return None


def without_duplicates(table: pa.Table, names: list[str]) -> pa.Table:
    """The first of every set of rows that are equal in the named columns."""
    numbers = np.zeros(table.num_rows, np.int64)
    for name in names:
        encoded = table.column(name).combine_chunks().dictionary_encode(null_encoding="encode")
        codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        numbers = numbers * (int(codes.max(initial=0)) + 1) + codes
        numbers = np.unique(numbers, return_inverse=True)[1]
    return table.take(pa.array(np.unique(numbers, return_index=True)[1]))


def _comparable(table: pa.Table) -> pa.Table:
    """Columns in forms that compare: text for dictionaries, int64 for times, one chunk each."""
    columns = {}
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        if pa.types.is_dictionary(column.type):
            column = column.cast(pa.string())
        elif pa.types.is_timestamp(column.type):
            column = column.cast(pa.int64())
        columns[name] = column
    return pa.table(columns)


def _hashes(table: pa.Table) -> np.ndarray:
    """A number for each row, equal for equal rows, nearly always different for others."""
    hashes = np.zeros(table.num_rows, np.uint64)
    for name in table.column_names:
        for words in _words(table.column(name).combine_chunks()):
            hashes = (hashes ^ words) * _MIX
            hashes ^= hashes >> np.uint64(29)
    return hashes


def _words(array: pa.Array) -> list[np.ndarray]:
    """Values as 64-bit words."""
    if pa.types.is_decimal(array.type) and not array.null_count:
        words = decimal_words(array).view(np.uint64)
        return [words[:, 0], words[:, 1]]
    if pa.types.is_int64(array.type) and not array.null_count:
        return [array.to_numpy().view(np.uint64)]
    encoded = array.dictionary_encode(null_encoding="encode")
    if pa.types.is_string(array.type) and len(encoded.dictionary) > len(array) // 2:
        try:  # identifiers
            return [array.cast(pa.int64()).to_numpy(zero_copy_only=False).view(np.uint64)]
        except pa.ArrowInvalid:
            pass
    values = [hash(v) & 0xFFFFFFFFFFFFFFFF for v in encoded.dictionary.to_pylist()]
    return [np.array(values, np.uint64)[encoded.indices.to_numpy(zero_copy_only=False)]]
