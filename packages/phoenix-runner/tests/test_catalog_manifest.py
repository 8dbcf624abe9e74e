"""A run's files are what its manifest says, or it does not begin."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from phoenix_runner.catalog_manifest import require_as_ingested
from phoenix_runner.catalog_series import CatalogError
from phoenix_runner.experiment import run_suite
from phoenix_runner.suite import Suite, suite_from
from phoenix_schemas.arrow import file_span
from small_catalog import BAR_TYPE, DAY, MINUTE, START, bar_rows, quote, suite_values, write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Bars of two days, a file each, and quotes; the manifest lists them all."""
    root = tmp_path / "catalog"
    for day in range(2):
        write(root, "Bar", bar_rows(["100.00"] * 1440, START + day * DAY), BAR_TYPE)
    write(root, "QuoteTick", [quote(START + MINUTE, "1.00", "1.10")])
    list_files(root)
    return root


def list_files(root: Path) -> None:
    files = []
    for path in sorted(root.glob("data/**/*.parquet")):
        span = file_span(path.name)
        assert span is not None
        files.append(
            {
                "path": path.relative_to(root).as_posix(),
                "type_name": {"bars": "Bar", "quotes": "QuoteTick"}[path.parts[-3]],
                "identifier": path.parent.name,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "first_ts_init": span[0],
                "last_ts_init": span[1],
            }
        )
    manifest = {"catalog_digest": "d" * 64, "partitions": {"all": {"files": files}}}
    (root / "manifest.json").write_text(json.dumps(manifest), "utf-8")


def suite_of(root: Path) -> Suite:
    return suite_from(suite_values(root), source="test")


def bars_of(root: Path, day: int) -> Path:
    return sorted((root / "data" / "bars" / BAR_TYPE).iterdir())[day]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_changed_file_of_the_range_ends_a_run_before_it_begins(root: Path) -> None:
    require_as_ingested(suite_of(root))
    path = bars_of(root, 0)
    flip(path)
    with pytest.raises(CatalogError, match="its bytes have changed") as caught:
        run_suite(suite_of(root))
    assert str(caught.value).startswith(f"{path}: ")
    assert "`phoenix-etl verify`" in str(caught.value)
    assert not list((root.parent / "runs").glob("*"))


def test_a_missing_file_and_one_that_nobody_ingested(root: Path) -> None:
    path = bars_of(root, 0)
    path.rename(path.parent / "aside")
    with pytest.raises(CatalogError, match="must be there, the manifest lists it"):
        require_as_ingested(suite_of(root))
    (path.parent / "aside").rename(path)
    manifest = (root / "manifest.json").read_text("utf-8")
    write(root, "Bar", bar_rows(["200.00"] * 30, START + 500), BAR_TYPE)
    (root / "manifest.json").write_text(manifest, "utf-8")
    with pytest.raises(CatalogError, match=r"must be in the manifest \(is not\)"):
        require_as_ingested(suite_of(root))


def test_files_that_a_run_does_not_read_are_none_of_its_business(root: Path) -> None:
    flip(bars_of(root, 1))  # the next day
    for path in (root / "data" / "quotes").glob("*/*"):
        flip(path)
    require_as_ingested(suite_of(root))


def test_a_manifest_without_a_list_of_files_is_believed(root: Path) -> None:
    flip(bars_of(root, 0))
    (root / "manifest.json").write_text(json.dumps({"catalog_digest": "d" * 64}), "utf-8")
    require_as_ingested(suite_of(root))
