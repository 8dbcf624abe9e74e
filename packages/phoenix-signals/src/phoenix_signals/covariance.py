"""Covariance of several assets: one matrix per step, symmetric and positive semi-definite.

- [RollingCovariance][]: the last n observations, all weighted alike.
- [EwCovariance][]: exponentially weighted, by half-life.
- [ShrinkageCovariance][]: a rolling window shrunk towards a multiple of the identity (needs the
  extra `phoenix-signals[shrinkage]`).
- [HayashiYoshida][]: prices that do not tick together, without sampling them on a grid first.
- [nearest_psd][]: clips negative eigenvalues and restores the diagonal.

The first three take one vector of returns per update and weigh by 1/n (population), like the
variances of `rolling`. All return a fresh numpy array.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phoenix_signals.errors import (
    NUMBER_MAX,
    InputError,
    ParameterError,
    check_choice,
    check_count,
    check_positive,
    check_time,
    is_integer,
    number_error,
)
from phoenix_signals.estimator import Estimator
from phoenix_signals.rolling import ew_alpha

Matrix = NDArray[np.float64]

ShrinkageKind = Literal["ledoit_wolf", "oas"]


class RollingCovariance(Estimator):
    """Covariance matrix of the last `window_count` return vectors.

    Formula:
        C = sum (x - mean)(x - mean)' / n over the window, computed in two passes from the window
        itself when `value` is read: nothing is carried from step to step, so rounding cannot pile
        up, and C is a Gram matrix, positive semi-definite by construction.
    Shapes: each update takes `asset_count` numbers; `value` is (asset_count, asset_count).
    Units: those of x, squared.
    Clock: one vector per update; all assets on a common clock.
    Warm-up: `min_count` vectors (default: a full window).
    Missing data: a NaN or infinity anywhere raises `InputError`, the state stays.
    Errors: `asset_count` below 1 or `window_count` below 2 raises `ParameterError`; a vector of
        another length raises `InputError`.

    Example:
        >>> cov = RollingCovariance(asset_count=2, window_count=3, min_count=2)
        >>> for x in ([1.0, 1.0], [3.0, -1.0]):
        ...     cov.update(x)
        >>> cov.value
        array([[ 1., -1.],
               [-1.,  1.]])

    Source: textbook definition; numpy.cov(..., bias=True).
    """

    ID = "rolling_covariance"
    VERSION = 1
    EXAMPLES = (
        {"asset_count": 2, "window_count": 7},
        {"asset_count": 3, "window_count": 20, "min_count": 2},
    )

    __slots__ = ("_window", "asset_count", "min_count", "window_count")

    def __init__(self, asset_count: int, window_count: int, min_count: int | None = None) -> None:
        self.asset_count = check_count("asset_count", asset_count, 1, "2")
        self.window_count = check_count("window_count", window_count, 2, "1440")
        self.min_count = _window_min_count(min_count, window_count)
        self._window: deque[tuple[float, ...]] = deque(maxlen=window_count)

    def update(self, x: Sequence[float]) -> None:
        """Take the next vector of returns."""
        self._window.append(tuple(_vector(x, self.asset_count).tolist()))

    @property
    def value(self) -> Matrix | None:
        """The covariance matrix, None during warm-up."""
        if len(self._window) < self.min_count:
            return None
        return population(np.array(self._window))


class EwCovariance(Estimator):
    """Exponentially weighted covariance matrix by half-life.

    Formula:
        alpha = 1 - 2^(-1/h); the first vector starts the mean with C = 0; then d = x - mean,
        mean += alpha d, C = (1 - alpha)(C + alpha d d'). Its diagonal is `EwMeanVariance`; the
        same as pandas `ewm(halflife=h, adjust=False).cov(bias=True)`. A sum of positive
        semi-definite terms stays one; the outer product is symmetric to the last bit.
    Shapes: each update takes `asset_count` numbers; `value` is (asset_count, asset_count).
    Units: those of x, squared.
    Clock: one vector per update; the half-life counts vectors.
    Warm-up: `min_count` vectors (default 1).
    Missing data: a NaN or infinity anywhere raises `InputError`, the state stays.
    Errors: `half_life_count` of 0 or below raises `ParameterError`; a vector of another length
        raises `InputError`.

    Example:
        >>> cov = EwCovariance(asset_count=2, half_life_count=1)
        >>> for x in ([0.0, 0.0], [4.0, 2.0]):
        ...     cov.update(x)
        >>> cov.value
        array([[4., 2.],
               [2., 1.]])

    Source: J.P. Morgan (1996), RiskMetrics Technical Document, with a mean; pandas.
    """

    ID = "ew_covariance"
    VERSION = 1
    EXAMPLES = (
        {"asset_count": 2, "half_life_count": 5},
        {"asset_count": 3, "half_life_count": 30.5, "min_count": 10},
    )

    __slots__ = (
        "_alpha", "_covariance", "_keep", "_mean", "_ref", "asset_count", "count",
        "half_life_count", "min_count",
    )  # fmt: skip

    def __init__(self, asset_count: int, half_life_count: float, min_count: int = 1) -> None:
        self.asset_count = check_count("asset_count", asset_count, 1, "2")
        self.half_life_count = check_positive("half_life_count", half_life_count, "1440")
        self.min_count = check_count("min_count", min_count, 1, "1")
        self._alpha = ew_alpha(half_life_count)
        self._keep = 1.0 - self._alpha
        self._ref = np.zeros(asset_count)
        self._mean = np.zeros(asset_count)
        self._covariance = np.zeros((asset_count, asset_count))
        self.count = 0

    def update(self, x: Sequence[float]) -> None:
        """Take the next vector of returns."""
        vector = _vector(x, self.asset_count)
        if self.count == 0:
            self._ref = vector
        d = (vector - self._ref) - self._mean
        self._mean = self._mean + self._alpha * d
        self._covariance = self._keep * (self._covariance + self._alpha * np.multiply.outer(d, d))
        self.count += 1

    @property
    def value(self) -> Matrix | None:
        """The covariance matrix, None during warm-up."""
        return self._covariance.copy() if self.count >= self.min_count else None


class ShrinkageCovariance(Estimator):
    """Covariance of a rolling window, shrunk towards mu I as far as the window is too short.

    Formula:
        (1 - delta) C + delta mu I with C the population covariance of the window, mu = trace(C)/k,
        and delta in [0, 1] chosen from the data: `ledoit_wolf` or `oas` of scikit-learn, which is
        asked for it each time `value` is read.
    Shapes: each update takes `asset_count` numbers; `value` is (asset_count, asset_count).
    Units: those of x, squared.
    Clock: one vector per update; all assets on a common clock.
    Warm-up: `min_count` vectors (default: a full window).
    Missing data: a NaN or infinity anywhere raises `InputError`, the state stays.
    Errors: without scikit-learn the constructor raises `ParameterError` that names the extra;
        `window_count` below 2 raises `ParameterError`; a vector of another length `InputError`.

    Example:
        >>> cov = ShrinkageCovariance(asset_count=2, window_count=4)
        >>> for x in ([1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]):
        ...     cov.update(x)
        >>> cov.value
        array([[1.20833333, 0.        ],
               [0.        , 1.29166667]])

    Source: Ledoit and Wolf (2004), J. Multivariate Analysis 88(2); Chen, Wiesel, Eldar, Hero
    (2010), IEEE Trans. Signal Processing 58(10); scikit-learn, `sklearn.covariance`.
    """

    ID = "shrinkage_covariance"
    VERSION = 1
    EXAMPLES = (
        {"asset_count": 2, "window_count": 7},
        {"asset_count": 3, "window_count": 20, "min_count": 4, "method": "oas"},
    )

    __slots__ = ("_window", "asset_count", "method", "min_count", "window_count")

    def __init__(
        self,
        asset_count: int,
        window_count: int,
        min_count: int | None = None,
        method: ShrinkageKind = "ledoit_wolf",
    ) -> None:
        self.asset_count = check_count("asset_count", asset_count, 1, "5")
        self.window_count = check_count("window_count", window_count, 2, "1440")
        self.min_count = _window_min_count(min_count, window_count)
        check_choice("method", method, ("ledoit_wolf", "oas"))
        self.method: ShrinkageKind = method
        _shrinkage_library()
        self._window: deque[tuple[float, ...]] = deque(maxlen=window_count)

    def update(self, x: Sequence[float]) -> None:
        """Take the next vector of returns."""
        self._window.append(tuple(_vector(x, self.asset_count).tolist()))

    @property
    def value(self) -> Matrix | None:
        """The shrunk covariance matrix, None during warm-up."""
        if len(self._window) < self.min_count:
            return None
        return shrunk(np.array(self._window), self.method)


class HayashiYoshida(Estimator):
    """Covariance of asynchronous returns: every pair of overlapping intervals counts once.

    Formula:
        C_ij = sum over intervals a of asset i and b of asset j of r_a r_b 1{a and b overlap}, with
        a = (s, t] between consecutive prices of one asset and r_a its log return. C_ii is the
        realized variance. Accumulated since the start or the last `reset()`; on a window, reset
        at its start or pass the window's rows to the batch twin. Each new interval meets, per
        other asset, one telescoped sum of returns, so an update costs O(asset_count).
        The sum is unbiased but need not be positive semi-definite: `value` has its negative
        eigenvalues clipped and its diagonal restored ([nearest_psd][]), `raw` is the sum itself.
    Shapes: `value` and `raw` are (asset_count, asset_count).
    Units: squared log returns over the time observed.
    Clock: one price of one asset per update, times never going back. Several prices of one asset
        at one time are one price, the last.
    Warm-up: two prices, at different times, of every asset.
    Missing data: a price that is not positive and finite raises `InputError`, the state stays; an
        asset without news simply has a longer interval.
    Errors: an asset outside 0..asset_count-1, a price that is not positive or time going back
        raises `InputError`. Microstructure noise (bid-ask bounce) inflates the diagonal: use mids.

    Example:
        >>> cov = HayashiYoshida(asset_count=2)
        >>> for ts, asset, price in ((0, 0, 1.0), (0, 1, 1.0), (2, 0, np.e), (3, 1, np.e)):
        ...     cov.update(ts, asset, price)
        >>> cov.raw
        array([[1., 1.],
               [1., 1.]])

    Source: Hayashi and Yoshida (2005), Bernoulli 11(2).
    """

    ID = "hayashi_yoshida"
    VERSION = 1
    EXAMPLES = ({"asset_count": 2}, {"asset_count": 4})

    __slots__ = (
        "_before",
        "_intervals",
        "_known",
        "_last_ns",
        "_log",
        "_sum",
        "_ts",
        "asset_count",
    )

    def __init__(self, asset_count: int) -> None:
        self.asset_count = check_count("asset_count", asset_count, 2, "2")
        self._last_ns = 0
        # Per asset: time of its last price, log of that price, intervals completed.
        self._ts: list[int | None] = [None] * asset_count
        self._log = np.full(asset_count, np.nan)
        self._intervals = [0] * asset_count
        # [i, j]: log price of j where the present interval of i began, i.e. at the last tick of j
        # not after the last tick of i (its first tick, if all came later); NaN before any tick.
        self._known = np.full((asset_count, asset_count), np.nan)
        # [i, j]: the same where the interval of i that ended last began: needed when its end is
        # corrected by a second price at the same time.
        self._before = np.full((asset_count, asset_count), np.nan)
        self._sum = np.zeros((asset_count, asset_count))

    def update(self, ts_ns: int, asset: int, price: float) -> None:
        """Take the next price of one asset."""
        if not 0 <= asset < self.asset_count or not is_integer(asset):
            raise InputError(
                f"asset must be in 0..{self.asset_count - 1} (was {asset}); number them from 0"
            )
        if not 0.0 < price < NUMBER_MAX:
            raise InputError(f"price must be positive and finite (was {price}); drop the row")
        check_time(ts_ns, self._last_ns)
        self._last_ns = ts_ns
        log_price = float(np.log(price))
        corrected = self._ts[asset] == ts_ns
        if not corrected and self._ts[asset] is not None:
            self._before[asset] = self._known[asset]
            self._intervals[asset] += 1
        if self._intervals[asset]:
            start = self._before[asset]
            overlap = self._log - start
            overlap[asset] = (log_price - start[asset]) + (self._log[asset] - start[asset])
            added = (log_price - self._log[asset]) * overlap
            added[np.isnan(added)] = 0.0  # assets without a price yet
            self._sum[asset] += added
            self._sum[:, asset] = self._sum[asset]
        self._log[asset] = log_price
        self._ts[asset] = ts_ns
        self._known[asset] = self._log
        if self._intervals[asset] == 0:
            self._known[:, asset] = self._before[:, asset] = log_price
        else:
            for other, ts in enumerate(self._ts):
                if ts == ts_ns:
                    self._known[other, asset] = log_price

    @property
    def raw(self) -> Matrix | None:
        """The sum itself, possibly indefinite; None during warm-up."""
        return self._sum.copy() if all(self._intervals) else None

    @property
    def value(self) -> Matrix | None:
        """The sum made positive semi-definite, None during warm-up."""
        raw = self.raw
        return None if raw is None else nearest_psd(raw)


def nearest_psd(matrices: ArrayLike) -> Matrix:
    """Clip negative eigenvalues to 0 and scale back so that the diagonal is as before.

    Args:
        matrices: Symmetric, shape (..., k, k), with a diagonal >= 0.

    Returns:
        The same shape; a matrix that has no negative eigenvalue comes back unchanged.

    >>> nearest_psd([[1.0, 2.0], [2.0, 1.0]])
    array([[1., 1.],
           [1., 1.]])

    Source: Rebonato and Jaeckel (1999), J. of Risk 2(2), spectral decomposition.
    """
    given = np.asarray(matrices, dtype=np.float64)
    eigenvalues, vectors = np.linalg.eigh(given)
    clipped = (vectors * np.maximum(eigenvalues, 0.0)[..., None, :]) @ np.swapaxes(vectors, -1, -2)
    clipped = 0.5 * (clipped + np.swapaxes(clipped, -1, -2))
    diagonal = np.diagonal(given, axis1=-2, axis2=-1)
    reached = np.diagonal(clipped, axis1=-2, axis2=-1)
    scale = np.sqrt(diagonal / np.where(reached > 0.0, reached, 1.0))
    clipped = clipped * (scale[..., :, None] * scale[..., None, :])
    k = given.shape[-1]
    clipped[..., np.arange(k), np.arange(k)] = diagonal
    return np.where((eigenvalues[..., :1] >= 0.0)[..., None], given, clipped)


def shrunk(window: Matrix, method: ShrinkageKind) -> Matrix:
    """Shrunk covariance of the rows of `window`, by scikit-learn.

    >>> shrunk(np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]]), "ledoit_wolf")
    array([[1.20833333, 0.        ],
           [0.        , 1.29166667]])
    """
    matrix: Matrix = getattr(_shrinkage_library(), method)(window)[0]
    return matrix


def population(window: Matrix) -> Matrix:
    """Population covariance of the rows of `window`, by two passes.

    >>> population(np.array([[1.0, 1.0], [3.0, -1.0]]))
    array([[ 1., -1.],
           [-1.,  1.]])
    """
    centred = window - window.mean(axis=0)
    matrix: Matrix = centred.T @ centred / len(window)  # numpy's syrk: symmetric to the last bit
    return matrix


def _shrinkage_library() -> Any:
    try:
        return import_module("sklearn.covariance")
    except ImportError as error:
        raise ParameterError(
            "shrinkage covariance must have scikit-learn installed (was not found); "
            "install phoenix-signals[shrinkage]"
        ) from error


def _vector(x: Sequence[float], asset_count: int) -> Matrix:
    vector = np.array(x, dtype=np.float64)
    if vector.shape != (asset_count,):
        raise InputError(
            f"x must hold {asset_count} numbers, one per asset (was shape {vector.shape}); "
            "wait until every asset has a return"
        )
    if not (np.abs(vector) < NUMBER_MAX).all():
        raise number_error("x", x)
    return vector


def _window_min_count(min_count: int | None, window_count: int) -> int:
    if min_count is None:
        return window_count
    check_count("min_count", min_count, 2, "30")
    if min_count > window_count:
        raise ParameterError(
            f"min_count must be at most window_count {window_count} (was {min_count}); typical: 30"
        )
    return min_count
