"""Bar LPI engine: book imbalance at each bar's close, weighted by volume and spread."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

from phoenix_schemas.custom_data import BinanceBookDepthPct, BinanceRecord
from phoenix_schemas.signal_records import BarLpiSignal, Validity

from phoenix_signals.clocks import MINUTE_NS
from phoenix_signals.engines.protocol import NO_QUOTE, Quote, check_quote, scaled
from phoenix_signals.errors import (
    NUMBER_MAX,
    check_choice,
    check_config,
    check_count,
    check_positive,
    check_raw,
    check_time,
    check_windows,
    size_error,
)
from phoenix_signals.estimator import Versioned
from phoenix_signals.liquidity import BPS
from phoenix_signals.pressure import BarLpi
from phoenix_signals.rolling import ZKind

Imbalance = Literal["l1", "depth_pct"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BarLpiConfig:
    """Everything that decides the numbers of a bar LPI engine.

    Raises:
        ParameterError: A value is outside its range; the message names it.
    """

    price_precision: int
    """`price_raw` = price * 10^price_precision in every call; 16 for NautilusTrader's `raw`."""
    size_precision: int
    """The same for sizes and volumes."""
    price_increment: float
    """One tick in quote currency; half a tick is the least scale of the spread z."""
    lookback_bars: int = 60
    z_min_count: int = 30
    z_kind: ZKind = "median_mad"
    z_clip: float = 10.0
    imbalance: Imbalance = "l1"
    """Of the quoted sizes, or of the notional within `depth_pct` of the touch."""
    depth_pct: float = 5.0
    depth_max_age_ns: int = MINUTE_NS
    quote_max_age_ns: int = MINUTE_NS
    """Older than this the feed is taken for dead; a strategy's own gate may be tighter."""

    def __post_init__(self) -> None:
        check_count("price_precision", self.price_precision, 0, "2, or 16 for Nautilus's raw")
        check_count("size_precision", self.size_precision, 0, "3, or 16 for Nautilus's raw")
        scaled("price_increment", self.price_increment, self.price_precision)
        check_windows(self, "lookback_bars")
        BarLpi(self.lookback_bars, self.z_min_count, self.z_kind, self.z_clip)
        check_choice("imbalance", self.imbalance, ("l1", "depth_pct"))
        check_positive("depth_pct", self.depth_pct, "5.0")
        for name in ("depth_max_age_ns", "quote_max_age_ns"):
            check_count(name, getattr(self, name), 0, "60_000_000_000")


class BarLpiEngine(Versioned):
    """Bar LPI at each bar's close, from bars, quotes and (if configured) depth.

    Formula:
        see [BarLpi][phoenix_signals.pressure.BarLpi], with the last quote and depth at or before
        the close: a replay delivers a bar after everything else of its time.
    Units: `..._raw` integers as in the config; see
        [BarLpiSignal][phoenix_schemas.signal_records.BarLpiSignal] for the outputs.
    Clock: bars; every bar enters the windows, whatever a strategy does with it.
    Warm-up: `z_min_count` bars.
    Missing data: a quote or depth that is missing or old gives lpi None, and a flag names it; the
        bar's volume still enters its window.
    Errors: time going back, a crossed quote or a negative size or volume raises `InputError`; the
        engine stays as it was.
    Memory: the windows.

    Example:
        >>> config = BarLpiConfig(price_precision=1, size_precision=3, price_increment=0.1)
        >>> engine = BarLpiEngine(config)
        >>> engine.on_quote(1, 999, 1001, 3_000, 1_000)
        False
        >>> engine.on_bar(2, 1000, 1000, 1000, 1000, 5_000)
        True
        >>> signal = engine.maybe_emit()
        >>> signal.imbalance, round(signal.spread_bps, 6), signal.volume, signal.lpi
        (0.5, 20.0, 5.0, None)

    Source: design note "signals", Pressure indices, 3.
    """

    ID = "bar_lpi_engine"
    VERSION = 1
    EXAMPLES = (
        {"config": BarLpiConfig(
            price_precision=2, size_precision=3, price_increment=0.1, lookback_bars=20,
            z_min_count=5,
        )},
        {"config": BarLpiConfig(
            price_precision=2, size_precision=3, price_increment=0.1, lookback_bars=12,
            z_min_count=3, z_kind="mean_std", imbalance="depth_pct", depth_pct=1.0,
        )},
    )  # fmt: skip

    __slots__ = (
        "_bar_lpi", "_depth_ts", "_nobi", "_now", "_quote", "_sides", "_sides_ts", "_size_unit",
        "_tick_raw", "_waiting", "config",
    )  # fmt: skip

    def __init__(self, config: BarLpiConfig) -> None:
        self.config = check_config(config, BarLpiConfig)
        self._bar_lpi = BarLpi(
            config.lookback_bars, config.z_min_count, config.z_kind, config.z_clip
        )
        self._tick_raw = scaled("price_increment", config.price_increment, config.price_precision)
        self._size_unit = 10**config.size_precision
        self._quote: Quote = NO_QUOTE
        self._now = 0
        self._sides: dict[float, float] = {}
        self._sides_ts = self._depth_ts = -1
        self._nobi: float | None = None
        self._waiting: deque[BarLpiSignal] = deque()

    def on_quote(
        self, ts_ns: int, bid_raw: int, ask_raw: int, bid_size_raw: int, ask_size_raw: int
    ) -> bool:
        """Take a quote of the best bid and ask; it closes nothing, so False."""
        check_quote(bid_raw, ask_raw, bid_size_raw, ask_size_raw)
        check_time(ts_ns, self._now)
        self._now = ts_ns
        self._quote = (bid_raw, ask_raw, bid_size_raw, ask_size_raw, ts_ns)
        return False

    def on_trade(self, ts_ns: int, price_raw: int, size_raw: int, side: int) -> bool:
        """Trades decide nothing here; False."""
        del ts_ns, price_raw, size_raw, side
        return False

    def on_bar(
        self,
        ts_ns: int,
        open_raw: int,
        high_raw: int,
        low_raw: int,
        close_raw: int,
        volume_raw: int,
    ) -> bool:
        """Take a bar at its close: only its volume counts; True, a signal waits."""
        del open_raw, high_raw, low_raw, close_raw
        check_raw("volume_raw", volume_raw, 0)
        check_time(ts_ns, self._now)
        self._now = ts_ns
        flags, spread_bps, imbalance, half_tick = 0, None, None, 0.0
        bid, ask, bid_size, ask_size, quote_ts = self._quote
        if quote_ts < 0:
            flags |= Validity.QUOTE_MISSING.value
        elif ts_ns - quote_ts > self.config.quote_max_age_ns:
            flags |= Validity.QUOTE_STALE.value
        else:
            mid = bid + ask  # twice the mid, in raw units
            spread_bps = BPS * (2 * (ask - bid) / mid)
            half_tick = BPS * (self._tick_raw / mid)
        if self.config.imbalance == "depth_pct":
            if self._depth_ts < 0:
                flags |= Validity.DEPTH_MISSING.value
            elif ts_ns - self._depth_ts > self.config.depth_max_age_ns:
                flags |= Validity.DEPTH_STALE.value
            else:
                imbalance = self._nobi
                flags |= Validity.BOOK_EMPTY.value if imbalance is None else 0
        elif spread_bps is not None:
            if bid_size or ask_size:
                imbalance = (bid_size - ask_size) / (bid_size + ask_size)
            else:
                flags |= Validity.BOOK_EMPTY.value
        bar_lpi = self._bar_lpi
        volume = volume_raw / self._size_unit
        bar_lpi.update(volume, spread_bps, imbalance, half_tick)
        if bar_lpi.volume_z is None:
            flags |= Validity.VOLUME_WARMUP.value
        if spread_bps is not None and bar_lpi.spread_z is None:
            flags |= Validity.SPREAD_WARMUP.value
        self._waiting.append(
            BarLpiSignal(ts_ns, bar_lpi.value, imbalance, spread_bps, volume, Validity(flags))
        )
        return True

    def on_custom_data(self, data: BinanceRecord) -> bool:
        """Take a row of bookDepth; it closes nothing, so False.

        Raises:
            InputError: time going back, or a negative notional.
        """
        ts_ns = data.ts_init
        check_time(ts_ns, self._now)
        if isinstance(data, BinanceBookDepthPct) and self.config.imbalance == "depth_pct":
            self._take_depth(ts_ns, data.percentage, float(data.notional))
        self._now = ts_ns
        return False

    def maybe_emit(self) -> BarLpiSignal | None:
        """The oldest signal not handed out yet, None when there is none."""
        return self._waiting.popleft() if self._waiting else None

    def _take_depth(self, ts_ns: int, percentage: float, notional: float) -> None:
        if not 0.0 <= notional < NUMBER_MAX:
            raise size_error("notional", notional)
        level = self.config.depth_pct
        if abs(percentage) != level:
            return
        if ts_ns != self._sides_ts:
            self._sides.clear()
            self._sides_ts = ts_ns
        if percentage in self._sides:
            return  # the level twice in one snapshot: the first counts
        self._sides[percentage] = notional
        if len(self._sides) == 2:
            bid, ask = self._sides[-level], self._sides[level]
            self._nobi = (bid - ask) / (bid + ask) if bid + ask else None
            self._depth_ts = ts_ns
