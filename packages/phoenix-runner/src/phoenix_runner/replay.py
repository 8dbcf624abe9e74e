"""The catalog as the engine receives it: windows in time, types in order within an instant.

A [Replay][] cuts [start, end) into windows and reads each one's tables ahead of the engine, one
window at a time, in a thread of its own (Parquet decoding releases the interpreter). Within one
nanosecond types come in the order of `phoenix_schemas.arrow` (quotes, trades, depth, metrics,
funding, mark and index prices, bars), instruments in the order of the suite, and rows of one type
and instrument as they lie in their file. The engine's sort is stable, so adding in that order is
enough. Results do not depend on the window's length.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from typing import Any

from phoenix_schemas.arrow import CATALOG_TYPES
from phoenix_schemas.timestamps import NS_PER_HOUR, NS_PER_MINUTE, format_utc

from phoenix_runner.book_restore import BookRestorer
from phoenix_runner.catalog_series import Catalog
from phoenix_runner.errors import SuiteError
from phoenix_runner.feeds import Batch, Feed, open_feeds
from phoenix_runner.suite import Suite

DEFAULT_WINDOW_NS = NS_PER_HOUR


@dataclass(frozen=True)
class Window:
    """What happens in [start, end), in order of delivery at equal times."""

    start_ns: int
    end_ns: int
    batches: tuple[Batch, ...]

    @property
    def rows(self) -> int:
        return sum(batch.table.num_rows for batch in self.batches)


class Replay:
    """One pass over the catalog for a suite, from `start_ns` to `end_ns` (excluded).

    The `warmup_ns` before the start are replayed too, as far as the catalog has them. Raises
    NoDataError before any work if `strict` and a type that the suite includes has no rows for an
    instrument in the range.
    """

    def __init__(
        self,
        suite: Suite,
        catalog: Catalog,
        start_ns: int,
        end_ns: int,
        warmup_ns: int = 0,
        *,
        strict: bool = True,
    ) -> None:
        self.start_ns = start_ns - warmup_ns
        self.end_ns = end_ns
        self._feeds = open_feeds(suite, catalog, start_ns, end_ns, strict=strict)
        self._books = {
            name: BookRestorer(name)
            for name in suite.instruments
            if "TradeTick" in suite.config.data.include
        }

    def windows(self, length_ns: int = DEFAULT_WINDOW_NS) -> Iterator[Window]:
        """Windows that hold anything, in order; the next one is being read meanwhile."""
        if length_ns % NS_PER_MINUTE:
            raise SuiteError(f"window must be whole minutes (was {length_ns} ns); 1h is typical")
        starts = range(self.start_ns, self.end_ns, length_ns)
        with ThreadPoolExecutor(1, thread_name_prefix="replay-read") as reader:
            pending = None
            for start in starts:
                following = reader.submit(self._read, start, min(start + length_ns, self.end_ns))
                if pending is not None and (window := pending.result()).batches:
                    yield window
                pending = following
            if pending is not None and (window := pending.result()).batches:
                yield window

    def rows(self) -> dict[str, dict[str, int]]:
        """Rows read so far from the catalog, by type and instrument."""
        counts: dict[str, dict[str, int]] = {}
        for feed in self._feeds:
            if isinstance(feed, Feed):
                counts.setdefault(feed.type_name, {})[feed.instrument_id] = feed.series.rows
        return {name: dict(sorted(by_name.items())) for name, by_name in sorted(counts.items())}

    def ranges(self) -> dict[str, dict[str, list[str]]]:
        """Times of the first and the last row read so far, by type and instrument."""
        found: dict[str, dict[str, list[str]]] = {}
        for feed in self._feeds:
            if not isinstance(feed, Feed):
                continue
            first_ns, last_ns = feed.series.first_ns, feed.series.last_ns
            if first_ns is not None and last_ns is not None:
                span = [format_utc(first_ns), format_utc(last_ns)]
                found.setdefault(feed.type_name, {})[feed.instrument_id] = span
        return {name: dict(sorted(by_name.items())) for name, by_name in sorted(found.items())}

    def gaps(self) -> list[dict[str, str]]:
        """Gaps of the market types that were read: from the last row before to the next after."""
        return [
            {
                "type": feed.type_name,
                "instrument_id": feed.instrument_id,
                "start_utc": format_utc(first),
                "end_utc": format_utc(last),
            }
            for feed in self._feeds
            if isinstance(feed, Feed) and feed.gaps is not None
            for first, last in feed.gaps.close(self.end_ns)
        ]

    def data_start_ns(self) -> int | None:
        """Time of the first row of a market type, of any instrument."""
        firsts = [
            feed.gaps.first_ns
            for feed in self._feeds
            if isinstance(feed, Feed) and feed.gaps is not None and feed.gaps.first_ns is not None
        ]
        return min(firsts, default=None)

    def silence(self) -> list[tuple[int, int]]:
        """Stretches in which no market type of any instrument had a row: the gaps of all at once."""
        found = [
            feed.gaps.close(self.end_ns)
            for feed in self._feeds
            if isinstance(feed, Feed) and feed.gaps is not None
        ]
        return reduce(_common, found) if found else []

    def _read(self, start_ns: int, end_ns: int) -> Window:
        batches = [batch for feed in self._feeds for batch in feed.read(start_ns, end_ns)]
        batches += self._restored_books(batches)
        batches.sort(key=lambda b: _ORDER[b.type_name])  # stable: instruments keep their order
        return Window(start_ns, end_ns, tuple(batches))

    def _restored_books(self, batches: list[Batch]) -> list[Batch]:
        restored = []
        for instrument_id, restorer in self._books.items():
            own = {b.type_name: b.table for b in batches if b.identifier == instrument_id}
            table = restorer.restore(own.get("QuoteTick"), own.get("TradeTick"))
            if table is not None:
                restored.append(Batch("OrderBookDepth", instrument_id, table))
        return restored


type _Stretches = list[tuple[int, int]]


def _common(one: _Stretches, two: _Stretches) -> _Stretches:
    """What two lists of stretches have in common.

    >>> _common([(0, 10), (20, 30)], [(5, 25)])
    [(5, 10), (20, 25)]
    """
    both = [(max(a, c), min(b, d)) for a, b in one for c, d in two]
    return sorted(stretch for stretch in both if stretch[0] < stretch[1])


_ORDER = {
    name: position
    for position, name in enumerate(
        # The book is put back once the trades of an instant are through.
        ("QuoteTick", "TradeTick", "OrderBookDepth", *list(CATALOG_TYPES)[2:])
    )
}


def delivery(
    window: Window, decoders: dict[tuple[str, str], Any]
) -> Iterator[tuple[Batch, list[Any]]]:
    """Batches of a window with their decoded rows, in order of delivery."""
    from phoenix_runner.decoding import decoder

    for batch in window.batches:
        key = (batch.type_name, batch.identifier)
        if key not in decoders:
            decoders[key] = decoder(*key)
        yield batch, decoders[key](batch.table)
