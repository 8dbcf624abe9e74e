"""Runs side by side, and the pages of the research commands."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from phoenix_runner.fills import Attribution
from phoenix_runner.metrics import DAY_NS
from phoenix_runner.report.comparison import (
    ComparisonError,
    _grown,
    comparison_page,
    read_contender,
)
from phoenix_runner.report.studies import (
    Surface,
    cost_section,
    decay_section,
    regime_section,
    sensitivity_section,
    write_study,
)
from phoenix_runner.report.writing import write_comparison
from phoenix_runner.research.costs import CostRow
from phoenix_runner.research.decay import decay, family
from phoenix_runner.research.regimes import split_by_regime

MINUTE = 60 * 10**9


@pytest.fixture(scope="module")
def folders(
    make_bundle: Callable[..., Path],
    make_walk_forward: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("runs")
    return {
        "EMA cross": make_bundle(base / "ema", days=12, seed=3, gaps=()),
        "with drift": make_bundle(base / "drift", days=12, seed=4, drift=4e-6, gaps=()),
        "bars only": make_bundle(base / "bars", days=12, seed=5, quotes=False, gaps=()),
        "walk-forward": make_walk_forward(base / "wf", folds=3, train_days=6, test_days=2),
    }


def labels_of(html: str) -> dict[str, set[str]]:
    return {
        name: set(re.findall(r"<text[^>]*>([^<]*)</text>", body))
        for name, body in re.findall(
            r'<figure class="[^"]*" id="([^"]+)">(.*?)</figure>', html, re.DOTALL
        )
    }


def test_a_curve_ends_where_days_are_absent_and_goes_on_from_there(
    folders: dict[str, Path],
) -> None:
    run = read_contender("run", folders["EMA cross"])
    day_ns = run.daily.day_ns[[0, 1, 4]]  # nothing on the third and the fourth day
    returns = np.array([0.5, -0.5, 1.0])
    run = replace(
        run, start_ns=int(day_ns[0]), daily=replace(run.daily, day_ns=day_ns, returns=returns)
    )
    x, grown = _grown(run)
    first = day_ns[0] / DAY_NS
    assert (x - first).tolist() == [0, 1, 2, 4, 4, 5]
    assert grown[:3].tolist() == [0, 0.5, -0.25]
    assert np.isnan(grown[3])
    assert grown[4:].tolist() == [-0.25, 0.5]


def test_the_best_is_deflated_by_everything_that_was_tried(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    contenders = [read_contender(label, folder) for label, folder in folders.items()]
    assert [c.sets for c in contenders] == [1, 1, 1, 15]
    apart = comparison_page("All", contenders)
    assert "do not cover the same range of time" in apart.verdict.headline
    assert "walk-forward from 2024-02-07 to 2024-02-13" in apart.verdict.sentences[0]
    undecided = apart.sections[1].blocks[0]
    assert undecided.kind == "table"
    assert {row[-1] for row in undecided.rows} == {"–"}
    start_ns, end_ns = contenders[0].start_ns, contenders[0].end_ns
    contenders = [replace(c, start_ns=start_ns, end_ns=end_ns) for c in contenders]
    few = comparison_page("All", contenders)
    assert "days, 30 needed." in " ".join(few.verdict.sentences)
    assert "range of time" not in few.verdict.headline
    unproven = few.sections[0].blocks[1]
    assert unproven.kind == "table"
    skill = [unproven.header.index(name) for name in ("Sharpe", "PSR", "DSR")]
    assert {row[i] for row in unproven.rows for i in skill} == {"–"}
    monkeypatch.setattr("phoenix_runner.report.wording.ENOUGH_DAYS", 6)
    page = comparison_page("All", contenders)
    assert "against the best that 18 worthless sets" in " ".join(page.verdict.sentences)
    results = page.sections[0].blocks[1]
    assert results.kind == "table"
    assert "–" not in {row[i] for row in results.rows for i in skill}
    returns = {c.label: c.summary["equity"]["return"] for c in contenders}
    assert [row[0] for row in results.rows] == sorted(returns, key=lambda k: -returns[k])
    [difference] = page.sections[1].blocks
    assert difference.kind == "table"
    assert [row[0] for row in difference.rows] == [c.label for c in contenders[1:]]
    same_days = contenders[1].daily.returns - contenders[0].daily.returns
    assert difference.rows[0][1] == "12"
    assert {row[-1] for row in difference.rows} <= {"yes", "no"}
    assert difference.rows[0][2].lstrip("+−") == f"{abs(same_days.mean() * 1e4):.1f}"


def test_the_comparison_page(folders: dict[str, Path], tmp_path: Path) -> None:
    path = write_comparison(folders, tmp_path / "a.html", title="Ablation <of> all")
    html = path.read_text(encoding="utf-8")
    assert not re.search(r"(?:https?:)?//\w", html)
    assert "<of>" not in html
    found = labels_of(html)
    assert {"time (UTC)", "return since the start (%)", *folders} <= found["curves"]
    assert {"run", "result (% of the starting balance)", *folders} <= found["gross-net"]
    # The walk-forward's data have a gap: a hatched band on the one axis over time.
    drawn = dict(re.findall(r'<figure class="[^"]*" id="([^"]+)">(.*?)</figure>', html, re.DOTALL))
    assert [name for name in drawn if "time (UTC)" in found[name]] == ["curves"]
    assert [name for name in drawn if "<pattern" in drawn[name]] == ["curves"]
    assert "Grey bands: no data." in drawn["curves"]
    for words in (
        "EMA cross, with drift, walk-forward: Orders that take liquidity",
        "bars only: There are no quotes", "do not cover the same range", "no local receive time",
    ):  # fmt: skip
        assert words in html, words


def test_one_run_is_no_comparison(folders: dict[str, Path]) -> None:
    with pytest.raises(ComparisonError, match="at least 2"):
        comparison_page("One", [read_contender("a", folders["EMA cross"])])


def test_break_even_is_where_net_would_be_zero() -> None:
    parts = Attribution(
        gross=Decimal(50), fees=Decimal(-30), spread=Decimal(-5), funding=Decimal(-10)
    )
    row = CostRow("base", parts, Decimal(200_000), 40)
    assert row.cost_bps == pytest.approx(1.75)
    assert row.break_even_bps == pytest.approx(2.0)
    # Paying exactly the break-even on the same trades leaves nothing.
    assert 50 - 10 - row.break_even_bps / 1e4 * 200_000 == pytest.approx(0)
    assert CostRow("none", parts, Decimal(0), 0).break_even_bps is None


def _more_red(colour: str) -> bool | None:
    """Orange has more red than blue, purple less; nothing is painted where there is no result."""
    if colour == "none":
        return None
    red, blue = int(colour[1:3], 16), int(colour[5:7], 16)
    return red > blue


def test_the_pages_of_studies(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ts = MINUTE * np.arange(2500)
    mid = 100 * np.exp(rng.normal(0, 1e-3, ts.size).cumsum())
    signal = np.append(mid[1:] / mid[:-1] - 1, 0.0) + rng.normal(0, 2e-3, ts.size)
    rows = decay(ts, signal, ts, mid, seed=1, draws=100)
    began = ts[::50]
    regimes = split_by_regime(
        "spread", began, rng.normal(size=began.size), ts, rng.gamma(2.0, 1.0, ts.size),
        max_age_ns=MINUTE,
    )  # fmt: skip
    toxicity = split_by_regime(
        "toxicity", began, rng.normal(size=began.size), ts, rng.gamma(2.0, 1.0, ts.size),
        max_age_ns=MINUTE, edges=[1.2346],
    )  # fmt: skip
    parts = Attribution(Decimal(50), Decimal(-30), Decimal(-5), Decimal(-10))
    surface = Surface(
        "fast bars", "slow bars", [5, 10, 20], [30, 60],
        np.array([[1.0, -2.0, np.nan], [0.2, 0.0, -0.1]]), "mean daily return", "bps",
    )  # fmt: skip
    sections = [
        decay_section("ofi", rows, family([rows])),
        regime_section(replace(regimes, unit="bps"), currency="USDT"),
        regime_section(replace(toxicity, unit="0 to 1"), currency="USDT"),
        cost_section(
            [CostRow(n, parts, Decimal(200_000), 40) for n in ("VIP0", "VIP9")], currency="USDT"
        ),
        sensitivity_section(surface),
    ]
    path = write_study(
        tmp_path / "study.html", title="Study", subtitle="2024", headline="The signal fades.",
        sentences=["Within a minute."], sections=sections,
    )  # fmt: skip
    html = path.read_text(encoding="utf-8")
    assert not re.search(r"(?:https?:)?//\w", html)
    assert "<image" not in html, "a raster picture inside the drawing"
    found = labels_of(html)
    assert {"horizon (time)", "rank correlation (−1 to 1)", "after the signal"} <= found["ic-ofi"]
    assert {"horizon (time)", "share of same sign (0 to 1)"} <= found["signs-ofi"]
    assert {"spread at entry (bps)", "mean result (USDT)"} <= found["regime-spread"]
    assert {"assumption", "result (USDT)", "VIP0", "VIP9"} <= found["gross-net"]
    [drawing] = re.findall(r'id="sensitivity">(.*?)</figure>', html, re.DOTALL)
    wide = drawing[: drawing.index('class="narrow"')]
    # Rows of cells: a gain, a loss, one not run; a gain, zero, a small loss.
    cells = re.findall(r'clip-path="[^"]*" style="fill: (none|#\w{6})"', wide)[:6]
    assert [_more_red(c) for c in cells] == [False, True, None, False, None, True]
    assert {"fast bars", "slow bars", "mean daily return (bps)", "−2.00"} <= found["sensitivity"]
    assert "1.235 and above" in found["regime-toxicity"], (
        "numbers to read are not cut like coordinates"
    )
    assert len(html) < 400_000
