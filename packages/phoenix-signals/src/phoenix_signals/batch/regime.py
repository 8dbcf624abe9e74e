"""Batch twins of `phoenix_signals.regime`: NaN where the streaming form takes or gives None."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phoenix_signals import regime
from phoenix_signals.batch.pressure import held, optional_column, standardized
from phoenix_signals.batch.rolling import percentile
from phoenix_signals.errors import InputError, size_error
from phoenix_signals.regime import CrowdingValue, FlowPressureValue, OiMode
from phoenix_signals.rolling import ZKind

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def crowding(
    funding_rate: ArrayLike,
    open_interest: ArrayLike,
    long_short_ratio: ArrayLike,
    *,
    crowding_threshold: float = 1.0,
    a1: float = 1.0,
    a2: float = 1.0,
    a3: float = 1.0,
    oi_mode: OiMode = "additive",
    funding_window_rows: int = 90,
    metrics_window_rows: int = 8640,
    min_count: int = 30,
    z_kind: ZKind = "median_mad",
    z_clip: float = 10.0,
) -> CrowdingValue[Floats]:
    """Twin of [Crowding][phoenix_signals.regime.Crowding].

    Units: C in standard deviations.
    Returns: CrowdingValue of float64 columns, one entry per row; NaN where the value is None;
        warm-up: `min_count` of each part whose weight is not 0.
    Raises: infinity, an open interest or ratio not above 0 raises InputError with the row. NaN
        stands for the stream's None, where that may be.

    >>> nothing = [np.nan] * 3
    >>> crowding(
    ...     [1e-4, 1e-4, 2e-4], nothing, nothing, a2=0.0, a3=0.0, funding_window_rows=5, min_count=2
    ... ).f3.tolist()
    [nan, 0.0, -1.0]
    """
    regime.Crowding(
        crowding_threshold, a1, a2, a3, oi_mode, funding_window_rows, metrics_window_rows,
        min_count, z_kind, z_clip,
    )  # fmt: skip
    rate = optional_column("funding_rate", funding_rate)
    interest = _positive("open_interest", open_interest, len(rate))
    ratio = _positive("long_short_ratio", long_short_ratio, len(rate))
    is_metrics = ~np.isnan(interest) | np.isnan(rate)
    change = np.full(len(rate), np.nan)
    level = interest[is_metrics]
    change[is_metrics] = np.log1p(
        np.diff(level, prepend=np.nan) / np.append(np.nan, level[:-1])[: len(level)]
    )
    funding_z = held(standardized(z_kind, rate, 0.0, funding_window_rows, min_count, z_clip))
    change_z = held(standardized(z_kind, change, 0.0, metrics_window_rows, min_count, z_clip))
    ratio_z = held(standardized(z_kind, np.log(ratio), 0.0, metrics_window_rows, min_count, z_clip))
    growth = change_z
    if oi_mode == "amplify":
        growth = np.sign(funding_z) * np.maximum(0.0, change_z)
    c = np.zeros(len(rate))
    for weight, part in ((a1, funding_z), (a3, ratio_z), (a2, growth)):
        if weight:
            c = c + weight * part
    f3 = np.where(c > crowding_threshold, -1.0, np.where(c < -crowding_threshold, 1.0, 0.0))
    return CrowdingValue(c, np.where(np.isnan(c), np.nan, f3), funding_z, change_z, ratio_z)


def taker_ratio(
    taker_ratio: ArrayLike,
    *,
    window_rows: int = 8640,
    min_count: int = 30,
    z_kind: ZKind = "median_mad",
    z_clip: float = 10.0,
) -> Floats:
    """Twin of [TakerRatio][phoenix_signals.regime.TakerRatio].

    Units: standard deviations; above 0 takers buy more than usual.
    Returns: float64, one value per row; NaN where the value is None; warm-up: `min_count` rows.
    Raises: infinity or a ratio not above 0 raises InputError with the row. NaN stands for the
        stream's None, where that may be.

    >>> taker_ratio([1.0, 1.0, 2.0], window_rows=5, min_count=2, z_kind="mean_std").round(4).tolist()
    [nan, 0.0, 1.4142]
    """
    regime.TakerRatio(window_rows, min_count, z_kind, z_clip)
    ratio = _positive("taker_ratio", taker_ratio)
    return standardized(z_kind, np.log(ratio), 0.0, window_rows, min_count, z_clip)


def toxicity_index(
    vpin: ArrayLike,
    spread: ArrayLike,
    min_scale: ArrayLike = 0.0,
    *,
    window_count: int = 360,
    min_count: int = 30,
    z_kind: ZKind = "median_mad",
    z_clip: float = 10.0,
) -> Floats:
    """Twin of [ToxicityIndex][phoenix_signals.regime.ToxicityIndex].

    Units: standard deviations; spread and `min_scale` (half a tick) in one unit.
    Returns: float64, one value per sample; NaN where the value is None; warm-up: `min_count`
        samples of each.
    Raises: a negative VPIN or spread, infinity raises InputError with the row. NaN stands for the
        stream's None, where that may be.

    >>> toxicity_index(
    ...     [0.2, 0.2, 0.5], [1.0] * 3, window_count=5, min_count=2, z_kind="mean_std"
    ... ).round(4).tolist()
    [nan, 0.0, 1.4142]
    """
    regime.ToxicityIndex(window_count, min_count, z_kind, z_clip)
    flow = _sizes("vpin", vpin)
    wide = _sizes("spread", spread, len(flow))
    return standardized(z_kind, flow, 0.0, window_count, min_count, z_clip) + standardized(
        z_kind, wide, min_scale, window_count, min_count, z_clip
    )


def flow_pressure(
    obi: ArrayLike,
    svi: ArrayLike,
    ofi: ArrayLike,
    is_toxic: ArrayLike,
    *,
    window_count: int = 360,
    min_count: int = 30,
    z_kind: ZKind = "median_mad",
    z_clip: float = 10.0,
) -> FlowPressureValue[Floats]:
    """Twin of [FlowPressure][phoenix_signals.regime.FlowPressure].

    Units: standard deviations; positive is up.
    Returns: FlowPressureValue of float64 columns, one row per sample; NaN where the value is
        None; warm-up: `min_count` samples of each.
    Raises: infinity raises InputError with the row. NaN stands for the stream's None, where that
        may be.

    >>> flow = [0.0, 0.0, 1.0]
    >>> flow_pressure(
    ...     flow, flow, flow, [0, 0, 1], window_count=5, min_count=2, z_kind="mean_std"
    ... ).f2.tolist()
    [nan, 0.0, 0.0]
    """
    regime.FlowPressure(window_count, min_count, z_kind, z_clip)
    toxic = optional_column("is_toxic", is_toxic)
    if not (np.isnan(toxic) | np.isin(toxic, (0.0, 1.0))).all():
        raise InputError("is_toxic must be 1, 0 or NaN on every row; NaN is unknown")
    zs = [
        standardized(
            z_kind, optional_column(name, x, len(toxic)), 0.0, window_count, min_count, z_clip
        )
        for name, x in (("obi", obi), ("svi", svi), ("ofi", ofi))
    ]
    total = zs[0] + zs[1] + zs[2]
    f2 = np.where(np.isnan(toxic) | np.isnan(total), np.nan, np.where(toxic > 0.0, 0.0, total))
    return FlowPressureValue(f2, zs[0], zs[1], zs[2])


def volatility_regimes(
    variance: ArrayLike,
    spread: ArrayLike,
    depth: ArrayLike,
    *,
    min_count: int = 30,
    spread_share: float = 0.95,
    depth_share: float = 0.05,
    variance_share: float = 0.90,
    hysteresis: float = 0.05,
) -> Floats:
    """Twin of [VolatilityRegimes][phoenix_signals.regime.VolatilityRegimes].

    Units: none; any unit that stays the same for each input.
    Returns: float64, one value per sample; NaN where the value is None; warm-up: `min_count`
        samples of the variance.
    Raises: a negative input, infinity raises InputError with the row. NaN stands for the stream's
        None, where that may be.

    >>> nothing = [np.nan] * 4
    >>> volatility_regimes([1, 3, 2, 9], nothing, nothing, min_count=2).tolist()
    [nan, 0.0, 0.0, 0.0]
    """
    regime.VolatilityRegimes(min_count, spread_share, depth_share, variance_share, hysteresis)
    rough = _ranks(-_sizes("variance", variance), min_count)
    wide = _ranks(-_sizes("spread", spread, len(rough)), min_count)
    thin = _ranks(_sizes("depth", depth, len(rough)), min_count)
    top = 1.0 - spread_share
    enters = (wide <= top) | (thin <= depth_share)
    leaves = (wide > top + hysteresis) & (np.isnan(thin) | (thin > depth_share + hysteresis))
    is_thin = _latched(enters, leaves)
    top = 1.0 - variance_share
    is_rough = _latched(rough <= top, rough > top + hysteresis)
    state = np.where(is_thin, 2.0, is_rough.astype(np.float64))
    return np.where(np.isnan(held(rough)), np.nan, state)


def _latched(enters: Flags, leaves: Flags) -> Flags:
    """A state that holds from where it is entered to where it is left."""
    event = np.where(enters, 1.0, np.where(leaves, 0.0, np.nan))
    latched: Flags = held(event) == 1.0
    return latched


def _ranks(x: Floats, min_count: int) -> Floats:
    """Share of all history at or below each number that is there."""
    known = ~np.isnan(x)
    out = np.full(len(x), np.nan)
    out[known] = percentile(x[known], min_count=min_count)
    return out


def _positive(name: str, values: ArrayLike, length: int | None = None) -> Floats:
    x = optional_column(name, values, length)
    if (x <= 0.0).any():
        row = int(np.argmax(x <= 0.0))
        raise InputError(
            f"{name} must be above 0 and finite (was {x[row]} at row {row}); pass NaN for none"
        )
    return x


def _sizes(name: str, values: ArrayLike, length: int | None = None) -> Floats:
    x = optional_column(name, values, length)
    if (x < 0.0).any():
        row = int(np.argmax(x < 0.0))
        raise size_error(name, f"{x[row]} at row {row}")
    return x
