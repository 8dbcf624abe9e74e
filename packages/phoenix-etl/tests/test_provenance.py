"""By what a catalog was made: the commit of a checkout, and none of an installed package."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from phoenix_etl import provenance

from .conftest import Catalog, Dumps


def git(folder: Path, *args: str) -> str:
    named = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", "-C", str(folder), *named, *args], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The module as if it lay in some folder."""
    place = tmp_path / "repository" / "provenance.py"
    place.parent.mkdir()
    place.write_text("")
    monkeypatch.setattr(provenance, "__file__", str(place))
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    provenance._git_commit.cache_clear()
    yield place
    provenance._git_commit.cache_clear()


def test_outside_a_checkout_there_is_none(module: Path, dumps: Dumps, catalog: Catalog) -> None:
    dumps.add("aggTrades", "2024-01-01", ["1,42000.1,0.5,1,1,1704067200000,true"])
    assert catalog.ingest().manifest.git_commit is None


def test_in_a_checkout_it_is_the_commit(module: Path, dumps: Dumps, catalog: Catalog) -> None:
    git(module.parent, "init", "-q")
    (module.parent / "other").write_text("")
    git(module.parent, "add", "other")
    git(module.parent, "commit", "-q", "-m", "one")
    # An installed package in the environment folder of some other repository.
    assert provenance._git_commit() is None
    git(module.parent, "add", "provenance.py")
    git(module.parent, "commit", "-q", "-m", "two")
    provenance._git_commit.cache_clear()
    dumps.add("aggTrades", "2024-01-01", ["1,42000.1,0.5,1,1,1704067200000,true"])
    commit = catalog.ingest().manifest.git_commit
    assert commit is not None
    assert len(commit) == 40
    assert commit == git(module.parent, "rev-parse", "HEAD")
