"""Sweep, ablation and cost study: one suite in several variants over its whole range, one table.

A sweep tries parameter sets, an ablation named variants (the suite itself first, as the baseline), a
cost study other fees, latencies and slippage, one assumption at a time. All are runs of the same data,
so the best of them flatters: the summary carries the Sharpe ratio deflated for their number.
"""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from phoenix_runner.bundle import (
    BundleFiles,
    BundleWriter,
    experiment_id,
    is_finished,
    read_json,
)
from phoenix_runner.catalog_manifest import catalog_digest, require_as_ingested
from phoenix_runner.config import AblationMode, CostsMode, SweepMode
from phoenix_runner.environment import describe_environment
from phoenix_runner.errors import SuiteError
from phoenix_runner.experiment import (
    Published,
    config_text,
    describe_experiment,
    now_utc,
    timing,
)
from phoenix_runner.inference import InferenceError, infer, moments
from phoenix_runner.left_out import LeftOut
from phoenix_runner.search import (
    ParameterSet,
    allowed_sets,
    describe,
    refuse_equal,
    with_parameters,
)
from phoenix_runner.suite import Suite
from phoenix_runner.summary import json_ready
from phoenix_runner.task_queue import TaskProgress, TaskStore, run_tasks
from phoenix_runner.tasks import DAILY, Files, Task

BASELINE = "as written"
VARIANT_COLUMNS = (
    "variant", "parameters", "net", "gross", "fees", "spread", "funding", "traded_notional",
    "sharpe_daily", "maximum_drawdown", "orders", "fills", "round_trips", "experiment_id",
)  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """A name and what differs from the suite as written."""

    label: str
    parameters: ParameterSet


def variants_of(suite: Suite) -> tuple[list[Variant], list[LeftOut]]:
    """The variants a suite's mode asks for, in order, and sets of a sweep that are left out."""
    mode = suite.config.mode
    if isinstance(mode, SweepMode):
        if mode.search.screen is not None:
            raise SuiteError(
                "mode.search.screen must go with mode: walk_forward; a sweep replays all"
            )
        sets, left_out = allowed_sets(suite, mode.search)
        return [Variant(describe(s), s) for s in sets], left_out
    if isinstance(mode, AblationMode):
        if BASELINE in mode.variants:
            raise SuiteError(f"mode.variants must not name a variant {BASELINE!r}: it is the suite")
        named: list[tuple[str, ParameterSet]] = [
            (BASELINE, {}),
            *((name, dict(own)) for name, own in mode.variants.items()),
        ]
        section = suite.config.time
        refuse_equal(
            (
                name,
                with_parameters(suite, own, start_utc=section.start_utc, end_utc=section.end_utc),
            )
            for name, own in named
        )
        return [Variant(name, parameters) for name, parameters in named], []
    assert isinstance(mode, CostsMode)
    return [Variant(BASELINE, {}), *_cost_variants(suite, mode)], []


def _cost_variants(suite: Suite, mode: CostsMode) -> list[Variant]:
    found = [
        Variant(f"fees {tier}", {"execution.fees": {"source": "tier", "tier": tier}})
        for tier in mode.fee_tiers
    ]
    free = {"source": "rates", "maker": "0", "taker": "0"}
    found.append(Variant("no fees", {"execution.fees": free}))
    bars = suite.config.execution.bar_execution
    _refuse_unused(mode, quotes=bars is None)
    if bars is None:
        found += [
            Variant(f"latency {ms} ms", {"execution.latency.insert_ms": ms})
            for ms in mode.insert_latencies_ms
        ]
        found += [
            Variant(f"slippage of a tick, {share:.0%}", {"execution.fill.prob_slippage": share})
            for share in mode.prob_slippages
        ]
    else:
        found += [
            Variant(f"spread {bps:g} bps", {"execution.bar_execution.spread_bps": bps})
            for bps in mode.spreads_bps
        ]
        found += [
            Variant(f"slippage {bps:g} bps", {"execution.bar_execution.slippage_bps": bps})
            for bps in mode.slippages_bps
        ]
    return found


OF_QUOTES = ("insert_latencies_ms", "prob_slippages")
OF_BARS = ("spreads_bps", "slippages_bps")


def _refuse_unused(mode: CostsMode, *, quotes: bool) -> None:
    """Assumptions that this market does not have would only look as if they had been tried."""
    used, unused = (OF_QUOTES, OF_BARS) if quotes else (OF_BARS, OF_QUOTES)
    for key in unused:
        if (value := getattr(mode, key)) != getattr(CostsMode(), key):
            raise SuiteError(
                f"mode.{key} must go with a suite {'without' if quotes else 'of'} quotes (was "
                f"{list(value)}); this one varies mode.{used[0]} and mode.{used[1]}"
            )


def run_variants(
    suite: Suite,
    executor: Executor,
    *,
    overwrite: bool = False,
    progress: TaskProgress | None = None,
) -> Published:
    """Run every variant and publish the table, or return the finished one."""
    digest = catalog_digest(suite)
    experiment = describe_experiment(suite, digest)
    identity = experiment_id(experiment)
    output = suite.config.output
    folder = Path(output.dir) / identity
    if is_finished(folder) and not (overwrite or output.overwrite):
        return Published(folder, read_json(folder, "summary.json"), reused=True)
    started, began = now_utc(), time.perf_counter()
    section = suite.config.time
    variants, left_out = variants_of(suite)
    require_as_ingested(suite)
    whole = isinstance(suite.config.mode, AblationMode)
    tasks = [
        Task(
            variant.label,
            with_parameters(
                suite, variant.parameters, start_utc=section.start_utc, end_utc=section.end_utc
            ),
            digest,
            whole,
        )
        for variant in variants
    ]
    store = TaskStore(Path(output.dir), fresh=overwrite)
    found = run_tasks(tasks, executor, store, progress=progress)
    rows = [_row(variant, files) for variant, files in zip(variants, found, strict=True)]
    with BundleWriter(folder) as bundle:
        files = BundleFiles()
        files.json("experiment.json", experiment)
        files.text("config_resolved.yaml", config_text(suite))
        files.json("environment.json", describe_environment())
        files.csv("variants.csv", VARIANT_COLUMNS, rows)
        files.json("summary.json", _summary(suite, identity, rows, found, left_out))
        seconds = time.perf_counter() - began
        events = sum(json.loads(f["summary.json"])["events"] for f in found)
        files.json("timing.json", timing(started, output.suite_name, seconds, events))
        bundle.write(files.content)
        if whole:
            for number, (variant, own) in enumerate(zip(variants, found, strict=True)):
                bundle.write(own, into=variant_folder(number, variant.label))
        from phoenix_runner.variant_report import draw_variants

        draw_variants(bundle.folder)
        bundle.publish()
    store.forget(tasks)
    return Published(folder, read_json(folder, "summary.json"), reused=False)


def variant_folder(number: int, label: str) -> str:
    """Where a variant's bundle lies in its suite's.

    >>> variant_folder(3, "no depth, A/B")
    'variants/03-no-depth-a-b'
    """
    return f"variants/{number:02d}-{re.sub(r'[^a-z0-9]+', '-', label.lower()).strip('-')}"


def _row(variant: Variant, files: Files) -> dict[str, Any]:
    s = json.loads(files["summary.json"])
    return {
        "variant": variant.label,
        "parameters": json.dumps(variant.parameters, sort_keys=True),
        **{k: s[k] for k in ("net", "gross", "fees", "spread", "funding")},
        "traded_notional": s["figures"]["activity"]["traded_notional"],
        "sharpe_daily": _sharpe(files),
        "maximum_drawdown": s["figures"]["drawdown"]["maximum"],
        "orders": s["orders"],
        "fills": s["fills"],
        "round_trips": s["figures"]["trades"]["count"],
        "experiment_id": s["experiment_id"],
    }


def _sharpe(files: Files) -> float | None:
    try:
        return moments(json.loads(files[DAILY])["returns"]).sharpe
    except InferenceError:
        return None


def _summary(
    suite: Suite,
    identity: str,
    rows: list[dict[str, Any]],
    found: list[Files],
    left_out: list[LeftOut],
) -> dict[str, Any]:
    """`summary.json`: the table, the best row, and how far its Sharpe ratio may be luck."""
    first = json.loads(found[0]["summary.json"])
    ratios = np.array([row["sharpe_daily"] or 0.0 for row in rows])
    # The best of a sweep or an ablation, chosen with hindsight; no cost assumption is a choice.
    costs = isinstance(suite.config.mode, CostsMode)
    best = 0 if costs else max(range(len(rows)), key=lambda i: float(rows[i]["net"]))
    best_summary = json.loads(found[best]["summary.json"])
    inference = infer(
        json.loads(found[best][DAILY])["returns"],
        trials=1 if costs else len(rows),
        trial_variance=0.0 if costs or len(rows) < 2 else float(ratios.var(ddof=1)),
    )
    mode = suite.config.mode
    return {
        "experiment_id": identity,
        "mode": mode.__struct_config__.tag,
        "strategy": suite.config.strategy.name,
        **{k: first[k] for k in ("instrument_ids", "simulated", "venue", "currency", "trading_start_utc",
                                 "end_utc", "bar_fills", "starting_equity", "gaps")},
        "searched": dict(mode.search.parameters) if isinstance(mode, SweepMode) else {},
        "left_out": msgspec.to_builtins(left_out),
        "variants": rows,
        "best": rows[best]["variant"],
        **{k: best_summary[k] for k in ("net", "gross", "fees", "spread", "funding",
                                        "final_equity", "orders", "fills", "positions")},
        "events": sum(json.loads(f["summary.json"])["events"] for f in found),
        "figures": best_summary["figures"],
        "inference_of_best": json_ready(asdict(inference)),
    }  # fmt: skip
