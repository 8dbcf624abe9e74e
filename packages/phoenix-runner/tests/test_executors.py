"""Executors: local workers survive deaths, one death costs one task, Ctrl-C ends them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from phoenix_runner.errors import RunnerError
from phoenix_runner.executors import Inline, LocalWorkers, WorkerDiedError, open_executor
from worker_jobs import die, die_once, fail, leave, process, sleep_long, square


def test_local_workers_answer_and_outlive_a_death(tmp_path: Path) -> None:
    workers = LocalWorkers(2)
    squares = [workers.submit(square, x) for x in range(4)]
    retried = workers.submit(die_once, str(tmp_path / "died"))
    hopeless = workers.submit(die)
    failing = workers.submit(fail)
    leaving = workers.submit(leave)
    after = [workers.submit(square, x) for x in range(4)]
    assert [f.result(60) for f in squares] == [0, 1, 4, 9]
    assert retried.result(60) == "second time"
    with pytest.raises(WorkerDiedError, match="died 3 times"):
        hopeless.result(60)
    with pytest.raises(LookupError, match="planted"):
        failing.result(60)
    assert isinstance(leaving.exception(60), SystemExit)
    assert [f.result(60) for f in after] == [0, 1, 4, 9]
    workers.shutdown()
    with pytest.raises(RuntimeError, match="shut down"):
        workers.submit(square, 1)


def test_leaving_by_an_exception_ends_running_workers_at_once(tmp_path: Path) -> None:
    started = tmp_path / "started"

    def leave() -> None:
        with open_executor("local", workers=2) as executor:
            executor.submit(sleep_long, str(started))
            deadline = time.monotonic() + 60
            while not started.exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave()
    assert started.exists()  # it was running, and did not keep us for ten minutes


def test_a_program_whose_workers_were_ended_leaves(tmp_path: Path) -> None:
    """The thread of a broken pool waits for ever if it is the last to let go of that pool."""
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from phoenix_runner.executors import LocalWorkers\n"
        "from worker_jobs import sleep_long\n"
        "workers = LocalWorkers(1)\n"
        "workers.submit(sleep_long, sys.argv[1])\n"
        "while not Path(sys.argv[1]).exists():\n"
        "    time.sleep(0.02)\n"
        "workers.shutdown(cancel_futures=True)\n"
        "print('ended')\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "started")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")


def test_workers_that_are_coming_up_are_ended_too(tmp_path: Path) -> None:
    workers = LocalWorkers(2)
    running = [workers.submit(sleep_long, str(tmp_path / str(i))) for i in range(2)]
    deadline = time.monotonic() + 60
    while not all(f.running() for f in running) and time.monotonic() < deadline:
        time.sleep(0.001)
    workers.shutdown(cancel_futures=True)  # before they could say who they are
    for future in running:
        with pytest.raises(WorkerDiedError):
            future.result(0)


def test_a_script_needs_no_main_guard(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from phoenix_runner.executors import open_executor\n"
        "from worker_jobs import square\n"
        "print('once')\n"
        "with open_executor('local', workers=2) as executor:\n"
        "    print([f.result() for f in [executor.submit(square, x) for x in range(4)]])\n"
        "print(sys.modules['__main__'].__file__ == __file__)\n",
        "utf-8",
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.stdout, done.stderr) == ("once\n[0, 1, 4, 9]\nTrue\n", "")


def test_one_worker_runs_in_this_process() -> None:
    with open_executor("local", workers=1) as executor:
        assert isinstance(executor, Inline)
        assert executor.submit(process).result() == os.getpid()
        with pytest.raises(LookupError):
            executor.submit(fail).result()


def test_dask_needs_a_scheduler_that_answers() -> None:
    def connect(scheduler: str | None) -> None:
        with open_executor("dask", workers=1, scheduler=scheduler):
            pass

    with pytest.raises(RunnerError, match="must come with --scheduler") as caught:
        connect(None)
    assert caught.value.exit_code == 2


def test_a_worker_loads_nothing_that_draws() -> None:
    """Importing what draws takes three times as long as all that a worker needs."""
    program = "import sys, phoenix_runner.tasks; print(*sys.modules)"
    command = [sys.executable, "-c", program]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert "phoenix_runner.backtest" in loaded
    assert not {"matplotlib", "jinja2", "phoenix_runner.report.charts"} & set(loaded)
