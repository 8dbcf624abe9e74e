"""The look-ahead check from a suite to its folder `lookahead-<id>`: what was compared, and a page.

`lookahead.csv` has a row per comparison, `warmups.csv` one per length of warm-up, `lookahead.json` all
of it. A check that fails leaves its folder too, with the first difference, before it says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import asdict, fields
from pathlib import Path

import msgspec

from phoenix_runner.bundle import BundleFiles, BundleWriter, experiment_id
from phoenix_runner.catalog_manifest import catalog_digest, is_simulated, require_as_ingested
from phoenix_runner.experiment import describe_experiment
from phoenix_runner.report.lookahead import lookahead_sections
from phoenix_runner.report.studies import write_study
from phoenix_runner.report.wording import execution_sentences, market_name
from phoenix_runner.research.lookahead import (
    NOT_SEEN,
    CutCheck,
    Difference,
    LookaheadError,
    WarmupRow,
    compare_cuts,
    compare_warmups,
    local_catalog,
    passed_sentence,
    tasks_of_cuts,
    tasks_of_warmups,
)
from phoenix_runner.suite import Suite
from phoenix_runner.task_queue import TaskProgress, TaskStore, run_tasks
from phoenix_runner.writable import require_writable


def run_lookahead(
    suite: Suite,
    executor: Executor,
    *,
    cuts: int = 3,
    warmups: Sequence[str] = (),
    progress: TaskProgress | None = None,
) -> tuple[Path, list[CutCheck], list[WarmupRow]]:
    """Check a suite, compare its warm-ups, and write the folder.

    The catalog must be on a local disk, and `executor` on the same machine: workers copy the catalog
    into temporary folders. Raises LookaheadError, with the folder written, when a decision depends on
    later data.
    """
    output = Path(suite.config.output.dir)
    require_writable(output, "output.dir")
    catalog, digest = local_catalog(suite), catalog_digest(suite)
    identity = experiment_id(
        {
            **describe_experiment(suite, digest),
            "lookahead": {"cuts": cuts, "warmups": list(warmups)},
        }
    )
    folder = output / f"lookahead-{identity}"
    require_as_ingested(suite)
    of_cuts = tasks_of_cuts(suite, catalog, digest, cuts)
    of_warmups = tasks_of_warmups(suite, digest, warmups)
    tasks, store = [*of_cuts, *of_warmups], TaskStore(output)
    found = run_tasks(tasks, executor, store, progress=progress)
    rows = compare_warmups(warmups, found[len(of_cuts) :])
    try:
        checks = compare_cuts(of_cuts, found[: len(of_cuts)])
    except LookaheadError as error:
        _write(folder, suite, error.passed, rows, error.difference)
        store.forget(tasks)
        raise LookaheadError(error.difference, error.passed, folder) from None
    _write(folder, suite, checks, rows, None)
    store.forget(tasks)
    return folder, checks, rows


def _write(
    folder: Path,
    suite: Suite,
    checks: Sequence[CutCheck],
    warmups: Sequence[WarmupRow],
    difference: Difference | None,
) -> None:
    config = suite.to_builtins()
    specifications = [msgspec.to_builtins(spec) for spec in suite.instruments.values()]
    with BundleWriter(folder) as bundle:
        files = BundleFiles()
        files.csv("lookahead.csv", [f.name for f in fields(CutCheck)], map(asdict, checks))
        if warmups:
            files.csv("warmups.csv", [f.name for f in fields(WarmupRow)], map(asdict, warmups))
        files.json(
            "lookahead.json",
            {
                "checks": [asdict(c) for c in checks],
                "warmups": [asdict(w) for w in warmups],
                "difference": None if difference is None else asdict(difference),
            },
        )
        bundle.write(files.content)
        compared = sum(c.compared for c in checks)
        write_study(
            bundle.folder / "report.html",
            title=f"Look-ahead check of {suite.spec.name}",
            subtitle=f"{market_name(simulated=is_simulated(suite))}"
            f"{', '.join(suite.instruments)}, {suite.config.time.start_utc} to "
            f"{suite.config.time.end_utc} (excluded)",
            tone="bad" if difference is not None else "good" if compared else "open",
            headline=(
                passed_sentence(checks)
                if difference is None
                else f"The {difference.what} at {difference.at_utc} depends on data from after it"
            ),
            sentences=[
                (
                    f"{compared:,} decisions, signals and orders before the cuts were the same with "
                    "the data after them taken away or altered."
                ),
                NOT_SEEN,
            ],
            sections=lookahead_sections(checks, warmups, difference, currency=_currency(suite)),
            caveats=execution_sentences(config, specifications),
        )
        bundle.publish()


def _currency(suite: Suite) -> str:
    """The settlement currency of the suite's balance."""
    return suite.config.universe.starting_balances[0].split()[-1]
