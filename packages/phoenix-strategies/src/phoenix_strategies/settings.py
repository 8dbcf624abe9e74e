"""What every strategy's settings have in common.

Settings are msgspec Structs: frozen, closed (an unknown key is an error) and JSON-Schema-able, so
that a suite file is checked before any work begins. A strategy adds its own fields by subclassing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, Self

import msgspec


class TrainingRange(Protocol):
    """What settings are fitted on: a range of the past, and nothing at or after its end."""

    def bar_volumes(self) -> list[float]:
        """Base volumes of the 1-minute bars of the range, in order."""

    def decision_values(self, settings: StrategySettings) -> list[Mapping[str, float]]:
        """What the strategy sees at each of its decisions in the range, run with `settings`."""


class StrategySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings that every strategy understands.

    Examples
    --------
    >>> msgspec.convert({"close_positions_on_stop": False}, StrategySettings)
    StrategySettings(instrument_id=None, close_positions_on_stop=False, reduce_only_on_stop=True)
    """

    instrument_id: str | None = None
    """Instrument to trade; None means one strategy for each instrument of the suite's universe."""

    close_positions_on_stop: bool = True
    """Close what is held when the run (or the fold) ends; otherwise it stays open and is marked."""

    reduce_only_on_stop: bool = True
    """Send the closing order reduce-only."""

    @property
    def needs_fit(self) -> bool:
        """Whether something here is to be fitted on training data; see [fit][StrategySettings.fit]."""
        return False

    def fit(self, training: TrainingRange) -> Self:
        """These settings with what is fitted on a training range.

        Walk-forward calls it for each fold and parameter set with the fold's training range, and
        uses the result in training and in the test. What it raises ends the walk-forward.

        Examples
        --------
        >>> class Quiet(StrategySettings, frozen=True, kw_only=True):
        ...     least_volume: float | None = None
        ...
        ...     @property
        ...     def needs_fit(self) -> bool:
        ...         return self.least_volume is None
        ...
        ...     def fit(self, training: TrainingRange) -> Quiet:
        ...         return msgspec.structs.replace(self, least_volume=min(training.bar_volumes()))
        >>> class Minutes:
        ...     def bar_volumes(self) -> list[float]:
        ...         return [3.0, 2.0]
        >>> Quiet().fit(Minutes()).least_volume
        2.0
        """
        del training
        return self
