"""Makes the helper modules of this folder importable under --import-mode=importlib.

Hypothesis has no deadline: a busy machine must not fail a test.
"""

from __future__ import annotations

import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))
settings.register_profile("phoenix", deadline=None)
settings.load_profile("phoenix")
