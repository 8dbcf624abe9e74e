"""Many runs: a walk-forward with two workers against one, and a screen of 100 sets against a replay.

To reach, on two idle cores: two workers 1.7 times as fast as one; a screen of 100 parameter sets on one
day under the time of one replay of that day.

    python packages/phoenix-runner/benchmarks/bench_many_runs.py [--quotes 600000]
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
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
ROUNDS = 3
"""Turns of one worker and two: neighbours on the machine slow now the one, now the other."""
SETS = {
    "ema_cross": [
        {"strategy.config.fast_bars": fast, "strategy.config.slow_bars": slow}
        for fast in range(2, 12)
        for slow in range(20, 120, 10)
    ],
    "phoenix_lpi": [{"strategy.config.theta_lpi": 1 + n / 25} for n in range(100)],
}


COUNTING = "for _ in range(50_000_000): pass"


def machine_allows() -> float:
    """How many times as much two processes do as one that share nothing and read nothing."""
    fastest: dict[int, float] = {}
    for _ in range(ROUNDS):
        for count in (1, 2):
            began = time.perf_counter()
            counting = [subprocess.Popen([sys.executable, "-c", COUNTING]) for _ in range(count)]
            for process in counting:
                process.wait()
            seconds = time.perf_counter() - began
            fastest[count] = min(seconds, fastest.get(count, seconds))
    return 2 * fastest[1] / fastest[2]


def workers(root: Path, quotes: int) -> None:
    """One worker against two, in turns: the fastest of each, on the clock and by processor time."""
    days = 6  # four folds: training and tests are even numbers of runs, so that no worker waits
    write_catalog(root, quotes, days=days)
    suite = suite_over(root, days=days, mode=MODE)
    clock: dict[int, float] = {}
    processor: dict[int, list[float]] = {}
    for _ in range(ROUNDS):
        for count in (1, 2):
            shutil.rmtree(root.parent / "runs", ignore_errors=True)
            before, began = _processor_times(), time.perf_counter()
            run_experiment(suite, workers=count)
            seconds = time.perf_counter() - began
            if seconds < clock.get(count, seconds + 1):
                clock[count] = seconds
                processor[count] = [b - a for a, b in zip(before, _processor_times(), strict=True)]
    print(
        f"walk-forward of 20 runs: 1 worker {clock[1]:.1f} s, 2 workers {clock[2]:.1f} s, "
        f"{clock[1] / clock[2]:.2f} times (to reach 1.7)"
    )
    print(f"  two processes that only count: {machine_allows():.2f} times one")
    alone = sum(processor[1])
    parent, children = processor[2]
    print(
        f"  one worker uses {alone / clock[1]:.2f} cores: it reads the next hour while the engine runs"
    )
    print(
        f"  processor time: 1 worker {alone:.1f} s; 2 workers {children:.1f} s and {parent:.1f} s in "
        f"their parent, so {alone / (parent + children / 2):.2f} times where each has a core"
    )


def _processor_times() -> tuple[float, float]:
    """Of this process, and of its children that have ended."""
    own, children = (
        resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime, children.ru_utime + children.ru_stime


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
    parser.add_argument("--quotes", type=int, default=600_000, help="of each day")
    parser.add_argument("--screen-quotes", type=int, default=2_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        screens(Path(folder) / "day" / "catalog", options.screen_quotes)
        workers(Path(folder) / "days" / "catalog", options.quotes)


if __name__ == "__main__":
    main()
