"""Catalog files: dated rows in the columns of a NautilusTrader type, as Parquet.

Files are written in row groups of fixed size by single calls, which makes their bytes a function of
the rows, and are hashed on the way.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from phoenix_schemas.arrow import (
    SIDES,
    TIME,
    CatalogType,
    catalog_type,
    data_type_json,
    file_name,
)
from phoenix_schemas.datasets import DatasetSpec, Kind, Target
from phoenix_schemas.timestamps import NS_PER_HOUR, NS_PER_MINUTE

from phoenix_etl import durable
from phoenix_etl.arrays import int64_array, numbers, scaled_decimal, text_array
from phoenix_etl.hashing import BackgroundHash
from phoenix_etl.parsing import SCALED, Precisions

ROW_GROUP_ROWS = 100_000
FILLS_KEY = "phoenix_fills_by_minute"
"""In the metadata of a file of trades: how many trades each minute of the day had, which joined trades
do not tell by themselves."""
_REPEATED = ("instrument_id", "type", "data_type", "aggressor_side")
"""Columns of few distinct values: only these are dictionary-encoded."""
_NEVER = 1 << 63
_TIMES = ("ts_event", "ts_init")
"""Nearly sorted, so small as differences; and what readers prune row groups by."""


@dataclass(frozen=True)
class InstrumentData:
    """Whose rows are written: the dataset, the instrument, and the decimals it keeps."""

    spec: DatasetSpec
    instrument_id: str
    precisions: Precisions


class WrittenFile(msgspec.Struct, frozen=True, kw_only=True):
    """A catalog file: path relative to the catalog root, rows, size and sha256."""

    path: str
    type_name: str
    identifier: str
    rows: int
    bytes: int
    sha256: str
    first_ts_init: int
    last_ts_init: int


class CatalogFileWriter:
    """Writes one catalog type of a partition, in row groups of fixed size.

    A row group is encoded and packed on a thread of its own while the next one is put together.
    """

    def __init__(self, data: InstrumentData, target: Target, staged: Path) -> None:
        self.staged = staged
        self._data = data
        self._target = target
        self._type = catalog_type(target.type_name)
        self._identifier = target.identifier.format(id=data.instrument_id)
        self._clock = "boundary" if target.ts == "boundary" else "ts_init"
        self._first, self._last = _NEVER, -_NEVER
        price = data.precisions.price
        if any(data.spec.column(c).kind is Kind.PRICE_8 for c in target.columns.values()):
            price = data.precisions.of(Kind.PRICE_8)
        self._schema = self._type.schema(self._identifier, price, data.precisions.size)
        self._thread: ThreadPoolExecutor | None = None
        self._writing: Future[None] | None = None
        self._rest: list[pa.Table] = []
        self._rest_rows = 0
        self._rows = 0

    def write(self, table: pa.Table) -> None:
        times = numbers(table.column(self._clock))
        self._first = min(self._first, int(times.min()))
        self._last = max(self._last, int(times.max()))
        start = 0
        while start < table.num_rows:
            wanted = min(ROW_GROUP_ROWS - self._rest_rows, table.num_rows - start)
            self._rest.append(table.slice(start, wanted))
            self._rest_rows += wanted
            start += wanted
            if self._rest_rows == ROW_GROUP_ROWS:
                self._flush()

    def __enter__(self) -> Self:
        self.staged.parent.mkdir(parents=True, exist_ok=True)
        self._sink = _HashingFile(self.staged)
        try:
            self._writer = pq.ParquetWriter(
                pa.PythonFile(self._sink, mode="w"),
                self._schema,
                compression="zstd",
                compression_level=1,
                use_dictionary=[n for n in _REPEATED if n in self._schema.names],
                column_encoding=dict.fromkeys(_TIMES, "DELTA_BINARY_PACKED"),
                write_statistics=list(_TIMES),
            )
        except BaseException:
            self._sink.release()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
        self._sink.release()

    def finish(self, fills_by_minute: np.ndarray | None) -> WrittenFile:
        if self._rest_rows:
            rows = self._take_group()
            self._await_writing()
            self._write_group(rows)
        self._await_writing()
        if fills_by_minute is not None:
            counts = ",".join(map(str, fills_by_minute.tolist()))
            self._writer.add_key_value_metadata({FILLS_KEY: counts})
        self._writer.close()
        size = self._sink.finish()
        return WrittenFile(
            path=f"{self._type.folder(self._identifier)}/{file_name(self._first, self._last)}",
            type_name=self._type.name,
            identifier=self._identifier,
            rows=self._rows,
            bytes=size,
            sha256=self._sink.sha256,
            first_ts_init=self._first,
            last_ts_init=self._last,
        )

    def _flush(self) -> None:
        rows = self._take_group()
        self._await_writing()
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="parquet")
        self._writing = self._thread.submit(self._write_group, rows)

    def _take_group(self) -> pa.Table:
        group = pa.concat_tables(self._rest) if len(self._rest) > 1 else self._rest[0]
        self._rows += group.num_rows
        self._rest, self._rest_rows = [], 0
        return catalog_rows(self._data, self._target, self._type, group, self._schema)

    def _write_group(self, rows: pa.Table) -> None:
        self._writer.write_table(rows, row_group_size=ROW_GROUP_ROWS)

    def _await_writing(self) -> None:
        if self._writing is not None:
            self._writing.result()
            self._writing = None


def catalog_rows(
    data: InstrumentData, target: Target, kind: CatalogType, rows: pa.Table, schema: pa.Schema
) -> pa.Table:
    """Dated rows in the columns of a catalog type."""
    count = rows.num_rows
    columns: dict[str, pa.Array] = {}
    for name, source in target.columns.items():
        column = data.spec.column(source)
        array = rows.column(source).combine_chunks()
        wanted = schema.field(name).type
        if column.kind in SCALED:
            array = scaled_decimal(numbers(array), data.precisions.of(column.kind))
        elif kind.name == "FundingRateUpdate" and name == "rate":
            texts = [format(v.normalize(), "f") for v in array.to_pylist()]
            array = text_array(texts)
        elif kind.name == "FundingRateUpdate" and name == "interval":
            minutes = numbers(array) * (NS_PER_HOUR // NS_PER_MINUTE)
            array = int64_array(minutes, pa.uint64())
        elif column.kind is Kind.FLAG:
            # The buyer was the maker, so the aggressor sold.
            codes = array.cast(pa.int8())
            array = pa.DictionaryArray.from_arrays(codes, text_array(list(SIDES)))
        columns[name] = array.cast(wanted)
    if target.ts == "boundary":
        columns["ts_event"] = columns["ts_init"] = rows.column("boundary").cast(TIME)
    else:
        columns["ts_event"] = rows.column("ts_event").cast(TIME)
        columns["ts_init"] = rows.column("ts_init").cast(TIME)
    constants = {
        "instrument_id": data.instrument_id,
        "type": kind.name,
        "data_type": data_type_json(kind.name, data.instrument_id),
    }
    for name in schema.names:
        if name in constants and name not in columns:
            columns[name] = text_array([constants[name]]).take(
                int64_array(np.zeros(count, np.int64))
            )
        elif name not in columns:
            columns[name] = pa.nulls(count, schema.field(name).type)
    return pa.table([columns[name] for name in schema.names], schema=schema)


class _HashingFile:
    """A file being written, with the sha256 and size of what went in."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("wb")
        self._hash = BackgroundHash()
        self._size = 0
        self.sha256 = ""

    @property
    def closed(self) -> bool:
        return self._stream.closed

    def write(self, data: bytes) -> int:
        if self.closed:  # after a failure: a writer that was given up still closes itself
            return len(data)
        self._hash.update(data)
        self._size += len(data)
        self._stream.write(data)
        return len(data)

    def flush(self) -> None:
        self._stream.flush()

    def tell(self) -> int:
        return self._size

    def close(self) -> None:
        """The Parquet writer closes its sink; `finish` is what ends the file."""

    def finish(self) -> int:
        """Force the bytes to disk; the file's size."""
        durable.sync_file(self._stream)
        self.sha256 = self._hash.hexdigest()
        self.release()
        return self._size

    def release(self) -> None:
        """Close what is open, also after a failure."""
        self._stream.close()
        self._hash.close()
