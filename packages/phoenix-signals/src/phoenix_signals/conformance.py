"""What every signal is checked with: random inputs, the streaming run, the batch run.

For contributors, and for anyone who writes an estimator of their own: [random_inputs][] makes valid
inputs from the names of the arguments of `update`, [run][] feeds them one by one, [run_batch][] all
at once, and [compare][] says where two runs differ. The test suite of this package applies them to
every class that the registry finds; nothing is listed by hand.
"""

from __future__ import annotations

import inspect
import math
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoenix_signals import batch
from phoenix_signals.clocks import Bucket, Clock
from phoenix_signals.errors import SignalsError
from phoenix_signals.estimator import Estimator
from phoenix_signals.liquidity import QuoteBefore

Inputs = dict[str, list[Any]]
Output = dict[str, NDArray[Any]]
Checked = Estimator | Clock | QuoteBefore
CHECKED = (Estimator, Clock, QuoteBefore)
"""Base classes whose signals are fed row by row; engines take events and have their own checks."""

START_NS = 1_700_000_000_000_000_000
MS_NS = 1_000_000
DEPTH_LEVELS = (-5.0, -4.0, -3.0, -2.0, -1.0, 1.0, 2.0, 3.0, 4.0, 5.0)

RELATIVE = 1e-12
"""Largest difference of two runs, as a share of the largest value of the column."""


def arguments(signal: Checked | type[Checked]) -> tuple[str, ...]:
    """Names of the arguments of `update`.

    >>> from phoenix_signals.liquidity import SpreadBps
    >>> arguments(SpreadBps)
    ('bid', 'ask')
    """
    update = typing.cast(Any, signal).update
    return tuple(n for n in inspect.signature(update).parameters if n != "self")


def optional_arguments(signal: Checked) -> set[str]:
    """Arguments of `update` that may be None, or hold None."""
    hints = typing.get_type_hints(typing.cast(Any, type(signal)).update)
    return {name for name in arguments(signal) if "None" in str(hints.get(name))}


def random_inputs(signal: Checked, rows: int, seed: int) -> Inputs:
    """Valid random inputs of a signal: one list per argument of `update`.

    Columns that belong together (a quote, a bar, a snapshot of the book) fit one another. One value
    in eight of an optional argument is missing.

    >>> from phoenix_signals.liquidity import SpreadBps
    >>> inputs = random_inputs(SpreadBps(), rows=3, seed=1)
    >>> all(bid <= ask for bid, ask in zip(inputs["bid"], inputs["ask"]))
    True
    """
    rng = np.random.default_rng(seed)
    names = arguments(signal)
    market = _market(rng, rows)
    if "percentage" in names:
        market |= _depth(rng, rows)
    wide = _width(signal)
    if wide is not None:
        market |= {"x": _vectors(rng, rows, wide), "z": _vectors(rng, rows, wide)}
        market["asset"] = rng.integers(0, wide, rows).tolist()
    missing = [name for name in names if name not in market]
    if missing:
        raise SignalsError(
            f"arguments of {type(signal).__name__}.update must be known to phoenix_signals."
            f"conformance (was {', '.join(missing)}); add a column of that name to _market"
        )
    inputs = {name: market[name] for name in names}
    for name in sorted(optional_arguments(signal)):
        inputs[name] = [_with_holes(rng, value) for value in inputs[name]]
    return inputs


def run(signal: Checked, inputs: Inputs) -> Output:
    """Feed rows one by one; the value after each as columns of floats, NaN for None.

    A clock gives the buckets it closed instead, with the row that closed each, in integers.

    >>> from phoenix_signals.orderflow import QueueImbalance
    >>> run(QueueImbalance(), {"bid_size": [3.0, 0.0], "ask_size": [1.0, 0.0]})["value"].tolist()
    [0.5, nan]
    """
    if isinstance(signal, Clock):
        return _run_clock(signal, inputs)
    if isinstance(signal, QuoteBefore):
        return _run_quotes(signal, inputs)
    values = []
    for row in _rows(inputs):
        typing.cast(Any, signal).update(*row)
        values.append(signal.value)
    return _columns(values)


def run_batch(signal: Checked, inputs: Inputs) -> Output:
    """The batch twin over all rows at once, in the form of [run][].

    >>> from phoenix_signals.orderflow import QueueImbalance
    >>> inputs = {"bid_size": [3.0, 0.0], "ask_size": [1.0, 0.0]}
    >>> run_batch(QueueImbalance(), inputs)["value"].tolist()
    [0.5, nan]
    """
    wide = _width(signal)
    columns = [_array(values, wide if n in ("x", "z") else None) for n, values in inputs.items()]
    if isinstance(signal, QuoteBefore):
        rows = twin(signal)(columns[0], columns[0], **signal.parameters)
        quotes = np.array([*inputs["quote"], np.nan])
        return {"value": quotes[rows]}
    result = twin(signal)(*columns, **signal.parameters)
    if isinstance(signal, Clock):
        return {name: values.astype(np.int64) for name, values in result._asdict().items()}
    if hasattr(result, "_asdict"):
        return {name: _flat(values) for name, values in result._asdict().items()}
    return {"value": _flat(result)}


def twin(signal: Checked | type[Checked]) -> Callable[..., Any]:
    """The batch function of a signal, by its ID.

    Raises:
        SignalsError: there is none.

    >>> from phoenix_signals.toxicity import Vpin
    >>> twin(Vpin).__name__
    'vpin'
    """
    function = getattr(batch, signal.ID, None)
    if function is None:
        raise SignalsError(
            f"signal {signal.ID} must have a batch twin phoenix_signals.batch.{signal.ID} "
            "(was not found); write it and name it in phoenix_signals/batch/__init__.py"
        )
    return typing.cast(Callable[..., Any], function)


def compare(expected: Output, found: Output, relative: float = RELATIVE) -> str | None:
    """What differs first between two runs, None when nothing does.

    Integers and the places of NaN must be equal. Floats may differ by `relative` of themselves, or
    of the largest value of their column.

    >>> compare({"value": np.array([1.0, 2.0])}, {"value": np.array([1.0, 2.5])})
    'value differs at row 1: 2.0 and 2.5'
    """
    if _nothing(expected) and _nothing(found) and _length(expected) == _length(found):
        return None  # without a value nobody knows the columns
    if expected.keys() != found.keys():
        return f"columns differ: {list(expected)} and {list(found)}"
    for name, a in expected.items():
        b = found[name]
        if a.shape != b.shape:
            return f"{name} differs in shape: {a.shape} and {b.shape}"
        if a.dtype.kind == "f":
            scale = np.abs(a[np.isfinite(a)]).max(initial=0.0)
            bad = ~np.isclose(a, b, rtol=relative, atol=relative * scale, equal_nan=True)
        else:
            bad = a != b
        if bad.any():
            place = tuple(int(i) for i in np.argwhere(bad)[0])
            at = place[0] if len(place) == 1 else place
            return f"{name} differs at row {at}: {a[place]} and {b[place]}"
    return None


def _nothing(output: Output) -> bool:
    return all(v.dtype.kind == "f" and np.isnan(v).all() for v in output.values())


def _length(output: Output) -> int:
    return len(next(iter(output.values())))


def head(output: Output, rows: int) -> Output:
    """What a run had said after its first `rows` rows.

    >>> head({"value": np.array([1.0, 2.0])}, 1)["value"].tolist()
    [1.0]
    """
    if "row" in output:
        known = output["row"] < rows
        return {name: values[known] for name, values in output.items()}
    return {name: values[:rows] for name, values in output.items()}


def _run_clock(clock: Clock, inputs: Inputs) -> Output:
    found: list[tuple[Any, ...]] = []
    for i, row in enumerate(_rows(inputs)):
        found.extend((i, *bucket) for bucket in typing.cast(Any, clock).update(*row))
    names = ("row", *Bucket._fields)
    table = np.array(found, dtype=np.int64).reshape(-1, len(names))
    return {name: table[:, i] for i, name in enumerate(names)}


def _run_quotes(signal: QuoteBefore, inputs: Inputs) -> Output:
    """The quote that a trade at the time of each row meets, asked when that time is over."""
    values: list[Any] = []
    for ts_ns, quotes in groupby(_rows(inputs), key=itemgetter(0)):
        count = 0
        for row in quotes:
            signal.update(*row)
            count += 1
        met = signal.at(ts_ns)
        values.extend([None if met is None else met[1]] * count)
    return _columns(values)


def _rows(inputs: Mapping[str, Sequence[Any]]) -> Iterator[tuple[Any, ...]]:
    return zip(*inputs.values(), strict=True)


def _columns(values: list[Any]) -> Output:
    known = [v for v in values if v is not None]
    first = known[0] if known else np.nan
    if isinstance(first, tuple):
        nothing = (None,) * len(first)
        rows = [nothing if v is None else v for v in values]
        names = typing.cast(Any, first)._fields
        return {n: _flat(_floats([row[i] for row in rows])) for i, n in enumerate(names)}
    return {"value": _flat(_floats(values))}


def _floats(values: list[Any]) -> NDArray[np.float64]:
    """Values as floats, NaN for None, in the shape of the values there are."""
    shape = next((np.shape(v) for v in values if v is not None), ())
    nothing = np.full(shape, np.nan)
    return np.array([nothing if v is None else v for v in values], dtype=np.float64)


def _flat(values: Any) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    return array.reshape(len(array), math.prod(array.shape[1:])) if array.ndim > 2 else array


def _array(values: list[Any], wide: int | None) -> NDArray[Any]:
    if wide is not None:
        table = [[np.nan if e is None else e for e in v] for v in values]
        return np.array(table, dtype=np.float64).reshape(-1, wide)
    return np.array([np.nan if v is None else v for v in values])


def _width(signal: Checked) -> int | None:
    """Number of assets or factors of a signal that takes vectors."""
    parameters = signal.parameters
    if "asset_count" in parameters:
        return int(parameters["asset_count"])
    return next((len(v) for v in parameters.values() if isinstance(v, tuple)), None)


def _vectors(rng: np.random.Generator, rows: int, width: int) -> list[list[float]]:
    common = rng.standard_normal(rows)
    own = rng.standard_normal((rows, width))
    vectors: list[list[float]] = np.round(own + common[:, None], 3).tolist()
    return vectors


def _with_holes(rng: np.random.Generator, value: Any) -> Any:
    if isinstance(value, list):
        return [_with_holes(rng, element) for element in value]
    return None if rng.random() < 0.125 else value


def _market(rng: np.random.Generator, rows: int) -> Inputs:
    """A small market: every column that an `update` may ask for, on short decimals."""
    gaps_ms = np.floor(rng.exponential(100.0, rows)) * (rng.random(rows) < 0.8)
    ts_ns = START_NS + np.cumsum(gaps_ms.astype(np.int64)) * MS_NS
    bid_raw = 30_000 + np.cumsum(rng.integers(-3, 4, rows))
    spread_ticks = rng.choice([0, 1, 1, 1, 1, 2, 3, 7], rows)
    ask_raw = bid_raw + spread_ticks
    sizes = np.floor(rng.pareto(1.5, (2, rows)) * 20).astype(np.int64)
    size_raw = 1 + np.floor(rng.pareto(1.5, rows) * 50).astype(np.int64)
    side = np.where(rng.random(rows) < 0.5, 1, -1)
    price_raw = np.where(side > 0, ask_raw, bid_raw) + side * rng.integers(0, 3, rows)
    bars = np.cumsum(rng.integers(-5, 6, (rows, 4)), axis=1) * (rng.random((rows, 1)) < 0.9)
    level = 30_000 + np.cumsum(rng.integers(-9, 10, rows))
    bars = bars - bars[:, :1] + level[:, None]
    x = np.round(rng.standard_normal(rows), 2)
    x[rng.random(rows) < 0.3] = 0.25
    factor = np.exp(np.cumsum(rng.standard_normal(rows)) * 0.01)
    flows = np.floor(rng.pareto(1.2, (2, rows)) * 300).astype(np.int64)
    columns: dict[str, NDArray[Any]] = {
        "ts_ns": ts_ns,
        "bid_raw": bid_raw,
        "ask_raw": ask_raw,
        "bid_size_raw": sizes[0],
        "ask_size_raw": sizes[1],
        "bid": np.round(bid_raw / 10, 1),
        "ask": np.round(ask_raw / 10, 1),
        "bid_size": np.round(sizes[0] / 1000, 3),
        "ask_size": np.round(sizes[1] / 1000, 3),
        "quote": np.arange(rows) * 1.0,
        "price_raw": price_raw,
        "size_raw": size_raw,
        "amount_raw": size_raw,
        "side": side,
        "buy_raw": flows[0],
        "sell_raw": flows[1],
        "open_": np.round(bars[:, 0] / 10, 1),
        "high": np.round(bars.max(axis=1) / 10, 1),
        "low": np.round(bars.min(axis=1) / 10, 1),
        "close": np.round(bars[:, 3] / 10, 1),
        "volume_raw": size_raw * (rng.random(rows) < 0.9),
        "volume": np.round(size_raw * (rng.random(rows) < 0.9) / 1000, 3),
        "price": np.round(price_raw / 10, 1),
        "price_1": np.round(price_raw / 10, 1),
        "price_2": np.round(2_000 * factor, 2),
        "variance": np.round(rng.exponential(1.0, rows), 3),
        "is_source": (rng.random(rows) < 0.2).astype(np.int64),
        "x": x,
        "min_scale": np.where(rng.random(rows) < 0.5, 0.0, 0.125),
        "impulse": np.round(rng.standard_normal(rows) * 1e5) * (rng.random(rows) < 0.4),
        "liquidity": np.round(spread_ticks * 1e-5, 6),
        "lpi": x,
        "relief": np.round(rng.standard_normal(rows), 2),
        "open_interest": np.round(1e5 * factor),
        "funding_rate": np.round(rng.standard_normal(rows) * 1e-4, 6),
        "fsi": np.round(rng.random(rows), 3),
        "imbalance": np.round(rng.random(rows), 3),
        "ldr": np.round(rng.exponential(1.0, rows), 3),
        "spread_bps": np.round(spread_ticks / 3, 2),
        "spread": np.round(spread_ticks / 3, 2),
        "depth": np.round(rng.exponential(1e6, rows)),
        "long_short_ratio": np.round(np.exp(rng.standard_normal(rows) * 0.3), 4),
        "vpin": np.round(rng.random(rows), 3),
        "obi": np.round(rng.uniform(-1.0, 1.0, rows), 3),
        "svi": np.round(rng.uniform(-1.0, 1.0, rows), 3),
        "ofi": np.round(rng.standard_normal(rows) * 50),
        "is_toxic": (rng.random(rows) < 0.3).astype(np.int64),
        "taker_ratio": np.round(np.exp(rng.standard_normal(rows) * 0.3), 4),
    }
    return {name: values.tolist() for name, values in columns.items()}


def _depth(rng: np.random.Generator, rows: int) -> Inputs:
    """Rows of bookDepth, ten to a snapshot, now and then with a level missing."""
    snapshots = -(-rows // 8) + 1
    inputs: Inputs = {"ts_ns": [], "percentage": [], "notional": []}
    for i in range(snapshots):
        ts_ns = START_NS + i * 30_000 * MS_NS
        steps = np.round(rng.exponential(1e5, len(DEPTH_LEVELS)) * (rng.random() < 0.95))
        below, above = np.cumsum(steps[:5])[::-1], np.cumsum(steps[5:])
        for percentage, notional in zip(DEPTH_LEVELS, [*below, *above], strict=True):
            if rng.random() < 0.9:
                inputs["ts_ns"].append(ts_ns)
                inputs["percentage"].append(percentage)
                inputs["notional"].append(float(notional))
    return {name: values[:rows] for name, values in inputs.items()}
