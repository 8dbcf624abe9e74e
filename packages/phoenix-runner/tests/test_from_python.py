"""Suites run from scripts and notebooks: what a caller gets wrong is said, not waited for."""

from __future__ import annotations

import datetime as dt
import importlib
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib as mpl
import pandas as pd
import pytest
from phoenix_runner.bundle import finished_runs, is_finished
from phoenix_runner.errors import RunnerError, SuiteError
from phoenix_runner.experiment import describe_experiment, run_suite
from phoenix_runner.fitting import fit
from phoenix_runner.modes import draw_report, run_experiment
from phoenix_runner.report.bundle_files import read_bundle
from phoenix_runner.report.drawing import draw
from phoenix_runner.report.writing import write_comparison, write_report
from phoenix_runner.research.features import make_dataset
from phoenix_runner.suite import load_suite, suite_from
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


def test_a_path_or_a_dict_is_told_how_to_become_a_suite(values: dict[str, Any]) -> None:
    given: Any
    for given in ("suite.yaml", values):
        for use in (run_suite, run_experiment, make_dataset):
            with pytest.raises(SuiteError, match=r"must be a Suite \(was (str|dict)\); load_suite"):
                use(given)
    given = values
    with pytest.raises(SuiteError, match=r"path of its file \(was dict\).*suite_from"):
        load_suite(given)
    with pytest.raises(SuiteError, match=r"overrides must be a list .* \(was 'output.dir=x'\)"):
        load_suite("suite.yaml", "output.dir=x")


def test_times_and_paths_of_python_make_the_same_suite(values: dict[str, Any]) -> None:
    text = suite_from(values, source="notebook")
    values["catalog"] = {"path": Path(values["catalog"]["path"])}
    values["time"] = {
        "start_utc": dt.datetime(2024, 1, 28, tzinfo=dt.UTC),
        "end_utc": pd.Timestamp("2024-01-28 02:00", tz="Europe/Berlin"),
    }
    typed = suite_from(values, source="notebook").config
    assert (typed.time.start_ns, typed.time.end_ns) == (
        text.config.time.start_ns,
        text.config.time.end_ns,
    )
    assert typed.catalog == text.config.catalog


def test_folders_may_be_text(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "run")
    name = str(folder)
    assert read_bundle(name).experiment_id == read_bundle(folder).experiment_id
    assert finished_runs(str(folder.parent)) == [
        p for p in folder.parent.iterdir() if is_finished(p)
    ]
    assert write_report(name) == draw_report(name) == folder / "report.html"
    page = write_comparison({"a": name, "b": name}, str(folder / "two.html"))
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_two_threads_that_draw_leave_the_style_of_the_session_alone() -> None:
    before = dict(mpl.rcParams)
    second_paints = threading.Event()

    def first(_axes: Any, _narrow: bool) -> None:
        second_paints.wait(0.3)  # in vain, where one draws at a time

    def second(_axes: Any, _narrow: bool) -> None:
        second_paints.set()
        time.sleep(0.2)

    threads = [
        threading.Thread(target=draw, args=(paint.__name__, "title", "caption", paint))
        for paint in (first, second)
    ]
    for thread in threads:
        thread.start()
        time.sleep(0.1)
    for thread in threads:
        thread.join()
    assert dict(mpl.rcParams) == before


def test_a_fit_that_forgets_to_return_is_told_so(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "forgets.py").write_text(
        OWN + "from dataclasses import replace\n"
        "class Settings(known.settings_type, frozen=True):\n"
        "    needs_fit = True\n"
        "    def fit(self, training):\n"
        "        training.bar_volumes()\n"
        "SPEC = replace(SPEC, settings_type=Settings)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    values["strategy"]["name"] = "forgets:SPEC"
    with pytest.raises(SuiteError, match=r"fit of own must return its settings \(was NoneType\)"):
        fit(suite_from(values, source="notebook"))
