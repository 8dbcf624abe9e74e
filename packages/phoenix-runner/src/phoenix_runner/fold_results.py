"""What a walk-forward leaves behind, and what its folds say together.

The runner keeps one [WalkForwardResult][] as `walk_forward.json` beside the folds' own bundles;
[summarize_walk_forward][] adds them up for the report, the terminal and comparisons. Money of folds
adds up for costs, because every fold starts flat from the same balance; returns compound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from phoenix_runner.errors import RunnerError
from phoenix_runner.inference import ENOUGH_DAYS, Overfitting, infer
from phoenix_runner.left_out import LeftOut
from phoenix_runner.metrics import (
    DAY_NS,
    DailyReturns,
    annual_sharpe,
    annual_volatility,
    daily_returns,
    drawdown,
    monthly_returns,
)
from phoenix_runner.research.out_of_sample import (
    ChainedCurve,
    chain,
    parameter_stability,
    walk_forward_efficiency,
)
from phoenix_runner.summary import RunRecord, json_ready, summarize

FILE = "walk_forward.json"


class FoldResultError(RunnerError):
    """A walk-forward's files do not go together."""


class FoldResult(msgspec.Struct, frozen=True, kw_only=True):
    """One fold: its ranges, what training chose and promised, and where its test run is.

    `train_mean_daily` and `train_sharpe_daily` are of the chosen set over the training range, net
    of costs; `bundle` is the test run's folder, relative to the walk-forward's. `fitted`: settings
    that the chosen set fitted on the training range.
    """

    index: int
    train_start_ns: int
    train_end_ns: int
    test_start_ns: int
    test_end_ns: int
    chosen: dict[str, Any]
    train_mean_daily: float
    train_sharpe_daily: float | None
    bundle: str
    fitted: dict[str, Any] = {}


class DroppedFold(msgspec.Struct, frozen=True, kw_only=True):
    """A fold that was not run: the partial last one, or one without data."""

    test_start_ns: int
    test_end_ns: int


class OverfittingResult(msgspec.Struct, frozen=True, kw_only=True):
    """PBO as found, with the histogram of w in ten equal bins from 0 to 1 and where it came from."""

    probability: float
    probability_of_loss: float
    splits: int
    sets: int
    days_used: int
    days_dropped: int
    relative_rank_counts: list[int]
    source: str

    @classmethod
    def of(cls, found: Overfitting, *, source: str) -> OverfittingResult:
        """From the computed PBO; `source` is a sentence, where the days-by-sets matrix came from."""
        counts, _ = np.histogram(found.relative_ranks, bins=10, range=(0, 1))
        return cls(
            probability=found.probability,
            probability_of_loss=found.probability_of_loss,
            splits=found.splits,
            sets=found.sets,
            days_used=found.days_used,
            days_dropped=found.days_dropped,
            relative_rank_counts=counts.tolist(),
            source=source,
        )


class WalkForwardResult(msgspec.Struct, frozen=True, kw_only=True):
    """`walk_forward.json`.

    `searched`: the values tried for each parameter. `sets_evaluated`: distinct parameter sets over
    the whole suite, not times folds; `declared_trials` are added to it for the deflation.
    `trial_variance`: variance (n - 1) across sets of their Sharpe ratio per day, each over its training
    in all folds. `without_data`: folds whose training or test range lies in a gap of the data; not run.
    `no_overfitting`: why there is no probability of backtest overfitting. `left_out`: combinations that
    the strategy does not allow; not evaluated, no trials.
    `selection`: a sentence, how the best set of a fold was found.
    """

    experiment_id: str
    strategy: str
    instrument_ids: list[str]
    currency: str
    starting_equity: str
    kind: Literal["rolling", "anchored"]
    purge_ns: int
    embargo_ns: int
    objective: str
    selection: str
    searched: dict[str, list[Any]]
    sets_evaluated: int
    declared_trials: int
    trial_variance: float
    folds: list[FoldResult]
    dropped: DroppedFold | None = None
    without_data: list[DroppedFold] = []
    overfitting: OverfittingResult | None = None
    no_overfitting: str = ""
    left_out: list[LeftOut] = []

    @property
    def trials(self) -> int:
        """N of the deflated Sharpe ratio."""
        return self.sets_evaluated + self.declared_trials

    def write(self, folder: Path) -> Path:
        """Write `walk_forward.json`: sorted, indented, one text per value."""
        path = folder / FILE
        text = msgspec.json.format(msgspec.json.encode(self, order="sorted"), indent=2)
        path.write_bytes(text + b"\n")
        return path

    @staticmethod
    def read(folder: Path) -> WalkForwardResult:
        """Read it back; FoldResultError for a file that is no such record."""
        path = folder / FILE
        try:
            return _DECODER.decode(path.read_bytes())
        except FileNotFoundError:
            raise FoldResultError(
                f"walk-forward {folder} must hold {FILE} (was absent); name a finished one"
            ) from None
        except msgspec.DecodeError as error:
            raise FoldResultError(f"{path} must be a walk-forward record ({error})") from None


# Made once: msgspec crashes where two threads do.
_DECODER = msgspec.json.Decoder(WalkForwardResult)


def chained(result: WalkForwardResult, tests: Sequence[RunRecord]) -> ChainedCurve:
    """The out-of-sample curve of the folds' test runs, in order."""
    if len(tests) != len(result.folds):
        raise FoldResultError(
            f"tests must hold one run a fold (was {len(tests)} for {len(result.folds)} folds)"
        )
    days = [
        daily_returns(
            run.ts_ns, run.equity, start_ns=run.start_ns, starting_equity=float(run.starting_equity)
        )
        for run in tests
    ]
    return chain(days, starting_equity=float(result.starting_equity))


def summarize_walk_forward(result: WalkForwardResult, tests: Sequence[RunRecord]) -> dict[str, Any]:
    """Figures of a walk-forward, ready for JSON.

    Keys as of [summarize][phoenix_runner.summary.summarize] where they mean the same (`range`,
    `equity` by compounding, `attribution` and `activity` added over folds, `returns`, `drawdown`
    by the minute, `trades`, `inference`), and `folds`, `efficiency`, `stability`.
    """
    curve = chained(result, tests)
    runs = [summarize(run) for run in tests]
    start = Decimal(result.starting_equity)
    end = float(curve.equity[-1])
    times, equity = by_minute(curve, tests)
    fall = drawdown(times, equity, start_ns=int(curve.day_ns[0]), starting_equity=float(start))
    # A fold without a single day to score promised something that nobody could check.
    means = [
        float(curve.returns[curve.fold == i].mean()) if np.any(curve.fold == i) else None
        for i in range(len(tests))
    ]
    checked = [
        (m, f.train_mean_daily) for m, f in zip(means, result.folds, strict=True) if m is not None
    ]
    parts = {
        k: str(sum((Decimal(r["attribution"][k]) for r in runs), Decimal(0)))
        for k in ("gross", "fees", "spread", "funding", "net")
    }
    closed = sum(r["trades"]["count"] for r in runs)
    wins = sum(r["trades"]["wins"] for r in runs)
    found: dict[str, Any] = {
        "range": {
            "start_ns": result.folds[0].test_start_ns,
            "end_ns": result.folds[-1].test_end_ns,
            "days": int(curve.returns.size),
        },
        "equity": {
            "currency": result.currency,
            "start": result.starting_equity,
            "end": end,
            "return": end / float(start) - 1,
        },
        "attribution": parts,
        "returns": {
            "days": int(curve.returns.size),
            "too_few_days": curve.returns.size < ENOUGH_DAYS,
            "enough_days": ENOUGH_DAYS,
            "sharpe_annual": annual_sharpe(curve.returns),
            "volatility_annual": annual_volatility(curve.returns),
            "best_day": float(curve.returns.max()),
            "worst_day": float(curve.returns.min()),
            "share_of_days_up": float(np.mean(curve.returns > 0)),
            "by_month": monthly_returns(DailyReturns(curve.day_ns, curve.returns)),
        },
        "drawdown": {"maximum": fall.maximum, "longest_below_days": fall.longest_below_ns / DAY_NS},
        "activity": {
            "fills": sum(r["activity"]["fills"] for r in runs),
            "traded_notional": str(
                sum((Decimal(r["activity"]["traded_notional"]) for r in runs), Decimal(0))
            ),
            "turnover_per_day": float(np.mean([r["activity"]["turnover_per_day"] for r in runs])),
            "time_in_market": float(np.mean([r["activity"]["time_in_market"] for r in runs])),
        },
        "trades": {"count": closed, "wins": wins, "win_rate": wins / closed if closed else None},
        "inference": asdict(
            infer(curve.returns, trials=result.trials, trial_variance=result.trial_variance)
        ),
        "efficiency": walk_forward_efficiency([m for m, _ in checked], [t for _, t in checked]),
        "stability": [
            asdict(s)
            for s in parameter_stability([f.chosen for f in result.folds], result.searched)
        ],
        "folds": [
            _fold(fold, run, mean, summary)
            for fold, run, mean, summary in zip(result.folds, tests, means, runs, strict=True)
        ],
    }
    ready: dict[str, Any] = json_ready(found)
    return ready


def by_minute(
    curve: ChainedCurve, tests: Sequence[RunRecord]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The chained curve at every sample of the folds: each begins where the one before ended."""
    times, values = [], []
    for number, run in enumerate(tests):
        before = curve.equity[curve.fold < number]
        scale = before[-1] / float(run.starting_equity) if before.size else 1.0
        times.append(np.asarray(run.ts_ns, dtype=np.int64))
        values.append(np.asarray(run.equity, dtype=np.float64) * scale)
    return np.concatenate(times), np.concatenate(values)


def _fold(
    fold: FoldResult, run: RunRecord, mean: float | None, summary: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "index": fold.index,
        "fitted": fold.fitted,
        "test_mean_daily": mean,
        "train_mean_daily": fold.train_mean_daily,
        "train_sharpe_daily": fold.train_sharpe_daily,
        "return": summary["equity"]["return"],
        "net": summary["equity"]["net"],
        "sharpe_annual": summary["returns"]["sharpe_annual"],
        "drawdown": summary["drawdown"]["maximum"],
        "round_trips": summary["trades"]["count"],
        "fills": len(run.fills),
    }
