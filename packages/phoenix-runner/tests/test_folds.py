"""Folds never overlap, never leak, and cover the range as far as it goes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from phoenix_runner.folds import Fold, FoldError, FoldPlan

DAY = 86_400 * 10**9


@st.composite
def plans(draw: st.DrawFn) -> FoldPlan:
    train = draw(st.integers(2, 50))
    test = draw(st.integers(1, 20))
    purge = draw(st.integers(0, train - 1))
    embargo = draw(st.integers(0, 10))
    start = draw(st.integers(0, 1000))
    return FoldPlan(
        start_ns=start,
        end_ns=start + train + embargo + test + draw(st.integers(0, 200)),
        train_ns=train,
        test_ns=test,
        step_ns=draw(st.none() | st.integers(test, test + 15)),
        purge_ns=purge,
        embargo_ns=embargo,
        horizon_ns=draw(st.integers(0, purge)),
        kind=draw(st.sampled_from(["rolling", "anchored"])),
    )


@given(plans())
def test_training_ends_a_purge_before_the_turn_and_testing_starts_an_embargo_after(
    plan: FoldPlan,
) -> None:
    for fold in plan.schedule().folds:
        assert plan.start_ns <= fold.train_start_ns < fold.train_end_ns
        assert fold.test_start_ns - fold.train_end_ns == plan.purge_ns + plan.embargo_ns
        # No label or holding that starts in training is still open when the test starts.
        assert fold.train_end_ns + plan.horizon_ns <= fold.test_start_ns
        assert fold.test_end_ns - fold.test_start_ns == plan.test_ns
        assert fold.test_end_ns <= plan.end_ns


@given(plans())
def test_tests_never_overlap_and_step_evenly(plan: FoldPlan) -> None:
    folds = plan.schedule().folds
    assert [fold.index for fold in folds] == list(range(len(folds)))
    assert folds[0].test_start_ns == plan.start_ns + plan.train_ns + plan.embargo_ns
    for a, b in pairwise(folds):
        assert a.test_end_ns <= b.test_start_ns
        assert b.test_start_ns - a.test_start_ns == plan.step


@given(plans())
def test_training_length_is_constant_or_grows(plan: FoldPlan) -> None:
    for fold in plan.schedule().folds:
        length = fold.train_end_ns - fold.train_start_ns
        grown = fold.index * plan.step if plan.kind == "anchored" else 0
        assert length == plan.train_ns - plan.purge_ns + grown


@given(plans())
def test_what_is_dropped_is_the_next_fold_and_does_not_fit(plan: FoldPlan) -> None:
    schedule = plan.schedule()
    following = schedule.folds[-1].test_start_ns + plan.step
    if schedule.dropped is None:
        assert following >= plan.end_ns
    else:
        assert schedule.dropped.index == len(schedule.folds)
        assert schedule.dropped.test_start_ns == following
        assert schedule.dropped.test_end_ns > plan.end_ns


def test_a_range_that_ends_with_the_last_test_drops_nothing() -> None:
    plan = FoldPlan(start_ns=0, end_ns=20 * DAY, train_ns=10 * DAY, test_ns=5 * DAY)
    schedule = plan.schedule()
    assert schedule.dropped is None
    assert schedule.folds == (
        Fold(0, 0, 10 * DAY, 10 * DAY, 15 * DAY),
        Fold(1, 5 * DAY, 15 * DAY, 15 * DAY, 20 * DAY),
    )


GOOD: dict[str, Any] = {
    "start_ns": 0,
    "end_ns": 30 * DAY,
    "train_ns": 10 * DAY,
    "test_ns": 5 * DAY,
    "purge_ns": DAY,
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step_ns": 5 * DAY - 1}, "mode.step must be at least mode.test, 5d"),
        ({"horizon_ns": 2 * DAY}, "mode.purge must be at least the longest holding"),
        ({"purge_ns": 10 * DAY}, "mode.purge must be shorter than mode.train"),
        ({"end_ns": 15 * DAY - 1}, "must fit the range"),
        ({"embargo_ns": 16 * DAY}, "must fit the range"),
        ({"embargo_ns": -1}, "embargo_ns must not be negative"),
        ({"train_ns": 0}, "mode.train must be positive"),
        ({"test_ns": 0}, "mode.test must be positive"),
        ({"end_ns": 0}, "end_ns must be after start_ns"),
        ({"kind": "expanding"}, "kind must be rolling or anchored"),
    ],
)
def test_refusals(change: dict[str, Any], message: str) -> None:
    FoldPlan(**GOOD)
    with pytest.raises(FoldError, match=message) as caught:
        FoldPlan(**{**GOOD, **change})
    assert caught.value.exit_code == 2
