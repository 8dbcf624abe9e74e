"""Phoenix LPI: with a liquidation cascade while it runs, against it once it is exhausted.

The signal is liquidation pressure (LPI, positive = forced selling) and its exhaustion (EXH, higher
= the pressure fades and liquidity returns), once per bucket. When |LPI| >= theta_lpi:

- EXH <= theta_exh_low, **momentum**: go with the pressure (LPI > 0 sells), market orders. Out on
  the time stop, when EXH reaches theta_exh_high, or when the spread gate says no.
- EXH >= theta_exh_high, **mean reversion**: go against it (LPI > 0 buys), post-only, in tranches
  if asked, each with a time limit. Out when |LPI| <= lpi_exit_abs, on the time stop, on the markout
  guard, or when the pressure accelerates again: same sign, |LPI| above its value at entry, EXH <=
  theta_exh_low.
- in between: no trade.

Read from top to bottom: settings, policy (pure), strategy (translates events).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from nautilus_trader.model import AggressorSide, QuoteTick, TradeTick
from phoenix_schemas.custom_data import BinanceRecord
from phoenix_schemas.signal_records import SignalSnapshot
from phoenix_signals.engines import LpiConfig, LpiEngine

from phoenix_strategies.gates import MINUTE_NS, MS_NS, Gates, GatesConfig, MarketState
from phoenix_strategies.intents import BUY, SELL, Limit, Market
from phoenix_strategies.one_position import RAW_PRECISION, OnePosition, aggressor, raw_quote
from phoenix_strategies.order_ledger import OrderState
from phoenix_strategies.order_rules import touch_price
from phoenix_strategies.settings import StrategySettings
from phoenix_strategies.sizing import Caps, size_fixed
from phoenix_strategies.stops import MarkoutGuard, MarkoutGuardConfig
from phoenix_strategies.trade_cycle import Decision

Variant = Literal["momentum", "mean_reversion"]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class PhoenixLpiSettings(StrategySettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of `phoenix_lpi`; names and defaults are the published ones unless noted."""

    trade_size: Decimal = Decimal("0.01")
    """Position in base currency, split over the tranches."""
    caps: Caps = Caps()
    """Upper bounds on the position, beside the fixed size."""

    # Signal
    bucket_mode: Literal["time", "notional"] = "time"
    bucket_interval_ms: Count = 10_000
    bucket_notional_threshold: Positive = 1_000_000.0
    eta_bps: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """How far through the touch a trade must print to count; the published 5 selects almost nothing
    in calm markets."""
    use_depth_pct: bool = True
    """Liquidity from depth within depth_pct_abs percent, else from the spread alone."""
    depth_pct_abs: Positive = 5.0
    use_zscore: bool = True
    z_kind: Literal["median_mad", "mean_std"] = "median_mad"
    z_window_buckets: Annotated[int, msgspec.Meta(ge=2)] = 600
    z_min_count: Annotated[int, msgspec.Meta(ge=2)] = 30
    z_clip: Positive = 10.0
    liquidity_mode: Literal["signed", "additive"] = "signed"
    lambda_ld: float = 1.0
    lambda_liq: float = 1.0
    lambda_spr: float = 1.0
    lambda_f: float = 1.0

    # Decision
    momentum_enabled: bool = True
    mean_rev_enabled: bool = True
    theta_lpi: Positive = 2.0
    theta_exh_low: float = -0.5
    theta_exh_high: float = 0.5
    lpi_exit_abs: Annotated[float, msgspec.Meta(ge=0)] = 0.5
    lev_min: float | None = None
    """Least leverage prior for a mean-reversion entry; None leaves the open-interest prior out."""
    max_hold_buckets_momentum: Count = 10
    max_hold_buckets_mean_rev: Count = 60
    markout_guard: MarkoutGuardConfig | None = None

    # Execution
    momentum_use_market: bool = True
    """False posts momentum entries at the touch: with mean_rev_post_only, maker only."""
    mean_rev_post_only: bool = True
    """False crosses the spread with market orders."""
    mean_rev_improve_ticks: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Ticks inside the touch, never through it."""
    mean_rev_tranches: Count = 1
    mean_rev_tranche_ticks: Count = 1
    """Distance between tranches."""
    entry_ttl_buckets: Count = 5

    # Gates
    quote_max_age_ms: int | None = 1_000
    max_rel_spread_bps: float | None = 20.0
    depth_max_age_ms: int | None = 60_000
    """The published 5000 is shorter than the half minute between snapshots."""
    min_depth_notional: float = 0.0
    gates: GatesConfig = GatesConfig()
    """Any further gates."""

    def __post_init__(self) -> None:
        if self.theta_exh_low >= self.theta_exh_high:
            raise ValueError(
                f"theta_exh_low must be < theta_exh_high = {self.theta_exh_high} "
                f"(was {self.theta_exh_low}); -0.5 and 0.5"
            )
        if self.lpi_exit_abs >= self.theta_lpi:
            raise ValueError(
                f"lpi_exit_abs must be < theta_lpi = {self.theta_lpi} (was {self.lpi_exit_abs}); 0.5"
            )
        if not (self.momentum_enabled or self.mean_rev_enabled):
            raise ValueError("momentum_enabled or mean_rev_enabled must be true (was neither)")
        self.all_gates()
        self.engine_config(0.1)  # the engine's own bounds

    @property
    def needs_funding(self) -> bool:
        """Whether funding times or rates decide anything."""
        return self.lev_min is not None or self.gates.funding_window_minutes is not None

    @property
    def longest_holding_ns(self) -> int:
        """The later of the time stops in use; 0 with notional buckets, which take any time."""
        if self.bucket_mode == "notional":
            return 0
        buckets = max(
            self.max_hold_buckets_momentum if self.momentum_enabled else 0,
            self.max_hold_buckets_mean_rev if self.mean_rev_enabled else 0,
        )
        return buckets * self.bucket_interval_ms * MS_NS

    def engine_config(self, price_increment: float) -> LpiConfig:
        """The signal engine's parameters, for prices and sizes as Nautilus's raw integers."""
        return LpiConfig(
            price_precision=RAW_PRECISION,
            size_precision=RAW_PRECISION,
            price_increment=price_increment,
            bucket_mode=self.bucket_mode,
            bucket_interval_ns=self.bucket_interval_ms * MS_NS,
            bucket_notional=self.bucket_notional_threshold,
            eta_bps=self.eta_bps,
            use_depth=self.use_depth_pct,
            depth_pct=self.depth_pct_abs,
            depth_max_age_ns=(self.depth_max_age_ms or 60_000) * MS_NS,
            z_kind=self.z_kind if self.use_zscore else "none",
            z_window_buckets=self.z_window_buckets,
            z_min_count=self.z_min_count,
            z_clip=self.z_clip,
            liquidity_mode=self.liquidity_mode,
            lambda_ld=self.lambda_ld,
            lambda_liq=self.lambda_liq,
            lambda_spr=self.lambda_spr,
            lambda_f=self.lambda_f,
            use_open_interest=self.lev_min is not None,
        )

    def all_gates(self) -> GatesConfig:
        """The gates named at the top level together with those under `gates`."""
        top: dict[str, float | None] = {
            "quote_max_age_ms": self.quote_max_age_ms,
            "max_rel_spread_bps": self.max_rel_spread_bps,
            "depth_max_age_ms": self.depth_max_age_ms if self.use_depth_pct else None,
            "min_depth_notional": self.min_depth_notional if self.use_depth_pct else None,
        }
        for name in top:
            if getattr(self.gates, name) is not None:
                raise ValueError(f"gates.{name} must stand beside gates, as {name}, not inside")
        return msgspec.structs.replace(self.gates, **top)


@dataclass(slots=True)
class LpiTrade:
    """What the exits need to know of the trade in progress."""

    variant: Variant
    side: int
    bucket: int
    """Number of the bucket of the entry decision."""
    lpi: float


class PhoenixLpiPolicy:
    """Decides once per closed bucket; exits first, whatever the gates and validity say."""

    def __init__(self, settings: PhoenixLpiSettings) -> None:
        self.settings = settings
        self.gates = Gates(settings.all_gates())
        self.trade: LpiTrade | None = None
        self.bucket = -1

    def decide(
        self, snapshot: SignalSnapshot, market: MarketState, *, side: int, entering: bool
    ) -> Decision:
        """One closed bucket.

        `side` is the position's (+1, 0, -1) and `entering` whether an entry still works, both from
        the order events. Without either, the trade is over.
        """
        self.bucket += 1
        if side == 0 and not entering:
            self.trade = None
        if self.trade is not None:
            return self._exit(self.trade, snapshot, market, side, entering)
        return self._entry(snapshot, market)

    def _exit(
        self, trade: LpiTrade, s: SignalSnapshot, market: MarketState, side: int, entering: bool
    ) -> Decision:
        settings = self.settings
        if (kill := self.gates.must_flatten(market)) is not None:
            return Decision("leave", f"{kill.gate}: {kill.why}", gate=kill.gate)
        age = self.bucket - trade.bucket
        lpi, exh = s.lpi_fast, s.exh
        if trade.variant == "momentum":
            if age >= settings.max_hold_buckets_momentum:
                return Decision("leave", f"time stop after {age} buckets")
            if exh is not None and exh >= settings.theta_exh_high:
                return Decision("leave", f"exhausted, exh {exh:.2f}")
            spread, limit = market.rel_spread_bps, settings.max_rel_spread_bps
            if spread is not None and limit is not None and spread > limit:
                return Decision("leave", f"spread {spread:.2f} bps", gate="spread")
        else:
            if age >= settings.max_hold_buckets_mean_rev:
                return Decision("leave", f"time stop after {age} buckets")
            if lpi is not None and abs(lpi) <= settings.lpi_exit_abs:
                return Decision("leave", f"pressure gone, lpi {lpi:.2f}")
            if (
                lpi is not None
                and exh is not None
                and lpi * trade.lpi > 0
                and abs(lpi) > abs(trade.lpi)
                and exh <= settings.theta_exh_low
            ):
                return Decision("leave", f"accelerates again, lpi {lpi:.2f}, exh {exh:.2f}")
        if entering and age >= settings.entry_ttl_buckets:
            return Decision("cancel", f"entry unfilled after {age} buckets")
        return Decision("wait", "holding" if side else "entry working")

    def _entry(self, s: SignalSnapshot, market: MarketState) -> Decision:
        settings = self.settings
        lpi, exh = s.lpi_fast, s.exh
        if lpi is None or exh is None:
            return Decision("wait", f"signal not valid ({s.validity_flags!r})")
        if abs(lpi) < settings.theta_lpi:
            return Decision("wait", "no pressure")
        if settings.liquidity_mode == "additive" and not (s.pressure_z or 0.0) * lpi > 0:
            # Additive LPI rises with the spread alone: that is not forced trading.
            return Decision("wait", "pressure and lpi disagree")
        selling = 1 if lpi > 0 else -1
        variant: Variant
        if exh <= settings.theta_exh_low and settings.momentum_enabled:
            variant, side = "momentum", -selling
        elif exh >= settings.theta_exh_high and settings.mean_rev_enabled:
            variant, side = "mean_reversion", selling
            if settings.lev_min is not None and (s.lev is None or s.lev < settings.lev_min):
                return Decision("wait", f"lev {s.lev} under lev_min", gate="lev_min")
        else:
            return Decision("wait", f"between the thresholds, exh {exh:.2f}")
        if (refusal := self.gates.refuse_entry(market)) is not None:
            return Decision("wait", f"{refusal.gate}: {refusal.why}", gate=refusal.gate)
        self.trade = LpiTrade(variant, side, self.bucket, lpi)
        return Decision("enter", f"{variant}, lpi {lpi:.2f}, exh {exh:.2f}", side=side)


class PhoenixLpi(OnePosition[PhoenixLpiSettings]):
    """Feeds the LPI engine and carries out what the policy decides at each closed bucket."""

    def begin(self) -> None:
        super().begin()
        settings = self.settings
        self.policy = PhoenixLpiPolicy(settings)
        self.gates = self.policy.gates
        self.depth_pct = settings.depth_pct_abs
        self.signal = LpiEngine(settings.engine_config(float(self.rules.price_increment)))
        self._guard: MarkoutGuard | None = None
        self._by_time = settings.bucket_mode == "time"
        self._bucket_ended = False
        self._withheld: TradeTick | None = None
        self._fed_ts = -1
        every = settings.bucket_interval_ms * MS_NS if self._by_time else MINUTE_NS
        # A nanosecond before the end, since data of the very end belong to the next bucket.
        last_ns = self.clock.timestamp_ns() // every * every - 1
        self.every("bucket-end", every, last_ns, lambda _event: self._end_bucket())
        self.subscribe_trades(self.instrument_id)
        if settings.use_depth_pct:
            self.subscribe_custom("BinanceBookDepthPct")
        if settings.lev_min is not None:
            self.subscribe_custom("BinanceOiMetrics")
        if settings.needs_funding:
            self.subscribe_custom("BinanceFundingRate")

    # The engine compares a trade with the quote strictly before it, and closes a bucket with the
    # last quote in it. In time buckets a trade at or inside the touch changes nothing but the time
    # of the last event. So quotes, and such trades, are withheld until a trade prints beyond the
    # touch or the bucket ends: the same snapshots, at a fraction of the cost.

    def on_trade(self, trade: TradeTick) -> None:
        ts = trade.ts_init
        last = before = self.last_quote()
        age = 0
        while before is not None and before.ts_init == ts:
            age += 1
            before = self.cache.quote(self.instrument_id, age)
        can_wait = self._by_time and not self._bucket_ended and before is not None
        if can_wait and not _beyond_touch(trade, before):
            self._withheld = trade
            return
        self._feed(before)
        self._feed_withheld()
        self._feed(last)
        self._feed_trade(ts, trade)

    def on_quote(self, quote: QuoteTick) -> None:
        """The first quote after the end of a bucket, and all while something is held or works."""
        if self._bucket_ended:
            self._feed(quote)
            self._decide()
        if self.engaged:
            if self._guard is not None:
                self._mark(self._guard, quote)
            self.advance()

    def _end_bucket(self) -> None:
        """Its last nanosecond: the engine catches up, and whatever comes next closes the bucket."""
        self._feed(self.last_quote())
        self._feed_withheld()
        if self._by_time:
            self._bucket_ended = True
            self.want_quotes(True)

    def _feed(self, quote: QuoteTick | None) -> None:
        if quote is not None and (raw := raw_quote(quote))[0] >= self._fed_ts:
            self._fed_ts = raw[0]
            self.signal.on_quote(*raw)

    def _feed_withheld(self) -> None:
        """The last trade that waited, if nothing came after it: gaps are counted from it."""
        trade, self._withheld = self._withheld, None
        if trade is not None and (ts := trade.ts_init) > self._fed_ts:
            self._feed_trade(ts, trade)

    def _feed_trade(self, ts: int, trade: TradeTick) -> None:
        self._fed_ts = ts
        if self.signal.on_trade(ts, trade.price.raw, trade.size.raw, aggressor(trade)):
            self._decide()

    def receive(self, record: BinanceRecord) -> None:
        self.signal.on_custom_data(record)

    def _decide(self) -> None:
        if self._bucket_ended:
            self._bucket_ended = False
            self.want_quotes(False)
        while (snapshot := self.signal.maybe_emit()) is not None:
            self.record(snapshot)
            self.control.signal_figures[str(self.strategy_id)] = {
                "zero_impulse_share": snapshot.zero_impulse_share
            }
            decision = self.policy.decide(
                snapshot,
                self.look(self.clock.timestamp_ns()),
                side=self.cycle.side,
                entering=bool(self.cycle.entries()),
            )
            values = {"lpi": snapshot.lpi_fast, "exh": snapshot.exh, "lev": snapshot.lev}
            self.carry_out(decision, values, self._entry)

    def _entry(self, side: int) -> list[Market | Limit]:
        """The position in one order, or in tranches behind one another."""
        settings, trade, quote = self.settings, self.policy.trade, self.quote
        assert trade is not None  # decide has just set it
        momentum = trade.variant == "momentum"
        at_market = settings.momentum_use_market if momentum else not settings.mean_rev_post_only
        bid, ask = quote.bid_price.as_decimal(), quote.ask_price.as_decimal()
        visible = quote.ask_size if (side == BUY) == at_market else quote.bid_size
        size = size_fixed(
            settings.trade_size,
            price=ask if side == BUY else bid,
            rules=self.rules,
            caps=settings.caps,
            equity=self.market.equity,
            visible_quantity=visible.as_decimal(),
        )
        if size.refusal is not None:
            self.refuse(size.refusal)
            return []
        if at_market:
            return [Market(side, size.quantity, "entry")]
        ticks = 0 if momentum else settings.mean_rev_improve_ticks
        count = 1 if momentum else settings.mean_rev_tranches
        tick = self.rules.price_increment
        best = touch_price(side, bid, ask, tick, ticks)
        part = self.rules.lots(size.quantity / count)
        parts = [size.quantity - part * (count - 1), *[part] * (count - 1)]
        step = settings.mean_rev_tranche_ticks * tick
        return [
            Limit(side, quantity, best - side * step * i, "entry")
            for i, quantity in enumerate(parts)
        ]

    def order_update(self, order: OrderState | None, event: Any) -> None:
        super().order_update(order, event)
        config, trade = self.settings.markout_guard, self.policy.trade
        if config is None or trade is None or trade.variant != "mean_reversion":
            return
        if type(event).__name__ == "OrderFilled" and self._guard_side(event) == self.cycle.side:
            if self._guard is None:
                self._guard = MarkoutGuard(config, 1 if self.cycle.side > 0 else -1)
            mid = self.look(event.ts_event).mid
            if mid is not None:
                self._guard.on_fill(event.ts_event, mid=mid, quantity=event.last_qty.as_double())

    @staticmethod
    def _guard_side(event: Any) -> int:
        return BUY if event.is_buy else SELL

    def _mark(self, guard: MarkoutGuard, quote: QuoteTick) -> None:
        mid = (quote.bid_price.as_double() + quote.ask_price.as_double()) / 2
        if (why := guard.on_mid(quote.ts_init, mid)) is not None:
            self.leave(why)

    def closed(self) -> None:
        self._guard = None


def _beyond_touch(trade: TradeTick, quote: QuoteTick) -> bool:
    """Whether a trade printed through the side it took."""
    price: Any = trade.price  # the stubs give Price no order; at run time it has one
    if trade.aggressor_side == AggressorSide.BUY:
        return bool(price > quote.ask_price)
    return bool(price < quote.bid_price)
