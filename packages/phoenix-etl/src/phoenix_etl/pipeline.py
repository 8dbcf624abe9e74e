"""From dump files to a committed catalog: inventory, plan, read, build, commit.

Files are read and days are built by workers of a `concurrent.futures.Executor`; they write to the
staging area only. The coordinator builds a day once every file that may hold rows of it has been
read, and commits finished days in batches. Worker count and order of completion change nothing in
the result.
"""

from __future__ import annotations

from concurrent.futures import BrokenExecutor, Executor
from pathlib import Path

from phoenix_schemas.instruments import load_instrument_specs

from phoenix_etl.commit import CatalogStore
from phoenix_etl.config import EtlConfig
from phoenix_etl.errors import EtlError, NothingFoundError, UsageError
from phoenix_etl.ingest_run import IngestResult, IngestRun
from phoenix_etl.inventory import Inventory, take_inventory
from phoenix_etl.plan import instruments_of
from phoenix_etl.scheduler import Progress, Silent

__all__ = ["IngestResult", "ingest"]


def ingest(
    config: EtlConfig,
    *,
    progress: Progress | None = None,
    executor: Executor | None = None,
    rehash: bool = False,
) -> IngestResult:
    """Bring the catalog of `config` up to date with its raw roots.

    Without an `executor`, work runs in this process or on `ingest_workers` spawned processes; any
    other executor must reach the same paths.

    Raises NothingFoundError when nothing matches, UsageError for settings that cannot be carried out,
    CatalogLockedError when another process holds the catalog. Files that cannot be read are named in
    `IngestResult.failed`; the others are ingested.
    """
    if not isinstance(config, EtlConfig):
        raise UsageError(
            f"config must be an EtlConfig (was {type(config).__name__}); make it with load_config(path)"
        )
    if not config.raw_roots:
        raise NothingFoundError("raw_roots must name a folder (was empty); pass --raw-root")
    catalog = config.catalog.resolve()
    for root in config.raw_roots:
        if catalog.is_relative_to(Path(root).resolve()):
            raise UsageError(
                f"catalog must not lie under a raw root (was {config.catalog} under {root}); name "
                "another folder"
            )
        if Path(root).resolve().is_relative_to(catalog):
            raise UsageError(
                f"raw root must not lie in the catalog, which holds nothing but what was ingested "
                f"(was {root} in {config.catalog}); name another folder for the catalog"
            )
    inventory = take_inventory(config.raw_roots)
    start_ns, end_ns = config.range_ns
    chosen = inventory.select(
        market=config.universe,
        symbols=config.symbols,
        datasets=config.datasets,
        start_ns=start_ns,
        end_ns=end_ns,
    )
    if not chosen:
        raise NothingFoundError(_nothing_matches(config, inventory))
    specs = load_instrument_specs(config.instrument_specs_path)
    instruments = instruments_of(chosen, specs)
    store = CatalogStore(config.catalog, config.manifest)
    with store.locked():
        try:
            recovered = store.recover()
            run = IngestRun(
                config, inventory, chosen, instruments, store, progress or Silent(), rehash
            )
            run.publish_instruments(specs)
            return run.execute(executor, recovered)
        except OSError as error:
            where = f" at {error.filename}" if error.filename else ""
            raise EtlError(
                f"{store.root}: cannot be written ({error.strerror or error}{where}); the catalog is "
                "as it was after the last commit. Free the disk or the folder and run the same "
                "command again, it goes on from there"
            ) from error
        except BrokenExecutor as error:
            raise EtlError(
                f"{store.root}: a worker process died ({error}), most often for want of memory; the "
                "catalog is as it was after the last commit. Run the same command again with fewer "
                "--workers or a smaller memory_budget, it goes on from there"
            ) from error


def _nothing_matches(config: EtlConfig, inventory: Inventory) -> str:
    there = sorted(
        {f"{f.symbol} {f.dataset}" for f in inventory.files if f.market == config.universe}
    )
    days = sorted(f.date_key for f in inventory.files if f.market == config.universe)
    span = f", {days[0]} to {days[-1]}" if days else ""
    asked = []
    if config.symbols:
        asked.append(f"symbols {', '.join(config.symbols)}")
    if config.datasets:
        asked.append(f"datasets {', '.join(config.datasets)}")
    if config.start or config.end or config.start_date_key or config.end_date_key:
        begin = config.start or config.start_date_key or "the beginning"
        end = config.end or config.end_date_key or "the end"
        asked.append(f"{begin} to {end}")
    return (
        f"no dump file matches {'; '.join(asked) or config.universe}; {config.universe} files there: "
        f"{', '.join(there[:12]) or 'none'}{' ...' if len(there) > 12 else ''}{span}"
    )
