"""Bar LPI: book imbalance at a close, louder on volume, softer on a wide spread."""

from __future__ import annotations

import math

from phoenix_signals.errors import NUMBER_MAX, InputError, check_count, size_error
from phoenix_signals.estimator import Estimator
from phoenix_signals.rolling import ZKind, zscore


class BarLpi(Estimator):
    """Bar LPI: book imbalance at a bar's close, louder on volume, softer on a wide spread.

    Formula:
        lpi = imbalance max(0, z(ln(1 + volume))) / (1 + max(0, z(spread_bps))). Half of all bars
        have a volume below their median and so give 0.
    Units: volume in base units, spread in basis points of the mid, `min_scale` (half a tick over
        the mid) in basis points too; imbalance in [-1, 1]; lpi in standard deviations.
    Clock: one bar close per update, with the quote known then. Every bar counts, also one on which
        a strategy's gate refuses to act.
    Warm-up: `min_count` bars with volume, and as many with a spread.
    Missing data: spread or imbalance None (no quote, or stale) gives None; the volume still enters
        its window, a spread that is there enters its own.
    Errors: a negative volume or spread, NaN, or an imbalance outside [-1, 1] raises `InputError`,
        the state stays.
    Symmetry: imbalance -> -imbalance negates lpi.

    Example:
        >>> bar = BarLpi(lookback_bars=10, min_count=2)
        >>> for volume in (1.0, 2.0, 8.0):
        ...     bar.update(volume, 1.0, 0.5)
        >>> round(bar.value, 4)
        0.9138

    Source: design note "signals", Pressure indices, 3.
    """

    ID = "bar_lpi"
    VERSION = 1
    EXAMPLES = (
        {"lookback_bars": 20, "min_count": 5},
        {"lookback_bars": 12, "min_count": 2, "z_kind": "mean_std", "z_clip": 2.0},
    )

    __slots__ = (
        "_spread", "_volume", "lookback_bars", "min_count", "spread_z", "value", "volume_z",
        "z_clip", "z_kind",
    )  # fmt: skip

    def __init__(
        self,
        lookback_bars: int = 60,
        min_count: int = 30,
        z_kind: ZKind = "median_mad",
        z_clip: float = 10.0,
    ) -> None:
        self.lookback_bars = check_count("lookback_bars", lookback_bars, 2, "60")
        self.min_count = min_count
        self.z_kind = z_kind
        self.z_clip = z_clip
        self._volume = zscore(z_kind, lookback_bars, min_count, z_clip)
        self._spread = zscore(z_kind, lookback_bars, min_count, z_clip)
        self.volume_z: float | None = None
        self.spread_z: float | None = None
        self.value: float | None = None

    def update(
        self,
        volume: float,
        spread_bps: float | None,
        imbalance: float | None,
        min_scale: float = 0.0,
    ) -> None:
        """Take one closed bar."""
        if not 0.0 <= volume < NUMBER_MAX:
            raise size_error("volume", volume)
        if spread_bps is not None and not 0.0 <= spread_bps < NUMBER_MAX:
            raise size_error("spread_bps", spread_bps)
        if imbalance is not None and not -1.0 <= imbalance <= 1.0:
            raise InputError(
                f"imbalance must lie in [-1, 1] (was {imbalance}); divide by the total"
            )
        if not 0.0 <= min_scale < NUMBER_MAX:
            raise size_error("min_scale", min_scale)
        self._volume.update(math.log1p(volume))
        self.volume_z = volume_z = self._volume.value
        spread_z = None
        if spread_bps is not None:
            self._spread.update(spread_bps, min_scale)
            spread_z = self._spread.value
        self.spread_z = spread_z
        if volume_z is None or spread_z is None or imbalance is None:
            self.value = None
            return
        self.value = imbalance * max(0.0, volume_z) / (1.0 + max(0.0, spread_z))
