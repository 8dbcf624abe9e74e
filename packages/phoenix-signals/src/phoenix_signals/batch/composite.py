"""The composite LPI engine over columns."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from phoenix_schemas.signal_records import PhoenixSignal

from phoenix_signals.batch.clocks import notional_clock
from phoenix_signals.batch.columns import (
    Depth,
    Floats,
    Ints,
    Metrics,
    Trades,
    check_columns,
    last_known,
    table_of,
)
from phoenix_signals.batch.pressure import composite_lpi
from phoenix_signals.batch.rolling import zscore_mean_std
from phoenix_signals.engines.composite import CompositeLpiConfig
from phoenix_signals.errors import check_config


def composite_lpi_engine(
    trades: Trades,
    depth: Depth | None = None,
    metrics: Metrics | None = None,
    *,
    config: CompositeLpiConfig,
) -> pa.Table:
    """Signals of [CompositeLpiEngine][phoenix_signals.engines.CompositeLpiEngine], as a table.

    The columns are those of [PhoenixSignal][phoenix_schemas.signal_records.PhoenixSignal], null
    where a value is None. Times and counts equal the streaming ones exactly, values to 1e-12.

    >>> config = CompositeLpiConfig(price_precision=0, size_precision=0, bucket_notional=100)
    >>> trades = Trades(*np.array([[1, 2], [10, 10], [4, 8], [1, -1]]))
    >>> composite_lpi_engine(trades, config=config)["fsi"].to_pylist()
    [0.6666666666666666]
    """
    check_config(config, CompositeLpiConfig)
    check_columns(config, trades=trades, depth=depth, metrics=metrics)
    buckets = notional_clock(
        trades.ts_ns,
        trades.price_raw,
        trades.size_raw,
        trades.side,
        bucket_raw=config.bucket_raw,
        max_gap_ns=config.max_gap_ns,
    )
    whole = buckets.valid
    ts_ns = buckets.ts_close_ns[whole]
    buy, sell = buckets.buy_raw[whole], buckets.sell_raw[whole]
    total = buy + sell
    fsi = sell / total
    imbalance = np.abs(buy - sell) / total
    ldr = last_known(*_depletion(depth, config), ts_ns, config.depth_max_age_ns)
    oi_z = last_known(*_open_interest(metrics, config), ts_ns, config.oi_max_age_ns)
    lpi = composite_lpi(
        fsi,
        imbalance,
        ldr,
        window_count=config.fsi_window_buckets,
        min_count=config.z_min_count,
        z_clip=config.z_clip,
    )
    is_valid = ~np.isnan(lpi) & ~np.isnan(oi_z)
    return table_of(PhoenixSignal, [ts_ns, fsi, imbalance, ldr, oi_z, lpi, is_valid])


def _depletion(depth: Depth | None, config: CompositeLpiConfig) -> tuple[Ints, Floats]:
    """Times and LDR of the snapshots that hold the level; a level twice counts first."""
    if depth is None:
        return np.empty(0, dtype=np.int64), np.empty(0)
    row = np.flatnonzero(depth.percentage == config.depth_level)
    ts_ns, first = np.unique(depth.ts_ns[row], return_index=True)
    notional = depth.notional[row[first]]
    before = np.append(0.0, notional[:-1])[: len(notional)]
    ratio = np.divide(notional, before, out=np.ones(len(notional)), where=before > 0.0)
    return ts_ns, ratio


def _open_interest(metrics: Metrics | None, config: CompositeLpiConfig) -> tuple[Ints, Floats]:
    """Times and z of the rows with an open interest."""
    if metrics is None:
        return np.empty(0, dtype=np.int64), np.empty(0)
    known = ~np.isnan(metrics.open_interest)
    z = zscore_mean_std(
        metrics.open_interest[known],
        window_count=config.oi_window_rows,
        min_count=config.z_min_count,
        z_clip=config.z_clip,
    )
    return metrics.ts_ns[known], z
