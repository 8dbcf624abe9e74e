"""What each strategy costs per event: the engine with it against the engine with one that does nothing.

One simulated stretch of market (quotes, trades, bars, depth, open interest, funding) is replayed
through the same engine, once for each strategy; the best of `--repeats` counts, so that a busy
machine disturbs less. Printed per strategy: events per second, the ratio to the engine with a
strategy that subscribes to nothing, and microseconds per event on top of it. The floor for Phoenix
LPI is a ratio of 0.5, for EMA cross 0.85, over whole suites; here nothing but the engine runs
beside the strategy, so the ratios are harsher.

    python packages/phoenix-strategies/benchmarks/bench_strategies.py --events 400000
"""

from __future__ import annotations

import argparse
import time
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
from nautilus_trader.backtest import BacktestEngine, BacktestEngineConfig
from nautilus_trader.common import LoggerConfig
from nautilus_trader.execution import MakerTakerFeeModel
from nautilus_trader.model import (
    AccountType,
    AggressorSide,
    Bar,
    BarType,
    ClientId,
    CryptoPerpetual,
    Currency,
    CustomData,
    DataType,
    InstrumentId,
    Money,
    OmsType,
    Price,
    Quantity,
    QuoteTick,
    Symbol,
    TradeId,
    TradeTick,
    Venue,
)
from phoenix_schemas.custom_data import (
    BinanceBookDepthPct,
    BinanceFundingRate,
    BinanceOiMetrics,
    BinanceRecord,
    register_custom_data,
)
from phoenix_strategies import registry
from phoenix_strategies.nautilus_seam import PhoenixStrategy, SeamConfig
from phoenix_strategies.run_control import RunControl
from phoenix_strategies.settings import StrategySettings

INSTRUMENT = InstrumentId.from_str("BTCUSDT-PERP.BINANCE")
BAR_TYPE = BarType.from_str(f"{INSTRUMENT}-1-MINUTE-LAST-EXTERNAL")
START = 1_700_000_040 * 10**9
STEP_NS = 40_000_000  # 25 quotes a second, as on a busy day
UNIT = 10**16  # of raw integers

SETTINGS: dict[str, dict[str, Any]] = {
    "ema_cross": {},
    "liquidity_pressure": {},
    "phoenix": {"rv_window_minutes": 5},
    "phoenix_lpi": {"z_window_buckets": 100},
    "toxicity_volatility": {"fit_minutes": 5},
}


class Nothing(PhoenixStrategy[StrategySettings]):
    """Subscribes to nothing and does nothing."""


def market(events: int, seed: int = 1) -> tuple[list[Any], list[Any]]:
    """Quotes with a trade after every fourth, bars; and custom data apart, for its client."""
    rng = np.random.default_rng(seed)
    mids = 420_000 + np.cumsum(rng.choice([-1, 0, 0, 0, 1], events))  # in ticks of 0.1
    sizes = rng.integers(100, 20_000, (events, 2))
    trades = rng.random(events) < 0.25
    sells = rng.random(events) < 0.5
    plain: list[Any] = []
    custom: list[Any] = []
    prints: list[int] = []
    volume = 0
    for i, (mid, (bid_size, ask_size)) in enumerate(
        zip(mids.tolist(), sizes.tolist(), strict=True)
    ):
        ts = START + i * STEP_NS
        bid, ask = Price.from_raw(mid * UNIT // 10, 2), Price.from_raw((mid + 1) * UNIT // 10, 2)
        plain.append(QuoteTick(INSTRUMENT, bid, ask, _size(bid_size), _size(ask_size), ts, ts))
        if trades[i]:
            sell = bool(sells[i])
            side = AggressorSide.SELL if sell else AggressorSide.BUY
            at = ts + 1_000_000
            price, size = (bid, ask)[not sell], _size(bid_size // 10 + 1)
            plain.append(TradeTick(INSTRUMENT, price, size, side, TradeId(str(i)), at, at))
            prints.append(price.raw)
            volume += bid_size // 10 + 1
        if (ts + STEP_NS - START) // 60_000_000_000 > (ts - START) // 60_000_000_000 and prints:
            at = ts + STEP_NS - 1_000_000
            ohlc = (prints[0], max(prints), min(prints), prints[-1])
            plain.append(
                Bar(BAR_TYPE, *(Price.from_raw(p, 2) for p in ohlc), _size(volume), at, at)
            )
            prints, volume = [], 0
        if i % 750 == 0:
            custom += _records(ts, rng, every_five_minutes=i % 7_500 == 0)
    return plain, custom


def _size(units: int) -> Quantity:
    return Quantity.from_raw(units * UNIT // 1_000, 3)


def _records(ts: int, rng: np.random.Generator, *, every_five_minutes: bool) -> list[CustomData]:
    stamps = {"ts_event": ts, "ts_init": ts, "instrument_id": str(INSTRUMENT)}
    depth = int(rng.integers(1_000_000, 2_000_000))
    records: list[BinanceRecord] = [
        BinanceBookDepthPct(
            percentage=p, depth=Decimal(depth) / 42_000, notional=Decimal(depth * abs(p)), **stamps
        )
        for p in (-5.0, -1.0, 1.0, 5.0)
    ]
    if every_five_minutes:
        interest = Decimal(int(rng.integers(90_000, 100_000)))
        records.append(
            BinanceOiMetrics(
                sum_open_interest=interest,
                sum_open_interest_value=interest * 42_000,
                count_toptrader_long_short_ratio=1.0,
                sum_toptrader_long_short_ratio=1.0,
                count_long_short_ratio=float(rng.uniform(1.0, 2.0)),
                sum_taker_long_short_vol_ratio=1.0,
                **stamps,
            )
        )
        rate = Decimal(int(rng.integers(-100, 100))) / 1_000_000
        records.append(BinanceFundingRate(rate=rate, interval_hours=8, **stamps))
    return [CustomData(DataType(type(r).__name__, identifier=str(INSTRUMENT)), r) for r in records]


def seconds(name: str, plain: list[Any], custom: list[Any]) -> float:
    """CPU seconds of one replay with a strategy (`nothing` or a registered name)."""
    control = RunControl()
    if name == "nothing":
        strategy: Any = Nothing(
            SeamConfig("NOTHING-001", str(INSTRUMENT), StrategySettings(), control)
        )
    else:
        spec = registry.find(name)
        settings = msgspec.convert(SETTINGS[name], spec.settings_type)
        strategy = spec.build(str(INSTRUMENT), 1, settings, control)
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggerConfig(bypass_logging=True)))
    usdt = Currency.from_str("USDT")
    engine.add_venue(
        Venue("BINANCE"), OmsType.NETTING, AccountType.MARGIN, [Money(10_000, usdt)],
        fee_model=MakerTakerFeeModel(Decimal("0.0002"), Decimal("0.0004")), bar_execution=False,
    )  # fmt: skip
    engine.add_instrument(
        CryptoPerpetual(
            INSTRUMENT,
            Symbol("BTCUSDT"),
            Currency.from_str("BTC"),
            usdt,
            usdt,
            False,
            2,
            3,
            Price.from_str("0.10"),
            Quantity.from_str("0.001"),
            0,
            0,
            min_quantity=Quantity.from_str("0.001"),
            min_notional=Money(5, usdt),
            margin_init=Decimal("0.1"),
            margin_maint=Decimal("0.004"),
        )
    )
    engine.add_strategy(strategy)
    engine.add_data(plain, sort=False)
    engine.add_data(custom, client_id=ClientId("BINANCE"), sort=False)
    engine.sort_data()
    began = time.process_time()
    engine.run(streaming=True)
    spent = time.process_time() - began
    engine.end()
    engine.dispose()
    if control.error is not None:
        raise control.error
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of each strategy per event.")
    parser.add_argument("--events", type=int, default=200_000, help="quotes")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    register_custom_data()
    plain, custom = market(options.events)
    count = len(plain) + len(custom)
    best = {
        name: min(seconds(name, plain, custom) for _ in range(options.repeats))
        for name in ("nothing", *SETTINGS)
    }
    print(f"{count:,} events, best of {options.repeats}")
    print(f"{'strategy':<22}{'events/s':>12}{'ratio':>8}{'us/event':>10}")
    for name, spent in best.items():
        extra = (spent - best["nothing"]) / count * 1e6
        print(f"{name:<22}{count / spent:>12,.0f}{best['nothing'] / spent:>8.2f}{extra:>10.2f}")


if __name__ == "__main__":
    main()
