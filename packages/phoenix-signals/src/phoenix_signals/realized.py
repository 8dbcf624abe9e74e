"""Realized measures: what returns on a stated clock say about variance, jumps and co-movement.

- [RealizedMeasures][]: realized variance, volatility, semivariances, bipower variation, jump share.
- [RealizedCorrelation][] of two assets.
- [HarComposite][]: a forecast with fixed weights; [fit_har][]: the regression, for research.

The caller chooses the clock by choosing when to call `update` (one call per bar, bucket or second)
and the price: mids, or last prices. Sampled on every trade print, the realized variance contains the
bid-ask bounce, about half a squared spread per observation; on mids it does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from phoenix_signals.errors import (
    NUMBER_MAX,
    InputError,
    ParameterError,
    check_choice,
    check_count,
    column,
    size_error,
)
from phoenix_signals.estimator import Estimator
from phoenix_signals.rolling import RollingSum
from phoenix_signals.volatility import check_price, log_ratio

HAR_LAGS = (1, 5, 22)
"""Periods averaged by the HAR terms: day, week, month."""


class Realized[T](NamedTuple):
    """Realized measures of one window; variances of log returns over the window, not per period."""

    variance: T
    volatility: T
    downside_semivariance: T
    upside_semivariance: T
    bipower_variation: T
    jump_share: T


class RealizedMeasures(Estimator):
    """Realized variance of a window, and what it is made of.

    Formula:
        over the last n returns r_i = ln(p_i / p_(i-1)): variance RV = sum r^2; volatility its root;
        downside and upside semivariance = sum r^2 1{r < 0} and 1{r > 0}; bipower variation
        BV = (pi/2) (n/(n-1)) sum |r_i| |r_(i-1)|, which jumps hardly touch; jump share
        max(0, 1 - BV/RV), 0 when RV is 0.
    Units: variances of log returns over the window (n periods); volatility is their root; the share
        has none.
    Clock: the caller's, one price per update. On trade prints RV contains the bid-ask bounce.
    Warm-up: n returns, so n + 1 prices.
    Missing data: none is made up; a missing price makes one longer return.
    Errors: a price not above 0, NaN or infinite raises `InputError`; `window_returns` below 3
        raises `ParameterError`.

    Example:
        >>> measures = RealizedMeasures(window_returns=3)
        >>> for price in (100.0, 101.0, 100.0, 101.0):
        ...     measures.update(price)
        >>> round(measures.value.variance, 8), round(measures.value.downside_semivariance, 8)
        (0.00029703, 9.901e-05)

    Source: Andersen, Bollerslev, Diebold, Labys (2003), Econometrica 71(2); Barndorff-Nielsen,
    Shephard (2004), J. Financial Econometrics 2(1); Barndorff-Nielsen, Kinnebrock, Shephard (2010).
    """

    ID = "realized_measures"
    VERSION = 1
    EXAMPLES = ({"window_returns": 5}, {"window_returns": 40})

    __slots__ = ("_down", "_price", "_products", "_return", "_squares", "_up", "window_returns")

    def __init__(self, window_returns: int) -> None:
        self.window_returns = check_count("window_returns", window_returns, 3, "60")
        self._squares = RollingSum(window_returns)
        self._down = RollingSum(window_returns)
        self._up = RollingSum(window_returns)
        self._products = RollingSum(window_returns - 1)
        self._price: float | None = None
        self._return: float | None = None

    def update(self, price: float) -> None:
        """Take a price."""
        check_price("price", price)
        before = self._price
        self._price = price
        if before is None:
            return
        r = log_ratio(price, before)
        square = r * r
        self._squares.update(square)
        self._down.update(square if r < 0.0 else 0.0)
        self._up.update(square if r > 0.0 else 0.0)
        if self._return is not None:
            self._products.update(abs(r) * abs(self._return))
        self._return = r

    @property
    def value(self) -> Realized[float] | None:
        """The measures, None during warm-up."""
        variance = self._squares.value
        down = self._down.value
        up = self._up.value
        products = self._products.value
        if variance is None or down is None or up is None or products is None:
            return None
        bipower = bipower_scale(self.window_returns) * products
        jump = max(0.0, 1.0 - bipower / variance) if variance > 0.0 else 0.0
        return Realized(variance, math.sqrt(variance), down, up, bipower, jump)


def bipower_scale(window_returns: int) -> float:
    """(pi/2) n/(n - 1), which makes bipower variation unbiased for constant volatility.

    >>> round(bipower_scale(2), 6)
    3.141593
    """
    return (math.pi / 2.0) * (window_returns / (window_returns - 1))


class RealizedCorrelation(Estimator):
    """Realized correlation of two prices on one clock.

    Formula:
        sum r1 r2 / sqrt(sum r1^2 sum r2^2) over the last n pairs of log returns, not demeaned.
    Units: none, in [-1, 1].
    Clock: the caller's, one pair of prices per update. Prices that are sampled faster than they
        move pull it toward 0 (Epps): see `covariance` for asynchronous returns.
    Warm-up: n returns, so n + 1 pairs.
    Missing data: None while either asset has not moved in the window.
    Errors: a price not above 0, NaN or infinite raises `InputError`.

    Example:
        >>> correlation = RealizedCorrelation(window_returns=2)
        >>> for price_1, price_2 in ((100.0, 50.0), (101.0, 50.5), (100.0, 50.0)):
        ...     correlation.update(price_1, price_2)
        >>> round(correlation.value, 12)
        1.0

    Source: Andersen, Bollerslev, Diebold, Labys (2003), Econometrica 71(2).
    """

    ID = "realized_correlation"
    VERSION = 1
    EXAMPLES = ({"window_returns": 5}, {"window_returns": 40})

    __slots__ = ("_cross", "_prices", "_squares_1", "_squares_2", "window_returns")

    def __init__(self, window_returns: int) -> None:
        self.window_returns = check_count("window_returns", window_returns, 2, "60")
        self._cross = RollingSum(window_returns)
        self._squares_1 = RollingSum(window_returns)
        self._squares_2 = RollingSum(window_returns)
        self._prices: tuple[float, float] | None = None

    def update(self, price_1: float, price_2: float) -> None:
        """Take a pair of prices."""
        check_price("price_1", price_1)
        check_price("price_2", price_2)
        before = self._prices
        self._prices = (price_1, price_2)
        if before is None:
            return
        r1 = log_ratio(price_1, before[0])
        r2 = log_ratio(price_2, before[1])
        self._cross.update(r1 * r2)
        self._squares_1.update(r1 * r1)
        self._squares_2.update(r2 * r2)

    @property
    def value(self) -> float | None:
        """The correlation, None during warm-up and while an asset stands still."""
        cross = self._cross.value
        squares_1 = self._squares_1.value
        squares_2 = self._squares_2.value
        if cross is None or not squares_1 or not squares_2:
            return None
        return max(-1.0, min(1.0, cross / (math.sqrt(squares_1) * math.sqrt(squares_2))))


class HarComposite(Estimator):
    """HAR-style composite forecast of realized variance, with fixed weights.

    Formula:
        w_1 RV + w_5 mean(RV over 5) + w_22 mean(RV over 22): averages, not sums, both including the
        newest period; weights are non-negative and sum to 1.
    Units: those of RV, per period.
    Clock: one realized variance per period (a day in the source).
    Warm-up: 22 periods.
    Missing data: none is made up.
    Errors: a negative, NaN or infinite variance raises `InputError`; weights that are negative or
        do not sum to 1 raise `ParameterError`.

    Example:
        >>> har = HarComposite(weight_1=0.5, weight_5=0.3, weight_22=0.2)
        >>> for _ in range(22):
        ...     har.update(2.0)
        >>> round(har.value, 12)
        2.0

    Source: Corsi (2009), J. Financial Econometrics 7(2), whose fitted weights `fit_har` estimates.
    """

    ID = "har_composite"
    VERSION = 1
    EXAMPLES = ({}, {"weight_1": 0.0, "weight_5": 0.25, "weight_22": 0.75})

    __slots__ = ("_day", "_month", "_week", "weight_1", "weight_5", "weight_22")

    def __init__(
        self, weight_1: float = 1 / 3, weight_5: float = 1 / 3, weight_22: float = 1 / 3
    ) -> None:
        weights = (weight_1, weight_5, weight_22)
        if min(weights) < 0.0 or not abs(math.fsum(weights) - 1.0) <= 1e-9:
            raise ParameterError(
                f"weights must be non-negative and sum to 1 (was {weights}); "
                "typical: a third each, or the fitted ones"
            )
        self.weight_1, self.weight_5, self.weight_22 = weights
        self._day: float | None = None
        self._week = RollingSum(HAR_LAGS[1])
        self._month = RollingSum(HAR_LAGS[2])

    def update(self, variance: float) -> None:
        """Take the realized variance of a period."""
        if not 0.0 <= variance < NUMBER_MAX:
            raise size_error("variance", variance)
        self._day = variance
        self._week.update(variance)
        self._month.update(variance)

    @property
    def value(self) -> float | None:
        """Forecast of the next period, None during warm-up."""
        week = self._week.value
        month = self._month.value
        if self._day is None or week is None or month is None:
            return None
        _, five, many = HAR_LAGS
        return (
            self.weight_1 * self._day
            + self.weight_5 * (week / five)
            + self.weight_22 * (month / many)
        )


@dataclass(frozen=True)
class HarModel:
    """A fitted HAR regression: RV_(t+1) = c + b1 RV_t + b5 mean_5 + b22 mean_22 + error.

    `form` "level" regresses variances, "log" their logarithms; averages are taken before the log.
    `residual_variance` is that of the errors (in logs for "log"), which turns the forecast of a log
    into that of a variance, exp(x + residual_variance / 2).
    """

    form: Literal["level", "log"]
    constant: float
    coefficients: tuple[float, float, float]
    residual_variance: float
    observations: int

    def forecast(self, variances: Sequence[float]) -> float:
        """Forecast of the next period's variance from the last 22.

        A level forecast that is not above 0 is replaced by the smallest variance of the last 22
        periods; any other stands as it is, be it below all of them.

        >>> HarModel("level", 1.0, (0.5, 0.0, 0.0), 0.1, 100).forecast([2.0] * 22)
        2.0
        """
        recent = _positive(variances)
        if len(recent) < HAR_LAGS[-1]:
            raise InputError(f"variances must hold 22 periods (was {len(recent)}); pass more")
        terms = np.array([recent[-lag:].mean() for lag in HAR_LAGS])
        if self.form == "level":
            forecast = float(self.constant + terms @ np.array(self.coefficients))
            return forecast if forecast > 0.0 else float(recent[-HAR_LAGS[-1] :].min())
        log_forecast = float(self.constant + np.log(terms) @ np.array(self.coefficients))
        return math.exp(log_forecast + 0.5 * self.residual_variance)


def fit_har(variances: Sequence[float], form: Literal["level", "log"] = "level") -> HarModel:
    """Fit the HAR regression by least squares, on a training range.

    Each row explains the variance of period t by those up to t - 1: the last, the mean of 5 and the
    mean of 22, the longer ones including the last. Equal to `arch`'s HARX(lags=[1, 5, 22]).

    Raises:
        InputError: fewer than 30 periods, or a variance that is negative or (for "log") 0.

    >>> rng = np.random.default_rng(0)
    >>> rv = [1.0] * 22
    >>> for shock in 0.1 * rng.standard_normal(20_000):
    ...     rv.append(0.1 + 0.4 * rv[-1] + 0.5 * sum(rv[-5:]) / 5 + shock**2)
    >>> model = fit_har(rv)
    >>> [round(b, 1) + 0.0 for b in model.coefficients]
    [0.4, 0.5, 0.0]
    """
    check_choice("form", form, ("level", "log"))
    values = _positive(variances)
    least = 30
    if len(values) < least:
        raise InputError(f"variances must hold at least {least} periods (was {len(values)})")
    running = np.append(0.0, np.cumsum(values))
    longest = HAR_LAGS[-1]
    terms = [
        (running[longest:-1] - running[longest - lag : -1 - lag]) / lag for lag in HAR_LAGS[1:]
    ]
    columns = np.column_stack([values[longest - 1 : -1], *terms])
    target = values[longest:]
    if form == "log":
        if values.min() <= 0.0:
            raise InputError("variances must be above 0 for the log form (was 0); use level")
        columns, target = np.log(columns), np.log(target)
    design = np.column_stack([np.ones(len(target)), columns])
    beta, *_ = np.linalg.lstsq(design, target, rcond=None)
    errors = target - design @ beta
    constant, *coefficients = beta.tolist()
    b1, b5, b22 = coefficients
    freedom = max(1, len(target) - design.shape[1])
    return HarModel(form, constant, (b1, b5, b22), float(errors @ errors) / freedom, len(target))


def _positive(variances: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    values = column("variances", variances)
    if len(values) and values.min() < 0.0:
        row = int(np.argmin(values))
        raise size_error("variances", f"{values[row]} at row {row}")
    return values
