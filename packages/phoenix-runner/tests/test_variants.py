"""Sweeps, ablations and cost studies: every variant is a run of its own, in one table."""

from __future__ import annotations

import csv
import html
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from phoenix_runner.bundle import read_json, verify_bundle
from phoenix_runner.errors import SuiteError
from phoenix_runner.executors import Inline
from phoenix_runner.experiment import run_suite
from phoenix_runner.modes import draw_report
from phoenix_runner.report.wording import money
from phoenix_runner.suite import Suite, suite_from
from phoenix_runner.terminal import describe
from phoenix_runner.variant_report import _sentences, surface
from phoenix_runner.variants import run_variants, variants_of
from small_catalog import BAR_TYPE, bar_rows, quote, suite_values, write

HOUR_OF_BARS = [f"{40000 + 150 * ((i // 7) % 3)}.00" for i in range(60)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / "catalog", "Bar", bar_rows(HOUR_OF_BARS), BAR_TYPE)
    return tmp_path / "catalog"


def suite_over(root: Path, mode: dict[str, Any], **sections: Any) -> Suite:
    return suite_from(suite_values(root, mode=mode, **sections), source="test")


def table_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "variants.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_sweep_is_the_runs_it_names_and_draws_their_surface(root: Path) -> None:
    parameters = {"strategy.config.fast_bars": [1, 2], "strategy.config.slow_bars": [4, 6, 8]}
    mode = {"kind": "sweep", "search": {"parameters": parameters}}
    folder = run_variants(suite_over(root, mode), Inline()).folder
    verify_bundle(folder)
    rows = table_of(folder)
    assert [r["variant"] for r in rows][:2] == [
        "fast_bars=1 slow_bars=4",
        "fast_bars=1 slow_bars=6",
    ]
    alone = run_suite(
        suite_from(
            suite_values(root, strategy={"config": {"fast_bars": 2, "slow_bars": 6}}), source="one"
        )
    )
    [same] = [r for r in rows if r["variant"] == "fast_bars=2 slow_bars=6"]
    assert (same["net"], same["experiment_id"]) == (alone.summary["net"], alone.folder.name)
    summary = read_json(folder, "summary.json")
    drawn = surface(summary)
    assert drawn.values.shape == (3, 2)
    assert drawn.values[1, 1] == float(alone.summary["net"])
    best = max(rows, key=lambda r: float(r["net"]))
    assert summary["best"] == best["variant"]
    assert summary["inference_of_best"]["trials"] == 6
    page = (folder / "report.html").read_text("utf-8")
    assert "slow_bars" in page
    assert "How much of that is luck cannot be said: 1 day, 30 needed." in page
    for part in ("gross", "fees", "spread", "funding"):  # what makes up the net of a row
        assert money(best[part], sign=True) in page
    assert re.findall(r"<th[^>]*>(funding)</th>", page)
    (folder / "report.html").unlink()
    draw_report(folder)
    assert (folder / "report.html").read_text("utf-8") == page


def test_costs_change_one_assumption_at_a_time(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phoenix_runner.variant_report.draw_variants", lambda folder: folder)
    suite = suite_over(root, {
        "kind": "costs", "fee_tiers": ["VIP0"], "spreads_bps": [0.0, 10.0], "slippages_bps": [5.0],
    })  # fmt: skip
    done = run_variants(suite, Inline())
    # No assumption about costs is a choice: nothing was tried beside the suite as written.
    assert done.summary["inference_of_best"]["trials"] == 1
    rows = {r["variant"]: r for r in table_of(done.folder)}
    assert list(rows) == ["as written", "fees VIP0", "no fees", "spread 0 bps", "spread 10 bps",
                          "slippage 5 bps"]  # fmt: skip
    base = rows["as written"]
    for row in rows.values():
        parts = sum(Decimal(row[k]) for k in ("gross", "fees", "spread", "funding"))
        assert parts == Decimal(row["net"])
    assert rows["no fees"]["fees"] == "0E-8" or Decimal(rows["no fees"]["fees"]) == 0
    assert rows["no fees"]["gross"] == base["gross"] == rows["fees VIP0"]["gross"]
    # The baseline's taker fee is 4 bps of what was traded, VIP0's 5.
    assert Decimal(rows["fees VIP0"]["fees"]) / Decimal(base["fees"]) == Decimal("1.25")
    assert Decimal(rows["spread 10 bps"]["spread"]) < Decimal(rows["spread 0 bps"]["spread"])
    # Half of a spread of 10 bps is paid, of slippage the whole.
    assert rows["slippage 5 bps"]["spread"] == rows["spread 10 bps"]["spread"]


def test_what_a_sweep_says_of_luck_is_no_probability_of_skill() -> None:
    summary = {
        "mode": "sweep", "best": "fast_bars=1", "net": "5", "currency": "USDT", "variants": [],
        "inference_of_best": {"deflated": 0.25, "observations": 44, "trials": 3},
    }  # fmt: skip
    best, *_ = _sentences(summary)
    assert best.replace("\N{NO-BREAK SPACE}", " ").endswith(
        "The best of 3 worthless sets would show less than its Sharpe ratio in 25 % of samples this "
        "long (DSR)."
    )


def test_cost_assumptions_that_the_market_does_not_have_are_refused(root: Path) -> None:
    for key in ("insert_latencies_ms", "prob_slippages"):
        with pytest.raises(
            SuiteError, match=rf"mode.{key} must go with a suite of quotes \(was \[1\D"
        ):
            variants_of(suite_over(root, {"kind": "costs", key: [1]}))
    quotes = suite_over(
        root, {"kind": "costs", "spreads_bps": [3.0]}, data={"include": ["QuoteTick"]}, execution={},
        strategy={"name": "probe_strategies:PROBE", "config": {"buy_at": 5, "sell_at": 9}},
    )  # fmt: skip
    with pytest.raises(
        SuiteError, match=r"must go with a suite without quotes .* mode.prob_slippages$"
    ):
        variants_of(quotes)


def test_a_cost_study_of_quotes_varies_latency_and_slippage(tmp_path: Path) -> None:
    rows = [quote(1706400000000000000 + i * 60_000_000_000, "100.00", "100.10") for i in range(60)]
    write(tmp_path / "c", "QuoteTick", rows)
    suite = suite_over(
        tmp_path / "c", {"kind": "costs"}, data={"include": ["QuoteTick"]}, execution={},
        strategy={"name": "probe_strategies:PROBE", "config": {"buy_at": 5, "sell_at": 9}},
    )  # fmt: skip
    labels = [v.label for v in variants_of(suite)[0]]
    assert "latency 100 ms" in labels
    assert "slippage of a tick, 100%" in labels
    assert not [label for label in labels if label.startswith("spread")]


def test_an_ablation_compares_whole_bundles(root: Path) -> None:
    variants = {"long only": {"strategy.config.long_only": True}, "funded": {"funding": "flat"}}
    folder = run_variants(
        suite_over(root, {"kind": "ablation", "variants": variants}), Inline()
    ).folder
    names = [p.name for p in sorted((folder / "variants").iterdir())]
    assert names == ["00-as-written", "01-long-only", "02-funded"]
    for name, row in zip(names, table_of(folder), strict=True):
        summary = read_json(folder / "variants" / name, "summary.json")
        assert (summary["net"], summary["experiment_id"]) == (row["net"], row["experiment_id"])
    assert "long only" in (folder / "report.html").read_text("utf-8")


def test_an_unknown_key_in_a_variant_is_refused(root: Path) -> None:
    mode = {"kind": "ablation", "variants": {"typo": {"strategy.config.long_onli": True}}}
    with pytest.raises(SuiteError, match="did you mean 'long_only'"):
        run_variants(suite_over(root, mode), Inline())
    mode = {"kind": "ablation", "variants": {"as written": {}}}
    with pytest.raises(SuiteError, match="must not name a variant 'as written'"):
        run_variants(suite_over(root, mode), Inline())


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        ({"elsewhere": {"output.dir": "other"}}, "output.dir: parameter must be one that can differ"),
        ({"other data": {"catalog.path": "other"}}, "catalog.path: parameter must be one that can"),
        ({"later": {"time.start_utc": "2024-01-28T00:10:00Z"}}, "time.start_utc: parameter must be"),
        ({"later": {"time": {}}}, "time: parameter must be one that can differ"),
        ({"same": {"strategy.config.fast_bars": 2}}, r"^same: .* \(are the same as as written\)"),
        ({"one": {"strategy.config.fast_bars": 3}, "two": {"strategy.config.fast_bars": 3}},
         r"^two: .* \(are the same as one\); drop one of the two"),
    ],
)  # fmt: skip
def test_a_variant_without_effect_is_refused(
    root: Path, variants: dict[str, Any], message: str
) -> None:
    with pytest.raises(SuiteError, match=message):
        variants_of(suite_over(root, {"kind": "ablation", "variants": variants}))


def test_a_warm_up_may_be_a_variant(root: Path) -> None:
    mode = {"kind": "ablation", "variants": {"warmed": {"time.warmup": "1h"}}}
    assert [v.label for v in variants_of(suite_over(root, mode))[0]] == ["as written", "warmed"]


def test_corners_that_the_strategy_does_not_allow_are_left_out_and_named(root: Path) -> None:
    parameters = {"strategy.config.fast_bars": [1, 4, 6], "strategy.config.slow_bars": [4, 6, 8]}
    mode = {"kind": "sweep", "search": {"parameters": parameters}}
    done = run_variants(suite_over(root, mode), Inline())
    assert [r["variant"] for r in table_of(done.folder)] == [
        "fast_bars=1 slow_bars=4", "fast_bars=1 slow_bars=6", "fast_bars=1 slow_bars=8",
        "fast_bars=4 slow_bars=6", "fast_bars=4 slow_bars=8", "fast_bars=6 slow_bars=8",
    ]  # fmt: skip
    assert done.summary["left_out"][1] == {
        "label": "fast_bars=6 slow_bars=4",
        "parameters": {"strategy.config.fast_bars": 6, "strategy.config.slow_bars": 4},
        "reason": "slow_bars must be > fast_bars = 6 (was 4)",
    }
    assert done.summary["inference_of_best"]["trials"] == 6
    assert np.isnan(surface(done.summary).values).tolist() == [
        [False, True, True], [False, False, True], [False, False, False]
    ]  # fmt: skip
    said = (
        "3 of 9 combinations are not allowed (the first, fast_bars=4 slow_bars=4: slow_bars must be > "
        "fast_bars = 4 (was 4)); left out, no trials"
    )
    text = describe(done)
    assert (
        f"{said}: fast_bars=4 slow_bars=4, fast_bars=6 slow_bars=4, fast_bars=6 slow_bars=6" in text
    )
    page = html.unescape((done.folder / "report.html").read_text("utf-8"))
    assert said in page
    assert "fast_bars=6 slow_bars=6" in page


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"fast_bars": [1, 9], "slow_bars": [4, 8]},
            r"\(was 4\); no combination with fast_bars=9 is allowed: take it out of mode.search$",
        ),
        (
            {"fast_bars": [1, -1], "slow_bars": [4, 8]},
            r"at \$.strategy.config.fast_bars: expected int >= 1, was -1; no combination with fast_ba",
        ),
        ({"fast_bars": [1, "x"], "slow_bars": [4, 8]}, 'expected int, was "x"; no .* fast_bars=x is'),
        (
            {"fast_bars": [8, 9], "slow_bars": [4, 6]},
            r"parameters fast_bars=8 slow_bars=4: .*; none of the 4 combinations is allowed$",
        ),
        ({"fast_bars": [1, 2], "slow": [4, 6]}, r"\$.strategy.config.slow: .*mean 'slow_bars'"),
        ({"fast_bars": list(range(400)), "slow_bars": list(range(400))}, r"\(was 160,000, of 160"),
    ],
)  # fmt: skip
def test_what_no_combination_allows_is_refused_by_name(
    root: Path, values: dict[str, list[Any]], message: str
) -> None:
    parameters = {f"strategy.config.{key}": found for key, found in values.items()}
    mode = {"kind": "sweep", "search": {"parameters": parameters}}
    with pytest.raises(SuiteError, match=message):
        variants_of(suite_over(root, mode))


def test_a_refusal_that_is_not_the_strategys_stops_the_sweep(root: Path) -> None:
    parameters = {"strategy.config.slow_bars": [4, 6], "universe.leverage": [5, -5]}
    mode = {"kind": "sweep", "search": {"parameters": parameters}}
    with pytest.raises(SuiteError, match=r"leverage=-5: at \$.universe.leverage"):
        variants_of(suite_over(root, mode))


def test_a_random_sample_knows_that_an_undrawn_set_allows_a_value(root: Path) -> None:
    # One draw of sixteen sets: most values occur once, in a set that may be a corner.
    parameters = {
        "strategy.config.fast_bars": [1, 2, 3, 4],
        "strategy.config.slow_bars": [2, 3, 4, 5],
    }
    random = {"parameters": parameters, "method": "random", "samples": 5}
    found = set()
    for seed in range(6):
        suite = suite_over(root, {"kind": "sweep", "search": random}, determinism_seed=seed)
        variants, left_out = variants_of(suite)
        assert len(variants) + len(left_out) == 5
        found.add(len(left_out))
    assert max(found) > 0
    random["parameters"] = {**parameters, "strategy.config.fast_bars": [1, 2, 3, 9]}
    random["samples"] = 15
    with pytest.raises(SuiteError, match="no combination with fast_bars=9"):
        variants_of(suite_over(root, {"kind": "sweep", "search": random}))


def test_sets_that_mean_the_same_are_refused(root: Path) -> None:
    parameters = {"strategy.config.trade_size": ["0.01", "0.010"]}
    mode = {"kind": "sweep", "search": {"parameters": parameters}}
    with pytest.raises(SuiteError, match=r"trade_size=0.010: .*same as trade_size=0.01\)"):
        run_variants(suite_over(root, mode), Inline())
