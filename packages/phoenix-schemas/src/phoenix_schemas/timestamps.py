"""Time: int64 nanoseconds since 1970-01-01 UTC, exact from text to catalog.

Nothing here goes through float. Ranges are end-exclusive everywhere in Phoenix.
"""

from __future__ import annotations

import datetime as dt
import re

from phoenix_schemas.errors import SchemaError

NS_PER_US = 1_000
NS_PER_MS = 1_000_000
NS_PER_SECOND = 1_000_000_000
NS_PER_MINUTE = 60 * NS_PER_SECOND
NS_PER_HOUR = 60 * NS_PER_MINUTE
NS_PER_DAY = 24 * NS_PER_HOUR

_EPOCH = dt.date(1970, 1, 1).toordinal()
_ISO = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?)?(Z|\+00:00)?"
)

# First and last instant that a market file can hold, used to tell a timestamp's unit from its
# magnitude: 2010-01-01 to 2100-01-01 in seconds, and the same span in ms, us and ns never overlap.
_FIRST_SECOND = 1_262_304_000
_LAST_SECOND = 4_102_444_800
UNIT_NS = {"s": NS_PER_SECOND, "ms": NS_PER_MS, "us": NS_PER_US, "ns": 1}


def parse_utc(text: str) -> int:
    """Nanoseconds of an ISO 8601 date or time in UTC.

    A date alone is its midnight; no offset means UTC; any other offset is refused.

    Raises SchemaError for text that is no such time, or not in the calendar.

    >>> parse_utc("2024-02-01")
    1706745600000000000
    >>> parse_utc("2024-02-01T00:00:00.000000001Z") - parse_utc("2024-02-01 00:00:00")
    1
    """
    match = _ISO.fullmatch(text.strip())
    if match is None:
        raise SchemaError(
            f"time must be ISO 8601 in UTC (was {text!r}); write it as 2024-02-01T00:00:00Z"
        )
    day_text, hour, minute, second, fraction, _ = match.groups()
    try:
        day = dt.date.fromisoformat(day_text)
        clock = dt.time(int(hour or 0), int(minute or 0), int(second or 0))
    except ValueError as error:
        raise SchemaError(f"time must exist in the calendar (was {text!r}: {error})") from None
    seconds = clock.hour * 3600 + clock.minute * 60 + clock.second
    return day_start(day) + seconds * NS_PER_SECOND + int((fraction or "").ljust(9, "0"))


def format_utc(ns: int) -> str:
    """ISO 8601 text of a time, with as many decimals as it needs (0, 3, 6 or 9).

    >>> format_utc(1706745600000000000)
    '2024-02-01T00:00:00Z'
    >>> format_utc(1706745659999000000)
    '2024-02-01T00:00:59.999Z'
    """
    seconds, rest = divmod(ns, NS_PER_SECOND)
    stamp = dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")
    if not rest:
        return f"{stamp}Z"
    digits = f"{rest:09d}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return f"{stamp}.{digits}Z"


def day_start(day: dt.date) -> int:
    """Nanoseconds of a day's midnight, UTC.

    >>> day_start(dt.date(1970, 1, 2)) == NS_PER_DAY
    True
    """
    return (day.toordinal() - _EPOCH) * NS_PER_DAY


def utc_day(ns: int) -> dt.date:
    """The UTC day that holds a time.

    >>> utc_day(1706745600000000000 - 1)
    datetime.date(2024, 1, 31)
    """
    return dt.date.fromordinal(_EPOCH + ns // NS_PER_DAY)


def epoch_unit(value: int) -> str | None:
    """Unit of an integer timestamp by its magnitude: "s", "ms", "us", "ns", or None if no market
    time between 2010 and 2100 reads so.

    >>> epoch_unit(1706745600000), epoch_unit(1706745600000000), epoch_unit(7)
    ('ms', 'us', None)
    """
    for unit, ns in UNIT_NS.items():
        scale = NS_PER_SECOND // ns
        if _FIRST_SECOND * scale <= value < _LAST_SECOND * scale:
            return unit
    return None


def epoch_bounds(unit: str) -> tuple[int, int]:
    """First value and end (exclusive) of the timestamps that [epoch_unit][] reads as `unit`."""
    scale = NS_PER_SECOND // UNIT_NS[unit]
    return _FIRST_SECOND * scale, _LAST_SECOND * scale
