"""LPI engine: trades, quotes, depth, open interest and funding into one snapshot per bucket."""

from __future__ import annotations

import math
from collections import deque
from functools import cache
from typing import Final

from phoenix_schemas.custom_data import (
    BinanceBookDepthPct,
    BinanceFundingRate,
    BinanceOiMetrics,
    BinanceRecord,
)
from phoenix_schemas.signal_records import SignalSnapshot, Validity

from phoenix_signals.clocks import BUY, SECOND_NS
from phoenix_signals.engines.lpi_config import LpiConfig
from phoenix_signals.engines.protocol import (
    NO_QUOTE,
    Quote,
    check_print,
    check_quote,
    scaled,
)
from phoenix_signals.errors import (
    NUMBER_MAX,
    RAW_BITS,
    RAW_MAX,
    TIME_MAX,
    check_config,
    check_time,
    is_integer,
    number_error,
    size_error,
    time_error,
)
from phoenix_signals.estimator import Versioned
from phoenix_signals.pressure import (
    Exhaustion,
    LeveragePrior,
    LiquidationPressure,
    standardized,
    standardizer,
)
from phoenix_signals.rolling import RollingSum

DEPTH_EPS = 1.0
"""Added to a depth, in quote currency, so that an empty book does not divide by 0."""

# Flags as plain integers, many times faster to join: a snapshot makes them `Validity` once.
QUOTE_MISSING: Final = Validity.QUOTE_MISSING.value
QUOTE_STALE: Final = Validity.QUOTE_STALE.value
DEPTH_MISSING: Final = Validity.DEPTH_MISSING.value
DEPTH_STALE: Final = Validity.DEPTH_STALE.value
PRESSURE_WARMUP: Final = Validity.PRESSURE_WARMUP.value
LD_WARMUP: Final = Validity.LD_WARMUP.value
LIQUIDITY_CHANGE_WARMUP: Final = Validity.LIQUIDITY_CHANGE_WARMUP.value
EXH_WARMUP: Final = Validity.EXH_WARMUP.value
OPEN_INTEREST_MISSING: Final = Validity.OPEN_INTEREST_MISSING.value
OPEN_INTEREST_STALE: Final = Validity.OPEN_INTEREST_STALE.value
OPEN_INTEREST_WARMUP: Final = Validity.OPEN_INTEREST_WARMUP.value
FUNDING_MISSING: Final = Validity.FUNDING_MISSING.value
FUNDING_WARMUP: Final = Validity.FUNDING_WARMUP.value
RV_WARMUP: Final = Validity.RV_WARMUP.value
AFTER_GAP: Final = Validity.AFTER_GAP.value


validity = cache(Validity)
"""The flags of an integer: looked up, five times faster than made."""


class LpiEngine(Versioned):
    """LPI fast, EXH and LEV per time or notional bucket, from events.

    Formula:
        see `phoenix_signals.pressure`. Per bucket IS sums p q over sells with p < b (1 - eta), IB
        over buys with p > a (1 + eta), (b, a) the quote strictly before the trade. A time bucket
        [i D, (i + 1) D) closes with the first trade or quote at or behind its end, and with it
        every empty one before that event; a notional bucket with the trade that fills it. All else
        is what was known strictly before the close: the last quote, depth, open interest, funding.
    Units: `price_raw` and `size_raw` integers as in the config; see
        [SignalSnapshot][phoenix_schemas.signal_records.SignalSnapshot] for the outputs.
    Clock: event time. `ts_event` is the end of a time bucket, the filling trade of another.
    Warm-up: `z_min_count` buckets; each value has its flag.
    Missing data: a value that lacks an input is None and a flag says which. Without any quote before
        the close, nothing of that bucket enters a window. A gap longer than `max_gap_ns` discards
        the open bucket; the next is marked `AFTER_GAP` and has no bucket before it.
    Errors: time going back, a crossed quote or a trade without price, size or side raises
        `InputError`; the engine stays as it was. Raw values and times are integers. NaN is refused
        at once, and so is a fraction or infinity in a trade that may close a bucket or counts as an
        impulse. A quote of infinity or fractions may pass for the moment, so that the others need
        not wait, and is then refused by the first event that would use it: the error names that
        quote, it is forgotten, and the event was not taken. Time buckets do not use the price and
        size of a print inside the touch, which only have to be above 0, and of the time of an event
        that closes nothing only whether it is earlier; a fraction there is no error.
    Memory: the windows.

    Example:
        >>> engine = LpiEngine(LpiConfig(price_precision=1, size_precision=3, price_increment=0.1))
        >>> engine.on_quote(1, 1000, 1001, 5_000, 5_000)
        False
        >>> engine.on_trade(2, 998, 2_000, -1)  # two tenths below the bid
        False
        >>> engine.on_quote(10_000_000_000, 999, 1000, 5_000, 5_000)
        True
        >>> snapshot = engine.maybe_emit()
        >>> snapshot.ts_event, snapshot.zero_impulse_share, round(snapshot.spread, 6)
        (10000000000, 0.0, 0.001)
        >>> snapshot.lpi_fast is None, Validity.DEPTH_MISSING in snapshot.validity_flags
        (True, True)

    Source: design note "signals", Pressure indices, 1.
    """

    ID = "lpi_engine"
    VERSION = 1
    EXAMPLES = (
        {"config": LpiConfig(
            price_precision=2, size_precision=3, price_increment=0.1, z_min_count=5,
            z_window_buckets=20, bucket_interval_ns=SECOND_NS, rv_window_buckets=5,
        )},
        {"config": LpiConfig(
            price_precision=2, size_precision=3, price_increment=0.1, z_min_count=5,
            z_window_buckets=20, bucket_mode="notional", bucket_notional=50_000.0,
            use_depth=False, eta_bps=1.0, rv_window_buckets=5,
        )},
    )  # fmt: skip

    __slots__ = (
        "_after_gap", "_ask", "_ask_before", "_ask_size", "_before", "_bid", "_bid_before",
        "_bid_size", "_buy_impulse", "_buy_num", "_change", "_change_z", "_deadline", "_den",
        "_depth", "_depth_ts", "_exhaustion", "_fill", "_filled", "_funding_seen", "_is_touch",
        "_last_mid", "_last_spread", "_leverage", "_notional_unit", "_now", "_oi_ts", "_pressure",
        "_price_unit", "_quiet_until", "_quote_ts", "_rows", "_rows_ts", "_rv", "_sell_impulse",
        "_sell_num", "_sides", "_sides_ts", "_strict", "_tick_raw", "_waiting", "_zeros",
        "_zeros_count", "config",
    )  # fmt: skip

    def __init__(self, config: LpiConfig) -> None:
        self.config = check_config(config, LpiConfig)
        window = config.z_window_buckets, config.z_min_count, config.z_kind, config.z_clip
        self._pressure = LiquidationPressure(*window, config.lambda_ld, config.liquidity_mode)
        self._exhaustion = Exhaustion(*window)
        self._leverage = LeveragePrior(
            config.oi_window_rows,
            config.funding_window_rows,
            config.z_min_count,
            config.z_kind,
            config.z_clip,
            config.lambda_f,
        )
        # Changes of depth, once per snapshot, or of the spread, once per bucket.
        self._change = standardizer(
            config.z_kind, config.z_window_buckets, config.z_min_count, config.z_clip
        )
        self._change_z: float | None = None
        self._rv = RollingSum(config.rv_window_buckets)
        self._last_mid: int | None = None
        self._last_spread: float | None = None
        self._zeros: deque[bool] = deque(maxlen=config.z_window_buckets)
        self._zeros_count = 0
        # Known strictly before the next close: the last depth and open interest.
        self._depth = 0.0
        self._depth_ts = self._oi_ts = -1
        self._funding_seen = False
        # Rows of custom data that may still be too young for the next close, oldest first.
        self._rows: deque[tuple[int, str, float]] = deque()
        self._rows_ts = -1
        self._sides: dict[float, float] = {}
        self._sides_ts = -1
        # The open bucket, in raw units.
        self._sell_impulse = self._buy_impulse = self._filled = 0
        self._fill = 0  # the notional that closes a bucket, 0 for time buckets
        if config.bucket_mode == "notional":
            self._fill = scaled(
                "bucket_notional", config.bucket_notional, config.notional_precision
            )
        self._after_gap = False
        self._tick_raw = scaled("price_increment", config.price_increment, config.price_precision)
        self._price_unit = 10**config.price_precision
        self._notional_unit = 10**config.notional_precision
        # An impulse sells below bid * _sell_num / _den, or buys above ask * _buy_num / _den.
        eta = config.eta
        self._den = eta.denominator
        self._is_touch = eta == 0  # anything beyond the touch is an impulse
        self._sell_num = eta.denominator - eta.numerator
        self._buy_num = eta.denominator + eta.numerator
        # The last quote, and the touch of the last one of an earlier time than that.
        self._bid, self._ask, self._bid_size, self._ask_size, self._quote_ts = NO_QUOTE
        self._bid_before, self._ask_before = NO_QUOTE[:2]
        self._before: Quote = NO_QUOTE  # all of it, where a trade may close a bucket
        self._strict = config.impulse_quote == "strictly_before"
        self._now = -1
        self._deadline = 0  # nothing happens before it: the bucket's end, or the gap's bound
        self._quiet_until = 0  # the same, but 0 where any trade may close a bucket
        self._waiting: deque[SignalSnapshot] = deque()

    def on_quote(
        self, ts_ns: int, bid_raw: int, ask_raw: int, bid_size_raw: int, ask_size_raw: int
    ) -> bool:
        """Take a quote of the best bid and ask; True when a snapshot waits."""
        # The short way, for nearly every quote: it closes nothing. One comparison at a time: a chain
        # of them takes longer.
        if (
            bid_raw > 0
            and ask_raw >= bid_raw
            and bid_size_raw >= 0
            and ask_size_raw >= 0
            and ts_ns < self._quiet_until
        ):
            if ts_ns > self._now:
                self._bid_before = self._bid
                self._ask_before = self._ask
                self._now = ts_ns
            elif ts_ns < self._now:
                raise time_error(ts_ns, self._now)
            elif ts_ns != self._quote_ts:
                self._bid_before = self._bid
                self._ask_before = self._ask
            self._bid = bid_raw
            self._ask = ask_raw
            self._bid_size = bid_size_raw
            self._ask_size = ask_size_raw
            self._quote_ts = ts_ns
            return False
        return self._take_quote(ts_ns, bid_raw, ask_raw, bid_size_raw, ask_size_raw)

    def on_trade(self, ts_ns: int, price_raw: int, size_raw: int, side: int) -> bool:
        """Take a trade, side +1 (buyer was the aggressor) or -1; True when a snapshot waits."""
        # The short way: it closes nothing. No more is loaded and compared than this side needs, and BUY
        # and SELL are literals: every name costs. Only beyond the touch is eta worth two products.
        if not (size_raw > 0 and ts_ns < self._quiet_until):
            return self._take_trade(ts_ns, price_raw, size_raw, side)
        try:
            if side == 1:
                ask = self._ask
                if ts_ns <= self._now:
                    if ts_ns < self._now:
                        raise time_error(ts_ns, self._now)
                    if ts_ns == self._quote_ts and self._strict:
                        ask = self._ask_before
                if price_raw > ask:
                    impulse = price_raw * size_raw
                    if not impulse >> RAW_BITS:
                        if self._is_touch or price_raw * self._den > ask * self._buy_num:
                            self._buy_impulse += impulse
                        self._now = ts_ns
                        return False
                elif price_raw > 0:
                    self._now = ts_ns
                    return False
            elif side == -1:
                bid = self._bid
                if ts_ns <= self._now:
                    if ts_ns < self._now:
                        raise time_error(ts_ns, self._now)
                    if ts_ns == self._quote_ts and self._strict:
                        bid = self._bid_before
                if price_raw < bid:
                    impulse = price_raw * size_raw
                    if price_raw > 0 and not impulse >> RAW_BITS and bid <= RAW_MAX:
                        if self._is_touch or price_raw * self._den < bid * self._sell_num:
                            self._sell_impulse += impulse
                        self._now = ts_ns
                        return False
                elif price_raw <= self._ask:
                    self._now = ts_ns
                    return False
        except TypeError:  # a fraction has no bits to shift
            check_print(price_raw, size_raw, side)
        return self._take_trade(ts_ns, price_raw, size_raw, side)

    def on_bar(
        self,
        ts_ns: int,
        open_raw: int,
        high_raw: int,
        low_raw: int,
        close_raw: int,
        volume_raw: int,
    ) -> bool:
        """Bars say nothing that trades do not; False."""
        del ts_ns, open_raw, high_raw, low_raw, close_raw, volume_raw
        return False

    def on_custom_data(self, data: BinanceRecord) -> bool:
        """Take a row of bookDepth, metrics or fundingRate; it closes no bucket, so False.

        Raises:
            InputError: time going back, or a negative notional or open interest.
        """
        ts_ns = data.ts_init
        check_time(ts_ns, max(self._rows_ts, self._now))
        if isinstance(data, BinanceBookDepthPct):
            self._take_depth(ts_ns, data.percentage, float(data.notional))
        elif isinstance(data, BinanceOiMetrics):
            if data.sum_open_interest is not None and self.config.use_open_interest:
                open_interest = float(data.sum_open_interest)
                if not 0.0 <= open_interest < NUMBER_MAX:
                    raise size_error("sum_open_interest", open_interest)
                self._rows.append((ts_ns, "open_interest", open_interest))
        elif isinstance(data, BinanceFundingRate) and self.config.use_open_interest:
            rate = float(data.rate)
            if not -NUMBER_MAX < rate < NUMBER_MAX:
                raise number_error("rate", rate)
            self._rows.append((ts_ns, "funding", rate))
        self._rows_ts = ts_ns
        # The next close is not before the end of a time bucket; behind a gap it comes later still.
        is_open = self.config.bucket_mode == "time" and ts_ns - self._now <= self.config.max_gap_ns
        self._absorb(min(ts_ns, self._deadline) if is_open else ts_ns)
        return False

    def maybe_emit(self) -> SignalSnapshot | None:
        """The oldest snapshot not handed out yet, None when there is none."""
        return self._waiting.popleft() if self._waiting else None

    def _take_quote(
        self, ts_ns: int, bid_raw: int, ask_raw: int, bid_size_raw: int, ask_size_raw: int
    ) -> bool:
        """Take any quote."""
        check_quote(bid_raw, ask_raw, bid_size_raw, ask_size_raw)
        closed = self._advance(ts_ns)
        if self._quote_ts != ts_ns:
            self._before = self._quote()
            self._bid_before = self._bid
            self._ask_before = self._ask
        self._bid = bid_raw
        self._ask = ask_raw
        self._bid_size = bid_size_raw
        self._ask_size = ask_size_raw
        self._quote_ts = ts_ns
        return closed

    def _take_trade(self, ts_ns: int, price_raw: int, size_raw: int, side: int) -> bool:
        """Take any trade."""
        check_print(price_raw, size_raw, side)
        closed = self._advance(ts_ns)
        is_tie = self._quote_ts == ts_ns
        if side == BUY:
            ask = self._ask_before if is_tie and self._strict else self._ask
            if price_raw * self._den > ask * self._buy_num:
                self._buy_impulse += price_raw * size_raw
        else:
            bid = self._bid_before if is_tie and self._strict else self._bid
            if price_raw * self._den < bid * self._sell_num:
                self._sell_impulse += price_raw * size_raw
        if self._fill:
            self._filled += price_raw * size_raw
            if self._filled >= self._fill:
                self._close(ts_ns, self._before if is_tie else self._quote())
                return True
        return closed

    def _quote(self) -> Quote:
        return self._bid, self._ask, self._bid_size, self._ask_size, self._quote_ts

    def _advance(self, ts_ns: int) -> bool:
        """Go on to a time; True when that closed buckets."""
        now = self._now
        if not now <= ts_ns <= TIME_MAX or (type(ts_ns) is not int and not is_integer(ts_ns)):
            raise time_error(ts_ns, now)
        if self._quiet_until and self._quote_ts >= 0:
            self._check_held()
        closed = ts_ns >= self._deadline and self._turn(ts_ns)
        self._now = ts_ns
        return closed

    def _check_held(self) -> None:
        """Refuse a held quote that the short way should not have taken, and forget it."""
        touch = self._bid_before, self._ask_before
        try:  # none is negative or NaN
            bits = self._bid | self._ask | self._bid_size | self._ask_size | touch[0] | touch[1]
            if bits <= RAW_MAX:
                return
        except TypeError:
            pass
        held, ts_ns = self._quote(), self._quote_ts
        self._bid, self._ask, self._bid_size, self._ask_size, self._quote_ts = NO_QUOTE
        self._bid_before, self._ask_before = NO_QUOTE[:2]
        check_quote(*held[:4], f"quote at ts_ns {ts_ns}")
        check_quote(*touch, 0, 0, f"quote before ts_ns {ts_ns}")

    def _take_depth(self, ts_ns: int, percentage: float, notional: float) -> None:
        if not 0.0 <= notional < NUMBER_MAX:
            raise size_error("notional", notional)
        if not self.config.use_depth or abs(percentage) != self.config.depth_pct:
            return
        if ts_ns != self._sides_ts:
            self._sides.clear()
            self._sides_ts = ts_ns
        if percentage in self._sides:
            return  # the level twice in one snapshot: the first counts
        self._sides[percentage] = notional
        if len(self._sides) == 2:
            self._rows.append((ts_ns, "depth", sum(self._sides.values())))

    def _absorb(self, before_ns: int) -> None:
        """Take over the rows that are known strictly before a time."""
        rows = self._rows
        while rows and rows[0][0] < before_ns:
            ts_ns, kind, value = rows.popleft()
            if kind == "depth":
                if self._depth_ts >= 0:
                    self._change_z = standardized(self._change, value - self._depth)
                self._depth = value
                self._depth_ts = ts_ns
            elif kind == "open_interest":
                self._leverage.update(value, None)
                self._oi_ts = ts_ns
            else:
                self._leverage.update(None, value)
                self._funding_seen = True

    def _turn(self, ts_ns: int) -> bool:
        """Close the time buckets that ended, or start anew behind a gap."""
        now = self._now
        config = self.config
        width = config.bucket_interval_ns
        is_gap = ts_ns - now > config.max_gap_ns
        if now >= 0 and is_gap:
            self._sell_impulse = self._buy_impulse = self._filled = 0
            self._exhaustion.interrupt()
            self._last_mid = self._last_spread = None
            self._after_gap = True
        if config.bucket_mode == "notional":
            self._deadline = ts_ns + config.max_gap_ns
            return False
        if now < 0 or is_gap:
            self._deadline = self._quiet_until = ts_ns - ts_ns % width + width
            return False
        end = self._deadline
        quote = self._quote()
        while end <= ts_ns:
            self._close(end, quote)
            end += width
        self._deadline = self._quiet_until = end
        return True

    def _close(self, ts_ns: int, quote: Quote) -> None:
        """Turn the open bucket into a snapshot at `ts_ns`, with the quote strictly before it."""
        config = self.config
        if self._rows:
            self._absorb(ts_ns)
        flags = AFTER_GAP if self._after_gap else 0
        self._after_gap = False
        sell, buy = self._sell_impulse, self._buy_impulse
        self._sell_impulse = self._buy_impulse = self._filled = 0
        zeros = self._zeros
        if len(zeros) == config.z_window_buckets:
            self._zeros_count -= zeros[0]
        is_zero = not (sell or buy)
        zeros.append(is_zero)
        self._zeros_count += is_zero

        bid, ask, bid_size, ask_size, quote_ts = quote
        last_spread, last_mid = self._last_spread, self._last_mid
        self._last_spread = self._last_mid = None
        spread = depth_proxy = rv = None
        half_tick = 0.0
        if quote_ts < 0:
            flags |= QUOTE_MISSING
        elif ts_ns - quote_ts > config.quote_max_age_ns:
            flags |= QUOTE_STALE
        else:
            mid = bid + ask  # twice the mid, in raw units
            self._last_mid = mid
            self._last_spread = spread = 2 * (ask - bid) / mid
            half_tick = self._tick_raw / mid
            if not config.use_depth:
                depth_proxy = (bid * bid_size + ask * ask_size) / self._notional_unit
            if last_mid is not None:
                r = math.log1p((mid - last_mid) / last_mid)
                self._rv.update(r * r)
            rv = self._rv.value
            if rv is None:
                flags |= RV_WARMUP

        liquidity = spread
        min_scale = half_tick
        relief = None
        if not config.use_depth:
            if spread is not None and last_spread is not None:
                change = standardized(self._change, spread - last_spread, half_tick)
                relief = None if change is None else -config.lambda_spr * change
            if spread is not None and relief is None:
                flags |= LIQUIDITY_CHANGE_WARMUP
        elif self._depth_ts < 0:
            flags |= DEPTH_MISSING
            liquidity = None
        elif ts_ns - self._depth_ts > config.depth_max_age_ns:
            flags |= DEPTH_STALE
            liquidity = None
        else:
            depth_proxy = self._depth
            if spread is not None:
                unit = self._price_unit
                liquidity = (ask - bid) / unit / (depth_proxy + DEPTH_EPS)
                min_scale = 0.5 * (self._tick_raw / unit) / (depth_proxy + DEPTH_EPS)
            if self._change_z is None:
                flags |= LIQUIDITY_CHANGE_WARMUP
            else:
                relief = config.lambda_liq * self._change_z

        if quote_ts < 0:  # nobody knows which prints were impulses
            self._exhaustion.interrupt()
            lpi = p = ld = exh = delta = None
        else:
            impulse = (sell - buy) / self._notional_unit
            self._pressure.update(impulse, liquidity, min_scale)
            lpi, p, ld = self._pressure.value
            self._exhaustion.update(lpi, relief)
            exh, delta = self._exhaustion.value
            if p is None:
                flags |= PRESSURE_WARMUP
            if ld is None and liquidity is not None:
                flags |= LD_WARMUP
            if exh is None and lpi is not None and relief is not None:
                flags |= EXH_WARMUP
        lev = None
        if config.use_open_interest:
            lev_flags = self._leverage_flags(ts_ns)
            flags |= lev_flags
            if not lev_flags:
                lev = self._leverage.value
        share = self._zeros_count / len(zeros)
        self._waiting.append(
            SignalSnapshot(
                ts_ns, lpi, exh, lev, p, ld, delta, spread, depth_proxy, rv, share, validity(flags)
            )
        )

    def _leverage_flags(self, ts_ns: int) -> int:
        """What LEV lacks at `ts_ns`."""
        flags = 0
        if self._oi_ts < 0:
            flags |= OPEN_INTEREST_MISSING
        elif ts_ns - self._oi_ts > self.config.oi_max_age_ns:
            flags |= OPEN_INTEREST_STALE
        elif self._leverage.oi_z is None:
            flags |= OPEN_INTEREST_WARMUP
        if self.config.lambda_f > 0.0 and self._leverage.funding_z is None:
            flags |= FUNDING_WARMUP if self._funding_seen else FUNDING_MISSING
        return flags
