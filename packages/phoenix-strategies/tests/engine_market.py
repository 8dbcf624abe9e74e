"""A tiny engine with one perpetual, for tests of what only an engine can show."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from nautilus_trader.backtest import BacktestEngine, BacktestEngineConfig
from nautilus_trader.common import LoggerConfig
from nautilus_trader.execution import MakerTakerFeeModel, StaticLatencyModel
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

INSTRUMENT = InstrumentId.from_str("BTCUSDT-PERP.BINANCE")
SECOND = 1_000_000_000
START = 1_700_000_040 * SECOND  # a whole minute
USDT = Currency.from_str("USDT")


def perpetual() -> CryptoPerpetual:
    return CryptoPerpetual(
        INSTRUMENT, Symbol("BTCUSDT"), Currency.from_str("BTC"), USDT, USDT, False, 2, 3,
        Price.from_str("0.10"), Quantity.from_str("0.001"), 0, 0,
        min_quantity=Quantity.from_str("0.001"), min_notional=Money(5, USDT),
        margin_init=Decimal("0.1"), margin_maint=Decimal("0.004"),
    )  # fmt: skip


def quote(ts_ns: int, bid: str = "100.00", ask: str = "100.10", size: str = "5.000") -> QuoteTick:
    q = Quantity.from_str(size)
    return QuoteTick(INSTRUMENT, Price.from_str(bid), Price.from_str(ask), q, q, ts_ns, ts_ns)


def quotes(count: int, start_ns: int = START, step_ns: int = SECOND) -> list[QuoteTick]:
    return [quote(start_ns + i * step_ns) for i in range(count)]


def engine_with(*components: Any, latency_ns: int = 0, algorithms: Any = ()) -> BacktestEngine:
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggerConfig(bypass_logging=True)))
    engine.add_venue(
        Venue("BINANCE"), OmsType.NETTING, AccountType.MARGIN, [Money(10_000, USDT)],
        fee_model=MakerTakerFeeModel(Decimal("0.0002"), Decimal("0.0004")),
        latency_model=StaticLatencyModel(latency_ns) if latency_ns else None,
        bar_execution=False, trade_execution=False,
    )  # fmt: skip
    engine.add_instrument(perpetual())
    for component in components:
        engine.add_strategy(component)
    for algorithm in algorithms:
        engine.add_exec_algorithm(algorithm)
    return engine


def run(engine: BacktestEngine, data: list[Any], end_ns: int | None = None) -> None:
    engine.add_data(data, sort=False)
    engine.sort_data()
    engine.run(streaming=True, end=end_ns)
    engine.end()
