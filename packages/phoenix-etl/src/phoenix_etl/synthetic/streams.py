"""The slow streams: index, mark and premium bars, book depth, metrics and funding.

They read the same latent state as the book, and the metrics also the trades themselves, so that
open interest falls and depth thins in the seconds in which forced orders print.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np

from phoenix_etl.synthetic.draws import Draws, Floats, Ints, between, decay, exp
from phoenix_etl.synthetic.latent import MINUTES, SECONDS, Latent
from phoenix_etl.synthetic.listing import Listing
from phoenix_etl.synthetic.prints import Prints
from phoenix_etl.synthetic.story import Day

E8: Final = 10**8
TWELVE_LEVELS_FROM: Final = date(2026, 1, 15)
"""From this day the archive's book depth has a 0.2 % level and prints `-5.00`."""
START_LABELS_FROM: Final = date(2026, 6, 25)
"""From this day `create_time` of metrics labels the start of its five minutes, before, the end."""

_SHARES: Final = np.array([1.0, 0.94, 0.87, 0.69, 0.56])  # of a level, relative to the first 1 %


@dataclass(frozen=True)
class PriceBars:
    """Open, high, low, close of 1,440 minutes with 8 decimals."""

    open: Ints
    high: Ints
    low: Ints
    close: Ints

    @classmethod
    def of(cls, values: Floats) -> PriceBars:
        grid = np.rint(values * E8).astype(np.int64).reshape(MINUTES, -1)
        return cls(grid[:, 0], grid.max(axis=1), grid.min(axis=1), grid[:, -1])


@dataclass(frozen=True)
class References:
    """Index, mark and premium of one day."""

    index: PriceBars
    mark: PriceBars
    premium: PriceBars
    mark_ticks: Ints
    """Mark price in ticks at every second."""


def references(listed: Listing, latent: Latent, draws: Draws) -> References:
    """Index from value and premium, mark from index and the premium a minute ago."""
    at = np.arange(SECONDS) / 60.0
    premium = between(latent.premium, at)
    smooth = between(latent.premium, np.maximum(at - 1.0, 0.0))
    ticks = exp(latent.log_value[:-1]) * listed.price_ticks
    wander = between(decay(draws.normal(MINUTES + 1) * 0.00001, 0.8), at)
    index = ticks / (1.0 + premium) * (1.0 + wander + 0.000003 * draws.normal(SECONDS))
    mark = index * (1.0 + smooth)
    sampled = (premium + 0.00001 * draws.normal(SECONDS)).reshape(-1, 5)[:, 0]
    grid = 10**listed.tick_decimals
    return References(
        index=PriceBars.of(index / grid),
        mark=PriceBars.of(mark / grid),
        premium=PriceBars.of(sampled),
        mark_ticks=np.rint(mark).astype(np.int64),
    )


@dataclass(frozen=True)
class DepthRows:
    """Book depth, one row per level: negative percentages are the bid side."""

    second: Ints
    percentage: Ints
    """Hundredths of a percent."""
    lots: Ints
    notional: Ints
    """Ticks times lots."""


def book_depth(listed: Listing, latent: Latent, day: Day, draws: Draws) -> DepthRows:
    """Snapshots every 20 to 42 s, cumulative from the touch."""
    waits = 20 + draws.below(23, SECONDS // 20)
    seconds = np.cumsum(waits) - 15
    seconds = seconds[seconds < SECONDS]
    n = len(seconds)
    pressed = latent.pressed[seconds]
    mid = exp(latent.log_value[seconds]) * listed.price_ticks
    percentages, shares = np.array([100, 200, 300, 400, 500]), _SHARES
    if day.date >= TWELVE_LEVELS_FROM:
        percentages = np.concatenate([[20], percentages])
        shares = np.concatenate([[0.25, 0.75], _SHARES[1:]])
    blocks: list[tuple[Ints, Ints]] = []
    for side in (-1, 1):
        common = decay(draws.normal(n) * 0.05, 0.95)
        thin = exp(-1.2 * np.maximum(side * pressed, 0.0))
        lots, notional = np.zeros(n, np.int64), np.zeros(n, np.int64)
        levels: list[tuple[Ints, Ints]] = []
        inner = 0.0
        for percentage, share in zip(percentages.tolist(), shares.tolist(), strict=True):
            noise = common + decay(draws.normal(n) * 0.04, 0.9)
            size = listed.depth_lots * share * latent.depth[seconds] * thin * exp(noise)
            step = np.floor(size).astype(np.int64) + 1
            price = np.rint(mid * (1.0 + side * 0.5 * (inner + percentage) / 1e4)).astype(np.int64)
            lots, notional = lots + step, notional + step * price
            levels.append((lots, notional))
            inner = float(percentage)
        blocks += levels[::-1] if side < 0 else levels
    signed = np.concatenate([-percentages[::-1], percentages])
    return DepthRows(
        second=np.repeat(seconds, len(signed)),
        percentage=np.tile(signed, n),
        lots=np.stack([lots for lots, _ in blocks], axis=1).reshape(-1),
        notional=np.stack([notional for _, notional in blocks], axis=1).reshape(-1),
    )


@dataclass(frozen=True)
class Metrics:
    """288 rows of five minutes."""

    second: Ints
    """`create_time`, seconds of the day (up to 86,400 while it labels the end)."""
    interest_lots: Ints
    interest_value: Ints
    """Ticks times lots."""
    top_count_ratio: Ints
    """8 decimals, as `all_count_ratio`."""
    top_sum_ratio: Ints
    """6 decimals, as `taker_ratio`."""
    all_count_ratio: Ints
    taker_ratio: Ints


def metrics(
    listed: Listing, latent: Latent, day: Day, prints: Prints, refs: References, draws: Draws
) -> Metrics:
    """Open interest at the end of each period, ratios over it; taker volumes from the trades."""
    minutes = np.arange(5, MINUTES + 1, 5)
    interest = np.rint(exp(latent.log_interest[minutes]) * listed.interest_lots).astype(np.int64)
    price = refs.mark_ticks[minutes * 60 - 1]
    period = prints.milliseconds // 300_000
    edges = np.searchsorted(period, np.arange(289))
    running = np.concatenate([[0], np.cumsum(np.where(prints.sells, 0, prints.lots))])
    bought = running[edges[1:]] - running[edges[:-1]]
    running = np.concatenate([[0], np.cumsum(np.where(prints.sells, prints.lots, 0))])
    sold = np.maximum(running[edges[1:]] - running[edges[:-1]], 1)

    def ratio(level: float, lean: float, decimals: int) -> Ints:
        crowd = lean * (latent.premium[minutes] - 0.00008) / 0.0002
        noise = decay(draws.normal(288) * 0.01, 0.97)
        scaled = level * 10.0**decimals * exp(0.05 * crowd + noise)
        return np.rint(scaled).astype(np.int64)

    starts = day.date >= START_LABELS_FROM
    return Metrics(
        second=minutes * 60 - (300 if starts else 0),
        interest_lots=interest,
        interest_value=interest * price,
        top_count_ratio=ratio(1.28, 1.0, 8),
        top_sum_ratio=ratio(1.45, -0.6, 6),
        all_count_ratio=ratio(1.2, 1.4, 8),
        taker_ratio=(bought * 10**6 + sold // 2) // sold,
    )


def funding_rate(premium: Floats) -> int:
    """The rate (8 decimals) of eight hours of premium per minute.

    Average premium P plus the interest of 0.01 %, which the clamp lets through only as far as
    0.05 % from P: ``P + clamp(0.0001 - P, -0.0005, 0.0005)``.

    >>> funding_rate(np.zeros(480)), funding_rate(np.full(480, 0.001))
    (10000, 50000)
    """
    average = float(np.cumsum(premium)[-1]) / len(premium)
    rate = average + min(max(0.0001 - average, -0.0005), 0.0005)
    return int(np.rint(rate * E8))
