"""Sections of the look-ahead check's page: comparisons, the first difference, lengths of warm-up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from phoenix_runner.report.drawing import BLUE, SKY, SOFT, draw
from phoenix_runner.report.page import Chart, Section, Table
from phoenix_runner.report.wording import date, money, percent
from phoenix_runner.research.lookahead import WHY_COUNTS_DIFFER, CutCheck, Difference, WarmupRow


def lookahead_sections(
    checks: Sequence[CutCheck],
    warmups: Sequence[WarmupRow],
    difference: Difference | None,
    *,
    currency: str,
) -> list[Section]:
    """The difference first if there is one, then what was found equal, then warm-ups."""
    sections = []
    if difference is not None:
        sections.append(Section("The first difference", "", [_difference_table(difference)]))
    sections.append(Section("What was compared", "", [_check_table(checks)]))
    if warmups:
        sections.append(
            Section(
                "Warm-up",
                "The suite again with each length of warm-up. Results that change with it hang on "
                "where the history begins.",
                [*_warmup_charts(warmups, currency), _warmup_table(warmups, currency)],
            )
        )
    return sections


def _difference_table(difference: Difference) -> Table:
    return Table(
        "First difference",
        f"With the data {difference.kind} at the cut, against the whole catalog.",
        ["", "value"],
        [
            ["what", difference.what],
            ["at", difference.at_utc],
            ["cut at", difference.cut_utc],
            ["on the whole catalog", difference.on_whole],
            [f"with data {difference.kind} at the cut", difference.on_other],
        ],
        numeric=False,
    )


def _check_table(checks: Sequence[CutCheck]) -> Table:
    return Table(
        "Comparisons that found no difference",
        "Counts of what lay before the cut and was the same with the data after it cut off or "
        f"altered. {WHY_COUNTS_DIFFER}",
        ["cut at", "data after it", "decisions", "signals", "orders"],
        [
            [date(c.cut_utc), c.kind, f"{c.decisions:,}", f"{c.signals:,}", f"{c.orders:,}"]
            for c in checks
        ],
    )


def _warmup_charts(rows: Sequence[WarmupRow], currency: str) -> list[Chart]:
    x, names = np.arange(len(rows)), [row.warmup for row in rows]

    def finish(axes: Axes) -> None:
        axes.set_xticks(x, names)
        axes.set_xlim(-0.5, len(rows) - 0.5)
        axes.set_xlabel("warm-up (time)")

    def net(axes: Axes, _: bool) -> None:
        axes.axhline(0, color=SOFT, linewidth=0.8)
        axes.plot(x, [float(row.net) for row in rows], "o", color=BLUE, markersize=6)
        axes.set_ylabel(f"net result ({currency})")
        finish(axes)

    def same(axes: Axes, _: bool) -> None:
        axes.bar(x, [100 * (_share(row) or 0.0) for row in rows], width=0.5, color=SKY)
        axes.set_ylim(0, 100)
        axes.set_ylabel("same orders (%)")
        finish(axes)

    return [
        draw("warmup-net", "Net result by warm-up", "After all costs.", net, height=260, half=True),
        draw(
            "warmup-orders", f"Orders as with {names[0]}",
            "Share of each run's orders that the first run sent as well.",
            same, height=260, half=True,
        ),
    ]  # fmt: skip


def _warmup_table(rows: Sequence[WarmupRow], currency: str) -> Table:
    return Table(
        "Warm-ups",
        "",
        [
            "warm-up",
            f"net ({currency})",
            "fills",
            "orders",
            f"same as with {rows[0].warmup}",
            "share",
        ],
        [
            [
                row.warmup,
                money(row.net, sign=True),
                f"{row.fills:,}",
                f"{row.orders:,}",
                f"{row.same_orders:,}",
                percent(_share(row), 0),
            ]
            for row in rows
        ],
    )


def _share(row: WarmupRow) -> float | None:
    return row.same_orders / row.orders if row.orders else None
