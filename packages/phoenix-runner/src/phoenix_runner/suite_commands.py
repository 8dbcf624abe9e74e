"""Commands that run suites: single runs, walk-forwards, variants, and several suites side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from phoenix_schemas.timestamps import NS_PER_MINUTE

from phoenix_runner.command_options import (
    EXECUTION,
    JSON,
    QUIET,
    SET,
    SUITE,
    durations,
    print_json,
    with_options,
)

if TYPE_CHECKING:
    from phoenix_runner.experiment import Published
    from phoenix_runner.suite import Suite


def _suite_command[**P](function: Callable[P, None]) -> Callable[P, None]:
    """What every command that runs a suite takes."""
    overwrite = click.option(
        "--overwrite", is_flag=True, help="Run again although the experiment is finished."
    )
    return with_options(SUITE, SET, overwrite, *EXECUTION, JSON, QUIET)(function)


@click.command()
@_suite_command
@click.option("--window", default="1h", show_default=True, help="Data read at a time.")
def run(suite: str, overrides: tuple[str, ...], window: str, **options: Any) -> None:
    """Run a SUITE in its own mode. Writes its bundle and report."""
    from phoenix_runner.suite import load_suite

    window_ns, *others = durations(window, "--window", "1h is typical", step_ns=NS_PER_MINUTE)
    if others:
        raise click.UsageError(f"--window must be one duration (was {window}); 1h is typical")
    _run(load_suite(suite, overrides), window_ns=window_ns, **options)


@click.command(name="walk-forward")
@_suite_command
def walk_forward(suite: str, overrides: tuple[str, ...], **options: Any) -> None:
    """Run a walk-forward SUITE. Chooses on training ranges, judges on the test ranges after them."""
    _run(_suite_in_mode(suite, overrides, "walk_forward"), **options)


@click.command()
@_suite_command
def sweep(suite: str, overrides: tuple[str, ...], **options: Any) -> None:
    """Run a sweep SUITE: every parameter set over the whole range."""
    _run(_suite_in_mode(suite, overrides, "sweep"), **options)


@click.command()
@_suite_command
def ablation(suite: str, overrides: tuple[str, ...], **options: Any) -> None:
    """Run an ablation SUITE: named variants side by side."""
    _run(_suite_in_mode(suite, overrides, "ablation"), **options)


@click.command()
@_suite_command
def costs(suite: str, overrides: tuple[str, ...], **options: Any) -> None:
    """Run a SUITE under other fees, latencies and slippage. Says what cost it could bear."""
    _run(_suite_in_mode(suite, overrides, "costs", given=True), **options)


@click.command()
@_suite_command
@click.option("--x", "x_axis", required=True, metavar="KEY.PATH=A,B,...", help="One parameter.")
@click.option("--y", "y_axis", required=True, metavar="KEY.PATH=A,B,...", help="The other.")
def sensitivity(
    suite: str, overrides: tuple[str, ...], x_axis: str, y_axis: str, **options: Any
) -> None:
    """Run a SUITE over a surface of two parameters."""
    from phoenix_runner.suite import load_suite

    axes = []
    for name, text in (("--x", x_axis), ("--y", y_axis)):
        key, equals, values = text.partition("=")
        if not equals or not key or not values:
            raise click.UsageError(f"{name} must be KEY.PATH=A,B,... (was {text!r})")
        axes.append(f"{key}: [{values}]")
    mode = f"mode={{kind: sweep, search: {{parameters: {{{', '.join(axes)}}}}}}}"
    _run(load_suite(suite, [*overrides, mode]), **options)


@click.command()
@click.argument("suites", nargs=-1, required=True, type=click.Path(dir_okay=False))
@click.option(
    "--out",
    default="contest.html",
    show_default=True,
    type=click.Path(dir_okay=False),
    help="Page that sets them side by side.",
)
@SET
@click.option("--overwrite", is_flag=True, help="Run again what is finished.")
@with_options(*EXECUTION)
@JSON
@QUIET
def contest(
    suites: tuple[str, ...],
    out: str,
    overrides: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Run SUITES and set their results side by side. The first one is the baseline."""
    from phoenix_runner.modes import run_experiment
    from phoenix_runner.report.writing import write_comparison
    from phoenix_runner.suite import load_suite
    from phoenix_runner.terminal import contest_table
    from phoenix_runner.writable import require_writable

    found = [load_suite(suite, overrides) for suite in suites]
    loaded = {suite.config.output.suite_name: suite for suite in found}
    if len(loaded) < len(suites):
        raise click.UsageError("SUITES must have an output.suite_name of their own each")
    require_writable(Path(out).parent, "--out")
    _check_executor(found, quiet=quiet, **options)
    done = {name: run_experiment(suite, quiet=quiet, **options) for name, suite in loaded.items()}
    page = write_comparison({name: run.folder for name, run in done.items()}, Path(out))
    if as_json:
        runs = {n: {"folder": str(d.folder), **d.summary} for n, d in done.items()}
        print_json({"report": str(page), "runs": runs})
    elif not quiet:
        click.echo(contest_table(done), nl=False)
        click.echo(f"report: {page}")


def _suite_in_mode(
    suite: str, overrides: tuple[str, ...], kind: str, *, given: bool = False
) -> Suite:
    """The suite, which must be of that mode; `given`: it gets that mode if it has another."""
    from phoenix_runner.suite import load_suite

    loaded = load_suite(suite, overrides, kind=kind if given else None)
    found = loaded.config.mode.__struct_config__.tag
    if found != kind:
        raise click.UsageError(f"{suite}: mode.kind must be {kind} for this command (was {found})")
    return loaded


def published(done: Published) -> dict[str, Any]:
    place = {} if done.address is None else {"address": done.address}
    return {"folder": str(done.folder), **place, "reused": done.reused, **done.summary}


def _run(suite: Suite, *, as_json: bool, quiet: bool, **options: Any) -> None:
    from phoenix_runner.modes import run_experiment
    from phoenix_runner.terminal import describe

    _check_executor([suite], quiet=quiet, **options)
    done = run_experiment(suite, quiet=quiet, **options)
    if as_json:
        print_json(published(done))
    elif not quiet:
        click.echo(describe(done))


def _check_executor(
    suites: Sequence[Suite],
    *,
    quiet: bool,
    workers: int | None,
    executor: str,
    scheduler: str | None,
    **_options: Any,
) -> None:
    """Says so if the options of many runs are given for single ones, which they do not change."""
    if scheduler is not None and executor != "dask":
        raise click.UsageError(f"--scheduler must go with --executor dask (was {executor})")
    asked = workers is not None or executor != "local"
    if asked and not quiet and all(s.config.mode.__struct_config__.tag == "single" for s in suites):
        click.echo(
            "note: --workers and --executor are for suites of many runs; a single run is done here, in "
            "one process",
            err=True,
        )


COMMANDS = (run, walk_forward, sweep, ablation, costs, sensitivity, contest)
