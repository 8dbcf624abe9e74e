"""Into standard units, or not: the z-score that a pressure index is configured with."""

from __future__ import annotations

from typing import Literal

from phoenix_signals.errors import NUMBER_MAX, ParameterError, is_number, number_error
from phoenix_signals.rolling import ZKind, ZScoreMeanStd, ZScoreMedianMad, zscore

PressureZKind = ZKind | Literal["none"]

ZScore = ZScoreMeanStd | ZScoreMedianMad


def standardizer(
    kind: PressureZKind, window_count: int, min_count: int, z_clip: float
) -> ZScore | None:
    """The z-score of a kind, None for "none"."""
    chosen = "median_mad" if kind == "none" else kind
    z = zscore(chosen, window_count, min_count, z_clip)  # checks the arguments in any case
    return None if kind == "none" else z


def standardized(z: ZScore | None, x: float, min_scale: float = 0.0) -> float | None:
    """z of the next value, or the value itself without a z-score."""
    if z is None:
        return x
    z.update(x, min_scale)
    return z.value


def sgn(x: float) -> float:
    """-1, 0 or 1.

    >>> sgn(-0.5), sgn(0.0)
    (-1.0, 0.0)
    """
    return float((x > 0.0) - (x < 0.0))


def check_weight(name: str, weight: float) -> float:
    """Return `weight` when it is a number of at least 0.

    >>> check_weight("lambda_ld", -1.0)
    Traceback (most recent call last):
    phoenix_signals.errors.ParameterError: lambda_ld must be a number of at least 0 (was -1.0); \
typical: 1
    """
    if not is_number(weight) or weight < 0.0:
        raise ParameterError(f"{name} must be a number of at least 0 (was {weight!r}); typical: 1")
    return weight


def check_optional(name: str, x: float | None) -> None:
    """Refuse NaN and infinity; None passes, it means unknown."""
    if x is not None and not -NUMBER_MAX < x < NUMBER_MAX:
        raise number_error(name, x)
