"""Runs as text: the short summary, the list, the comparison of two."""

from __future__ import annotations

import io
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from phoenix_schemas.yaml_config import decode_config
from rich import box
from rich.console import Console
from rich.table import Column, Table

from phoenix_runner.bundle import read_json
from phoenix_runner.errors import BundleError
from phoenix_runner.experiment import Published
from phoenix_runner.left_out import LeftOut, left_out_sentence
from phoenix_runner.report.wording import bounds, count, date, duration, refusal_name, too_few
from phoenix_runner.research.costs import cost_row
from phoenix_runner.research.decay import Estimate
from phoenix_runner.research.decay_verdict import DecayStudy
from phoenix_runner.research.labels import horizon_name
from phoenix_runner.research.lookahead import (
    NOT_SEEN,
    WHY_COUNTS_DIFFER,
    CutCheck,
    WarmupRow,
    passed_sentence,
)
from phoenix_runner.research.regimes import RegimeTable, constant_sentence

RESULTS = {
    **{
        key: (key,)
        for key in (
            "net", "gross", "fees", "spread", "funding", "final_equity", "orders", "fills",
            "positions", "events",
        )
    },
    "return": ("figures", "equity", "return"),
    "maximum_drawdown": ("figures", "drawdown", "maximum"),
    "days": ("figures", "returns", "days"),
    "sharpe_annual": ("figures", "returns", "sharpe_annual"),
    "deflated_sharpe": ("figures", "inference", "deflated"),
    "efficiency": ("figures", "efficiency"),
}  # fmt: skip
"""Where `summary.json` has the results that two runs can be compared by."""

SKILL = frozenset({"sharpe_annual", "deflated_sharpe"})
"""Results that prove nothing on a few days."""

AMOUNTS = frozenset({"net", "gross", "fees", "spread", "funding", "fills", "return", "drawdown"})
"""Columns that are never broken."""

DATED = frozenset({"started", "range"})
"""Columns that are broken around dates, not in them."""

NAMED = 8
"""Combinations left out that are named on a terminal."""

ROOMY = 110
"""A terminal with fewer columns shows a run without what its suite's name says as well."""

PLAIN_WIDTH = 160
"""Columns of a table that goes to a file or a pipe."""


def describe(done: Published) -> str:
    """A few lines that say what came out and where to look."""
    s = done.summary
    mode = s.get("mode", "single")
    range_ = f"{s['trading_start_utc']} to {s['end_utc']} (excluded)"
    market = "the simulated " if s["simulated"] else ""
    lines = [f"{s['strategy']} on {market}{', '.join(s['instrument_ids'])}, {range_}"]
    lines += {"single": _single, "walk_forward": _walk_forward}.get(mode, _variants)(s)
    if s["bar_fills"] is not None:
        assumed = s["bar_fills"]
        lines.append(
            f"bars only: filled at each bar's close with an assumed spread of "
            f"{assumed['spread_bps']} bps and slippage of {assumed['slippage_bps']} bps"
        )
    if s["gaps"]:
        lines.append(f"{count(len(s['gaps']), 'gap')} in the data, shaded in the report")
    if done.reused:
        lines.append("already finished before; --overwrite runs it again")
    if done.address is not None:
        lines.append(f"published: {done.address}")
    lines.append(f"report: {done.folder / 'report.html'}")
    return "\n".join(lines)


def _single(s: dict[str, Any]) -> list[str]:
    figures = s["figures"]
    sharpe, days = figures["returns"]["sharpe_annual"], figures["returns"]["days"]
    ratio = (
        f"no Sharpe ratio over {count(days, 'day')}"
        if sharpe is None or too_few(days)
        else f"Sharpe (daily, 365) {sharpe:.2f} over {days} days"
    )
    share = float(s["net"]) / float(s["starting_equity"])
    return [
        f"net {_money(s['net'])} {s['currency']} ({share:+.3%} of {_money(s['starting_equity'])}) "
        + _attribution(s),
        (
            f"{s['fills']} fills of {s['orders']} orders, {s['events']} events; maximum drawdown "
            f"{figures['drawdown']['maximum']:.3%}; {ratio}"
        ),
        *([] if s["fills"] else _why_no_fills(s)),
    ]


def _why_no_fills(s: dict[str, Any]) -> list[str]:
    """What stood in the way of a run that traded nothing, if anything did."""
    total: Counter[str] = Counter()
    for by_reason in s["refusals"].values():
        total.update({refusal_name(reason): n for reason, n in by_reason.items()})
    if not total:
        return []
    # By count, then by name: the same summary for the same run.
    reason, times = min(total.items(), key=lambda item: (-item[1], item[0]))
    return [f"nothing was filled; most often in the way: {reason} ({times:,} of {total.total():,})"]


def _walk_forward(s: dict[str, Any]) -> list[str]:
    figures = s["figures"]
    inference = figures["inference"]
    deflated, efficiency = inference["deflated"], figures["efficiency"]
    days = figures["returns"]["days"]
    skill = (
        f"no Sharpe ratio over {count(days, 'day')}"
        if too_few(days)
        else "deflated Sharpe ratio " + ("undefined" if deflated is None else f"{deflated:.0%}")
    )
    return [
        f"out of sample {figures['equity']['return']:+.3%} over {count(days, 'day')} in "
        f"{s['folds']} folds, chosen from {s['sets_evaluated']} sets; "
        f"net {_money(s['net'])} {s['currency']} " + _attribution(s),
        skill
        + "; walk-forward efficiency "
        + ("undefined" if efficiency is None else f"{efficiency:.2f}")
        + f"; maximum drawdown {figures['drawdown']['maximum']:.3%}; {s['fills']} fills",
        *_left_out(s, s["sets_evaluated"]),
    ]


def _variants(s: dict[str, Any]) -> list[str]:
    table = _table("variant", "net", "gross", "fees", "spread", "funding", "fills", "drawdown")
    for row in s["variants"]:
        table.add_row(
            row["variant"],
            *(_money(row[k]) for k in ("net", "gross", "fees", "spread", "funding")),
            str(row["fills"]),
            f"{row['maximum_drawdown']:.2%}",
        )
    last = f"best of {len(s['variants'])}, with hindsight: {s['best']}"
    if s["mode"] == "costs":
        even = cost_row(s["variants"][0]).break_even_bps
        last = (
            "no trades, so no break-even cost"
            if even is None
            else f"break-even cost {even:.2f} bps of the value traded"
        )
    return [_render(table).rstrip("\n"), last, *_left_out(s, len(s["variants"]))]


def _left_out(s: dict[str, Any], tried: int) -> list[str]:
    """Combinations that were not tried, the first of them by name; the page has them all."""
    found = decode_config(s.get("left_out", []), list[LeftOut], source="left_out")
    if not found:
        return []
    names = [o.label for o in found[:NAMED]]
    more = f" and {len(found) - NAMED:,} more" if len(found) > NAMED else ""
    others = f": {', '.join(names)}{more}" if len(found) > 1 else ""
    return [left_out_sentence(found, tried) + others]


def _attribution(s: dict[str, Any]) -> str:
    return (
        f"= gross {_money(s['gross'])} fees {_money(s['fees'])} spread {_money(s['spread'])} "
        f"funding {_money(s['funding'])}"
    )


LISTED = (
    "strategy", "instrument_ids", "trading_start_utc", "end_utc", "net", "currency", "fills",
)  # fmt: skip
"""Keys of `summary.json` that the list of runs shows."""


def list_runs(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """What identifies each run, and its result."""
    found = []
    for folder in folders:
        summary = read_json(folder, "summary.json")
        timing = folder / "timing.json"
        facts = read_json(folder, "timing.json") if timing.exists() else {}
        if absent := [key for key in LISTED if key not in summary]:
            raise BundleError(
                f"{folder / 'summary.json'}: must have {', '.join(absent)}, as the run left it; run "
                "the suite again, or remove the folder"
            )
        found.append(
            {
                "run": folder.name,
                "suite": facts.get("suite_name"),
                "started_utc": facts.get("started_utc"),
                "mode": summary.get("mode", "single"),
                "strategy": summary["strategy"],
                "instrument_ids": summary["instrument_ids"],
                "start_utc": summary["trading_start_utc"],
                "end_utc": summary["end_utc"],
                "net": summary["net"],
                "currency": summary["currency"],
                "fills": summary["fills"],
            }
        )
    return found


def runs_table(found: Sequence[dict[str, Any]]) -> str:
    """The list as a table."""
    columns = ["run", "started", "suite", "mode", "strategy", "range", "net", "fills"]
    if _width() < ROOMY:
        columns = [c for c in columns if c not in ("strategy", "fills")]
    table = _table(columns[0], *columns[1:])
    for run in found:
        started = run["started_utc"]
        cells = {
            **run,
            "started": "" if started is None else date(started),
            "suite": run["suite"] or "",
            "mode": run["mode"].replace("_", " "),
            "range": f"{date(run['start_utc'])} to {date(run['end_utc'])}",
            "net": f"{_money(run['net'])} {run['currency']}",
        }
        table.add_row(*(str(cells[c]) for c in columns))
    return _render(table)


def compare_runs(first: Path, second: Path) -> list[dict[str, Any]]:
    """Every key in which two runs differ: what came out first, then what decided it."""
    one, two = (_results(folder) for folder in (first, second))
    differences = [
        {"part": "result", "key": key, "first": one[key], "second": two[key]}
        for key in RESULTS
        if key in one and key in two and one[key] != two[key]
    ]
    for part, name in (("experiment", "experiment.json"), ("environment", "environment.json")):
        one, two = (_flat(read_json(f, name)) for f in (first, second))
        differences += [
            {"part": part, "key": key, "first": one.get(key), "second": two.get(key)}
            for key in sorted({*one, *two})
            if one.get(key) != two.get(key)
        ]
    return differences


def _results(folder: Path) -> dict[str, Any]:
    """The results that a run has, by name."""
    found = {}
    for key, path in RESULTS.items():
        value: Any = read_json(folder, "summary.json")
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            found[key] = value
    return found


def comparison_table(folders: Sequence[Path], differences: Sequence[dict[str, Any]]) -> str:
    """The differences as a table."""
    if not differences:
        return "no difference\n"
    table = _table("part", "key", *[folder.name for folder in folders])
    days = [_results(folder).get("days", 0) for folder in folders]
    for row in differences:
        values = [
            f"{v:.6g}" if isinstance(v, float) else str(v) for v in (row["first"], row["second"])
        ]
        if row["part"] == "result" and row["key"] in SKILL:
            values = [too_few(n) or text for n, text in zip(days, values, strict=True)]
        table.add_row(row["part"], row["key"], *values)
    return _render(table)


def contest_table(done: Mapping[str, Published]) -> str:
    """Results of several suites, side by side; that their ranges differ is said before."""
    ranges = {(run.summary["trading_start_utc"], run.summary["end_utc"]) for run in done.values()}
    warning = (
        "the suites do not cover the same range of time: their returns rank nothing\n"
        if len(ranges) > 1
        else ""
    )
    table = _table("suite", "return", "net", "gross", "fees", "spread", "fills", "PSR or DSR")
    for name, run in done.items():
        s = run.summary
        figures = s["figures"]
        deflated, days = figures["inference"]["deflated"], figures["returns"]["days"]
        skill = "undefined" if deflated is None else f"{deflated:.0%}"
        table.add_row(
            name, f"{figures['equity']['return']:+.3%}",
            *(_money(s[k]) for k in ("net", "gross", "fees", "spread")),
            str(s["fills"]), too_few(days) or skill,
        )  # fmt: skip
    return warning + _render(table)


def decay_table(study: DecayStudy) -> str:
    """Rank IC with the move after each signal by horizon; one row per signal, the rest counted."""
    horizons = list(dict.fromkeys(r.horizon_ns for d in study.found.values() for r in d.rows))
    table = _table("signal", "blocks", *(f"next {horizon_name(h)}" for h in horizons))
    for name, found in study.found.items():
        ahead = {r.horizon_ns: r for r in found.rows if r.kind == "predictive"}
        most = max(ahead.values(), key=lambda r: r.blocks)
        table.add_row(
            name,
            f"{most.blocks} of {duration(most.block_ns / 1e9)}",
            *(_reach(ahead[h].rank_ic, study.family.beyond_chance(ahead[h])) for h in horizons),
        )
    limit = study.family
    legend = (
        f", ± {limit.confidence:.0%} interval of this row alone; * stands out among all "
        f"{count(limit.comparisons, 'comparison')}"
        if limit.comparisons
        else ", not judged"
    )
    return (
        _render(table)
        + f"rank IC{legend}\n"
        + f"{study.rows} rows in the report: also linear IC, same signs, and moves before the signal\n"
    )


def _reach(estimate: Estimate, stands_out: bool | None) -> str:
    if estimate.value is None:
        return "undefined"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:+.3f}"
    # The wider side: an interval is cut where a correlation ends.
    reach = max(estimate.value - estimate.low, estimate.high - estimate.value)
    return f"{estimate.value:+.3f} ±{reach:.3f}{'*' if stands_out else ''}"


def regime_tables(tables: Sequence[RegimeTable], missing: Mapping[str, str]) -> str:
    """Results of round trips by each regime variable, and which variables there are not."""
    text = ""
    for found in tables:
        if found.constant is not None:
            text += f"{constant_sentence(found)}\n"
            continue
        table = _table(
            f"{found.variable} at entry ({found.unit})", "trips", "total", "mean", "± 2 s.e.",
            "with a gain",
        )  # fmt: skip
        for row in found.rows:
            table.add_row(
                bounds(row.low, row.high), str(row.count), f"{row.total:,.2f}",
                "" if row.mean is None else f"{row.mean:,.4f}",
                "" if row.standard_error is None else f"{2 * row.standard_error:,.4f}",
                "–" if row.few or row.share_positive is None else f"{row.share_positive:.0%}",
            )  # fmt: skip
        text += _render(table)
        if found.unknown:
            text += f"{found.unknown} round trips had no known {found.variable}\n"
    return text + "".join(f"{name}: {why}\n" for name, why in missing.items())


def lookahead_text(checks: Sequence[CutCheck], warmups: Sequence[WarmupRow]) -> str:
    """What was compared and found equal, and how warm-up changes results."""
    table = _table("cut at", "data after it", "decisions", "signals", "orders")
    for check in checks:
        table.add_row(
            check.cut_utc, check.kind, str(check.decisions), str(check.signals), str(check.orders)
        )
    text = f"{_render(table)}{WHY_COUNTS_DIFFER}\n{passed_sentence(checks)}\n{NOT_SEEN}\n"
    if warmups:
        table = _table("warm-up", "net", "fills", "orders", f"same as with {warmups[0].warmup}")
        for row in warmups:
            table.add_row(
                row.warmup, _money(row.net), str(row.fills), str(row.orders), str(row.same_orders)
            )
        text += _render(table)
    return text


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Leaves of nested values by their dotted path."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = {str(i): item for i, item in enumerate(value)}.items()
    else:
        return {path: value}
    return {k: v for key, item in items for k, v in _flat(item, f"{path}.{key}".strip(".")).items()}


def _money(text: str) -> str:
    """Money to the cent, for reading.

    >>> _money("-1234.567")
    '-1,234.57'
    """
    return f"{float(text):,.2f}"


def _table(name: str, *others: str, title: str | None = None) -> Table:
    """A table that breaks words rather than cutting them, but no name of a row and no amount."""
    columns = [
        Column(
            header, no_wrap=header == name or header in AMOUNTS, overflow="fold",
            min_width=10 if header in DATED else None,
        )
        for header in (name, *others)
    ]  # fmt: skip
    return Table(
        *columns, title=title, box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True
    )  # fmt: skip


def _width() -> int:
    """Columns of the terminal that standard output goes to, or of a file."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else PLAIN_WIDTH


def _render(table: Table) -> str:
    out = io.StringIO()
    Console(file=out, width=_width(), color_system=None).print(table)
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines() if line.strip())
