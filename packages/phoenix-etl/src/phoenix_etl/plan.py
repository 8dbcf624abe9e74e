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
from dataclasses import dataclass, replace

from phoenix_schemas.datasets import DatasetSpec
from phoenix_schemas.instruments import InstrumentSpec, instrument_for_symbol
from phoenix_schemas.timestamps import NS_PER_DAY

from phoenix_etl.config import EtlConfig
from phoenix_etl.errors import UsageError
from phoenix_etl.inventory import SourceFile
from phoenix_etl.manifest import CONVERTER_VERSION, FileEntry
from phoenix_etl.parsing import Precisions
from phoenix_etl.precedence import archive_identity, may_replace
from phoenix_etl.source_rows import ReadOptions


@dataclass(frozen=True)
class PlannedFile:
    """A source file and how it is to be read."""

    source: SourceFile
    instrument: InstrumentSpec
    options: ReadOptions

    @property
    def spec(self) -> DatasetSpec:
        return self.source.spec

    def without(self, replaced_days: Iterable[dt.date]) -> PlannedFile:
        """The same, its rows of some days taken from another file."""
        days = frozenset(replaced_days)
        if days == self.options.replaced_days:
            return self
        return replace(self, options=replace(self.options, replaced_days=days))

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

    Which days another file takes over is left open: that is told by what the others hold
    ([precedence][phoenix_etl.precedence]).

    A run adds to what earlier runs took: a file's range is joined with theirs of the same file, and
    of those that it may take days over from.
    """
    taken: dict[tuple[str, ...], list[FileEntry]] = defaultdict(list)
    for entry in known.values():
        taken[entry.market, entry.symbol, entry.date_key[:7]].append(entry)
    start_ns, end_ns = config.range_ns
    planned = []
    for file in files:
        instrument = instruments[file.market, file.symbol]
        first, end = file.span_ns
        # A range that does not cut this file is no option of it.
        cut_start = start_ns is not None and start_ns > first - NS_PER_DAY
        cut_end = end_ns is not None and end_ns < end + 2 * NS_PER_DAY
        own_start, own_end = start_ns if cut_start else None, end_ns if cut_end else None
        for before in taken[file.market, file.symbol, file.date_key[:7]]:
            is_same = archive_identity(file) == archive_identity(before)
            if is_same or may_replace(file, before, config.trade_source):
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
            replaced_days=frozenset(),
            strict=config.strict,
            max_reject_share=config.max_reject_share,
        )
        planned.append(PlannedFile(file, instrument, options))
    planned.sort(key=lambda p: (p.source.market, p.source.dataset, p.source.symbol, p.source.days))
    return planned


def _joined(own: int | None, before: int | None, wider: Callable[[int, int], int]) -> int | None:
    return None if own is None or before is None else wider(own, before)
