"""An ingest on a real Dask cluster: a scheduler and two workers as processes of their own."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from phoenix_etl import cluster as cluster_of_dask
from phoenix_etl.errors import EtlError
from phoenix_etl.synthetic import write_market
from slow_result import SlowToLeave

if importlib.util.find_spec("distributed") is None:
    pytest.skip("phoenix-etl[dask] is not installed: no cluster tested", allow_module_level=True)

from distributed import Client
from distributed.comm import CommClosedError

WORKERS = 2
START_S = 90
OPTIONS = ["ingest", "--raw-root", "raw", "--json", "--quiet", "--catalog"]


def phoenix_etl(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "phoenix_etl", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)


@dataclass(frozen=True)
class Cluster:
    address: str
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]]


@contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """A scheduler with two workers, each in a working folder of its own."""
    found = folder / "scheduler.json"
    log = (folder / "log.txt").open("wb")
    start = ["--scheduler-file", str(found), "--no-dashboard"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}  # slow_result
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", *start, "--port", "0"]
    command += ["--host", "127.0.0.1"]
    scheduler = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    workers = []
    try:
        for number in range(WORKERS):
            own = folder / f"worker-{number}"
            own.mkdir()
            command = [sys.executable, "-m", "distributed.cli.dask_worker", *start]
            command += ["--nthreads", "1", "--no-nanny", "--local-directory", str(own)]
            workers.append(
                subprocess.Popen(command, stdout=log, stderr=log, cwd=own, env=environment)
            )
        deadline = time.monotonic() + START_S
        # It is there before it is written.
        while not (found.exists() and found.read_text().strip().endswith("}")):
            assert time.monotonic() < deadline, (folder / "log.txt").read_text()
            assert scheduler.poll() is None, (folder / "log.txt").read_text()
            time.sleep(0.1)
        address = str(json.loads(found.read_text())["address"])
        with Client(address, set_as_default=False, timeout=START_S) as client:
            client.wait_for_workers(WORKERS, timeout=START_S)
        yield Cluster(address, scheduler, workers)
    finally:
        for process in (*workers, scheduler):
            process.kill()  # they have nothing to save, and one that was stopped ends too
            process.wait()
        log.close()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_cluster(tmp_path_factory.mktemp("cluster")) as found:
        yield found.address


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a raw root `raw`."""
    folder = tmp_path_factory.mktemp("market")
    write_market(
        folder / "raw", symbols=["BTCUSDT", "ETHUSDT"], start=date(2024, 1, 1), days=2, seed=3,
        profile="small",
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def here(market: Path) -> dict[str, Any]:
    """What an ingest on this machine says; its catalog is `here`."""
    done = phoenix_etl(*OPTIONS, "here", cwd=market)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def tree(catalog: Path) -> dict[str, bytes]:
    return {
        path.relative_to(catalog).as_posix(): path.read_bytes()
        for path in sorted(catalog.rglob("*"))
        if path.is_file() and ".phoenix" not in path.parts
    }


def test_a_cluster_builds_the_same_bytes(cluster: str, market: Path, here: dict[str, Any]) -> None:
    there = phoenix_etl(*OPTIONS, "there", "--scheduler", cluster, cwd=market)
    assert there.returncode == 0, there.stderr
    assert json.loads(there.stdout)["partitions_built"] == here["partitions_built"]
    assert tree(market / "there") == tree(market / "here")
    again = phoenix_etl(*OPTIONS, "there", "--scheduler", cluster, cwd=market)
    assert json.loads(again.stdout)["files_read"] == 0


def has_work(cluster: Cluster, worker: int) -> bool:
    """Whether the scheduler has given tasks to that worker."""
    with Client(cluster.address, set_as_default=False) as client:
        info = client.scheduler_info(n_workers=-1)["workers"]
        # Below its working folder, where Dask puts one whose name begins with `worker-` too.
        [address] = [a for a, w in info.items() if f"/worker-{worker}/" in w["local_directory"]]
        return bool(client.processing([address])[address])


def wait_for_work(cluster: Cluster, run: subprocess.Popen[str]) -> None:
    """Until the first worker has been given something of a run."""
    deadline = time.monotonic() + START_S
    while not has_work(cluster, 0):
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_killed_worker_costs_its_task_alone(
    market: Path, here: dict[str, Any], tmp_path: Path
) -> None:
    with running_cluster(tmp_path) as cluster:
        victim = cluster.workers[0]
        victim.send_signal(signal.SIGSTOP)  # it never ends what it is given
        command = [sys.executable, "-m", "phoenix_etl", *OPTIONS, "survived"]
        command += ["--scheduler", cluster.address]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=market
        ) as run:
            try:
                wait_for_work(cluster, run)
                victim.kill()
                out, err = run.communicate(timeout=300)
            finally:
                run.kill()
    assert run.returncode == 0, err
    said = json.loads(out)
    assert said["failed"] == {}
    assert (said["files_read"], said["rows_read"]) == (here["files_read"], here["rows_read"])
    assert tree(market / "survived") == tree(market / "here")


def test_a_lost_scheduler_is_said_in_one_line_and_the_run_goes_on_from_there(
    market: Path, here: dict[str, Any], tmp_path: Path
) -> None:
    with running_cluster(tmp_path) as cluster:
        for worker in cluster.workers:
            worker.send_signal(signal.SIGSTOP)
        command = [sys.executable, "-m", "phoenix_etl", *OPTIONS, "orphaned"]
        command += ["--scheduler", cluster.address]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=market
        ) as run:
            try:
                wait_for_work(cluster, run)
                cluster.scheduler.kill()
                _, err = run.communicate(timeout=300)
            finally:
                run.kill()
    assert run.returncode == 1, err
    assert err.splitlines()[-1].startswith(f"error: {cluster.address}: ")
    assert "Run the same command again" in err
    assert "Traceback" not in err
    done = phoenix_etl(*OPTIONS, "orphaned", cwd=market)
    assert done.returncode == 0, done.stderr
    assert tree(market / "orphaned") == tree(market / "here")


def test_a_scheduler_lost_while_a_result_is_on_its_way_is_noticed(tmp_path: Path) -> None:
    leaving = tmp_path / "leaving"
    with (
        running_cluster(tmp_path) as cluster,
        cluster_of_dask.dask_executor(cluster.address) as (executor, _),
    ):
        result = executor.submit(SlowToLeave, leaving)
        deadline = time.monotonic() + START_S
        while not leaving.exists():
            assert not result.done(), result.exception()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        cluster.scheduler.kill()
        with pytest.raises(CommClosedError):
            result.result(timeout=START_S)


def test_a_scheduler_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setattr(cluster_of_dask, "CONNECT_S", 1)
    with (
        pytest.raises(EtlError, match=f"{address}: no Dask scheduler answers there"),
        cluster_of_dask.dask_executor(address),
    ):
        pass


def test_an_address_that_is_none_is_refused(market: Path) -> None:
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
    assert done.returncode == 2
    assert "--scheduler must be an address such as tcp://10.0.0.5:8786" in done.stderr
    assert not (market / "none" / "manifest.json").exists()
