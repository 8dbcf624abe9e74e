"""Bundles: complete or absent, same bytes for same experiments, changed ones found out."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from phoenix_runner.bundle import (
    EQUITY_SCHEMA,
    MARKS_SCHEMA,
    UNHASHED,
    BundleWriter,
    bundle_hash,
    experiment_id,
    find_run,
    finished_runs,
    is_finished,
    read_json,
    verify_bundle,
)
from phoenix_runner.environment import deciding_code
from phoenix_runner.errors import BundleError, NoDataError, RunnerError, StrategyFailedError
from phoenix_runner.experiment import run_suite
from phoenix_runner.suite import suite_from
from phoenix_runner.terminal import list_runs
from small_catalog import BAR_TYPE, INSTRUMENT, MINUTE, bar_rows, quote, suite_values, trade, write

FILES = {
    "account_report.csv", "bundle.sha256", "config_resolved.yaml", "environment.json",
    "equity.parquet", "experiment.json", "fills.csv", "funding.csv", "manifest_ref.json",
    "marks.parquet", "orders.csv", "positions.csv", "report.html", "summary.json", "timing.json",
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    closes = [f"{40000 + 150 * ((i // 7) % 3)}.00" for i in range(60)]
    write(tmp_path / "catalog", "Bar", bar_rows(closes), BAR_TYPE)
    return tmp_path / "catalog"


@pytest.fixture(autouse=True)
def _undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing a report takes seconds; what a bundle holds is seen in one test."""
    if not {"complete", "gap"} & set(request.node.name.split("_")):
        monkeypatch.setattr(
            "phoenix_runner.report.writing.write_report",
            lambda folder: (folder / "report.html").write_text("<!doctype html>"),
        )


def run(root: Path, **sections: Any) -> Any:
    return run_suite(suite_from(suite_values(root, **sections), source="test"))


def digest(folder: Path) -> str:
    return (folder / "bundle.sha256").read_text().strip()


def test_a_bundle_is_complete_and_says_what_it_is(root: Path) -> None:
    done = run(root, trace={"decisions": True})
    names = {p.name for p in done.folder.iterdir()}
    assert names == FILES | {"decision_trace.parquet"}
    assert done.folder.name == done.summary["experiment_id"]
    assert verify_bundle(done.folder) == digest(done.folder)
    assert pq.read_schema(done.folder / "equity.parquet").equals(EQUITY_SCHEMA)
    assert pq.read_schema(done.folder / "marks.parquet").equals(MARKS_SCHEMA)
    seen = read_json(done.folder, "manifest_ref.json")
    assert seen["catalog_digest"] == read_json(root, "manifest.json")["catalog_digest"]
    assert seen["rows"] == {"Bar": {INSTRUMENT: 60}}
    assert seen["ranges"] == {
        "Bar": {INSTRUMENT: ["2024-01-28T00:00:59.999Z", "2024-01-28T00:59:59.999Z"]}
    }
    decisions = pq.read_table(done.folder / "decision_trace.parquet").to_pylist()
    assert len(decisions) == 60 - 3  # one for each bar once the slow average is warm
    assert dict(decisions[0]["values"]).keys() == {"fast", "slow"}
    s = done.summary
    net = Decimal(s["net"])
    assert sum(Decimal(s[k]) for k in ("gross", "fees", "spread", "funding")) == net
    assert Decimal(s["final_equity"]) - Decimal(s["starting_equity"]) == net
    assert s["fills"] > 2


def test_a_range_with_a_gap_runs_and_its_report_shades_it(tmp_path: Path) -> None:
    closes = [f"{40_000 + 50 * (i % 9)}.00" for i in range(60)]
    rows = [r for i, r in enumerate(bar_rows(closes)) if not 20 <= i < 40]
    write(tmp_path / "catalog", "Bar", rows, BAR_TYPE)
    done = run(tmp_path / "catalog")
    [gap] = done.summary["gaps"]
    assert (gap["start_utc"], gap["end_utc"]) == (
        "2024-01-28T00:19:59.999Z", "2024-01-28T00:40:59.999Z",
    )  # fmt: skip
    html = (done.folder / "report.html").read_text("utf-8")
    # A hatched band on every chart over time, and a sentence.
    assert html.count("<pattern") >= html.count("time (UTC)</text>") > 6
    assert "Grey bands: no data." in html


def test_the_same_experiment_has_the_same_bytes_wherever_it_runs(
    root: Path, tmp_path: Path
) -> None:
    first = run(root)
    elsewhere = tmp_path / "moved"
    shutil.copytree(root, elsewhere)
    output = {"dir": str(tmp_path / "other-runs"), "suite_name": "another name"}
    second = run(elsewhere, output=output)
    assert second.folder != first.folder
    assert second.folder.name == first.folder.name
    assert digest(second.folder) == digest(first.folder)
    for name in FILES - UNHASHED:
        assert (second.folder / name).read_bytes() == (first.folder / name).read_bytes()


def test_a_bundle_is_the_same_for_every_window(tmp_path: Path) -> None:
    """26 hours of quotes, four to a millisecond, and trades, over a midnight; read by 15 minutes, an
    hour and a day at a time."""
    root, start = tmp_path / "catalog", 1706400000000000000
    times = [start + i // 4 * 20_000_000_000 for i in range(26 * 3600 // 5)]
    prices = [100 + 3 * (i // 940 % 5) + i % 4 * 0.1 for i in range(len(times))]
    write(root, "QuoteTick", [quote(t, f"{p:.2f}", f"{p + 0.1:.2f}")
                              for t, p in zip(times, prices, strict=True)])  # fmt: skip
    write(root, "TradeTick", [trade(t, f"{p:.2f}", i=i)
                              for i, (t, p) in enumerate(zip(times, prices, strict=True))])  # fmt: skip
    values = suite_values(
        root,
        data={"include": ["QuoteTick", "TradeTick", "Bar"], "bars_from_trades": True},
        time={"start_utc": "2024-01-28T01:00:00Z", "end_utc": "2024-01-29T02:00:00Z", "warmup": "1h"},
        strategy={"config": {"fast_bars": 5, "slow_bars": 20, "trade_size": "1"}},
        execution={"latency": {"insert_ms": 700}},
        funding={"mode": "flat"},
        trace={"decisions": True},
    )  # fmt: skip
    hashes = []
    for minutes in (15, 60, 1440):
        suite = suite_from({**values, "output": {"dir": str(tmp_path / str(minutes))}}, source="t")
        done = run_suite(suite, window_ns=minutes * MINUTE)
        assert done.summary["fills"] > 5
        hashes.append(verify_bundle(done.folder))
    assert len(set(hashes)) == 1


def test_what_decides_the_result_decides_the_id(root: Path) -> None:
    base = run(root).folder.name
    changed = {
        run(root, determinism_seed=1).folder.name,
        run(root, funding={"mode": "flat"}).folder.name,
        run(root, strategy={"name": "ema_cross", "config": {"slow_bars": 5, "fast_bars": 2}})
        .folder.name,
    }  # fmt: skip
    (root / "manifest.json").write_text(json.dumps({"catalog_digest": "1" * 64}), "utf-8")
    changed.add(run(root).folder.name)
    assert len(changed | {base}) == 5
    assert experiment_id({"a": 1}) != experiment_id({"a": 2})


def test_a_manifest_that_is_kept_elsewhere_names_the_data(root: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    kept.write_text(json.dumps({"catalog_digest": "2" * 64}), "utf-8")
    beside = run(root).folder
    done = run(root, catalog={"path": str(root), "manifest_path": str(kept)})
    assert read_json(done.folder, "manifest_ref.json")["catalog_digest"] == "2" * 64
    assert done.folder.name != beside.name
    (root / "manifest.json").rename(kept)  # the same data under another name: the same experiment
    assert run(root, catalog={"path": str(root), "manifest_path": str(kept)}).folder == beside


def test_edited_code_is_another_experiment(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "own_strategies"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "reversal.py").write_text("SPEC = 1\n")
    (tmp_path / "own_file.py").write_text("SPEC = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    names = ("own_strategies.reversal:SPEC", "own_file:SPEC", "ema_cross")
    seen = [deciding_code(name) for name in names]
    assert seen == [deciding_code(name) for name in names]
    (package / "beside.py").write_text("LIMIT = 2\n")
    (tmp_path / "own_file.py").write_text("SPEC = 2\n")
    own, file, known = (deciding_code(name) for name in names)
    assert own["own_strategies.reversal"] != seen[0]["own_strategies.reversal"]
    assert file["own_file"] != seen[1]["own_file"]
    assert known == seen[2] == {"phoenix": own["phoenix"]}
    assert read_json(run(root).folder, "experiment.json")["code"] == known


def test_a_finished_experiment_is_not_run_again_unless_asked(root: Path) -> None:
    first = run(root)
    stamp = (first.folder / "timing.json").stat().st_mtime_ns
    again = run(root)
    assert (again.reused, again.summary) == (True, first.summary)
    assert (first.folder / "timing.json").stat().st_mtime_ns == stamp
    asked = run_suite(suite_from(suite_values(root), source="test"), overwrite=True)
    assert not asked.reused
    assert (first.folder / "timing.json").stat().st_mtime_ns > stamp


def test_a_strategy_that_raises_leaves_a_log_and_no_bundle(root: Path, tmp_path: Path) -> None:
    strategy = {"name": "probe_strategies:PROBE", "config": {"listen": ["Bar"], "raise_at": 3}}
    with pytest.raises(StrategyFailedError, match=r"Probe.on_bar raised LookupError") as caught:
        run(root, strategy=strategy)
    [log] = (tmp_path / "runs").iterdir()
    assert str(log) in str(caught.value)
    text = log.read_text()
    assert "Traceback" in text
    assert "planted in a callback" in text


def test_a_run_that_fails_leaves_nothing(root: Path, tmp_path: Path) -> None:
    late = {"start_utc": "2024-02-01", "end_utc": "2024-02-02"}
    with pytest.raises(NoDataError):
        run(root, time=late)
    assert list((tmp_path / "runs").iterdir()) == []
    (root / "manifest.json").unlink()
    with pytest.raises(RunnerError, match="no manifest"):
        run(root)
    (root / "manifest.json").write_text("{}", "utf-8")
    with pytest.raises(RunnerError, match="no catalog_digest"):
        run(root)


def test_nothing_appears_under_a_runs_name_before_it_is_whole(tmp_path: Path) -> None:
    final = tmp_path / "runs" / "abc"

    def break_off() -> None:
        with BundleWriter(final) as bundle:
            bundle.write({"summary.json": b"{}"})
            assert not final.exists()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()
    assert list(final.parent.iterdir()) == []
    with BundleWriter(final) as bundle:
        bundle.write({"summary.json": b"{}"})
        bundle.publish()
    assert is_finished(final)
    assert [p.name for p in final.parent.iterdir()] == ["abc"]


def test_changed_files_are_found_out(root: Path) -> None:
    folder = run(root).folder
    before = bundle_hash(folder)
    (folder / "environment.json").write_text("{}")
    assert verify_bundle(folder) == before
    with (folder / "fills.csv").open("a") as out:
        out.write("1\n")
    with pytest.raises(BundleError, match="files must be as the run left them"):
        verify_bundle(folder)
    with pytest.raises(BundleError, match="must be the folder of a finished run"):
        verify_bundle(folder.parent)


def test_runs_are_found_by_folder_or_by_the_start_of_their_id(root: Path, tmp_path: Path) -> None:
    folder = run(root).folder
    runs = tmp_path / "runs"
    assert finished_runs(runs) == [folder]
    assert find_run(folder.name[:5], runs) == find_run(str(folder), runs) == folder
    with pytest.raises(BundleError, match="no such run"):
        find_run("zzz", runs)
    other = run(root, determinism_seed=9).folder
    assert other != folder
    with pytest.raises(BundleError, match="must name one run"):
        find_run("", runs)
    assert finished_runs(tmp_path / "absent") == []


def test_an_unknown_market_is_not_hidden_by_an_open_position(tmp_path: Path) -> None:
    root = tmp_path / "c"
    write(root, "QuoteTick", [quote(1706400000000000000 + i * MINUTE, "100.00", "100.10")
                              for i in range(60)])  # fmt: skip
    config = {"listen": ["QuoteTick"], "buy_at": 5, "close_positions_on_stop": False}
    done = run(
        root, data={"include": ["QuoteTick"]}, execution={},
        strategy={"name": "probe_strategies:PROBE", "config": config},
    )  # fmt: skip
    assert done.summary["open_positions"] == {"BTCUSDT-PERP.BINANCE": "0.1"}
    assert float(done.summary["residual"]) == 0


def test_two_writers_that_finish_one_experiment_leave_one_bundle(tmp_path: Path) -> None:
    final = tmp_path / "runs" / "abc"
    with BundleWriter(final) as one:
        one.write({"summary.json": b"{}", "timing.json": b"first"})
        with BundleWriter(final) as two:  # in another thread or process
            two.write({"summary.json": b"{}", "timing.json": b"second"})
            assert one.publish() == two.publish()
    assert (final / "timing.json").read_bytes() == b"first"
    assert [path.name for path in final.parent.iterdir()] == ["abc"]


def test_what_a_killed_process_left_is_removed_by_the_next_and_others_keep_theirs(
    tmp_path: Path,
) -> None:
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                           capture_output=True, text=True, check=True)  # fmt: skip
    here = platform.node()
    killed = tmp_path / f".abc.{here}.{ended.stdout.strip()}-0.partial"
    others = {
        f".abc.{here}.{os.getppid()}-0.partial",  # it runs
        f".abc.elsewhere.{ended.stdout.strip()}.partial",
        f".other.{here}.{ended.stdout.strip()}.partial",
    }
    same_id = tmp_path / f".abc.{here}.{os.getpid()}-x.partial"  # of a process before a restart
    for folder in (killed, same_id, *(tmp_path / name for name in others)):
        (folder / "fold-00").mkdir(parents=True)
    with BundleWriter(tmp_path / "abc") as bundle:
        assert not killed.exists()
        bundle.write({"summary.json": b"{}"})
        bundle.publish()
    assert {path.name for path in tmp_path.iterdir()} == {"abc", *others}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("summary.json", b"[]", "summary.json: must be a JSON object (was list)"),
        ("summary.json", b"{}", "summary.json: must have strategy, instrument_ids"),
        ("timing.json", b"[1]", "timing.json: must be a JSON object (was list)"),
    ],
)
def test_the_list_of_runs_names_a_file_that_someone_changed(
    root: Path, name: str, content: bytes, said: str
) -> None:
    done = run(root)
    (done.folder / name).write_bytes(content)
    with pytest.raises(BundleError, match=re.escape(said)):
        list_runs(finished_runs(done.folder.parent))


def test_files_that_are_no_results_hide_no_other_run(root: Path) -> None:
    done = run(root)
    other = done.folder.with_name("other")
    shutil.copytree(done.folder, other)
    (other / "timing.json").write_bytes(b"{")
    (other / "bundle.sha256").write_bytes(b"\xff")
    assert find_run(done.folder.name, done.folder.parent) == done.folder
    with pytest.raises(BundleError, match="files must be as the run left them"):
        verify_bundle(other)
