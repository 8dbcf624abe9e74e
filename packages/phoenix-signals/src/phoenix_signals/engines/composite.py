"""Composite LPI engine: forced selling, depleted bids and open interest per notional bucket."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from phoenix_schemas.custom_data import BinanceBookDepthPct, BinanceOiMetrics, BinanceRecord
from phoenix_schemas.signal_records import PhoenixSignal

from phoenix_signals.clocks import HOUR_NS, MINUTE_NS, Bucket, NotionalClock
from phoenix_signals.engines.protocol import scaled
from phoenix_signals.errors import (
    NUMBER_MAX,
    check_choice,
    check_config,
    check_count,
    check_positive,
    check_time,
    check_windows,
    size_error,
)
from phoenix_signals.estimator import Versioned
from phoenix_signals.liquidity import LiquidityDepletion, Side
from phoenix_signals.pressure import CompositeLpi
from phoenix_signals.rolling import ZScoreMeanStd


@dataclass(frozen=True, slots=True, kw_only=True)
class CompositeLpiConfig:
    """Everything that decides the numbers of a composite LPI engine.

    Raises:
        ParameterError: A value is outside its range; the message names it.
    """

    price_precision: int
    """`price_raw` = price * 10^price_precision in every call; 16 for NautilusTrader's `raw`."""
    size_precision: int
    """The same for sizes."""
    bucket_notional: float = 1_000_000.0
    """Quote currency per bucket; the filling trade closes it and belongs to it."""
    fsi_window_buckets: int = 100
    oi_window_rows: int = 8640
    """30 days of rows of 5 minutes."""
    oi_max_age_ns: int = 15 * MINUTE_NS
    z_min_count: int = 30
    z_clip: float = 10.0
    depth_pct: float = 1.0
    """LDR compares the notional within this percentage, on one side, of consecutive snapshots."""
    depth_side: Side = "bid"
    depth_max_age_ns: int = MINUTE_NS
    max_gap_ns: int = HOUR_NS
    """Behind a longer silence of trades the open bucket is discarded."""

    def __post_init__(self) -> None:
        check_count("price_precision", self.price_precision, 0, "2, or 16 for Nautilus's raw")
        check_count("size_precision", self.size_precision, 0, "3, or 16 for Nautilus's raw")
        check_windows(self, "fsi_window_buckets", "oi_window_rows")
        CompositeLpi(self.fsi_window_buckets, self.z_min_count, self.z_clip)
        ZScoreMeanStd(self.oi_window_rows, self.z_min_count, self.z_clip)
        check_positive("depth_pct", self.depth_pct, "1.0")
        check_choice("depth_side", self.depth_side, ("bid", "ask"))
        for name in ("depth_max_age_ns", "oi_max_age_ns"):
            check_count(name, getattr(self, name), 0, "60_000_000_000")
        NotionalClock(self.bucket_raw, max_gap_ns=self.max_gap_ns)

    @property
    def bucket_raw(self) -> int:
        """`bucket_notional` in units of 10^-(price_precision + size_precision)."""
        precision = self.price_precision + self.size_precision
        return scaled("bucket_notional", self.bucket_notional, precision)

    @property
    def depth_level(self) -> float:
        """The percentage of bookDepth that LDR reads; bids are negative."""
        return -self.depth_pct if self.depth_side == "bid" else self.depth_pct


class CompositeLpiEngine(Versioned):
    """Composite LPI per notional bucket, from trades, depth and open interest.

    Formula:
        see [CompositeLpi][phoenix_signals.pressure.CompositeLpi]. A bucket closes with the trade
        that fills it. LDR and the z of open interest are those known strictly before that trade.
    Units: `price_raw` and `size_raw` integers as in the config; see
        [PhoenixSignal][phoenix_schemas.signal_records.PhoenixSignal] for the outputs.
    Clock: trades; `ts_event` is the filling trade's time.
    Warm-up: `z_min_count` buckets for lpi, as many rows of open interest for `oi_zscore`.
    Missing data: without depth, or when it is older than `depth_max_age_ns`, `ldr` and `lpi` are
        None; open interest likewise. `is_valid` says that nothing is missing. lpi itself does not
        need open interest, so that an exit can be decided without it. A bucket cut off by a gap is
        dropped.
    Errors: time going back, or a trade without price, size or side raises `InputError`; the engine
        stays as it was.
    Memory: the windows.

    Example:
        >>> config = CompositeLpiConfig(price_precision=0, size_precision=0, bucket_notional=100)
        >>> engine = CompositeLpiEngine(config)
        >>> engine.on_trade(1, 10, 4, 1), engine.on_trade(2, 10, 8, -1)
        (False, True)
        >>> signal = engine.maybe_emit()
        >>> round(signal.fsi, 4), round(signal.vpin, 4), signal.lpi, signal.is_valid
        (0.6667, 0.3333, None, False)

    Source: design note "signals", Pressure indices, 2.
    """

    ID = "composite_lpi_engine"
    VERSION = 1
    EXAMPLES = (
        {"config": CompositeLpiConfig(
            price_precision=2, size_precision=3, bucket_notional=50_000.0, z_min_count=5,
            fsi_window_buckets=20, oi_window_rows=10,
        )},
        {"config": CompositeLpiConfig(
            price_precision=2, size_precision=3, bucket_notional=20_000.0, z_min_count=3,
            fsi_window_buckets=30, oi_window_rows=6, depth_pct=5.0, depth_side="ask",
        )},
    )  # fmt: skip

    __slots__ = (
        "_clock", "_composite", "_depth_ts", "_ldr", "_level", "_now", "_oi", "_oi_ts", "_rows",
        "_waiting", "config",
    )  # fmt: skip

    def __init__(self, config: CompositeLpiConfig) -> None:
        self.config = check_config(config, CompositeLpiConfig)
        self._clock = NotionalClock(config.bucket_raw, "whole", config.max_gap_ns)
        self._composite = CompositeLpi(config.fsi_window_buckets, config.z_min_count, config.z_clip)
        self._ldr = LiquidityDepletion(config.depth_pct, config.depth_side)
        self._oi = ZScoreMeanStd(config.oi_window_rows, config.z_min_count, config.z_clip)
        self._level = config.depth_level
        self._depth_ts = self._oi_ts = -1
        self._now = 0
        # Rows at the latest time: too young for a bucket that closes at that very time.
        self._rows: deque[tuple[int, float, float]] = deque()
        self._waiting: deque[PhoenixSignal] = deque()

    def on_trade(self, ts_ns: int, price_raw: int, size_raw: int, side: int) -> bool:
        """Take a trade, side +1 (buyer was the aggressor) or -1; True when a signal waits."""
        closed = self._clock.update(ts_ns, price_raw, size_raw, side)
        if not closed:
            return False
        for bucket in closed:
            if bucket.valid:
                self._close(bucket)
        return bool(self._waiting)

    def on_quote(
        self, ts_ns: int, bid_raw: int, ask_raw: int, bid_size_raw: int, ask_size_raw: int
    ) -> bool:
        """Quotes decide nothing here; False."""
        del ts_ns, bid_raw, ask_raw, bid_size_raw, ask_size_raw
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
        """Bars decide nothing here; False."""
        del ts_ns, open_raw, high_raw, low_raw, close_raw, volume_raw
        return False

    def on_custom_data(self, data: BinanceRecord) -> bool:
        """Take a row of bookDepth or metrics; it closes no bucket, so False.

        Raises:
            InputError: time going back, or a negative notional or open interest.
        """
        ts_ns = data.ts_init
        check_time(ts_ns, self._now)
        row = None
        if isinstance(data, BinanceBookDepthPct):
            if data.percentage == self._level:
                row = (ts_ns, self._level, _size("notional", float(data.notional)))
        elif isinstance(data, BinanceOiMetrics) and data.sum_open_interest is not None:
            row = (ts_ns, 0.0, _size("sum_open_interest", float(data.sum_open_interest)))
        self._absorb(ts_ns)
        self._now = ts_ns
        if row is not None:
            self._rows.append(row)
        return False

    def maybe_emit(self) -> PhoenixSignal | None:
        """The oldest signal not handed out yet, None when there is none."""
        return self._waiting.popleft() if self._waiting else None

    def _absorb(self, before_ns: int) -> None:
        """Take over the rows that are known strictly before a time."""
        rows = self._rows
        while rows and rows[0][0] < before_ns:
            ts_ns, level, value = rows.popleft()
            if level == 0.0:
                self._oi.update(value)
                self._oi_ts = ts_ns
            elif ts_ns != self._depth_ts:  # the level twice in one snapshot: the first counts
                self._ldr.update(ts_ns, level, value)
                self._depth_ts = ts_ns

    def _close(self, bucket: Bucket[int, bool]) -> None:
        config = self.config
        ts_ns = bucket.ts_close_ns
        self._absorb(ts_ns)
        total = bucket.buy_raw + bucket.sell_raw
        fsi = bucket.sell_raw / total
        imbalance = abs(bucket.buy_raw - bucket.sell_raw) / total
        is_fresh = self._depth_ts >= 0 and ts_ns - self._depth_ts <= config.depth_max_age_ns
        ldr = self._ldr.value if is_fresh else None
        is_known = self._oi_ts >= 0 and ts_ns - self._oi_ts <= config.oi_max_age_ns
        oi_z = self._oi.value if is_known else None
        self._composite.update(fsi, imbalance, ldr)
        lpi = self._composite.value
        is_valid = lpi is not None and oi_z is not None
        self._waiting.append(PhoenixSignal(ts_ns, fsi, imbalance, ldr, oi_z, lpi, is_valid))


def _size(name: str, value: float) -> float:
    if not 0.0 <= value < NUMBER_MAX:
        raise size_error(name, value)
    return value
