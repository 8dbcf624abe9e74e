"""Times that a caller hands in as a column: int64 nanoseconds UTC, whatever pandas made of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phoenix_runner.errors import RunnerError


class TimeColumnError(RunnerError):
    """A column of times that is neither integers nor datetime64."""


def times_ns(name: str, values: ArrayLike) -> NDArray[np.int64]:
    """Integers as they stand, datetime64 of any unit as nanoseconds, in the shape they have.

    A datetime64 of milli- or microseconds, which is what pandas reads from text, must not pass as its
    bare integers. Raises [TimeColumnError][] for anything else, as floats and times with a zone.

    >>> times_ns("ts_ns", np.array(["1970-01-01T00:00:01"], "M8[us]"))
    array([1000000000])
    >>> times_ns("ts_ns", [1.5])
    Traceback (most recent call last):
    phoenix_runner.time_columns.TimeColumnError: ts_ns must be int64 nanoseconds or datetime64 (was \
float64); of a pandas column with a time zone pass column.dt.tz_convert(None)
    """
    array = np.asarray(values)
    if array.size == 0:
        return array.astype(np.int64)
    if array.dtype.kind == "M":
        array = array.astype("M8[ns]")
    elif array.dtype.kind not in "iu":
        raise TimeColumnError(
            f"{name} must be int64 nanoseconds or datetime64 (was {array.dtype}); of a pandas column "
            "with a time zone pass column.dt.tz_convert(None)"
        )
    return array.astype(np.int64)
