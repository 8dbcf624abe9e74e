"""What the book says of this package is true: worked examples, timelines, the TWAP study."""

from __future__ import annotations

import doctest
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import twap_timeline

PACKAGE = Path(__file__).parents[1]
DOCS = PACKAGE.parents[1] / "docs"


def test_worked_examples_run_as_written() -> None:
    failed, tried = doctest.testfile(
        str(DOCS / "strategies.md"),
        module_relative=False,
        optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS,
    )
    assert tried > 15
    assert failed == 0


def test_the_drawn_timelines_are_those_of_the_schedule() -> None:
    text = (DOCS / "twap.md").read_text(encoding="utf-8")
    drawn = text.split("<!-- timelines -->\n```text\n")[1].split("```\n<!-- /timelines -->")[0]
    assert drawn.rstrip() == twap_timeline.document().rstrip()


@pytest.fixture(scope="module")
def study() -> ModuleType:
    path = PACKAGE / "benchmarks" / "study_twap.py"
    spec = importlib.util.spec_from_file_location("study_twap", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["study_twap"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_study_says_what_the_book_says(study: ModuleType) -> None:
    # 200 of the 1,000 markets of docs/twap.md; tolerance three standard errors of the difference.
    strong = study.study(200, impact_bps=2.0, alpha_bps=20.0, truth=1.0)
    assert strong.saved == pytest.approx(1.22, abs=3 * strong.saved_error)
    assert strong.gained == pytest.approx(1.86, abs=3 * strong.gained_error)
    assert strong.gained > 3 * strong.gained_error
    costly = study.study(200, impact_bps=10.0, alpha_bps=0.0, truth=1.0)
    assert costly.saved == pytest.approx(-1.49, abs=3 * costly.saved_error)
    assert costly.saved < 0  # no alpha, high impact: honestly worse when it must be completed
