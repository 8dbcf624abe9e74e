"""The report of a walk-forward: what was chosen on training data, and what it did out of sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from phoenix_schemas.timestamps import format_utc

from phoenix_runner.fills import markouts
from phoenix_runner.fold_results import (
    WalkForwardResult,
    by_minute,
    chained,
    summarize_walk_forward,
)
from phoenix_runner.left_out import left_out_sentence
from phoenix_runner.metrics import drawdown_curve
from phoenix_runner.report.bundle_files import Gap, RunBundle
from phoenix_runner.report.charts import (
    TimeFrame,
    attribution_chart,
    daily_returns_chart,
    drawdown_chart,
    markout_chart,
    refusals_chart,
)
from phoenix_runner.report.fold_charts import (
    chained_chart,
    overfitting_chart,
    parameter_chart,
    train_test_chart,
)
from phoenix_runner.report.page import Chart, Detail, Page, Section, Table, Tile, Verdict
from phoenix_runner.report.single_run import (
    beyond_display,
    filled_in_gaps,
    inference_table,
    monthly_table,
    run_data_sentences,
    skill_tiles,
    specification_text,
    trading_charts,
    with_warning,
)
from phoenix_runner.report.wording import (
    CANNOT_TELL,
    PARTS_MEAN,
    count,
    date,
    duration,
    earned,
    execution_sentences,
    gap_sentences,
    judge,
    left_out_table,
    market_name,
    money,
    number,
    percent,
    sharpe_sentence,
)


def walk_forward_page(
    result: WalkForwardResult, runs: Sequence[RunBundle], *, config_text: str, environment: str
) -> Page:
    """Everything a walk-forward has to say; the texts are its suite's, not a fold's."""
    tests = [run.record for run in runs]
    summary = summarize_walk_forward(result, tests)
    gaps = sorted({gap for run in runs for gap in run.gaps}, key=lambda g: (g.start_ns, g.what))
    start_ns, end_ns = summary["range"]["start_ns"], summary["range"]["end_ns"]
    frame = TimeFrame(start_ns, end_ns, sorted({(g.start_ns, g.end_ns) for g in gaps}))
    return Page(
        title=f"Walk-forward of {result.strategy} on {', '.join(result.instrument_ids)}",
        subtitle=(
            f"{market_name(simulated=runs[0].simulated)}"
            f"{count(len(result.folds), 'fold')}, tested {date(format_utc(start_ns))} to "
            f"{date(format_utc(end_ns))} UTC (end not included) · experiment {result.experiment_id}"
        ),
        verdict=with_warning(_verdict(result, summary), runs),
        tiles=_tiles(result, summary),
        sections=[
            _curve_section(result, runs, summary, frame),
            _fold_section(result, summary),
            _choice_section(result, summary),
            _trading_section(result, runs, summary, frame),
        ],
        caveats=_caveats(result, runs, gaps),
        details=[
            Detail("Resolved configuration", config_text),
            Detail("Environment", environment),
            Detail("Instrument specifications", specification_text(runs[0].instruments)),
            Detail(
                "Identity",
                f"experiment id   {result.experiment_id}\n"
                f"catalog digest  {runs[0].catalog_digest}\n",
            ),
        ],
    )


def _verdict(result: WalkForwardResult, summary: Mapping[str, Any]) -> Verdict:
    gained = summary["equity"]["return"]
    headline = (
        f"Out of sample it {'made' if gained > 0 else 'lost'} {percent(abs(gained))} over "
        f"{count(summary['range']['days'], 'test day')} in {count(len(result.folds), 'fold')}: "
    )
    if summary["activity"]["fills"] == 0:
        return Verdict("open", "It never traded out of sample: nothing to judge.", [])
    tone, judgement = judge(gained, summary["inference"])
    won = sum((f["test_mean_daily"] or 0) > 0 for f in summary["folds"])
    efficiency = summary["efficiency"]
    kept = (
        "Training itself promised nothing, so the walk-forward efficiency is undefined."
        if efficiency is None
        else f"Training promised {_mean_bps(summary, 'train_mean_daily')} bps a day on average, the "
        f"tests gave {_mean_bps(summary, 'test_mean_daily')} (walk-forward efficiency "
        f"{percent(efficiency, 0)})."
    )
    sentences = [
        f"{won} of {count(len(result.folds), 'fold')} gained in the test.",
        kept,
        sharpe_sentence(summary["inference"], summary["returns"]["sharpe_annual"]),
    ]
    if result.overfitting is not None:
        sentences.append(
            f"Probability of backtest overfitting {percent(result.overfitting.probability, 0)}: "
            "how often the best set of one half of the days is in the worse half on the others; in "
            f"{percent(result.overfitting.probability_of_loss, 1)} of the splits it loses there."
        )
    return Verdict(tone, headline + judgement, sentences)


def _tiles(result: WalkForwardResult, summary: Mapping[str, Any]) -> list[Tile]:
    pbo = result.overfitting
    return [
        Tile("Return", percent(summary["equity"]["return"], sign=True), "out of sample"),
        *skill_tiles(summary),
        Tile("Efficiency", percent(summary["efficiency"], 0), "of training's return kept"),
        Tile(
            "Overfitting (PBO)",
            percent(None if pbo is None else pbo.probability, 0),
            _not_computed(result)
            if pbo is None
            else f"of splits, 50 % is noise; {percent(pbo.probability_of_loss, 1)} lose out of sample",
        ),
        Tile("Largest drawdown", percent(summary["drawdown"]["maximum"]), "minute by minute"),
    ]


def _not_computed(result: WalkForwardResult) -> str:
    why = result.no_overfitting
    return f"not computed: {why}" if why else "not computed"


def _curve_section(
    result: WalkForwardResult,
    runs: Sequence[RunBundle],
    summary: Mapping[str, Any],
    frame: TimeFrame,
) -> Section:
    curve = chained(result, [run.record for run in runs])
    start = float(result.starting_equity)
    tests = [(f.test_start_ns, f.test_end_ns) for f in result.folds]
    times, equity = by_minute(curve, [run.record for run in runs])
    fall = drawdown_curve(equity, starting_equity=start)
    returns, down = summary["returns"], summary["drawdown"]
    return Section(
        "Out of sample",
        "Only days that the choice of parameters had not seen.",
        [
            chained_chart(frame, curve, tests, start, result.currency),
            drawdown_chart(frame, np.append(curve.day_ns[0], times), np.append(0.0, fall)),
            daily_returns_chart(frame, curve.day_ns, curve.returns),
            monthly_table(returns["by_month"]),
            Table(
                "Returns",
                "",
                ["figure", "value"],
                [
                    ["days with a return", f"{returns['days']:,}"],
                    [
                        "volatility, per year",
                        earned(percent(returns["volatility_annual"]), returns["days"]),
                    ],
                    ["best day", percent(returns["best_day"], sign=True)],
                    ["worst day", percent(returns["worst_day"], sign=True)],
                    ["days up", percent(returns["share_of_days_up"], 0)],
                    ["longest time below a peak", duration(down["longest_below_days"] * 86_400)],
                ],
                half=True,
            ),
            inference_table(summary["inference"], half=True),
        ],
    )


def _fold_section(result: WalkForwardResult, summary: Mapping[str, Any]) -> Section:
    rows = []
    day = _day_writer([f.train_start_ns for f in result.folds] + [result.folds[-1].test_end_ns])
    for fold, figures in zip(result.folds, summary["folds"], strict=True):
        mean = figures["test_mean_daily"]
        rows.append(
            [
                str(fold.index),
                percent(figures["return"], sign=True),
                number(None if mean is None else mean * 1e4, 1, sign=True),
                number(fold.train_mean_daily * 1e4, 1, sign=True),
                ", ".join(f"{k} {v}" for k, v in fold.chosen.items()) or "–",
                percent(figures["drawdown"]),
                f"{figures['round_trips']:,}",
                f"{day(fold.test_start_ns)} – {day(fold.test_end_ns)}",
                f"{day(fold.train_start_ns)} – {day(fold.train_end_ns)}",
            ]
        )
    blocks: list[Chart | Table] = [
        Table(
            "Folds",
            "Ranges in UTC, ends not included. Mean daily returns in bps, net of costs.",
            ["fold", "test return", "test bps/day", "train bps/day", "chosen", "drawdown",
              "round trips", "test", "training"],
            rows,
        ),
        train_test_chart(summary["folds"]),
    ]  # fmt: skip
    if result.overfitting is not None:
        pbo = result.overfitting
        blocks.append(overfitting_chart(pbo.relative_rank_counts, pbo.probability))
    return Section(
        "Fold by fold",
        f"{result.kind.capitalize()} training. {result.selection} Objective, after costs and on "
        f"training data only: {_objective(result.objective)}. A fold's own page is drawn by "
        f"phoenix report {result.experiment_id}/{result.folds[0].bundle}.",
        blocks,
    )


def _choice_section(result: WalkForwardResult, summary: Mapping[str, Any]) -> Section:
    stability = [s for s in summary["stability"] if len(result.searched[s["name"]]) > 1]
    blocks: list[Chart | Table] = [
        parameter_chart(s, result.searched[s["name"]]) for s in stability
    ]
    if result.left_out:
        blocks.append(left_out_table(result.left_out))
    blocks.append(
        Table(
            "Parameter stability",
            "A choice that jumps from fold to fold follows noise. Mean step: average change between "
            "folds as a share of the range tried.",
            ["parameter", "tried", "chosen most", "in folds", "changes", "mean step"],
            [
                [
                    s["name"],
                    f"{len(result.searched[s['name']])} values",
                    str(s["modal_value"]),
                    percent(s["modal_share"], 0),
                    str(s["changes"]),
                    percent(s["mean_step"], 0),
                ]
                for s in summary["stability"]
            ],
        )
    )
    return Section("What was chosen", "", blocks)


def _trading_section(
    result: WalkForwardResult,
    runs: Sequence[RunBundle],
    summary: Mapping[str, Any],
    frame: TimeFrame,
) -> Section:
    activity = summary["activity"]
    traded = activity["fills"] > 0
    after = _pooled_markouts(runs)
    refusals: Counter[str] = Counter()
    for run in runs:
        refusals.update(run.refusals)
    return Section(
        "Trading and costs",
        f"Money is added over folds, each from the same "
        f"{money(result.starting_equity, result.currency)}. {PARTS_MEAN}",
        [
            *trading_charts(frame, runs),
            *([attribution_chart(summary["attribution"], result.currency)] if traded else []),
            *([markout_chart(after)] if after else []),
            Table(
                "Activity",
                "",
                ["figure", "value"],
                [
                    ["round trips", f"{summary['trades']['count']:,}"],
                    ["with a gain", percent(summary["trades"]["win_rate"], 0)],
                    ["value traded", money(activity["traded_notional"], result.currency)],
                    ["turnover", f"{number(activity['turnover_per_day'])} × equity a day"],
                    ["time in the market", percent(activity["time_in_market"], 0)],
                ],
                half=True,
            ),
            *([refusals_chart(refusals)] if refusals else []),
        ],
    )


def _pooled_markouts(runs: Sequence[RunBundle]) -> list[dict[str, Any]]:
    """Mark-outs over the fills of all folds; none where no fold saw quotes after a fill."""
    fills = [fill for run in runs for fill in run.record.fills]
    mids = {
        horizon: np.concatenate(
            [
                np.asarray(run.record.mids.get(horizon, [np.nan] * len(run.record.fills)), float)
                for run in runs
            ]
        )
        for horizon in sorted({h for run in runs for h in run.record.mids})
    }
    found = markouts([f.side for f in fills], [float(f.price) for f in fills], mids)
    return [asdict(m) for m in found]


def _caveats(
    result: WalkForwardResult, runs: Sequence[RunBundle], gaps: Sequence[Gap]
) -> list[str]:
    sets = (
        f"{count(result.sets_evaluated, 'parameter set')} evaluated in this suite"
        + (f" and {result.declared_trials:,} earlier trials declared" if result.declared_trials else "")
        + ". Whatever else was tried before and is not declared makes the deflated figures too kind."
    )  # fmt: skip
    separation = (
        f"Training ends {duration(result.purge_ns / 1e9)} before each turn (purge) and the test "
        f"begins {duration(result.embargo_ns / 1e9)} after it (embargo)."
    )
    notes = [sets, separation]
    if result.left_out:
        notes.append(f"{left_out_sentence(result.left_out, result.sets_evaluated)}.")
    if result.dropped is not None:
        notes.append(
            f"The last fold, from {date(format_utc(result.dropped.test_start_ns))}, was dropped: its "
            "test would have ended after the data."
        )
    if result.without_data:
        days = ", ".join(date(format_utc(fold.test_start_ns)) for fold in result.without_data)
        notes.append(
            f"{count(len(result.without_data), 'fold')} could not be run, the data have a gap in the "
            f"training or the test range; tests from {days}."
        )
    if result.overfitting is not None:
        pbo = result.overfitting
        notes.append(
            f"PBO: {pbo.source} {pbo.splits:,} splits of {pbo.days_used} days and {pbo.sets} sets; "
            f"{count(pbo.days_dropped, 'day')} left out to make blocks equal."
        )
    known = [(g.what, format_utc(g.start_ns), format_utc(g.end_ns)) for g in gaps]
    # Each fold's test says what data it had; what several say is said once.
    data = dict.fromkeys(sentence for run in runs for sentence in run_data_sentences(run))
    execution = execution_sentences(runs[0].config, runs[0].instruments)
    return [
        *data, *notes, *execution, CANNOT_TELL, *beyond_display(runs), *gap_sentences(known),
        *filled_in_gaps(runs),
    ]  # fmt: skip


def _objective(name: str) -> str:
    """What training maximizes, in words.

    >>> _objective("net"), _objective("return_over_drawdown")
    ('net result', 'return over drawdown')
    """
    words = {"net": "net result", "sharpe": "Sharpe ratio of daily returns"}
    return words.get(name, name.replace("_", " "))


def _mean_bps(summary: Mapping[str, Any], key: str) -> str:
    values = [f[key] for f in summary["folds"] if f["test_mean_daily"] is not None]
    return number(float(np.mean(values)) * 1e4, 1)


def _day_writer(all_ns: Sequence[int]) -> Callable[[int], str]:
    """Days without the year where one year holds them all; the title has it."""
    days = [date(format_utc(ns)) for ns in all_ns]
    start = 5 if len({d[:4] for d in days}) == 1 else 0
    return lambda ns: date(format_utc(ns))[start:]
