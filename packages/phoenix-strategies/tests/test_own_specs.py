"""Specs of a user's own: what is wrong with them is said when they are named, in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from phoenix_strategies import registry
from phoenix_strategies.errors import UnknownStrategyError

SPEC = """\
from phoenix_strategies.ema_cross import EmaCross, EmaCrossSettings
from phoenix_strategies.registry import StrategySpec
parts = dict(
    name="own", settings_type=EmaCrossSettings, strategy_type=EmaCross,
    data_types=lambda settings: frozenset({"Bar"}), posts_limit_orders=lambda settings: False,
    estimators=lambda settings: {},
)
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A name for a module with the test's text, which nothing else has imported."""
    name = f"own_spec_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(SPEC + request.param, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return f"{name}:SPEC"


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ("import sys; sys.exit(0)", "its module raised SystemExit: 0"),
        ("raise BaseException('odd')", "its module raised BaseException: odd"),
        ("SPEC = StrategySpec(**parts | {'name': 1})", "name of .* must be text"),
        ("SPEC = StrategySpec(**parts | {'settings_type': int})",
         "settings_type of .* must be a subclass of StrategySettings"),
        ("SPEC = StrategySpec(**parts | {'strategy_type': 'EmaCross'})",
         "strategy_type of .* must be a subclass of PhoenixStrategy"),
        ("SPEC = StrategySpec(**parts | {'data_types': {'Bar'}})",
         "data_types of .* must be a function of the settings"),
    ],
    indirect=["own"],
)  # fmt: skip
def test_a_spec_that_cannot_work_is_refused_by_name(own: str, said: str) -> None:
    with pytest.raises(UnknownStrategyError, match=said) as caught:
        registry.find(own)
    assert own in str(caught.value)


@pytest.mark.parametrize("own", ["SPEC = StrategySpec(**parts)"], indirect=True)
def test_a_spec_whose_parts_are_right_is_found(own: str) -> None:
    assert registry.find(own).name == "own"


@pytest.mark.parametrize("own", ["raise KeyboardInterrupt"], indirect=True)
def test_ctrl_c_while_a_module_is_imported_is_ctrl_c(own: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        registry.find(own)


def test_a_spec_of_the_script_itself_is_not_there_in_a_worker() -> None:
    with pytest.raises(UnknownStrategyError, match="workers do not run your script"):
        registry.find("__main__:SPEC_OF_A_SCRIPT")
