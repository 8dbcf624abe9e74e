"""Catalog and runs on an S3-compatible object store: the same bundle as from a disk.

Needs PHOENIX_S3_SERVER, the path of moto's `moto_server`; `nox -s object_store` installs it (exact
versions in s3-server.txt) and runs this file.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bar_market import write_bars, write_suite
from phoenix_runner.bundle import verify_bundle
from phoenix_runner.cli import run_command
from phoenix_runner.modes import run_experiment
from phoenix_runner.suite import load_suite
from pyarrow import fs

SERVER = os.environ.get("PHOENIX_S3_SERVER")
pytestmark = pytest.mark.skipif(
    SERVER is None, reason="PHOENIX_S3_SERVER is unset: object store not tested"
)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [str(SERVER), "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    yield f"127.0.0.1:{port}"
    process.kill()
    process.wait()


def test_a_catalog_on_an_object_store_gives_the_bundle_of_a_disk(
    endpoint: str, tmp_path: Path
) -> None:
    local = write_bars(tmp_path / "catalog", days=2)
    store = fs.S3FileSystem(
        access_key="key", secret_key="secret", endpoint_override=f"http://{endpoint}",
        allow_bucket_creation=True,
    )  # fmt: skip
    store.create_dir("market")
    fs.copy_files(
        str(local), "market/catalog",
        source_filesystem=fs.LocalFileSystem(), destination_filesystem=store,
    )  # fmt: skip
    remote = f"s3://key:secret@market/catalog?scheme=http&endpoint_override={endpoint}"
    hashes = set()
    for name, catalog in (("disk", str(local)), ("store", remote)):
        folder = tmp_path / name
        folder.mkdir()
        suite = write_suite(folder / "suite.yaml", catalog, folder / "runs", "2024-01-30")
        hashes.add(verify_bundle(run_experiment(load_suite(suite)).folder))
    assert len(hashes) == 1


def test_a_missing_catalog_and_a_dead_store_are_one_line_without_secrets(
    endpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for address, words in ((endpoint, "no catalog here"), ("127.0.0.1:9", "must be reachable")):
        remote = f"s3://key:secret@absent/catalog?scheme=http&endpoint_override={address}"
        suite = write_suite(tmp_path / "suite.yaml", remote, tmp_path / "runs", "2024-01-30")
        code = run_command(["run", str(suite)])
        error = capsys.readouterr().err
        assert code in (1, 3)
        assert words in error
        assert error.count("\n") == 1
        assert "secret" not in error


def test_runs_on_an_object_store_are_the_runs_of_a_disk(
    endpoint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    catalog = write_bars(tmp_path / "catalog", days=5)
    store = fs.S3FileSystem(
        access_key="key", secret_key="secret", endpoint_override=f"http://{endpoint}",
        allow_bucket_creation=True,
    )  # fmt: skip
    store.create_dir("results")
    remote = f"s3://key:secret@results/runs?scheme=http&endpoint_override={endpoint}"
    mode = {
        "kind": "walk_forward", "train": "2d", "test": "1d",
        "search": {"parameters": {"strategy.config.slow_bars": [30, 60]}},
    }  # fmt: skip

    def run(output: str, cache: str, *more: str) -> dict[str, object]:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / cache))
        path = write_suite(
            tmp_path / "suite.yaml", str(catalog), Path("x"), "2024-02-02", mode=mode
        )
        arguments = ["run", str(path), "--set", f"output.dir={output}", "--json", "--workers", "1"]
        assert run_command([*arguments, *more]) == 0
        return dict(json.loads(capsys.readouterr().out))

    disk = run(str(tmp_path / "runs"), "unused")
    first = run(remote, "here")
    assert first["address"] == f"s3://results/runs/{first['experiment_id']}"
    found = store.get_file_info(fs.FileSelector("results/runs", recursive=True))
    assert not any(".tasks" in i.path or ".partial" in i.path for i in found)
    with store.open_input_stream(f"results/runs/{first['experiment_id']}/bundle.sha256") as stream:
        assert stream.read().decode().strip() == verify_bundle(Path(str(disk["folder"])))
    # Another machine, with a cache of its own: the run is not done again, and can be read.
    again = run(remote, "there")
    assert again["reused"] is True
    assert verify_bundle(Path(str(again["folder"]))) == verify_bundle(Path(str(disk["folder"])))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    assert run_command(["runs", "--json", "--runs-dir", remote]) == 0
    assert [r["run"] for r in json.loads(capsys.readouterr().out)] == [first["experiment_id"]]
    assert run_command(["report", str(first["experiment_id"])[:6], "--runs-dir", remote]) == 0
    text = (Path(str(first["folder"])) / "config_resolved.yaml").read_text("utf-8")
    assert "secret" not in text + (Path(str(first["folder"])) / "report.html").read_text("utf-8")
    # A bundle that is not whole on the store is no run.
    store.delete_file(f"results/runs/{first['experiment_id']}/bundle.sha256")
    capsys.readouterr()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "nowhere"))
    assert run_command(["runs", "--runs-dir", remote]) == 3


def test_a_store_that_cannot_be_written_keeps_the_run_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    catalog = write_bars(tmp_path / "catalog", days=1)
    suite = write_suite(tmp_path / "suite.yaml", str(catalog), Path("x"), "2024-01-29")
    remote = "s3://key:secret@results/runs?scheme=http&endpoint_override=127.0.0.1:9"
    assert run_command(["run", str(suite), "--quiet", "--set", f"output.dir={remote}"]) == 1
    error = capsys.readouterr().err
    assert "s3://results/runs: runs must be reachable" in error
    assert error.count("\n") == 1
    assert "secret" not in error
