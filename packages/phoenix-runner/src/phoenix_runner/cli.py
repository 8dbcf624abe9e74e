"""The `phoenix` command: run suites, look at their results.

Results go to standard output, progress and errors to standard error. An error is one line; the exit
code is 0 done, 1 data or strategy failure, 2 wrong usage or config, 3 nothing found, 130 interrupted.
"""

from __future__ import annotations

import errno
import json
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from phoenix_schemas.errors import PhoenixError
from phoenix_schemas.timestamps import NS_PER_MINUTE

if TYPE_CHECKING:
    from phoenix_runner.experiment import Published
    from phoenix_runner.progress import RunProgress
    from phoenix_runner.suite import Suite

RUNS_DIR = click.option(
    "--runs-dir", default="runs", show_default=True, help="Folder (or URI) of the bundles."
)
SET = click.option(
    "--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Override a key (YAML)."
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
QUIET = click.option("--quiet", is_flag=True, help="No progress, no text: only errors.")
WORKERS = click.option(
    "--workers", type=click.IntRange(min=1), help="Processes; default one per core."
)
EXECUTION = (
    WORKERS,
    click.option(
        "--executor", type=click.Choice(["local", "dask"]), default="local",
        show_default=True, help="Where the runs of a suite with many are done.",
    ),
    click.option("--scheduler", help="Dask scheduler, as tcp://host:8786."),
)  # fmt: skip
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
REFUSED = frozenset(
    {
        errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG,
        errno.ELOOP, *FULL,
    }
)  # fmt: skip
"""What an operating system says of files that it will not write: no defect of ours."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="phoenix-runner", prog_name="phoenix")
def cli() -> None:
    """Backtests of Phoenix strategies on Binance USD-M data, from suite to report."""


def _with[**P](
    *options: Callable[[Callable[P, None]], Callable[P, None]],
) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Several options as one decorator, in the order of the help."""

    def decorate(function: Callable[P, None]) -> Callable[P, None]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _suite_command[**P](function: Callable[P, None]) -> Callable[P, None]:
    """What every command that runs a suite takes."""
    for option in reversed(
        (
            click.argument("suite", type=click.Path(dir_okay=False)),
            SET,
            click.option(
                "--overwrite", is_flag=True, help="Run again although the experiment is finished."
            ),
            *EXECUTION,
            JSON,
            QUIET,
        )
    ):
        function = option(function)
    return function


@cli.command()
@_suite_command
@click.option("--window", default="1h", show_default=True, help="Data read at a time.")
def run(suite: str, overrides: tuple[str, ...], window: str, **options: Any) -> None:
    """Run a SUITE file in its own mode and write its bundle and report."""
    from phoenix_runner.suite import load_suite

    window_ns, *others = _durations(window, "--window", "1h is typical", step_ns=NS_PER_MINUTE)
    if others:
        raise click.UsageError(f"--window must be one duration (was {window}); 1h is typical")
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
    _run(_suite_in_mode(suite, overrides, "costs", given=True), **options)


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


@cli.command()
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
@_with(*EXECUTION)
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
    """Run several SUITES, the first one being the baseline, and set their results side by side."""
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
        _print_json({"report": str(page), "runs": runs})
    elif not quiet:
        click.echo(contest_table(done), nl=False)
        click.echo(f"report: {page}")


HORIZONS = click.option(
    "--horizons", default="1m,5m,15m", show_default=True, help="Forward times of the mid returns."
)


def _study_command[**P](function: Callable[P, None]) -> Callable[P, None]:
    """What every command that studies a suite takes."""
    for option in (QUIET, JSON, SET, click.argument("suite", type=click.Path(dir_okay=False))):
        function = option(function)
    return function


@cli.command()
@_study_command
@HORIZONS
def features(
    suite: str, overrides: tuple[str, ...], horizons: str, as_json: bool, quiet: bool
) -> None:
    """Write features.parquet and labels.parquet of a SUITE: what signals said, what followed."""
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
        _print_json({"folder": place, **facts})
    elif not quiet:
        click.echo(f"{facts['rows']} rows of {', '.join(facts['signals'])}")
        click.echo(f"dataset: {place}")


@cli.command()
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
    """Say how well the signals of a SUITE order the returns that follow, and how fast that fades."""
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
        _print_json({"folder": str(folder), "decay": read_figures(folder / "decay.json")})
    elif not quiet:
        click.echo(decay_table(study), nl=False)
        if study.never_known:
            click.echo(never_known_sentence(study))
        click.echo(decay_verdict(study))
        click.echo(f"report: {folder / 'report.html'}")


@cli.command()
@click.argument("run_name", metavar="RUN")
@RUNS_DIR
@click.option("--catalog", help="The run's catalog, if it is no longer where the run saw it.")
@JSON
@QUIET
def regimes(run_name: str, runs_dir: str, catalog: str | None, as_json: bool, quiet: bool) -> None:
    """Split a finished RUN's results by spread, volatility, toxicity and funding."""
    from phoenix_runner.bundle import find_run
    from phoenix_runner.remote_runs import runs_folder
    from phoenix_runner.research.studies import read_figures, run_regimes
    from phoenix_runner.terminal import regime_tables

    folder, tables, missing = run_regimes(find_run(run_name, runs_folder(runs_dir)), catalog)
    if as_json:
        _print_json({"folder": str(folder), **read_figures(folder / "regimes.json")})
    elif not quiet:
        click.echo(regime_tables(tables, missing), nl=False)
        click.echo(f"report: {folder / 'report.html'}")


@cli.command()
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
    """Run a SUITE with its future cut off and altered; any earlier decision that changes is an error."""
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
        _durations(warmups, "--warmups", "0s,1h,6h are typical", step_ns=NS_PER_MINUTE, least_ns=0)
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
        _print_json({"folder": str(folder), **read_figures(folder / "lookahead.json")})
    elif not quiet:
        click.echo(lookahead_text(checks, rows), nl=False)
        click.echo(f"report: {folder / 'report.html'}")


def _durations(
    text: str, option: str, typical: str, *, step_ns: int = 1, least_ns: int = 1
) -> list[int]:
    """Durations of an option, A,B,...; UsageError for one that is too short, uneven or there twice."""
    from phoenix_runner.config import duration_ns

    found: list[int] = []
    for part in text.split(","):
        try:
            ns = duration_ns(part.strip())
        except ValueError as error:
            raise click.UsageError(f"{option}: {error}") from None
        rule = (
            "be longer than nothing" if ns < least_ns
            else "be whole minutes" if ns % step_ns
            else "be named once" if ns in found
            else None
        )  # fmt: skip
        if rule is not None:
            raise click.UsageError(f"{option} must {rule} (was {part.strip()}); {typical}")
        found.append(ns)
    return found


def _horizons(text: str) -> list[int]:
    return _durations(text, "--horizons", "1m,5m,15m are typical")


def _replay_progress(suite: Suite, quiet: bool) -> RunProgress:
    from phoenix_runner.progress import RunProgress

    time = suite.config.time
    name = suite.config.output.suite_name
    return RunProgress(name, time.start_ns - time.warmup_ns, time.end_ns, quiet=quiet)


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


def _published(done: Published) -> dict[str, Any]:
    place = {} if done.address is None else {"address": done.address}
    return {"folder": str(done.folder), **place, "reused": done.reused, **done.summary}


def _run(suite: Suite, *, as_json: bool, quiet: bool, **options: Any) -> None:
    from phoenix_runner.modes import run_experiment
    from phoenix_runner.terminal import describe

    _check_executor([suite], quiet=quiet, **options)
    done = run_experiment(suite, quiet=quiet, **options)
    if as_json:
        _print_json(_published(done))
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


@cli.command()
@click.option(
    "--dir", "folder", default="phoenix-demo", show_default=True, help="Where everything goes."
)
@click.option("--seed", default=1, show_default=True, help="Seed of the synthetic market.")
@JSON
@QUIET
def demo(folder: str, seed: int, as_json: bool, quiet: bool) -> None:
    """Simulate four days, ingest them, run EMA cross, Phoenix LPI and a walk-forward. Needs nothing."""
    from phoenix_runner.demo import run_demo
    from phoenix_runner.terminal import describe
    from phoenix_runner.writable import require_writable

    require_writable(Path(folder), "--dir")
    done = run_demo(Path(folder), seed=seed, quiet=quiet)
    if as_json:
        runs = {name: _published(run) for name, run in done.runs.items()}
        _print_json({"comparison": str(done.comparison), "runs": runs})
    elif not quiet:
        for run in done.runs.values():
            click.echo(describe(run) + "\n")
        click.echo(f"side by side: {done.comparison}")


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
@JSON
def schema(strategy: str, as_json: bool) -> None:
    """Print the JSON Schema of a suite file, for editors: JSON with or without --json."""
    from phoenix_runner.suite import suite_schema

    del as_json  # it is JSON anyway
    _print_json(suite_schema(strategy))


@cli.command()
@click.argument("run_name", metavar="RUN")
@RUNS_DIR
@JSON
@QUIET
def report(run_name: str, runs_dir: str, as_json: bool, quiet: bool) -> None:
    """Draw the report of a finished RUN (its folder, or the start of its id) again, or of RUN/fold-00."""
    from phoenix_runner.bundle import find_part, verify_bundle
    from phoenix_runner.modes import draw_report
    from phoenix_runner.remote_runs import runs_folder

    whole, part = find_part(run_name, runs_folder(runs_dir))
    verify_bundle(whole)
    page = draw_report(part)
    if as_json:
        _print_json({"report": str(page)})
    elif not quiet:
        click.echo(str(page))


@cli.command()
@RUNS_DIR
@JSON
def runs(runs_dir: str, as_json: bool) -> None:
    """List finished runs, newest first."""
    from phoenix_runner.bundle import finished_runs
    from phoenix_runner.errors import NoDataError
    from phoenix_runner.remote_runs import runs_folder
    from phoenix_runner.terminal import list_runs, runs_table

    found = list_runs(finished_runs(runs_folder(runs_dir)))
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
    """Show what differs between two runs: results, config, data, versions."""
    from phoenix_runner.bundle import find_run, verify_bundle
    from phoenix_runner.remote_runs import runs_folder
    from phoenix_runner.terminal import compare_runs, comparison_table

    root = runs_folder(runs_dir)
    folders = [find_run(name, root) for name in (first, second)]
    for folder in folders:
        verify_bundle(folder)
    differences = compare_runs(*folders)
    if as_json:
        _print_json(differences)
    else:
        click.echo(comparison_table(folders, differences), nl=False)


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False))


def main() -> None:
    """Entry point: one line for an error, and the exit code that goes with it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stopped cleanly, like Ctrl-C
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
    except OSError as error:
        if error.errno not in REFUSED:
            return _defect(error)
        what = "free some space there" if error.errno in FULL else "choose another place"
        where = error.filename or "results"
        return _fail(f"{where}: must be writable ({error.strerror}); {what}", 1)
    except Exception as error:  # noqa: BLE001  the last line of defence, nothing is hidden
        return _defect(error)
    return 0


def _defect(error: Exception) -> int:
    with tempfile.NamedTemporaryFile(
        "w", prefix="phoenix-", suffix=".log", delete=False, encoding="utf-8"
    ) as log:
        traceback.print_exception(error, file=log)
    what = f"{type(error).__name__}: {error}"
    return _fail(f"unexpected {what}; this is a defect, the traceback is in {log.name}", 1)


def _fail(message: str, code: int) -> int:
    click.echo(f"phoenix: {' '.join(message.split())}", err=True)
    return code
