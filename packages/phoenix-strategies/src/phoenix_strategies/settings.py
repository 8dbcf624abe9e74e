"""What every strategy's settings have in common.

Settings are msgspec Structs: frozen, closed (an unknown key is an error) and JSON-Schema-able, so
that a suite file is checked before any work begins. A strategy adds its own fields by subclassing.
"""

from __future__ import annotations

import msgspec


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
