"""What the thin strategies share: one instrument, one position, a policy that decides.

A strategy on this base feeds its signal engine from the engine's callbacks and hands every
[Decision][phoenix_strategies.trade_cycle.Decision] to [OnePosition.carry_out][]. The rest is here,
once: what the gates look at, orders out of a decision, order events back into the trade cycle, the
trace.

    callback -> signal engine -> policy.decide(...) -> carry_out -> TradeCycle -> seam -> venue
    order event -> ledger -> TradeCycle.advance -> seam; opened(...), closed(...) for the policy
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from nautilus_trader.model import AggressorSide
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
SLOW_SHARE = 1 / 200
"""Weight of one decision in the slow averages that a collapse is measured against."""


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
        """The last quote, or None."""
        self._bar_ts: int | None = None
        self._bar_gap = 0
        self._depth_side: tuple[int, float] | None = None
        self._kills = 0
        self._held = False
        self.engaged = False
        """Something is held, works or is on its way out: quotes need watching."""

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

    def look(self, now: int) -> MarketState:
        """The market as the gates see it at `now`."""
        market, quote = self.market, self.quote
        market.now = now
        market.equity = float(self.equity())
        if self._bar_ts is not None:
            market.missing_bars = max((now - self._bar_ts) // MINUTE_NS - 1, self._bar_gap)
        if quote is not None:
            market.bid, market.ask = quote.bid_price.as_double(), quote.ask_price.as_double()
            market.quote_ts = quote.ts_init
            market.slow_rel_spread_bps = _slow(market.slow_rel_spread_bps, market.rel_spread_bps)
        market.slow_depth_notional = _slow(market.slow_depth_notional, market.depth_notional)
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
        if len(self.gates.kills) > self._kills:
            self._kills = len(self.gates.kills)
            self.refuse(f"kill_switch: {self.gates.kills[-1][1].gate} ended the day")
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

    def leave(self, why: str) -> None:
        """Close everything now; for stops, which act between decisions."""
        if self.cycle.leaving is None:
            self.trace({}, intent=f"leave: {why}")
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
        if was_engaged and not self.engaged:
            self.closed()


def _slow(average: float | None, value: float | None) -> float | None:
    if value is None:
        return average
    return value if average is None else average + SLOW_SHARE * (value - average)


def aggressor(trade: Any) -> int:
    """+1 if the buyer of a trade was the aggressor, -1 if the seller was."""
    return BUY if trade.aggressor_side == AggressorSide.BUY else SELL
