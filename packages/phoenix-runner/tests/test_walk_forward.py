"""Walk-forward: chosen on training alone, ties to the earlier set, resumed, the same for any workers."""

from __future__ import annotations

import csv
import html
import json
import math
import shutil
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from nautilus_trader.model import BarType
from numpy.typing import NDArray
from phoenix_runner.bundle import read_json, verify_bundle
from phoenix_runner.config import Search, WalkForwardMode
from phoenix_runner.errors import InterruptedRunError, NoDataError, StrategyFailedError, SuiteError
from phoenix_runner.executors import Inline
from phoenix_runner.experiment import run_suite
from phoenix_runner.fold_results import WalkForwardResult
from phoenix_runner.folds import FoldError
from phoenix_runner.inference import infer
from phoenix_runner.report.bundle_files import read_walk_forward
from phoenix_runner.report.page import render
from phoenix_runner.report.walk_forward import walk_forward_page
from phoenix_runner.search import parameter_sets
from phoenix_runner.suite import Suite, suite_from
from phoenix_runner.task_queue import TaskStore
from phoenix_runner.terminal import describe
from phoenix_runner.trials import Trial, choose, trial_variance
from phoenix_runner.walk_forward import fold_plan, run_walk_forward
from phoenix_schemas.errors import ConfigError
from phoenix_schemas.timestamps import format_utc
from phoenix_strategies.intents import Market
from phoenix_strategies.nautilus_seam import PhoenixStrategy
from phoenix_strategies.registry import StrategySpec
from phoenix_strategies.settings import StrategySettings
from small_catalog import BAR_TYPE, DAY, MINUTE, START, bar_rows, suite_values, write

STEP = 30  # bars are written every half hour, as 1-minute bars with silence between
DAYS = 4


def closes(days: int, drift: list[float]) -> list[str]:
    """A saw over a drift for each day, in prices on the tick."""
    price, found = 40_000.0, []
    for day in range(days):
        for i in range(1440 // STEP):
            price += drift[day] + (30 if i % 6 < 3 else -30)
            found.append(f"{round(price, 0):.2f}")
    return found


def write_market(root: Path, drift: list[float], without: int | None = None) -> None:
    """A file for each day, but for one `without`."""
    rows = bar_rows(closes(len(drift), drift))
    for i, row in enumerate(rows):
        row["ts"] = START + (i * STEP + 1) * MINUTE - 1_000_000
    bars = 1440 // STEP
    for day in range(len(drift)):
        if day != without:
            write(root, "Bar", rows[day * bars : (day + 1) * bars], BAR_TYPE)


def suite_over(root: Path, **mode: Any) -> Suite:
    parameters = mode.pop("parameters", {"strategy.config.slow_bars": [3, 5, 9]})
    values = suite_values(
        root,
        mode={
            "kind": "walk_forward", "train": "2d", "test": "1d", "objective": "net",
            "search": {"parameters": parameters}, **mode,
        },
        time={"start_utc": "2024-01-28", "end_utc": "2024-02-01", "warmup": "2h"},
    )  # fmt: skip
    return suite_from(values, source="test")


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "phoenix_runner.report.writing.write_report",
        lambda folder: (folder / "report.html").write_text("<!doctype html>"),
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_market(tmp_path / "catalog", [5.0, -8.0, 6.0, -5.0])
    return tmp_path / "catalog"


def run(suite: Suite, **options: Any) -> Path:
    return run_walk_forward(suite, Inline(), **options).folder


def a_trial(
    returns: Sequence[float] | NDArray[np.float64], net: float = 0.0, drawdown: float = 0.0
) -> Trial:
    values = np.array(returns, dtype=np.float64)
    return Trial(START + np.arange(values.size) * DAY, values, net, drawdown, 0)


def trials_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_aggregate_is_made_of_its_folds(root: Path) -> None:
    folder = run(suite_over(root))
    verify_bundle(folder)
    result = WalkForwardResult.read(folder)
    summary = read_json(folder, "summary.json")
    assert [f.bundle for f in result.folds] == ["fold-00", "fold-01"]
    for j, fold in enumerate(result.folds):
        assert fold.test_start_ns == START + (2 + j) * DAY
        assert fold.train_start_ns == START + j * DAY
        assert fold.train_end_ns == fold.test_start_ns
        test = read_json(folder / fold.bundle, "summary.json")
        assert test["starting_equity"] == "10000"  # each fold starts flat and afresh
        assert test["open_positions"] == {}
        config = read_json(folder / fold.bundle, "experiment.json")["config"]
        assert config["strategy"]["config"]["slow_bars"] == fold.chosen["slow_bars"]
    # The chained curve compounds the folds' returns.
    tests = [read_json(folder / f.bundle, "summary.json") for f in result.folds]
    compounded = np.prod([float(t["final_equity"]) / 10_000 for t in tests])
    assert summary["figures"]["equity"]["return"] == pytest.approx(compounded - 1, abs=1e-12)
    assert float(summary["net"]) == pytest.approx(sum(float(t["net"]) for t in tests), abs=1e-9)
    assert (summary["sets_evaluated"], summary["folds"]) == (3, 2)


def test_the_best_of_training_is_chosen_and_ties_go_to_the_earlier_set(root: Path) -> None:
    rows = trials_of(run(suite_over(root)))
    for fold in range(2):
        own = [r for r in rows if r["fold"] == str(fold)]
        nets = [float(r["net"]) for r in own]
        assert [r["chosen"] for r in own].index("true") == nets.index(max(nets))
        assert sum(r["chosen"] == "true" for r in own) == 1
    equal = [a_trial([0.0], 1.0), a_trial([0.0], 1.0)]
    assert choose(equal, "net") == 0


def test_the_choice_does_not_know_what_comes_after_training(root: Path, tmp_path: Path) -> None:
    # The same market up to the end of fold 0's training, another one afterwards.
    other = tmp_path / "other"
    write_market(other, [5.0, -8.0, -60.0, 40.0])
    first, second = (trials_of(run(suite_over(r))) for r in (root, other))
    assert first[:3] == second[:3]
    assert first[3:6] != second[3:6]


class Bettor(PhoenixStrategy["BettorSettings"]):
    """Knows nothing: buys or sells short at the first bar, and holds to the end."""

    def begin(self) -> None:
        self.bet = False
        self.subscribe_bars(BarType.from_str(f"{self.instrument_id}-1-MINUTE-LAST-EXTERNAL"))

    def on_bar(self, bar: Any) -> None:
        if not self.bet:  # in the warm-up nothing leaves
            order = self.submit(Market(self.settings.side, Decimal("0.1"), "entry"))
            self.bet = order is not None


class BettorSettings(StrategySettings, frozen=True, kw_only=True):
    side: int = 1


BETTOR = StrategySpec(
    name="test_walk_forward:BETTOR",
    settings_type=BettorSettings,
    strategy_type=Bettor,
    data_types=lambda _settings: frozenset({"Bar"}),
    posts_limit_orders=lambda _settings: False,
    estimators=lambda _settings: {},
)


@pytest.mark.parametrize("objective", ["net", "sharpe", "return_over_drawdown"])
def test_what_would_profit_only_from_seeing_the_test_loses(tmp_path: Path, objective: str) -> None:
    # Two days up, two down, two up: every test turns against what its training liked.
    write_market(tmp_path / "catalog", [8.0, 8.0, -8.0, -8.0, 8.0, 8.0])
    values = suite_over(
        tmp_path / "catalog", step="2d", test="2d", objective=objective,
    ).to_builtins()  # fmt: skip
    values["strategy"] = {"name": BETTOR.name, "config": {}}
    values["mode"]["search"] = {"parameters": {"strategy.config.side": [1, -1]}}
    values["time"]["end_utc"] = "2024-02-03"
    folder = run(suite_from(values, source="test"))
    result = WalkForwardResult.read(folder)
    assert [fold.chosen["side"] for fold in result.folds] == [1, -1]
    for fold in result.folds:
        assert fold.train_mean_daily > 0
        assert float(read_json(folder / fold.bundle, "summary.json")["net"]) < -20
    # Either side would have gained in the test it was not chosen for: seeing it would have paid.
    for fold in result.folds:
        seen = {**values, "mode": {"kind": "single"}, "output": {"dir": str(tmp_path / "seen")}}
        seen["strategy"] = {"name": BETTOR.name, "config": {"side": -fold.chosen["side"]}}
        days = [format_utc(ns) for ns in (fold.test_start_ns, fold.test_end_ns)]
        seen["time"] = {**values["time"], "start_utc": days[0], "end_utc": days[1]}
        assert float(run_suite(suite_from(seen, source="seen")).summary["net"]) > 20


def test_purge_and_embargo_keep_ranges_apart(root: Path) -> None:
    folder = run(suite_over(root, purge="3h", embargo="1d", horizon="2h", folds="anchored"))
    result = WalkForwardResult.read(folder)
    for j, fold in enumerate(result.folds):
        assert fold.train_start_ns == START
        assert fold.train_end_ns == START + (2 + j) * DAY - 3 * 60 * MINUTE
        assert fold.test_start_ns == START + (3 + j) * DAY


@pytest.mark.parametrize(
    ("mode", "kind", "words"),
    [
        (
            {"step": "12h", "test": "1d"},
            FoldError,
            r"mode.step must be at least mode.test, 1d \(was 12h\)",
        ),
        ({"horizon": "2h"}, FoldError, r"mode.purge .* horizon, 2h \(was 0s\)"),
        ({"test": "0d"}, FoldError, r"mode.test must be positive \(was 0s\)"),
        ({"purge": "2d"}, FoldError, r"mode.purge must be shorter than mode.train, 2d \(was 2d\)"),
        (
            {"train": "30d"},
            FoldError,
            r"mode.embargo \+ mode.test must fit the range of 4d \(was 31d\)",
        ),
        ({"test": "36h"}, SuiteError, r"test must be whole days.*\(was 36h\)"),
        ({"embargo": "1h"}, SuiteError, "must be whole days"),
        ({"parameters": {"strategy.config.slow": [3]}}, SuiteError, "did you mean 'slow_bars'"),
        ({"parameters": {"strategy.confg.slow_bars": [3]}}, SuiteError, "must be a key path"),
        ({"parameters": {"strategy.config.slow_bars": [3, 1]}}, SuiteError, "slow_bars=1"),
        ({"parameters": {"strategy.config.slow_bars": [3, 5, 3]}}, ConfigError, "was 3 twice"),
        (
            {"parameters": {"strategy.config.trade_size": ["0.1", "0.10"]}},
            SuiteError,
            "the same as",
        ),
        (
            {"parameters": {"time.start_utc": ["2024-01-29", "2024-01-28"]}},
            SuiteError,
            "time.start_utc: parameter must be one that can differ",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_any_run(
    root: Path, mode: dict[str, Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words) as caught:
        run(suite_over(root, **mode))
    assert caught.value.exit_code == 2  # type: ignore[attr-defined]
    assert not (root.parent / "runs").exists()


def test_combinations_that_the_strategy_does_not_allow_are_no_trials(root: Path) -> None:
    parameters = {"strategy.config.fast_bars": [2, 5], "strategy.config.slow_bars": [3, 9]}
    suite = suite_over(root, parameters=parameters)
    counting = Counting()
    done = run_walk_forward(suite, counting)
    assert counting.runs == 2 * 3 + 2
    result = WalkForwardResult.read(done.folder)
    assert [o.label for o in result.left_out] == ["fast_bars=5 slow_bars=3"]
    assert (result.sets_evaluated, result.trials) == (3, 3)
    assert result.selection.startswith("Each of 3 parameter sets (every combination of the values ")
    assert "where the strategy allows them together" in result.selection
    said = (
        "1 of 4 combinations is not allowed (fast_bars=5 slow_bars=3: slow_bars must be > fast_bars = 5 "
        "(was 3)); left out, no trial"
    )
    assert said in describe(done).splitlines()
    page = render(
        walk_forward_page(*read_walk_forward(done.folder), config_text="", environment="")
    )
    assert f"{said}." in html.unescape(page)
    drawn = {**suite.to_builtins()["mode"]["search"], "method": "random", "samples": 4}
    assert WalkForwardResult.read(run(suite_over(root, search=drawn))).sets_evaluated == 3


def test_more_runs_than_anybody_waits_for_are_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phoenix_runner.search.MOST_RUNS", 7)
    with pytest.raises(SuiteError, match=r"at most 7 runs \(was 8, of 3 sets in 2 folds\)"):
        run(suite_over(root))


def test_a_partial_last_fold_is_dropped_and_reported(root: Path) -> None:
    result = WalkForwardResult.read(run(suite_over(root, train="1d", test="2d")))
    assert len(result.folds) == 1
    assert result.dropped is not None
    assert result.dropped.test_end_ns == START + 5 * DAY > START + DAYS * DAY


def test_random_search_draws_distinct_sets_by_seed() -> None:
    search = Search(parameters={"a": list(range(10)), "b": list(range(10))},
                    method="random", samples=20)  # fmt: skip
    drawn = parameter_sets(search, 3)
    assert drawn == parameter_sets(search, 3) != parameter_sets(search, 4)
    assert len({tuple(s.values()) for s in drawn}) == 20
    with pytest.raises(SuiteError, match="must be at most the number of sets, 100"):
        parameter_sets(Search(parameters=search.parameters, method="random", samples=101), 0)


def test_trial_variance_is_across_the_sets_over_all_their_training() -> None:
    # Sharpe per day (n - 1) of (0, 2, 0, 2) is sqrt(3) / 2, of (1, 1, 1, 1) none, which counts as 0.
    folds = [[a_trial([0, 2]), a_trial([1, 1])]] * 2
    assert trial_variance(folds) == pytest.approx(0.75 / 2)
    assert trial_variance([[a_trial([0, 2])], [a_trial([1, 3])]]) == 0.0


def test_a_short_training_does_not_deflate_a_long_record() -> None:
    # Nine sets with a true Sharpe ratio of 5 a year, trained on 7 days in each of 104 folds: in any one
    # of them they differ by noise that no record of two years could beat.
    rng = np.random.default_rng(11)
    good = 5 / math.sqrt(365)

    def deflated(mean: float, spread: float) -> float:
        means = np.linspace(mean - spread, mean + spread, 9)
        folds = [[a_trial(rng.normal(m, 1, 7)) for m in means] for _ in range(104)]
        tested = rng.normal(mean, 1, 730)
        found = infer(tested, trials=9, trial_variance=trial_variance(folds)).deflated
        assert found is not None
        return found

    assert deflated(good, 0.0) > 0.99
    assert deflated(0.0, 0.0) < 0.95
    # Sets that do differ by more than the tested one earns leave room for luck.
    assert deflated(good, 1.0) < 0.01


def test_the_variance_of_trials_can_be_computed_again_from_the_bundle(root: Path) -> None:
    folder = run(suite_over(root))
    table = pq.read_table(folder / "set_returns.parquet").to_pandas()
    assert not table["screened"].any()
    assert table["fold"].notna().all()  # too few days to replay the whole range for an overfitting
    ratios = table.groupby("set")["return"].agg(lambda r: r.mean() / r.std(ddof=1))
    assert len(ratios) == 3
    found = WalkForwardResult.read(folder).trial_variance
    assert found == pytest.approx(ratios.var(ddof=1), rel=1e-9)
    # By fold and set, the days of its training.
    result = WalkForwardResult.read(folder)
    for fold, own in table.groupby("fold"):
        range_ = result.folds[int(fold)]
        days = list(range(range_.train_start_ns, range_.train_end_ns, DAY))
        assert own["day_ns"].tolist() == days * 3


def test_objectives_rank_as_they_say() -> None:
    steady = a_trial([0.01, 0.012], 220.0, 0.001)
    wild = a_trial([0.1, -0.05], 450.0, 0.06)
    idle = a_trial([0.0, 0.0])
    assert choose([idle, steady, wild], "net") == 2
    assert choose([idle, steady, wild], "sharpe") == 1
    assert choose([idle, wild, steady], "return_over_drawdown") == 2


class Counting(Inline):
    """Counts what is really run, and may stop in the middle."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.runs = 0
        self.stop_after = stop_after

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        if self.runs == self.stop_after:
            raise KeyboardInterrupt
        self.runs += 1
        return super().submit(fn, *args, **kwargs)


def test_a_stopped_suite_goes_on_where_it_was_and_ends_the_same(root: Path) -> None:
    whole = run(suite_over(root))
    expected = verify_bundle(whole)
    shutil.rmtree(whole)
    suite = suite_over(root)
    stopping = Counting(stop_after=4)
    with pytest.raises(InterruptedRunError, match="4 of 8 runs are kept"):
        run_walk_forward(suite, stopping)
    assert not whole.exists()
    resuming = Counting()
    done = run_walk_forward(suite, resuming)
    assert resuming.runs == 6 - 4 + 2
    assert verify_bundle(done.folder) == expected
    assert [p.name for p in (root.parent / "runs").iterdir()] == [whole.name]  # nothing left over
    again = Counting()
    assert run_walk_forward(suite, again).reused
    assert again.runs == 0


def test_a_strategy_that_raises_names_its_run_and_keeps_the_others(root: Path) -> None:
    values = suite_over(root).to_builtins()
    values["strategy"] = {"name": "probe_strategies:PROBE", "config": {"listen": ["Bar"]}}
    parameters = {"strategy.config.raise_at": [0, 7]}
    values["mode"]["search"] = {"parameters": parameters}
    suite = suite_from(values, source="test")
    with pytest.raises(StrategyFailedError, match=r"fold 0 train, raise_at=7: Probe.on_bar raised"):
        run(suite)
    runs = root.parent / "runs"
    assert "planted in a callback" in (runs / "failed-task.error.log").read_text()
    kept = list((runs / ".tasks").iterdir())
    assert len(kept) == 2  # the set that works, on each training range
    assert all(json.loads((k / "summary.json").read_text())["fills"] == 0 for k in kept)


def test_the_purge_covers_the_time_stop_of_the_strategy() -> None:
    def planned(**mode: str) -> int:
        text = (Path(__file__).parents[3] / "configs/acceptance/phoenix_lpi_month.yaml").read_text()
        values = yaml.safe_load(text)
        values["mode"] |= mode
        suite = suite_from(values, source="test")
        assert isinstance(suite.config.mode, WalkForwardMode)
        return fold_plan(suite, suite.config.mode).horizon_ns

    assert planned(purge="10m", horizon="0s") == 10 * MINUTE  # 60 buckets of 10 s
    assert planned(purge="1h", horizon="30m") == 30 * MINUTE
    with pytest.raises(FoldError, match="longest holding"):
        planned(purge="0s", horizon="0s")


def test_a_fold_that_a_gap_swallows_is_left_out_and_named(tmp_path: Path) -> None:
    write_market(tmp_path / "catalog", [5.0, -8.0, 6.0, -5.0], without=2)
    suite = suite_over(tmp_path / "catalog")
    folder = run(suite)
    result = WalkForwardResult.read(folder)
    assert [(f.index, f.bundle, f.test_start_ns) for f in result.folds] == [
        (1, "fold-01", START + 3 * DAY)
    ]
    assert [(f.test_start_ns, f.test_end_ns) for f in result.without_data] == [
        (START + 2 * DAY, START + 3 * DAY)
    ]
    assert read_json(folder, "summary.json")["folds"] == 1
    assert {row["fold"] for row in trials_of(folder)} == {"1"}
    write_market(tmp_path / "short", [5.0, -8.0])
    with pytest.raises(NoDataError, match="2024-01-31T00:00:00Z; the catalog has it from"):
        run(suite_over(tmp_path / "short"))


def test_overwrite_takes_nothing_that_was_kept(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = suite_over(root)
    expected = (run(suite) / "bundle.sha256").read_bytes()
    kept = TaskStore(root.parent / "runs")
    monkeypatch.setattr(TaskStore, "forget", lambda self, tasks: None)
    run(suite, overwrite=True)
    stale = list((kept._root).iterdir())
    assert len(stale) == 8  # 2 folds x 3 sets, and 2 tests
    for folder in stale:
        (folder / "summary.json").write_text("stale")
    assert (run(suite, overwrite=True) / "bundle.sha256").read_bytes() == expected


def test_the_store_keeps_all_of_a_task_or_nothing(root: Path, tmp_path: Path) -> None:
    from phoenix_runner.search import with_parameters
    from phoenix_runner.tasks import Task

    single = with_parameters(
        suite_over(root), {}, start_utc="2024-01-28T00:00:00Z", end_utc="2024-01-29T00:00:00Z"
    )
    task, figures = (Task("x", single, "0" * 64, whole) for whole in (True, False))
    store = TaskStore(tmp_path / "out")
    assert store.load(task) is None
    store.save(task, {"a.txt": b"1"})
    assert store.load(task) == {"a.txt": b"1"}
    assert store.load(figures) is None
    (tmp_path / "out" / ".tasks" / f".{task.identity}.4711").mkdir()  # kill -9 while it was saved
    store.forget([task])
    assert not (tmp_path / "out" / ".tasks").exists()


@pytest.fixture(autouse=True)
def _no_leftovers(tmp_path: Path) -> Iterator[None]:
    yield
    assert not list(tmp_path.glob("runs/.*.partial"))


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        ({}, "4 days, 32 needed"),
        ({"overfitting": False}, "mode.overfitting is false"),
        ({"parameters": {"strategy.config.slow_bars": [3]}}, "1 set, 2 needed"),
    ],
)
def test_why_there_is_no_probability_of_overfitting_is_said(
    root: Path, mode: dict[str, Any], why: str
) -> None:
    result = WalkForwardResult.read(run(suite_over(root, **mode)))
    assert result.overfitting is None
    assert result.no_overfitting == why


def test_trials_declared_in_the_suite_deflate_the_sharpe_ratio(root: Path) -> None:
    alone, declared = (
        read_json(run(suite_over(root, declared_trials=n)), "summary.json") for n in (0, 97)
    )
    first, second = (s["figures"]["inference"] for s in (alone, declared))
    assert (first["trials"], second["trials"]) == (3, 100)
    # More tried, more luck expected of the best: the same result proves less.
    assert second["expected_maximum"] > first["expected_maximum"] > 0
    assert second["deflated"] <= first["deflated"]
    assert second["probabilistic"] == first["probabilistic"]
    assert alone["net"] == declared["net"]
