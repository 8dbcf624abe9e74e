"""Functions that test workers import."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def square(x: int) -> int:
    return x * x


def die_once(marker: str) -> str:
    path = Path(marker)
    if not path.exists():
        path.write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    return "second time"


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail() -> None:
    raise LookupError("planted")


def leave() -> None:
    raise SystemExit(3)


def process() -> int:
    return os.getpid()


def sleep_long(marker: str) -> None:
    Path(marker).write_text("")
    time.sleep(600)
