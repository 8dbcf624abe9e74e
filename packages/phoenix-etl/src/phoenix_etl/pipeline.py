"""From dump files to a committed catalog: inventory, plan, read, build, commit.

Files are read and days are built by workers of a `concurrent.futures.Executor`; they write to the
staging area only. The coordinator builds a day once every file that may hold rows of it has been
read, and commits finished days in batches. Worker count and order of completion change nothing in
the result.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import (
    BrokenExecutor,
    Executor,
)
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import msgspec
from phoenix_schemas.instruments import (
    InstrumentSpec,
    default_specs_text,
    load_instrument_specs,
)

from phoenix_etl import durable
from phoenix_etl import manifest as manifests
from phoenix_etl.catalog_files import WrittenFile
from phoenix_etl.commit import CatalogStore
from phoenix_etl.config import EtlConfig
from phoenix_etl.crosschecks import plan_checks, run_check
from phoenix_etl.errors import EtlError, NothingFoundError, SourceError, UsageError
from phoenix_etl.inventory import Inventory, SourceFile, take_inventory
from phoenix_etl.ledger import check_ledger
from phoenix_etl.manifest import (
    FailedFile,
    FileEntry,
    Manifest,
    PartitionEntry,
    PartitionInput,
)
from phoenix_etl.parsing import Reject
from phoenix_etl.partitions import Partition
from phoenix_etl.plan import Instruments, instruments_of, plan_files
from phoenix_etl.precedence import Precedence, archive_identity
from phoenix_etl.provenance import provenance
from phoenix_etl.rejects import rejects_csv, rejects_path
from phoenix_etl.scheduler import Crew, DayKey, FileState, Progress, Scheduler, Silent, crew_for
from phoenix_etl.source_rows import (
    ReadResult,
    allowed_rejects,
    lines_of,
)
from phoenix_etl.stat_cache import StatCache
from phoenix_etl.validation import validation_report

COMMIT_INTERVAL_S = 5.0
SPECS_COPY = "instrument_specs.yaml"
"""In the catalog's folder: what its instruments were written from."""


@dataclass(frozen=True)
class IngestResult:
    """What a run did. `manifest` is the catalog's state after it."""

    manifest: Manifest
    files_read: int
    files_known: int
    rows_read: int
    partitions_built: int
    partitions_removed: int
    restated: tuple[str, ...]
    failed: dict[str, str]
    recovered: bool

    @property
    def nothing_to_do(self) -> bool:
        return not (self.files_read or self.partitions_built or self.partitions_removed)


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
            run = _Run(config, inventory, chosen, instruments, store, progress or Silent(), rehash)
            run.stage_instruments(specs)
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


@dataclass
class _Staged:
    """Finished work that waits for its commit."""

    moves: dict[str, Path] = field(default_factory=dict)
    """Places in the catalog, and the staged files that go there."""
    removals: list[str] = field(default_factory=list)
    changed: bool = False


class _Run:
    """One ingest, under the catalog's lock."""

    def __init__(
        self,
        config: EtlConfig,
        inventory: Inventory,
        chosen: Sequence[SourceFile],
        instruments: Instruments,
        store: CatalogStore,
        progress: Progress,
        rehash: bool,
    ) -> None:
        self._config = config
        self._store = store
        self.progress = progress
        self.staging = store.staging
        self.memory_budget_bytes = config.memory_budget_bytes
        before = manifests.load(store.manifest)
        self._manifest = before or Manifest()
        self._files: dict[str, FileEntry] = dict(self._manifest.files)
        there = {file.path for file in inventory.files}
        self._failed = {p: f for p, f in self._manifest.failed.items() if p in there}
        self._unrecognised = {odd.path: odd.reason for odd in inventory.unrecognised}
        self._partitions: dict[str, PartitionEntry] = dict(self._manifest.partitions)
        self._crosschecks = self._manifest.crosschecks
        self._instruments = dict(self._manifest.instruments)
        self._texts = dict(self._manifest.texts)
        self._wanted = {spec.instrument_id for spec in instruments.values()}
        planned = plan_files(config, chosen, instruments, self._files)
        self.states = {p.source.path: FileState(p) for p in planned}
        self._precedence = Precedence(chosen, config.trade_source, self._files)
        self._unknown: set[str] = set()
        """Files whose rows have to be read, whatever other files hold."""
        self._sources_of_day: dict[DayKey, set[str]] = defaultdict(set)
        """Files that hold rows of a day, by all that is known."""
        for path, entry in self._files.items():
            self._index(path, entry)
        identities = {archive_identity(entry): path for path, entry in self._files.items()}
        self._replaces = {
            path: old
            for path, state in self.states.items()
            if (old := identities.get(archive_identity(state.plan.source), path)) != path
        }
        """Known files that lie there under another name now (a ZIP unpacked, a folder moved)."""
        self._cache = StatCache(store.stat_cache, rehash)
        self._restated: list[str] = []
        self._staged = _Staged(
            changed=self._failed != self._manifest.failed
            or self._unrecognised != self._manifest.unrecognised
        )
        report, root = config.validation_report.resolve(), store.root.resolve()
        inside = report.is_relative_to(root)
        self._report_path = report.relative_to(root).as_posix() if inside else None
        self._next_commit = time.monotonic() + COMMIT_INTERVAL_S
        self._built = 0
        self._removed = 0
        self._rows_read: dict[str, int] = {}
        self._attempted: set[str] = set()
        self._run_failed: dict[str, str] = {}
        self._staged_texts = 0

    def execute(self, executor: Executor | None, recovered: bool) -> IngestResult:
        unknown = self._unknown_files()
        total = sum(s.plan.source.size_bytes for s in unknown)
        self.progress.start(len(unknown), total)
        for path, reason in self._unrecognised.items():
            if path not in self._manifest.unrecognised:
                self.progress.note(f"not read: {path}: {reason}")
        limit = self._config.ingest_workers
        with crew_for(executor, limit, len(unknown), total) as crew:
            Scheduler(self, crew).run(unknown)
            while again := self._decided_otherwise():
                Scheduler(self, crew).run(again)
            self._commit_staged()
            self._hold_against_each_other(crew)
        self._commit_staged()
        self._bring_report()
        self._cache.save()
        return IngestResult(
            manifest=self._manifest,
            files_read=len(self._rows_read),
            files_known=len(self.states) - len(self._attempted),
            rows_read=sum(self._rows_read.values()),
            partitions_built=self._built,
            partitions_removed=self._removed,
            restated=tuple(sorted(set(self._restated) - set(self._run_failed))),
            failed=self._run_failed,
            recovered=recovered,
        )

    def _unknown_files(self) -> list[FileState]:
        """Files to be read, and those of which that depends on what others hold."""
        for path, state in self.states.items():
            if not self._has_rows_of(state):
                self._unknown.add(path)
        for path, state in self.states.items():
            if path not in self._unknown:
                self._precedence.learn(state.plan.source, self._files[path])
        return [state for state in self.states.values() if not self.is_known(state)]

    def _decided_otherwise(self) -> list[FileState]:
        """Files that were read, and would be read otherwise now that all others were."""
        return [
            state
            for path, state in self.states.items()
            if not state.failed and path in self._attempted and not self.is_known(state)
        ]

    def is_known(self, state: FileState) -> bool | None:
        """Whether the manifest holds this file's rows as they would be read now; None as long as that
        depends on a file that was not read yet."""
        source = state.plan.source
        if not self._precedence.is_decided(source):
            return None
        state.plan = state.plan.without(self._precedence.replaced_days(source))
        if source.path in self._unknown:
            return False
        entry = self._files[source.path]
        return entry.fingerprint == state.plan.fingerprint(entry.report.sha256)

    def _has_rows_of(self, state: FileState) -> bool:
        """Whether the manifest holds this file's rows, read as they would be but for the days that
        another file takes over."""
        source = state.plan.source
        entry = self._files.get(source.path)
        if entry is None:
            return False
        sha256 = self._cache.sha256(source, entry)
        if sha256 != entry.report.sha256:
            self._restated.append(source.path)
            self.progress.note(f"{source.path}: its content changed; it is read again")
            return False
        plan = state.plan.without(dt.date.fromisoformat(day) for day in entry.replaced_days)
        if source.path in self._failed or entry.fingerprint != plan.fingerprint(sha256):
            return False
        if entry.report.rejected and not self._lies_there(rejects_path(entry, source.path)):
            return False
        return entry.report.rejected <= allowed_rejects(
            entry.report.rows_read,
            strict=self._config.strict,
            max_share=self._config.max_reject_share,
        )

    def finish_read(self, state: FileState, result: ReadResult | SourceError, first: bool) -> None:
        """Take the outcome of reading a file (`first` is False for the rereading of a known one)."""
        source = state.plan.source
        if not first and isinstance(result, ReadResult):
            if result.report.sha256 == self._files[source.path].report.sha256:
                return
            result = SourceError(
                f"{source.path}: it changed while it was ingested; run the same command again"
            )
        self._attempted.add(source.path)
        if isinstance(result, SourceError):
            before = self._files.get(self._replaces.get(source.path, source.path))
            self._precedence.learn(source, before)
            failed = FailedFile(
                market=source.market,
                dataset=source.dataset,
                symbol=source.symbol,
                period=source.period,
                date_key=source.date_key,
                error=str(result),
            )
            self._staged.changed |= self._failed.get(source.path) != failed
            self._failed[source.path] = failed
            self._run_failed[source.path] = str(result)
            state.failed = True
            self.progress.note(f"left out: {result}")
            return
        self._rows_read[source.path] = result.report.rows_read
        self._cache.remember(source, result.report.sha256)
        self._failed.pop(source.path, None)
        for path in (source.path, self._replaces.get(source.path)):
            if path is not None and path in self._files:
                self._forget(path)
        self._files[source.path] = FileEntry(
            market=source.market,
            dataset=source.dataset,
            symbol=source.symbol,
            period=source.period,
            date_key=source.date_key,
            size_bytes=source.size_bytes,
            mtime_ns=source.mtime_ns,
            fingerprint=state.plan.fingerprint(result.report.sha256),
            start_ns=state.plan.options.start_ns,
            end_ns=state.plan.options.end_ns,
            replaced_days=sorted(d.isoformat() for d in state.plan.options.replaced_days),
            report=result.report,
        )
        self._index(source.path, self._files[source.path])
        self._precedence.learn(source, self._files[source.path])
        self._unknown.discard(source.path)
        rejects = rejects_path(source, source.path)
        if result.rejects:
            self._stage_text(rejects, rejects_csv([(source.path, r) for r in result.rejects]))
        else:
            self._drop_text(rejects)
        self._staged.changed = True
        self.progress.file_done(source.path)

    def _index(self, path: str, entry: FileEntry) -> None:
        for day in entry.report.days:
            self._sources_of_day[entry.market, entry.dataset, entry.symbol, day].add(path)

    def _forget(self, path: str) -> None:
        """Drop a file from what is known; its days are looked at again."""
        entry = self._files.pop(path)
        for day in entry.report.days:
            self._sources_of_day[entry.market, entry.dataset, entry.symbol, day].discard(path)
        self._drop_text(rejects_path(entry, path))

    def days_to_check(self) -> Iterator[DayKey]:
        """Days of the streams in this run that have rows, or had them."""
        streams = {
            (s.plan.source.market, s.plan.source.dataset, s.plan.source.symbol)
            for s in self.states.values()
        }
        for entry in self._partitions.values():
            if (entry.market, entry.dataset, entry.symbol) in streams:
                yield (entry.market, entry.dataset, entry.symbol, entry.day)
        for path in self.states:
            if path in self._files:
                entry_of = self._files[path]
                for day in entry_of.report.days:
                    yield (entry_of.market, entry_of.dataset, entry_of.symbol, day)

    def inputs_of(self, key: DayKey) -> dict[str, str]:
        """Source files (with fingerprints) that hold rows of a day."""
        return {p: self._files[p].fingerprint for p in sorted(self._sources_of_day.get(key, ()))}

    def is_held_up(self, inputs: dict[str, str]) -> bool:
        """Whether a file of a day cannot be read now: the day then stays as it is."""
        return any(path in self.states and self.states[path].failed for path in inputs)

    def is_current(self, key: DayKey, inputs: dict[str, str]) -> bool:
        """Whether a day was built from just these files and lies there in full length."""
        entry = self._partitions.get("/".join(key))
        if entry is None:
            return not inputs
        if {path: i.fingerprint for path, i in entry.inputs.items()} != inputs:
            return False
        if entry.conflicts_file and not self._lies_there(entry.conflicts_file):
            return False
        return all(self._is_there(file) for file in entry.files)

    def _lies_there(self, path: str) -> bool:
        return (self._store.root / path).is_file()

    def _is_there(self, file: WrittenFile) -> bool:
        if file.path in self._staged.moves:
            return True
        try:
            return (self._store.root / file.path).stat().st_size == file.bytes
        except FileNotFoundError:
            return False

    def finish_build(self, key: DayKey, inputs: dict[str, str], built: Partition) -> None:
        market, dataset, symbol, day = key
        name = "/".join(key)
        self._drop(name)
        conflicts = None
        if built.conflicts:
            conflicts = f"rejects/{market}/{dataset}/{symbol}-{day}-conflicts.csv"
            rows = []
            for source in sorted({c.source for c in built.conflicts}):
                mine = [c for c in built.conflicts if c.source == source]
                texts = lines_of(self.states[source].plan.source, {c.line for c in mine})
                rows += [(source, Reject(c.line, c.reason, texts[c.line])) for c in mine]
            self._stage_text(conflicts, rejects_csv(rows))
        for file, staged in zip(built.files, built.staged, strict=True):
            self._staged.moves[file.path] = staged
        instrument = next(self.states[p].plan.instrument for p in inputs if p in self.states)
        self._partitions[name] = PartitionEntry(
            market=self._files[next(iter(inputs))].market,
            dataset=dataset,
            symbol=symbol,
            day=day,
            instrument_id=instrument.instrument_id,
            files=list(built.files),
            inputs={
                path: PartitionInput(fingerprint=inputs[path], counts=built.inputs[path])
                for path in sorted(inputs)
            },
            stats=built.stats,
            conflicts_file=conflicts,
        )
        self._built += 1
        self._staged.changed = True
        if time.monotonic() >= self._next_commit:
            self._commit_staged()

    def drop_partition(self, key: DayKey) -> None:
        """Remove a day that no source file has rows of any more."""
        if self._drop("/".join(key)):
            self._removed += 1
            self._staged.changed = True

    def _drop(self, name: str) -> bool:
        old = self._partitions.pop(name, None)
        if old is None:
            return False
        self._staged.removals += [file.path for file in old.files]
        if old.conflicts_file:
            self._drop_text(old.conflicts_file)
        return True

    def _stage_text(self, target: str, data: bytes) -> None:
        self._texts[target] = self._stage_file(target, data)

    def _drop_text(self, target: str) -> None:
        self._texts.pop(target, None)
        if (self._store.root / target).exists():
            self._staged.removals.append(target)

    def _stage_file(self, target: str, data: bytes) -> str:
        """Have a file written with the next commit; its sha256."""
        self._staged_texts += 1
        staged = self._store.staging / "texts" / str(self._staged_texts)
        durable.write_new(staged, data)
        self._staged.moves[target] = staged
        self._staged.changed = True
        return hashlib.sha256(data).hexdigest()

    def _hold_against_each_other(self, crew: Crew) -> None:
        """Check the days of which a file changed; the checks read what is committed."""
        known = self._manifest.crosschecks
        tasks = list(plan_checks(self._manifest, self._store.root))
        stale = [
            t for t in tasks if t.key not in known or known[t.key].fingerprint != t.fingerprint
        ]
        done = (map if crew.pool is None else crew.pool.map)(run_check, stale)
        fresh = {task.key: check for task, check in zip(stale, done, strict=True)}
        self._crosschecks = {t.key: fresh.get(t.key) or known[t.key] for t in tasks}
        self._staged.changed |= self._crosschecks != known

    def stage_instruments(self, specs: Mapping[str, InstrumentSpec]) -> None:
        """Instruments as NautilusTrader writes them, and a copy of the specifications.

        All that the catalog has are written where the specifications changed, so that the copy says
        what holds for each of them.
        """
        specs_path = self._config.instrument_specs_path
        text = Path(specs_path).read_bytes() if specs_path else default_specs_text().encode()
        copy = self._store.root / SPECS_COPY
        is_same_text = (
            self._texts.get(SPECS_COPY) == hashlib.sha256(text).hexdigest()
            and copy.is_file()
            and copy.read_bytes() == text
        )
        held = {Path(path).parent.name for path in self._instruments}
        if (
            is_same_text
            and self._wanted <= held
            and self._manifest.nautilus_version == metadata.version("nautilus_trader")
            and all((self._store.root / path).exists() for path in self._instruments)
        ):
            return  # and NautilusTrader need not be imported
        from nautilus_trader.persistence import ParquetDataCatalog

        folder = self._store.staging / "instruments"
        folder.mkdir(parents=True, exist_ok=True)
        written = [specs[i].to_nautilus() for i in sorted(self._wanted | held & specs.keys())]
        ParquetDataCatalog(str(folder)).write_instruments(written)
        for path in sorted(folder.rglob("*.parquet")):
            target = path.relative_to(folder).as_posix()
            data = path.read_bytes()
            sha256 = hashlib.sha256(data).hexdigest()
            if self._instruments.get(target) != sha256 or not (self._store.root / target).exists():
                self._instruments[target] = self._stage_file(target, data)
        if not is_same_text:
            self._stage_text(SPECS_COPY, text)

    def _bring_report(self) -> None:
        """Have the report say what the manifest does, also after it was deleted, or put elsewhere, or
        this code words it otherwise."""
        data = validation_report(self._manifest).encode()
        path = self._config.validation_report
        is_there = path.is_file() and path.read_bytes() == data
        if self._report_path is None:
            if not is_there:
                durable.write_file(path, data)
            durable.remove(durable.temporary_name(path))  # that a crash may have left
        before = self._manifest.validation_report
        if before is not None and before != self._report_path:
            self._drop_text(before)
        if before != self._report_path or (self._report_path is not None and not is_there):
            self._staged.changed = True
            self._commit_staged()

    def _current(self) -> Manifest:
        return msgspec.structs.replace(
            self._manifest,
            **provenance(self._config),
            instruments=self._instruments,
            texts=self._texts,
            validation_report=self._report_path,
            files=self._files,
            failed=self._failed,
            unrecognised=self._unrecognised,
            partitions=self._partitions,
            crosschecks=self._crosschecks,
        )

    def _commit_staged(self) -> None:
        """Commit what is finished. Where nothing changed the manifest stays the word of the run
        that last changed something."""
        began = time.monotonic()
        if not self._staged.changed:
            return
        check_ledger(self._files, self._partitions)
        manifest = manifests.completed(self._current())
        if self._report_path is not None:
            self._stage_text(self._report_path, validation_report(manifest).encode())
            manifest = msgspec.structs.replace(manifest, texts=self._texts)
        named = manifest.named_files()
        # A file that was read again may have staged what its second reading does not want.
        moves = [(staged, place) for place, staged in self._staged.moves.items() if place in named]
        data = manifests.encode(manifest)
        self._store.commit(moves, self._staged.removals, data)
        self._staged = _Staged()
        self._manifest = manifests.decode(data, self._store.manifest)
        # A big manifest takes a while to write: that stays a small part of the work.
        took = time.monotonic() - began
        self._next_commit = began + took + max(COMMIT_INTERVAL_S, 20 * took)
