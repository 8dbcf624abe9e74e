"""What parameter sets did where they were tried: figures, the choice among them, and what is kept of it.

- `trials.csv`: a row per fold and set with its figures in training
- `set_returns.parquet`: `fold, set, screened, day_ns, return`: the daily returns of every set in the
  training of each fold, and over the whole range where `fold` is null. The variance of trials and the
  probability of backtest overfitting are computed from them, and anyone can do it again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from phoenix_runner.folds import Fold
from phoenix_runner.inference import InferenceError, moments
from phoenix_runner.search import ParameterSet, describe
from phoenix_runner.tasks import DAILY, FITTED, Files

TRIAL_COLUMNS = (
    "fold", "set", "parameters", "objective", "mean_daily", "sharpe_daily", "net",
    "maximum_drawdown", "fills", "screen_objective", "chosen",
)  # fmt: skip


RETURNS_SCHEMA = pa.schema(
    [
        ("fold", pa.int64()),
        ("set", pa.int64()),
        ("screened", pa.bool_()),
        ("day_ns", pa.int64()),
        ("return", pa.float64()),
    ]
)


@dataclass(frozen=True)
class Trial:
    """What one parameter set did on one training range, net of all costs."""

    day_ns: NDArray[np.int64]
    """The UTC days that the returns are of."""
    returns: NDArray[np.float64]
    net: float
    maximum_drawdown: float
    fills: int
    fitted: dict[str, Any] = field(default_factory=dict)
    """Settings that were fitted on that range, by key path."""

    @classmethod
    def of(cls, files: Files) -> Trial:
        """From the files of its task."""
        summary, daily = json.loads(files["summary.json"]), json.loads(files[DAILY])
        return cls(
            day_ns=np.asarray(daily["day_ns"], dtype=np.int64),
            returns=np.asarray(daily["returns"], dtype=np.float64),
            net=float(summary["net"]),
            maximum_drawdown=float(summary["figures"]["drawdown"]["maximum"]),
            fills=summary["fills"],
            fitted=json.loads(files[FITTED]),
        )

    @classmethod
    def screened(cls, found: Mapping[str, Any]) -> Trial:
        """From one entry of a screen."""
        return cls(
            day_ns=np.asarray(found["day_ns"], dtype=np.int64),
            returns=np.asarray(found["returns"], dtype=np.float64),
            net=found["net"],
            maximum_drawdown=found["maximum_drawdown"],
            fills=found["fills"],
        )

    @property
    def mean_daily(self) -> float:
        return float(self.returns.mean()) if self.returns.size else 0.0

    @property
    def sharpe_daily(self) -> float:
        """Sharpe ratio per day; 0 for returns that never vary, which a set without trades has."""
        return _sharpe(self.returns)

    def score(self, objective: str) -> float:
        """The objective; larger is better."""
        if objective == "net":
            return self.net
        if objective == "sharpe":
            return self.sharpe_daily
        if self.maximum_drawdown == 0:
            return math.inf if self.net > 0 else 0.0
        return self.mean_daily * self.returns.size / self.maximum_drawdown


def _sharpe(returns: NDArray[np.float64]) -> float:
    try:
        return moments(returns).sharpe
    except InferenceError:
        return 0.0


def choose(trials: Sequence[Trial], objective: str) -> int:
    """Index of the best trial by the objective; the earlier one of equals."""
    scores = [trial.score(objective) for trial in trials]
    return scores.index(max(scores))


def best_of(trials: Sequence[Trial], objective: str, keep: int) -> list[int]:
    """Indices of the best `keep` trials, in the order of the trials; the earlier one of equals."""
    order = sorted(range(len(trials)), key=lambda i: -trials[i].score(objective))
    return sorted(order[:keep])


def trial_variance(by_fold: Sequence[Sequence[Trial]]) -> float:
    """Variance (n - 1) across sets of their Sharpe ratio per day, each over its training in all folds.

    Over all of it, because the record that it deflates is as long: a ratio of one short training is
    nearly all noise, and no strategy could earn what the best of a few such ratios shows by luck.
    """
    pooled = [
        np.concatenate([trial.returns for trial in trials]) for trials in zip(*by_fold, strict=True)
    ]
    ratios = [_sharpe(returns) for returns in pooled]
    return float(np.var(ratios, ddof=1)) if len(ratios) > 1 else 0.0


def trial_rows(
    folds: Sequence[Fold],
    by_fold: Sequence[Mapping[int, Trial]],
    screened: Sequence[Sequence[Trial]],
    sets: Sequence[ParameterSet],
    chosen: Sequence[int],
    objective: str,
) -> list[dict[str, Any]]:
    """A row per fold and set; the figures of a replay are empty where a screen stopped the set."""

    def figures(trial: Trial | None) -> dict[str, Any]:
        if trial is None:
            return {}
        return {
            "objective": repr(trial.score(objective)),
            "mean_daily": repr(trial.mean_daily),
            "sharpe_daily": repr(trial.sharpe_daily),
            "net": repr(trial.net),
            "maximum_drawdown": repr(trial.maximum_drawdown),
            "fills": trial.fills,
        }

    return [
        {
            "fold": folds[place].index,
            "set": number,
            "parameters": describe(parameters),
            **figures(trials.get(number)),
            "screen_objective": repr(screened[place][number].score(objective))
            if screened
            else None,
            "chosen": str(number == chosen[place]).lower(),
        }
        for place, trials in enumerate(by_fold)
        for number, parameters in enumerate(sets)
    ]


type Tried = Mapping[int, Trial]
"""Trials of one range by the number of their set."""


def returns_table(by_fold: Mapping[int | None, Tried], *, screened: bool) -> pa.Table:
    """`set_returns.parquet` of some ranges: a row per day of each set, in that order."""
    columns: dict[str, list[Any]] = {name: [] for name in RETURNS_SCHEMA.names}
    for fold, trials in by_fold.items():
        for number, trial in trials.items():
            days = len(trial.day_ns)
            columns["fold"] += [fold] * days
            columns["set"] += [number] * days
            columns["screened"] += [screened] * days
            columns["day_ns"] += trial.day_ns.tolist()
            columns["return"] += trial.returns.tolist()
    return pa.table(columns, schema=RETURNS_SCHEMA)
