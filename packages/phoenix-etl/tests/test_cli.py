"""The command: what it prints, how it leaves, and what it says to bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from phoenix_etl import cli, scheduler
from phoenix_etl.config import RETIRED_KEYS

T0 = 1_704_067_200_000
ROW = f"1,42000.1,0.5,1,1,{T0},true"


class Ran(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command in this process."""

    def call(*args: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["phoenix-etl", *map(str, args)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return Ran(code, *capsys.readouterr())

    return call


def refused(ran: Ran, code: int) -> str:
    """The one line on stderr that a refused command leaves."""
    assert ran.code == code
    assert "Traceback" not in ran.err
    lines = ran.err.splitlines()
    assert lines[0].startswith("error: ")
    assert len(lines) == 1 or (len(lines) == 2 and lines[1].startswith("see "))
    assert ran.out == ""
    return lines[0].removeprefix("error: ")


def test_a_missing_raw_root(run: Run, tmp_path: Path) -> None:
    ran = run("ingest", "--raw-root", tmp_path / "nowhere", "--catalog", tmp_path / "c")
    said = refused(ran, 2)
    assert said == f"raw root must be an existing folder (was {tmp_path}/nowhere); check --raw-root"
    assert not (tmp_path / "c").exists()


def test_an_empty_raw_root(run: Run, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    said = refused(run("ingest", "--raw-root", tmp_path / "raw", "--catalog", tmp_path / "c"), 3)
    assert said.startswith(f"no dump file under {tmp_path}/raw; expected <root>/futures/daily/")
    assert not (tmp_path / "c").exists()


def test_no_raw_root_at_all(run: Run) -> None:
    assert "pass --raw-root, or raw_roots in --config" in refused(run("ingest"), 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<html>\n", "1: aggTrades must have 7 columns (has 1: '<html>'); is this another file?"),
        ("1,2,3\n", "1: aggTrades must have 7 columns (has 3: '1,2,3'); is this another file?"),
        ("\x89PNG\x00\x00,\n", "1: aggTrades must have 7 columns (has 2"),
        ("", " empty, not even a header; download it again"),
        (f"{ROW}\n" * 3 + "a,b,c,d,e,f,g\n" * 3, " 3 of 6 rows are bad (50.00%), more than max_reject"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_such_csv(run: Run, dumps, tmp_path: Path, text: str, said: str) -> None:
    path = dumps.put("futures/daily/aggTrades/BTCUSDT-aggTrades-2024-01-01.csv", text)
    ran = run("ingest", "--raw-root", dumps.root, "--catalog", tmp_path / "c", "--quiet")
    assert ran.code == 1
    assert ran.err.startswith(f"error: {path}:{said}")
    assert len(ran.err.splitlines()) == 1
    assert not list((tmp_path / "c").rglob("data/trades/*"))
    report = (tmp_path / "c" / "validation_report.md").read_text("utf-8")
    assert "**NOT COMPLETE: 1 file(s) need attention.**" in report


@pytest.mark.parametrize(
    ("yaml", "line", "said"),
    [
        ("simbols: [BTCUSDT]\n", 1, "at $.simbols: unknown key; did you mean 'symbols'?"),
        ("strict: false\nsymbols: BTCUSDT\n", 2, 'at $.symbols: expected array | null, was "BTCUSDT"'),
        ("ingest_workers: 0\n", 1, "at $.ingest_workers: expected int >= 1, was 0"),
        ("trade_source: both\n", 1, "expected one of 'aggTrades', 'trades', was \"both\""),
        ("start: tomorrow\n", 1, "time must be ISO 8601 in UTC (was 'tomorrow')"),
        ("start: 2024-02-01\nend: 2024-01-01\n", 1, "start must lie before end"),
        ("datasets: [ticks]\n", 1, "datasets must be among aggTrades, trades, bookTicker"),
        ("memory_budget: plenty\n", 1, "memory_budget must be a size such as '1 GiB'"),
        ("strict: yes\n", 1, "at $.strict: expected bool, was \"yes\""),
        ("strict: true\nstrict: false\n", 2, "key 'strict' must appear once (first on line 1)"),
        ("a: [1\n", 2, ""),
        ("- a\n- b\n", 1, "expected object"),
    ],
)  # fmt: skip
def test_a_config_that_does_not_hold(
    run: Run, tmp_path: Path, yaml: str, line: int, said: str
) -> None:
    config = tmp_path / "etl.yaml"
    config.write_text(yaml, "utf-8")
    found = refused(run("ingest", "--config", config, "--catalog", tmp_path / "c"), 2)
    assert found.startswith(f"{config}:{line}: ")
    assert said in found
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("key", RETIRED_KEYS)
def test_keys_that_belonged_to_row_objects_are_refused_by_name(
    run: Run, tmp_path: Path, key: str
) -> None:
    config = tmp_path / "etl.yaml"
    config.write_text(f"strict: true\n{key}: 1000\n", "utf-8")
    found = refused(run("ingest", "--config", config), 2)
    reason = RETIRED_KEYS[key]
    assert (
        found == f"{config}:2: at $.{key}: no longer a setting, because {reason}; delete the line"
    )


def test_the_published_keys_load(run: Run, dumps, tmp_path: Path) -> None:
    dumps.add("aggTrades", "2024-01-01", [ROW])
    config = tmp_path / "etl.yaml"
    config.write_text(
        f"""\
raw_roots: [{dumps.root}]
catalog_path: {tmp_path}/c
manifest_path: {tmp_path}/m.json
validation_report_path: {tmp_path}/report.md
universe: futures
venue: BINANCE
symbols: [BTCUSDT]
datasets: [aggTrades]
start_date_key: 2024-01-01
end_date_key: "2024-01-01"
strict: true
ingest_workers: 2
instrument_specs_path: null
""",
        "utf-8",
    )
    ran = run("ingest", "--config", config, "--quiet", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out)["datasets"]["futures/aggTrades"]["events"] == 1
    status = run("status", "--catalog", tmp_path / "c", "--manifest", tmp_path / "m.json", "--json")
    assert json.loads(status.out)["partitions"] == 1
    assert (tmp_path / "report.md").exists()


def test_a_missing_config_or_specs_file(run: Run, dumps, tmp_path: Path) -> None:
    dumps.add("aggTrades", "2024-01-01", [ROW])
    assert refused(run("ingest", "--config", tmp_path / "none.yaml"), 2).startswith(
        f"{tmp_path}/none.yaml: no such file"
    )
    config = tmp_path / "etl.yaml"
    config.write_text(f"instrument_specs_path: {tmp_path}/specs.yaml\n", "utf-8")
    args = ("--config", config, "--raw-root", dumps.root, "--catalog", tmp_path / "c")
    assert refused(run("ingest", *args), 2).startswith(f"{tmp_path}/specs.yaml: no such file")
    assert not (tmp_path / "c").exists()


def test_a_range_without_data(run: Run, dumps, tmp_path: Path) -> None:
    dumps.add("aggTrades", "2024-01-01", [ROW])
    args = ("--raw-root", dumps.root, "--catalog", tmp_path / "c", "--start", "2030-01-01")
    said = refused(run("ingest", *args), 3)
    assert said.startswith(
        "no dump file matches 2030-01-01 to the end; futures files there: BTCUSDT"
    )
    assert not (tmp_path / "c").exists()


def test_a_symbol_without_a_specification(run: Run, dumps, tmp_path: Path) -> None:
    path = dumps.add("aggTrades", "2024-01-01", [ROW], symbol="DOGEUSDT")
    said = refused(run("ingest", "--raw-root", dumps.root, "--catalog", tmp_path / "c"), 2)
    assert said == (
        "symbol DOGEUSDT (futures) must have an instrument specification (first needed by "
        f"{path}); add it to the instrument_specs file or restrict --symbols"
    )
    assert not (tmp_path / "c").exists()


def test_wrong_usage(run: Run, tmp_path: Path) -> None:
    assert "No such option" in refused(run("ingest", "--simbols", "x"), 2)
    assert "No such command" in refused(run("injest"), 2)
    assert "is not in the range" in refused(run("ingest", "--workers", "0"), 2)
    assert "Missing option '--catalog'" in refused(run("verify"), 2)
    assert refused(run("ingest", "--raw-root", tmp_path, "--start", "soon"), 2).startswith(
        "command line: at $: time must be ISO 8601 in UTC (was 'soon')"
    )


@pytest.mark.parametrize("command", ["status", "validate", "verify"])
def test_a_folder_that_is_no_catalog(run: Run, tmp_path: Path, command: str) -> None:
    said = refused(run(command, "--catalog", tmp_path), 3)
    assert said.endswith(
        f"{tmp_path}/manifest.json: no manifest there; ingest into this catalog first"
    )


@pytest.mark.parametrize("command", ["status", "validate", "ingest"])
def test_a_manifest_that_was_edited_by_hand(run: Run, dumps, catalog, command: str) -> None:
    dumps.add("aggTrades", "2024-01-01", [ROW])
    catalog.ingest()
    path = catalog.root / "manifest.json"
    path.write_text(path.read_text("utf-8").replace('"rows": 1', '"rows": 2'), "utf-8")
    args = ("--raw-root", dumps.root) if command == "ingest" else ()
    said = refused(run(command, "--catalog", catalog.root, *args), 1)
    assert said.startswith(f"{path}: edited by hand (its manifest_sha256 does not hold)")


def test_an_unforeseen_error_of_the_system_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").mkdir()
    said = refused(run("status", "--catalog", tmp_path), 1)
    assert said == f"{tmp_path}/manifest.json: Is a directory"


def test_json_of_every_command_parses(run: Run, dumps, tmp_path: Path) -> None:
    dumps.add("aggTrades", "2024-01-01", [ROW])
    dumps.add("aggTrades", "2024-01-03", ["bad"])
    catalog = ("--catalog", tmp_path / "c")
    listed = json.loads(run("inventory", "--raw-root", dumps.root, "--json").out)
    assert [f["date_key"] for f in listed["files"]] == ["2024-01-01", "2024-01-03"]
    ran = run("ingest", "--raw-root", dumps.root, *catalog, "--json")
    assert ran.code == 1
    assert json.loads(ran.out)["failed"].keys() == {
        "futures/daily/aggTrades/BTCUSDT-aggTrades-2024-01-03.csv"
    }
    status = run("status", *catalog, "--json")
    assert (status.code, json.loads(status.out)["files"]) == (0, 1)
    validated = run("validate", *catalog, "--json")
    assert validated.code == 1
    (coverage,) = json.loads(validated.out)["coverage"]
    assert (coverage["missing"], coverage["unreadable"]) == (["2024-01-02"], ["2024-01-03"])
    verified = run("verify", *catalog, "--raw-root", dumps.root, "--json")
    found = json.loads(verified.out)
    assert (verified.code, len(found["problems"]), found["source_rows"]) == (1, 1, 1)
    assert found["left_out"].keys() == {"futures/daily/aggTrades/BTCUSDT-aggTrades-2024-01-03.csv"}


def test_a_person_sees_a_ledger_and_where_things_are(run: Run, dumps, tmp_path: Path) -> None:
    dumps.add("aggTrades", "2024-01-01", [ROW])
    args = ("ingest", "--raw-root", dumps.root, "--catalog", tmp_path / "c")
    ran = run(*args)
    assert ran.code == 0
    assert "futures/aggTrades" in ran.out
    assert f"1 files read, 0 known, 1 partitions written to {tmp_path}/c" in ran.out
    assert f"validation report {tmp_path}/c/validation_report.md" in ran.out
    assert "1 file(s) to read" in ran.err
    again = run(*args)
    assert f"nothing to do: all 1 files are in {tmp_path}/c" in again.out
    assert "1 files and" not in run("verify", "--catalog", tmp_path / "c", "--quiet").err


def test_verify_says_what_it_did_not_look_at(run: Run, dumps, catalog) -> None:
    dumps.add("aggTrades", "2024-01-01", [ROW])
    catalog.ingest()
    paths = [dumps.add("klines", f"2024-01-{day:02}", [], symbol="ETHUSDT") for day in range(1, 13)]
    args = ("verify", "--catalog", catalog.root, "--raw-root", dumps.root)
    for options in ((), ("--quiet",), ("--json",), ("--json", "--quiet")):
        ran = run(*args, *options)
        assert ran.code == 0
        said = [line for line in ran.err.splitlines() if line.startswith("not ingested: ")]
        assert said == [
            *(f"not ingested: {path}" for path in paths[:10]),
            "not ingested: 2 more; --json lists them all",
        ]
    assert json.loads(ran.out)["not_ingested"] == paths


def test_every_command_explains_itself(run: Run) -> None:
    for command in ("", "inventory", "ingest", "verify", "validate", "status", "download", "synth"):
        ran = run(*filter(None, [command]), "--help")
        assert ran.code == 0
        assert "Usage: " in ran.out


SLOW_INGEST = """
import sys, time
from phoenix_etl import cli, pipeline, scheduler
real = scheduler.build_partition
def build(task):
    print("building", flush=True)
    time.sleep(0.3)
    return real(task)
scheduler.build_partition = build
pipeline.COMMIT_INTERVAL_S = 0
cli.main()
"""


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to a child there")
def test_ctrl_c_leaves_a_clean_state_and_says_how_to_go_on(dumps, catalog, another) -> None:
    for day in range(1, 10):
        at = T0 + (day - 1) * 86_400_000
        dumps.add("aggTrades", f"2024-01-0{day}", [f"1,1.1,1,1,1,{at},true"])
    args = ["ingest", "--raw-root", str(dumps.root), "--catalog", str(catalog.root)]
    with subprocess.Popen(
        [sys.executable, "-c", SLOW_INGEST, *args],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        for _ in range(3):
            assert child.stdout.readline() == "building\n"
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert err.splitlines()[-1] == (
        f"interrupted; what was committed to {catalog.root} is whole. "
        "Run the same command to go on from there"
    )
    assert "Traceback" not in err
    done = len(catalog.rows("TradeTick"))
    assert 1 <= done < 9
    assert catalog.verify(against_sources=False).problems == []
    result = catalog.ingest()
    assert result.files_known >= done
    another.ingest()
    assert catalog.tree() == another.tree()


def test_a_second_process_is_refused_by_name(run: Run, dumps, catalog) -> None:
    dumps.add("aggTrades", "2024-01-01", [ROW])
    holder = (
        "import sys, time; from pathlib import Path; from phoenix_etl.commit import CatalogStore\n"
        "root = Path(sys.argv[1])\n"
        "with CatalogStore(root, root / 'manifest.json').locked():\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    args = ("ingest", "--raw-root", dumps.root, "--catalog", catalog.root)
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(catalog.root)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        said = refused(run(*args, "--quiet"), 1)
        assert said.startswith(
            f"{catalog.root}: another process works on this catalog (process {child.pid} on "
        )
        assert said.endswith("wait for it, or stop it and run the command again")
        child.communicate("")
    assert run(*args, "--quiet").code == 0


def test_a_target_that_cannot_be_written_is_said_and_left_alone(
    run: Run, dumps, tmp_path: Path
) -> None:
    dumps.add("aggTrades", "2024-01-01", [ROW])
    (tmp_path / "file").write_text("not a folder")
    said = refused(
        run("ingest", "--raw-root", dumps.root, "--catalog", tmp_path / "file" / "c", "--quiet"), 1
    )
    assert said.startswith(
        f"{tmp_path}/file/c: cannot be written (Not a directory); choose another"
    )
    assert (tmp_path / "file").read_text() == "not a folder"


def test_a_worker_that_dies_is_said_in_one_line(run: Run, dumps, catalog, monkeypatch) -> None:
    for day in (1, 2):
        dumps.add(
            "aggTrades", f"2024-01-0{day}", [ROW.replace(str(T0), str(T0 + (day - 1) * 86_400_000))]
        )
    monkeypatch.setattr(scheduler, "_INLINE_BYTES", 0)
    monkeypatch.setattr(scheduler, "_start_worker", os.abort)
    args = (
        "ingest",
        "--raw-root",
        dumps.root,
        "--catalog",
        catalog.root,
        "--quiet",
        "--workers",
        "2",
    )
    said = refused(run(*args), 1)
    assert "a worker process died" in said
    assert "fewer --workers or a smaller memory_budget" in said
    monkeypatch.undo()
    monkeypatch.setattr(sys, "argv", ["phoenix-etl"])
    assert not catalog.ingest().failed


def test_workers_end_with_a_killed_coordinator(dumps, catalog, tmp_path: Path) -> None:
    """kill -9 leaves no orphan that would write among the files of the next run."""
    for day in (1, 2):
        dumps.add(
            "aggTrades", f"2024-01-0{day}", [ROW.replace(str(T0), str(T0 + (day - 1) * 86_400_000))]
        )
    script = tmp_path / "slow.py"
    script.write_text(
        "import sys, time, os\n"
        "from pathlib import Path\n"
        "from phoenix_etl import pipeline, scheduler\n"
        "from phoenix_etl.config import EtlConfig\n"
        "def slow(*_args):\n"
        f"    Path({str(tmp_path)!r}, f'worker-{{os.getpid()}}').touch()\n"
        "    time.sleep(600)\n"
        "if __name__ == '__main__':\n"
        "    scheduler._INLINE_BYTES = 0\n"
        "    scheduler._read_task = slow\n"
        "    pipeline.ingest(EtlConfig(raw_roots=[sys.argv[1]], catalog_path=sys.argv[2],"
        " ingest_workers=2))\n",
        "utf-8",
    )
    child = subprocess.Popen([sys.executable, str(script), str(dumps.root), str(catalog.root)])
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("worker-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = [int(p.name.split("-")[1]) for p in tmp_path.glob("worker-*")]
    assert len(workers) == 2
    child.kill()
    child.wait()
    while any(_lives(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_lives(pid) for pid in workers)
    assert not catalog.ingest().failed


def _lives(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
