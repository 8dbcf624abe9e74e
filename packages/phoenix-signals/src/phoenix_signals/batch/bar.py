"""The bar LPI engine over columns."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from phoenix_schemas.signal_records import BarLpiSignal, Validity

from phoenix_signals.batch.columns import (
    Bars,
    Depth,
    Quotes,
    check_columns,
    depth_snapshots,
    table_of,
)
from phoenix_signals.batch.pressure import bar_lpi, standardized
from phoenix_signals.engines.bar_lpi import BarLpiConfig
from phoenix_signals.engines.protocol import scaled
from phoenix_signals.errors import check_config
from phoenix_signals.liquidity import BPS


def bar_lpi_engine(
    bars: Bars, quotes: Quotes, depth: Depth | None = None, *, config: BarLpiConfig
) -> pa.Table:
    """Signals of [BarLpiEngine][phoenix_signals.engines.BarLpiEngine], one row per bar.

    The columns are those of [BarLpiSignal][phoenix_schemas.signal_records.BarLpiSignal], null where
    a value is None. Times and flags equal the streaming ones exactly, values to 1e-12.

    >>> config = BarLpiConfig(price_precision=1, size_precision=3, price_increment=0.1)
    >>> quotes = Quotes(*np.array([[1], [999], [1001], [3_000], [1_000]]))
    >>> bars = Bars(*np.array([[2], [1000], [1000], [1000], [1000], [5_000]]))
    >>> bar_lpi_engine(bars, quotes, config=config)["imbalance"].to_pylist()
    [0.5]
    """
    check_config(config, BarLpiConfig)
    check_columns(config, bars=bars, quotes=quotes, depth=depth)
    ts_ns, rows = bars.ts_ns, len(bars)
    flags = np.zeros(rows, dtype=np.int64)
    at = np.searchsorted(quotes.ts_ns, ts_ns, side="right") - 1
    spread_bps, half_tick = np.full(rows, np.nan), np.zeros(rows)
    imbalance = np.full(rows, np.nan)
    flags[at < 0] = Validity.QUOTE_MISSING
    is_l1 = config.imbalance == "l1"
    if len(quotes):
        stale = (at >= 0) & (ts_ns - quotes.ts_ns[at] > config.quote_max_age_ns)
        flags[stale] = Validity.QUOTE_STALE
        fresh = flags == 0
        q = at[fresh]
        mid = quotes.bid_raw[q] + quotes.ask_raw[q]
        spread_bps[fresh] = BPS * (2 * (quotes.ask_raw[q] - quotes.bid_raw[q]) / mid)
        tick_raw = scaled("price_increment", config.price_increment, config.price_precision)
        half_tick[fresh] = BPS * (tick_raw / mid)
        if is_l1:
            bid, ask = quotes.bid_size_raw[q], quotes.ask_size_raw[q]
            book = np.full(len(q), np.nan)
            np.divide(bid - ask, bid + ask, out=book, where=bid + ask > 0)
            imbalance[fresh] = book
            flags[fresh & np.isnan(imbalance)] |= Validity.BOOK_EMPTY
    if not is_l1:
        snapshots, bids, asks = depth_snapshots(depth, config.depth_pct)
        at = np.searchsorted(snapshots, ts_ns, side="right") - 1
        flags[at < 0] |= Validity.DEPTH_MISSING
        if len(snapshots):
            stale = (at >= 0) & (ts_ns - snapshots[at] > config.depth_max_age_ns)
            flags[stale] |= Validity.DEPTH_STALE
            fresh = (at >= 0) & ~stale
            total = bids + asks
            nobi = np.full(len(total), np.nan)
            np.divide(bids - asks, total, out=nobi, where=total > 0.0)
            imbalance[fresh] = nobi[at[fresh]]
            flags[fresh & np.isnan(imbalance)] |= Validity.BOOK_EMPTY
    volume = bars.volume_raw / 10**config.size_precision
    window = config.lookback_bars, config.z_min_count, config.z_clip
    lpi = bar_lpi(
        volume,
        spread_bps,
        imbalance,
        half_tick,
        lookback_bars=config.lookback_bars,
        min_count=config.z_min_count,
        z_kind=config.z_kind,
        z_clip=config.z_clip,
    )
    flags[: config.z_min_count - 1] |= Validity.VOLUME_WARMUP
    spread_z = standardized(config.z_kind, spread_bps, half_tick, *window)
    flags[~np.isnan(spread_bps) & np.isnan(spread_z)] |= Validity.SPREAD_WARMUP
    return table_of(BarLpiSignal, [ts_ns, lpi, imbalance, spread_bps, volume, flags])
