"""YAML into settings: what is read, and errors that say file, line, key and what to write instead."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phoenix_schemas.errors import ConfigError
from phoenix_schemas.yaml_config import decode_config, json_schema, load_yaml, parse_yaml


class Leg(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    symbol: str
    weight: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    name: str
    mode: Literal["maker", "taker"] = "maker"
    is_on: bool = True
    start: str | None = None
    count: int = 0
    legs: list[Leg] = []
    rates: dict[str, float] = {}
    main: Leg | None = None


def parse(text: str) -> Plan:
    return parse_yaml(text, Plan, source="plan.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\nmod: taker\n", "plan.yaml:2: at $.mod: unknown key; did you mean 'mode'?"),
        ("name: a\nzzz: 1\n",
         "plan.yaml:2: at $.zzz: unknown key; known keys: name, mode, is_on, start, count, legs, "),
        ("mode: maker\n", "plan.yaml:1: at $: key 'name' is missing"),
        ("name: a\nmode: both\n",
         "plan.yaml:2: at $.mode: expected one of 'maker', 'taker', was \"both\""),
        ("name: a\ncount: many\n", 'plan.yaml:2: at $.count: expected int, was "many"'),
        ("name: a\ncount: 1.5\n", "plan.yaml:2: at $.count: expected int, was 1.5"),
        ("name: 7\n", "plan.yaml:1: at $.name: expected str, was 7"),
        ("name: a\nis_on: yes\n", 'plan.yaml:2: at $.is_on: expected bool, was "yes"'),
        ("name: a\nlegs:\n- symbol: X\n- symbol: Y\n  weight: 2\n",
         "plan.yaml:5: at $.legs[1].weight: expected float <= 1.0, was 2"),
        ("name: a\nlegs:\n- symbol: X\n  wieght: 1\n",
         "plan.yaml:4: at $.legs[0].wieght: unknown key; did you mean 'weight'?"),
        ("name: a\nmain:\n  symbol: X\n  wieght: 1\n",
         "plan.yaml:4: at $.main.wieght: unknown key; did you mean 'weight'?"),
        ("name: a\nname: b\n", "plan.yaml:2: key 'name' must appear once (first on line 1)"),
        ("name: a\nmain:\n  symbol: X\n  symbol: Y\n",
         "plan.yaml:4: key 'symbol' must appear once (first on line 3)"),
        ("1: a\n", "plan.yaml:1: key must be text (was 1)"),
        ("name: [a\n", "plan.yaml:2: "),
        ("name: \ta: b\n", "plan.yaml:1: "),
        ("- a\n", "plan.yaml:1: at $: expected object"),
        ("name: a\n---\nname: b\n", "plan.yaml:2: "),
        ("name: !!python/object/apply:os.system [ls]\n",
         "plan.yaml:1: could not determine a constructor"),
        ("name: a\x00\n", "plan.yaml: not YAML"),
        (f"name: a\ncount: {'9' * 5000}\n", "plan.yaml: not YAML"),
        ("name: a\nlegs: &x\n- *x\n", "plan.yaml:2: an alias must not contain itself"),
        ("name: a\nmain: &m\n  symbol: *m\n", "plan.yaml:2: an alias must not contain itself"),
        ("", "plan.yaml: at $: key 'name' is missing"),
    ],
)  # fmt: skip
def test_an_error_says_where_and_what_to_write(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_aliases_that_grow_beyond_all_use_are_refused_before_they_do() -> None:
    grown = "".join(f"  - &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]\n" for i in range(1, 30))
    with pytest.raises(
        ConfigError, match=r"plan.yaml:\d+: aliases must stand for at most 1,000,000"
    ):
        parse(f"name: a\nlegs:\n  - &l0 [x]\n{grown}")
    assert parse("name: &n a\nrates: &r {a: 1}\nmode: maker\n").name == "a"


def test_only_true_and_false_are_booleans() -> None:
    """YAML 1.1 would read these as booleans, an octal, a time and a sexagesimal number."""
    for word in ("off", "on", "no", "NO", "y", "n", "2024-01-01", "12:30:45", "0x1F", "1_000"):
        assert parse(f"name: {word}\n").name == word
    assert parse("name: a\nis_on: false\n").is_on is False
    assert parse("name: a\ncount: 010\n").count == 10
    assert parse("name: a\nstart: ~\n").start is None
    assert parse("name: 'true'\n").name == "true"


def test_numbers_are_read_as_yaml_1_2_writes_them() -> None:
    rates = parse("name: a\nrates: {a: 1e-3, b: .5, c: -2, d: 1.5E+3}\n").rates
    assert rates == {"a": 0.001, "b": 0.5, "c": -2.0, "d": 1500.0}


@given(st.text(max_size=60))
def test_any_text_is_settings_or_a_clear_error(text: str) -> None:
    said = "plan.yaml"
    try:
        assert isinstance(parse(text), Plan)
    except ConfigError as error:
        said = str(error)
    assert said.startswith("plan.yaml")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{tmp_path}/none.yaml: no such file"):
        load_yaml(tmp_path / "none.yaml", Plan)
    with pytest.raises(ConfigError, match=r"cannot be read as UTF-8 text \(.*Is a directory"):
        load_yaml(tmp_path, Plan)
    (tmp_path / "latin.yaml").write_bytes(b"name: \xff\n")
    with pytest.raises(ConfigError, match="cannot be read as UTF-8 text"):
        load_yaml(tmp_path / "latin.yaml", Plan)
    (tmp_path / "good.yaml").write_text("name: good\n")
    assert load_yaml(tmp_path / "good.yaml", Plan) == Plan(name="good")


def test_plain_values_are_checked_the_same() -> None:
    assert decode_config({"name": "a"}, Plan, source="command line") == Plan(name="a")
    with pytest.raises(
        ConfigError, match=r"^command line: at \$.nam: unknown key; did you mean 'name'"
    ):
        decode_config({"nam": "a"}, Plan, source="command line")


def test_paths_and_times_of_python_count_as_their_text() -> None:
    def start_of(start: object) -> str | None:
        values = {"name": Path("a/b"), "start": start, "legs": [{"symbol": Path("x")}]}
        plan = decode_config(values, Plan, source="notebook")
        assert (plan.name, plan.legs) == ("a/b", [Leg("x")])
        return plan.start

    india = dt.timezone(dt.timedelta(hours=5, minutes=30))
    assert start_of(dt.date(2024, 2, 1)) == "2024-02-01"
    assert start_of(dt.datetime(2024, 2, 1, 5, 30, tzinfo=india)) == "2024-02-01T00:00:00+00:00"
    with pytest.raises(
        ConfigError,
        match=r'^notebook: at \$.start: time must carry its zone .*"2024-02-01T00:00:00Z"',
    ):
        start_of(dt.datetime(2024, 2, 1))  # noqa: DTZ001  the mistake


def test_an_editor_gets_a_schema() -> None:
    assert "Plan" in json_schema(Plan)["$defs"]


NEW_TYPES_IN_FOUR_THREADS = """
import sys, threading
import msgspec
from phoenix_schemas.yaml_config import decode_config

sys.setswitchinterval(1e-6)
legs = {f"leg_{i}": {"weight": 1.0} for i in range(30)}

def read(type_, start, found):
    start.wait()
    found.append(decode_config(legs, type_, source="thread"))

for _ in range(20):
    leg = msgspec.defstruct("Leg", [("weight", "float", 0.0)], frozen=True)
    plan = msgspec.defstruct("Plan", [(name, leg, leg()) for name in legs], frozen=True)
    start, found = threading.Barrier(4), []
    threads = [threading.Thread(target=read, args=(plan, start, found)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.leg_7.weight for one in found] == [1.0] * 4
"""


def test_threads_may_meet_a_type_for_the_first_time_together() -> None:
    done = subprocess.run([sys.executable, "-c", NEW_TYPES_IN_FOUR_THREADS], check=False)
    assert done.returncode == 0  # -11 where msgspec reads half-made types
