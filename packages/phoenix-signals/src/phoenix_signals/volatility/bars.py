"""What one bar says: its checks, and the variance formulas of a single bar."""

from __future__ import annotations

import math

from phoenix_signals.errors import NUMBER_MAX, InputError, number_error

PARKINSON = 1.0 / (4.0 * math.log(2.0))

GARMAN_KLASS = 2.0 * math.log(2.0) - 1.0


def log_ratio(a: float, b: float) -> float:
    """ln(a / b) without loss of digits when a is close to b.

    >>> log_ratio(1.0, 1.0)
    0.0
    """
    return math.log1p((a - b) / b)


def parkinson(open_: float, high: float, low: float, close: float) -> float:  # noqa: ARG001  # one signature
    """Parkinson variance of one bar, ln(H/L)^2 / (4 ln 2).

    >>> round(parkinson(100.0, 101.0, 99.0, 100.0), 8)
    0.00014428
    """
    u = log_ratio(high, low)
    return PARKINSON * (u * u)


def garman_klass(open_: float, high: float, low: float, close: float) -> float:
    """Garman-Klass variance of one bar, 0.5 ln(H/L)^2 - (2 ln 2 - 1) ln(C/O)^2.

    >>> round(garman_klass(100.0, 101.0, 99.0, 100.0), 8)
    0.00020001
    """
    u = log_ratio(high, low)
    r = log_ratio(close, open_)
    return 0.5 * (u * u) - GARMAN_KLASS * (r * r)


def rogers_satchell(open_: float, high: float, low: float, close: float) -> float:
    """Rogers-Satchell variance of one bar, ln(H/O) ln(H/C) + ln(L/O) ln(L/C).

    >>> round(rogers_satchell(100.0, 101.0, 99.0, 100.0), 8)
    0.00020002
    """
    return log_ratio(high, open_) * log_ratio(high, close) + log_ratio(low, open_) * log_ratio(
        low, close
    )


def check_bar(open_: float, high: float, low: float, close: float) -> None:
    """Refuse a bar whose prices contradict one another.

    >>> check_bar(100.0, 99.0, 98.0, 99.0)
    Traceback (most recent call last):
    phoenix_signals.errors.InputError: a bar must have 0 < low <= open, close <= high \
(was open 100.0, high 99.0, low 98.0, close 99.0); fix its source
    """
    if not (0.0 < low <= open_ <= high < NUMBER_MAX and low <= close <= high):
        raise InputError(
            "a bar must have 0 < low <= open, close <= high "
            f"(was open {open_}, high {high}, low {low}, close {close}); fix its source"
        )


def check_price(name: str, price: float) -> None:
    """Refuse a price that is not a number above 0.

    >>> check_price("close", 0.0)
    Traceback (most recent call last):
    phoenix_signals.errors.InputError: close must be above 0 (was 0.0); fix its source
    """
    if not 0.0 < price < NUMBER_MAX:
        if price <= 0.0:
            raise InputError(f"{name} must be above 0 (was {price}); fix its source")
        raise number_error(name, price)
