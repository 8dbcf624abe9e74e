"""The charts of a run, each a function from arrays to a [Chart][phoenix_runner.report.page.Chart].

Time axes take the range they cover and the gaps to shade; every axis is labelled with its unit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray

from phoenix_runner.fills import Fill
from phoenix_runner.metrics import DAY_NS
from phoenix_runner.report.drawing import (
    BLUE,
    DASHES,
    INK,
    ORANGE,
    SERIES,
    SKY,
    SOFT,
    VERMILION,
    draw,
    shade_gaps,
    thin,
    time_axis,
    to_days,
    wrapped,
)
from phoenix_runner.report.page import Chart
from phoenix_runner.report.wording import REJECTED, count, money, number

Floats = NDArray[np.float64]
Times = NDArray[np.int64]
Gaps = Sequence[tuple[int, int]]

MARKERS_PER_SIDE = {"wide": 90, "narrow": 30}
"""Above this many fills of a side, a price chart draws one marker per bin of time."""

OFF_PRICE = 5.0
"""Points from a price paid to the middle of its marker, so that neither side covers the other."""


class TimeFrame:
    """The range every time axis of a report covers, and the gaps shaded on it."""

    def __init__(self, start_ns: int, end_ns: int, gaps: Gaps = ()) -> None:
        self.start_ns = start_ns
        self.end_ns = end_ns
        self.gaps = gaps

    def apply(self, axes: Axes) -> None:
        shade_gaps(axes, self.gaps, self.start_ns, self.end_ns)
        time_axis(axes, self.start_ns, self.end_ns)

    def curve(self, ts: Times, y: Floats, narrow: bool) -> tuple[Floats, Floats]:
        """Points to draw: thinned, and broken where there are no data."""
        x, y = thin(to_days(ts), y, narrow)
        for a, b in self.gaps:
            cut = np.searchsorted(x, (a / DAY_NS, b / DAY_NS), side="right")
            x = np.concatenate([x[: cut[0]], [(a + b) / 2 / DAY_NS], x[cut[1] :]])
            y = np.concatenate([y[: cut[0]], [math.nan], y[cut[1] :]])
        return x, y

    @property
    def day_width(self) -> float:
        """Width of a bar for a day, in days; slim where the range has only a few."""
        return min(0.8, 0.06 * (self.end_ns - self.start_ns) / DAY_NS)

    @property
    def note(self) -> str:
        return " Grey bands: no data." if self.gaps else ""


def equity_chart(
    frame: TimeFrame, curves: Mapping[str, tuple[Times, Floats]], start: float, currency: str
) -> Chart:
    """Equity over time, with the starting balance as a line; several runs differ by dashes too."""

    def paint(axes: Axes, narrow: bool) -> None:
        axes.axhline(start, color=SOFT, linewidth=0.9, linestyle=":", label="starting balance")
        for i, (name, (ts, equity)) in enumerate(curves.items()):
            x, y = frame.curve(ts, equity, narrow)
            style = DASHES[i % len(DASHES)]
            axes.plot(x, y, color=SERIES[i % len(SERIES)], linestyle=style, label=name)
        axes.set_ylabel(f"equity ({currency})")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.6g}"))
        frame.apply(axes)
        legend(axes)

    return draw(
        "equity", "Equity",
        "Account value with open positions marked, each minute, after all costs. The dotted line "
        "is the starting balance." + frame.note,
        paint, height=320, narrow_height=280,
    )  # fmt: skip


def drawdown_chart(frame: TimeFrame, ts: Times, fall: Floats) -> Chart:
    def paint(axes: Axes, narrow: bool) -> None:
        x, y = frame.curve(ts, fall * 100, narrow)
        axes.fill_between(x, y, 0, color=VERMILION, alpha=0.25, linewidth=0)
        axes.plot(x, y, color=VERMILION, linewidth=1)
        axes.set_ylabel("below peak (%)")
        axes.set_ylim(top=0)
        frame.apply(axes)

    return draw(
        "drawdown", "Drawdown",
        "How far equity stood below its highest value so far, in percent." + frame.note,
        paint, height=200, narrow_height=200,
    )  # fmt: skip


def daily_returns_chart(frame: TimeFrame, day_ns: Times, returns: Floats) -> Chart:
    def paint(axes: Axes, _: bool) -> None:
        centre = to_days(day_ns) + 0.5
        values = returns * 100
        colours = np.where(values >= 0, BLUE, VERMILION)
        axes.bar(centre, values, width=frame.day_width, color=list(colours), linewidth=0)
        axes.axhline(0, color=SOFT, linewidth=0.8)
        axes.set_ylabel("return of the day (%)")
        frame.apply(axes)

    return draw(
        "daily-returns", "Returns by day",
        "Each UTC day's return on equity. Days without data have no bar." + frame.note,
        paint, height=220, narrow_height=220,
    )  # fmt: skip


def trades_chart(
    frame: TimeFrame, instrument: str, ts: Times, price: Floats, fills: Sequence[Fill]
) -> Chart:
    """Price with a marker at each fill: triangles up below it for buys, down above it for sells."""
    own = [fill for fill in fills if fill.instrument_id == instrument]
    known = np.isfinite(price)
    most = max(sum(f.side == side for f in own) for side in (1, -1))

    def paint(axes: Axes, narrow: bool) -> None:
        x, y = frame.curve(ts[known], price[known], narrow)
        axes.plot(x, y, color=SOFT, linewidth=0.9, label="price")
        for side, marker, colour, name in ((1, "^", BLUE, "buy"), (-1, "v", VERMILION, "sell")):
            mine = [fill for fill in own if fill.side == side]
            when = np.array([fill.ts_ns for fill in mine], dtype=np.int64)
            paid_each = np.array([float(fill.price) for fill in mine])
            if not mine:
                continue
            bins = MARKERS_PER_SIDE["narrow" if narrow else "wide"]
            at, paid = _binned(to_days(when), paid_each, frame, bins)
            off = ScaledTranslation(0, -side * OFF_PRICE / 72, axes.get_figure().dpi_scale_trans)  # type: ignore[union-attr]
            axes.plot(
                at, paid, marker, color=colour, markersize=5, markeredgewidth=0, label=name,
                transform=axes.transData + off,
            )  # fmt: skip
        axes.set_ylabel("price (quote currency)")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.8g}"))
        frame.apply(axes)
        legend(axes)

    merged = (
        " Many fills share a marker, at the mean price of their time."
        if most > MARKERS_PER_SIDE["narrow"]
        else ""
    )
    read = ": triangles just under the price are buys, just above it sells." if own else "."
    return draw(
        slug("trades", instrument), f"Trades on price: {instrument}",
        f"{count(len(own), 'fill')}{read}{merged}" + frame.note,
        paint, height=320, narrow_height=300,
    )  # fmt: skip


def exposure_chart(frame: TimeFrame, ts: Times, net_leverage: Floats) -> Chart:
    def paint(axes: Axes, narrow: bool) -> None:
        x, y = frame.curve(ts, net_leverage, narrow)
        axes.fill_between(x, y, 0, color=SKY, alpha=0.5, linewidth=0, step="post")
        axes.axhline(0, color=SOFT, linewidth=0.8)
        axes.set_ylabel("net position / equity (×)")
        frame.apply(axes)

    return draw(
        "exposure", "Exposure",
        "Net value of open positions as a multiple of equity: above zero long, below short."
        + frame.note,
        paint, height=200, narrow_height=200,
    )  # fmt: skip


def turnover_chart(frame: TimeFrame, day_ns: Times, turnover: Floats) -> Chart:
    def paint(axes: Axes, _: bool) -> None:
        axes.bar(to_days(day_ns) + 0.5, turnover, width=frame.day_width, color=SKY, linewidth=0)
        axes.set_ylabel("traded / equity (×/day)")
        frame.apply(axes)

    return draw(
        "turnover", "Turnover",
        "Value traded on each UTC day, buys and sells together, as a multiple of equity."
        + frame.note,
        paint, height=200, narrow_height=200,
    )  # fmt: skip


def attribution_chart(parts: Mapping[str, str], currency: str) -> Chart:
    """Waterfall from gross through the costs to net."""
    steps = [
        ("gross", float(parts["gross"])),
        ("fees", float(parts["fees"])),
        ("spread", float(parts["spread"])),
        ("funding", float(parts["funding"])),
    ]

    levels = np.cumsum([0.0, *(change for _, change in steps)])
    span = float(levels.max() - levels.min()) or 1.0
    # Every amount stands beyond the end of its bar, with room to the names under the axis.
    limits = (float(levels.min()) - 0.18 * span, float(levels.max()) + 0.18 * span)
    large = float(np.abs(levels).max()) >= 10_000

    def paint(axes: Axes, narrow: bool) -> None:
        # On a phone long amounts would run into each other.
        cents = not (large and narrow)
        for i, (_, change) in enumerate(steps):
            _step(axes, i, levels[i], change, narrow, cents=cents)
            axes.plot([i - 0.35, i + 1.35], [levels[i + 1]] * 2, color=SOFT, linewidth=0.7)
        _step(axes, len(steps), 0.0, levels[-1], narrow, cents=cents, total=True)
        axes.set_ylim(*limits)
        axes.set_xticks(range(len(steps) + 1), [*(name for name, _ in steps), "net"])
        axes.set_xlabel("cause")
        axes.set_ylabel(f"result ({currency})")
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.grid(visible=False, axis="x")

    return draw(
        "attribution", "Where the result came from",
        "From the left: what the trades would have earned at mid prices (bar closes without "
        "quotes), then what each cost took or gave; the last bar is what remained, to the cent.",
        paint, height=300, narrow_height=280, half=True,
    )  # fmt: skip


def markout_chart(rows: Sequence[Mapping[str, Any]]) -> Chart:
    """Mean mark-out by horizon with two standard errors, where the data are fine enough."""
    coarse = [f"{r['horizon_s']} s" for r in rows if not r["count"]]
    rows = [r for r in rows if r["count"]]

    def paint(axes: Axes, _: bool) -> None:
        x = np.arange(len(rows))
        mean = np.array([_nan(r["mean_bps"]) for r in rows])
        error = 2 * np.array([_nan(r["standard_error_bps"]) for r in rows])
        axes.axhline(0, color=SOFT, linewidth=0.8)
        axes.errorbar(
            x, mean, yerr=np.nan_to_num(error), fmt="o", color=BLUE, capsize=4, markersize=6
        )
        axes.set_xticks(x, [f"{r['horizon_s']} s" for r in rows])
        axes.set_xlim(-0.5, len(rows) - 0.5)
        axes.set_xlabel("time after the fill (s)")
        axes.set_ylabel("mid move in our favour (bps)")

    missing = max((r["missing"] for r in rows), default=0)
    lost = f" Up to {count(missing, 'fill')} had no fresh mid." if missing else ""
    if coarse:
        lost += f" Not known after {', '.join(coarse)}: the market was not seen that often."
    return draw(
        "markouts", "Mark-outs: the price after our fills",
        "Mean move of the mid against the price paid, in basis points; above zero the market went "
        "our way. Bars are two standard errors, taking fills as independent." + lost,
        paint, height=300, narrow_height=260, half=True,
    )  # fmt: skip


def gross_to_net_chart(rows: Sequence[tuple[str, float, float]], *, name: str, unit: str) -> Chart:
    """For each (label, gross, net), first on top, what costs took."""
    order = list(reversed(rows))

    def paint(axes: Axes, narrow: bool) -> None:
        for i, (_, gross, net) in enumerate(order):
            axes.plot([gross, net], [i, i], color=SOFT, linewidth=1.5, zorder=1)
            for value, marker, fill, edge, text in (
                (gross, "o", "white", BLUE, "gross"),
                (net, "D", VERMILION, VERMILION, "net"),
            ):
                axes.plot(
                    value, i, marker, color=fill, markeredgecolor=edge, markersize=6,
                    label=text if i == 0 else "_nolegend_",
                )  # fmt: skip
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_yticks(range(len(order)), [wrapped(label, narrow) for label, _, _ in order])
        axes.set_ylabel(name)
        axes.set_xlabel(f"result ({unit})")
        axes.margins(x=0.08, y=0.5 / len(order))
        axes.grid(visible=False, axis="y")
        legend(axes)

    return draw(
        "gross-net", "What costs took",
        "Circle: result before costs, at mid prices (bar closes without quotes). Diamond: what was "
        "left after fees, spread and funding.",
        paint, height=120 + 38 * len(order),
    )  # fmt: skip


def refusals_chart(refusals: Mapping[str, int]) -> Chart:
    names = sorted(refusals, key=lambda g: (not g.startswith(REJECTED), refusals[g], g))

    def paint(axes: Axes, narrow: bool) -> None:
        colours = [ORANGE if n.startswith(REJECTED) else SKY for n in names]
        axes.barh(range(len(names)), [refusals[n] for n in names], color=colours, height=0.6)
        for i, name in enumerate(names):
            axes.text(refusals[name], i, f" {refusals[name]:,}", va="center", color=INK)
        axes.set_yticks(range(len(names)), [wrapped(n, narrow) for n in names])
        axes.set_ylim(-1, len(names))
        axes.set_ylabel("reason")
        axes.set_xlabel("entries not made (count)")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        axes.margins(x=0.15)
        axes.grid(visible=False, axis="y")

    venue = any(n.startswith(REJECTED) for n in names)
    return draw(
        "refusals", "Entries not made",
        "How often each gate stood in the way of an entry that the signal asked for"
        + (", and how many orders were sent and rejected." if venue else "."),
        paint, height=max(160, 70 + 40 * len(names)), half=True,
    )  # fmt: skip


def _step(
    axes: Axes,
    x: int,
    base: float,
    change: float,
    narrow: bool,
    *,
    cents: bool,
    total: bool = False,
) -> None:
    colour = BLUE if change >= 0 else VERMILION
    axes.bar(
        x, change, bottom=base, width=0.7, color=colour, linewidth=0, alpha=1.0 if total else 0.75
    )
    up = change >= 0
    axes.annotate(
        money(change, sign=True) if cents else number(change, 0, sign=True),
        (x, max(base, base + change) if up else min(base, base + change)),
        xytext=(0, 3 if up else -3),
        textcoords="offset points",
        ha="center",
        va="bottom" if up else "top",
        fontsize=7.5 if narrow else 8.5,
        color=INK,
        fontweight="bold" if total else "normal",
    )


def _binned(x: Floats, y: Floats, frame: TimeFrame, bins: int) -> tuple[Floats, Floats]:
    """Means of the points in each of `bins` equal times, where there are more points than bins."""
    if x.size <= bins:
        return x, y
    edges = np.linspace(frame.start_ns / DAY_NS, frame.end_ns / DAY_NS, bins + 1)
    own = np.clip(np.digitize(x, edges) - 1, 0, bins - 1)
    n = np.bincount(own, minlength=bins)
    used = n > 0
    return np.bincount(own, x, bins)[used] / n[used], np.bincount(own, y, bins)[used] / n[used]


def legend(axes: Axes) -> None:
    """Legend above the axes, in as many columns as the width has room for."""
    handles, labels = axes.get_legend_handles_labels()
    labels = [text if len(text) <= 44 else f"{text[:43]}…" for text in labels]
    longest = max(map(len, labels), default=1)
    width = axes.get_figure().get_figwidth() * 96  # type: ignore[union-attr]
    axes.figure.legend(
        handles, labels, loc="outside upper left", ncols=max(1, int(width / (7 * longest + 50)))
    )


def _nan(value: float | None) -> float:
    return math.nan if value is None else value


def slug(*parts: str) -> str:
    """A name as an id of the page."""
    return "-".join("".join(c if c.isalnum() else "-" for c in p.lower()) for p in parts)
