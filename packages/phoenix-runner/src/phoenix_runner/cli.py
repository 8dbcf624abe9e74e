"""The `phoenix` command: run suites, look at their results.

Results go to standard output, progress and errors to standard error. An error is one line; the exit
code is 0 done, 1 data or strategy failure, 2 wrong usage or config, 3 nothing found, 130 interrupted.
"""

from __future__ import annotations

import errno
import signal
import sys
import tempfile
import traceback
from pathlib import Path

import click
from phoenix_schemas.errors import PhoenixError

from phoenix_runner import study_commands, suite_commands
from phoenix_runner.command_options import JSON, QUIET, RUNS_DIR, SET, print_json
from phoenix_runner.suite_commands import published

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


for command in (*suite_commands.COMMANDS, *study_commands.COMMANDS):
    cli.add_command(command)


@cli.command()
@click.option(
    "--dir", "folder", default="phoenix-demo", show_default=True, help="Where everything goes."
)
@click.option("--seed", default=1, show_default=True, help="Seed of the synthetic market.")
@JSON
@QUIET
def demo(folder: str, seed: int, as_json: bool, quiet: bool) -> None:
    """Simulate four days and run everything on them. It ingests them, runs EMA cross, Phoenix LPI and a
    walk-forward, and needs nothing."""
    from phoenix_runner.demo import run_demo
    from phoenix_runner.terminal import describe
    from phoenix_runner.writable import require_writable

    require_writable(Path(folder), "--dir")
    done = run_demo(Path(folder), seed=seed, quiet=quiet)
    if as_json:
        runs = {name: published(run) for name, run in done.runs.items()}
        print_json({"comparison": str(done.comparison), "runs": runs})
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
        print_json(loaded.to_builtins())
    else:
        click.echo(config_text(loaded), nl=False)


@config.command()
@click.option("--strategy", default="ema_cross", show_default=True, help="Whose settings.")
@JSON
def schema(strategy: str, as_json: bool) -> None:
    """Print the JSON Schema of a suite file, for editors: JSON with or without --json."""
    from phoenix_runner.suite import suite_schema

    del as_json  # it is JSON anyway
    print_json(suite_schema(strategy))


@cli.command()
@click.argument("run_name", metavar="RUN")
@RUNS_DIR
@JSON
@QUIET
def report(run_name: str, runs_dir: str, as_json: bool, quiet: bool) -> None:
    """Draw the report of a finished RUN again. RUN is its folder, the start of its id, or RUN/fold-00."""
    from phoenix_runner.bundle import find_part, verify_bundle
    from phoenix_runner.modes import draw_report
    from phoenix_runner.remote_runs import runs_folder

    whole, part = find_part(run_name, runs_folder(runs_dir))
    verify_bundle(whole)
    page = draw_report(part)
    if as_json:
        print_json({"report": str(page)})
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
        print_json(found)
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
    """Show what differs between two runs. Compared are results, config, data and versions."""
    from phoenix_runner.bundle import find_run, verify_bundle
    from phoenix_runner.remote_runs import runs_folder
    from phoenix_runner.terminal import compare_runs, comparison_table

    root = runs_folder(runs_dir)
    folders = [find_run(name, root) for name in (first, second)]
    for folder in folders:
        verify_bundle(folder)
    differences = compare_runs(*folders)
    if as_json:
        print_json(differences)
    else:
        click.echo(comparison_table(folders, differences), nl=False)


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
