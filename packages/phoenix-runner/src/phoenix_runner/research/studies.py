"""Decay of signals and results by regime: from a suite or a finished run to table, file and page.

Each study leaves a folder `<kind>-<id>` with its figures as CSV and JSON and a page that opens offline.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from phoenix_schemas.arrow import CATALOG_TYPES
from phoenix_schemas.timestamps import NS_PER_DAY, NS_PER_HOUR, NS_PER_MINUTE, format_utc

from phoenix_runner.backtest import Progress
from phoenix_runner.bundle import (
    BundleFiles,
    BundleWriter,
    experiment_id,
    read_json,
    verify_bundle,
)
from phoenix_runner.catalog_manifest import catalog_digest, is_simulated, require_as_ingested
from phoenix_runner.catalog_series import Catalog, StoredSeries, init_times
from phoenix_runner.errors import NoDataError, SuiteError
from phoenix_runner.experiment import describe_experiment
from phoenix_runner.fills import RoundTrip, round_trips
from phoenix_runner.records import SIGNAL_TRACE
from phoenix_runner.report.bundle_files import RunBundle, gap_of, read_bundle
from phoenix_runner.report.page import Section
from phoenix_runner.report.studies import decay_section, regime_section, write_study
from phoenix_runner.report.wording import execution_sentences, market_name
from phoenix_runner.research.decay import BLOCK_REACH, Decay, DecayRow, Family, decay, family
from phoenix_runner.research.decay_verdict import (
    DecayStudy,
    decay_verdict,
    never_known_sentence,
    not_judged,
)
from phoenix_runner.research.features import make_dataset
from phoenix_runner.research.labels import HORIZONS_NS, horizon_name
from phoenix_runner.research.market import observed
from phoenix_runner.research.regimes import RegimeTable, split_by_regime
from phoenix_runner.suite import Suite, load_suite
from phoenix_runner.summary import json_ready
from phoenix_runner.writable import require_writable

VOLATILITY_WINDOW = 60
"""Minutes of marks behind the volatility of a moment."""


def run_decay(
    suite: Suite,
    *,
    signals: Sequence[str] = (),
    horizons_ns: Sequence[int] = HORIZONS_NS,
    draws: int = 1000,
    progress: Progress | None = None,
) -> tuple[Path, DecayStudy]:
    """IC and same signs of a suite's signals by horizon; the folder and the study.

    `signals` picks columns of the features (all by default). With several instruments a signal is
    studied for each, under `<signal> of <instrument>`. Raises NoDataError if none has a value.
    """
    require_writable(Path(suite.config.output.dir), "output.dir")
    digest = catalog_digest(suite)
    identity = experiment_id(
        {
            **describe_experiment(suite, digest),
            "decay": {"signals": list(signals), "draws": draws, "horizons": list(horizons_ns)},
        }
    )
    require_as_ingested(suite)
    dataset = make_dataset(suite, horizons_ns=horizons_ns, progress=progress)
    chosen = list(signals) or dataset.signals
    if unknown := sorted(set(chosen) - set(dataset.signals)):
        raise SuiteError(
            f"signal must be one of {', '.join(dataset.signals)} (was {', '.join(unknown)})"
        )
    found: dict[str, Decay] = {}
    never_known = []
    for instrument_id, market in dataset.market.items():
        own = dataset.of(instrument_id)
        for name in chosen:
            label = name if len(dataset.market) == 1 else f"{name} of {instrument_id}"
            values = own[name].to_numpy(zero_copy_only=False)
            if not np.isfinite(values).any():
                never_known.append(label)
                continue
            found[label] = decay(
                own["ts_ns"].to_numpy(),
                values,
                market.ts_ns,
                market.mid,
                seed=suite.config.determinism_seed,
                horizons_ns=horizons_ns,
                draws=draws,
            )
    study = DecayStudy(found, family(found.values()), never_known, suite.config.data.include)
    if not found:
        raise NoDataError(f"signals must be known at some time ({never_known_sentence(study)})")
    folder = Path(suite.config.output.dir) / f"decay-{identity}"
    with BundleWriter(folder) as bundle:
        files = BundleFiles()
        rows = [
            {"signal": name, **_flat(row, study.family)}
            for name, one in found.items()
            for row in one.rows
        ]
        files.csv("decay.csv", list(rows[0]), rows)
        files.json(
            "decay.json",
            json_ready(
                {
                    "verdict": decay_verdict(study),
                    **asdict(study.family),
                    "never_known": never_known,
                    "signals": {
                        name: [
                            {**asdict(row), "beyond_chance": study.family.beyond_chance(row)}
                            for row in one.rows
                        ]
                        for name, one in found.items()
                    },
                }
            ),
        )
        bundle.write(files.content)
        write_study(
            bundle.folder / "report.html",
            title=f"Decay of the signals of {suite.spec.name}",
            subtitle=f"{market_name(simulated=is_simulated(suite))}"
            f"{', '.join(suite.instruments)}, {suite.config.time.start_utc} to "
            f"{suite.config.time.end_utc} (excluded)",
            headline=decay_verdict(study),
            sentences=[
                (
                    "Correlation with the move after a signal is what could be traded, before costs; "
                    "with the move before it, only what the signal describes."
                ),
                (
                    f"Intervals come from {draws:,} draws of blocks of time, none shorter than "
                    f"{BLOCK_REACH} times the longest horizon, longer for a signal that lasts. Each is "
                    "of its row alone; the headline counts all comparisons."
                ),
                *not_judged(study),
                *([never_known_sentence(study)] if never_known else []),
            ],
            sections=[decay_section(name, one, study.family) for name, one in found.items()],
            gaps=[gap_of(row) for row in dataset.gaps],
        )
        bundle.publish()
    return folder, study


def _flat(row: DecayRow, limit: Family) -> dict[str, Any]:
    values: dict[str, Any] = {
        "horizon": horizon_name(row.horizon_ns),
        "kind": row.kind,
        "observations": row.observations,
        "block_ns": row.block_ns,
        "blocks": row.blocks,
        "rank_t": row.rank_t,
        "beyond_chance": limit.beyond_chance(row),
    }
    for name in ("rank_ic", "linear_ic", "same_sign"):
        estimate = getattr(row, name)
        values |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return values


def run_regimes(
    folder: Path, catalog: str | None = None
) -> tuple[Path, list[RegimeTable], dict[str, str]]:
    """Results of a finished run's round trips by spread, volatility, toxicity and funding.

    Spread comes from the catalog's quotes, volatility from the marks of the hour before, toxicity
    from the run's signal trace (if it recorded one with a `vpin`), funding from the catalog; what is
    not there is in the third part of the answer, with the reason. Spread is counted in ticks: the same
    ticks are fewer bps of a higher price.

    With several instruments each has its own tables, `<variable> of
    <instrument>`. `catalog` replaces the path at which the run saw its catalog. Writes `regimes-<id>`
    beside the run. Raises BundleError for a bundle whose files were changed.
    """
    verify_bundle(folder)
    mode = read_json(folder, "summary.json").get("mode", "single")
    if mode != "single":
        raise SuiteError(
            f"{folder}: must be a single run (was {mode}, which holds many); run its suite once with "
            "--set 'mode={kind: single}', or name a single run"
        )
    run = read_bundle(folder)
    trips = [t for t in round_trips(run.record.fills, run.record.funding) if t.exit_ns is not None]
    if not trips:
        raise NoDataError(f"{folder}: must have closed round trips (had none); nothing to split")
    moved = [] if catalog is None else [f"catalog.path={catalog}"]
    suite = load_suite(folder / "config_resolved.yaml", moved)
    tables = []
    missing: dict[str, str] = {}
    for instrument_id in suite.instruments:
        own = [t for t in trips if t.instrument_id == instrument_id]
        if not own:
            continue
        of = "" if len(suite.instruments) == 1 else f" of {instrument_id}"
        known = _variables(suite, run, folder, own)
        named = {variable[0] for variable in known}
        missing |= {f"{name}{of}": why for name, why in NOT_KNOWN.items() if name not in named}
        for name, unit, times, values, age in known:
            table = split_by_regime(
                f"{name}{of}",
                [t.entry_ns for t in own],
                [float(t.net) for t in own],
                times,
                values,
                max_age_ns=age,
            )
            tables.append(replace(table, unit=unit))
    if not tables:
        raise NoDataError(
            f"{folder}: nothing known of spread, volatility, toxicity or funding at its entries; is "
            f"its catalog at {suite.config.catalog.path}?"
        )
    target = folder.parent / f"regimes-{read_json(folder, 'summary.json')['experiment_id']}"
    with BundleWriter(target) as bundle:
        files = BundleFiles()
        rows = [{"variable": t.variable, **asdict(r)} for t in tables for r in t.rows]
        files.csv("regimes.csv", list(rows[0]), rows)
        files.json(
            "regimes.json",
            json_ready({"missing": missing, "regimes": [asdict(t) for t in tables]}),
        )
        bundle.write(files.content)
        currency = run.record.currency
        sections: list[Section] = [regime_section(table, currency=currency) for table in tables]
        write_study(
            bundle.folder / "report.html",
            title=f"Regimes of {run.strategy} on {', '.join(run.instrument_ids)}",
            subtitle=f"{market_name(simulated=run.simulated)}"
            f"{format_utc(run.record.start_ns)} to {format_utc(run.record.end_ns)} (excluded)",
            headline=f"{len(trips)} round trips by the state of the market when they began",
            sentences=[
                "Differences within two standard errors are not told from chance.",
                *(f"{name}: {why}." for name, why in missing.items()),
            ],
            sections=sections,
            caveats=execution_sentences(run.config, run.instruments),
            gaps=run.gaps,
        )
        bundle.publish()
    return target, tables, missing


NOT_KNOWN = {
    "spread": "not known, the run replayed no quotes",
    "volatility": f"not known, the run has no {VOLATILITY_WINDOW} minutes of marks",
    "toxicity": "not recorded by this run; a strategy that records vpin (phoenix, toxicity_volatility) "
    "does with --set trace.signals=true",
    "funding": "not known, the catalog has no rates of that time",
}
"""Why a variable that results could be split by is not there."""

type _Variable = tuple[str, str, Any, Any, int]
"""Name, unit, times, values and the greatest age of a regime variable."""


def _variables(
    suite: Suite, run: RunBundle, folder: Path, trips: Sequence[RoundTrip]
) -> list[_Variable]:
    """What is known of the market of one instrument, whose trips these are."""
    found: list[_Variable] = []
    instrument_id = trips[0].instrument_id
    entries = [t.entry_ns for t in trips]
    if "QuoteTick" in suite.config.data.include:
        market = observed(suite, instrument_id, entries)
        tick = float(suite.instruments[instrument_id].price_increment)
        ticks = np.round(market.spread_bps * market.mid / 1e4 / tick, 6)
        found.append(("spread", "ticks", market.ts_ns, ticks, NS_PER_MINUTE))
    marks = run.marks[instrument_id]
    moves = np.diff(np.log(marks.mark))
    squares = np.convolve(moves**2, np.ones(VOLATILITY_WINDOW), mode="valid")
    if squares.size:
        volatility = np.sqrt(squares) * 1e4
        times = marks.ts_ns[VOLATILITY_WINDOW:]
        found.append(("volatility", "bps an hour", times, volatility, 2 * NS_PER_MINUTE))
    trace = folder / SIGNAL_TRACE
    if trace.is_file() and "vpin" in (names := pq.read_schema(trace).names):
        assert "ts_event" in names
        table = pq.read_table(trace)
        own = table.filter(pc.equal(table["instrument_id"], instrument_id))
        toxicity = own["vpin"].cast(pa.float64()).to_numpy(zero_copy_only=False)
        found.append(
            ("toxicity", "VPIN, 0 to 1", own["ts_event"].cast(pa.int64()).to_numpy(), toxicity,
             NS_PER_HOUR)
        )  # fmt: skip
    rates = _funding_rates(suite, instrument_id)
    if rates is not None:
        found.append(("funding", "bps an interval", *rates, NS_PER_DAY))
    return [v for v in found if np.isfinite(np.asarray(v[3], dtype=np.float64)).any()]


def _funding_rates(suite: Suite, instrument_id: str) -> tuple[Any, Any] | None:
    catalog = Catalog.open(suite.config.catalog.path)
    series = StoredSeries(catalog, catalog.files(CATALOG_TYPES["FundingRateUpdate"], instrument_id))
    time = suite.config.time
    table = series.read(time.start_ns - NS_PER_DAY, time.end_ns)
    if table is None:
        return None
    return init_times(table), np.array([float(r) * 1e4 for r in table["rate"].to_pylist()])


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a study's CSV file, for the terminal."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_figures(path: Path) -> Any:
    """A study's JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))
