"""What a run has finished and not committed yet: staged files, the places they go to, and removals.

Texts (rejected lines, the copy of the specifications, the validation report) are published like data:
staged, named in the manifest with their sha256, and moved to their place together with it.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import msgspec

from phoenix_etl import durable
from phoenix_etl import manifest as manifests
from phoenix_etl.commit import CatalogStore
from phoenix_etl.ledger import check_ledger
from phoenix_etl.manifest import Manifest
from phoenix_etl.validation import validation_report

COMMIT_INTERVAL_S = 5.0


class Publication:
    """Collects what changes in a catalog, and commits it.

    `manifest` is the catalog's word after the last commit, `texts` its texts after the next one. Where
    nothing changed (`has_changes`), the manifest stays the word of the run that last changed something.
    """

    def __init__(self, store: CatalogStore, report: Path) -> None:
        self.manifest = manifests.load(store.manifest) or Manifest()
        self.texts = dict(self.manifest.texts)
        self._store = store
        self._report = report
        place, root = report.resolve(), store.root.resolve()
        inside = place.is_relative_to(root)
        self._report_name = place.relative_to(root).as_posix() if inside else None
        self.has_changes = self.manifest.validation_report != self._report_name
        self._moves: dict[str, Path] = {}
        """Places in the catalog, and the staged files that go there."""
        self._removals: list[str] = []
        self._written = 0
        self._next_commit = time.monotonic() + COMMIT_INTERVAL_S

    @property
    def is_due(self) -> bool:
        """Whether it is time for a commit."""
        return time.monotonic() >= self._next_commit

    def holds(self, name: str) -> bool:
        """Whether a file is there, or will be with the next commit."""
        return name in self._moves or (self._store.root / name).is_file()

    def has_size(self, name: str, size: int) -> bool:
        """Whether a file is there in full length, or will be with the next commit."""
        if name in self._moves:
            return True
        try:
            return (self._store.root / name).stat().st_size == size
        except FileNotFoundError:
            return False

    def add_file(self, name: str, staged: Path) -> None:
        """Publish a staged file at a place in the catalog."""
        self._moves[name] = staged
        self.has_changes = True

    def add_bytes(self, name: str, data: bytes) -> str:
        """Publish a file of these bytes; its sha256."""
        self._written += 1
        staged = self._store.staging / "texts" / str(self._written)
        durable.write_new(staged, data)
        self.add_file(name, staged)
        return hashlib.sha256(data).hexdigest()

    def add_text(self, name: str, data: bytes) -> None:
        self.texts[name] = self.add_bytes(name, data)

    def has_text(self, name: str, data: bytes) -> bool:
        """Whether the catalog has just this text, there and in its manifest."""
        path = self._store.root / name
        is_named = self.texts.get(name) == hashlib.sha256(data).hexdigest()
        return is_named and path.is_file() and path.read_bytes() == data

    def remove_text(self, name: str) -> None:
        self.texts.pop(name, None)
        if (self._store.root / name).exists():
            self._removals.append(name)

    def remove_files(self, names: list[str]) -> None:
        """Take files out of the catalog, but for those whose place another one takes."""
        self._removals += names

    def commit(self, manifest: Manifest) -> None:
        """Publish all of it, with a manifest that names it and the report of that."""
        began = time.monotonic()
        check_ledger(manifest.files, manifest.partitions)
        manifest = manifests.completed(manifest)
        before = self.manifest.validation_report
        if before is not None and before != self._report_name:
            self.remove_text(before)
        if self._report_name is not None:
            self.add_text(self._report_name, validation_report(manifest).encode())
        manifest = msgspec.structs.replace(
            manifest, texts=self.texts, validation_report=self._report_name
        )
        named = manifest.named_files()
        # A file that was read again may have staged what its second reading does not want.
        moves = [(staged, name) for name, staged in self._moves.items() if name in named]
        data = manifests.encode(manifest)
        self._store.commit(moves, self._removals, data)
        self.manifest = manifests.decode(data, self._store.manifest)
        self._moves, self._removals, self.has_changes = {}, [], False
        # A big manifest takes a while to write: that stays a small part of the work.
        took = time.monotonic() - began
        self._next_commit = began + took + max(COMMIT_INTERVAL_S, 20 * took)

    def bring_report(self) -> None:
        """Have the report say what the manifest does (with the next commit, if it lies in the catalog),
        also after it was deleted or put elsewhere, or when this code words it otherwise."""
        data = validation_report(self.manifest).encode()
        if self._report_name is not None:
            self.has_changes |= not self.has_text(self._report_name, data)
            return
        if not self._report.is_file() or self._report.read_bytes() != data:
            durable.write_file(self._report, data)
        durable.remove(durable.temporary_name(self._report))  # that a crash may have left
