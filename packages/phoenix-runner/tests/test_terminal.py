"""Runs as text: only what can be said, in the width there is."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from phoenix_runner.experiment import Published
from phoenix_runner.research.regimes import FEWEST, split_by_regime
from phoenix_runner.terminal import (
    compare_runs,
    comparison_table,
    contest_table,
    list_runs,
    regime_tables,
    runs_table,
)


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
    text = regime_tables([table], {})
    assert "inf" not in text
    assert all(words in text for words in ("below 1", "1 to 2", "2 and above"))


def test_a_few_trips_of_a_regime_have_no_share_of_gains() -> None:
    for trips, share in ((FEWEST - 1, "–"), (FEWEST, "100%")):
        began = list(range(trips))
        table = split_by_regime(
            "spread", began, [1.0] * trips, began, began, max_age_ns=1, edges=[0.0]
        )
        assert regime_tables([table], {}).splitlines()[-1].split()[-1] == share


def bundle(folder: Path, *, mode: str, days: int, net: str, efficiency: float | None) -> Path:
    folder.mkdir()
    figures: dict[str, Any] = {
        "equity": {"return": float(net) / 1e4}, "drawdown": {"maximum": 0.01},
        "returns": {"days": days, "sharpe_annual": float(net)},
        "inference": {"deflated": 0.14 + days / 1000},
    }  # fmt: skip
    own = {"final_equity": "9999"} if efficiency is None else {}
    if efficiency is not None:
        figures["efficiency"] = efficiency
    summary = {
        "mode": mode, "strategy": "ema_cross", "instrument_ids": ["X"], "net": net, "fills": 3,
        "trading_start_utc": "2024-03-05T02:00:00Z", "end_utc": "2024-03-09T00:00:00Z",
        "currency": "USDT", "figures": figures, **own,
    }  # fmt: skip
    for name, value in (
        ("summary", summary), ("experiment", {}), ("environment", {}),
        ("timing", {"suite_name": "night", "started_utc": "2024-05-01T08:42:11Z"}),
    ):  # fmt: skip
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder


def test_runs_are_compared_by_what_both_have(tmp_path: Path) -> None:
    single = bundle(tmp_path / "a", mode="single", days=90, net="-5", efficiency=None)
    short = bundle(tmp_path / "b", mode="single", days=2, net="-7", efficiency=None)
    walk = bundle(tmp_path / "c", mode="walk_forward", days=40, net="6", efficiency=0.5)
    other = bundle(tmp_path / "d", mode="walk_forward", days=40, net="6", efficiency=0.7)
    found = {d["key"]: (d["first"], d["second"]) for d in compare_runs(single, walk)}
    assert found["return"] == (-0.0005, 0.0006)
    assert found["sharpe_annual"] == (-5.0, 6.0)
    assert found["deflated_sharpe"] == (0.23, pytest.approx(0.18))
    assert not {"final_equity", "efficiency", "maximum_drawdown"} & set(found)
    assert compare_runs(walk, other) == [
        {"part": "result", "key": "efficiency", "first": 0.5, "second": 0.7}
    ]
    (single / "experiment.json").write_text('{"config": {"seed": 1}}')
    parts = [d["part"] for d in compare_runs(single, walk)]
    assert parts == ["result"] * (len(parts) - 1) + ["experiment"]
    text = comparison_table([single, short], compare_runs(single, short))
    [sharpe] = [line for line in text.splitlines() if "sharpe_annual" in line]
    assert "-5 " in sharpe
    assert "2 days, 30 needed" in sharpe


def test_runs_are_listed_with_their_start_in_the_width_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "0b2e3c4f0e0f9713"
    runs = list_runs([bundle(tmp_path / name, mode="single", days=90, net="-5", efficiency=None)])
    text = runs_table(runs)
    assert "2024-05-01 08:42" in text
    assert max(map(len, text.splitlines())) <= 160
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    size = os.terminal_size((80, 24))
    monkeypatch.setattr("phoenix_runner.terminal.shutil.get_terminal_size", lambda: size)
    lines = runs_table(runs).splitlines()
    assert max(map(len, lines)) <= 80
    assert any(name in line for line in lines), "a name that is broken cannot be copied"
    assert "…" not in "".join(lines)
    for words in ("2024-05-01", "2024-03-05", "-5.00 USDT"):
        assert words in "".join(lines), words
