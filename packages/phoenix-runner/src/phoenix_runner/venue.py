"""The simulated exchange that a suite describes: account, fees, latency, fills, margin.

Fees: `spec` takes maker and taker rates from the instrument specs, `tier` the venue's public
schedule, `rates` the suite's own. Leverage has already become each instrument's initial margin (see
`suite`), charged by the standard margin model as Binance does; nothing divides it again.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from nautilus_trader.backtest import BacktestEngine
from nautilus_trader.execution import DefaultFillModel, MakerTakerFeeModel, StaticLatencyModel
from nautilus_trader.model import (
    AccountType,
    BookType,
    Currency,
    InstrumentId,
    Money,
    OmsType,
    StandardMarginModel,
    Venue,
)
from phoenix_schemas.timestamps import NS_PER_MS

from phoenix_runner.config import FeesSection
from phoenix_runner.suite import Suite

FEE_TIERS: dict[str, tuple[Decimal, Decimal]] = {
    name: (Decimal(maker) / 100, Decimal(taker) / 100)
    for name, maker, taker in (
        ("VIP0", "0.0200", "0.0500"),
        ("VIP1", "0.0160", "0.0400"),
        ("VIP2", "0.0140", "0.0350"),
        ("VIP3", "0.0120", "0.0320"),
        ("VIP4", "0.0100", "0.0300"),
        ("VIP5", "0.0080", "0.0270"),
        ("VIP6", "0.0060", "0.0250"),
        ("VIP7", "0.0040", "0.0220"),
        ("VIP8", "0.0020", "0.0200"),
        ("VIP9", "0.0000", "0.0170"),
    )
}
"""(maker, taker) as fractions of notional; Binance's public USD-M schedule of 2024, in percent above.
Assumed: the schedule changes, and campaigns and token discounts are not in it."""


def fee_rates(fees: FeesSection, spec_rates: tuple[Decimal, Decimal]) -> tuple[Decimal, Decimal]:
    """(maker, taker) of one instrument.

    >>> fee_rates(FeesSection(source="tier", tier="VIP1"), (Decimal(0), Decimal(0)))
    (Decimal('0.00016'), Decimal('0.0004'))
    """
    if fees.source == "tier":
        return FEE_TIERS[fees.tier]
    if fees.source == "rates":
        assert fees.maker is not None  # FeesSection sees to it
        assert fees.taker is not None
        return fees.maker, fees.taker
    return spec_rates


def add_venue(engine: BacktestEngine, suite: Suite, seed: int) -> Venue:
    """Add the suite's venue and instruments to an engine."""
    config = suite.config
    universe, execution = config.universe, config.execution
    rates = {
        name: fee_rates(execution.fees, (spec.maker_fee, spec.taker_fee))
        for name, spec in suite.instruments.items()
    }
    first = next(iter(rates.values()))
    overrides = {InstrumentId.from_str(name): pair for name, pair in rates.items()}
    latency, fill = execution.latency, execution.fill
    latency_model: Any = None
    if latency.insert_ms or latency.update_ms or latency.cancel_ms:
        latency_model = StaticLatencyModel(
            0,
            latency.insert_ms * NS_PER_MS,
            latency.update_ms * NS_PER_MS,
            latency.cancel_ms * NS_PER_MS,
        )
    venue = Venue(universe.venue)
    liquidation = execution.liquidation
    engine.add_venue(
        venue,
        OmsType.NETTING,
        AccountType.MARGIN,
        [Money.from_str(balance) for balance in universe.starting_balances],
        base_currency=None if universe.base_currency is None else Currency.from_str(
            universe.base_currency
        ),
        default_leverage=Decimal(1),
        margin_model=StandardMarginModel(),
        fill_model=DefaultFillModel(fill.prob_fill_on_limit, fill.prob_slippage, seed),
        fee_model=MakerTakerFeeModel(*first, overrides=overrides),
        latency_model=latency_model,
        book_type=BookType.L1_MBP,
        bar_execution=False,  # bars move the market as quotes of `trade_bars.BarMarket`, or not at all
        trade_execution=bool(execution.trade_execution),
        queue_position=bool(execution.queue_position),
        liquidity_consumption=execution.liquidity_consumption,
        liquidation_enabled=liquidation.enabled,
        liquidation_trigger_ratio=liquidation.trigger_ratio if liquidation.enabled else None,
    )  # fmt: skip
    for spec in suite.instruments.values():
        engine.add_instrument(spec.to_nautilus())
    return venue
