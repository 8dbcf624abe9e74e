"""By what a catalog was made: code, versions, schemas, options."""

from __future__ import annotations

import hashlib
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from phoenix_schemas.arrow import CATALOG_TYPES

from phoenix_etl.config import EtlConfig
from phoenix_etl.dump_truth import truth_of


def provenance(config: EtlConfig) -> dict[str, Any]:
    """Fields of the manifest that tell by what it was made."""
    return {
        "code_version": metadata.version("phoenix-etl"),
        "git_commit": _git_commit(),
        "nautilus_version": metadata.version("nautilus_trader"),
        "arrow_schemas": _schema_fingerprints(),
        "options": _options(config),
        "raw_roots": [str(Path(root).resolve()) for root in config.raw_roots],
        "simulated": any(truth_of(Path(root)).is_file() for root in config.raw_roots),
    }


def _options(config: EtlConfig) -> dict[str, Any]:
    start_ns, end_ns = config.range_ns
    return {
        "universe": config.universe,
        "symbols": config.symbols,
        "datasets": config.datasets,
        "trade_source": config.trade_source,
        "quote_clock": config.quote_clock,
        "start_ns": start_ns,
        "end_ns": end_ns,
        "strict": config.strict,
        "max_reject_share": config.max_reject_share,
    }


def _schema_fingerprints() -> dict[str, str]:
    return {
        name: hashlib.sha256(kind.schema("").serialize().to_pybytes()).hexdigest()[:16]
        for name, kind in CATALOG_TYPES.items()
    }


@cache
def _git_commit() -> str | None:
    """Commit of a development checkout; None for an installed package."""
    here = Path(__file__)
    git = ["git", "-C", str(here.parent)]
    try:
        # An installed package may lie in the environment folder of some other repository.
        for command in (["ls-files", "--error-unmatch", here.name], ["rev-parse", "HEAD"]):
            done = subprocess.run(
                [*git, *command], capture_output=True, text=True, timeout=10, check=False
            )
            if done.returncode:
                return None
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
