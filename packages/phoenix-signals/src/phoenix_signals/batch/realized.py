"""Batch twins of `phoenix_signals.realized`."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phoenix_signals import realized
from phoenix_signals.batch.rolling import rolling_sum
from phoenix_signals.batch.volatility import log_ratio, price_column
from phoenix_signals.errors import column, size_error
from phoenix_signals.realized import HAR_LAGS, Realized, bipower_scale

Floats = NDArray[np.float64]


def realized_measures(price: ArrayLike, *, window_returns: int) -> Realized[Floats]:
    """Twin of [RealizedMeasures][phoenix_signals.realized.RealizedMeasures].

    Units: variances of log returns over the window (n periods); volatility is their root; the
        share has none.
    Returns: Realized of float64 columns, one row per price; NaN where the value is None; warm-up:
        n returns, so n + 1 prices.
    Raises: a price not above 0, NaN or infinite raises InputError with the row; window_returns
        below 3 raises ParameterError.

    >>> realized_measures([100.0, 101.0, 100.0, 101.0], window_returns=3).variance.round(8).tolist()
    [nan, nan, nan, 0.00029703]
    """
    realized.RealizedMeasures(window_returns)
    prices = price_column("price", price)
    n = window_returns
    r = log_ratio(prices[1:], prices[:-1])
    squares = r * r
    variance = _behind(rolling_sum(squares, window_count=n), prices)
    down = _behind(rolling_sum(np.where(r < 0, squares, 0.0), window_count=n), prices)
    up = _behind(rolling_sum(np.where(r > 0, squares, 0.0), window_count=n), prices)
    products = rolling_sum(np.abs(r[1:]) * np.abs(r[:-1]), window_count=n - 1)
    bipower = bipower_scale(n) * _behind(_behind(products, r), prices)
    share = np.ones(len(prices))
    np.divide(bipower, variance, out=share, where=variance > 0)
    jump = np.where(np.isnan(variance), np.nan, np.maximum(0.0, 1.0 - share))
    return Realized(variance, np.sqrt(variance), down, up, bipower, jump)


def realized_correlation(price_1: ArrayLike, price_2: ArrayLike, *, window_returns: int) -> Floats:
    """Twin of [RealizedCorrelation][phoenix_signals.realized.RealizedCorrelation].

    Units: none, in [-1, 1].
    Returns: float64, one value per pair of prices; NaN where the value is None; warm-up: n
        returns, so n + 1 pairs.
    Raises: a price not above 0, NaN or infinite raises InputError with the row.

    >>> correlation = realized_correlation([1.0, 2.0, 1.0], [3.0, 6.0, 3.0], window_returns=2)
    >>> correlation.round(12).tolist()
    [nan, nan, 1.0]
    """
    realized.RealizedCorrelation(window_returns)
    first = price_column("price_1", price_1)
    second = price_column("price_2", price_2, len(first))
    r1, r2 = log_ratio(first[1:], first[:-1]), log_ratio(second[1:], second[:-1])
    cross, squares_1, squares_2 = (
        rolling_sum(x, window_count=window_returns) for x in (r1 * r2, r1 * r1, r2 * r2)
    )
    moved = (squares_1 > 0) & (squares_2 > 0)
    values: Floats = np.full(len(r1), np.nan)
    scale = np.sqrt(squares_1[moved]) * np.sqrt(squares_2[moved])
    values[moved] = np.clip(cross[moved] / scale, -1.0, 1.0)
    return _behind(values, first)


def har_composite(
    variance: ArrayLike,
    *,
    weight_1: float = 1 / 3,
    weight_5: float = 1 / 3,
    weight_22: float = 1 / 3,
) -> Floats:
    """Twin of [HarComposite][phoenix_signals.realized.HarComposite].

    Units: those of RV, per period.
    Returns: float64, one value per period; NaN where the value is None; warm-up: 22 periods.
    Raises: a negative, NaN or infinite variance raises InputError with the row; weights that are
        negative or do not sum to 1 raise ParameterError.

    >>> har_composite([2.0] * 22).round(12).tolist()[-2:]
    [nan, 2.0]
    """
    realized.HarComposite(weight_1, weight_5, weight_22)
    variances = column("variance", variance)
    if len(variances) and variances.min() < 0:
        row = int(np.argmin(variances))
        raise size_error("variance", f"{variances[row]} at row {row}")
    _, five, many = HAR_LAGS
    week = rolling_sum(variances, window_count=five) / five
    month = rolling_sum(variances, window_count=many) / many
    return weight_1 * variances + weight_5 * week + weight_22 * month


def _behind(values: Floats, prices: Floats) -> Floats:
    """Values of returns, placed at the row of their second price."""
    return np.append(np.nan, values)[: len(prices)]
