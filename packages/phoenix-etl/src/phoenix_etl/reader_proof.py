"""What NautilusTrader reads of a catalog file, against what is stored in it.

NautilusTrader truncates silently to the precision in a file's metadata, and its objects take about
1 KiB a row, so a file is read and compared in slices of time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from phoenix_schemas.arrow import CATALOG_TYPES
from phoenix_schemas.custom_data import register_custom_data

from phoenix_etl.arrays import numbers
from phoenix_etl.catalog_files import WrittenFile
from phoenix_etl.table_difference import difference

SLICE_ROWS = 100_000
"""Rows that are objects at a time; more only where more of them are of one moment."""


@dataclass(frozen=True)
class _Slice:
    """Stored rows whose `ts_init` lies in [first, last]."""

    first: int
    last: int
    stored: pa.Table


class ReaderProof:
    """Compares the files of a catalog with what `ParquetDataCatalog.query` gives for them."""

    def __init__(self, catalog: Path) -> None:
        from nautilus_trader.persistence import ParquetDataCatalog

        register_custom_data()
        self._catalog = catalog
        self._reader = ParquetDataCatalog(str(catalog))

    def difference(self, file: WrittenFile, on_progress: Callable[[int, int], None]) -> str | None:
        """The first value that is read otherwise than it is stored, or None.

        `on_progress` is called with (bytes of the file, rows) since its last call.
        """
        for part in _slices(self._catalog / file.path, file):
            read = _as_nautilus_reads(self._reader, file, part.first, part.last)
            names = [n for n in part.stored.column_names if n not in ("type", "data_type")]
            found = difference(part.stored.select(names), read.select(names))
            if found is not None:
                return found
            rows = part.stored.num_rows
            on_progress(file.bytes * rows // file.rows, rows)
        return None


def _slices(path: Path, file: WrittenFile) -> Iterator[_Slice]:
    """A file's rows in slices that touch in time, none of which ends within rows of one moment."""
    first = file.first_ts_init
    held: list[pa.RecordBatch] = []
    rows = 0
    with pq.ParquetFile(path) as parquet:
        for batch in parquet.iter_batches(batch_size=SLICE_ROWS):
            held.append(batch)
            rows += batch.num_rows
            times = numbers(batch.column("ts_init").cast(pa.int64()))
            cut = int(np.searchsorted(times, times[-1]))
            if rows < SLICE_ROWS or cut == 0:
                continue
            last = int(times[-1]) - 1
            yield _Slice(first, last, pa.Table.from_batches([*held[:-1], batch.slice(0, cut)]))
            first, held, rows = last + 1, [batch.slice(cut)], batch.num_rows - cut
    if held:
        yield _Slice(first, file.last_ts_init, pa.Table.from_batches(held))


def _as_nautilus_reads(reader: Any, file: WrittenFile, first: int, last: int) -> pa.Table:
    """Rows of a file through `ParquetDataCatalog.query`, as a table again."""
    from nautilus_trader import serialization
    from nautilus_trader.model import NautilusDataType

    kind = CATALOG_TYPES[file.type_name]
    data_type = (
        NautilusDataType.Custom(kind.name) if kind.is_custom else NautilusDataType(kind.name)
    )
    objects = reader.query(data_type, [file.identifier], start=first, end=last)
    encoders: dict[str, Callable[[Any], bytes]] = {
        "QuoteTick": serialization.quotes_to_arrow_record_batch_bytes,
        "TradeTick": serialization.trades_to_arrow_record_batch_bytes,
        "Bar": serialization.bars_to_arrow_record_batch_bytes,
        "MarkPriceUpdate": serialization.mark_prices_to_arrow_record_batch_bytes,
        "IndexPriceUpdate": serialization.index_prices_to_arrow_record_batch_bytes,
    }
    encode = encoders.get(kind.name)
    if encode is not None and objects:
        return _as_shown(pa.ipc.open_stream(pa.py_buffer(encode(objects))).read_all())
    schema = kind.schema(file.identifier)
    if kind.is_custom:
        rows: list[dict[str, Any]] = [_values_of(o.data, schema) for o in objects]
    else:
        rows = [
            {
                "rate": format(o.rate.normalize(), "f"),
                "interval": o.interval,
                "next_funding_ns": o.next_funding_ns,
                "ts_event": o.ts_event,
                "ts_init": o.ts_init,
            }
            for o in objects
        ]
    return pa.Table.from_pylist(rows, schema=schema)


def _as_shown(table: pa.Table) -> pa.Table:
    """Prices and sizes cut to the precision that the objects carry, as every user of one sees it."""
    for index, stored in enumerate(table.schema):
        if pa.types.is_decimal(stored.type):
            is_size = "size" in stored.name or stored.name == "volume"
            key = b"size_precision" if is_size else b"price_precision"
            precision = int(table.schema.metadata[key])
            shown = pa.decimal128(stored.type.precision, precision)
            options = pc.CastOptions(shown, allow_decimal_truncate=True)
            column = table.column(index).cast(options=options).cast(stored.type)
            table = table.set_column(index, stored, column)
    return table


def _values_of(record: Any, schema: pa.Schema) -> dict[str, Any]:
    return {name: getattr(record, name, None) for name in schema.names}
