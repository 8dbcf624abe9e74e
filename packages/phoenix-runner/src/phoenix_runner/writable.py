"""Whether results can be written where they should go: asked before work that may take hours."""

from __future__ import annotations

import tempfile
from pathlib import Path

from phoenix_runner.errors import BundleError


def require_writable(folder: Path, key: str) -> None:
    """Raises BundleError, which names `key`, if files could not be made in a folder.

    The folder need not exist; the nearest parent that does is tried, and left as it was.
    """
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    try:
        with tempfile.TemporaryDirectory(dir=existing, prefix=".phoenix-"):
            pass
    except OSError as error:
        raise BundleError(
            f"{folder}: must be a folder that can be written to ({error.strerror}); change {key}"
        ) from None
