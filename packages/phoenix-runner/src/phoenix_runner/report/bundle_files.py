"""A run bundle's files, read for the report.

What a bundle holds stands in `phoenix_runner.bundle`. The report needs of it `summary.json`
(`experiment_id`, `strategy`, `instrument_ids`, `currency`, `trading_start_utc`, `end_utc`,
`starting_equity`, `final_equity`, the attribution, `refusals`), `fills.csv`, `funding.csv`,
`equity.parquet`, `marks.parquet`, `manifest_ref.json` (`catalog_digest`, and `gaps`: objects with
`type`, `instrument_id`, `start_utc`, `end_utc`), `experiment.json` (`instruments`: their
specifications), `environment.json` and `config_resolved.yaml`.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from numpy.typing import NDArray
from phoenix_schemas.timestamps import parse_utc

from phoenix_runner.errors import RunnerError
from phoenix_runner.fills import MARKOUT_HORIZONS_S, Attribution, Fill, FundingPayment
from phoenix_runner.fold_results import WalkForwardResult
from phoenix_runner.report.wording import refusal_name
from phoenix_runner.summary import RunRecord

DATA_NAMES = {"QuoteTick": "quotes", "TradeTick": "trades", "Bar": "bars"}


class ReportError(RunnerError):
    """A bundle lacks what the report is made from."""


@dataclass(frozen=True)
class MarkSeries:
    """One instrument, a row per UTC minute: `mark` is NaN before any price, `position` signed."""

    ts_ns: NDArray[np.int64]
    mark: NDArray[np.float64]
    position: NDArray[np.float64]


@dataclass(frozen=True)
class Gap:
    """A time without data, [start_ns, end_ns), and which data."""

    start_ns: int
    end_ns: int
    what: str


@dataclass(frozen=True)
class RunBundle:
    """One run, as the report sees it; `refusals` by the names that `refusal_name` gives."""

    experiment_id: str
    strategy: str
    instrument_ids: Sequence[str]
    record: RunRecord
    marks: Mapping[str, MarkSeries]
    beyond_display: float | None
    """Value traded beyond the displayed size; None in a market made of bars, which display nothing."""
    refusals: Mapping[str, int]
    gaps: Sequence[Gap]
    simulated: bool
    data_start_ns: int | None
    """First row of a market type that the run was fed, warm-up included."""
    catalog_digest: str
    instruments: Sequence[Mapping[str, Any]]
    config: Mapping[str, Any]
    config_text: str
    environment: str


def read_walk_forward(folder: Path) -> tuple[WalkForwardResult, list[RunBundle]]:
    """The record of a walk-forward and the bundles of its folds' test runs, in order."""
    result = WalkForwardResult.read(folder)
    return result, [read_bundle(folder / fold.bundle) for fold in result.folds]


def read_texts(folder: Path) -> tuple[str, str]:
    """The resolved configuration of a bundle's suite, and the environment it ran in."""
    return _text(folder / "config_resolved.yaml"), _text(folder / "environment.json")


def read_bundle(folder: Path | str) -> RunBundle:
    """Read one run's folder. Raises [ReportError][] naming the file that is missing or unusable."""
    folder = Path(folder)
    summary, manifest = _json(folder / "summary.json"), _json(folder / "manifest_ref.json")
    config_text = _text(folder / "config_resolved.yaml")
    try:
        return RunBundle(
            experiment_id=summary["experiment_id"],
            strategy=summary["strategy"],
            instrument_ids=summary["instrument_ids"],
            record=_record(folder, summary),
            marks=_marks(folder / "marks.parquet"),
            beyond_display=None if summary["bar_fills"] else _beyond_display(folder / "fills.csv"),
            refusals=_refusals(summary["refusals"]),
            gaps=[gap_of(g) for g in manifest["gaps"]],
            simulated=summary["simulated"],
            data_start_ns=manifest["data_start_ns"],
            catalog_digest=manifest["catalog_digest"],
            instruments=_json(folder / "experiment.json")["instruments"],
            config=yaml.safe_load(config_text),
            config_text=config_text,
            environment=_text(folder / "environment.json"),
        )
    except KeyError as error:
        raise ReportError(
            f"{folder}: must be a whole bundle (lacked {error}); run the suite again with this "
            "version of phoenix-runner"
        ) from None
    except yaml.YAMLError as error:
        raise ReportError(
            f"{folder / 'config_resolved.yaml'}: must be YAML, as the run left it ({error}); run the "
            "suite again"
        ) from None


def _record(folder: Path, summary: Mapping[str, Any]) -> RunRecord:
    equity = _table(folder / "equity.parquet")
    rows = _rows(folder / "fills.csv")
    start_ns = parse_utc(summary["trading_start_utc"])
    scored = pc.greater(equity.column("ts_ns"), start_ns)
    equity = equity.filter(scored)
    return RunRecord(
        start_ns=start_ns,
        end_ns=parse_utc(summary["end_utc"]),
        currency=summary["currency"],
        starting_equity=Decimal(summary["starting_equity"]),
        final_equity=Decimal(summary["final_equity"]),
        ts_ns=equity.column("ts_ns").to_numpy(),
        equity=_floats(equity, "equity"),
        net_notional=_floats(equity, "net_notional"),
        gross_notional=_floats(equity, "gross_notional"),
        attribution=Attribution(
            **{k: Decimal(summary[k]) for k in ("gross", "fees", "spread", "funding")}
        ),
        fills=[
            Fill(
                ts_ns=int(r["ts_ns"]),
                instrument_id=r["instrument_id"],
                side=1 if r["side"] == "BUY" else -1,
                quantity=Decimal(r["quantity"]),
                price=Decimal(r["price"]),
                reference_price=Decimal(r["reference_price"]),
                commission=Decimal(r["commission"]),
                maker=r["liquidity"] == "MAKER",
            )
            for r in rows
        ],
        funding=[
            FundingPayment(int(r["ts_ns"]), r["instrument_id"], Decimal(r["amount"]))
            for r in _rows(folder / "funding.csv")
        ],
        mids=_mids(rows),
    )


def _beyond_display(path: Path) -> float:
    """Value that orders took after the first fill of an instant.

    A quote has one level: an order that takes liquidity fills there up to the displayed size, and what
    is left at the same instant, one tick worse or, booked as maker, at its limit.
    """
    beyond = 0.0
    taking: tuple[str, str] | None = None
    for row in _rows(path):
        order = (row["client_order_id"], row["ts_ns"])
        if order == taking:
            beyond += float(row["quantity"]) * float(row["price"])
        elif row["liquidity"] == "TAKER":
            taking = order
    return beyond


def _mids(rows: Sequence[Mapping[str, str]]) -> dict[int, NDArray[np.float64]]:
    """Mids after each fill by horizon; none at all when no fill has one (a run without quotes)."""
    mids = {h: np.array([float(r[f"mid_{h}s"] or "nan") for r in rows]) for h in MARKOUT_HORIZONS_S}
    return mids if any(np.isfinite(m).any() for m in mids.values()) else {}


def _marks(path: Path) -> dict[str, MarkSeries]:
    table = _table(path)
    found = {}
    for instrument in sorted(pc.unique(table.column("instrument_id")).to_pylist()):
        own = table.filter(pc.equal(table.column("instrument_id"), instrument))
        found[instrument] = MarkSeries(
            ts_ns=own.column("ts_ns").to_numpy(),
            mark=_floats(own, "mark"),
            position=_floats(own, "position"),
        )
    return found


def gap_of(row: Mapping[str, str]) -> Gap:
    """A gap as runs write it down, for readers."""
    kind = DATA_NAMES.get(row["type"], row["type"])
    what = f"{kind} of {row['instrument_id']}"
    return Gap(parse_utc(row["start_utc"]), parse_utc(row["end_utc"]), what)


def _refusals(by_strategy: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """Counts by reason over all strategies; that the range was over stood in nobody's way."""
    total: Counter[str] = Counter()
    for counts in by_strategy.values():
        for reason, n in counts.items():
            if reason != "not_trading":
                total[refusal_name(reason)] += n
    return dict(total)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ReportError(
            f"bundle {path.parent} must hold {path.name} (was absent); name a folder that a run "
            "finished, `phoenix runs` lists them"
        ) from None


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise ReportError(f"{path} must be JSON (was broken at line {error.lineno})") from None
    if not isinstance(value, dict):
        raise ReportError(f"{path} must hold an object (was {type(value).__name__})")
    return value


def _rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(_text(path).splitlines()))


def _table(path: Path) -> pa.Table:
    if not path.exists():
        _text(path)  # says what is missing
    return pq.read_table(path)


def _floats(table: pa.Table, name: str) -> NDArray[np.float64]:
    values = table.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False)
    return np.asarray(values, dtype=np.float64)
