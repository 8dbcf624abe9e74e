"""What a study of many signals amounts to, in sentences that count how many were looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from phoenix_schemas.timestamps import NS_PER_SECOND

from phoenix_runner.report.wording import count, duration
from phoenix_runner.research.decay import LEAST_BLOCKS, Decay, Family
from phoenix_runner.research.labels import horizon_name


@dataclass(frozen=True)
class DecayStudy:
    """Every signal of a suite: what was found, by name, and what all of it together has to pass.

    `never_known` had no value in the range; `replayed` are the data types of the suite.
    """

    found: Mapping[str, Decay]
    family: Family
    never_known: Sequence[str] = ()
    replayed: Sequence[str] = ()

    @property
    def rows(self) -> int:
        """Rows of the page: every horizon of every signal, before and after it."""
        return sum(len(one.rows) for one in self.found.values())


def decay_verdict(study: DecayStudy) -> str:
    """The strongest predictive rank IC of those that stand out among all that were judged."""
    limit = study.family
    predictive = [
        (name, row)
        for name, one in study.found.items()
        for row in one.rows
        if row.kind == "predictive"
    ]
    if not limit.comparisons:
        most = max((row for _, row in predictive), key=lambda row: row.blocks)
        why = (
            f"the moves fall into {count(most.blocks, 'block')} of {_length(most.block_ns)}, "
            f"{LEAST_BLOCKS} needed; use a longer range or shorter horizons"
            if most.blocks < LEAST_BLOCKS
            else "the signals, or the moves after them, do not vary"
        )
        return f"Nothing can be judged: {why}"
    compared = count(limit.comparisons, "comparison")
    sure = [(name, row) for name, row in predictive if limit.beyond_chance(row)]
    if not sure:
        return f"No signal orders the moves that follow it beyond chance ({compared})"
    name, row = max(sure, key=lambda found: abs(found[1].rank_ic.value or 0.0))
    beyond = (
        "beyond chance"
        if limit.comparisons == 1
        else f"more than chance shows in the best of {compared}"
    )
    return (
        f"{name} orders the next {horizon_name(row.horizon_ns)} with a rank correlation of "
        f"{row.rank_ic.value:.3f}, {beyond}"
    )


def never_known_sentence(study: DecayStudy) -> str:
    """Which signals have no row, and why that may be."""
    return (
        f"never known in this range: {', '.join(study.never_known)}; the suite replays "
        f"{', '.join(study.replayed)}, and a signal made of other data, or with a longer warm-up, "
        "has no value"
    )


def not_judged(study: DecayStudy) -> list[str]:
    """Which signals last too long for the range, where others could be judged."""
    if not study.family.comparisons:
        return []
    few = [
        f"{name} ({count(one.rows[0].blocks, 'block')} of {_length(one.rows[0].block_ns)})"
        for name, one in study.found.items()
        if not one.extremes.size and one.rows[0].blocks < LEAST_BLOCKS
    ]
    return [f"Not judged, {LEAST_BLOCKS} blocks needed: {', '.join(few)}."] if few else []


def _length(ns: int) -> str:
    return duration(ns / NS_PER_SECOND)
