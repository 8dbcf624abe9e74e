"""Binance's own streams as NautilusTrader custom data: written by column, by object, read back equal."""

from __future__ import annotations

import json
from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nautilus_trader.model import CustomData, DataType, NautilusDataType
from nautilus_trader.persistence import ParquetDataCatalog
from phoenix_schemas.arrow import CATALOG_TYPES, MAX_VALUE, data_type_json, file_name
from phoenix_schemas.custom_data import (
    CUSTOM_TYPES,
    BinanceOiMetrics,
    BinanceRecord,
    register_custom_data,
)

PERP = "BTCUSDT-PERP.BINANCE"
T0 = 1_704_067_200_000_000_000

values: dict[str, st.SearchStrategy[Any]] = {
    "Decimal": st.decimals(-MAX_VALUE, MAX_VALUE, places=16),
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "int": st.integers(0, 2**62),
}


def records(cls: type[BinanceRecord]) -> st.SearchStrategy[BinanceRecord]:
    """Any record of a class, with blanks where they are allowed."""
    own = {}
    for field in fields(cls):
        if field.name in ("ts_event", "ts_init", "instrument_id"):
            continue
        kind, _, optional = str(field.type).partition(" | ")
        own[field.name] = (values[kind] | st.none()) if optional else values[kind]
    return st.builds(
        cls, ts_event=st.just(T0), ts_init=st.just(T0), instrument_id=st.just(PERP), **own
    )


@pytest.mark.parametrize("cls", CUSTOM_TYPES, ids=lambda cls: cls.__name__)
@settings(
    deadline=None,
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_columns_written_by_pyarrow_are_read_by_nautilus(
    tmp_path: Path, cls: type[BinanceRecord], data: st.DataObject
) -> None:
    register_custom_data()
    rows = data.draw(st.lists(records(cls), min_size=1, max_size=5))
    rows = [
        type(row)(**{**_values(row), "ts_event": T0 + i, "ts_init": T0 + i})
        for i, row in enumerate(rows)
    ]
    kind = CATALOG_TYPES[cls.__name__]
    table = pa.Table.from_pylist(
        [
            {**_values(row), "type": kind.name, "data_type": data_type_json(kind.name, PERP)}
            for row in rows
        ],
        schema=kind.schema(PERP),
    )
    folder = tmp_path / kind.folder(PERP)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    pq.write_table(table, folder / file_name(rows[0].ts_init, rows[-1].ts_init))
    found = ParquetDataCatalog(str(tmp_path)).query(NautilusDataType.Custom(kind.name), [PERP])
    assert [item.data for item in found] == rows
    assert {item.data_type.identifier for item in found} == {PERP}


@pytest.mark.parametrize("cls", CUSTOM_TYPES, ids=lambda cls: cls.__name__)
@settings(
    deadline=None,
    max_examples=8,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_objects_written_by_nautilus_have_the_same_columns(
    tmp_path: Path, cls: type[BinanceRecord], data: st.DataObject
) -> None:
    register_custom_data()
    row = data.draw(records(cls))
    folder = tmp_path / CATALOG_TYPES[cls.__name__].folder(PERP)
    for old in folder.glob("*"):
        old.unlink()
    catalog = ParquetDataCatalog(str(tmp_path))
    catalog.write_custom_data([CustomData(DataType(cls.__name__, identifier=PERP), row)])
    (path,) = folder.glob("*.parquet")
    written = pq.read_table(path, partitioning=None)
    assert written.schema.names == CATALOG_TYPES[cls.__name__].schema(PERP).names
    assert written.column("data_type").to_pylist() == [data_type_json(cls.__name__, PERP)]
    (found,) = catalog.query(NautilusDataType.Custom(cls.__name__), [PERP])
    assert found.data == row


@pytest.mark.parametrize("cls", CUSTOM_TYPES, ids=lambda cls: cls.__name__)
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_json_and_dict_forms_lose_nothing(cls: type[BinanceRecord], data: st.DataObject) -> None:
    row = data.draw(records(cls))
    assert cls.from_json(row.to_json()) == row
    assert cls.from_json(row.to_json().encode()) == row
    assert cls.from_dict(row.to_dict()) == row
    assert json.loads(row.to_json())["type"] == cls.__name__


def test_a_record_is_frozen_and_decimal(tmp_path: Path) -> None:
    row = BinanceOiMetrics(
        ts_event=1, ts_init=2, instrument_id=PERP, sum_open_interest=Decimal("0.1"),
        sum_open_interest_value=None, count_toptrader_long_short_ratio=None,
        sum_toptrader_long_short_ratio=None, count_long_short_ratio=None,
        sum_taker_long_short_vol_ratio=0.5,
    )  # fmt: skip
    with pytest.raises(AttributeError):
        row.ts_init = 3  # type: ignore[misc]
    assert row.to_dict()["sum_open_interest"] == "0.1"


def test_registering_twice_does_nothing() -> None:
    register_custom_data()
    register_custom_data()


def _values(row: BinanceRecord) -> dict[str, Any]:
    return {field.name: getattr(row, field.name) for field in fields(row)}
