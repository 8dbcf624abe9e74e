"""Whether the files of a catalog are the ones its manifest names, byte for byte, and no others.

Everything in a catalog's folder is named by path and sha256: data, instruments, the copy of their
specifications, rejected lines, the validation report; the manifest holds a hash of itself. The hidden
folder is left out: what lies there is never read as data.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from phoenix_etl import manifest as manifests
from phoenix_etl.commit import HIDDEN, CatalogStore
from phoenix_etl.inventory import path_below
from phoenix_etl.manifest import Manifest
from phoenix_etl.scheduler import Progress

_DATA = "data/"


@dataclass(frozen=True)
class FilesProof:
    """Paths of the files that are as they should be, how many there should be, and every problem."""

    sound: frozenset[str]
    files: int
    problems: tuple[str, ...]


def prove_files(catalog: Path, path: Path, manifest: Manifest, progress: Progress) -> FilesProof:
    """Hold what lies in a catalog against its manifest, which was read at `path`.

    Raises OSError for a folder that cannot be listed.
    """
    expected = manifest.named_files()
    progress.note(f"checking {len(expected):,} files")
    progress.start(len(expected), sum(_size(catalog / name) for name in expected))
    sound, problems = set(), []
    for name, sha256 in sorted(expected.items()):
        problem = _problem_of(catalog / name, name, sha256)
        if problem is None:
            sound.add(name)
        else:
            problems.append(f"{name}: {problem}")
        progress.advance(_size(catalog / name), 0)
        progress.file_done(name)
    root = catalog.resolve()
    beside = (path, *CatalogStore(catalog, path).leftovers)
    places = [place.parent.resolve() / place.name for place in beside]
    own = {p.relative_to(root).as_posix() for p in places if p.is_relative_to(root)}
    problems += [
        f"{name}: {what} that the manifest does not know; "
        + ("NautilusTrader would read it as data. Move" if name.startswith(_DATA) else "move")
        + " it out of the catalog"
        for name, what in _foreign(catalog, own | expected.keys())
    ]
    if manifests.digest_of(manifest) != manifest.catalog_digest:
        problems.append("manifest.json: catalog_digest does not match its own entries")
    elif manifests.encode(manifest) != path.read_bytes():
        problems.append(
            f"{path}: edited by hand (spaces, or keys that it does not have); restore it, or delete "
            "it and the catalog and ingest again"
        )
    return FilesProof(frozenset(sound), len(expected), tuple(problems))


def _problem_of(location: Path, name: str, sha256: str) -> str | None:
    again = "builds the day anew" if name.startswith(_DATA) else "writes it anew"
    try:
        with location.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        return f"missing; run the same ingest again, it {again}"
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    else:
        if found == sha256:
            return None
        problem = "its bytes changed since it was written"
    return f"{problem}; delete it and run the same ingest again, which {again}"


def _foreign(catalog: Path, own: Collection[str]) -> Iterator[tuple[str, str]]:
    """What else lies there: its path and what it is; a folder that holds nothing of the catalog
    counts as one."""
    folders = {parent.as_posix() for name in own for parent in PurePosixPath(name).parents}
    # Links are followed where named files lie behind them, so never in a circle.
    for place, subfolders, names in os.walk(catalog, onerror=_give_up, followlinks=True):
        known = []
        for name in sorted(subfolders):
            path = path_below(catalog, Path(place) / name)
            if path in folders:
                known.append(name)
            elif path == HIDDEN:
                continue
            elif (Path(place) / name).is_symlink():
                yield path, "a link"
            elif files := sum(len(n) for _, _, n in os.walk(Path(place) / name)):
                yield f"{path}/", f"an extra folder of {files:,} file(s)"
        subfolders[:] = known
        for name in sorted(names):
            path = path_below(catalog, Path(place) / name)
            if path not in own:
                yield path, "an extra file"


def _give_up(error: OSError) -> None:
    raise error


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
