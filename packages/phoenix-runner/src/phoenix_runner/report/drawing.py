"""From a drawing function to inline SVG in two widths, the same bytes every time.

[draw][] runs a function that fills a matplotlib Axes twice, once for a wide screen and once for a
phone, and keeps the SVG text without anything that differs between runs or machines: no metadata,
ids hashed from the chart's name, coordinates cut to two decimals, matplotlib's own defaults
whatever the user's matplotlibrc says. Text stays text.

Colours are those of Okabe and Ito ("Color Universal Design", 2008), told apart by readers with any
common colour blindness; gains and losses are blue and vermilion, and never told by colour alone.
"""

from __future__ import annotations

import io
import re
import textwrap
import threading
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.style
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from numpy.typing import NDArray

from phoenix_runner.metrics import DAY_NS
from phoenix_runner.report.page import Chart

BLUE, VERMILION, SKY, ORANGE, GREEN, PURPLE = (
    "#0072B2", "#D55E00", "#56B4E9", "#E69F00", "#009E73", "#CC79A7",
)  # fmt: skip
INK, SOFT, GRID = "#1b1f24", "#57606a", "#e3e7eb"
SERIES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))

_PX = 1 / 96
_RC: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.linewidth": 0.8,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
}
_STYLE = threading.Lock()
"""The style is the process's: two threads in it at once would leave it to whoever draws next."""
_LONG_DECIMAL = re.compile(r"(\.\d\d)\d+")


def draw(
    name: str,
    title: str,
    caption: str,
    paint: Callable[[Axes, bool], None],
    *,
    height: int = 280,
    narrow_height: int | None = None,
    half: bool = False,
) -> Chart:
    """A chart from `paint(axes, narrow)`; heights in CSS pixels.

    `half` charts share a row on a wide screen.
    """
    wide = _svg(name + "-wide", title, paint, 500 if half else 1040, height, narrow=False)
    small = _svg(name + "-narrow", title, paint, 344, narrow_height or height, narrow=True)
    return Chart(name=name, title=title, caption=caption, wide=wide, narrow=small, half=half)


def time_axis(axes: Axes, start_ns: int, end_ns: int) -> None:
    """Label x as UTC time over [start_ns, end_ns); values are days since 1970 ([to_days][])."""
    narrow = axes.get_figure().get_figwidth() < 4  # type: ignore[union-attr]
    # At least 3 of at most 5 cannot be met by some ranges, as of two hours; matplotlib warns then.
    least, most = (2, 5) if narrow else (3, 9)
    locator = AutoDateLocator(tz="UTC", minticks=least, maxticks=most)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator, tz="UTC")  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(formatter)
    margin = (end_ns - start_ns) / DAY_NS * 0.01
    axes.set_xlim(start_ns / DAY_NS - margin, end_ns / DAY_NS + margin)
    axes.set_xlabel("time (UTC)")


def shade_gaps(axes: Axes, gaps: Sequence[tuple[int, int]], start_ns: int, end_ns: int) -> None:
    """Grey, hatched bands over times without data."""
    label = "no data"
    for a, b in gaps:
        if a < end_ns and b > start_ns:
            axes.axvspan(
                max(a, start_ns) / DAY_NS, min(b, end_ns) / DAY_NS,
                facecolor="#eceff2", edgecolor="#c3cad1", hatch="////", linewidth=0, zorder=0,
                label=label,
            )  # fmt: skip
            label = "_nolegend_"


def to_days(ts_ns: NDArray[np.int64]) -> NDArray[np.float64]:
    """Times as matplotlib takes them: days since 1970."""
    return ts_ns / DAY_NS


def thin(
    x: NDArray[np.float64], y: NDArray[np.float64], narrow: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """At most four points for each two pixels of width: first, lowest, highest and last.

    The drawing looks the same, because no extreme is lost; the file stays small.
    """
    bins = 150 if narrow else 450
    if x.size <= 4 * bins:
        return x, y
    edges = np.linspace(x[0], x[-1], bins + 1)[1:-1]
    starts = np.unique(np.concatenate([[0], np.searchsorted(x, edges)]))
    keep = []
    for a, b in zip(starts, np.append(starts[1:], x.size), strict=True):
        keep += [a, a + int(y[a:b].argmin()), a + int(y[a:b].argmax()), b - 1]
    index = np.unique(keep)
    return x[index], y[index]


def wrapped(label: str, narrow: bool) -> str:
    r"""A label beside an axis, in at most three lines that leave most of the width to the drawing.

    >>> wrapped("rejected by the venue: post-only would have crossed", narrow=True)
    'rejected by the\nvenue: post-only\nwould have crossed'
    """
    width = 18 if narrow else 30
    lines = textwrap.wrap(label, width, max_lines=3, placeholder="…", break_on_hyphens=False)
    return "\n".join(lines)


def _svg(
    name: str,
    title: str,
    paint: Callable[[Axes, bool], None],
    width: int,
    height: int,
    *,
    narrow: bool,
) -> Markup:
    rc = {**_RC, "svg.hashsalt": name, "font.size": 8.5 if narrow else 9}
    with _STYLE, matplotlib.style.context(["default", rc]):
        figure = Figure(figsize=(width * _PX, height * _PX), layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        paint(axes, narrow)
        out = io.StringIO()
        # Not savefig, which goes through the whole figure twice: once to lay it out, once to draw it.
        metadata = dict.fromkeys(["Date", "Creator", "Format", "Type"])
        FigureCanvasSVG(figure).print_svg(out, metadata=metadata)  # type: ignore[no-untyped-call]
    text = out.getvalue()
    view = re.search(r'viewBox="([^"]+)"', text)
    assert view is not None
    body = text[text.index(">", text.index("<svg")) + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    # Names of groups repeat in every figure; only the hashed ids are referred to.
    body = re.sub(r'<g id="[^"]*_\d+">', "<g>", body).replace("xlink:href", "href")
    # Coordinates only: text between the tags is a number that someone reads.
    body = re.sub(r"<[^>]*>", lambda tag: _LONG_DECIMAL.sub(r"\1", tag[0]), body)
    body = re.sub(r"<!--.*?-->\s*", "", body, flags=re.DOTALL)
    head = f'<svg viewBox="{_LONG_DECIMAL.sub(r"\1", view[1])}" role="img"'
    # matplotlib escapes the text it writes; the rest is ours.
    return Markup(head + f' aria-label="{escape(title)}">' + body.strip())  # noqa: S704
