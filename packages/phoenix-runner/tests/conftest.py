"""A bundle folder of a run that is simulated here, for everything that reads bundles."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from phoenix_runner.fills import MARKOUT_HORIZONS_S as HORIZONS
from phoenix_runner.fills import Fill, FundingPayment, attribute
from phoenix_runner.fold_results import (
    DroppedFold,
    FoldResult,
    OverfittingResult,
    WalkForwardResult,
)
from phoenix_runner.folds import FoldPlan
from phoenix_runner.inference import probability_of_backtest_overfitting
from phoenix_schemas.timestamps import format_utc

# pytest's importlib mode leaves this folder off the path; helper modules live in it.
sys.path.insert(0, str(Path(__file__).parent))

MINUTE = 60 * 10**9
DAY = 1440 * MINUTE
START = 19_754 * DAY  # 2024-02-01
INSTRUMENT = "BTCUSDT-PERP.BINANCE"
SPEC = {
    "instrument_id": INSTRUMENT, "class": "perp", "maker_fee": "0.0002", "taker_fee": "0.0004",
    "margin_init": "0.20000000", "margin_maint": "0.004", "price_increment": "0.10",
}  # fmt: skip
CONFIG = """\
time: {{warmup: 2h}}
execution:
  fees: {{source: spec}}
  latency: {{insert_ms: 5, update_ms: 0, cancel_ms: 0}}
  fill: {{prob_fill_on_limit: 1.0, prob_slippage: 0.0}}
  trade_execution: true
  liquidity_consumption: false
  queue_position: true
  bar_execution: {bars}
  liquidation: {{enabled: false, trigger_ratio: 1.0}}
funding: {{mode: settle, flat_rate: '0.0001'}}
strategy: {{name: ema_cross, config: {{fast: 10, slow: 20}}}}
"""


def _decimal(value: float, places: int) -> Decimal:
    return Decimal(f"{value:.{places}f}")


def write_bundle(
    folder: Path,
    *,
    start: int = START,
    seed: int = 7,
    days: int = 28,
    simulated: bool = False,
    missing_ns: int = 0,
    trade_every: int = 300,
    drift: float = 0.0,
    quotes: bool = True,
    gaps: tuple[tuple[int, int], ...] = ((9 * 1440, 10 * 1440), (20 * 1440 + 300, 20 * 1440 + 800)),
    refusals: dict[str, int] | None = None,
) -> Path:
    """A random walk that is traded long and short by turns, one instrument; `gaps` in minutes."""
    rng = np.random.default_rng(seed)
    n = days * 1440
    minute = np.arange(1, n + 1)
    side = np.where((minute // trade_every) % 2 == 0, 1, -1) if trade_every else np.zeros(n, int)
    steps = rng.normal(0, 4e-4, n) + drift * np.roll(side, 1)
    mid = 42_000 * np.exp(np.cumsum(steps))
    price = [_decimal(m, 2) for m in mid]
    ts = start + MINUTE * minute
    keep = np.ones(n, bool)
    for a, b in gaps:
        keep[a:b] = False

    fills: list[Fill] = []
    funding: list[FundingPayment] = []
    cash, position = Decimal(10_000), Decimal(0)
    equity = np.empty(n)
    held = np.empty(n)
    for i in range(n):
        wanted = Decimal("0.1") * int(side[i])
        if keep[i] and wanted != position:
            direction = 1 if wanted > position else -1
            maker = bool(rng.random() < 0.3)
            paid = price[i] + Decimal("0.05") * direction * (-1 if maker else 1)
            quantity = abs(wanted - position)
            fee = (quantity * paid * Decimal("0.0002" if maker else "0.0004")).quantize(
                Decimal("1e-8")
            )
            at = int(ts[i]) - 30 * 10**9
            fills.append(Fill(at, INSTRUMENT, direction, quantity, paid, price[i], fee, maker))
            cash -= direction * quantity * paid + fee
            position = wanted
        if minute[i] % 480 == 0 and position:
            amount = -(position * price[i] * Decimal("0.0001")).quantize(Decimal("1e-8"))
            funding.append(FundingPayment(int(ts[i]), INSTRUMENT, amount))
            cash += amount
        equity[i] = float(cash + position * price[i])
        held[i] = float(position)

    fill_ts = np.array([f.ts_ns for f in fills], dtype=np.int64)
    mids = {}
    for horizon in HORIZONS if quotes else ():
        near = np.searchsorted(ts, fill_ts).clip(0, n - 1)
        noise = rng.normal(0, 1e-5 * horizon**0.5, len(fills))
        mids[horizon] = np.where(keep[near], mid[near] * (1 + noise), np.nan)
    parts = attribute(fills, funding, {INSTRUMENT: price[-1]})
    summary: dict[str, Any] = {
        "simulated": simulated,
        "experiment_id": "f00dfeed12345678", "strategy": "ema_cross",
        "instrument_ids": [INSTRUMENT], "venue": "BINANCE", "currency": "USDT",
        "start_utc": format_utc(start), "trading_start_utc": format_utc(start),
        "end_utc": format_utc(start + days * DAY), "bar_fills": None, "starting_equity": "10000",
        "final_equity": str(cash + position * price[-1]), "gross": str(parts.gross),
        "fees": str(parts.fees), "spread": str(parts.spread), "funding": str(parts.funding),
        "net": str(parts.net), "residual": "0", "fills": len(fills),
        "refusals": {} if refusals is None else {"EMA-001": refusals},
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    known = [
        {
            "type": "QuoteTick",
            "instrument_id": INSTRUMENT,
            "start_utc": format_utc(start + a * MINUTE),
            "end_utc": format_utc(start + b * MINUTE),
        }
        for a, b in gaps
    ]
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "manifest_ref.json").write_text(
        json.dumps(
            {
                "catalog_digest": "0123",
                "gaps": known,
                "data_start_ns": start - 7200 * 10**9 + missing_ns,
            }
        )
    )
    (folder / "environment.json").write_text('{\n "python": "3.12.1"\n}\n')
    (folder / "experiment.json").write_text(json.dumps({"instruments": [SPEC]}))
    bars = "null" if quotes else "{spread_bps: 1.0, slippage_bps: 0.5}"
    (folder / "config_resolved.yaml").write_text(CONFIG.format(bars=bars))
    pq.write_table(
        pa.table(
            {"ts_ns": ts[keep], "equity": equity[keep], "net_notional": (held * mid)[keep],
             "gross_notional": np.abs(held * mid)[keep]}
        ),
        folder / "equity.parquet",
    )  # fmt: skip
    pq.write_table(
        pa.table(
            {"ts_ns": ts[keep], "instrument_id": [INSTRUMENT] * int(keep.sum()), "mark": mid[keep],
             "position": held[keep]}
        ),
        folder / "marks.parquet",
    )  # fmt: skip
    with (folder / "fills.csv").open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(
            ["ts_ns", "client_order_id", "instrument_id", "side", "quantity", "price", "reference_price",
             "commission", "liquidity", "mid_1s", "mid_5s", "mid_30s", "mid_60s"]
        )  # fmt: skip
        for i, f in enumerate(fills):
            after = [mids[h][i] if h in mids and np.isfinite(mids[h][i]) else "" for h in HORIZONS]
            writer.writerow(
                [f.ts_ns, f"O-{i}", f.instrument_id, "BUY" if f.side == 1 else "SELL", f.quantity,
                 f.price, f.reference_price, f.commission, "MAKER" if f.maker else "TAKER", *after]
            )  # fmt: skip
    with (folder / "funding.csv").open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["ts_ns", "instrument_id", "amount"])
        writer.writerows([p.ts_ns, p.instrument_id, p.amount] for p in funding)
    return folder


def write_walk_forward(
    folder: Path, *, folds: int = 4, train_days: int = 10, test_days: int = 5, drift: float = 0.0
) -> Path:
    """A walk-forward whose test runs are as above, with choices that wander over a grid."""
    step = test_days * DAY
    plan = FoldPlan(
        start_ns=START, end_ns=START + train_days * DAY + folds * step + DAY,
        train_ns=train_days * DAY, test_ns=step, purge_ns=3600 * 10**9,
    )  # fmt: skip
    schedule = plan.schedule()
    rng = np.random.default_rng(1)
    searched: dict[str, list[Any]] = {
        "fast": [5, 10, 20], "slow": [30, 60], "entry": ["cross", "band"],
    }  # fmt: skip
    found = []
    for fold in schedule.folds:
        name = f"folds/{fold.index:02d}"
        write_bundle(
            folder / name, start=fold.test_start_ns, seed=20 + fold.index, days=test_days,
            refusals={"spread": 2 + fold.index}, drift=drift,
            gaps=((2000, 2600),) if fold.index == 1 else (),
        )  # fmt: skip
        found.append(
            FoldResult(
                index=fold.index, train_start_ns=fold.train_start_ns,
                train_end_ns=fold.train_end_ns, test_start_ns=fold.test_start_ns,
                test_end_ns=fold.test_end_ns,
                chosen={k: v[int(rng.integers(len(v)))] for k, v in searched.items()},
                train_mean_daily=float(rng.normal(2e-3, 5e-4)), train_sharpe_daily=0.2, bundle=name,
            )
        )  # fmt: skip
    pbo = probability_of_backtest_overfitting(rng.normal(0, 0.01, (50, 12)))
    assert schedule.dropped is not None
    WalkForwardResult(
        experiment_id="cafe0000cafe0000", strategy="ema_cross", instrument_ids=[INSTRUMENT],
        currency="USDT", starting_equity="10000", kind="rolling", purge_ns=plan.purge_ns,
        embargo_ns=0, objective="mean daily return",
        selection="every set of the grid was replayed on the training range.",
        searched=searched, sets_evaluated=12, declared_trials=3, trial_variance=0.004, folds=found,
        dropped=DroppedFold(
            test_start_ns=schedule.dropped.test_start_ns, test_end_ns=schedule.dropped.test_end_ns
        ),
        without_data=[DroppedFold(test_start_ns=START, test_end_ns=START + DAY)],
        overfitting=OverfittingResult.of(pbo, source="Replays of all sets over the whole range."),
    ).write(folder)  # fmt: skip
    mode = "mode: {kind: walk_forward, train: 10d}\n"
    (folder / "config_resolved.yaml").write_text(CONFIG.format(bars="null") + mode)
    (folder / "environment.json").write_text('{\n "python": "3.12.1"\n}\n')
    return folder


@pytest.fixture(scope="session")
def make_walk_forward() -> Callable[..., Path]:
    return write_walk_forward


@pytest.fixture(scope="session")
def make_bundle() -> Callable[..., Path]:
    return write_bundle
