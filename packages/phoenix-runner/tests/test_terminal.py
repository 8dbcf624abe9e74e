"""Runs as text: only what can be said, in the width there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from phoenix_runner.experiment import Published
from phoenix_runner.terminal import contest_table


def contestant(days: int, deflated: float | None) -> Published:
    money = dict.fromkeys(("net", "gross", "fees", "spread"), "-1.5")
    summary: dict[str, Any] = {
        **money, "fills": 3,
        "figures": {
            "equity": {"return": -0.01}, "returns": {"days": days},
            "inference": {"deflated": deflated},
        },
    }  # fmt: skip
    return Published(Path("runs/a"), summary, reused=False)


def test_a_contest_says_no_deflated_ratio_on_a_few_days() -> None:
    text = contest_table({"short": contestant(2, 0.14), "long": contestant(90, 0.14)})
    short, long = (next(x for x in text.splitlines() if name in x) for name in ("short", "long"))
    assert "14%" not in short
    assert "2 days, 30 needed" in short
    assert "14%" in long
