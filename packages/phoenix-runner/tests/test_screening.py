"""Screening: the stated fill rule by hand, the replay as oracle, and what walk-forward makes of it."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from phoenix_runner.backtest import run_backtest
from phoenix_runner.bundle import read_json, verify_bundle
from phoenix_runner.config import WalkForwardMode
from phoenix_runner.errors import SuiteError
from phoenix_runner.executors import Inline
from phoenix_runner.fold_results import WalkForwardResult
from phoenix_runner.inference import moments, probability_of_backtest_overfitting
from phoenix_runner.screening import screen
from phoenix_runner.search import parameter_sets, with_parameters
from phoenix_runner.suite import Suite, suite_from
from phoenix_runner.variants import variants_of
from phoenix_runner.walk_forward import run_walk_forward
from phoenix_schemas.timestamps import format_utc
from small_catalog import BAR_TYPE, DAY, MINUTE, START, bar_rows, suite_values, write

STEP = 30


def write_market(root: Path, days: int, seed: int = 1) -> None:
    """A walk in bars of a minute, one every half hour."""
    draw = random.Random(seed)
    price, closes = 40_000, []
    for _ in range(days * 1440 // STEP):
        price += draw.choice((-40, -10, 10, 40))
        closes.append(f"{price}.00")
    rows = bar_rows(closes)
    for i, row in enumerate(rows):
        row["ts"] = START + (i * STEP + 1) * MINUTE - 1_000_000
    write(root, "Bar", rows, BAR_TYPE)


def suite_over(root: Path, days: int, **sections: Any) -> Suite:
    end = f"2024-02-{days - 3:02d}" if days > 3 else f"2024-01-{28 + days:02d}"
    values = suite_values(
        root, time={"start_utc": "2024-01-28", "end_utc": end, "warmup": "0s"}, **sections
    )
    return suite_from(values, source="test")


def test_the_fill_rule_by_hand(tmp_path: Path) -> None:
    # EMA 1 over 2 is long after a rise, short after a fall: long at 40100, short at 40000.
    closes = ["40000.00", "40100.00", "40100.00", "40000.00", "39900.00"]
    write(tmp_path / "catalog", "Bar", bar_rows(closes), BAR_TYPE)
    config = {"fast_bars": 1, "slow_bars": 2, "trade_size": "0.1"}
    suite = suite_from(
        suite_values(
            tmp_path / "catalog",
            strategy={"config": config},
            execution={"bar_execution": {"spread_bps": 0.0}, "fees": {"source": "tier"}},
        ),
        source="test",
    )
    [found] = screen(suite, [{}], start_utc="2024-01-28", end_utc="2024-01-28T01:00:00Z")
    # 0.1 (40000 - 40100) - 0.1 (39900 - 40000) = 0; traded 0.1 x 40100 + 0.2 x 40000 + 0.1 x 39900.
    assert found.net == pytest.approx(-(4010 + 8000 + 3990) * 0.0005, abs=1e-9)
    assert found.fills == 3
    assert found.day_ns.tolist() == [START]
    assert found.returns.tolist() == pytest.approx([found.net / 10_000])
    assert found.maximum_drawdown == pytest.approx(-found.net / 10_000)


def test_a_screen_says_what_a_replay_says(tmp_path: Path) -> None:
    write_market(tmp_path / "catalog", days=3)
    suite = suite_over(tmp_path / "catalog", 3)
    sets = [
        {"strategy.config.slow_bars": slow, "strategy.config.long_only": only}
        for slow in (3, 5, 9)
        for only in (False, True)
    ]
    time = suite.config.time
    found = screen(suite, sets, start_utc=time.start_utc, end_utc=time.end_utc)
    for parameters, screened in zip(sets, found, strict=True):
        own = with_parameters(suite, parameters, start_utc=time.start_utc, end_utc=time.end_utc)
        result = run_backtest(own, time.start_ns, time.end_ns)
        assert screened.net == pytest.approx(float(result.record.attribution.net), abs=1e-6)
        assert screened.fills == len(result.fills)
    assert len({round(s.net, 6) for s in found}) == len(sets)


def test_warm_up_is_not_scored_but_heard(tmp_path: Path) -> None:
    write_market(tmp_path / "catalog", days=2)
    suite = suite_over(tmp_path / "catalog", 2, strategy={"config": {"slow_bars": 30}})
    values = suite.to_builtins()
    later: dict[str, Any] = {"start_utc": "2024-01-29", "end_utc": "2024-01-30"}
    cold, warm = (
        screen(
            suite_from({**values, "time": {**later, "warmup": warmup}}, source="test"),
            [{}],
            **later,
        )[0]
        for warmup in ("0s", "1d")
    )
    assert cold.day_ns.tolist() == warm.day_ns.tolist() == [START + DAY]
    assert cold.net != warm.net


SEARCH = {"parameters": {"strategy.config.slow_bars": list(range(3, 13))}, "screen": {"keep": 2}}


def walk_forward(root: Path, days: int, search: dict[str, Any] = SEARCH, **more: Any) -> Suite:
    mode = {"kind": "walk_forward", "train": "2d", "test": "1d", "search": search, **more}
    return suite_over(root, days, mode=mode)


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "phoenix_runner.report.writing.write_report",
        lambda folder: (folder / "report.html").write_text("<!doctype html>"),
    )


def test_a_walk_forward_replays_the_best_of_its_screen_and_counts_them_all(tmp_path: Path) -> None:
    root = tmp_path / "catalog"
    write_market(root, days=5)
    suite = walk_forward(root, 5)
    folder = run_walk_forward(suite, Inline()).folder
    verify_bundle(folder)
    result = WalkForwardResult.read(folder)
    assert result.sets_evaluated == 10  # not the two that were replayed
    assert read_json(folder, "summary.json")["figures"]["inference"]["trials"] == 10
    assert "were screened on each training range from batch signals" in result.selection
    with (folder / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10 * len(result.folds)
    assert isinstance(suite.config.mode, WalkForwardMode)
    sets = parameter_sets(suite.config.mode.search, suite.config.determinism_seed)
    training = []
    for fold in result.folds:
        own = [r for r in rows if r["fold"] == str(fold.index)]
        order = sorted(range(10), key=lambda i: -float(own[i]["screen_objective"]))
        replayed = [i for i in range(10) if own[i]["objective"]]
        assert replayed == sorted(order[:2])
        best = max(replayed, key=lambda i: float(own[i]["objective"]))
        assert [r["chosen"] for r in own].index("true") == best
        start_utc, end_utc = format_utc(fold.train_start_ns), format_utc(fold.train_end_ns)
        training.append(screen(suite, sets, start_utc=start_utc, end_utc=end_utc))
    # Each set over its training days of all folds together.
    pooled = [np.concatenate([s.returns for s in own]) for own in zip(*training, strict=True)]
    ratios = [moments(returns).sharpe for returns in pooled]
    assert result.trial_variance == pytest.approx(np.var(ratios, ddof=1))


def test_without_a_screen_the_same_choice_is_made_by_replaying_all(tmp_path: Path) -> None:
    # Bars alone: the screen is exact, so its best is the replay's best.
    root = tmp_path / "catalog"
    write_market(root, days=4)
    chosen = []
    for search in (SEARCH, {k: v for k, v in SEARCH.items() if k != "screen"}):
        folder = run_walk_forward(walk_forward(root, 4, search), Inline()).folder
        chosen.append([f.chosen for f in WalkForwardResult.read(folder).folds])
    assert chosen[0] == chosen[1]


def test_the_overfitting_matrix_may_come_from_the_screen_and_says_so(tmp_path: Path) -> None:
    root = tmp_path / "catalog"
    write_market(root, days=32)
    suite = walk_forward(root, 32, train="16d", test="16d")
    folder = run_walk_forward(suite, Inline()).folder
    found = WalkForwardResult.read(folder).overfitting
    assert found is not None
    assert (found.sets, found.days_used) == (10, 32)
    assert found.source.startswith("Every parameter set was screened over the whole range")
    table = pq.read_table(folder / "set_returns.parquet").to_pandas()
    whole = table[table["fold"].isna()]
    assert whole["screened"].all()
    matrix = whole.pivot_table(index="day_ns", columns="set", values="return")
    again = probability_of_backtest_overfitting(matrix.to_numpy(), blocks=16)
    assert (found.probability, found.splits) == (again.probability, again.splits)
    # Of each set: the training of the fold by screen, of the best two by replay too.
    training = table[table["fold"].notna()].groupby("screened")["set"].nunique()
    assert training.to_dict() == {False: 2, True: 10}


def test_a_screen_does_not_see_past_training(tmp_path: Path) -> None:
    write_market(tmp_path / "whole", days=4)
    write_market(tmp_path / "cut", days=2)  # the same walk, ended earlier
    suites = [suite_over(tmp_path / name, 2) for name in ("whole", "cut")]
    sets = parameter_sets(walk_forward(tmp_path / "cut", 4).config.mode.search, 0)  # type: ignore[union-attr]
    found = [screen(s, sets, start_utc="2024-01-28", end_utc="2024-01-30") for s in suites]
    assert [s.net for s in found[0]] == [s.net for s in found[1]]
    assert all(moments(s.returns).observations == 2 for s in found[0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"strategy": {"name": "probe_strategies:PROBE", "config": {"listen": ["Bar"]}}},
         "must go with one of ema_cross"),
        ({"search": {**SEARCH, "parameters": {"execution.latency.insert_ms": [0, 1]}}},
         "parameters of strategy.config"),
        ({"search": {**SEARCH, "parameters": {"strategy.config.slow_bars": [3, 1]}}}, "slow_bars=1"),
    ],
)  # fmt: skip
def test_what_cannot_be_screened_is_refused_before_any_work(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    root = tmp_path / "catalog"
    write_market(root, days=3)
    suite = walk_forward(root, 3, change.pop("search", SEARCH))
    if change:
        suite = suite_from({**suite.to_builtins(), **change}, source="test")
    with pytest.raises(SuiteError, match=words) as caught:
        run_walk_forward(suite, Inline())
    assert caught.value.exit_code == 2
    assert not (tmp_path / "runs").exists()


def test_a_sweep_replays_every_set(tmp_path: Path) -> None:
    root = tmp_path / "catalog"
    write_market(root, days=2)
    suite = suite_over(root, 2, mode={"kind": "sweep", "search": SEARCH})
    with pytest.raises(SuiteError, match="a sweep replays all"):
        variants_of(suite)
