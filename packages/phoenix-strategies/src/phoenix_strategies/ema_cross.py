"""EMA cross: the baseline that every other strategy is compared with.

Long while the fast exponential moving average of closes is above the slow one, short (or flat)
while it is below. Simple, known to everyone, no claim of alpha.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

import msgspec
from nautilus_trader.model import Bar, BarType

from phoenix_strategies.intents import BUY, SELL, Market
from phoenix_strategies.nautilus_seam import PhoenixStrategy
from phoenix_strategies.settings import StrategySettings


class EmaCrossSettings(StrategySettings, frozen=True, kw_only=True):
    """Settings of `ema_cross`.

    Examples
    --------
    >>> EmaCrossSettings().bar_type_for("BTCUSDT-PERP.BINANCE")
    'BTCUSDT-PERP.BINANCE-1-MINUTE-LAST-EXTERNAL'
    """

    fast_bars: Annotated[int, msgspec.Meta(ge=1)] = 10
    slow_bars: Annotated[int, msgspec.Meta(ge=2)] = 20
    trade_size: Decimal = Decimal("0.01")
    """Position held while in the market, in the base currency."""
    long_only: bool = False
    flat_band_bps: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """Flat while the averages are closer than this, relative to the slow one."""
    bar_type: str | None = None
    """Bars to decide on; None means the 1-minute bars of the traded instrument."""

    def __post_init__(self) -> None:
        if self.slow_bars <= self.fast_bars:
            raise ValueError(
                f"slow_bars must be > fast_bars = {self.fast_bars} (was {self.slow_bars})"
            )
        if not (self.trade_size.is_finite() and self.trade_size > 0):
            raise ValueError(f"trade_size must be > 0 (was {self.trade_size}); typical 0.01")

    def bar_type_for(self, instrument_id: str) -> str:
        """The bar type of one instrument."""
        return self.bar_type or f"{instrument_id}-1-MINUTE-LAST-EXTERNAL"


class EmaCrossPolicy:
    """Target position, in units of the trade size, from a stream of closes.

    EMA_n: m_0 = c_0, m_t = m_{t-1} + 2 / (n + 1) (c_t - m_{t-1}). No target before `slow` closes.

    Examples
    --------
    >>> policy = EmaCrossPolicy(fast=1, slow=3)
    >>> [policy.target(close) for close in (10.0, 11.0, 12.0, 9.0)]
    [None, None, 1, -1]
    """

    def __init__(
        self, fast: int, slow: int, *, flat_band_bps: float = 0.0, long_only: bool = False
    ) -> None:
        self._fast_weight = 2.0 / (fast + 1)
        self._slow_weight = 2.0 / (slow + 1)
        self._warm_up = slow
        self._band = flat_band_bps / 10_000.0
        self._short = 0 if long_only else -1
        self._seen = 0
        self.fast = 0.0
        self.slow = 0.0

    def target(self, close: float) -> int | None:
        """+1 long, -1 short, 0 flat after one more close; None while warming up."""
        if self._seen == 0:
            self.fast = self.slow = close
        else:
            self.fast += self._fast_weight * (close - self.fast)
            self.slow += self._slow_weight * (close - self.slow)
        self._seen += 1
        if self._seen < self._warm_up:
            return None
        gap = self.fast - self.slow
        if abs(gap) <= self._band * self.slow:
            return 0
        return 1 if gap > 0 else self._short


class EmaCross(PhoenixStrategy[EmaCrossSettings]):
    """Holds the policy's target with market orders, one at a time."""

    def begin(self) -> None:
        settings = self.settings
        self._policy = EmaCrossPolicy(
            settings.fast_bars,
            settings.slow_bars,
            flat_band_bps=settings.flat_band_bps,
            long_only=settings.long_only,
        )
        self.subscribe_bars(BarType.from_str(settings.bar_type_for(str(self.instrument_id))))

    def on_bar(self, bar: Bar) -> None:
        policy = self._policy
        target = policy.target(bar.close.as_double())
        if target is None:
            return
        change = target * self.settings.trade_size - self.ledger.position
        intent = "hold"
        if change != 0 and self.ledger.working() is None:
            # One net order also reverses: there is no moment with both positions.
            side = BUY if change > 0 else SELL
            purpose = "entry" if target else "exit"
            reduce_only = target == 0
            intent = f"{purpose} {change:+}"
            self.submit(Market(side, abs(change), purpose, reduce_only))
        self.trace({"fast": policy.fast, "slow": policy.slow}, intent=intent)
