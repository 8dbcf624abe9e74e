"""Walk-forward: choose parameters on training ranges, judge the choice on what came after.

    folds -> [a screen of all sets on each training range: the best few go on]
          -> a run for each (fold, parameter set) on its training range
          -> the best set of each fold by the objective, ties to the earlier set (see `training`)
          -> a run for each fold on its test range, with that set, as soon as the set is known
          -> one bundle: the folds' bundles, trials.csv, set_returns.parquet (see `trials`),
          walk_forward.json, summary, report

Each run starts flat with the starting balances and fresh state, is warmed on the data before its range
(`time.warmup`) and closed at its end with costs. Nothing of a test range reaches the choice: a training
run ends at its own end, and what a strategy fits (see `fitting`) it fits on that range. Runs are tasks
(see `tasks`), so the result does not depend on how many workers did them, and a suite that was stopped
goes on where it was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import reduce
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from phoenix_schemas.timestamps import NS_PER_DAY, format_utc

from phoenix_runner.bundle import (
    BundleFiles,
    BundleWriter,
    experiment_id,
    is_finished,
    read_json,
)
from phoenix_runner.catalog_manifest import catalog_digest, require_as_ingested
from phoenix_runner.catalog_series import Catalog
from phoenix_runner.config import WalkForwardMode, duration_ns, duration_text
from phoenix_runner.environment import describe_environment
from phoenix_runner.errors import NoDataError, SuiteError
from phoenix_runner.experiment import (
    Published,
    config_text,
    describe_experiment,
    now_utc,
    timing,
)
from phoenix_runner.feeds import open_feeds
from phoenix_runner.fold_results import (
    DroppedFold,
    FoldResult,
    OverfittingResult,
    WalkForwardResult,
    summarize_walk_forward,
)
from phoenix_runner.folds import Fold, FoldPlan
from phoenix_runner.inference import InferenceError, probability_of_backtest_overfitting
from phoenix_runner.report.bundle_files import read_walk_forward
from phoenix_runner.report.wording import count
from phoenix_runner.screening import FILL_RULE, check_screenable
from phoenix_runner.search import (
    ParameterSet,
    allowed_sets,
    describe,
    refuse_too_many,
    short,
    with_parameters,
)
from phoenix_runner.suite import Suite
from phoenix_runner.task_queue import TaskProgress, TaskStore, run_tasks
from phoenix_runner.tasks import (
    SCREENED,
    AnyTask,
    Files,
    ScreenTask,
)
from phoenix_runner.training import Training, task_over
from phoenix_runner.trials import (
    TRIAL_COLUMNS,
    Trial,
    Tried,
    best_of,
    returns_table,
    trial_rows,
    trial_variance,
)

BLOCKS = 16
"""Blocks of the days-by-sets matrix in the probability of backtest overfitting."""


def run_walk_forward(
    suite: Suite,
    executor: Executor,
    *,
    overwrite: bool = False,
    progress: TaskProgress | None = None,
) -> Published:
    """Run a walk-forward suite and publish its bundle, or return the finished one."""
    mode = suite.config.mode
    assert isinstance(mode, WalkForwardMode)
    digest = catalog_digest(suite)
    experiment = describe_experiment(suite, digest)
    identity = experiment_id(experiment)
    output = suite.config.output
    folder = Path(output.dir) / identity
    if is_finished(folder) and not (overwrite or output.overwrite):
        return Published(folder, read_json(folder, "summary.json"), reused=True)
    started, began = now_utc(), time.perf_counter()
    schedule = fold_plan(suite, mode).schedule()
    folds, without_data = _with_data(suite, schedule.folds)
    screen = mode.search.screen
    if screen is not None:
        check_screenable(suite, mode.search)
    sets, left_out = allowed_sets(suite, mode.search)
    absent = _no_overfitting(mode, suite, sets)
    replayed = min(len(sets), screen.keep) if screen is not None else len(sets)
    refuse_too_many(
        len(folds) * (replayed + 1), f"{count(replayed, 'set')} in {count(len(folds), 'fold')}"
    )
    require_as_ingested(suite)

    section = suite.config.time
    store = TaskStore(Path(output.dir), fresh=overwrite)
    done: list[AnyTask] = []

    def finish(tasks: Sequence[AnyTask], **options: Any) -> list[Files]:
        done.extend(tasks)
        return run_tasks(tasks, executor, store, **options)

    # What is tried on each training range: every set, or the best of a screen.
    screened: list[list[Trial]] = []
    tried = [list(range(len(sets))) for _ in folds]
    series: list[Trial] = []  # every set over the whole range
    if screen is not None:
        whole = [section.start_ns, section.end_ns] if not absent else []
        ranges = [(f.train_start_ns, f.train_end_ns) for f in folds]
        labels = [f"fold {f.index} screen" for f in folds]
        if whole:
            ranges.append((whole[0], whole[1]))
            labels.append("whole range screen")
        found = [
            json.loads(files[SCREENED])
            for files in finish(
                [
                    _screen_task(suite, sets, label, digest, *range_)
                    for label, range_ in zip(labels, ranges, strict=True)
                ],
                progress=progress,
            )
        ]
        if whole:
            series = [Trial.screened(s) for s in found.pop()]
        screened = [[Trial.screened(s) for s in fold] for fold in found]
        tried = [best_of(fold, mode.objective, screen.keep) for fold in screened]
    replays = [
        task_over(suite, s, f"whole range, {describe(s)}", digest, section.start_ns, section.end_ns)
        for s in (sets if screen is None and not absent else [])
    ]
    training = Training(suite, sets, folds, tried, digest)
    first = finish(
        [*training.tasks, *replays], progress=progress, then=training.take, following=len(folds)
    )
    series += [Trial.of(files) for files in first[len(training.tasks) :]]
    by_fold, chosen = training.by_fold, training.chosen
    tests = finish(training.tests)  # done already: each followed its fold's training

    overfitting = _overfitting(series, screened=screen is not None)
    if overfitting is None and not absent:
        absent = f"too few days with data, {2 * BLOCKS} needed"
    result = WalkForwardResult(
        experiment_id=identity,
        strategy=suite.config.strategy.name,
        instrument_ids=list(suite.instruments),
        currency=json.loads(tests[0]["summary.json"])["currency"],
        starting_equity=json.loads(tests[0]["summary.json"])["starting_equity"],
        kind=mode.folds,
        purge_ns=duration_ns(mode.purge),
        embargo_ns=duration_ns(mode.embargo),
        objective=mode.objective,
        selection=_selection_sentence(mode, len(sets), len(left_out)),
        searched={short(k): list(v) for k, v in mode.search.parameters.items()},
        sets_evaluated=len(sets),
        declared_trials=mode.declared_trials,
        trial_variance=trial_variance(screened or [list(own.values()) for own in by_fold]),
        folds=[
            FoldResult(
                index=fold.index,
                train_start_ns=fold.train_start_ns,
                train_end_ns=fold.train_end_ns,
                test_start_ns=fold.test_start_ns,
                test_end_ns=fold.test_end_ns,
                chosen={short(k): v for k, v in sets[c].items()},
                fitted={short(k): v for k, v in fold_trials[c].fitted.items()},
                train_mean_daily=fold_trials[c].mean_daily,
                train_sharpe_daily=fold_trials[c].sharpe_daily,
                bundle=f"fold-{fold.index:02d}",
            )
            for fold, c, fold_trials in zip(folds, chosen, by_fold, strict=True)
        ],
        dropped=_dropped(schedule.dropped),
        without_data=[_untested(fold) for fold in without_data],
        overfitting=overfitting,
        no_overfitting=absent,
        left_out=left_out,
    )
    with BundleWriter(folder) as bundle:
        files = BundleFiles()
        files.json("experiment.json", experiment)
        files.text("config_resolved.yaml", config_text(suite))
        files.json("environment.json", describe_environment())
        rows = trial_rows(folds, by_fold, screened, sets, chosen, mode.objective)
        files.csv("trials.csv", TRIAL_COLUMNS, rows)
        files.parquet("set_returns.parquet", _all_returns(folds, by_fold, screened, series))
        bundle.write(files.content)
        for fold, test in zip(result.folds, tests, strict=True):
            bundle.write(test, into=fold.bundle)
        result.write(bundle.folder)
        last = BundleFiles()
        last.json("summary.json", _summary(suite, result, bundle.folder))
        events = sum(json.loads(t["summary.json"])["events"] for t in tests)
        seconds = time.perf_counter() - began
        last.json("timing.json", timing(started, output.suite_name, seconds, events))
        bundle.write(last.content)
        from phoenix_runner.report.writing import write_report

        write_report(bundle.folder)
        bundle.publish()
    store.forget(done)
    return Published(folder, read_json(folder, "summary.json"), reused=False)


def fold_plan(suite: Suite, mode: WalkForwardMode) -> FoldPlan:
    """The folds of a suite; its purge covers `mode.horizon` and the strategy's own time stop.

    Raises FoldError, or SuiteError where a test range would not begin and end at midnight UTC: a day
    in two folds would count twice.
    """
    section = suite.config.time
    plan = FoldPlan(
        start_ns=section.start_ns,
        end_ns=section.end_ns,
        train_ns=duration_ns(mode.train),
        test_ns=duration_ns(mode.test),
        step_ns=None if mode.step is None else duration_ns(mode.step),
        purge_ns=duration_ns(mode.purge),
        embargo_ns=duration_ns(mode.embargo),
        horizon_ns=max(duration_ns(mode.horizon), suite.spec.longest_holding_ns(suite.settings)),
        kind=mode.folds,
    )
    first = plan.schedule().folds[0].test_start_ns
    for name, ns in (
        ("start + train + embargo", first),
        ("test", plan.test_ns),
        ("step", plan.step),
    ):
        if ns % NS_PER_DAY:
            raise SuiteError(
                f"mode: {name} must be whole days, so that test ranges begin and end at midnight "
                f"UTC (was {format_utc(ns) if ns == first else duration_text(ns)}); use days"
            )
    return plan


def _with_data(suite: Suite, folds: Sequence[Fold]) -> tuple[list[Fold], list[Fold]]:
    """The folds that can be trained and tested, and those that a gap in the data swallows.

    Raises NoDataError when none is left.
    """
    catalog = Catalog.open(suite.config.catalog.path)
    kept: list[Fold] = []
    missing: dict[int, NoDataError] = {}
    for fold in folds:
        try:
            open_feeds(suite, catalog, fold.train_start_ns, fold.train_end_ns)
            open_feeds(suite, catalog, fold.test_start_ns, fold.test_end_ns)
        except NoDataError as error:
            missing[fold.index] = error
        else:
            kept.append(fold)
    if not kept:
        raise next(iter(missing.values()))
    return kept, [fold for fold in folds if fold.index in missing]


def _screen_task(
    suite: Suite, sets: Sequence[ParameterSet], label: str, digest: str, start_ns: int, end_ns: int
) -> ScreenTask:
    start_utc, end_utc = format_utc(start_ns), format_utc(end_ns)
    # All of them, so that a set which the suite refuses is said before any work.
    suites = [with_parameters(suite, s, start_utc=start_utc, end_utc=end_utc) for s in sets]
    return ScreenTask(label, suites[0], digest, tuple(sets))


def _no_overfitting(mode: WalkForwardMode, suite: Suite, sets: Sequence[ParameterSet]) -> str:
    """Why the probability of backtest overfitting is not computed; nothing if it is."""
    section = suite.config.time
    days = (section.end_ns - section.start_ns) // NS_PER_DAY
    if not mode.overfitting:
        return "mode.overfitting is false"
    if len(sets) < 2:
        return "1 set, 2 needed"
    return "" if days >= 2 * BLOCKS else f"{count(days, 'day')}, {2 * BLOCKS} needed"


def _overfitting(series: Sequence[Trial], *, screened: bool) -> OverfittingResult | None:
    if not series:
        return None
    common = reduce(np.intersect1d, [trial.day_ns for trial in series])
    matrix = np.array([t.returns[np.isin(t.day_ns, common)] for t in series]).T
    try:
        found = probability_of_backtest_overfitting(matrix, blocks=BLOCKS)
    except InferenceError:  # too few days with data
        return None
    source = (
        f"Every parameter set was screened over the whole range from batch signals ({FILL_RULE}); the "
        "matrix holds its daily returns."
        if screened
        else "Every parameter set was replayed over the whole range, as one run with all its costs; the "
        "matrix holds its daily returns."
    )
    return OverfittingResult.of(found, source=source)


def _all_returns(
    folds: Sequence[Fold],
    by_fold: Sequence[Tried],
    screened: Sequence[Sequence[Trial]],
    series: Sequence[Trial],
) -> pa.Table:
    """Every daily return that a figure of the suite rests on."""
    replays: dict[int | None, Tried] = {
        fold.index: trials for fold, trials in zip(folds, by_fold, strict=True)
    }
    screens: dict[int | None, Tried] = {
        fold.index: dict(enumerate(trials)) for fold, trials in zip(folds, screened, strict=False)
    }
    (screens if screened else replays)[None] = dict(enumerate(series))
    return pa.concat_tables(
        [returns_table(replays, screened=False), returns_table(screens, screened=True)]
    )


def _selection_sentence(mode: WalkForwardMode, sets: int, left_out: int) -> str:
    how = "every combination" if mode.search.method == "grid" else "a seeded random sample"
    values = "the values given" + (", where the strategy allows them together" if left_out else "")
    objective, screen = mode.objective.replace("_", " "), mode.search.screen
    if screen is not None:
        return (
            f"{sets} parameter sets ({how} of {values}) were screened on each training "
            f"range from batch signals: {FILL_RULE}. The best {min(screen.keep, sets)} by "
            f"{objective} were replayed there with all costs, and the best of those was chosen, the "
            "earlier of equals. The variance across sets is the screen's."
        )
    return (
        f"Each of {sets} parameter sets ({how} of {values}) was replayed on the "
        f"training range with all costs; the best by {objective} was chosen, the earlier of equals."
    )


def _dropped(fold: Fold | None) -> DroppedFold | None:
    return None if fold is None else _untested(fold)


def _untested(fold: Fold) -> DroppedFold:
    return DroppedFold(test_start_ns=fold.test_start_ns, test_end_ns=fold.test_end_ns)


def _summary(suite: Suite, result: WalkForwardResult, folder: Path) -> dict[str, Any]:
    """`summary.json` of the aggregate, in the keys of a single run where they mean the same."""
    _, runs = read_walk_forward(folder)
    figures = summarize_walk_forward(result, [run.record for run in runs])
    tests = [read_json(folder / fold.bundle, "summary.json") for fold in result.folds]
    return {
        "experiment_id": result.experiment_id,
        "mode": "walk_forward",
        "strategy": result.strategy,
        "instrument_ids": result.instrument_ids,
        "simulated": tests[0]["simulated"],
        "venue": suite.config.universe.venue,
        "currency": result.currency,
        "trading_start_utc": tests[0]["trading_start_utc"],
        "end_utc": tests[-1]["end_utc"],
        "bar_fills": tests[0]["bar_fills"],
        "starting_equity": result.starting_equity,
        **{k: figures["attribution"][k] for k in ("gross", "fees", "spread", "funding", "net")},
        "orders": sum(t["orders"] for t in tests),
        "fills": sum(t["fills"] for t in tests),
        "positions": sum(t["positions"] for t in tests),
        "events": sum(t["events"] for t in tests),
        "folds": len(result.folds),
        "sets_evaluated": result.sets_evaluated,
        "left_out": msgspec.to_builtins(result.left_out),
        "gaps": [gap for t in tests for gap in t["gaps"]],
        "figures": figures,
    }
