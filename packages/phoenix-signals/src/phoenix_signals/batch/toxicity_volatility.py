"""The toxicity-volatility engine over columns: features of each decision, and the signals."""

from __future__ import annotations

import math
from bisect import insort
from typing import Final, NamedTuple, TypedDict

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from phoenix_schemas.signal_records import VolatilitySignal

from phoenix_signals.batch.clocks import volume_clock
from phoenix_signals.batch.columns import (
    Bars,
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
from phoenix_signals.batch.fusion import ensemble_fusion
from phoenix_signals.batch.orderflow import ofi
from phoenix_signals.batch.regime import (
    crowding,
    flow_pressure,
    toxicity_index,
    volatility_regimes,
)
from phoenix_signals.batch.rolling import percentile
from phoenix_signals.batch.toxicity import vpin_of_buckets
from phoenix_signals.batch.volatility import compression_factor, ewma_variance
from phoenix_signals.engines.protocol import scaled
from phoenix_signals.engines.toxicity_volatility import ToxicityVolatilityConfig
from phoenix_signals.errors import check_config
from phoenix_signals.liquidity import BPS
from phoenix_signals.regime import REGIMES, CrowdingValue
from phoenix_signals.rolling import ZKind

FEATURES: Final = pa.schema(
    [
        pa.field("ts_event", pa.timestamp("ns", tz="UTC"), nullable=False),
        *(pa.field(name, pa.float64()) for name in ("f1", "f2")),
        pa.field("f3", pa.int8()),
        *(pa.field(name, pa.float64()) for name in ("crowding", "funding_z", "toxicity")),
        pa.field("is_toxic", pa.bool_()),
        pa.field("regime", pa.string()),
        *(
            pa.field(name, pa.float64())
            for name in ("variance", "spread_bps", "vpin", "vpin_reference", "theta")
        ),
    ]
)
"""Fields of `ToxicityVolatilityFeatures` as columns, null for None."""


class _Window(TypedDict):
    """What the z-scores have in common."""

    min_count: int
    z_kind: ZKind
    z_clip: float


class _Vpins(NamedTuple):
    """VPIN after each trade that closed a bucket: the trade's row, the value, its rank."""

    row: Ints
    value: Floats
    rank: Floats


def toxicity_volatility_features(
    trades: Trades,
    quotes: Quotes,
    bars: Bars,
    depth: Depth | None = None,
    metrics: Metrics | None = None,
    funding: Funding | None = None,
    *,
    config: ToxicityVolatilityConfig,
) -> pa.Table:
    """Features of [ToxicityVolatilityEngine][phoenix_signals.engines.ToxicityVolatilityEngine].

    One row per decision, with the schema `FEATURES`. Times, counts and flags equal the streaming
    ones exactly, values to 1e-12.

    >>> config = ToxicityVolatilityConfig(
    ...     instrument_id="BTCUSDT-PERP.BINANCE", price_precision=2, size_precision=3,
    ...     price_increment=0.1, vpin_bucket=10.0,
    ... )
    >>> none = np.empty(0, dtype=np.int64)
    >>> bars = Bars(*np.array([[59_999_000_000], [100], [110], [90], [100], [5_000]]))
    >>> table = toxicity_volatility_features(Trades(*[none] * 4), Quotes(*[none] * 5), bars,
    ...                                      config=config)
    >>> table["f1"].to_pylist()
    [None]
    """
    check_config(config, ToxicityVolatilityConfig)
    check_columns(
        config,
        trades=trades,
        quotes=quotes,
        bars=bars,
        depth=depth,
        metrics=metrics,
        funding=funding,
    )
    ts_ns = bars.ts_ns
    unit = 10**config.price_precision
    prices = [x / unit for x in (bars.open_raw, bars.high_raw, bars.low_raw, bars.close_raw)]
    window = _Window(min_count=config.z_min_count, z_kind=config.z_kind, z_clip=config.z_clip)
    f1 = compression_factor(
        *prices,
        half_life_short_bars=config.half_life_short_bars,
        half_life_long_bars=config.half_life_long_bars,
        window_bars=config.z_window_bars,
        **window,
    )
    variance = ewma_variance(
        prices[3], half_life_bars=config.half_life_short_bars, min_count=config.z_min_count
    )
    spread, half_tick, obi = _book(quotes, ts_ns, config)
    vpins = _vpins(trades, config)
    at_bar = np.searchsorted(trades.ts_ns, ts_ns, side="right")  # trades known at each close
    vpin = _latest(vpins.row, vpins.value, at_bar - 1)
    toxicity = toxicity_index(vpin, spread, half_tick, window_count=config.z_window_bars, **window)
    is_toxic = _toxic(toxicity, config)
    svi, ofi_sum = _flows(trades, quotes, ts_ns, at_bar, config)
    f2 = flow_pressure(obi, svi, ofi_sum, is_toxic, window_count=config.z_window_bars, **window).f2
    regime = volatility_regimes(
        variance,
        spread,
        _depth(depth, ts_ns, config),
        min_count=config.z_min_count,
        spread_share=config.spread_share,
        depth_share=config.depth_share,
        variance_share=config.variance_share,
        hysteresis=config.hysteresis,
    )
    crowd = _crowd(metrics, funding, ts_ns, config)
    reference = _quantiles(vpins.value, _count(vpins.row, at_bar - 1), config)

    last = ts_ns - 1
    width = config.decision_interval_ns
    decides = last // width != (last + config.bar_interval_ns) // width
    factors = np.column_stack([f2 / 3.0, -crowd.crowding / config.crowding_weight])[decides]
    theta = ensemble_fusion(
        ts_ns[decides],
        factors,
        weights=config.theta_weights,
        max_ages_ns=(0, 0),
        gain=config.theta_gain,
    )
    rest = [
        f1, f2, crowd.f3, crowd.crowding, crowd.funding_z, toxicity, is_toxic, regime, variance,
        BPS * spread, vpin, reference,
    ]  # fmt: skip
    columns = [ts_ns[decides], *(column[decides] for column in rest), theta]
    return pa.Table.from_arrays(
        [_arrow(f, column) for f, column in zip(FEATURES, columns, strict=True)], schema=FEATURES
    )


def toxicity_volatility_engine(
    trades: Trades,
    quotes: Quotes,
    bars: Bars,
    depth: Depth | None = None,
    metrics: Metrics | None = None,
    funding: Funding | None = None,
    *,
    config: ToxicityVolatilityConfig,
) -> pa.Table:
    """Signals of [ToxicityVolatilityEngine][phoenix_signals.engines.ToxicityVolatilityEngine].

    The columns are those of [VolatilitySignal][phoenix_schemas.signal_records.VolatilitySignal]:
    one row per decision, and one per crossing of VPIN's rank in between.
    """
    features = toxicity_volatility_features(
        trades, quotes, bars, depth, metrics, funding, config=config
    )
    decided = features["ts_event"].cast(pa.int64()).to_numpy()
    vpins = _vpins(trades, config)
    # A rank that is not known yet is no alert; the state before the first VPIN is none either.
    is_alert = vpins.rank >= config.toxicity_share
    known = ~np.isnan(vpins.value)
    row, is_alert, value = vpins.row[known], is_alert[known], vpins.value[known]
    crossed = is_alert != np.append(False, is_alert[:-1])[: len(is_alert)]
    crossed_ts = trades.ts_ns[row[crossed]]
    # A bar comes last of its time: the decision of that very time is not known to the crossing.
    behind = np.searchsorted(decided, crossed_ts, side="left") - 1
    told = behind >= 0
    order = np.argsort(np.concatenate([2 * decided + 1, 2 * crossed_ts[told]]), kind="stable")
    take = np.concatenate([np.arange(len(decided)), behind[told]])[order]
    ts_ns = np.concatenate([decided, crossed_ts[told]])[order]
    vpin = np.concatenate([_floats(features["vpin"]), value[crossed][told]])[order]
    theta, variance = (_floats(features[name])[take] for name in ("theta", "variance"))
    valid = ~np.isnan(vpin)
    for name in ("f1", "f2", "f3", "variance", "spread_bps"):
        valid &= ~np.isnan(_floats(features[name]))[take]
    regime = features["regime"].take(pa.array(take))
    valid &= ~regime.is_null().to_numpy()
    instrument = np.full(len(ts_ns), config.instrument_id, dtype=object)
    return table_of(
        VolatilitySignal,
        [
            ts_ns,
            instrument,
            theta,
            np.abs(theta),
            np.array(regime.fill_null(REGIMES[0].value).to_pylist(), dtype=object),
            variance,
            vpin,
            valid,
        ],
    )


def _book(
    quotes: Quotes, ts_ns: Ints, config: ToxicityVolatilityConfig
) -> tuple[Floats, Floats, Floats]:
    """Relative spread, half a tick in its unit, and queue imbalance at each close."""
    rows = len(ts_ns)
    spread, obi, half_tick = np.full(rows, np.nan), np.full(rows, np.nan), np.zeros(rows)
    at = np.searchsorted(quotes.ts_ns, ts_ns, side="right") - 1
    if len(quotes) == 0:
        return spread, half_tick, obi
    fresh = (at >= 0) & (ts_ns - quotes.ts_ns[at] <= config.quote_max_age_ns)
    q = at[fresh]
    mid = quotes.bid_raw[q] + quotes.ask_raw[q]
    spread[fresh] = 2 * (quotes.ask_raw[q] - quotes.bid_raw[q]) / mid
    tick_raw = scaled("price_increment", config.price_increment, config.price_precision)
    half_tick[fresh] = tick_raw / mid
    bid, ask = quotes.bid_size_raw[q], quotes.ask_size_raw[q]
    book = np.full(len(q), np.nan)
    np.divide(bid - ask, bid + ask, out=book, where=bid + ask > 0)
    obi[fresh] = book
    return spread, half_tick, obi


def _vpins(trades: Trades, config: ToxicityVolatilityConfig) -> _Vpins:
    amount = trades.size_raw
    if config.vpin_unit == "notional":
        amount = trades.price_raw * trades.size_raw
    buckets = volume_clock(
        trades.ts_ns,
        amount,
        trades.side,
        bucket_raw=config.vpin_bucket_raw,
        bucket_mode="split",
        max_gap_ns=config.max_gap_ns,
    )
    row, value = vpin_of_buckets(
        buckets, bucket_raw=config.vpin_bucket_raw, window_buckets=config.vpin_window_buckets
    )
    last = np.append(np.diff(row) > 0, True)[: len(row)]  # of several buckets of one trade
    row, value = row[last], value[last]
    known = ~np.isnan(value)
    rank = np.full(len(value), np.nan)
    rank[known] = percentile(value[known], min_count=config.z_min_count)
    return _Vpins(row, value, rank)


def _count(row: Ints, at: Ints) -> Ints:
    """How many of the ascending `row`s lie at or before each `at`."""
    return np.searchsorted(row, at, side="right")


def _latest(row: Ints, value: Floats, at: Ints) -> Floats:
    count = _count(row, at)
    if len(value) == 0:
        return np.full(len(at), np.nan)
    return np.where(count > 0, value[np.maximum(count - 1, 0)], np.nan)


def _toxic(toxicity: Floats, config: ToxicityVolatilityConfig) -> Floats:
    """1 where flow is toxic, 0 where not, NaN where nobody knows."""
    known = ~np.isnan(toxicity)
    out = np.full(len(toxicity), np.nan)
    if config.toxicity_threshold is not None:
        out[known] = toxicity[known] >= config.toxicity_threshold
        return out
    rank = percentile(toxicity[known], min_count=config.z_min_count)
    out[known] = np.where(np.isnan(rank), np.nan, rank >= config.toxicity_share)
    return out


def _flows(
    trades: Trades, quotes: Quotes, ts_ns: Ints, at_bar: Ints, config: ToxicityVolatilityConfig
) -> tuple[Floats, Floats]:
    """SVI and summed OFI over their bars, at each close."""
    signed = np.append(0, np.cumsum(trades.size_raw * trades.side.astype(np.int64)))
    total = np.append(0, np.cumsum(trades.size_raw))
    flow = _over_bars(signed, at_bar, config.svi_window_bars)
    traded = _over_bars(total, at_bar, config.svi_window_bars)
    svi = np.full(len(ts_ns), np.nan)
    np.divide(flow, traded, out=svi, where=traded > 0)
    svi[: config.svi_window_bars - 1] = np.nan
    moves = ofi(quotes.bid_raw, quotes.ask_raw, quotes.bid_size_raw, quotes.ask_size_raw)
    summed = np.append(0, np.cumsum(np.nan_to_num(moves).astype(np.int64)))
    at = np.searchsorted(quotes.ts_ns, ts_ns, side="right")
    ofi_sum = _over_bars(summed, at, config.ofi_window_bars) / 10**config.size_precision
    ofi_sum[: config.ofi_window_bars - 1] = np.nan
    return svi, ofi_sum


def _over_bars(running: Ints, at_bar: Ints, bars: int) -> Ints:
    """Difference of a running sum over the last `bars` bars."""
    upto = running[at_bar]
    before = np.append(np.zeros(bars, dtype=np.int64), upto)[: len(upto)]
    over: Ints = upto - before
    return over


def _depth(depth: Depth | None, ts_ns: Ints, config: ToxicityVolatilityConfig) -> Floats:
    snapshots, bids, asks = depth_snapshots(depth, config.depth_pct)
    if len(snapshots) == 0:
        return np.full(len(ts_ns), np.nan)
    at = np.searchsorted(snapshots, ts_ns, side="right") - 1
    fresh = (at >= 0) & (ts_ns - snapshots[at] <= config.depth_max_age_ns)
    return np.where(fresh, (bids + asks)[at], np.nan)


def _crowd(
    metrics: Metrics | None,
    funding: Funding | None,
    ts_ns: Ints,
    config: ToxicityVolatilityConfig,
) -> CrowdingValue[Floats]:
    """Crowding at each close: rows of metrics and funding in replay order."""
    none, nothing = np.empty(0, dtype=np.int64), np.empty(0)
    m_ts = none if metrics is None else metrics.ts_ns
    f_ts = none if funding is None else funding.ts_ns
    row_ts = np.concatenate([m_ts, f_ts])
    order = np.argsort(row_ts, kind="stable")  # at one time metrics come before funding
    interest = nothing if metrics is None else metrics.open_interest
    ratio = nothing if metrics is None else metrics.long_short_ratio
    rate = nothing if funding is None else funding.rate
    values = crowding(
        np.concatenate([np.full(len(m_ts), np.nan), rate])[order],
        _or_missing(np.concatenate([interest, np.full(len(f_ts), np.nan)])[order]),
        _or_missing(np.concatenate([ratio, np.full(len(f_ts), np.nan)])[order]),
        crowding_threshold=config.crowding_threshold,
        a1=config.a1,
        a2=config.a2,
        a3=config.a3,
        oi_mode=config.oi_mode,
        funding_window_rows=config.funding_window_rows,
        metrics_window_rows=config.metrics_window_rows,
        min_count=config.z_min_count,
        z_kind=config.z_kind,
        z_clip=config.z_clip,
    )
    at = np.searchsorted(row_ts[order], ts_ns, side="right") - 1
    if len(row_ts) == 0:
        return CrowdingValue._make([np.full(len(ts_ns), np.nan)] * 5)
    known: CrowdingValue[Floats] = CrowdingValue._make(
        np.where(at >= 0, column[np.maximum(at, 0)], np.nan) for column in values
    )
    if config.a2 == config.a3 == 0.0:
        return known
    fresh = np.zeros(len(ts_ns), dtype=np.bool_)
    if len(m_ts):
        at = np.searchsorted(m_ts, ts_ns, side="right") - 1
        fresh = (at >= 0) & (ts_ns - m_ts[at] <= config.metrics_max_age_ns)
    return known._replace(
        crowding=np.where(fresh, known.crowding, np.nan), f3=np.where(fresh, known.f3, np.nan)
    )


def _or_missing(x: Floats) -> Floats:
    """0 as missing, as the streaming engine takes it."""
    return np.where(x == 0.0, np.nan, x)


def _quantiles(value: Floats, count: Ints, config: ToxicityVolatilityConfig) -> Floats:
    """The `toxicity_share` quantile of the VPINs known at each bar."""
    known = ~np.isnan(value)
    seen = np.append(0, np.cumsum(known))[count]
    history: list[float] = []
    out = np.full(len(count), np.nan)
    values = value[known].tolist()
    for i, n in enumerate(seen.tolist()):
        while len(history) < n:
            insort(history, values[len(history)])
        if n >= config.z_min_count:
            out[i] = history[max(0, math.ceil(config.toxicity_share * n) - 1)]
    return out


def _arrow(field: pa.Field, column: NDArray[np.float64] | Ints) -> pa.Array:
    if column.dtype.kind != "f":
        return pa.array(column).cast(field.type)
    missing = np.isnan(column)
    if field.name == "regime":
        names = [None if m else REGIMES[int(c)].value for m, c in zip(missing, column, strict=True)]
        return pa.array(names, field.type)
    filled = np.where(missing, 0.0, column)
    if field.type == pa.bool_():
        return pa.array(filled.astype(np.bool_), mask=missing)
    return pa.array(filled, mask=missing).cast(field.type)


def _floats(column: pa.ChunkedArray) -> Floats:
    array: Floats = column.cast(pa.float64()).to_numpy()
    return array
