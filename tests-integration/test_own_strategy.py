"""The how-to "write your own strategy", followed to the letter."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOW_TO = ROOT / "docs" / "how-to" / "write-your-own-strategy.md"


def block(language: str, index: int = 0) -> str:
    found: list[str] = re.findall(
        rf"^```{language}\n(.*?)^```$", HOW_TO.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert len(found) == (2 if language == "python" else 1)
    return found[index]


@pytest.fixture(scope="module")
def lines() -> dict[str, list[str]]:
    return {
        language: [line for line in block(language).splitlines() if line.strip()]
        for language in ("python", "yaml", "console")
    }


def test_it_is_as_short_as_it_says(lines: dict[str, list[str]]) -> None:
    run = [line for line in lines["console"] if "phoenix run" in line]
    count = len(lines["python"]) + len(lines["yaml"]) + len(run)
    assert count < 60
    assert f"are {count} lines" in HOW_TO.read_text("utf-8")


def test_the_steps_end_in_a_bundle_with_trades(lines: dict[str, list[str]], tmp_path: Path) -> None:
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "reversal.py").write_text(block("python"), encoding="utf-8")
    (tmp_path / "reversal.yaml").write_text(block("yaml"), encoding="utf-8")
    commands = [line.removeprefix("$ ") for line in lines["console"]]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(commands)],
        cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (summary,) = (tmp_path / "runs").glob("*/summary.json")
    assert json.loads(summary.read_text("utf-8"))["fills"] > 10

    (tmp_path / "quoter.py").write_text(block("python", 1), encoding="utf-8")
    other = ["--set", "strategy={name: 'quoter:SPEC'}", "--json"]
    environment = os.environ | {"PATH": path, "PYTHONPATH": "."}
    for command, found in (("run", "fills"), ("features", "signals")):
        done = subprocess.run(
            ["phoenix", command, "reversal.yaml", *other],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        facts = json.loads(done.stdout)
        assert facts[found] if command == "run" else "imbalance" in facts[found]
