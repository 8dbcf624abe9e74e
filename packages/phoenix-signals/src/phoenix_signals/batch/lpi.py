"""The LPI engine over columns: the same snapshots from whole days at once.

Order of work: gaps and bucket bounds from times alone; impulses by bucket from integer running
sums; what was known strictly before each close; then z-scores and flags, column by column.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from phoenix_schemas.signal_records import SignalSnapshot

from phoenix_signals.batch.alignment import last_rows
from phoenix_signals.batch.clocks import INT64_MAX
from phoenix_signals.batch.columns import (
    Depth,
    Floats,
    Funding,
    Ints,
    Metrics,
    Quotes,
    Trades,
    check_columns,
    depth_snapshots,
    table_of,
)
from phoenix_signals.batch.pressure import held, liquidation_pressure, standardized
from phoenix_signals.batch.rolling import rolling_sum
from phoenix_signals.engines import lpi
from phoenix_signals.engines.lpi import DEPTH_EPS
from phoenix_signals.engines.lpi_config import LpiConfig
from phoenix_signals.engines.protocol import scaled
from phoenix_signals.errors import InputError, check_config

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Closes:
    """Closed buckets: time, the trades [first, stop) of each, and whether a gap lies before it."""

    ts_ns: Ints
    first: Ints
    stop: Ints
    after_gap: Flags
    """The snapshot is marked so."""
    is_start: Flags
    """There is no bucket before it in its stretch."""


def lpi_engine(
    trades: Trades,
    quotes: Quotes,
    depth: Depth | None = None,
    metrics: Metrics | None = None,
    funding: Funding | None = None,
    *,
    config: LpiConfig,
) -> pa.Table:
    """Snapshots of [LpiEngine][phoenix_signals.engines.LpiEngine], one row per closed bucket.

    The columns are those of [SignalSnapshot][phoenix_schemas.signal_records.SignalSnapshot], null
    where a value is None; `from_table` of its module turns them into records. Times, counts and
    flags equal the streaming ones exactly, values to 1e-12. A notional sum of one bucket must fit
    in int64.

    >>> config = LpiConfig(price_precision=1, size_precision=3, price_increment=0.1)
    >>> quotes = Quotes(*np.array([[1, 10**10], [1000, 999], [1001, 1000], [5, 5], [5, 5]]))
    >>> trades = Trades(*np.array([[2], [998], [2_000], [-1]]))
    >>> table = lpi_engine(trades, quotes, config=config)
    >>> table["spread"].to_pylist()
    [0.0009995002498750624]
    """
    check_config(config, LpiConfig)
    check_columns(
        config, trades=trades, quotes=quotes, depth=depth, metrics=metrics, funding=funding
    )
    closes = _closes(trades, quotes, config)
    impulse_raw, impulses = _impulses(trades, quotes, closes, config)
    rows = len(closes.ts_ns)
    flags = np.where(closes.after_gap, lpi.AFTER_GAP, 0)

    # The quote strictly before each close.
    at = np.searchsorted(quotes.ts_ns, closes.ts_ns, side="left") - 1
    has_quote = at >= 0
    at = np.maximum(at, 0)
    if len(quotes):
        age = closes.ts_ns - quotes.ts_ns[at]
        bid, ask = quotes.bid_raw[at], quotes.ask_raw[at]
    else:
        age = bid = ask = np.ones(rows, dtype=np.int64)
    fresh = has_quote & (age <= config.quote_max_age_ns)
    flags |= np.where(has_quote, 0, lpi.QUOTE_MISSING)
    flags |= np.where(has_quote & ~fresh, lpi.QUOTE_STALE, 0)
    mid = bid + ask
    spread = np.where(fresh, 2 * (ask - bid) / mid, np.nan)
    tick_raw = scaled("price_increment", config.price_increment, config.price_precision)
    half_tick = tick_raw / mid
    linked = fresh & np.append(False, fresh[:-1]) & ~closes.is_start
    rv = _realized_variance(mid, linked, config)
    rv = np.where(fresh, rv, np.nan)
    flags |= np.where(fresh & np.isnan(rv), lpi.RV_WARMUP, 0)

    if config.use_depth:
        proxy, change_z, depth_flags = _known_depth(depth, closes.ts_ns, config)
        usable = depth_flags == 0
        unit = 10**config.price_precision
        liquidity = np.where(fresh & usable, (ask - bid) / unit / (proxy + DEPTH_EPS), np.nan)
        min_scale = np.where(usable, 0.5 * (tick_raw / unit) / (proxy + DEPTH_EPS), 0.0)
        relief = np.where(usable, config.lambda_liq * change_z, np.nan)
        flags |= depth_flags
        flags |= np.where(usable & np.isnan(change_z), lpi.LIQUIDITY_CHANGE_WARMUP, 0)
    else:
        touch = (
            bid.astype(np.float64) * quotes.bid_size_raw[at]
            + ask.astype(np.float64) * quotes.ask_size_raw[at]
            if len(quotes)
            else np.zeros(rows)
        )
        proxy = np.where(fresh, touch / 10**config.notional_precision, np.nan)
        liquidity, min_scale = spread, half_tick
        change = np.where(linked, np.diff(spread, prepend=np.nan), np.nan)
        relief = -config.lambda_spr * _z(config, change, half_tick)
        flags |= np.where(fresh & np.isnan(relief), lpi.LIQUIDITY_CHANGE_WARMUP, 0)

    index, p, ld = _pressure(impulse_raw, liquidity, min_scale, has_quote, config)
    before = np.where(closes.is_start, np.nan, np.append(np.nan, index[:-1]))
    delta = index - before
    exh = relief - np.sign(index) * _z(config, delta, 0.0)
    flags |= np.where(has_quote & np.isnan(p), lpi.PRESSURE_WARMUP, 0)
    flags |= np.where(has_quote & np.isnan(ld) & ~np.isnan(liquidity), lpi.LD_WARMUP, 0)
    flags |= np.where(np.isnan(exh) & ~np.isnan(index) & ~np.isnan(relief), lpi.EXH_WARMUP, 0)
    lev, lev_flags = _leverage(metrics, funding, closes.ts_ns, config)
    flags |= lev_flags
    share = _share(impulses == 0, config.z_window_buckets)
    columns = [closes.ts_ns, index, exh, lev, p, ld, delta, spread, proxy, rv, share, flags]
    return table_of(SignalSnapshot, columns)


def _closes(trades: Trades, quotes: Quotes, config: LpiConfig) -> _Closes:
    """Bounds of the closed buckets, stretch by stretch between gaps."""
    starts, ends = _stretches(trades.ts_ns, quotes.ts_ns, config.max_gap_ns)
    close_at = _time_closes if config.bucket_mode == "time" else _notional_closes
    parts = []
    pending_gap = False
    for i, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        ts_ns, first, stop = close_at(trades, start, end, config)
        gap = np.zeros(len(ts_ns), dtype=np.bool_)
        fresh = gap.copy()
        fresh[:1] = True
        pending_gap = pending_gap or i > 0
        if len(ts_ns):
            gap[0] = pending_gap
            pending_gap = False
        parts.append((ts_ns, first, stop, gap, fresh))
    if not parts:
        none = np.empty(0, dtype=np.int64)
        return _Closes(none, none, none, none.astype(np.bool_), none.astype(np.bool_))
    return _Closes(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _stretches(a: Ints, b: Ints, max_gap_ns: int) -> tuple[Ints, Ints]:
    """First and last event of each stretch of two merged streams without a longer gap."""
    dense, sparse = (a, b) if len(a) > len(b) else (b, a)
    if len(dense) == 0:
        return dense, dense
    # Only where the dense stream is silent, or has not begun or is over, the other one matters.
    silent = _silences(dense, max_gap_ns)
    left = np.concatenate([[-1], dense[silent], dense[-1:]])
    right = np.concatenate([dense[:1], dense[silent + 1], [INT64_MAX]])
    starts: list[int] = []
    ends: list[int] = []
    for low, high in zip(left.tolist(), right.tolist(), strict=True):
        first, stop = np.searchsorted(sparse, [low + 1, high]).tolist()
        inside = sparse[first:stop].tolist()
        bounds = [*([] if low < 0 else [low]), *inside, *([] if high == INT64_MAX else [high])]
        merged = np.array(bounds, dtype=np.int64)
        cuts = _silences(merged, max_gap_ns)
        if low < 0:
            starts.append(bounds[0])
        ends.extend(merged[cuts].tolist())
        starts.extend(merged[cuts + 1].tolist())
        if high == INT64_MAX:
            ends.append(bounds[-1])
    return np.array(starts, dtype=np.int64), np.array(ends, dtype=np.int64)


def _silences(ts_ns: Ints, max_gap_ns: int) -> Ints:
    """Rows behind which more than `max_gap_ns` pass."""
    # An event in every half of the bound leaves no room for a gap: a few searches instead of a
    # difference of millions of rows.
    halves = np.arange(ts_ns[0], ts_ns[-1], max(1, max_gap_ns // 2))
    if 8 * len(halves) < len(ts_ns) and np.diff(np.searchsorted(ts_ns, halves)).all():
        return np.empty(0, dtype=np.int64)
    return np.flatnonzero(np.diff(ts_ns) > max_gap_ns)


def _time_closes(
    trades: Trades, start: int, end: int, config: LpiConfig
) -> tuple[Ints, Ints, Ints]:
    width = config.bucket_interval_ns
    ts_ns = np.arange(start // width + 1, end // width + 1) * width
    edges = np.searchsorted(trades.ts_ns, np.append(ts_ns[:1] - width, ts_ns))
    return ts_ns, edges[:-1], edges[1:]


def _notional_closes(
    trades: Trades, start: int, end: int, config: LpiConfig
) -> tuple[Ints, Ints, Ints]:
    first, stop = np.searchsorted(trades.ts_ns, [start, end + 1]).tolist()
    price, size = trades.price_raw[first:stop], trades.size_raw[first:stop]
    if np.dot(price.astype(np.float64), size.astype(np.float64)) > 0.99 * INT64_MAX:
        raise InputError(
            "the notional of a stretch without gaps must fit in 63 bits; "
            "pass one day at a time, or the instrument's own precision"
        )
    total = np.cumsum(price * size)
    fill = scaled("bucket_notional", config.bucket_notional, config.notional_precision)
    stops = []
    done = 0
    while len(total) and total[-1] - done >= fill:
        at = int(total.searchsorted(done + fill))
        done = int(total[at])
        stops.append(first + at + 1)
    bounds = np.array([first, *stops], dtype=np.int64)
    return trades.ts_ns[bounds[1:] - 1], bounds[:-1], bounds[1:]


def _impulses(
    trades: Trades, quotes: Quotes, closes: _Closes, config: LpiConfig
) -> tuple[Ints, Ints]:
    """IS - IB of each bucket in raw notional, and how many impulses it holds."""
    strictly = config.impulse_quote == "strictly_before"
    met = last_rows(quotes.ts_ns, trades.ts_ns, strictly=strictly)
    early = int(np.searchsorted(met, 0))  # trades before the first quote
    met = met[early:]
    price, side = trades.price_raw[early:], trades.side[early:]
    bid, ask = quotes.bid_raw[met], quotes.ask_raw[met]
    is_sell = side < 0
    # Comparisons and bits: to choose between bid and ask by a side that nobody can guess is slow.
    row = np.flatnonzero(((price < bid) & is_sell) | ((price > ask) & ~is_sell))
    eta = config.eta
    if eta:
        price, side = price[row], side[row].astype(np.int64)
        touch = np.where(side < 0, bid[row], ask[row])
        if float(price.max(initial=0)) * 2.0 * eta.denominator > INT64_MAX:
            raise InputError(
                f"eta_bps with prices of {config.price_precision} decimals must fit in 63 bits "
                f"(was {config.eta_bps}); take the instrument's own precision"
            )
        edge = touch * (eta.denominator + eta.numerator * side)
        row = row[(price * eta.denominator - edge) * side > 0]
    row += early
    signed = trades.price_raw[row] * trades.size_raw[row] * -trades.side[row].astype(np.int64)
    if float(np.abs(signed.astype(np.float64)).sum()) > 0.99 * INT64_MAX:
        raise InputError(
            "the impulses must sum to less than 63 bits; pass one day at a time, or the "
            "instrument's own precision"
        )
    running = np.append(0, np.cumsum(signed))
    first, stop = np.searchsorted(row, closes.first), np.searchsorted(row, closes.stop)
    return running[stop] - running[first], stop - first


def _pressure(
    impulse_raw: Ints, liquidity: Floats, min_scale: Floats, has_quote: Flags, config: LpiConfig
) -> tuple[Floats, Floats, Floats]:
    """LPI, P and L; buckets before the first quote enter no window."""
    out = np.full((3, len(impulse_raw)), np.nan)
    impulse = impulse_raw / 10**config.notional_precision
    out[:, has_quote] = liquidation_pressure(
        impulse[has_quote],
        liquidity[has_quote],
        min_scale[has_quote],
        window_count=config.z_window_buckets,
        min_count=config.z_min_count,
        z_kind=config.z_kind,
        z_clip=config.z_clip,
        lambda_ld=config.lambda_ld,
        liquidity_mode=config.liquidity_mode,
    )
    return out[0], out[1], out[2]


def _realized_variance(mid: Ints, linked: Flags, config: LpiConfig) -> Floats:
    move = np.diff(mid, prepend=mid[:1])[linked] / (mid - np.diff(mid, prepend=mid[:1]))[linked]
    r = np.log1p(move)
    rv = np.full(len(mid), np.nan)
    rv[linked] = rolling_sum(r * r, window_count=config.rv_window_buckets)
    return held(rv)


def _known_depth(
    depth: Depth | None, ts_ns: Ints, config: LpiConfig
) -> tuple[Floats, Floats, Ints]:
    """D, z of its last change, and what they lack, strictly before each close."""
    snapshots, bids, asks = depth_snapshots(depth, config.depth_pct)
    notional = bids + asks
    change = np.diff(notional, prepend=np.nan)
    change_z = _z(config, change, 0.0)
    at = np.searchsorted(snapshots, ts_ns, side="left") - 1
    if len(snapshots) == 0:
        nothing = np.full(len(ts_ns), np.nan)
        return nothing, nothing, np.full(len(ts_ns), lpi.DEPTH_MISSING)
    known = at >= 0
    at = np.maximum(at, 0)
    stale = known & (ts_ns - snapshots[at] > config.depth_max_age_ns)
    flags = np.zeros(len(ts_ns), dtype=np.int64)
    flags[~known] = lpi.DEPTH_MISSING
    flags[stale] = lpi.DEPTH_STALE
    usable = flags == 0
    return (
        np.where(usable, notional[at], np.nan),
        np.where(usable, change_z[at], np.nan),
        flags,
    )


def _leverage(
    metrics: Metrics | None, funding: Funding | None, ts_ns: Ints, config: LpiConfig
) -> tuple[Floats, Ints]:
    rows = len(ts_ns)
    if not config.use_open_interest:
        return np.full(rows, np.nan), np.zeros(rows, dtype=np.int64)
    empty = np.empty(0, dtype=np.int64)
    known = np.empty(0, dtype=np.bool_) if metrics is None else ~np.isnan(metrics.open_interest)
    oi_ts = empty if metrics is None else metrics.ts_ns[known]
    oi = np.empty(0) if metrics is None else metrics.open_interest[known]
    oi_z, at = _last(_z(config, oi, 0.0, config.oi_window_rows), oi_ts, ts_ns)
    flags = np.where(at < 0, lpi.OPEN_INTEREST_MISSING, 0)
    if len(oi_ts):
        stale = (at >= 0) & (ts_ns - oi_ts[np.maximum(at, 0)] > config.oi_max_age_ns)
        flags |= np.where(stale, lpi.OPEN_INTEREST_STALE, 0)
        flags |= np.where((at >= 0) & ~stale & np.isnan(oi_z), lpi.OPEN_INTEREST_WARMUP, 0)
    lev = oi_z
    if config.lambda_f > 0.0:
        rate_ts = empty if funding is None else funding.ts_ns
        rate = np.empty(0) if funding is None else funding.rate
        rate_z, at = _last(_z(config, rate, 0.0, config.funding_window_rows), rate_ts, ts_ns)
        flags |= np.where(at < 0, lpi.FUNDING_MISSING, 0)
        flags |= np.where((at >= 0) & np.isnan(rate_z), lpi.FUNDING_WARMUP, 0)
        lev = oi_z + config.lambda_f * rate_z
    return np.where(flags == 0, lev, np.nan), flags


def _last(values: Floats, values_ts: Ints, ts_ns: Ints) -> tuple[Floats, Ints]:
    """The last value strictly before each time, and its row (-1: none)."""
    at = np.searchsorted(values_ts, ts_ns, side="left") - 1
    if len(values) == 0:
        return np.full(len(ts_ns), np.nan), at
    return np.where(at >= 0, values[np.maximum(at, 0)], np.nan), at


def _z(config: LpiConfig, x: Floats, min_scale: Any, window_count: int | None = None) -> Floats:
    return standardized(
        config.z_kind,
        x,
        min_scale,
        window_count or config.z_window_buckets,
        config.z_min_count,
        config.z_clip,
    )


def _share(hit: Flags, window_count: int) -> Floats:
    """Share of hits among the last `window_count` rows, this one included."""
    running = np.append(0, np.cumsum(hit))
    stop = np.arange(1, len(hit) + 1)
    first = np.maximum(stop - window_count, 0)
    share: Floats = (running[stop] - running[first]) / (stop - first)
    return share
