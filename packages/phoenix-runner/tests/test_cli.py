"""The `phoenix` command: output, one-line errors, exit codes, interrupts."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from phoenix_runner.cli import run_command
from small_catalog import BAR_TYPE, MS, START, bar_rows, quote, suite_values, write


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    closes = [f"{40000 + 150 * ((i // 7) % 3)}.00" for i in range(60)]
    write(tmp_path / "catalog", "Bar", bar_rows(closes), BAR_TYPE)
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump(suite_values(tmp_path / "catalog")), "utf-8")
    return path


def phoenix(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str, str]:
    code = run_command([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_run_report_runs_and_compare(
    suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = ("--runs-dir", tmp_path / "runs")
    code, out, err = phoenix(capsys, "run", suite)
    assert code == 0
    assert "100%" in err
    page = Path(out.splitlines()[-1].removeprefix("report: "))
    assert page.read_text("utf-8").startswith("<!doctype html>")
    assert "filled at each bar's close with an assumed spread of 0.0 bps" in out

    code, out, err = phoenix(capsys, "run", suite, "--quiet", "--json",
                             "--set", "execution.bar_execution.spread_bps=5")  # fmt: skip
    second = json.loads(out)
    assert (code, err, second["reused"]) == (0, "", False)

    code, out, _ = phoenix(capsys, "runs", "--json", *runs)
    listed = json.loads(out)
    assert {run["run"] for run in listed} == {page.parent.name, second["experiment_id"]}
    code, out, _ = phoenix(capsys, "runs", *runs)
    assert page.parent.name in out

    code, out, _ = phoenix(capsys, "compare", "--json", page.parent, second["folder"])
    differences = {d["key"]: (d["first"], d["second"]) for d in json.loads(out)}
    assert differences["config.execution.bar_execution.spread_bps"] == (0.0, 5.0)
    assert "net" in differences
    code, out, _ = phoenix(capsys, "compare", page.parent, page.parent)
    assert (code, out) == (0, "no difference\n")

    page.unlink()
    code, out, _ = phoenix(capsys, "report", page.parent.name[:6], *runs)
    assert (code, out.strip()) == (0, str(page))
    assert page.exists()


def test_config_show_prints_a_suite_that_runs_the_same(
    suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = phoenix(capsys, "config", "show", suite)
    assert code == 0
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(out, "utf-8")
    assert phoenix(capsys, "config", "show", resolved)[1] == out
    code, out, _ = phoenix(capsys, "config", "schema")
    assert json.loads(out)["$ref"] == "#/$defs/SuiteConfig"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "absent.yaml"], 2, "absent.yaml: no such suite"),
        (["run", "SUITE", "--set", "time.end_utc=2024-02-31"], 2, "must exist in the calendar"),
        (["run", "SUITE", "--set", "strategy.config.fast_bars=x"], 2, "expected int"),
        (["run", "SUITE", "--set", "catalog.path=absent"], 3, "no catalog here"),
        (["run", "SUITE", "--set", "time.start_utc=2023-01-01", "--set",
          "time.end_utc=2023-01-02"], 3, "the catalog has it from 2024-01-28"),
        (["run", "SUITE", "--window", "7"], 2, "duration must carry a unit"),
        (["run", "SUITE", "--window", "90s"], 2, "window must be whole minutes"),
        (["run"], 2, "Missing argument 'SUITE'"),
        (["frobnicate"], 2, "No such command"),
        (["report", "zzz"], 1, "no such run"),
        (["runs", "--runs-dir", "absent"], 3, "no finished runs here"),
        (["config", "schema", "--strategy", "nope"], 2, "strategy must be one of"),
    ],
)  # fmt: skip
def test_errors_are_one_line_with_their_exit_code(
    suite: Path,
    arguments: list[str],
    code: int,
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    got, out, err = phoenix(capsys, *[suite if a == "SUITE" else a for a in arguments])
    assert (got, out) == (code, "")
    assert words in err
    assert err.count("\n") == 1
    assert not list(tmp_path.glob("runs/*"))


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = phoenix(capsys, "--help")
    assert code == 0
    assert all(word in out for word in ("run", "demo", "report", "compare", "config"))
    assert phoenix(capsys, "--version")[1].startswith("phoenix, version 0.1")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_with_130_and_one_line(tmp_path: Path, number: signal.Signals) -> None:
    rows = [quote(START + i * MS * 10, "100.00", "100.10") for i in range(100_000)]
    write(tmp_path / "catalog", "QuoteTick", rows)
    values = suite_values(
        tmp_path / "catalog",
        data={"include": ["QuoteTick"]},
        execution={},
        strategy={"name": "slow_strategy:SPEC", "config": {}},
    )
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(values), "utf-8")
    (tmp_path / "slow_strategy.py").write_text(SLOW, "utf-8")
    process = subprocess.Popen(
        [sys.executable, "-c", "from phoenix_runner.cli import main; main()", "run", "suite.yaml"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines()[-1].startswith("phoenix: stopped by the user")
    assert "Traceback" not in err
    # Left alone it would sleep through 100,000 quotes, a thousand seconds.
    assert list((tmp_path / "runs").iterdir()) == []


SLOW = """
import time
from pathlib import Path
from phoenix_strategies.nautilus_seam import PhoenixStrategy
from phoenix_strategies.registry import StrategySpec
from phoenix_strategies.settings import StrategySettings

class Slow(PhoenixStrategy):
    def begin(self):
        self.subscribe_quotes(self.instrument_id)
        Path("started").write_text("")
    def on_quote(self, tick):
        time.sleep(0.01)

SPEC = StrategySpec("slow_strategy:SPEC", StrategySettings, Slow, lambda s: frozenset(),
                    lambda s: False, lambda s: {})
"""
