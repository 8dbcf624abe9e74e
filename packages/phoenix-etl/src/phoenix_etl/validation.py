"""What a person should know before trusting a catalog: `validation_report.md`.

The report is a function of the manifest: verdict first, then coverage (days with data, empty days and
missing days are three different things), gaps, and every kind of defect with its count and where to
look. Machines read the same facts with `phoenix-etl validate --json`.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phoenix_schemas.timestamps import NS_PER_SECOND, format_utc

from phoenix_etl import durable
from phoenix_etl.inventory import days_of_key
from phoenix_etl.manifest import Manifest, PartitionEntry

MAX_LISTED = 20


@dataclass(frozen=True)
class Coverage:
    """Days of one dataset and symbol between its first and last file."""

    dataset: str
    symbol: str
    first: dt.date
    last: dt.date
    data: int
    empty: tuple[dt.date, ...]
    missing: tuple[dt.date, ...]
    rows: int


@dataclass(frozen=True)
class Finding:
    """One kind of defect: how often, and first places to look at."""

    dataset: str
    what: str
    count: int
    handling: str
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Validation:
    """All that the report says."""

    verdict: str
    problems: tuple[str, ...]
    coverage: tuple[Coverage, ...]
    findings: tuple[Finding, ...]
    gaps: tuple[tuple[str, int, int], ...]
    gap_count: int

    @property
    def is_complete(self) -> bool:
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict,
            "problems": list(self.problems),
            "coverage": [
                {
                    "dataset": c.dataset,
                    "symbol": c.symbol,
                    "first": c.first.isoformat(),
                    "last": c.last.isoformat(),
                    "days_with_data": c.data,
                    "empty": [d.isoformat() for d in c.empty],
                    "missing": [d.isoformat() for d in c.missing],
                    "rows": c.rows,
                }
                for c in self.coverage
            ],
            "findings": [
                {
                    "dataset": f.dataset,
                    "what": f.what,
                    "count": f.count,
                    "handling": f.handling,
                    "examples": list(f.examples),
                }
                for f in self.findings
            ],
            "gap_count": self.gap_count,
            "gaps": [
                {"dataset": name, "after_ns": before, "before_ns": after}
                for name, before, after in self.gaps
            ],
        }


def validate(manifest: Manifest) -> Validation:
    """Facts about the catalog of a manifest."""
    coverage = tuple(_coverage(manifest))
    problems = [f"unreadable file: {f.error}" for _, f in sorted(manifest.failed.items())]
    problems += [
        f"{path}: not every day it holds is committed; run the same ingest again"
        for path in sorted(manifest.files)
        if not manifest.is_complete(path)
    ]
    findings = tuple(_findings(manifest))
    gaps = [
        (f"{p.dataset} {p.symbol}", before, after)
        for p in manifest.partitions.values()
        if p.stats is not None
        for before, after in p.stats.gaps
    ]
    gaps.sort(key=lambda g: (g[1] - g[2], g))
    gap_count = sum(p.stats.gap_count for p in manifest.partitions.values() if p.stats is not None)
    missing = sum(len(c.missing) for c in coverage)
    empty = sum(len(c.empty) for c in coverage)
    if problems:
        verdict = f"NOT COMPLETE: {len(problems)} file(s) need attention"
    elif missing or empty or gap_count or findings:
        verdict = (
            f"COMPLETE for the files given, with remarks: {missing} day(s) missing, {empty} empty, "
            f"{gap_count} gap(s), {len(findings)} kind(s) of defect in the source"
        )
    else:
        verdict = "COMPLETE, without remarks"
    return Validation(
        verdict, tuple(problems), coverage, findings, tuple(gaps[:MAX_LISTED]), gap_count
    )


def write_validation_report(manifest: Manifest, path: Path) -> None:
    """Write the report beside the catalog, if its text changed."""
    data = validation_report(manifest).encode()
    if not path.exists() or path.read_bytes() != data:
        durable.write_file(path, data)


def validation_report(manifest: Manifest) -> str:
    """The report in Markdown; the same manifest gives the same text."""
    found = validate(manifest)
    lines = ["# Validation report", "", f"**{found.verdict}.**", ""]
    lines += [f"Catalog digest `{manifest.catalog_digest}`.", ""]
    if found.problems:
        lines += ["## Needs attention", "", *(f"- {p}" for p in found.problems), ""]
    if manifest.unrecognised:
        odd = sorted(manifest.unrecognised.items())
        lines += ["## Files not read", "", *(f"- not read: {p}: {why}" for p, why in odd), ""]
    lines += ["## Ledger", ""]
    lines += [
        "Rows read = written + duplicates + conflicts + rejected + out of range + superseded.",
        "",
    ]
    lines += _table(
        ["dataset", "rows read", "written", "duplicates", "conflicts", "rejected", "out of range",
         "superseded", "unreadable files"],
        [
            [name, t.rows_read, t.events, t.duplicates, t.conflicts, t.rejected, t.out_of_range,
             t.superseded, t.failed_files]
            for name, t in manifest.datasets.items()
        ],
    )  # fmt: skip
    lines += ["## Coverage", ""]
    lines += [
        "Days from the first to the last file; empty: a file without a row; missing: no file.",
        "",
    ]
    lines += _table(
        [
            "dataset",
            "symbol",
            "first day",
            "last day",
            "days with data",
            "empty",
            "missing",
            "rows",
        ],
        [
            [c.dataset, c.symbol, c.first, c.last, c.data, _days(c.empty), _days(c.missing), c.rows]
            for c in found.coverage
        ],
    )
    lines += ["## Defects of the source", ""]
    if found.findings:
        lines += _table(
            ["dataset", "what", "count", "what was done", "examples"],
            [
                [f.dataset, f.what, f.count, f.handling, "; ".join(f.examples)]
                for f in found.findings
            ],
        )
    else:
        lines += ["None found.", ""]
    lines += ["## Gaps", ""]
    lines.append(
        f"{found.gap_count} in all; longer than the spacing of the rows, or 60 s for event streams "
        f"(120 s for bookDepth). The longest {min(len(found.gaps), MAX_LISTED)}:"
    )
    lines.append("")
    if found.gaps:
        lines += _table(
            ["stream", "last before", "first after", "seconds"],
            [
                [
                    name,
                    format_utc(before),
                    format_utc(after),
                    f"{(after - before) / NS_PER_SECOND:.3f}",
                ]
                for name, before, after in found.gaps
            ],
        )
    return "\n".join(lines).rstrip() + "\n"


def _table(header: list[str], rows: Iterable[list[Any]]) -> list[str]:
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    for row in rows:
        cells = [f"{v:,}" if isinstance(v, int) else str(v).replace("|", "\\|") for v in row]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _days(days: tuple[dt.date, ...]) -> str:
    shown = ", ".join(d.isoformat() for d in days[:5])
    return f"{len(days)}: {shown}{' ...' if len(days) > 5 else ''}" if days else "0"


def _coverage(manifest: Manifest) -> Iterable[Coverage]:
    covered: dict[tuple[str, str], set[dt.date]] = defaultdict(set)
    elsewhere: dict[tuple[str, str], set[dt.date]] = defaultdict(set)
    for entry in manifest.files.values():
        key = (f"{entry.market}/{entry.dataset}", entry.symbol)
        covered[key] |= set(days_of_key(entry.date_key))
        if entry.period == "daily" and entry.report.rows_read and not entry.report.days:
            # Its rows are superseded, out of range or rejected: the ledger tells, it is not empty.
            elsewhere[key] |= set(days_of_key(entry.date_key))
    with_data: dict[tuple[str, str], dict[dt.date, int]] = defaultdict(dict)
    for part in manifest.partitions.values():
        rows = sum(i.counts.written for i in part.inputs.values())
        with_data[f"{part.market}/{part.dataset}", part.symbol][dt.date.fromisoformat(part.day)] = (
            rows
        )
    for (dataset, symbol), days in sorted(covered.items()):
        data = with_data[dataset, symbol]
        span = [min(days), max(days)]
        whole = [span[0] + dt.timedelta(days=i) for i in range((span[1] - span[0]).days + 1)]
        yield Coverage(
            dataset=dataset,
            symbol=symbol,
            first=span[0],
            last=span[1],
            data=len(data),
            empty=tuple(d for d in whole if d in days - elsewhere[dataset, symbol] - set(data)),
            missing=tuple(d for d in whole if d not in days and d not in data),
            rows=sum(data.values()),
        )


_STATS: tuple[tuple[str, str, str], ...] = (
    ("crossed_quotes", "crossed quotes (bid above ask)", "kept"),
    ("zero_volume_bars", "bars without a trade", "kept"),
    ("id_holes", "holes in the identifiers", "kept"),
    ("frozen_snapshots", "depth snapshots equal to the one before", "kept"),
    ("blank_cells", "blank cells", "kept as null"),
)


def _findings(manifest: Manifest) -> Iterable[Finding]:
    by_dataset: dict[str, list[PartitionEntry]] = defaultdict(list)
    for part in manifest.partitions.values():
        by_dataset[f"{part.market}/{part.dataset}"].append(part)
    for name, totals in manifest.datasets.items():
        files = {path: f for path, f in manifest.files.items() if f"{f.market}/{f.dataset}" == name}
        parts = by_dataset[name]
        per_file = (
            ("rows out of order", "inversions", "sorted"),
            ("prices off the instrument's tick", "off_tick", "kept exactly"),
            ("blank lines", "blank_lines", "skipped"),
        )
        for what, attribute, handling in per_file:
            counts = {path: getattr(f.report, attribute) for path, f in files.items()}
            yield from _finding(name, what, handling, counts)
        duplicates: dict[str, int] = defaultdict(int)
        conflicts: dict[str, int] = defaultdict(int)
        for part in parts:
            for path, share in part.inputs.items():
                duplicates[path] += share.counts.duplicates
                conflicts[path] += share.counts.conflicts
        yield from _finding(name, "duplicate rows", "dropped", duplicates)
        yield from _finding(
            name, "rows of one key with different content", "smallest kept, others in rejects/",
            conflicts,
        )  # fmt: skip
        reasons: dict[str, dict[str, int]] = defaultdict(dict)
        for path, f in files.items():
            for reason, count in f.report.reject_reasons.items():
                reasons[reason][path] = count
        for reason, counts in sorted(reasons.items()):
            yield from _finding(name, reason, "rejected, in rejects/", counts)
        replaced = {path: f.report.superseded for path, f in files.items()}
        yield from _finding(name, "rows taken from another file", "superseded", replaced)
        for attribute, what, handling in _STATS:
            counts = {
                f"{p.symbol} {p.day}": getattr(p.stats, attribute)
                for p in parts
                if p.stats is not None
            }
            yield from _finding(name, what, handling, counts)
        if totals.failed_files:
            failed = [p for p, f in manifest.failed.items() if f"{f.market}/{f.dataset}" == name]
            counts = dict.fromkeys(failed, 1)
            yield from _finding(name, "unreadable files", "left out", counts)


def _finding(dataset: str, what: str, handling: str, counts: dict[str, int]) -> Iterable[Finding]:
    hit = {where: n for where, n in sorted(counts.items()) if n}
    if hit:
        examples = tuple(f"{where} ({n:,})" for where, n in list(hit.items())[:3])
        yield Finding(dataset, what, sum(hit.values()), handling, examples)
