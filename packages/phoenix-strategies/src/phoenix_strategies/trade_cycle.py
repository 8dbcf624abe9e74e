"""One position, one working entry at a time: flat, entering, holding, leaving, flat.

Nothing here remembers what was hoped for. The phase is read off the ledger, which follows events;
only the wish to leave is kept, until the ledger shows that everything is gone. So a partial fill, a
late fill after a cancel, or a rejected cancel cannot let a second entry out, and position and phase
cannot disagree.

    policy decides -> TradeCycle -> intents -> seam -> venue -> events -> ledger -> phase

[TradeCycle.advance][] is called after every order event and on every market event: it says what is
still missing, such as closing a fill that came after the cancel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from phoenix_strategies.intents import BUY, SELL, Cancel, Intent, Limit, Market
from phoenix_strategies.order_ledger import OrderLedger, OrderState


@dataclass(frozen=True, slots=True)
class Decision:
    """What a policy wants, and why; `why` goes to the decision trace word for word.

    `enter` opens in direction `side`; `leave` closes everything; `reduce` closes `share` of the
    position; `cancel` withdraws an entry that is still working; `wait` does nothing. `gate` names
    the gate that turned an entry into a wait.
    """

    act: Literal["enter", "leave", "reduce", "cancel", "wait"]
    why: str
    side: int = 0
    share: float = 0.0
    gate: str = ""

    def __str__(self) -> str:
        direction = {1: " long", -1: " short"}.get(self.side, "")
        return f"{self.act}{direction}: {self.why}"


class Phase(StrEnum):
    """Where the cycle stands."""

    FLAT = "flat"
    ENTERING = "entering"
    HOLDING = "holding"
    LEAVING = "leaving"


class TradeCycle:
    """Turns decisions into intents, one cycle at a time.

    Examples
    --------
    >>> ledger = OrderLedger()
    >>> cycle = TradeCycle(ledger)
    >>> cycle.enter([Limit(BUY, Decimal("0.010"), Decimal("100"), "entry")])[0].quantity
    Decimal('0.010')
    >>> _ = ledger.sent("O-1", "entry", BUY, Decimal("0.010"), False, Decimal("100"), 0)
    >>> _ = ledger.filled("O-1", BUY, Decimal("0.004"))   # partly filled: still entering
    >>> cycle.phase.value, cycle.enter([Market(BUY, Decimal("0.010"), "entry")])
    ('entering', [])
    >>> [type(intent).__name__ for intent in cycle.leave("stop", now=1)]
    ['Cancel', 'Market']
    """

    __slots__ = ("_closed_at", "leaving", "ledger")

    def __init__(self, ledger: OrderLedger) -> None:
        self.ledger = ledger
        self.leaving: str | None = None
        """Why the cycle wants to be flat; None once it is."""
        self._closed_at = -1

    @property
    def phase(self) -> Phase:
        """The phase, from the ledger and the wish to leave."""
        order = self.ledger.working()
        if self.leaving is not None:
            return Phase.LEAVING
        if order is not None and self.entries():
            return Phase.ENTERING
        if self.ledger.position != 0:
            return Phase.HOLDING
        return Phase.FLAT if order is None else Phase.LEAVING

    @property
    def side(self) -> int:
        """+1 long, -1 short, 0 nothing held."""
        position = self.ledger.position
        return (position > 0) - (position < 0)

    def entries(self) -> list[OrderState]:
        """Open orders that can increase the position."""
        return [order for order in self.ledger.orders() if not order.reduce_only]

    def enter(self, orders: Sequence[Market | Limit]) -> list[Intent]:
        """The orders of one entry (several if it comes in tranches), or none unless flat."""
        return list(orders) if self.phase is Phase.FLAT else []

    def cancel_entries(self) -> list[Intent]:
        """Withdraw what is still working of the entry; what has filled is kept."""
        return [Cancel(o.client_order_id) for o in self.entries() if not o.cancel_sent]

    def reduce(self, quantity: Decimal, purpose: str = "reduce") -> list[Intent]:
        """Close part of the position, and stop adding to it; nothing while a closing order is out."""
        held = abs(self.ledger.position)
        if self.leaving is not None or held == 0 or self._closing() > 0 or quantity <= 0:
            return []
        side = SELL if self.ledger.position > 0 else BUY
        close = Market(side, min(quantity, held), purpose, reduce_only=True)
        return [*self.cancel_entries(), close]

    def leave(self, why: str, now: int) -> list[Intent]:
        """Be flat: cancel entries, close what is held, and keep at it until nothing is left."""
        if self.ledger.position != 0 or self.entries():
            self.leaving = self.leaving or why
        return self.advance(now)

    def advance(self, now: int) -> list[Intent]:
        """What is still missing on the way out; at most one closing order per time.

        The held part is closed at once, reduce-only, without waiting for the cancel; a fill that
        slips in before the cancel is closed by the next call. A rejected closing order is sent
        again at a later time, never at the same one, so a venue without a market cannot make a
        loop.
        """
        if self.leaving is None:
            return []
        if self.ledger.position == 0 and self.ledger.working() is None:
            self.leaving = None
            return []
        intents = self.cancel_entries()
        missing = abs(self.ledger.position) - self._closing()
        if missing > 0 and now > self._closed_at:
            side = SELL if self.ledger.position > 0 else BUY
            intents.append(Market(side, missing, "exit", reduce_only=True))
            self._closed_at = now
        return intents

    def _closing(self) -> Decimal:
        """What open closing orders will still take off the position."""
        return sum((o.leaves for o in self.ledger.orders() if o.reduce_only), Decimal(0))
