"""The instruments of a catalog, and beside them the specifications that they were written from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from phoenix_schemas.instruments import InstrumentSpec, default_specs_text

from phoenix_etl.publication import Publication

SPECS_COPY = "instrument_specs.yaml"
"""Its name in the catalog's folder."""


def publish_instruments(
    specs: Mapping[str, InstrumentSpec],
    specs_path: str | None,
    wanted: set[str],
    publication: Publication,
    folder: Path,
) -> dict[str, str]:
    """Instruments as NautilusTrader writes them (into `folder`, in the staging area), and a copy of
    the specifications at `specs_path` (None: the packaged ones); path to sha256 of the instruments.

    All that the catalog has are written where the specifications changed, so that the copy says what
    holds for each of them.
    """
    manifest = publication.manifest
    text = Path(specs_path).read_bytes() if specs_path else default_specs_text().encode()
    is_same_text = publication.has_text(SPECS_COPY, text)
    instruments = dict(manifest.instruments)
    held = {Path(path).parent.name for path in instruments}
    if (
        is_same_text
        and wanted <= held
        and manifest.nautilus_version == metadata.version("nautilus_trader")
        and all(publication.holds(path) for path in instruments)
    ):
        return instruments  # and NautilusTrader need not be imported
    from nautilus_trader.persistence import ParquetDataCatalog

    folder.mkdir(parents=True, exist_ok=True)
    written = [specs[i].to_nautilus() for i in sorted(wanted | held & specs.keys())]
    ParquetDataCatalog(str(folder)).write_instruments(written)
    for path in sorted(folder.rglob("*.parquet")):
        name = path.relative_to(folder).as_posix()
        data = path.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        if instruments.get(name) != sha256 or not publication.holds(name):
            instruments[name] = publication.add_bytes(name, data)
    if not is_same_text:
        publication.add_text(SPECS_COPY, text)
    return instruments
