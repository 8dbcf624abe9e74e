"""TWAP with alpha decay against a plain TWAP, through the engine, where the alpha is known.

Each market is 420 s of quotes, four a second: a random walk of `SIGMA` bps per square-root second, and
a drift that adds up to `ALPHA * theta` bps and halves every `HALF_LIFE` seconds. Theta, uniform in
(-1, 1), is what the signal says at second 0; the drift follows `truth * theta + (1 - truth) * noise`,
so at truth 1 the signal is right and at 0 it knows nothing. One parent buys 6 BTC over 300 s, every
15 s: half of the signals speak against it. Spread and sizes are the book's: each slice takes what is
displayed at the ask and the rest a tick worse. The two schedules see the same quotes, seed by seed.

Two questions, in bps of the whole parent, positive where the adaptive schedule is better:

- *must complete*: what the parent cost against the arrival mid, a rest that was abandoned bought at
  the ask of the horizon;
- *may abandon*: mid of the horizon against price paid, where a rest that was abandoned makes nothing.

A few seeds run with every build. The table of the book is made by `nox -s studies`, or

    PHOENIX_STUDY_SEEDS=200 pytest -s tests-integration/test_twap_study.py
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nautilus_trader.backtest import BacktestEngine, BacktestEngineConfig
from nautilus_trader.common import LoggerConfig
from nautilus_trader.execution import MakerTakerFeeModel
from nautilus_trader.model import (
    AccountType,
    CryptoPerpetual,
    Currency,
    InstrumentId,
    Money,
    OmsType,
    Price,
    Quantity,
    QuoteTick,
    Symbol,
    Venue,
)
from phoenix_strategies.intents import BUY, Market
from phoenix_strategies.nautilus_seam import PhoenixStrategy, SeamConfig
from phoenix_strategies.run_control import RunControl
from phoenix_strategies.settings import StrategySettings
from phoenix_strategies.twap_algorithm import ALGORITHM_ID, TwapAlgorithm, TwapReport, theta_signal

INSTRUMENT = InstrumentId.from_str("BTCUSDT-PERP.BINANCE")
START = 1_700_000_040 * 10**9
SECOND = 10**9
HORIZON, INTERVAL = 300, 15
SIGMA, HALF_LIFE = 0.7, 60.0
QUANTITY = Decimal(6)
LINES = [(0.0, 1.0), (5.0, 1.0), (20.0, 1.0), (20.0, 0.5), (20.0, 0.0)]
SEEDS = int(os.environ.get("PHOENIX_STUDY_SEEDS", "12"))
BOOK = Path(__file__).parents[1] / "docs" / "twap.md"


class Buyer(PhoenixStrategy[StrategySettings]):
    """Says its theta and sends one parent, at the first quote."""

    theta: float | None
    params: dict[str, str]

    def begin(self) -> None:
        self.sent = False
        self.subscribe_quotes(self.instrument_id)

    def on_quote(self, quote: QuoteTick) -> None:
        if self.sent:
            return
        self.sent = True
        if self.theta is not None:
            self.publish_signal(
                theta_signal(self.instrument_id), repr(self.theta), self.clock.timestamp_ns()
            )
        self.submit(
            Market(BUY, QUANTITY, "entry", algorithm=ALGORITHM_ID, algorithm_params=self.params)
        )


def market(seed: int, alpha_bps: float, truth: float) -> tuple[float, list[QuoteTick]]:
    """The signal and the quotes."""
    rng = np.random.default_rng(seed)
    theta, noise = rng.uniform(-1, 1, 2)
    steps = 4 * (HORIZON + 2)
    walk = np.concatenate([[0.0], np.cumsum(rng.normal(0.0, SIGMA / 2, steps))])
    decayed = 1.0 - 2.0 ** (-np.arange(steps + 1) / 4 / HALF_LIFE)
    bps = walk + alpha_bps * (truth * theta + (1 - truth) * noise) * decayed
    ticks = np.round(100_000 * (1 + bps / 10_000)).astype(int)  # of 0.10: a mid near 10,000
    sizes = rng.integers(50, 1_000, (steps + 1, 2))
    quotes = []
    for i, (tick, (bid, ask)) in enumerate(zip(ticks.tolist(), sizes.tolist(), strict=True)):
        ts = START + i * SECOND // 4
        price = [Price.from_decimal_dp(Decimal(t) / 10, 2) for t in (tick - 1, tick + 1)]
        size = [Quantity.from_decimal_dp(Decimal(s) / 1_000, 3) for s in (bid, ask)]
        quotes.append(QuoteTick(INSTRUMENT, *price, *size, ts, ts))
    return float(theta), quotes


def work(theta: float | None, quotes: list[QuoteTick]) -> tuple[float, float]:
    """Cost of the parent if it must be completed, and profit if it need not be, in bps."""
    reports: list[TwapReport] = []
    control = RunControl(records=lambda _s, _i, record: reports.append(record))
    settings = StrategySettings(close_positions_on_stop=False)
    buyer = Buyer(SeamConfig("BUYER-001", str(INSTRUMENT), settings, control))
    buyer.theta = theta
    buyer.params = {"horizon_secs": str(HORIZON), "interval_secs": str(INTERVAL)}
    if theta is not None:
        buyer.params["half_life_secs"] = str(HALF_LIFE)
    engine = _engine()
    engine.add_strategy(buyer)
    engine.add_exec_algorithm(TwapAlgorithm(ALGORITHM_ID, control))
    engine.add_data(quotes, sort=False)
    engine.sort_data()
    engine.run(streaming=True)
    engine.end()
    engine.dispose()
    if control.error is not None:
        raise control.error
    (report,) = reports
    assert report.filled + report.abandoned == QUANTITY
    last = quotes[4 * HORIZON]
    bid, ask = last.bid_price.as_double(), last.ask_price.as_double()
    mid = report.arrival_mid
    assert mid is not None
    filled = float(report.filled / QUANTITY)
    paid = filled * (report.average_price or 0.0)
    cost = (paid + (1 - filled) * ask - mid) / mid * 10_000
    profit = (filled * (bid + ask) / 2 - paid) / mid * 10_000
    return cost, profit


def _engine() -> BacktestEngine:
    usdt = Currency.from_str("USDT")
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggerConfig(bypass_logging=True)))
    engine.add_venue(
        Venue("BINANCE"), OmsType.NETTING, AccountType.MARGIN, [Money(100_000, usdt)],
        fee_model=MakerTakerFeeModel(Decimal(0), Decimal(0)), bar_execution=False,
    )  # fmt: skip
    instrument: Any = CryptoPerpetual(
        INSTRUMENT, Symbol("BTCUSDT"), Currency.from_str("BTC"), usdt, usdt, False, 2, 3,
        Price.from_str("0.10"), Quantity.from_str("0.001"), 0, 0,
        min_quantity=Quantity.from_str("0.001"), min_notional=Money(5, usdt),
        margin_init=Decimal("0.01"), margin_maint=Decimal("0.004"),
    )  # fmt: skip
    engine.add_instrument(instrument)
    return engine


@dataclass(frozen=True)
class Line:
    """Mean difference in bps of the parent, and half of its 95 % confidence interval."""

    saved: float
    saved_half: float
    gained: float
    gained_half: float

    def __str__(self) -> str:
        return (
            f"{self.saved:+.2f} ± {self.saved_half:.2f} | {self.gained:+.2f} ± "
            f"{self.gained_half:.2f}"
        )


def study(seeds: int, alpha_bps: float, truth: float) -> Line:
    plain, adaptive = np.empty((seeds, 2)), np.empty((seeds, 2))
    for seed in range(seeds):
        theta, quotes = market(seed, alpha_bps, truth)
        plain[seed], adaptive[seed] = work(None, quotes), work(theta, quotes)
    saved, gained = plain[:, 0] - adaptive[:, 0], adaptive[:, 1] - plain[:, 1]
    half = 1.96 / np.sqrt(seeds)
    return Line(
        float(saved.mean()), float(saved.std(ddof=1) * half),
        float(gained.mean()), float(gained.std(ddof=1) * half),
    )  # fmt: skip


def book() -> dict[tuple[float, float], Line]:
    """The table of docs/twap.md."""
    text = BOOK.read_text("utf-8").split("<!-- engine study -->")[1]
    number = r"([+-]?\d+\.\d+)"
    row = rf"^\| (\d+) \| {number} \| {number} ± {number} \| {number} ± {number} \|$"
    found = re.findall(row, text, re.MULTILINE)
    return {(float(a), float(t)): Line(*map(float, rest)) for a, t, *rest in found}


@pytest.mark.parametrize(("alpha_bps", "truth"), LINES)
def test_the_book_says_what_the_engine_shows(alpha_bps: float, truth: float) -> None:
    said = book()[alpha_bps, truth]
    found = study(SEEDS, alpha_bps, truth)
    print(f"| {alpha_bps:.0f} | {truth:.1f} | {found} |")
    # Both are estimates: their difference may be that of both intervals together, doubled.
    assert abs(found.saved - said.saved) < 2 * np.hypot(found.saved_half, said.saved_half)
    assert abs(found.gained - said.gained) < 2 * np.hypot(found.gained_half, said.gained_half)


def test_the_same_market_gives_the_same_cost_and_no_signal_is_a_plain_twap() -> None:
    theta, quotes = market(3, 20.0, 1.0)
    assert work(theta, quotes) == work(theta, quotes) != work(None, quotes)
