"""Rolling statistics: the ground that every window in this package stands on.

- Moments ([RollingSum][], [RollingMeanVariance][], [EwMeanVariance][]): exact sums, mean and
  population variance of the last n values; mean and variance weighted by half-life.
- Order statistics ([RollingMedianMad][], [Percentile][]): exact median and median absolute deviation;
  share of history at or below the current value.
- z-scores ([ZScoreMeanStd][], [ZScoreMedianMad][]) and the choice between them, [zscore][].

All count observations, never time, and all refuse NaN and infinity with `InputError`. The current
value is in its window.
"""

from phoenix_signals.rolling.moments import (
    EwMeanVariance,
    MeanVariance,
    RollingMeanVariance,
    RollingSum,
    ew_alpha,
)
from phoenix_signals.rolling.order_statistics import (
    MedianMad,
    Percentile,
    RollingMedianMad,
    median_mad,
)
from phoenix_signals.rolling.zscores import (
    MAD_TO_SD,
    SD_SHARE,
    ZKind,
    ZScoreMeanStd,
    ZScoreMedianMad,
    zscore,
)

__all__ = [
    "MAD_TO_SD",
    "SD_SHARE",
    "EwMeanVariance",
    "MeanVariance",
    "MedianMad",
    "Percentile",
    "RollingMeanVariance",
    "RollingMedianMad",
    "RollingSum",
    "ZKind",
    "ZScoreMeanStd",
    "ZScoreMedianMad",
    "ew_alpha",
    "median_mad",
    "zscore",
]
