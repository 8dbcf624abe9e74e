"""Catalogs whose future is missing or another one: what the look-ahead check replays.

Both copies hold every row before a cut exactly as it was. After it, [cut][] has nothing, and [altered][]
has a market that went the other way: prices mirrored at the price of the cut (so bids and asks, highs
and lows change places), sizes tripled, ratios and open interest doubled, funding rates of the other
sign. Times stay, so that exactly as many events happen until the run's end; files that begin after it
are left out of both.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from phoenix_schemas.arrow import CATALOG_TYPES, DECIMAL, CatalogType, file_name, file_span
from phoenix_schemas.timestamps import format_utc

from phoenix_runner.catalog_series import init_times
from phoenix_runner.errors import NoDataError

type Change = Callable[[CatalogType, pa.Table], pa.Table]

_PRICES = {
    "QuoteTick": {"bid_price": "ask_price", "ask_price": "bid_price"},
    "TradeTick": {"price": "price"},
    "Bar": {"open": "open", "high": "low", "low": "high", "close": "close"},
    "MarkPriceUpdate": {"value": "value"},
    "IndexPriceUpdate": {"value": "value"},
    "BinanceIndexPriceKline": {"open": "open", "high": "low", "low": "high", "close": "close"},
}
"""Price columns of each type, and the column each is mirrored from."""
_SIZES = {
    "QuoteTick": ("bid_size", "ask_size"),
    "TradeTick": ("size",),
    "Bar": ("volume",),
}
_RATES = {"BinanceFundingRate": ("rate",), "BinancePremiumIndex": ("open", "high", "low", "close")}


def cut(catalog: Path, target: Path, cut_ns: int) -> Path:
    """A copy of a catalog without rows whose `ts_init` is at or after `cut_ns`."""
    return _copy(catalog, target, cut_ns, cut_ns, lambda _kind, table: table.slice(0, 0))


def altered(catalog: Path, target: Path, cut_ns: int, end_ns: int) -> Path:
    """A copy of a catalog whose rows at or after `cut_ns` tell of another market, until `end_ns`."""
    pivots: dict[str, Decimal] = {}
    for name in ("QuoteTick", "TradeTick", "Bar"):
        kind = CATALOG_TYPES[name]
        column = {"QuoteTick": "bid_price", "TradeTick": "price", "Bar": "close"}[name]
        for folder in sorted((catalog / "data" / kind.directory).glob("*")):
            instrument_id = folder.name.rsplit("-", 4)[0] if name == "Bar" else folder.name
            if instrument_id not in pivots:
                price = _price_at(folder, column, cut_ns)
                if price is not None:
                    pivots[instrument_id] = price
    if not pivots:
        raise NoDataError(
            f"{catalog}: no quotes, trades or bars before {format_utc(cut_ns)}; cut later"
        )

    def change(kind: CatalogType, table: pa.Table) -> pa.Table:
        metadata = table.schema.metadata or {}
        if kind.is_custom:
            instrument_id = table["instrument_id"][0].as_py() if table.num_rows else ""
        else:
            instrument_id = metadata[b"instrument_id"].decode()
        return _other_market(kind, table, pivots.get(instrument_id))

    return _copy(catalog, target, cut_ns, end_ns, change)


def _copy(catalog: Path, target: Path, cut_ns: int, end_ns: int, change: Change) -> Path:
    for kind in CATALOG_TYPES.values():
        for source in sorted((catalog / "data" / kind.directory).glob("*/*.parquet")):
            span = file_span(source.name)
            if span is None or span[0] >= end_ns:
                continue
            folder = target / source.parent.relative_to(catalog)
            folder.mkdir(parents=True, exist_ok=True)
            if span[1] < cut_ns:
                shutil.copyfile(source, folder / source.name)
                continue
            table = pq.read_table(source)
            before = int(np.searchsorted(init_times(table), cut_ns))
            changed = pa.concat_tables([table.slice(0, before), change(kind, table.slice(before))])
            if changed.num_rows:
                times = init_times(changed)
                pq.write_table(
                    changed, folder / file_name(int(times[0]), int(times[-1])),
                    row_group_size=100_000,
                )  # fmt: skip
    for name in ("manifest.json", "instrument_specs.yaml"):
        if (catalog / name).is_file():
            shutil.copyfile(catalog / name, target / name)
    return target


def _price_at(folder: Path, column: str, cut_ns: int) -> Decimal | None:
    """The last price of a series before the cut."""
    for source in sorted(folder.glob("*.parquet"), reverse=True):
        span = file_span(source.name)
        if span is None or span[0] >= cut_ns:
            continue
        table = pq.read_table(source, columns=[column, "ts_init"])
        before = int(np.searchsorted(init_times(table), cut_ns))
        if before:
            price: Decimal = table[column][before - 1].as_py()
            return price
    return None


def _other_market(kind: CatalogType, table: pa.Table, pivot: Decimal | None) -> pa.Table:
    own = {name: table[name] for name in table.column_names}
    changed = dict(own)
    for name, source in _PRICES.get(kind.name, {}).items():
        if pivot is not None:
            changed[name] = _mapped(own[source], lambda v: max(2 * pivot - v, v / 2))
    for name in _SIZES.get(kind.name, ()):
        changed[name] = _mapped(own[name], lambda v: v * 3)
    for name in _RATES.get(kind.name, ()):
        changed[name] = _mapped(own[name], lambda v: -v)
    if kind.name == "FundingRateUpdate":
        rates = [str(-Decimal(r)) for r in own["rate"].to_pylist()]
        changed["rate"] = pa.chunked_array([pa.array(rates, pa.string())])
    if kind.name in ("BinanceOiMetrics", "BinanceBookDepthPct", "BinanceKlineExtras"):
        for field in kind.fields:
            if field.name != "percentage":
                changed[field.name] = _doubled(own[field.name])
    return pa.table(list(changed.values()), schema=table.schema)


def _mapped(column: pa.ChunkedArray, change: Callable[[Decimal], Decimal]) -> pa.ChunkedArray:
    values = [None if v is None else change(v) for v in column.to_pylist()]
    return pa.chunked_array([pa.array(values, DECIMAL)])


def _doubled(column: pa.ChunkedArray) -> pa.ChunkedArray:
    values = [None if v is None else v * 2 for v in column.to_pylist()]
    return pa.chunked_array([pa.array(values, column.type)])
