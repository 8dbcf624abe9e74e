"""Properties that every signal must have, over the signals that the registry discovers.

Nothing is listed by hand: a signal without a batch twin, a golden file or the sections of its
docstring fails here. Random inputs come from `phoenix_signals.conformance`. Each test runs every
parameter set of EXAMPLES.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import math
import pickle
import re

import numpy as np
import pytest
from market import SECOND, random_market, steps
from phoenix_signals import conformance, registry
from phoenix_signals.clocks import Clock
from phoenix_signals.conformance import (
    CHECKED,
    arguments,
    compare,
    head,
    random_inputs,
    run,
    run_batch,
    twin,
)
from phoenix_signals.errors import InputError, ParameterError, VersionError
from phoenix_signals.liquidity import QuoteBefore

ENTRIES = [e for e in registry.installed() if issubclass(e.signal, CHECKED)]
ROWS = 120
SECTIONS = (
    "Formula", "Units", "Clock", "Warm-up", "Missing data", "Errors", "Example", "Source",
)  # fmt: skip
FLAVOURS = ("random", "constant", "offset", "one time", "one row", "no row")

# Columns in which 1e9 more is still a valid input.
FREE_LEVELS = {
    "x", "price", "price_1", "price_2", "close", "open_", "high", "low", "bid", "ask", "liquidity",
    "impulse", "open_interest",
}  # fmt: skip

# Columns that may not be negative.
SIZES = {
    "bid_size", "ask_size", "bid_size_raw", "ask_size_raw", "size_raw", "amount_raw", "volume_raw",
    "volume", "notional", "variance", "buy_raw", "sell_raw", "min_scale", "price", "price_1",
    "price_2", "price_raw", "close", "fsi",
}  # fmt: skip

WINDOWS = ("window_count", "window_bars", "window_returns", "window_ns", "lookback_bars")
REFUSED_AT_ONE = re.compile(r".*window_(count|bars|buckets|returns|rows|sessions)|lookback_bars")
REFUSED_AT_ZERO = re.compile(r"half_life.*|bucket_raw|interval_ns|window_ns|tick_size")

ENGINES = [e for e in registry.installed() if "config" in e.parameters]
every_engine = pytest.mark.parametrize("entry", ENGINES, ids=[e.id for e in ENGINES])
every_signal = pytest.mark.parametrize("entry", ENTRIES, ids=[e.id for e in ENTRIES])


def examples(entry):
    return [dict(parameters) for parameters in entry.signal.EXAMPLES]


def cut(inputs, start, stop=None):
    return {n: v[start:stop] for n, v in inputs.items()}


def flavoured(inputs, flavour):
    """Random inputs, or a hard kind of them."""
    if flavour == "constant":
        timed = {"ts_ns", "percentage", "notional", "quote"}
        return {n: v if n in timed else [v[0]] * len(v) for n, v in inputs.items()}
    if flavour == "offset":
        return {n: [lifted(x) for x in v] if n in FREE_LEVELS else v for n, v in inputs.items()}
    if flavour == "one time" and "ts_ns" in inputs and "percentage" not in inputs:
        return {**inputs, "ts_ns": inputs["ts_ns"][:1] * ROWS}
    return cut(inputs, 0, {"one row": 1, "no row": 0}.get(flavour))


def lifted(x):
    if isinstance(x, list):
        return [lifted(v) for v in x]
    return None if x is None else x + 1e9


def same_state(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same_state(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(same_state(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b, equal_nan=True)
    return a == b or (a != a and b != b)


@pytest.mark.parametrize("entry", registry.installed(), ids=lambda e: e.id)
def test_docstring_has_every_section(entry):
    text = inspect.getdoc(entry.signal)
    missing = [s for s in SECTIONS if not re.search(rf"^{s}:", text, re.MULTILINE)]
    assert not missing, f"docstring of {entry.signal.__name__} lacks {missing}"
    assert ">>>" in text, "the example must run as a doctest"


@every_engine
def test_a_config_of_another_kind_is_refused(entry):
    """Streaming and batch name the kind they want, whatever they are given instead."""
    wanted = type(entry.signal.EXAMPLES[0]["config"])
    batched = twin(entry.signal)
    given = inspect.signature(batched).parameters.values()
    columns = [None for p in given if p.kind is p.POSITIONAL_OR_KEYWORD]
    others = [e.signal.EXAMPLES[0]["config"] for e in ENGINES if e is not entry]
    for wrong in ({"price_precision": 2}, None, wanted, *others):
        told = rf"config must be of type {wanted.__name__} \(was {type(wrong).__name__}\); make it"
        with pytest.raises(ParameterError, match=told):
            entry.signal(wrong)
        with pytest.raises(ParameterError, match=told):
            batched(*columns, config=wrong)


@every_signal
def test_docstring_of_the_twin_says_units_shape_and_errors(entry):
    text = inspect.getdoc(twin(entry.signal))
    missing = [s for s in ("Units", "Returns", "Raises") if not re.search(rf"(?m)^{s}:", text)]
    assert not missing, f"docstring of batch.{entry.id} lacks {missing}"
    assert ">>>" in text, "the example must run as a doctest"


@every_signal
def test_identity_and_examples(entry):
    assert re.fullmatch(r"[a-z][a-z0-9_]*", entry.id)
    assert entry.version >= 1
    assert entry.summary.endswith(".")
    assert examples(entry), "EXAMPLES must hold at least one parameter set"
    for parameters in examples(entry):
        signal = entry.signal(**parameters)
        assert not hasattr(signal, "__dict__"), "every attribute must stand in __slots__"
        assert parameters.items() <= signal.parameters.items()
        output = run(signal, random_inputs(signal, ROWS, seed=3))
        for name, column in output.items():
            assert not np.isnan(column.astype(float)).all(), f"{name} never has a value"


@every_signal
def test_batch_twin_takes_the_same_arguments(entry):
    given = inspect.signature(twin(entry.signal)).parameters
    columns = [n for n, p in given.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    named = {n: p.default for n, p in given.items() if p.kind is p.KEYWORD_ONLY}
    if entry.signal is not QuoteBefore:  # which joins two streams
        assert columns == list(arguments(entry.signal))
    for name, default in entry.parameters.items():
        assert named.pop(name) == (
            inspect.Parameter.empty if default is registry.REQUIRED else default
        )
    assert inspect.Parameter.empty not in named.values(), "what the twin adds must have a default"


@every_signal
def test_streaming_equals_batch_at_every_step(entry):
    for parameters in examples(entry):
        signal = entry.signal(**parameters)
        inputs = random_inputs(signal, ROWS, seed=1)
        for flavour in FLAVOURS:
            rows = flavoured(inputs, flavour)
            batched = run_batch(signal, rows)
            if flavour == "no row":
                assert all(len(v) == 0 for v in batched.values())
            else:
                difference = compare(run(entry.signal(**parameters), rows), batched)
                assert difference is None, (parameters, flavour)


@every_signal
def test_the_future_changes_nothing_before_it(entry):
    """The batch result of the past alone is the head of the batch result of everything."""
    for parameters in examples(entry):
        signal = entry.signal(**parameters)
        inputs = random_inputs(signal, ROWS, seed=4)
        whole = run_batch(signal, inputs)
        ts_ns = [*inputs.get("ts_ns", range(ROWS)), None]
        for rows in (1, 17, ROWS - 1):
            while isinstance(signal, QuoteBefore) and ts_ns[rows] == ts_ns[rows - 1]:
                rows += 1  # a quote of the same time comes before the trade that asks
            told = run_batch(signal, cut(inputs, 0, rows))
            assert compare(head(whole, rows), told) is None, (parameters, rows)


@every_signal
def test_warm_up_holds_from_any_start(entry):
    """From any start streaming equals batch, and a full window says what it always says."""
    for parameters in examples(entry):
        signal = entry.signal(**parameters)
        inputs = random_inputs(signal, ROWS + 60, seed=5)
        whole = run(entry.signal(**parameters), inputs)
        for start in (1, 23):
            late = cut(inputs, start)
            output = run(entry.signal(**parameters), late)
            assert compare(output, run_batch(signal, late)) is None, (parameters, start)
            warm = first_settled_row(signal, parameters, inputs, start)
            if warm is None:
                continue
            assert warm < ROWS + 40
            settled = compare(cut(whole, warm), cut(output, warm - start))
            assert settled is None, (parameters, start)


def first_settled_row(signal, parameters, inputs, start):
    """Row from which nothing before `start` matters; None where the past matters for ever."""
    window = next((v for n, v in parameters.items() if n in WINDOWS), None)
    endless = any(n.startswith("half_life") for n in parameters) or entry_chains(signal)
    if window is None or endless:
        return None
    if "window_ns" in parameters:
        ts_ns = np.array(inputs["ts_ns"])
        return int(np.searchsorted(ts_ns, ts_ns[start] + window, side="right")) + 1
    holes = 3 if conformance.optional_arguments(signal) else 1  # rows that enter no window
    return start + holes * window + 2


def entry_chains(signal):
    """A value that stands until it is replaced reaches further back than a window."""
    return isinstance(signal, Clock) or signal.ID == "exhaustion"


@every_signal
def test_snapshot_and_restore_change_nothing(entry):
    """Cutting the input into chunks, with a stored snapshot between them, changes nothing."""
    for parameters in examples(entry):
        inputs = random_inputs(entry.signal(**parameters), ROWS, seed=6)
        whole = run(entry.signal(**parameters), inputs)
        for at in (0, 1, 77):
            first = entry.signal(**parameters)
            run(first, cut(inputs, 0, at))
            stored = pickle.dumps(first.snapshot())
            second = entry.signal(**parameters)
            run(second, cut(inputs, 50, 70))  # what is restored over must vanish
            second.restore(pickle.loads(stored))
            assert same_state(second.snapshot(), pickle.loads(stored))
            late = run(second, cut(inputs, at))
            rest = cut(whole, at)
            if isinstance(first, Clock):
                late["row"] += at
                rest = {n: v[whole["row"] >= at] for n, v in whole.items()}
            assert compare(rest, late, 0.0) is None, (parameters, at)


@every_signal
def test_a_snapshot_of_something_else_is_refused(entry):
    signal = entry.signal(**examples(entry)[0])
    run(signal, random_inputs(signal, 30, seed=7))
    before = signal.snapshot()
    for key, value in (("version", entry.version + 1), ("id", "other"), ("parameters", {"n": 1})):
        with pytest.raises(VersionError, match=key):
            signal.restore({**copy.deepcopy(before), key: value})
    with pytest.raises(VersionError, match=r"snapshot id must be .* \(was None\)"):
        signal.restore({})
    assert same_state(signal.snapshot(), before)


@every_signal
def test_reset_equals_fresh(entry):
    for parameters in examples(entry):
        signal, fresh = entry.signal(**parameters), entry.signal(**parameters)
        inputs = random_inputs(signal, ROWS, seed=8)
        run(signal, cut(inputs, 60))
        signal.reset()
        assert same_state(signal.snapshot(), fresh.snapshot())
        assert compare(run(fresh, inputs), run(signal, inputs), 0.0) is None, parameters


GROWING = {"percentile", "volatility_regimes"}
"""Keep all history, for ranks in it, and say so; `percentile` only without a window."""


def leaves(state) -> int:
    """Numbers that a state holds."""
    if isinstance(state, dict):
        return sum(leaves(v) for v in state.values())
    if isinstance(state, list | tuple):
        return sum(leaves(v) for v in state)
    return state.size if isinstance(state, np.ndarray) else 1


@every_signal
def test_memory_is_bounded(entry):
    """The same stretch again and again: once windows are full, the state grows no more."""
    for parameters in examples(entry):
        signal = entry.signal(**parameters)
        inputs = random_inputs(signal, ROWS, seed=13)
        most = [0] * 5
        for cycle in range(5):
            late = dict(inputs)
            if "ts_ns" in inputs:
                span = inputs["ts_ns"][-1] - inputs["ts_ns"][0] + conformance.MS_NS
                late["ts_ns"] = [ts + cycle * span for ts in inputs["ts_ns"]]
            for row in zip(*late.values(), strict=True):
                signal.update(*row)
                if cycle in (2, 4):  # the others need not pay for snapshots
                    most[cycle] = max(most[cycle], leaves(signal.snapshot()["state"]))
        if entry.id in GROWING and parameters.get("window_count") is None:
            assert most[4] > most[2], "no exception any more: take it out of GROWING"
        else:
            assert most[4] <= most[2], (parameters, most)


ENDLESS = {"toxicity_volatility_engine"}
"""Engines with a history without a window among their parts."""


@every_engine
def test_memory_of_an_engine_is_bounded(entry):
    """The same minute again and again: once windows are full, the state grows no more.

    Only histories that an engine says it keeps may grow; they are counted apart.
    """
    market, cycles = random_market(13, seconds=60.0, events=600), 6
    for parameters in examples(entry):
        config = parameters["config"]
        windows = [f.name for f in dataclasses.fields(config) if REFUSED_AT_ONE.fullmatch(f.name)]
        short = dict.fromkeys(windows, 8)
        engine = entry.signal(dataclasses.replace(config, z_min_count=5, **short))
        most, endless = [0] * cycles, [0] * cycles
        for cycle in range(cycles):
            later = market.moved(cycle * 60 * SECOND)
            for i, _ in enumerate(steps(engine, later)):
                if cycle in (3, 5) and i % 11 == 0:  # a snapshot costs far more than an event
                    bounded, growing = parted(engine.snapshot()["state"])
                    most[cycle] = max(most[cycle], leaves(bounded))
                    endless[cycle] = max(endless[cycle], leaves(growing))
        assert most[5] <= most[3], (parameters, most)
        assert (endless[5] > endless[3]) == (entry.id in ENDLESS), (parameters, endless)


def parted(state) -> tuple[list, list]:
    """A state without the estimators that keep all history, and the states of these."""
    bounded, growing = [], []
    for value in state.values() if isinstance(state, dict) else state:
        if not isinstance(value, dict | list):
            bounded.append(value)
        elif isinstance(value, dict) and value.get("id") in GROWING:
            windowed = value["parameters"].get("window_count") is not None
            (bounded if windowed else growing).append(value["state"])
        else:
            below = parted(value)
            bounded += below[0]
            growing += below[1]
    return bounded, growing


def check_refusal(entry, parameters, change):
    """A changed row is refused: streaming and batch raise InputError, the state stays."""
    signal = entry.signal(**parameters)
    inputs = random_inputs(signal, 40, seed=10)
    run(signal, cut(inputs, 0, 30))
    before = copy.deepcopy(signal.snapshot())
    row = {n: v[30] for n, v in inputs.items()}
    row |= change(row) if callable(change) else change
    with pytest.raises(InputError):
        signal.update(*row.values())
    assert same_state(signal.snapshot(), before), "a refused row must leave the state as it was"
    with pytest.raises(InputError):
        run_batch(signal, {n: [*v[:30], row[n]] for n, v in inputs.items()})


@every_signal
def test_invalid_numbers_are_refused(entry):
    """NaN, infinities, numbers too large to square, fractions of a lot and negative sizes."""
    for parameters in examples(entry):
        signal = entry.signal(**parameters)
        first = {n: v[0] for n, v in random_inputs(signal, 1, seed=11).items()}
        for name in first.keys() - {"quote"}:
            if name == "min_scale" and parameters.get("z_kind") == "none":
                continue  # without a z there is no scale to bound
            is_optional = name in conformance.optional_arguments(signal)
            for value in bad_numbers(name, first[name], is_optional):
                check_refusal(entry, parameters, {name: value})


def bad_numbers(name, sample, is_optional):
    """What no number of this kind may be; a missing one is NaN in batch, so NaN is no test there."""
    if isinstance(sample, list):
        return [[bad, *sample[1:]] for bad in bad_numbers(name, sample[1], is_optional)]
    bad = [math.inf, -math.inf, 1e200]
    if not is_optional:
        bad += [math.nan, 10**200, -(10**200)]
    if isinstance(sample, int) and name not in ("side", "is_source"):
        bad += [sample + 0.5]
    return [*bad, *([-5] if name in SIZES | {"ts_ns", "asset"} else [])]


@every_signal
def test_crossed_quotes_and_impossible_bars_are_refused(entry):
    for low, high in (("bid", "ask"), ("bid_raw", "ask_raw"), ("low", "high")):
        if low in arguments(entry.signal):
            check_refusal(entry, examples(entry)[0], crossed(low, high))


def crossed(low, high):
    return lambda row: {low: row[high] + 1, high: row[low]}


@every_signal
def test_time_going_back_is_refused(entry):
    if entry.signal is QuoteBefore:
        signal = QuoteBefore()
        signal.update(5, "quote")
        with pytest.raises(InputError):
            signal.update(4, "older")
        with pytest.raises(InputError):
            twin(QuoteBefore)([5, 4], [6])
    elif "ts_ns" in arguments(entry.signal):
        before = conformance.START_NS - 1
        check_refusal(entry, examples(entry)[0], {"ts_ns": before})


@every_signal
def test_windows_below_two_and_half_lives_of_zero_are_refused(entry):
    parameters = examples(entry)[0]
    columns = random_inputs(entry.signal(**parameters), 5, seed=12).values()
    for name in parameters:
        bad = [1] if REFUSED_AT_ONE.fullmatch(name) else []
        bad += [0] if REFUSED_AT_ZERO.fullmatch(name) else []
        for value in bad:
            with pytest.raises(ParameterError, match=name):
                entry.signal(**{**parameters, name: value})
            with pytest.raises(ParameterError, match=name):
                twin(entry.signal)(*columns, **{**parameters, name: value})


def test_an_estimator_without_a_twin_is_told_what_to_do():
    class Lonely(CHECKED[0]):
        ID = "lonely"

        def update(self, x: float) -> None:
            """Take a value."""

    with pytest.raises(ValueError, match=r"must have a batch twin phoenix_signals\.batch\.lonely"):
        twin(Lonely)


def test_an_argument_that_no_generator_knows_is_named():
    class Strange(CHECKED[0]):
        ID = "strange"

        def update(self, moon_phase: float) -> None:
            """Take a value."""

    with pytest.raises(ValueError, match="moon_phase"):
        random_inputs(Strange(), 5, seed=1)
