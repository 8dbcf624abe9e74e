"""A strategy that does what it is told at the times it is told, for backtests worked out by hand."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

from phoenix_strategies.intents import BUY, SELL, Limit, Market
from phoenix_strategies.nautilus_seam import PhoenixStrategy
from phoenix_strategies.registry import StrategySpec
from phoenix_strategies.settings import StrategySettings


class ScriptSettings(StrategySettings, frozen=True, kw_only=True):
    """Each line is `HH:MM buy|sell QUANTITY [@ PRICE]`, a limit order with a price."""

    day: str = "2024-01-28"
    script: tuple[str, ...] = ()


class Scripted(PhoenixStrategy[ScriptSettings]):
    def begin(self) -> None:
        self.subscribe_quotes(self.instrument_id)
        midnight = dt.datetime.fromisoformat(f"{self.settings.day}T00:00:00+00:00")
        for number, line in enumerate(self.settings.script):
            clock, side, quantity, *price = line.replace("@", "").split()
            hours, minutes = clock.split(":")
            at = midnight + dt.timedelta(hours=int(hours), minutes=int(minutes))
            sign = BUY if side == "buy" else SELL
            intent = (
                Limit(sign, Decimal(quantity), Decimal(price[0]), f"line-{number}")
                if price
                else Market(sign, Decimal(quantity), f"line-{number}")
            )
            self.at(
                f"line-{number}",
                int(at.timestamp()) * 1_000_000_000,
                lambda _event, i=intent: self.submit(i),
            )


SCRIPT = StrategySpec(
    name="scripted_strategy:SCRIPT",
    settings_type=ScriptSettings,
    strategy_type=Scripted,
    data_types=lambda _settings: frozenset({"QuoteTick", "TradeTick"}),
    posts_limit_orders=lambda settings: any("@" in line for line in settings.script),
    estimators=lambda _settings: {},
)
