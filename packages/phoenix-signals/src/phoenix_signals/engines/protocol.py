"""What every signal engine understands, and the numbers it is fed with."""

from __future__ import annotations

from fractions import Fraction
from typing import Final, Protocol, runtime_checkable

from phoenix_schemas.custom_data import BinanceRecord
from phoenix_schemas.signal_records import SignalRecord

from phoenix_signals.clocks import BUY, SELL, check_trade
from phoenix_signals.errors import RAW_MAX, InputError, ParameterError, check_raw

Quote = tuple[int, int, int, int, int]
"""bid_raw, ask_raw, bid_size_raw, ask_size_raw, ts_ns."""

NO_QUOTE: Quote = (1, RAW_MAX, 0, 0, -1)
"""Stands where there is no quote yet: no trade can print beyond it."""

SIDES: Final = (BUY, SELL)


@runtime_checkable
class SignalEngine(Protocol):
    """Events in, records out; no orders, no I/O, no clock but the events' own.

    Prices and sizes are integers, `price_raw` = price * 10^price_precision and likewise for sizes,
    in the precisions that the engine's config names. Any exact scale will do: the `raw` of a
    NautilusTrader price or quantity is such an integer at precision 16, whatever the instrument's
    own precision, and needs no arithmetic on the way; batch engines use the instrument's own
    precision, where a day fits in int64. Ratios of integers are rounded once, so both give the
    same numbers.

    Times are `ts_init` in ns UTC and never go back; at one time quotes come first, then trades,
    custom data, bars, as a replay delivers them. Each `on_...` returns True when a record waits;
    then call `maybe_emit()` until it returns None.
    """

    def on_trade(self, ts_ns: int, price_raw: int, size_raw: int, side: int) -> bool:
        """Take a trade; side +1 if the buyer was the aggressor, -1 if the seller was."""
        ...

    def on_quote(
        self, ts_ns: int, bid_raw: int, ask_raw: int, bid_size_raw: int, ask_size_raw: int
    ) -> bool:
        """Take a quote of the best bid and ask."""
        ...

    def on_bar(
        self,
        ts_ns: int,
        open_raw: int,
        high_raw: int,
        low_raw: int,
        close_raw: int,
        volume_raw: int,
    ) -> bool:
        """Take a bar at its close."""
        ...

    def on_custom_data(self, data: BinanceRecord) -> bool:
        """Take a record of `phoenix_schemas.custom_data`; types of no use are ignored."""
        ...

    def maybe_emit(self) -> SignalRecord | None:
        """The oldest record not handed out yet, None when there is none."""
        ...


def scaled(name: str, value: float, precision: int) -> int:
    """`value` in units of 10^-precision, which must hold it exactly.

    >>> scaled("price_increment", 0.1, 2)
    10
    """
    try:
        exact = Fraction(str(value)) * 10**precision
    except ValueError:  # infinity, NaN, None
        exact = Fraction(0)
    if exact.denominator != 1 or exact <= 0:
        raise ParameterError(
            f"{name} must be a positive multiple of 10^-{precision} (was {value!r}); "
            "check the precision of the instrument"
        )
    return int(exact)


def check_quote(
    bid_raw: int, ask_raw: int, bid_size_raw: int, ask_size_raw: int, told: str = "quote"
) -> None:
    """Refuse a quote that cannot be.

    >>> check_quote(5, 4, 1, 1)
    Traceback (most recent call last):
    phoenix_signals.errors.InputError: quote must have 0 < bid <= ask and sizes of at least 0, all \
integers below 2^255 (was bid 5 x 1, ask 4 x 1); drop it
    """
    try:  # integers alone have bits, and none beyond those of the bound
        is_quote = (
            0 < bid_raw <= ask_raw
            and bid_size_raw >= 0
            and ask_size_raw >= 0
            and bid_raw | ask_raw | bid_size_raw | ask_size_raw <= RAW_MAX
        )
    except TypeError:
        is_quote = False
    if not is_quote:
        raise InputError(
            f"{told} must have 0 < bid <= ask and sizes of at least 0, all integers below 2^255 "
            f"(was bid {bid_raw} x {bid_size_raw}, ask {ask_raw} x {ask_size_raw}); drop it"
        )


def check_print(price_raw: int, size_raw: int, side: int) -> None:
    """Refuse a trade that cannot be.

    >>> check_print(-5, 1, 1)
    Traceback (most recent call last):
    phoenix_signals.errors.InputError: price_raw must be an integer of at least 1 and below 2^255 \
(was -5); drop the observation or fix its source
    """
    try:  # as above, for the many that are as they should be
        if price_raw > 0 and size_raw > 0 and side in SIDES and price_raw | size_raw <= RAW_MAX:
            return
    except TypeError:
        pass
    check_raw("price_raw", price_raw, 1)
    check_trade(size_raw, side)
