"""Runs as text: only what can be said, in the width there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from phoenix_runner.experiment import Published
from phoenix_runner.research.regimes import split_by_regime
from phoenix_runner.terminal import contest_table, regime_tables


def contestant(days: int, deflated: float | None, *, end: str = "2024-03-09") -> Published:
    money = dict.fromkeys(("net", "gross", "fees", "spread"), "-1.5")
    summary: dict[str, Any] = {
        **money, "fills": 3, "trading_start_utc": "2024-03-05", "end_utc": end,
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


def test_a_contest_over_different_ranges_leads_with_that() -> None:
    same = contest_table({"a": contestant(90, 0.1), "b": contestant(90, 0.2)})
    assert "range of time" not in same
    other = contestant(90, 0.2, end="2024-03-08")
    text = contest_table({"a": contestant(90, 0.1), "b": other})
    assert "do not cover the same range of time" in text.splitlines()[0]


def test_open_ends_of_regimes_are_words() -> None:
    table = split_by_regime(
        "spread", [1, 2], [1.0, -1.0], [1, 2], [0.5, 3.0], max_age_ns=1, edges=[1.0, 2.0]
    )
    text = regime_tables([table])
    assert "inf" not in text
    assert all(words in text for words in ("below 1", "1 to 2", "2 and above"))
