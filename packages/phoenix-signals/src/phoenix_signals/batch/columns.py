"""Market data as columns of integers: what batch engines read.

Each class is made from a table of the catalog by `from_catalog`, or from arrays. Prices and sizes
are int64 in units of 10^-precision, the precision being that of the engine's config; a value that
the precision cannot hold is refused, never rounded. Time is `ts_init`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from phoenix_schemas.signal_records import SCHEMAS, SignalRecord

from phoenix_signals.clocks import BUY, SELL
from phoenix_signals.errors import (
    NUMBER_MAX,
    InputError,
    ParameterError,
    check_count,
    raw_column,
    time_column,
)

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

Precisions = tuple[int, int]
"""Decimals of prices and of sizes."""

MAX_DIGITS = 18
"""Decimal digits that always fit in int64."""


class Precision(NamedTuple):
    """Decimals of a column, what they are called, and those that the table's metadata has."""

    name: str
    decimals: int
    of_table: int | None = None


class Columns:
    """Columns of equal length, times first and never going back."""

    __slots__ = ()

    FOLDER: ClassVar[str]
    """Folder of the catalog whose tables these columns are made from."""

    def __post_init__(self) -> None:
        arrays = self.arrays()
        for name, array in arrays.items():
            if not isinstance(array, np.ndarray):
                raise InputError(
                    f"{name} must be a numpy array (was {type(array).__name__}); "
                    "convert it with np.asarray"
                )
        rows = len(time_column(arrays["ts_ns"]))
        for name, array in arrays.items():
            if len(array) != rows:
                raise InputError(f"{name} must have {rows} rows like ts_ns (was {len(array)})")
            if name.endswith("_raw"):
                raw_column(name, array)

    def __len__(self) -> int:
        return len(self.ts_ns)  # type: ignore[attr-defined]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The columns by name."""
        names = [f.name for f in fields(self) if f.name != "precisions"]  # type: ignore[arg-type]
        return {name: getattr(self, name) for name in names}

    def before(self, row: int) -> Self:
        """The first `row` rows."""
        return replace(self, **{name: array[:row] for name, array in self.arrays().items()})  # type: ignore[type-var]

    @classmethod
    def _read(cls, table: pa.Table, *names: str) -> list[pa.ChunkedArray]:
        """Columns of a table of the catalog, `ts_init` first."""
        wanted = ("ts_init", *names)
        told = f"{cls.__name__}.from_catalog must get an Arrow table of data/{cls.FOLDER}"
        if not isinstance(table, pa.Table):
            raise InputError(
                f"{told} (was {type(table).__name__}); read it with pyarrow.parquet.read_table"
            )
        missing = [name for name in wanted if name not in table.column_names]
        if missing:
            raise InputError(
                f"{told} (was one without {', '.join(missing)}, with "
                f"{', '.join(table.column_names)}); check the folder"
            )
        return [table[name] for name in wanted]

    @classmethod
    def _precisions(
        cls, table: pa.Table, price_precision: int | None, size_precision: int | None
    ) -> tuple[Precision, Precision]:
        """Those of prices and of sizes: as given, else as the table's metadata has them."""
        metadata = table.schema.metadata or {}
        found = []
        given = {"price_precision": price_precision, "size_precision": size_precision}
        for name, wanted in given.items():
            known = metadata.get(name.encode())
            of_table = None if known is None else int(known)
            decimals = of_table if wanted is None else wanted
            if decimals is None:
                raise InputError(
                    f"{name} must be given for a table without it in its metadata (was None); "
                    "take the precision of the instrument"
                )
            check_count(name, decimals, 0, "that of the instrument, 2")
            found.append(Precision(name, decimals, of_table))
        return found[0], found[1]


@dataclass(frozen=True, slots=True, eq=False)
class Trades(Columns):
    """Trades: time, price, size, side of the aggressor (+1 buyer, -1 seller)."""

    ts_ns: Ints
    price_raw: Ints
    size_raw: Ints
    side: NDArray[Any]

    precisions: Precisions | None = field(default=None, kw_only=True)
    """Decimals of prices and of sizes, where known: a batch engine refuses those of another config."""

    FOLDER: ClassVar = "trades/<instrument id>"

    def __post_init__(self) -> None:
        Columns.__post_init__(self)
        _require("price_raw", self.price_raw > 0, "be above 0")
        _require("size_raw", self.size_raw > 0, "be above 0")
        _require("side", np.abs(self.side) == 1, "be +1 or -1")

    @classmethod
    def from_catalog(
        cls,
        table: pa.Table,
        price_precision: int | None = None,
        size_precision: int | None = None,
    ) -> Self:
        """From a table of `data/trades/<instrument id>`, at the precisions of the config.

        Precisions that are not given are those of the table's own metadata, the instrument's.

        Raises:
            InputError: no such table, none of the two precisions, or a value that the precision cannot
                hold; nothing is rounded.

        >>> from decimal import Decimal
        >>> table = pa.table({
        ...     "ts_init": pa.array([7], pa.timestamp("ns", tz="UTC")),
        ...     "price": [Decimal("60000.10")],
        ...     "size": [Decimal("0.002")],
        ...     "aggressor_side": ["SELL"],
        ... })
        >>> trades = Trades.from_catalog(table, price_precision=2, size_precision=3)
        >>> trades.price_raw, trades.size_raw, trades.side
        (array([6000010]), array([2]), array([-1], dtype=int8))
        """
        ts_ns, price, size, side = cls._read(table, "price", "size", "aggressor_side")
        prices_at, sizes_at = cls._precisions(table, price_precision, size_precision)
        return cls(
            times(ts_ns),
            integers(price, prices_at),
            integers(size, sizes_at),
            sides(side),
            precisions=(prices_at.decimals, sizes_at.decimals),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Quotes(Columns):
    """Quotes: time, best bid and ask, and their sizes."""

    ts_ns: Ints
    bid_raw: Ints
    ask_raw: Ints
    bid_size_raw: Ints
    ask_size_raw: Ints

    precisions: Precisions | None = field(default=None, kw_only=True)
    """Decimals of prices and of sizes, where known: a batch engine refuses those of another config."""

    FOLDER: ClassVar = "quotes/<instrument id>"

    def __post_init__(self) -> None:
        Columns.__post_init__(self)
        _require("bid_raw", self.bid_raw > 0, "be above 0")
        _require("bid_raw", self.bid_raw <= self.ask_raw, "not be above ask_raw")
        _require("bid_size_raw", self.bid_size_raw >= 0, "be at least 0")
        _require("ask_size_raw", self.ask_size_raw >= 0, "be at least 0")

    @classmethod
    def from_catalog(
        cls,
        table: pa.Table,
        price_precision: int | None = None,
        size_precision: int | None = None,
    ) -> Self:
        """From a table of `data/quotes/<instrument id>`, at the precisions of the config.

        Precisions that are not given are those of the table's own metadata, the instrument's.

        Raises:
            InputError: no such table, none of the two precisions, or a value that the precision cannot
                hold; nothing is rounded.

        >>> from decimal import Decimal
        >>> price, size = [Decimal("60000.10")], [Decimal("0.002")]
        >>> table = pa.table({
        ...     "ts_init": pa.array([7], pa.timestamp("ns", tz="UTC")),
        ...     "bid_price": price, "ask_price": price, "bid_size": size, "ask_size": size,
        ... })
        >>> Quotes.from_catalog(table, price_precision=2, size_precision=3).bid_raw
        array([6000010])
        """
        names = ("bid_price", "ask_price", "bid_size", "ask_size")
        ts_ns, bid, ask, bid_size, ask_size = cls._read(table, *names)
        prices_at, sizes_at = cls._precisions(table, price_precision, size_precision)
        return cls(
            times(ts_ns),
            integers(bid, prices_at),
            integers(ask, prices_at),
            integers(bid_size, sizes_at),
            integers(ask_size, sizes_at),
            precisions=(prices_at.decimals, sizes_at.decimals),
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

    precisions: Precisions | None = field(default=None, kw_only=True)
    """Decimals of prices and of sizes, where known: a batch engine refuses those of another config."""

    FOLDER: ClassVar = "bars/<bar type>"

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
    def from_catalog(
        cls,
        table: pa.Table,
        price_precision: int | None = None,
        size_precision: int | None = None,
    ) -> Self:
        """From a table of `data/bars/<bar type>`; precisions as of [Trades.from_catalog][]."""
        ts_ns, *prices, volume = cls._read(table, "open", "high", "low", "close", "volume")
        prices_at, sizes_at = cls._precisions(table, price_precision, size_precision)
        open_, high, low, close = (integers(price, prices_at) for price in prices)
        return cls(
            times(ts_ns),
            open_,
            high,
            low,
            close,
            integers(volume, sizes_at),
            precisions=(prices_at.decimals, sizes_at.decimals),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Depth(Columns):
    """Rows of bookDepth: time, percentage (bids negative), notional cumulative from the touch."""

    ts_ns: Ints
    percentage: Floats
    notional: Floats

    FOLDER: ClassVar = "custom/BinanceBookDepthPct/<instrument id>"

    def __post_init__(self) -> None:
        Columns.__post_init__(self)
        known = (self.notional >= 0.0) & (self.notional < NUMBER_MAX)
        _require("notional", known, "be a finite number of at least 0")

    @classmethod
    def from_catalog(cls, table: pa.Table) -> Self:
        """From a table of `data/custom/BinanceBookDepthPct/<instrument id>`."""
        ts_ns, percentage, notional = cls._read(table, "percentage", "notional")
        return cls(times(ts_ns), floats(percentage), floats(notional))


@dataclass(frozen=True, slots=True, eq=False)
class Metrics(Columns):
    """Rows of metrics: time, open interest in base units, long/short ratio; NaN where blank."""

    ts_ns: Ints
    open_interest: Floats
    long_short_ratio: Floats

    FOLDER: ClassVar = "custom/BinanceOiMetrics/<instrument id>"

    def __post_init__(self) -> None:
        Columns.__post_init__(self)
        bad = (self.open_interest < 0.0) | (self.open_interest >= NUMBER_MAX)
        _require("open_interest", ~bad, "be a finite number of at least 0, or NaN")

    @classmethod
    def from_catalog(cls, table: pa.Table) -> Self:
        """From a table of `data/custom/BinanceOiMetrics/<instrument id>`."""
        names = ("sum_open_interest", "count_long_short_ratio")
        ts_ns, open_interest, ratio = cls._read(table, *names)
        return cls(times(ts_ns), floats(open_interest), floats(ratio))


@dataclass(frozen=True, slots=True, eq=False)
class Funding(Columns):
    """Funding rates: time of publication, rate per interval."""

    ts_ns: Ints
    rate: Floats

    FOLDER: ClassVar = "custom/BinanceFundingRate/<instrument id>"

    def __post_init__(self) -> None:
        Columns.__post_init__(self)
        _require("rate", np.abs(self.rate) < NUMBER_MAX, "be a finite number")

    @classmethod
    def from_catalog(cls, table: pa.Table) -> Self:
        """From a table of `data/custom/BinanceFundingRate/<instrument id>`."""
        ts_ns, rate = cls._read(table, "rate")
        return cls(times(ts_ns), floats(rate))


class Precise(Protocol):
    """A config that names its precisions."""

    @property
    def price_precision(self) -> int: ...  # as in every config
    @property
    def size_precision(self) -> int: ...  # as in every config


def check_columns(config: Precise, **given: Columns | None) -> None:
    """Refuse columns of another kind than their name says, or of other precisions than the config.

    >>> none = np.empty(0, dtype=np.int64)
    >>> check_columns(None, trades=Funding(none, none))
    Traceback (most recent call last):
    phoenix_signals.errors.InputError: trades must be Trades (was Funding); \
make them with batch.Trades.from_catalog
    """
    for name, columns in given.items():
        kind, is_optional = _KINDS[name]
        if columns is None and is_optional:
            continue
        if not isinstance(columns, kind):
            raise InputError(
                f"{name} must be {kind.__name__} (was {type(columns).__name__}); "
                f"make them with batch.{kind.__name__}.from_catalog"
            )
        precisions = getattr(columns, "precisions", None)
        if precisions not in (None, (config.price_precision, config.size_precision)):
            raise ParameterError(
                f"{name} must have the config's price_precision {config.price_precision} and "
                f"size_precision {config.size_precision} (was {precisions[0]} and {precisions[1]}); "
                "give from_catalog and the config the same"
            )


_KINDS: dict[str, tuple[type[Columns], bool]] = {
    "trades": (Trades, False), "quotes": (Quotes, False), "bars": (Bars, False),
    "depth": (Depth, True), "metrics": (Metrics, True), "funding": (Funding, True),
}  # fmt: skip
"""Kind of the columns of each name, and whether they may be left out."""


def times(column: pa.ChunkedArray) -> Ints:
    """A timestamp[ns] column as int64 nanoseconds."""
    return _numpy(column.cast(pa.int64()))


def integers(column: pa.ChunkedArray, precision: Precision) -> Ints:
    """A decimal column as int64 in units of 10^-precision, exactly.

    Raises:
        InputError: A value needs more decimals than `precision`, or more than 18 digits.

    >>> import pyarrow as pa
    >>> from decimal import Decimal
    >>> sizes = pa.chunked_array([pa.array([Decimal("0.00025")])])
    >>> integers(sizes, Precision("size_precision", 5))
    array([25])
    >>> integers(sizes, Precision("size_precision", 3, of_table=5))
    Traceback (most recent call last):
    phoenix_signals.errors.InputError: size_precision must be at least 5, which the values need (was 3); \
the table's metadata says 5
    """
    name, digits, of_table = precision
    try:
        decimals = column.cast(pa.decimal128(MAX_DIGITS, digits))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        says = "has none" if of_table is None else f"says {of_table}"
        needed = _decimals_needed(column)
        if needed is not None and needed > digits:
            raise InputError(
                f"{name} must be at least {needed}, which the values need (was {digits}); the table's "
                f"metadata {says}"
            ) from error
        raise InputError(
            f"values must fit in {MAX_DIGITS} digits at {name} {digits} (was: {error}); the table's "
            f"metadata {says}"
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


def _decimals_needed(column: pa.ChunkedArray) -> int | None:
    """The fewest decimals that hold every value; None for values that are no decimals."""
    if not pa.types.is_decimal(column.type):
        return None
    for digits in range(column.type.scale):
        try:
            column.cast(pa.decimal128(38, digits))
        except pa.ArrowInvalid:
            continue
        return digits
    return int(column.type.scale)


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
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
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
