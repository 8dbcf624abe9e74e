"""The same bundle from one worker, two, a Dask cluster, and a run that was killed half-way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import DEVNULL

import pytest
from bar_market import write_bars, write_suite
from phoenix_etl import cluster
from phoenix_runner.bundle import verify_bundle
from phoenix_runner.executors import open_executor
from phoenix_runner.modes import run_experiment
from phoenix_runner.suite import load_suite
from phoenix_runner.walk_forward import run_walk_forward
from phoenix_schemas.errors import PhoenixError

PHOENIX = [sys.executable, "-c", "from phoenix_runner.cli import main; main()"]
DASK = [sys.executable, "-m", "dask"]

MODE = {
    "kind": "walk_forward",
    "train": "3d",
    "test": "1d",
    "objective": "net",
    "search": {"parameters": {"strategy.config.slow_bars": [30, 60, 120]}},
}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bars(tmp_path_factory.mktemp("bars") / "catalog", days=7)


@pytest.fixture(scope="module")
def expected(catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The hash of one process doing it all."""
    return run(catalog, tmp_path_factory.mktemp("one"), workers=1)


def suite(catalog: Path, folder: Path) -> Path:
    return write_suite(
        folder / "suite.yaml", str(catalog), folder / "runs", "2024-02-04", mode=MODE
    )


def run(catalog: Path, folder: Path, **options: object) -> str:
    done = run_experiment(load_suite(suite(catalog, folder)), **options)  # type: ignore[arg-type]
    return verify_bundle(done.folder)


def test_two_workers_give_the_bundle_of_one(catalog: Path, expected: str, tmp_path: Path) -> None:
    assert run(catalog, tmp_path, workers=2) == expected


def wait_for(condition: object, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def test_a_run_killed_half_way_goes_on_and_ends_the_same(
    catalog: Path, expected: str, tmp_path: Path
) -> None:
    path = suite(catalog, tmp_path)
    command = [*PHOENIX, "run", str(path), "--workers", "2"]
    process = subprocess.Popen(command, stdout=DEVNULL, stderr=DEVNULL, start_new_session=True)
    kept = tmp_path / "runs" / ".tasks"
    wait_for(lambda: kept.is_dir() and len([p for p in kept.iterdir() if p.name[0] != "."]) >= 3)
    workers = [
        Path("/proc", pid)
        for children in Path(f"/proc/{process.pid}/task").glob("*/children")
        for pid in children.read_text().split()
    ]
    process.kill()
    process.wait()
    wait_for(lambda: not any(p.exists() for p in workers))  # they do not work on for nobody
    assert not list((tmp_path / "runs").glob("[0-9a-f]*"))
    again = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    first_line = again.stderr.splitlines()[0]
    assert "kept from before" in first_line
    [folder] = (tmp_path / "runs").glob("[0-9a-f]*")
    assert verify_bundle(folder) == expected
    assert not kept.exists()


@pytest.mark.parametrize("kept", [0, 1])
def test_ctrl_c_on_the_terminal_ends_all_workers_in_one_line(
    catalog: Path, tmp_path: Path, kept: int
) -> None:
    path, log = suite(catalog, tmp_path), tmp_path / "log.txt"
    command = [*PHOENIX, "run", str(path), "--workers", "2"]
    said = "suite: 16 runs" if kept == 0 else "1 of 16"
    with log.open("w") as err:
        process = subprocess.Popen(command, stdout=DEVNULL, stderr=err, start_new_session=True)
        wait_for(lambda: said in log.read_text() or process.poll() is not None)
        time.sleep(0.1)  # into the start of the workers
        os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it: to the workers too
        sent = time.monotonic()
        process.wait(timeout=120)
    # A second to stop, and one for workers that are just coming up on a busy machine.
    assert time.monotonic() - sent < 2
    lines = log.read_text().splitlines()
    assert process.returncode == 130
    assert "Traceback" not in log.read_text()
    assert lines[-1].startswith("phoenix: stopped by the user; ")
    assert lines[-1].endswith("of 16 runs are kept, the same command goes on from there")
    assert bool(kept) == ("; 0 of 16" not in lines[-1])


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The address of a Dask scheduler, a process of its own."""
    pytest.importorskip("distributed")
    address_file = tmp_path / "scheduler.json"
    command = ["--port", "0", "--no-dashboard", "--scheduler-file", str(address_file)]
    process = subprocess.Popen([*DASK, "scheduler", *command], stdout=DEVNULL, stderr=DEVNULL)
    try:
        # It is there before it is written.
        wait_for(lambda: address_file.exists() and address_file.read_text().strip().endswith("}"))
        yield json.loads(address_file.read_text())["address"], process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def workers(
    tmp_path: Path, scheduler: tuple[str, subprocess.Popen[bytes]]
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two workers of that scheduler, each a process of its own."""
    command = [*DASK, "worker", scheduler[0], "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    processes = [
        subprocess.Popen(
            [*command, "--local-directory", str(tmp_path / f"worker-{i}")],
            stdout=DEVNULL,
            stderr=DEVNULL,
        )
        for i in range(2)
    ]
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def test_a_dask_cluster_gives_the_same_even_if_a_worker_is_killed(
    catalog: Path,
    expected: str,
    tmp_path: Path,
    scheduler: tuple[str, subprocess.Popen[bytes]],
    workers: list[subprocess.Popen[bytes]],
) -> None:
    def kill_one(done: int, total: int, last: str) -> None:
        if done == 2 and last:
            workers[0].kill()

    with open_executor("dask", workers=2, scheduler=scheduler[0]) as executor:
        done = run_walk_forward(load_suite(suite(catalog, tmp_path)), executor, progress=kill_one)
    assert workers[0].poll() is not None
    assert verify_bundle(done.folder) == expected


def test_a_lost_scheduler_is_said_in_one_line_and_the_same_command_goes_on(
    catalog: Path,
    expected: str,
    tmp_path: Path,
    scheduler: tuple[str, subprocess.Popen[bytes]],
    workers: list[subprocess.Popen[bytes]],
) -> None:
    address, process = scheduler
    path = str(suite(catalog, tmp_path))
    command = [*PHOENIX, "run", path, "--executor", "dask", "--scheduler", address]
    log = tmp_path / "log.txt"
    with log.open("w") as err, subprocess.Popen(command, stdout=DEVNULL, stderr=err) as run:
        try:
            wait_for(lambda: "1 of " in log.read_text() or run.poll() is not None)
            process.kill()
            run.wait(timeout=120)
        finally:
            run.kill()
    said = log.read_text()
    assert run.returncode == 1, said
    assert "Traceback" not in said
    assert "the same command goes on from there" in said.splitlines()[-1]
    again = subprocess.run([*PHOENIX, "run", path], capture_output=True, text=True, check=True)
    assert "kept from before" in again.stderr.splitlines()[0]
    [folder] = (tmp_path / "runs").glob("[0-9a-f]*")
    assert verify_bundle(folder) == expected


def test_a_scheduler_that_does_not_answer_is_one_clear_error(catalog: Path, tmp_path: Path) -> None:
    command = [*PHOENIX, "run", str(suite(catalog, tmp_path)), "--executor", "dask"]
    command += ["--scheduler", "tcp://127.0.0.1:9"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 1
    said = result.stderr.splitlines()[-1]
    assert "tcp://127.0.0.1:9: no Dask scheduler answers there" in said


def test_a_scheduler_without_workers_is_one_clear_error(
    scheduler: tuple[str, subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "WORKERS_S", 1)
    with (
        pytest.raises(PhoenixError, match=f"dask worker {scheduler[0]}"),
        open_executor("dask", workers=1, scheduler=scheduler[0]),
    ):
        pass
