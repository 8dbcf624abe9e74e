"""The portable random numbers and functions: right values, and the same ones for ever."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from phoenix_etl.synthetic import draws
from phoenix_etl.synthetic.draws import Draws
from scipy import stats


def test_exp_and_log_agree_with_the_library_to_the_last_bits() -> None:
    x = np.linspace(-30.0, 30.0, 20_001)
    np.testing.assert_allclose(draws.exp(x), np.exp(x), rtol=1e-15)
    y = np.concatenate([np.geomspace(1e-300, 1e300, 20_001), 1.0 + np.linspace(-1e-3, 1e-3, 2001)])
    np.testing.assert_allclose(draws.log(y), np.log(y), rtol=1e-14, atol=1e-18)


@pytest.mark.parametrize(
    ("name", "cdf"),
    [
        ("normal", stats.norm.cdf),
        ("exponential", stats.expon.cdf),
        ("uniform", stats.uniform.cdf),
    ],
)
def test_distributions_are_what_they_are_called(name: str, cdf) -> None:
    sample = getattr(Draws(3, name), name)(50_000)
    assert stats.kstest(sample, cdf).pvalue > 0.01


def test_pareto_and_poisson_have_their_moments() -> None:
    assert stats.kstest(Draws(3).pareto(1.5, 50_000), stats.pareto(1.5).cdf).pvalue > 0.01
    counts = Draws(3).poisson(0.7, 100_000)
    assert abs(counts.mean() - 0.7) < 4 * math.sqrt(0.7 / 1e5)
    assert abs(counts.var() - 0.7) < 0.02


def test_streams_are_fixed_for_ever() -> None:
    """Golden: made with NumPy 2.5, CPython 3.12, x86-64. A change moves every simulated market."""
    stream = Draws(7, "BTCUSDT", "2024-01-01", "golden")
    sample = np.concatenate(
        [stream.uniform(100), stream.normal(100), stream.exponential(100), stream.pareto(1.5, 100)]
    )
    assert hashlib.sha256(sample.tobytes()).hexdigest()[:16] == "f5b88408a0f6b901"


def test_the_normal_table_is_far_from_any_rounding_edge() -> None:
    """Its entries come from the machine's log; none may be near enough to round differently."""
    from statistics import NormalDist

    cells = 1 << 14
    scaled = np.array([NormalDist().inv_cdf(i / cells) for i in range(1, cells)]) * 2.0**24
    distance = np.abs(scaled - np.floor(scaled) - 0.5)
    assert distance.min() > 1e-6


def test_decay_and_between() -> None:
    path = draws.decay(np.array([1.0, 0.0, 0.0]), 0.5)
    assert path.tolist() == [1.0, 0.5, 0.25]
    assert draws.pinned(np.array([1.0, 5.0, 3.0])).tolist() == [0.0, 3.0, 0.0]
    assert draws.between(np.array([0.0, 10.0, 0.0]), np.array([0.25, 1.5, 2.0])).tolist() == [
        2.5, 5.0, 0.0,
    ]  # fmt: skip
