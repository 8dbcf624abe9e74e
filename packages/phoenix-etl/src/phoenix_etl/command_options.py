"""Types and options that the commands of `phoenix-etl` share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from phoenix_schemas.errors import SchemaError
from phoenix_schemas.timestamps import NS_PER_DAY, parse_utc


class _Folder(click.ParamType):  # type: ignore[type-arg]
    """A folder, there or not; never a file, and never the current folder by an empty word."""

    name = "folder"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(value)
        if str(value) == "":
            self.fail("must name a folder (was empty)", param, ctx)
        if path.is_file():
            hint = "give the folder it lies in" if path.name == "manifest.json" else "name a folder"
            self.fail(f"must be a folder (was the file {value}); {hint}", param, ctx)
        return path


class _Day(click.ParamType):  # type: ignore[type-arg]
    """A UTC day, as nanoseconds of its midnight."""

    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            ns = parse_utc(str(value))
        except SchemaError as error:
            self.fail(str(error), param, ctx)
        if ns % NS_PER_DAY:
            self.fail(f"must be a day without a time (was {value!r}), e.g. 2024-01-01", param, ctx)
        return ns


FOLDER, DAY = _Folder(), _Day()
catalog_option = click.option(
    "--catalog", type=FOLDER, required=True, help="Folder of the catalog."
)
manifest_option = click.option(
    "--manifest", "manifest_path", type=click.Path(path_type=Path),
    help="Where the manifest is, if manifest_path of the config put it outside the catalog.",
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
quiet_option = click.option("--quiet", is_flag=True, help="No progress; results and errors only.")


def list_option(name: str, text: str) -> Callable[[Any], Any]:
    return click.option(name, multiple=True, metavar="A,B,...", help=text)


def split_list(values: tuple[str, ...]) -> list[str] | None:
    """Values of an option that may be given several times, or once with commas."""
    words = [word.strip() for value in values for word in value.split(",") if word.strip()]
    return words or None
