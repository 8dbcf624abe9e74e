"""The last look before a commit: a row that is not accounted for stops the run."""

from __future__ import annotations

from typing import Any

import msgspec
import pyarrow as pa
import pytest
from phoenix_etl import catalog_files, spilled_rows
from phoenix_etl.errors import CatalogError
from phoenix_etl.ledger import check_ledger
from phoenix_etl.manifest import FileEntry, Manifest, PartitionEntry

from .conftest import Catalog, Dumps

T0 = 1_704_067_200_000
PATH = "futures/daily/aggTrades/BTCUSDT-aggTrades-2024-01-01.csv"
DAY = "futures/aggTrades/BTCUSDT/2024-01-01"


def trade(number: int, price: str = "42000.1") -> str:
    return f"{number},{price},0.5,{number},{number},{T0 + number},true"


@pytest.fixture
def manifest(dumps: Dumps, catalog: Catalog) -> Manifest:
    """Of ten rows, a duplicate and a conflict."""
    dumps.add("aggTrades", "2024-01-01", [*map(trade, range(10)), trade(3), trade(4, "42000.2")])
    return catalog.ingest().manifest


def with_counts(manifest: Manifest, **change: int) -> dict[str, PartitionEntry]:
    part = manifest.partitions[DAY]
    share = part.inputs[PATH]
    counts = msgspec.structs.replace(
        share.counts, **{name: getattr(share.counts, name) + by for name, by in change.items()}
    )
    inputs = {PATH: msgspec.structs.replace(share, counts=counts)}
    return {DAY: msgspec.structs.replace(part, inputs=inputs)}


def test_a_sound_ledger_passes(manifest: Manifest) -> None:
    counts = manifest.partitions[DAY].inputs[PATH].counts
    assert (counts.rows, counts.written, counts.duplicates, counts.conflicts) == (12, 10, 1, 1)
    check_ledger(manifest.files, manifest.partitions)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rows": -1, "written": -1}, f"{DAY}: {PATH} gave it 12 rows and 11 arrived"),
        ({"rows": 1, "duplicates": 1}, f"{DAY}: {PATH} gave it 12 rows and 13 arrived"),
        ({"duplicates": -1}, f"{DAY}: the rows of {PATH} do not add up"),
        ({"conflicts": 1}, f"{DAY}: the rows of {PATH} do not add up"),
        ({"written": -1, "duplicates": 1}, f"{DAY}: 9 rows are accounted for, its files hold"),
    ],
)
def test_counts_that_do_not_hold_are_refused(
    manifest: Manifest, change: dict[str, int], said: str
) -> None:
    with pytest.raises(CatalogError, match="This is a defect") as caught:
        check_ledger(manifest.files, with_counts(manifest, **change))
    assert str(caught.value).startswith(said)


def test_a_file_that_gave_more_than_arrived_is_refused(manifest: Manifest) -> None:
    entry = manifest.files[PATH]
    report = msgspec.structs.replace(entry.report, days={"2024-01-01": 13})
    files: dict[str, FileEntry] = {PATH: msgspec.structs.replace(entry, report=report)}
    with pytest.raises(CatalogError, match="gave it 13 rows and 12 arrived"):
        check_ledger(files, manifest.partitions)


@pytest.mark.parametrize("where", ["on the way", "in the build"])
def test_a_row_that_is_dropped_ends_the_run_and_changes_nothing(
    dumps: Dumps, catalog: Catalog, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    dumps.add("aggTrades", "2024-01-01", map(trade, range(10)))
    catalog.ingest()
    tree = catalog.tree()
    dumps.add("aggTrades", "2024-01-01", map(trade, range(20)))
    owner: Any = {
        "on the way": spilled_rows.SpillWriter, "in the build": catalog_files.CatalogFileWriter,
    }[where]  # fmt: skip
    real = owner.write

    def lossy(self: Any, table: pa.Table) -> None:
        real(self, table.slice(1))

    monkeypatch.setattr(owner, "write", lossy)
    with pytest.raises(CatalogError, match="This is a defect of phoenix-etl"):
        catalog.ingest()
    assert catalog.tree() == tree
    monkeypatch.undo()
    catalog.ingest()
    assert len(catalog.rows("TradeTick")) == 20
