"""Market data as columns of integers: what batch engines read.

Each class is made from a table of the catalog by `from_catalog`, or from arrays. Prices and sizes
are int64 in units of 10^-precision, the precision being that of the engine's config; a value that
the precision cannot hold is refused, never rounded. Time is `ts_init`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from phoenix_schemas.signal_records import SCHEMAS, SignalRecord

from phoenix_signals.clocks import BUY, SELL
from phoenix_signals.errors import NUMBER_MAX, InputError, time_column

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MAX_DIGITS = 18
"""Decimal digits that always fit in int64."""


class Columns:
    """Columns of equal length, times first and never going back."""

    def __post_init__(self) -> None:
        arrays = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        rows = len(time_column(arrays["ts_ns"]))
        for name, array in arrays.items():
            if len(array) != rows:
                raise InputError(f"{name} must have {rows} rows like ts_ns (was {len(array)})")

    def __len__(self) -> int:
        return len(self.ts_ns)  # type: ignore[attr-defined]

    def before(self, row: int) -> Self:
        """The first `row` rows."""
        return type(self)(**{f.name: getattr(self, f.name)[:row] for f in fields(self)})  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, eq=False)
class Trades(Columns):
    """Trades: time, price, size, side of the aggressor (+1 buyer, -1 seller)."""

    ts_ns: Ints
    price_raw: Ints
    size_raw: Ints
    side: NDArray[Any]

    def __post_init__(self) -> None:
        Columns.__post_init__(self)
        _require("price_raw", self.price_raw > 0, "be above 0")
        _require("size_raw", self.size_raw > 0, "be above 0")
        _require("side", np.abs(self.side) == 1, "be +1 or -1")

    @classmethod
    def from_catalog(cls, table: pa.Table, price_precision: int, size_precision: int) -> Self:
        """From a table of `data/trades/<instrument id>`."""
        return cls(
            times(table["ts_init"]),
            integers(table["price"], price_precision),
            integers(table["size"], size_precision),
            sides(table["aggressor_side"]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Quotes(Columns):
    """Quotes: time, best bid and ask, and their sizes."""

    ts_ns: Ints
    bid_raw: Ints
    ask_raw: Ints
    bid_size_raw: Ints
    ask_size_raw: Ints

    def __post_init__(self) -> None:
        Columns.__post_init__(self)
        _require("bid_raw", self.bid_raw > 0, "be above 0")
        _require("bid_raw", self.bid_raw <= self.ask_raw, "not be above ask_raw")
        _require("bid_size_raw", self.bid_size_raw >= 0, "be at least 0")
        _require("ask_size_raw", self.ask_size_raw >= 0, "be at least 0")

    @classmethod
    def from_catalog(cls, table: pa.Table, price_precision: int, size_precision: int) -> Self:
        """From a table of `data/quotes/<instrument id>`."""
        return cls(
            times(table["ts_init"]),
            integers(table["bid_price"], price_precision),
            integers(table["ask_price"], price_precision),
            integers(table["bid_size"], size_precision),
            integers(table["ask_size"], size_precision),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Bars(Columns):
    """Bars: time of the close, prices, volume."""

    ts_ns: Ints
    open_raw: Ints
    high_raw: Ints
    low_raw: Ints
    close_raw: Ints
    volume_raw: Ints

    def __post_init__(self) -> None:
        Columns.__post_init__(self)
        low = np.minimum(self.open_raw, self.close_raw)
        high = np.maximum(self.open_raw, self.close_raw)
        _require(
            "low_raw", (self.low_raw > 0) & (self.low_raw <= low), "lie in (0, open and close]"
        )
        _require("high_raw", self.high_raw >= high, "not be below open or close")
        _require("volume_raw", self.volume_raw >= 0, "be at least 0")

    @classmethod
    def from_catalog(cls, table: pa.Table, price_precision: int, size_precision: int) -> Self:
        """From a table of `data/bars/<bar type>`."""
        prices = [integers(table[n], price_precision) for n in ("open", "high", "low", "close")]
        volume = integers(table["volume"], size_precision)
        return cls(times(table["ts_init"]), prices[0], prices[1], prices[2], prices[3], volume)


@dataclass(frozen=True, slots=True, eq=False)
class Depth(Columns):
    """Rows of bookDepth: time, percentage (bids negative), notional cumulative from the touch."""

    ts_ns: Ints
    percentage: Floats
    notional: Floats

    def __post_init__(self) -> None:
        Columns.__post_init__(self)
        known = (self.notional >= 0.0) & (self.notional < NUMBER_MAX)
        _require("notional", known, "be a finite number of at least 0")

    @classmethod
    def from_catalog(cls, table: pa.Table) -> Self:
        """From a table of `data/custom/BinanceBookDepthPct/<instrument id>`."""
        return cls(
            times(table["ts_init"]),
            floats(table["percentage"]),
            floats(table["notional"]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Metrics(Columns):
    """Rows of metrics: time, open interest in base units, long/short ratio; NaN where blank."""

    ts_ns: Ints
    open_interest: Floats
    long_short_ratio: Floats

    def __post_init__(self) -> None:
        Columns.__post_init__(self)
        bad = (self.open_interest < 0.0) | (self.open_interest >= NUMBER_MAX)
        _require("open_interest", ~bad, "be a finite number of at least 0, or NaN")

    @classmethod
    def from_catalog(cls, table: pa.Table) -> Self:
        """From a table of `data/custom/BinanceOiMetrics/<instrument id>`."""
        return cls(
            times(table["ts_init"]),
            floats(table["sum_open_interest"]),
            floats(table["count_long_short_ratio"]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Funding(Columns):
    """Funding rates: time of publication, rate per interval."""

    ts_ns: Ints
    rate: Floats

    def __post_init__(self) -> None:
        Columns.__post_init__(self)
        _require("rate", np.abs(self.rate) < NUMBER_MAX, "be a finite number")

    @classmethod
    def from_catalog(cls, table: pa.Table) -> Self:
        """From a table of `data/custom/BinanceFundingRate/<instrument id>`."""
        return cls(times(table["ts_init"]), floats(table["rate"]))


def times(column: pa.ChunkedArray) -> Ints:
    """A timestamp[ns] column as int64 nanoseconds."""
    return _numpy(column.cast(pa.int64()))


def integers(column: pa.ChunkedArray, precision: int) -> Ints:
    """A decimal column as int64 in units of 10^-precision, exactly.

    Raises:
        InputError: A value needs more decimals than `precision`, or more than 18 digits.

    >>> import pyarrow as pa
    >>> from decimal import Decimal
    >>> integers(pa.chunked_array([pa.array([Decimal("71799.36")])]), 2)
    array([7179936])
    """
    try:
        decimals = column.cast(pa.decimal128(MAX_DIGITS, precision))
    except pa.ArrowInvalid as error:
        raise InputError(
            f"values must have at most {precision} decimals and fit in {MAX_DIGITS} digits "
            f"(was: {error}); take the precision of the instrument"
        ) from error
    parts = []
    for chunk in decimals.chunks:
        if chunk.null_count:
            raise InputError("a price or size must not be null (was null); repair the catalog")
        if len(chunk) == 0:
            continue
        words = np.frombuffer(chunk.buffers()[1], dtype=np.int64)
        # Two words per value, the low one first: 18 digits need only that one.
        parts.append(words[2 * chunk.offset : 2 * (chunk.offset + len(chunk)) : 2])
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def floats(column: pa.ChunkedArray) -> Floats:
    """A number column as float64, null as NaN."""
    return _numpy(pc.fill_null(column.cast(pa.float64()), np.nan))


def sides(column: pa.ChunkedArray) -> NDArray[np.int8]:
    """An aggressor column (BUY, SELL) as +1 and -1; anything else is refused as 0.

    >>> import pyarrow as pa
    >>> sides(pa.chunked_array([pa.array(["BUY", "SELL"]).dictionary_encode()]))
    array([ 1, -1], dtype=int8)
    """
    parts = []
    for chunk in column.chunks:
        names = chunk.dictionary.to_pylist()
        codes = np.array([{"BUY": BUY, "SELL": SELL}.get(n, 0) for n in names], dtype=np.int8)
        parts.append(codes[chunk.indices.to_numpy(zero_copy_only=False)])
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int8)


def depth_snapshots(depth: Depth | None, depth_pct: float) -> tuple[Ints, Floats, Floats]:
    """Times, bid and ask notional of the snapshots that hold both sides of a level.

    A level twice in one snapshot counts first.

    >>> import numpy as np
    >>> depth_snapshots(Depth(np.array([7, 7]), np.array([-5.0, 5.0]), np.array([2.0, 3.0])), 5.0)
    (array([7]), array([2.]), array([3.]))
    """
    if depth is None:
        return np.empty(0, dtype=np.int64), np.empty(0), np.empty(0)
    sides = []
    for level in (-depth_pct, depth_pct):
        row = np.flatnonzero(depth.percentage == level)
        ts_ns, first = np.unique(depth.ts_ns[row], return_index=True)
        sides.append((ts_ns, depth.notional[row[first]]))
    (bid_ts, bid), (ask_ts, ask) = sides
    both, i, j = np.intersect1d(bid_ts, ask_ts, assume_unique=True, return_indices=True)
    return both, bid[i], ask[j]


def last_known(known_ts: Ints, values: Floats, ts_ns: Ints, max_age_ns: int) -> Floats:
    """The last value strictly before each time, NaN where there is none or it is older.

    >>> last_known(np.array([5]), np.array([1.5]), np.array([5, 6, 99]), max_age_ns=10)
    array([nan, 1.5, nan])
    """
    if len(values) == 0:
        return np.full(len(ts_ns), np.nan)
    at = np.searchsorted(known_ts, ts_ns, side="left") - 1
    fresh = (at >= 0) & (ts_ns - known_ts[at] <= max_age_ns)
    return np.where(fresh, values[at], np.nan)


def table_of(record_type: type[SignalRecord], columns: list[NDArray[Any]]) -> pa.Table:
    """Columns as the table of a signal record; NaN becomes null."""
    schema = SCHEMAS[record_type]
    arrays = [
        pa.array(column, mask=np.isnan(column) if column.dtype.kind == "f" else None).cast(f.type)
        for f, column in zip(schema, columns, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _numpy(column: pa.ChunkedArray) -> NDArray[Any]:
    array: NDArray[Any] = column.to_numpy()
    return array


def _require(name: str, good: NDArray[np.bool_], rule: str) -> None:
    if not good.all():
        raise InputError(
            f"{name} must {rule} on every row (was not at row {int(np.argmin(good))}); "
            "drop the row or fix its source"
        )
