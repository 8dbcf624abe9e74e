"""Strategies that know too much, planted for the look-ahead check; and one that only seems to."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from nautilus_trader.model import BarType
from phoenix_strategies.intents import BUY, SELL, Market
from phoenix_strategies.nautilus_seam import PhoenixStrategy
from phoenix_strategies.registry import StrategySpec
from phoenix_strategies.settings import StrategySettings


class CheatSettings(StrategySettings, frozen=True, kw_only=True):
    catalog_path: str = ""
    quantity: Decimal = Decimal("0.1")


class OnBars(PhoenixStrategy[CheatSettings]):
    """Long while `wants` says so; every decision is traced."""

    def begin(self) -> None:
        self.bar_type = f"{self.instrument_id}-1-MINUTE-LAST-EXTERNAL"
        self.seen: list[float] = []
        self.subscribe_bars(BarType.from_str(self.bar_type))

    def all_bars(self) -> tuple[np.ndarray, np.ndarray]:
        """Times and closes of the whole catalog: what no strategy may look at."""
        folder = Path(self.settings.catalog_path) / "data" / "bars" / self.bar_type
        tables = [pq.read_table(p, columns=["ts_init", "close"]) for p in sorted(folder.glob("*"))]
        table = pa.concat_tables(tables)
        return (
            table["ts_init"].cast(pa.int64()).to_numpy(),
            table["close"].cast(pa.float64()).to_numpy(),
        )

    def on_bar(self, bar: Any) -> None:
        self.seen.append(bar.close.as_double())
        long = self.wants(bar)
        held = self.ledger.position > 0
        if long != held and self.ledger.working() is None:
            self.submit(Market(BUY if long else SELL, Decimal("0.1"), "entry" if long else "exit"))
        self.trace({"close": self.seen[-1]}, intent="long" if long else "flat")

    def wants(self, bar: Any) -> bool:
        raise AssertionError


class ReadsTheNextBar(OnBars):
    """Reads the bar before it closes."""

    def begin(self) -> None:
        super().begin()
        self.times, self.closes = self.all_bars()

    def wants(self, bar: Any) -> bool:
        following = int(np.searchsorted(self.times, bar.ts_init, side="right"))
        return following < len(self.closes) and self.closes[following] > self.seen[-1]


class FitsTheWholeSample(OnBars):
    """Buys under a percentile that was fitted on the full sample."""

    def begin(self) -> None:
        super().begin()
        self.threshold = float(np.quantile(self.all_bars()[1], 0.4))

    def wants(self, bar: Any) -> bool:
        return self.seen[-1] < self.threshold


class FitsWhatItSaw(OnBars):
    """The same percentile of the closes so far: honest."""

    def wants(self, bar: Any) -> bool:
        return self.seen[-1] < float(np.quantile(self.seen, 0.4))


class SaysNothing(OnBars):
    """Orders by what it saw, and traces nothing; with a quantity of zero it does not order either."""

    def on_bar(self, bar: Any) -> None:
        self.seen.append(bar.close.as_double())
        side = BUY if len(self.seen) % 2 else SELL
        self.submit(Market(side, self.settings.quantity, "entry"))


def _spec(strategy: type[OnBars], name: str) -> StrategySpec:
    return StrategySpec(
        name=f"cheating_strategies:{name}",
        settings_type=CheatSettings,
        strategy_type=strategy,
        data_types=lambda _settings: frozenset({"Bar"}),
        posts_limit_orders=lambda _settings: False,
        estimators=lambda _settings: {},
    )


NEXT_BAR = _spec(ReadsTheNextBar, "NEXT_BAR")
WHOLE_SAMPLE = _spec(FitsTheWholeSample, "WHOLE_SAMPLE")
SILENT = _spec(SaysNothing, "SILENT")
HONEST = _spec(FitsWhatItSaw, "HONEST")
