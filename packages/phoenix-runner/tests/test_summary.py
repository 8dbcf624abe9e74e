"""The figures of a run agree with each other and with the account."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from phoenix_runner.fills import FillError
from phoenix_runner.inference import ENOUGH_DAYS, infer
from phoenix_runner.report.bundle_files import read_bundle
from phoenix_runner.summary import RunRecord, json_ready, summarize


@pytest.fixture(scope="module")
def record(make_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    folder = make_bundle(tmp_path_factory.mktemp("run"), days=5, gaps=((1500, 1600),))
    return read_bundle(folder).record


def test_net_is_the_same_from_every_side(record: RunRecord) -> None:
    found = summarize(record)
    parts = found["attribution"]
    net = sum((Decimal(parts[k]) for k in ("gross", "fees", "spread", "funding")), Decimal(0))
    assert Decimal(parts["net"]) == net
    assert abs(Decimal(found["equity"]["net"]) - net) <= Decimal("0.01")
    by_month = np.prod([1 + r for r in found["returns"]["by_month"].values()]) - 1
    assert by_month == pytest.approx(found["equity"]["return"])


def test_it_is_json(record: RunRecord) -> None:
    found = summarize(record)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_summary_whose_parts_miss_the_account_is_refused(record: RunRecord) -> None:
    wrong = dataclasses.replace(record, final_equity=record.final_equity + Decimal("0.02"))
    with pytest.raises(FillError, match="must equal the change of equity"):
        summarize(wrong)


def test_figures_of_a_few_days_are_flagged(record: RunRecord) -> None:
    found = summarize(record)
    assert (found["returns"]["too_few_days"], found["returns"]["enough_days"]) == (True, 30)
    assert (found["inference"]["too_few"], found["inference"]["enough"]) == (True, 30)
    long = infer(np.random.default_rng(1).normal(0.01, 0.02, ENOUGH_DAYS))
    assert not long.too_few


@pytest.mark.parametrize(
    ("returns", "kind"),
    [([0.02, 0.01, -0.01], "finite"), ([-0.02, -0.01, 0.01], "never"), ([0.0, 0.0], "undefined")],
)
def test_a_record_never_long_enough_is_not_an_undefined_one(
    returns: list[float], kind: str
) -> None:
    found = json_ready(asdict(infer(returns)))
    assert found["minimum_track_record_is"] == kind
    assert (found["minimum_track_record"] is None) == (kind != "finite")


def test_more_trials_deflate(record: RunRecord) -> None:
    one = summarize(record)["inference"]
    many = summarize(dataclasses.replace(record, trials=50, trial_variance=0.01))["inference"]
    assert one["deflated"] == one["probabilistic"]
    assert many["deflated"] < one["deflated"]
    assert many["probabilistic"] == one["probabilistic"]


def test_a_run_that_never_traded(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    record = read_bundle(make_bundle(tmp_path, days=2, trade_every=0, gaps=())).record
    found = summarize(record)
    assert found["activity"]["fills"] == 0
    assert found["inference"]["probabilistic"] is None
    assert found["returns"]["sharpe_annual"] is None
    assert found["equity"]["return"] == 0
