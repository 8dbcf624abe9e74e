"""Speed and memory of `phoenix-etl ingest`, as ratios within one run on one machine.

    python packages/phoenix-etl/benchmarks/bench_ingest.py [--rounds 3] [--quick]

Each round measures the ingest and what it is held against one after the other, so that a busy machine
slows both; the table shows the median over rounds of their ratio and, in brackets, its least and
greatest, in elapsed time and in processor time. On a machine that does other work meanwhile the ratio of
processor times says more. `--quick` takes a tenth of the rows, to see that the benchmark works.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import dump_files
import stand_ins
from phoenix_etl.config import EtlConfig
from phoenix_etl.pipeline import ingest
from rich.console import Console
from rich.table import Table

Seconds = tuple[float, float]
"""Elapsed and processor time."""


def timed(work: Callable[[], object]) -> Seconds:
    elapsed, busy = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - elapsed, time.process_time() - busy


Ratios = tuple[list[float], list[float]]
"""Of each round, in elapsed and in processor time."""


def ratio(above: list[Seconds], below: list[Seconds]) -> Ratios:
    pairs = list(zip(above, below, strict=True))
    return [a[0] / b[0] for a, b in pairs], [a[1] / b[1] for a, b in pairs]


def shown(ratios: list[float]) -> str:
    middle = statistics.median(ratios)
    return f"{middle:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


class Bench:
    """Measures and collects the rows of the table."""

    def __init__(self, folder: Path, rounds: int) -> None:
        self._folder = folder
        self._rounds = rounds
        self.table = Table("what", "at least", "elapsed", "processor")

    def ingest(self, raw: Path, **settings: object) -> Seconds:
        catalog = self._folder / "catalog"
        shutil.rmtree(catalog, ignore_errors=True)
        config = EtlConfig(raw_roots=[str(raw)], catalog_path=str(catalog), **settings)
        return timed(lambda: ingest(config))

    def row(self, what: str, target: str, found: Ratios | str) -> None:
        texts = [found, ""] if isinstance(found, str) else [shown(r) for r in found]
        self.table.add_row(what, target, *texts)
        print(f"{what}: {texts[0]} ({target})", file=sys.stderr, flush=True)

    def stream(
        self, name: str, make: Callable[..., Path], rows: int, by_rows: Callable[[Path, Path], int]
    ) -> None:
        """A dataset of ticks, CSV and ZIP, against a bare parse and a loader of row objects."""
        plain, packed = self._folder / name / "csv", self._folder / name / "zip"
        path = make(plain, rows)
        make(packed, rows, compress=True)
        self.ingest(plain)  # imports and caches are warm from here on
        bare, csv, zipped = [], [], []
        for _ in range(self._rounds):
            bare.append(timed(lambda: stand_ins.bare_parse(path, name)))
            csv.append(self.ingest(plain))
            zipped.append(self.ingest(packed))
        objects = timed(lambda: by_rows(path, self._folder / name / "by_rows"))
        self.row(f"{name} CSV: row objects / ingest", "20", ratio([objects] * len(csv), csv))
        self.row(f"{name} CSV: ingest / bare parse", "at most 2", ratio(csv, bare))
        self.row(f"{name}: ingest of ZIP / of CSV", "at most 1.5", ratio(zipped, csv))
        whole, parts = self._folder / name / "two_days", (0, 1)
        for day in parts:
            make(whole, rows, day=day)
        both = [self.ingest(whole, ingest_workers=2) for _ in range(self._rounds)]
        # Worker processes' own processor time is not this process's.
        ratios = [2 * objects[0] / elapsed for elapsed, _ in both]
        self.row(f"{name}, two days, two processes: row objects / ingest", "", shown(ratios))
        rate = rows / min(seconds for seconds, _ in csv)
        self.row(f"{name} CSV: rows per second, best round", "", f"{rate:,.0f}")

    def custom(self, name: str, paths: list[Path]) -> None:
        raw = paths[0].parents[3]
        self.ingest(raw)
        columnar = [self.ingest(raw) for _ in range(self._rounds)]
        objects = timed(lambda: stand_ins.custom_by_rows(paths, self._folder / f"{name}_objects"))
        self.row(
            f"{name}: object writer / ingest", "20", ratio([objects] * len(columnar), columnar)
        )

    def memory(self, what: str, target: str, raw: Path, **settings: object) -> None:
        """Peak resident memory of a process that ingests (on Linux, which tells)."""
        catalog = self._folder / "catalog"
        shutil.rmtree(catalog, ignore_errors=True)
        config = {"raw_roots": [str(raw)], "catalog_path": str(catalog), **settings}
        script = (
            "from phoenix_etl.config import EtlConfig\n"
            "from phoenix_etl.pipeline import ingest\n"
            "ingest(EtlConfig(**json.loads(sys.argv[1])))\n"
        )
        self.row(what, target, self._peak(script, json.dumps(config)))

    def memory_of_verify(self, what: str) -> None:
        """The same of a process that verifies the catalog of the last [memory][], read back alone."""
        script = (
            "from phoenix_etl.verify import verify\nassert not verify(Path(sys.argv[1])).problems\n"
        )
        self.row(what, "1.5 GiB", self._peak(script, str(self._folder / "catalog")))

    def _peak(self, script: str, argument: str) -> str:
        script = (
            "import json, sys\n"
            "from pathlib import Path\n"
            f"{script}"
            # Not ru_maxrss: that of the process which started this one counts in it.
            "status = Path('/proc/self/status').read_text()\n"
            "print(status.partition('VmHWM:')[2].split()[0])\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, argument], capture_output=True, text=True, check=True
        )
        return f"{int(done.stdout) / (1 << 20):.2f} GiB"

    def nothing_to_do(self, files: int) -> None:
        raw = self._folder / "many"
        for symbol in ("BTCUSDT", "ETHUSDT"):
            dump_files.metrics(raw, files // 2, symbol)
        command = [
            sys.executable, "-m", "phoenix_etl", "ingest", "--quiet", "--raw-root", str(raw),
            "--catalog", str(self._folder / "many_catalog"),
        ]  # fmt: skip
        _, first = self._run(command)
        import_alone = [sys.executable, "-c", "import phoenix_etl.pipeline, phoenix_etl.progress"]
        took, imports = [], []
        for _ in range(self._rounds):
            done, seconds = self._run(command)
            assert done.startswith("nothing to do"), done
            took.append(seconds)
            imports.append(self._run(import_alone)[1])
        what = f"rerun with nothing to do, {files:,} files, from the shell"
        elapsed, busy = min(took)
        self.table.add_row(what, "under 2 s", f"{elapsed:.2f} s", f"{busy:.2f} s")
        self.row("the same / importing the package", "", ratio(took, imports))
        self.row("the first ingest of them / the same", "", ratio([first] * len(took), took))

    def _run(self, command: list[str]) -> tuple[str, Seconds]:
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        elapsed, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return done.stdout, (elapsed, busy)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--quick", action="store_true", help="a tenth of the rows, one round")
    options = arguments.parse_args()
    scale, rounds = (10, 1) if options.quick else (1, options.rounds)
    with tempfile.TemporaryDirectory(prefix="bench-ingest-") as name:
        folder = Path(name)
        bench = Bench(folder, rounds)
        bench.stream(
            "bookTicker", dump_files.book_ticker, 2_000_000 // scale, stand_ins.quotes_by_rows
        )
        bench.stream("aggTrades", dump_files.agg_trades, 500_000 // scale, stand_ins.trades_by_rows)
        bench.custom("bookDepth", dump_files.book_depth(folder / "depth", 10 // min(scale, 5)))
        bench.custom("metrics", dump_files.metrics(folder / "metrics", 60 // scale))
        dump_files.book_ticker(folder / "big", 10_000_000 // scale)
        bench.memory("peak memory, 10 million rows of one day", "1.5 GiB", folder / "big")
        shutil.rmtree(folder / "big")
        dump_files.book_ticker(folder / "unsorted", 10_000_000 // scale, shuffled=True)
        bench.memory("the same, rows of two streams interleaved", "1.5 GiB", folder / "unsorted")
        bench.memory_of_verify("verify of that catalog, without its sources")
        shutil.rmtree(folder / "unsorted")
        dump_files.book_ticker(folder / "month", 10_000_000 // scale, days=30, shuffled=True)
        bench.memory(
            "a monthly file of 10 million rows (0.95 GB), memory_budget 128 MiB", "1.5 GiB",
            folder / "month", memory_budget="128 MiB",
        )  # fmt: skip
        shutil.rmtree(folder / "month")
        bench.nothing_to_do(1000 // scale)
    load = os.getloadavg()[0]
    bench.table.title = f"{os.cpu_count()} cores, load {load:.1f}, {rounds} round(s)"
    Console(width=130).print(bench.table)


if __name__ == "__main__":
    main()
