"""When a position must go: trailing stop, take profit, time stop, markout guard.

Each is a small object made when the position opens and fed until it closes; each answers with the
reason it fires, or None. None of them knows about entry filters or signal validity, so a strategy
asks them first, always.

Prices here are floats: a stop level is a threshold that triggers a market order, never a price that
is sent. Times are int64 ns UTC of the engine's clock.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Literal

import msgspec

from phoenix_strategies.errors import SettingsError, StrategyError

Side = Literal[1, -1]
SECOND_NS = 1_000_000_000


class StopConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Distances of the trailing stop and the take profit.

    k_stop: stop distance in sigmas over the horizon. h_stop_bars: the horizon, in bars of sigma.
    k_tp: take profit as a multiple of the entry's stop distance, None for none. update_sigma: the
    distance follows sigma while the position is open, else sigma is fixed at entry.
    """

    k_stop: float = 2.0
    h_stop_bars: float = 15.0
    k_tp: float | None = None
    update_sigma: bool = False

    def __post_init__(self) -> None:
        for name in ("k_stop", "h_stop_bars"):
            if not getattr(self, name) > 0:
                raise SettingsError(
                    f"{name} must be positive (was {getattr(self, name)}); 2 sigma over 15 bars"
                )
        if self.k_tp is not None and not self.k_tp > 0:
            raise SettingsError(f"k_tp must be positive (was {self.k_tp}); 1.0 to 2.5")


class TrailingStop:
    """A stop that follows the price by a volatility distance and never loosens.

    Long: stop_t = max(stop_{t-1}, bid_t (1 - k sigma sqrt(H))), fires at bid <= stop. Short:
    stop_t = min(stop_{t-1}, ask_t (1 + k sigma sqrt(H))), fires at ask >= stop. The quote is
    compared with the stop as it stood before the quote moved it. Take profit: bid >= entry (1 +
    k_tp d) for a long, ask <= entry (1 - k_tp d) for a short, d = k sigma sqrt(H) at entry, fixed.

    By hand: long at 100, sigma 0.0025 per bar, k = 2, H = 16: d = 2 * 0.0025 * 4 = 0.02, so the
    stop starts at 98; at bid 110 it is 107.8 and stays there when the bid falls to 108.

    >>> stop = TrailingStop(StopConfig(k_stop=2, h_stop_bars=16, k_tp=5), 1, 100.0, 0.0025)
    >>> round(stop.level, 9), stop.update(109.9, 110.0)
    (98.0, None)
    >>> round(stop.level, 3), stop.update(108.0, 108.1), stop.update(107.7, 107.8)
    (107.702, None, 'trailing_stop')
    """

    __slots__ = ("_config", "_side", "distance", "level", "take_profit")

    def __init__(self, config: StopConfig, side: Side, entry_price: float, sigma: float) -> None:
        if not (entry_price > 0 and math.isfinite(entry_price)):
            raise StrategyError(
                f"entry_price must be positive (was {entry_price}); use the average fill price"
            )
        self._config = config
        self._side = side
        self.distance = self._distance(sigma)
        self.level = entry_price * (1 - side * self.distance)
        self.take_profit = (
            None if config.k_tp is None else entry_price * (1 + side * config.k_tp * self.distance)
        )

    def _distance(self, sigma: float) -> float:
        if not (sigma > 0 and math.isfinite(sigma)):
            raise StrategyError(
                f"sigma must be positive and finite (was {sigma}); floor it, 0.0005 is typical"
            )
        return self._config.k_stop * sigma * math.sqrt(self._config.h_stop_bars)

    def update(self, bid: float, ask: float, sigma: float | None = None) -> str | None:
        """Take a quote (and, with `update_sigma`, the present sigma); the reason to leave, or None.

        A missing or zero sigma keeps the last distance: the stop holds on stale volatility.
        """
        if self._config.update_sigma and sigma is not None and sigma > 0:
            self.distance = self._distance(sigma)
        if self._side > 0:
            if bid <= self.level:
                return "trailing_stop"
            if self.take_profit is not None and bid >= self.take_profit:
                return "take_profit"
            self.level = max(self.level, bid * (1 - self.distance))
        else:
            if ask >= self.level:
                return "trailing_stop"
            if self.take_profit is not None and ask <= self.take_profit:
                return "take_profit"
            self.level = min(self.level, ask * (1 + self.distance))
        return None


@dataclass(frozen=True, slots=True)
class TimeStop:
    """Leave after `limit` buckets, bars or nanoseconds, counted from the entry in the same unit.

    >>> TimeStop(entered=120, limit=10).update(129), TimeStop(entered=120, limit=10).update(130)
    (None, 'time_stop')
    """

    entered: int
    limit: int

    def update(self, now: int) -> str | None:
        """The reason to leave at `now`, or None."""
        return "time_stop" if now - self.entered >= self.limit else None


class MarkoutGuardConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How far the mid may move against a position after its fills.

    horizon_secs: when each fill is judged. limit_bps: average adverse move that closes.
    """

    horizon_secs: int = 5
    limit_bps: float = 5.0

    def __post_init__(self) -> None:
        if self.horizon_secs <= 0 or not self.limit_bps > 0:
            raise SettingsError(
                "markout_guard must have a positive horizon_secs and limit_bps "
                f"(was {self.horizon_secs}, {self.limit_bps}); 1, 5, 30 or 60 s, and 5 bps"
            )


class MarkoutGuard:
    """Leave when the mid has moved against the position's fills by too much, on average.

    Markout of a fill = side (mid(t + m) - mid(t)) / mid(t) in bps, mid(t) the mid at the fill,
    mid(t + m) the last one known m seconds later. Averaged over the fills whose m seconds have
    passed, weighted by quantity; below -limit_bps it fires. A fill of adverse selection shows
    itself here before any price stop does.

    >>> guard = MarkoutGuard(MarkoutGuardConfig(horizon_secs=5, limit_bps=3.0), side=1)
    >>> guard.on_fill(0, mid=100.0, quantity=1.0)
    >>> guard.on_mid(4_999_999_999, 99.96), guard.on_mid(6_000_000_000, 100.0)
    (None, 'markout')
    >>> round(guard.average_bps, 6)
    -4.0
    """

    __slots__ = ("_config", "_last_mid", "_pending", "_side", "_weight", "_weighted_bps")

    def __init__(self, config: MarkoutGuardConfig, side: Side) -> None:
        self._config = config
        self._side = side
        self._pending: deque[tuple[int, float, float]] = deque()
        self._last_mid: float | None = None
        self._weighted_bps = 0.0
        self._weight = 0.0

    @property
    def average_bps(self) -> float | None:
        """Average markout so far, positive = in favour; None before the first is known."""
        return self._weighted_bps / self._weight if self._weight else None

    def on_fill(self, ts: int, *, mid: float, quantity: float) -> None:
        """A fill of the position at `ts`, with the mid at that time. Times must not fall."""
        self._pending.append((ts + self._config.horizon_secs * SECOND_NS, mid, quantity))
        self._last_mid = mid

    def on_mid(self, ts: int, mid: float) -> str | None:
        """A new mid; the reason to leave, or None. Times must not fall."""
        while self._pending and self._pending[0][0] <= ts:
            due, entry_mid, quantity = self._pending.popleft()
            known = mid if due == ts or self._last_mid is None else self._last_mid
            move_bps = self._side * (known - entry_mid) / entry_mid * 10_000
            self._weighted_bps += move_bps * quantity
            self._weight += quantity
        self._last_mid = mid
        average = self.average_bps
        return "markout" if average is not None and average < -self._config.limit_bps else None
