"""What the commands of `phoenix-etl` print: results to stdout, as tables or JSON, remarks to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from phoenix_schemas.timestamps import format_utc
from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from phoenix_etl.config import EtlConfig
    from phoenix_etl.download import DownloadResult
    from phoenix_etl.ingest_run import IngestResult
    from phoenix_etl.inventory import Inventory
    from phoenix_etl.manifest import Manifest
    from phoenix_etl.verify import Verification

MAX_LISTED = 10
"""Paths of one kind that are printed; `--json` has them all."""


def print_inventory(found: Inventory, *, as_json: bool) -> None:
    """The files by dataset, symbol and period."""
    if as_json:
        print_json(
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
    stdout().print(table)
    for odd in found.unrecognised:
        note(f"not read: {odd.path}: {odd.reason}")


def print_ingest(result: IngestResult, config: EtlConfig, *, quiet: bool, as_json: bool) -> None:
    """What a run did, and where that is."""
    if as_json:
        print_json(
            {
                "catalog": str(config.catalog),
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
            note("a commit that a crash had cut short was finished first")
        if result.nothing_to_do and not result.failed:
            click.echo(f"nothing to do: all {result.files_known} files are in {config.catalog}")
        else:
            stdout().print(_ledger_table(result.manifest))
            click.echo(
                f"{result.files_read} files read, {result.files_known} known, "
                f"{result.partitions_built} partitions written to {config.catalog}"
            )
        click.echo(f"catalog digest {result.manifest.catalog_digest}")
        click.echo(f"validation report {config.validation_report}")
        totals = result.manifest.datasets.values()
        rejected, conflicts = (
            sum(getattr(t, n) for t in totals) for n in ("rejected", "conflicts")
        )
        if rejected or conflicts:
            click.echo(
                f"{rejected:,} row(s) rejected and {conflicts:,} in conflict with others, see "
                f"{config.catalog / 'rejects'}"
            )
    for path in result.restated:
        note(f"restated: {path} changed since it was ingested; its days were rebuilt")
    for text in result.failed.values():
        note(f"error: {text}")


def print_status(catalog: Path, manifest: Manifest, *, as_json: bool) -> None:
    """What a catalog holds."""
    if as_json:
        print_json(
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
    stdout().print(_ledger_table(manifest))
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
    stdout().print(table)
    click.echo(f"catalog digest {manifest.catalog_digest}")
    for failed in manifest.failed.values():
        note(f"left out: {failed.error}")


def print_verification(result: Verification, *, with_sources: bool, as_json: bool) -> None:
    """What was proved, and every problem."""
    if as_json:
        print_json(result.to_json())
    else:
        for problem in result.problems:
            note(f"error: {problem}")
        checked = f"{result.files:,} files and {result.rows:,} rows read back through Nautilus"
        against = f", {result.source_rows:,} source rows compared" if with_sources else ""
        state = "agree" if not result.problems else f"{len(result.problems)} problem(s)"
        click.echo(f"{checked}{against}: {state}")
    for path in result.not_ingested[:MAX_LISTED]:
        note(f"not ingested: {path}")
    if len(result.not_ingested) > MAX_LISTED:
        rest = len(result.not_ingested) - MAX_LISTED
        note(f"not ingested: {rest:,} more; --json lists them all")


def print_download(result: DownloadResult, raw_root: Path, base_url: str, *, as_json: bool) -> None:
    """What became of the files that were asked for."""
    if as_json:
        print_json(
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
            note(f"not in the archive: {path}")
        for path in result.paths("unpacked"):
            note(f"left as it is, unpacked: {path.removesuffix('.zip')}.csv")
    for path in result.paths("replaced"):
        note(f"replaced: {path} is another edition now; ingest reads it again")
    for text in result.failed.values():
        note(f"error: {text}")


def _ledger_table(manifest: Manifest) -> Table:
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
    return msgspec.to_builtins(value)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def stdout() -> Console:
    return Console(width=None if sys.stdout.isatty() else 160)


def stderr() -> Console:
    return Console(stderr=True)


def note(message: str) -> None:
    click.echo(message, err=True)
