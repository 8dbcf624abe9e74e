"""The venue's rules for one instrument: lots, increments, minimum and maximum sizes.

Pure arithmetic on exact decimals. Every order passes through here last, whatever sized it.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from phoenix_strategies.intents import BUY


def exact(value: Decimal | int | float | str) -> Decimal:
    """The decimal a person would read: a float by its shortest form, not its binary expansion.

    >>> exact(0.3), exact("0.001"), exact(5)
    (Decimal('0.3'), Decimal('0.001'), Decimal('5'))
    """
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)


@dataclass(frozen=True, slots=True)
class OrderRules:
    """Rules of one instrument.

    Examples
    --------
    >>> rules = OrderRules(Decimal("0.10"), Decimal("0.001"), Decimal("0.001"), None, Decimal("5"))
    >>> rules.lots(Decimal("0.0129")), rules.lots(0.3)
    (Decimal('0.012'), Decimal('0.3'))
    >>> rules.passive_price(+1, Decimal("100.17")), rules.passive_price(-1, Decimal("100.11"))
    (Decimal('100.10'), Decimal('100.20'))
    >>> rules.refusal(Decimal("0.012"), Decimal("100"), reduce_only=False)
    'min_notional'
    """

    price_increment: Decimal
    size_increment: Decimal
    min_quantity: Decimal | None = None
    max_quantity: Decimal | None = None
    min_notional: Decimal | None = None

    def lots(self, quantity: Decimal | float) -> Decimal:
        """`quantity` rounded down to whole lots and capped at the maximum."""
        value = exact(quantity)
        if self.max_quantity is not None:
            value = min(value, self.max_quantity)
        lots = (value / self.size_increment).to_integral_value(ROUND_FLOOR)
        return lots * self.size_increment

    def passive_price(self, side: int, price: Decimal | float) -> Decimal:
        """`price` on the increment grid, rounded away from the market: buys down, sells up."""
        rounding = ROUND_FLOOR if side == BUY else ROUND_CEILING
        ticks = (exact(price) / self.price_increment).to_integral_value(rounding)
        return ticks * self.price_increment

    def refusal(self, quantity: Decimal, price: Decimal | None, *, reduce_only: bool) -> str | None:
        """Why an order of `quantity` (already in lots) may not leave, or None.

        The minimum notional does not bind orders that only reduce, as on the venue; an order
        without a known price is not held back by it.
        """
        if quantity <= 0:
            return "zero_quantity"
        if self.min_quantity is not None and quantity < self.min_quantity:
            return "min_quantity"
        if (
            not reduce_only
            and self.min_notional is not None
            and price is not None
            and quantity * price < self.min_notional
        ):
            return "min_notional"
        return None
