"""What the thin strategies share: one instrument, one position, a policy that decides.

A strategy on this base feeds its signal engine from the engine's callbacks and hands every
[Decision][phoenix_strategies.trade_cycle.Decision] to [OnePosition.carry_out][]. The rest is here,
once: what the gates look at, orders out of a decision, order events back into the trade cycle, the
trace.

    callback -> signal engine -> policy.decide(...) -> carry_out -> TradeCycle -> seam -> venue
    order event -> ledger -> TradeCycle.advance -> seam; opened(...), closed(...) for the policy
    each minute -> Gates.must_flatten -> leave: kill-switches and funding wait for no decision

Handing a quote to Python costs half as much as the engine's own work on it, so quotes come only
while something is held or works (`engaged`) or the strategy wants them
([want_quotes][OnePosition.want_quotes]); [last_quote][OnePosition.last_quote] asks the engine for the
last one whenever it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from nautilus_trader.model import AggressorSide, QuoteTick
from phoenix_schemas.custom_data import BinanceBookDepthPct, BinanceFundingRate, BinanceRecord

from phoenix_strategies.gates import Gates, MarketState
from phoenix_strategies.intents import BUY, SELL, Intent, Limit, Market
from phoenix_strategies.nautilus_seam import PhoenixStrategy
from phoenix_strategies.order_ledger import OrderState
from phoenix_strategies.settings import StrategySettings
from phoenix_strategies.trade_cycle import Decision, Phase, TradeCycle

RAW_PRECISION = 16
"""Decimals of the `raw` integers of Nautilus prices and quantities."""
MINUTE_NS = 60_000_000_000
HOUR_NS = 60 * MINUTE_NS
SLOW_SHARE = 1 / 60
"""Weight of one minute in the slow averages that a collapse is measured against."""


class OnePosition[S: StrategySettings](PhoenixStrategy[S]):
    """Base of the strategies that hold one position; see the module's text.

    A subclass extends `begin`, where it sets `signal` and `gates`, and may define
    `receive`, `opened` and `closed`.
    """

    gates: Gates
    depth_pct = 5.0
    """Depth that the gates see: notional within this percentage, both sides."""

    def begin(self) -> None:
        self.cycle = TradeCycle(self.ledger)
        self.market = MarketState()
        self.quote: Any = None
        """The last quote that [look][OnePosition.look] saw, or None."""
        self._bar_ts: int | None = None
        self._bar_gap = 0
        self._depth_side: tuple[int, float] | None = None
        self._kills = 0
        self._held = False
        self.engaged = False
        """Something is held, works or is on its way out: quotes need watching."""
        self._wants_quotes = self._gets_quotes = False
        minute = self.clock.timestamp_ns() // MINUTE_NS * MINUTE_NS
        self.every("watch", MINUTE_NS, minute, lambda _event: self._watch_gates())

    # What a subclass may fill in ----------------------------------------------------------------

    def receive(self, record: BinanceRecord) -> None:
        """A record of custom data."""

    def opened(self, event: Any) -> None:
        """The first fill of a position."""

    def closed(self) -> None:
        """Nothing is held and nothing works any more."""

    # What a subclass uses -----------------------------------------------------------------------

    def saw_bar(self, ts: int) -> None:
        """A 1-minute bar closed at `ts`: for the gate on missing bars."""
        self._bar_gap = 0 if self._bar_ts is None else (ts - self._bar_ts) // MINUTE_NS - 1
        self._bar_ts = ts

    def want_quotes(self, wanted: bool) -> None:
        """Receive every quote from now on, or again only while something is held or works."""
        self._wants_quotes = wanted
        self._ask_for_quotes()

    def last_quote(self) -> Any:
        """The last quote, delivered to this strategy or not; None before the first."""
        return self.cache.quote(self.instrument_id)

    def look(self, now: int) -> MarketState:
        """The market as the gates see it at `now`."""
        market, quote = self.market, self.last_quote()
        self.quote = quote
        market.now = now
        market.equity = float(self.equity())
        if self._bar_ts is not None:
            market.missing_bars = max((now - self._bar_ts) // MINUTE_NS - 1, self._bar_gap)
        if quote is not None:
            market.bid, market.ask = quote.bid_price.as_double(), quote.ask_price.as_double()
            market.quote_ts = quote.ts_init
        if market.next_funding_ns is not None and market.last_funding_ns is not None:
            interval = market.next_funding_ns - market.last_funding_ns
            while market.next_funding_ns < now:  # its record has not come yet
                market.last_funding_ns += interval
                market.next_funding_ns += interval
        return market

    def carry_out(
        self,
        decision: Decision,
        values: Mapping[str, float | None],
        entry: Callable[[int], Sequence[Market | Limit]],
    ) -> None:
        """Turn a decision into orders, and record it with the values that made it.

        `entry` makes the orders of an entry to a side, sized and priced; none if nothing can be
        traded.
        """
        now = self.clock.timestamp_ns()
        if self.control.decisions is not None:
            known = {name: float(value) for name, value in values.items() if value is not None}
            self.trace(known, gates=decision.gate, intent=str(decision))
        self._say_kills()
        match decision.act:
            case "enter":
                if self.cycle.phase is Phase.FLAT:
                    sent = [
                        self.submit(intent) for intent in self.cycle.enter(entry(decision.side))
                    ]
                    if any(order_id is not None for order_id in sent):
                        self.gates.on_entry(now)
            case "leave":
                self.submit_all(self.cycle.leave(decision.why, now))
            case "reduce":
                share = Decimal(repr(decision.share)) * abs(self.ledger.position)
                self.submit_all(self.cycle.reduce(self.rules.lots(share)))
            case "cancel":
                self.submit_all(self.cycle.cancel_entries())
            case "wait":
                if decision.gate:
                    self.refuse(decision.gate)

    def leave(self, why: str, *, gate: str = "") -> None:
        """Close everything now; for what acts between decisions, such as stops."""
        if self.cycle.leaving is None:
            self.trace({}, gates=gate, intent=f"leave: {why}")
        self.submit_all(self.cycle.leave(why, self.clock.timestamp_ns()))

    def submit_all(self, intents: Sequence[Intent]) -> None:
        """Send every intent."""
        for intent in intents:
            self.submit(intent)

    def advance(self) -> None:
        """Send what is still missing on the way out; a strategy calls it on quotes while engaged."""
        if self.cycle.leaving is not None:
            self.submit_all(self.cycle.advance(self.clock.timestamp_ns()))

    # What the base does -------------------------------------------------------------------------

    def on_data(self, data: Any) -> None:
        """Custom data: what the gates need of it, then the strategy's own use."""
        record = data.data
        self._watch(record)
        self.receive(record)

    def _watch_gates(self) -> None:
        """Once a minute, whatever the strategy's own pace: kill-switches, funding, slow averages."""
        market = self.look(self.clock.timestamp_ns())
        refusal = self.gates.must_flatten(market)
        if refusal is not None and self.engaged:
            self.leave(f"{refusal.gate}: {refusal.why}", gate=refusal.gate)
        self._say_kills()
        market.slow_rel_spread_bps = _slow(market.slow_rel_spread_bps, market.rel_spread_bps)
        market.slow_depth_notional = _slow(market.slow_depth_notional, market.depth_notional)

    def _say_kills(self) -> None:
        """Count a kill-switch that has fired since the last look, for the summary."""
        if len(self.gates.kills) > self._kills:
            self._kills = len(self.gates.kills)
            self.refuse(f"kill_switch: {self.gates.kills[-1][1].gate} ended the day")

    def _watch(self, data: BinanceRecord) -> None:
        """Keep depth and funding times for the gates."""
        if isinstance(data, BinanceBookDepthPct):
            if abs(data.percentage) != self.depth_pct:
                return
            notional = float(data.notional)
            if self._depth_side is not None and self._depth_side[0] == data.ts_init:
                self.market.depth_notional = self._depth_side[1] + notional
                self.market.depth_ts = data.ts_init
            self._depth_side = (data.ts_init, notional)
        elif isinstance(data, BinanceFundingRate):
            interval = data.interval_hours * HOUR_NS
            self.market.last_funding_ns = data.ts_init // interval * interval
            self.market.next_funding_ns = self.market.last_funding_ns + interval

    def order_update(self, order: OrderState | None, event: Any) -> None:
        held = self.ledger.position != 0
        if held and not self._held:
            self.opened(event)
        self._held = held
        self.advance()
        was_engaged = self.engaged
        self.engaged = self.cycle.phase is not Phase.FLAT
        self._ask_for_quotes()
        if was_engaged and not self.engaged:
            self.closed()

    def _ask_for_quotes(self) -> None:
        needed = self.engaged or self._wants_quotes
        if needed and not self._gets_quotes:
            self.subscribe_quotes(self.instrument_id)
        elif self._gets_quotes and not needed:
            self.unsubscribe_quotes(self.instrument_id)
        self._gets_quotes = needed


def _slow(average: float | None, value: float | None) -> float | None:
    if value is None:
        return average
    return value if average is None else average + SLOW_SHARE * (value - average)


def raw_quote(quote: QuoteTick) -> tuple[int, int, int, int, int]:
    """`ts_init`, bid, ask, bid size and ask size of a quote, the four as Nautilus's raw integers.

    Through the state that a quote pickles by: one call, where nine properties cost twice as much.
    """
    _, bid, ask, _, _, bid_size, ask_size, _, _, _, ts = quote.__getstate__()
    return ts, bid, ask, bid_size, ask_size


def aggressor(trade: Any) -> int:
    """+1 if the buyer of a trade was the aggressor, -1 if the seller was."""
    return BUY if trade.aggressor_side == AggressorSide.BUY else SELL
