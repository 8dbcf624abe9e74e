"""Which file of several counts for a day: a daily file over a monthly one, and of aggTrades and trades
the configured source.

A file takes a day over only by the rows it holds of it. Names alone say what a file may take over, so
what depends on it waits until it was read: a broken file, or one without a row, replaces nothing.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping

from phoenix_etl.inventory import SourceFile, days_of_key
from phoenix_etl.manifest import FileEntry

_DAY = dt.timedelta(days=1)
Key = tuple[str, str, str]
"""(market, dataset, symbol)."""


class Precedence:
    """The days that each dataset's files hold rows of, as far as they were read.

    `known` are the manifest's files; those of them that are not among `files` count as they are.
    """

    def __init__(
        self, files: Iterable[SourceFile], trade_source: str, known: Mapping[str, FileEntry]
    ) -> None:
        self._trade_source = trade_source
        self._unread: dict[tuple[Key, str], dict[dt.date, set[str]]] = {}
        """Files that were not read yet, by the days of their names; daily and monthly apart."""
        self._taken: dict[tuple[Key, str], set[dt.date]] = defaultdict(set)
        """Days that a file holds rows of."""
        self._held: dict[Key, set[dt.date]] = defaultdict(set)
        """Days in the catalog from files that are not asked for now."""
        asked = set()
        for file in files:
            asked.add(archive_identity(file))
            days = self._unread.setdefault((_key(file), file.period), defaultdict(set))
            for day in days_of_key(file.date_key):
                days[day].add(file.path)
        for entry in known.values():
            if archive_identity(entry) not in asked:
                self._held[_key(entry)] |= {dt.date.fromisoformat(d) for d in entry.report.days}
                self._taken[_key(entry), entry.period] |= _days_held(entry)

    def learn(self, file: SourceFile, entry: FileEntry | None) -> None:
        """Take note of what a file holds; None for one that could not be read, now or before."""
        days = self._unread.get((_key(file), file.period), {})
        for day in days_of_key(file.date_key):
            days.get(day, set()).discard(file.path)
        if entry is not None:
            self._taken[_key(file), file.period] |= _days_held(entry)

    def is_decided(self, file: SourceFile) -> bool:
        """Whether every file was read that may take days over from this one.

        The other source waits for a file of the configured trade source until that is read. So what
        this has beyond its own days is read as if the other source had them, if files of it say so by
        name; where that turns out otherwise, it is read again.
        """
        market, dataset, symbol = key = _key(file)
        near = _near(file)
        if file.period == "monthly" and self._awaited(key, ("daily",), near):
            return False
        other = alternative(dataset)
        if other is None:
            return True
        if dataset == self._trade_source:
            if file.path in self._unread[key, file.period].get(file.days[0], ()):
                return True
            near -= set(days_of_key(file.date_key))
            if self._awaited(key, ("daily", "monthly"), near):
                return False
        return not self._awaited((market, other, symbol), ("daily", "monthly"), near)

    def replaced_days(self, file: SourceFile) -> frozenset[dt.date]:
        """Days around a file's period whose rows are taken from another file.

        A file that was not read yet counts as if it held rows of every day of its name.
        """
        market, dataset, symbol = key = _key(file)
        near = _near(file)
        replaced: set[dt.date] = set()
        if file.period == "monthly":
            replaced |= self._days(key, ("daily",), near)
        other = alternative(dataset)
        if other is not None:
            others = (market, other, symbol)
            replaced |= self._held[others] & near
            other_days = self._days(others, ("daily", "monthly"), near)
            if dataset == self._trade_source:
                own = self._days(key, ("daily", "monthly"), near)
                replaced |= other_days - own - set(days_of_key(file.date_key))
            else:
                replaced |= other_days
        return frozenset(replaced)

    def _awaited(self, key: Key, periods: tuple[str, ...], near: set[dt.date]) -> bool:
        unread = [self._unread.get((key, period), {}) for period in periods]
        return any(days.get(day) for days in unread for day in near)

    def _days(self, key: Key, periods: tuple[str, ...], near: set[dt.date]) -> set[dt.date]:
        taken = {day for period in periods for day in self._taken[key, period] & near}
        return taken | {day for day in near if self._awaited(key, periods, {day})}


def archive_identity(file: SourceFile | FileEntry) -> tuple[str, ...]:
    """What file of the archive this is, whatever folder or form (CSV or ZIP) it lies in."""
    return (file.market, file.dataset, file.symbol, file.period, file.date_key)


def alternative(dataset: str) -> str | None:
    """The other source of the same trades."""
    return {"aggTrades": "trades", "trades": "aggTrades"}.get(dataset)


def may_replace(file: SourceFile, entry: FileEntry, trade_source: str) -> bool:
    """Whether a file may take days over from a known one of the same symbol."""
    if file.dataset == entry.dataset:
        is_higher = (file.period, entry.period) == ("daily", "monthly")
    else:
        is_higher = file.dataset == trade_source and entry.dataset == alternative(trade_source)
    return is_higher and not set(days_of_key(file.date_key)).isdisjoint(days_of_key(entry.date_key))


def _key(file: SourceFile | FileEntry) -> Key:
    return (file.market, file.dataset, file.symbol)


def _near(file: SourceFile) -> set[dt.date]:
    """A file's days and their neighbours, which it may hold rows of."""
    first, last = file.days
    return {first - _DAY, *days_of_key(file.date_key), last + _DAY}


def _days_held(entry: FileEntry) -> set[dt.date]:
    """Days of a file's name of which it has rows in the range that was taken."""
    report = entry.report
    days = set(days_of_key(entry.date_key))
    held = {dt.date.fromisoformat(day) for day in report.days}
    held |= {dt.date.fromisoformat(d) for d, sums in report.replaced_totals.items() if sums.fills}
    if entry.period == "daily" and report.first_ts_event is not None and not report.out_of_range:
        held |= days  # of metrics, the last row alone may be known on the next day
    return held & days
