"""A walk-forward's figures and its report."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import msgspec
import numpy as np
import pytest
from phoenix_runner.bundle import bundle_hash, verify_bundle
from phoenix_runner.cli import run_command
from phoenix_runner.fills import Attribution
from phoenix_runner.fold_results import (
    FoldResultError,
    WalkForwardResult,
    chained,
    summarize_walk_forward,
)
from phoenix_runner.report.bundle_files import read_walk_forward
from phoenix_runner.report.walk_forward import _pooled_markouts
from phoenix_runner.report.writing import write_report
from phoenix_runner.summary import summarize


@pytest.fixture(scope="module")
def folder(
    make_walk_forward: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return make_walk_forward(tmp_path_factory.mktemp("wf"), folds=3, train_days=6, test_days=2)


def test_returns_compound_over_folds_and_costs_add_up(folder: Path) -> None:
    result, runs = read_walk_forward(folder)
    tests = [run.record for run in runs]
    found = summarize_walk_forward(result, tests)
    whole = np.prod([1 + f["return"] for f in found["folds"]]) - 1
    assert found["equity"]["return"] == pytest.approx(whole)
    assert found["range"]["days"] == 6
    assert found["drawdown"]["maximum"] >= max(f["drawdown"] for f in found["folds"]) > 0
    parts = found["attribution"]
    each = [float(parts[k]) for k in ("gross", "fees", "spread", "funding")]
    assert sum(each) == pytest.approx(float(parts["net"]))
    assert float(parts["net"]) == pytest.approx(sum(float(f["net"]) for f in found["folds"]))
    assert found["inference"]["trials"] == 12 + 3
    promised = sum(f.train_mean_daily for f in result.folds)
    kept = sum(f["test_mean_daily"] for f in found["folds"])
    assert found["efficiency"] == pytest.approx(kept / promised)
    assert msgspec.json.decode(msgspec.json.encode(found)) == found


def test_a_fold_without_data_counts_for_nothing(folder: Path) -> None:
    result, runs = read_walk_forward(folder)
    tests = [run.record for run in runs]
    nothing = Decimal(0)
    tests[1] = dataclasses.replace(
        tests[1], ts_ns=(), equity=(), net_notional=(), gross_notional=(), fills=(), funding=(),
        mids={}, final_equity=tests[1].starting_equity,
        attribution=Attribution(nothing, nothing, nothing, nothing),
    )  # fmt: skip
    found = summarize_walk_forward(result, tests)
    assert found["folds"][1]["test_mean_daily"] is None
    assert found["range"]["days"] == 4
    others = [result.folds[i].train_mean_daily for i in (0, 2)]
    kept = [found["folds"][i]["test_mean_daily"] for i in (0, 2)]
    assert found["efficiency"] == pytest.approx(sum(kept) / sum(others))


def test_runs_and_folds_must_match(folder: Path, tmp_path: Path) -> None:
    result, runs = read_walk_forward(folder)
    with pytest.raises(FoldResultError, match="one run a fold"):
        chained(result, [runs[0].record])
    with pytest.raises(FoldResultError, match=r"must hold walk_forward\.json"):
        WalkForwardResult.read(tmp_path)
    (tmp_path / "walk_forward.json").write_text('{"experiment_id": 5}')
    with pytest.raises(FoldResultError, match=r"\$\.experiment_id"):
        WalkForwardResult.read(tmp_path)
    assert WalkForwardResult.read(folder) == result


def test_the_report_of_a_walk_forward(folder: Path) -> None:
    html = write_report(folder).read_text(encoding="utf-8")
    assert not re.search(r"(?:https?:)?//\w", html)
    figures = dict(
        re.findall(r'<figure class="[^"]*" id="([^"]+)">(.*?)</figure>', html, re.DOTALL)
    )
    expected = {
        "chained": ("time (UTC)", "equity, compounded (USDT)"),
        "drawdown": ("time (UTC)", "below peak (%)"),
        "daily-returns": ("time (UTC)", "return of the day (%)"),
        "train-test": ("fold (number)", "mean daily return (bps)"),
        "overfitting": ("rank of the best set, out of sample (0 worst, 1 best)", "share of splits (%)"),
        "parameter-fast": ("fold (number)", "fast (chosen)"),
        "parameter-slow": ("fold (number)", "slow (chosen)"),
        "parameter-entry": ("fold (number)", "entry (chosen)"),
        "trades-btcusdt-perp-binance": ("time (UTC)", "price (quote currency)"),
        "exposure": ("time (UTC)", "net position / equity (×)"),
        "turnover": ("time (UTC)", "traded / equity (×/day)"),
        "attribution": ("cause", "result (USDT)"),
        "markouts": ("time after the fill (s)", "mid move in our favour (bps)"),
        "refusals": ("entries not made (count)", "reason", "spread", " 9"),
    }  # fmt: skip
    assert set(figures) == set(expected)
    for name, labels in expected.items():
        for svg in re.findall(r"<svg.*?</svg>", figures[name], re.DOTALL):
            assert set(labels) <= set(re.findall(r"<text[^>]*>([^<]*)</text>", svg)), name
        timed = "time (UTC)" in labels
        assert timed == ("Grey bands: no data." in figures[name]), name
        for svg in re.findall(r"<svg.*?</svg>", figures[name], re.DOTALL):
            # The hatch of the band; beside time axes only the bars of training are hatched.
            assert ("<pattern" in svg) == (timed or name == "train-test"), name
    assert html.count('<div class="note">6 days, 30 needed</div>') == 2
    headers = re.findall(r'<th scope="col">([^<]*)</th>', html[html.index(">Folds<") :])
    assert headers[:5] == ["fold", "test return", "test bps/day", "train bps/day", "chosen"]
    assert headers[7:9] == ["test", "training"]
    loss = WalkForwardResult.read(folder).overfitting.probability_of_loss
    assert f"50 % is noise; {loss * 100:.1f}\xa0% lose out of sample" in html
    assert "BTCUSDT-PERP.BINANCE: class perp, maker_fee 0.0002" in html
    assert "mode: {kind: walk_forward, train: 10d}" in html, "the suite's own configuration"
    for words in (
        "Objective, after costs and on training data only: mean daily return.",
        "Out of sample it", "12 parameter sets evaluated in this suite and 3 earlier",
        "was dropped", "tests from 2024-02-01", "no local receive time", "walk-forward efficiency",
    ):  # fmt: skip
        assert words in html, words


def test_the_page_says_why_overfitting_was_not_computed(
    make_walk_forward: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_walk_forward(tmp_path, folds=2, train_days=4, test_days=2)
    result = WalkForwardResult.read(folder)
    short = msgspec.structs.replace(result, overfitting=None, no_overfitting="4 days, 32 needed")
    short.write(folder)
    assert "not computed: 4 days, 32 needed" in write_report(folder).read_text("utf-8")


def test_markouts_are_those_of_all_fills(folder: Path) -> None:
    _, runs = read_walk_forward(folder)
    pooled = _pooled_markouts(runs)
    each = [summarize(run.record)["markouts"] for run in runs]
    for own, *of_folds in zip(pooled, *each, strict=True):
        assert own["count"] == sum(m["count"] for m in of_folds)
        total = sum(m["count"] * m["mean_bps"] for m in of_folds)
        assert own["mean_bps"] == pytest.approx(total / own["count"])
    without = [
        dataclasses.replace(run, record=dataclasses.replace(run.record, mids={})) for run in runs
    ]
    some = _pooled_markouts([runs[0], *without[1:]])
    assert [m["count"] for m in some] == [m["count"] for m in each[0]]
    assert _pooled_markouts(without) == []


def test_a_fold_has_a_page_of_its_own(
    make_walk_forward: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_walk_forward(
        tmp_path / "runs" / "cafe0000cafe0000", folds=2, train_days=4, test_days=2
    )
    (run / "summary.json").write_text("{}")
    digest = bundle_hash(run)
    (run / "bundle.sha256").write_text(f"{digest}\n")
    page = run / "folds" / "01" / "report.html"
    for name in (str(page.parent), "cafe/folds/01"):
        assert run_command(["report", name, "--runs-dir", str(run.parent)]) == 0
        assert capsys.readouterr().out == f"{page}\n"
        assert "ema_cross on BTCUSDT-PERP.BINANCE" in page.read_text("utf-8")
        page.unlink()
    # The pages of folds are drawn from the bundle and no part of it.
    assert verify_bundle(run) == digest
    (page.parent / "fills.csv").write_text("")
    assert run_command(["report", str(page.parent)]) == 1
    assert "files must be as the run left them" in capsys.readouterr().err
    assert run_command(["report", "cafe/folds/07", "--runs-dir", str(run.parent)]) == 3
    assert "no such run" in capsys.readouterr().err
