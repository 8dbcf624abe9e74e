"""Parameter sets: which are tried, and what suite each makes."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Mapping
from decimal import Decimal
from itertools import product
from typing import Any

import msgspec
from phoenix_schemas.errors import PhoenixError

from phoenix_runner.config import Search
from phoenix_runner.errors import SuiteError
from phoenix_runner.suite import Suite, suite_from

type ParameterSet = dict[str, Any]

_OF_THE_WHOLE = frozenset(
    {"schema_version", "catalog", "output", "mode", "time", "time.start_utc", "time.end_utc"}
)
"""Keys that belong to the suite as a whole: its data, its range, where results go."""


def parameter_sets(search: Search, seed: int) -> list[ParameterSet]:
    """The sets to try, in the grid's order (the last key turns fastest).

    A random search draws distinct sets from the grid by `seed` and keeps the grid's order.

    >>> search = Search(parameters={"a": [1, 2], "b": [3, 4]})
    >>> parameter_sets(search, 0)
    [{'a': 1, 'b': 3}, {'a': 1, 'b': 4}, {'a': 2, 'b': 3}, {'a': 2, 'b': 4}]
    >>> drawn = Search(parameters={"a": [1, 2], "b": [3, 4]}, method="random", samples=2)
    >>> len(parameter_sets(drawn, 7))
    2
    """
    total = math.prod(len(values) for values in search.parameters.values())
    chosen: list[int] | range = range(total)
    if search.samples is not None:
        if search.samples > total:
            raise SuiteError(
                f"search.samples must be at most the number of sets, {total} (was "
                f"{search.samples}); use method: grid"
            )
        chosen = sorted(random.Random(seed).sample(range(total), search.samples))
    keys = list(search.parameters)
    every = list(product(*search.parameters.values()))
    return [dict(zip(keys, every[index], strict=True)) for index in chosen]


def with_parameters(
    suite: Suite, parameters: Mapping[str, Any], *, start_utc: str, end_utc: str
) -> Suite:
    """The suite with some keys replaced, as a single run over its own range.

    Raises SuiteError that names the set if the suite refuses it.
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
        raise SuiteError(str(error)) from None


def refuse_equal(suite: Suite, named: Iterable[tuple[str, ParameterSet]]) -> None:
    """Raises SuiteError for parameters that make the same suite twice, or one that is refused.

    Two names of one run would count as two trials, and a variant without effect as a finding.
    """
    section = suite.config.time
    seen: dict[str, str] = {}
    for name, parameters in named:
        own = with_parameters(
            suite, parameters, start_utc=section.start_utc, end_utc=section.end_utc
        )
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
