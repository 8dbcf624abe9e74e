"""Memory of a long replay: resident size at the end of each day, EMA cross over 30 days.

To reach: no growth from day 2 to the last day beyond 10 %.

    python packages/phoenix-runner/benchmarks/bench_memory.py [--days 30] [--quotes 200000]
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from phoenix_runner.backtest import run_backtest
from phoenix_schemas.timestamps import NS_PER_DAY
from random_walk import START, suite_over, write_catalog


def resident_mib() -> float:
    """Memory of this process now, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--quotes", type=int, default=200_000, help="of each day")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "catalog"
        write_catalog(root, options.quotes, days=options.days)
        suite = suite_over(root, days=options.days)
        by_day: dict[int, float] = {}

        def see(reached_ns: int, _events: int) -> None:
            day = (reached_ns - START - 1) // NS_PER_DAY + 1
            by_day[day] = max(by_day.get(day, 0.0), resident_mib())

        result = run_backtest(
            suite, suite.config.time.start_ns, suite.config.time.end_ns, progress=see
        )
    print(", ".join(f"day {day} {mib:.0f} MiB" for day, mib in by_day.items()))
    growth = by_day[options.days] / by_day[2] - 1
    print(
        f"{result.events:,} events, {len(result.fills)} fills; largest of day 2 {by_day[2]:.0f} MiB, "
        f"of day {options.days} {by_day[options.days]:.0f} MiB: growth {growth:+.1%} (at most +10 %)"
    )


if __name__ == "__main__":
    main()
