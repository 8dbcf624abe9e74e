"""Every file operation of an ingest fails once: with an error, a full disk, a killed process.

After each failure the catalog opens, holds nothing half-written, and the same command brings it to
the bytes of an uninterrupted run.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from nautilus_trader.persistence import ParquetDataCatalog
from phoenix_etl.errors import EtlError
from phoenix_etl.manifest import load

from .conftest import Catalog, Dumps
from .faults import KILLED, Faults, injected, run_in_child

T0 = 1_704_067_200_000
DAY = 86_400_000


def trade(number: int, at: int, price: str = "42000.1") -> str:
    return f"{number},{price},0.5,{number},{number},{at},true"


def quote(number: int, at: int) -> str:
    return f"{number},42000.1,1,42000.9,2,{at},{at}"


class Change:
    """A catalog of some days, and a run that adds, restates, rebuilds and removes."""

    def __init__(self, folder: Path) -> None:
        self.dumps = Dumps(folder / "raw")
        self.before = folder / "before"
        self.after = folder / "after"
        dumps = self.dumps
        bad = ["bad", *(trade(n, T0 + n) for n in range(10, 22))]
        dumps.add("aggTrades", "2024-01-01", bad)
        dumps.add("aggTrades", "2024-01-02", [trade(2, T0 + DAY), trade(2, T0 + DAY, "42000.2")])
        dumps.add("bookTicker", "2024-01-01", [quote(1, T0), quote(2, T0 + DAY + 3)])
        Catalog(self.before, dumps.root).ingest()
        # restated with a reject gone and a conflict gone, a day removed, a day and a type added
        dumps.add("aggTrades", "2024-01-01", [trade(n, T0 + n) for n in range(10, 23)])
        dumps.add("aggTrades", "2024-01-02", [trade(2, T0 + DAY)])
        dumps.add("bookTicker", "2024-01-01", [quote(1, T0)])
        dumps.add("fundingRate", "2024-01", [f"{T0 + 3},8,0.0001"])
        self.old = Catalog(self.before, dumps.root).tree()
        shutil.copytree(self.before, self.after)
        self.ingest(self.after)
        self.new = Catalog(self.after, dumps.root).tree()
        assert set(self.old) - set(self.new)
        assert set(self.new) - set(self.old)

    def ingest(self, root: Path) -> None:
        Catalog(root, self.dumps.root).ingest()

    def looked_at(self, root: Path) -> None:
        """The catalog opens, and every file in it is whole."""
        opened = ParquetDataCatalog(str(root))
        assert [str(i.id) for i in opened.instruments()] == ["BTCUSDT-PERP.BINANCE"]
        rows = 0
        for path in (root / "data").rglob("*.parquet"):
            if "crypto_perpetual" not in path.parts:
                rows += pq.read_table(path, partitioning=None).num_rows
        if not (root / "data/quotes").exists():
            return
        assert len(opened.query_trade_ticks()) + len(opened.query_quote_ticks()) <= rows


@pytest.fixture(scope="session")
def change(tmp_path_factory: pytest.TempPathFactory) -> Change:
    return Change(tmp_path_factory.mktemp("change"))


def test_the_harness_sees_every_kind_of_operation(change: Change, tmp_path: Path) -> None:
    root = tmp_path / "catalog"
    shutil.copytree(change.before, root)
    faults = Faults(root, None, "EIO")
    with injected(faults):
        change.ingest(root)
    kinds = {call.split()[0] for call in faults.calls}
    assert kinds == {"open", "write", "fsync", "replace", "unlink", "mkdir", "rmdir", "spill"}
    assert Catalog(root, change.dumps.root).tree() == change.new
    for part in (
        "journal.json",
        "manifest.json",
        "data/quotes",
        "rejects/",
        "holder.json",
        "built/",
    ):
        assert any(part in call for call in faults.calls), part


ERRORS = ["EIO", "ENOSPC", "EROFS"]
# The code tells no error from another, so the kinds take turns; `nox -s crash` tries each everywhere.
EVERYWHERE = bool(os.environ.get("PHOENIX_EVERY_FAULT"))
TURNS = [[kind] for kind in ERRORS] if EVERYWHERE else [ERRORS]


@pytest.mark.parametrize("kinds", TURNS, ids="-".join)
def test_an_error_at_any_point_leaves_a_catalog_that_the_next_run_finishes(
    change: Change, tmp_path: Path, kinds: list[str]
) -> None:
    at = 0
    failed = 0
    while True:
        at += 1
        root = tmp_path / str(at)
        shutil.copytree(change.before, root)
        catalog = Catalog(root, change.dumps.root)
        faults = Faults(root, at, kinds[at % len(kinds)])
        said = None
        try:
            with injected(faults):
                change.ingest(root)
        except EtlError as error:
            said = str(error)
        if said is not None:
            failed += 1
            assert "cannot be written" in said
            assert "\n" not in said
        if len(faults.calls) < at:
            break
        change.looked_at(root)
        after_failure = catalog.tree()
        if not (root / ".phoenix" / "journal.json").exists():
            assert not any((root / ".phoenix").glob("staging/*")), faults.calls[at - 1]
            # Before the journal nothing shows, after it everything does.
            shown = {n: s for n, s in after_failure.items() if n.startswith(("data/", "rejects/"))}
            assert shown in [
                {n: s for n, s in tree.items() if n.startswith(("data/", "rejects/"))}
                for tree in (change.old, change.new)
            ], faults.calls[at - 1]
            if EVERYWHERE or at % 4 == 0:
                found = catalog.verify(against_sources=False).problems
                assert found == [], faults.calls[at - 1]
        change.ingest(root)
        assert catalog.tree() == change.new, faults.calls[at - 1]
        shutil.rmtree(root)
    assert at > 60
    assert failed > at * 0.8


@pytest.mark.skipif(sys.platform == "win32", reason="no fork there")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # threads of Arrow, idle
def test_a_killed_process_leaves_a_catalog_that_the_next_run_finishes(
    change: Change, tmp_path: Path
) -> None:
    at = 0
    while True:
        at += 1 if EVERYWHERE else 4  # an error is tried everywhere
        root = tmp_path / str(at)
        shutil.copytree(change.before, root)
        faults = Faults(root, at, "kill")

        def killed(root: Path = root, faults: Faults = faults) -> None:
            with injected(faults):
                change.ingest(root)

        code = run_in_child(killed)
        change.looked_at(root)
        if code == 0:
            break
        assert code == KILLED
        change.ingest(root)
        assert Catalog(root, change.dumps.root).tree() == change.new
        manifest: Any = load(root / "manifest.json")
        assert not any((root / ".phoenix").glob("*.new")), manifest
        shutil.rmtree(root)
    assert at > 60


def test_ctrl_c_at_any_point_leaves_a_whole_catalog(change: Change, tmp_path: Path) -> None:
    root = tmp_path / "catalog"
    catalog = Catalog(root, change.dumps.root)
    states = set()
    at = 0
    while True:
        at += 1 if EVERYWHERE else 3 if at > 40 else 10  # commits come last
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(change.before, root)
        faults = Faults(root, at, "ctrl-c")
        try:
            with injected(faults):
                change.ingest(root)
        except KeyboardInterrupt:
            pass
        else:
            break
        assert not (root / ".phoenix" / "journal.json").exists(), faults.calls[at - 1]
        assert catalog.verify(against_sources=False).problems == [], faults.calls[at - 1]
        shown = {n: s for n, s in catalog.tree().items() if n.startswith(("data/", "rejects/"))}
        old = {n: s for n, s in change.old.items() if n.startswith(("data/", "rejects/"))}
        states.add(shown == old)
    assert at > 60
    assert states == {True, False}  # some left it as it was, some finished the commit
    change.ingest(root)
    assert catalog.tree() == change.new


def test_a_crash_in_the_recovery_of_a_crash_is_recovered(change: Change, tmp_path: Path) -> None:
    """Kill at every step of the journal, then at every step of the run that carries it out."""
    root = tmp_path / "catalog"
    shutil.copytree(change.before, root)
    calls = Faults(root, None, "EIO")
    with injected(calls):
        change.ingest(root)
    journaled = next(
        i for i, c in enumerate(calls.calls, 1) if c.startswith("replace") and "journal" in c
    )
    tried = 0
    for second in range(1, 60, 2):
        shutil.rmtree(root)
        shutil.copytree(change.before, root)
        with pytest.raises(EtlError), injected(Faults(root, journaled + 2, "EIO")):
            change.ingest(root)
        assert (root / ".phoenix" / "journal.json").exists()
        faults = Faults(root, second, "ENOSPC")
        try:
            with injected(faults):
                change.ingest(root)
        except EtlError:
            tried += 1
        change.looked_at(root)
        change.ingest(root)
        assert Catalog(root, change.dumps.root).tree() == change.new, faults.calls[-1]
    assert tried > 10
