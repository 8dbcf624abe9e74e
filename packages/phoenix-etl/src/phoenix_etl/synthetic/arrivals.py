"""Self-exciting arrival times: orders, and the limit orders and cancels that answer them.

A Hawkes process by its branches: immigrants arrive at the latent rate, every arrival has a Poisson
number of children after short random delays, generation by generation, so a day is a few dozen
array operations. The day is taken as a circle, so midnight has no quiet edge, and the number of
arrivals is exact: rows per day are part of the story.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from phoenix_etl.synthetic.draws import Bools, Draws, Floats, Ints
from phoenix_etl.synthetic.latent import SECONDS

DAY_MS: Final = 86_400_000
FIRST_ORDER_MS: Final = (40, 1_000)
"""The day's first order comes after its first quote is known and before its first second ends."""

_BRANCHING: Final = 0.68
_QUIETEST: Final = 0.5  # of the day's mean rate
_ANSWERS: Final = 0.45  # share of limit events that answer an order within milliseconds


def _immigrants(rate: Floats, n: int, draws: Draws) -> Floats:
    """`n` times in seconds with density proportional to `rate`, evenly spread.

    One in each nth of the integrated rate: even a thin market trades every minute, and what
    clusters there are come from excitation.
    """
    clock = np.concatenate([[0.0], np.cumsum(rate)])
    at = (np.arange(n) + draws.uniform(n)) * (clock[-1] / n)
    second = np.minimum(np.searchsorted(clock, at, side="right") - 1, SECONDS - 1)
    return np.asarray(second + (at - clock[second]) / rate[second])


def _delays(n: int, draws: Draws) -> Floats:
    """Seconds from an arrival to its child: milliseconds, tenths of a second, or seconds."""
    kind = draws.uniform(n)
    slow = np.where(kind < 0.8, 0.15, 6.0)
    scale = np.where(kind < 0.35, 0.0006, np.where(kind < 0.6, 0.008, slow))
    return np.asarray(draws.exponential(n) * scale)


def clustered(rate: Floats, count: int, draws: Draws) -> Floats:
    """`count` self-exciting times (seconds of the day, unsorted)."""
    families: list[Floats] = []
    total = 0
    while total < count:
        short = count - total
        parents = _immigrants(rate, int(short * (1.0 - _BRANCHING) * 1.05) + 50, draws)
        while len(parents):
            families.append(parents)
            total += len(parents)
            children = np.repeat(parents, draws.poisson(_BRANCHING, len(parents)))
            parents = children + _delays(len(children), draws)
    times = np.concatenate(families)
    times -= np.floor(times * (1.0 / SECONDS)) * SECONDS
    keep = np.argsort(draws.uniform(len(times)), kind="stable")[:count]
    return np.asarray(times[keep])


def timeline(rate: Floats, *, orders: int, quotes: int, draws: Draws) -> tuple[Ints, Bools]:
    """Sorted times (ms of the day) of all quote updates, and which of them are orders.

    Every order changes the touch and so is a quote update; the others are limit orders and
    cancels. Within a millisecond orders come first.
    """
    rate = np.maximum(rate, _QUIETEST * (float(np.cumsum(rate)[-1]) / SECONDS))
    order_times = clustered(rate, orders, draws)
    answers = int((quotes - orders) * _ANSWERS)
    answered = order_times[draws.below(orders, answers)]
    answered = answered + np.maximum(draws.exponential(answers) * 0.008 - 0.003, 0.0)
    answered -= np.floor(answered * (1.0 / SECONDS)) * SECONDS
    limits = np.concatenate([answered, clustered(rate, quotes - orders - answers, draws)])

    order_ms = np.sort((order_times * 1000.0).astype(np.int64))
    order_ms = np.maximum(order_ms, FIRST_ORDER_MS[0])
    order_ms[0] = min(int(order_ms[0]), FIRST_ORDER_MS[1] - 1)
    limit_ms = np.sort((limits * 1000.0).astype(np.int64))
    limit_ms[0] = 0  # the day opens with a quote
    ms = np.concatenate([order_ms, limit_ms])
    # Nothing in the last millisecond: ids that grow with time then stay below the next day's.
    ms = np.minimum(ms, DAY_MS - 2)
    by_time = np.argsort(ms, kind="stable")
    return ms[by_time], by_time < orders
