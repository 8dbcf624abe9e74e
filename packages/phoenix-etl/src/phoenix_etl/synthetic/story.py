"""The story of a symbol, day by day: levels, volatility, jumps, cascades, decoys, row counts.

Everything that must agree between two days is decided here, from the seed and the date alone: the
price at midnight, the level of volatility and open interest, and how many rows the days before
have written (so that ids go on without a gap). A day's path is then free in between. The story of
all days of the horizon is a few arrays, made in milliseconds, so day 7 never needs days 1 to 6.

A day's log return is `sigma_d * z_d` plus its jumps, its news and what remains of its cascades,
with z_d independent standard normals: midnight to midnight the price has no memory, and the path
within the day is the exact bridge of a random walk to that return. There is nothing to be earned
from the drift but the reversion after a cascade, which is meant.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final, Literal

import numpy as np

from phoenix_etl.synthetic.draws import Draws, Floats, Ints, decay, exp
from phoenix_etl.synthetic.errors import SyntheticError
from phoenix_etl.synthetic.listing import Listing

HORIZON: Final = (date(2017, 1, 1), date(2041, 1, 1))
"""Days that can be simulated, end exclusive."""
REFERENCE: Final = date(2024, 1, 1)
"""The day on which prices stand at their listed levels."""

_DAYS: Final = (HORIZON[1] - HORIZON[0]).days
_SLOTS: Final = 6  # a day's episodes stand in different slots, so that none overlap
_SLOT_SECONDS: Final = 13_000
_FIRST_SLOT: Final = 4_200
_MAX_EPISODES: Final = 3

DecoyKind = Literal["volume", "news", "thin"]
_DECOYS: Final[tuple[DecoyKind, ...]] = ("volume", "news", "thin")


@dataclass(frozen=True)
class Cascade:
    """Forced orders that feed on themselves, then exhaustion. Times are whole seconds of the day."""

    start: float
    duration: float
    side: int
    """Of the forced orders: -1 longs are liquidated, +1 shorts."""
    magnitude: float
    """Log move at the end of the forced flow."""
    reversion: float
    """Share of the move that comes back."""
    reversion_seconds: float
    """Time constant of the way back."""
    intensity: float
    """Orders per second, as a multiple of before."""
    interest_drop: float
    """Share of open interest that is closed."""


@dataclass(frozen=True)
class Decoy:
    """What looks like a cascade to a careless detector. Times are whole seconds of the day.

    `volume`: a burst of two-sided trading. `news`: an informed jump that stays, with volume and
    rising open interest. `thin`: depth is withdrawn, nobody is forced.
    """

    start: float
    duration: float
    kind: DecoyKind
    intensity: float
    move: float
    """Permanent log move (news only)."""


@dataclass(frozen=True)
class Jump:
    """An instant, permanent log move at a second of the day."""

    at: float
    size: float


@dataclass(frozen=True)
class Counts:
    """Rows of one day."""

    orders: int
    agg_trades: int
    fills: int
    quotes: int


@dataclass(frozen=True)
class Day:
    """What one day starts from, ends at, and contains."""

    date: date
    log_open: float
    """Log of price(midnight) / listed price."""
    diffusion: float
    """The day's log return without jumps, news and cascades."""
    jumps: tuple[Jump, ...]
    cascades: tuple[Cascade, ...]
    decoys: tuple[Decoy, ...]
    log_volatility: tuple[float, float]
    """Log of volatility over its typical level, at this midnight and the next."""
    log_interest: tuple[float, float]
    premium: tuple[float, float]
    activity: tuple[float, float]
    """Log of the trading rate over its typical level, at this midnight and the next."""
    counts: Counts
    first_agg_trade: int
    first_fill: int

    @property
    def midnight_seconds(self) -> int:
        """Seconds from 1970 to the day's start."""
        return (self.date - date(1970, 1, 1)).days * 86_400


@dataclass(frozen=True)
class Volume:
    """Typical rows per day."""

    agg_trades: int
    quotes: int


class Story:
    """The story of one symbol at one seed.

    >>> from phoenix_etl.synthetic.listing import listing
    >>> story = Story(listing("BTCUSDT"), seed=7, volume=Volume(30_000, 120_000))
    >>> today, next_day = story.day(date(2024, 1, 1)), story.day(date(2024, 1, 2))
    >>> today.log_open, today.first_agg_trade + today.counts.agg_trades == next_day.first_agg_trade
    (0.0, True)
    """

    def __init__(self, listed: Listing, *, seed: int, volume: Volume) -> None:
        self.listing = listed
        common, own = listed.common, math.sqrt(1.0 - listed.common**2)
        n = _DAYS + 1

        def draws(name: str) -> Draws:
            return Draws(seed, listed.symbol, name)

        def both(name: str) -> Floats:
            market = Draws(seed, "MARKET", name).normal(n)
            return np.asarray(common * market + own * draws(name).normal(n))

        def slow(name: str, spread: float, keep: float) -> Floats:
            return decay(both(name) * (spread * math.sqrt(1.0 - keep**2)), keep)

        weekday = (np.arange(n) + HORIZON[0].weekday()) % 7
        weekend = np.where(weekday >= 5, -0.3, 0.05)
        self._log_volatility = slow("level of volatility", 0.28, 0.85) + weekend
        self._log_interest = slow("level of open interest", 0.12, 0.95)
        self._premium = 0.00008 + slow("level of premium", 0.00018, 0.8)
        self._activity = 0.8 * self._log_volatility + slow("level of activity", 0.12, 0.6)

        middle = 0.5 * (self._log_volatility[:-1] + self._log_volatility[1:])
        sigma = listed.daily_volatility * exp(middle)
        self._diffusion = sigma * both("daily return")[:-1]
        self._episodes(draws("episodes"), sigma)
        total = self._diffusion + (
            (self._jump_size + self._news_move).sum(axis=0)
            + (self._cascade_side * self._magnitude * (1.0 - self._reversion)).sum(axis=0)
        )
        level = np.concatenate([[0.0], np.cumsum(total)])
        self._log_open = level - level[(REFERENCE - HORIZON[0]).days]

        rate = exp(0.5 * (self._activity[:-1] + self._activity[1:]))
        self._agg_trades = (volume.agg_trades * rate).astype(np.int64)
        self._quotes = (volume.quotes * rate).astype(np.int64)
        self._orders = self._agg_trades * 4 // 5
        self._fills = self._agg_trades * 17 // 10
        self._first_agg_trade = 1_000_000 + np.concatenate([[0], np.cumsum(self._agg_trades)])
        self._first_fill = 2_000_000 + np.concatenate([[0], np.cumsum(self._fills)])

    def _episodes(self, draws: Draws, sigma: Floats) -> None:
        """Jumps, cascades and decoys of all days; rows are the episodes of a day, unused ones 0."""

        def uniform(low: float, high: float, rows: int = _MAX_EPISODES) -> Floats:
            return low + (high - low) * draws.uniform(rows * _DAYS).reshape(rows, _DAYS)

        def used(count: Ints) -> Floats:
            return (np.arange(_MAX_EPISODES)[:, None] < count).astype(np.float64)

        slot = np.argsort(uniform(0.0, 1.0, _SLOTS), axis=0, kind="stable")
        start = np.floor(_FIRST_SLOT + _SLOT_SECONDS * (slot + 0.6 * uniform(0.0, 1.0, _SLOTS)))
        self._cascade_start, self._decoy_start = start[:_MAX_EPISODES], start[_MAX_EPISODES:]

        self._cascades = 1 + np.minimum(draws.poisson(0.8, _DAYS), _MAX_EPISODES - 1)
        # Longs are the crowd when the premium is high, and then it is they who are liquidated.
        crowd = (self._premium[:-1] - 0.00008) / 0.00018
        long_share = np.clip(0.5 + 0.15 * crowd, 0.2, 0.8)
        self._cascade_side = np.where(uniform(0.0, 1.0) < long_share, -1.0, 1.0)
        strength = np.minimum(0.15 + 0.22 * draws.exponential(3 * _DAYS), 0.9)
        self._magnitude = strength.reshape(3, _DAYS) * sigma * used(self._cascades)
        self._reversion = uniform(0.2, 0.7)
        self._reversion_seconds = uniform(60.0, 500.0)
        self._cascade_duration = np.floor(uniform(25.0, 150.0))
        self._cascade_intensity = uniform(6.0, 14.0)
        self._interest_drop = uniform(0.012, 0.02) + 0.04 * strength.reshape(3, _DAYS)

        self._decoys = np.minimum(draws.poisson(1.6, _DAYS), _MAX_EPISODES)
        self._decoy_kind = (uniform(0.0, 1.0) * len(_DECOYS)).astype(np.int64)
        self._decoy_duration = np.floor(uniform(30.0, 180.0))
        self._decoy_intensity = uniform(5.0, 12.0)
        news = (self._decoy_kind == 1) * used(self._decoys)
        self._news_move = draws.normal(3 * _DAYS).reshape(3, _DAYS) * 0.2 * sigma * news

        self._jumps = np.minimum(draws.poisson(0.7, _DAYS), _MAX_EPISODES)
        self._jump_at = np.floor(uniform(600.0, 85_000.0))
        size = draws.normal(3 * _DAYS).reshape(3, _DAYS)
        self._jump_size = size * 0.12 * sigma * used(self._jumps)

    def day(self, day: date) -> Day:
        """The story of one day."""
        i = (day - HORIZON[0]).days
        if not 0 <= i < _DAYS:
            raise SyntheticError(
                f"day must lie from {HORIZON[0]} to before {HORIZON[1]} (was {day}); "
                f"{REFERENCE} is typical"
            )

        def ends(nodes: Floats) -> tuple[float, float]:
            return float(nodes[i]), float(nodes[i + 1])

        cascades = [
            Cascade(
                start=float(self._cascade_start[k, i]),
                duration=float(self._cascade_duration[k, i]),
                side=int(self._cascade_side[k, i]),
                magnitude=float(self._magnitude[k, i]),
                reversion=float(self._reversion[k, i]),
                reversion_seconds=float(self._reversion_seconds[k, i]),
                intensity=float(self._cascade_intensity[k, i]),
                interest_drop=float(self._interest_drop[k, i]),
            )
            for k in range(int(self._cascades[i]))
        ]
        decoys = [
            Decoy(
                start=float(self._decoy_start[k, i]),
                duration=float(self._decoy_duration[k, i]),
                kind=_DECOYS[int(self._decoy_kind[k, i])],
                intensity=float(self._decoy_intensity[k, i]),
                move=float(self._news_move[k, i]),
            )
            for k in range(int(self._decoys[i]))
        ]
        jumps = [
            Jump(at=float(self._jump_at[k, i]), size=float(self._jump_size[k, i]))
            for k in range(int(self._jumps[i]))
        ]
        return Day(
            date=day,
            log_open=float(self._log_open[i]),
            diffusion=float(self._diffusion[i]),
            jumps=tuple(sorted(jumps, key=lambda jump: jump.at)),
            cascades=tuple(sorted(cascades, key=lambda cascade: cascade.start)),
            decoys=tuple(sorted(decoys, key=lambda decoy: decoy.start)),
            log_volatility=ends(self._log_volatility),
            log_interest=ends(self._log_interest),
            premium=ends(self._premium),
            activity=ends(self._activity),
            counts=Counts(
                orders=int(self._orders[i]),
                agg_trades=int(self._agg_trades[i]),
                fills=int(self._fills[i]),
                quotes=int(self._quotes[i]),
            ),
            first_agg_trade=int(self._first_agg_trade[i]),
            first_fill=int(self._first_fill[i]),
        )

    def days(self, start: date, count: int) -> list[Day]:
        """The stories of `count` days from `start`."""
        return [self.day(start + timedelta(days=k)) for k in range(count)]
