"""The report of one run: verdict, evidence, caveats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from phoenix_schemas.timestamps import NS_PER_MINUTE, format_utc

from phoenix_runner.config import duration_ns
from phoenix_runner.feeds import GAP_NS
from phoenix_runner.metrics import DAY_NS, daily_returns, drawdown_curve
from phoenix_runner.report.bundle_files import DATA_NAMES, RunBundle
from phoenix_runner.report.charts import (
    TimeFrame,
    attribution_chart,
    daily_returns_chart,
    drawdown_chart,
    equity_chart,
    exposure_chart,
    markout_chart,
    refusals_chart,
    trades_chart,
    turnover_chart,
)
from phoenix_runner.report.page import Chart, Detail, Page, Section, Table, Tile, Verdict
from phoenix_runner.report.wording import (
    CANNOT_TELL,
    PARTS_MEAN,
    PSR_MEANS,
    beyond_display_sentence,
    data_sentences,
    date,
    duration,
    earned,
    execution_sentences,
    filled_in_gaps_sentence,
    gap_sentences,
    market_name,
    money,
    number,
    percent,
    probability,
    run_verdict,
    sharpe_caption,
    too_few,
)
from phoenix_runner.summary import RunRecord, days_without_data, summarize

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def single_run_page(run: RunBundle) -> Page:
    """Everything the bundle of one run has to say."""
    results = summarize(run.record)
    frame = frame_of(run)
    return Page(
        title=f"{run.strategy} on {', '.join(run.instrument_ids)}",
        subtitle=(
            f"{market_name(simulated=run.simulated)}"
            f"{date(results['range']['start_utc'])} to {date(results['range']['end_utc'])} UTC "
            f"(end not included) · experiment {run.experiment_id}"
        ),
        verdict=with_warning(run_verdict(results, run.refusals), [run]),
        tiles=tiles(results),
        sections=[
            _equity_section(run, results, frame),
            _trading_section(run, results, frame),
            *(_judging_sections(results) if run.record.fills else []),
        ],
        caveats=run_caveats(run),
        details=details(run),
    )


def with_warning(verdict: Verdict, runs: Sequence[RunBundle]) -> Verdict:
    """The verdict, with a warning first where too much filled beyond the displayed size."""
    warnings = [s for s in beyond_display(runs) if s.startswith("Warning")]
    return replace(verdict, sentences=[*warnings, *verdict.sentences])


def frame_of(run: RunBundle) -> TimeFrame:
    return TimeFrame(
        run.record.start_ns,
        run.record.end_ns,
        sorted({(g.start_ns, g.end_ns) for g in run.gaps}),
    )


def tiles(summary: Mapping[str, Any]) -> list[Tile]:
    equity = summary["equity"]
    return [
        Tile(
            f"Net result ({equity['currency']})", money(equity["net"], sign=True), "after all costs"
        ),
        Tile("Return", percent(equity["return"], sign=True), "on the starting balance"),
        *skill_tiles(summary),
        Tile("Largest drawdown", percent(summary["drawdown"]["maximum"]), "below a peak"),
        Tile(
            "Round trips",
            f"{summary['trades']['count']:,}",
            f"{percent(summary['trades']['win_rate'], 0)} with a gain",
        ),
    ]


def skill_tiles(summary: Mapping[str, Any]) -> list[Tile]:
    """The Sharpe ratio and what is left of it after so many trials, on days enough to say."""
    inference = summary["inference"]
    days = inference["observations"]
    trials = inference["trials"]
    benchmark = "0" if trials == 1 else f"the best of {trials:,} by luck (DSR)"
    return [
        Tile(
            "Sharpe ratio",
            earned(number(summary["returns"]["sharpe_annual"]), days),
            sharpe_caption(inference),
        ),
        Tile(
            f"PSR against {benchmark}",
            earned(probability(inference["deflated"]), days),
            too_few(days) or "one-sided confidence, not the chance of skill",
        ),
    ]


def inference_table(inference: Mapping[str, Any], *, half: bool = False) -> Table:
    """PSR, DSR, MinTRL with the number of trials."""
    length, days = inference["minimum_track_record"], inference["observations"]
    never = "never at this ratio" if inference["undefined"] is None else "–"
    caption = (
        f"Per day, not per year. {PSR_MEANS} DSR: the same against the best ratio that so many "
        "worthless sets would show by luck."
    )
    if inference["undefined"] is not None:
        caption = f"Undefined: {inference['undefined']}."
    elif few := too_few(days):
        caption = f"Too few to say: {few}."
    figures = [
        ("Sharpe ratio per day", number(inference["sharpe"], 4)),
        ("skewness", number(inference["skewness"])),
        ("kurtosis (a normal has 3)", number(inference["kurtosis"])),
        ("PSR against 0", probability(inference["probabilistic"], 1)),
        *(
            []
            if inference["trials"] == 1
            else [
                (
                    "best ratio by luck of that many, per day",
                    number(inference["expected_maximum"], 4),
                )
            ]
        ),
        *(
            []
            if inference["trials"] == 1
            else [("PSR against that (DSR)", probability(inference["deflated"], 1))]
        ),
        (
            f"days needed to show a ratio above 0 at {percent(inference['confidence'], 0)}",
            never if length is None else f"{number(length, 0)} days",
        ),
    ]
    return Table(
        "Inference on daily returns",
        caption,
        ["figure", "value"],
        [
            ["daily returns", f"{days:,}"],
            ["trials (parameter sets evaluated)", f"{inference['trials']:,}"],
            *([label, earned(value, days)] for label, value in figures),
        ],
        half=half,
    )  # fmt: skip


def run_caveats(run: RunBundle) -> list[str]:
    gaps = [(g.what, format_utc(g.start_ns), format_utc(g.end_ns)) for g in run.gaps]
    return [
        *run_data_sentences(run),
        *execution_sentences(run.config, run.instruments),
        CANNOT_TELL,
        *beyond_display([run]),
        *gap_sentences(gaps),
        *filled_in_gaps([run]),
    ]


def run_data_sentences(run: RunBundle) -> list[str]:
    """Caveats about a run's data but their gaps. A minute of missing warm-up is none."""
    warmup_ns = duration_ns(run.config["time"]["warmup"])
    first_ns = run.record.end_ns if run.data_start_ns is None else run.data_start_ns
    late_ns = first_ns - (run.record.start_ns - warmup_ns)
    return data_sentences(
        simulated=run.simulated,
        days_without_data=days_without_data(run.record),
        warmup_ns=warmup_ns,
        warmed_ns=warmup_ns if late_ns <= NS_PER_MINUTE else max(warmup_ns - late_ns, 0),
    )


def beyond_display(runs: Sequence[RunBundle]) -> list[str]:
    """What runs took beyond the displayed size, in a sentence; nothing where that is not known."""
    known = [(r.beyond_display, r.record.fills) for r in runs if r.beyond_display is not None]
    traded = sum(float(f.price * f.quantity) for _, fills in known for f in fills)
    if not traded:
        return []
    return [beyond_display_sentence(sum(beyond for beyond, _ in known), traded)]


def filled_in_gaps(runs: Sequence[RunBundle]) -> list[str]:
    """How many orders took liquidity where no quote was young enough (the close at the end of a range
    that ends in a gap), in a sentence; nothing where none did."""
    late = sum(
        any(
            g.what == f"{DATA_NAMES['QuoteTick']} of {fill.instrument_id}"
            and g.start_ns + GAP_NS["QuoteTick"] < fill.ts_ns <= g.end_ns
            for g in run.gaps
        )
        for run in runs
        for fill in run.record.fills
        if not fill.maker
    )
    return [filled_in_gaps_sentence(late)] if late else []


def details(run: RunBundle) -> list[Detail]:
    return [
        Detail("Resolved configuration", run.config_text),
        Detail("Environment", run.environment),
        Detail("Instrument specifications", specification_text(run.instruments)),
        Detail(
            "Identity",
            f"experiment id   {run.experiment_id}\ncatalog digest  {run.catalog_digest}\n",
        ),
    ]


def specification_text(instruments: Sequence[Mapping[str, Any]]) -> str:
    """The specifications that a run used, leverage applied: one line for each.

    >>> print(specification_text([{"instrument_id": "X", "margin_maint": "0.004"}]), end="")
    X: margin_maint 0.004
    """
    return "".join(
        f"{spec['instrument_id']}: "
        + ", ".join(f"{key} {value}" for key, value in spec.items() if key != "instrument_id")
        + "\n"
        for spec in instruments
    )


def monthly_table(by_month: Mapping[str, float]) -> Table:
    """Years down and months across; within one year, months down."""
    years = sorted({m[:4] for m in by_month})
    if len(years) <= 1:
        return Table(
            "Returns by month",
            "Daily returns compounded.",
            ["month", "return"],
            [[month, percent(r, sign=True)] for month, r in sorted(by_month.items())],
        )
    rows = []
    for year in years:
        cells = [by_month.get(f"{year}-{m:02d}") for m in range(1, 13)]
        total = float(np.prod([1 + c for c in cells if c is not None]) - 1)
        rows.append(
            [
                year,
                *("" if c is None else percent(c, 1, sign=True) for c in cells),
                percent(total, 1, sign=True),
            ]
        )
    return Table(
        "Returns by month",
        "Daily returns compounded; an empty month has no data in the run.",
        ["year", *MONTHS, "year total"],
        rows,
    )


def _equity_section(run: RunBundle, summary: Mapping[str, Any], frame: TimeFrame) -> Section:
    ts, equity = np.asarray(run.record.ts_ns), np.asarray(run.record.equity)
    start = float(run.record.starting_equity)
    curve = equity_chart(frame, {run.strategy: (ts, equity)}, start, run.record.currency)
    if not run.record.fills:
        return Section("Equity and returns", "Nothing was traded, so equity did not move.", [curve])
    daily = daily_returns(ts, equity, start_ns=frame.start_ns, starting_equity=start)
    fall = drawdown_curve(equity, starting_equity=start)
    returns, down = summary["returns"], summary["drawdown"]
    recovered = "not recovered" if down["recovered_utc"] is None else date(down["recovered_utc"])
    return Section(
        "Equity and returns",
        "",
        [
            curve,
            drawdown_chart(frame, ts, fall),
            daily_returns_chart(frame, daily.day_ns, daily.returns),
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
                ],
                half=True,
            ),
            Table(
                "Largest drawdown",
                "",
                ["figure", "value"],
                [
                    ["depth", percent(down["maximum"])],
                    ["peak", "–" if down["peak_utc"] is None else date(down["peak_utc"])],
                    ["trough", "–" if down["trough_utc"] is None else date(down["trough_utc"])],
                    ["recovered", "–" if down["peak_utc"] is None else recovered],
                    ["longest time below a peak", duration(down["longest_below_days"] * 86_400)],
                ],
                half=True,
            ),
        ],
    )


def trading_charts(frame: TimeFrame, runs: Sequence[RunBundle]) -> list[Chart]:
    """Trades on each instrument's price, exposure and turnover, of runs one after the other."""
    records = [run.record for run in runs]
    fills = [fill for record in records for fill in record.fills]
    charts = []
    for instrument in runs[0].marks:
        own = [run.marks[instrument] for run in runs]
        ts_ns = np.concatenate([series.ts_ns for series in own])
        mark = np.concatenate([series.mark for series in own])
        charts.append(trades_chart(frame, instrument, ts_ns, mark, fills))
    if not fills:
        return charts
    equity = np.concatenate([np.asarray(record.equity) for record in records])
    net = np.concatenate([np.asarray(record.net_notional) for record in records])
    ts_ns = np.concatenate([np.asarray(record.ts_ns) for record in records])
    charts.append(exposure_chart(frame, ts_ns, net / np.where(equity > 0, equity, np.nan)))
    days, turnover = zip(*map(_daily_turnover, records), strict=True)
    charts.append(turnover_chart(frame, np.concatenate(days), np.concatenate(turnover)))
    return charts


def _trading_section(run: RunBundle, summary: Mapping[str, Any], frame: TimeFrame) -> Section:
    record = run.record
    blocks: list[Chart | Table] = [*trading_charts(frame, [run])]
    refused = [refusals_chart(run.refusals)] if run.refusals else []
    if not record.fills:
        return Section("Trading", "There are no fills.", [*blocks, *refused])
    trades, activity = summary["trades"], summary["activity"]
    currency = summary["equity"]["currency"]
    factor = trades["profit_factor"]
    blocks.append(
        Table(
            "Round trips (flat to flat, net of costs)",
            "",
            ["figure", "value"],
            [
                ["closed", f"{trades['count']:,}"],
                ["of them long", f"{trades['long_count']:,}"],
                ["still open at the end", f"{trades['still_open']:,}"],
                ["with a gain", percent(trades["win_rate"], 0)],
                ["mean result", money(trades["mean_net"], currency, sign=True)],
                ["mean gain", money(trades["mean_win"], currency, sign=True)],
                ["mean loss", money(trades["mean_loss"], currency, sign=True)],
                ["gains / losses (profit factor)", number(factor)],
                ["best", money(trades["best"], currency, sign=True)],
                ["worst", money(trades["worst"], currency, sign=True)],
                ["median time held", duration(trades["median_holding_s"])],
                ["longest time held", duration(trades["longest_holding_s"])],
            ],
            half=True,
        )
    )
    blocks.append(
        Table(
            "Activity",
            "",
            ["figure", "value"],
            [
                ["fills", f"{activity['fills']:,}"],
                ["fills as maker", percent(activity["maker_share"], 0)],
                ["value traded", money(activity["traded_notional"], currency)],
                ["turnover", f"{number(activity['turnover_per_day'])} × equity a day"],
                ["time in the market", percent(activity["time_in_market"], 0)],
                ["mean leverage", f"{number(activity['mean_leverage'])} ×"],
                ["largest leverage", f"{number(activity['max_leverage'])} ×"],
            ],
            half=True,
        )
    )
    return Section("Trading", "", [*blocks, *refused])


def _judging_sections(summary: Mapping[str, Any]) -> list[Section]:
    """What trading cost and what it proves; without a fill there is neither."""
    return [
        _cost_section(summary),
        Section(
            "How sure can one be",
            "A Sharpe ratio is an estimate with an error; these figures say how large.",
            [inference_table(summary["inference"])],
        ),
    ]


def _cost_section(summary: Mapping[str, Any]) -> Section:
    parts, currency = summary["attribution"], summary["equity"]["currency"]
    blocks: list[Chart | Table] = [attribution_chart(parts, currency)]
    lead = ""
    if summary["markouts"]:
        blocks.append(markout_chart(summary["markouts"]))
    elif summary["activity"]["fills"]:
        lead = "There are no mark-outs: the market was not seen within a minute after any fill."
    traded = float(summary["activity"]["traded_notional"])
    blocks.append(
        Table(
            "Attribution",
            f"{PARTS_MEAN} In bps of the value traded.",
            ["part", currency, "bps"],
            [
                [
                    name,
                    money(parts[name], sign=True),
                    number(float(parts[name]) / traded * 1e4 if traded else None, sign=True),
                ]
                for name in ("gross", "fees", "spread", "funding", "net")
            ],
            half=not summary["markouts"],
        )
    )
    return Section("Costs", lead, blocks)


def _daily_turnover(record: RunRecord) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Traded value of each UTC day with samples, over the day's mean equity."""
    equity = np.asarray(record.equity, dtype=np.float64)
    days, inverse = np.unique(
        (np.asarray(record.ts_ns, dtype=np.int64) - 1) // DAY_NS, return_inverse=True
    )
    if days.size == 0:
        return days, np.zeros(0)
    mean = np.bincount(inverse, equity) / np.bincount(inverse)
    at = np.array([f.ts_ns // DAY_NS for f in record.fills], dtype=np.int64)
    value = np.array([float(f.price * f.quantity) for f in record.fills])
    index = np.searchsorted(days, at).clip(0, days.size - 1)
    traded = np.bincount(index, value, days.size)
    return days * DAY_NS, traded / np.where(mean > 0, mean, np.nan)
