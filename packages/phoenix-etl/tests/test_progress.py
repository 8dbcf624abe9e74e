"""What a person is told meanwhile: rows, rows/s, files and the time left."""

from __future__ import annotations

import io
import re

import pytest
from phoenix_etl import progress
from phoenix_etl.config import EtlConfig
from phoenix_etl.pipeline import ingest
from phoenix_etl.progress import download_shown, shown, writing_shown
from rich.console import Console

T0 = 1_704_067_200_000


def trades_of(day: int) -> list[str]:
    at = T0 + (day - 1) * 86_400_000
    return [f"{n},42000.1,0.5,{n},{n},{at + n},true" for n in range(1000)]


def console(is_terminal: bool) -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, force_terminal=is_terminal, width=120, color_system=None), stream


@pytest.fixture
def config(dumps, catalog) -> EtlConfig:
    for day in (1, 2, 3):
        dumps.add("aggTrades", f"2024-01-0{day}", trades_of(day))
    dumps.add("aggTrades", "2024-01-04", ["a", "b"])
    return EtlConfig(raw_roots=[str(dumps.root)], catalog_path=str(catalog.root))


def test_a_terminal_has_a_bar_with_rate_and_time_left(config: EtlConfig) -> None:
    where, stream = console(True)
    with shown(where) as bar:
        ingest(config, progress=bar)
    text = stream.getvalue()
    assert re.search(r"3/4 files .*3,000 rows, [\d,]+ rows/s +\d+:\d\d:\d\d", text)
    assert "left out: futures/daily/aggTrades/BTCUSDT-aggTrades-2024-01-04.csv" in text


def test_elsewhere_there_is_a_line_now_and_then(
    config: EtlConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PLAIN_INTERVAL_S", 0.0)
    where, stream = console(False)
    with shown(where) as lines:
        ingest(config, progress=lines)
    text = stream.getvalue()
    assert text.startswith("4 file(s) to read, ")
    assert re.search(r"^1/4 files, 2,000 rows, [\d,]+ rows/s, \d+ s left$", text, re.MULTILINE)
    assert "\x1b" not in text


def test_the_time_left_follows_from_the_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PLAIN_INTERVAL_S", 0.0)
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    where, stream = console(False)
    with shown(where) as lines:
        lines.start(2, 4000)
        now = 110.0
        lines.advance(1000, 500)
    assert "0/2 files, 500 rows, 50 rows/s, 30 s left" in stream.getvalue()


def test_quiet_says_nothing(config: EtlConfig) -> None:
    for is_terminal in (True, False):
        where, stream = console(is_terminal)
        with shown(where, quiet=True) as silent:
            ingest(config, progress=silent)
        assert stream.getvalue() == ""


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_download_shows_files_and_rate(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    monkeypatch.setattr(progress, "PLAIN_INTERVAL_S", -1.0)
    where, stream = console(is_terminal)
    with download_shown(where) as shown_download:
        shown_download.start(2)
        shown_download.advance(3 << 20)
        shown_download.file_done("a.zip", "downloaded")
    assert re.search(r"1/2 files, 3\.0 MiB, [\d,.]+ MiB/s", stream.getvalue())


@pytest.mark.parametrize("is_terminal", [True, False])
def test_writing_shows_files_and_the_time_left(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    where, stream = console(is_terminal)
    with writing_shown(where) as written:
        assert written is not None
        for done in range(1, 11):
            now += 3
            written(done, 10, f"futures/file-{done}.csv")
    text = stream.getvalue()
    assert "10/10 files" in text
    if not is_terminal:
        assert "4/10 files, 18 s left: futures/file-4.csv\n" in text
        assert len(text.splitlines()) == 5
    with writing_shown(where, quiet=True) as written:
        assert written is None
