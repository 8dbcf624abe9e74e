"""The `phoenix` command: run suites, look at their results.

Results go to standard output, progress and errors to standard error. An error is one line; the exit
code is 0 done, 1 data or strategy failure, 2 wrong usage or config, 3 nothing found, 130 interrupted.
"""

from __future__ import annotations

import json
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from phoenix_schemas.errors import PhoenixError

if TYPE_CHECKING:
    from phoenix_runner.suite import Suite

RUNS_DIR = click.option(
    "--runs-dir", default="runs", show_default=True, help="Folder that holds the bundles."
)
SET = click.option(
    "--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Override a key (YAML)."
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
QUIET = click.option("--quiet", is_flag=True, help="No progress, no text: only errors.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="phoenix-runner", prog_name="phoenix")
def cli() -> None:
    """Backtests of Phoenix strategies on Binance USD-M data, from suite to report."""


def _suite_command[**P](function: Callable[P, None]) -> Callable[P, None]:
    """What every command that runs a suite takes."""
    for option in reversed(
        (
            click.argument("suite", type=click.Path(dir_okay=False)),
            SET,
            click.option(
                "--overwrite", is_flag=True, help="Run again although the experiment is finished."
            ),
            click.option(
                "--workers", type=click.IntRange(min=1), help="Processes; default one per core."
            ),
            click.option(
                "--executor", type=click.Choice(["local", "dask"]), default="local",
                show_default=True, help="Where the runs of a suite with many are done.",
            ),
            click.option("--scheduler", help="Dask scheduler, as tcp://host:8786."),
            JSON,
            QUIET,
        )
    ):  # fmt: skip
        function = option(function)
    return function


@cli.command()
@_suite_command
@click.option("--window", default="1h", show_default=True, help="Data read at a time.")
def run(suite: str, overrides: tuple[str, ...], window: str, **options: Any) -> None:
    """Run a SUITE file in its own mode and write its bundle and report."""
    from phoenix_runner.config import duration_ns
    from phoenix_runner.suite import load_suite

    try:
        window_ns = duration_ns(window)
    except ValueError as error:
        raise click.UsageError(f"--window: {error}") from None
    _run(load_suite(suite, overrides), window_ns=window_ns, **options)


@cli.command(name="walk-forward")
@_suite_command
def walk_forward(suite: str, overrides: tuple[str, ...], **options: Any) -> None:
    """Run a walk-forward SUITE: choose on training ranges, judge on the test ranges after them."""
    _run(_suite_in_mode(suite, overrides, "walk_forward"), **options)


@cli.command()
@_suite_command
def sweep(suite: str, overrides: tuple[str, ...], **options: Any) -> None:
    """Run a sweep SUITE: every parameter set over the whole range."""
    _run(_suite_in_mode(suite, overrides, "sweep"), **options)


@cli.command()
@_suite_command
def ablation(suite: str, overrides: tuple[str, ...], **options: Any) -> None:
    """Run an ablation SUITE: named variants side by side."""
    _run(_suite_in_mode(suite, overrides, "ablation"), **options)


@cli.command()
@_suite_command
def costs(suite: str, overrides: tuple[str, ...], **options: Any) -> None:
    """Run a SUITE again under other fees, latencies and slippage; say what cost it could bear."""
    from phoenix_runner.suite import load_suite

    loaded = load_suite(suite, overrides)
    if loaded.config.mode.__struct_config__.tag != "costs":
        loaded = load_suite(suite, [*overrides, "mode={kind: costs}"])
    _run(loaded, **options)


@cli.command()
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


def _suite_in_mode(suite: str, overrides: tuple[str, ...], kind: str) -> Suite:
    from phoenix_runner.suite import load_suite

    loaded = load_suite(suite, overrides)
    found = loaded.config.mode.__struct_config__.tag
    if found != kind:
        raise click.UsageError(f"{suite}: mode.kind must be {kind} for this command (was {found})")
    return loaded


def _run(suite: Suite, *, as_json: bool, quiet: bool, **options: Any) -> None:
    from phoenix_runner.modes import run_experiment
    from phoenix_runner.terminal import describe

    done = run_experiment(suite, quiet=quiet, **options)
    if as_json:
        _print_json({"folder": str(done.folder), "reused": done.reused, **done.summary})
    elif not quiet:
        click.echo(describe(done))


@cli.command()
@click.option(
    "--dir", "folder", default="phoenix-demo", show_default=True, help="Where everything goes."
)
@click.option("--seed", default=1, show_default=True, help="Seed of the synthetic market.")
@JSON
@QUIET
def demo(folder: str, seed: int, as_json: bool, quiet: bool) -> None:
    """Make a synthetic day, ingest it, run EMA cross on it, and show the report. Needs nothing."""
    from phoenix_runner.demo import run_demo
    from phoenix_runner.terminal import describe

    done = run_demo(Path(folder), seed=seed, quiet=quiet)
    if as_json:
        _print_json({"folder": str(done.folder), "reused": done.reused, **done.summary})
    elif not quiet:
        click.echo(describe(done))


@cli.group()
def config() -> None:
    """Look at suite files."""


@config.command()
@click.argument("suite", type=click.Path(dir_okay=False))
@SET
@JSON
def show(suite: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Print a SUITE as it would run, every default written out."""
    from phoenix_runner.experiment import config_text
    from phoenix_runner.suite import load_suite

    loaded = load_suite(suite, overrides)
    if as_json:
        _print_json(loaded.to_builtins())
    else:
        click.echo(config_text(loaded), nl=False)


@config.command()
@click.option("--strategy", default="ema_cross", show_default=True, help="Whose settings.")
def schema(strategy: str) -> None:
    """Print the JSON Schema of a suite file, for editors."""
    from phoenix_runner.suite import suite_schema

    _print_json(suite_schema(strategy))


@cli.command()
@click.argument("run_name", metavar="RUN")
@RUNS_DIR
@JSON
def report(run_name: str, runs_dir: str, as_json: bool) -> None:
    """Draw the report of a finished RUN (its folder, or the start of its id) again."""
    from phoenix_runner.bundle import find_run, verify_bundle
    from phoenix_runner.modes import draw_report

    folder = find_run(run_name, Path(runs_dir))
    verify_bundle(folder)
    page = draw_report(folder)
    if as_json:
        _print_json({"report": str(page)})
    else:
        click.echo(str(page))


@cli.command()
@RUNS_DIR
@JSON
def runs(runs_dir: str, as_json: bool) -> None:
    """List finished runs, newest first."""
    from phoenix_runner.bundle import finished_runs
    from phoenix_runner.errors import NoDataError
    from phoenix_runner.terminal import list_runs, runs_table

    found = list_runs(finished_runs(Path(runs_dir)))
    if as_json:
        _print_json(found)
    elif not found:
        raise NoDataError(f"{runs_dir}: no finished runs here; make one with `phoenix run SUITE`")
    else:
        click.echo(runs_table(found), nl=False)


@cli.command()
@click.argument("first")
@click.argument("second")
@RUNS_DIR
@JSON
def compare(first: str, second: str, runs_dir: str, as_json: bool) -> None:
    """Show what differs between two runs: config, data, versions, results."""
    from phoenix_runner.bundle import find_run
    from phoenix_runner.terminal import compare_runs, comparison_table

    folders = [find_run(name, Path(runs_dir)) for name in (first, second)]
    differences = compare_runs(*folders)
    if as_json:
        _print_json(differences)
    else:
        click.echo(comparison_table(folders, differences), nl=False)


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False))


def main() -> None:
    """Entry point: one line for an error, and the exit code that goes with it."""
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    try:
        cli.main(args=arguments, prog_name="phoenix", standalone_mode=False)
    except PhoenixError as error:
        return _fail(str(error), error.exit_code)
    except click.exceptions.Exit as leaving:
        return int(leaving.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted", 130)
    except click.ClickException as error:
        return _fail(f"{error.format_message()} (see phoenix --help)", 2)
    except BrokenPipeError:
        return 0  # the reader has seen enough
    except Exception as error:  # noqa: BLE001  the last line of defence, nothing is hidden
        with tempfile.NamedTemporaryFile(
            "w", prefix="phoenix-", suffix=".log", delete=False, encoding="utf-8"
        ) as log:
            traceback.print_exc(file=log)
        what = f"{type(error).__name__}: {error}"
        return _fail(f"unexpected {what}; this is a defect, the traceback is in {log.name}", 1)
    return 0


def _fail(message: str, code: int) -> int:
    click.echo(f"phoenix: {' '.join(message.split())}", err=True)
    return code
