"""One UTC day of one dataset and symbol: ordered, without duplicates, as catalog files.

A partition is rebuilt from all the files that hold rows of its day, in one pass: rows in order and
once each ([spilled_rows][phoenix_etl.spilled_rows]), what is to be said of them
([day_stats][phoenix_etl.day_stats]), and a file for each catalog type of the dataset
([catalog_files][phoenix_etl.catalog_files]).
"""

from __future__ import annotations

import secrets
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec

from phoenix_etl.catalog_files import CatalogFileWriter, InstrumentData, WrittenFile
from phoenix_etl.day_stats import PartitionStats, StatsOfDay
from phoenix_etl.spilled_rows import Conflict, DayRows, Part


@dataclass(frozen=True)
class PartitionTask:
    """What to build: the parts in any order, and whose rows they are. Its files are staged side by side,
    their names beginning with that of `staging`."""

    data: InstrumentData
    parts: tuple[Part, ...]
    staging: Path
    memory_budget_bytes: int


class InputCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Where the rows of one source file went within a partition."""

    rows: int
    written: int
    duplicates: int
    conflicts: int


@dataclass(frozen=True)
class Partition:
    """Result of a build: catalog files, and where each lies in the staging area."""

    files: tuple[WrittenFile, ...]
    staged: tuple[Path, ...]
    inputs: dict[str, InputCounts]
    stats: PartitionStats | None
    conflicts: tuple[Conflict, ...]


def build_partition(task: PartitionTask) -> Partition:
    """Order, deduplicate and write the rows of a partition."""
    parts = sorted(task.parts, key=lambda part: part.source)
    # A worker given up for lost may still be at it: these files have names of their own.
    name = f"{task.staging.name}-{secrets.token_hex(8)}"
    stats = StatsOfDay(task.data.spec, task.data.precisions)
    with ExitStack() as stack:
        rows = stack.enter_context(DayRows(task.data.spec, parts, task.memory_budget_bytes))
        writers = [
            stack.enter_context(
                CatalogFileWriter(task.data, target, task.staging.with_name(f"{name}-{n}.parquet"))
            )
            for n, target in enumerate(task.data.spec.targets)
        ]
        for table in rows:
            stats.add(table)
            for writer in writers:
                writer.write(table)
        files = tuple(writer.finish(stats.fills_by_minute) for writer in writers)
    conflicts = Counter(conflict.source for conflict in rows.conflicts)
    inputs = {
        part.source: InputCounts(
            rows=part.spill.rows,
            written=part.spill.rows - lost,
            duplicates=lost - conflicts[part.source],
            conflicts=conflicts[part.source],
        )
        for part, lost in zip(parts, rows.lost, strict=True)
    }
    staged = tuple(writer.staged for writer in writers)
    return Partition(files, staged, inputs, stats.result(), tuple(rows.conflicts))
