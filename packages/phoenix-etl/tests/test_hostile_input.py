"""No input ends the process, loses a line, or writes what its text does not say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from . import hostile_input


def test_hostile_files_are_bad_input_and_no_more(tmp_path: Path) -> None:
    """In a process of its own, as the crash of an interpreter is among the things looked for."""
    runs = os.environ.get("PHOENIX_HOSTILE_RUNS", "5")
    done = subprocess.run(
        [sys.executable, hostile_input.__file__, str(tmp_path), "1", runs],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    read, refused, rejected = map(int, done.stdout.split())
    assert read + refused == 20 * int(runs)
    assert refused > int(runs)
    assert rejected > 50 * int(runs)
