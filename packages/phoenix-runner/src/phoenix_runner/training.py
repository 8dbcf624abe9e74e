"""Training of a walk-forward's folds: every set on its training range, and a test for the best one.

A fold's test follows as soon as its own training is complete: other folds may be far behind.
"""

from __future__ import annotations

from collections.abc import Sequence

from phoenix_schemas.timestamps import format_utc

from phoenix_runner.config import WalkForwardMode
from phoenix_runner.folds import Fold
from phoenix_runner.search import ParameterSet, describe, with_parameters
from phoenix_runner.suite import Suite
from phoenix_runner.tasks import Files, Task
from phoenix_runner.trials import Trial, choose


class Training:
    """Trials of each fold as they come in, the choice among them, and the test that it makes possible.

    `tried` holds, for each fold, the indices of the sets that are trained on it.
    """

    def __init__(
        self,
        suite: Suite,
        sets: Sequence[ParameterSet],
        folds: Sequence[Fold],
        tried: Sequence[Sequence[int]],
        digest: str,
    ) -> None:
        mode = suite.config.mode
        assert isinstance(mode, WalkForwardMode)
        self._objective = mode.objective
        self._suite, self._sets, self._folds, self._digest = suite, sets, folds, digest
        self._trials: list[dict[int, Trial | None]] = [dict.fromkeys(own) for own in tried]
        self._places = [(fold, s) for fold, own in enumerate(tried) for s in own]
        self._chosen: dict[int, int] = {}
        self._tests: dict[int, Task] = {}

    @property
    def tasks(self) -> list[Task]:
        """A run of each set on the training range of its fold."""
        found = []
        for number, s in self._places:
            fold, own = self._folds[number], self._sets[s]
            label = f"fold {fold.index} train, {describe(own)}"
            found.append(
                task_over(
                    self._suite, own, label, self._digest, fold.train_start_ns, fold.train_end_ns,
                    fit=True,
                )
            )  # fmt: skip
        return found

    def take(self, index: int, files: Files) -> Task | None:
        """Enter what task `index` found; the test of its fold, if that was the last of its training."""
        if index >= len(self._places):
            return None
        number, s = self._places[index]
        self._trials[number][s] = Trial.of(files)
        if None in self._trials[number].values():
            return None
        trials, fold = self.by_fold[number], self._folds[number]
        chosen = list(trials)[choose(list(trials.values()), self._objective)]
        self._chosen[number] = chosen
        # What is fitted was fitted in training, so that the test has nothing left to fit.
        own = {**self._sets[chosen], **trials[chosen].fitted}
        label = f"fold {fold.index} test, {describe(self._sets[chosen])}"
        self._tests[number] = task_over(
            self._suite, own, label, self._digest, fold.test_start_ns, fold.test_end_ns, whole=True
        )
        return self._tests[number]

    @property
    def by_fold(self) -> list[dict[int, Trial]]:
        """Of each fold the trials that are in, by set, in the order of the sets."""
        return [{s: t for s, t in own.items() if t is not None} for own in self._trials]

    @property
    def chosen(self) -> list[int]:
        """Of each fold the set that was best in training."""
        return [self._chosen[number] for number in range(len(self._folds))]

    @property
    def tests(self) -> list[Task]:
        """Of each fold the run of its chosen set on its test range."""
        return [self._tests[number] for number in range(len(self._folds))]


def task_over(
    suite: Suite, parameters: ParameterSet, label: str, digest: str, start_ns: int, end_ns: int,
    *, whole: bool = False, fit: bool = False,
) -> Task:  # fmt: skip
    """A run of a suite with its parameters over a range."""
    own = with_parameters(
        suite, parameters, start_utc=format_utc(start_ns), end_utc=format_utc(end_ns)
    )
    return Task(label, own, digest, whole, fit)
