"""Charts of a walk-forward: the chained curve, training against test, what was chosen, overfitting."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from phoenix_runner.metrics import DAY_NS
from phoenix_runner.report.charts import TimeFrame, legend, slug
from phoenix_runner.report.drawing import BLUE, INK, ORANGE, SKY, SOFT, VERMILION, draw
from phoenix_runner.report.page import Chart
from phoenix_runner.research.out_of_sample import ChainedCurve


def chained_chart(
    frame: TimeFrame, curve: ChainedCurve, tests: Sequence[tuple[int, int]], start: float,
    currency: str,
) -> Chart:  # fmt: skip
    """Out-of-sample equity, one line per fold, folds told apart by bands."""

    def paint(axes: Axes, _: bool) -> None:
        axes.axhline(start, color=SOFT, linewidth=0.9, linestyle=":", label="starting balance")
        level = start
        for i, (a, b) in enumerate(tests):
            if i % 2 == 0:
                axes.axvspan(a / DAY_NS, b / DAY_NS, color="#eef5fa", zorder=0, linewidth=0)
            own = curve.fold == i
            if not own.any():
                continue
            x = np.concatenate([[a / DAY_NS], curve.day_ns[own] / DAY_NS + 1])
            y = np.concatenate([[level], curve.equity[own]])
            level = float(y[-1])
            axes.plot(
                x, y, color=BLUE, marker="o" if own.sum() == 1 else None, markersize=3,
                label="out of sample" if i == 0 else "_nolegend_",
            )  # fmt: skip
        axes.set_ylabel(f"equity, compounded ({currency})")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.6g}"))
        frame.apply(axes)
        legend(axes)

    return draw(
        "chained", "Out-of-sample equity",
        "Daily returns of all test ranges, one after the other, compounded. Every fold starts flat; "
        "bands tell folds apart; days between folds are absent." + frame.note,
        paint, height=320, narrow_height=280,
    )  # fmt: skip


def train_test_chart(folds: Sequence[Mapping[str, Any]]) -> Chart:
    """Mean daily return per fold, in training and in the test."""

    def paint(axes: Axes, _: bool) -> None:
        x = np.arange(len(folds))
        for offset, key, colour, hatch, name in (
            (-0.2, "train_mean_daily", ORANGE, "////", "training (chosen set)"),
            (0.2, "test_mean_daily", BLUE, None, "test"),
        ):
            values = [math.nan if f[key] is None else f[key] * 1e4 for f in folds]
            axes.bar(
                x + offset, values, width=0.38, color=colour, label=name, linewidth=0, hatch=hatch,
                edgecolor="white",
            )  # fmt: skip
        axes.axhline(0, color=SOFT, linewidth=0.8)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        axes.set_xlabel("fold (number)")
        axes.set_ylabel("mean daily return (bps)")
        axes.grid(visible=False, axis="x")
        legend(axes)

    return draw(
        "train-test", "What training promised and the test kept",
        "Mean daily return of the set that each fold chose: hatched in training, plain in the test "
        "range that it had not seen.",
        paint, height=280, half=True,
    )  # fmt: skip


def parameter_chart(stability: Mapping[str, Any], searched: Sequence[Any]) -> Chart:
    """The value chosen in each fold, among all that were tried."""
    values = stability["values"]
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in searched)
    places = {v: v if numeric else i for i, v in enumerate(searched)}

    def paint(axes: Axes, _: bool) -> None:
        for place in places.values():
            axes.axhline(place, color="#c9d1d9", linewidth=0.8, linestyle=":")
        axes.plot(
            range(len(values)), [places[v] for v in values], "o-", color=BLUE, linewidth=1,
            markersize=5,
        )  # fmt: skip
        if not numeric:
            axes.set_yticks(list(places.values()), [str(v) for v in places])
        axes.margins(y=0.15)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        axes.set_xlabel("fold (number)")
        axes.set_ylabel(f"{stability['name']} (chosen)")
        axes.grid(visible=False)

    changes = stability["changes"]
    return draw(
        slug("parameter", stability["name"]), f"Chosen {stability['name']}",
        f"Dotted lines are the values tried. It changed {changes} of {len(values) - 1} times from "
        "one fold to the next.",
        paint, height=220, half=True,
    )  # fmt: skip


def overfitting_chart(counts: Sequence[int], probability: float) -> Chart:
    """Histogram of the chosen set's relative out-of-sample rank."""

    def paint(axes: Axes, _: bool) -> None:
        edges = np.linspace(0, 1, len(counts) + 1)
        share = np.asarray(counts) / max(1, sum(counts)) * 100
        colours = [VERMILION if b <= 0.5 + 1e-9 else SKY for b in edges[1:]]
        axes.bar(edges[:-1], share, width=1 / len(counts), align="edge", color=colours,
                 edgecolor="white", linewidth=0.8)  # fmt: skip
        axes.axvline(0.5, color=INK, linewidth=1)
        axes.text(0.49, 0.97, "overfit", ha="right", va="top", transform=axes.get_xaxis_transform())
        axes.set_xlim(0, 1)
        axes.set_xlabel("rank of the best set, out of sample (0 worst, 1 best)")
        axes.set_ylabel("share of splits (%)")
        axes.grid(visible=False, axis="x")

    return draw(
        "overfitting", "Probability of backtest overfitting",
        "Half of the days choose the best set, the other half ranks it, over every way to split "
        f"them. Left of the line it fell to the worse half: {probability * 100:.0f} % of splits.",
        paint, height=280, half=True,
    )  # fmt: skip
