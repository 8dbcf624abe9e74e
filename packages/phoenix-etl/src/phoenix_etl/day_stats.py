"""What a reader of the data wants to know of a day: gaps, missing identifiers, odd rows, totals."""

from __future__ import annotations

import msgspec
import numpy as np
import pyarrow as pa
from phoenix_schemas.datasets import DatasetSpec

from phoenix_etl.arrays import decimal_words, numbers
from phoenix_etl.parsing import Precisions
from phoenix_etl.trade_totals import TradeSum, TradeTotals, trade_target

MAX_GAPS = 20


class PartitionStats(msgspec.Struct, frozen=True, kw_only=True):
    """What a reader of the data wants to know of a day, from its final rows.

    `gaps` are the longest intervals without a row that exceed the dataset's `gap_ns`, as
    (last time before, first time after) in ns, up to [MAX_GAPS][] of them; `gap_count` counts all.
    `one_id_holes` counts single identifiers that are left out (a fill of the insurance fund leaves
    one), `id_gap_count` longer runs, of which `id_gaps` are the longest as (first, last) missing.
    `frozen_since` is the first snapshot that repeats the one before it.
    """

    first_ts_event: int
    last_ts_event: int
    gap_count: int = 0
    gaps: list[tuple[int, int]] = []
    one_id_holes: int = 0
    id_gap_count: int = 0
    id_gaps: list[tuple[int, int]] = []
    missing_ids: int = 0
    first_id: int | None = None
    last_id: int | None = None
    crossed_quotes: int = 0
    locked_quotes: int = 0
    zero_volume_bars: int = 0
    frozen_snapshots: int = 0
    frozen_since: int | None = None
    blank_cells: int = 0
    totals: TradeTotals | None = None
    """Of trades: what they add up to."""


def _words(column: pa.Array) -> list[np.ndarray]:
    """64-bit numbers that together are equal where the values are."""
    if pa.types.is_decimal(column.type):
        return list(decimal_words(column).T)
    return [numbers(column)]


def _longest(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return sorted(sorted(spans, key=lambda s: (s[0] - s[1], s[0]))[:MAX_GAPS])


class StatsOfDay:
    """Collects [PartitionStats][] over tables in order, each with all rows of the moments it has."""

    def __init__(self, spec: DatasetSpec, precisions: Precisions) -> None:
        self._spec = spec
        self._trades = TradeSum(spec, precisions.size) if trade_target(spec) else None
        self._first: int | None = None
        self._last = 0
        self._gaps: list[tuple[int, int]] = []
        self._last_id: int | None = None
        self._first_id: int | None = None
        self._counts: dict[str, int] = {}
        self._snapshot: pa.Table | None = None
        self._id_gaps: list[tuple[int, int]] = []
        self._frozen_since: int | None = None

    def add(self, table: pa.Table) -> None:
        ts = numbers(table.column("ts_event"))
        if self._first is None:
            self._first = self._last = int(ts[0])
        if self._spec.gap_ns is not None:
            times = np.concatenate([[self._last], ts])
            for i in np.flatnonzero(np.diff(times) > self._spec.gap_ns).tolist():
                self._gaps.append((int(times[i]), int(times[i + 1])))
        self._last = int(ts[-1])
        if self._spec.continuous_ids is not None:
            self._add_ids(table, *self._spec.continuous_ids)
        if self._trades is not None:
            self._trades.add(table)
        names = set(table.column_names)
        if {"best_bid_price", "best_ask_price"} <= names:
            bid = numbers(table.column("best_bid_price"))
            ask = numbers(table.column("best_ask_price"))
            self._count("crossed_quotes", bid > ask)
            self._count("locked_quotes", bid == ask)
        if self._spec.name == "klines":
            self._count("zero_volume_bars", numbers(table.column("volume")) == 0)
        if self._spec.name == "metrics":
            self._counts["blank_cells"] = self._counts.get("blank_cells", 0) + sum(
                table.column(c.name).null_count for c in self._spec.columns if c.nullable
            )
        if self._spec.name == "bookDepth":
            self._add_snapshots(table)

    @property
    def fills_by_minute(self) -> np.ndarray | None:
        return None if self._trades is None else self._trades.by_minute

    def _count(self, name: str, mask: np.ndarray) -> None:
        self._counts[name] = self._counts.get(name, 0) + int(np.count_nonzero(mask))

    def _add_ids(self, table: pa.Table, first_name: str, last_name: str) -> None:
        first = numbers(table.column(first_name))
        last = numbers(table.column(last_name))
        previous = np.concatenate(
            [[first[0] - 1 if self._last_id is None else self._last_id], last]
        )
        missing = first - previous[:-1] - 1
        self._count("one_id_holes", missing == 1)
        self._count("id_gap_count", missing > 1)
        for i in np.flatnonzero(missing > 1).tolist():
            self._id_gaps.append((int(previous[i]) + 1, int(first[i]) - 1))
        total = self._counts.get("missing_ids", 0) + int(missing[missing > 0].sum())
        self._counts["missing_ids"] = total
        if self._first_id is None:
            self._first_id = int(first[0])
        self._last_id = int(last[-1])

    def _add_snapshots(self, table: pa.Table) -> None:
        """Count snapshots equal to the one before (a frozen feed repeats itself for hours)."""
        rows = table.select(["ts_event", "percentage", "depth", "notional"])
        if self._snapshot is not None:
            rows = pa.concat_tables([self._snapshot, rows])
        ts = numbers(rows.column("ts_event"))
        starts = np.flatnonzero(np.concatenate([[True], ts[1:] != ts[:-1]]))
        sizes = np.diff(np.append(starts, len(ts)))
        same_size = np.concatenate([[False], sizes[1:] == sizes[:-1]])
        # The row at the same place of the snapshot before, where that has as many rows.
        before = np.arange(len(ts)) - np.repeat(np.where(same_size, sizes, 0), sizes)
        equal = np.ones(len(ts), bool)
        for name in ("percentage", "depth", "notional"):
            for values in _words(rows.column(name).combine_chunks()):
                equal &= values == values[before]
        frozen = same_size & np.logical_and.reduceat(equal, starts)
        self._count("frozen_snapshots", frozen)
        if self._frozen_since is None and frozen.any():
            self._frozen_since = int(ts[starts[frozen][0]])
        self._snapshot = rows.slice(int(starts[-1]))

    def result(self) -> PartitionStats:
        assert self._first is not None  # a partition has rows
        return PartitionStats(
            first_ts_event=self._first,
            last_ts_event=self._last,
            gap_count=len(self._gaps),
            gaps=_longest(self._gaps),
            id_gaps=_longest(self._id_gaps),
            frozen_since=self._frozen_since,
            first_id=self._first_id,
            last_id=self._last_id,
            totals=None if self._trades is None else self._trades.result(),
            **self._counts,
        )
