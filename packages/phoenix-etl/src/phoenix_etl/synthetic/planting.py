"""Damaging a market's CSV files, line by line, and noting what was done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

DAY_MS: Final = 86_400_000


@dataclass(frozen=True)
class Defect:
    """One planted defect."""

    kind: str
    """Name of the fixture; the rows of the defect table are grouped by their first word."""
    dataset: str
    date_key: str
    file: str
    """Relative to the raw root."""
    lines: tuple[int, ...]
    """Line numbers of the damaged rows in the file as it is now, from 1 (the header)."""
    expected: dict[str, Any]
    """Counts for the ledger of the file (`rows`, `written`, `duplicates`, `conflicts`, `rejected`,
    `blank_lines`) and whatever else the report must say."""


@dataclass
class CsvFile:
    """One CSV file under the knife."""

    root: Path
    file: str
    header: str
    rows: list[str]
    has_header: bool = True

    @classmethod
    def load(cls, root: Path, file: str) -> CsvFile:
        header, *rows = (root / file).read_text("ascii").splitlines()
        return cls(root, file, header, rows)

    def line(self, row: int) -> int:
        return row + 1 + int(self.has_header)

    def save(self) -> None:
        lines = [self.header, *self.rows] if self.has_header else self.rows
        (self.root / self.file).write_text("".join(f"{line}\n" for line in lines), "ascii")

    def numbers(self, column: int) -> list[int]:
        return [int(row.split(",")[column]) for row in self.rows]

    def edit(self, row: int, column: int, value: str) -> None:
        fields = self.rows[row].split(",")
        fields[column] = value
        self.rows[row] = ",".join(fields)


@dataclass
class Planter:
    """The market being damaged: where its files are and what has been planted."""

    root: Path
    replacements: Path
    symbol: str
    days: Sequence[date]
    planted: list[Defect] = field(default_factory=list)

    def path(self, dataset: str, day: int) -> str:
        stem = "1m" if "lines" in dataset else dataset
        key = self.days[day].isoformat()
        return f"futures/daily/{dataset}/{self.symbol}-{stem}-{key}.csv"

    def open(self, dataset: str, day: int) -> CsvFile:
        return CsvFile.load(self.root, self.path(dataset, day))

    def midnight_ms(self, day: int) -> int:
        return (self.days[day] - date(1970, 1, 1)).days * DAY_MS

    def note(
        self, kind: str, dataset: str, day: int, file: str, lines: Sequence[int], **expected: Any
    ) -> None:
        key = self.days[day].isoformat()
        self.planted.append(Defect(kind, dataset, key, file, tuple(lines), expected))

    def ledger(
        self, kind: str, dataset: str, day: int, csv: CsvFile, lines: Sequence[int], **expected: Any
    ) -> None:
        """Save the file and note the defect with a ledger that balances."""
        csv.save()
        counts = {"duplicates": 0, "conflicts": 0, "rejected": 0, "blank_lines": 0} | expected
        rows = len(csv.rows) - counts["blank_lines"]
        lost = counts["duplicates"] + counts["conflicts"] + counts["rejected"]
        self.note(
            kind, dataset, day, csv.file, lines, rows=rows, written=rows - lost, **counts
        )  # fmt: skip


def inversions(keys: Sequence[Any]) -> int:
    return sum(later < earlier for earlier, later in pairwise(keys))


def gap(before_ms: int, after_ms: int) -> dict[str, int]:
    return {"from_ns": before_ms * 10**6, "to_ns": after_ms * 10**6}
