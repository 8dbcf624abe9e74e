"""Features, labels, decay and regimes: from a suite to files, with times that could be known."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from phoenix_runner.bundle import bundle_hash
from phoenix_runner.errors import BundleError, NoDataError, SuiteError
from phoenix_runner.executors import Inline
from phoenix_runner.experiment import run_suite
from phoenix_runner.fills import round_trips
from phoenix_runner.report.bundle_files import read_bundle
from phoenix_runner.research.decay import decay, family
from phoenix_runner.research.decay_verdict import DecayStudy, decay_verdict
from phoenix_runner.research.features import make_dataset, write_dataset
from phoenix_runner.research.market import observed
from phoenix_runner.research.studies import run_decay, run_regimes
from phoenix_runner.suite import Suite, suite_from
from phoenix_runner.terminal import decay_table, regime_tables
from phoenix_runner.variants import run_variants
from small_catalog import (
    BAR_TYPE,
    HOUR,
    INSTRUMENT,
    MINUTE,
    MS,
    SECOND,
    START,
    bar_rows,
    quote,
    suite_values,
    write,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rows = []
    for i in range(6 * 360):
        mid = 40_000 + 200 * math.sin(i / 50)
        wide = 0.5 if (i // 360) % 2 else 0.1
        bid = round(mid - wide / 2, 1)
        rows.append(quote(START + i * 10 * SECOND, f"{bid:.2f}", f"{bid + wide:.2f}"))
    write(tmp_path / "catalog", "QuoteTick", rows, row_group_size=100)
    closes = [f"{round(40_000 + 200 * math.sin((6 * i + 5) / 50))}.00" for i in range(360)]
    write(tmp_path / "catalog", "Bar", bar_rows(closes), BAR_TYPE)
    return tmp_path / "catalog"


def suite_over(root: Path, **sections: Any) -> Suite:
    values = suite_values(
        root,
        data={"include": ["QuoteTick", "Bar"]},
        execution={},
        time={"start_utc": "2024-01-28T00:30:00Z", "end_utc": "2024-01-28T06:00:00Z",
              "warmup": "30m"},
        **sections,
    )  # fmt: skip
    return suite_from(values, source="test")


def test_labels_say_what_followed_and_when_it_became_known(root: Path) -> None:
    dataset = make_dataset(suite_over(root))
    assert dataset.signals == ["fast", "slow"]
    features, labels = dataset.features, dataset.labels
    at = features["ts_ns"].to_numpy()
    assert at[0] == START + 31 * MINUTE - MS  # the first bar after warm-up, at its close
    assert labels["ts_ns"].to_pylist() == at.tolist()
    for name, minutes in (("1m", 1), ("5m", 5), ("15m", 15)):
        known = labels[f"known_{name}_ns"].to_numpy()
        assert np.array_equal(known, at + minutes * MINUTE)
    # By hand from the quotes: the last one at or before each time.
    table = pq.read_table(next((root / "data" / "quotes" / INSTRUMENT).iterdir()))
    mids = (table["bid_price"].cast("float64").to_numpy()
            + table["ask_price"].cast("float64").to_numpy()) / 2  # fmt: skip
    times = table["ts_init"].cast("int64").to_numpy()

    def mid(t: int) -> float:
        return float(mids[np.searchsorted(times, t, side="right") - 1])

    for i in (0, 100, 200):
        expected = mid(at[i] + 5 * MINUTE) / mid(at[i]) - 1
        assert labels["ret_5m"][i].as_py() == pytest.approx(expected, abs=1e-15)
    # At the end of the range nothing is known of the minutes after it.
    assert labels["ret_15m"][-1].as_py() is None
    assert labels["ret_15m"].null_count == 16


def test_the_dataset_is_the_same_twice_and_names_its_origin(root: Path) -> None:
    folder = write_dataset(suite_over(root))
    first = bundle_hash(folder)
    assert bundle_hash(write_dataset(suite_over(root))) == first
    facts = json.loads((folder / "dataset.json").read_text())
    manifest = json.loads((root / "manifest.json").read_text())
    assert facts["catalog_digest"] == manifest["catalog_digest"]
    assert facts["signals"] == ["fast", "slow"]
    assert facts["rows"] == pq.read_table(folder / "features.parquet").num_rows == 330


def test_observed_is_the_market_as_of_each_time(root: Path) -> None:
    wanted = [START + HOUR, START + HOUR + 9 * SECOND, START + 2 * HOUR + 5]
    found = observed(suite_over(root), INSTRUMENT, wanted)
    assert np.all(np.diff(found.ts_ns) > 0)
    for t in wanted:
        last = found.ts_ns[np.searchsorted(found.ts_ns, t, side="right") - 1]
        assert last == t - (t - START) % (10 * SECOND)
    assert found.ts_ns[-1] == START + 6 * HOUR - 10 * SECOND
    assert set(np.round(found.spread_bps, 3)) <= {0.025, 0.124, 0.125, 0.126}


def test_a_signal_that_leads_is_told_from_one_that_follows(root: Path, tmp_path: Path) -> None:
    # The price is a slow wave: what it did over the last minutes it goes on doing.
    folder, study = run_decay(suite_over(root), signals=["fast"], draws=200)
    rows = {(r.kind, r.horizon_ns): r for r in study.found["fast"].rows}
    assert set(study.found) == {"fast"}
    assert rows["predictive", MINUTE].observations == 328
    figures = json.loads((folder / "decay.json").read_text("utf-8"))
    assert len(figures["signals"]["fast"]) == len(rows) == 6
    assert figures["signals"]["fast"][0]["block_ns"] == rows["predictive", MINUTE].block_ns
    for name in ("decay.csv", "decay.json", "report.html", "bundle.sha256"):
        assert (folder / name).is_file()
    with pytest.raises(SuiteError, match="signal must be one of fast, slow"):
        run_decay(suite_over(root), signals=["slo"])


def test_a_study_that_cannot_judge_says_so(root: Path) -> None:
    folder, study = run_decay(
        suite_over(root), signals=["fast"], draws=200, horizons_ns=[30 * 24 * HOUR]
    )
    assert decay_verdict(study) == (
        "Nothing can be judged: the moves fall into 0 blocks of 90 days, 20 needed; use a "
        "longer range or shorter horizons"
    )
    html = (folder / "report.html").read_text("utf-8")
    assert "Nothing can be judged" in html
    assert "beyond chance" not in html
    assert "No intervals: too few blocks of 90 days" in html
    text = decay_table(study)
    assert "rank IC, not judged\n" in text
    for said in (html, text):
        assert "0 comparisons" not in said
    # Judged, and nothing found, is another matter.
    rng = np.random.default_rng(6)
    ts = MINUTE * np.arange(2000)
    mid = 100 + rng.normal(size=2000).cumsum() * 0.01
    noise = decay(ts, rng.normal(size=2000), ts, mid, seed=0, draws=200)
    flat = decay(ts, np.ones(2000), ts, mid, seed=0, draws=200)
    judged = DecayStudy({"noise": noise, "flat": flat}, family([noise, flat]))
    assert decay_verdict(judged).endswith("beyond chance (3 comparisons)")
    assert "interval of this row alone; * stands out among all 3 comp" in decay_table(judged)
    said = decay_verdict(DecayStudy({"flat": flat}, family([flat])))
    assert said.endswith("or the moves after them, do not vary")


def test_a_signal_that_was_never_known_is_one_sentence(root: Path) -> None:
    suite = suite_over(root, strategy={"name": "probe_strategies:TELLER", "config": {}})
    folder, study = run_decay(suite, draws=100)
    assert (set(study.found), study.never_known) == ({"close"}, ["interest"])
    page = (folder / "report.html").read_text("utf-8")
    assert "never known in this range: interest; the suite replays QuoteTick, Bar" in page
    assert "Decay of interest" not in page
    with pytest.raises(NoDataError, match=r"must be known at some time \(never known .*: interest"):
        run_decay(suite, signals=["interest"], draws=100)


def test_pages_of_studies_tell_the_gaps_of_their_data(root: Path, tmp_path: Path) -> None:
    whole, _ = run_decay(suite_over(root), signals=["fast"], draws=100)
    assert "No gap is known in the data" in (whole / "report.html").read_text("utf-8")
    quotes = [quote(START + i * MINUTE, "40000.00", "40000.10") for i in range(360)
              if not 120 <= i < 240]  # fmt: skip
    other = tmp_path / "other"
    write(other, "QuoteTick", quotes)
    closes = [f"{40_000 + i % 7}.00" for i in range(360)]
    write(other, "Bar", bar_rows(closes), BAR_TYPE)
    told = "quotes of BTCUSDT-PERP.BINANCE from 2024-01-28 01:59 to 2024-01-28 04:00"
    gappy, _ = run_decay(suite_over(other), signals=["fast"], draws=100)
    done = run_suite(suite_over(other, strategy={"config": {"fast_bars": 2, "slow_bars": 5}}))
    split = run_regimes(done.folder)[0]
    mode = {"kind": "sweep", "search": {"parameters": {"strategy.config.slow_bars": [20, 30]}}}
    swept = run_variants(suite_over(other, mode=mode), Inline()).folder
    for folder in (gappy, split, swept):
        assert told in (folder / "report.html").read_text("utf-8"), folder.name


def test_the_terminal_has_a_row_per_signal(root: Path) -> None:
    _, study = run_decay(suite_over(root), draws=200, horizons_ns=[MINUTE, 2 * MINUTE])
    text = decay_table(study)
    fast, slow = (
        next(line for line in text.splitlines() if line.strip().startswith(name))
        for name in ("fast", "slow")
    )
    for name, line in (("fast", fast), ("slow", slow)):
        for row in study.found[name].rows[:2]:
            assert f"{row.rank_ic.value:+.3f}" in line
    assert "next 1m" in text
    assert "8 rows in the report" in text
    assert len(text.splitlines()) < 8


def test_results_are_split_by_what_was_known_at_entry(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phoenix_runner.report.writing.write_report", lambda folder: folder)
    done = run_suite(suite_over(root, strategy={"config": {"fast_bars": 2, "slow_bars": 5}}))
    folder, tables, missing = run_regimes(done.folder)
    assert [t.variable for t in tables] == ["spread", "volatility"]
    assert set(missing) == {"toxicity", "funding"}
    text = regime_tables(tables, missing)
    assert "toxicity: not recorded by this run; a strategy that records vpin" in text
    assert "toxicity: not recorded by this run" in (folder / "report.html").read_text("utf-8")
    assert min(row.count for table in tables for row in table.rows) > 0
    trips = done.summary["figures"]["trades"]["count"]
    for table in tables:
        assert sum(row.count for row in table.rows) + table.unknown == trips
    total = sum(row.total for row in tables[0].rows)
    assert total == pytest.approx(float(done.summary["net"]), abs=1e-6)
    assert (folder / "report.html").is_file()
    assert folder.name == f"regimes-{done.folder.name}"


def test_a_rate_holds_for_the_trips_that_begin_after_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phoenix_runner.report.writing.write_report", lambda folder: folder)
    # The last rate before the end is that of midnight; no other follows within the range.
    write(root, "FundingRateUpdate", [
        {"ts": START, "rate": "0.0002", "interval": 480}])  # fmt: skip
    strategy = {"config": {"fast_bars": 2, "slow_bars": 5}}
    done = run_suite(suite_over(root, strategy=strategy))
    [funding] = [t for t in run_regimes(done.folder)[1] if t.variable == "funding"]
    assert funding.unknown == 0
    trips = done.summary["figures"]["trades"]["count"]
    assert sum(row.count for row in funding.rows) == trips > 5
    # One rate for all is no way to split them: a sentence, not a row of nothing.
    text = regime_tables([funding], {})
    assert text == (
        f"funding (bps an interval) was 2 at the entry of all {trips} round trips: nothing to split by\n"
    )


def test_each_instruments_trips_are_split_by_its_own_market(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phoenix_runner.report.writing.write_report", lambda folder: folder)
    other = "AVAXUSDT-PERP.BINANCE"
    rows = [quote(START + i * MINUTE, f"{30 + i % 11}.0000", f"{30 + i % 11}.0300", "50")
            for i in range(360)]  # fmt: skip
    write(root, "QuoteTick", rows, other, price_precision=4, size_precision=0)
    closes = [f"{30 + i % 11}.0000" for i in range(360)]
    write(root, "Bar", bar_rows(closes), f"{other}-1-MINUTE-LAST-EXTERNAL",
          price_precision=4, size_precision=0)  # fmt: skip
    values = suite_over(root).to_builtins()
    values["universe"]["instrument_ids"] = [INSTRUMENT, other]
    values["strategy"]["config"] = {"fast_bars": 2, "slow_bars": 5, "trade_size": "1"}
    done = run_suite(suite_from(values, source="test"))
    trips = [t for t in round_trips(read_bundle(done.folder).record.fills) if t.exit_ns is not None]
    folder, found, _ = run_regimes(done.folder)
    tables = {t.variable: t for t in found}
    page = (folder / "report.html").read_text("utf-8")
    for name in (INSTRUMENT, other):
        assert re.search(rf"<h2[^>]*>Spread of {name}<", page)
        spread = tables[f"spread of {name}"]
        own = [float(t.net) for t in trips if t.instrument_id == name]
        assert len(own) > 5
        assert sum(row.count for row in spread.rows) + spread.unknown == len(own)
        assert sum(row.total for row in spread.rows) == pytest.approx(sum(own), abs=1e-6)
    # 0.03 is 30 ticks at every price, from 7.5 to 10 bps of it; BTC's spreads are one tick and five.
    constant = tables[f"spread of {other}"]
    assert (constant.constant, constant.unit, len(constant.rows)) == (30.0, "ticks", 1)
    assert [row.low for row in tables[f"spread of {INSTRUMENT}"].rows] == [-math.inf, 5.0]


def test_regimes_are_of_one_whole_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phoenix_runner.report.writing.write_report", lambda folder: folder)
    done = run_suite(suite_over(root, strategy={"config": {"fast_bars": 2, "slow_bars": 5}}))
    summary = done.folder / "summary.json"
    honest = summary.read_text("utf-8")
    summary.write_text(honest.replace(f'"net": "{done.summary["net"]}"', '"net": "12"'), "utf-8")
    with pytest.raises(BundleError, match="must be as the run left them"):
        run_regimes(done.folder)

    mode = {"kind": "sweep", "search": {"parameters": {"strategy.config.slow_bars": [20, 30]}}}
    folder = run_variants(suite_over(root, mode=mode), Inline()).folder
    with pytest.raises(SuiteError, match=r"must be a single run \(was sweep"):
        run_regimes(folder)


def test_a_strategy_that_says_nothing_has_no_features(root: Path) -> None:
    suite = suite_over(root, strategy={"name": "probe_strategies:PROBE", "config": {}})
    with pytest.raises(
        NoDataError, match=r"must tell its signal values .* nor self\.record"
    ) as told:
        make_dataset(suite)
    assert 'call self.trace({"momentum": 0.3})' in str(told.value)
