"""One run of an ingest: what is known of files and days, what was read and built, what is published.

The run keeps the books for the [Scheduler][phoenix_etl.scheduler.Scheduler], which asks it what has to
be read and built, and tells it what was; what is finished goes to a
[Publication][phoenix_etl.publication.Publication]. All of it happens in the coordinator, under the
catalog's lock.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import msgspec
from phoenix_schemas.instruments import InstrumentSpec

from phoenix_etl.commit import CatalogStore
from phoenix_etl.config import EtlConfig
from phoenix_etl.crosschecks import plan_checks, run_check
from phoenix_etl.errors import SourceError
from phoenix_etl.instrument_files import publish_instruments
from phoenix_etl.inventory import Inventory, SourceFile
from phoenix_etl.manifest import (
    FailedFile,
    FileEntry,
    Manifest,
    PartitionEntry,
    PartitionInput,
)
from phoenix_etl.parsing import Reject
from phoenix_etl.partitions import Partition
from phoenix_etl.plan import Instruments, plan_files
from phoenix_etl.precedence import Precedence, archive_identity
from phoenix_etl.provenance import provenance
from phoenix_etl.publication import Publication
from phoenix_etl.rejects import rejects_csv, rejects_path
from phoenix_etl.scheduler import Crew, DayKey, FileState, Progress, Scheduler, crew_for
from phoenix_etl.source_rows import ReadResult, allowed_rejects, lines_of
from phoenix_etl.stat_cache import StatCache


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


class IngestRun:
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
        self._root = store.root
        self.progress = progress
        self.staging = store.staging
        self.memory_budget_bytes = config.memory_budget_bytes
        self._publication = Publication(store, config.validation_report)
        before = self._publication.manifest
        self._files: dict[str, FileEntry] = dict(before.files)
        there = {file.path for file in inventory.files}
        self._failed = {p: f for p, f in before.failed.items() if p in there}
        self._unrecognised = {odd.path: odd.reason for odd in inventory.unrecognised}
        self._partitions: dict[str, PartitionEntry] = dict(before.partitions)
        self._crosschecks = before.crosschecks
        self._instruments = before.instruments
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
        self._publication.has_changes |= (
            self._failed != before.failed or self._unrecognised != before.unrecognised
        )
        self._built = 0
        self._removed = 0
        self._rows_read: dict[str, int] = {}
        self._attempted: set[str] = set()
        self._run_failed: dict[str, str] = {}

    def execute(self, executor: Executor | None, recovered: bool) -> IngestResult:
        unknown = self._unknown_files()
        total = sum(s.plan.source.size_bytes for s in unknown)
        self.progress.start(len(unknown), total)
        for path, reason in self._unrecognised.items():
            if path not in self._publication.manifest.unrecognised:
                self.progress.note(f"not read: {path}: {reason}")
        limit = self._config.ingest_workers
        with crew_for(executor, limit, len(unknown), total) as crew:
            Scheduler(self, crew).run(unknown)
            while again := self._decided_otherwise():
                Scheduler(self, crew).run(again)
            self._commit()
            self._hold_against_each_other(crew)
        self._commit()
        self._publication.bring_report()
        self._commit()
        self._cache.save()
        return IngestResult(
            manifest=self._publication.manifest,
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
        return [state for state in self.states.values() if not self._is_settled_and_known(state)]

    def _decided_otherwise(self) -> list[FileState]:
        """Files that were read, and would be read otherwise now that all others were."""
        return [
            state
            for path, state in self.states.items()
            if not state.failed
            and path in self._attempted
            and not self._is_settled_and_known(state)
        ]

    def _is_settled_and_known(self, state: FileState) -> bool:
        return self.settle(state) and self.is_known(state)

    def settle(self, state: FileState) -> bool:
        """Write into a file's plan which days are taken from other files; False as long as that
        depends on a file that was not read yet."""
        source = state.plan.source
        if not self._precedence.is_decided(source):
            return False
        state.plan = state.plan.without(self._precedence.replaced_days(source))
        return True

    def is_known(self, state: FileState) -> bool:
        """Whether the manifest holds this file's rows as its plan would read them now."""
        path = state.plan.source.path
        if path in self._unknown:
            return False
        entry = self._files[path]
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
        if entry.report.rejected and not self._publication.holds(rejects_path(entry, source.path)):
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
            self._publication.has_changes |= self._failed.get(source.path) != failed
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
            listed = rejects_csv([(source.path, reject) for reject in result.rejects])
            self._publication.add_text(rejects, listed)
        else:
            self._publication.remove_text(rejects)
        self._publication.has_changes = True
        self.progress.file_done(source.path)

    def _index(self, path: str, entry: FileEntry) -> None:
        for day in entry.report.days:
            self._sources_of_day[entry.market, entry.dataset, entry.symbol, day].add(path)

    def _forget(self, path: str) -> None:
        """Drop a file from what is known; its days are looked at again."""
        entry = self._files.pop(path)
        for day in entry.report.days:
            self._sources_of_day[entry.market, entry.dataset, entry.symbol, day].discard(path)
        self._publication.remove_text(rejects_path(entry, path))

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
        if entry.conflicts_file and not self._publication.holds(entry.conflicts_file):
            return False
        return all(self._publication.has_size(file.path, file.bytes) for file in entry.files)

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
            self._publication.add_text(conflicts, rejects_csv(rows))
        for file, staged in zip(built.files, built.staged, strict=True):
            self._publication.add_file(file.path, staged)
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
        self._publication.has_changes = True
        if self._publication.is_due:
            self._commit()

    def drop_partition(self, key: DayKey) -> None:
        """Remove a day that no source file has rows of any more."""
        if self._drop("/".join(key)):
            self._removed += 1
            self._publication.has_changes = True

    def _drop(self, name: str) -> bool:
        old = self._partitions.pop(name, None)
        if old is None:
            return False
        self._publication.remove_files([file.path for file in old.files])
        if old.conflicts_file:
            self._publication.remove_text(old.conflicts_file)
        return True

    def _hold_against_each_other(self, crew: Crew) -> None:
        """Check the days of which a file changed; the checks read what is committed."""
        manifest = self._publication.manifest
        known = manifest.crosschecks
        tasks = list(plan_checks(manifest, self._root))
        stale = [
            t for t in tasks if t.key not in known or known[t.key].fingerprint != t.fingerprint
        ]
        done = (map if crew.pool is None else crew.pool.map)(run_check, stale)
        fresh = {task.key: check for task, check in zip(stale, done, strict=True)}
        self._crosschecks = {t.key: fresh.get(t.key) or known[t.key] for t in tasks}
        self._publication.has_changes |= self._crosschecks != known

    def publish_instruments(self, specs: Mapping[str, InstrumentSpec]) -> None:
        """Bring the instruments of the catalog, and its copy of their specifications, up to date."""
        self._instruments = publish_instruments(
            specs,
            self._config.instrument_specs_path,
            self._wanted,
            self._publication,
            self.staging / "instruments",
        )

    def _commit(self) -> None:
        if self._publication.has_changes:
            self._publication.commit(self._current())

    def _current(self) -> Manifest:
        return msgspec.structs.replace(
            self._publication.manifest,
            **provenance(self._config),
            instruments=self._instruments,
            files=self._files,
            failed=self._failed,
            unrecognised=self._unrecognised,
            partitions=self._partitions,
            crosschecks=self._crosschecks,
        )
