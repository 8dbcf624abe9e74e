"""What ran: versions that can change a result, and facts about the machine that cannot."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from phoenix_strategies.registry import StrategySpec

from phoenix_runner.errors import SuiteError

DECIDING = (
    "phoenix-schemas", "phoenix-signals", "phoenix-strategies", "phoenix-runner", "nautilus_trader",
    "numpy",
)  # fmt: skip
"""Packages whose version is part of an experiment's id."""
REPORTED = (*DECIDING, "phoenix-etl", "pyarrow", "pandas", "msgspec", "matplotlib")
DECIDING_CODE = ("phoenix_schemas", "phoenix_signals", "phoenix_strategies", "phoenix_runner")


@cache  # each task of a suite asks for all of them
def version(package: str) -> str:
    """Version of an installed package."""
    return version_of(package)


def deciding_versions() -> dict[str, str]:
    """Versions that belong to an experiment's id."""
    return {name: version(name) for name in DECIDING}


def deciding_code(strategy: str) -> dict[str, str]:
    """SHA-256 of the source that belongs to an experiment's id: Phoenix's own, and that of a strategy
    which a suite names as `module:SPEC`.

    A version says little of code that is being worked on: without this an edited strategy would be
    answered with the result of the one before. Of somebody's own strategy the whole package counts,
    or its one file; what that imports from elsewhere does not.

    Raises SuiteError for a strategy that is in no file, as one typed into a notebook.
    """
    found = {"phoenix": _phoenix_code()}
    module_name, separator, _ = strategy.partition(":")
    if separator:
        top = import_module(module_name.partition(".")[0])
        file = getattr(top, "__file__", None)
        roots = [Path(p) for p in getattr(top, "__path__", [file] if file else [])]
        if not roots or not all(root.exists() for root in roots):
            raise SuiteError(
                f"strategy {strategy!r} must be in a file, which is part of a run's id (module "
                f"{module_name} has none); write it to a module and import that"
            )
        found[module_name] = _digest(roots)
    return found


def require_unedited(strategy: str, spec: StrategySpec, code: dict[str, str]) -> None:
    """Raise SuiteError if the code of a strategy was edited after this process had run it.

    Python keeps what it imported: a session would publish the result of the old code under the id of
    the new, and answer every later run with it.
    """
    _, first = _FIRST_RUN_WITH.setdefault(id(spec), (spec, code))
    if first != code:
        module_name = strategy.partition(":")[0]
        raise SuiteError(
            f"strategy {strategy!r} must be the code that this session imported (was edited since); "
            f"importlib.reload({module_name}) or begin a new session (of a cluster: restart its "
            "workers), then load the suite again"
        )


_FIRST_RUN_WITH: dict[int, tuple[StrategySpec, dict[str, str]]] = {}
"""By the identity of a spec, which a reload changes; the spec is kept so that nothing else takes it."""


@cache
def _phoenix_code() -> str:
    return _digest([Path(str(import_module(name).__file__)).parent for name in DECIDING_CODE])


def _digest(roots: list[Path]) -> str:
    """Over the names below each root and the contents of its Python files, in order."""
    seen = hashlib.sha256()
    for root in roots:
        for path in [root] if root.is_file() else sorted(root.rglob("*.py")):
            content = path.read_bytes()
            seen.update(f"{path.relative_to(root.parent).as_posix()} {len(content)}\n".encode())
            seen.update(content)
    return seen.hexdigest()


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
