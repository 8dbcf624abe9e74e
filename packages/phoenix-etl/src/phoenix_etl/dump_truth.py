"""Where the truth of a simulated market lies: beside its dump files, which look like anyone else's."""

from __future__ import annotations

from pathlib import Path


def truth_of(raw_root: Path) -> Path:
    """The file that tells how the dump files under a raw root were made, if they were simulated.

    >>> truth_of(Path("market/raw")).as_posix()
    'market/raw-truth/truth.json'
    """
    root = raw_root if raw_root.name else raw_root.resolve()
    return root.parent / f"{root.name}-truth" / "truth.json"
