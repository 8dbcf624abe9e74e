"""What is said of a day, whatever the tables its rows come in."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest
from phoenix_etl.day_stats import PartitionStats, StatsOfDay
from phoenix_etl.parsing import Precisions
from phoenix_schemas.arrow import DECIMAL
from phoenix_schemas.datasets import dataset

# Of each snapshot: time, and depth by percentage.
SNAPSHOTS = [
    (10, {-1.0: "5", 1.0: "7"}),
    (20, {-1.0: "5.00", 1.0: "7"}),  # repeats the one before
    (30, {-1.0: "5", 1.0: "7.001"}),
    (40, {-1.0: "5", 0.2: "1", 1.0: "7.001"}),  # another level
    (50, {-1.0: "5", 0.2: "1", 1.0: "7.001"}),  # repeats
    (60, {-1.0: "5", 0.2: "1", 2.0: "7.001"}),
    (70, {-1.0: "5", 0.2: "1", 2.0: "7.001"}),  # repeats
    (80, {-1.0: "5"}),
]


def table(snapshots: list[tuple[int, dict[float, str]]]) -> pa.Table:
    rows = [(ts, p, Decimal(depth)) for ts, levels in snapshots for p, depth in levels.items()]
    return pa.table(
        {
            "ts_event": pa.array([r[0] for r in rows], pa.int64()),
            "percentage": pa.array([r[1] for r in rows], pa.float64()),
            "depth": pa.array([r[2] for r in rows], DECIMAL),
            "notional": pa.array([r[2] * 3 for r in rows], DECIMAL),
        }
    )


def stats(tables: list[pa.Table]) -> PartitionStats:
    found = StatsOfDay(dataset("futures", "bookDepth"), Precisions(2, 3))
    for part in tables:
        found.add(part)
    return found.result()


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_repeated_snapshots_are_counted_across_tables(size: int) -> None:
    parts = [table(SNAPSHOTS[i : i + size]) for i in range(0, len(SNAPSHOTS), size)]
    found = stats(parts)
    assert (found.frozen_snapshots, found.frozen_since) == (3, 20)


def test_one_cell_makes_a_snapshot_another() -> None:
    rows = table([SNAPSHOTS[0], (20, SNAPSHOTS[0][1])])
    assert stats([rows]).frozen_snapshots == 1
    for name in ("percentage", "depth", "notional"):
        values = rows.column(name).to_pylist()
        values[3] = type(values[3])("0.5")
        column = pa.array(values, rows.schema.field(name).type)
        changed = rows.set_column(rows.schema.get_field_index(name), name, column)
        assert stats([changed]).frozen_snapshots == 0, name
