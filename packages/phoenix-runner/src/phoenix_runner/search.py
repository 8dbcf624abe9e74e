"""Parameter sets: which are tried, which are left out, and what suite each makes.

A grid has corners that its strategy refuses, as a fast average slower than the slow one. Those are left
out, named and not counted as trials ([allowed_sets][]); everything else that is wrong with a set is wrong
with the search, and refused before any work.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import msgspec
from phoenix_schemas.errors import PhoenixError

from phoenix_runner.config import Search
from phoenix_runner.errors import SuiteError
from phoenix_runner.left_out import LeftOut
from phoenix_runner.suite import Suite, settings_refusal, suite_from

type ParameterSet = dict[str, Any]

MOST_RUNS = 50_000
"""More than anybody waits for: a mistake in the values, or a case for a random search."""

_DRAWN_FOR_A_VALUE = 200
"""Sets of a random search's grid that are looked through for one that allows a value."""

_OF_THE_WHOLE = frozenset(
    {"schema_version", "catalog", "output", "mode", "time", "time.start_utc", "time.end_utc"}
)
"""Keys that belong to the suite as a whole: its data, its range, where results go."""


class RefusedSettingsError(SuiteError):
    """A parameter set whose values the strategy's settings refuse; `reason` in their words."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


def parameter_sets(search: Search, seed: int) -> list[ParameterSet]:
    """The sets that a search names, in the grid's order (the last key turns fastest).

    A random search draws distinct sets from the grid by `seed` and keeps the grid's order.

    >>> search = Search(parameters={"a": [1, 2], "b": [3, 4]})
    >>> parameter_sets(search, 0)
    [{'a': 1, 'b': 3}, {'a': 1, 'b': 4}, {'a': 2, 'b': 3}, {'a': 2, 'b': 4}]
    >>> drawn = Search(parameters={"a": [1, 2], "b": [3, 4]}, method="random", samples=2)
    >>> len(parameter_sets(drawn, 7))
    2
    """
    total = math.prod(len(values) for values in search.parameters.values())
    if search.samples is not None and search.samples > total:
        raise SuiteError(
            f"mode.search.samples must be at most the number of sets, {total:,} (was "
            f"{search.samples:,}); use method: grid"
        )
    refuse_too_many(search.samples or total, f"{total:,} sets")
    chosen: list[int] | range = range(total)
    if search.samples is not None:
        chosen = sorted(random.Random(seed).sample(range(total), search.samples))
    return [_set_at(search, index) for index in chosen]


def _set_at(search: Search, index: int) -> ParameterSet:
    """The set at one place of the grid, without the others."""
    found: ParameterSet = {}
    for key, values in reversed(search.parameters.items()):
        index, place = divmod(index, len(values))
        found[key] = values[place]
    return dict(reversed(found.items()))


def refuse_too_many(runs: int, made_of: str) -> None:
    """Raises SuiteError for a search that would never end."""
    if runs > MOST_RUNS:
        raise SuiteError(
            f"mode.search must make at most {MOST_RUNS:,} runs (was {runs:,}, of {made_of}); give "
            "fewer values, or method: random with samples: 100"
        )


def allowed_sets(suite: Suite, search: Search) -> tuple[list[ParameterSet], list[LeftOut]]:
    """The sets to try, and those left out because the strategy refuses their values together.

    Raises SuiteError if there is nothing to try, for a value that is refused whatever it is combined
    with, for two sets that make the same suite, and for whatever else a suite cannot be.
    """
    seed = suite.config.determinism_seed
    sets = parameter_sets(search, seed)
    allowed: list[tuple[str, Suite]] = []
    tried: list[ParameterSet] = []
    left_out: list[LeftOut] = []
    refusals: list[RefusedSettingsError] = []
    for parameters in sets:
        try:
            allowed.append((describe(parameters), _over_the_whole(suite, parameters)))
        except RefusedSettingsError as error:
            refusals.append(error)
            left_out.append(LeftOut(describe(parameters), parameters, error.reason))
        else:
            tried.append(parameters)
    if not tried:
        more = f"; none of the {len(sets):,} combinations is allowed" if len(sets) > 1 else ""
        raise SuiteError(f"{refusals[0]}{more}")
    for key, value in _hopeless(search, tried, left_out):
        if search.samples is None or not _combines(suite, search, key, value, seed):
            first = next(i for i, o in enumerate(left_out) if o.parameters[key] == value)
            name = describe({key: value})
            raise SuiteError(
                f"{refusals[first]}; no combination with {name} is allowed: take it out of mode.search"
            )
    refuse_equal(allowed)
    return tried, left_out


def _hopeless(
    search: Search, tried: Iterable[ParameterSet], left_out: Iterable[LeftOut]
) -> list[tuple[str, Any]]:
    """Keys and values of the sets left out that no set tried has."""
    tried, left_out = list(tried), list(left_out)
    return [
        (key, value)
        for key, values in search.parameters.items()
        for value in values
        if any(o.parameters[key] == value for o in left_out)
        and not any(s[key] == value for s in tried)
    ]


def _combines(suite: Suite, search: Search, key: str, value: Any, seed: int) -> bool:
    """Whether a value is allowed in a set of the grid that a random search happened not to draw."""
    total = math.prod(len(values) for values in search.parameters.values())
    draw = random.Random(seed)
    for index in draw.sample(range(total), min(total, _DRAWN_FOR_A_VALUE)):
        try:
            _over_the_whole(suite, {**_set_at(search, index), key: value})
        except RefusedSettingsError:
            continue
        return True
    return False


def _over_the_whole(suite: Suite, parameters: Mapping[str, Any]) -> Suite:
    section = suite.config.time
    return with_parameters(suite, parameters, start_utc=section.start_utc, end_utc=section.end_utc)


def with_parameters(
    suite: Suite, parameters: Mapping[str, Any], *, start_utc: str, end_utc: str
) -> Suite:
    """The suite with some keys replaced, as a single run over its own range.

    Raises SuiteError that names the set if the suite refuses it, RefusedSettingsError if the strategy's
    own settings do.
    """
    values = suite.to_builtins()
    values["mode"] = {"kind": "single"}
    values["time"] = {**values["time"], "start_utc": start_utc, "end_utc": end_utc}
    for path, value in parameters.items():
        *parents, last = path.split(".")
        if path in _OF_THE_WHOLE or path.partition(".")[0] in _OF_THE_WHOLE - {"time"}:
            raise SuiteError(
                f"{path}: parameter must be one that can differ between runs of the same data over "
                "the same range; set it in the suite"
            )
        here: Any = values
        for part in parents:
            here = here.get(part) if isinstance(here, dict) else None
        if not isinstance(here, dict):
            raise SuiteError(
                f"{path}: parameter must be a key path of the suite, as strategy.config.fast_bars"
            )
        here[last] = value
    try:
        return suite_from(values, source=f"parameters {describe(parameters)}")
    except PhoenixError as error:
        reason = settings_refusal(values)
        if reason is not None:
            raise RefusedSettingsError(str(error), reason) from None
        raise SuiteError(str(error)) from None


def refuse_equal(named: Iterable[tuple[str, Suite]]) -> None:
    """Raises SuiteError for suites that mean the same.

    Two names of one run would count as two trials, and a variant without effect as a finding.
    """
    seen: dict[str, str] = {}
    for name, own in named:
        key = _meaning(own)
        if key in seen:
            raise SuiteError(
                f"{name}: parameters must make a suite of their own (are the same as {seen[key]}); "
                "drop one of the two"
            )
        seen[key] = name


def _meaning(suite: Suite) -> str:
    """One text for suites that mean the same, 0.010 being 0.01."""

    def plain(value: Any) -> Any:
        return msgspec.to_builtins(value, builtin_types=(Decimal,), str_keys=True)

    values = {**plain(suite.config), "funding": plain(suite.config.funding_section)}
    return json.dumps(values, sort_keys=True, default=lambda d: str(d.normalize()))


def describe(parameters: Mapping[str, Any]) -> str:
    """A set in a few words, keys by their last part.

    >>> describe({"strategy.config.fast_bars": 5, "execution.latency.insert_ms": 20})
    'fast_bars=5 insert_ms=20'
    """
    return " ".join(f"{short(k)}={v}" for k, v in parameters.items()) or "as written"


def short(path: str) -> str:
    """The last part of a key path."""
    return path.rpartition(".")[2]
