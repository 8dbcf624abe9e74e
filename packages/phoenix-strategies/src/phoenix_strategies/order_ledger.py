"""A strategy's own books: its orders by client order id, and its position from fills.

The state follows events and nothing else. A sent order counts as working until an event closes it,
so that a partial fill, a late accept or a rejected cancel cannot let a second entry out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from phoenix_strategies.errors import StrategyError


class OrderStatus(StrEnum):
    """Where an order stands."""

    SENT = "sent"
    WORKING = "working"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    SPAWNED = "spawned"
    """An execution algorithm has moved the whole quantity to child orders, all of them closed."""


_OPEN = frozenset({OrderStatus.SENT, OrderStatus.WORKING})


@dataclass(slots=True)
class OrderState:
    """One order as its events have left it. `side` is +1 or -1; quantities are exact."""

    client_order_id: str
    purpose: str
    side: int
    quantity: Decimal
    reduce_only: bool
    price: Decimal | None
    sent_ns: int
    parent: str | None = None
    """For the child of an execution algorithm, the id of the order it was spawned from."""
    status: OrderStatus = OrderStatus.SENT
    filled: Decimal = Decimal(0)
    cancel_sent: bool = False

    @property
    def open(self) -> bool:
        """Whether it can still fill."""
        return self.status in _OPEN

    @property
    def leaves(self) -> Decimal:
        """What can still fill."""
        return self.quantity - self.filled if self.open else Decimal(0)


class OrderLedger:
    """Orders and net position of one strategy in one instrument.

    Examples
    --------
    >>> ledger = OrderLedger()
    >>> _ = ledger.sent("O-1", "entry", +1, Decimal("0.010"), False, Decimal("100"), 5)
    >>> _ = ledger.filled("O-1", +1, Decimal("0.004"))
    >>> ledger.position, ledger.working("entry").leaves
    (Decimal('0.004'), Decimal('0.006'))
    >>> _ = ledger.closed("O-1", OrderStatus.EXPIRED)
    >>> ledger.working("entry") is None
    True
    """

    def __init__(self) -> None:
        self.position = Decimal(0)
        """Signed quantity held, from every fill of this strategy (children of an execution
        algorithm and liquidations included)."""
        self._open: dict[str, OrderState] = {}
        self._spawned: dict[str, OrderState] = {}

    def sent(
        self,
        client_order_id: str,
        purpose: str,
        side: int,
        quantity: Decimal,
        reduce_only: bool,
        price: Decimal | None,
        ts_ns: int,
        parent: str | None = None,
    ) -> OrderState:
        """Open the book of an order that is leaving; an id is used once."""
        if client_order_id in self._open:
            raise StrategyError(f"client order id must be new (was {client_order_id!r} again)")
        order = OrderState(
            client_order_id, purpose, side, quantity, reduce_only, price, ts_ns, parent
        )
        self._open[client_order_id] = order
        return order

    def get(self, client_order_id: str) -> OrderState | None:
        """The open order of that id."""
        return self._open.get(client_order_id)

    def orders(self, purpose: str | None = None) -> Iterator[OrderState]:
        """Open orders, oldest first; only those of `purpose` if given."""
        return iter([o for o in self._open.values() if purpose in (None, o.purpose)])

    def working(self, purpose: str | None = None) -> OrderState | None:
        """The oldest open order (of `purpose`), or None."""
        return next(self.orders(purpose), None)

    def accepted(self, client_order_id: str) -> OrderState | None:
        """The venue has it."""
        order = self._open.get(client_order_id)
        if order is not None:
            order.status = OrderStatus.WORKING
        return order

    def updated(
        self, client_order_id: str, quantity: Decimal, price: Decimal | None
    ) -> OrderState | None:
        """Its quantity or price changed; an algorithm may give a spawned parent quantity back."""
        order = self._open.get(client_order_id)
        if order is None and quantity > 0:
            order = self._spawned.pop(client_order_id, None)
        if order is not None:
            if order.status is OrderStatus.SPAWNED:
                order.status = OrderStatus.SENT
                self._open[client_order_id] = order
            order.quantity = quantity
            order.price = price if price is not None else order.price
        return order

    def filled(self, client_order_id: str, side: int, quantity: Decimal) -> OrderState | None:
        """A fill, partial or last; moves the position even for an id that is not ours."""
        self.position += side * quantity
        order = self._open.get(client_order_id)
        if order is not None:
            order.filled += quantity
            order.status = OrderStatus.WORKING
            if order.filled >= order.quantity:
                self.closed(client_order_id, OrderStatus.FILLED)
        return order

    def cancel_rejected(self, client_order_id: str) -> OrderState | None:
        """A cancel came too late or to nothing; the order may be canceled again."""
        order = self._open.get(client_order_id)
        if order is not None:
            order.cancel_sent = False
        return order

    def closed(self, client_order_id: str, status: OrderStatus) -> OrderState | None:
        """Nothing of it can fill any more."""
        order = self._open.pop(client_order_id, None)
        self._spawned.pop(client_order_id, None)
        if order is not None:
            order.status = status
            if order.parent is not None:
                self._close_if_spawned(order.parent)
        return order

    def _close_if_spawned(self, parent_id: str) -> None:
        """A parent with nothing left of its own ends with its last child."""
        parent = self._open.get(parent_id)
        if parent is None or parent.filled < parent.quantity:
            return
        if not any(order.parent == parent_id for order in self._open.values()):
            parent.status = OrderStatus.SPAWNED
            self._spawned[parent_id] = self._open.pop(parent_id)
