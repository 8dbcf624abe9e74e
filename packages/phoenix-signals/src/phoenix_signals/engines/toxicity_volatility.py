"""Toxicity-volatility engine: the features of strategy 5, and a direction, at each decision."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from phoenix_schemas.custom_data import (
    BinanceBookDepthPct,
    BinanceFundingRate,
    BinanceOiMetrics,
    BinanceRecord,
)
from phoenix_schemas.signal_records import VolatilityRegime, VolatilitySignal

from phoenix_signals.clocks import BUY, HOUR_NS, MINUTE_NS, SECOND_NS
from phoenix_signals.engines.protocol import NO_QUOTE, Quote, check_print, scaled
from phoenix_signals.errors import (
    ParameterError,
    check_choice,
    check_config,
    check_count,
    check_positive,
    check_raw,
    check_time,
    check_windows,
    is_number,
)
from phoenix_signals.estimator import Versioned
from phoenix_signals.fusion import EnsembleFusion
from phoenix_signals.liquidity import BPS, DepthWithin
from phoenix_signals.orderflow import OrderFlowImbalance
from phoenix_signals.pressure import check_weight
from phoenix_signals.regime import (
    Crowding,
    FlowPressure,
    OiMode,
    ToxicityIndex,
    VolatilityRegimes,
    check_share,
)
from phoenix_signals.rolling import Percentile, ZKind
from phoenix_signals.toxicity import Vpin
from phoenix_signals.volatility import CompressionFactor, EwmaVariance

VpinUnit = Literal["base", "notional"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToxicityVolatilityConfig:
    """Everything that decides the numbers of a toxicity-volatility engine; defaults are preset A.

    Fit `vpin_bucket` (and `toxicity_threshold`, if it is used) on the training range only.

    Raises:
        ParameterError: A value is outside its range; the message names it.
    """

    instrument_id: str
    """Written into each signal."""
    price_precision: int
    """`price_raw` = price * 10^price_precision in every call; 16 for NautilusTrader's `raw`."""
    size_precision: int
    """The same for sizes and volumes."""
    price_increment: float
    """One tick in quote currency; half a tick is the least scale of the spread z."""
    vpin_bucket: float
    """V of VPIN, in base units or in quote currency."""
    vpin_unit: VpinUnit = "base"
    vpin_window_buckets: int = 50
    bar_interval_ns: int = MINUTE_NS
    decision_interval_ns: int = MINUTE_NS
    """A decision falls on each bar that ends one of these intervals of UTC time."""
    half_life_short_bars: float = 30.0
    half_life_long_bars: float = 360.0
    z_window_bars: int = 360
    z_min_count: int = 30
    z_kind: ZKind = "median_mad"
    z_clip: float = 10.0
    svi_window_bars: int = 1
    ofi_window_bars: int = 1
    toxicity_share: float = 0.70
    """Flow is toxic when T is at or above this share of its own history, and VPIN likewise."""
    toxicity_threshold: float | None = None
    """tau, when it was fitted on a training range; None ranks T in its history so far."""
    crowding_threshold: float = 1.0
    a1: float = 1.0
    a2: float = 1.0
    a3: float = 1.0
    oi_mode: OiMode = "additive"
    funding_window_rows: int = 90
    metrics_window_rows: int = 8640
    metrics_max_age_ns: int = 15 * MINUTE_NS
    depth_pct: float = 5.0
    depth_max_age_ns: int = MINUTE_NS
    quote_max_age_ns: int = MINUTE_NS
    spread_share: float = 0.95
    depth_share: float = 0.05
    variance_share: float = 0.90
    hysteresis: float = 0.05
    theta_gain: float = 1.0
    theta_weights: tuple[float, float] = (1.0, 1.0)
    """Of F2 / 3 and of -C / (a1 + a2 + a3) in theta."""
    max_gap_ns: int = HOUR_NS

    def __post_init__(self) -> None:
        check_count("price_precision", self.price_precision, 0, "2, or 16 for Nautilus's raw")
        check_count("size_precision", self.size_precision, 0, "3, or 16 for Nautilus's raw")
        scaled("price_increment", self.price_increment, self.price_precision)
        check_windows(self, "z_window_bars", "funding_window_rows", "metrics_window_rows")
        check_count("vpin_window_buckets", self.vpin_window_buckets, 2, "50")
        check_positive("theta_gain", self.theta_gain, "1")
        weights: Any = self.theta_weights
        if not isinstance(weights, tuple) or len(weights) != 2 or not all(map(is_number, weights)):
            raise ParameterError(
                f"theta_weights must be two finite numbers (was {weights!r}); typical: 1 each"
            )
        for name in ("a1", "a2", "a3"):
            check_weight(name, getattr(self, name))
        if self.crowding_weight == 0.0:
            raise ParameterError("a1 + a2 + a3 must be above 0 (was 0); typical: 1 each")
        check_choice("vpin_unit", self.vpin_unit, ("base", "notional"))
        for name in ("bar_interval_ns", "svi_window_bars", "ofi_window_bars", "max_gap_ns"):
            check_count(name, getattr(self, name), 1, "see the defaults")
        for name in ("metrics_max_age_ns", "depth_max_age_ns", "quote_max_age_ns"):
            check_count(name, getattr(self, name), 0, "60_000_000_000")
        check_count("decision_interval_ns", self.decision_interval_ns, 1, "60_000_000_000")
        if self.decision_interval_ns % self.bar_interval_ns:
            raise ParameterError(
                f"decision_interval_ns must be a multiple of bar_interval_ns "
                f"{self.bar_interval_ns} (was {self.decision_interval_ns}); typical: 1, 5 or 15"
            )
        _parts(self)  # each part checks its own arguments

    @property
    def vpin_bucket_raw(self) -> int:
        """V in raw units."""
        precision = self.size_precision
        if self.vpin_unit == "notional":
            precision += self.price_precision
        return scaled("vpin_bucket", self.vpin_bucket, precision)

    @property
    def crowding_weight(self) -> float:
        """a1 + a2 + a3, which makes C a mean of z-scores."""
        return self.a1 + self.a2 + self.a3

    def is_decision(self, ts_ns: int) -> bool:
        """Whether the bar that closes at `ts_ns` (its last instant, or its end) decides."""
        last = ts_ns - 1
        width = self.decision_interval_ns
        return last // width != (last + self.bar_interval_ns) // width


class ToxicityVolatilityFeatures(NamedTuple):
    """What a decision looks at; None is not known (yet, or any more)."""

    ts_event: int
    """Decision time: the bar's close, ns UTC."""
    f1: float | None
    """z(-VC): high when volatility is compressed."""
    f2: float | None
    """Flow pressure, 0 while toxic."""
    f3: int | None
    """-1 crowded long, +1 crowded short, 0 neither: the position that fades the crowd."""
    crowding: float | None
    """C."""
    funding_z: float | None
    """z of the last funding rate."""
    toxicity: float | None
    """T = z(VPIN) + z(spread)."""
    is_toxic: bool | None
    """T at or above its threshold."""
    regime: VolatilityRegime | None
    """Volatility regime after hysteresis."""
    variance: float | None
    """Exponentially weighted variance of log returns per bar (short half-life)."""
    spread_bps: float | None
    """Quoted spread at the close."""
    vpin: float | None
    """VPIN of the last closed bucket."""
    vpin_reference: float | None
    """The `toxicity_share` quantile of all VPIN so far."""
    theta: float | None
    """Fused direction in (-1, 1)."""


class _Parts(NamedTuple):
    compression: CompressionFactor
    variance: EwmaVariance
    vpin: Vpin
    vpin_rank: Percentile
    toxicity: ToxicityIndex
    toxicity_rank: Percentile
    pressure: FlowPressure
    crowding: Crowding
    regimes: VolatilityRegimes
    depth: DepthWithin
    theta: EnsembleFusion


def _parts(config: ToxicityVolatilityConfig) -> _Parts:
    """The estimators that a config describes."""
    kind: ZKind = config.z_kind
    window = config.z_window_bars, config.z_min_count, kind, config.z_clip
    check_share("toxicity_share", config.toxicity_share, "0.70")
    return _Parts(
        CompressionFactor(config.half_life_short_bars, config.half_life_long_bars, *window),
        EwmaVariance(config.half_life_short_bars, config.z_min_count),
        Vpin(config.vpin_bucket_raw, config.vpin_window_buckets, config.max_gap_ns),
        Percentile(None, config.z_min_count),
        ToxicityIndex(*window),
        Percentile(None, config.z_min_count),
        FlowPressure(*window),
        Crowding(
            config.crowding_threshold,
            config.a1,
            config.a2,
            config.a3,
            config.oi_mode,
            config.funding_window_rows,
            config.metrics_window_rows,
            config.z_min_count,
            config.z_kind,
            config.z_clip,
        ),
        VolatilityRegimes(
            config.z_min_count,
            config.spread_share,
            config.depth_share,
            config.variance_share,
            config.hysteresis,
        ),
        DepthWithin(config.depth_pct),
        EnsembleFusion(config.theta_weights, (0, 0), gain=config.theta_gain),
    )


class ToxicityVolatilityEngine(Versioned):
    """F1, F2, F3, regime and direction at each decision; an alert when VPIN crosses in between.

    Formula:
        F1 = z(-VC) of bars; T = z(VPIN) + z(spread), F2 = [z(OBI) + z(SVI) + z(sum OFI)] 1{T < tau},
        both sampled at each bar's close; C and F3 from rows of funding and metrics; the volatility
        regime from variance, spread and depth. theta = tanh(gain (w_f F2 / 3 - w_c C / (a1 + a2 +
        a3)) / (w_f + w_c)) over the fresh ones, each clipped at 3. Flows of a bar are those since
        the bar before. Everything at or before the close counts: a bar comes last of its time.
    Units: `..._raw` integers as in the config; see
        [VolatilitySignal][phoenix_schemas.signal_records.VolatilitySignal] and
        [ToxicityVolatilityFeatures][phoenix_signals.engines.ToxicityVolatilityFeatures].
    Clock: volatility on bars, VPIN on volume buckets, liquidity on quotes, crowding on rows; a
        decision on the bars that end a `decision_interval_ns`. Between decisions, a signal with the
        last decision's direction at the trade with which VPIN's rank crosses `toxicity_share`.
    Warm-up: that of each part; `valid` when all are known.
    Missing data: an old quote or depth, or old metrics, gives None in what needs it.
    Errors: time going back, a crossed quote or an impossible trade or bar raises `InputError`.
    Memory: windows, and the history of T, VPIN, variance, spread and depth for their ranks.

    Example:
        >>> config = ToxicityVolatilityConfig(
        ...     instrument_id="BTCUSDT-PERP.BINANCE", price_precision=2, size_precision=3,
        ...     price_increment=0.1, vpin_bucket=10.0,
        ... )
        >>> engine = ToxicityVolatilityEngine(config)
        >>> engine.on_bar(59_999_000_000, 100, 110, 90, 100, 5_000)
        True
        >>> signal = engine.maybe_emit()
        >>> signal.ts_event, signal.theta, str(signal.regime), signal.valid
        (59999000000, None, 'NORMAL', False)
        >>> engine.features.f1 is None
        True

    Source: design note "signals", Regime and Fusion.
    """

    ID = "toxicity_volatility_engine"
    VERSION = 1
    EXAMPLES = (
        {"config": ToxicityVolatilityConfig(
            instrument_id="BTCUSDT-PERP.BINANCE", price_precision=2, size_precision=3,
            price_increment=0.1, vpin_bucket=2.0, vpin_window_buckets=10, bar_interval_ns=SECOND_NS,
            decision_interval_ns=SECOND_NS, half_life_short_bars=3, half_life_long_bars=9,
            z_window_bars=20, z_min_count=5, funding_window_rows=6, metrics_window_rows=12,
        )},
        {"config": ToxicityVolatilityConfig(
            instrument_id="BTCUSDT-PERP.BINANCE", price_precision=2, size_precision=3,
            price_increment=0.1, vpin_bucket=50_000.0, vpin_unit="notional", vpin_window_buckets=5,
            bar_interval_ns=SECOND_NS, decision_interval_ns=5 * SECOND_NS, half_life_short_bars=4,
            half_life_long_bars=8, z_window_bars=15, z_min_count=4, svi_window_bars=3,
            ofi_window_bars=2, toxicity_threshold=0.5, oi_mode="amplify", funding_window_rows=6,
            metrics_window_rows=12, z_kind="mean_std", theta_weights=(2.0, 0.5),
        )},
    )  # fmt: skip

    __slots__ = (
        "_compression", "_crowding", "_depth", "_depth_ts", "_flow", "_flows", "_is_alert",
        "_metrics_ts", "_now", "_ofi", "_ofi_sum", "_ofis", "_pressure", "_quote", "_regimes",
        "_theta", "_tick_raw", "_toxicity", "_toxicity_rank", "_traded", "_variance",
        "_vpin", "_vpin_rank", "_waiting", "config", "features",
    )  # fmt: skip

    def __init__(self, config: ToxicityVolatilityConfig) -> None:
        self.config = check_config(config, ToxicityVolatilityConfig)
        (
            self._compression,
            self._variance,
            self._vpin,
            self._vpin_rank,
            self._toxicity,
            self._toxicity_rank,
            self._pressure,
            self._crowding,
            self._regimes,
            self._depth,
            self._theta,
        ) = _parts(config)
        self._tick_raw = scaled("price_increment", config.price_increment, config.price_precision)
        self._is_alert = False
        # Flows since the last bar, and of the last bars: (signed, total) volume and summed OFI.
        self._flow = self._traded = self._ofi_sum = 0
        self._flows: deque[tuple[int, int]] = deque(maxlen=config.svi_window_bars)
        self._ofis: deque[int] = deque(maxlen=config.ofi_window_bars)
        self._ofi = OrderFlowImbalance()
        self._quote: Quote = NO_QUOTE
        self._now = 0
        self._depth_ts = self._metrics_ts = -1
        self.features: ToxicityVolatilityFeatures | None = None
        self._waiting: deque[VolatilitySignal] = deque()

    def on_trade(self, ts_ns: int, price_raw: int, size_raw: int, side: int) -> bool:
        """Take a trade, side +1 (buyer was the aggressor) or -1; True when VPIN raised an alert."""
        check_print(price_raw, size_raw, side)
        check_time(ts_ns, self._now)
        amount = size_raw if self.config.vpin_unit == "base" else price_raw * size_raw
        is_new = self._vpin.update(ts_ns, amount, side)
        self._now = ts_ns
        self._traded += size_raw
        self._flow += size_raw if side == BUY else -size_raw
        return is_new and self._rank_vpin(ts_ns)

    def on_quote(
        self, ts_ns: int, bid_raw: int, ask_raw: int, bid_size_raw: int, ask_size_raw: int
    ) -> bool:
        """Take a quote of the best bid and ask; it decides nothing by itself, so False."""
        check_time(ts_ns, self._now)
        ofi = self._ofi
        ofi.update(bid_raw, ask_raw, bid_size_raw, ask_size_raw)
        self._now = ts_ns
        self._ofi_sum += ofi.value or 0
        self._quote = (bid_raw, ask_raw, bid_size_raw, ask_size_raw, ts_ns)
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
        """Take a bar at its close; True when it decides, and a signal waits."""
        check_time(ts_ns, self._now)
        check_raw("open_raw", open_raw, 1)
        check_raw("high_raw", high_raw, 1)
        check_raw("low_raw", low_raw, 1)
        check_raw("close_raw", close_raw, 1)
        check_raw("volume_raw", volume_raw, 0)
        config = self.config
        unit = 10**config.price_precision
        prices = open_raw / unit, high_raw / unit, low_raw / unit, close_raw / unit
        self._compression.update(*prices)
        self._variance.update(prices[3])
        self._now = ts_ns
        spread, half_tick, obi = self._book(ts_ns)
        svi, ofi = self._flows_of_bars()
        self._toxicity.update(self._vpin.value, spread, half_tick)
        is_toxic = self._toxic()
        self._pressure.update(obi, svi, ofi, None if is_toxic is None else int(is_toxic))
        is_deep = self._depth_ts >= 0 and ts_ns - self._depth_ts <= config.depth_max_age_ns
        depth = self._depth.value if is_deep else None
        self._regimes.update(self._variance.value, spread, depth)
        if not config.is_decision(ts_ns):
            return False
        self._decide(ts_ns, None if spread is None else BPS * spread, is_toxic)
        return True

    def on_custom_data(self, data: BinanceRecord) -> bool:
        """Take a row of bookDepth, metrics or fundingRate; it decides nothing by itself, so False.

        An open interest or ratio of 0, which the archive holds now and then, counts as missing.

        Raises:
            InputError: time going back, or a negative notional.
        """
        ts_ns = data.ts_init
        check_time(ts_ns, self._now)
        if isinstance(data, BinanceBookDepthPct):
            self._take_depth(ts_ns, data.percentage, float(data.notional))
        elif isinstance(data, BinanceOiMetrics):
            interest = data.sum_open_interest
            ratio = data.count_long_short_ratio
            self._crowding.update(None, float(interest) if interest else None, ratio or None)
            self._metrics_ts = ts_ns
        elif isinstance(data, BinanceFundingRate):
            self._crowding.update(float(data.rate), None, None)
        self._now = ts_ns
        return False

    def maybe_emit(self) -> VolatilitySignal | None:
        """The oldest signal not handed out yet, None when there is none."""
        return self._waiting.popleft() if self._waiting else None

    def _take_depth(self, ts_ns: int, percentage: float, notional: float) -> None:
        if abs(percentage) == self.config.depth_pct:
            self._depth.update(ts_ns, percentage, notional)
            if self._depth.snapshot_ts_ns is not None:
                self._depth_ts = self._depth.snapshot_ts_ns

    def _book(self, ts_ns: int) -> tuple[float | None, float, float | None]:
        """Relative spread, half a tick in its unit, and queue imbalance; None when stale."""
        bid, ask, bid_size, ask_size, quote_ts = self._quote
        if quote_ts < 0 or ts_ns - quote_ts > self.config.quote_max_age_ns:
            return None, 0.0, None
        total = bid_size + ask_size
        mid = bid + ask  # twice the mid, in raw units
        obi = (bid_size - ask_size) / total if total else None
        return 2 * (ask - bid) / mid, self._tick_raw / mid, obi

    def _flows_of_bars(self) -> tuple[float | None, float | None]:
        """SVI and the sum of OFI over their bars, the one that closes now included."""
        self._flows.append((self._flow, self._traded))
        self._ofis.append(self._ofi_sum)
        self._flow = self._traded = self._ofi_sum = 0
        svi = ofi = None
        if len(self._flows) == self.config.svi_window_bars:
            traded = sum(total for _, total in self._flows)
            svi = sum(flow for flow, _ in self._flows) / traded if traded else None
        if len(self._ofis) == self.config.ofi_window_bars:
            ofi = sum(self._ofis) / 10**self.config.size_precision
        return svi, ofi

    def _toxic(self) -> bool | None:
        """Whether T is at or above tau, or its rank at or above `toxicity_share`."""
        t = self._toxicity.value
        if t is None:
            return None
        tau = self.config.toxicity_threshold
        if tau is not None:
            return t >= tau
        self._toxicity_rank.update(t)
        rank = self._toxicity_rank.value
        return None if rank is None else rank >= self.config.toxicity_share

    def _rank_vpin(self, ts_ns: int) -> bool:
        """Rank a new VPIN; between decisions, tell when the rank crosses `toxicity_share`."""
        vpin = self._vpin.value
        if vpin is None:
            return False
        self._vpin_rank.update(vpin)
        rank = self._vpin_rank.value
        is_alert = rank is not None and rank >= self.config.toxicity_share
        if is_alert == self._is_alert:
            return False
        self._is_alert = is_alert
        if self.features is None:
            return False
        self._signal(self.features._replace(ts_event=ts_ns, vpin=vpin))
        return True

    def _decide(self, ts_ns: int, spread_bps: float | None, is_toxic: bool | None) -> None:
        config = self.config
        crowd = self._crowding.value
        is_known = self._metrics_ts >= 0 and ts_ns - self._metrics_ts <= config.metrics_max_age_ns
        if (config.a2 or config.a3) and not is_known:
            crowd = crowd._replace(crowding=None, f3=None)
        f2 = self._pressure.value.f2
        faded = None if crowd.crowding is None else -crowd.crowding / config.crowding_weight
        self._theta.update(ts_ns, (None if f2 is None else f2 / 3.0, faded))
        f3 = crowd.f3
        self.features = ToxicityVolatilityFeatures(
            ts_event=ts_ns,
            f1=self._compression.value,
            f2=f2,
            f3=None if f3 is None else int(f3),
            crowding=crowd.crowding,
            funding_z=crowd.funding_z,
            toxicity=self._toxicity.value,
            is_toxic=is_toxic,
            regime=self._regimes.regime,
            variance=self._variance.value,
            spread_bps=spread_bps,
            vpin=self._vpin.value,
            vpin_reference=self._vpin_rank.quantile(config.toxicity_share),
            theta=self._theta.value,
        )
        self._signal(self.features)

    def _signal(self, f: ToxicityVolatilityFeatures) -> None:
        self._waiting.append(
            VolatilitySignal(
                f.ts_event,
                self.config.instrument_id,
                f.theta,
                None if f.theta is None else abs(f.theta),
                f.regime or VolatilityRegime.NORMAL,
                f.variance,
                f.vpin,
                valid=None not in (f.f1, f.f2, f.f3, f.regime, f.variance, f.vpin, f.spread_bps),
            )
        )
