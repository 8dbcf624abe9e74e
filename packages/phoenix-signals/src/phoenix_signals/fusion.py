"""Many factors, one direction: theta in (-1, 1), positive is up.

- [EnsembleFusion][]: a weighted mean of the clipped factors that are fresh.
- [KalmanFusion][]: a hidden random walk that every factor observes with noise of its own.

Both take one row per time: a z-score for each factor that has news, None for the others. A factor
must give news on its own bar or bucket clock, once per bar: handing its last value again with every
quote would count one observation many times. Factor order is that of the weights, for good.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from phoenix_signals.errors import (
    NUMBER_MAX,
    InputError,
    ParameterError,
    check_count,
    check_positive,
    check_time,
    is_number,
    number_error,
)
from phoenix_signals.estimator import Estimator


class EnsembleFusion(Estimator):
    """Direction from the weighted mean of the fresh factors.

    Formula:
        theta = tanh(gain * sum w_i clip(z_i, +-z_clip) / sum |w_i|), both sums over the factors
        whose last news is at most `max_ages_ns[i]` old at `ts_ns`. A negative weight turns a
        factor around.
    Units: z-scores in, a number in (-1, 1) out.
    Clock: event time; one row per update, news of each factor on its own clock.
    Warm-up: `min_factors` fresh factors; fewer at any later time give None again.
    Missing data: None is no news: the factor keeps its last value until it is too old.
    Errors: NaN, infinity, a row of another length or time going back raises `InputError`, the
        state stays; `weights` that are empty or 0 or `max_ages_ns` of another length raise
        `ParameterError`.

    Example:
        >>> fusion = EnsembleFusion(weights=(1.0, 3.0), max_ages_ns=(10, 10), min_factors=1)
        >>> fusion.update(0, (1.0, None))
        >>> round(fusion.value, 4)
        0.7616
        >>> fusion.update(5, (None, -1.0))
        >>> round(fusion.value, 4)
        -0.4621

    Source: design note "signals", Fusion.
    """

    ID = "ensemble_fusion"
    VERSION = 1
    EXAMPLES = (
        {"weights": (1.0, 1.0, -0.5), "max_ages_ns": (10**9, 10**9, 10**9)},
        {"weights": (1.0, 2.0, 0.5), "max_ages_ns": (10**8, 10**9, 10**10), "min_factors": 2,
         "gain": 0.5, "z_clip": 1.5},
    )  # fmt: skip

    __slots__ = (
        "_last", "_seen", "_z", "gain", "max_ages_ns", "min_factors", "value", "weights", "z_clip",
    )  # fmt: skip

    def __init__(
        self,
        weights: tuple[float, ...],
        max_ages_ns: tuple[int, ...],
        min_factors: int = 1,
        gain: float = 1.0,
        z_clip: float = 3.0,
    ) -> None:
        self.weights = _finite("weights", weights)
        if not isinstance(max_ages_ns, tuple | list):
            raise ParameterError(
                f"max_ages_ns must be a tuple, one age per weight (was {max_ages_ns!r}); "
                "typical: two periods of the factor's clock"
            )
        self.max_ages_ns = tuple(max_ages_ns)
        if 0.0 in self.weights:
            raise ParameterError("weights must not hold 0 (was 0); leave the factor out")
        if len(self.max_ages_ns) != len(self.weights):
            raise ParameterError(
                f"max_ages_ns must have one age per weight, {len(self.weights)} "
                f"(was {len(self.max_ages_ns)}); typical: two periods of the factor's clock"
            )
        for age in self.max_ages_ns:
            check_count("max_ages_ns", age, 0, "two periods of the factor's clock")
        self.min_factors = check_count("min_factors", min_factors, 1, "2")
        if min_factors > len(self.weights):
            raise ParameterError(
                f"min_factors must be at most the {len(self.weights)} factors (was {min_factors})"
            )
        self.gain = check_positive("gain", gain, "1")
        self.z_clip = check_positive("z_clip", z_clip, "3")
        self._last: int | None = None
        self._seen: list[int | None] = [None] * len(self.weights)
        self._z = [0.0] * len(self.weights)
        self.value: float | None = None

    def update(self, ts_ns: int, z: Sequence[float | None]) -> None:
        """Take the news of one time: a z-score or None per factor."""
        _check_row(ts_ns, z, self._last, len(self.weights))
        self._last = ts_ns
        for i, news in enumerate(z):
            if news is not None:
                self._seen[i] = ts_ns
                self._z[i] = max(-self.z_clip, min(self.z_clip, news))
        fresh = 0
        weighted = total = 0.0
        for weight, value, seen, age in zip(
            self.weights, self._z, self._seen, self.max_ages_ns, strict=True
        ):
            if seen is not None and ts_ns - seen <= age:
                fresh += 1
                weighted += weight * value
                total += abs(weight)
        self.value = math.tanh(self.gain * weighted / total) if fresh >= self.min_factors else None


class KalmanState[Number](NamedTuple):
    """Filtered direction, and how much to believe it.

    `theta` = tanh(mean); `mean` and `variance` are those of the hidden state; `nis` is the sum of
    v^2 / S over the `observed` factors of the last row. If the noise parameters are right, nis is
    chi-squared with `observed` degrees of freedom: a mean far above says that they are too small.
    """

    theta: Number
    mean: Number
    variance: Number
    nis: Number
    observed: Number


class KalmanFusion(Estimator):
    """Direction as a hidden random walk, observed by factors that do not come together.

    Formula:
        x_t = x_s + N(0, q (t - s)), z_i = h_i x + N(0, R_i), independent. Once per row
        P += q dt, dt in seconds since the row before (0 at the first, whose P is
        `initial_variance` and whose x is 0). Then, in factor order, for each factor with news:
        v = z - h x, S = h P h + R, K = P h / S, x += K v, and in Joseph form
        P = (1 - K h) P (1 - K h) + K R K, which stays positive under rounding. theta = tanh(x).
    Units: z-scores in; `drift_variance_per_s` in squared z per second.
    Clock: event time; one row per update, news of each factor on its own clock.
    Warm-up: the first observation.
    Missing data: None is no news; a row without any only lets P grow.
    Errors: NaN, infinity, a row of another length or time going back raises `InputError`, the
        state stays; variances not above 0 or lengths that differ raise `ParameterError`.

    Example:
        >>> fusion = KalmanFusion(noise_variances=(1.0, 1.0), drift_variance_per_s=0.0)
        >>> fusion.update(0, (1.0, None))
        >>> fusion.update(10**9, (None, 1.0))
        >>> round(fusion.value.mean, 4), round(fusion.value.variance, 4)
        (0.6667, 0.3333)

    Source: Durbin and Koopman (2012), Time Series Analysis by State Space Methods, 6.4 (one
    observation at a time); Bucy and Joseph (1968) for the form of P.
    """

    ID = "kalman_fusion"
    VERSION = 1
    EXAMPLES = (
        {"noise_variances": (1.0, 2.0, 0.5)},
        {"noise_variances": (1.0, 4.0, 9.0), "loadings": (1.0, -0.5, 2.0),
         "drift_variance_per_s": 0.5, "initial_variance": 10.0},
    )  # fmt: skip

    __slots__ = (
        "_last", "_mean", "_nis", "_observed", "_variance", "count", "drift_variance_per_s",
        "initial_variance", "loadings", "noise_variances",
    )  # fmt: skip

    def __init__(
        self,
        noise_variances: tuple[float, ...],
        loadings: tuple[float, ...] | None = None,
        drift_variance_per_s: float = 1e-3,
        initial_variance: float = 1.0,
    ) -> None:
        self.noise_variances = _finite("noise_variances", noise_variances)
        for variance in self.noise_variances:
            check_positive("noise_variances", variance, "1")
        self.loadings = (
            (1.0,) * len(self.noise_variances)
            if loadings is None
            else _finite("loadings", loadings)
        )
        if len(self.loadings) != len(self.noise_variances):
            raise ParameterError(
                f"loadings must have one number per factor, {len(self.noise_variances)} "
                f"(was {len(self.loadings)}); leave them out for 1 each"
            )
        if not is_number(drift_variance_per_s) or drift_variance_per_s < 0.0:
            raise ParameterError(
                "drift_variance_per_s must be a number of at least 0 "
                f"(was {drift_variance_per_s}); typical: 0.001"
            )
        self.drift_variance_per_s = drift_variance_per_s
        self.initial_variance = check_positive("initial_variance", initial_variance, "1")
        self._last: int | None = None
        self._mean = 0.0
        self._variance = initial_variance
        self._nis = 0.0
        self._observed = 0
        self.count = 0

    def update(self, ts_ns: int, z: Sequence[float | None]) -> None:
        """Take the news of one time: a z-score or None per factor."""
        last = self._last
        _check_row(ts_ns, z, last, len(self.noise_variances))
        variance = self._variance
        if last is not None:
            variance += self.drift_variance_per_s * ((ts_ns - last) * 1e-9)
        self._last = ts_ns
        mean = self._mean
        nis = 0.0
        observed = 0
        for news, h, noise in zip(z, self.loadings, self.noise_variances, strict=True):
            if news is None:
                continue
            v = news - h * mean
            s = h * variance * h + noise
            k = variance * h / s
            mean += k * v
            keep = 1.0 - k * h
            variance = keep * variance * keep + k * noise * k
            nis += v * v / s
            observed += 1
        self._mean = mean
        self._variance = variance
        self._nis = nis
        self._observed = observed
        self.count += observed

    @property
    def value(self) -> KalmanState[float] | None:
        """Filtered state, None before the first observation."""
        if self.count == 0:
            return None
        return KalmanState(
            math.tanh(self._mean), self._mean, self._variance, self._nis, self._observed
        )


def _finite(name: str, values: Any) -> tuple[float, ...]:
    if not isinstance(values, tuple | list) or not values or not all(map(is_number, values)):
        raise ParameterError(
            f"{name} must be one finite number per factor (was {values!r}); typical: 1 each"
        )
    return tuple(values)


def _check_row(ts_ns: int, z: Sequence[float | None], last: int | None, factors: int) -> None:
    if len(z) != factors:
        raise InputError(
            f"z must hold {factors} entries, one per factor (was {len(z)}); None means no news"
        )
    for news in z:
        if news is not None and not -NUMBER_MAX < news < NUMBER_MAX:
            raise number_error("z", news)
    check_time(ts_ns, last or 0)
