"""Features, labels, decay and regimes: from a suite to files, with times that could be known."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from phoenix_runner.bundle import bundle_hash
from phoenix_runner.errors import NoDataError, SuiteError
from phoenix_runner.experiment import run_suite
from phoenix_runner.research.features import make_dataset, write_dataset
from phoenix_runner.research.market import observed
from phoenix_runner.research.studies import run_decay, run_regimes
from phoenix_runner.suite import Suite, suite_from
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
    folder, found = run_decay(suite_over(root), signals=["fast"], draws=200)
    rows = {(r.kind, r.horizon_ns): r for r in found["fast"]}
    assert set(found) == {"fast"}
    assert rows["predictive", MINUTE].observations == 328
    assert rows["contemporaneous", 15 * MINUTE].blocks >= 20
    for name in ("decay.csv", "decay.json", "report.html", "bundle.sha256"):
        assert (folder / name).is_file()
    with pytest.raises(SuiteError, match="signal must be one of fast, slow"):
        run_decay(suite_over(root), signals=["slo"])


def test_results_are_split_by_what_was_known_at_entry(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phoenix_runner.experiment.write_report", lambda folder: folder)
    done = run_suite(suite_over(root, strategy={"config": {"fast_bars": 2, "slow_bars": 5}}))
    folder, tables = run_regimes(done.folder)
    assert [t.variable for t in tables] == ["spread", "volatility"]
    trips = done.summary["figures"]["trades"]["count"]
    for table in tables:
        assert sum(row.count for row in table.rows) + table.unknown == trips
    total = sum(row.total for row in tables[0].rows)
    assert total == pytest.approx(float(done.summary["net"]), abs=1e-6)
    assert (folder / "report.html").is_file()
    assert folder.name == f"regimes-{done.folder.name}"


def test_a_strategy_that_says_nothing_has_no_features(root: Path) -> None:
    suite = suite_over(root, strategy={"name": "probe_strategies:PROBE", "config": {}})
    with pytest.raises(NoDataError, match="must record or trace signal values"):
        make_dataset(suite)
