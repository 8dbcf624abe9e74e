"""Equity curves whose figures are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phoenix_runner import metrics
from phoenix_runner.metrics import DAY_NS, MetricsError
from phoenix_runner.research.labels import forward_labels
from phoenix_runner.time_columns import TimeColumnError

MINUTE = 60 * 10**9


def test_a_day_ends_with_the_sample_at_midnight() -> None:
    ts = [0, DAY_NS, DAY_NS + MINUTE, 2 * DAY_NS]
    daily = metrics.daily_returns(ts, [500.0, 110.0, 1.0, 99.0], start_ns=0, starting_equity=100.0)
    assert (daily.day_ns // DAY_NS).tolist() == [0, 1]
    assert daily.returns == pytest.approx([0.10, -0.10])


def test_a_day_that_ends_with_nothing_is_the_last() -> None:
    ts = DAY_NS * np.arange(1, 5)
    daily = metrics.daily_returns(ts, [50.0, -5.0, 9.0, 8.0], start_ns=0, starting_equity=100.0)
    assert daily.returns == pytest.approx([-0.5, -1.1])
    assert metrics.exposure([100.0, -5.0], [50, 70], [50, 70]).max_leverage == 0.5


def test_days_without_samples_are_absent_not_zero() -> None:
    ts = [DAY_NS, 5 * DAY_NS]
    daily = metrics.daily_returns(ts, [110.0, 121.0], start_ns=0, starting_equity=100.0)
    assert (daily.day_ns // DAY_NS).tolist() == [0, 4]
    assert daily.returns == pytest.approx([0.1, 0.1])


@given(st.lists(st.floats(0.5, 2), min_size=1, max_size=60), st.integers(1, 5000))
def test_daily_returns_compound_to_the_whole(steps: list[float], minutes: int) -> None:
    equity = 1000 * np.cumprod(steps)
    ts = 7 * DAY_NS + MINUTE * minutes * np.arange(1, len(steps) + 1)
    daily = metrics.daily_returns(ts, equity, start_ns=7 * DAY_NS, starting_equity=1000.0)
    assert np.prod(1 + daily.returns) == pytest.approx(equity[-1] / 1000)
    months = metrics.monthly_returns(daily)
    assert np.prod([1 + r for r in months.values()]) == pytest.approx(equity[-1] / 1000)


def test_months_are_calendar_months_of_utc() -> None:
    first = np.datetime64("2024-01-31", "ns").astype(np.int64)
    daily = metrics.DailyReturns(first + DAY_NS * np.arange(3), np.array([0.5, 1.0, 1.0]))
    assert metrics.monthly_returns(daily) == {"2024-01": 0.5, "2024-02": 3.0}


def test_annual_figures_state_a_year_of_365_days() -> None:
    x = np.random.default_rng(1).normal(0.001, 0.02, 90)
    assert metrics.annual_sharpe(x) == pytest.approx(x.mean() / x.std(ddof=1) * 365**0.5)
    assert metrics.annual_volatility(x) == pytest.approx(x.std(ddof=1) * 365**0.5)
    assert metrics.annual_sharpe([0.1]) is None
    assert metrics.annual_sharpe([0.0, 0.0, 0.0]) is None
    assert metrics.annual_volatility([0.1]) is None


def test_drawdown_with_its_times() -> None:
    equity = [120.0, 90.0, 108.0, 120.0, 119.0, 118.0]
    found = metrics.drawdown(10 * np.arange(1, 7), equity, start_ns=0, starting_equity=100.0)
    assert found.maximum == pytest.approx(0.25)
    assert (found.peak_ns, found.trough_ns, found.recovered_ns) == (10, 20, 40)
    assert found.longest_below_ns == 30
    curve = metrics.drawdown_curve(equity, starting_equity=100.0)
    assert curve.min() == pytest.approx(-0.25)
    assert curve[0] == 0


def test_a_curve_without_samples_has_no_days_and_no_drawdown() -> None:
    assert metrics.daily_returns([], [], start_ns=0, starting_equity=1.0).returns.size == 0
    assert metrics.drawdown([], [], start_ns=0, starting_equity=1.0).maximum == 0


def test_a_curve_that_only_rises_has_no_drawdown() -> None:
    found = metrics.drawdown([1, 2], [100.0, 101.0], start_ns=0, starting_equity=100.0)
    assert found == metrics.Drawdown(0.0, None, None, None, 0)


def test_a_fall_from_the_start_is_a_drawdown_and_may_not_recover() -> None:
    found = metrics.drawdown([5, 9], [80.0, 90.0], start_ns=2, starting_equity=100.0)
    assert (found.maximum, found.peak_ns, found.trough_ns) == (pytest.approx(0.2), 2, 5)
    assert (found.recovered_ns, found.longest_below_ns) == (None, 7)


@given(st.lists(st.floats(1, 1000), min_size=1, max_size=50))
def test_drawdown_equals_a_plain_loop(values: list[float]) -> None:
    ts = list(range(1, len(values) + 1))
    found = metrics.drawdown(ts, values, start_ns=0, starting_equity=500.0)
    peak, peak_ns, worst, longest = 500.0, 0, 0.0, 0
    for t, value in zip(ts, values, strict=True):
        if value < peak:
            longest = max(longest, t - peak_ns)
            worst = max(worst, 1 - value / peak)
        else:
            if t > 1 and values[t - 2] < peak:
                longest = max(longest, t - peak_ns)
            peak, peak_ns = value, t
    assert found.maximum == pytest.approx(worst)
    assert found.longest_below_ns == longest


def test_exposure_and_turnover() -> None:
    found = metrics.exposure([100.0, 200.0, 100.0, 100.0], [-50, 100, 0, 0], [150, 100, 0, 0])
    assert found == metrics.Exposure(0.5, 0.5, 1.5, 0.0)
    assert metrics.exposure([], [], []) == metrics.Exposure(0.0, 0.0, 0.0, 0.0)
    assert metrics.turnover_per_day(600.0, 100.0, 2.0) == 3.0


def test_refusals() -> None:
    with pytest.raises(MetricsError, match="increase strictly"):
        metrics.daily_returns([5, 5], [1.0, 1.0], start_ns=0, starting_equity=1.0)
    with pytest.raises(MetricsError, match="one length"):
        metrics.drawdown([5, 6], [1.0], start_ns=0, starting_equity=1.0)
    with pytest.raises(MetricsError, match="finite"):
        metrics.drawdown([5], [np.nan], start_ns=0, starting_equity=1.0)
    with pytest.raises(MetricsError, match="must be positive"):
        metrics.turnover_per_day(1.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("returns", "said"), [([[0.1, 0.2], [0.3, 0.1]], "one series"), ([0.1, np.nan], "finite")]
)
def test_returns_are_one_finite_series(returns: list[float], said: str) -> None:
    for figure in (metrics.annual_sharpe, metrics.annual_volatility):
        with pytest.raises(MetricsError, match=said):
            figure(returns)


def test_exposure_takes_series_of_one_length() -> None:
    with pytest.raises(MetricsError, match="one length"):
        metrics.exposure([1.0, 1.0], [0.5], [0.5, 0.5])


def test_times_of_pandas_count_in_nanoseconds_whatever_their_unit() -> None:
    days = pd.to_datetime(["2024-01-02", "2024-01-03"])
    start = int(np.datetime64("2024-01-01", "ns").astype(np.int64))
    daily = [
        metrics.daily_returns(times, [110.0, 121.0], start_ns=start, starting_equity=100.0)
        for times in (days.as_unit("ns").asi8, days, days.as_unit("s"), pd.Series(days))
    ]
    for found in daily:
        assert found.day_ns.tolist() == [start, start + DAY_NS]
        assert found.returns == pytest.approx([0.1, 0.1])
    labels = forward_labels(days, [1.0, 2.0], days[:1], horizons_ns=[DAY_NS], max_age_ns=DAY_NS)
    assert labels.column(1).to_pylist() == [1.0]
    for refused in ([0.5, 1.5], pd.Series(days.tz_localize("UTC"))):
        with pytest.raises(TimeColumnError, match="int64 nanoseconds or datetime64"):
            metrics.daily_returns(refused, [1.0, 1.0], start_ns=0, starting_equity=1.0)
