"""What a catalog holds and where it came from: `manifest.json`.

The manifest is the catalog's word: a file it does not name is not data. It carries no wall clock, so
the same input gives the same bytes; `catalog_digest` names the data alone (contents of the partitions
and instruments; no path of this machine, no time of a file).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from phoenix_schemas.datasets import Market, Period

from phoenix_etl.catalog_files import WrittenFile
from phoenix_etl.crosschecks import CrossCheck
from phoenix_etl.day_stats import PartitionStats
from phoenix_etl.errors import CatalogError
from phoenix_etl.partitions import InputCounts
from phoenix_etl.source_rows import FileReport

FORMAT = 2
CONVERTER_VERSION = 1
"""Rises when the same source file would become other rows; every file is then read again."""


class FileEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A source file as it was when its rows were taken.

    `fingerprint` covers its content and every option that decides what its rows become.
    """

    market: Market
    dataset: str
    symbol: str
    period: Period
    date_key: str
    size_bytes: int
    mtime_ns: int
    fingerprint: str
    start_ns: int | None
    end_ns: int | None
    """The range that was taken of it, end exclusive; None where it cuts nothing."""
    replaced_days: list[str]
    """Days whose rows are taken from another file."""
    report: FileReport


class FailedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A source file that could not be read as what its name says, and why."""

    market: Market
    dataset: str
    symbol: str
    period: Period
    date_key: str
    error: str


class PartitionInput(msgspec.Struct, frozen=True, kw_only=True):
    """One source file's share of a partition."""

    fingerprint: str
    counts: InputCounts


class PartitionEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One UTC day of one dataset and symbol: its files and where its rows came from."""

    market: Market
    dataset: str
    symbol: str
    day: str
    instrument_id: str
    files: list[WrittenFile]
    inputs: dict[str, PartitionInput]
    stats: PartitionStats | None
    conflicts_file: str | None = None


class DatasetTotals(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over a dataset: events written and what happened to the other rows."""

    events: int
    min_ts_event: int | None
    max_ts_event: int | None
    rows_read: int
    duplicates: int
    conflicts: int
    rejected: int
    out_of_range: int
    superseded: int
    failed_files: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """See the module. Keys of `files` and `failed` are paths relative to a raw root, with forward
    slashes; keys of `partitions` are `<market>/<dataset>/<symbol>/<day>`."""

    format: int = FORMAT
    ingestion_version: int = CONVERTER_VERSION
    catalog_digest: str = ""
    code_version: str = ""
    git_commit: str | None = None
    nautilus_version: str = ""
    arrow_schemas: dict[str, str] = {}
    options: dict[str, Any] = {}
    raw_roots: list[str] = []
    simulated: bool = False
    """Whether a raw root is a simulated market: whoever shows results of it says so."""
    instruments: dict[str, str] = {}
    """Instrument files of the catalog: path to sha256."""
    texts: dict[str, str] = {}
    """What lies beside the data for people: the copy of the instrument specifications, the files of
    rejected lines, the validation report; path to sha256."""
    validation_report: str | None = None
    """Which of the texts is the report; None if it lies outside the catalog."""
    datasets: dict[str, DatasetTotals] = {}
    files: dict[str, FileEntry] = {}
    failed: dict[str, FailedFile] = {}
    unrecognised: dict[str, str] = {}
    """Files under the raw roots that are not read, and why."""
    partitions: dict[str, PartitionEntry] = {}
    crosschecks: dict[str, CrossCheck] = {}
    """Datasets held against each other; keys are `<market>/<symbol>/<day>`."""
    manifest_sha256: str = ""

    def catalog_files(self) -> Iterable[WrittenFile]:
        for key in sorted(self.partitions):
            yield from self.partitions[key].files

    def named_files(self) -> dict[str, str]:
        """Every file of the catalog but the manifest itself: path to sha256."""
        data = {file.path: file.sha256 for file in self.catalog_files()}
        return data | self.instruments | self.texts

    def is_complete(self, path: str) -> bool:
        """Whether every row of a source file is in a committed partition (or accounted for)."""
        entry = self.files[path]
        return all(
            (key := partition_key(entry.market, entry.dataset, entry.symbol, day))
            in self.partitions
            and self.partitions[key].inputs.get(path) is not None
            and self.partitions[key].inputs[path].fingerprint == entry.fingerprint
            for day in entry.report.days
        )


_DECODER = msgspec.json.Decoder(Manifest)  # made once: msgspec crashes where two threads do


def partition_key(market: str, dataset: str, symbol: str, day: str) -> str:
    """A partition's name in the manifest."""
    return f"{market}/{dataset}/{symbol}/{day}"


def digest_of(manifest: Manifest) -> str:
    """Hash over the contents of partitions and instruments, independent of machine and moment."""
    hashed = hashlib.sha256()
    for file in sorted(manifest.catalog_files(), key=lambda f: f.path):
        hashed.update(f"{file.path} {file.rows} {file.sha256}\n".encode())
    for path, sha256 in sorted(manifest.instruments.items()):
        hashed.update(f"{path} {sha256}\n".encode())
    return hashed.hexdigest()


def totals_of(manifest: Manifest) -> dict[str, DatasetTotals]:
    """Totals by `<market>/<dataset>`, in that order."""
    totals: dict[str, DatasetTotals] = {}
    every: list[FileEntry | FailedFile] = [*manifest.files.values(), *manifest.failed.values()]
    for name in sorted({f"{f.market}/{f.dataset}" for f in every}):
        files = [f for f in manifest.files.values() if f"{f.market}/{f.dataset}" == name]
        parts = [p for p in manifest.partitions.values() if f"{p.market}/{p.dataset}" == name]
        inputs = [i.counts for p in parts for i in p.inputs.values()]
        stats = [p.stats for p in parts if p.stats is not None]
        totals[name] = DatasetTotals(
            events=sum(i.written for i in inputs),
            min_ts_event=min((s.first_ts_event for s in stats), default=None),
            max_ts_event=max((s.last_ts_event for s in stats), default=None),
            rows_read=sum(f.report.rows_read for f in files),
            duplicates=sum(i.duplicates for i in inputs),
            conflicts=sum(i.conflicts for i in inputs),
            rejected=sum(f.report.rejected for f in files),
            out_of_range=sum(f.report.out_of_range for f in files),
            superseded=sum(f.report.superseded for f in files),
            failed_files=sum(f"{f.market}/{f.dataset}" == name for f in manifest.failed.values()),
        )
    return totals


def completed(manifest: Manifest) -> Manifest:
    """A manifest with its digest and totals filled in, in the order of names."""
    return msgspec.structs.replace(
        manifest,
        catalog_digest=digest_of(manifest),
        datasets=totals_of(manifest),
        files=dict(sorted(manifest.files.items())),
        failed=dict(sorted(manifest.failed.items())),
        unrecognised=dict(sorted(manifest.unrecognised.items())),
        partitions=dict(sorted(manifest.partitions.items())),
        instruments=dict(sorted(manifest.instruments.items())),
        texts=dict(sorted(manifest.texts.items())),
        manifest_sha256="",
    )


def encode(manifest: Manifest) -> bytes:
    """JSON of a completed manifest, with the hash of its own."""
    manifest = completed(manifest)
    return _json(msgspec.structs.replace(manifest, manifest_sha256=_own_hash(manifest)))


def decode(data: bytes, path: Path) -> Manifest:
    """The manifest of JSON bytes, which were read at `path`.

    Raises CatalogError if it is none, of another format, or was changed by hand.
    """
    try:
        manifest = _DECODER.decode(data)
    except msgspec.MsgspecError as error:
        raise CatalogError(
            f"{path}: not a manifest of phoenix-etl ({error}); restore it, or ingest into a new folder"
        ) from None
    if manifest.format != FORMAT:
        raise CatalogError(
            f"{path}: format must be {FORMAT} (was {manifest.format}); "
            "ingest into a new folder with this version"
        )
    if _own_hash(manifest) != manifest.manifest_sha256:
        raise CatalogError(
            f"{path}: edited by hand (its manifest_sha256 does not hold); restore it, or delete it "
            "and the catalog and ingest again"
        )
    return manifest


def load(path: Path | str) -> Manifest | None:
    """The manifest at a path, or None where there is no file."""
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    return decode(data, path)


def _own_hash(manifest: Manifest) -> str:
    """Hash of everything but itself and the files' times."""
    files = {
        path: msgspec.structs.replace(entry, mtime_ns=0) for path, entry in manifest.files.items()
    }
    plain = msgspec.structs.replace(manifest, files=files, manifest_sha256="")
    return hashlib.sha256(_json(plain)).hexdigest()


def _json(manifest: Manifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"
