"""The `phoenix-etl` command: a thin layer over the package's functions.

Results go to stdout (a table, or JSON with `--json`), progress and errors to stderr. Exit codes: 0
done, 1 data failure, 2 wrong usage or config, 3 nothing found, 130 interrupted.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click
from phoenix_schemas.errors import PhoenixError, SchemaError

from phoenix_etl.command_options import (
    DAY,
    FOLDER,
    catalog_option,
    json_option,
    list_option,
    manifest_option,
    quiet_option,
    split_list,
)
from phoenix_etl.command_output import (
    note,
    print_download,
    print_ingest,
    print_inventory,
    print_json,
    print_status,
    print_verification,
    stderr,
)

if TYPE_CHECKING:
    from phoenix_schemas.datasets import Market

    from phoenix_etl.manifest import Manifest

INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="phoenix-etl")
def cli() -> None:
    """Binance USD-M dump files into a NautilusTrader Parquet catalog, losslessly."""


@cli.command()
@click.option(
    "--raw-root", "raw_roots", type=FOLDER, multiple=True, required=True,
    help="Folder with dump files; may be given several times.",
)  # fmt: skip
@json_option
def inventory(raw_roots: tuple[Path, ...], as_json: bool) -> None:
    """List the dump files under a folder."""
    from phoenix_etl.inventory import take_inventory

    found = take_inventory(raw_roots)
    print_inventory(found, as_json=as_json)


@cli.command()
@click.option("--config", type=click.Path(path_type=Path), help="Settings, e.g. configs/etl.yaml.")
@click.option(
    "--raw-root", "raw_roots", type=FOLDER, multiple=True,
    help="Folder with dump files (instead of the config's raw_roots).",
)  # fmt: skip
@click.option("--catalog", type=FOLDER, help="Folder of the catalog.")
@click.option("--universe", type=click.Choice(["futures", "spot"]), help="USD-M futures or spot.")
@list_option("--symbols", "Only these symbols, e.g. BTCUSDT,ETHUSDT.")
@list_option("--datasets", "Only these datasets, e.g. bookTicker,aggTrades.")
@click.option("--start", help="First time, UTC, e.g. 2024-01-01.")
@click.option("--end", help="End time, UTC, exclusive.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes; default one per core.")
@click.option("--scheduler", metavar="ADDRESS",
    help="Work on a Dask cluster, e.g. tcp://10.0.0.5:8786 (phoenix-etl[dask]).")  # fmt: skip
@click.option("--strict", is_flag=True, default=None,
    help="Refuse a file at its first bad row (else at more than 0.1 % of its rows; a small file may lose "
    "up to ten, a tenth at most).")  # fmt: skip
@click.option("--rehash", is_flag=True, help="Hash known files again instead of trusting stat.")
@quiet_option
@json_option
def ingest(
    config: Path | None,
    raw_roots: tuple[Path, ...],
    catalog: Path | None,
    universe: str | None,
    symbols: tuple[str, ...],
    datasets: tuple[str, ...],
    start: str | None,
    end: str | None,
    workers: int | None,
    scheduler: str | None,
    strict: bool | None,
    rehash: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Turn dump files into a catalog; running it again does only what is new."""
    from phoenix_etl.config import load_config
    from phoenix_etl.errors import UsageError
    from phoenix_etl.pipeline import ingest as run_ingest
    from phoenix_etl.progress import shown

    settings = load_config(
        config,
        raw_roots=[str(r) for r in raw_roots] or None,
        catalog_path=str(catalog) if catalog else None,
        universe=universe,
        symbols=split_list(symbols),
        datasets=split_list(datasets),
        start=start,
        end=end,
        ingest_workers=workers,
        strict=strict,
    )
    if not settings.raw_roots:
        raise UsageError(
            "ingest must know where the dump files are; pass --raw-root, or raw_roots in --config"
        )
    try:
        with shown(stderr(), quiet=quiet) as progress, ExitStack() as stack:
            executor = None
            if scheduler is not None:
                from phoenix_etl.cluster import dask_executor, on_shared_paths

                executor, threads = stack.enter_context(dask_executor(scheduler))
                settings = on_shared_paths(settings, threads)
            result = run_ingest(settings, progress=progress, executor=executor, rehash=rehash)
    except KeyboardInterrupt:
        note(
            f"interrupted; what was committed to {settings.catalog} is whole. "
            "Run the same command to go on from there"
        )
        sys.exit(INTERRUPTED)
    print_ingest(result, settings, quiet=quiet, as_json=as_json)
    if result.failed:
        sys.exit(1)


@cli.command()
@catalog_option
@manifest_option
@json_option
def status(catalog: Path, manifest_path: Path | None, as_json: bool) -> None:
    """Say what a catalog holds, from its manifest."""
    manifest = _manifest_of(catalog, manifest_path)
    print_status(catalog, manifest, as_json=as_json)


@cli.command()
@catalog_option
@manifest_option
@json_option
def validate(catalog: Path, manifest_path: Path | None, as_json: bool) -> None:
    """Judge a catalog: coverage, gaps, defects. Exit 1 if it is not complete."""
    from phoenix_etl.validation import validate as run_validate
    from phoenix_etl.validation import validation_report

    manifest = _manifest_of(catalog, manifest_path)
    found = run_validate(manifest)
    if as_json:
        print_json(found.to_json())
    else:
        click.echo(validation_report(manifest), nl=False)
    if not found.is_complete:
        sys.exit(1)


@cli.command()
@catalog_option
@manifest_option
@click.option(
    "--raw-root", "raw_roots", type=FOLDER, multiple=True,
    help="Also prove every stored value against the text of the dump files.",
)  # fmt: skip
@quiet_option
@json_option
def verify(
    catalog: Path,
    manifest_path: Path | None,
    raw_roots: tuple[Path, ...],
    quiet: bool,
    as_json: bool,
) -> None:
    """Prove a catalog: bytes, Nautilus's own reading, and (with --raw-root) the source rows."""
    from phoenix_etl.progress import shown
    from phoenix_etl.verify import verify as run_verify

    try:
        with shown(stderr(), quiet=quiet) as progress:
            result = run_verify(catalog, raw_roots, manifest_path=manifest_path, progress=progress)
    except KeyboardInterrupt:
        note("interrupted; nothing was changed, run it again")
        sys.exit(INTERRUPTED)
    print_verification(result, with_sources=bool(raw_roots), as_json=as_json)
    if result.problems:
        sys.exit(1)


@cli.command()
@click.option("--out", type=FOLDER, required=True, help="Raw root to write.")
@list_option("--symbols", "Symbols to simulate; default BTCUSDT.")
@click.option("--start", type=DAY, default="2024-01-01", show_default=True, help="First day, UTC.")
@click.option("--days", type=click.IntRange(min=1), help="Default 1 (month: 30, defects: 9).")
@click.option("--seed", type=click.IntRange(min=0), default=7, show_default=True)
@click.option(
    "--profile",
    type=click.Choice(["small", "day", "month", "defects"]),
    default="small",
    show_default=True,
    help="How busy the market is; `defects` plants every known defect of the archive.",
)
@click.option("--zip", "compress", is_flag=True, help="Write the ZIP files the archive delivers.")
@quiet_option
def synth(
    out: Path,
    symbols: tuple[str, ...],
    start: int,
    days: int | None,
    seed: int,
    profile: str,
    compress: bool,
    quiet: bool,
) -> None:
    """Write dump files of a simulated market, the same for the same seed."""
    from phoenix_schemas.timestamps import utc_day

    from phoenix_etl.progress import writing_shown
    from phoenix_etl.synthetic import write_market

    try:
        with writing_shown(stderr(), quiet=quiet) as progress:
            market = write_market(
                out,
                symbols=split_list(symbols) or ["BTCUSDT"],
                start=utc_day(start),
                days=days or {"month": 30, "defects": 9}.get(profile, 1),
                seed=seed,
                profile=profile,
                compress=compress,
                progress=progress,
            )
    except KeyboardInterrupt:
        note(f"interrupted; the files in {out} are not all there. Run the same command again")
        sys.exit(INTERRUPTED)
    click.echo(f"dump files in {out}, the truth about them in {market.truth_root}")


@cli.command()
@list_option("--symbols", "Symbols, e.g. BTCUSDT,ETHUSDT.")
@list_option(
    "--datasets", "Default aggTrades, bookTicker, metrics, klines, bookDepth, fundingRate."
)
@click.option("--start", type=DAY, required=True, help="First day, UTC, e.g. 2024-01-01.")
@click.option("--end", type=DAY, required=True, help="End, UTC, exclusive.")
@click.option("--raw-root", type=FOLDER, required=True, help="Folder for the dump files.")
@click.option("--universe", type=click.Choice(["futures", "spot"]), default="futures",
    show_default=True, help="USD-M futures or spot.")  # fmt: skip
@click.option("--base-url", default="https://data.binance.vision", show_default=True,
    help="The archive, or a mirror of its tree.")  # fmt: skip
@click.option("--connections", type=click.IntRange(1, 32), default=4, show_default=True)
@quiet_option
@json_option
def download(
    symbols: tuple[str, ...],
    datasets: tuple[str, ...],
    start: int,
    end: int,
    raw_root: Path,
    universe: Market,
    base_url: str,
    connections: int,
    quiet: bool,
    as_json: bool,
) -> None:
    """Fetch files of the public archive, verified; running it again fetches only what is new.

    Needs phoenix-etl[download]. No other command opens a connection.
    """
    from phoenix_etl.archive_files import archive_files
    from phoenix_etl.download import download as run_download
    from phoenix_etl.errors import UsageError
    from phoenix_etl.progress import download_shown

    wanted = split_list(symbols)
    if wanted is None:
        raise UsageError("download must be told which symbols; e.g. --symbols BTCUSDT")
    try:
        files = archive_files(wanted, start, end, market=universe, datasets=split_list(datasets))
    except SchemaError as error:
        raise UsageError(str(error)) from None
    try:
        with download_shown(stderr(), quiet=quiet) as progress:
            result = run_download(
                files, raw_root, base_url=base_url, connections=connections, progress=progress
            )
    except KeyboardInterrupt:
        note(
            f"interrupted; the files in {raw_root} are whole. "
            "Run the same command to go on from there"
        )
        sys.exit(INTERRUPTED)
    print_download(result, raw_root, base_url, as_json=as_json)
    if result.failed:
        sys.exit(1)


def _manifest_of(catalog: Path, path: Path | None) -> Manifest:
    from phoenix_etl import manifest
    from phoenix_etl.errors import NothingFoundError

    path = path or catalog / "manifest.json"
    found = manifest.load(path)
    if found is None:
        raise NothingFoundError(f"{path}: no manifest there; ingest into this catalog first")
    return found


def main() -> None:
    """Entry point: errors as one line, exit codes as documented."""
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        note(error.format_message())
        sys.exit(2)
    except click.UsageError as error:
        note(f"error: {error.format_message()}")
        if error.ctx is not None:
            note(f"see {error.ctx.command_path} --help")
        sys.exit(2)
    except click.ClickException as error:
        note(f"error: {error.format_message()}")
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        note("interrupted")
        sys.exit(INTERRUPTED)
    except PhoenixError as error:
        note(f"error: {' '.join(str(error).split())}")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        note(f"error: {where}{error.strerror or error}")
        sys.exit(1)
