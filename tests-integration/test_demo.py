"""`phoenix demo`, as somebody meets it first: three verified bundles with their reports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from phoenix_runner.bundle import verify_bundle
from phoenix_runner.cli import run_command

ROOT = Path(__file__).parents[1]


def test_the_demo_runs_its_suites_and_says_where_the_reports_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "demo"
    assert run_command(["demo", "--dir", str(folder), "--json", "--quiet"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert list(said["runs"]) == ["ema_cross", "phoenix_lpi", "walk_forward"]
    for name, run in said["runs"].items():
        assert run["fills"] > 0, name
        verify_bundle(Path(run["folder"]))
        assert "<svg" in (Path(run["folder"]) / "report.html").read_text("utf-8")
    assert said["runs"]["walk_forward"]["sets_evaluated"] == 4
    page = Path(said["comparison"]).read_text("utf-8")
    assert "ema_cross" in page
    assert "phoenix_lpi" in page
    # What the READMEs show is what comes out.
    for readme in (ROOT / "README.md", ROOT / "packages/phoenix-runner/README.md"):
        shown = readme.read_text("utf-8")
        assert f"net {float(said['runs']['ema_cross']['net']):,.2f} USDT" in shown, readme
    # The suites it leaves are there to be edited and run again; unchanged, they are known.
    suite = str(folder / "phoenix_lpi.yaml")
    assert run_command(["run", suite, "--json", "--quiet"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["reused"]
    assert again["net"] == said["runs"]["phoenix_lpi"]["net"]


def test_a_folder_with_other_files_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    assert run_command(["demo", "--dir", str(tmp_path), "--quiet"]) == 1
    assert "must be a new or empty folder" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
