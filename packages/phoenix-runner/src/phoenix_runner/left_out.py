"""Parameter sets that a search names and that are not tried: corners of a grid that mean nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec


class LeftOut(msgspec.Struct, frozen=True):
    """A parameter set whose values the strategy refuses together, in words and by key path."""

    label: str
    parameters: dict[str, Any]
    reason: str


def left_out_sentence(left_out: Sequence[LeftOut], tried: int) -> str:
    """How many combinations were left out, and why the first of them was.

    >>> corner = LeftOut("fast=9 slow=5", {"fast": 9, "slow": 5}, "slow must be > fast")
    >>> left_out_sentence([corner], 3)
    '1 of 4 combinations is not allowed (fast=9 slow=5: slow must be > fast); left out, no trial'
    """
    one = len(left_out) == 1
    first = left_out[0]
    return (
        f"{len(left_out):,} of {len(left_out) + tried:,} combinations {'is' if one else 'are'} not "
        f"allowed ({'' if one else 'the first, '}{first.label}: {first.reason}); left out, no "
        f"trial{'' if one else 's'}"
    )
