"""The contract that every estimator and engine keeps.

[Versioned][] carries identity and state: `ID`, `VERSION`, `parameters`, `reset`, `snapshot`,
`restore`. [Estimator][] adds `value` and `ready`; each subclass defines `update(...)` with the
arguments it needs, and has a batch twin of the same name as its `ID` in `phoenix_signals.batch`.

How a subclass is written, so that everything above comes for free:

- every constructor argument is stored under its own name;
- every attribute stands in `__slots__`; containers are created in `__init__` and keep their type;
- `EXAMPLES` holds small parameter sets: the conformance suite and the golden files run them;
- `update` checks its arguments before it touches the state.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from sortedcontainers import SortedList

from phoenix_signals.errors import VersionError


class Versioned:
    """Identity, parameters and state of a signal.

    `ID` names the signal for good. `VERSION` rises only when its numbers change; the golden file
    of (id, version) guards it. A snapshot is plain data (numbers, tuples, lists, dicts; pickle it)
    and belongs to one id, version and parameter set.
    """

    __slots__ = ()

    ID: ClassVar[str]
    VERSION: ClassVar[int]
    EXAMPLES: ClassVar[tuple[Mapping[str, Any], ...]]

    @property
    def parameters(self) -> dict[str, Any]:
        """Constructor arguments by name, as given or defaulted."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def reset(self) -> None:
        """Forget everything that was seen; equal to a fresh object."""
        self.__init__(**self.parameters)  # type: ignore[misc]  # the same class, never a subclass

    def snapshot(self) -> dict[str, Any]:
        """State as plain data, for [restore][phoenix_signals.estimator.Versioned.restore]."""
        held = {name: getattr(self, name) for name in _slots(type(self))}
        for name in [*self.parameters, *(k for k, v in held.items() if callable(v))]:
            held.pop(name, None)  # parameters stand beside; functions follow from them
        return {
            "id": self.ID,
            "version": self.VERSION,
            "parameters": self.parameters,
            "state": {name: _plain(value) for name, value in held.items()},
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Continue from a snapshot of the same id, version and parameters.

        Raises:
            VersionError: the snapshot belongs to something else; the state stays as it was.
        """
        for key, mine in (
            ("id", self.ID),
            ("version", self.VERSION),
            ("parameters", self.parameters),
        ):
            if snapshot.get(key) != mine:
                raise VersionError(
                    f"snapshot {key} must be {mine!r} (was {snapshot.get(key)!r}); "
                    "replay the history instead, or install the version that wrote it"
                )
        for slot, value in snapshot["state"].items():
            setattr(self, slot, _revived(getattr(self, slot), value))

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.parameters.items())
        return f"{type(self).__name__}({arguments})"


class Estimator(Versioned):
    """A streaming estimator: `update(...)` per observation, then `value`.

    `value` is None until `ready`; a batch twin holds NaN there. An estimator with several outputs
    returns a NamedTuple of numbers, its twin the same NamedTuple of arrays.
    """

    __slots__ = ()

    @property
    def value(self) -> Any:
        """Latest estimate, None while there is none."""
        raise AttributeError(f"{type(self).__name__} must define value")

    @property
    def ready(self) -> bool:
        """True when `value` is a number."""
        return self.value is not None


def _slots(cls: type) -> list[str]:
    found: list[str] = []
    for base in cls.__mro__:
        slots = base.__dict__.get("__slots__", ())
        found.extend([slots] if isinstance(slots, str) else slots)
    return found


def _plain(value: Any) -> Any:
    """Copy of a state variable in which nothing is shared with the live object."""
    if isinstance(value, Versioned):
        return value.snapshot()
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | deque | SortedList):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return value.copy()
    return value  # numbers, strings, None, tuples of them, frozen records


def _revived(current: Any, state: Any) -> Any:
    """A state variable rebuilt from `state`, in the type that it has in a live object."""
    if isinstance(current, Versioned):
        current.restore(state)
        return current
    if isinstance(current, dict):
        return {k: _revived(current.get(k), v) for k, v in state.items()}
    if isinstance(current, list | deque | SortedList):
        held: list[Any] = [*current, *[None] * len(state)]  # estimators in a list restore in place
        items = [_revived(mine, v) for mine, v in zip(held, state, strict=False)]
        return deque(items, current.maxlen) if isinstance(current, deque) else type(current)(items)
    return _plain(state)
