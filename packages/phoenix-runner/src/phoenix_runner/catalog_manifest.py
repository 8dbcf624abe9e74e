"""The manifest of a suite's catalog, and the files that the suite reads against it.

An experiment's id knows its data by the manifest's digest. So that a file which was changed after the
ingest does not give other results under the same id, the bytes of every file of the suite's range are
hashed before any work; that takes a small part of the time of one replay.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from phoenix_runner.catalog_series import INGEST_AGAIN, Catalog, CatalogError
from phoenix_runner.errors import RunnerError
from phoenix_runner.feeds import Feed, open_feeds
from phoenix_runner.suite import Suite

_AT_ONCE = 4 << 20


def catalog_digest(suite: Suite) -> str:
    """Digest of the catalog's data, from its manifest.

    Raises RunnerError for a catalog without one: its results could not be told from others'.
    """
    return str(read_manifest(suite)["catalog_digest"])


def is_simulated(suite: Suite) -> bool:
    """Whether the catalog holds a simulated market, as its manifest says."""
    return bool(read_manifest(suite).get("simulated", False))


def read_manifest(suite: Suite) -> dict[str, Any]:
    """The manifest of the suite's catalog; it has a digest."""
    section = suite.config.catalog
    if section.manifest_path is None:
        where = f"{section.path}/manifest.json"
        text = Catalog.open(section.path).read_text("manifest.json")
    else:
        where = section.manifest_path
        path = Path(where)
        text = path.read_text(encoding="utf-8") if path.is_file() else None
    if text is None:
        raise RunnerError(
            f"{where}: no manifest; a run must name the data it saw. Ingest with `phoenix-etl "
            "ingest`, or set catalog.manifest_path"
        )
    try:
        manifest: dict[str, Any] = json.loads(text)
        if not isinstance(manifest["catalog_digest"], str):
            raise TypeError
    except (ValueError, KeyError, TypeError):
        raise RunnerError(
            f"{where}: must be the manifest of an ingest (no catalog_digest in it)"
        ) from None
    return manifest


def require_as_ingested(suite: Suite) -> None:
    """Raises CatalogError for a file of the suite's range, warm-up included, that its manifest does not
    know, that differs from it, or that is missing. A manifest without a list of files is believed."""
    catalog = Catalog.open(suite.config.catalog.path)
    section = suite.config.time
    start_ns, end_ns = section.start_ns - section.warmup_ns, section.end_ns
    listed = {file["path"]: file for file in _listed(read_manifest(suite))}
    if not listed:
        return
    series = {
        (feed.type_name, feed.identifier): feed.series
        for feed in open_feeds(suite, catalog, section.start_ns, end_ns, strict=False)
        if isinstance(feed, Feed)
    }
    found = {
        file.path.removeprefix(f"{catalog.root}/")
        for own in series.values()
        for file in own.files
        if file.first_ns < end_ns and file.last_ns >= start_ns
    }
    wanted = {
        path
        for path, file in listed.items()
        if (file["type_name"], file["identifier"]) in series
        and file["first_ts_init"] < end_ns
        and file["last_ts_init"] >= start_ns
    }
    for path in sorted(found | wanted):
        where = f"{catalog.root}/{path}"
        if path not in listed:
            raise CatalogError(f"{where}: must be in the manifest (is not); {INGEST_AGAIN}")
        if path not in found:
            raise CatalogError(f"{where}: must be there, the manifest lists it; {INGEST_AGAIN}")
        if _sha256(catalog, where) != listed[path]["sha256"]:
            raise CatalogError(
                f"{where}: must be as it was ingested (its bytes have changed); {INGEST_AGAIN}"
            )


def _listed(manifest: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for partition in manifest.get("partitions", {}).values():
        yield from partition["files"]


def _sha256(catalog: Catalog, path: str) -> str:
    digest = hashlib.sha256()
    with catalog.filesystem.open_input_stream(path) as stream:
        while piece := stream.read(_AT_ONCE):
            digest.update(piece)
    return digest.hexdigest()
