"""What a person should know before trusting a catalog: `validation_report.md`.

The report is a function of the manifest: verdict first, then the ledger, coverage, every kind of
defect with its count and where to look, and gaps. Machines read the same facts with
`phoenix-etl validate --json`.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from phoenix_schemas.timestamps import NS_PER_SECOND, format_utc

from phoenix_etl.coverage import Coverage, Span, coverage_of
from phoenix_etl.crosschecks import CheckSummary, summaries
from phoenix_etl.manifest import Manifest, PartitionEntry

MAX_LISTED = 10
"""Gaps shown of one stream; `validate --json` has all that the manifest holds."""


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
    crosschecks: tuple[CheckSummary, ...]
    unrecognised: tuple[tuple[str, str], ...]

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
                    "unreadable": [d.isoformat() for d in c.unreadable],
                    "replaced": [d.isoformat() for d in c.replaced],
                    "rows": c.rows,
                    "gap_count": c.gap_count,
                    "gaps": [{"after_ns": g.before, "before_ns": g.after} for g in c.gaps],
                    "id_gap_count": c.id_gap_count,
                    "id_gaps": [{"after_id": g.before, "before_id": g.after} for g in c.id_gaps],
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
            "crosschecks": [
                {
                    "check": c.check,
                    "symbol": c.symbol,
                    "days": c.days,
                    "compared": c.compared,
                    "unit": c.unit,
                    "differing": c.differing,
                    "differing_days": c.differing_days,
                    "examples": list(c.examples),
                }
                for c in self.crosschecks
            ],
            "not_read": dict(self.unrecognised),
        }


def validate(manifest: Manifest) -> Validation:
    """Facts about the catalog of a manifest."""
    coverage = tuple(coverage_of(manifest))
    problems = [f"unreadable file: {f.error}" for _, f in sorted(manifest.failed.items())]
    problems += [
        f"{path}: not every day it holds is committed; run the same ingest again"
        for path in sorted(manifest.files)
        if not manifest.is_complete(path)
    ]
    findings = tuple(_findings(manifest))
    crosschecks = tuple(summaries(manifest))
    differing = sum(check.differing > 0 for check in crosschecks)
    missing = sum(len(c.missing) for c in coverage)
    empty = sum(len(c.empty) for c in coverage)
    gaps = sum(c.gap_count for c in coverage)
    id_gaps = sum(c.id_gap_count for c in coverage)
    if problems:
        verdict = f"NOT COMPLETE: {len(problems)} file(s) need attention"
    elif missing or empty or gaps or id_gaps or findings or differing:
        verdict = (
            f"COMPLETE for the files given, with remarks: {missing} day(s) missing, {empty} empty, "
            f"{gaps + id_gaps} gap(s), {len(findings)} kind(s) of defect in the source, "
            f"{differing} cross-check(s) with differences"
        )
    else:
        verdict = "COMPLETE, without remarks"
    return Validation(
        verdict,
        tuple(problems),
        coverage,
        findings,
        crosschecks,
        tuple(manifest.unrecognised.items()),
    )


def validation_report(manifest: Manifest) -> str:
    """The report in Markdown; the same manifest gives the same text."""
    found = validate(manifest)
    lines = ["# Validation report", "", f"**{found.verdict}.**", ""]
    lines += [f"Catalog digest `{manifest.catalog_digest}`.", ""]
    if found.problems:
        lines += ["## Needs attention", "", *(f"- {p}" for p in found.problems), ""]
    if found.unrecognised:
        lines += ["## Files not read", ""]
        lines += [*(f"- not read: {path}: {reason}" for path, reason in found.unrecognised), ""]
    lines += _ledger_lines(manifest)
    lines += _coverage_lines(found.coverage)
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
    lines += _crosscheck_lines(found.crosschecks)
    lines += _gap_lines(found.coverage)
    return "\n".join(lines).rstrip() + "\n"


def _ledger_lines(manifest: Manifest) -> list[str]:
    header = ["dataset", "rows read", "written", "duplicates", "conflicts", "rejected",
              "out of range", "superseded", "unreadable files"]  # fmt: skip
    rows = [
        [name, t.rows_read, t.events, t.duplicates, t.conflicts, t.rejected, t.out_of_range,
         t.superseded, t.failed_files]
        for name, t in manifest.datasets.items()
    ]  # fmt: skip
    rule = "Rows read = written + duplicates + conflicts + rejected + out of range + superseded."
    return ["## Ledger", "", rule, "", *_table(header, rows)]


def _coverage_lines(coverage: Iterable[Coverage]) -> list[str]:
    header = ["dataset", "symbol", "first day", "last day", "days with data", "empty", "missing",
              "unreadable", "from another dataset", "rows"]  # fmt: skip
    rows = [
        [c.dataset, c.symbol, c.first, c.last, c.data, _days(c.empty), _days(c.missing),
         _days(c.unreadable), _days(c.replaced), c.rows]
        for c in coverage
    ]  # fmt: skip
    rule = "Days from the first to the last file; empty: a file without a row; missing: no file."
    return ["## Coverage", "", rule, "", *_table(header, rows)]


def _crosscheck_lines(checks: Iterable[CheckSummary]) -> list[str]:
    header = ["check", "symbol", "days", "compared", "differ", "days that differ", "examples"]
    rows = [
        [c.check, c.symbol, c.days, f"{c.compared:,} {c.unit}", c.differing, c.differing_days,
         "; ".join(c.examples)]
        for c in checks
    ]  # fmt: skip
    rule = "Datasets held against each other, on the days that have both."
    table = _table(header, rows) if rows else ["None could be made.", ""]
    return ["## Cross-checks", "", rule, "", *table]


def _gap_lines(coverage: tuple[Coverage, ...]) -> list[str]:
    count = sum(c.gap_count for c in coverage)
    rule = (
        f"{count:,} in all: times without a row, longer than the spacing of the rows, or 60 s for event "
        f"streams (120 s for bookDepth). The longest of each stream, at most {MAX_LISTED}:"
    )
    lines = ["## Gaps", "", rule, ""]
    rows = [
        [c.dataset, c.symbol, c.gap_count, format_utc(g.before), format_utc(g.after),
         f"{g.length / NS_PER_SECOND:.3f}"]
        for c in coverage
        for g in _longest(c.gaps)
    ]  # fmt: skip
    header = ["dataset", "symbol", "gaps", "last before", "first after", "seconds"]
    lines += _table(header, rows) if rows else []
    ids = [
        [c.dataset, c.symbol, c.id_gap_count, str(g.before), str(g.after), g.length - 1]
        for c in coverage
        for g in _longest(c.id_gaps)
    ]
    if ids:
        header = ["dataset", "symbol", "gaps", "last id before", "first id after", "missing ids"]
        lines += ["Identifiers that no row has, runs of two and more:", "", *_table(header, ids)]
    return lines


def _longest(spans: tuple[Span, ...]) -> list[Span]:
    longest = sorted(spans, key=lambda s: (-s.length, s.before))[:MAX_LISTED]
    return sorted(longest, key=lambda s: s.before)


def _table(header: list[str], rows: Iterable[list[Any]]) -> list[str]:
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    for row in rows:
        cells = [f"{v:,}" if isinstance(v, int) else str(v).replace("|", "\\|") for v in row]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _days(days: tuple[dt.date, ...]) -> str:
    shown = ", ".join(d.isoformat() for d in days[:5])
    return f"{len(days)}: {shown}{' ...' if len(days) > 5 else ''}" if days else "0"


_STATS: tuple[tuple[str, str, str], ...] = (
    ("crossed_quotes", "crossed quotes (bid above ask)", "kept"),
    ("locked_quotes", "locked quotes (bid equals ask)", "kept"),
    ("zero_volume_bars", "bars without a trade", "kept"),
    ("one_id_holes", "single identifiers left out", "kept"),
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
                _place(p, attribute): getattr(p.stats, attribute)
                for p in parts
                if p.stats is not None
            }
            yield from _finding(name, what, handling, counts)
        if totals.failed_files:
            failed = [p for p, f in manifest.failed.items() if f"{f.market}/{f.dataset}" == name]
            yield from _finding(name, "unreadable files", "left out", dict.fromkeys(failed, 1))


def _place(part: PartitionEntry, attribute: str) -> str:
    place = f"{part.symbol} {part.day}"
    if attribute == "frozen_snapshots" and part.stats and part.stats.frozen_since is not None:
        return f"{place} from {format_utc(part.stats.frozen_since)}"
    return place


def _finding(dataset: str, what: str, handling: str, counts: dict[str, int]) -> Iterable[Finding]:
    hit = {where: n for where, n in sorted(counts.items()) if n}
    if hit:
        examples = tuple(f"{where} ({n:,})" for where, n in list(hit.items())[:3])
        yield Finding(dataset, what, sum(hit.values()), handling, examples)
