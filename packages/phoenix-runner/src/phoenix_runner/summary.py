"""Every figure of one run, from its record.

[summarize][] is the one place where a run's figures are computed; the report, comparisons and the
terminal show what it returns. Money is text with all its digits, ratios are numbers, what is
undefined is None, so the result is ready for JSON.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from phoenix_schemas.timestamps import format_utc

from phoenix_runner.fills import (
    Attribution,
    Fill,
    FundingPayment,
    markouts,
    round_trips,
    trade_statistics,
)
from phoenix_runner.inference import infer
from phoenix_runner.metrics import (
    DAY_NS,
    annual_sharpe,
    annual_volatility,
    daily_returns,
    drawdown,
    exposure,
    monthly_returns,
    turnover_per_day,
)


@dataclass(frozen=True)
class RunRecord:
    """What a run left behind, over its scored range [start_ns, end_ns).

    `ts_ns`, `equity`, `net_notional`, `gross_notional`: one sample per UTC minute, increasing, in
    `currency`, open positions marked. `starting_equity` and `final_equity` are the account's, the
    latter with what is open marked; `attribution` explains their difference. `mids`: per horizon in
    seconds, the mid that long after each fill of `fills`, NaN where unknown; empty when the run saw
    no quotes. `trials` and `trial_variance` as in [infer][].
    """

    start_ns: int
    end_ns: int
    currency: str
    starting_equity: Decimal
    final_equity: Decimal
    ts_ns: ArrayLike
    equity: ArrayLike
    net_notional: ArrayLike
    gross_notional: ArrayLike
    attribution: Attribution
    fills: Sequence[Fill]
    funding: Sequence[FundingPayment] = ()
    mids: Mapping[int, ArrayLike] = field(default_factory=dict)
    trials: int = 1
    trial_variance: float = 0.0


def summarize(record: RunRecord) -> dict[str, Any]:
    """Figures of a run, ready for JSON.

    Keys: `range`, `equity`, `attribution`, `returns`, `drawdown`, `activity`, `trades`, `markouts`,
    `inference`. Raises FillError when gross + fees + spread + funding misses the account's change
    of equity by more than a cent.
    """
    start = float(record.starting_equity)
    ts = np.asarray(record.ts_ns, dtype=np.int64)
    equity = np.asarray(record.equity, dtype=np.float64)
    daily = daily_returns(ts, equity, start_ns=record.start_ns, starting_equity=start)
    parts = record.attribution
    change = record.final_equity - record.starting_equity
    residual = parts.reconcile(change)
    fall = drawdown(ts, equity, start_ns=record.start_ns, starting_equity=start)
    traded = sum((f.quantity * f.price for f in record.fills), Decimal(0))
    days = (record.end_ns - record.start_ns) / DAY_NS
    without_data = days_without_data(record)
    alive = equity[equity > 0]
    mean_equity = float(alive.mean()) if alive.size else start
    trips = round_trips(record.fills, record.funding)
    best, worst = (
        (float(daily.returns.max()), float(daily.returns.min()))
        if daily.returns.size
        else (None, None)
    )
    found = {
        "range": {
            "start_utc": format_utc(record.start_ns),
            "end_utc": format_utc(record.end_ns),
            "days": days,
            "days_without_data": without_data,
        },
        "equity": {
            "currency": record.currency,
            "start": str(record.starting_equity),
            "end": str(record.final_equity),
            "net": str(change),
            "return": float(change / record.starting_equity),
            "wiped_out_utc": format_utc(int(ts[equity <= 0][0])) if np.any(equity <= 0) else None,
        },
        "attribution": {
            "gross": str(parts.gross),
            "fees": str(parts.fees),
            "spread": str(parts.spread),
            "funding": str(parts.funding),
            "net": str(parts.net),
            "rounding_of_account": str(residual),
        },
        "returns": {
            "days": int(daily.returns.size),
            "sharpe_annual": annual_sharpe(daily.returns),
            "volatility_annual": annual_volatility(daily.returns),
            "best_day": best,
            "worst_day": worst,
            "share_of_days_up": float(np.mean(daily.returns > 0)) if daily.returns.size else None,
            "by_month": monthly_returns(daily),
        },
        "drawdown": {
            "maximum": fall.maximum,
            "peak_utc": None if fall.peak_ns is None else format_utc(fall.peak_ns),
            "trough_utc": None if fall.trough_ns is None else format_utc(fall.trough_ns),
            "recovered_utc": None if fall.recovered_ns is None else format_utc(fall.recovered_ns),
            "longest_below_days": fall.longest_below_ns / DAY_NS,
        },
        "activity": {
            "fills": len(record.fills),
            "maker_share": (
                sum(f.maker for f in record.fills) / len(record.fills) if record.fills else None
            ),
            "traded_notional": str(traded),
            "turnover_per_day": turnover_per_day(
                float(traded), mean_equity, (days - without_data) or days
            ),
            **asdict(exposure(equity, record.net_notional, record.gross_notional)),
        },
        "trades": asdict(trade_statistics(trips)),
        "markouts": [
            asdict(m)
            for m in markouts(
                [f.side for f in record.fills], [float(f.price) for f in record.fills], record.mids
            )
        ],
        "inference": asdict(
            infer(daily.returns, trials=record.trials, trial_variance=record.trial_variance)
        ),
    }
    ready: dict[str, Any] = json_ready(found)
    return ready


def days_without_data(record: RunRecord) -> int:
    """UTC days of the range that have no sample: no market data came on them."""
    ts = np.asarray(record.ts_ns, dtype=np.int64)
    sampled = np.unique((ts[ts > record.start_ns] - 1) // DAY_NS).size
    return (record.end_ns - 1) // DAY_NS - record.start_ns // DAY_NS + 1 - int(sampled)


def json_ready(value: Any) -> Any:
    """The same value with infinities and NaN as None, and tuples as lists, at any depth."""
    if isinstance(value, Mapping):
        return {key: json_ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
