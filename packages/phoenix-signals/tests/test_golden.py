"""Golden files: the numbers of one (id, version) never change silently."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import regenerate_golden as regenerate
from phoenix_signals import conformance, registry

HERE = Path(__file__).parent
every_signal = pytest.mark.parametrize(
    "entry", [pytest.param(e, id=e.id) for e in registry.installed()]
)


def check(entry, folder: Path) -> None:
    """Compare a signal with its golden file, and say what to do when it differs."""
    path = folder / f"{entry.id}-v{entry.version}.json"
    if not path.exists():
        pytest.fail(f"{entry.id} version {entry.version} has no golden file; run `nox -s golden`")
    cases = json.loads(path.read_text("utf-8"))
    examples = entry.signal.EXAMPLES
    if [case["parameters"] for case in cases] != [repr(dict(p)) for p in examples]:
        pytest.fail(
            f"{path.name} was written for other EXAMPLES; if only they changed, run "
            f"`nox -s golden -- --rewrite {entry.id}`"
        )
    for case, parameters in zip(cases, examples, strict=True):
        found = regenerate.run(entry, parameters, case["inputs"])
        expected = {
            n: np.array([_number(v) for v in column], dtype=found[n].dtype)
            for n, column in case["output"].items()
        }
        difference = conformance.compare(expected, found)
        if difference:
            pytest.fail(
                f"{entry.id} version {entry.version} gives other numbers than its golden file "
                f"({path.name}, {case['parameters']}: {difference}). If the change is meant, raise "
                f"{entry.signal.__name__}.VERSION to {entry.version + 1}, say so in CHANGELOG.md "
                "and run `nox -s golden`; if not, it is a bug"
            )


def _number(value):
    if isinstance(value, list):
        return [_number(v) for v in value]
    return np.nan if value is None else value


@every_signal
def test_numbers_equal_the_golden_file(entry):
    check(entry, HERE / "golden")


@every_signal
def test_golden_file_holds_values(entry):
    cases = json.loads(regenerate.golden_path(entry).read_text("utf-8"))
    for case in cases:
        for name, column in case["output"].items():
            assert any(v is not None for v in column), f"{name} of {case['parameters']} is all None"


def test_there_is_a_file_per_installed_version_and_no_other():
    expected = {regenerate.golden_path(e).name for e in registry.installed()} | {"market.json"}
    assert {p.name for p in (HERE / "golden").iterdir()} == expected


def test_releases_name_every_installed_version():
    missing = [
        f"{e.id} {e.version}"
        for e in registry.installed()
        if str(e.version) not in registry.releases().get(e.id, {})
    ]
    assert not missing, "run `nox -s golden`"


def test_a_silent_change_is_refused_with_what_to_do(tmp_path):
    entry = registry.find("obi")
    cases = json.loads(regenerate.golden_path(entry).read_text("utf-8"))
    at = next(i for i, v in enumerate(cases[0]["output"]["value"]) if v is not None)
    cases[0]["output"]["value"][at] += 1e-9
    (tmp_path / "obi-v1.json").write_text(json.dumps(cases), "utf-8")
    with pytest.raises(pytest.fail.Exception, match=r"raise QueueImbalance\.VERSION to 2"):
        check(entry, tmp_path)
    with pytest.raises(pytest.fail.Exception, match="nox -s golden"):
        check(entry, tmp_path / "empty")


def test_a_written_file_reads_back_as_it_was(tmp_path):
    entry = registry.find("vpin")
    text = regenerate.dumps(regenerate.compute(entry))
    assert text == regenerate.golden_path(entry).read_text("utf-8")
