"""Parameter sets: which are tried, and what suite each makes."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from itertools import product
from typing import Any

from phoenix_schemas.errors import PhoenixError

from phoenix_runner.config import Search
from phoenix_runner.errors import SuiteError
from phoenix_runner.suite import Suite, suite_from

type ParameterSet = dict[str, Any]


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


def describe(parameters: Mapping[str, Any]) -> str:
    """A set in a few words, keys by their last part.

    >>> describe({"strategy.config.fast_bars": 5, "execution.latency.insert_ms": 20})
    'fast_bars=5 insert_ms=20'
    """
    return " ".join(f"{short(k)}={v}" for k, v in parameters.items()) or "as written"


def short(path: str) -> str:
    """The last part of a key path."""
    return path.rpartition(".")[2]
