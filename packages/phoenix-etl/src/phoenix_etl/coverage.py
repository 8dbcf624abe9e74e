"""Where a catalog has data and where it is silent: days, gaps in time, gaps in identifiers.

A day with data, a day whose file is empty, a day without a file, a day whose file cannot be read and a
day whose rows were taken from another dataset are five different things. A gap is a time without a
row, longer than the dataset's rows are apart, within what the files cover: from midnight to the first
row and from the last row to midnight count too, unless the next day goes on.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from phoenix_schemas.datasets import dataset
from phoenix_schemas.timestamps import NS_PER_DAY, day_start

from phoenix_etl.inventory import days_of_key
from phoenix_etl.manifest import Manifest, PartitionEntry

_DAY = dt.timedelta(days=1)
StreamKey = tuple[str, str, str]
"""(market, dataset, symbol)."""


@dataclass(frozen=True)
class Span:
    """From the last known before to the first known after, both known."""

    before: int
    after: int

    @property
    def length(self) -> int:
        return self.after - self.before


@dataclass(frozen=True)
class Coverage:
    """One dataset and symbol between its first and last file."""

    dataset: str
    symbol: str
    first: dt.date
    last: dt.date
    data: int
    empty: tuple[dt.date, ...]
    missing: tuple[dt.date, ...]
    unreadable: tuple[dt.date, ...]
    replaced: tuple[dt.date, ...]
    rows: int
    gap_count: int
    gaps: tuple[Span, ...]
    """The longest gaps, in order of time."""
    id_gap_count: int
    id_gaps: tuple[Span, ...]
    """The longest runs of two and more missing identifiers, as (last before, first after)."""


@dataclass
class _Stream:
    parts: dict[dt.date, PartitionEntry] = field(default_factory=dict)
    covered: set[dt.date] = field(default_factory=set)
    unreadable: set[dt.date] = field(default_factory=set)
    intervals: list[tuple[int, int]] = field(default_factory=list)


def coverage_of(manifest: Manifest) -> Iterator[Coverage]:
    """The coverage of every stream, in order."""
    streams: dict[StreamKey, _Stream] = defaultdict(_Stream)
    for entry in manifest.files.values():
        stream = streams[entry.market, entry.dataset, entry.symbol]
        days = days_of_key(entry.date_key)
        stream.covered.update(days)
        low, high = day_start(days[0]), day_start(days[-1]) + NS_PER_DAY
        low = low if entry.start_ns is None else max(low, entry.start_ns)
        high = high if entry.end_ns is None else min(high, entry.end_ns)
        if low < high:
            stream.intervals.append((low, high))
    for failed in manifest.failed.values():
        stream = streams[failed.market, failed.dataset, failed.symbol]
        stream.unreadable.update(days_of_key(failed.date_key))
    for part in manifest.partitions.values():
        day = dt.date.fromisoformat(part.day)
        streams[part.market, part.dataset, part.symbol].parts[day] = part
    for key, stream in sorted(streams.items()):
        yield _coverage(key, stream, streams)


def _coverage(key: StreamKey, stream: _Stream, streams: dict[StreamKey, _Stream]) -> Coverage:
    market, name, symbol = key
    spec = dataset("spot" if market == "spot" else "futures", name)
    other = {"aggTrades": "trades", "trades": "aggTrades"}.get(name, "")
    elsewhere = streams[market, other, symbol].parts if (market, other, symbol) in streams else {}
    # A last row may lie at the midnight after the last file.
    known = stream.covered | stream.unreadable or set(stream.parts)
    first, last = min(known), max(known)
    whole = [first + i * _DAY for i in range((last - first).days + 1)]
    data = stream.parts
    unreadable = stream.unreadable - set(data)
    replaced = {d for d in stream.covered - unreadable if d in elsewhere and d not in data}
    gaps: list[Span] = []
    hidden = 0  # gaps within a day beyond the longest that its partition lists
    if spec.gap_ns is not None:
        gaps = list(_gaps(_without(stream.intervals, replaced), data, spec.gap_ns))
        hidden = sum(p.stats.gap_count - len(p.stats.gaps) for p in data.values() if p.stats)
    id_gaps = list(_id_gaps(data))
    return Coverage(
        dataset=f"{market}/{name}",
        symbol=symbol,
        first=first,
        last=last,
        data=sum(first <= day <= last for day in data),
        empty=tuple(d for d in whole if d in stream.covered - set(data) - replaced - unreadable),
        missing=tuple(d for d in whole if d not in known),
        unreadable=tuple(sorted(unreadable)),
        replaced=tuple(sorted(replaced)),
        rows=sum(i.counts.written for p in data.values() for i in p.inputs.values()),
        gap_count=len(gaps) + hidden,
        gaps=tuple(gaps),
        id_gap_count=len(id_gaps)
        + sum(p.stats.id_gap_count - len(p.stats.id_gaps) for p in data.values() if p.stats),
        id_gaps=tuple(id_gaps),
    )


def _without(intervals: Iterable[tuple[int, int]], days: set[dt.date]) -> Iterator[tuple[int, int]]:
    """Intervals joined where they touch, less some days."""
    joined: list[tuple[int, int]] = []
    for low, high in sorted(intervals):
        if joined and low <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    cuts = sorted(day_start(day) for day in days)
    for low, high in joined:
        for cut in cuts:
            if low < cut + NS_PER_DAY and cut < high:
                if low < cut:
                    yield low, cut
                low = cut + NS_PER_DAY
        if low < high:
            yield low, high


def _gaps(
    intervals: Iterable[tuple[int, int]], parts: dict[dt.date, PartitionEntry], longest: int
) -> Iterator[Span]:
    """Times without a row that are longer than `longest`, within and between days."""
    ordered = [parts[day].stats for day in sorted(parts)]
    for low, high in intervals:
        at = low
        for stats in ordered:
            if stats is None or stats.last_ts_event < low or stats.first_ts_event >= high:
                continue
            if stats.first_ts_event - at > longest:
                yield Span(at, stats.first_ts_event)
            yield from (Span(before, after) for before, after in stats.gaps)
            at = stats.last_ts_event
        if high - at > longest:
            yield Span(at, high)


def _id_gaps(parts: dict[dt.date, PartitionEntry]) -> Iterator[Span]:
    """Runs of two and more identifiers that no row has, within days and from a day to the next."""
    before: PartitionEntry | None = None
    for day in sorted(parts):
        part = parts[day]
        if part.stats is None or part.stats.first_id is None:
            continue
        if (
            before is not None
            and before.day == (day - _DAY).isoformat()
            and before.stats is not None
            and before.stats.last_id is not None
            and part.stats.first_id - before.stats.last_id > 2
        ):
            yield Span(before.stats.last_id, part.stats.first_id)
        yield from (Span(first - 1, last + 1) for first, last in part.stats.id_gaps)
        before = part
