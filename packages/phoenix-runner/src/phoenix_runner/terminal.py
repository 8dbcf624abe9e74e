"""Runs as text: the short summary, the list, the comparison of two."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from phoenix_runner.bundle import read_json
from phoenix_runner.experiment import Published

RESULTS = (
    "net", "gross", "fees", "spread", "funding", "final_equity", "orders", "fills", "positions",
    "events",
)  # fmt: skip


def describe(done: Published) -> str:
    """A few lines that say what came out and where to look."""
    s = done.summary
    mode = s.get("mode", "single")
    range_ = f"{s['trading_start_utc']} to {s['end_utc']} (excluded)"
    lines = [f"{s['strategy']} on {', '.join(s['instrument_ids'])}, {range_}"]
    lines += {"single": _single, "walk_forward": _walk_forward}.get(mode, _variants)(s)
    if s["bar_fills"] is not None:
        assumed = s["bar_fills"]
        lines.append(
            f"bars only: filled at each bar's close with an assumed spread of "
            f"{assumed['spread_bps']} bps and slippage of {assumed['slippage_bps']} bps"
        )
    if s["gaps"]:
        lines.append(f"{len(s['gaps'])} gaps in the data, shaded in the report")
    if done.reused:
        lines.append("already finished before; --overwrite runs it again")
    lines.append(f"report: {done.folder / 'report.html'}")
    return "\n".join(lines)


def _single(s: dict[str, Any]) -> list[str]:
    figures = s["figures"]
    sharpe, days = figures["returns"]["sharpe_annual"], figures["returns"]["days"]
    ratio = (
        f"no Sharpe ratio over {days} day{'s' * (days != 1)}"
        if sharpe is None
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
    ]


def _walk_forward(s: dict[str, Any]) -> list[str]:
    figures = s["figures"]
    inference = figures["inference"]
    deflated, efficiency = inference["deflated"], figures["efficiency"]
    return [
        f"out of sample {figures['equity']['return']:+.3%} over {figures['returns']['days']} days in "
        f"{s['folds']} folds, chosen from {s['sets_evaluated']} sets; "
        f"net {_money(s['net'])} {s['currency']} " + _attribution(s),
        "deflated Sharpe ratio "
        + ("undefined" if deflated is None else f"{deflated:.0%}")
        + "; walk-forward efficiency "
        + ("undefined" if efficiency is None else f"{efficiency:.2f}")
        + f"; maximum drawdown {figures['drawdown']['maximum']:.3%}; {s['fills']} fills",
    ]


def _variants(s: dict[str, Any]) -> list[str]:
    table = Table("variant", "net", "gross", "fees", "spread", "funding", "fills", "drawdown")
    for row in s["variants"]:
        table.add_row(
            row["variant"],
            *(_money(row[k]) for k in ("net", "gross", "fees", "spread", "funding")),
            str(row["fills"]),
            f"{row['maximum_drawdown']:.2%}",
        )
    best = f"best of {len(s['variants'])}, with hindsight: {s['best']}"
    return [_render(table).rstrip("\n"), best]


def _attribution(s: dict[str, Any]) -> str:
    return (
        f"= gross {_money(s['gross'])} fees {_money(s['fees'])} spread {_money(s['spread'])} "
        f"funding {_money(s['funding'])}"
    )


def list_runs(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """What identifies each run, and its result."""
    found = []
    for folder in folders:
        summary = read_json(folder, "summary.json")
        timing = folder / "timing.json"
        facts = read_json(folder, "timing.json") if timing.exists() else {}
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
    table = Table("run", "suite", "mode", "strategy", "from", "to", "net", "fills")
    for run in found:
        table.add_row(
            run["run"], run["suite"] or "", run["mode"], run["strategy"], run["start_utc"],
            run["end_utc"], f"{_money(run['net'])} {run['currency']}", str(run["fills"]),
        )  # fmt: skip
    return _render(table)


def compare_runs(first: Path, second: Path) -> list[dict[str, Any]]:
    """Every key in which two runs differ: what decides them first, then what came out."""
    differences = []
    for part, name in (("experiment", "experiment.json"), ("environment", "environment.json")):
        one, two = (_flat(read_json(f, name)) for f in (first, second))
        differences += [
            {"part": part, "key": key, "first": one.get(key), "second": two.get(key)}
            for key in sorted({*one, *two})
            if one.get(key) != two.get(key)
        ]
    one, two = (read_json(f, "summary.json") for f in (first, second))
    differences += [
        {"part": "result", "key": key, "first": one.get(key), "second": two.get(key)}
        for key in RESULTS
        if one.get(key) != two.get(key)
    ]
    return differences


def comparison_table(folders: Sequence[Path], differences: Sequence[dict[str, Any]]) -> str:
    """The differences as a table."""
    if not differences:
        return "no difference\n"
    table = Table("part", "key", *[folder.name for folder in folders])
    for row in differences:
        table.add_row(row["part"], row["key"], str(row["first"]), str(row["second"]))
    return _render(table)


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


def _render(table: Table) -> str:
    out = io.StringIO()
    Console(file=out, width=None if out.isatty() else 160).print(table)
    return out.getvalue()
