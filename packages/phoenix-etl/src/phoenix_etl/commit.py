"""Changes of a catalog that happen whole or not at all, by one process at a time.

A change is first complete in the staging area, on disk. Then a journal is written that lists every
move and removal, and only then are they done; a crash in between leaves the journal, and the next
process carries it out again from where it stood. Every step may be repeated.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

from phoenix_etl import durable
from phoenix_etl.errors import CatalogError, CatalogLockedError, EtlError

HIDDEN = ".phoenix"
"""Folder in the catalog's root for staging, journal, lock and caches; no data lies in it."""


class CatalogStore:
    """The folder of a catalog: its staging area and its journal."""

    def __init__(self, root: Path, manifest: Path) -> None:
        self.root = root
        self.manifest = manifest
        self._hidden = root / HIDDEN
        self._journal = self._hidden / "journal.json"
        # Beside the manifest, so that replacing it is a rename whatever disk it lies on.
        self._next_manifest = manifest.with_name(f".{manifest.name}.next")
        self._all_staging = self._hidden / "staging"
        # A worker that outlives a killed run for a moment must not write among the files of the next.
        self.staging = self._all_staging / secrets.token_hex(8)

    @property
    def stat_cache(self) -> Path:
        return self._hidden / "stat_cache.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the catalog; a second process is refused with the holder's name."""
        try:
            durable.make_folder(self._hidden)
            lock = filelock.FileLock(self._hidden / "lock", timeout=0)
            lock.acquire()
            self._name_holder()
        except filelock.Timeout:
            raise CatalogLockedError(
                f"{self.root}: another process works on this catalog ({self._holder()}); "
                "wait for it, or stop it and run the command again"
            ) from None
        except OSError as error:
            raise EtlError(
                f"{self.root}: cannot be written ({error.strerror or error}); "
                "choose another --catalog or free the folder"
            ) from error
        try:
            yield
        finally:
            self._clear_staging()
            with suppress(OSError):  # the name alone is no reason to fail
                (self._hidden / "holder.json").unlink(missing_ok=True)
            lock.release()

    def _clear_staging(self) -> None:
        """Free what a run leaves behind, also a failed one, unless a commit cut short needs it."""
        try:
            self._journal.stat()
        except FileNotFoundError:
            shutil.rmtree(self._all_staging, ignore_errors=True)
        except OSError:  # who knows what is there
            pass

    def _name_holder(self) -> None:
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "command": " ".join(Path(a).name if i == 0 else a for i, a in enumerate(sys.argv)),
        }
        (self._hidden / "holder.json").write_text(json.dumps(holder), "utf-8")

    def _holder(self) -> str:
        try:
            holder = json.loads((self._hidden / "holder.json").read_text("utf-8"))
        except (OSError, ValueError):
            return "its name is not known yet"
        return f"process {holder['pid']} on {holder['host']}: {holder['command']}"

    def recover(self) -> bool:
        """Finish a change that a crash cut short, and clear the staging area.

        Returns whether there was one. Call it holding the lock.
        """
        found = self._journal.exists()
        if found:
            with self._not_cut_short():
                self._carry_out()
        for leftover in self.leftovers:
            durable.remove(leftover)
        for leftover in self._hidden.glob(".*.new"):
            durable.remove(leftover)
        # What a dying worker still adds is removed by the next run.
        shutil.rmtree(self._all_staging, ignore_errors=True)
        durable.make_folder(self.staging)
        return found

    @property
    def leftovers(self) -> tuple[Path, ...]:
        """Files that a crash may leave outside the hidden folder; no data lies in them."""
        following = self._next_manifest
        return following, durable.temporary_name(following), durable.temporary_name(self.manifest)

    @property
    def is_interrupted(self) -> bool:
        """Whether a crash left a change half done (the next ingest finishes it)."""
        return self._journal.exists()

    def commit(self, moves: list[tuple[Path, str]], removals: list[str], manifest: bytes) -> None:
        """Move staged files to their places (relative to the root), remove others, and replace the
        manifest: after a crash at any instant, all of it or nothing of it is to be seen once the
        catalog is opened again by phoenix-etl."""
        targets = {target for _, target in moves}
        for folder in sorted({self.staging, *(source.parent for source, _ in moves)}):
            durable.sync_folder(folder)
        durable.write_file(self._next_manifest, manifest)
        journal = {
            "moves": [[source.relative_to(self.root).as_posix(), t] for source, t in moves],
            "removals": [path for path in removals if path not in targets],
        }
        with self._not_cut_short():
            durable.write_file(self._journal, json.dumps(journal).encode())
            self._carry_out()

    @contextmanager
    def _not_cut_short(self) -> Iterator[None]:
        """After Ctrl-C, a commit that has begun is carried out first: what is left is whole."""
        try:
            yield
        except KeyboardInterrupt:
            if self._journal.exists():
                self._carry_out()
            raise

    def _carry_out(self) -> None:
        journal = json.loads(self._journal.read_text("utf-8"))
        changed: set[Path] = set()
        for path in journal["removals"]:
            durable.remove(self.root / path)
            changed.add((self.root / path).parent)
        for source, target in journal["moves"]:
            if not (self.root / source).exists() and not (self.root / target).exists():
                raise CatalogError(
                    f"{self._journal}: a commit that was cut short needs {source}, which is gone; "
                    f"delete {self.manifest} and {self._journal} and run the same ingest, it writes "
                    "every day anew"
                )
            durable.move(self.root / source, self.root / target)
            changed.add((self.root / target).parent)
        for folder in sorted(changed):
            if folder.exists():
                durable.sync_folder(folder)
        for folder in sorted(changed, reverse=True):
            self._prune(folder)
        durable.move(self._next_manifest, self.manifest)
        durable.sync_folder(self.manifest.parent)
        durable.remove(self._journal)
        durable.sync_folder(self._hidden)

    def _prune(self, folder: Path) -> None:
        """Remove folders that a removal left empty, also those that a crash left of that."""
        while folder != self.root:
            if folder.is_dir():
                if any(folder.iterdir()):
                    return
                folder.rmdir()
            folder = folder.parent
