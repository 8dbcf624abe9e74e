"""Commands that study a suite's signals, or a finished run: what research asks before and after."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click
from phoenix_schemas.timestamps import NS_PER_MINUTE

from phoenix_runner.command_options import (
    JSON,
    QUIET,
    RUNS_DIR,
    SET,
    SUITE,
    WORKERS,
    durations,
    print_json,
    with_options,
)

if TYPE_CHECKING:
    from phoenix_runner.progress import RunProgress
    from phoenix_runner.suite import Suite

HORIZONS = click.option(
    "--horizons", default="1m,5m,15m", show_default=True, help="Forward times of the mid returns."
)


def _study_command[**P](function: Callable[P, None]) -> Callable[P, None]:
    """What every command that studies a suite takes."""
    return with_options(SUITE, SET, JSON, QUIET)(function)


@click.command()
@_study_command
@HORIZONS
def features(
    suite: str, overrides: tuple[str, ...], horizons: str, as_json: bool, quiet: bool
) -> None:
    """Write a SUITE's signals and labels for a notebook. What signals said is in features.parquet,
    what followed in labels.parquet."""
    from phoenix_runner.bundle import read_json
    from phoenix_runner.remote_runs import with_local_output
    from phoenix_runner.research.features import write_dataset
    from phoenix_runner.suite import load_suite

    loaded, remote = with_local_output(load_suite(suite, overrides))
    horizons_ns = _horizons(horizons)
    with _replay_progress(loaded, quiet) as progress:
        folder = write_dataset(loaded, horizons_ns=horizons_ns, progress=progress)
    place = str(folder) if remote is None else remote.upload(folder)
    facts = read_json(folder, "dataset.json")
    if as_json:
        print_json({"folder": place, **facts})
    elif not quiet:
        click.echo(f"{facts['rows']} rows of {', '.join(facts['signals'])}")
        click.echo(f"dataset: {place}")


@click.command()
@_study_command
@HORIZONS
@click.option("--signal", "signals", multiple=True, help="Only this signal; may be repeated.")
@click.option(
    "--draws",
    type=click.IntRange(min=100),
    default=1000,
    show_default=True,
    help="Bootstrap draws.",
)
def decay(
    suite: str,
    overrides: tuple[str, ...],
    horizons: str,
    signals: tuple[str, ...],
    draws: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Say how well signals of a SUITE order later returns. How fast that fades is said by horizon."""
    from phoenix_runner.remote_runs import with_local_output
    from phoenix_runner.research.decay_verdict import decay_verdict, never_known_sentence
    from phoenix_runner.research.studies import read_figures, run_decay
    from phoenix_runner.suite import load_suite
    from phoenix_runner.terminal import decay_table

    loaded, remote = with_local_output(load_suite(suite, overrides))
    horizons_ns = _horizons(horizons)
    with _replay_progress(loaded, quiet) as progress:
        folder, study = run_decay(
            loaded, signals=signals, horizons_ns=horizons_ns, draws=draws, progress=progress
        )
    if remote is not None:
        remote.upload(folder)
    if as_json:
        print_json({"folder": str(folder), "decay": read_figures(folder / "decay.json")})
    elif not quiet:
        click.echo(decay_table(study), nl=False)
        if study.never_known:
            click.echo(never_known_sentence(study))
        click.echo(decay_verdict(study))
        click.echo(f"report: {folder / 'report.html'}")


@click.command()
@click.argument("run_name", metavar="RUN")
@RUNS_DIR
@click.option("--catalog", help="The run's catalog, if it is no longer where the run saw it.")
@JSON
@QUIET
def regimes(run_name: str, runs_dir: str, catalog: str | None, as_json: bool, quiet: bool) -> None:
    """Split a RUN's results by the state of the market. By spread, volatility, toxicity and funding."""
    from phoenix_runner.bundle import find_run
    from phoenix_runner.remote_runs import runs_folder
    from phoenix_runner.research.studies import read_figures, run_regimes
    from phoenix_runner.terminal import regime_tables

    folder, tables, missing = run_regimes(find_run(run_name, runs_folder(runs_dir)), catalog)
    if as_json:
        print_json({"folder": str(folder), **read_figures(folder / "regimes.json")})
    elif not quiet:
        click.echo(regime_tables(tables, missing), nl=False)
        click.echo(f"report: {folder / 'report.html'}")


@click.command()
@_study_command
@click.option("--cuts", default=3, show_default=True, help="Times at which the future is cut off.")
@click.option("--warmups", help="Also compare these lengths of warm-up, as 0s,1h,6h.")
@WORKERS
def lookahead(
    suite: str,
    overrides: tuple[str, ...],
    cuts: int,
    warmups: str | None,
    workers: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run a SUITE with its future cut off and altered. Any earlier decision that changes is an error."""
    from phoenix_runner.errors import NoDataError
    from phoenix_runner.executors import open_executor
    from phoenix_runner.modes import default_workers
    from phoenix_runner.progress import TaskBar
    from phoenix_runner.remote_runs import with_local_output
    from phoenix_runner.research.lookahead import LookaheadError, passed_sentence
    from phoenix_runner.research.lookahead_study import run_lookahead
    from phoenix_runner.research.studies import read_figures
    from phoenix_runner.suite import load_suite
    from phoenix_runner.terminal import lookahead_text

    loaded, remote = with_local_output(load_suite(suite, overrides))
    lengths = [length.strip() for length in warmups.split(",")] if warmups else []
    if warmups:
        durations(warmups, "--warmups", "0s,1h,6h are typical", step_ns=NS_PER_MINUTE, least_ns=0)
    try:
        with (
            TaskBar("look-ahead", quiet=quiet) as bar,
            open_executor("local", workers=workers or default_workers()) as pool,
        ):
            folder, checks, rows = run_lookahead(
                loaded, pool, cuts=cuts, warmups=lengths, progress=bar
            )
    except LookaheadError as error:
        if remote is not None and error.folder is not None:
            remote.upload(error.folder)
        raise
    if remote is not None:
        remote.upload(folder)
    if not any(check.compared for check in checks):
        raise NoDataError(f"{passed_sentence(checks)}; see {folder / 'report.html'}")
    if as_json:
        print_json({"folder": str(folder), **read_figures(folder / "lookahead.json")})
    elif not quiet:
        click.echo(lookahead_text(checks, rows), nl=False)
        click.echo(f"report: {folder / 'report.html'}")


def _horizons(text: str) -> list[int]:
    return durations(text, "--horizons", "1m,5m,15m are typical")


def _replay_progress(suite: Suite, quiet: bool) -> RunProgress:
    from phoenix_runner.progress import RunProgress

    time = suite.config.time
    name = suite.config.output.suite_name
    return RunProgress(name, time.start_ns - time.warmup_ns, time.end_ns, quiet=quiet)


COMMANDS = (features, decay, regimes, lookahead)
