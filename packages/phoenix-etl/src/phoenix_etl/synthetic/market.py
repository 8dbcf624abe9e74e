"""Write the dump files of a simulated market.

    story -> latent -> arrivals -> book -> prints -> bars, streams -> dump files, truth

`story` decides what days share, `latent` the state of a day per second, `arrivals` when things
happen, `book` what the touch looks like and what each order does, `prints` what the tape says.
Everything is a function of (seed, symbol, date, profile): symbols and days may be made in any order
and selection, and the same request gives the same CSV bytes on any machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

from phoenix_etl.dump_truth import truth_of
from phoenix_etl.synthetic import defects
from phoenix_etl.synthetic.archive import Table, funding_tables, tables
from phoenix_etl.synthetic.dump import write
from phoenix_etl.synthetic.errors import SyntheticError
from phoenix_etl.synthetic.listing import listing
from phoenix_etl.synthetic.planting import Defect
from phoenix_etl.synthetic.simulation import simulate_day
from phoenix_etl.synthetic.story import Story, Volume
from phoenix_etl.synthetic.truth import Truth, write_json

VOLUMES: Final[dict[str, Volume]] = {
    "small": Volume(agg_trades=30_000, quotes=120_000),
    "day": Volume(agg_trades=500_000, quotes=2_000_000),
    "month": Volume(agg_trades=60_000, quotes=240_000),
    "defects": Volume(agg_trades=12_000, quotes=60_000),
}
"""Typical rows per day; a busy day has more."""


@dataclass(frozen=True)
class DumpFile:
    """One written file."""

    path: str
    """Relative to the raw root, with forward slashes."""
    dataset: str
    symbol: str
    date_key: str
    """`2024-01-31`, or `2024-01` for a monthly file."""
    rows: int


@dataclass(frozen=True)
class SyntheticMarket:
    """What was written."""

    raw_root: Path
    truth_root: Path
    """Holds `truth.json` and the Parquet files of the truth."""
    files: tuple[DumpFile, ...]


def write_market(
    out: Path,
    *,
    symbols: Sequence[str],
    start: date,
    days: int,
    seed: int,
    profile: str,
    compress: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> SyntheticMarket:
    """Write the dump files of a simulated market under the raw root `out`, its truth beside it.

    Parameters
    ----------
    out
        Raw root: files land in `out/futures/daily/<dataset>` and `out/futures/monthly/fundingRate`,
        the truth in `out.parent / (out.name + "-truth")`.
    symbols, start, days
        Perpetuals of `listing.LISTINGS`, first UTC day and number of days. What a file holds does
        not depend on the other symbols and days asked for; fundingRate has the whole month.
    seed
        Any integer. Same seed, same CSV bytes.
    profile
        How many rows a day has (`VOLUMES`); the latent market is the same in all of them.
    compress
        Write ZIP files instead of CSV.
    progress
        Called after every file with (files written, files to write, path of the file).

    Raises
    ------
    SyntheticError
        A symbol, day, number of days or profile that cannot be simulated; `out` holds files.
    """
    if profile not in VOLUMES:
        raise SyntheticError(
            f"profile must be one of {', '.join(VOLUMES)} (was {profile!r}); small is typical"
        )
    if days < 1:
        raise SyntheticError(f"days must be at least 1 (was {days}); 1 is typical")
    if not symbols or len(set(symbols)) != len(symbols):
        raise SyntheticError(
            f"symbols must be named, each once (was {', '.join(symbols)!r}); BTCUSDT is typical"
        )
    if profile == "defects":
        defects.check_request(start, days, compress=compress)
    if out.exists() and any(out.iterdir()):
        raise SyntheticError(
            f"out must be a new or empty folder (was {out}, which holds files); "
            "a simulated market is never mixed with other data, choose another folder"
        )
    stories = [Story(listing(symbol), seed=seed, volume=VOLUMES[profile]) for symbol in symbols]
    dates = [stories[0].day(start + timedelta(days=k)).date for k in range(days)]
    writer = _Files(
        out,
        suffix=".zip" if compress else ".csv",
        total=len(symbols) * (9 * days + len({day.isoformat()[:7] for day in dates})),
        progress=progress,
    )
    truth_path = truth_of(out)
    truth_root = truth_path.parent
    truth_root.mkdir(parents=True, exist_ok=True)
    episodes: list[dict[str, Any]] = []
    for story in stories:
        truth = Truth(story.listing)
        for day in dates:
            made = simulate_day(story, day, seed=seed)
            for table in tables(made):
                writer.write("daily", story.listing.symbol, day, table)
            truth.add(made.day, made.latent, made.prints)
        for table in funding_tables(story, dates, seed):
            month = date.fromisoformat(f"{table[1][-7:]}-01")
            writer.write("monthly", story.listing.symbol, month, table)
        episodes += truth.write(truth_root)
    planted: list[Defect] = []
    if profile == "defects":
        planted = defects.plant(out, truth_root, symbols[0], dates)
        writer.recount(planted)
    write_json(
        truth_path,
        {
            "seed": seed,
            "profile": profile,
            "symbols": list(symbols),
            "start": start.isoformat(),
            "days": days,
            "files": [asdict(file) for file in writer.files],
            "episodes": episodes,
            "defects": [asdict(defect) for defect in planted],
        },
    )
    return SyntheticMarket(raw_root=out, truth_root=truth_root, files=tuple(writer.files))


class _Files:
    """Writes tables where the layout wants them and remembers what was written."""

    def __init__(
        self,
        out: Path,
        *,
        suffix: str,
        total: int,
        progress: Callable[[int, int, str], None] | None,
    ) -> None:
        self.files: list[DumpFile] = []
        self._out, self._suffix, self._total, self._progress = out, suffix, total, progress

    def write(self, period: str, symbol: str, day: date, table: Table) -> None:
        dataset, stem, header, columns = table
        path = f"futures/{period}/{dataset}/{symbol}-{stem}{self._suffix}"
        rows = write(self._out / path, header, columns, day)
        key = stem.partition("-")[2]
        self.files.append(DumpFile(path, dataset, symbol, key, rows))
        if self._progress:
            self._progress(len(self.files), self._total, path)

    def recount(self, planted: Sequence[Defect]) -> None:
        """Bring the rows up to date after planting; archives stand in the list of defects."""
        rows = {d.file: int(d.expected["rows"]) for d in planted if "rows" in d.expected}
        self.files = [
            replace(file, rows=rows.get(file.path, file.rows))
            for file in self.files
            if (self._out / file.path).exists()
        ]
