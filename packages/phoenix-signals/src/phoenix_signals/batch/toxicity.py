"""Batch twins of `phoenix_signals.toxicity`."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from phoenix_signals import toxicity
from phoenix_signals.batch.alignment import hold
from phoenix_signals.batch.clocks import Buckets, amount_clock, checked_trades
from phoenix_signals.batch.rolling import rolling_mean_variance
from phoenix_signals.clocks import HOUR_NS, check_fills
from phoenix_signals.errors import InputError, column, number_error, raw_column, time_column
from phoenix_signals.toxicity import Distribution, buy_share, distribution_function

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def vpin(
    ts_ns: ArrayLike,
    amount_raw: ArrayLike,
    side: ArrayLike,
    *,
    bucket_raw: int,
    window_buckets: int = 50,
    max_gap_ns: int = HOUR_NS,
) -> Floats:
    """Twin of [Vpin][phoenix_signals.toxicity.Vpin]: one value per trade.

    Units: none, in [0, 1]; amounts in integer raw units, base (size) or quote (notional).
    Returns: float64, one value per trade; NaN where the value is None; warm-up: n buckets.
    Raises: time going back, a non-positive amount or a side other than +1, -1 raises InputError
        with the row.

    >>> vpin([0, 1], [15, 5], [1, -1], bucket_raw=10, window_buckets=2).tolist()
    [nan, 0.5]
    """
    toxicity.Vpin(bucket_raw, window_buckets, max_gap_ns)
    checked = checked_trades(ts_ns, amount_raw, side, "amount_raw")
    buckets = amount_clock(*checked, bucket_raw, "split", max_gap_ns)
    row, values = vpin_of_buckets(buckets, bucket_raw=bucket_raw, window_buckets=window_buckets)
    return hold(row, values, len(checked[0]))


def vpin_of_buckets(
    buckets: Buckets, *, bucket_raw: int, window_buckets: int = 50
) -> tuple[Ints, Floats]:
    """(row that closed it, VPIN) of each valid bucket of `volume_clock(..., bucket_mode="split")`.

    >>> buckets = amount_clock(*checked_trades([0, 1], [15, 5], [1, -1]), 10, "split", HOUR_NS)
    >>> vpin_of_buckets(buckets, bucket_raw=10, window_buckets=2)[1].tolist()
    [nan, 0.5]
    """
    kept = buckets.valid
    running = np.append(0, np.cumsum(np.abs(buckets.buy_raw - buckets.sell_raw)[kept]))
    values = np.full(len(running) - 1, np.nan)
    n = window_buckets
    values[n - 1 :] = (running[n:] - running[:-n]) / (n * bucket_raw)
    return buckets.row[kept], values


def bulk_vpin(
    ts_ns: ArrayLike,
    close: ArrayLike,
    volume_raw: ArrayLike,
    *,
    bucket_raw: int,
    window_buckets: int = 50,
    sigma_window_bars: int = 60,
    distribution: Distribution = "normal",
    dof: float = 0.25,
    max_gap_ns: int = HOUR_NS,
) -> Floats:
    """Twin of [BulkVpin][phoenix_signals.toxicity.BulkVpin]: one value per bar.

    Units: none, in [0, 1]; volumes in integer raw units.
    Returns: float64, one value per bar; NaN where the value is None; warm-up: one close,
        `sigma_window_bars` dP, then n buckets.
    Raises: time going back, a close not above 0 or a negative volume raises InputError with the
        row; an unknown distribution, or Student-t without scipy, raises ParameterError.

    >>> closes = [100.0, 101.0, 100.0, 101.0, 100.0]
    >>> values = bulk_vpin(
    ...     range(5), closes, [10] * 5, bucket_raw=10, window_buckets=2, sigma_window_bars=2
    ... )
    >>> round(float(values[-1]), 4)
    0.6827
    """
    toxicity.BulkVpin(bucket_raw, window_buckets, sigma_window_bars, distribution, dof, max_gap_ns)
    ts, closes, volume = _bars(ts_ns, close, volume_raw)
    check_fills("volume_raw", int(volume.max(initial=0)), bucket_raw)
    fresh = np.append(True, np.diff(ts) > max_gap_ns)[: len(ts)]
    bars = np.flatnonzero(~fresh)  # those that have a dP
    change = closes[bars] - closes[bars - 1]
    variance = rolling_mean_variance(change, window_count=sigma_window_bars).variance
    past = np.append(np.nan, variance)[: len(bars)]
    known = ~np.isnan(past)
    bars, change, past = bars[known], change[known], past[known]
    cdf = distribution_function(distribution, dof)
    shares = [buy_share(c, v, cdf) for c, v in zip(change.tolist(), past.tolist(), strict=True)]
    tilt = 2.0 * np.array(shares) - 1.0
    stretch = np.cumsum(fresh)[bars]
    row, imbalance = _pour(bars, volume[bars], tilt, stretch, bucket_raw)
    n = window_buckets
    values = np.full(len(imbalance), np.nan)
    if len(imbalance) >= n:
        values[n - 1 :] = sliding_window_view(imbalance, n).sum(axis=1) / (n * bucket_raw)
    return hold(row, values, len(ts))


def _bars(ts_ns: ArrayLike, close: ArrayLike, volume_raw: ArrayLike) -> tuple[Ints, Floats, Ints]:
    ts = time_column(ts_ns)
    closes = column("close", close, len(ts))
    volume = raw_column("volume_raw", volume_raw, len(ts))
    if (closes <= 0).any():
        row = int(np.argmax(closes <= 0))
        raise number_error("close", f"{closes[row]} at row {row}")
    if (volume < 0).any():
        row = int(np.argmax(volume < 0))
        raise InputError(f"volume_raw must be at least 0 (was {volume[row]} at row {row})")
    return ts, closes, volume


def _pour(
    bars: Ints, volume: Ints, tilt: Floats, stretch: Ints, bucket_raw: int
) -> tuple[Ints, Floats]:
    """(row that closed it, |V_B - V_S|) of the buckets that the bars fill.

    A stretch between gaps starts at 0. Inside one, bars and buckets cut the volume into pieces,
    each in one bar and one bucket.
    """
    rows, imbalances = [bars[:0]], [np.empty(0)]
    for part in np.unique(stretch):
        inside = stretch == part
        total = np.cumsum(volume[inside])
        edge = np.arange(1, int(total[-1]) // bucket_raw + 1) * bucket_raw
        if len(edge) == 0:
            continue
        cuts = np.union1d(total[total < edge[-1]], edge)
        cuts = cuts[cuts > 0]
        bar = np.searchsorted(total, cuts)
        flow = np.diff(cuts, prepend=0) * tilt[inside][bar]
        start = np.append(0, np.searchsorted(cuts, edge[:-1]) + 1)
        imbalances.append(np.abs(np.add.reduceat(flow, start)))
        rows.append(bars[inside][np.searchsorted(total, edge)])
    return np.concatenate(rows), np.concatenate(imbalances)
