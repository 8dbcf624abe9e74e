"""The catalog's Arrow schemas are NautilusTrader's, and file names carry their times exactly."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nautilus_trader import model
from nautilus_trader.serialization import get_arrow_schema_bytes
from phoenix_schemas.arrow import (
    CATALOG_TYPES,
    bar_instrument,
    catalog_type,
    file_name,
    file_span,
)
from phoenix_schemas.custom_data import CUSTOM_TYPES
from phoenix_schemas.errors import SchemaError

STANDARD = [kind for kind in CATALOG_TYPES.values() if not kind.is_custom]


@pytest.mark.parametrize("kind", STANDARD, ids=lambda kind: kind.name)
def test_a_standard_type_has_the_fields_that_nautilus_writes(kind) -> None:
    theirs = pa.ipc.read_schema(pa.py_buffer(get_arrow_schema_bytes(getattr(model, kind.name))))
    ours = kind.schema(
        "BTCUSDT-PERP.BINANCE-1-MINUTE-LAST-EXTERNAL" if kind.name == "Bar" else "X.Y"
    )
    assert list(ours) == [field for field in theirs if field.name != "identifier"]


def test_metadata_name_the_instrument_and_the_precisions() -> None:
    schema = CATALOG_TYPES["QuoteTick"].schema("BTCUSDT-PERP.BINANCE", 2, 3)
    assert schema.metadata == {
        b"type_name": b"QuoteTick", b"instrument_id": b"BTCUSDT-PERP.BINANCE",
        b"price_precision": b"2", b"size_precision": b"3",
    }  # fmt: skip
    bar = CATALOG_TYPES["Bar"].schema("BTCUSDT-PERP.BINANCE-1-MINUTE-MARK-EXTERNAL", 8, 3)
    assert bar.metadata[b"bar_type"] == b"BTCUSDT-PERP.BINANCE-1-MINUTE-MARK-EXTERNAL"
    assert bar.metadata[b"instrument_id"] == b"BTCUSDT-PERP.BINANCE"
    assert b"size_precision" not in CATALOG_TYPES["MarkPriceUpdate"].schema("X.Y", 8).metadata


def test_every_custom_class_has_a_catalog_type_and_the_other_way_round() -> None:
    assert {cls.__name__ for cls in CUSTOM_TYPES} == {
        kind.name for kind in CATALOG_TYPES.values() if kind.is_custom
    }


def test_ranks_give_the_order_of_a_replay() -> None:
    ranks = [kind.rank for kind in CATALOG_TYPES.values()]
    assert ranks == sorted(ranks)
    assert (
        CATALOG_TYPES["QuoteTick"].rank
        < CATALOG_TYPES["TradeTick"].rank
        < CATALOG_TYPES["Bar"].rank
    )


def test_an_unknown_type_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SchemaError, match=r"type must be one of QuoteTick, .* \(was 'Tick'\)"):
        catalog_type("Tick")


@given(st.integers(0, 4_102_444_800_000_000_000), st.integers(0, 10**15))
def test_a_file_name_holds_its_span_to_the_nanosecond(first: int, length: int) -> None:
    assert file_span(file_name(first, first + length)) == (first, first + length)


@given(st.text(max_size=80))
def test_another_name_is_no_catalog_file(name: str) -> None:
    assert file_span(name) is None


@pytest.mark.parametrize("name", [
    "2024-01-01T00-00-00-000000000Z.parquet", file_name(1, 2).replace("parquet", "csv"),
    f"{file_name(1, 2)}.tmp", file_name(1, 2).replace("_", "__"),
])  # fmt: skip
def test_nearly_a_name_is_none(name: str) -> None:
    assert file_span(name) is None


@pytest.mark.parametrize(
    "symbol", ["BTCUSDT-PERP.BINANCE", "BTCUSDT.BINANCE", "BTCUSDT_240628.BINANCE"]
)
def test_a_bar_type_tells_its_instrument(symbol: str) -> None:
    assert bar_instrument(f"{symbol}-1-MINUTE-LAST-EXTERNAL") == symbol
