"""A result that a worker does not get rid of."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any


class SlowToLeave:
    """It says when it is being sent, by a file, and is not sent before long."""

    def __init__(self, leaving: Path) -> None:
        self.leaving = leaving

    def __reduce__(self) -> Any:
        self.leaving.touch()
        time.sleep(3600)
