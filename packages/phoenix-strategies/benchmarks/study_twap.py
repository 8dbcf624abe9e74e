"""Does the TWAP with alpha decay beat a plain TWAP where the alpha is known?

The market, in bps of the arrival mid, second by second: a random walk of `SIGMA` per square-root
second, plus a drift that adds up to alpha * theta and decays with half-life `HALF_LIFE`, plus the
parent's own transient impact: each slice moves the price by `impact` times its share of the parent,
and what is there halves every `IMPACT_HALF_LIFE` seconds. Every slice pays half a spread. Theta,
uniform in (-1, 1), is what the signal says; the drift follows `truth * theta + (1 - truth) *
noise`: at truth 1 the signal is right, at 0 it knows nothing. Every parent buys, so half of the
signals speak against it. Both schedules see the same noise, seed by seed.

Two questions, each a mean over the seeds in bps of the parent, with its standard error; positive
means that the adaptive schedule is better:

- *must complete*: implementation shortfall against the arrival mid, where a rest that was abandoned
  is bought at the horizon in one order;
- *may abandon*: profit at the horizon (price there minus price paid), where a rest that was
  abandoned makes none.

    python packages/phoenix-strategies/benchmarks/study_twap.py --seeds 2000
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from phoenix_strategies.twap import SECOND_NS, Action, Slice, TwapConfig, TwapSchedule

HORIZON, INTERVAL, LOTS = 300, 15, 200
SIGMA, HALF_SPREAD = 0.7, 0.5
HALF_LIFE = 60.0
IMPACT_HALF_LIFE = 30.0

PLAIN = TwapConfig(horizon_secs=HORIZON, interval_secs=INTERVAL)
ADAPTIVE = TwapConfig(horizon_secs=HORIZON, interval_secs=INTERVAL, half_life_secs=HALF_LIFE)


@dataclass(frozen=True)
class Row:
    """One line of the study: means and standard errors in bps of the parent."""

    impact_bps: float
    alpha_bps: float
    truth: float
    plain_shortfall: float
    saved: float
    saved_error: float
    gained: float
    gained_error: float


def work(
    config: TwapConfig, theta: float | None, path: NDArray[np.float64], impact_bps: float
) -> tuple[float, float]:
    """Shortfall when the rest must be bought, and profit when it may be left, in bps."""
    twap = TwapSchedule(config, 1, LOTS)
    paid, impact, touched = 0.0, 0.0, 0.0

    def buy(now: float, lots: int) -> None:
        nonlocal paid, impact, touched
        impact *= 2.0 ** (-(now - touched) / IMPACT_HALF_LIFE)
        step = impact_bps * lots / LOTS
        paid += lots * (path[min(math.floor(now), HORIZON)] + HALF_SPREAD + impact + step / 2)
        impact, touched = impact + step, now

    def take(now: int, actions: list[Action]) -> None:
        for action in actions:
            assert isinstance(action, Slice)  # nothing rests here
            buy(now / SECOND_NS, action.lots)
            take(now, twap.on_fill(now, action.child, action.lots))

    if theta is not None:
        twap.on_signal(0, theta)
    take(0, twap.start(0))
    while (wake := twap.next_wake) is not None:
        take(wake, twap.on_time(wake))
    profit = (twap.filled * path[HORIZON] - paid) / LOTS
    if twap.abandoned:
        buy(float(HORIZON), twap.abandoned)
    return paid / LOTS, profit


def study(seeds: int, *, impact_bps: float, alpha_bps: float, truth: float) -> Row:
    """Plain against adaptive over `seeds` markets."""
    decayed = 1.0 - 2.0 ** (-np.arange(HORIZON + 1) / HALF_LIFE)
    plain, adaptive = np.empty((seeds, 2)), np.empty((seeds, 2))
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        theta, noise = rng.uniform(-1, 1, 2)
        walk = np.concatenate([[0.0], np.cumsum(rng.normal(0.0, SIGMA, HORIZON))])
        path = walk + alpha_bps * (truth * theta + (1 - truth) * noise) * decayed
        plain[seed] = work(PLAIN, None, path, impact_bps)
        adaptive[seed] = work(ADAPTIVE, theta, path, impact_bps)
    saved, gained = plain[:, 0] - adaptive[:, 0], adaptive[:, 1] - plain[:, 1]
    root = math.sqrt(seeds)
    return Row(
        impact_bps, alpha_bps, truth, float(plain[:, 0].mean()),
        float(saved.mean()), float(saved.std(ddof=1)) / root,
        float(gained.mean()), float(gained.std(ddof=1)) / root,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Adaptive against plain TWAP, known alpha decay.")
    parser.add_argument("--seeds", type=int, default=300)
    seeds = parser.parse_args().seeds
    print(
        f"{seeds} markets a line; bps of the parent, (standard error); positive: adaptive is better"
    )
    print("impact  alpha  truth  plain shortfall   must complete     may abandon")
    for impact in (2.0, 10.0):
        for alpha, truth in ((0.0, 1.0), (5.0, 1.0), (20.0, 1.0), (20.0, 0.5), (20.0, 0.0)):
            r = study(seeds, impact_bps=impact, alpha_bps=alpha, truth=truth)
            print(
                f"{r.impact_bps:6.0f}  {r.alpha_bps:5.0f}  {r.truth:5.1f}  {r.plain_shortfall:15.2f}"
                f"  {r.saved:+7.2f} ({r.saved_error:.2f})  {r.gained:+7.2f} ({r.gained_error:.2f})"
            )


if __name__ == "__main__":
    main()
