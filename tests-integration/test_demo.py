"""`phoenix demo`, which is the first thing anybody runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from phoenix_runner.bundle import verify_bundle
from phoenix_runner.cli import run_command
from phoenix_runner.demo import SUITES


def test_the_demo_goes_from_nothing_to_three_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(["demo", "--json", "--quiet"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert list(done) == sorted(SUITES)
    for run in done.values():
        verify_bundle(Path(run["folder"]))
        assert (Path(run["folder"]) / "report.html").is_file()
        assert run["fills"] > 10
    assert done["walk_forward"]["folds"] == 2
    # What it leaves can be run again as it lies there, and is known.
    assert run_command(["run", "phoenix-demo/phoenix_lpi.yaml", "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["reused"] is True
    # Somebody's own folder is not touched.
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    assert run_command(["demo", "--dir", "mine", "--quiet"]) == 1
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    assert "must be a new or empty folder" in capsys.readouterr().err
