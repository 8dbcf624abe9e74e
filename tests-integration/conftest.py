"""What the cross-package tests share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# pytest's importlib mode leaves this folder off the path; helper modules live in it.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real market data, or a skip that says so."""
    folder = os.environ.get("PHOENIX_REAL_DATA")
    if not folder:
        pytest.skip("PHOENIX_REAL_DATA is unset: real market data not tested")
    return Path(folder)
