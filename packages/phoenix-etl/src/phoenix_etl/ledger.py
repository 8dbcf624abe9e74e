"""The last look before a commit: nothing lost, nothing invented."""

from __future__ import annotations

from collections.abc import Mapping

from phoenix_etl.errors import CatalogError
from phoenix_etl.manifest import FileEntry, PartitionEntry


def check_ledger(files: Mapping[str, FileEntry], partitions: Mapping[str, PartitionEntry]) -> None:
    """Every row that a file gave to a day must be written there, a duplicate or a conflict.

    Raises CatalogError, naming the partition and the file, where the counts say otherwise.
    """
    for name, entry in partitions.items():
        written = sum(i.counts.written for i in entry.inputs.values())
        for path, share in entry.inputs.items():
            counts = share.counts
            source = files.get(path)
            if source is not None and source.fingerprint == share.fingerprint:
                given = source.report.days.get(entry.day, 0)
                if counts.rows != given:
                    raise CatalogError(
                        f"{name}: {path} gave it {given} rows and {counts.rows} arrived; nothing "
                        "is committed. This is a defect of phoenix-etl, please report it"
                    )
            if counts.rows != counts.written + counts.duplicates + counts.conflicts:
                raise CatalogError(
                    f"{name}: the rows of {path} do not add up ({counts}); nothing is committed. "
                    "This is a defect of phoenix-etl, please report it"
                )
        if any(file.rows != written for file in entry.files):
            raise CatalogError(
                f"{name}: {written} rows are accounted for, its files hold others; nothing is "
                "committed. This is a defect of phoenix-etl, please report it"
            )
