"""Liquidity pressure: bar LPI, decided on closes of 1-minute bars only.

lpi = imbalance of the book, times how unusual the volume is, over how unusual the spread is. Long
above entry_threshold, short below -entry_threshold, flat when |lpi| < exit_threshold. The spread
gate refuses entries and, if so configured, flattens. A reversal closes first, waits until the close
is confirmed, and opens only then.

Read from top to bottom: settings, policy (pure), strategy (translates events).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from nautilus_trader.model import Bar, BarType, QuoteTick
from phoenix_schemas.custom_data import BinanceRecord
from phoenix_schemas.signal_records import BarLpiSignal
from phoenix_signals.engines import BarLpiConfig, BarLpiEngine

from phoenix_strategies.gates import Gates, GatesConfig, MarketState
from phoenix_strategies.intents import BUY, Market
from phoenix_strategies.one_position import RAW_PRECISION, OnePosition, raw_quote
from phoenix_strategies.settings import StrategySettings
from phoenix_strategies.sizing import Caps, size_fixed
from phoenix_strategies.trade_cycle import Decision


class LiquidityPressureSettings(
    StrategySettings, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """Settings of `liquidity_pressure`; names and defaults are the published ones."""

    trade_size: Decimal = Decimal("0.01")
    caps: Caps = Caps()
    bar_type: str | None = None
    """Bars to decide on; None means the 1-minute bars of the traded instrument."""
    lookback_bars: Annotated[int, msgspec.Meta(ge=2)] = 60
    imbalance: Literal["l1", "depth_pct"] = "l1"
    """Of the best quote, or of bookDepth within 5 %."""
    depth_max_age_ms: Annotated[int, msgspec.Meta(ge=1)] = 60_000
    """Older depth gives no imbalance."""
    entry_threshold: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    exit_threshold: Annotated[float, msgspec.Meta(ge=0)] = 0.2
    max_spread_bps: float | None = 5.0
    flatten_on_spread_gate: bool = True
    gates: GatesConfig = GatesConfig()
    """Any further gates."""

    def __post_init__(self) -> None:
        if self.exit_threshold >= self.entry_threshold:
            raise ValueError(
                f"exit_threshold must be < entry_threshold = {self.entry_threshold} "
                f"(was {self.exit_threshold}); 0.2"
            )
        self.all_gates()
        self.engine_config(0.1)  # the engine's own bounds

    def engine_config(self, price_increment: float) -> BarLpiConfig:
        """The signal engine's parameters, for prices and sizes as Nautilus's raw integers."""
        return BarLpiConfig(
            price_precision=RAW_PRECISION,
            size_precision=RAW_PRECISION,
            price_increment=price_increment,
            lookback_bars=self.lookback_bars,
            z_min_count=min(30, self.lookback_bars),
            imbalance=self.imbalance,
            depth_max_age_ns=self.depth_max_age_ms * 1_000_000,
        )

    @property
    def needs_depth(self) -> bool:
        """Whether bookDepth decides anything."""
        g = self.gates
        depth_gates = (g.depth_max_age_ms, g.min_depth_notional, g.depth_collapse_share)
        return self.imbalance == "depth_pct" or depth_gates != (None, None, None)

    def bar_type_for(self, instrument_id: str) -> str:
        """The bar type of one instrument."""
        return self.bar_type or f"{instrument_id}-1-MINUTE-LAST-EXTERNAL"

    def all_gates(self) -> GatesConfig:
        """The spread gate together with those under `gates`."""
        if self.gates.max_rel_spread_bps is not None:
            raise ValueError(
                "gates.max_rel_spread_bps must be given as max_spread_bps, beside gates"
            )
        return msgspec.structs.replace(self.gates, max_rel_spread_bps=self.max_spread_bps)


class LiquidityPressurePolicy:
    """Decides once per bar close; exits first.

    >>> policy = LiquidityPressurePolicy(LiquidityPressureSettings())
    >>> tight = MarketState(bid=99.99, ask=100.01)
    >>> str(policy.decide(1.2, tight, side=0)), str(policy.decide(0.1, tight, side=1))
    ('enter long: lpi 1.20', 'leave: lpi 0.10 faded')
    >>> str(policy.decide(-1.2, tight, side=1))   # closes; opens when the close is confirmed
    'leave short: reversal, lpi -1.20'
    """

    def __init__(self, settings: LiquidityPressureSettings) -> None:
        self.settings = settings
        self.gates = Gates(settings.all_gates())

    def decide(self, lpi: float | None, market: MarketState, *, side: int) -> Decision:
        """One bar close; `side` is the position's, from the order events.

        A `leave` with a side is a reversal: decide again, flat, once the close is confirmed.
        """
        if side:
            return self._exit(lpi, market, side)
        if lpi is None:
            return Decision("wait", "warming up")
        wanted = self._direction(lpi)
        if wanted == 0:
            return Decision("wait", "no pressure")
        if (refusal := self.gates.refuse_entry(market)) is not None:
            return Decision("wait", f"{refusal.gate}: {refusal.why}", gate=refusal.gate)
        return Decision("enter", f"lpi {lpi:.2f}", side=wanted)

    def _exit(self, lpi: float | None, market: MarketState, side: int) -> Decision:
        if (kill := self.gates.must_flatten(market)) is not None:
            return Decision("leave", f"{kill.gate}: {kill.why}", gate=kill.gate)
        spread, limit = market.rel_spread_bps, self.settings.max_spread_bps
        if (
            self.settings.flatten_on_spread_gate
            and spread is not None
            and limit is not None
            and spread > limit
        ):
            return Decision("leave", f"spread {spread:.2f} bps", gate="spread")
        if lpi is None:
            return Decision("wait", "holding")
        if abs(lpi) < self.settings.exit_threshold:
            return Decision("leave", f"lpi {lpi:.2f} faded")
        if self._direction(lpi) == -side:
            return Decision("leave", f"reversal, lpi {lpi:.2f}", side=-side)
        return Decision("wait", "holding")

    def _direction(self, lpi: float) -> int:
        threshold = self.settings.entry_threshold
        return (lpi > threshold) - (lpi < -threshold)


class LiquidityPressure(OnePosition[LiquidityPressureSettings]):
    """Feeds the bar LPI engine and carries out what the policy decides at each close."""

    def begin(self) -> None:
        super().begin()
        settings = self.settings
        self.policy = LiquidityPressurePolicy(settings)
        self.gates = self.policy.gates
        self.signal = BarLpiEngine(settings.engine_config(float(self.rules.price_increment)))
        self._fed: Any = None
        self._last: BarLpiSignal | None = None
        self._reversal = False
        self.subscribe_bars(BarType.from_str(settings.bar_type_for(str(self.instrument_id))))
        if settings.needs_depth:
            self.subscribe_custom("BinanceBookDepthPct")
        if settings.gates.funding_window_minutes is not None:
            self.subscribe_custom("BinanceFundingRate")

    def on_quote(self, quote: QuoteTick) -> None:
        """A quote while something is held or works: what is missing on the way out."""
        self.advance()

    def receive(self, record: BinanceRecord) -> None:
        self._feed_quote()
        self.signal.on_custom_data(record)

    def on_bar(self, bar: Bar) -> None:
        self.saw_bar(bar.ts_event)
        self._feed_quote()
        self.signal.on_bar(
            bar.ts_init, bar.open.raw, bar.high.raw, bar.low.raw, bar.close.raw, bar.volume.raw
        )
        while (signal := self.signal.maybe_emit()) is not None:
            self.record(signal)
            self._last = signal
            self._decide(signal)

    def _feed_quote(self) -> None:
        """Only the last quote before a bar counts, so it is fed then and not on every quote."""
        quote = self.last_quote()
        if quote is not None and quote != self._fed:
            self._fed = quote
            self.signal.on_quote(*raw_quote(quote))

    def _decide(self, signal: BarLpiSignal) -> None:
        market = self.look(self.clock.timestamp_ns())
        decision = self.policy.decide(signal.lpi, market, side=self.cycle.side)
        self._reversal = decision.act == "leave" and decision.side != 0
        values = {"lpi": signal.lpi, "imbalance": signal.imbalance, "spread_bps": signal.spread_bps}
        self.carry_out(decision, values, self._entry)

    def _entry(self, side: int) -> list[Market]:
        quote = self.quote
        price, visible = (
            (quote.ask_price, quote.ask_size) if side == BUY else (quote.bid_price, quote.bid_size)
        )
        size = size_fixed(
            self.settings.trade_size,
            price=price.as_decimal(),
            rules=self.rules,
            caps=self.settings.caps,
            equity=self.market.equity,
            visible_quantity=visible.as_decimal(),
        )
        if size.refusal is not None:
            self.refuse(size.refusal)
            return []
        return [Market(side, size.quantity, "entry")]

    def closed(self) -> None:
        if self._reversal and self._last is not None:
            self._reversal = False  # the close is confirmed: the same bar decides again, flat
            self._decide(self._last)
