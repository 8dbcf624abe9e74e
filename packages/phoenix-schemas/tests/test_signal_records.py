"""Signal records survive Parquet unchanged and refuse to be mixed."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phoenix_schemas.errors import SchemaError
from phoenix_schemas.signal_records import (
    SCHEMAS,
    BarLpiSignal,
    PhoenixSignal,
    SignalSnapshot,
    Validity,
    VolatilityRegime,
    VolatilitySignal,
    from_table,
    to_table,
)

times = st.integers(0, 2**62)
numbers = st.floats(allow_nan=False, allow_infinity=False)
maybe = st.none() | numbers
snapshots = st.builds(
    SignalSnapshot, times, *[maybe] * 9, numbers, st.integers(0, 2**18 - 1).map(Validity)
)
bar_lpi = st.builds(
    BarLpiSignal, times, maybe, maybe, maybe, numbers, st.integers(0, 2**18 - 1).map(Validity)
)
phoenix = st.builds(PhoenixSignal, times, numbers, numbers, maybe, maybe, maybe, st.booleans())
volatility = st.builds(
    VolatilitySignal,
    times,
    st.just("BTCUSDT-PERP.BINANCE"),
    maybe,
    maybe,
    st.sampled_from(VolatilityRegime),
    maybe,
    maybe,
    st.booleans(),
)


@given(st.one_of(st.lists(snapshots), st.lists(phoenix), st.lists(bar_lpi), st.lists(volatility)))
def test_parquet_gives_back_the_same_records(tmp_path_factory, records):
    record_type = type(records[0]) if records else SignalSnapshot
    path: Path = tmp_path_factory.mktemp("records") / "signals.parquet"
    pq.write_table(to_table(records, record_type), path)
    back = from_table(pq.read_table(path), record_type)
    assert back == records
    assert all(
        type(r.validity_flags) is Validity
        for r in back
        if isinstance(r, SignalSnapshot | BarLpiSignal)
    )


@pytest.mark.parametrize("record_type", SCHEMAS)
def test_schema_has_the_fields_of_the_record_in_order(record_type):
    schema = SCHEMAS[record_type]
    assert schema.names == list(record_type.__struct_fields__)
    assert schema.field("ts_event").type == pa.timestamp("ns", tz="UTC")
    optional = {f.name for f in msgspec.structs.fields(record_type) if "None" in str(f.type)}
    assert {f.name for f in schema if f.nullable} == optional


def test_fields_are_those_of_the_contract():
    names = {r.__name__: SCHEMAS[r].names for r in SCHEMAS}
    assert names == {
        "SignalSnapshot": [
            "ts_event", "lpi_fast", "exh", "lev", "pressure_z", "ld_z", "delta_lpi", "spread",
            "depth_proxy", "rv", "zero_impulse_share", "validity_flags",
        ],
        "BarLpiSignal": [
            "ts_event", "lpi", "imbalance", "spread_bps", "volume", "validity_flags",
        ],
        "PhoenixSignal": ["ts_event", "fsi", "vpin", "ldr", "oi_zscore", "lpi", "is_valid"],
        "VolatilitySignal": [
            "ts_event", "instrument_id", "theta", "strength", "regime", "variance", "vpin", "valid",
        ],
    }  # fmt: skip


def test_records_are_frozen_and_slotted():
    signal = PhoenixSignal(1, 0.5, 0.5, None, None, None, is_valid=False)
    with pytest.raises(AttributeError, match="immutable"):
        signal.fsi = 1.0  # type: ignore[misc]
    assert not hasattr(signal, "__dict__")


def test_mixed_records_are_refused():
    signal = PhoenixSignal(1, 0.5, 0.5, None, None, None, is_valid=False)
    with pytest.raises(SchemaError, match="must be a SignalSnapshot"):
        to_table([signal], SignalSnapshot)


def test_a_foreign_table_is_refused():
    with pytest.raises(SchemaError, match="a table of PhoenixSignal must have"):
        from_table(pa.table({"ts_event": [1], "fsi": [0.5]}), PhoenixSignal)
