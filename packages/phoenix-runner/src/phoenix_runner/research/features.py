"""The dataset a researcher takes into a notebook: what signals said, and what followed.

`features.parquet` has a row per decision time and instrument with every signal value of the strategy
(its signal records, or the values it traces with its decisions); `labels.parquet` has the forward mid
returns from those times, each with the time at which it becomes known. Both are of one replay of the
suite; trading does not influence them. Rows of warm-up are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from phoenix_runner.backtest import Progress, RunResult, run_backtest
from phoenix_runner.bundle import HASH_FILE, BundleFiles, BundleWriter, experiment_id
from phoenix_runner.catalog_manifest import catalog_digest, require_as_ingested
from phoenix_runner.config import TraceSection
from phoenix_runner.environment import describe_environment
from phoenix_runner.errors import NoDataError
from phoenix_runner.experiment import describe_experiment
from phoenix_runner.records import SIGNAL_TRACE
from phoenix_runner.research.labels import HORIZONS_NS, forward_labels, horizon_name
from phoenix_runner.research.market import Observed, observed
from phoenix_runner.suite import Suite, require_suite

KEYS = ("ts_ns", "instrument_id")


@dataclass(frozen=True)
class Dataset:
    """Features and labels of one suite, row by row of the same decisions, and the mids behind."""

    features: pa.Table
    labels: pa.Table
    market: dict[str, Observed]
    gaps: Sequence[Mapping[str, str]] = ()

    @property
    def signals(self) -> list[str]:
        """Names of the feature columns."""
        return [name for name in self.features.column_names if name not in KEYS]

    def of(self, instrument_id: str) -> pa.Table:
        """Features of one instrument."""
        chosen = pc.equal(self.features["instrument_id"], instrument_id)
        return self.features.filter(chosen)


def make_dataset(
    suite: Suite,
    *,
    horizons_ns: Sequence[int] = HORIZONS_NS,
    progress: Progress | None = None,
) -> Dataset:
    """Replay a suite and label what its signals said.

    Raises NoDataError if the strategy recorded no values at all.
    """
    require_suite(suite)
    trace = TraceSection(decisions=True, signals=True)
    traced = Suite(
        config=msgspec.structs.replace(suite.config, trace=trace),
        spec=suite.spec,
        settings=suite.settings,
        instruments=suite.instruments,
    )
    time = suite.config.time
    result = run_backtest(traced, time.start_ns, time.end_ns, progress=progress)
    features = _features(result, time.start_ns)
    if features.num_rows == 0 or len(features.column_names) == len(KEYS):
        raise NoDataError(
            f"strategy {suite.spec.name} must tell its signal values (it called neither "
            f"self.trace({{...}}) nor self.record(...) from {time.start_utc} to {time.end_utc}); call "
            'self.trace({"momentum": 0.3}) in the callback that decides, or use a longer range if it '
            "does so already"
        )
    labels, market = [], {}
    for instrument_id in sorted(set(features["instrument_id"].to_pylist())):
        own = features.filter(pc.equal(features["instrument_id"], instrument_id))
        at = own["ts_ns"].to_numpy()
        wanted = np.concatenate(
            [at, *(at + h for h in horizons_ns), *(at - h for h in horizons_ns)]
        )
        found = observed(suite, instrument_id, wanted)
        market[instrument_id] = found
        table = forward_labels(found.ts_ns, found.mid, at, horizons_ns=horizons_ns)
        names = pa.array([instrument_id] * table.num_rows, pa.string())
        labels.append(table.add_column(1, "instrument_id", names))
    return Dataset(features, pa.concat_tables(labels), market, result.gaps)


def write_dataset(
    suite: Suite,
    *,
    horizons_ns: Sequence[int] = HORIZONS_NS,
    progress: Progress | None = None,
) -> Path:
    """Write the dataset as `<output.dir>/features-<id>/`, atomically; returns the folder."""
    digest = catalog_digest(suite)
    experiment = describe_experiment(suite, digest)
    names = [horizon_name(h) for h in horizons_ns]
    identity = experiment_id({**experiment, "horizons": names})
    folder = Path(suite.config.output.dir) / f"features-{identity}"
    require_as_ingested(suite)
    with BundleWriter(folder) as bundle:
        dataset = make_dataset(suite, horizons_ns=horizons_ns, progress=progress)
        files = BundleFiles()
        files.parquet("features.parquet", dataset.features)
        files.parquet("labels.parquet", dataset.labels)
        files.json("experiment.json", experiment)
        files.json("environment.json", describe_environment())
        files.json(
            "dataset.json",
            {
                "catalog_digest": digest,
                "estimators": experiment["estimators"],
                "strategy": suite.spec.name,
                "rows": dataset.features.num_rows,
                "signals": dataset.signals,
                "horizons": names,
                "labels": "mid(t + h) / mid(t) - 1, known at t + h; null where a mid is missing",
            },
        )
        bundle.write(files.content)
        bundle.publish()
    assert (folder / HASH_FILE).is_file()
    return folder


def _features(result: RunResult, start_ns: int) -> pa.Table:
    """Signal records, or traced values, as float columns in order of instrument and time."""
    if SIGNAL_TRACE in result.records:
        table = result.records[SIGNAL_TRACE]
        columns: dict[str, Any] = {
            "ts_ns": table["ts_event"].cast(pa.int64()),
            "instrument_id": table["instrument_id"],
        }
        for field in table.schema:
            is_number = pa.types.is_floating(field.type) or pa.types.is_integer(field.type)
            if is_number and field.name not in ("ts_event", "validity_flags"):
                columns[field.name] = table[field.name].cast(pa.float64())
        features = pa.table(columns)
    else:
        features = _traced_values(result.decisions)
    features = features.filter(pc.greater_equal(features["ts_ns"], start_ns))
    return features.sort_by([("instrument_id", "ascending"), ("ts_ns", "ascending")])


def _traced_values(decisions: pa.Table | None) -> pa.Table:
    rows = [] if decisions is None else [dict(v) for v in decisions["values"].to_pylist()]
    names = sorted({name for row in rows for name in row})
    columns: dict[str, Any] = {
        "ts_ns": pa.array([], pa.int64()) if decisions is None else decisions["ts_ns"],
        "instrument_id": pa.array([], pa.string()) if decisions is None else (
            decisions["instrument_id"]
        ),
    }  # fmt: skip
    for name in names:
        columns[name] = pa.array([row.get(name) for row in rows], pa.float64())
    return pa.table(columns)
