"""Compression: short volatility against long, and how unusual that is."""

from __future__ import annotations

import math

from phoenix_signals.errors import ParameterError, check_count, check_positive
from phoenix_signals.estimator import Estimator
from phoenix_signals.rolling import ZKind, ew_alpha, zscore
from phoenix_signals.volatility.bars import check_bar, garman_klass

COMPRESSION_RESOLUTION = 1e-9
"""Least scale of the z of a compression: a relative difference below it is rounding."""


class VolatilityCompression(Estimator):
    """Volatility compression VC: the log of short against long volatility.

    Formula:
        VC = ln(sigma_short / sigma_long), both roots of exponentially weighted means (by
        half-life) of the Garman-Klass variance of single bars; below 0 the market is compressed.
    Units: none.
    Clock: bars at their close; half-lives count bars.
    Warm-up: `min_count` bars (default: the long half-life, rounded up).
    Missing data: None while either volatility is 0.
    Errors: a bar with a price not above 0, or not low <= open, close <= high, raises `InputError`;
        half-lives not 0 < short < long raise `ParameterError`.

    Example:
        >>> compression = VolatilityCompression(half_life_short_bars=1, half_life_long_bars=4)
        >>> for half_range in (2.0, 2.0, 2.0, 1.0, 0.5):
        ...     compression.update(100.0, 100.0 + half_range, 100.0 - half_range, 100.0)
        >>> round(compression.value, 4)
        -0.3904

    Source: design note "signals", Volatility from bars.
    """

    ID = "volatility_compression"
    VERSION = 1
    EXAMPLES = (
        {"half_life_short_bars": 3, "half_life_long_bars": 12},
        {"half_life_short_bars": 10.5, "half_life_long_bars": 60, "min_count": 20},
    )

    __slots__ = (
        "_alpha_long", "_alpha_short", "_count", "_long", "_short", "half_life_long_bars",
        "half_life_short_bars", "min_count",
    )  # fmt: skip

    def __init__(
        self, half_life_short_bars: float, half_life_long_bars: float, min_count: int | None = None
    ) -> None:
        self.half_life_short_bars = check_positive(
            "half_life_short_bars", half_life_short_bars, "30"
        )
        self.half_life_long_bars = check_positive("half_life_long_bars", half_life_long_bars, "360")
        if half_life_short_bars >= half_life_long_bars:
            raise ParameterError(
                f"half_life_short_bars must be below half_life_long_bars {half_life_long_bars} "
                f"(was {half_life_short_bars}); typical: 30 and 360"
            )
        if min_count is None:
            min_count = max(1, math.ceil(half_life_long_bars))
        self.min_count = check_count("min_count", min_count, 1, "the long half-life")
        self._alpha_short = ew_alpha(half_life_short_bars)
        self._alpha_long = ew_alpha(half_life_long_bars)
        self._short = self._long = 0.0
        self._count = 0

    def update(self, open_: float, high: float, low: float, close: float) -> None:
        """Take a bar."""
        check_bar(open_, high, low, close)
        variance = garman_klass(open_, high, low, close)
        if self._count:
            self._short += self._alpha_short * (variance - self._short)
            self._long += self._alpha_long * (variance - self._long)
        else:
            self._short = self._long = variance
        self._count += 1

    @property
    def value(self) -> float | None:
        """VC, None during warm-up and while a volatility is 0."""
        if self._count < self.min_count or self._short <= 0.0 or self._long <= 0.0:
            return None
        return 0.5 * math.log(self._short / self._long)


class CompressionFactor(Estimator):
    """Compression factor F1: how unusual the present compression is.

    Formula:
        F1 = z(-VC), VC as `VolatilityCompression`, its scale at least 1e-9; high when volatility is
        compressed.
    Units: none.
    Clock: bars at their close; windows and half-lives count bars.
    Warm-up: that of VC, then `min_count` values of it.
    Missing data: bars on which VC is None do not enter the window and give None.
    Errors: as `VolatilityCompression` and the z-score of `z_kind`.

    Example:
        >>> factor = CompressionFactor(1, 4, window_bars=5, min_count=2, z_kind="mean_std")
        >>> for half_range in (2.0, 2.0, 2.0, 2.0, 1.0):
        ...     factor.update(100.0, 100.0 + half_range, 100.0 - half_range, 100.0)
        >>> round(factor.value, 4)
        1.0

    Source: design note "signals", Volatility from bars.
    """

    ID = "compression_factor"
    VERSION = 1
    EXAMPLES = (
        {
            "half_life_short_bars": 3,
            "half_life_long_bars": 12,
            "window_bars": 20,
            "min_count": 5,
        },
        {
            "half_life_short_bars": 3,
            "half_life_long_bars": 12,
            "window_bars": 20,
            "min_count": 5,
            "z_kind": "mean_std",
        },
    )

    __slots__ = (
        "_compression", "_z", "half_life_long_bars", "half_life_short_bars", "min_count", "value",
        "window_bars", "z_clip", "z_kind",
    )  # fmt: skip

    def __init__(
        self,
        half_life_short_bars: float,
        half_life_long_bars: float,
        window_bars: int,
        min_count: int = 30,
        z_kind: ZKind = "median_mad",
        z_clip: float = 10.0,
    ) -> None:
        self.half_life_short_bars = half_life_short_bars
        self.half_life_long_bars = half_life_long_bars
        self.window_bars = check_count("window_bars", window_bars, 2, "1440")
        self.min_count = min_count
        self.z_kind = z_kind
        self.z_clip = z_clip
        self._compression = VolatilityCompression(half_life_short_bars, half_life_long_bars)
        self._z = zscore(z_kind, window_bars, min_count, z_clip)
        self.value: float | None = None

    def update(self, open_: float, high: float, low: float, close: float) -> None:
        """Take a bar."""
        self._compression.update(open_, high, low, close)
        compression = self._compression.value
        if compression is None:
            self.value = None
            return
        self._z.update(-compression, COMPRESSION_RESOLUTION)
        self.value = self._z.value
