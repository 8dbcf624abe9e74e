"""What has to be read and built: the files of a catalog against what its manifest says of them.

A file is known when the manifest holds its content under the same options; a day is current when its
partition was built from exactly the known files that hold rows of it. Only the rest is worked on.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from phoenix_schemas.datasets import DatasetSpec
from phoenix_schemas.instruments import InstrumentSpec, instrument_for_symbol
from phoenix_schemas.timestamps import NS_PER_DAY

from phoenix_etl.config import EtlConfig
from phoenix_etl.errors import UsageError
from phoenix_etl.inventory import SourceFile, days_of_key
from phoenix_etl.manifest import CONVERTER_VERSION, FileEntry
from phoenix_etl.parsing import Precisions
from phoenix_etl.source_rows import ReadOptions

_DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class PlannedFile:
    """A source file and how it is to be read."""

    source: SourceFile
    instrument: InstrumentSpec
    options: ReadOptions

    @property
    def spec(self) -> DatasetSpec:
        return self.source.spec

    def fingerprint(self, sha256: str) -> str:
        """Hash of the content and of every option that decides what its rows become."""
        options = self.options
        parts = {
            "sha256": sha256,
            "converter": CONVERTER_VERSION,
            "instrument": self.instrument.instrument_id,
            "precisions": [options.precisions.price, options.precisions.size],
            "tick": options.tick,
            "clock": options.clock,
            "range": [options.start_ns, options.end_ns],
            "replaced_days": sorted(d.isoformat() for d in options.replaced_days),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


Instruments = Mapping[tuple[str, str], InstrumentSpec]
"""Specifications by (market, symbol)."""


def instruments_of(files: Iterable[SourceFile], specs: dict[str, InstrumentSpec]) -> Instruments:
    """The instrument of every file's symbol.

    Raises UsageError for a symbol without a specification.
    """
    instruments: dict[tuple[str, str], InstrumentSpec] = {}
    for file in files:
        key = (file.market, file.symbol)
        if key in instruments:
            continue
        instrument = instrument_for_symbol(specs, file.symbol, file.market)
        if instrument is None:
            raise UsageError(
                f"symbol {file.symbol} ({file.market}) must have an instrument specification "
                f"(first needed by {file.path}); add it to the instrument_specs file "
                "or restrict --symbols"
            )
        instruments[key] = instrument
    return instruments


def plan_files(
    config: EtlConfig,
    files: Iterable[SourceFile],
    instruments: Instruments,
    known: Mapping[str, FileEntry],
) -> list[PlannedFile]:
    """How each file is read, in order of (dataset, symbol, day); `known` are the manifest's files.

    Decides which file of several that cover a day counts: a daily file over a monthly one, and of
    aggTrades and trades the configured source where it has a file for the day. A day that the catalog
    already has from the other source, none of whose files is asked for now, stays with it.

    A run adds to what earlier runs took of a file: its range is joined with theirs.
    """
    files = list(files)
    cover = _Cover(files, config.trade_source, known)
    taken = {archive_identity(entry): entry for entry in known.values()}
    start_ns, end_ns = config.range_ns
    planned = []
    for file in files:
        instrument = instruments[file.market, file.symbol]
        first, end = file.span_ns
        # A range that does not cut this file is no option of it.
        cut_start = start_ns is not None and start_ns > first - NS_PER_DAY
        cut_end = end_ns is not None and end_ns < end + 2 * NS_PER_DAY
        own_start, own_end = start_ns if cut_start else None, end_ns if cut_end else None
        before = taken.get(archive_identity(file))
        if before is not None:
            own_start = _joined(own_start, before.start_ns, min)
            own_end = _joined(own_end, before.end_ns, max)
        clock = file.spec.clock[0]
        if config.quote_clock in file.spec.clock:
            clock = config.quote_clock
        options = ReadOptions(
            precisions=Precisions(instrument.price_precision, instrument.size_precision),
            tick=int(instrument.price_increment.scaleb(instrument.price_precision)),
            clock=clock,
            start_ns=own_start,
            end_ns=own_end,
            replaced_days=cover.replaced_days(file),
            strict=config.strict,
            max_reject_share=config.max_reject_share,
        )
        planned.append(PlannedFile(file, instrument, options))
    planned.sort(key=lambda p: (p.source.market, p.source.dataset, p.source.symbol, p.source.days))
    return planned


def archive_identity(file: SourceFile | FileEntry) -> tuple[str, ...]:
    """What file of the archive this is, whatever folder or form (CSV or ZIP) it lies in."""
    return (file.market, file.dataset, file.symbol, file.period, file.date_key)


def _joined(own: int | None, before: int | None, wider: Callable[[int, int], int]) -> int | None:
    return None if own is None or before is None else wider(own, before)


class _Cover:
    """Which days each dataset's files cover, and which file of several counts for a day."""

    def __init__(
        self, files: list[SourceFile], trade_source: str, known: Mapping[str, FileEntry]
    ) -> None:
        self._trade_source = trade_source
        self._daily: dict[tuple[str, str, str], set[dt.date]] = defaultdict(set)
        self._all: dict[tuple[str, str, str], set[dt.date]] = defaultdict(set)
        self._held: dict[tuple[str, str, str], set[dt.date]] = defaultdict(set)
        for file in files:
            key = (file.market, file.dataset, file.symbol)
            days = set(days_of_key(file.date_key))
            self._all[key] |= days
            if file.period == "daily":
                self._daily[key] |= days
        asked = {archive_identity(file) for file in files}
        for entry in known.values():
            if archive_identity(entry) in asked:
                continue
            key = (entry.market, entry.dataset, entry.symbol)
            self._held[key] |= {dt.date.fromisoformat(day) for day in entry.report.days}
            self._all[key] |= set(days_of_key(entry.date_key))
            if entry.period == "daily":
                self._daily[key] |= set(days_of_key(entry.date_key))

    def replaced_days(self, file: SourceFile) -> frozenset[dt.date]:
        """Days around a file's period whose rows are taken from another file."""
        first, last = file.days
        near = {first - _DAY, last + _DAY, *days_of_key(file.date_key)}
        key = (file.market, file.dataset, file.symbol)
        replaced: set[dt.date] = set()
        if file.period == "monthly":
            replaced |= self._daily[key] & near
        other = _alternative(file.dataset)
        if other is not None:
            other_days = self._all[file.market, other, file.symbol]
            replaced |= self._held[file.market, other, file.symbol] & near
            if file.dataset == self._trade_source:
                replaced |= (other_days - self._all[key]) & near
            else:
                replaced |= other_days & near
        return frozenset(replaced)


def _alternative(dataset: str) -> str | None:
    return {"aggTrades": "trades", "trades": "aggTrades"}.get(dataset)
