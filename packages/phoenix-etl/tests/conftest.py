"""Hand-written dump files and the catalogs made of them."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from phoenix_etl.config import EtlConfig
from phoenix_etl.pipeline import IngestResult, ingest
from phoenix_etl.verify import Verification, verify
from phoenix_schemas.arrow import CATALOG_TYPES
from phoenix_schemas.datasets import DATASETS

PERP = "BTCUSDT-PERP.BINANCE"
SPOT = "BTCUSDT.BINANCE"


def zipped(text: str | bytes, member: str = "data.csv") -> bytes:
    """A ZIP of one member, as the archive delivers it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        info = zipfile.ZipInfo(member, (2024, 1, 1, 0, 0, 0))
        archive.writestr(info, text, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


class Dumps:
    """A raw root that tests fill file by file."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def put(self, path: str, content: str | bytes) -> str:
        """A file of exactly this content."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            content = content.encode()
        if path.endswith(".zip") and not content.startswith(b"PK"):
            content = zipped(content, f"{target.stem}.csv")
        target.write_bytes(content)
        return path

    def add(
        self,
        dataset: str,
        date: str,
        rows: Iterable[str],
        *,
        symbol: str = "BTCUSDT",
        market: str = "futures",
        header: bool | None = None,
        ending: str = "csv",
    ) -> str:
        """A dump file in the first layout, daily or monthly by its date, with the spec's header
        (spot files have none)."""
        spec = DATASETS["spot" if market == "spot" else "futures", dataset]
        lines = list(rows)
        if header if header is not None else market == "futures":
            lines.insert(0, ",".join(c.name for c in spec.columns))
        period = "daily" if len(date) == 10 else "monthly"
        top = "futures" if market == "futures" else "spot_data"
        path = f"{top}/{period}/{dataset}/{symbol}-{spec.file_label}-{date}.{ending}"
        return self.put(path, "".join(f"{line}\n" for line in lines))


class Catalog:
    """A catalog folder and what tests ask of it."""

    def __init__(self, root: Path, raw: Path) -> None:
        self.root = root
        self.raw = raw

    def ingest(self, *, rehash: bool = False, **settings: Any) -> IngestResult:
        settings = {"raw_roots": [str(self.raw)], "catalog_path": str(self.root)} | settings
        return ingest(EtlConfig(**settings), rehash=rehash)

    def table(self, type_name: str, identifier: str = PERP) -> pa.Table:
        """All stored rows of a type, file by file, times as int64 ns and decimals as Decimal."""
        folder = self.root / CATALOG_TYPES[type_name].folder(identifier)
        files = sorted(folder.glob("*.parquet"))
        tables = [pq.read_table(f, partitioning=None) for f in files]
        if not tables:
            return CATALOG_TYPES[type_name].schema(identifier).empty_table()
        table = pa.concat_tables(tables)
        for index, field in enumerate(table.schema):
            if pa.types.is_timestamp(field.type):
                times = table.column(index).cast(pa.int64())
                table = table.set_column(index, field.name, times)
        return table

    def rows(self, type_name: str, identifier: str = PERP) -> list[dict[str, Any]]:
        return self.table(type_name, identifier).to_pylist()

    def tree(self) -> dict[str, str]:
        """sha256 of every file but those of the hidden folder, and the empty folders."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            name = path.relative_to(self.root).as_posix()
            if name.split("/")[0] == ".phoenix":
                continue
            if path.is_file():
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
            elif not any(path.iterdir()):
                found[name] = "empty folder"
        return found

    def data(self) -> dict[str, str]:
        """The same of the data alone, without manifest, report and rejects."""
        return {name: sha for name, sha in self.tree().items() if name.startswith("data/")}

    def verify(self, *, against_sources: bool = True) -> Verification:
        return verify(self.root, [self.raw] if against_sources else [])

    def report(self) -> str:
        return (self.root / "validation_report.md").read_text("utf-8")

    def rejects(self, name: str) -> list[str]:
        """Lines of a rejects file (or none)."""
        path = self.root / "rejects" / name
        return path.read_text("utf-8").splitlines()[1:] if path.exists() else []


@pytest.fixture
def dumps(tmp_path: Path) -> Dumps:
    return Dumps(tmp_path / "raw")


@pytest.fixture
def catalog(tmp_path: Path, dumps: Dumps) -> Catalog:
    return Catalog(tmp_path / "catalog", dumps.root)


@pytest.fixture
def another(tmp_path: Path, dumps: Dumps) -> Catalog:
    """A second catalog of the same files."""
    return Catalog(tmp_path / "another", dumps.root)
