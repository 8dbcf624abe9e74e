"""What the test ranges of a walk-forward say together.

[chain][] compounds the folds' daily returns into one curve, [walk_forward_efficiency][] compares
them with the training that chose them, [parameter_stability][] says how much the choice moved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoenix_runner.errors import RunnerError
from phoenix_runner.metrics import DailyReturns


class OutOfSampleError(RunnerError):
    """Folds do not go together."""


@dataclass(frozen=True)
class ChainedCurve:
    """Out-of-sample days of all folds in order; `equity` is at each day's end."""

    day_ns: NDArray[np.int64]
    returns: NDArray[np.float64]
    equity: NDArray[np.float64]
    fold: NDArray[np.int64]


@dataclass(frozen=True)
class ParameterStability:
    """How one parameter's chosen value moved over the folds.

    `modal_share`: share of folds that chose the most frequent value (the first such).
    `changes`: folds whose value differs from the fold before. `mean_step`: mean absolute step
    between folds as a share of the range searched, None unless numeric with a range.
    """

    name: str
    values: tuple[Any, ...]
    distinct: int
    modal_value: Any
    modal_share: float
    changes: int
    mean_step: float | None


def chain(folds: Sequence[DailyReturns], *, starting_equity: float) -> ChainedCurve:
    """One out-of-sample curve from the folds' daily returns, by compounding.

    Every fold starts flat from the same balance, so money does not add up across folds, but returns
    compound. Days between folds are absent, not zero. Raises [OutOfSampleError][] when a day is in
    two folds or out of order (folds must begin and end at midnight UTC for that).

    >>> day = 86_400 * 10**9
    >>> one = DailyReturns(np.array([0, day]), np.array([0.5, 0.0]))
    >>> two = DailyReturns(np.array([5 * day]), np.array([-0.5]))
    >>> chain([one, two], starting_equity=100.0).equity.tolist()
    [150.0, 150.0, 75.0]
    """
    if not folds:
        raise OutOfSampleError("folds must hold at least one fold (was empty)")
    days = np.concatenate([f.day_ns for f in folds])
    if np.any(np.diff(days) <= 0):
        at = int(np.flatnonzero(np.diff(days) <= 0)[0])
        raise OutOfSampleError(
            "days of the folds must increase (was "
            f"{np.datetime64(int(days[at + 1]), 'ns').astype('datetime64[D]')} after "
            f"{np.datetime64(int(days[at]), 'ns').astype('datetime64[D]')}); use test ranges that "
            "begin and end at midnight UTC"
        )
    returns = np.concatenate([f.returns for f in folds])
    return ChainedCurve(
        day_ns=days,
        returns=returns,
        equity=starting_equity * np.cumprod(1 + returns),
        fold=np.repeat(np.arange(len(folds)), [f.returns.size for f in folds]),
    )


def walk_forward_efficiency(
    test_mean_daily: Sequence[float], train_mean_daily: Sequence[float]
) -> float | None:
    """Sum over folds of the test's mean daily return over the same of the chosen sets in training.

    1 keeps in the test what training promised, 0 keeps nothing. None (undefined) when training
    itself promised nothing: a denominator <= 0.

    >>> walk_forward_efficiency([0.001, -0.0005], [0.002, 0.003])
    0.1
    """
    if len(test_mean_daily) != len(train_mean_daily):
        raise OutOfSampleError(
            "test_mean_daily and train_mean_daily must have one value a fold (was "
            f"{len(test_mean_daily)}, {len(train_mean_daily)})"
        )
    promised = sum(train_mean_daily)
    return sum(test_mean_daily) / promised if promised > 0 else None


def parameter_stability(
    chosen: Sequence[Mapping[str, Any]], searched: Mapping[str, Sequence[Any]]
) -> tuple[ParameterStability, ...]:
    """For each parameter searched, how its chosen value moved from fold to fold.

    >>> [s] = parameter_stability([{"n": 10}, {"n": 10}, {"n": 30}], {"n": [10, 20, 30]})
    >>> s.modal_value, round(s.modal_share, 3), s.changes, s.mean_step
    (10, 0.667, 1, 0.5)
    """
    found = []
    for name, grid in searched.items():
        values = tuple(fold[name] for fold in chosen)
        if not values:
            raise OutOfSampleError("chosen must hold at least one fold (was empty)")
        modal, times = Counter(values).most_common(1)[0]
        found.append(
            ParameterStability(
                name=name,
                values=values,
                distinct=len(set(values)),
                modal_value=modal,
                modal_share=times / len(values),
                changes=sum(a != b for a, b in pairwise(values)),
                mean_step=_mean_step(values, grid),
            )
        )
    return tuple(found)


def _mean_step(values: Sequence[Any], grid: Sequence[Any]) -> float | None:
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in [*values, *grid])
    if not numeric or len(values) < 2 or max(grid) == min(grid):
        return None
    steps = [abs(b - a) for a, b in pairwise(values)]
    return float(sum(steps) / len(steps) / (max(grid) - min(grid)))
