"""A long replay keeps its memory: a small month of `benchmarks/bench_memory.py`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "bench_memory.py"


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
def test_memory_does_not_grow_with_the_days_replayed() -> None:
    command = [sys.executable, str(BENCHMARK), "--days", "30", "--quotes", "20000"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    sizes = [int(mib) for mib in re.findall(r"day \d+ (\d+) MiB", out.splitlines()[0])]
    assert len(sizes) == 30
    assert max(sizes[2:]) <= 1.1 * sizes[1], out
