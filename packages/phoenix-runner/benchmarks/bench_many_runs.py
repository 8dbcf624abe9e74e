"""Many runs: a walk-forward with two workers against one, and a screen of 100 sets against a replay.

To reach, on two idle cores: two workers 1.7 times as fast as one; a screen of 100 parameter sets on one
day under the time of one replay of that day.

    python packages/phoenix-runner/benchmarks/bench_many_runs.py [--quotes 300000]
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

from phoenix_runner.backtest import run_backtest
from phoenix_runner.modes import run_experiment
from phoenix_runner.screening import screen
from random_walk import suite_over, write_catalog

MODE = {
    "kind": "walk_forward", "train": "2d", "test": "1d", "objective": "net",
    "search": {"parameters": {"strategy.config.slow_bars": [20, 30, 60, 120]}},
}  # fmt: skip
SETS = {
    "ema_cross": [
        {"strategy.config.fast_bars": fast, "strategy.config.slow_bars": slow}
        for fast in range(2, 12)
        for slow in range(20, 120, 10)
    ],
    "phoenix_lpi": [{"strategy.config.theta_lpi": 1 + n / 25} for n in range(100)],
}


def workers(root: Path, quotes: int) -> None:
    """One worker against two; each in processes of its own, so that both start alike."""
    write_catalog(root, quotes, days=5)
    suite = suite_over(root, days=5, mode=MODE)
    taken = {}
    for count in (1, 2):
        shutil.rmtree(root.parent / "runs", ignore_errors=True)
        began = time.perf_counter()
        run_experiment(suite, workers=count)
        taken[count] = time.perf_counter() - began
    print(
        f"walk-forward of 27 runs: 1 worker {taken[1]:.1f} s, 2 workers {taken[2]:.1f} s, "
        f"{taken[1] / taken[2]:.2f} times (to reach 1.7)"
    )


def screens(root: Path, quotes: int) -> None:
    write_catalog(root, quotes)
    for name, sets in SETS.items():
        suite = suite_over(root, name)
        section = suite.config.time
        began = time.process_time()
        screen(suite, sets, start_utc=section.start_utc, end_utc=section.end_utc)
        screened = time.process_time() - began
        began = time.process_time()
        events = run_backtest(suite, section.start_ns, section.end_ns).events
        replayed = time.process_time() - began
        print(
            f"{name}: screen of {len(sets)} sets {screened:.2f} s, one replay of {events:,} events "
            f"{replayed:.2f} s of processor time: {screened / replayed:.2f} (to reach < 1)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quotes", type=int, default=300_000, help="of each day")
    parser.add_argument("--screen-quotes", type=int, default=2_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        screens(Path(folder) / "day" / "catalog", options.screen_quotes)
        workers(Path(folder) / "days" / "catalog", options.quotes)


if __name__ == "__main__":
    main()
