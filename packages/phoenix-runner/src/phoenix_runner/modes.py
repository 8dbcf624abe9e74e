"""What each mode of a suite does, and the report of whatever came out."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from phoenix_runner.bundle import experiment_id, read_json
from phoenix_runner.catalog_manifest import catalog_digest
from phoenix_runner.config import SingleMode, WalkForwardMode
from phoenix_runner.executors import UsageError, open_executor
from phoenix_runner.experiment import (
    Published,
    describe_experiment,
    run_suite,
)
from phoenix_runner.progress import RunProgress, TaskBar
from phoenix_runner.remote_runs import with_local_output
from phoenix_runner.replay import DEFAULT_WINDOW_NS
from phoenix_runner.suite import Suite, require_suite
from phoenix_runner.variants import run_variants
from phoenix_runner.walk_forward import run_walk_forward

EXECUTORS = ("local", "dask")


def run_experiment(
    suite: Suite,
    *,
    window_ns: int = DEFAULT_WINDOW_NS,
    overwrite: bool = False,
    workers: int | None = None,
    executor: str = "local",
    scheduler: str | None = None,
    quiet: bool = True,
) -> Published:
    """Run a suite in its own mode and publish its bundle.

    `workers` (default: one per core) applies to modes of many runs with the `local` executor; `executor`
    is `local` or `dask`, the latter with the address of its `scheduler`. The bundle is the same for all
    of them. `quiet=False` shows progress on standard error.

    Raises UsageError for workers or an executor that cannot be, and what [run_suite][] raises.
    """
    if workers is not None and workers < 1:
        raise UsageError(f"workers must be at least 1 (was {workers}); None is one per core")
    if executor not in EXECUTORS:
        raise UsageError(f"executor must be one of {', '.join(EXECUTORS)} (was {executor!r})")
    require_suite(suite)
    suite, remote = with_local_output(suite)
    if remote is not None:
        identity = experiment_id(describe_experiment(suite, catalog_digest(suite)))
        wanted = overwrite or suite.config.output.overwrite
        if not wanted and identity in remote.finished():
            remote.download(identity)
        done = run_experiment(
            suite, window_ns=window_ns, overwrite=overwrite, workers=workers, executor=executor,
            scheduler=scheduler, quiet=quiet,
        )  # fmt: skip
        return replace(done, address=remote.upload(done.folder))
    config = suite.config
    name, section = config.output.suite_name, config.time
    if isinstance(config.mode, SingleMode):
        start_ns = section.start_ns - section.warmup_ns
        with RunProgress(name, start_ns, section.end_ns, quiet=quiet) as progress:
            return run_suite(suite, window_ns=window_ns, overwrite=overwrite, progress=progress)
    run = run_walk_forward if isinstance(config.mode, WalkForwardMode) else run_variants
    count = default_workers() if workers is None else workers
    with (
        TaskBar(name, quiet=quiet) as bar,
        open_executor(executor, workers=count, scheduler=scheduler) as pool,
    ):
        return run(suite, pool, overwrite=overwrite, progress=bar)


def default_workers() -> int:
    """One per core that this process may use."""
    return len(os.sched_getaffinity(0))


def draw_report(folder: Path | str) -> Path:
    """Draw the report of any finished bundle again."""
    from phoenix_runner.report.writing import write_report
    from phoenix_runner.variant_report import MODES, draw_variants

    folder = Path(folder)
    if read_json(folder, "summary.json").get("mode") in MODES:
        return draw_variants(folder)
    return write_report(folder)
