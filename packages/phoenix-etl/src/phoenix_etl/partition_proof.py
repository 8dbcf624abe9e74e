"""The rows of one day as its source files write them, against those that are stored.

Both come in order of time, but for what a source has out of order, so they are compared in slices of
time, and memory does not grow with the day. Rows wait until `SLICE_ROWS` of later times have come; a
source that is more out of order than that fails here and has to be compared as a whole.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from phoenix_schemas.datasets import DATASETS, Target

from phoenix_etl.arrays import numbers
from phoenix_etl.manifest import PartitionEntry
from phoenix_etl.source_proof import stored_form
from phoenix_etl.table_difference import difference, without_duplicates

SLICE_ROWS = 250_000


class PartitionProof:
    """Takes the rows of a day file by file, in the order of the files' names, and compares them with
    what is stored.

    `lost` are the lines that lost a conflict, by source file, `sound` the catalog files that may be
    compared. With `in_slices` the rows of the last file are let go as they come.
    """

    def __init__(
        self,
        catalog: Path,
        part: PartitionEntry,
        lost: Mapping[str, set[int]],
        sound: Collection[str],
        *,
        in_slices: bool,
    ) -> None:
        targets = DATASETS[part.market, part.dataset].targets
        self._stored = [
            _StoredRows(catalog / file.path, target)
            for file, target in zip(part.files, targets, strict=True)
            if file.path in sound
        ]
        self._lost = lost
        self._last_input = max(part.inputs)
        self._has_conflicts = {p for p, share in part.inputs.items() if share.counts.conflicts}
        self._has_duplicates = any(share.counts.duplicates for share in part.inputs.values())
        # Times of boundaries are not those by which rows are cut.
        self._in_slices = in_slices and all(target.ts != "boundary" for target in targets)
        self._held: list[pa.Table] = []
        self._held_rows = 0
        self._problems: dict[str, None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        for stored in self._stored:
            stored.close()

    def add(self, path: str, rows: pa.Table) -> None:
        """Take rows of a source file."""
        if path in self._has_conflicts:
            kept = ~np.isin(rows.column("line").to_numpy(), list(self._lost.get(path, ())))
            rows = rows.filter(pa.array(kept))
        self._held.append(rows)
        self._held_rows += rows.num_rows
        if self._in_slices and path == self._last_input and self._held_rows >= 2 * SLICE_ROWS:
            self._compare_earliest()

    def finish(self) -> list[str]:
        """Compare what is left; every difference that was found."""
        if not self._held:
            return ["no row of it is in its sources"]
        rows, self._held = pa.concat_tables(self._held), []
        self._compare(rows, None)
        return list(self._problems)

    def _compare_earliest(self) -> None:
        rows = pa.concat_tables(self._held)
        times = numbers(rows.column("ts_init"))
        last = len(times) - SLICE_ROWS
        until = int(np.partition(times, last)[last])
        early = times < until
        if early.any():
            rest = rows.filter(pa.array(~early))
            self._held, self._held_rows = [rest], rest.num_rows
            self._compare(rows.filter(pa.array(early)), until)

    def _compare(self, rows: pa.Table, until: int | None) -> None:
        if self._has_duplicates:
            rows = without_duplicates(rows, [n for n in rows.column_names if n != "line"])
        for stored in self._stored:
            expected = stored_form(rows, stored.target, stored.schema)
            found = difference(stored.take(until).select(expected.column_names), expected)
            if found is not None:
                text = f"{stored.target.type_name} differs from its source: {found}"
                self._problems[text] = None


class _StoredRows:
    """The rows of a catalog file that come from its source, in order of time."""

    def __init__(self, path: Path, target: Target) -> None:
        self.target = target
        self._parquet = pq.ParquetFile(path)
        whole = self._parquet.schema_arrow
        names = [*target.columns, "ts_event", "ts_init"]
        self.schema = pa.schema([whole.field(name) for name in dict.fromkeys(names)])
        self._batches = self._parquet.iter_batches(columns=self.schema.names)
        self._rest: pa.RecordBatch | None = None

    def take(self, until: int | None) -> pa.Table:
        """The next rows, up to a time (None: all)."""
        taken: list[pa.RecordBatch] = []
        while (batch := self._rest or next(self._batches, None)) is not None:
            self._rest = None
            times = numbers(batch.column("ts_init").cast(pa.int64()))
            cut = len(times) if until is None else int(np.searchsorted(times, until))
            taken.append(batch.slice(0, cut))
            if cut < len(times):
                self._rest = batch.slice(cut)
                break
        return pa.Table.from_batches(taken, taken[0].schema if taken else self.schema)

    def close(self) -> None:
        self._parquet.close()
