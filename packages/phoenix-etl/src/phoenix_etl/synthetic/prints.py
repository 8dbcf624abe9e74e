"""What orders print: aggregated trades by price, and the single fills beneath them.

The number of rows of both is part of the story (ids go on through midnight without a gap), so the
natural numbers of levels and fills are drawn first and then nudged, one at a time at random
places, to the day's exact counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from phoenix_etl.synthetic.book import Book
from phoenix_etl.synthetic.draws import Bools, Draws, Floats, Ints, exp
from phoenix_etl.synthetic.errors import SyntheticError
from phoenix_etl.synthetic.latent import Latent
from phoenix_etl.synthetic.listing import Listing
from phoenix_etl.synthetic.story import Day


@dataclass(frozen=True)
class Prints:
    """Aggregated trades of a day in order of id, each with its range of fills."""

    agg_id: Ints
    first_fill: Ints
    last_fill: Ints
    ticks: Ints
    lots: Ints
    milliseconds: Ints
    """Of the day."""
    sells: Bools
    """The aggressor sold: the buyer was the maker."""
    touch: Ints
    """Price at which the order began to trade."""
    forced: Bools
    fill_lots: Ints
    """Sizes of the single fills, in order of id."""

    @property
    def fills(self) -> Ints:
        """Fills of each aggregated trade."""
        return self.last_fill - self.first_fill + 1


def _exactly(counts: Ints, total: int, low: Ints, high: Ints, draws: Draws) -> Ints:
    """`counts` nudged by ones at random places, within [low, high], to sum to `total`."""
    counts = counts.copy()
    while (short := total - int(counts.sum())) != 0:
        step = 1 if short > 0 else -1
        free = np.flatnonzero(counts < high if step > 0 else counts > low)
        if not len(free):
            raise SyntheticError(
                f"a day's prints must fit its orders (was {total} for {len(counts)} orders); "
                "this seed and date cannot be simulated"
            )
        order = np.argsort(draws.uniform(len(free)), kind="stable")
        counts[free[order[: abs(short)]]] += step
    return counts


def _parts(first: Ints, counts: Ints, total: Ints, weights: Floats) -> Ints:
    """Split each of `total` into `counts` positive parts, in proportion to random weights."""
    group = np.repeat(np.arange(len(counts)), counts)
    running = np.concatenate([[0.0], np.cumsum(weights)])
    begin, end = running[first], running[first + counts]
    share = (running[1:] - begin[group]) / (end - begin)[group]
    rank = np.arange(len(group)) - first[group]
    # Positions of cuts: at least one each, the rest by weight; the last cut is the total itself.
    cuts = rank + 1 + np.floor(share * (total - counts)[group]).astype(np.int64)
    cuts = np.where(rank == counts[group] - 1, total[group], cuts)
    before = np.concatenate([[0], cuts[:-1]])
    return np.asarray(cuts - np.where(rank == 0, 0, before))


def simulate(
    listed: Listing, latent: Latent, day: Day, book: Book, milliseconds: Ints, draws: Draws
) -> Prints:
    """Prints of all orders of `day`."""
    orders = len(book.order)
    at = milliseconds[book.order]
    depth = latent.depth[at // 1000]
    span = np.maximum(book.span, 1)

    # Levels: the touch and some of the prices below the new touch. Then prints of those levels;
    # more prints than levels means that several orders traded there in one millisecond.
    wanted = 1 + np.floor(np.sqrt(span - 1.0) * (0.4 + 1.2 * draws.uniform(orders)))
    thick = np.where(book.forced, 8.0, 2.0 * depth)  # a liquidation is as large as its position
    beyond = np.floor(listed.order_lots * thick * exp(1.3 * draws.normal(orders))) + 2.0
    levels = np.minimum(np.minimum(wanted, 24).astype(np.int64), span)
    lots = book.lots + np.where(levels > 1, (beyond * levels).astype(np.int64), 0)
    prints = _exactly(levels, day.counts.agg_trades, np.ones_like(levels), lots, draws)
    levels = np.minimum(levels, prints)

    group = np.repeat(np.arange(orders), prints)
    first = np.cumsum(prints) - prints
    rank = np.arange(len(group)) - first[group]
    level = rank * levels[group] // prints[group]
    steps = level * span[group] // levels[group]
    ticks = book.touch[group] + book.side[group] * steps
    sizes = _parts(first, prints, lots, 0.1 + draws.exponential(len(group)))

    made = 1 + np.floor(0.9 * draws.exponential(len(sizes)) * draws.exponential(len(sizes)))
    made = np.minimum(np.minimum(made.astype(np.int64), 60), sizes)
    made = _exactly(made, day.counts.fills, np.ones_like(made), sizes, draws)
    before = np.cumsum(made) - made
    fill_lots = _parts(before, made, sizes, 0.05 + draws.exponential(int(made.sum())))
    return Prints(
        agg_id=day.first_agg_trade + np.arange(len(sizes)),
        first_fill=day.first_fill + before,
        last_fill=day.first_fill + before + made - 1,
        ticks=ticks,
        lots=sizes,
        milliseconds=at[group],
        sells=book.side[group] < 0,
        touch=book.touch[group],
        forced=book.forced[group],
        fill_lots=fill_lots,
    )
