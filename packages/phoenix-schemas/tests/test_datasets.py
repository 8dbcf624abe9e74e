"""The registry of datasets holds together."""

from __future__ import annotations

import dataclasses

import pytest
from phoenix_schemas.arrow import CATALOG_TYPES
from phoenix_schemas.datasets import (
    DATASETS,
    METRICS_START_LABEL_ERA_NS,
    DatasetSpec,
    Kind,
    dataset,
)
from phoenix_schemas.errors import SchemaError
from phoenix_schemas.timestamps import format_utc

ALL = pytest.mark.parametrize("spec", DATASETS.values(), ids=lambda s: f"{s.market}-{s.name}")


def test_what_is_read() -> None:
    assert [name for market, name in DATASETS if market == "futures"] == [
        "aggTrades", "trades", "bookTicker", "bookDepth", "metrics", "fundingRate", "klines",
        "markPriceKlines", "indexPriceKlines", "premiumIndexKlines",
    ]  # fmt: skip
    assert [name for market, name in DATASETS if market == "spot"] == [
        "aggTrades",
        "trades",
        "klines",
    ]


@ALL
def test_every_name_a_spec_uses_is_a_column_of_it(spec: DatasetSpec) -> None:
    names = {column.name for column in spec.columns}
    assert set(spec.clock) <= names
    assert set(spec.key) <= names | {"ts_event"}
    assert set(spec.continuous_ids or ()) <= names
    for check in spec.checks:
        assert set(check.columns) <= names
    for target in spec.targets:
        assert set(target.columns.values()) <= names
    assert {spec.column(clock).kind for clock in spec.clock} <= {Kind.EPOCH, Kind.DATETIME}


@ALL
def test_every_name_of_a_column_names_one_column(spec: DatasetSpec) -> None:
    own = [column.name for column in spec.columns]
    aliases = [alias for column in spec.columns for alias in column.aliases]
    assert len(set(own)) == len(own)
    assert len(set(aliases)) == len(aliases)


@ALL
def test_a_target_fills_every_field_that_may_not_be_null(spec: DatasetSpec) -> None:
    for target in spec.targets:
        kind = CATALOG_TYPES[target.type_name]
        fields = {field.name: field for field in kind.fields}
        assert set(target.columns) <= set(fields)
        assert {n for n, f in fields.items() if not f.nullable} <= set(target.columns)
        for name, source in target.columns.items():
            assert fields[name].nullable or not spec.column(source).nullable


def test_an_unknown_dataset_or_column_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        SchemaError, match=r"one of aggTrades, trades, klines \(was 'metrics', market spot"
    ):
        dataset("spot", "metrics")
    with pytest.raises(SchemaError, match="aggTrades has no column 'side'"):
        dataset("futures", "aggTrades").column("side")


def test_the_metrics_era_is_the_day_the_labels_changed() -> None:
    assert format_utc(METRICS_START_LABEL_ERA_NS) == "2026-06-25T00:00:00Z"


def test_a_key_that_has_no_order_is_refused() -> None:
    spec = dataset("futures", "metrics")
    with pytest.raises(SchemaError, match="key column 'sum_open_interest' must be an integer, a t"):
        dataclasses.replace(spec, key=("create_time", "sum_open_interest"))
