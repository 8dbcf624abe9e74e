"""An ingest on a real Dask cluster: a scheduler and two workers as processes of their own."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from phoenix_etl.synthetic import write_market

if importlib.util.find_spec("distributed") is None:
    pytest.skip("phoenix-etl[dask] is not installed: no cluster tested", allow_module_level=True)

WORKERS = 2
START_S = 90


def phoenix_etl(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "phoenix_etl", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a scheduler with two workers, each in a working folder of its own."""
    folder = tmp_path_factory.mktemp("cluster")
    found = folder / "scheduler.json"
    log = (folder / "log.txt").open("wb")
    start = ["--scheduler-file", str(found), "--no-dashboard"]
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", *start, "--port", "0"]
    processes = [subprocess.Popen([*command, "--host", "127.0.0.1"], stdout=log, stderr=log)]
    try:
        for number in range(WORKERS):
            own = folder / f"worker-{number}"
            own.mkdir()
            command = [sys.executable, "-m", "distributed.cli.dask_worker", *start]
            command += ["--nthreads", "1", "--no-nanny", "--local-directory", str(own)]
            processes.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=own))
        deadline = time.monotonic() + START_S
        while not found.exists():
            assert time.monotonic() < deadline, (folder / "log.txt").read_text()
            assert processes[0].poll() is None, (folder / "log.txt").read_text()
            time.sleep(0.1)
        yield str(json.loads(found.read_text())["address"])
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait(timeout=30)
        log.close()


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a raw root `raw`."""
    folder = tmp_path_factory.mktemp("market")
    write_market(
        folder / "raw", symbols=["BTCUSDT", "ETHUSDT"], start=date(2024, 1, 1), days=2, seed=3,
        profile="small",
    )  # fmt: skip
    return folder


def test_a_cluster_builds_the_same_bytes(cluster: str, market: Path) -> None:
    options = ["ingest", "--raw-root", "raw", "--json", "--quiet", "--catalog"]
    here = phoenix_etl(*options, "here", cwd=market)
    assert here.returncode == 0, here.stderr
    there = phoenix_etl(*options, "there", "--scheduler", cluster, cwd=market)
    assert there.returncode == 0, there.stderr
    assert (
        json.loads(there.stdout)["partitions_built"] == json.loads(here.stdout)["partitions_built"]
    )
    trees = [
        {
            path.relative_to(market / name).as_posix(): path.read_bytes()
            for path in sorted((market / name).rglob("*"))
            if path.is_file() and ".phoenix" not in path.parts
        }
        for name in ("here", "there")
    ]
    assert trees[0] == trees[1]
    again = phoenix_etl(*options, "there", "--scheduler", cluster, cwd=market)
    assert json.loads(again.stdout)["files_read"] == 0


def test_a_scheduler_that_does_not_answer_is_named(market: Path) -> None:
    done = phoenix_etl(
        "ingest",
        "--raw-root",
        "raw",
        "--catalog",
        "none",
        "--scheduler",
        "nonsense://x",
        cwd=market,
    )
    assert done.returncode == 1
    assert "nonsense://x: no Dask scheduler answers there" in done.stderr
    assert not (market / "none" / "manifest.json").exists()
