"""A person watching sees the bar move within one big file, also where workers read it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from phoenix_etl import scheduler, worker_progress
from phoenix_etl.config import EtlConfig
from phoenix_etl.pipeline import ingest
from phoenix_etl.worker_progress import ProgressListener, ProgressTeller

T0 = 1_704_067_200_000  # 2024-01-01T00:00:00Z in ms
ROWS = 40_000


class Watched:
    """What was told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []
        self.before_done: list[tuple[int, int]] = []

    def start(self, files: int, total_bytes: int) -> None:
        self.total = total_bytes

    def advance(self, bytes_read: int, rows: int) -> None:
        if bytes_read or rows:
            self.told.append((bytes_read, rows))

    def file_done(self, path: str) -> None:
        self.before_done = list(self.told)

    def note(self, message: str) -> None:
        raise AssertionError(message)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_bar_moves_within_a_file(dumps, catalog, monkeypatch, workers: int) -> None:
    rows = (f"{n},42000.10000000,1.00000000,42000.20000000,2.00000000,{T0 + n},{T0 + n}"
            for n in range(ROWS))  # fmt: skip
    dumps.add("bookTicker", "2024-01-01", list(rows))
    monkeypatch.setattr(worker_progress, "INTERVAL_S", 0.0)
    monkeypatch.setattr(scheduler, "INTERVAL_S", 0.01)
    read = scheduler.read_source
    watched = Watched()

    def slowly(*args: Any, on_progress: Callable[[int, int], None], **kwargs: Any) -> Any:
        def told(bytes_read: int, rows: int) -> None:
            heard = len(watched.told)
            on_progress(bytes_read, rows)
            deadline = time.monotonic() + 30
            while len(watched.told) == heard and time.monotonic() < deadline:
                time.sleep(0.005)

        return read(*args, on_progress=told, **kwargs)

    monkeypatch.setattr(scheduler, "read_source", slowly)
    config = EtlConfig(raw_roots=[str(dumps.root)], catalog_path=str(catalog.root))
    if workers:
        with ThreadPoolExecutor(workers) as pool:
            ingest(config, progress=watched, executor=pool)
    else:
        ingest(config, progress=watched)
    assert len(watched.before_done) >= 3  # a file of four blocks
    assert sum(b for b, _ in watched.told) == watched.total
    assert sum(r for _, r in watched.told) == ROWS
    assert not list(catalog.root.rglob("*.progress"))


def test_what_a_worker_tells_arrives_once(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(worker_progress, "INTERVAL_S", 0.0)
    path = tmp_path / "staging" / "1.progress"
    listener = ProgressListener(path)
    assert listener.news() == (0, 0)
    with ProgressTeller(path) as tell:
        assert listener.news() == (0, 0)
        tell(100, 7)
        tell(50, 3)
        assert listener.news() == (150, 10)
        assert listener.news() == (0, 0)
    assert listener.finish(200, 12) == (50, 2)
    assert not path.exists()
