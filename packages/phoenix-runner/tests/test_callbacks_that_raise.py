"""Wherever a strategy raises, the run ends with its own error, not with a quiet success."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from phoenix_runner.cli import run_command
from small_catalog import (
    BAR_TYPE,
    HOUR,
    INSTRUMENT,
    MINUTE,
    START,
    bar_rows,
    quote,
    suite_values,
    trade,
    write,
)

CALLBACKS = [
    "begin", "on_quote", "on_trade", "on_bar", "on_data", "on_mark_price", "on_funding_rate",
    "alert_of_its_own", "on_order_initialized", "order_update OrderInitialized",
    "order_update OrderSubmitted",
    "order_update OrderFilled", "at", "every", "finish",
]  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("market") / "catalog"
    minutes = [START + i * MINUTE for i in range(9 * 60)]
    write(root, "QuoteTick", [quote(t, "100.00", "100.10") for t in minutes])
    write(root, "TradeTick", [trade(t, "100.00") for t in minutes])
    write(root, "Bar", bar_rows(["100.00"] * 540), BAR_TYPE)
    write(root, "MarkPriceUpdate", [{"ts": t, "value": "100.05"} for t in minutes])
    rate = {"ts": START + 8 * HOUR, "rate": "0.0001", "interval": 480}
    write(root, "FundingRateUpdate", [rate])
    write(root, "BinanceOiMetrics", [{"ts": t, "sum_open_interest": "7"} for t in minutes[::5]])
    return root


@pytest.mark.parametrize("callback", CALLBACKS)
def test_an_error_in_any_callback_ends_the_run(
    root: Path, callback: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = suite_values(
        root,
        output={"dir": str(tmp_path / "runs")},
        universe={"instrument_ids": [INSTRUMENT]},
        data={"include": ["QuoteTick", "TradeTick", "Bar", "MarkPriceUpdate", "BinanceOiMetrics"]},
        time={"start_utc": "2024-01-28", "end_utc": "2024-01-28T09:00:00Z"},
        strategy={"name": "raising_strategy:RAISING", "config": {"raise_in": callback}},
        execution={},
        funding="settle",
    )
    suite = tmp_path / "suite.yaml"
    suite.write_text(yaml.safe_dump(values), "utf-8")
    assert run_command(["run", str(suite), "--quiet"]) == 1
    error = capsys.readouterr().err
    assert f"ArithmeticError: planted in {callback}" in error
    assert error.startswith("phoenix: Raising.")
    assert error.count("\n") == 1
    [log] = (tmp_path / "runs").iterdir()  # the traceback, and no bundle
    assert log.name.endswith(".error.log")
    assert "in _here" in log.read_text("utf-8")
