"""Suites run from scripts and notebooks: what a caller gets wrong is said, not waited for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from phoenix_runner.errors import RunnerError
from phoenix_runner.modes import run_experiment
from phoenix_runner.suite import suite_from
from small_catalog import BAR_TYPE, bar_rows, suite_values, write


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    closes = [f"{40000 + 150 * ((i // 7) % 3)}.00" for i in range(60)]
    write(tmp_path / "catalog", "Bar", bar_rows(closes), BAR_TYPE)
    return suite_values(tmp_path / "catalog", output={"dir": str(tmp_path / "runs")})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"workers": -1}, r"workers must be at least 1 \(was -1\)"),
        ({"workers": 0}, r"workers must be at least 1 \(was 0\)"),
        ({"workers": "2"}, r"workers must be at least 1 \(was '2'\)"),
        ({"executor": "threads"}, r"executor must be one of local, dask \(was 'threads'\)"),
    ],
)
def test_no_run_waits_for_workers_that_cannot_be(
    values: dict[str, Any], options: dict[str, Any], said: str
) -> None:
    values["mode"] = {"kind": "sweep", "search": {"parameters": {"strategy.config.fast_bars": [3]}}}
    with pytest.raises(RunnerError, match=said):
        run_experiment(suite_from(values, source="notebook"), **options)
