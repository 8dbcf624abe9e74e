"""Handing out the work of an ingest: files to read, days to build.

A day is built once every file that may hold rows of it has been read; builds come before reads, so
that spilled rows do not pile up. Work runs in this process or on any `concurrent.futures.Executor`
whose workers see the same paths; they write to the staging area only. Which worker does what, and
in which order it ends, changes nothing in the result.
"""

from __future__ import annotations

import os
import secrets
import signal
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Protocol

from phoenix_schemas.timestamps import NS_PER_DAY, day_start

from phoenix_etl.catalog_files import InstrumentData
from phoenix_etl.errors import CatalogError, SourceError
from phoenix_etl.inventory import SourceFile
from phoenix_etl.partitions import Partition, PartitionTask, build_partition
from phoenix_etl.plan import PlannedFile
from phoenix_etl.source_rows import ReadOptions, ReadResult, read_source
from phoenix_etl.spilled_rows import Part, Spill
from phoenix_etl.worker_pool import WorkerPool
from phoenix_etl.worker_progress import INTERVAL_S, ProgressListener, ProgressTeller

_INLINE_BYTES = 64 << 20
"""Below this much input, starting worker processes costs more than it saves."""

Stream = tuple[str, str, str]
"""(market, dataset, symbol)."""
DayKey = tuple[str, str, str, str]
"""(market, dataset, symbol, ISO day)."""


@dataclass
class FileState:
    """A planned file during a run."""

    plan: PlannedFile
    failed: bool = False

    @property
    def stream(self) -> Stream:
        source = self.plan.source
        return source.market, source.dataset, source.symbol


class Progress(Protocol):
    """What a person watching an ingest is told."""

    def start(self, files: int, total_bytes: int) -> None: ...
    def advance(self, bytes_read: int, rows: int) -> None: ...
    def file_done(self, path: str) -> None: ...
    def note(self, message: str) -> None: ...


class Silent:
    """A [Progress][] for machines."""

    def start(self, files: int, total_bytes: int) -> None:
        pass

    def advance(self, bytes_read: int, rows: int) -> None:
        pass

    def file_done(self, path: str) -> None:
        pass

    def note(self, message: str) -> None:
        pass


class Bookkeeper(Protocol):
    """Who knows what is in the catalog and takes what was done."""

    @property
    def states(self) -> Mapping[str, FileState]: ...
    @property
    def progress(self) -> Progress: ...
    @property
    def staging(self) -> Path: ...
    @property
    def memory_budget_bytes(self) -> int: ...
    def settle(self, state: FileState) -> bool: ...
    def is_known(self, state: FileState) -> bool: ...
    def days_to_check(self) -> Iterable[DayKey]: ...
    def inputs_of(self, key: DayKey) -> dict[str, str]: ...
    def is_current(self, key: DayKey, inputs: dict[str, str]) -> bool: ...
    def is_held_up(self, inputs: dict[str, str]) -> bool: ...
    def finish_read(
        self, state: FileState, result: ReadResult | SourceError, first: bool
    ) -> None: ...
    def finish_build(self, key: DayKey, inputs: dict[str, str], built: Partition) -> None: ...
    def drop_partition(self, key: DayKey) -> None: ...


@dataclass(frozen=True)
class Crew:
    """Who does the work: an executor of `size` workers (None: this process), and the threads that
    each task may use."""

    pool: Executor | None
    size: int
    threads: int


@contextmanager
def crew_for(
    executor: Executor | None, limit: int | None, files: int, total_bytes: int
) -> Iterator[Crew]:
    """The given executor, this process, or a pool of spawned processes, whichever suits the work.

    `limit` is the number of workers asked for; None means one per core.
    """
    cores = os.cpu_count() or 1
    if executor is not None:
        yield Crew(executor, limit or cores, 1)
        return
    count = min(limit or cores, max(files, 1))
    if count == 1 or total_bytes < _INLINE_BYTES:
        yield Crew(None, 1, cores if limit is None else count)
        return
    pool = WorkerPool(count)
    try:
        yield Crew(pool, count, max(1, cores // count))
    except BaseException:
        # What they were at is staged only; nobody should wait for it.
        for process in list((pool._processes or {}).values()):
            process.terminate()
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    pool.shutdown()


@contextmanager
def _ctrl_c_noted(is_wanted: bool) -> Iterator[list[int]]:
    """Ctrl-C as an entry in a list instead of an exception anywhere: one that falls into
    `concurrent.futures.wait` would leave futures locked, and their pool waiting for ever."""
    came: list[int] = []
    if not is_wanted or threading.current_thread() is not threading.main_thread():
        yield came
        return
    handler = signal.signal(signal.SIGINT, lambda number, _frame: came.append(number))
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, handler)


class Scheduler:
    """Reads files and builds days, each as soon as it can be."""

    def __init__(self, books: Bookkeeper, crew: Crew) -> None:
        self._books = books
        self._pool = crew.pool
        self._threads = crew.threads
        self._most_running = 1 if crew.pool is None else 2 * crew.size
        self._running: dict[Future[Any], Callable[[Any], None]] = {}
        self._listeners: dict[Future[Any], ProgressListener] = {}
        self._to_read: deque[FileState] = deque()
        self._unread: dict[Stream, dict[str, int]] = defaultdict(dict)
        """Files still to be read, with the first time of which they may hold a row."""
        self._open_days: dict[Stream, dict[str, None]] = defaultdict(dict)
        self._to_close: dict[Stream, None] = {}
        """Streams whose open days may have become ready."""
        self._spills: dict[DayKey, dict[str, Spill]] = defaultdict(dict)
        self._waiting: dict[DayKey, set[str]] = {}
        self._reread: set[tuple[str, str]] = set()
        self._serial = 0

    def run(self, unknown: Iterable[FileState]) -> None:
        """Read these files (but those that turn out to be known, once others were read), and bring
        every day of their streams up to date."""
        self._to_read.extend(unknown)
        for state in self._to_read:
            first = state.plan.source.span_ns[0] - NS_PER_DAY
            self._unread[state.stream][state.plan.source.path] = first
        for *stream, day in self._books.days_to_check():
            self._open((stream[0], stream[1], stream[2]), [day])
        try:
            with _ctrl_c_noted(self._pool is not None) as came:
                while self._to_read or self._running or self._to_close:
                    self._fill()
                    if not self._running:
                        continue
                    done, _ = wait(self._running, INTERVAL_S, return_when=FIRST_COMPLETED)
                    for listener in self._listeners.values():
                        self._books.progress.advance(*listener.news())
                    for future in done:
                        self._running.pop(future)(future)
                    if came:
                        break
                if came:
                    raise KeyboardInterrupt
        except BaseException:
            for future in self._running:
                future.cancel()
            raise

    def _open(self, stream: Stream, days: Iterable[str]) -> None:
        self._open_days[stream] |= dict.fromkeys(days)
        self._to_close[stream] = None

    def _fill(self) -> None:
        """Start what can be started."""
        self._close_days()
        while len(self._running) < self._most_running:
            state = self._next_to_read()
            self._close_days()
            if state is None:
                break
            self._read(state, None)
            self._close_days()

    def _next_to_read(self) -> FileState | None:
        """The first file whose reading depends on no other; those that are known fall away."""
        at = 0
        while at < len(self._to_read):
            state = self._to_read[at]
            if not self._books.settle(state):
                at += 1
                continue
            del self._to_read[at]
            if not self._books.is_known(state):
                return state
            source = state.plan.source
            self._books.progress.advance(source.size_bytes, 0)
            self._books.progress.file_done(source.path)
            del self._unread[state.stream][source.path]
            self._open(state.stream, ())
        return None

    def _close_days(self) -> None:
        """Build every open day that no unread file can still add to."""
        while self._to_close:
            stream = next(iter(self._to_close))
            del self._to_close[stream]
            limit = min(self._unread[stream].values(), default=None)
            days = self._open_days[stream]
            ready = [
                day for day in days if limit is None or day_start(date.fromisoformat(day)) < limit
            ]
            for day in ready:
                del days[day]
                self._prepare((*stream, day))

    def _prepare(self, key: DayKey) -> None:
        """Build a day, drop it, or leave it, once every file that holds rows of it is known."""
        inputs = self._books.inputs_of(key)
        if self._books.is_current(key, inputs) or self._books.is_held_up(inputs):
            self._discard_spills(key)
            return
        if not inputs:
            self._books.drop_partition(key)
            return
        missing = [path for path in inputs if path not in self._spills[key]]
        if not missing:
            self._build(key, inputs)
            return
        self._waiting[key] = set(missing)
        for path in missing:
            state = self._books.states.get(path)
            if state is None:
                raise CatalogError(
                    f"{path}: needed to rebuild {'/'.join(key)} and no longer among the files; "
                    "restore it, or widen the selection to include it"
                )
            if (path, key[3]) in self._reread:
                raise CatalogError(
                    f"{path}: read again for {'/'.join(key)} without a row of that day; nothing of "
                    "it is committed. This is a defect of phoenix-etl, please report it"
                )
            self._reread.add((path, key[3]))
            self._read(state, frozenset({date.fromisoformat(key[3])}))

    def _read(self, state: FileState, only_days: frozenset[date] | None) -> None:
        self._serial += 1
        name = self._books.staging / "spill" / str(self._serial)
        source, options = state.plan.source, state.plan.options
        progress = self._books.progress
        if self._pool is None:
            result = _read_task(source, options, name, self._threads, only_days, progress.advance)
            self._after_read(state, result, only_days)
            return

        def finished(future: Future[ReadResult | SourceError]) -> None:
            outcome = future.result()
            rows = outcome.report.rows_read if isinstance(outcome, ReadResult) else 0
            progress.advance(*self._listeners.pop(future).finish(source.size_bytes, rows))
            self._after_read(state, outcome, only_days)

        future = self._pool.submit(_read_task, source, options, name, self._threads, only_days)
        self._listeners[future] = ProgressListener(_progress_path(name))
        self._running[future] = finished

    def _after_read(
        self,
        state: FileState,
        result: ReadResult | SourceError,
        only_days: frozenset[date] | None,
    ) -> None:
        path, stream = state.plan.source.path, state.stream
        first = only_days is None
        self._books.finish_read(state, result, first)
        if isinstance(result, ReadResult):
            for day, spill in result.spills.items():
                self._spills[*stream, day.isoformat()][path] = spill
        if first:
            del self._unread[stream][path]
            self._open(stream, result.report.days if isinstance(result, ReadResult) else ())
        for key in [k for k, missing in self._waiting.items() if path in missing]:
            if only_days is not None and date.fromisoformat(key[3]) not in only_days:
                continue
            self._waiting[key].discard(path)
            if not self._waiting[key]:
                del self._waiting[key]
                self._prepare(key)

    def _build(self, key: DayKey, inputs: dict[str, str]) -> None:
        plan = self._books.states[next(iter(inputs))].plan
        self._serial += 1
        task = PartitionTask(
            data=InstrumentData(plan.spec, plan.instrument.instrument_id, plan.options.precisions),
            parts=tuple(Part(path, self._spills[key][path]) for path in inputs),
            staging=self._books.staging / "built" / str(self._serial),
            memory_budget_bytes=self._books.memory_budget_bytes,
        )

        def finished(built: Partition) -> None:
            self._discard_spills(key)
            self._books.finish_build(key, inputs, built)

        if self._pool is None:
            finished(build_partition(task))
            return
        future = self._pool.submit(build_partition, task)
        self._running[future] = lambda done: finished(done.result())

    def _discard_spills(self, key: DayKey) -> None:
        for spill in self._spills.pop(key, {}).values():
            spill.path.unlink(missing_ok=True)


def _read_task(
    source: SourceFile,
    options: ReadOptions,
    spill_name: Path,
    threads: int,
    only_days: frozenset[date] | None,
    on_progress: Callable[[int, int], None] | None = None,
) -> ReadResult | SourceError:
    """Read a file; its own failure is a result, so that other files go on.

    A worker given up for lost may still be at it: what this one spills has a name of its own.
    """
    telling = _progress_path(spill_name)
    spill_name = spill_name.with_name(f"{spill_name.name}-{secrets.token_hex(8)}")
    try:
        with ExitStack() as stack:
            if on_progress is None:
                teller = ProgressTeller(telling)
                on_progress = stack.enter_context(teller)
            return read_source(
                source,
                options,
                spill_name,
                threads=threads,
                only_days=only_days,
                on_progress=on_progress,
            )
    except SourceError as error:
        for spilled in spill_name.parent.glob(f"{spill_name.name}-*.arrow"):
            spilled.unlink(missing_ok=True)
        return error


def _progress_path(spill_name: Path) -> Path:
    return spill_name.with_name(f"{spill_name.name}.progress")
