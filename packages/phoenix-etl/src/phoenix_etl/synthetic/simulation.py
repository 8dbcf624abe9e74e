"""One simulated day of one symbol: latent state, book, prints, bars and slow streams together."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np

from phoenix_etl.synthetic import arrivals, bars, book, latent, prints, streams
from phoenix_etl.synthetic.draws import Draws, Ints
from phoenix_etl.synthetic.listing import Listing
from phoenix_etl.synthetic.story import Day, Story

_UPDATES_PER_MS: Final = 64  # update ids grow with time, faster than any burst of quotes
_UPDATE_ZERO: Final = 90_000_000_000_000


@dataclass(frozen=True)
class SimulatedDay:
    """All arrays of one symbol's day; times are milliseconds of the day."""

    listing: Listing
    day: Day
    latent: latent.Latent
    milliseconds: Ints
    event_ms: Ints
    update_id: Ints
    book: book.Book
    prints: prints.Prints
    bars: bars.Bars
    references: streams.References
    depth: streams.DepthRows
    metrics: streams.Metrics


def simulate_day(story: Story, day: date, *, seed: int) -> SimulatedDay:
    """Simulate one day of the symbol of `story`."""
    listed, today = story.listing, story.day(day)

    def draws(name: str) -> Draws:
        return Draws(seed, listed.symbol, day.isoformat(), name)

    state = latent.simulate(listed, today, seed)
    milliseconds, is_order = arrivals.timeline(
        state.rate, orders=today.counts.orders, quotes=today.counts.quotes, draws=draws("arrivals")
    )
    touch = book.simulate(listed, state, milliseconds, is_order, draws("book"))
    printed = prints.simulate(listed, state, today, touch, milliseconds, draws("prints"))
    refs = streams.references(listed, state, draws("references"))
    event_ms, update_id = _stamps(today, milliseconds, draws("stamps"))
    return SimulatedDay(
        listing=listed,
        day=today,
        latent=state,
        milliseconds=milliseconds,
        event_ms=event_ms,
        update_id=update_id,
        book=touch,
        prints=printed,
        bars=bars.build(printed),
        references=refs,
        depth=streams.book_depth(listed, state, today, draws("depth")),
        metrics=streams.metrics(listed, state, today, printed, refs, draws("metrics")),
    )


def _stamps(day: Day, milliseconds: Ints, draws: Draws) -> tuple[Ints, Ints]:
    """Event times (3 to 12 ms after the transaction, never going back) and update ids."""
    n = len(milliseconds)
    late = 3 + np.minimum((draws.exponential(n) * 1.6).astype(np.int64), 9)
    event_ms = np.maximum.accumulate(milliseconds + late)
    since_epoch = day.midnight_seconds * 1000 + milliseconds
    rank = np.arange(n)
    update_id = since_epoch * _UPDATES_PER_MS + draws.below(_UPDATES_PER_MS // 2, n)
    return event_ms, np.maximum.accumulate(update_id - rank) + rank - _UPDATE_ZERO
