"""The report opens offline, is the same bytes each time, and says what a run did."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from phoenix_runner.fills import Fill
from phoenix_runner.inference import ENOUGH_DAYS
from phoenix_runner.report.bundle_files import ReportError, read_bundle
from phoenix_runner.report.charts import (
    TimeFrame,
    attribution_chart,
    gross_to_net_chart,
    markout_chart,
    refusals_chart,
    trades_chart,
)
from phoenix_runner.report.drawing import BLUE, VERMILION, thin, time_axis
from phoenix_runner.report.page import Page, Section, Table, Verdict, render
from phoenix_runner.report.single_run import skill_tiles
from phoenix_runner.report.wording import (
    execution_sentences,
    run_verdict,
    sharpe_sentence,
)
from phoenix_runner.report.writing import write_report

MINUTE = 60 * 10**9
MakeBundle = Callable[..., Path]


@pytest.fixture(scope="module")
def bundle(make_bundle: MakeBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(
        tmp_path_factory.mktemp("run"),
        days=12,
        gaps=((3000, 4500),),
        refusals={"spread": 12, "<stale> & quote": 3},
    )


@pytest.fixture(scope="module")
def html(bundle: Path) -> str:
    return write_report(bundle).read_text(encoding="utf-8")


def figures(html: str) -> dict[str, str]:
    return dict(re.findall(r'<figure class="[^"]*" id="([^"]+)">(.*?)</figure>', html, re.DOTALL))


def svg_texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_nothing_outside_the_file_is_asked_for(html: str) -> None:
    assert not re.search(r"(?:https?:)?//\w", html), "an address"
    assert not re.search(r"<(?:script|link|iframe|img|object|embed|base)\b", html)
    assert "@import" not in html
    references = re.findall(r'(?:href|src)\s*=\s*"([^"]*)"|url\(([^)]*)\)', html)
    assert references, "clip paths and markers refer to ids inside the file"
    assert all((a or b).strip("'\"").startswith("#") for a, b in references)
    assert "default-src 'none'" in html


def test_every_reference_inside_a_drawing_has_its_target_there(html: str) -> None:
    for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL):
        ids = re.findall(r'\bid="([^"]+)"', svg)
        wanted = set(re.findall(r"#([\w-]+)\)", svg)) | set(re.findall(r'href="#([^"]+)"', svg))
        assert wanted <= set(ids)
    all_ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(all_ids) == len(set(all_ids))


def test_the_same_bundle_gives_the_same_bytes(
    html: str, make_bundle: MakeBundle, tmp_path: Path
) -> None:
    again = make_bundle(
        tmp_path, days=12, gaps=((3000, 4500),), refusals={"spread": 12, "<stale> & quote": 3}
    )
    # Elsewhere, and for a user whose matplotlib is set up differently.
    with mpl.rc_context({"xtick.direction": "in", "axes.xmargin": 0.3, "timezone": "US/Pacific"}):
        assert write_report(again).read_text(encoding="utf-8") == html


def test_every_axis_is_labelled_with_its_unit(html: str) -> None:
    expected = {
        "equity": ("time (UTC)", "equity (USDT)"),
        "drawdown": ("time (UTC)", "below peak (%)"),
        "daily-returns": ("time (UTC)", "return of the day (%)"),
        "trades-btcusdt-perp-binance": ("time (UTC)", "price (quote currency)"),
        "exposure": ("time (UTC)", "net position / equity (×)"),
        "turnover": ("time (UTC)", "traded / equity (×/day)"),
        "attribution": ("cause", "result (USDT)"),
        "markouts": ("time after the fill (s)", "mid move in our favour (bps)"),
        "refusals": ("entries not made (count)", "reason"),
    }
    found = figures(html)
    assert set(found) == set(expected)
    for name, labels in expected.items():
        drawings = re.findall(r"<svg.*?</svg>", found[name], re.DOTALL)
        assert len(drawings) == 2, "one for wide screens, one for phones"
        for svg in drawings:
            assert set(labels) <= set(svg_texts(svg)), name


@pytest.mark.parametrize("width", [3.4, 10.0])
def test_a_time_axis_has_marks_whatever_its_range(width: float) -> None:
    """A warning of matplotlib's, which would reach the user's terminal, is an error here."""
    start = 1_709_683_200 * 10**9
    for minutes in (1, 2, 119, 120, 121, 125, 150, 176, 720, 3_777, 43_200, 1_151_406):
        axes = Figure(figsize=(width, 2.8)).add_subplot()
        time_axis(axes, start, start + minutes * MINUTE)
        low, high = axes.get_xlim()
        assert sum(low <= mark <= high for mark in axes.get_xticks()) >= 2


def test_gaps_are_shaded_on_every_time_axis(html: str) -> None:
    for name, figure in figures(html).items():
        timed = "time (UTC)" in figure
        assert timed == ("Grey bands: no data." in figure), name
        # The hatch of the band; nothing else in these charts is hatched.
        assert timed == ("<pattern" in figure), name


def test_the_verdict_comes_first_and_the_caveats_last(html: str) -> None:
    order = [html.index(s) for s in (">Verdict<", ">Equity and returns<", ">Costs<", ">Caveats<")]
    assert order == sorted(order)
    for phrase in ("no local receive time", "best level only (L1)", "in the queue is assumed"):
        assert phrase in html


def test_text_from_the_bundle_is_escaped(html: str) -> None:
    assert "<stale>" not in html
    assert "&lt;stale&gt; &amp; quote" in html


def test_the_fee_rates_stand_on_the_page(html: str, bundle: Path) -> None:
    assert "They pay 2 bps of notional as maker and 4 bps as taker, by the instrument" in html
    run = read_bundle(bundle)
    config = run.config
    for fees, words in (
        ({"source": "tier", "tier": "VIP9"}, "0 bps of notional as maker and 1.7 bps as taker, by the"),
        ({"source": "rates", "maker": "-0.00005", "taker": "0.0003"}, "−0.5 bps of notional as maker"),
    ):  # fmt: skip
        other = {**config, "execution": {**config["execution"], "fees": fees}}
        assert words in " ".join(execution_sentences(other))
    specs = [
        {**run.instruments[0], "instrument_id": name, "maker_fee": maker, "taker_fee": "0.0005"}
        for name, maker in (("A", "0.0002"), ("B", "0.0001"))
    ]
    thinned = {**config, "execution": {**config["execution"], "liquidity_consumption": True}}
    assert "is there again for the next" in " ".join(execution_sentences(config))
    assert "is there again for the next" not in " ".join(execution_sentences(thinned))
    both = " ".join(execution_sentences(config, specs))
    assert "2 bps of notional as maker and 5 bps as taker on A, 1 bps" in both


def test_what_the_instruments_were_taken_for_is_in_the_appendix(html: str) -> None:
    appendix = html[html.index(">To reproduce<") :]
    assert "BTCUSDT-PERP.BINANCE: class perp, maker_fee 0.0002, taker_fee 0.0004, " in appendix
    assert "margin_init 0.20000000, margin_maint 0.004, price_increment 0.10" in appendix


def test_what_filled_beyond_the_displayed_size_is_said(
    html: str, make_bundle: MakeBundle, tmp_path: Path
) -> None:
    assert "No order took more than was displayed." in html
    folder = make_bundle(tmp_path, days=3, gaps=())
    path = folder / "fills.csv"
    header, *rows = path.read_text("utf-8").splitlines()
    orders = [row.split(",") for row in rows]
    first = next(i for i, row in enumerate(orders) if row[8] == "TAKER")
    orders[first + 1][:2] = orders[first][:2]  # the rest of the same order, at the same instant
    path.write_text("\n".join([header, *map(",".join, orders)]) + "\n", "utf-8")
    run = read_bundle(folder)
    rest = run.record.fills[first + 1]
    assert run.beyond_display == pytest.approx(float(rest.price * rest.quantity))
    share = run.beyond_display / float(sum(f.price * f.quantity for f in run.record.fills))
    assert share > 0.05
    page = write_report(folder).read_text("utf-8")
    words = f"Warning: {share * 100:.0f}\xa0% of the value traded filled beyond the displayed size"
    assert page.count(words) == 2, "in the verdict and among the caveats"


def test_the_page_says_whether_positions_are_liquidated(html: str, bundle: Path) -> None:
    terms = "leverage at most 5, maintenance margin 0.4\xa0% of notional."
    assert (
        f"Liquidation is off: no position is closed by force, however far equity falls; {terms}"
        in html
    )
    run = read_bundle(bundle)
    on = {"enabled": True, "trigger_ratio": 1.5}
    other = {**run.config, "execution": {**run.config["execution"], "liquidation": on}}
    said = execution_sentences(other, run.instruments)[-1]
    assert said == (
        "Liquidation is on: all is closed once equity falls below 1.5 times the maintenance margin; "
        + terms
    )


def test_the_attribution_says_what_spread_is_measured_against(html: str) -> None:
    assert "against the mid just before the event that filled it" in html


def test_the_size_is_sane(html: str, make_bundle: MakeBundle, tmp_path: Path) -> None:
    assert 100_000 < len(html) < 1_000_000
    busy = make_bundle(tmp_path, days=12, trade_every=4, gaps=())
    assert write_report(busy).stat().st_size < 2_000_000
    # So many trades cost more than the account held.
    assert "the account was wiped out on 2024-" in (busy / "report.html").read_text("utf-8")


def test_a_run_without_quotes_has_no_markouts_and_says_so(
    make_bundle: MakeBundle, tmp_path: Path
) -> None:
    html = write_report(make_bundle(tmp_path, days=3, quotes=False, gaps=())).read_text("utf-8")
    assert "markouts" not in figures(html)
    assert "There are no mark-outs" in html
    assert "assumed spread of 1.0 bps" in html
    assert "No gap is known" in html


@pytest.mark.parametrize(
    "parts",
    [
        {"gross": "8.43", "fees": "-1025.86", "spread": "-7.30", "funding": "0.17"},
        {"gross": "90000", "fees": "-125", "spread": "-0.5", "funding": "-61000"},
        {"gross": "0", "fees": "0", "spread": "0", "funding": "0"},
    ],
)
def test_amounts_of_a_waterfall_stand_clear_of_the_names_under_it(parts: dict[str, str]) -> None:
    chart = attribution_chart(parts, "USDT")
    for svg in (chart.wide, chart.narrow):
        middle = re.findall(
            r'<text [^>]*size: ([\d.]+)px[^>]*middle[^>]*x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]*)<',
            svg,
        )
        texts = {(text, i): tuple(map(float, m)) for i, (*m, text) in enumerate(middle)}
        names = [v for (text, _), v in texts.items() if text in (*parts, "net")]
        amounts = [
            (text, v) for (text, _), v in texts.items() if re.fullmatch(r"[+−]?[\d,.]+", text)
        ]
        assert len(names) == len(amounts) == 5
        # A name is seven units high; the axis and its marks lie in between.
        assert max(y for _, (_, _, y) in amounts) < min(y for _, _, y in names) - 10
        for (one, (size, x, y)), (two, (_, right, other)) in itertools.pairwise(amounts):
            apart = 0.31 * size * (len(one) + len(two))
            assert right - x > apart or abs(y - other) > size, (one, two)


def test_horizons_that_the_data_cannot_resolve_are_left_out() -> None:
    rows = [
        {"horizon_s": 1, "count": 0, "missing": 9, "mean_bps": None, "standard_error_bps": None},
        {"horizon_s": 60, "count": 8, "missing": 1, "mean_bps": 2.0, "standard_error_bps": 0.5},
    ]
    chart = markout_chart(rows)
    assert "Not known after 1 s" in chart.caption
    assert "Up to 1 fill had no fresh mid" in chart.caption
    assert "60 s" in svg_texts(chart.wide)
    assert "1 s" not in svg_texts(chart.wide)


def tile_values(html: str) -> dict[str, str]:
    return dict(
        re.findall(r'<div class="label">([^<]+)</div><div class="value">([^<]+)</div>', html)
    )


def test_no_figure_about_skill_stands_on_a_few_days(
    html: str, make_bundle: MakeBundle, tmp_path: Path
) -> None:
    assert "No Sharpe ratio: 12 days, 30 needed." in html
    values = tile_values(html)
    assert values["Sharpe ratio"] == values["PSR against 0"] == "–"
    assert html.count('<div class="note">12 days, 30 needed</div>') == 2
    for label in ("Sharpe ratio per day", "PSR against 0", "volatility, per year"):
        assert re.search(f"<td>{label}</td><td>–</td>", html), label
    long = write_report(make_bundle(tmp_path, days=ENOUGH_DAYS, gaps=())).read_text("utf-8")
    assert "needed" not in long.replace("days needed to show", "")
    values = tile_values(long)
    assert "–" not in (values["Sharpe ratio"], values["PSR against 0"])
    assert "<td>PSR against 0</td><td>–</td>" not in long
    assert "<td>volatility, per year</td><td>–</td>" not in long


def test_psr_is_named_for_what_it_is_compared_with() -> None:
    shown = {"observations": 400, "probabilistic": 0.93, "deflated": 0.71, "undefined": None}
    one, many = (
        skill_tiles({"inference": {**shown, "trials": n}, "returns": {"sharpe_annual": 1.0}})[1]
        for n in (1, 4000)
    )
    assert (one.label, many.label) == (
        "PSR against 0", "PSR against the best of 4,000 by luck (DSR)",
    )  # fmt: skip
    assert "not the chance of skill" in one.note
    alone = sharpe_sentence({**shown, "trials": 1}, 1.0)
    assert "were the true one 0, 93\xa0% of samples this long would show less" in alone
    assert "71" not in alone, "nothing is deflated"
    assert "The best of 4,000 worthless sets would show less in 71\xa0% (DSR)." in sharpe_sentence(
        {**shown, "trials": 4000}, 1.0
    )


def test_a_run_without_trades_is_reported(make_bundle: MakeBundle, tmp_path: Path) -> None:
    counts = {
        "stale_quote": 9,
        "rejected: NOTIONAL_EXCEEDS_FREE_BALANCE: " + "free balance " * 9: 5,
    }
    folder = make_bundle(tmp_path, days=2, trade_every=0, gaps=(), refusals=counts)
    # A warning would be an error here: a chart that has no room beside its labels.
    html = write_report(folder).read_text("utf-8")
    assert "The strategy never traded" in html
    assert "5 orders were rejected, because of: more than the account could pay for." in html
    assert "mark-outs" not in html
    assert "There are no fills." in html
    assert set(figures(html)) == {"equity", "trades-btcusdt-perp-binance", "refusals"}


def test_the_venue_is_no_gate_and_the_end_of_the_range_no_refusal(
    make_bundle: MakeBundle, tmp_path: Path
) -> None:
    counts = {
        "stale_quote": 7,
        "not_trading": 99,
        "rejected: POST_ONLY LIMIT BUY order limit px of": 2,
        "rejected: POST_ONLY LIMIT SELL order limit px of": 3,
    }
    html = write_report(make_bundle(tmp_path, days=2, gaps=(), refusals=counts)).read_text("utf-8")
    assert "Gates refused 7 entries, most often stale_quote." in html
    assert "5 orders were rejected, because of: post-only would have crossed." in html
    for svg in re.findall(r"<svg.*?</svg>", figures(html)["refusals"], re.DOTALL):
        words = " ".join(svg_texts(svg))
        assert "rejected by the venue: post-only would have crossed" in words
        assert {" 7", " 5"} <= set(svg_texts(svg))
    assert "not_trading" not in html
    assert "order limit px" not in html


def test_neither_side_of_many_fills_covers_the_other() -> None:
    times = np.arange(1, 2001) * MINUTE
    price = 40_000 + np.sin(times / times[-1] * 9) * 300
    fills = [
        Fill(int(t), "X", 1 if i % 2 else -1, Decimal(1), Decimal(int(p)), Decimal(1), Decimal(0), False)
        for i, (t, p) in enumerate(zip(times, price, strict=True))
    ]  # fmt: skip
    chart = trades_chart(TimeFrame(0, int(times[-1])), "X", times, price, fills)
    assert "Many fills share a marker" in chart.caption
    for svg, most in ((chart.wide, 90), (chart.narrow, 30)):
        sides = {}
        for colour in (BLUE, VERMILION):
            marks = re.findall(
                rf'<use href="[^"]*" x="([\d.]+)" y="([\d.]+)" style="fill: {colour.lower()}', svg
            )
            sides[colour] = np.array(marks, dtype=float)[:most]
            assert len(marks) <= most + 1, "and one in the legend"
        apart = sides[BLUE][:, 1] - sides[VERMILION][:, 1]
        assert np.all(np.abs(apart - 10) < 4), "buys lie below, by two markers' halves"


def test_tables_that_scroll_on_a_phone_say_so(html: str) -> None:
    monthly = "<tr><td>2024-02</td>"
    assert "Swipe the table sideways" in html
    assert 'class="scroll many"' not in html[: html.index(monthly)]
    wide = Table("Many", "", ["a", "b", "c", "d", "e"], [["1"] * 5])
    page = Page("t", "s", Verdict("open", "h", []), [], [Section("s", "", [wide])], [])
    assert 'class="scroll many"' in render(page)


def test_labels_of_any_length_leave_room_for_the_drawing() -> None:
    name = "fast_bars=10 slow_bars=120 gates.max_rel_spread_bps=4 entry_threshold=1.25"
    chart = gross_to_net_chart([(name, 1.0, -1.0), ("b", 0.0, 0.0)], name="set", unit="USDT")
    assert "fast_bars=10" in svg_texts(chart.narrow)
    refusals_chart({"x" * 200: 3})


@pytest.mark.parametrize(
    "name",
    ["summary.json", "equity.parquet", "marks.parquet", "fills.csv", "manifest_ref.json"],
)
def test_a_missing_file_is_named_and_nothing_is_written(
    make_bundle: MakeBundle, tmp_path: Path, name: str
) -> None:
    folder = make_bundle(tmp_path / "run", days=1, gaps=())
    (folder / name).unlink()
    with pytest.raises(ReportError, match=f"must hold {name}"):
        write_report(folder)
    assert not (folder / "report.html").exists()


def test_unusable_summaries_are_refused(make_bundle: MakeBundle, tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "run", days=1, gaps=())
    summary = json.loads((folder / "summary.json").read_text())
    del summary["currency"]
    (folder / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(ReportError, match="lacked 'currency'"):
        write_report(folder)
    (folder / "summary.json").write_text("{")
    with pytest.raises(ReportError, match="must be JSON"):
        write_report(folder)
    (folder / "summary.json").write_text("[]")
    with pytest.raises(ReportError, match="must hold an object"):
        write_report(folder)


def test_thinning_keeps_every_extreme() -> None:
    rng = np.random.default_rng(2)
    x = np.arange(50_000.0)
    y = rng.normal(size=x.size)
    y[12_345], y[40_001] = 99.0, -99.0
    for narrow in (True, False):
        a, b = thin(x, y, narrow)
        assert a.size <= 1800
        assert (b.max(), b.min(), a[0], a[-1]) == (99.0, -99.0, x[0], x[-1])
        assert np.array_equal(y[a.astype(int)], b)


@pytest.mark.parametrize(
    ("net", "days", "deflated", "tone", "words"),
    [
        ("-5", 400, 0.01, "bad", "no case for this strategy"),
        ("5", ENOUGH_DAYS - 1, 0.99, "open", "too few to tell skill from luck"),
        ("5", 400, 0.80, "open", "not distinguishable from luck"),
        ("5", 400, 0.96, "good", "more than luck would explain"),
        ("5", 400, None, "open", "nothing is proven"),
    ],
)
def test_a_verdict_claims_no_more_than_the_statistics_carry(
    net: str, days: int, deflated: float | None, tone: str, words: str
) -> None:
    figures = {
        "range": {"days": float(days)},
        "equity": {
            "currency": "USDT", "net": net, "return": float(net) / 100, "wiped_out_utc": None,
        },
        "attribution": {"gross": net, "fees": "0", "spread": "0", "funding": "0"},
        "returns": {"sharpe_annual": 1.0},
        "drawdown": {"maximum": 0.1},
        "activity": {"fills": 9, "time_in_market": 0.5},
        "trades": {"count": 4, "win_rate": 0.5},
        "inference": {
            "observations": days, "trials": 3, "probabilistic": 0.9, "deflated": deflated,
            "undefined": None,
        },
    }  # fmt: skip
    verdict = run_verdict(figures, {})
    assert verdict.tone == tone
    assert words in verdict.headline


def test_a_page_says_what_its_data_are(make_bundle: MakeBundle, tmp_path: Path) -> None:
    plain = write_report(make_bundle(tmp_path / "a", days=3, gaps=())).read_text("utf-8")
    assert "imulated" not in plain
    assert "warm-up of" not in plain
    folder = make_bundle(tmp_path / "b", days=3, gaps=(), simulated=True, missing_ns=90 * MINUTE)
    page = write_report(folder).read_text("utf-8")
    assert "Simulated market · " in page
    assert "The market is simulated: what earned or lost here" in page
    assert "Of the warm-up of 2h the data had 30m" in page
    folder = make_bundle(tmp_path / "c", days=3, gaps=(), missing_ns=180 * MINUTE)
    assert "Of the warm-up of 2h the data had none" in write_report(folder).read_text("utf-8")
