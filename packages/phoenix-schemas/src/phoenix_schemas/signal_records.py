"""What signal engines emit: four records, the reasons a value is missing, and how they are stored.

An engine of phoenix-signals fills these records, a strategy reads them, and a bundle stores them as
Parquet through [to_table][]; [from_table][] gives the records back. One rule holds for all of them:
a value that cannot be known at `ts_event` is None, never a stand-in number, and
`SignalSnapshot.validity_flags` says what was missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import IntFlag, StrEnum
from typing import Final

import msgspec
import pyarrow as pa
from msgspec import Struct

from phoenix_schemas.errors import SchemaError


class Validity(IntFlag):
    """Why a value of a snapshot is None: each bit names one input that is missing, old or young.

    `VALID` (0) means that nothing is missing. Inputs that the engine was configured not to use
    (depth, open interest, funding) never set a bit.

    >>> flags = Validity.DEPTH_STALE | Validity.EXH_WARMUP
    >>> Validity.DEPTH_STALE in flags, bool(flags), int(flags)
    (True, True, 136)
    """

    VALID = 0
    QUOTE_MISSING = 1
    """No quote strictly before the close."""
    QUOTE_STALE = 2
    """The last quote before the close is older than `quote_max_age`."""
    DEPTH_MISSING = 4
    """No depth snapshot yet."""
    DEPTH_STALE = 8
    """The last depth snapshot is older than `depth_max_age`."""
    PRESSURE_WARMUP = 16
    """Fewer than `z_min_count` closed buckets: no pressure z."""
    LD_WARMUP = 32
    """Fewer than `z_min_count` values of the liquidity term."""
    LIQUIDITY_CHANGE_WARMUP = 64
    """Fewer than `z_min_count` changes of depth (or, without depth, of spread)."""
    EXH_WARMUP = 128
    """No LPI of the bucket before, or fewer than `z_min_count` changes of LPI."""
    OPEN_INTEREST_MISSING = 256
    """No open interest yet, or its last row was blank."""
    OPEN_INTEREST_STALE = 512
    """The last open interest is older than `oi_max_age`."""
    OPEN_INTEREST_WARMUP = 1024
    """Fewer than `z_min_count` open interest rows."""
    FUNDING_MISSING = 2048
    """No funding rate yet."""
    FUNDING_WARMUP = 4096
    """Fewer than `z_min_count` funding rates."""
    RV_WARMUP = 8192
    """The realized-variance window is not full."""
    AFTER_GAP = 16384
    """First bucket after a gap in the feed: the partial bucket before it was discarded."""
    VOLUME_WARMUP = 32768
    """Fewer than `z_min_count` bars: no volume z."""
    SPREAD_WARMUP = 65536
    """Fewer than `z_min_count` bars with a spread."""
    BOOK_EMPTY = 131072
    """Nothing rests on either side of the book: no imbalance."""


class VolatilityRegime(StrEnum):
    """The state of the market that sizing and execution react to."""

    NORMAL = "NORMAL"
    HIGH_VARIANCE = "HIGH_VARIANCE"
    LOW_LIQUIDITY = "LOW_LIQUIDITY"


class SignalSnapshot(Struct, frozen=True):
    """One closed bucket of the LPI engine (LPI fast, EXH, LEV). Positive means sell pressure."""

    ts_event: int
    """Close of the bucket, ns UTC: its end (time buckets) or the filling trade (notional)."""
    lpi_fast: float | None
    """Liquidation pressure index, in standard units (a sum of z-scores)."""
    exh: float | None
    """Exhaustion: higher means that the present side's pressure fades and liquidity returns."""
    lev: float | None
    """Leverage prior Z(open interest) + lambda_f Z(funding); a filter, never a trigger."""
    pressure_z: float | None
    """P = Z(IS - IB), impulse notional of sells below the bid minus buys above the ask."""
    ld_z: float | None
    """L, the z-score of the liquidity term."""
    delta_lpi: float | None
    """LPI of this bucket minus LPI of the bucket before."""
    spread: float | None
    """Relative spread (a - b) / m at the close, a plain ratio (not bps)."""
    depth_proxy: float | None
    """Quote-currency notional near the touch: within `depth_pct_abs` percent on both sides, or the
    notional at the best bid and ask when depth is not used."""
    rv: float | None
    """Realized variance (not its root) of the closing mids over the RV window of buckets."""
    zero_impulse_share: float
    """Share of buckets in the pressure window, this one included, without any impulse print."""
    validity_flags: Validity
    """What was missing; `Validity.VALID` when every configured input was there."""


class PhoenixSignal(Struct, frozen=True):
    """One closed notional bucket of the composite LPI engine."""

    ts_event: int
    """Time of the trade that closed the bucket, ns UTC."""
    fsi: float
    """Forced selling intensity: aggressive sell notional / total notional, in [0, 1]."""
    vpin: float
    """Volume imbalance of this bucket, |buy - sell| / total notional, in [0, 1]."""
    ldr: float | None
    """Liquidity depletion ratio: depth notional now / one snapshot earlier, same side and level."""
    oi_zscore: float | None
    """z-score of open interest over its window."""
    lpi: float | None
    """0.6 tanh(max(0, z(fsi))) + 0.3 max(0, 1 - ldr) + 0.1 vpin; None without fsi z or ldr."""
    is_valid: bool
    """FSI z and OI z are ready and the depth snapshot is fresh."""


class BarLpiSignal(Struct, frozen=True):
    """One bar of the bar LPI engine. Positive means a bid-heavy book."""

    ts_event: int
    """Close of the bar, ns UTC."""
    lpi: float | None
    """imbalance max(0, z(ln(1 + volume))) / (1 + max(0, z(spread_bps)))."""
    imbalance: float | None
    """(bid - ask) / (bid + ask), of the quoted sizes or of depth notional, in [-1, 1]."""
    spread_bps: float | None
    """Quoted spread at the close, in basis points of the mid."""
    volume: float
    """Volume of the bar in base units."""
    validity_flags: Validity
    """What was missing; `Validity.VALID` when nothing was."""


class VolatilitySignal(Struct, frozen=True):
    """A direction and the state of volatility and toxicity at one decision time."""

    ts_event: int
    """Decision time, ns UTC."""
    instrument_id: str
    """Nautilus instrument id, for example `BTCUSDT-PERP.BINANCE`."""
    theta: float | None
    """Fused direction in (-1, 1); positive is up."""
    strength: float | None
    """|theta|, in [0, 1)."""
    regime: VolatilityRegime
    """Volatility regime after hysteresis."""
    variance: float | None
    """Forecast variance of log returns per bar (not a volatility)."""
    vpin: float | None
    """VPIN, in [0, 1]."""
    valid: bool
    """Every input of the decision was ready and fresh."""


type SignalRecord = SignalSnapshot | PhoenixSignal | BarLpiSignal | VolatilitySignal

_TIME: Final = pa.timestamp("ns", tz="UTC")


def _schema(
    record: type[SignalRecord], required: frozenset[str], **types: pa.DataType
) -> pa.Schema:
    """Schema of a record: float64 unless said otherwise; only `required` columns refuse nulls."""
    columns = [
        pa.field(name, types.get(name, pa.float64()), nullable=name not in required)
        for name in record.__struct_fields__
    ]
    return pa.schema(columns, metadata={"type_name": record.__name__})


SCHEMAS: Final[Mapping[type, pa.Schema]] = {
    SignalSnapshot: _schema(
        SignalSnapshot,
        frozenset({"ts_event", "zero_impulse_share", "validity_flags"}),
        ts_event=_TIME,
        validity_flags=pa.int32(),
    ),
    PhoenixSignal: _schema(
        PhoenixSignal,
        frozenset({"ts_event", "fsi", "vpin", "is_valid"}),
        ts_event=_TIME,
        is_valid=pa.bool_(),
    ),
    BarLpiSignal: _schema(
        BarLpiSignal,
        frozenset({"ts_event", "volume", "validity_flags"}),
        ts_event=_TIME,
        validity_flags=pa.int32(),
    ),
    VolatilitySignal: _schema(
        VolatilitySignal,
        frozenset({"ts_event", "instrument_id", "regime", "valid"}),
        ts_event=_TIME,
        instrument_id=pa.string(),
        regime=pa.string(),
        valid=pa.bool_(),
    ),
}
"""Arrow schema of each record: one row per record, times `timestamp[ns, UTC]`, None as null."""


def to_table(records: Iterable[SignalRecord], record_type: type[SignalRecord]) -> pa.Table:
    """Records of one type as an Arrow table with the schema `SCHEMAS[record_type]`.

    Args:
        records: In the order in which they were emitted; may be empty.
        record_type: Their common class, needed because there may be none.

    Raises:
        SchemaError: When a record has another class.

    >>> signal = PhoenixSignal(1_000, 0.75, 0.5, None, None, None, is_valid=False)
    >>> table = to_table([signal], PhoenixSignal)
    >>> table.column_names
    ['ts_event', 'fsi', 'vpin', 'ldr', 'oi_zscore', 'lpi', 'is_valid']
    >>> from_table(table, PhoenixSignal) == [signal]
    True
    """
    rows = list(records)
    for row in rows:
        if type(row) is not record_type:
            raise SchemaError(
                f"every record must be a {record_type.__name__} (was {type(row).__name__}); "
                "store each record type in a table of its own"
            )
    columns = (
        zip(*(msgspec.structs.astuple(row) for row in rows), strict=True) if rows else iter(())
    )
    values: list[Sequence[object]] = [list(column) for column in columns]
    schema = SCHEMAS[record_type]
    if not values:
        return schema.empty_table()
    arrays = [
        pa.array(
            [int(v) for v in column] if field.name == "validity_flags" else column,  # type: ignore[call-overload]
            field.type,
        )
        for field, column in zip(schema, values, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def from_table[R: SignalRecord](table: pa.Table, record_type: type[R]) -> list[R]:
    """The records of a table made by [to_table][], in row order.

    Raises:
        SchemaError: When the table's columns or types are not those of `record_type`.
    """
    if not table.schema.equals(SCHEMAS[record_type], check_metadata=False):
        raise SchemaError(
            f"a table of {record_type.__name__} must have the columns "
            f"{SCHEMAS[record_type].names} (was {table.schema.names}); "
            "read the file that to_table wrote, unchanged"
        )
    columns = {name: table[name].to_pylist() for name in table.schema.names}
    columns["ts_event"] = table["ts_event"].cast(pa.int64()).to_pylist()
    for name, kind in (("validity_flags", Validity), ("regime", VolatilityRegime)):
        if name in columns:
            columns[name] = [kind(value) for value in columns[name]]
    return [record_type(*row) for row in zip(*columns.values(), strict=True)]
