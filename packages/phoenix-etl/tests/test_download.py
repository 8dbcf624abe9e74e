"""Downloading against a server that serves the archive's tree, well and badly."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner
from phoenix_etl import download as download_module
from phoenix_etl.archive_files import ArchiveFile, archive_files
from phoenix_etl.cli import cli
from phoenix_etl.download import RECORD, DownloadResult, Patience, download
from phoenix_etl.errors import EtlError, NothingFoundError, UsageError
from phoenix_etl.inventory import take_inventory
from phoenix_schemas.timestamps import parse_utc

QUICK = Patience(attempts=4, first_wait_s=0.01)
STALL_S = 0.3


@dataclass
class Archive:
    """A tree of files by URL path, and what goes wrong for which request."""

    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    fail_first: dict[str, list[str]] = field(default_factory=dict)
    """Faults of a path, one used up by each request of its body."""
    ranges: bool = True
    running: int = 0
    most_running: int = 0
    delay_s: float = 0.0
    base_url: str = ""

    def put(self, file: ArchiveFile, body: bytes, checksum: str | None = None) -> None:
        digest = checksum or hashlib.sha256(body).hexdigest()
        self.files[file.remote_path] = body
        self.files[f"{file.remote_path}.CHECKSUM"] = f"{digest}  {file.name}\n".encode()

    def bodies(self, file: ArchiveFile) -> list[str | None]:
        """Range headers of the requests of a file's body."""
        return [r for m, path, r in self.requests if m == "GET" and path == file.remote_path]


class Handler(BaseHTTPRequestHandler):
    archive: Archive
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, *, with_body: bool) -> None:
        archive, path = self.archive, self.path.lstrip("/")
        asked = self.headers.get("Range")
        archive.requests.append((self.command, path, asked))
        archive.running += 1
        archive.most_running = max(archive.most_running, archive.running)
        try:
            time.sleep(archive.delay_s)
            faults = archive.fail_first.get(path, [])
            self.send(path, asked, faults.pop(0) if faults else "", with_body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            archive.running -= 1

    def send(self, path: str, asked: str | None, fault: str, with_body: bool) -> None:
        body = self.archive.files.get(path)
        if fault.isdecimal():
            self.send_response(int(fault))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if body is None:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = 0
        if asked and self.archive.ranges:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        body = body[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if not with_body:
            return
        if fault == "truncated":
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        elif fault == "stalls":
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            time.sleep(10 * STALL_S)
            self.close_connection = True
        elif fault == "garbled":
            self.wfile.write(bytes(len(body)))
        else:
            self.wfile.write(body)


@pytest.fixture
def archive() -> Iterator[Archive]:
    served = Archive()
    handler = type("ArchiveHandler", (Handler,), {"archive": served})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    served.base_url = f"http://127.0.0.1:{server.server_address[1]}"
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


def agg_trades(days: int) -> list[ArchiveFile]:
    start = parse_utc("2024-03-01")
    return archive_files(
        ["BTCUSDT"], start, start + days * 86_400_000_000_000, datasets=["aggTrades"]
    )


def body_of(file: ArchiveFile, size: int = 100_000) -> bytes:
    seed = hashlib.sha256(file.name.encode()).digest()
    return (seed * (size // 32 + 1))[:size]


def fetch(archive: Archive, files: list[ArchiveFile], root: Path, **options) -> DownloadResult:
    options = {"connections": 2, "patience": QUICK} | options
    return download(files, root, base_url=archive.base_url, **options)


def leftovers(root: Path) -> list[str]:
    return [p.name for p in root.rglob(".*.part")]


def test_the_default_files_of_a_month_are_those_of_the_archives_tree() -> None:
    files = archive_files(["BTCUSDT"], parse_utc("2024-01-31"), parse_utc("2024-02-02"))
    assert [f.remote_path for f in files] == [
        "data/futures/um/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2024-01-31.zip",
        "data/futures/um/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2024-02-01.zip",
        "data/futures/um/daily/bookTicker/BTCUSDT/BTCUSDT-bookTicker-2024-01-31.zip",
        "data/futures/um/daily/bookTicker/BTCUSDT/BTCUSDT-bookTicker-2024-02-01.zip",
        "data/futures/um/daily/metrics/BTCUSDT/BTCUSDT-metrics-2024-01-31.zip",
        "data/futures/um/daily/metrics/BTCUSDT/BTCUSDT-metrics-2024-02-01.zip",
        "data/futures/um/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01-31.zip",
        "data/futures/um/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-02-01.zip",
        "data/futures/um/daily/bookDepth/BTCUSDT/BTCUSDT-bookDepth-2024-01-31.zip",
        "data/futures/um/daily/bookDepth/BTCUSDT/BTCUSDT-bookDepth-2024-02-01.zip",
        "data/futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2024-01.zip",
        "data/futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2024-02.zip",
    ]


@pytest.mark.parametrize("market", ["futures", "spot"])
def test_what_was_downloaded_is_what_the_inventory_finds(
    archive: Archive, tmp_path: Path, market
) -> None:
    start = parse_utc("2024-03-01")
    files = archive_files(["BTCUSDT"], start, start + 1, market=market)
    files += archive_files(["ETHUSDT"], start, start + 1, datasets=["markPriceKlines"])
    for file in files:
        archive.put(file, body_of(file))
    result = fetch(archive, files, tmp_path)
    assert result.paths("downloaded") == sorted(f.path for f in files)
    assert result.bytes_read == 100_000 * len(files)
    for file in files:
        assert (tmp_path / file.path).read_bytes() == body_of(file)
    found = take_inventory([tmp_path])
    assert not found.unrecognised
    assert {(f.market, f.dataset, f.symbol, f.date_key) for f in found.files} == {
        (f.spec.market, f.spec.name, f.symbol, f.date_key) for f in files
    }


def test_a_second_run_asks_for_checksums_alone(archive: Archive, tmp_path: Path) -> None:
    files = agg_trades(3)
    for file in files:
        archive.put(file, body_of(file))
    fetch(archive, files, tmp_path)
    archive.requests.clear()
    again = fetch(archive, files, tmp_path)
    assert again.paths("known") == sorted(f.path for f in files)
    assert again.bytes_read == 0
    assert Counter(path for _, path, _ in archive.requests) == {
        f"{f.remote_path}.CHECKSUM": 1 for f in files
    }


def test_a_missing_file_is_recorded_and_asked_for_again(archive: Archive, tmp_path: Path) -> None:
    files = agg_trades(2)
    archive.put(files[0], body_of(files[0]))
    result = fetch(archive, files, tmp_path)
    assert result.paths("missing") == [files[1].path]
    assert not result.failed
    assert json.loads((tmp_path / RECORD).read_text())["missing"] == [files[1].path]
    archive.put(files[1], body_of(files[1]))
    assert fetch(archive, files, tmp_path).paths("downloaded") == [files[1].path]
    assert json.loads((tmp_path / RECORD).read_text())["missing"] == []


def test_an_archive_that_has_none_of_the_files_is_nothing_found(
    archive: Archive, tmp_path: Path
) -> None:
    with pytest.raises(NothingFoundError, match="has none of the 2 files") as caught:
        fetch(archive, agg_trades(2), tmp_path)
    assert caught.value.exit_code == 3


def test_a_truncated_body_goes_on_where_it_stopped(archive: Archive, tmp_path: Path) -> None:
    [file] = agg_trades(1)
    archive.put(file, body_of(file, 1_000_000))
    archive.fail_first[file.remote_path] = ["truncated", "truncated"]
    result = fetch(archive, [file], tmp_path)
    assert (tmp_path / file.path).read_bytes() == body_of(file, 1_000_000)
    assert archive.bodies(file) == [None, "bytes=500000-", "bytes=750000-"]
    assert result.bytes_read == 1_000_000
    assert leftovers(tmp_path) == []


def test_many_truncations_are_progress_and_not_failures(archive: Archive, tmp_path: Path) -> None:
    [file] = agg_trades(1)
    archive.put(file, body_of(file, 1_000_000))
    archive.fail_first[file.remote_path] = ["truncated"] * (2 * QUICK.attempts)
    assert fetch(archive, [file], tmp_path).paths("downloaded") == [file.path]


def test_a_server_without_ranges_sends_the_whole_file_again(
    archive: Archive, tmp_path: Path
) -> None:
    [file] = agg_trades(1)
    archive.put(file, body_of(file))
    archive.ranges = False
    archive.fail_first[file.remote_path] = ["truncated"]
    fetch(archive, [file], tmp_path)
    assert (tmp_path / file.path).read_bytes() == body_of(file)


def test_a_stalled_body_is_given_up_and_resumed(archive: Archive, tmp_path: Path) -> None:
    [file] = agg_trades(1)
    archive.put(file, body_of(file))
    archive.fail_first[file.remote_path] = ["stalls"]
    started = time.monotonic()
    fetch(archive, [file], tmp_path, patience=dataclasses.replace(QUICK, read_s=STALL_S))
    assert (tmp_path / file.path).read_bytes() == body_of(file)
    assert len(archive.bodies(file)) == 2
    assert time.monotonic() - started < 10


def test_a_part_left_by_an_interrupted_run_is_gone_on_from(
    archive: Archive, tmp_path: Path
) -> None:
    [file] = agg_trades(1)
    archive.put(file, body_of(file))
    digest = hashlib.sha256(body_of(file)).hexdigest()
    part = tmp_path / file.path
    part = part.with_name(f".{part.name}.{digest[:16]}.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(body_of(file)[:60_000])
    result = fetch(archive, [file], tmp_path)
    assert archive.bodies(file) == ["bytes=60000-"]
    assert result.bytes_read == 40_000
    assert (tmp_path / file.path).read_bytes() == body_of(file)


def test_a_part_that_holds_other_bytes_is_thrown_away(archive: Archive, tmp_path: Path) -> None:
    [file] = agg_trades(1)
    archive.put(file, body_of(file))
    digest = hashlib.sha256(body_of(file)).hexdigest()
    part = tmp_path / file.path
    part = part.with_name(f".{part.name}.{digest[:16]}.part")
    part.parent.mkdir(parents=True)
    for wrong in (bytes(60_000), bytes(200_000)):  # shorter, and longer than the file
        (tmp_path / file.path).unlink(missing_ok=True)
        part.write_bytes(wrong)
        fetch(archive, [file], tmp_path)
        assert (tmp_path / file.path).read_bytes() == body_of(file)
        assert leftovers(tmp_path) == []


def test_a_wrong_checksum_writes_nothing_and_the_others_go_on(
    archive: Archive, tmp_path: Path
) -> None:
    files = agg_trades(2)
    archive.put(files[0], body_of(files[0]), checksum="ab" * 32)
    archive.put(files[1], body_of(files[1]))
    result = fetch(archive, files, tmp_path)
    assert result.paths("downloaded") == [files[1].path]
    assert "differs from its CHECKSUM" in result.failed[files[0].path]
    assert not (tmp_path / files[0].path).exists()
    assert leftovers(tmp_path) == []


def test_a_body_garbled_once_is_fetched_again(archive: Archive, tmp_path: Path) -> None:
    [file] = agg_trades(1)
    archive.put(file, body_of(file))
    archive.fail_first[file.remote_path] = ["garbled"]
    assert fetch(archive, [file], tmp_path).paths("downloaded") == [file.path]
    assert (tmp_path / file.path).read_bytes() == body_of(file)


@pytest.mark.parametrize("status", ["429", "500", "503"])
def test_a_busy_server_is_asked_again(archive: Archive, tmp_path: Path, status: str) -> None:
    [file] = agg_trades(1)
    archive.put(file, body_of(file))
    archive.fail_first[f"{file.remote_path}.CHECKSUM"] = [status]
    archive.fail_first[file.remote_path] = [status, status]
    assert fetch(archive, [file], tmp_path).paths("downloaded") == [file.path]


def test_a_refused_request_is_not_repeated(archive: Archive, tmp_path: Path) -> None:
    files = agg_trades(2)
    for file in files:
        archive.put(file, body_of(file))
    archive.fail_first[files[0].remote_path] = ["403"]
    result = fetch(archive, files, tmp_path)
    assert "answered 403" in result.failed[files[0].path]
    assert len(archive.bodies(files[0])) == 1


def test_a_file_without_a_checksum_is_a_failure_and_not_missing(
    archive: Archive, tmp_path: Path
) -> None:
    files = agg_trades(2)
    for file in files:
        archive.put(file, body_of(file))
    del archive.files[f"{files[0].remote_path}.CHECKSUM"]
    result = fetch(archive, files, tmp_path)
    assert "without a CHECKSUM" in result.failed[files[0].path]
    assert not (tmp_path / files[0].path).exists()


def test_a_page_in_place_of_a_checksum_is_refused(archive: Archive, tmp_path: Path) -> None:
    [file] = agg_trades(1)
    archive.put(file, body_of(file))
    archive.files[f"{file.remote_path}.CHECKSUM"] = b"<html>log in first</html>"
    assert "<html>" in fetch(archive, [file], tmp_path).failed[file.path]
    other = hashlib.sha256(body_of(file)).hexdigest()
    archive.files[f"{file.remote_path}.CHECKSUM"] = f"{other}  OTHER.zip\n".encode()
    assert "OTHER.zip" in fetch(archive, [file], tmp_path).failed[file.path]


def test_a_file_the_archive_replaced_is_fetched_again(archive: Archive, tmp_path: Path) -> None:
    [file] = agg_trades(1)
    archive.put(file, body_of(file))
    fetch(archive, [file], tmp_path)
    archive.put(file, b"another edition")
    assert fetch(archive, [file], tmp_path).paths("replaced") == [file.path]
    assert (tmp_path / file.path).read_bytes() == b"another edition"
    checksum = (tmp_path / f"{file.path}.CHECKSUM").read_text()
    assert checksum.split()[0] == hashlib.sha256(b"another edition").hexdigest()


def test_a_file_that_is_there_is_not_taken_for_complete(archive: Archive, tmp_path: Path) -> None:
    [file] = agg_trades(1)
    archive.put(file, body_of(file))
    target = tmp_path / file.path
    target.parent.mkdir(parents=True)
    target.write_bytes(body_of(file)[:500])
    target.with_name(f"{target.name}.CHECKSUM").write_bytes(
        archive.files[f"{file.remote_path}.CHECKSUM"]
    )
    fetch(archive, [file], tmp_path)
    assert target.read_bytes() == body_of(file)


def test_an_unpacked_file_is_left_alone(archive: Archive, tmp_path: Path) -> None:
    [file] = agg_trades(1)
    archive.put(file, body_of(file))
    unpacked = (tmp_path / file.path).with_suffix(".csv")
    unpacked.parent.mkdir(parents=True)
    unpacked.write_text("1,2,3\n")
    assert fetch(archive, [file], tmp_path).paths("unpacked") == [file.path]
    assert not archive.requests


def test_no_more_connections_than_allowed_and_not_one_after_another(
    archive: Archive, tmp_path: Path
) -> None:
    files = agg_trades(8)
    for file in files:
        archive.put(file, body_of(file, 1000))
    archive.delay_s = 0.05
    fetch(archive, files, tmp_path, connections=3)
    assert archive.most_running == 3


def test_an_unreachable_archive_ends_the_run(tmp_path: Path) -> None:
    files = agg_trades(8)
    with pytest.raises(EtlError, match=r"cannot be reached .*refused.* run the same command again"):
        download(files, tmp_path, base_url="http://127.0.0.1:9", patience=QUICK)


def test_a_stopped_download_keeps_its_part(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the middle of a body: what has come is gone on from."""
    [file] = agg_trades(1)
    archive.put(file, body_of(file, 2_000_000))

    class Interrupt(download_module.SilentDownload):
        def advance(self, bytes_read: int) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(archive, [file], tmp_path, progress=Interrupt())
    assert not (tmp_path / file.path).exists()
    assert len(leftovers(tmp_path)) == 1
    assert fetch(archive, [file], tmp_path).paths("downloaded") == [file.path]
    assert archive.bodies(file)[1] is not None
    assert leftovers(tmp_path) == []


def test_a_second_download_into_the_folder_is_refused(archive: Archive, tmp_path: Path) -> None:
    files = agg_trades(1)
    archive.put(files[0], body_of(files[0]))
    with (
        download_module._only_one(tmp_path),
        pytest.raises(EtlError, match="another download works on this folder"),
    ):
        fetch(archive, files, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--symbols", "../../x"], "symbol must be as the archive writes it"),
        (["--symbols", "BTCUSDT", "--datasets", "nope"], "dataset must be one of"),
        (["--symbols", "BTCUSDT", "--end", "2024-02-30"], "exist in the calendar"),
        (["--symbols", "BTCUSDT", "--end", "2024-01-01"], "start must lie before end"),
        (["--symbols", "BTCUSDT", "--base-url", "file:///etc"], "base URL must start with http"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_done(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    root = tmp_path / "raw"
    base = ["download", "--start", "2024-01-01", "--end", "2024-01-02", "--raw-root", str(root)]
    result = CliRunner().invoke(cli, [*base, *arguments])
    if isinstance(result.exception, UsageError):
        assert message in str(result.exception)
    else:  # an option's own value
        assert result.exit_code == 2
        assert message in result.output
    assert not root.exists()


def test_the_command_reports_and_leaves_with_1_when_a_file_failed(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = agg_trades(3)
    archive.put(files[0], body_of(files[0]))
    archive.put(files[1], body_of(files[1]), checksum="cd" * 32)
    monkeypatch.setattr(download_module, "Patience", lambda: QUICK)
    arguments = [
        "download", "--symbols", "BTCUSDT", "--datasets", "aggTrades", "--start", "2024-03-01",
        "--end", "2024-03-04", "--raw-root", str(tmp_path), "--base-url", archive.base_url,
    ]  # fmt: skip
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 1
    assert "1 downloaded, 0 replaced, 0 already there, 1 not in the archive, 1 failed" in (
        result.stdout
    )
    assert f"not in the archive: {files[2].path}" in result.stderr
    assert "3 file(s) asked for" in result.stderr
    result = CliRunner().invoke(cli, [*arguments, "--json"])
    assert "3 file(s) asked for" in result.stderr
    silent = CliRunner().invoke(cli, [*arguments, "--json", "--quiet"])
    assert silent.stdout == result.stdout
    assert [line.partition(":")[0] for line in silent.stderr.splitlines()] == ["error"]
    told = json.loads(result.stdout)
    assert told["known"] == [files[0].path]
    assert told["missing"] == [files[2].path]
    assert list(told["failed"]) == [files[1].path]
