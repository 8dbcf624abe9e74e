"""Forward returns as labels, each with the time it becomes known.

A label at t over horizon h is mid(t + h) / mid(t) - 1, known at t + h and not before; mid(x) is the
last mid at or before x. Training may use a label only where its known time lies before the end of
training: that is what the purge of [FoldPlan][phoenix_runner.folds.FoldPlan] is for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from phoenix_runner.errors import RunnerError
from phoenix_runner.fills import sample_asof
from phoenix_runner.time_columns import times_ns

MINUTE_NS = 60 * 10**9
HORIZONS_NS = (MINUTE_NS, 5 * MINUTE_NS, 15 * MINUTE_NS)


class LabelError(RunnerError):
    """Labels asked for cannot be made."""


def move_between(
    ts_ns: ArrayLike,
    mid: ArrayLike,
    from_ns: ArrayLike,
    to_ns: ArrayLike,
    *,
    max_age_ns: int,
) -> NDArray[np.float64]:
    """mid(to) / mid(from) - 1 for each pair of times; NaN where either mid is absent or too old.

    A time after the end of the series has no mid, however young the last one is: nothing says that it
    still stood.
    """
    times = times_ns("ts_ns", ts_ns)
    start, end = (
        np.where(
            times_ns("from_ns and to_ns", at) <= (times[-1] if times.size else -1),
            sample_asof(times, mid, at, max_age_ns=max_age_ns),
            np.nan,
        )
        for at in (from_ns, to_ns)
    )
    return np.asarray(end / start - 1, dtype=np.float64)


def forward_labels(
    ts_ns: ArrayLike,
    mid: ArrayLike,
    at_ns: ArrayLike,
    *,
    horizons_ns: Sequence[int] = HORIZONS_NS,
    max_age_ns: int = MINUTE_NS,
) -> pa.Table:
    """A table with a row per time of `at_ns`: forward return and known time for each horizon.

    `ts_ns`, `mid`: the mid series, times not decreasing. Columns: `ts_ns`; for each horizon `ret_<h>`
    (float64, null where unknown) and `known_<h>_ns` (int64), h as `1m`, `90s` or `250ms`. A mid
    older than `max_age_ns`, or a time after the series ends, makes a label null.

    >>> table = forward_labels([0, MINUTE_NS], [100.0, 101.0], [0], horizons_ns=[MINUTE_NS])
    >>> table.to_pylist()
    [{'ts_ns': 0, 'ret_1m': 0.010000000000000009, 'known_1m_ns': 60000000000}]
    """
    wanted = times_ns("at_ns", at_ns)
    columns: dict[str, pa.Array] = {"ts_ns": pa.array(wanted)}
    for horizon in horizons_ns:
        if horizon <= 0:
            raise LabelError(f"horizons_ns must be positive (was {horizon}); 1 to 15 min are usual")
        values = move_between(ts_ns, mid, wanted, wanted + horizon, max_age_ns=max_age_ns)
        name = horizon_name(horizon)
        columns[f"ret_{name}"] = pa.array(values, mask=np.isnan(values))
        columns[f"known_{name}_ns"] = pa.array(wanted + horizon)
    return pa.table(columns)


def horizon_name(horizon_ns: int) -> str:
    """A horizon in its largest whole unit.

    >>> [horizon_name(n * 10**6) for n in (60_000, 90_000, 250, 3_600_000)]
    ['1m', '90s', '250ms', '1h']
    """
    for unit, size in (("h", 3600 * 10**9), ("m", MINUTE_NS), ("s", 10**9), ("ms", 10**6)):
        if horizon_ns % size == 0:
            return f"{horizon_ns // size}{unit}"
    return f"{horizon_ns}ns"
