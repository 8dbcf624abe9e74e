"""Batch twins: one function per estimator, named by its ID, over whole columns.

A twin takes the arguments of `update` as columns, in the same order and under the same names, then
the constructor arguments by name, and returns one value per row, NaN where the estimator's value is
None. Counts and boundaries are the same exactly, values to 1e-12 relative.
"""

from phoenix_signals.batch.clocks import Buckets, notional_clock, time_clock, volume_clock
from phoenix_signals.batch.covariance import (
    ew_covariance,
    hayashi_yoshida,
    rolling_covariance,
    shrinkage_covariance,
)
from phoenix_signals.batch.fusion import ensemble_fusion, kalman_fusion
from phoenix_signals.batch.rolling import (
    ew_mean_variance,
    percentile,
    rolling_mean_variance,
    rolling_median_mad,
    zscore,
    zscore_mean_std,
    zscore_median_mad,
)

__all__ = [
    "Buckets",
    "ensemble_fusion",
    "ew_covariance",
    "ew_mean_variance",
    "hayashi_yoshida",
    "kalman_fusion",
    "notional_clock",
    "percentile",
    "rolling_covariance",
    "rolling_mean_variance",
    "rolling_median_mad",
    "shrinkage_covariance",
    "time_clock",
    "volume_clock",
    "zscore",
    "zscore_mean_std",
    "zscore_median_mad",
]
