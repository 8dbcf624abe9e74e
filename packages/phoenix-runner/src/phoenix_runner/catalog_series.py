"""Rows of the catalog in file order, a window at a time.

NautilusTrader's own catalog queries do not keep file order among rows of one `ts_init`, and a third
to a half of real quotes share a millisecond. So replay reads the Parquet row groups itself: files by
the span in their names, row groups by their statistics, rows as they lie. Memory holds one row group
beyond the window that is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from phoenix_schemas.arrow import CatalogType, file_span
from pyarrow import fs

from phoenix_runner.errors import NoDataError, RunnerError

INGEST_AGAIN = "verify the catalog with `phoenix-etl verify` and ingest that day again"


class CatalogError(RunnerError):
    """A catalog cannot be reached or read."""


class CatalogOrderError(CatalogError):
    """Stored rows do not ascend in `ts_init`; the file did not come from an ingest."""


@dataclass(frozen=True)
class StoredFile:
    """One Parquet file and the `ts_init` span its name claims, both ends included."""

    path: str
    first_ns: int
    last_ns: int


@dataclass(frozen=True)
class Catalog:
    """A catalog on a file system that pyarrow knows (a local path, or a URI such as `s3://...`)."""

    filesystem: fs.FileSystem
    root: str

    @classmethod
    def open(cls, path: str) -> Catalog:
        """The catalog at a path; NoDataError if there is none, CatalogError if it cannot be read."""
        try:
            if "://" in path:
                filesystem, root = fs.FileSystem.from_uri(path)
            else:
                filesystem, root = fs.LocalFileSystem(), path
            catalog = cls(filesystem, root.rstrip("/"))
            found = catalog.filesystem.get_file_info(f"{catalog.root}/data").type
        except (OSError, ValueError) as error:  # pyarrow's errors of paths and of networks
            why = str(error).partition(" Details:")[0]
            raise CatalogError(f"{public_path(path)}: catalog must be reachable ({why})") from None
        if found != fs.FileType.Directory:
            raise NoDataError(
                f"{public_path(path)}: no catalog here (no data folder); make one with "
                "`phoenix-etl ingest`, or correct catalog.path"
            )
        return catalog

    def read_text(self, name: str) -> str | None:
        """A small file of the catalog's root, or None."""
        path = f"{self.root}/{name}"
        if self.filesystem.get_file_info(path).type != fs.FileType.File:
            return None
        with self.filesystem.open_input_stream(path) as stream:
            content = bytes(stream.read())
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise CatalogError(f"{path}: must be UTF-8 text ({error}); {INGEST_AGAIN}") from None

    def files(self, kind: CatalogType, identifier: str) -> list[StoredFile]:
        """Files of one type and identifier, in time order."""
        selector = fs.FileSelector(f"{self.root}/{kind.folder(identifier)}", allow_not_found=True)
        found = []
        for info in self.filesystem.get_file_info(selector):
            span = file_span(PurePosixPath(info.path).name)
            if info.type == fs.FileType.File and span is not None:
                found.append(StoredFile(info.path, *span))
        return sorted(found, key=lambda f: (f.first_ns, f.last_ns))

    def identifiers(self, kind: CatalogType) -> list[str]:
        """Identifiers that have a folder of this type."""
        selector = fs.FileSelector(f"{self.root}/data/{kind.directory}", allow_not_found=True)
        infos = self.filesystem.get_file_info(selector)
        return sorted(i.base_name for i in infos if i.type == fs.FileType.Directory)


def public_path(path: str) -> str:
    """A path without the credentials that a URI may carry.

    >>> public_path("s3://key:secret@bucket/catalog?scheme=http"), public_path("data/catalog")
    ('s3://bucket/catalog', 'data/catalog')
    """
    return re.sub(r"^(\w+://)(?:[^@/]*@)?([^?]*).*$", r"\1\2", path)


def init_times(table: pa.Table) -> NDArray[np.int64]:
    """`ts_init` of a table as int64 ns."""
    column = table.column("ts_init").combine_chunks()
    return np.asarray(column.cast(pa.int64()).to_numpy(zero_copy_only=False), dtype=np.int64)


@dataclass
class StoredSeries:
    """One type and identifier, read forwards.

    Each call of [read][StoredSeries.read] starts where the one before ended, or later.
    """

    catalog: Catalog
    files: list[StoredFile]
    schema: pa.Schema | None = None
    """Columns, types and precisions that each file must have; None asks for none."""
    rows: int = 0
    first_ns: int | None = None
    """Time of the first row that was read, and of the last."""
    last_ns: int | None = None
    _groups: Iterator[tuple[str, pa.Table, NDArray[np.int64]]] | None = None
    _held: tuple[pa.Table, NDArray[np.int64]] | None = None
    _last_ns: int = field(default=-1)

    def overlaps(self, start_ns: int, end_ns: int) -> bool:
        """Whether a file's name claims rows in [start, end)."""
        return any(f.first_ns < end_ns and f.last_ns >= start_ns for f in self.files)

    def read(self, start_ns: int, end_ns: int) -> pa.Table | None:
        """Rows with start <= ts_init < end as they lie in the files, or None."""
        if self._groups is None:
            self._groups = self._row_groups(start_ns)
        parts: list[pa.Table] = []
        while True:
            if self._held is None:
                following = next(self._groups, None)
                if following is None:
                    break
                path, table, times = following
                self._check(path, times)
                self._held = table, times
            table, times = self._held
            first, last = np.searchsorted(times, (start_ns, end_ns))
            if last > first:
                parts.append(table.slice(first, last - first))
                self.last_ns = int(times[last - 1])
                if self.first_ns is None:
                    self.first_ns = int(times[first])
            if last < len(times):
                self._held = table.slice(last), times[last:]
                break
            self._held = None
        if not parts:
            return None
        table = pa.concat_tables(parts)
        self.rows += table.num_rows
        return table

    def _row_groups(self, start_ns: int) -> Iterator[tuple[str, pa.Table, NDArray[np.int64]]]:
        for file in self.files:
            if file.last_ns < start_ns:
                continue
            try:
                with self.catalog.filesystem.open_input_file(file.path) as source:
                    parquet = pq.ParquetFile(source)
                    self._check_schema(file.path, parquet.schema_arrow)
                    column = parquet.schema_arrow.get_field_index("ts_init")
                    for index in range(parquet.num_row_groups):
                        statistics = parquet.metadata.row_group(index).column(column).statistics
                        known = statistics is not None and statistics.has_min_max
                        if known and statistics.max_raw < start_ns:
                            continue
                        table = parquet.read_row_group(index, use_threads=False)
                        if table.num_rows:
                            yield file.path, table, init_times(table)
            except (OSError, pa.ArrowException) as error:
                raise _not_as_ingested(
                    file.path, f"must be a readable Parquet file ({error})"
                ) from None

    def _check_schema(self, path: str, found: pa.Schema) -> None:
        """What the engine is told of the rows is what the file says of itself."""
        if self.schema is None:
            return
        for wanted in self.schema:
            if wanted.name not in found.names:
                raise _not_as_ingested(path, f"must have a column {wanted.name} (has none)")
            own = found.field(wanted.name)
            if own.type != wanted.type or own.nullable > wanted.nullable:
                raise _not_as_ingested(path, f"{wanted.name} must be {wanted} (was {own})")
        have = found.metadata or {}
        for key, value in (self.schema.metadata or {}).items():
            if key.endswith(b"_precision") and have.get(key) != value:
                was = have[key].decode(errors="replace") if key in have else "absent"
                raise CatalogError(
                    f"{path}: {key.decode()} must be {value.decode()}, as the instrument's "
                    f"specification says (was {was}); ingest with the specification that the run uses"
                )

    def _check(self, path: str, times: NDArray[np.int64]) -> None:
        if times[0] < self._last_ns or bool(np.any(times[1:] < times[:-1])):
            raise CatalogOrderError(
                f"{path}: ts_init must not decrease (rows out of order); {INGEST_AGAIN}"
            )
        self._last_ns = int(times[-1])


def _not_as_ingested(path: str, rule: str) -> CatalogError:
    return CatalogError(f"{path}: {rule}; {INGEST_AGAIN}")
