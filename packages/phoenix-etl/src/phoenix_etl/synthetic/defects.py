"""The known defects of the archive, planted one by one into a clean simulated market.

Each defect has a file of its own (a dataset and a day, or an archive), so that what an ingestion
reports about the file is about that defect. `plant` edits the files in place and returns a list of
`Defect`: the file, the lines, and the counts that a correct ingestion must come to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Final

from phoenix_etl.synthetic import archive_defects, slow_defects, tape_defects
from phoenix_etl.synthetic.errors import SyntheticError
from phoenix_etl.synthetic.planting import Defect, Planter
from phoenix_etl.synthetic.streams import TWELVE_LEVELS_FROM

DAYS: Final = 9
"""Days that the fixtures need."""

_FIXTURES: Final[tuple[Callable[[Planter], None], ...]] = (
    tape_defects.interleaved_quotes,
    tape_defects.coverage,
    tape_defects.stray_number,
    tape_defects.interleaved_trades,
    tape_defects.duplicate_trades,
    tape_defects.conflicting_trades,
    tape_defects.holes,
    tape_defects.off_tick,
    tape_defects.headers,
    tape_defects.mixed_units,
    tape_defects.spreadsheet,
    tape_defects.spot_units,
    slow_defects.bar_gaps,
    slow_defects.metrics,
    slow_defects.book_depth,
    archive_defects.archives,
    archive_defects.replaced,
    archive_defects.misplaced,
)


def check_request(start: date, days: int, *, compress: bool) -> None:
    """Refuse a range that is too short for all fixtures, and archives that cannot be edited."""
    if days < DAYS:
        raise SyntheticError(
            f"days must be at least {DAYS} for the defects profile (was {days}); "
            f"a defect has a file of its own, {DAYS} is typical"
        )
    if start + timedelta(days=days) > TWELVE_LEVELS_FROM:
        raise SyntheticError(
            f"days must end before {TWELVE_LEVELS_FROM} for the defects profile (was {start} and "
            f"{days} days); it plants later layouts into earlier files, 2024-01-01 is typical"
        )
    if compress:
        raise SyntheticError(
            "compress must be off for the defects profile (was on); "
            "it plants its own archives among CSV files"
        )


def plant(root: Path, truth_root: Path, symbol: str, days: Sequence[date]) -> list[Defect]:
    """Plant every defect into the clean CSV files of `symbol` under `root`."""
    plan = Planter(root, truth_root / "replacements", symbol, days)
    for fixture in _FIXTURES:
        fixture(plan)
    return plan.planted
