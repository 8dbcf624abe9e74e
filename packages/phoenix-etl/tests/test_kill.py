"""A real ingest on several processes, stopped at random moments, again and again.

By kill -9 of the whole process group, of the coordinator alone, or by Ctrl-C. After each stop the
catalog opens and proves itself; now and then the ingest may end, and is then byte for byte what it is
without a stop. A few stops here; `nox -s crash` makes as many as PHOENIX_STOPS says.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from nautilus_trader.persistence import ParquetDataCatalog
from phoenix_etl.errors import NothingFoundError

from .conftest import Catalog, Dumps

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no process groups there")

T0 = 1_704_067_200_000
DAY = 86_400_000
DAYS = 6
# Workers for a small market, and a commit after every day: more moments in which a stop may hurt.
RUNNER = """
import sys
from phoenix_etl import cli, provenance, publication, scheduler
if __name__ == "__main__":
    scheduler._INLINE_BYTES = 0
    publication.COMMIT_INTERVAL_S = 0
    publication.Publication.is_due = True
    provenance._git_commit = lambda: None  # somebody may commit meanwhile
    sys.argv[0] = "phoenix-etl"
    cli.main()
"""
INTERRUPTED = "a commit was interrupted; run the ingest again, it finishes it"


class Ingest:
    """The command on two workers, in a session of its own."""

    def __init__(self, script: Path, raw: Path, root: Path) -> None:
        self.root = root
        self._command = [
            sys.executable, str(script), "ingest", "--raw-root", str(raw), "--catalog", str(root),
            "--workers", "2", "--quiet",
        ]  # fmt: skip

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._command, start_new_session=True, text=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip

    def whole(self) -> float:
        """Run it to its end; how long the work took, from the moment it holds the catalog."""
        with self.start() as child:
            self.wait_until_at_work(child)
            began = time.monotonic()
            assert child.stderr is not None
            assert (child.wait(timeout=300), child.stderr.read()) == (0, "")
        return time.monotonic() - began

    def wait_until_at_work(self, child: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + 120
        while not (self.root / ".phoenix" / "holder.json").exists():
            if child.poll() is not None or time.monotonic() > deadline:
                return
            time.sleep(0.005)

    def stopped(self, how: str, moment: Callable[[Path], bool]) -> bool:
        """Stop it when the moment has come; whether it was still at work then."""
        (self.root / ".phoenix" / "holder.json").unlink(missing_ok=True)
        with self.start() as child:
            self.wait_until_at_work(child)
            while child.poll() is None and not moment(self.root):
                time.sleep(0.0005)
            was_running = child.poll() is None
            if how == "coordinator":
                child.kill()
            elif was_running:
                os.killpg(child.pid, signal.SIGKILL if how == "group" else signal.SIGINT)
            code = child.wait(timeout=120)
            if was_running and how == "ctrl-c":
                assert child.stderr is not None
                said = child.stderr.read().splitlines()
                # -SIGINT: it came when Python was leaving already, all work done.
                ended = code in (0, -signal.SIGINT) and said == []
                assert ended or (
                    code == 130 and said[-1].endswith("Run the same command to go on from there")
                )
                assert not any("Traceback" in line for line in said), said
            # Orphans of a killed coordinator may still be there: the next run starts beside them.
            return was_running and code not in (0, -signal.SIGINT)


def any_time(chance: random.Random, length: float) -> Callable[[Path], bool]:
    """A moment anywhere in the work, counted from when it is first asked for."""
    share = chance.random()
    end: list[float] = []

    def moment(_root: Path) -> bool:
        if not end:
            end.append(time.monotonic() + share * length)
        return time.monotonic() > end[0]

    return moment


def in_a_commit(chance: random.Random) -> Callable[[Path], bool]:
    """A moment shortly after a journal was written (or after the first few)."""
    after = chance.randrange(2 * DAYS)
    seen = 0
    was_there = True
    delay = chance.choice([0.0, 0.0, chance.uniform(0, 0.01)])

    def moment(root: Path) -> bool:
        nonlocal seen, was_there
        is_there = (root / ".phoenix" / "journal.json").exists()
        seen += is_there and not was_there
        was_there = is_there
        if seen > after:
            time.sleep(delay)
        return seen > after

    return moment


def looked_at(catalog: Catalog, how: str) -> bool:
    """The catalog opens and every file in it is whole; whether a commit was cut short."""
    rows = 0
    for path in (catalog.root / "data").rglob("*.parquet"):
        if "crypto_perpetual" not in path.parts:
            rows += pq.read_table(path, partitioning=None).num_rows
    if rows:
        reader = ParquetDataCatalog(str(catalog.root))
        found = len(reader.query_quote_ticks()) + len(reader.query_trade_ticks())
        assert found == rows
    try:
        problems = catalog.verify(against_sources=False).problems
    except NothingFoundError:
        assert rows == 0 or (catalog.root / ".phoenix" / "journal.json").exists()
        return rows > 0
    if problems and how != "ctrl-c":
        assert [p for p in problems if not p.endswith(INTERRUPTED)] == []
        return True
    assert problems == []
    return False


def test_a_stop_at_any_moment_costs_nothing(tmp_path: Path) -> None:
    stops = int(os.environ.get("PHOENIX_STOPS", "3"))
    seed = int(os.environ.get("PHOENIX_SEED", "1"))
    chance = random.Random(seed)
    dumps = Dumps(tmp_path / "raw")
    for day in range(DAYS):
        trades = [
            f"{day * 400 + n},42000.1,0.5,{day * 400 + n},{day * 400 + n},{T0 + day * DAY + n},true"
            for n in range(400)
        ]
        quotes = [f"{n},42000.1,1,42000.9,2,{T0 + day * DAY + n},{T0 + day * DAY + n}"
                  for n in range(400)]  # fmt: skip
        date = f"2024-01-{day + 1:02}"
        dumps.add("aggTrades", date, [*trades, "bad", trades[7]], ending="zip")
        dumps.add("bookTicker", date, quotes)
    script = tmp_path / "runner.py"
    script.write_text(RUNNER, "utf-8")

    expected = Catalog(tmp_path / "expected", dumps.root)
    length = Ingest(script, dumps.root, expected.root).whole()
    wanted = expected.tree()
    assert expected.verify().problems == []
    assert not (expected.root / ".phoenix" / "staging").exists()

    catalog = Catalog(tmp_path / "catalog", dumps.root)
    ingest = Ingest(script, dumps.root, catalog.root)
    hows = ["group", "coordinator", "ctrl-c"]
    count: Counter[str] = Counter()
    while count["stops"] < stops:
        print(f"seed {seed}: {dict(count)}", flush=True)
        how = hows[count["stops"] % 3]
        moment = in_a_commit(chance) if chance.random() < 0.5 else any_time(chance, length)
        if ingest.stopped(how, moment):
            count["stops"] += 1
            count[how] += 1
        else:
            count["ended before the stop"] += 1
        count["commits cut short"] += looked_at(catalog, how)
        if chance.random() < 0.3 or count["stops"] == stops or catalog.tree() == wanted:
            ingest.whole()
            count["finished"] += 1
            assert catalog.tree() == wanted
            shutil.rmtree(catalog.root)
    print(
        f"seed {seed}, {length:.2f} s of work: " + ", ".join(f"{v} {k}" for k, v in count.items())
    )
