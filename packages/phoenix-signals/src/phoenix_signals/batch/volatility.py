"""Batch twins of `phoenix_signals.volatility`."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phoenix_signals import volatility
from phoenix_signals.batch.alignment import hold
from phoenix_signals.batch.rolling import decayed_sum, moments, rolling_sum, zscore
from phoenix_signals.errors import InputError, column, time_column
from phoenix_signals.rolling import ZKind, ew_alpha
from phoenix_signals.volatility import COMPRESSION_RESOLUTION, GARMAN_KLASS, PARKINSON, yang_zhang_k

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bars = tuple[Floats, Floats, Floats, Floats]


def parkinson_variance(
    open_: ArrayLike, high: ArrayLike, low: ArrayLike, close: ArrayLike, *, window_bars: int
) -> Floats:
    """Twin of [ParkinsonVariance][phoenix_signals.volatility.ParkinsonVariance].

    Units: variance of log returns per bar.
    Returns: float64, one value per bar; NaN where the value is None; warm-up: `window_bars` bars.
    Raises: a bar with a price not above 0, or not low <= open, close <= high, raises InputError
        with the row.

    >>> parkinson_variance([1, 1], [1, 1], [1, 1], [1, 1], window_bars=2).tolist()
    [nan, 0.0]
    """
    volatility.ParkinsonVariance(window_bars)
    _, h, low_, _ = bar_columns(open_, high, low, close)
    u = log_ratio(h, low_)
    return rolling_sum(PARKINSON * (u * u), window_count=window_bars) / window_bars


def garman_klass_variance(
    open_: ArrayLike, high: ArrayLike, low: ArrayLike, close: ArrayLike, *, window_bars: int
) -> Floats:
    """Twin of [GarmanKlassVariance][phoenix_signals.volatility.GarmanKlassVariance].

    Units: variance of log returns per bar.
    Returns: float64, one value per bar; NaN where the value is None; warm-up: `window_bars` bars.
    Raises: a bar with a price not above 0, or not low <= open, close <= high, raises InputError
        with the row.

    >>> garman_klass_variance([1, 1], [1, 1], [1, 1], [1, 1], window_bars=2).tolist()
    [nan, 0.0]
    """
    volatility.GarmanKlassVariance(window_bars)
    variances = _garman_klass(bar_columns(open_, high, low, close))
    return rolling_sum(variances, window_count=window_bars) / window_bars


def rogers_satchell_variance(
    open_: ArrayLike, high: ArrayLike, low: ArrayLike, close: ArrayLike, *, window_bars: int
) -> Floats:
    """Twin of [RogersSatchellVariance][phoenix_signals.volatility.RogersSatchellVariance].

    Units: variance of log returns per bar.
    Returns: float64, one value per bar; NaN where the value is None; warm-up: `window_bars` bars.
    Raises: a bar with a price not above 0, or not low <= open, close <= high, raises InputError
        with the row.

    >>> rogers_satchell_variance([1, 1], [1, 1], [1, 1], [1, 1], window_bars=2).tolist()
    [nan, 0.0]
    """
    volatility.RogersSatchellVariance(window_bars)
    variances = _rogers_satchell(bar_columns(open_, high, low, close))
    return rolling_sum(variances, window_count=window_bars) / window_bars


def yang_zhang_variance(
    ts_ns: ArrayLike,
    open_: ArrayLike,
    high: ArrayLike,
    low: ArrayLike,
    close: ArrayLike,
    *,
    window_sessions: int,
    session_ns: int | None = None,
) -> Floats:
    """Twin of [YangZhangVariance][phoenix_signals.volatility.YangZhangVariance].

    Units: variance of log returns per session.
    Returns: float64, one value per bar; NaN where the value is None; warm-up: n + 1 sessions.
    Raises: time going back, or a bar with a price not above 0, or not low <= open, close <= high,
        raises InputError with the row; window_sessions below 2 raises ParameterError.

    >>> flat = [1.0, 1.0, 1.0]
    >>> yang_zhang_variance([1, 2, 3], flat, flat, flat, flat, window_sessions=2).tolist()
    [nan, nan, 0.0]
    """
    volatility.YangZhangVariance(window_sessions, session_ns)
    ts = time_column(ts_ns)
    bars = bar_columns(open_, high, low, close, len(ts))
    known = np.arange(len(ts))
    if session_ns is not None:
        bars, known = _sessions(ts, bars, session_ns)
    n = window_sessions
    o, _, _, c = bars
    if len(o) <= n:
        return np.full(len(ts), np.nan)
    _, _, gap_m2, _ = moments(log_ratio(o[1:], c[:-1]), n)
    _, _, move_m2, _ = moments(log_ratio(c, o), n)
    gaps, moves = gap_m2[n - 1 :] / n, move_m2[n:] / n
    ranges = rolling_sum(_rogers_satchell(bars), window_count=n)[n:]
    k = yang_zhang_k(n)
    values = (n / (n - 1)) * (gaps + k * moves) + (1.0 - k) * (ranges / n)
    return hold(known[n:], values, len(ts))


def _sessions(ts: Ints, bars: Bars, session_ns: int) -> tuple[Bars, Ints]:
    """Bars merged into closed sessions, and the row at which each is known."""
    if len(ts) == 0:
        return bars, ts
    first = np.flatnonzero(np.diff((ts - 1) // session_ns, prepend=(ts[0] - 1) // session_ns - 1))
    o, h, low, c = bars
    merged = (
        o[first],
        np.maximum.reduceat(h, first),
        np.minimum.reduceat(low, first),
        c[np.append(first[1:], len(ts)) - 1],
    )
    open_o, open_h, open_l, open_c = (values[:-1] for values in merged)  # the last is still open
    return (open_o, open_h, open_l, open_c), first[1:]


def close_to_close_variance(close: ArrayLike, *, window_bars: int) -> Floats:
    """Twin of [CloseToCloseVariance][phoenix_signals.volatility.CloseToCloseVariance].

    Units: variance of log returns per bar.
    Returns: float64, one value per bar; NaN where the value is None; warm-up: `window_bars` + 1
        closes.
    Raises: a close not above 0, NaN or infinite raises InputError with the row.

    >>> close_to_close_variance([100.0, 101.0, 100.0], window_bars=2).round(8).tolist()
    [nan, nan, 0.00019802]
    """
    volatility.CloseToCloseVariance(window_bars)
    c = price_column("close", close)
    n = window_bars
    values = np.full(len(c), np.nan)
    _, _, m2, _ = moments(log_ratio(c[1:], c[:-1]), n)
    values[n:] = (m2 / n)[n - 1 :] * (n / (n - 1))
    return values


def ewma_variance(close: ArrayLike, *, half_life_bars: float, min_count: int = 1) -> Floats:
    """Twin of [EwmaVariance][phoenix_signals.volatility.EwmaVariance].

    Units: variance of log returns per bar; the half-life counts bars.
    Returns: float64, one value per bar; NaN where the value is None; warm-up: `min_count` returns
        (default 1).
    Raises: a close not above 0, NaN or infinite raises InputError with the row; a half-life of 0
        or below raises ParameterError.

    >>> ewma_variance([100.0, 101.0, 101.0], half_life_bars=1).round(8).tolist()
    [nan, 9.901e-05, 4.95e-05]
    """
    volatility.EwmaVariance(half_life_bars, min_count)
    c = price_column("close", close)
    r = log_ratio(c[1:], c[:-1])
    mean = np.append(np.nan, _ew_mean(r * r, half_life_bars))[: len(c)]
    mean[:min_count] = np.nan
    return mean


def _ew_mean(x: Floats, half_life: float) -> Floats:
    """Exponentially weighted mean; the first value starts it, and a constant stays exact."""
    alpha = ew_alpha(half_life)
    return x[:1] + decayed_sum(alpha * (x - x[:1]), 1.0 - alpha)


def volatility_compression(
    open_: ArrayLike,
    high: ArrayLike,
    low: ArrayLike,
    close: ArrayLike,
    *,
    half_life_short_bars: float,
    half_life_long_bars: float,
    min_count: int | None = None,
) -> Floats:
    """Twin of [VolatilityCompression][phoenix_signals.volatility.VolatilityCompression].

    Units: none.
    Returns: float64, one value per bar; NaN where the value is None; warm-up: `min_count` bars
        (default: the long half-life, rounded up).
    Raises: a bar with a price not above 0, or not low <= open, close <= high, raises InputError
        with the row; half-lives not 0 < short < long raise ParameterError.

    >>> volatility_compression(
    ...     [1], [1], [1], [1], half_life_short_bars=1, half_life_long_bars=2, min_count=1
    ... ).tolist()
    [nan]
    """
    least = volatility.VolatilityCompression(
        half_life_short_bars, half_life_long_bars, min_count
    ).min_count
    variances = _garman_klass(bar_columns(open_, high, low, close))
    short = _ew_mean(variances, half_life_short_bars)
    long = _ew_mean(variances, half_life_long_bars)
    ready = (short > 0) & (long > 0) & (np.arange(1, len(short) + 1) >= least)
    values: Floats = np.full(len(short), np.nan)
    values[ready] = 0.5 * np.log(short[ready] / long[ready])
    return values


def compression_factor(
    open_: ArrayLike,
    high: ArrayLike,
    low: ArrayLike,
    close: ArrayLike,
    *,
    half_life_short_bars: float,
    half_life_long_bars: float,
    window_bars: int,
    min_count: int = 30,
    z_kind: ZKind = "median_mad",
    z_clip: float = 10.0,
) -> Floats:
    """Twin of [CompressionFactor][phoenix_signals.volatility.CompressionFactor].

    Units: none.
    Returns: float64, one value per bar; NaN where the value is None; warm-up: that of VC, then
        `min_count` values of it.
    Raises: as VolatilityCompression and the z-score of z_kind.

    >>> flat = [1.0, 1.0]
    >>> compression_factor(
    ...     flat, flat, flat, flat, half_life_short_bars=1, half_life_long_bars=2, window_bars=30
    ... ).tolist()
    [nan, nan]
    """
    volatility.CompressionFactor(
        half_life_short_bars, half_life_long_bars, window_bars, min_count, z_kind, z_clip
    )
    compression = volatility_compression(
        open_,
        high,
        low,
        close,
        half_life_short_bars=half_life_short_bars,
        half_life_long_bars=half_life_long_bars,
    )
    known = ~np.isnan(compression)
    values: Floats = np.full(len(compression), np.nan)
    values[known] = zscore(
        z_kind,
        -compression[known],
        COMPRESSION_RESOLUTION,
        window_count=window_bars,
        min_count=min_count,
        z_clip=z_clip,
    )
    return values


def log_ratio(a: Floats, b: Floats) -> Floats:
    """ln(a / b) without loss of digits when a is close to b.

    >>> log_ratio(np.array([1.0]), np.array([1.0])).tolist()
    [0.0]
    """
    return np.log1p((a - b) / b)


def _garman_klass(bars: Bars) -> Floats:
    o, h, low, c = bars
    u, r = log_ratio(h, low), log_ratio(c, o)
    return 0.5 * (u * u) - GARMAN_KLASS * (r * r)


def _rogers_satchell(bars: Bars) -> Floats:
    o, h, low, c = bars
    return log_ratio(h, o) * log_ratio(h, c) + log_ratio(low, o) * log_ratio(low, c)


def price_column(name: str, values: ArrayLike, length: int | None = None) -> Floats:
    """A checked column of prices."""
    prices = column(name, values, length)
    if (prices <= 0).any():
        row = int(np.argmax(prices <= 0))
        raise InputError(f"{name} must be above 0 (was {prices[row]} at row {row}); fix its source")
    return prices


def bar_columns(
    open_: ArrayLike, high: ArrayLike, low: ArrayLike, close: ArrayLike, length: int | None = None
) -> Bars:
    """Checked columns of bars."""
    o = column("open_", open_, length)
    h, low_, c = (
        column(name, values, len(o))
        for name, values in (("high", high), ("low", low), ("close", close))
    )
    bad = (low_ <= 0) | (low_ > np.minimum(o, c)) | (h < np.maximum(o, c))
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            "a bar must have 0 < low <= open, close <= high "
            f"(was open {o[row]}, high {h[row]}, low {low_[row]}, close {c[row]} at row {row}); "
            "fix its source"
        )
    return o, h, low_, c
