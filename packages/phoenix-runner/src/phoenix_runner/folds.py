"""Walk-forward folds: where each training range ends and each test range begins.

```
start                 T_0 = start + train                T_1 = T_0 + step
|------- train -------|                                  |
        [T_0 - train, T_0 - purge)  gap  [T_0 + embargo, T_0 + embargo + test)
```

The purge keeps labels and holdings that reach past the end of training out of it; the embargo keeps
what training still moves (queues, carried volatility) out of the test. Times are int64 ns UTC,
ranges end-exclusive. A rolling plan trains on a window of constant length, an anchored one from the
start. [FoldPlan.schedule][] gives the folds in time order, and the partial last one it dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from phoenix_runner.config import duration_text
from phoenix_runner.errors import RunnerError

_INT64_MAX = 2**63 - 1


class FoldError(RunnerError):
    """The folds asked for overlap, leak, or do not fit the range."""

    exit_code = 2


@dataclass(frozen=True)
class Fold:
    """One training range and the test range it is judged on, [start, end) each, in ns UTC."""

    index: int
    train_start_ns: int
    train_end_ns: int
    test_start_ns: int
    test_end_ns: int


@dataclass(frozen=True)
class FoldSchedule:
    """The folds of a plan, and the last one if the range ends inside its test.

    `dropped` has the ranges that the next fold would have had; its `test_end_ns` lies past the end
    of the data. None when the next fold would not even start testing inside the range.
    """

    folds: tuple[Fold, ...]
    dropped: Fold | None


@dataclass(frozen=True)
class FoldPlan:
    """Lengths and gaps of a walk-forward, checked when made.

    `start_ns`, `end_ns`: the range to use, end-exclusive. `train_ns`: length up to T_j before the
    purge is cut off (for an anchored plan, of the first fold). `purge_ns` must be at least
    `horizon_ns`, the longest holding or label horizon. `step_ns` must be at least `test_ns`, so
    that no day is tested twice; None means `test_ns`.

    Raises [FoldError][] (exit code 2) if a rule is broken or not one fold fits.

    >>> day = 86_400 * 10**9
    >>> plan = FoldPlan(start_ns=0, end_ns=30 * day, train_ns=10 * day, test_ns=5 * day,
    ...                 purge_ns=day, embargo_ns=day // 2, horizon_ns=day // 24)
    >>> for fold in plan.schedule().folds:
    ...     print([t / day for t in (fold.train_start_ns, fold.train_end_ns,
    ...                              fold.test_start_ns, fold.test_end_ns)])
    [0.0, 9.0, 10.5, 15.5]
    [5.0, 14.0, 15.5, 20.5]
    [10.0, 19.0, 20.5, 25.5]
    >>> plan.schedule().dropped.test_end_ns / day
    30.5
    """

    start_ns: int
    end_ns: int
    train_ns: int
    test_ns: int
    step_ns: int | None = None
    purge_ns: int = 0
    embargo_ns: int = 0
    horizon_ns: int = 0
    kind: Literal["rolling", "anchored"] = "rolling"

    def __post_init__(self) -> None:
        if self.kind not in ("rolling", "anchored"):
            raise FoldError(f"kind must be rolling or anchored (was {self.kind!r})")
        if not 0 <= self.start_ns < self.end_ns <= _INT64_MAX:
            raise FoldError(
                f"end_ns must be after start_ns, both ns UTC since 1970 (was {self.start_ns} to "
                f"{self.end_ns})"
            )
        for name in ("train_ns", "test_ns"):
            if (value := getattr(self, name)) <= 0:
                raise FoldError(
                    f"mode.{name.removesuffix('_ns')} must be positive (was "
                    f"{duration_text(value)}); days or weeks are usual"
                )
        for name in ("purge_ns", "embargo_ns", "horizon_ns"):
            if (value := getattr(self, name)) < 0:
                raise FoldError(f"{name} must not be negative (was {value})")
        if self.purge_ns < self.horizon_ns:
            raise FoldError(
                f"mode.purge must be at least the longest holding or label horizon, "
                f"{duration_text(self.horizon_ns)} (was {duration_text(self.purge_ns)}); else training "
                "knows part of the test"
            )
        if self.purge_ns >= self.train_ns:
            raise FoldError(
                f"mode.purge must be shorter than mode.train, {duration_text(self.train_ns)} (was "
                f"{duration_text(self.purge_ns)}); nothing would be left to train on"
            )
        if self.step < self.test_ns:
            raise FoldError(
                f"mode.step must be at least mode.test, {duration_text(self.test_ns)} (was "
                f"{duration_text(self.step)}); test ranges that overlap would count days twice"
            )
        needed, given = self.train_ns + self.embargo_ns + self.test_ns, self.end_ns - self.start_ns
        if needed > given:
            raise FoldError(
                f"mode.train + mode.embargo + mode.test must fit the range of "
                f"{duration_text(given)} (was {duration_text(needed)}); use a longer range or "
                "shorter folds"
            )

    @property
    def step(self) -> int:
        """Distance between two folds in ns."""
        return self.test_ns if self.step_ns is None else self.step_ns

    def schedule(self) -> FoldSchedule:
        """All folds whose test range fits, and the one that was dropped because it does not."""
        folds: list[Fold] = []
        while (fold := self._fold(len(folds))).test_end_ns <= self.end_ns:
            folds.append(fold)
        return FoldSchedule(tuple(folds), fold if fold.test_start_ns < self.end_ns else None)

    def _fold(self, index: int) -> Fold:
        turn = self.start_ns + self.train_ns + index * self.step
        return Fold(
            index=index,
            train_start_ns=turn - self.train_ns if self.kind == "rolling" else self.start_ns,
            train_end_ns=turn - self.purge_ns,
            test_start_ns=turn + self.embargo_ns,
            test_end_ns=turn + self.embargo_ns + self.test_ns,
        )
