"""A strategy that raises in the callback a test names."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from nautilus_trader.model import BarType
from phoenix_strategies.intents import BUY, Market
from phoenix_strategies.nautilus_seam import PhoenixStrategy
from phoenix_strategies.registry import StrategySpec
from phoenix_strategies.settings import StrategySettings

MINUTE_NS = 60_000_000_000


class RaisingSettings(StrategySettings, frozen=True, kw_only=True):
    """Where to raise."""

    raise_in: str


class Raising(PhoenixStrategy[RaisingSettings]):
    """Listens to everything, buys once, and raises where it is told to."""

    def _here(self, callback: str) -> None:
        if self.settings.raise_in == callback:
            raise ArithmeticError(f"planted in {callback}")

    def begin(self) -> None:
        self._here("begin")
        self._bought = False
        self.subscribe_quotes(self.instrument_id)
        self.subscribe_trades(self.instrument_id)
        self.subscribe_bars(BarType.from_str(f"{self.instrument_id}-1-MINUTE-LAST-EXTERNAL"))
        self.subscribe_mark_prices(self.instrument_id)
        self.subscribe_funding_rates(self.instrument_id)
        self.subscribe_custom("BinanceOiMetrics")
        alert_ns = self.clock.timestamp_ns() + MINUTE_NS
        own = lambda _event: self._here("alert_of_its_own")  # noqa: E731  a callback with no name
        self.clock.set_time_alert_ns("its-own", alert_ns, callback=own)
        self.at("alarm", self.clock.timestamp_ns() + MINUTE_NS, lambda _e: self._here("at"))
        self.every("minute", MINUTE_NS, self.clock.timestamp_ns(), lambda _e: self._here("every"))

    def on_quote(self, tick: Any) -> None:
        self._here("on_quote")
        if not self._bought:
            self._bought = self.submit(Market(BUY, Decimal("0.1"), "entry")) is not None

    def on_trade(self, tick: Any) -> None:
        self._here("on_trade")

    def on_bar(self, bar: Any) -> None:
        self._here("on_bar")

    def on_data(self, data: Any) -> None:
        self._here("on_data")

    def on_mark_price(self, update: Any) -> None:
        self._here("on_mark_price")

    def on_funding_rate(self, update: Any) -> None:
        self._here("on_funding_rate")

    def on_order_initialized(self, event: Any) -> None:
        self._here("on_order_initialized")

    def order_update(self, order: Any, event: Any) -> None:
        self._here(f"order_update {type(event).__name__}")

    def finish(self) -> None:
        self._here("finish")


RAISING = StrategySpec(
    "raising_strategy:RAISING", RaisingSettings, Raising, lambda _s: frozenset(), lambda _s: False,
    lambda _s: {},
)  # fmt: skip
