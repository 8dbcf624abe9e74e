"""What a decision policy wants done, in plain values: no engine, no order object.

A policy returns intents; the seam turns them into orders, applies the instrument's rules (lot,
increment, minimum notional) and keeps the books. `side` is +1 to buy and -1 to sell everywhere.
`purpose` is a word of the policy's own ("entry", "exit", "tranche-2") by which it finds its orders
again and by which the report groups them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

BUY = 1
SELL = -1


@dataclass(frozen=True, slots=True)
class Market:
    """Trade now at whatever the book gives."""

    side: int
    quantity: Decimal
    purpose: str
    reduce_only: bool = False
    algorithm: str | None = None
    """Execution algorithm that works the order (its id), e.g. ``"TWAP"``; None sends it whole."""
    algorithm_params: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Limit:
    """Rest at `price` or better.

    The price is rounded to the increment away from the market (a buy down, a sell up).
    `expire_ns` makes the venue expire the order (GTD); None leaves it until canceled.
    """

    side: int
    quantity: Decimal
    price: Decimal
    purpose: str
    post_only: bool = True
    reduce_only: bool = False
    expire_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """Withdraw one working order, by its client order id."""

    client_order_id: str


type Intent = Market | Limit | Cancel
