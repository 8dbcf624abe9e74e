"""Batch twins of `phoenix_signals.pressure`: one row per bucket or bar, NaN where there is None.

An input that the streaming form takes as None is NaN here: it enters no window.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phoenix_signals import pressure
from phoenix_signals.batch.rolling import scale_column, zscore, zscore_mean_std
from phoenix_signals.errors import InputError, column, share_error, size_error
from phoenix_signals.pressure import (
    ExhaustionValue,
    LiquidityMode,
    PressureValue,
    PressureZKind,
)
from phoenix_signals.rolling import ZKind

Floats = NDArray[np.float64]


def liquidation_pressure(
    impulse: ArrayLike,
    liquidity: ArrayLike,
    min_scale: ArrayLike = 0.0,
    *,
    window_count: int = 600,
    min_count: int = 30,
    z_kind: PressureZKind = "median_mad",
    z_clip: float = 10.0,
    lambda_ld: float = 1.0,
    liquidity_mode: LiquidityMode = "signed",
) -> PressureValue[Floats]:
    """Twin of [LiquidationPressure][phoenix_signals.pressure.LiquidationPressure].

    Units: impulse in quote currency; liquidity and `min_scale` in one unit of the caller's
        choice, `min_scale` being half a tick in that unit (it keeps the z of a spread that is
        pinned at one tick from exploding). LPI in standard deviations.
    Returns: PressureValue of float64 columns, one row per bucket; NaN where the value is None;
        warm-up: `min_count` buckets, for P and for L each.
    Raises: infinity raises InputError with the row; liquidity_mode other than signed or additive
        raises ParameterError. NaN stands for the stream's None, where that may be.

    >>> impulse, spread = [0.0, 10.0, -10.0, 50.0], [1e-4, 1e-4, 1e-4, 3e-4]
    >>> liquidation_pressure(impulse, spread, window_count=10, min_count=3).lpi.round(3).tolist()
    [nan, nan, -0.674, 13.035]
    """
    pressure.LiquidationPressure(window_count, min_count, z_kind, z_clip, lambda_ld, liquidity_mode)
    p = standardized(z_kind, column("impulse", impulse), 0.0, window_count, min_count, z_clip)
    thin = optional_column("liquidity", liquidity, len(p))
    ld = standardized(z_kind, thin, min_scale, window_count, min_count, z_clip)
    if liquidity_mode == "additive":
        lpi = p + lambda_ld * ld
    else:
        lpi = p + lambda_ld * np.sign(p) * np.maximum(0.0, ld)
    return PressureValue(lpi, p, ld)


def exhaustion(
    lpi: ArrayLike,
    relief: ArrayLike,
    *,
    window_count: int = 600,
    min_count: int = 30,
    z_kind: PressureZKind = "median_mad",
    z_clip: float = 10.0,
) -> ExhaustionValue[Floats]:
    """Twin of [Exhaustion][phoenix_signals.pressure.Exhaustion].

    Units: standard deviations; higher means more exhausted.
    Returns: ExhaustionValue of float64 columns, one row per bucket; NaN where the value is None;
        warm-up: an LPI in this bucket and in the one before, `min_count` such changes, and a
        relief.
    Raises: infinity raises InputError with the row. NaN stands for the stream's None, where that
        may be.

    >>> lpi, relief = [0.0, 4.0, 5.0, 1.0], [0.5] * 4
    >>> exhaustion(lpi, relief, window_count=10, min_count=2).exh.round(3).tolist()
    [nan, nan, 1.174, 1.624]
    """
    pressure.Exhaustion(window_count, min_count, z_kind, z_clip)
    index = optional_column("lpi", lpi)
    back = optional_column("relief", relief, len(index))
    delta = np.diff(index, prepend=np.nan)
    z = standardized(z_kind, delta, 0.0, window_count, min_count, z_clip)
    return ExhaustionValue(back - np.sign(index) * z, delta)


def leverage_prior(
    open_interest: ArrayLike,
    funding_rate: ArrayLike,
    *,
    oi_window_rows: int = 8640,
    funding_window_rows: int = 90,
    min_count: int = 30,
    z_kind: PressureZKind = "median_mad",
    z_clip: float = 10.0,
    lambda_f: float = 1.0,
) -> Floats:
    """Twin of [LeveragePrior][phoenix_signals.pressure.LeveragePrior].

    Units: standard deviations.
    Returns: float64, one value per row; NaN where the value is None; warm-up: `min_count` rows of
        each.
    Raises: infinity or a negative open interest raises InputError with the row. NaN stands for
        the stream's None, where that may be.

    >>> leverage_prior(
    ...     [100.0, 110.0, 120.0], [np.nan] * 3, oi_window_rows=5, min_count=2,
    ...     z_kind="mean_std", lambda_f=0.0,
    ... ).round(4).tolist()
    [nan, 1.0, 1.2247]
    """
    pressure.LeveragePrior(oi_window_rows, funding_window_rows, min_count, z_kind, z_clip, lambda_f)
    oi = optional_column("open_interest", open_interest)
    if (oi < 0.0).any():
        row = int(np.argmax(oi < 0.0))
        raise size_error("open_interest", f"{oi[row]} at row {row}")
    rate = optional_column("funding_rate", funding_rate, len(oi))
    oi_z = held(standardized(z_kind, oi, 0.0, oi_window_rows, min_count, z_clip))
    if lambda_f == 0.0:
        return oi_z
    funding_z = held(standardized(z_kind, rate, 0.0, funding_window_rows, min_count, z_clip))
    return oi_z + lambda_f * funding_z


def composite_lpi(
    fsi: ArrayLike,
    imbalance: ArrayLike,
    ldr: ArrayLike,
    *,
    window_count: int = 100,
    min_count: int = 30,
    z_clip: float = 10.0,
) -> Floats:
    """Twin of [CompositeLpi][phoenix_signals.pressure.CompositeLpi].

    Units: none; lpi lies in [0, 1]. Without depletion (LDR >= 1) it cannot pass 0.7.
    Returns: float64, one value per bucket; NaN where the value is None; warm-up: `min_count`
        buckets.
    Raises: FSI or imbalance outside [0, 1], LDR negative or not finite raises InputError with the
        row. NaN stands for the stream's None, where that may be.

    >>> fsi, imbalance, ldr = [0.5, 0.5, 0.9], [0.0, 0.0, 0.8], [0.5] * 3
    >>> composite_lpi(fsi, imbalance, ldr, window_count=10, min_count=2).round(4).tolist()
    [nan, 0.15, 0.763]
    """
    pressure.CompositeLpi(window_count, min_count, z_clip)
    forced = _shares("fsi", column("fsi", fsi))
    one_sided = _shares("imbalance", column("imbalance", imbalance, len(forced)))
    depletion = _sizes("ldr", optional_column("ldr", ldr, len(forced)))
    z = zscore_mean_std(forced, window_count=window_count, min_count=min_count, z_clip=z_clip)
    return (
        0.6 * np.tanh(np.maximum(0.0, z)) + 0.3 * np.maximum(0.0, 1.0 - depletion) + 0.1 * one_sided
    )


def bar_lpi(
    volume: ArrayLike,
    spread_bps: ArrayLike,
    imbalance: ArrayLike,
    min_scale: ArrayLike = 0.0,
    *,
    lookback_bars: int = 60,
    min_count: int = 30,
    z_kind: ZKind = "median_mad",
    z_clip: float = 10.0,
) -> Floats:
    """Twin of [BarLpi][phoenix_signals.pressure.BarLpi].

    Units: volume in base units, spread in basis points of the mid, `min_scale` (half a tick over
        the mid) in basis points too; imbalance in [-1, 1]; lpi in standard deviations.
    Returns: float64, one value per bar; NaN where the value is None; warm-up: `min_count` bars
        with volume, and as many with a spread.
    Raises: a negative volume or spread, infinity, or an imbalance outside [-1, 1] raises
        InputError with the row. NaN stands for the stream's None, where that may be.

    >>> volume, spread, imbalance = [1.0, 2.0, 8.0], [1.0] * 3, [0.5] * 3
    >>> bar_lpi(volume, spread, imbalance, lookback_bars=10, min_count=2).round(4).tolist()
    [nan, 0.3372, 0.9138]
    """
    pressure.BarLpi(lookback_bars, min_count, z_kind, z_clip)
    traded = _sizes("volume", column("volume", volume))
    spread = _sizes("spread_bps", optional_column("spread_bps", spread_bps, len(traded)))
    book = optional_column("imbalance", imbalance, len(traded))
    outside = np.abs(book) > 1.0
    if outside.any():
        row = int(np.argmax(outside))
        raise InputError(f"imbalance must lie in [-1, 1] (was {book[row]} at row {row})")
    volume_z = standardized(z_kind, np.log1p(traded), 0.0, lookback_bars, min_count, z_clip)
    spread_z = standardized(z_kind, spread, min_scale, lookback_bars, min_count, z_clip)
    return book * np.maximum(0.0, volume_z) / (1.0 + np.maximum(0.0, spread_z))


def standardized(
    kind: PressureZKind,
    x: Floats,
    min_scale: ArrayLike,
    window_count: int,
    min_count: int,
    z_clip: float,
) -> Floats:
    """z of the rows that are there, over windows of rows that are there; NaN at the others."""
    if kind == "none":
        return x
    known = ~np.isnan(x)
    scales = scale_column(min_scale, len(x))
    out = np.full(len(x), np.nan)
    out[known] = zscore(
        kind,
        x[known],
        scales[known],
        window_count=window_count,
        min_count=min_count,
        z_clip=z_clip,
    )
    return out


def held(x: Floats) -> Floats:
    """The last number at or before each row, NaN before the first.

    >>> held(np.array([np.nan, 1.0, np.nan])).tolist()
    [nan, 1.0, 1.0]
    """
    if len(x) == 0:
        return x
    last = np.maximum.accumulate(np.where(np.isnan(x), 0, np.arange(len(x))))
    return x[last]


def optional_column(name: str, values: ArrayLike, length: int | None = None) -> Floats:
    """A batch input as float64 in which NaN stands for unknown; infinity is refused."""
    array = np.asarray(values, dtype=np.float64)
    column(name, np.where(np.isnan(array), 0.0, array), length)
    return array


def _shares(name: str, x: Floats) -> Floats:
    bad = (x < 0.0) | (x > 1.0)
    if bad.any():
        row = int(np.argmax(bad))
        raise share_error(name, f"{x[row]} at row {row}")
    return x


def _sizes(name: str, x: Floats) -> Floats:
    bad = x < 0.0
    if bad.any():
        row = int(np.argmax(bad))
        raise size_error(name, f"{x[row]} at row {row}")
    return x
