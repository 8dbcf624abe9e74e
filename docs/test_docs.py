"""The documentation, run: every code block of every Markdown file, and every relative link.

A file is a session: its `python` blocks and the `$` lines of its `console` blocks run in order, in
one empty folder that has `configs/` beside it. A block that cannot run here says why in a comment
above it: `<!-- not run: reason -->`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_FENCE = re.compile(
    r"(?P<skip><!-- not run: [^>]+ -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")


@dataclass(frozen=True)
class Step:
    language: str
    code: str


def documents() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).exists()]


def steps(document: Path) -> list[Step]:
    return [
        Step(match["language"], match["code"])
        for match in _FENCE.finditer(document.read_text("utf-8"))
        if match["skip"] is None and match["language"] in ("python", "console")
    ]


def name(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("document", documents(), ids=name)
def test_relative_links_lead_somewhere(document: Path) -> None:
    for target in _LINK.findall(document.read_text("utf-8")):
        assert (document.parent / target).exists(), f"{name(document)}: broken link {target}"


@pytest.mark.parametrize("document", [d for d in documents() if steps(d)], ids=name)
def test_code_runs_as_written(document: Path, tmp_path: Path) -> None:
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    environment = os.environ | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "COLUMNS": "120",
    }
    for number, step in enumerate(steps(document), start=1):
        if step.language == "python":
            command = [sys.executable, "-W", "error", "-c", step.code]
        else:
            lines = [line[2:] for line in step.code.splitlines() if line.startswith("$ ")]
            assert lines, f"{name(document)}: console block {number} has no $ line"
            command = ["bash", "-euo", "pipefail", "-c", "\n".join(lines)]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (
            f"{name(document)}, block {number}:\n{step.code}\n{done.stdout}\n{done.stderr}"
        )
