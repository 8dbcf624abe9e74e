"""What an equity curve says: daily returns, Sharpe ratio, drawdown, exposure, turnover.

Crypto trades every day, so a day is a UTC day, a year has 365 of them, and the Sharpe ratio is of
daily returns: mean / standard deviation (n - 1) times sqrt(365), without a risk-free rate. Equity
is sampled each UTC minute with open positions marked; a sample at midnight ends the day before. A day
without any market data has no samples, so no return: nothing could be earned or lost on it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phoenix_runner.errors import RunnerError
from phoenix_runner.time_columns import times_ns

DAYS_PER_YEAR = 365
DAY_NS = 86_400 * 10**9


class MetricsError(RunnerError):
    """An equity curve cannot carry the figure asked of it."""


@dataclass(frozen=True)
class DailyReturns:
    """Simple returns of the UTC days that have samples, in order. `day_ns` is each day's start."""

    day_ns: NDArray[np.int64]
    returns: NDArray[np.float64]


@dataclass(frozen=True)
class Drawdown:
    """Deepest fall from a running maximum, and the longest time below one.

    `maximum` is a positive share of the peak, 0 when equity never fell. Times are ns UTC; None when
    there was no drawdown. `recovered_ns` is None if the peak was not seen again.
    `longest_below_ns` is the longest time from a maximum to its recovery, or to the end.
    """

    maximum: float
    peak_ns: int | None
    trough_ns: int | None
    recovered_ns: int | None
    longest_below_ns: int


@dataclass(frozen=True)
class Exposure:
    """How much was at risk, over the samples with equity left.

    `time_in_market`: share of samples with a position. Leverage is gross notional / equity.
    """

    time_in_market: float
    mean_leverage: float
    max_leverage: float
    mean_net_leverage: float


def daily_returns(
    ts_ns: ArrayLike, equity: ArrayLike, *, start_ns: int, starting_equity: float
) -> DailyReturns:
    """Return of each UTC day with a sample: its last equity over that of the day before, minus 1.

    The first day starts from `starting_equity` at `start_ns`; samples at or before that are ignored
    (they are the start). A sample at exactly midnight ends the day before it. Days without a sample
    are absent, and what they moved falls to the next day present. A day that ends with nothing left
    is the last one: no return can be earned on it.

    >>> day = daily_returns([DAY_NS // 2, DAY_NS, 2 * DAY_NS], [101.0, 102.0, 51.0],
    ...                     start_ns=0, starting_equity=100.0)
    >>> (day.day_ns // DAY_NS).tolist(), day.returns.round(4).tolist()
    ([0, 1], [0.02, -0.5])
    """
    times, values = _curve(ts_ns, equity)
    values, times = values[times > start_ns], times[times > start_ns]
    days = (times - 1) // DAY_NS
    last = np.flatnonzero(np.diff(days, append=np.iinfo(np.int64).max))
    closes = values[last]
    before = np.concatenate([[starting_equity], closes])[: closes.size]
    alive = np.logical_and.accumulate(before > 0)
    return DailyReturns(
        day_ns=days[last][alive] * DAY_NS, returns=closes[alive] / before[alive] - 1
    )


def days_within(stretches: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Starts of the UTC days that lie wholly within a stretch (from, to), in order.

    >>> (days_within([(DAY_NS // 2, 3 * DAY_NS), (4 * DAY_NS, 5 * DAY_NS - 1)]) // DAY_NS).tolist()
    [1, 2]
    """
    days = [np.arange(-(-start // DAY_NS), end // DAY_NS) for start, end in stretches]
    return np.concatenate([np.empty(0, np.int64), *days]) * DAY_NS


def monthly_returns(daily: DailyReturns) -> dict[str, float]:
    """Compounded return of each UTC month with a day in it, by "YYYY-MM".

    >>> monthly_returns(DailyReturns(np.array([0, DAY_NS]), np.array([0.5, 0.5])))
    {'1970-01': 1.25}
    """
    months = daily.day_ns.astype("datetime64[ns]").astype("datetime64[M]")
    return {
        str(month): float(np.prod(1 + daily.returns[months == month]) - 1)
        for month in np.unique(months)
    }


def annual_sharpe(returns: ArrayLike, *, periods_per_year: int = DAYS_PER_YEAR) -> float | None:
    """Mean / standard deviation (n - 1) times sqrt(periods_per_year); None when undefined.

    Undefined for fewer than two returns or returns without variation. `periods_per_year` is 365 for the
    daily returns of a market that never closes. Raises [MetricsError][] for what is no series of finite
    numbers.

    >>> round(annual_sharpe([0.01, -0.01, 0.02, 0.0]), 3)
    7.399
    """
    x = _returns(returns)
    if x.size < 2 or x.std(ddof=1) <= 1e-12 * np.abs(x).max():
        return None
    return float(x.mean() / x.std(ddof=1) * math.sqrt(periods_per_year))


def annual_volatility(returns: ArrayLike, *, periods_per_year: int = DAYS_PER_YEAR) -> float | None:
    """Standard deviation (n - 1) of the returns times sqrt(periods_per_year); None under two."""
    x = _returns(returns)
    return float(x.std(ddof=1) * math.sqrt(periods_per_year)) if x.size > 1 else None


def drawdown_curve(equity: ArrayLike, *, starting_equity: float) -> NDArray[np.float64]:
    """Equity over its running maximum (the start included), minus 1: 0 at a maximum, else < 0."""
    x = np.asarray(equity, dtype=np.float64)
    return x / np.maximum(np.maximum.accumulate(x), starting_equity) - 1


def drawdown(
    ts_ns: ArrayLike, equity: ArrayLike, *, start_ns: int, starting_equity: float
) -> Drawdown:
    """Deepest drawdown and longest time under a maximum; the start counts as the first maximum.

    >>> found = drawdown([1, 2, 3, 4], [110.0, 99.0, 120.0, 118.0],
    ...                  start_ns=0, starting_equity=100.0)
    >>> round(found.maximum, 6), found.peak_ns, found.trough_ns, found.recovered_ns
    (0.1, 1, 2, 3)
    """
    times, values = _curve(ts_ns, equity)
    times = np.concatenate([[start_ns], times])
    values = np.concatenate([[starting_equity], values])
    peaks = np.maximum.accumulate(values)
    fall = 1 - values / peaks
    at_peak = values == peaks
    # Time of the last maximum at or before each sample, and how long ago it was.
    since = np.maximum.accumulate(np.where(at_peak, np.arange(values.size), 0))
    below = np.where(
        at_peak, times - times[np.concatenate([[0], since[:-1]])], times - times[since]
    )
    under = ~at_peak | np.concatenate([[False], ~at_peak[:-1]])
    longest = int(below[under].max()) if under.any() else 0
    trough = int(fall.argmax())
    if fall[trough] <= 0:
        return Drawdown(0.0, None, None, None, 0)
    recovered = np.flatnonzero(values[trough:] >= peaks[trough])
    return Drawdown(
        maximum=float(fall[trough]),
        peak_ns=int(times[since[trough]]),
        trough_ns=int(times[trough]),
        recovered_ns=int(times[trough + recovered[0]]) if recovered.size else None,
        longest_below_ns=longest,
    )


def exposure(equity: ArrayLike, net_notional: ArrayLike, gross_notional: ArrayLike) -> Exposure:
    """Time in market and leverage from samples of equity and (signed and absolute) notional.

    >>> exposure([100.0, 100.0], [-50.0, 0.0], [50.0, 0.0])
    Exposure(time_in_market=0.5, mean_leverage=0.25, max_leverage=0.5, mean_net_leverage=-0.25)
    """
    base, net, gross = (np.asarray(x, np.float64) for x in (equity, net_notional, gross_notional))
    if not base.shape == net.shape == gross.shape:
        raise MetricsError(
            "equity, net_notional and gross_notional must be series of one length (was "
            f"{base.shape}, {net.shape}, {gross.shape})"
        )
    left = base > 0
    base, net, gross = base[left], net[left], gross[left]
    if base.size == 0:
        return Exposure(0.0, 0.0, 0.0, 0.0)
    return Exposure(
        time_in_market=float(np.mean(gross > 0)),
        mean_leverage=float(np.mean(gross / base)),
        max_leverage=float(np.max(gross / base)),
        mean_net_leverage=float(np.mean(net / base)),
    )


def turnover_per_day(traded_notional: float, mean_equity: float, days: float) -> float:
    """Notional traded (both ways) per day, as a multiple of mean equity.

    >>> turnover_per_day(30_000.0, 1000.0, 10.0)
    3.0
    """
    if mean_equity <= 0 or days <= 0:
        raise MetricsError(f"mean_equity and days must be positive (was {mean_equity:g}, {days:g})")
    return traded_notional / mean_equity / days


def _returns(returns: ArrayLike) -> NDArray[np.float64]:
    x = np.asarray(returns, dtype=np.float64)
    if x.ndim != 1:
        raise MetricsError(f"returns must be one series (had shape {x.shape}); pass a column")
    if not np.isfinite(x).all():
        raise MetricsError("returns must be finite; leave absent days out instead of NaN")
    return x


def _curve(ts_ns: ArrayLike, equity: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    times = times_ns("ts_ns", ts_ns)
    values = np.asarray(equity, dtype=np.float64)
    if times.shape != values.shape or times.ndim != 1:
        raise MetricsError(
            f"ts_ns and equity must be series of one length (was {times.shape}, {values.shape})"
        )
    if np.any(np.diff(times) <= 0):
        raise MetricsError("ts_ns must increase strictly; one equity sample per time")
    if not np.isfinite(values).all():
        raise MetricsError("equity must be finite")
    return times, values
