"""The `phoenix-etl` command: a thin layer over the package's functions.

Results go to stdout (a table, or JSON with `--json`), progress and errors to stderr. Exit codes: 0
done, 1 data failure, 2 wrong usage or config, 3 nothing found, 130 interrupted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from phoenix_schemas.errors import PhoenixError, SchemaError
from phoenix_schemas.timestamps import NS_PER_DAY, format_utc, parse_utc
from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from phoenix_schemas.datasets import Market

INTERRUPTED = 130
MAX_LISTED = 10
"""Paths of one kind that are printed; `--json` has them all."""


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


_FOLDER, _DAY = _Folder(), _Day()
_catalog = click.option("--catalog", type=_FOLDER, required=True, help="Folder of the catalog.")
_manifest = click.option(
    "--manifest", "manifest_path", type=click.Path(path_type=Path),
    help="Where the manifest is, if manifest_path of the config put it outside the catalog.",
)  # fmt: skip
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
_quiet = click.option("--quiet", is_flag=True, help="No progress; results and errors only.")


def _list_option(name: str, text: str) -> Callable[[Any], Any]:
    return click.option(name, multiple=True, metavar="A,B,...", help=text)


def _split(values: tuple[str, ...]) -> list[str] | None:
    """Values of an option that may be given several times, or once with commas."""
    words = [word.strip() for value in values for word in value.split(",") if word.strip()]
    return words or None


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="phoenix-etl")
def cli() -> None:
    """Binance USD-M dump files into a NautilusTrader Parquet catalog, losslessly."""


@cli.command()
@click.option(
    "--raw-root", "raw_roots", type=_FOLDER, multiple=True, required=True,
    help="Folder with dump files; may be given several times.",
)  # fmt: skip
@_json
def inventory(raw_roots: tuple[Path, ...], as_json: bool) -> None:
    """List the dump files under a folder."""
    from phoenix_etl.inventory import take_inventory

    found = take_inventory(raw_roots)
    if as_json:
        _print_json(
            {
                "files": [
                    {
                        "path": f.path,
                        "market": f.market,
                        "dataset": f.dataset,
                        "symbol": f.symbol,
                        "period_type": f.period,
                        "date_key": f.date_key,
                        "size_bytes": f.size_bytes,
                    }
                    for f in found.files
                ],
                "unrecognised": [{"path": u.path, "reason": u.reason} for u in found.unrecognised],
            }
        )
        return
    groups: dict[tuple[str, ...], list[Any]] = {}
    for file in found.files:
        name = f"{file.market}/{file.dataset}"
        groups.setdefault((name, file.symbol, file.period), []).append(file)
    heading, names = _dataset_names(name for name, _, _ in groups)
    table = _table(heading, "symbol", "period", "files", "from", "to", "MiB", texts=3)
    for (name, symbol, period), files in groups.items():
        keys = sorted(f.date_key for f in files)
        size = sum(f.size_bytes for f in files) / (1 << 20)
        table.add_row(
            names[name], symbol, period, str(len(files)), keys[0], keys[-1], f"{size:,.1f}"
        )
    _stdout().print(table)
    for odd in found.unrecognised:
        _note(f"not read: {odd.path}: {odd.reason}")


@cli.command()
@click.option("--config", type=click.Path(path_type=Path), help="Settings, e.g. configs/etl.yaml.")
@click.option(
    "--raw-root", "raw_roots", type=_FOLDER, multiple=True,
    help="Folder with dump files (instead of the config's raw_roots).",
)  # fmt: skip
@click.option("--catalog", type=_FOLDER, help="Folder of the catalog.")
@click.option("--universe", type=click.Choice(["futures", "spot"]), help="USD-M futures or spot.")
@_list_option("--symbols", "Only these symbols, e.g. BTCUSDT,ETHUSDT.")
@_list_option("--datasets", "Only these datasets, e.g. bookTicker,aggTrades.")
@click.option("--start", help="First time, UTC, e.g. 2024-01-01.")
@click.option("--end", help="End time, UTC, exclusive.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes; default one per core.")
@click.option("--scheduler", metavar="ADDRESS",
    help="Work on a Dask cluster, e.g. tcp://10.0.0.5:8786 (phoenix-etl[dask]).")  # fmt: skip
@click.option("--strict", is_flag=True, default=None,
    help="Refuse a file at its first bad row (else at more than 0.1 % of its rows; a small file may lose "
    "up to ten, a tenth at most).")  # fmt: skip
@click.option("--rehash", is_flag=True, help="Hash known files again instead of trusting stat.")
@_quiet
@_json
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
        symbols=_split(symbols),
        datasets=_split(datasets),
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
        with shown(_stderr(), quiet=quiet) as progress, ExitStack() as stack:
            executor = None
            if scheduler is not None:
                from phoenix_etl.cluster import dask_executor, on_shared_paths, quiet_logs

                executor, threads = stack.enter_context(dask_executor(scheduler))
                quiet_logs()
                settings = on_shared_paths(settings, threads)
            result = run_ingest(settings, progress=progress, executor=executor, rehash=rehash)
    except KeyboardInterrupt:
        _note(
            f"interrupted; what was committed to {settings.catalog} is whole. "
            "Run the same command to go on from there"
        )
        sys.exit(INTERRUPTED)
    if as_json:
        _print_json(
            {
                "catalog": str(settings.catalog),
                "catalog_digest": result.manifest.catalog_digest,
                "files_read": result.files_read,
                "files_known": result.files_known,
                "rows_read": result.rows_read,
                "partitions_built": result.partitions_built,
                "partitions_removed": result.partitions_removed,
                "restated": list(result.restated),
                "failed": result.failed,
                "datasets": _builtins(result.manifest.datasets),
            }
        )
    else:
        if result.recovered and not quiet:
            _note("a commit that a crash had cut short was finished first")
        if result.nothing_to_do and not result.failed:
            click.echo(f"nothing to do: all {result.files_known} files are in {settings.catalog}")
        else:
            _stdout().print(_ledger_table(result.manifest))
            click.echo(
                f"{result.files_read} files read, {result.files_known} known, "
                f"{result.partitions_built} partitions written to {settings.catalog}"
            )
        click.echo(f"catalog digest {result.manifest.catalog_digest}")
        click.echo(f"validation report {settings.validation_report}")
        totals = result.manifest.datasets.values()
        rejected, conflicts = (
            sum(getattr(t, n) for t in totals) for n in ("rejected", "conflicts")
        )
        if rejected or conflicts:
            click.echo(
                f"{rejected:,} row(s) rejected and {conflicts:,} in conflict with others, see "
                f"{settings.catalog / 'rejects'}"
            )
    for path in result.restated:
        _note(f"restated: {path} changed since it was ingested; its days were rebuilt")
    if result.failed:
        for text in result.failed.values():
            _note(f"error: {text}")
        sys.exit(1)


@cli.command()
@_catalog
@_manifest
@_json
def status(catalog: Path, manifest_path: Path | None, as_json: bool) -> None:
    """Say what a catalog holds, from its manifest."""
    manifest = _manifest_of(catalog, manifest_path)
    if as_json:
        _print_json(
            {
                "catalog": str(catalog),
                "catalog_digest": manifest.catalog_digest,
                "files": len(manifest.files),
                "failed": {path: f.error for path, f in manifest.failed.items()},
                "partitions": len(manifest.partitions),
                "datasets": _builtins(manifest.datasets),
            }
        )
        return
    _stdout().print(_ledger_table(manifest))
    heading, names = _dataset_names(manifest.datasets)
    table = _table(heading, "events", "from (UTC)", "to (UTC)")
    for name, totals in manifest.datasets.items():
        first, last = totals.min_ts_event, totals.max_ts_event
        table.add_row(
            names[name],
            f"{totals.events:,}",
            "-" if first is None else _to_the_minute(first),
            "-" if last is None else _to_the_minute(last),
        )
    _stdout().print(table)
    click.echo(f"catalog digest {manifest.catalog_digest}")
    for failed in manifest.failed.values():
        _note(f"left out: {failed.error}")


@cli.command()
@_catalog
@_manifest
@_json
def validate(catalog: Path, manifest_path: Path | None, as_json: bool) -> None:
    """Judge a catalog: coverage, gaps, defects. Exit 1 if it is not complete."""
    from phoenix_etl.validation import validate as run_validate
    from phoenix_etl.validation import validation_report

    manifest = _manifest_of(catalog, manifest_path)
    found = run_validate(manifest)
    if as_json:
        _print_json(found.to_json())
    else:
        click.echo(validation_report(manifest), nl=False)
    if not found.is_complete:
        sys.exit(1)


@cli.command()
@_catalog
@_manifest
@click.option(
    "--raw-root", "raw_roots", type=_FOLDER, multiple=True,
    help="Also prove every stored value against the text of the dump files.",
)  # fmt: skip
@_quiet
@_json
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
        with shown(_stderr(), quiet=quiet) as progress:
            result = run_verify(catalog, raw_roots, manifest_path=manifest_path, progress=progress)
    except KeyboardInterrupt:
        _note("interrupted; nothing was changed, run it again")
        sys.exit(INTERRUPTED)
    if as_json:
        _print_json(result.to_json())
    else:
        for problem in result.problems:
            _note(f"error: {problem}")
        checked = f"{result.files:,} files and {result.rows:,} rows read back through Nautilus"
        against = f", {result.source_rows:,} source rows compared" if raw_roots else ""
        state = "agree" if not result.problems else f"{len(result.problems)} problem(s)"
        click.echo(f"{checked}{against}: {state}")
    for path in result.not_ingested[:MAX_LISTED]:
        _note(f"not ingested: {path}")
    if len(result.not_ingested) > MAX_LISTED:
        rest = len(result.not_ingested) - MAX_LISTED
        _note(f"not ingested: {rest:,} more; --json lists them all")
    if result.problems:
        sys.exit(1)


@cli.command()
@click.option("--out", type=_FOLDER, required=True, help="Raw root to write.")
@_list_option("--symbols", "Symbols to simulate; default BTCUSDT.")
@click.option("--start", type=_DAY, default="2024-01-01", show_default=True, help="First day, UTC.")
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
@_quiet
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
        with writing_shown(_stderr(), quiet=quiet) as progress:
            market = write_market(
                out,
                symbols=_split(symbols) or ["BTCUSDT"],
                start=utc_day(start),
                days=days or {"month": 30, "defects": 9}.get(profile, 1),
                seed=seed,
                profile=profile,
                compress=compress,
                progress=progress,
            )
    except KeyboardInterrupt:
        _note(f"interrupted; the files in {out} are not all there. Run the same command again")
        sys.exit(INTERRUPTED)
    if not quiet:
        click.echo(f"dump files in {out}, the truth about them in {market.truth_root}")


@cli.command()
@_list_option("--symbols", "Symbols, e.g. BTCUSDT,ETHUSDT.")
@_list_option(
    "--datasets", "Default aggTrades, bookTicker, metrics, klines, bookDepth, fundingRate."
)
@click.option("--start", type=_DAY, required=True, help="First day, UTC, e.g. 2024-01-01.")
@click.option("--end", type=_DAY, required=True, help="End, UTC, exclusive.")
@click.option("--raw-root", type=_FOLDER, required=True, help="Folder for the dump files.")
@click.option("--universe", type=click.Choice(["futures", "spot"]), default="futures",
    show_default=True, help="USD-M futures or spot.")  # fmt: skip
@click.option("--base-url", default="https://data.binance.vision", show_default=True,
    help="The archive, or a mirror of its tree.")  # fmt: skip
@click.option("--connections", type=click.IntRange(1, 32), default=4, show_default=True)
@_quiet
@_json
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
    from phoenix_etl.download import archive_files
    from phoenix_etl.download import download as run_download
    from phoenix_etl.errors import UsageError
    from phoenix_etl.progress import download_shown

    wanted = _split(symbols)
    if wanted is None:
        raise UsageError("download must be told which symbols; e.g. --symbols BTCUSDT")
    try:
        files = archive_files(wanted, start, end, market=universe, datasets=_split(datasets))
    except SchemaError as error:
        raise UsageError(str(error)) from None
    try:
        with download_shown(_stderr(), quiet=quiet or as_json) as progress:
            result = run_download(
                files, raw_root, base_url=base_url, connections=connections, progress=progress
            )
    except KeyboardInterrupt:
        _note(
            f"interrupted; the files in {raw_root} are whole. "
            "Run the same command to go on from there"
        )
        sys.exit(INTERRUPTED)
    if as_json:
        _print_json(
            {
                "raw_root": str(raw_root),
                "base_url": base_url,
                "bytes_read": result.bytes_read,
                "downloaded": result.paths("downloaded"),
                "replaced": result.paths("replaced"),
                "known": result.paths("known"),
                "unpacked": result.paths("unpacked"),
                "missing": result.paths("missing"),
                "failed": result.failed,
            }
        )
    else:
        counts = {o: len(result.paths(o)) for o in ("downloaded", "replaced", "known", "missing")}
        click.echo(
            f"{counts['downloaded']} downloaded, {counts['replaced']} replaced, "
            f"{counts['known']} already there, {counts['missing']} not in the archive, "
            f"{len(result.failed)} failed; {result.bytes_read / (1 << 20):,.1f} MiB into {raw_root}"
        )
        for path in result.paths("missing"):
            _note(f"not in the archive: {path}")
        for path in result.paths("unpacked"):
            _note(f"left as it is, unpacked: {path.removesuffix('.zip')}.csv")
    for path in result.paths("replaced"):
        _note(f"replaced: {path} is another edition now; ingest reads it again")
    for text in result.failed.values():
        _note(f"error: {text}")
    if result.failed:
        sys.exit(1)


def _manifest_of(catalog: Path, path: Path | None) -> Any:
    from phoenix_etl import manifest
    from phoenix_etl.errors import NothingFoundError

    path = path or catalog / "manifest.json"
    found = manifest.load(path)
    if found is None:
        raise NothingFoundError(f"{path}: no manifest there; ingest into this catalog first")
    return found


def _ledger_table(manifest: Any) -> Table:
    """Rows read, rows written and, in words, what became of the others."""
    heading, names = _dataset_names(manifest.datasets)
    table = _table(heading, "rows read", "written")
    table.add_column("not written")
    for name, t in manifest.datasets.items():
        others = {
            "duplicates": t.duplicates, "conflicts": t.conflicts, "rejected": t.rejected,
            "out of range": t.out_of_range, "superseded": t.superseded,
        }  # fmt: skip
        said = ", ".join(f"{count:,} {what}" for what, count in others.items() if count)
        table.add_row(names[name], f"{t.rows_read:,}", f"{t.events:,}", said or "-")
    return table


def _table(first: str, *others: str, texts: int = 1) -> Table:
    """A table that fits a terminal of 80 columns; behind the first `texts` columns stand numbers."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for n, heading in enumerate((first, *others)):
        table.add_column(heading, justify="left" if n < texts else "right", no_wrap=True)
    return table


def _dataset_names(keys: Iterable[str]) -> tuple[str, dict[str, str]]:
    """A column's heading, and the name of each `<market>/<dataset>` in it: the market is said once
    where there is one alone."""
    names = {key: key for key in keys}
    markets = {key.partition("/")[0] for key in names}
    if len(markets) != 1:
        return "dataset", names
    return f"dataset ({markets.pop()})", {key: key.partition("/")[2] for key in names}


def _to_the_minute(ns: int) -> str:
    return format_utc(ns)[:16].replace("T", " ")


def _builtins(value: Any) -> Any:
    import msgspec

    return msgspec.to_builtins(value)


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _stdout() -> Console:
    return Console(width=None if sys.stdout.isatty() else 160)


def _stderr() -> Console:
    return Console(stderr=True)


def _note(message: str) -> None:
    click.echo(message, err=True)


def main() -> None:
    """Entry point: errors as one line, exit codes as documented."""
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        _note(error.format_message())
        sys.exit(2)
    except click.UsageError as error:
        _note(f"error: {error.format_message()}")
        if error.ctx is not None:
            _note(f"see {error.ctx.command_path} --help")
        sys.exit(2)
    except click.ClickException as error:
        _note(f"error: {error.format_message()}")
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        _note("interrupted")
        sys.exit(INTERRUPTED)
    except PhoenixError as error:
        _note(f"error: {' '.join(str(error).split())}")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _note(f"error: {where}{error.strerror or error}")
        sys.exit(1)
