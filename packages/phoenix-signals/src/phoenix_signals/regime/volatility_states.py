"""Volatility regimes: ranks in history, with hysteresis."""

from __future__ import annotations

from phoenix_schemas.signal_records import VolatilityRegime

from phoenix_signals.errors import (
    NUMBER_MAX,
    ParameterError,
    check_count,
    is_number,
    size_error,
)
from phoenix_signals.estimator import Estimator
from phoenix_signals.rolling import Percentile

REGIMES = (
    VolatilityRegime.NORMAL,
    VolatilityRegime.HIGH_VARIANCE,
    VolatilityRegime.LOW_LIQUIDITY,
)
"""Regimes by the number that [VolatilityRegimes][] gives them."""


class VolatilityRegimes(Estimator):
    """Volatility regime with hysteresis, from ranks in all history so far.

    Formula:
        LOW_LIQUIDITY (2) when the spread is among its widest 1 - spread_share or depth among its
        thinnest `depth_share`, else HIGH_VARIANCE (1) when the variance is among its highest
        1 - variance_share, else NORMAL (0). A state that is entered is left only when its rank has
        come back by `hysteresis` (spread and depth both). Ties count as ordinary: rank from above is
        the share of history >= the value, so a spread that is pinned at one tick, where every value
        is "the widest", is not a thin market.
    Units: none; any unit that stays the same for each input.
    Clock: one sample of all per update, e.g. at each bar's close.
    Warm-up: `min_count` samples of the variance.
    Missing data: None enters no history and enters or leaves no state; a state that only depth can
        leave is left without it while depth is unknown.
    Errors: a negative input, NaN or infinity raises `InputError`, the state stays.
    Memory: all history, three numbers per sample: only an expanding history never looks ahead.

    Example:
        >>> regimes = VolatilityRegimes(min_count=1, variance_share=0.5)
        >>> for variance in (1.0, 3.0, 2.0, 9.0):
        ...     regimes.update(variance, 1.0, None)
        >>> regimes.value, str(regimes.regime)
        (1, 'HIGH_VARIANCE')

    Source: design note "signals", Regime.
    """

    ID = "volatility_regimes"
    VERSION = 1
    EXAMPLES = (
        {"min_count": 5},
        {"min_count": 10, "spread_share": 0.8, "depth_share": 0.2, "variance_share": 0.7,
         "hysteresis": 0.1},
    )  # fmt: skip

    __slots__ = (
        "_is_rough", "_is_thin", "_rough", "_thin", "_wide", "depth_share", "hysteresis",
        "min_count", "spread_share", "value", "variance_share",
    )  # fmt: skip

    def __init__(
        self,
        min_count: int = 30,
        spread_share: float = 0.95,
        depth_share: float = 0.05,
        variance_share: float = 0.90,
        hysteresis: float = 0.05,
    ) -> None:
        self.min_count = check_count("min_count", min_count, 1, "30")
        self.spread_share = check_share("spread_share", spread_share, "0.95")
        self.depth_share = check_share("depth_share", depth_share, "0.05")
        self.variance_share = check_share("variance_share", variance_share, "0.90")
        if not 0.0 <= hysteresis < 1.0:
            raise ParameterError(f"hysteresis must lie in [0, 1) (was {hysteresis}); typical: 0.05")
        self.hysteresis = hysteresis
        # Ranks from above take the negated value: the share of history at or above it.
        self._wide = Percentile(None, min_count)
        self._thin = Percentile(None, min_count)
        self._rough = Percentile(None, min_count)
        self._is_thin = self._is_rough = False
        self.value: int | None = None

    def update(self, variance: float | None, spread: float | None, depth: float | None) -> None:
        """Take one sample."""
        for name, x in (("variance", variance), ("spread", spread), ("depth", depth)):
            if x is not None and not 0.0 <= x < NUMBER_MAX:
                raise size_error(name, x)
        wide = _rank(self._wide, None if spread is None else -spread)
        thin = _rank(self._thin, depth)
        rough = _rank(self._rough, None if variance is None else -variance)
        slack = self.hysteresis
        top = 1.0 - self.spread_share
        if (wide is not None and wide <= top) or (thin is not None and thin <= self.depth_share):
            self._is_thin = True
        elif (
            wide is not None
            and wide > top + slack
            and (thin is None or thin > self.depth_share + slack)
        ):
            self._is_thin = False
        top = 1.0 - self.variance_share
        if rough is not None:
            if rough <= top:
                self._is_rough = True
            elif rough > top + slack:
                self._is_rough = False
        if self._rough.value is not None:
            self.value = 2 if self._is_thin else int(self._is_rough)

    @property
    def regime(self) -> VolatilityRegime | None:
        """The regime by name, None during warm-up."""
        return None if self.value is None else REGIMES[self.value]


def check_share(name: str, value: float, typical: str) -> float:
    """Return `value` when it lies in (0, 1).

    >>> check_share("spread_share", 95, "0.95")
    Traceback (most recent call last):
    phoenix_signals.errors.ParameterError: spread_share must lie between 0 and 1 (was 95); \
typical: 0.95
    """
    if not is_number(value) or not 0.0 < value < 1.0:
        raise ParameterError(f"{name} must lie between 0 and 1 (was {value!r}); typical: {typical}")
    return value


def _rank(percentile: Percentile, x: float | None) -> float | None:
    if x is None:
        return None
    percentile.update(x)
    return percentile.value
