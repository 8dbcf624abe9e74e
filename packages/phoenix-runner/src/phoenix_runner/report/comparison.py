"""The report that sets runs side by side: variants of an ablation, strategies of a suite.

Runs and walk-forwards may be mixed; each brings its daily returns (for a walk-forward those out of
sample). The more there are to choose from, the better the best looks by luck alone, so every
deflated figure counts them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from phoenix_schemas.timestamps import format_utc

from phoenix_runner.errors import RunnerError
from phoenix_runner.fold_results import FILE, chained, summarize_walk_forward
from phoenix_runner.inference import ENOUGH_DAYS, InferenceError, infer, moments
from phoenix_runner.metrics import DAY_NS, DailyReturns, daily_returns
from phoenix_runner.report.bundle_files import Gap, read_bundle, read_walk_forward
from phoenix_runner.report.charts import TimeFrame, gross_to_net_chart, legend
from phoenix_runner.report.drawing import DASHES, SERIES, SOFT, draw
from phoenix_runner.report.page import Chart, Detail, Page, Section, Table, Tile, Verdict
from phoenix_runner.report.single_run import run_data_sentences
from phoenix_runner.report.wording import (
    CANNOT_TELL,
    PSR_MEANS,
    count,
    date,
    earned,
    execution_sentences,
    gap_sentences,
    judge,
    market_name,
    money,
    number,
    percent,
    probability,
    too_few,
)
from phoenix_runner.summary import summarize

CURVES = len(SERIES)
"""Most curves in one chart; more cannot be told apart."""


class ComparisonError(RunnerError):
    """Runs cannot be set side by side."""

    exit_code = 2


@dataclass(frozen=True)
class Contender:
    """One run or walk-forward of a comparison, under its label. `sets` is what it tried."""

    label: str
    experiment_id: str
    catalog_digest: str
    start_ns: int
    end_ns: int
    daily: DailyReturns
    summary: Mapping[str, Any]
    sets: int
    gaps: Sequence[Gap]
    simulated: bool
    data: Sequence[str]
    """Caveats about its data but their gaps."""
    config: Mapping[str, Any]
    instruments: Sequence[Mapping[str, Any]]

    @property
    def sharpe_daily(self) -> float | None:
        try:
            return moments(self.daily.returns).sharpe
        except InferenceError:
            return None


def read_contender(label: str, folder: Path) -> Contender:
    """A finished run or walk-forward, for comparing."""
    if (folder / FILE).exists():
        result, runs = read_walk_forward(folder)
        tests = [run.record for run in runs]
        curve = chained(result, tests)
        return Contender(
            label=label,
            experiment_id=result.experiment_id,
            catalog_digest=runs[0].catalog_digest,
            start_ns=result.folds[0].test_start_ns,
            end_ns=result.folds[-1].test_end_ns,
            daily=DailyReturns(curve.day_ns, curve.returns),
            summary=summarize_walk_forward(result, tests),
            sets=result.trials,
            gaps=[gap for run in runs for gap in run.gaps],
            simulated=runs[0].simulated,
            data=[sentence for run in runs for sentence in run_data_sentences(run)],
            config=runs[0].config,
            instruments=runs[0].instruments,
        )
    run = read_bundle(folder)
    record = run.record
    return Contender(
        label=label,
        experiment_id=run.experiment_id,
        catalog_digest=run.catalog_digest,
        start_ns=record.start_ns,
        end_ns=record.end_ns,
        daily=daily_returns(
            record.ts_ns, record.equity, start_ns=record.start_ns,
            starting_equity=float(record.starting_equity),
        ),
        summary=summarize(record),
        sets=1,
        gaps=run.gaps,
        simulated=run.simulated,
        data=run_data_sentences(run),
        config=run.config,
        instruments=run.instruments,
    )  # fmt: skip


def comparison_page(title: str, contenders: Sequence[Contender]) -> Page:
    """Everything side by side; the first contender is the baseline of the differences."""
    if len(contenders) < 2:
        raise ComparisonError(f"contenders must be at least 2 (was {len(contenders)})")
    if len({c.summary["equity"]["currency"] for c in contenders}) > 1:
        raise ComparisonError("contenders must be in one currency; compare them apart")
    trials = sum(c.sets for c in contenders)
    ratios = [s for c in contenders if (s := c.sharpe_daily) is not None]
    variance = float(np.var(ratios, ddof=1)) if len(ratios) > 1 else 0.0
    found = {
        c.label: vars(infer(c.daily.returns, trials=trials, trial_variance=variance))
        for c in contenders
    }
    ranked = sorted(contenders, key=lambda c: -c.summary["equity"]["return"])
    gaps = sorted({g for c in contenders for g in c.gaps}, key=lambda g: (g.start_ns, g.what))
    frame = TimeFrame(
        min(c.start_ns for c in contenders),
        max(c.end_ns for c in contenders),
        sorted({(g.start_ns, g.end_ns) for g in gaps}),
    )
    known = [(g.what, format_utc(g.start_ns), format_utc(g.end_ns)) for g in gaps]
    counted = (
        f"Deflated figures count {count(trials, 'set')} tried in these runs together; runs left out "
        "of this page make them too kind."
    )
    return Page(
        title=title,
        subtitle=(
            f"{market_name(simulated=any(c.simulated for c in contenders))}"
            f"{count(len(contenders), 'run')}, {date(format_utc(frame.start_ns))} to "
            f"{date(format_utc(frame.end_ns))} UTC (end not included)"
        ),
        verdict=_verdict(ranked, found, trials),
        tiles=[
            Tile(c.label, percent(c.summary["equity"]["return"], sign=True), "return, net")
            for c in ranked[:6]
        ],
        sections=[
            Section(
                "Side by side",
                "",
                [
                    _curves(frame, ranked),
                    _results_table(ranked, found),
                    gross_to_net_chart(
                        [(c.label, *_gross_net(c)) for c in ranked],
                        name="run",
                        unit="% of the starting balance",
                    ),
                ],
            ),
            Section(
                "Against the baseline",
                f"Differences of daily returns to {contenders[0].label}, day by day.",
                [_difference_table(contenders)],
            ),
        ],
        caveats=[
            *dict.fromkeys(sentence for c in contenders for sentence in c.data),
            counted,
            *_data_caveat(contenders),
            *_execution_caveats(contenders),
            CANNOT_TELL,
            *gap_sentences(known),
        ],
        details=[
            Detail(
                "Runs",
                "".join(
                    f"{c.label}\n  experiment id   {c.experiment_id}\n"
                    f"  catalog digest  {c.catalog_digest}\n"
                    for c in contenders
                ),
            )
        ],
    )


def _gross_net(contender: Contender) -> tuple[float, float]:
    parts, start = contender.summary["attribution"], float(contender.summary["equity"]["start"])
    return float(parts["gross"]) / start * 100, float(parts["net"]) / start * 100


def _verdict(
    ranked: Sequence[Contender], found: Mapping[str, Mapping[str, Any]], trials: int
) -> Verdict:
    best = ranked[0]
    gained = best.summary["equity"]["return"]
    winners = sum(c.summary["equity"]["return"] > 0 for c in ranked)
    if ranges := _ranges(ranked):
        return Verdict(
            "bad" if winners == 0 else "open",
            "The runs do not cover the same range of time, so their returns rank nothing: "
            + ("none" if winners == 0 else str(winners))
            + f" of {len(ranked)} made money.",
            [ranges],
        )
    if winners == 0:
        return Verdict(
            "bad",
            f"None of {len(ranked)} made money; {best.label} lost least "
            f"({percent(gained, sign=True)}).",
            [_best_sentence(best, found, trials)],
        )
    tone, judgement = judge(gained, found[best.label])
    return Verdict(
        tone,
        f"{best.label} did best ({percent(gained, sign=True)}): {judgement}",
        [
            f"{winners} of {len(ranked)} made money after costs.",
            _best_sentence(best, found, trials),
        ],
    )


def _ranges(contenders: Sequence[Contender]) -> str:
    """Who covers what, where that is not the same for all."""
    if len({(c.start_ns, c.end_ns) for c in contenders}) == 1:
        return ""
    each = (
        f"{c.label} from {date(format_utc(c.start_ns))} to {date(format_utc(c.end_ns))}"
        for c in contenders
    )
    return f"{'; '.join(each)}. Run them over one range to rank them."


def _best_sentence(best: Contender, found: Mapping[str, Mapping[str, Any]], trials: int) -> str:
    inference = found[best.label]
    if inference["undefined"] is not None:
        return f"Its Sharpe ratio is undefined: {inference['undefined']}."
    if few := too_few(inference["observations"]):
        return f"No Sharpe ratio: {few}."
    return (
        f"Were its true Sharpe ratio 0, {probability(inference['probabilistic'])} of samples this "
        f"long would show less (PSR); {probability(inference['deflated'])} against the best that "
        f"{trials:,} worthless sets would show by luck (DSR)."
    )


def _curves(frame: TimeFrame, ranked: Sequence[Contender]) -> Chart:
    shown = ranked[:CURVES]

    def paint(axes: Axes, _: bool) -> None:
        axes.axhline(0, color=SOFT, linewidth=0.9, linestyle=":")
        for i, c in enumerate(shown):
            x, grown = _grown(c)
            axes.plot(x, grown * 100, color=SERIES[i], linestyle=DASHES[i], label=c.label)
        axes.set_ylabel("return since the start (%)")
        frame.apply(axes)
        legend(axes)

    more = f" The best {CURVES} of {len(ranked)}." if len(ranked) > CURVES else ""
    return draw(
        "curves", "Returns since the start",
        "Daily returns compounded, after all costs; lines differ by colour and by dashes."
        + more + frame.note,
        paint, height=340, narrow_height=320,
    )  # fmt: skip


def _grown(contender: Contender) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return since the start by the end of each day (days since 1970), broken where days are absent."""
    days, returns = contender.daily.day_ns / DAY_NS, contender.daily.returns
    grown = np.cumprod(np.concatenate([[1.0], 1 + returns])) - 1
    x = np.concatenate([[contender.start_ns / DAY_NS], days + 1])
    after = np.flatnonzero(np.diff(days) > 1) + 1  # the days that follow absent ones
    # There the line ends, and begins again at the same height.
    x = np.insert(x, np.repeat(after + 1, 2), np.ravel([[d, d] for d in days[after]]))
    heights = np.ravel([[np.nan, g] for g in grown[after]])
    return x, np.insert(grown, np.repeat(after + 1, 2), heights)


def _results_table(ranked: Sequence[Contender], found: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = []
    for c in ranked:
        s, inference = c.summary, found[c.label]
        days = inference["observations"]
        traded = float(s["activity"]["traded_notional"])
        cost = -(float(s["attribution"]["fees"]) + float(s["attribution"]["spread"]))
        rows.append(
            [
                c.label,
                percent(s["equity"]["return"], sign=True),
                money(s["attribution"]["net"], sign=True),
                f"{days:,}",
                earned(number(s["returns"]["sharpe_annual"]), days),
                earned(probability(inference["probabilistic"]), days),
                earned(probability(inference["deflated"]), days),
                percent(s["drawdown"]["maximum"]),
                f"{s['trades']['count']:,}",
                number(s["activity"]["turnover_per_day"]),
                number(cost / traded * 1e4 if traded else None),
            ]
        )
    few = any(too_few(found[c.label]["observations"]) for c in ranked)
    return Table(
        "Results, highest return first",
        (f"No Sharpe ratio on fewer than {ENOUGH_DAYS} daily returns. " if few else "")
        + f"Sharpe per year of 365 days. {PSR_MEANS} Here against 0; DSR: "
        "the same against the best of all sets by luck. Turnover in multiples of equity a day; cost "
        "(fees and spread) in bps of the value traded.",
        [
            "run",
            "return",
            "net",
            "days",
            "Sharpe",
            "PSR",
            "DSR",
            "drawdown",
            "trips",
            "turnover",
            "cost",
        ],
        rows,
    )


def _difference_table(contenders: Sequence[Contender]) -> Table:
    base = contenders[0]
    rows = []
    for c in contenders[1:]:
        _, mine, its = np.intersect1d(c.daily.day_ns, base.daily.day_ns, return_indices=True)
        gap = (c.daily.returns[mine] - base.daily.returns[its]) * 1e4
        error = float(gap.std(ddof=1)) / gap.size**0.5 if gap.size > 1 else None
        mean = float(gap.mean()) if gap.size else None
        beyond = None if mean is None or not error else abs(mean) > 2 * error
        verdict = "–" if beyond is None else earned("yes" if beyond else "no", gap.size)
        rows.append(
            [c.label, f"{gap.size:,}", number(mean, 1, sign=True), number(error, 1), verdict]
        )
    return Table(
        "Mean daily difference",
        "In bps of equity, over the days that both have; the standard error takes days as "
        f"independent. Fewer than {ENOUGH_DAYS} days decide nothing.",
        ["run", "days", "difference", "standard error", "beyond two errors"],
        rows,
    )


def _data_caveat(contenders: Sequence[Contender]) -> list[str]:
    notes = []
    if len({c.catalog_digest for c in contenders}) > 1:
        notes.append("The runs did not see the same catalog, so differences may be the data's.")
    return notes


def _execution_caveats(contenders: Sequence[Contender]) -> list[str]:
    """Assumptions about execution, once for all runs that share them."""
    by_text: dict[tuple[str, ...], list[str]] = {}
    for c in contenders:
        text = execution_sentences(c.config, c.instruments)
        by_text.setdefault(tuple(text), []).append(c.label)
    if len(by_text) == 1:
        return list(next(iter(by_text)))
    return [f"{', '.join(labels)}: {' '.join(text)}" for text, labels in by_text.items()]
