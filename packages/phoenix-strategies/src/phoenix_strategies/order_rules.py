"""The venue's rules for one instrument: lots, increments, minimum and maximum sizes.

Pure arithmetic on exact decimals. Every order passes through here last, whatever sized it.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext

from phoenix_strategies.intents import BUY


def exact(value: Decimal | int | float | str) -> Decimal:
    """The decimal a person would read: a float by its shortest form, not its binary expansion.

    >>> exact(0.3), exact("0.001"), exact(5)
    (Decimal('0.3'), Decimal('0.001'), Decimal('5'))
    """
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)


def on_grid(value: Decimal, step: Decimal, rounding: str) -> Decimal:
    """`value` moved to a multiple of `step` in the given direction, exactly.

    The quotient is rounded in that direction too: at the default 28 digits one that does not
    terminate could be rounded up to the next whole number before the floor is taken.

    >>> on_grid(Decimal("0.3"), Decimal("0.1"), ROUND_FLOOR)
    Decimal('0.3')
    >>> on_grid(Decimal("2.9999999999999999999999999999999"), Decimal(1), ROUND_FLOOR)
    Decimal('2')
    """
    with localcontext() as context:
        context.prec = 60  # 38 digits of the catalog's decimals, with room for the quotient
        context.rounding = rounding
        return (value / step).to_integral_value(rounding) * step


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
        return on_grid(value, self.size_increment, ROUND_FLOOR)

    def passive_price(self, side: int, price: Decimal | float) -> Decimal:
        """`price` on the increment grid, rounded away from the market: buys down, sells up."""
        rounding = ROUND_FLOOR if side == BUY else ROUND_CEILING
        return on_grid(exact(price), self.price_increment, rounding)

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


def touch_price(
    side: int, bid: Decimal, ask: Decimal, tick: Decimal, improve_ticks: int = 0
) -> Decimal:
    """A passive price `improve_ticks` better than the touch, and never through the other side.

    Buy: min(bid + n ticks, ask - 1 tick); sell: max(ask - n ticks, bid + 1 tick).

    >>> t = Decimal("0.10")
    >>> touch_price(+1, Decimal("100.00"), Decimal("100.50"), t, 1)
    Decimal('100.10')
    >>> touch_price(+1, Decimal("100.00"), Decimal("100.10"), t, 1)   # one tick wide: join the bid
    Decimal('100.00')
    >>> touch_price(-1, Decimal("100.00"), Decimal("100.50"), t, 9)
    Decimal('100.10')
    """
    if side == BUY:
        return min(bid + improve_ticks * tick, ask - tick)
    return max(ask - improve_ticks * tick, bid + tick)
