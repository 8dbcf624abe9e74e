"""Options that commands share, and how they read and print."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click

SUITE = click.argument("suite", type=click.Path(dir_okay=False))
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


def with_options[**P](
    *options: Callable[[Callable[P, None]], Callable[P, None]],
) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Several options as one decorator, in the order of the help."""

    def decorate(function: Callable[P, None]) -> Callable[P, None]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def durations(
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


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False))
