"""Errors of phoenix-signals, and the checks that raise them.

Every invalid input has one behaviour: the call raises, its message says what must hold, and the
estimator keeps the state it had before. So a caller may catch the error, count it and go on with
the next observation. Batch functions name the row.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from phoenix_schemas.errors import PhoenixError

NUMBER_MAX: Final = 1e100
"""Numbers must be smaller: squares and sums of larger ones would end as infinity and NaN."""

TIME_MAX: Final = 2**63 - 1
"""Last time that int64 nanoseconds can name."""

RAW_BITS: Final = 255
"""Bits of the largest integer in raw units: a product of two of NautilusTrader's, which have 128."""

RAW_MAX: Final = 2**RAW_BITS - 1
"""Largest integer in raw units."""


class SignalsError(PhoenixError, ValueError):
    """Base of every error that phoenix-signals raises on purpose."""


class InputError(SignalsError):
    """An observation is impossible: NaN, a negative size, a crossed quote, time going back."""


class ParameterError(SignalsError):
    """A constructor argument is outside its range."""

    exit_code = 2


class VersionError(SignalsError):
    """An estimator, or a snapshot of one, is asked for in a version that is not installed."""

    exit_code = 2


def number_error(name: str, value: object) -> InputError:
    """The error for an observation that is NaN, infinite or beyond `NUMBER_MAX`.

    >>> str(number_error("x", float("nan")))
    'x must be a finite number below 1e100 (was nan); drop the observation or fix its source'
    """
    return InputError(
        f"{name} must be a finite number below 1e100 (was {value}); "
        "drop the observation or fix its source"
    )


def size_error(name: str, value: object) -> InputError:
    """The error for a quantity that is negative, NaN, infinite or too large.

    >>> str(size_error("size", -1.0))
    'size must be a finite number of at least 0 and below 1e100 (was -1.0); \
drop the observation or fix its source'
    """
    return InputError(
        f"{name} must be a finite number of at least 0 and below 1e100 (was {value}); "
        "drop the observation or fix its source"
    )


def share_error(name: str, value: object) -> InputError:
    """The error for a share outside [0, 1].

    >>> str(share_error("fsi", 1.5))
    'fsi must lie in [0, 1] (was 1.5); divide by the total'
    """
    return InputError(f"{name} must lie in [0, 1] (was {value}); divide by the total")


def raw_error(name: str, value: object, least: int) -> InputError:
    """The error for an integer in raw units that cannot be.

    >>> str(raw_error("size_raw", -5, 1))
    'size_raw must be an integer of at least 1 and below 2^255 (was -5); \
drop the observation or fix its source'
    """
    return InputError(
        f"{name} must be an integer of at least {least} and below 2^255 (was {value}); "
        "drop the observation or fix its source"
    )


def check_raw(name: str, value: int, least: int) -> None:
    """Refuse what is not an integer from `least` to `RAW_MAX`; numpy's integers are.

    >>> check_raw("size_raw", 1.5, 1)
    Traceback (most recent call last):
    phoenix_signals.errors.InputError: size_raw must be an integer of at least 1 and below 2^255 \
(was 1.5); drop the observation or fix its source
    """
    if not least <= value <= RAW_MAX or not is_integer(value):
        raise raw_error(name, value, least)


def is_integer(value: object) -> bool:
    """Whether a number is an integer by type, of Python or numpy; 2.0 is not.

    >>> is_integer(2), is_integer(np.int64(2)), is_integer(2.0)
    (True, True, False)
    """
    return type(value) is int or hasattr(value, "__index__")


def time_error(ts_ns: int, last_ns: int) -> InputError:
    """The error for an event older than the one before it, or at a time that cannot be.

    >>> str(time_error(5, 7))
    'ts_ns must not go back (was 5 after 7); sort the events by ts_init, equal times are allowed'
    >>> str(time_error(float("nan"), 7))
    'ts_ns must be an integer of nanoseconds in [0, 2^63) (was nan); pass ts_init as it stands'
    """
    if 0 <= ts_ns < last_ns:
        return InputError(
            f"ts_ns must not go back (was {ts_ns} after {last_ns}); "
            "sort the events by ts_init, equal times are allowed"
        )
    return InputError(
        f"ts_ns must be an integer of nanoseconds in [0, 2^63) (was {ts_ns}); "
        "pass ts_init as it stands"
    )


def check_time(ts_ns: int, last_ns: int) -> None:
    """Refuse a time before the last event's, and what is no time at all.

    >>> check_time(1.5, 0)
    Traceback (most recent call last):
    phoenix_signals.errors.InputError: ts_ns must be an integer of nanoseconds in [0, 2^63) \
(was 1.5); pass ts_init as it stands
    """
    if not last_ns <= ts_ns <= TIME_MAX or not is_integer(ts_ns):
        raise time_error(ts_ns, last_ns)


def check_count(name: str, value: object, least: int, typical: str) -> int:
    """Return `value` when it is an integer of at least `least`.

    >>> check_count("window_count", 1, 2, "600")
    Traceback (most recent call last):
    phoenix_signals.errors.ParameterError: window_count must be an integer of at least 2 (was 1); \
typical: 600
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ParameterError(
            f"{name} must be an integer of at least {least} (was {value!r}); typical: {typical}"
        )
    return value


def check_min_count(min_count: int | None, window_count: int | None) -> int:
    """Return `min_count`, by default a full window, when it lies in 1..window_count.

    >>> check_min_count(30, 20)
    Traceback (most recent call last):
    phoenix_signals.errors.ParameterError: min_count must be at most window_count 20 (was 30); \
typical: 30
    """
    if min_count is None:
        if window_count is None:
            raise ParameterError("min_count must be given without a window (was None); typical: 30")
        return window_count
    check_count("min_count", min_count, 1, "30")
    if window_count is not None and min_count > window_count:
        raise ParameterError(
            f"min_count must be at most window_count {window_count} (was {min_count}); typical: 30"
        )
    return min_count


def check_positive(name: str, value: object, typical: str) -> float:
    """Return `value` when it is a number above zero.

    >>> check_positive("half_life_bars", 0, "60")
    Traceback (most recent call last):
    phoenix_signals.errors.ParameterError: half_life_bars must be a finite number above 0 (was 0); \
typical: 60
    """
    if not isinstance(value, int | float) or not is_number(value) or value <= 0:
        raise ParameterError(
            f"{name} must be a finite number above 0 (was {value!r}); typical: {typical}"
        )
    return value


def check_config[Config](config: object, kind: type[Config]) -> Config:
    """Return the config of an engine when it is of the engine's own kind.

    >>> check_config({"price_precision": 2}, Exception)
    Traceback (most recent call last):
    phoenix_signals.errors.ParameterError: config must be of type Exception (was dict); make it with \
Exception(...)
    """
    if not isinstance(config, kind):
        raise ParameterError(
            f"config must be of type {kind.__name__} (was {type(config).__name__}); "
            f"make it with {kind.__name__}(...)"
        )
    return config


def check_windows(config: Any, *names: str) -> None:
    """Check the windows of a config under the names of its own fields, and `z_min_count` with them.

    >>> from types import SimpleNamespace
    >>> check_windows(SimpleNamespace(oi_window_rows=20, z_min_count=30), "oi_window_rows")
    Traceback (most recent call last):
    phoenix_signals.errors.ParameterError: z_min_count must be at most oi_window_rows 20 (was 30); \
typical: 30
    """
    least = check_count("z_min_count", config.z_min_count, 1, "30")
    for name in names:
        window = check_count(name, getattr(config, name), 2, "600")
        if least > window:
            raise ParameterError(
                f"z_min_count must be at most {name} {window} (was {least}); typical: 30"
            )


def is_number(value: object) -> bool:
    """Whether a parameter is a finite number; a bool or text is none.

    >>> is_number(0.5), is_number(None), is_number("5"), is_number(True)
    (True, False, False, False)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -NUMBER_MAX < value < NUMBER_MAX


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> str:
    """Return `value` when it is one of `choices`.

    >>> check_choice("bucket_mode", "half", ("whole", "split"))
    Traceback (most recent call last):
    phoenix_signals.errors.ParameterError: bucket_mode must be one of whole, split (was 'half')
    """
    if value not in choices:
        raise ParameterError(f"{name} must be one of {', '.join(choices)} (was {value!r})")
    return value


def column(name: str, values: Any, length: int | None = None) -> NDArray[np.float64]:
    """A batch input as float64, finite and of the right length.

    >>> column("x", [1.0, float("nan")])
    Traceback (most recent call last):
    phoenix_signals.errors.InputError: x must be a finite number below 1e100 (was nan at row 1); \
drop the observation or fix its source
    """
    array = np.asarray(values, dtype=np.float64)
    _check_shape(name, array, length)
    finite = np.abs(array) < NUMBER_MAX
    if not finite.all():
        row = int(np.argmin(finite))
        raise number_error(name, f"{array[row]} at row {row}")
    return array


_INTEGERS = {
    "ts_ns": 'pass nanoseconds, of pandas column.dt.as_unit("ns").astype("int64")',
    "side": "pass 1 for a buy and -1 for a sale",
}
"""What to pass where the unit is not that of an amount."""


def raw_column(name: str, values: Any, length: int | None = None) -> NDArray[np.int64]:
    """A batch input in integer raw units or nanoseconds, as int64; floats are refused.

    >>> raw_column("size_raw", [0.5])
    Traceback (most recent call last):
    phoenix_signals.errors.InputError: size_raw must hold integers (was float64); \
pass raw units, e.g. lots of 10^-size_precision
    """
    array = np.asarray(values)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        meant = _INTEGERS.get(name, "pass raw units, e.g. lots of 10^-size_precision")
        raise InputError(f"{name} must hold integers (was {array.dtype}); {meant}")
    if array.dtype.kind == "u" and array.max() > TIME_MAX:
        raise InputError(f"{name} must fit in int64 (was {array.max()}); pass smaller units")
    array = array.astype(np.int64, copy=False)
    _check_shape(name, array, length)
    return array


def time_column(values: Any, length: int | None = None) -> NDArray[np.int64]:
    """Event times of a batch input as int64 ns; they may repeat but never go back.

    >>> time_column([1, 3, 2])
    Traceback (most recent call last):
    phoenix_signals.errors.InputError: ts_ns must not go back (was 2 at row 2 after 3); \
sort the events by ts_init, equal times are allowed
    """
    ts_ns = raw_column("ts_ns", values, length)
    if len(ts_ns) and ts_ns[0] < 0:
        raise InputError(
            f"ts_ns must be an integer of nanoseconds in [0, 2^63) (was {ts_ns[0]} at row 0); "
            "pass ts_init as it stands"
        )
    back = ts_ns[1:] < ts_ns[:-1]
    if back.any():
        row = int(np.argmax(back)) + 1
        raise InputError(
            f"ts_ns must not go back (was {ts_ns[row]} at row {row} after {ts_ns[row - 1]}); "
            "sort the events by ts_init, equal times are allowed"
        )
    return ts_ns


def _check_shape(name: str, array: NDArray[Any], length: int | None) -> None:
    if array.ndim != 1:
        raise InputError(f"{name} must be one-dimensional (was {array.ndim}-dimensional)")
    if length is not None and len(array) != length:
        raise InputError(f"{name} must have {length} rows like the other columns ({len(array)})")
