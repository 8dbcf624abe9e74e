"""`report.html` of a sweep, an ablation or a cost study, drawn from its bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from phoenix_schemas.yaml_config import decode_config

from phoenix_runner.bundle import read_json
from phoenix_runner.left_out import LeftOut, left_out_sentence
from phoenix_runner.report.bundle_files import gap_of
from phoenix_runner.report.page import Section, Table
from phoenix_runner.report.studies import Surface, cost_section, sensitivity_section, write_study
from phoenix_runner.report.wording import (
    earned,
    execution_sentences,
    left_out_table,
    market_name,
    money,
    number,
    percent,
    probability,
    too_few,
)
from phoenix_runner.report.writing import write_comparison
from phoenix_runner.research.costs import cost_row

MODES = frozenset({"sweep", "ablation", "costs"})
PARTS = ("net", "gross", "fees", "spread", "funding")


def draw_variants(folder: Path) -> Path:
    """Write `report.html` of a finished (or staged) variants bundle."""
    summary = read_json(folder, "summary.json")
    page = folder / "report.html"
    title = f"{summary['strategy']} on {', '.join(summary['instrument_ids'])}"
    if summary["mode"] == "ablation":
        folders = sorted((folder / "variants").iterdir())
        labels = [row["variant"] for row in summary["variants"]]
        runs = dict(zip(labels, folders, strict=True))
        return write_comparison(runs, page, title=f"Ablation of {title}")
    costs = summary["mode"] == "costs"
    experiment = read_json(folder, "experiment.json")
    return write_study(
        page,
        title=f"{'Costs' if costs else 'Parameter sweep'} of {title}",
        subtitle=f"{market_name(simulated=summary['simulated'])}{summary['trading_start_utc']} to "
        f"{summary['end_utc']} (excluded)",
        headline=_headline(summary),
        sentences=_sentences(summary),
        sections=_cost_sections(summary) if costs else _sweep_sections(summary),
        caveats=execution_sentences(experiment["config"], experiment["instruments"]),
        gaps=[gap_of(row) for row in summary["gaps"]],
    )


def _headline(summary: Mapping[str, Any]) -> str:
    rows = summary["variants"]
    winners = sum(Decimal(row["net"]) > 0 for row in rows)
    if summary["mode"] == "costs":
        base = rows[0]
        return (
            f"As written the run nets {money(base['net'], summary['currency'], sign=True)}; "
            f"{winners} of {len(rows)} cost assumptions leave a gain"
        )
    return f"{winners} of {len(rows)} parameter sets end with a gain after costs"


def _sentences(summary: Mapping[str, Any]) -> list[str]:
    if summary["mode"] == "costs":
        return [
            (
                "Each row changes one assumption and runs again, so decisions that depend on fills may "
                "differ too."
            )
        ]
    found = summary["inference_of_best"]
    deflated, few = found["deflated"], too_few(found["observations"])
    luck = (
        f" How much of that is luck cannot be said: {few}."
        if few
        else ""
        if deflated is None
        else f" The best of {found['trials']:,} worthless sets would show less than its Sharpe ratio "
        f"in {probability(deflated)} of samples this long (DSR)."
    )
    left_out = decode_config(summary.get("left_out", []), list[LeftOut], source="left_out")
    return [
        (
            f"The best set is {summary['best']}, with "
            f"{money(summary['net'], summary['currency'], sign=True)}.{luck}"
        ),
        (
            "All sets saw the same days: the best of them is chosen with hindsight. A walk-forward says "
            "what choosing would have been worth."
        ),
        *([f"{left_out_sentence(left_out, len(summary['variants']))}."] if left_out else []),
    ]


def _cost_sections(summary: Mapping[str, Any]) -> Sequence[Section]:
    rows = [cost_row(row) for row in summary["variants"]]
    return [cost_section(rows, currency=summary["currency"])]


def _sweep_sections(summary: Mapping[str, Any]) -> Sequence[Section]:
    rows = sorted(summary["variants"], key=lambda r: -float(r["net"]))
    days = summary["inference_of_best"]["observations"]
    few = too_few(days)
    table = Table(
        "Every set, best first",
        f"Money in {summary['currency']}." + (f" No Sharpe ratio: {few}." if few else ""),
        ["set", "net", "gross", "fees", "spread", "funding", "Sharpe per day", "drawdown",
         "round trips"],
        [
            [
                row["variant"],
                *(money(row[k], sign=True) for k in PARTS),
                earned(number(row["sharpe_daily"], 3), days),
                percent(row["maximum_drawdown"]),
                f"{row['round_trips']:,}",
            ]
            for row in rows
        ],
    )  # fmt: skip
    left_out = decode_config(summary.get("left_out", []), list[LeftOut], source="left_out")
    blocks = [table, left_out_table(left_out)] if left_out else [table]
    sections = [Section("Sets", "", blocks)]
    if len(summary["searched"]) == 2:
        sections.insert(0, sensitivity_section(surface(summary)))
    return sections


def surface(summary: Mapping[str, Any]) -> Surface:
    """Net result over the two parameters of a sweep; NaN where a set was not run."""
    (x_key, x_values), (y_key, y_values) = summary["searched"].items()
    values = np.full((len(y_values), len(x_values)), np.nan)
    for row in summary["variants"]:
        parameters = json.loads(row["parameters"])
        values[y_values.index(parameters[y_key]), x_values.index(parameters[x_key])] = float(
            row["net"]
        )
    return Surface(
        x_name=x_key.rpartition(".")[2],
        y_name=y_key.rpartition(".")[2],
        x_values=x_values,
        y_values=y_values,
        values=values,
        outcome="net result",
        unit=summary["currency"],
    )
