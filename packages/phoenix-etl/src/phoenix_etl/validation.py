"""What a person should know before trusting a catalog: `validation_report.md`, from its manifest."""

from __future__ import annotations

from pathlib import Path

from phoenix_schemas.timestamps import format_utc

from phoenix_etl import durable
from phoenix_etl.manifest import Manifest


def write_validation_report(manifest: Manifest, path: Path) -> None:
    """Write the report beside the catalog, if its text changed."""
    data = validation_report(manifest).encode()
    if not path.exists() or path.read_bytes() != data:
        durable.write_file(path, data)


def validation_report(manifest: Manifest) -> str:
    return "# Validation report\n"


_ = format_utc
