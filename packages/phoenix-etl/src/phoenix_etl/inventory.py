"""What dump files are there: names and folders into `SourceFile` records.

A file is taken for what its folder and its name agree on. A file that matches nothing, or whose name
and folder disagree, is listed with the reason and never guessed at. Nothing is opened here.
"""

from __future__ import annotations

import calendar
import datetime as dt
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from phoenix_schemas.datasets import DATASETS, DatasetSpec, Market, Period
from phoenix_schemas.timestamps import NS_PER_DAY, day_start

from phoenix_etl.errors import NothingFoundError, UsageError

_NAME = re.compile(
    r"(?P<symbol>[A-Z0-9]+(?:_[A-Z0-9]+)?)-(?P<label>[A-Za-z0-9]+)"
    r"-(?P<date>\d{4}-\d{2}(?:-\d{2})?)\.(?P<ending>csv|zip)"
)
_MARKETS: dict[str, Market] = {
    "futures": "futures",
    "future_data": "futures",
    "spot_data": "spot",
    "spot": "spot",
}
_PERIODS: dict[str, Period] = {
    "daily": "daily",
    "daily_data": "daily",
    "monthly": "monthly",
    "monthly_data": "monthly",
}
_LAYOUTS = (
    "<root>/futures/daily/<dataset>/SYMBOL-<dataset>-YYYY-MM-DD.csv|zip, the same with monthly, "
    "spot_data, or the archive's own data/futures/um/..."
)


@dataclass(frozen=True)
class SourceFile:
    """One dump file. `path` is relative to `root`, with forward slashes, and names it everywhere."""

    root: Path
    path: str
    market: Market
    dataset: str
    symbol: str
    period: Period
    date_key: str
    size_bytes: int
    mtime_ns: int
    inode: int

    @property
    def spec(self) -> DatasetSpec:
        return DATASETS[self.market, self.dataset]

    @property
    def location(self) -> Path:
        return self.root / self.path

    @property
    def is_zip(self) -> bool:
        return self.path.endswith(".zip")

    @property
    def days(self) -> tuple[dt.date, dt.date]:
        """First and last UTC day that the file's name covers."""
        days = days_of_key(self.date_key)
        return days[0], days[-1]

    @property
    def span_ns(self) -> tuple[int, int]:
        """The same as times, end exclusive."""
        first, last = self.days
        return day_start(first), day_start(last) + NS_PER_DAY


def days_of_key(date_key: str) -> list[dt.date]:
    """The UTC days that a file's date covers.

    >>> len(days_of_key("2024-02")), days_of_key("2024-02-29")
    (29, [datetime.date(2024, 2, 29)])
    """
    if len(date_key) == 10:
        return [dt.date.fromisoformat(date_key)]
    first = dt.date.fromisoformat(f"{date_key}-01")
    count = calendar.monthrange(first.year, first.month)[1]
    return [first + dt.timedelta(days=i) for i in range(count)]


@dataclass(frozen=True)
class Unrecognised:
    """A file that is not read, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Inventory:
    """The files of one or more raw roots, in one fixed order."""

    files: tuple[SourceFile, ...]
    unrecognised: tuple[Unrecognised, ...]

    def select(
        self,
        *,
        market: Market,
        symbols: Iterable[str] | None = None,
        datasets: Iterable[str] | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> tuple[SourceFile, ...]:
        """Files of a market, symbols and datasets that may hold rows of [start, end)."""
        wanted_symbols = None if symbols is None else set(symbols)
        wanted_datasets = None if datasets is None else set(datasets)
        # A row's day is not always its file's day: its neighbours may hold rows of the range too.
        low = None if start_ns is None else start_ns - NS_PER_DAY
        high = None if end_ns is None else end_ns + NS_PER_DAY
        return tuple(
            f
            for f in self.files
            if f.market == market
            and (wanted_symbols is None or f.symbol in wanted_symbols)
            and (wanted_datasets is None or f.dataset in wanted_datasets)
            and (low is None or f.span_ns[1] > low)
            and (high is None or f.span_ns[0] < high)
        )


def root_folders(roots: Iterable[Path | str]) -> list[Path]:
    """The folders that were named; UsageError for one alone, whose letters would be taken for roots."""
    if isinstance(roots, str | Path):
        raise UsageError(
            f"raw roots must be a list of folders (was {str(roots)!r}); write [{str(roots)!r}]"
        )
    return [Path(root) for root in roots]


def take_inventory(roots: Iterable[Path | str]) -> Inventory:
    """List the dump files under one or more raw roots.

    Links to folders are not followed, nor links to files outside their root. Where the same archive
    file lies there both unpacked and zipped, the CSV is read and the ZIP listed as unread.

    Raises UsageError for a root that is not a folder, NothingFoundError when there is no dump file.
    """
    files: list[SourceFile] = []
    odd: list[Unrecognised] = []
    folders = root_folders(roots)
    for root in folders:
        if not root.exists():
            raise UsageError(f"raw root must be an existing folder (was {root}); check --raw-root")
        if not root.is_dir():
            raise UsageError(f"raw root must be a folder (was the file {root}); check --raw-root")
        for place in _walk(root):
            found = _recognise(root, place) if isinstance(place, Path) else place
            if isinstance(found, SourceFile):
                files.append(found)
            else:
                odd.append(found)
    files.sort(key=lambda f: (f.market, f.dataset, f.symbol, f.days[0], f.period, f.path))
    kept: dict[tuple[str, ...], SourceFile] = {}
    for file in files:
        identity = (file.market, file.dataset, file.symbol, file.period, file.date_key)
        other = kept.get(identity)
        if other is None:
            kept[identity] = file
            continue
        read, left = (file, other) if other.is_zip and not file.is_zip else (other, file)
        kept[identity] = read
        if left.location.resolve() == read.location.resolve():
            continue  # a root given twice
        where = read.path if read.root == left.root else str(read.location)
        odd.append(Unrecognised(left.path, f"the same archive file is read from {where}"))
    if not kept:
        where = ", ".join(map(str, folders))
        hint = ""
        if odd:
            first = min(odd, key=lambda u: u.path)
            hint = f"; {len(odd)} file(s) there are none, the first: {first.path}: {first.reason}"
        raise NothingFoundError(f"no dump file under {where}{hint}; expected {_LAYOUTS}")
    return Inventory(tuple(kept.values()), tuple(sorted(odd, key=lambda u: u.path)))


def _walk(root: Path) -> Iterator[Path | Unrecognised]:
    """Files under a root, and the folders that are not entered."""
    closed: list[OSError] = []
    for folder, subfolders, names in os.walk(root, onerror=closed.append, followlinks=False):
        subfolders[:] = sorted(s for s in subfolders if not s.startswith("."))
        for name in subfolders:
            if (Path(folder) / name).is_symlink():
                yield Unrecognised(
                    path_below(root, Path(folder) / name),
                    "a link to a folder is not followed; give its target as another raw root",
                )
        for name in sorted(names):
            if not name.startswith(".") and not name.endswith(".CHECKSUM"):
                yield Path(folder) / name
    for error in closed:
        yield Unrecognised(
            path_below(root, Path(error.filename)), f"the folder cannot be read ({error.strerror})"
        )


def path_below(root: Path, path: Path) -> str:
    """A path under its root as text that can be printed, whatever bytes its name has."""
    text = path.relative_to(root).as_posix()
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _recognise(root: Path, path: Path) -> SourceFile | Unrecognised:
    relative = path_below(root, path)

    def odd(reason: str) -> Unrecognised:
        return Unrecognised(relative, reason)

    try:
        target = path.resolve(strict=True)
        status = path.stat()
    except (OSError, RuntimeError):  # RuntimeError: a loop of links, until Python 3.13
        return odd("it cannot be opened (a link that leads nowhere?)")
    if path.is_symlink() and not target.is_relative_to(root.resolve()):
        return odd("a link that leads out of the raw root is not followed")
    if not stat.S_ISREG(status.st_mode):
        return odd("not a regular file")
    if relative != path.relative_to(root).as_posix():
        return odd("its path is not UTF-8")
    name = _NAME.fullmatch(path.name)
    if name is None:
        return odd("not a dump file's name (SYMBOL-<dataset>-<date>.csv or .zip)")
    folders = relative.split("/")[:-1]
    if any(f in ("cm", "coin", "option") for f in folders):
        return odd("only USD-M futures and spot are read")
    market = next((_MARKETS[f] for f in folders if f in _MARKETS), None)
    period = next((_PERIODS[f] for f in folders if f in _PERIODS), None)
    if market is None or period is None:
        missing = "market (futures or spot_data)" if market is None else "period (daily or monthly)"
        return odd(f"no folder above it names the {missing}; expected {_LAYOUTS}")
    spec = next(
        (s for f in folders for (m, _), s in DATASETS.items() if m == market and f in s.folders),
        None,
    )
    if spec is None:
        return odd(f"no folder above it names a dataset of {market}")
    if name["label"] != spec.file_label:
        return odd(
            f"its folder says {spec.name} (files named {spec.file_label}), its name {name['label']}"
        )
    below = folders[next(i for i, f in enumerate(folders) if f in spec.folders) + 1 :]
    for said, meant in zip(below, (name["symbol"], name["label"]), strict=False):
        if said != meant:
            return odd(f"its folder says {said}, its name {meant}")
    date_key = name["date"]
    if (len(date_key) == 10) != (period == "daily"):
        return odd(f"its folder says {period}, its name has the date {date_key}")
    try:
        dt.date.fromisoformat(date_key if period == "daily" else f"{date_key}-01")
    except ValueError:
        return odd(f"the date {date_key} is not in the calendar")
    return SourceFile(
        root=root,
        path=relative,
        market=market,
        dataset=spec.name,
        symbol=name["symbol"],
        period=period,
        date_key=date_key,
        size_bytes=status.st_size,
        mtime_ns=status.st_mtime_ns,
        inode=status.st_ino,
    )
