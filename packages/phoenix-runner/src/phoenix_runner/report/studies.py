"""Pages of the research commands: decay, regimes, costs, sensitivity.

Each `*_section` turns the figures of one study into charts and a table; [write_study][] puts
sections under a headline into one HTML file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from numpy.typing import NDArray
from phoenix_schemas.timestamps import format_utc

from phoenix_runner.report.bundle_files import Gap
from phoenix_runner.report.charts import gross_to_net_chart, legend, slug
from phoenix_runner.report.drawing import BLUE, INK, ORANGE, SOFT, draw, wrapped
from phoenix_runner.report.page import Chart, Detail, Page, Section, Table, Tone, Verdict, render
from phoenix_runner.report.wording import (
    CANNOT_TELL,
    bounds,
    count,
    duration,
    gap_sentences,
    money,
    number,
    percent,
)
from phoenix_runner.research.costs import CostRow
from phoenix_runner.research.decay import Decay, DecayRow, Estimate, Family
from phoenix_runner.research.labels import horizon_name
from phoenix_runner.research.regimes import FEWEST, RegimeTable, constant_sentence


@dataclass(frozen=True)
class Surface:
    """An outcome over two parameters: `values` is (len(y_values), len(x_values)), NaN if not run."""

    x_name: str
    y_name: str
    x_values: Sequence[Any]
    y_values: Sequence[Any]
    values: NDArray[np.float64]
    outcome: str
    unit: str


def write_study(
    path: Path | str,
    *,
    title: str,
    subtitle: str,
    headline: str,
    sentences: Sequence[str],
    sections: Sequence[Section],
    caveats: Sequence[str] = (),
    tone: Tone = "open",
    details: Sequence[Detail] = (),
    gaps: Sequence[Gap] | None = None,
) -> Path:
    """Write one page with a study's headline, evidence and caveats.

    `gaps` are those of the data of a study's one range; None where it has no such range.
    """
    missing = gap_sentences(
        [(g.what, format_utc(g.start_ns), format_utc(g.end_ns)) for g in gaps or ()],
        shaded=False,
    )
    page = Page(
        title=title,
        subtitle=subtitle,
        verdict=Verdict(tone, headline, sentences),
        tiles=[],
        sections=sections,
        caveats=[*caveats, CANNOT_TELL, *([] if gaps is None else missing)],
        details=details,
    )
    path = Path(path)
    path.write_text(render(page), encoding="utf-8", newline="\n")
    return path


def decay_section(signal: str, found: Decay, limit: Family, *, confidence: float = 0.95) -> Section:
    """IC and same signs by horizon, with intervals; what happened kept apart from what followed."""
    rows = found.rows
    charts: list[Chart | Table] = [
        _decay_chart(
            slug("ic", signal), f"Rank correlation of {signal} with the mid's move", rows,
            lambda r: r.rank_ic, "rank correlation (−1 to 1)", 0.0, confidence,
        ),
    ]  # fmt: skip
    if any(r.same_sign.value is not None for r in rows):
        charts.append(
            _decay_chart(
                slug("signs", signal), f"Moves with the sign of {signal}", rows,
                lambda r: r.same_sign, "share of same sign (0 to 1)", 0.5, confidence,
            )
        )  # fmt: skip
    blocks = duration(rows[0].block_ns / 1e9)
    judged = (
        f"Intervals at {percent(confidence, 0)}, each of its row alone, from blocks of {blocks} drawn "
        f"with replacement."
        if any(r.rank_ic.low is not None for r in rows)
        else f"No intervals: too few blocks of {blocks}, or nothing varies."
    )
    if limit.comparisons:
        compared = count(limit.comparisons, "comparison")
        judged += f" Stands out: among all {compared} of this study."
    table = Table(
        "Figures",
        f"{judged} Same sign: of signals that take both.",
        ["move", "horizon", "observations", "blocks", "rank IC", "stands out", "linear IC",
         "same sign"],
        [
            [
                "after (predictive)" if r.kind == "predictive" else "before (contemporaneous)",
                horizon_name(r.horizon_ns),
                f"{r.observations:,}",
                f"{r.blocks:,}",
                _interval(r.rank_ic),
                {True: "yes", False: "no", None: "–"}[limit.beyond_chance(r)],
                _interval(r.linear_ic),
                _interval(r.same_sign),
            ]
            for r in rows
        ],
    )  # fmt: skip
    return Section(
        f"Decay of {signal}",
        "Only the move after the signal could be traded. The move before it says what the signal "
        "describes.",
        [*charts, table],
    )


def regime_section(table: RegimeTable, *, currency: str) -> Section:
    """Results of round trips by the state of the market when they began."""
    unit = table.unit
    title = f"{table.variable[:1].upper()}{table.variable[1:]}"  # instruments keep their capitals
    if table.constant is not None:
        sentence = constant_sentence(table)
        return Section(title, f"{sentence[0].upper()}{sentence[1:]}.", [])
    names = [bounds(r.low, r.high) for r in table.rows]

    def paint(axes: Axes, narrow: bool) -> None:
        x = np.arange(len(names))
        mean = [math.nan if r.mean is None else r.mean for r in table.rows]
        error = [0.0 if r.standard_error is None else 2 * r.standard_error for r in table.rows]
        axes.axhline(0, color=SOFT, linewidth=0.8)
        axes.errorbar(x, mean, yerr=error, fmt="o", color=BLUE, capsize=4, markersize=6)
        axes.set_xticks(x, names)
        axes.set_xlim(-0.5, len(names) - 0.5)
        between = "\n" if narrow else " "  # an instrument's name in it is wider than a telephone
        axes.set_xlabel(f"{table.variable}{between}at entry ({unit})")
        axes.set_ylabel(f"mean result ({currency})")

    afterwards = (
        " Bounds are quantiles of the whole sample, which nobody knew at the time: a description, "
        "not a rule."
        if table.edges_from_sample
        else ""
    )
    unknown = f" {table.unknown:,} had no known value." if table.unknown else ""
    chart = draw(
        slug("regime", table.variable), f"Mean result by {table.variable}",
        "Each round trip counts in the regime known when it began. Bars are two standard errors."
        + afterwards + unknown,
        paint, height=280, half=True,
    )  # fmt: skip
    rows = [
        [
            name,
            f"{r.count:,}",
            money(r.total, sign=True),
            money(r.mean, sign=True),
            "–" if r.standard_error is None else f"± {money(2 * r.standard_error)}",
            "–" if r.few else percent(r.share_positive, 0),
        ]
        for name, r in zip(names, table.rows, strict=True)
    ]
    figures = Table(
        f"Results by {table.variable}",
        f"In {currency}; with two standard errors of the mean. No share of fewer than {FEWEST} trips.",
        [f"{table.variable} ({unit})", "trips", "total", "mean", "2 s.e.", "with a gain"],
        rows,
        half=True,
    )
    return Section(title, "", [chart, figures])


def cost_section(rows: Sequence[CostRow], *, currency: str) -> Section:
    """The same decisions under different costs, and what they could bear."""
    chart = gross_to_net_chart(
        [(r.label, float(r.attribution.gross), float(r.attribution.net)) for r in rows],
        name="assumption",
        unit=currency,
    )
    table = Table(
        "Costs and break-even",
        "Break-even: fees and spread per value traded at which nothing would be left; below the cost "
        "paid, the strategy loses. Negative: it loses at any cost.",
        ["assumption", "gross", "fees", "spread", "funding", "net", "fills", "cost bps",
         "break-even bps"],
        [
            [
                r.label,
                *(
                    money(float(v), sign=True)
                    for v in (
                        r.attribution.gross, r.attribution.fees, r.attribution.spread,
                        r.attribution.funding, r.attribution.net,
                    )
                ),
                f"{r.fills:,}",
                number(r.cost_bps),
                number(r.break_even_bps),
            ]
            for r in rows
        ],
    )  # fmt: skip
    return Section("Costs", f"Money in {currency}.", [chart, table])


def sensitivity_section(surface: Surface) -> Section:
    """An outcome over two parameters as a map; a lone bright cell among dark ones is luck."""
    values = np.asarray(surface.values, dtype=np.float64)
    known = values[np.isfinite(values)]
    limit = max(1e-12, float(np.abs(known).max())) if known.size else 1.0

    def paint(axes: Axes, narrow: bool) -> None:
        # Told apart with any common colour blindness; few levels, so that the key stays small, and
        # an even number: no colour holds both gains and losses.
        levels = colormaps["PuOr"].resampled(10)
        mesh = axes.pcolormesh(
            np.where(values == 0, np.nan, values), cmap=levels, norm=Normalize(-limit, limit)
        )
        bar = axes.figure.colorbar(mesh, ax=axes)
        bar.set_label(f"{surface.outcome} ({surface.unit})")
        axes.set_xticks(np.arange(values.shape[1]) + 0.5, [str(v) for v in surface.x_values])
        axes.set_yticks(
            np.arange(values.shape[0]) + 0.5, [wrapped(str(v), narrow) for v in surface.y_values]
        )
        axes.set_xlabel(surface.x_name)
        axes.set_ylabel(surface.y_name)
        axes.grid(visible=False)
        if narrow or values.size > 100:
            return
        for (i, j), value in np.ndenumerate(values):
            if np.isfinite(value):
                dark = abs(value) > 0.6 * limit
                axes.text(
                    j + 0.5, i + 0.5, number(float(value)), ha="center", va="center", fontsize=8,
                    color="white" if dark else INK,
                )  # fmt: skip

    chart = draw(
        "sensitivity", f"{surface.outcome.capitalize()} over {surface.x_name} and {surface.y_name}",
        "Purple gains, orange losses, white zero; a cell without a figure was not run. A plateau can "
        "be trusted more than a peak: "
        "neighbours of a good set should be good too.",
        paint, height=max(260, 90 + 34 * len(surface.y_values)),
    )  # fmt: skip
    rows = [
        [str(y), *("–" if not np.isfinite(v) else number(float(v)) for v in values[i])]
        for i, y in enumerate(surface.y_values)
    ]
    header = [f"{surface.y_name} \\ {surface.x_name}", *(str(v) for v in surface.x_values)]
    table = Table(f"{surface.outcome.capitalize()} ({surface.unit})", "", header, rows)
    return Section("Sensitivity", "", [chart, table])


def _decay_chart(
    name: str, title: str, rows: Sequence[DecayRow], pick: Any, label: str, zero: float,
    confidence: float,
) -> Chart:  # fmt: skip
    horizons = sorted({r.horizon_ns for r in rows})

    def paint(axes: Axes, _: bool) -> None:
        axes.axhline(zero, color=SOFT, linewidth=0.9)
        for kind, shift, marker, colour, text in (
            ("predictive", -0.08, "o", BLUE, "after the signal"),
            ("contemporaneous", 0.08, "s", ORANGE, "before the signal"),
        ):
            own = {r.horizon_ns: pick(r) for r in rows if r.kind == kind}
            x = [i + shift for i, h in enumerate(horizons) if h in own and own[h].value is not None]
            found: list[Estimate] = [
                own[h] for h in horizons if h in own and own[h].value is not None
            ]
            value = np.array([e.value for e in found], dtype=np.float64)
            low = np.array([e.value if e.low is None else e.low for e in found], dtype=np.float64)
            high = np.array(
                [e.value if e.high is None else e.high for e in found], dtype=np.float64
            )
            reach = np.maximum(np.stack([value - low, high - value]), 0.0)
            axes.errorbar(
                x, value, yerr=reach, fmt=marker, color=colour, capsize=4, markersize=6, label=text
            )
        axes.set_xticks(range(len(horizons)), [horizon_name(h) for h in horizons])
        axes.set_xlim(-0.5, len(horizons) - 0.5)
        axes.set_xlabel("horizon (time)")
        axes.set_ylabel(label)
        legend(axes)

    return draw(
        name, title,
        f"Bars are {percent(confidence, 0)} intervals, each of its point alone. One that crosses the "
        "line shows nothing; of many, some miss it by luck.",
        paint, height=300, half=True,
    )  # fmt: skip


def _interval(e: Estimate) -> str:
    if e.value is None:
        return "–"
    if e.low is None:
        return f"{number(e.value, 3)} (too few blocks)"
    return f"{number(e.value, 3)} [{number(e.low, 3)}, {number(e.high, 3)}]"
