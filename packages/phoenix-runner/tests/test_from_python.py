"""Suites run from scripts and notebooks: what a caller gets wrong is said, not waited for."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from phoenix_runner.errors import RunnerError, SuiteError
from phoenix_runner.experiment import describe_experiment
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


OWN = """
from phoenix_strategies import registry
from phoenix_strategies.registry import StrategySpec
known = registry.find("ema_cross")
SPEC = StrategySpec(
    "own", known.settings_type, known.strategy_type, known.data_types, known.posts_limit_orders,
    known.estimators,
)
"""


def test_a_strategy_that_was_edited_in_this_session_is_not_run_as_the_old_one(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def describe() -> dict[str, Any]:
        return describe_experiment(suite_from(values, source="notebook"), "")

    module = tmp_path / "edited_here.py"
    module.write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    values["strategy"]["name"] = "edited_here:SPEC"
    first = describe()
    assert describe() == first
    module.write_text(OWN + "LIMIT = 2  # longer, so that a reload within the second sees it\n")
    with pytest.raises(SuiteError, match=r"edited since\); importlib.reload\(edited_here\)"):
        describe()
    importlib.reload(sys.modules["edited_here"])
    assert describe()["code"] != first["code"]


def test_a_strategy_typed_into_a_notebook_is_told_to_have_a_file(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = ModuleType("typed_in")
    exec(OWN, vars(typed))
    monkeypatch.setitem(sys.modules, "typed_in", typed)
    values["strategy"]["name"] = "typed_in:SPEC"
    with pytest.raises(SuiteError, match=r"must be in a file, .* write it to a module"):
        run_experiment(suite_from(values, source="notebook"))
