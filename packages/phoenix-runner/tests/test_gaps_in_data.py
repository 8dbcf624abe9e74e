"""Days without data: nothing is traded on them, they earn no return, and they count as no day."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from phoenix_runner.backtest import RunResult, run_backtest
from phoenix_runner.metrics import daily_returns
from phoenix_runner.modes import run_experiment
from phoenix_runner.suite import suite_from
from phoenix_runner.summary import summarize
from small_catalog import DAY, MINUTE, START, quote, suite_values, trade, write

MARK = {"ts": START + 12 * 60 * MINUTE, "value": "99.00"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Quotes each minute on the 28th and the 31st of January, one higher then; nothing between."""
    rows = [quote(START + i * MINUTE, "100.00", "100.10") for i in range(1440)]
    rows += [quote(START + 3 * DAY + i * MINUTE, "101.00", "101.10") for i in range(1440)]
    write(tmp_path / "c", "QuoteTick", rows)
    write(tmp_path / "c", "TradeTick", [trade(row["ts"], row["bid_price"]) for row in rows])
    write(tmp_path / "c", "MarkPriceUpdate", [MARK])
    return tmp_path / "c"


def run(root: Path, script: list[str], *include: str, **time: str) -> RunResult:
    times = {"start_utc": "2024-01-28", "end_utc": "2024-02-01", **time}
    values: dict[str, Any] = suite_values(
        root,
        data={"include": ["QuoteTick", "TradeTick", *include]},
        time=times,
        strategy={
            "name": "scripted_strategy:SCRIPT",
            "config": {"script": script, "close_positions_on_stop": False},
        },
        execution={},
    )
    suite = suite_from(values, source="test")
    return run_backtest(suite, suite.config.time.start_ns, suite.config.time.end_ns)


def test_days_in_a_gap_have_no_samples_and_no_return(root: Path) -> None:
    result = run(root, ["12:00 buy 0.1"])
    record = result.record
    days = {(ts - 1) // DAY * DAY for ts in result.equity["ts_ns"].to_pylist()[1:]}
    assert days == {START, START + 3 * DAY}
    daily = daily_returns(
        record.ts_ns, record.equity, start_ns=record.start_ns, starting_equity=10_000.0
    )
    # What the gap moved falls to the day on which it could be seen: 0.1 * 1.00 of 9,999.985996.
    assert daily.day_ns.tolist() == [START, START + 3 * DAY]
    assert daily.returns[1] == pytest.approx(0.1 / 9_999.985996, rel=1e-9)
    figures = summarize(record)
    assert figures["range"]["days_without_data"] == 2
    assert figures["returns"]["days"] == 2
    # Held for one and a half of the two days that have data.
    assert figures["activity"]["time_in_market"] == pytest.approx(0.75, abs=0.001)


def test_a_gap_to_the_end_of_the_range_is_one_too(root: Path) -> None:
    result = run(root, ["12:00 buy 0.1"], end_utc="2024-02-03")
    assert summarize(result.record)["returns"]["days"] == 2
    assert summarize(result.record)["range"]["days_without_data"] == 4


def test_nothing_trades_in_a_gap(root: Path) -> None:
    # 24:04 is within five minutes of the last quote, 24:05 is not; 72:01 has quotes again.
    script = [
        "12:00 buy 0.1",
        "24:04 buy 0.1",
        "24:05 sell 0.1",
        "36:00 sell 0.2",
        "72:01 sell 0.2",
    ]
    result = run(root, script)
    assert [(f["ts_ns"], f["price"]) for f in result.fills] == [
        (START + 12 * 60 * MINUTE, "100.10"),
        (START + 24 * 60 * MINUTE + 4 * MINUTE, "100.10"),
        (START + 3 * DAY + MINUTE, "101.00"),
    ]
    assert [counts["no_data"] for counts in result.refusals.values()] == [2]


def test_what_is_open_at_the_end_is_marked_as_equity_marks_it(root: Path) -> None:
    for include, mark in (((), "101.00"), (("MarkPriceUpdate",), "99.00")):
        result = run(root, ["12:00 buy 0.1"], *include)
        parts = result.record.attribution
        bought = Decimal("0.1") * (Decimal(mark) - Decimal("100.10"))
        assert parts.net == bought - Decimal("0.1") * Decimal("100.10") * Decimal("0.0004")
        change = result.record.final_equity - result.record.starting_equity
        assert abs(parts.reconcile(change)) < Decimal("0.0001")


def test_a_page_says_that_a_position_was_closed_in_a_gap(root: Path, tmp_path: Path) -> None:
    def page(end_utc: str) -> str:
        values: dict[str, Any] = suite_values(
            root,
            data={"include": ["QuoteTick", "TradeTick"]},
            time={"start_utc": "2024-01-28", "end_utc": end_utc},
            strategy={"name": "scripted_strategy:SCRIPT", "config": {"script": ["12:00 buy 0.1"]}},
            execution={},
        )
        values["output"] = {"dir": str(tmp_path / "runs")}
        done = run_experiment(suite_from(values, source="test"))
        return (done.folder / "report.html").read_text("utf-8")

    said = "Warning: 1 fill lies in a gap of the quotes, at the last price before it."
    assert said in page("2024-02-03")
    assert "in a gap of the quotes" not in page("2024-02-01")


def test_the_mid_after_a_fill_stands_until_a_gap(root: Path) -> None:
    # Quotes are a minute apart: the one in force a second later is the one before the fill.
    result = run(root, ["12:00 buy 0.1", "23:59 buy 0.1", "24:04 buy 0.1"])
    mids = [[fill[f"mid_{s}s"] for s in (1, 30, 60)] for fill in result.fills]
    assert mids[0] == ["100.05", "100.05", "100.05"]
    assert mids[1] == ["100.05", "100.05", "100.05"]
    # 24:04 is five minutes after the last quote: what comes later is in the gap.
    assert mids[2] == [None, None, None]
