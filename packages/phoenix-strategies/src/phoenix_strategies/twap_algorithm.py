"""The TWAP execution algorithm: a [TwapSchedule][phoenix_strategies.twap] in the engine.

A strategy sends a parent with `Market(..., algorithm="TWAP", algorithm_params={...})`, whose
parameters are those of [TwapConfig][phoenix_strategies.twap.TwapConfig] as strings. It steers by
publishing signals, which the engine carries as strings:

    strategy.publish_signal(theta_signal(instrument_id), repr(theta), ts_of_theta)
    strategy.publish_signal(regime_signal(instrument_id), "LOW_LIQUIDITY", ts)

Everything is decided by the schedule; this class translates: slices to child orders, order events
to lots, the schedule's next wake-up to a time alert. What the schedule abandons is given back by
denying the parent, with the reason. Each finished parent leaves a [TwapReport][] in the run's
records.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, cast

from nautilus_trader.model import ClientOrderId, InstrumentId, OrderSide, Quantity

from phoenix_strategies.intents import BUY
from phoenix_strategies.nautilus_seam import GuardedAlgorithm
from phoenix_strategies.run_control import RunControl
from phoenix_strategies.twap import Action, CancelChild, Regime, TwapSchedule, twap_config

ALGORITHM_ID = "TWAP"
_THETA = "twap-theta-"
_REGIME = "twap-regime-"


def theta_signal(instrument_id: InstrumentId | str) -> str:
    """Name of the signal that carries theta for an instrument."""
    return f"{_THETA}{instrument_id}"


def regime_signal(instrument_id: InstrumentId | str) -> str:
    """Name of the signal that carries the volatility regime of an instrument."""
    return f"{_REGIME}{instrument_id}"


@dataclass(frozen=True, slots=True)
class TwapReport:
    """What became of one parent order. Quantities are exact; prices and shares are floats.

    shortfall_bps = side (average price - arrival mid) / arrival mid in bps: positive is a cost;
    None without a fill or without a quote on arrival. participation = filled quantity over what the
    market traded from start to end; None if nobody counted trades.
    """

    ts_start: int
    ts_end: int
    client_order_id: str
    side: int
    quantity: Decimal
    filled: Decimal
    abandoned: Decimal
    ending: str
    slices: int
    passive_slices: int
    arrival_mid: float | None
    average_price: float | None
    shortfall_bps: float | None
    participation: float | None


@dataclass(slots=True)
class _Parent:
    order_id: ClientOrderId
    strategy_id: str
    instrument_id: InstrumentId
    schedule: TwapSchedule
    lot: Decimal
    precision: int
    reduce_only: bool
    started: int
    arrival_mid: float | None
    volume_before: float | None
    child_ids: dict[int, ClientOrderId] = field(default_factory=dict)
    paid: Decimal = Decimal(0)
    """Sum of price times quantity over the fills."""


class TwapAlgorithm(GuardedAlgorithm):
    """Works parents by their schedules; one object for all strategies of an engine."""

    def __init__(self, algorithm_id: str, control: RunControl) -> None:
        super().__init__(algorithm_id, control)
        self._parents: dict[str, _Parent] = {}
        self._child_of: dict[str, tuple[_Parent, int]] = {}
        self._theta: dict[str, tuple[float, int]] = {}
        self._regime: dict[str, Regime] = {}

    def on_start(self) -> None:
        self.subscribe_signal()

    def on_order(self, order: Any) -> None:
        """A new parent: start its schedule."""
        instrument_id = order.instrument_id
        instrument = self.cache.instrument(instrument_id)
        lot = instrument.size_increment.as_decimal()
        side: Literal[1, -1] = 1 if order.side == OrderSide.BUY else -1
        quote = self.cache.quote(instrument_id)
        mid = bid = None
        if quote is not None:
            bid = quote.bid_price.as_decimal()
            mid = float(bid + quote.ask_price.as_decimal()) / 2
        smallest = lot if instrument.min_quantity is None else instrument.min_quantity.as_decimal()
        if instrument.min_notional is not None and bid and not order.is_reduce_only:
            smallest = max(smallest, instrument.min_notional.as_decimal() / bid)
        parent = _Parent(
            order.client_order_id,
            str(order.strategy_id),
            instrument_id,
            TwapSchedule(
                twap_config(order.exec_algorithm_params or {}),
                side,
                int(order.quantity.as_decimal() / lot),
                math.ceil(smallest / lot),
            ),
            lot,
            instrument.size_precision,
            order.is_reduce_only,
            self.clock.timestamp_ns(),
            mid,
            self.control.volume.get(str(instrument_id)),
        )
        self._parents[str(parent.order_id)] = parent
        key, now = str(instrument_id), parent.started
        if key in self._regime:
            parent.schedule.on_regime(now, self._regime[key])
        if key in self._theta:
            parent.schedule.on_signal(now, *self._theta[key])
        self._act(parent, parent.schedule.start(now))

    def on_signal(self, signal: Any) -> None:
        """Theta or regime of an instrument: every parent of it hears of it."""
        now = self.clock.timestamp_ns()
        name: str = signal.name
        if name.startswith(_THETA):
            key = name.removeprefix(_THETA)
            theta = self._theta[key] = (float(signal.value), signal.ts_event)
            for parent in self._of(key):
                self._act(parent, parent.schedule.on_signal(now, *theta))
        elif name.startswith(_REGIME):
            key = name.removeprefix(_REGIME)
            regime = self._regime[key] = cast("Regime", signal.value)
            for parent in self._of(key):
                self._act(parent, parent.schedule.on_regime(now, regime))

    def on_order_event(self, event: Any) -> None:
        """An event of a child, or the end of a parent."""
        if self.hold_back(event):
            return
        kind = type(event).__name__
        order_id = str(event.client_order_id)
        now = self.clock.timestamp_ns()
        if (parent := self._parents.get(order_id)) is not None:
            if kind in ("OrderCanceled", "OrderExpired"):
                self._act(parent, parent.schedule.cancel(now))
            return
        if (known := self._child_of.get(order_id)) is None:
            return
        parent, child = known
        if kind == "OrderFilled":
            quantity = event.last_qty.as_decimal()
            parent.paid += quantity * event.last_px.as_decimal()
            self._act(parent, parent.schedule.on_fill(now, child, int(quantity / parent.lot)))
        elif kind in ("OrderRejected", "OrderDenied", "OrderCanceled", "OrderExpired"):
            self._act(parent, parent.schedule.on_closed(now, child))

    def on_stop(self) -> None:
        """The run ends: report what is unfinished."""
        for parent in list(self._parents.values()):
            parent.schedule.cancel(self.clock.timestamp_ns())
            self._report(parent)

    def _of(self, instrument_id: str) -> list[_Parent]:
        return [p for p in self._parents.values() if str(p.instrument_id) == instrument_id]

    def _act(self, parent: _Parent, actions: list[Action]) -> None:
        """Send what the schedule wants, then see when it wants to be called again."""
        for action in actions:
            if isinstance(action, CancelChild):
                self._cancel(parent, action.child)
            else:
                self._spawn(parent, action.child, action.lots, passive=action.passive)
        schedule = parent.schedule
        if schedule.ending is not None:
            self._give_back(parent)
            if schedule.done:
                self._report(parent)
        elif (wake := schedule.next_wake) is not None:
            self.at(f"twap-{parent.order_id}", wake, lambda _event: self._wake(parent))

    def _wake(self, parent: _Parent) -> None:
        now = self.clock.timestamp_ns()
        if self.in_silence(parent.instrument_id):  # a gap in the data: no price is known
            assert self.control.longest_silence_ns is not None
            again = now + max(self.control.longest_silence_ns // 5, 1)
            self.at(f"twap-{parent.order_id}", again, lambda _event: self._wake(parent))
            return
        self._act(parent, parent.schedule.on_time(now))

    def _spawn(self, parent: _Parent, child: int, lots: int, *, passive: bool) -> None:
        # The parent that on_order was given is a snapshot: its quantity does not follow.
        primary = self.cache.order(parent.order_id)
        quantity = Quantity.from_decimal_dp(lots * parent.lot, parent.precision)
        tags = [primary.tags[0] if primary.tags else "twap"]
        quote = self.cache.quote(parent.instrument_id) if passive else None
        order: Any
        if quote is None:
            order = self.spawn_market(primary, quantity, reduce_only=parent.reduce_only, tags=tags)
        else:
            buying = parent.schedule.side == BUY
            order = self.spawn_limit(
                primary,
                quantity,
                quote.bid_price if buying else quote.ask_price,
                post_only=True,
                reduce_only=parent.reduce_only,
                tags=tags,
            )
        parent.child_ids[child] = order.client_order_id
        self._child_of[str(order.client_order_id)] = (parent, child)
        self.submit_order(order)
        self.announce_arrival(self.control.insert_latency_ns)

    def _cancel(self, parent: _Parent, child: int) -> None:
        order = self.cache.order(parent.child_ids[child])
        if not order.is_closed:
            self.cancel_order(order)
            self.announce_arrival(self.control.cancel_latency_ns)

    def _give_back(self, parent: _Parent) -> None:
        """End a parent that still has quantity of its own, so that nobody waits for it."""
        primary = self.cache.order(parent.order_id)
        if not primary.is_closed and primary.quantity.as_decimal() > 0:
            self.deny_order(primary, f"TWAP ended: {parent.schedule.ending}")

    def _report(self, parent: _Parent) -> None:
        if self._parents.pop(str(parent.order_id), None) is None:
            return  # reported already: an alert that was still set, or an event inside an event
        schedule, lot = parent.schedule, parent.lot
        filled = schedule.filled * lot
        average = float(parent.paid / filled) if filled else None
        mid, traded = parent.arrival_mid, self.control.volume.get(str(parent.instrument_id))
        market = None if traded is None else traded - (parent.volume_before or 0.0)
        report = TwapReport(
            ts_start=parent.started,
            ts_end=self.clock.timestamp_ns(),
            client_order_id=str(parent.order_id),
            side=schedule.side,
            quantity=schedule.parent_lots * lot,
            filled=filled,
            abandoned=schedule.abandoned * lot,
            ending=schedule.ending or "stopped",
            slices=len(schedule.slices),
            passive_slices=sum(s.passive for s in schedule.slices),
            arrival_mid=mid,
            average_price=average,
            shortfall_bps=(
                schedule.side * (average - mid) / mid * 10_000
                if average is not None and mid is not None
                else None
            ),
            participation=float(filled) / market if market else None,
        )
        if self.control.records is not None:
            self.control.records(parent.strategy_id, str(parent.instrument_id), report)
