"""The command: what it prints, how it leaves, and what it says to bad input."""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from phoenix_etl import cli, command_output, scheduler, worker_pool
from phoenix_etl.config import RETIRED_KEYS
from rich.console import Console

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
        ("<html>\n", "1: aggTrades must have 7 columns (has 1: '<html>'); it is the answer of a web s"),
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
        ("strict: false\nsymbols: BTCUSDT\n", 2, 'array | null, was "BTCUSDT"; write [BTCUSDT]'),
        ("ingest_workers: 0\n", 1, "at $.ingest_workers: expected int >= 1, was 0"),
        ("trade_source: both\n", 1, "expected one of 'aggTrades', 'trades', was \"both\""),
        ("start: tomorrow\n", 1, "time must be ISO 8601 in UTC (was 'tomorrow')"),
        ("strict: true\nend: 2024-13-01\n", 2, "at $.end: end must be a time: time must exist"),
        ("end: 2024-01-01\nstart: 2024-02-01\n", 2, "at $.start: start must lie before end"),
        ("strict: true\ndatasets: [ticks]\n", 2, "at $.datasets: datasets must be among aggTrades, "),
        ("datasets: [klines_1m]\n", 1, "(was 'klines_1m'); did you mean klines?"),
        ("datasets: [aggtrades]\n", 1, "(was 'aggtrades'); did you mean aggTrades?"),
        ("strict: true\n\nmemory_budget: 5 TB\n", 3, "at $.memory_budget: memory_budget must be a size"),
        ("memory_budget: 0 MiB\n", 1, "memory_budget must be a size such as '1 GiB' (was '0 MiB')"),
        ("catalog_path: ''\n", 1, "at $.catalog_path: catalog_path must name a folder (was empty)"),
        ("strict: yes\n", 1, "at $.strict: expected bool, was \"yes\""),
        ("strict: true\nstrict: false\n", 2, "key 'strict' must appear once (first on line 1)"),
        ("batch_size: 5000\n", 1, "no longer a setting, because rows are columns now"),
        ("strict: true\nsort_within_batch: true\n", 2, "at $.sort_within_batch: no longer a setting"),
        ("ingest_queue_max_batches: 8\n", 1, "there is no queue of row objects; memory_budget bounds"),
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
        "command line: at $.start: start must be a time: time must be ISO 8601 in UTC (was 'soon')"
    )


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("synth", "--out", "raw", "--start", "2024-01-45"), "'--start': time must exist in the cal"),
        (("synth", "--out", "raw", "--start", "2024-01-01T05:00"), "'--start': must be a day without"),
        (("synth", "--out", "{file}"), "'--out': must be a folder (was the file {file}); name a folder"),
        (("download", "--symbols", "A", "--raw-root", "r", "--start", "x", "--end", "y"), "'--start': "),
        (("ingest", "--raw-root", "r", "--catalog", ""), "'--catalog': must name a folder (was empty)"),
        (("ingest", "--raw-root", "", "--catalog", "c"), "'--raw-root': must name a folder (was empty)"),
        (("status", "--catalog", "{file}"), "was the file {file}); give the folder it lies in"),
        (("ingest", "--config", "{folder}"), "{folder}: a folder; name the YAML file in it"),
        (("ingest", "--raw-root", "{folder}", "--catalog", "{folder}/c"), "catalog must not lie under"),
        (("ingest", "--raw-root", "{folder}", "--catalog", "{folder}"), "catalog must not lie under"),
        (("ingest", "--raw-root", "{folder}", "--catalog", "."), "raw root must not lie in the catalog"),
    ],
)  # fmt: skip
def test_what_is_given_in_the_wrong_place(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "folder" / "manifest.json"
    file.parent.mkdir()
    file.write_text("x")
    places = {"file": str(file), "folder": str(file.parent)}
    said = said.format(**places)
    if args[0] == "synth" and "{file}" in args:
        file.rename(file.with_name("raw.csv"))
        places["file"] = str(file.with_name("raw.csv"))
        said = said.replace("manifest.json", "raw.csv")
    found = refused(run(*(arg.format(**places) for arg in args)), 2)
    assert said in found
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder"]


@pytest.mark.parametrize(
    ("address", "code", "said"),
    [
        ("foo", 2, "--scheduler must be an address such as tcp://10.0.0.5:8786 (was 'foo')"),
        ("tcp://127.0.0.1:{port}", 1, "no Dask scheduler answers there (["),
    ],
)
def test_a_scheduler_that_is_not_there_is_one_line_at_once(
    run: Run, dumps, catalog, address: str, code: int, said: str
) -> None:
    pytest.importorskip("distributed")
    dumps.add("aggTrades", "2024-01-01", [ROW])
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    began = time.monotonic()
    args = ("--raw-root", dumps.root, "--catalog", catalog.root, "--scheduler")
    assert said in refused(run("ingest", *args, address.format(port=port)), code)
    assert time.monotonic() - began < 15
    gc.collect()  # a client given up half-way would say so here


def test_the_command_alone_prints_its_help(run: Run) -> None:
    ran = run()
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("Usage: ")
    assert "ingest" in ran.err


def test_blank_lines_before_the_first_row_are_counted_and_skipped(run: Run, dumps, catalog) -> None:
    header = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"
    name = "futures/daily/aggTrades/BTCUSDT-aggTrades-2024-01-0{}.csv"
    late = ROW.replace(str(T0), str(T0 + 86_400_000))
    dumps.put(name.format(1), f"\n\r\n{header}\n{ROW}\nbad\n" + f"{ROW}\n" * 20)
    dumps.put(name.format(2), f"\n\n{late}\n")
    result = catalog.ingest()
    assert result.failed == {}
    reports = [result.manifest.files[name.format(n)].report for n in (1, 2)]
    assert [(r.blank_lines, r.has_header, sum(r.days.values())) for r in reports] == [
        (2, True, 21), (2, False, 1),
    ]  # fmt: skip
    (bad,) = catalog.rejects("futures/aggTrades/daily/BTCUSDT-aggTrades-2024-01-01.csv.csv")
    assert bad.split(",")[1] == "5"
    assert catalog.verify().problems == []


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
    assert re.search(r"^aggTrades +1 +1 +-", ran.out, re.MULTILINE)
    assert "dataset (futures)" in ran.out
    assert f"1 files read, 0 known, 1 partitions written to {tmp_path}/c" in ran.out
    assert f"validation report {tmp_path}/c/validation_report.md" in ran.out
    assert "1 file(s) to read" in ran.err
    again = run(*args)
    assert f"nothing to do: all 1 files are in {tmp_path}/c" in again.out
    assert "1 files and" not in run("verify", "--catalog", tmp_path / "c", "--quiet").err


def test_tables_fit_a_terminal_of_80_columns(
    run: Run, dumps, catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_output, "stdout", lambda: Console(width=80))
    row = f"{T0},1.1,1.1,1.1,1.1,0,{T0 + 59_999},0,0,0,0,0"
    for day in ("2024-01-01", "2024-01-02"):
        at = T0 + 86_400_000 * (day == "2024-01-02")
        rows = [row.replace(str(T0), str(at)).replace(str(T0 + 59_999), str(at + 59_999))] * 1200
        dumps.add("premiumIndexKlines", day, [*rows, "bad"])
    dumps.add("aggTrades", "2024-01", [ROW])
    dumps.add("aggTrades", "2024-01-01", [ROW])
    roots = ("--raw-root", dumps.root)
    listed = run("inventory", *roots).out
    assert re.search(
        r"^premiumIndexKlines BTCUSDT daily +2 2024-01-01 2024-01-02 +0.1", listed, re.MULTILINE
    )
    assert re.search(r"^aggTrades +BTCUSDT monthly +1 +2024-01 +2024-01 ", listed, re.MULTILINE)
    ran = run("ingest", *roots, "--catalog", catalog.root)
    status = run("status", "--catalog", catalog.root).out
    for out in (ran.out, status):
        assert re.search(r"^aggTrades +2 +1 1 superseded *$", out, re.MULTILINE)
        assert re.search(
            r"^premiumIndexKlines +2,402 +2 2,398 duplicates, 2 rejected", out, re.MULTILINE
        )
    first, last = "2024-01-01 00:00", "2024-01-02 00:00"
    assert re.search(rf"^premiumIndexKlines +2 {first} {last}", status, re.MULTILINE)
    for out in (listed, ran.out, status):
        assert "…" not in out
    # With another market there, names tell which.
    dumps.add("aggTrades", "2024-01-01", [f"{ROW},True"], market="spot")
    run("ingest", *roots, "--catalog", catalog.root, "--universe", "spot")
    status = run("status", "--catalog", catalog.root).out
    for name in ("spot/aggTrades", "futures/premiumIndexKlines"):
        assert len(re.findall(rf"^{name} ", status, re.MULTILINE)) == 2
    assert "…" not in status


def test_rejected_rows_are_said_with_where_they_are(run: Run, dumps, catalog) -> None:
    rows = [f"{n},42000.1,0.5,{n},{n},{T0 + n},true" for n in range(30)]
    path = dumps.add("aggTrades", "2024-01-01", [*rows, "bad", rows[3].replace("0.5", "0.6")])
    args = ("ingest", "--raw-root", dumps.root, "--catalog", catalog.root)
    said = f"1 row(s) rejected and 1 in conflict with others, see {catalog.root}/rejects"
    assert run(*args).out.splitlines()[-1] == said
    dumps.put(path, "\n".join(rows))
    assert "row(s) rejected" not in run(*args).out


def test_a_folder_of_other_files_names_the_first(run: Run, dumps, catalog) -> None:
    dumps.put("b/notes.txt", "x")
    dumps.put("a/BTCUSDT-aggTrades-2024-01-01.csv", "x")
    said = refused(run("ingest", "--raw-root", dumps.root, "--catalog", catalog.root), 3)
    assert (
        "; 2 file(s) there are none, the first: a/BTCUSDT-aggTrades-2024-01-01.csv: no fol" in said
    )


@pytest.mark.parametrize("ending", ["csv", "zip"])
def test_a_file_that_is_cut_off_is_refused(run: Run, dumps, catalog, ending: str) -> None:
    rows = "".join(f"{n},42000.1,0.5,{n},{n},{T0 + n},true\n" for n in range(30))
    name = f"futures/daily/aggTrades/BTCUSDT-aggTrades-2024-01-01.{ending}"
    path = dumps.put(name, f"{rows}31,42000.1,0.")
    assert catalog.ingest().failed == {
        path: f"{path}:31: cut off, its last line has 3 of 7 columns and no end; download it again"
    }
    dumps.put(path, rows.removesuffix("\n"))  # whole rows, the last without its end
    assert catalog.ingest().failed == {}
    assert len(catalog.rows("TradeTick")) == 30


@pytest.mark.parametrize("command", ["verify", "synth"])
def test_ctrl_c_in_a_command_that_can_be_run_again(
    run: Run, dumps, catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    from phoenix_etl import synthetic, verify

    def interrupted(*_args: object, **_kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(verify, "verify", interrupted)
    monkeypatch.setattr(synthetic, "write_market", interrupted)
    args = {"verify": ("--catalog", catalog.root), "synth": ("--out", tmp_path / "raw")}[command]
    ran = run(command, *args)
    assert ran.code == 130
    assert ran.err.splitlines()[-1] == {
        "verify": "interrupted; nothing was changed, run it again",
        "synth": f"interrupted; the files in {tmp_path}/raw are not all there. Run the same command "
        "again",
    }[command]  # fmt: skip


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


@pytest.mark.parametrize("options", [(), ("--json",)])
@pytest.mark.parametrize("command", ["ingest", "verify"])
def test_quiet_silences_progress_and_nothing_else(
    run: Run, dumps, tmp_path: Path, command: str, options: tuple[str, ...]
) -> None:
    """A file that is left out, and a stranger that is not read: results are the same, told or not."""
    dumps.add("aggTrades", "2024-01-01", [ROW])
    broken = dumps.add("aggTrades", "2024-01-02", ["bad"])
    dumps.put("notes.txt", "x")

    def ran(catalog: str, *quiet: str) -> Ran:
        args = ("--raw-root", dumps.root, "--catalog", tmp_path / catalog, *options)
        if command == "verify":
            run("ingest", *args)
        return run(command, *args, *quiet)

    told, silent = ran("c"), ran("d", "--quiet")
    assert silent.code == told.code == 1
    assert silent.out == told.out.replace(f"{tmp_path}/c", f"{tmp_path}/d")
    assert silent.out
    (error,) = silent.err.splitlines() or [""]
    if command == "verify" and options:
        assert error == ""  # the problems are in the JSON
    else:
        assert error.startswith("error: ")
        assert broken in error
    progress = [line for line in told.err.splitlines() if line != error]
    assert any("file(s) to read" in line for line in progress)
    if command == "ingest":
        assert any("not read: notes.txt" in line for line in progress)


def test_quiet_synth_still_says_where_its_files_are(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from phoenix_etl import synthetic

    def one_file(out: Path, *, progress: Any, **_settings: object) -> Any:
        if progress is not None:
            progress(1, 1, "a.csv")
        return SimpleNamespace(truth_root=out / "truth")

    monkeypatch.setattr(synthetic, "write_market", one_file)
    told, silent = run("synth", "--out", tmp_path), run("synth", "--out", tmp_path, "--quiet")
    said = f"dump files in {tmp_path}, the truth about them in {tmp_path}/truth\n"
    assert (told.out, silent.out) == (said, said)
    assert told.err == "1/1 files, 0 s left: a.csv\n"
    assert silent.err == ""


def test_every_command_explains_itself(run: Run) -> None:
    for command in ("", "inventory", "ingest", "verify", "validate", "status", "download", "synth"):
        ran = run(*filter(None, [command]), "--help")
        assert ran.code == 0
        assert "Usage: " in ran.out


SLOW_INGEST = """
import sys, time
from phoenix_etl import cli, publication, scheduler
real = scheduler.build_partition
begun = []
def build(task):
    begun.append(task)
    print("building", flush=True)
    time.sleep(60 if len(begun) == 3 else 0)
    return real(task)
scheduler.build_partition = build
publication.COMMIT_INTERVAL_S = 0
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
    monkeypatch.setattr(worker_pool, "_start_worker", os.abort)
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
    (tmp_path / "slow_reading.py").write_text(
        "import os, time\n"
        "from pathlib import Path\n"
        "def slow(*_args):\n"
        f"    Path({str(tmp_path)!r}, f'worker-{{os.getpid()}}').touch()\n"
        "    time.sleep(600)\n",
        "utf-8",
    )
    script = _script(
        tmp_path,
        "from slow_reading import slow\n"
        "scheduler._read_task = slow\n"
        "ingest(EtlConfig(raw_roots=[sys.argv[1]], catalog_path=sys.argv[2], ingest_workers=2))\n",
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


def test_a_script_needs_no_main_guard(dumps, catalog, tmp_path: Path) -> None:
    for day in (1, 2):
        dumps.add(
            "aggTrades", f"2024-01-0{day}", [ROW.replace(str(T0), str(T0 + (day - 1) * 86_400_000))]
        )
    script = _script(
        tmp_path,
        "print('once')\n"
        "found = ingest(\n"
        "    EtlConfig(raw_roots=[sys.argv[1]], catalog_path=sys.argv[2], ingest_workers=2)\n"
        ")\n"
        "print(len(found.manifest.files), multiprocessing.active_children())\n",
    )
    done = subprocess.run(
        [sys.executable, str(script), str(dumps.root), str(catalog.root)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "once\n2 []\n", "")


def _script(folder: Path, text: str) -> Path:
    """A user's script, without `if __name__ == "__main__":`, whose ingests use workers."""
    script = folder / "script.py"
    imports = (
        "import multiprocessing\n"
        "import sys\n"
        "from phoenix_etl import scheduler\n"
        "from phoenix_etl.config import EtlConfig\n"
        "from phoenix_etl.pipeline import ingest\n"
        "scheduler._INLINE_BYTES = 0\n"
    )
    script.write_text(imports + text, "utf-8")
    return script


def _lives(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
