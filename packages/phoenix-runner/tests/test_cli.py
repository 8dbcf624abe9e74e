"""The `phoenix` command: output, one-line errors, exit codes, interrupts."""

from __future__ import annotations

import errno
import json
import re
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


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bundles without their pages, which take longer to draw than these runs to do."""
    monkeypatch.setattr("phoenix_runner.report.writing.write_report", lambda folder: folder)
    monkeypatch.setattr("phoenix_runner.variant_report.draw_variants", lambda folder: folder)


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
        (["run", "SUITE", "--window", "90s"], 2, "--window must be whole minutes (was 90s)"),
        (["run", "SUITE", "--window", "0h"], 2, "--window must be longer than nothing (was 0h)"),
        (["run", "SUITE", "--window", "1h,2h"], 2, "--window must be one duration (was 1h,2h)"),
        (["run", "SUITE", "--scheduler", "tcp://x:1"], 2, "--scheduler must go with --executor dask"),
        (["run", "SUITE", "--set", "universe.starting_balances=[0 USDT]"], 2, "more than nothing"),
        (["run", "SUITE", "--set", "determinism_seed=99999999999999999999999"], 2, "expected int <="),
        (["run", "SUITE", "--set", "strategy.name=broken_strategy:SPEC"], 2,
         "strategy 'broken_strategy:SPEC' must be importable, but its module raised SyntaxError: "),
        (["run", "SUITE", "--set", "strategy.name=planted_strategy:SPEC"], 2,
         "its module raised RuntimeError: planted"),
        (["decay", "SUITE", "--draws", "-1"], 2, "-1 is not in the range x>=100"),
        (["decay", "SUITE", "--draws", "0"], 2, "0 is not in the range x>=100"),
        (["decay", "SUITE", "--horizons", "1m,0s"], 2, "--horizons must be longer than nothing"),
        (["features", "SUITE", "--horizons", "1m,60s"], 2, "--horizons must be named once (was 60s)"),
        (["lookahead", "SUITE", "--warmups", "0s,foo"], 2, "--warmups: duration must carry a unit"),
        (["contest", "SUITE", "--out", "FILE/x.html"], 1, "change --out"),
        (["demo", "--dir", "FILE/x"], 1, "change --dir"),
        (["costs", "SUITE", "--set", "output.dir=FILE/x"], 1, "change output.dir"),
        (["decay", "SUITE", "--set", "output.dir=FILE/x"], 1, "change output.dir"),
        (["run", "SUITE", "--set", "output.dir=FILE/x"], 1, "set output.dir"),
        (["costs", "SUITE", "--set", "mode.kind=single"], 2, "mode.kind must be costs"),
        (["run"], 2, "Missing argument 'SUITE'"),
        (["frobnicate"], 2, "No such command"),
        (["report", "zzz"], 3, "no such run"),
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
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "broken_strategy.py").write_text("def broken(:", "utf-8")
    (tmp_path / "planted_strategy.py").write_text("raise RuntimeError('planted')", "utf-8")
    (tmp_path / "FILE").write_text("no folder", "utf-8")
    # Before any work: nothing is replayed, here or in a worker.
    monkeypatch.setattr("phoenix_runner.backtest._run", _no_work)
    got, out, err = phoenix(capsys, *[suite if a == "SUITE" else a for a in arguments])
    assert (got, out) == (code, "")
    assert words in err
    assert err.count("\n") == 1
    assert not list(tmp_path.glob("runs/*"))


def _no_work(*_arguments: Any, **_options: Any) -> None:
    raise AssertionError("it must be refused before any work")


@pytest.mark.usefixtures("undrawn")
def test_a_disk_that_is_full_is_said_in_one_line(
    suite: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if path.name == "equity.parquet":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return whole(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    code, out, err = phoenix(capsys, "run", suite, "--quiet")
    assert (code, out) == (1, "")
    [line] = err.splitlines()
    assert "equity.parquet: must be writable (No space left on device); free some space" in line
    assert "defect" not in line


@pytest.mark.usefixtures("undrawn")
def test_a_run_that_filled_nothing_says_what_stood_in_the_way(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # 0.01 BTC needs 400 USDT of margin.
    code, out, _ = phoenix(
        capsys, "run", suite, "--set", "universe.starting_balances=[1 USDT]", "--set",
        "universe.leverage=1",
    )  # fmt: skip
    assert code == 0
    assert re.search(
        r"nothing was filled; most often in the way: rejected by the venue: more margin than the "
        r"account had free \(\d+ of \d+\)",
        out,
    )
    assert "nothing was filled" not in phoenix(capsys, "run", suite)[1]


@pytest.mark.usefixtures("undrawn")
def test_options_of_many_runs_are_said_to_do_nothing_for_one(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = phoenix(capsys, "run", suite, "--workers", "2")
    assert code == 0
    assert "note: --workers and --executor are for suites of many runs" in err
    assert phoenix(capsys, "run", suite, "--workers", "2", "--quiet") == (0, "", "")


@pytest.mark.usefixtures("undrawn")
def test_a_contest_takes_what_its_siblings_take(
    suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = yaml.safe_load(suite.read_text("utf-8"))
    values["output"]["suite_name"] = "other"
    values["strategy"]["config"]["slow_bars"] = 6
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump(values), "utf-8")
    page = tmp_path / "contest.html"
    code, out, _ = phoenix(
        capsys, "contest", suite, other, "--out", page, "--json", "--quiet", "--executor", "local",
        "--set", "execution.bar_execution.spread_bps=7",
    )  # fmt: skip
    assert code == 0
    runs = json.loads(out)["runs"]
    assert {run["bar_fills"]["spread_bps"] for run in runs.values()} == {7.0}
    code, _, err = phoenix(capsys, "contest", suite, other, "--out", page, "--executor", "dask")
    assert (code, err.count("\n")) == (0, 3)
    assert err.startswith("note: --workers and --executor are for suites of many runs")


@pytest.mark.usefixtures("undrawn")
def test_costs_of_a_suite_of_another_mode_take_settings_of_the_study(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    only = ["mode.fee_tiers=[VIP0]", "mode.spreads_bps=[1]", "mode.slippages_bps=[3]"]
    sets = [part for value in only for part in ("--set", value)]
    code, out, err = phoenix(capsys, "costs", suite, *sets, "--json", "--quiet", "--workers", 1)
    assert (code, err) == (0, "")
    assert [v["variant"] for v in json.loads(out)["variants"]] == [
        "as written", "fees VIP0", "no fees", "spread 1 bps", "slippage 3 bps",
    ]  # fmt: skip


def test_a_name_too_long_for_a_file_is_no_defect(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for key in ("output.dir", "catalog.path"):
        code, out, err = phoenix(capsys, "run", suite, "--set", f"{key}={'d' * 300}")
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert err.endswith("must be writable (File name too long); choose another place\n")


@pytest.mark.usefixtures("undrawn")
def test_runs_that_were_changed_are_not_compared(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = json.loads(phoenix(capsys, "run", suite, "--quiet", "--json")[1])
    summary = Path(done["folder"]) / "summary.json"
    wrong = json.loads(summary.read_text("utf-8"))
    wrong["net"] = str(-float(wrong["net"]) + 1)
    summary.write_text(json.dumps(wrong), "utf-8")
    for arguments in (["compare", done["folder"], done["folder"]], ["regimes", done["folder"]]):
        code, out, err = phoenix(capsys, *arguments)
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert "must be as the run left them" in err


@pytest.mark.usefixtures("undrawn")
def test_quiet_drawing_says_nothing(
    suite: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn: list[Path] = []
    monkeypatch.setattr(
        "phoenix_runner.report.writing.write_report", lambda folder: drawn.append(folder)
    )
    done = json.loads(phoenix(capsys, "run", suite, "--quiet", "--json")[1])
    assert phoenix(capsys, "report", done["folder"], "--quiet") == (0, "", "")
    assert drawn[1:] == [Path(done["folder"])]  # the first was drawn by the run


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = phoenix(capsys, "--help")
    assert code == 0
    assert all(word in out for word in ("run", "demo", "report", "compare", "config"))
    assert phoenix(capsys, "--version")[1].startswith("phoenix, version 0.1")


WITHIN_S = 2.0
"""A second to stop the run, and one for the interpreter to leave on a busy machine."""


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
    sent = time.monotonic()
    out, err = process.communicate(timeout=120)
    assert time.monotonic() - sent < WITHIN_S
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


def test_a_run_that_is_not_there_is_nothing_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["report", "abc"], ["regimes", "abc"], ["compare", "abc", "abd", "--json"]):
        assert run_command([*command, "--runs-dir", str(tmp_path)]) == 3
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert "no such run" in err


def test_the_schema_is_json_with_or_without_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for more in ([], ["--json"]):
        assert run_command(["config", "schema", *more]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    assert "$defs" in json.loads(texts[0])
