"""Which signals are installed, in which version, with which parameters.

    >>> entry = find("yang_zhang_variance")
    >>> entry.version, dict(entry.parameters)
    (1, {'window_sessions': REQUIRED, 'session_ns': None})

A configuration may pin `{id, version}`; [find][] refuses another version and says where to get it.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib.metadata import version as package_version
from importlib.resources import files
from types import MappingProxyType
from typing import Any

import phoenix_signals
from phoenix_signals.errors import VersionError
from phoenix_signals.estimator import Versioned


class Required(Enum):
    """Marks a parameter without a default."""

    REQUIRED = "required"

    def __repr__(self) -> str:
        return self.name


REQUIRED = Required.REQUIRED


@dataclass(frozen=True)
class Entry:
    """One installed signal; `parameters` maps each constructor argument to its default."""

    id: str
    version: int
    summary: str
    parameters: Mapping[str, Any]
    signal: type[Versioned]


@cache
def installed() -> tuple[Entry, ...]:
    """Every signal of this installation, sorted by id.

    >>> [e.id for e in installed() if e.id.startswith("zscore")]
    ['zscore_mean_std', 'zscore_median_mad']
    """
    found: dict[str, Entry] = {}
    for module in pkgutil.walk_packages(phoenix_signals.__path__, "phoenix_signals."):
        for cls in vars(importlib.import_module(module.name)).values():
            if not (inspect.isclass(cls) and issubclass(cls, Versioned) and "ID" in vars(cls)):
                continue
            entry = _entry(cls)
            if found.setdefault(entry.id, entry).signal is not cls:
                raise VersionError(f"signal id must be unique (was {entry.id!r} twice); rename one")
    return tuple(found[signal_id] for signal_id in sorted(found))


def find(signal_id: str, version: int | None = None) -> Entry:
    """The installed signal of an id, and of a version when one is pinned.

    Raises:
        VersionError: it is not installed; the message names what is, and the package version that
            has what was asked for.

    >>> find("vpin", version=7)
    Traceback (most recent call last):
    phoenix_signals.errors.VersionError: signal vpin version 7 must be installed (was version 1, \
with phoenix-signals 0.1.0); no release up to this one has version 7, so pin a version of: 1 (since 0.1.0)
    """
    package = package_version("phoenix-signals")
    by_id = {entry.id: entry for entry in installed()}
    if signal_id not in by_id:
        raise VersionError(
            f"signal id must be one of {', '.join(by_id)} (was {signal_id!r}); "
            f"these are installed with phoenix-signals {package}"
        )
    entry = by_id[signal_id]
    if version is None or version == entry.version:
        return entry
    known = {int(v): since for v, since in releases().get(signal_id, {}).items()}
    raise VersionError(
        f"signal {signal_id} version {version} must be installed "
        f"(was version {entry.version}, with phoenix-signals {package}); {_where(known, version)}"
    )


def releases() -> Mapping[str, Mapping[str, str]]:
    """Package version in which each version of each signal first appeared, by id.

    >>> releases()["vpin"]["1"]
    '0.1.0'
    """
    text = files("phoenix_signals").joinpath("releases.json").read_text("utf-8")
    return MappingProxyType(json.loads(text))


def _where(known: Mapping[int, str], version: int) -> str:
    if version not in known:
        have = ", ".join(f"{v} (since {since})" for v, since in sorted(known.items()))
        return f"no release up to this one has version {version}, so pin a version of: {have}"
    later = [since for v, since in known.items() if v > version]
    until = f",<{min(later, key=_release_key)}" if later else ""
    return f"install phoenix-signals>={known[version]}{until}"


def _release_key(release: str) -> list[int]:
    return [int(part) for part in release.split(".")]


def _entry(cls: type[Versioned]) -> Entry:
    parameters = {
        name: REQUIRED if p.default is inspect.Parameter.empty else p.default
        for name, p in inspect.signature(cls).parameters.items()
    }
    summary = (inspect.getdoc(cls) or "").partition("\n")[0]
    return Entry(cls.ID, cls.VERSION, summary, MappingProxyType(parameters), cls)
