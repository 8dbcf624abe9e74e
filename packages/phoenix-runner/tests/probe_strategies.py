"""Strategies that tests plug into suites by name, as users plug in theirs."""

from __future__ import annotations

import os
import signal
import time
from decimal import Decimal
from typing import Any, ClassVar

from nautilus_trader.model import BarType, Price
from phoenix_schemas.timestamps import NS_PER_SECOND
from phoenix_strategies.intents import BUY, Limit, Market
from phoenix_strategies.nautilus_seam import PhoenixStrategy
from phoenix_strategies.registry import StrategySpec
from phoenix_strategies.settings import StrategySettings


class ProbeSettings(StrategySettings, frozen=True, kw_only=True):
    """What the probe listens to, and what it does at the n-th quote or bar."""

    listen: tuple[str, ...] = ("QuoteTick",)
    buy_at: int = 0
    sell_at: int = 0
    quantity: Decimal = Decimal("0.1")
    limit_price: Decimal | None = None
    raise_at: int = 0
    interrupt_at: int = 0
    posts_limit_orders: bool = False
    buy_again_after_s: int = 0
    cancel_after_s: int = 0
    reprice_after_s: int = 0
    reprice_to: Decimal = Decimal(0)


class Probe(PhoenixStrategy[ProbeSettings]):
    """Writes down everything it receives, in order."""

    log: ClassVar[list[tuple[str, int, str]]] = []
    interrupted_at: ClassVar[float] = 0.0

    def begin(self) -> None:
        Probe.log.clear()
        self.count = 0
        instrument, listen = self.instrument_id, self.settings.listen
        if "QuoteTick" in listen:
            self.subscribe_quotes(instrument)
        if "TradeTick" in listen:
            self.subscribe_trades(instrument)
        if "Bar" in listen:
            self.subscribe_bars(BarType.from_str(f"{instrument}-1-MINUTE-LAST-EXTERNAL"))
        if "MarkPriceUpdate" in listen:
            self.subscribe_mark_prices(instrument)
        if "IndexPriceUpdate" in listen:
            self.subscribe_index_prices(instrument)
        if "FundingRateUpdate" in listen:
            self.subscribe_funding_rates(instrument)
        for name in listen:
            if name.startswith("Binance"):
                self.subscribe_custom(name)

    def note(self, kind: str, ts_ns: int, what: Any) -> None:
        Probe.log.append((kind, ts_ns, str(what)))

    def on_quote(self, tick: Any) -> None:
        self.note("QuoteTick", tick.ts_init, tick.bid_price)
        self.act()

    def on_trade(self, tick: Any) -> None:
        self.note("TradeTick", tick.ts_init, tick.trade_id)

    def on_bar(self, bar: Any) -> None:
        self.note("Bar", bar.ts_init, bar)
        if "QuoteTick" not in self.settings.listen:
            self.act()

    def on_mark_price(self, update: Any) -> None:
        self.note("MarkPriceUpdate", update.ts_init, update.value)

    def on_index_price(self, update: Any) -> None:
        self.note("IndexPriceUpdate", update.ts_init, update.value)

    def on_funding_rate(self, update: Any) -> None:
        self.note("FundingRateUpdate", update.ts_init, update.rate)

    def on_data(self, data: Any) -> None:
        record = getattr(data, "data", data)
        self.note(type(record).__name__, record.ts_init, record)

    def act(self) -> None:
        self.count += 1
        settings = self.settings
        if self.count == settings.raise_at:
            raise LookupError("planted in a callback")
        if self.count == settings.interrupt_at:
            Probe.interrupted_at = time.monotonic()
            os.kill(os.getpid(), signal.SIGINT)
        if self.count == settings.buy_at and settings.limit_price is not None:
            self.submit(
                Limit(BUY, settings.quantity, settings.limit_price, "entry", post_only=False)
            )
        elif self.count == settings.buy_at:
            self.submit(Market(BUY, settings.quantity, "entry"))
        now = self.clock.timestamp_ns()
        if self.count == settings.buy_at and settings.buy_again_after_s:
            again = Market(BUY, settings.quantity, "entry")
            at = now + settings.buy_again_after_s * NS_PER_SECOND
            self.at("again", at, lambda _event: self.submit(again))
        if self.count == settings.buy_at and settings.cancel_after_s:
            at = now + settings.cancel_after_s * NS_PER_SECOND
            self.at("cancel", at, lambda _event: self.cancel_all())
        if self.count == settings.buy_at and settings.reprice_after_s:
            at = now + settings.reprice_after_s * NS_PER_SECOND
            self.at("reprice", at, lambda _event: self._reprice())
        if self.count == settings.sell_at:
            self.submit(Market(-BUY, settings.quantity, "exit", reduce_only=True))

    def _reprice(self) -> None:
        """Through Nautilus's own API: Phoenix's strategies cancel and replace instead."""
        [order] = self.cache.orders_open()
        price = Price.from_decimal_dp(self.settings.reprice_to, 2)
        self.modify_order(order.client_order_id, price=price)


PROBE = StrategySpec(
    name="probe_strategies:PROBE",
    settings_type=ProbeSettings,
    strategy_type=Probe,
    data_types=lambda settings: frozenset(settings.listen) & {"TradeTick"},
    posts_limit_orders=lambda settings: settings.posts_limit_orders,
    estimators=lambda _settings: {"probe": 3},
)


class Teller(PhoenixStrategy[ProbeSettings]):
    """Traces each bar's close, and a signal whose data never come."""

    def begin(self) -> None:
        self.subscribe_bars(BarType.from_str(f"{self.instrument_id}-1-MINUTE-LAST-EXTERNAL"))

    def on_bar(self, bar: Any) -> None:
        self.trace({"close": bar.close.as_double(), "interest": float("nan")})


TELLER = StrategySpec(
    name="probe_strategies:TELLER",
    settings_type=ProbeSettings,
    strategy_type=Teller,
    data_types=lambda _settings: frozenset({"Bar"}),
    posts_limit_orders=lambda _settings: False,
    estimators=lambda _settings: {},
)
