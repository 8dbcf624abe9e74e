"""What the market stood at, read from the catalog at the times a study asks for.

A study needs the mid at thousands of times out of millions of quotes. [observed][] walks the catalog
window by window and keeps, for each wanted time, the last row at or before it: a short series in which
every as-of look-up gives what the whole series would.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray
from phoenix_schemas.arrow import CATALOG_TYPES
from phoenix_schemas.timestamps import NS_PER_HOUR

from phoenix_runner.catalog_series import Catalog, StoredSeries, init_times
from phoenix_runner.suite import Suite

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Observed:
    """Mid and relative spread at increasing times; `spread_bps` is NaN where no quotes are."""

    ts_ns: NDArray[np.int64]
    mid: Floats
    spread_bps: Floats


def observed(
    suite: Suite, instrument_id: str, wanted_ns: ArrayLike, *, back_ns: int = NS_PER_HOUR
) -> Observed:
    """The market of one instrument as of each wanted time (rows at or before it).

    Taken from the quotes if the suite replays them, else from trades if its bars are built from
    them, else from the closes of its bars. Rows older than `back_ns` before the first wanted time
    are not looked for. The last row of the suite's range is always kept, so that later times can be
    told from unknown ones.
    """
    wanted = np.unique(np.asarray(wanted_ns, dtype=np.int64))
    if not wanted.size:
        empty = np.empty(0)
        return Observed(np.empty(0, dtype=np.int64), empty, empty)
    catalog = Catalog.open(suite.config.catalog.path)
    data = suite.config.data
    name = "QuoteTick" if "QuoteTick" in data.include else (
        "TradeTick" if data.bars_from_trades else "Bar"
    )  # fmt: skip
    identifier = f"{instrument_id}-1-MINUTE-LAST-EXTERNAL" if name == "Bar" else instrument_id
    series = StoredSeries(catalog, catalog.files(CATALOG_TYPES[name], identifier))
    first, end = int(wanted[0]) - back_ns, suite.config.time.end_ns
    parts: list[tuple[NDArray[np.int64], Floats, Floats]] = []
    for start in range(first - first % NS_PER_HOUR, end, NS_PER_HOUR):
        stop = min(start + NS_PER_HOUR, end)
        table = series.read(start, stop)
        if table is None:
            continue
        times = init_times(table)
        own = wanted[(wanted >= start) & (wanted < stop)]
        rows = np.searchsorted(times, own, side="right") - 1
        keep = np.unique(np.r_[rows[rows >= 0], len(times) - 1])
        taken = table.take(pa.array(keep))
        parts.append((times[keep], *_mid_and_spread(name, taken)))
    if not parts:
        empty = np.empty(0)
        return Observed(np.empty(0, dtype=np.int64), empty, empty)
    ts_ns, mid, spread = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Observed(ts_ns, mid, spread)


def _mid_and_spread(name: str, table: pa.Table) -> tuple[Floats, Floats]:
    def column(field: str) -> Floats:
        values = table[field].cast(pa.float64()).to_numpy(zero_copy_only=False)
        return np.asarray(values, dtype=np.float64)

    if name != "QuoteTick":
        price = column("price" if name == "TradeTick" else "close")
        return price, np.full(price.shape, np.nan)
    bid, ask = column("bid_price"), column("ask_price")
    mid = (bid + ask) / 2
    return mid, (ask - bid) / mid * 1e4
