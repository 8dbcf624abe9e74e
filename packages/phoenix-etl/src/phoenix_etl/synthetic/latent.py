"""The latent state of one day, second by second: value, volatility, activity, depth, stress.

Volatility per second is the day's level (continuous through midnight) times a shape of the day,
a slow mean-reverting fluctuation and what the episodes do to it. Value is a random walk with that
volatility, bridged to the return that the story gives the day, plus jumps, news and the paths of
the cascades. The book then follows the value with its own lag and noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np

from phoenix_etl.synthetic.draws import Draws, Floats, Ints, between, decay, exp, pinned
from phoenix_etl.synthetic.listing import Listing
from phoenix_etl.synthetic.story import Cascade, Day, Decoy

SECONDS: Final = 86_400
MINUTES: Final = 1_440

# Volatility and activity by hour of the UTC day (00, 08 funding and 13-16 New York are busy);
# scaled below so that the mean square, respectively the mean, is one.
_SHAPE: Final = np.array(
    [1.15, 1.0, 0.9, 0.82, 0.78, 0.75, 0.78, 0.9, 1.0, 0.92, 0.88, 0.9,
     1.0, 1.25, 1.45, 1.4, 1.25, 1.1, 1.0, 0.95, 0.95, 0.9, 0.88, 0.95, 1.15]
)  # fmt: skip


@dataclass(frozen=True)
class Latent:
    """One day of latent state. Flows stand per second [0, 86400), levels at its edges as well."""

    log_value: Floats
    """Log of value over the listed price, at seconds 0 to 86400."""
    sigma: Floats
    """Standard deviation of the diffusive log return of each second."""
    rate: Floats
    """Relative arrival rate of orders in each second."""
    depth: Floats
    """Relative size of queues in each second."""
    stress: Floats
    """0 in calm, 1 at the height of a cascade."""
    forced: Floats
    """Probability that an order is forced, with the sign of its side."""
    pressed: Floats
    """Stress with the sign of its forced side; the side that it trades against is the thinner."""
    premium: Floats
    """(perpetual - index) / index at minutes 0 to 1440."""
    log_interest: Floats
    """Log of open interest over its typical level at minutes 0 to 1440."""


@cache
def _shape() -> tuple[Floats, Floats]:
    """Shapes of volatility (mean square one) and activity (mean one), per second."""
    shape = between(_SHAPE, np.arange(SECONDS) / 3600.0)
    square = float(np.cumsum(shape * shape)[-1]) / SECONDS
    mean = float(np.cumsum(shape)[-1]) / SECONDS
    return np.asarray(shape / math.sqrt(square)), np.asarray(shape / mean)


def _fluctuation(draws: Draws, spread: float, keep: float) -> Floats:
    """A mean-reverting series of minutes, zero at both midnights, as seconds."""
    minutes = decay(draws.normal(MINUTES + 1) * (spread * math.sqrt(1.0 - keep**2)), keep)
    return between(pinned(minutes), np.arange(SECONDS) / 60.0)


def _since(at: float) -> Floats:
    """Seconds since `at`, for each second's start."""
    return np.arange(SECONDS, dtype=np.float64) - at


def _fading(seconds: Floats, constant: float) -> Floats:
    """exp(-t / constant) of increasing times; zero before 0 and where less than 1e-17 is left."""
    first, last = np.searchsorted(seconds, [0.0, 40.0 * constant])
    faded = np.zeros(len(seconds))
    faded[first:last] = exp(seconds[first:last] / -constant)
    return faded


def cascade_path(cascade: Cascade, seconds: Floats) -> Floats:
    """The log move that a cascade has made by each of `seconds` of the day."""
    x = np.clip((seconds - cascade.start) / cascade.duration, 0.0, 1.0)
    fall = x * x * (3.0 - 2.0 * x)
    after = seconds - cascade.start - cascade.duration
    left = np.where(after < 0.0, 1.0, _fading(after, cascade.reversion_seconds))
    back = cascade.reversion * (1.0 - left)
    return np.asarray(cascade.side * cascade.magnitude * fall * (1.0 - back))


class _Episodes:
    """Multipliers and stress of a day's episodes."""

    def __init__(self, day: Day, draws: Draws) -> None:
        self.sigma = np.ones(SECONDS)
        self.rate = np.ones(SECONDS)
        self.depth = np.ones(SECONDS)
        self.stress = np.zeros(SECONDS)
        self.forced = np.zeros(SECONDS)
        self.pressed = np.zeros(SECONDS)
        for cascade in day.cascades:
            self._cascade(cascade, draws)
        for decoy in day.decoys:
            self._decoy(decoy)

    def _cascade(self, cascade: Cascade, draws: Draws) -> None:
        since = _since(cascade.start)
        after = _since(cascade.start + cascade.duration)
        during = (since >= 0.0) & (after < 0.0)
        # Liquidations come in pulses of several seconds, closer together as it goes on.
        pulses = decay(draws.normal(int(cascade.duration) + 2) * 0.6, 0.8)
        beat = np.clip(since, 0.0, cascade.duration).astype(np.int64)
        on = np.where(pulses[beat] > -0.3, 1.0, 0.25)
        ramp = np.minimum(since / (0.3 * cascade.duration), 1.0)
        stress = np.where(during, ramp, _fading(after, 75.0))
        self.stress = np.maximum(self.stress, stress)
        self.pressed += cascade.side * stress
        self.rate *= np.where(
            during,
            1.0 + (cascade.intensity - 1.0) * ramp * on,
            1.0 - 0.5 * _fading(after - 5.0, 150.0) + 2.0 * _fading(after, 4.0),
        )
        self.sigma *= 1.0 + 1.2 * np.where(during, ramp, _fading(after, 120.0))
        stressed = np.flatnonzero(stress)
        self.depth[stressed] *= exp(-1.9 * stress[stressed])
        self.forced += np.where(during, cascade.side * 0.6 * ramp * on, 0.0)

    def _decoy(self, decoy: Decoy) -> None:
        since = _since(decoy.start)
        after = _since(decoy.start + decoy.duration)
        during = (since >= 0.0) & (after < 0.0)
        level = np.where(during, np.minimum(since / 8.0, 1.0), _fading(after, 25.0))
        if decoy.kind == "thin":
            thinned = np.flatnonzero(level)
            self.depth[thinned] *= exp(-1.4 * level[thinned])
            self.sigma *= 1.0 + 0.2 * level
            return
        if decoy.kind == "news":
            level = np.where(during, _fading(since, 0.5 * decoy.duration), 0.0)
        self.rate *= 1.0 + (decoy.intensity - 1.0) * level
        self.sigma *= 1.0 + 0.4 * level


def simulate(listed: Listing, day: Day, seed: int) -> Latent:
    """The latent state of `day`."""

    def draws(name: str, symbol: str = listed.symbol) -> Draws:
        return Draws(seed, symbol, day.date.isoformat(), name)

    episodes = _Episodes(day, draws("pulses"))
    shape, busy = _shape()
    ends = np.array(day.log_volatility)
    share = np.arange(SECONDS) / SECONDS
    fluctuation = _fluctuation(draws("volatility", "MARKET"), 0.28, 0.985) + _fluctuation(
        draws("volatility"), 0.16, 0.97
    )
    spread = 0.28**2 + 0.16**2
    calm = exp(ends[0] + (ends[1] - ends[0]) * share + fluctuation - spread) * shape
    sigma = calm * episodes.sigma * (listed.daily_volatility / math.sqrt(SECONDS))

    noise = listed.common * draws("value", "MARKET").normal(SECONDS)
    noise += math.sqrt(1.0 - listed.common**2) * draws("value").normal(SECONDS)
    walk = np.concatenate([[0.0], np.cumsum(sigma * noise)])
    clock = np.concatenate([[0.0], np.cumsum(sigma * sigma)])
    walk += (day.diffusion - walk[-1]) * (clock / clock[-1])

    edges = np.arange(SECONDS + 1, dtype=np.float64)
    log_value = day.log_open + walk
    for jump in day.jumps:
        log_value += np.where(edges > jump.at, jump.size, 0.0)
    for decoy in day.decoys:
        log_value += decoy.move * np.clip((edges - decoy.start) / 3.0, 0.0, 1.0)
    for cascade in day.cascades:
        log_value += cascade_path(cascade, edges)

    ends = np.array(day.activity)
    excited = exp(ends[0] + (ends[1] - ends[0]) * share + 0.9 * fluctuation)
    quick = exp(_fluctuation(draws("activity"), 0.35, 0.6))
    return Latent(
        log_value=log_value,
        sigma=sigma,
        rate=excited * quick * busy * episodes.rate,
        depth=exp(-0.35 * fluctuation + _fluctuation(draws("depth"), 0.2, 0.98)) * episodes.depth,
        stress=episodes.stress,
        forced=episodes.forced,
        pressed=np.clip(episodes.pressed, -1.0, 1.0),
        premium=premium_path(listed, day, seed),
        log_interest=_interest(day, draws("interest")),
    )


def _minutes_since(at: float) -> Floats:
    return np.arange(0.0, 60.0 * MINUTES + 1.0, 60.0) - at


def premium_path(listed: Listing, day: Day, seed: int) -> Floats:
    """Premium at minutes 0 to 1440: stretched toward the crowd before a cascade, then turned."""
    draws = Draws(seed, listed.symbol, day.date.isoformat(), "premium")
    low, high = day.premium
    path: Floats = low + (high - low) * (np.arange(MINUTES + 1) / MINUTES)
    path = path + pinned(decay(draws.normal(MINUTES + 1) * 0.00002, 0.98))
    for cascade in day.cascades:
        since = _minutes_since(cascade.start)
        after = since - cascade.duration
        swing = 0.0002 + 0.03 * cascade.magnitude
        crowd = np.where(after < 0.0, exp(np.minimum(after, 0.0) / 3600.0), 0.0)
        crowd -= 2.0 * _fading(after, 400.0)
        path -= pinned(cascade.side * swing * crowd)
    return path


def _interest(day: Day, draws: Draws) -> Floats:
    """Log open interest per minute: built up before a cascade, closed in it, then rebuilt."""
    low, high = day.log_interest
    path: Floats = low + (high - low) * (np.arange(MINUTES + 1) / MINUTES)
    path = path + pinned(np.cumsum(draws.normal(MINUTES + 1) * 0.00025))
    for cascade in day.cascades:
        since = _minutes_since(cascade.start)
        closed = np.clip(since / cascade.duration, 0.0, 1.0)
        built = exp(np.minimum(since, 0.0) / 5400.0)
        path += pinned(cascade.interest_drop * (0.8 * built - closed - 0.8 * (since >= 0.0)))
    for decoy in day.decoys:
        if decoy.kind == "news":
            path += pinned(0.008 * np.clip(_minutes_since(decoy.start) / 300.0, 0.0, 1.0))
    return path


def ticks_at(latent: Latent, listed: Listing, milliseconds: Ints, draws: Draws) -> Floats:
    """Value in ticks at sorted event times: a bridge in event time within each second.

    Between two seconds' values the path is the Brownian bridge whose clock is the event count, so
    that its variance is that of the second whether few or many events share it.
    """
    second = milliseconds // 1000
    count = np.bincount(second, minlength=SECONDS)
    first = np.concatenate([[0], np.cumsum(count)])
    n = len(milliseconds)
    share = (np.arange(n) - first[second] + 1.0) / (count[second] + 1.0)
    steps = np.concatenate([[0.0], np.cumsum(draws.normal(n))])
    begin = steps[first[:-1]]
    whole = steps[first[1:]] - begin + draws.normal(SECONDS)
    bridge = (steps[1:] - begin[second]) - share * whole[second]
    bridge /= np.sqrt(count[second] + 1.0)
    low = latent.log_value[second]
    log_value = low + share * (latent.log_value[second + 1] - low) + bridge * latent.sigma[second]
    return np.asarray(exp(log_value) * listed.price_ticks)
