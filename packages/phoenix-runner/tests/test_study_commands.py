"""Every study on the command line: a table on the terminal, a drawing on its page, a file of figures."""

from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from phoenix_runner.cli import run_command
from small_catalog import BAR_TYPE, bar_rows, suite_values, write

VARIANTS = {
    "ablation": {"kind": "ablation", "variants": {"slower": {"strategy.config.slow_bars": 8}}},
    "costs": {"kind": "costs", "fee_tiers": ["VIP0"], "spreads_bps": [4.0], "slippages_bps": [1.0]},
    "sweep": {
        "kind": "sweep",
        "search": {"parameters": {"strategy.config.fast_bars": [2, 3],
                                  "strategy.config.slow_bars": [6, 8]}},
    },
}  # fmt: skip
AXES = ("--x", "strategy.config.fast_bars=2,3", "--y", "strategy.config.slow_bars=6,8")
STUDIES = {
    # command, its options, what the terminal's table names, the drawing, its file of figures
    "ablation": ((), ("as written", "slower"), "gross-net", "variants.csv"),
    "costs": ((), ("as written", "no fees", "spread 4 bps"), "gross-net", "variants.csv"),
    "sweep": ((), ("fast_bars=2 slow_bars=8",), "sensitivity", "variants.csv"),
    "sensitivity": (AXES, ("fast_bars=3 slow_bars=6",), "sensitivity", "variants.csv"),
    "decay": (("--draws", "100"), ("fast", "slow", "next 1m"), "ic-fast", "decay.csv"),
    "regimes": ((), ("volatility", "funding"), "regime-volatility", "regimes.csv"),
}


def suite_in(folder: Path, mode: dict[str, Any]) -> Path:
    closes = [f"{round(40_000 + 200 * math.sin(i / 8) + 5 * (i % 7))}.00" for i in range(360)]
    write(folder / "catalog", "Bar", bar_rows(closes), BAR_TYPE)
    time = {"start_utc": "2024-01-28", "end_utc": "2024-01-28T06:00:00Z"}
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump(suite_values(folder / "catalog", mode=mode, time=time)), "utf-8")
    return path


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_leaves_a_table_a_drawing_and_figures(
    study: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options, named, drawing, data = STUDIES[study]
    what = str(suite_in(tmp_path, VARIANTS.get(study, {"kind": "single"})))
    workers = ("--workers", "1") if study not in ("decay", "regimes") else ()
    if study == "regimes":
        assert run_command(["run", what, "--json", "--quiet"]) == 0
        what = json.loads(capsys.readouterr().out)["folder"]
    assert run_command([study, what, *options, *workers]) == 0
    out = capsys.readouterr().out
    for name in named:
        assert name in out
    page = Path(out.splitlines()[-1].removeprefix("report: "))
    html = page.read_text("utf-8")
    [figure] = re.findall(rf'<figure class="[^"]*" id="{drawing}">(.*?)</figure>', html, re.DOTALL)
    assert figure.count("<svg") == 2  # for a laptop and for a phone
    assert "<path" in figure
    with (page.parent / data).open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 1
    # The same figures for a machine.
    again = ["--json", "--quiet"]
    assert run_command([study, what, *options, *workers, *again]) == 0
    told = json.loads(capsys.readouterr().out)
    assert Path(told["folder"]) == page.parent


def test_features_leave_signals_and_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    what = str(suite_in(tmp_path, {"kind": "single"}))
    assert run_command(["features", what, "--quiet", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    folder = Path(told["folder"])
    features = pq.read_table(folder / "features.parquet")
    labels = pq.read_table(folder / "labels.parquet")
    assert features.num_rows == told["rows"] > 300
    assert {"fast", "slow"} <= set(features.column_names)
    assert labels.num_rows == features.num_rows
    assert told["catalog_digest"] == json.loads(
        (tmp_path / "catalog" / "manifest.json").read_text("utf-8")
    )["catalog_digest"]  # fmt: skip
