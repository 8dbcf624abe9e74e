"""Runs on an object store: worked on in a local folder, published under a URI.

`output.dir` and `--runs-dir` take a URI that pyarrow knows (`s3://...`, `gs://...`) as well as a path.
A run is made in a local working folder, where a stopped suite also keeps what it has finished, and
copied when it is whole; `bundle.sha256` goes last, so that a bundle on the store is complete or not
there. Commands that read runs bring missing ones into the same folder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

import msgspec
from pyarrow import fs

from phoenix_runner.bundle import HASH_FILE, is_finished
from phoenix_runner.catalog_series import public_path
from phoenix_runner.errors import BundleError
from phoenix_runner.suite import Suite


def is_remote(path: str) -> bool:
    """Whether runs under this path live on an object store."""
    return "://" in path


def runs_folder(path: str) -> Path:
    """The folder to look for runs in: the path itself, or a mirror of the URI brought up to date."""
    if not is_remote(path):
        return Path(path)
    remote = RemoteRuns.open(path)
    for name in remote.finished():
        remote.download(name)
    return remote.working


def with_local_output(suite: Suite) -> tuple[Suite, RemoteRuns | None]:
    """The suite with its output in a local folder, and where to publish what it leaves there."""
    output = suite.config.output
    if not is_remote(output.dir):
        return suite, None
    remote = RemoteRuns.open(output.dir)
    local = msgspec.structs.replace(output, dir=str(remote.working))
    config = msgspec.structs.replace(suite.config, output=local)
    return Suite(config, suite.spec, suite.settings, suite.instruments), remote


@dataclass(frozen=True)
class RemoteRuns:
    """Bundles under one URI, and the local folder they are worked on in."""

    filesystem: fs.FileSystem
    root: str
    working: Path
    address: str
    """The URI without credentials."""

    @classmethod
    def open(cls, uri: str) -> RemoteRuns:
        """The runs at a URI; BundleError if it cannot be understood."""
        address = public_path(uri)
        try:
            filesystem, root = fs.FileSystem.from_uri(uri)
        except (OSError, ValueError) as error:
            raise BundleError(f"{address}: runs must be at a known URI ({_why(error)})") from None
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        name = hashlib.sha256(uri.encode()).hexdigest()[:16]
        return cls(filesystem, root.rstrip("/"), cache / "phoenix-runs" / name, address)

    def finished(self) -> list[str]:
        """Names of the complete bundles."""
        selector = fs.FileSelector(self.root, recursive=True, allow_not_found=True)
        try:
            found = self.filesystem.get_file_info(selector)
        except OSError as error:
            raise BundleError(f"{self.address}: runs must be reachable ({_why(error)})") from None
        marks = (i.path.removeprefix(f"{self.root}/").split("/") for i in found)
        return sorted(parts[0] for parts in marks if len(parts) == 2 and parts[1] == HASH_FILE)

    def download(self, name: str) -> Path:
        """A finished bundle in the working folder; what is there with the same hash is kept."""
        local = self.working / name
        with self.filesystem.open_input_stream(f"{self.root}/{name}/{HASH_FILE}") as stream:
            claimed = bytes(stream.read())
        if is_finished(local) and (local / HASH_FILE).read_bytes() == claimed:
            return local
        staging = self.working / f".{name}.{os.getpid()}-{threading.get_ident()}.partial"
        shutil.rmtree(staging, ignore_errors=True)
        self._fetch(f"{self.root}/{name}", staging)
        shutil.rmtree(local, ignore_errors=True)
        staging.rename(local)
        return local

    def upload(self, folder: Path) -> str:
        """Publish a bundle; returns its address."""
        target = f"{self.root}/{folder.name}"
        try:
            if self.filesystem.get_file_info(f"{target}/{HASH_FILE}").type == fs.FileType.File:
                self.filesystem.delete_file(f"{target}/{HASH_FILE}")
            for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != HASH_FILE):
                self._write(f"{target}/{path.relative_to(folder).as_posix()}", path.read_bytes())
            self._write(f"{target}/{HASH_FILE}", (folder / HASH_FILE).read_bytes())
        except OSError as error:
            raise BundleError(
                f"{self.address}: runs must be writable ({_why(error)}); the run is kept in {folder}, "
                "the same command publishes it"
            ) from None
        return f"{self.address}/{folder.name}"

    def _write(self, path: str, content: bytes) -> None:
        with self.filesystem.open_output_stream(path) as stream:
            stream.write(content)

    def _fetch(self, source: str, target: Path) -> None:
        for info in self.filesystem.get_file_info(fs.FileSelector(source, recursive=True)):
            if info.type == fs.FileType.File:
                path = target / info.path.removeprefix(f"{source}/")
                path.parent.mkdir(parents=True, exist_ok=True)
                with self.filesystem.open_input_stream(info.path) as stream:
                    path.write_bytes(stream.read())


def _why(error: Exception) -> str:
    return str(error).partition(" Details:")[0]
