"""The look-ahead check catches planted cheaters and does not accuse an honest strategy."""

from __future__ import annotations

import csv
import json
import math
import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
import yaml
from phoenix_runner.catalog_series import Catalog, StoredSeries, init_times
from phoenix_runner.cli import run_command
from phoenix_runner.config import CatalogSection
from phoenix_runner.errors import SuiteError
from phoenix_runner.executors import Inline, open_executor
from phoenix_runner.research.altered_catalog import altered, cut
from phoenix_runner.research.lookahead import CutCheck, LookaheadError
from phoenix_runner.research.lookahead_study import run_lookahead
from phoenix_runner.suite import Suite, suite_from
from phoenix_schemas.arrow import CATALOG_TYPES
from small_catalog import (
    BAR_TYPE,
    HOUR,
    INSTRUMENT,
    MINUTE,
    START,
    bar,
    bar_rows,
    quote,
    suite_values,
    trade,
    write,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    closes = [f"{round(40_000 + 300 * math.sin(i / 9) + 5 * i)}.00" for i in range(240)]
    write(tmp_path / "catalog", "Bar", bar_rows(closes), BAR_TYPE)
    return tmp_path / "catalog"


def suite_of(root: Path, name: str, **sections: Any) -> Suite:
    config = {"catalog_path": str(root)} if name.startswith("cheating") else {}
    values = suite_values(
        root,
        strategy={"name": name, "config": config},
        time={"start_utc": "2024-01-28", "end_utc": "2024-01-28T04:00:00Z"},
        **sections,
    )
    return suite_from(values, source="test")


def check_lookahead(suite: Suite, cuts: int = 3) -> list[CutCheck]:
    return run_lookahead(suite, Inline(), cuts=cuts)[1]


def test_an_honest_strategy_is_not_accused(root: Path) -> None:
    for name in ("ema_cross", "cheating_strategies:HONEST"):
        checks = check_lookahead(suite_of(root, name), cuts=2)
        assert [(c.kind, c.cut_utc[11:16]) for c in checks] == [
            ("cut", "01:20"), ("altered", "01:20"), ("cut", "02:40"), ("altered", "02:40"),
        ]  # fmt: skip
        assert all(c.decisions > 50 and c.orders > 0 for c in checks)


def test_two_workers_find_what_one_does(root: Path, tmp_path: Path) -> None:
    suite = suite_of(root, "ema_cross")
    labels: list[str] = []
    with open_executor("local", workers=2) as pool:
        found = run_lookahead(
            suite, pool, cuts=2, warmups=["0s"],
            progress=lambda _done, _all, label: labels.append(label),
        )  # fmt: skip
    assert found == run_lookahead(suite, Inline(), cuts=2, warmups=["0s"])
    assert set(labels) > {"as it is", "data cut at 2024-01-28T01:20:00Z", "warm-up of 0s"}
    assert not (tmp_path / "runs/.tasks").exists()


def test_reading_the_bar_before_it_closes_is_caught(root: Path) -> None:
    with pytest.raises(LookaheadError, match="must not depend on later data") as caught:
        check_lookahead(suite_of(root, "cheating_strategies:NEXT_BAR"))
    # The one decision that needed a bar from behind the cut.
    assert "at 2024-01-28T00:59:59.999Z" in str(caught.value)
    assert caught.value.exit_code == 1


def test_a_percentile_of_the_full_sample_is_caught(root: Path) -> None:
    with pytest.raises(LookaheadError, match="decision at 2024-01-28T00:") as caught:
        check_lookahead(suite_of(root, "cheating_strategies:WHOLE_SAMPLE"))
    assert "intent" not in str(caught.value)
    assert "long" in str(caught.value)
    assert "flat" in str(caught.value)


@pytest.mark.parametrize(("name", "code"), [("HONEST", 0), ("NEXT_BAR", 1)])
def test_the_command_says_so_in_one_line_and_leaves_a_folder(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, code: int
) -> None:
    suite = tmp_path / "suite.yaml"
    own = suite_of(root, f"cheating_strategies:{name}").to_builtins()
    suite.write_text(yaml.safe_dump(_lists(own)), "utf-8")
    assert run_command(["lookahead", str(suite), "--cuts", "1", "--warmups", "0s,1h"]) == code
    out, err = capsys.readouterr()
    [folder] = Path(own["output"]["dir"]).glob("lookahead-*")
    found = json.loads((folder / "lookahead.json").read_text("utf-8"))
    page = (folder / "report.html").read_text("utf-8")
    checks = list(csv.DictReader((folder / "lookahead.csv").read_text("utf-8").splitlines()))
    assert [int(c["decisions"]) for c in checks] == [c["decisions"] for c in found["checks"]]
    assert not re.search(r"(?:https?:)?//\w", page)
    if code == 0:
        assert "No decision or order before a cut depends on what came after\n" in out
        assert "data that a strategy reads from elsewhere" in out
        assert "ends at the cut and begins to close" in out
        assert "same as with 0s" in out
        assert out.splitlines()[-1] == f"report: {folder / 'report.html'}"
        assert [w["warmup"] for w in found["warmups"]] == ["0s", "1h"]
        assert found["difference"] is None
        assert len(checks) == 2
        warmups = list(csv.DictReader((folder / "warmups.csv").read_text("utf-8").splitlines()))
        assert [w["orders"] for w in warmups] == [str(w["orders"]) for w in found["warmups"]]
        assert {"warmup-net", "warmup-orders"} == set(
            re.findall(r'<figure [^>]*id="([^"]+)"', page)
        )
        assert "verdict good" in page
    else:
        assert out == ""
        assert "must not depend on later data" in err.splitlines()[-1]
        assert str(folder / "report.html") in err.splitlines()[-1]
        assert found["difference"]["what"] == "decision"
        assert found["difference"]["on_whole"] != found["difference"]["on_other"]
        assert f"The decision at {found['difference']['at_utc']} depends on data" in page
        assert "verdict bad" in page


def test_nothing_compared_is_no_pass(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = suite_of(root, "cheating_strategies:SILENT").to_builtins()
    suite = tmp_path / "suite.yaml"
    suite.write_text(yaml.safe_dump(_lists(own)), "utf-8")
    assert run_command(["lookahead", str(suite), "--cuts", "1"]) == 0
    out = capsys.readouterr().out
    assert "only orders were compared: this strategy traces nothing" in out
    assert "decision or" not in out
    own["strategy"]["config"]["quantity"] = "0"
    suite.write_text(yaml.safe_dump(_lists(own)), "utf-8")
    assert run_command(["lookahead", str(suite), "--cuts", "1"]) == 3
    captured = capsys.readouterr()
    assert "Nothing was compared" in captured.err
    assert "depends on what came after" not in captured.out
    pages = [
        p.read_text("utf-8") for p in Path(own["output"]["dir"]).glob("lookahead-*/report.html")
    ]
    assert sorted("verdict open" in page for page in pages) == [False, True]


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _lists(v) for k, v in value.items()}
    return [_lists(v) for v in value] if isinstance(value, list | tuple) else value


def test_warm_up_lengths_are_set_side_by_side(root: Path) -> None:
    suite = suite_of(root, "ema_cross")
    values = suite.to_builtins()
    values["time"] = {**values["time"], "start_utc": "2024-01-28T02:00:00Z"}
    own = suite_from(values, source="test")
    rows = run_lookahead(own, Inline(), cuts=1, warmups=["1h", "30m", "0s"])[2]
    assert [r.warmup for r in rows] == ["1h", "30m", "0s"]
    assert rows[0].same_orders == rows[0].orders > 0
    # Without warm-up the averages begin inside the range: some orders differ.
    assert rows[2].same_orders < rows[2].orders


def test_cuts_must_fit_the_range(root: Path) -> None:
    with pytest.raises(SuiteError, match="cuts must be at least 1"):
        check_lookahead(suite_of(root, "ema_cross"), cuts=0)


def read(root: Path, name: str, identifier: str = INSTRUMENT) -> pa.Table:
    catalog = Catalog.open(str(root))
    files = catalog.files(CATALOG_TYPES[name], identifier)
    return StoredSeries(catalog, files).read(START, START + 24 * HOUR)


def test_copies_keep_the_past_and_change_or_drop_the_rest(tmp_path: Path) -> None:
    root = tmp_path / "c"
    times = [START + i * MINUTE for i in range(10)]
    write(root, "QuoteTick", [quote(t, f"{100 + i}.00", f"{100 + i}.10", "2.000")
                              for i, t in enumerate(times)], row_group_size=3)  # fmt: skip
    write(root, "TradeTick", [trade(t, f"{100 + i}.00") for i, t in enumerate(times)])
    write(root, "Bar", [bar(t, f"{100 + i}.00", high=f"{101 + i}.00", low=f"{99 + i}.00")
                        for i, t in enumerate(times)], BAR_TYPE)  # fmt: skip
    write(root, "BinanceFundingRate",
          [{"ts": t, "rate": "0.0001", "interval_hours": 8} for t in times])  # fmt: skip
    cut_ns = START + 5 * MINUTE
    short = cut(root, tmp_path / "cut", cut_ns)
    other = altered(root, tmp_path / "alt", cut_ns, START + HOUR)
    for name, identifier in (
        ("QuoteTick", INSTRUMENT), ("TradeTick", INSTRUMENT), ("Bar", BAR_TYPE),
        ("BinanceFundingRate", INSTRUMENT),
    ):  # fmt: skip
        whole = read(root, name, identifier)
        assert read(short, name, identifier).equals(whole.slice(0, 5))
        changed = read(other, name, identifier)
        assert changed.slice(0, 5).equals(whole.slice(0, 5))
        assert init_times(changed).tolist() == times
        assert not changed.slice(5).equals(whole.slice(5))
    # Mirrored at the bid of 104.00 before the cut: 105.00 / 105.10 becomes 102.90 / 103.00.
    quotes = read(other, "QuoteTick").slice(5, 1).to_pylist()[0]
    assert (quotes["bid_price"], quotes["ask_price"]) == (Decimal("102.90"), Decimal("103.00"))
    assert quotes["bid_size"] == Decimal(6)
    bars = read(other, "Bar", BAR_TYPE).slice(5, 1).to_pylist()[0]
    assert bars["low"] <= bars["close"] <= bars["high"]
    assert read(other, "BinanceFundingRate").slice(5, 1)["rate"][0].as_py() == Decimal("-0.0001")


def test_a_copy_holds_no_file_that_begins_after_the_range(tmp_path: Path) -> None:
    # A check takes time by its range, not by its catalog.
    root, target = tmp_path / "c", tmp_path / "alt"
    write(root, "TradeTick", [trade(START + i * MINUTE, "100.00") for i in range(10)])
    write(root, "TradeTick", [trade(START + 24 * HOUR, "300.00")])
    altered(root, target, START + MINUTE, START + 24 * HOUR)
    files = [[f.name for f in sorted(c.rglob("*.parquet"))] for c in (root, target)]
    assert files[1] == files[0][:1]
    assert len(files[0]) == 2


def test_a_cut_may_leave_nothing_of_a_rare_type(root: Path) -> None:
    # Funding falls at 02:30 alone: before the cut at 02:00 the catalog has none of it.
    write(root, "FundingRateUpdate", [{"ts": START + 150 * MINUTE, "rate": "0.0001"}])
    checks = check_lookahead(suite_of(root, "ema_cross", funding="settle"), cuts=1)
    assert [c.kind for c in checks] == ["cut", "altered"]


def test_a_catalog_at_a_file_uri_is_checked_and_one_elsewhere_refused_before_any_work(
    root: Path,
) -> None:
    values = suite_of(root, "ema_cross").to_builtins()
    values["catalog"] = {"path": f"file://{root}"}
    assert len(check_lookahead(suite_from(values, source="test"), cuts=1)) == 2
    # The plain path in a strategy's own settings is the same folder: a cheater finds the copy too.
    values = suite_of(root, "cheating_strategies:NEXT_BAR").to_builtins()
    values["catalog"] = {"path": f"file://{root}"}
    with pytest.raises(LookaheadError, match="must not depend on later data"):
        check_lookahead(suite_from(values, source="test"))

    moved = suite_of(root, "ema_cross")
    elsewhere = msgspec.structs.replace(
        moved.config, catalog=CatalogSection(path="s3://key:secret@bucket/c")
    )
    with pytest.raises(
        SuiteError, match=r"local disk .*s3://bucket/c\); copy the catalog"
    ) as caught:
        check_lookahead(replace(moved, config=elsewhere))
    assert caught.value.exit_code == 2
