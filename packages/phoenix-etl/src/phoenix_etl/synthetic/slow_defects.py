"""Known defects of bars, metrics and book depth."""

from __future__ import annotations

from datetime import UTC, datetime

from phoenix_etl.synthetic.planting import Planter, gap


def bar_gaps(plan: Planter) -> None:
    """Missing minutes, flat bars, and whole stretches and days of the derived bars (#304, #484)."""

    def cut(kind: str, dataset: str, day: int, minutes: range) -> None:
        csv = plan.open(dataset, day)
        del csv.rows[minutes.start : minutes.stop]
        start = plan.midnight_ms(day)
        hole = gap(start + minutes.start * 60_000, start + minutes.stop * 60_000)
        plan.ledger(
            kind, dataset, day, csv, [csv.line(minutes.start)],
            gaps=[hole], missing_minutes=len(minutes),
        )  # fmt: skip

    cut("missing minutes", "klines_1m", 1, range(617, 624))
    cut("missing mark prices", "markPriceKlines", 3, range(220, 240))
    csv = plan.open("klines_1m", 2)
    flat = [i for i, row in enumerate(csv.rows) if row.split(",")[8] == "0"]
    plan.ledger(
        "flat bars", "klines_1m", 2, csv, [csv.line(i) for i in flat[:3]], flat_bars=len(flat)
    )  # fmt: skip
    missing = plan.path("premiumIndexKlines", 3)
    (plan.root / missing).unlink()
    plan.note("missing premium day", "premiumIndexKlines", 3, missing, [], coverage="missing")


def metrics(plan: Planter) -> None:
    """Rows missing, twice, blank, with bad times, zeros of Java, nothing open, infinity."""
    csv = plan.open("metrics", 0)
    del csv.rows[100:103]
    stamps = [datetime.fromisoformat(csv.rows[row][:19]).replace(tzinfo=UTC) for row in (99, 100)]
    hole = gap(*(int(stamp.timestamp()) * 1_000 for stamp in stamps))
    plan.ledger(
        "missing metrics", "metrics", 0, csv, [csv.line(100)], missing_rows=3, gaps=[hole]
    )  # fmt: skip

    csv = plan.open("metrics", 1)
    csv.rows[51:51] = csv.rows[50:51]
    csv.rows.append(csv.rows[7])
    lines = [csv.line(51), csv.line(len(csv.rows) - 1)]
    plan.ledger("duplicate metrics", "metrics", 1, csv, lines, duplicates=2)

    csv = plan.open("metrics", 2)
    for row in (60, 61):
        for column in (4, 5, 6):
            csv.edit(row, column, "")
    plan.ledger(
        "blank metrics", "metrics", 2, csv, [csv.line(60), csv.line(61)], null_cells=6
    )  # fmt: skip

    for day, kind, edits in (
        (3, "bad metrics times", {70: (0, f"{plan.days[3]} 24:61:00"), 71: (0, "1970-01-01")}),
        (6, "infinite metrics ratio", {90: (7, "Infinity"), 91: (7, "NaN")}),
    ):
        csv = plan.open("metrics", day)
        for row, (column, value) in edits.items():
            csv.edit(row, column, value)
        lines = [csv.line(row) for row in edits]
        plan.ledger(kind, "metrics", day, csv, lines, rejected=2, rejected_lines=lines)

    csv = plan.open("metrics", 5)
    csv.edit(80, 2, "0.0000000000000000")
    csv.edit(81, 2, "0E-16")
    lines = [csv.line(80), csv.line(81)]
    plan.ledger("zero open interest", "metrics", 5, csv, lines, rejected=2, rejected_lines=lines)

    csv = plan.open("metrics", 4)
    csv.edit(75, 7, "0E-8")
    plan.ledger("exponent zero", "metrics", 4, csv, [csv.line(75)], zero_ratios=1)

    csv = plan.open("metrics", 7)
    csv.rows.insert(41, csv.rows[40])
    csv.edit(41, 7, "9" + csv.rows[40].split(",")[7])
    plan.ledger("conflicting metrics", "metrics", 7, csv, [csv.line(41)], conflicts=1)


def book_depth(plan: Planter) -> None:
    """Twelve levels written `-5.00`, and one snapshot repeated from noon on."""
    csv = plan.open("bookDepth", 0)
    rows = []
    for row in csv.rows:
        at, percentage, depth, notional = row.split(",")
        rows.append(f"{at},{int(percentage)}.00,{depth},{notional}")
        if percentage == "-1":  # a quarter of the first percent lies within 0.2 %
            rows += [
                f"{at},{sign}0.20,{_quarter(depth)},{_quarter(notional)}" for sign in ("-", "")
            ]
    csv.rows = rows
    plan.ledger("twelve levels", "bookDepth", 0, csv, [2], levels=12)

    csv = plan.open("bookDepth", 1)
    noon = next(i for i, row in enumerate(csv.rows) if row.split(",")[0] >= f"{plan.days[1]} 12")
    frozen = csv.rows[noon : noon + 10]
    for i in range(noon, len(csv.rows)):
        at = csv.rows[i].split(",")[0]
        csv.rows[i] = ",".join([at, *frozen[(i - noon) % 10].split(",")[1:]])
    plan.ledger(
        "frozen depth", "bookDepth", 1, csv, [csv.line(noon)],
        frozen_snapshots=(len(csv.rows) - noon) // 10,
        frozen_since=frozen[0].split(",")[0],
    )  # fmt: skip


def _quarter(text: str) -> str:
    digits = str(int(text.replace(".", "")) // 4).rjust(9, "0")
    return f"{digits[:-8]}.{digits[-8:]}"
