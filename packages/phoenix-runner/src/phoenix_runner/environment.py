"""What ran: versions that can change a result, and facts about the machine that cannot."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

DECIDING = (
    "phoenix-schemas", "phoenix-signals", "phoenix-strategies", "phoenix-runner", "nautilus_trader",
)  # fmt: skip
"""Packages whose version is part of an experiment's id."""
REPORTED = (*DECIDING, "phoenix-etl", "pyarrow", "numpy", "pandas", "msgspec", "plotly")


def deciding_versions() -> dict[str, str]:
    """Versions that belong to an experiment's id."""
    return {name: version(name) for name in DECIDING}


def describe_environment() -> dict[str, Any]:
    """`environment.json`."""
    return {
        "packages": {name: _version(name) for name in REPORTED},
        "python": sys.version.split()[0],
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "git_commit": _git_commit(Path(__file__).parent),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git_commit(folder: Path) -> str | None:
    """Commit of the checkout this package runs from, None for an installed wheel."""
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
