"""The one place that adapts to NautilusTrader's strategy API (written for 2.0.0rc6).

How to write a strategy on it
-----------------------------
1. Settings: a subclass of [StrategySettings][phoenix_strategies.settings.StrategySettings].
2. A policy: plain Python from numbers to [intents][phoenix_strategies.intents]; no engine in it.
3. A thin strategy, in the same file:

   ```python
   class Mine(PhoenixStrategy[MySettings]):
       def begin(self) -> None:                 # instead of on_start
           self._policy = MyPolicy(self.settings)
           self.subscribe_quotes(self.instrument_id)
           self.subscribe_custom("BinanceOiMetrics")

       def on_quote(self, quote) -> None:       # any Nautilus callback, under its own name
           for intent in self._policy.on_quote(..., position=self.ledger.position):
               self.submit(intent)

       def order_update(self, order, event) -> None:   # after the ledger has taken the event
           ...
   ```
4. An entry in `registry`.

What the seam does for it
-------------------------
- **Guard.** The engine swallows exceptions, SystemExit and KeyboardInterrupt included. Every
  `on_*` method that a subclass defines is wrapped: the first exception goes to the run's
  [RunControl][phoenix_strategies.run_control.RunControl], the engine is shut down at that event,
  later callbacks do nothing, and the runner raises it again. Time alerts are guarded too, set with
  [at][GuardedCallbacks.at] and [every][GuardedCallbacks.every] or with `clock.set_*` and a callback of
  your own. Defining `on_start` or `on_stop` is a TypeError: use `begin` and
  `finish`.
- **Warm-up.** Callbacks run from the first event; orders that open or increase a position leave
  only while `control.may_trade(now)`. `submit` returns None otherwise. So a policy should decide
  by state ("I want to be long"), not by the one event of a crossing.
- **Gaps.** In a gap of the data (`control.longest_silence_ns` without a quote or trade) no order leaves,
  closing ones included: it would fill at a price that is long gone. `submit` returns None and counts
  `no_data`.
- **Rules.** Quantities go down to whole lots and prices to the increment; what is too small is
  refused, counted and not sent.
- **Books.** `self.ledger` holds every order by client order id and the position from fills. One
  `PhoenixStrategy` trades one instrument.
- **Order events.** `order_update` may use the whole engine: what the engine reports while it carries out
  a command of the strategy (it holds the strategy then) waits until the running callback is through.
- **End.** `finish` is called first; then everything is canceled and, if so configured, the position
  closed reduce-only, after the cancels are confirmed.
- **Latency.** The engine handles an order at the first event at or after its arrival; the seam sets
  an alert at the arrival, so that the delay is exact in quiet markets too.
"""

from __future__ import annotations

import inspect
import re
import weakref
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import wraps
from typing import Any, ClassVar, Self

from nautilus_trader.common import TimeEvent
from nautilus_trader.model import (
    ClientId,
    ClientOrderId,
    DataType,
    ExecAlgorithmId,
    InstrumentId,
    OrderSide,
    Price,
    PriceType,
    Quantity,
    StrategyId,
    TimeInForce,
)
from nautilus_trader.trading import (
    ExecutionAlgorithm,
    ExecutionAlgorithmConfig,
    Strategy,
    StrategyConfig,
)

from phoenix_strategies.errors import StrategyError
from phoenix_strategies.intents import BUY, SELL, Cancel, Intent, Limit, Market
from phoenix_strategies.order_ledger import OrderLedger, OrderState, OrderStatus
from phoenix_strategies.order_rules import OrderRules
from phoenix_strategies.run_control import RunControl
from phoenix_strategies.settings import StrategySettings

type Callback = Callable[..., None]

_VARARGS = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS


def _guarded(name: str, function: Callback) -> Callback:
    callback: Callback
    if function.__code__.co_argcount == 2 and not function.__code__.co_flags & _VARARGS:
        # One event, millions of times a run: without *args the guard costs a fifth.
        @wraps(function)
        def callback(self: GuardedCallbacks, event: Any) -> None:
            if self.control.halted:
                self._halt()
                return
            try:
                function(self, event)
                if self._waiting_events:
                    self._catch_up()
            except BaseException as error:  # noqa: BLE001  the engine would swallow it
                self._fail(error, name)
    else:

        @wraps(function)
        def callback(self: GuardedCallbacks, *args: Any) -> None:
            if self.control.halted:
                self._halt()
                return
            try:
                function(self, *args)
                if self._waiting_events:
                    self._catch_up()
            except BaseException as error:  # noqa: BLE001  the engine would swallow it
                self._fail(error, name)

    callback.__phoenix_guard__ = True  # type: ignore[attr-defined]
    return callback


class GuardedClock:
    """A component's clock, whose time alerts are guarded like its other callbacks.

    It does not keep its component alive: in a cycle both would wait for the garbage collector, which
    runs in any thread, and what is the engine's must die in the thread that made it.
    """

    __slots__ = ("_clock", "_owner", "timestamp_ns")

    def __init__(self, clock: Any, owner: GuardedCallbacks) -> None:
        self._clock = clock
        self._owner = weakref.ref(owner)
        self.timestamp_ns: Callable[[], int] = clock.timestamp_ns  # asked for with every event

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._clock, name)
        if not callable(member):
            return member

        def with_guard(*args: Any, **options: Any) -> Any:
            named = {key: self._guard(value) for key, value in options.items()}
            return member(*map(self._guard, args), **named)

        return with_guard

    def _guard(self, argument: Any) -> Any:
        if not callable(argument):
            return argument
        name = getattr(argument, "__name__", type(argument).__name__)
        guarded = _guarded(name, lambda _self, event: argument(event))

        def call_back(event: TimeEvent) -> None:
            owner = self._owner()
            if owner is not None:  # the engine may outlive it
                guarded(owner, event)

        return call_back


class GuardedCallbacks:
    """Mixin for Nautilus components: no exception of a callback is lost.

    Put it before the Nautilus base class and set `self.control` before the engine starts.
    """

    control: RunControl
    cache: Any
    is_running: Any
    on_order_event: Callable[[Any], None]
    _waiting_events: Sequence[Any] = ()
    _guarded_clock: GuardedClock | None = None

    @property
    def clock(self) -> Any:
        """The engine's clock for this component; what it calls back is guarded."""
        if self._guarded_clock is None:
            self._guarded_clock = GuardedClock(self._clock_of_engine(), self)
        return self._guarded_clock

    def _clock_of_engine(self) -> Any:
        return super().clock  # type: ignore[misc]  # of the Nautilus component beside this mixin

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, member in list(vars(cls).items()):
            if name.startswith("on_") and callable(member):
                setattr(cls, name, _guarded(name, member))

    def is_lent(self) -> bool:
        """Whether the engine holds this component: inside one of its own commands.

        While it carries out a command (`submit_order`, `cancel_order`, ...) the engine reports what
        comes of it (`OrderInitialized`, `OrderPendingCancel`, ...), but nothing of the component can be
        used then, not even its clock: it raises RuntimeError.
        """
        try:
            _ = self._clock_of_engine()
        except RuntimeError:
            return True
        return False

    def hold_back(self, event: Any) -> bool:
        """Whether an order event must wait; it comes again when the running callback is through."""
        if not self.is_lent():
            return False
        self._waiting_events = [*self._waiting_events, event]
        return True

    def _catch_up(self) -> None:
        if self.is_lent():  # this is the callback that brought the event
            return
        waiting, self._waiting_events = self._waiting_events, ()
        for event in waiting:
            self.on_order_event(event)

    def _fail(self, error: BaseException, name: str) -> None:
        """Keep an exception of a callback and stop; at the next callback if the engine holds us."""
        lent = self.is_lent()
        now = None if lent else self.clock.timestamp_ns()
        self.control.fail(error, f"{type(self).__name__}.{name}", now)
        if not lent:
            self._halt()

    def _halt(self) -> None:
        """Stop the engine at this event; components that cannot leave it to the others."""
        shutdown = getattr(self, "shutdown_system", None)
        if shutdown is not None and self.is_running():
            shutdown("run halted")

    def at(self, name: str, ts_ns: int, callback: Callable[[TimeEvent], None]) -> None:
        """Call `callback` once at `ts_ns` (after data of the same nanosecond), guarded."""
        guarded = _guarded(name, lambda _self, event: callback(event))
        clock = self._clock_of_engine()
        clock.set_time_alert_ns(name, ts_ns, lambda event: guarded(self, event))

    def every(
        self, name: str, interval_ns: int, start_ns: int, callback: Callable[[TimeEvent], None]
    ) -> None:
        """Call `callback` each `interval_ns`, first at `start_ns + interval_ns`, guarded."""
        guarded = _guarded(name, lambda _self, event: callback(event))
        clock = self._clock_of_engine()
        clock.set_timer_ns(name, interval_ns, start_ns, None, lambda event: guarded(self, event))

    def in_silence(self, instrument_id: InstrumentId) -> bool:
        """Whether a market has been silent for so long that the data must have a gap."""
        longest_ns = self.control.longest_silence_ns
        if longest_ns is None:
            return False
        last = (self.cache.quote(instrument_id), self.cache.trade(instrument_id))
        heard_ns = max((tick.ts_init for tick in last if tick is not None), default=None)
        return heard_ns is not None and self.clock.timestamp_ns() - heard_ns > longest_ns

    def announce_arrival(self, latency_ns: int) -> None:
        """Make the engine look at the venue when a command sent now arrives there."""
        if latency_ns > 0:
            arrival = self.clock.timestamp_ns() + latency_ns
            self._clock_of_engine().set_time_alert_ns(f"arrival-{arrival}", arrival, _ignore)


def _ignore(_event: TimeEvent) -> None:
    """An alert whose only purpose is that the engine stops at its time."""


class SeamConfig(StrategyConfig):
    """A Nautilus strategy config that carries Phoenix's settings and the run's control."""

    def __new__(cls, strategy_id: str, *_carried: Any, **_named: Any) -> Self:
        # The stubs give StrategyConfig no constructor; at run time it has this one.
        return super().__new__(cls, strategy_id=StrategyId(strategy_id))  # type: ignore[call-arg]

    def __init__(
        self,
        _strategy_id: str,
        instrument_id: str,
        settings: StrategySettings,
        control: RunControl,
    ) -> None:
        self.traded = InstrumentId.from_str(instrument_id)
        self.settings = settings
        self.control = control


class PhoenixStrategy[S: StrategySettings](GuardedCallbacks, Strategy):
    """Base of every Phoenix strategy; see the module's text for how to write one."""

    _TAKEN: ClassVar = {"on_start": "begin", "on_stop": "finish", "on_order_event": "order_update"}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        for name, hook in cls._TAKEN.items():
            if name in vars(cls):
                msg = f"{cls.__name__} must define {hook}() instead of {name}(): the seam owns it"
                raise TypeError(msg)
        super().__init_subclass__(**kwargs)

    def __init__(self, config: SeamConfig) -> None:
        super().__init__(config)
        self.settings: S = config.settings  # type: ignore[assignment]
        self.control = config.control
        self.instrument_id = config.traded
        self.ledger = OrderLedger()
        self.rules = OrderRules(Decimal(1), Decimal(1))
        self._closing = False
        self._close_sent = False

    # What a subclass fills in -------------------------------------------------------------------

    def begin(self) -> None:
        """Subscribe to data; `instrument`, `rules` and the clock are ready."""

    def finish(self) -> None:
        """Last words before everything is canceled."""

    def order_update(self, order: OrderState | None, event: Any) -> None:
        """An order event, after the ledger has taken it; `order` is None for unknown ids."""

    # What a subclass uses -----------------------------------------------------------------------

    def subscribe_custom(self, type_name: str) -> None:
        """Receive Phoenix custom data of this instrument in `on_data`."""
        self.subscribe_data(
            DataType(type_name, identifier=str(self.instrument_id)),
            client_id=ClientId(str(self.instrument_id.venue)),
        )

    def equity(self) -> Decimal:
        """Account equity, open positions marked, in the instrument's settlement currency."""
        equity = self.portfolio.equity(self.instrument_id.venue)
        money = equity.get(self.instrument.settlement_currency)
        return Decimal(0) if money is None else money.as_decimal()

    def submit(self, intent: Intent) -> str | None:
        """Send an intent; the client order id, or None if it was refused (and counted)."""
        if isinstance(intent, Cancel):
            return self._cancel(intent.client_order_id)
        if not intent.reduce_only and not self.control.may_trade(self.clock.timestamp_ns()):
            self.refuse("not_trading")
            return None
        if self.in_silence(self.instrument_id):
            self.refuse("no_data")
            return None
        quantity = self.rules.lots(intent.quantity)
        price = self._limit_price(intent) if isinstance(intent, Limit) else self._last_price()
        refusal = self.rules.refusal(quantity, price, reduce_only=intent.reduce_only)
        if refusal is not None:
            self.refuse(refusal)
            return None
        return self._send(intent, quantity, price if isinstance(intent, Limit) else None)

    def cancel_all(self, purpose: str | None = None) -> None:
        """Cancel every open order (of `purpose`) once."""
        for order in self.ledger.orders(purpose):
            self._cancel(order.client_order_id)

    def refuse(self, reason: str) -> None:
        """Count why no order left (a gate, a rule); nothing is counted before trading starts."""
        if self.clock.timestamp_ns() >= self.control.trading_start_ns:
            self.control.refusals[str(self.strategy_id), reason] += 1

    def record(self, record: Any) -> None:
        """Keep a signal record (one of phoenix_schemas.signal_records) for the bundle."""
        if self.control.records is not None:
            self.control.records(str(self.strategy_id), str(self.instrument_id), record)

    def trace(self, values: Mapping[str, float], *, gates: str = "", intent: str = "") -> None:
        """Record a decision: signal values, gates that refused, what was intended."""
        if self.control.decisions is not None:
            self.control.decisions(
                self.clock.timestamp_ns(),
                str(self.strategy_id),
                str(self.instrument_id),
                values,
                gates,
                intent,
            )

    # What the seam does -------------------------------------------------------------------------

    def on_start(self) -> None:
        instrument = self.cache.instrument(self.instrument_id)
        if instrument is None:
            raise StrategyError(f"instrument must be in the engine (was {self.instrument_id})")
        self.instrument = instrument
        self.rules = OrderRules(
            instrument.price_increment.as_decimal(),
            instrument.size_increment.as_decimal(),
            _decimal(instrument.min_quantity),
            _decimal(instrument.max_quantity),
            _decimal(instrument.min_notional),
        )
        end_ns = self.control.trading_end_ns
        if end_ns is not None and self.settings.close_positions_on_stop:
            self.at("trading-end", end_ns, lambda _event: self._close_out())
        self.begin()

    def on_stop(self) -> None:
        self.finish()
        self.cancel_all()
        self._close()  # a stopped strategy hears no confirmations, and commands keep their order
        self._waiting_events = ()

    def on_order_event(self, event: Any) -> None:
        if self.hold_back(event):
            return
        order = self._book(event)
        self.order_update(order, event)
        if self._closing:
            self._close_when_clear()

    def _book(self, event: Any) -> OrderState | None:
        """Enter an order event into the ledger."""
        ledger = self.ledger
        order_id = str(event.client_order_id)
        match type(event).__name__:
            case "OrderInitialized":
                if ledger.get(order_id) is None:  # spawned by an execution algorithm
                    side = BUY if event.order_side == OrderSide.BUY else SELL
                    return ledger.sent(
                        order_id, "algorithm", side, event.quantity.as_decimal(),
                        event.reduce_only, _decimal(event.price), event.ts_event,
                        parent=str(event.exec_spawn_id),
                    )  # fmt: skip
            case "OrderAccepted":
                return ledger.accepted(order_id)
            case "OrderFilled":
                if self.control.on_fill is not None:
                    self.control.on_fill(event)
                side = BUY if event.is_buy else SELL
                return ledger.filled(order_id, side, event.last_qty.as_decimal())
            case "OrderUpdated":
                return ledger.updated(order_id, event.quantity.as_decimal(), _decimal(event.price))
            case "OrderCanceled":
                return ledger.closed(order_id, OrderStatus.CANCELED)
            case "OrderExpired":
                return ledger.closed(order_id, OrderStatus.EXPIRED)
            case "OrderRejected" | "OrderDenied":
                self.refuse(f"rejected: {_category(event.reason)}")
                return ledger.closed(order_id, OrderStatus.REJECTED)
            case "OrderCancelRejected":
                return ledger.cancel_rejected(order_id)
        return ledger.get(order_id)

    def _send(self, intent: Market | Limit, quantity: Decimal, price: Decimal | None) -> str:
        side = OrderSide.BUY if intent.side == BUY else OrderSide.SELL
        size = Quantity.from_decimal_dp(quantity, self.instrument.size_precision)
        if isinstance(intent, Limit):
            assert price is not None
            order = self.order_factory.limit(
                self.instrument_id,
                side,
                size,
                Price.from_decimal_dp(price, self.instrument.price_precision),
                time_in_force=TimeInForce.GTC if intent.expire_ns is None else TimeInForce.GTD,
                expire_time=intent.expire_ns,
                post_only=intent.post_only,
                reduce_only=intent.reduce_only,
                tags=[intent.purpose],
            )
        else:
            algorithm = intent.algorithm
            order = self.order_factory.market(
                self.instrument_id,
                side,
                size,
                reduce_only=intent.reduce_only,
                exec_algorithm_id=None if algorithm is None else ExecAlgorithmId(algorithm),
                exec_algorithm_params=dict(intent.algorithm_params) if algorithm else None,
                tags=[intent.purpose],
            )
        order_id = str(order.client_order_id)
        now = self.clock.timestamp_ns()
        self.ledger.sent(
            order_id, intent.purpose, intent.side, quantity, intent.reduce_only, price, now
        )
        self.submit_order(order)
        self.announce_arrival(self.control.insert_latency_ns)
        return order_id

    def _cancel(self, order_id: str) -> str | None:
        order = self.ledger.get(order_id)
        if order is None or order.cancel_sent:
            return None
        order.cancel_sent = True
        self.cancel_order(ClientOrderId(order_id))
        self.announce_arrival(self.control.cancel_latency_ns)
        return order_id

    def _limit_price(self, intent: Limit) -> Decimal:
        return self.rules.passive_price(intent.side, intent.price)

    def _last_price(self) -> Decimal | None:
        """Mid of the last quote, else the last trade or bar close the engine knows."""
        for kind in (PriceType.MID, PriceType.LAST):
            price = self.cache.price(self.instrument_id, kind)
            if price is not None:
                return _decimal(price)
        return None

    def _close_out(self) -> None:
        self._closing = True
        self.cancel_all()
        self._close_when_clear()

    def _close_when_clear(self) -> None:
        """Close once no order is open that could change the position."""
        if self.ledger.working() is None:
            self._close()

    def _close(self) -> None:
        position = self.ledger.position
        if position == 0 or self._close_sent or not self.settings.close_positions_on_stop:
            return
        self._close_sent = True  # once: a rejected close must not try forever
        side = SELL if position > 0 else BUY
        # Not through submit(): closing is allowed whatever the trading window says.
        close = Market(side, abs(position), "close", self.settings.reduce_only_on_stop)
        self._send(close, close.quantity, None)


class GuardedAlgorithm(GuardedCallbacks, ExecutionAlgorithm):
    """Base of execution algorithms: guarded callbacks; the run's control as `self.control`."""

    def __new__(cls, algorithm_id: str, *_carried: Any, **_named: Any) -> Self:
        config = ExecutionAlgorithmConfig(exec_algorithm_id=ExecAlgorithmId(algorithm_id))
        # The stubs give ExecutionAlgorithm no __new__; at run time it takes the config there.
        return super().__new__(cls, config)  # type: ignore[call-arg]

    def __init__(self, algorithm_id: str, control: RunControl) -> None:
        super().__init__(ExecutionAlgorithmConfig(exec_algorithm_id=ExecAlgorithmId(algorithm_id)))
        self.control = control


def _decimal(value: Any) -> Decimal | None:
    return None if value is None else value.as_decimal()


def _category(reason: str) -> str:
    """The kind of a rejection, without the prices in its text, so that it can be counted.

    >>> _category("POST_ONLY LIMIT BUY order limit px of 100.50 would have been a TAKER: bid=100.00")
    'POST_ONLY LIMIT BUY order limit px of'
    >>> _category("TWAP ended: flipped")
    'TWAP ended: flipped'
    """
    return re.split(r"[=\d]", reason, maxsplit=1)[0].strip(" :,")
