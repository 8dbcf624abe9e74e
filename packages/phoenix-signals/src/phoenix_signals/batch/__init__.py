"""Batch twins: one function per estimator, named by its ID, over whole columns.

A twin takes the arguments of `update` as columns, in the same order and under the same names, then
the constructor arguments by name, and returns one value per row, NaN where the estimator's value is
None. Counts and boundaries are the same exactly, values to 1e-12 relative.
"""

from phoenix_signals.batch.alignment import hold, quote_before
from phoenix_signals.batch.bar import bar_lpi_engine
from phoenix_signals.batch.clocks import Buckets, notional, notional_clock, time_clock, volume_clock
from phoenix_signals.batch.columns import Bars, Depth, Funding, Metrics, Quotes, Trades
from phoenix_signals.batch.composite import composite_lpi_engine
from phoenix_signals.batch.covariance import (
    ew_covariance,
    hayashi_yoshida,
    hayashi_yoshida_raw,
    rolling_covariance,
    shrinkage_covariance,
)
from phoenix_signals.batch.fusion import ensemble_fusion, kalman_fusion
from phoenix_signals.batch.liquidity import (
    depth_within,
    ldr,
    nobi,
    quoted_depth,
    source_age,
    spread_bps,
)
from phoenix_signals.batch.lpi import lpi_engine
from phoenix_signals.batch.orderflow import (
    fit_micro_price,
    fsi,
    micro_price,
    obi,
    ofi,
    ofi_sum,
    svi,
    weighted_mid,
)
from phoenix_signals.batch.pressure import (
    bar_lpi,
    composite_lpi,
    exhaustion,
    leverage_prior,
    liquidation_pressure,
)
from phoenix_signals.batch.realized import har_composite, realized_correlation, realized_measures
from phoenix_signals.batch.regime import (
    crowding,
    flow_pressure,
    taker_ratio,
    toxicity_index,
    volatility_regimes,
)
from phoenix_signals.batch.rolling import (
    ew_mean_variance,
    percentile,
    rolling_mean_variance,
    rolling_median_mad,
    rolling_sum,
    zscore,
    zscore_mean_std,
    zscore_median_mad,
)
from phoenix_signals.batch.toxicity import bulk_vpin, vpin, vpin_of_buckets
from phoenix_signals.batch.toxicity_volatility import (
    toxicity_volatility_engine,
    toxicity_volatility_features,
)
from phoenix_signals.batch.volatility import (
    close_to_close_variance,
    compression_factor,
    ewma_variance,
    garman_klass_variance,
    parkinson_variance,
    rogers_satchell_variance,
    volatility_compression,
    yang_zhang_variance,
)

__all__ = [
    "Bars",
    "Buckets",
    "Depth",
    "Funding",
    "Metrics",
    "Quotes",
    "Trades",
    "bar_lpi",
    "bar_lpi_engine",
    "bulk_vpin",
    "close_to_close_variance",
    "composite_lpi",
    "composite_lpi_engine",
    "compression_factor",
    "crowding",
    "depth_within",
    "ensemble_fusion",
    "ew_covariance",
    "ew_mean_variance",
    "ewma_variance",
    "exhaustion",
    "fit_micro_price",
    "flow_pressure",
    "fsi",
    "garman_klass_variance",
    "har_composite",
    "hayashi_yoshida",
    "hayashi_yoshida_raw",
    "hold",
    "kalman_fusion",
    "ldr",
    "leverage_prior",
    "liquidation_pressure",
    "lpi_engine",
    "micro_price",
    "nobi",
    "notional",
    "notional_clock",
    "obi",
    "ofi",
    "ofi_sum",
    "parkinson_variance",
    "percentile",
    "quote_before",
    "quoted_depth",
    "realized_correlation",
    "realized_measures",
    "rogers_satchell_variance",
    "rolling_covariance",
    "rolling_mean_variance",
    "rolling_median_mad",
    "rolling_sum",
    "shrinkage_covariance",
    "source_age",
    "spread_bps",
    "svi",
    "taker_ratio",
    "time_clock",
    "toxicity_index",
    "toxicity_volatility_engine",
    "toxicity_volatility_features",
    "volatility_compression",
    "volatility_regimes",
    "volume_clock",
    "vpin",
    "vpin_of_buckets",
    "weighted_mid",
    "yang_zhang_variance",
    "zscore",
    "zscore_mean_std",
    "zscore_median_mad",
]
