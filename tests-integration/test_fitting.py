"""What a strategy fits in a walk-forward, it fits on the fold's training range and on nothing else."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from phoenix_etl.config import EtlConfig
from phoenix_etl.pipeline import ingest
from phoenix_etl.synthetic import write_market
from phoenix_runner.executors import Inline
from phoenix_runner.suite import Suite, suite_from
from phoenix_runner.walk_forward import run_walk_forward

CONFIG = Path(__file__).parents[1] / "configs" / "toxicity_volatility.yaml"
SEED, OTHER = 7, 8
DATASETS = [
    "aggTrades",
    "bookTicker",
    "klines",
    "bookDepth",
    "metrics",
    "fundingRate",
    "markPriceKlines",
]


@pytest.fixture(scope="module")
def catalogs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Two days of one market; and the same with the second day of another market."""
    found = {}
    for last_day_of in (SEED, OTHER):
        folder = tmp_path_factory.mktemp(f"market-{last_day_of}")
        for day, seed in ((1, SEED), (2, last_day_of)):
            write_market(
                folder / f"day-{day}", symbols=["BTCUSDT"], start=dt.date(2024, 1, day), days=1,
                seed=seed, profile="small",
            )  # fmt: skip
        config = EtlConfig(
            raw_roots=[str(folder / "day-1"), str(folder / "day-2")],
            catalog_path=str(folder / "catalog"),
            datasets=DATASETS,
        )
        assert not ingest(config).failed
        found[last_day_of] = folder / "catalog"
    return found


def walk_forward(path: Path, out: Path, **config: Any) -> Suite:
    values = yaml.safe_load(CONFIG.read_text("utf-8"))
    values["catalog"]["path"] = str(path)
    values["output"]["dir"] = str(out)
    values["time"] = {"start_utc": "2024-01-01", "end_utc": "2024-01-03", "warmup": "2h"}
    values["trace"] = {"decisions": True}
    values["mode"] = {
        "kind": "walk_forward", "train": "1d", "test": "1d", "purge": "1h", "objective": "net",
        "search": {"parameters": {"strategy.config.f1_min": [1.0]}},
    }  # fmt: skip
    values["strategy"]["config"] |= config
    return suite_from(values, source="test")


def test_fitted_values_come_from_training_alone_and_govern_the_test(
    catalogs: dict[int, Path], tmp_path: Path
) -> None:
    folders = {
        seed: run_walk_forward(walk_forward(path, tmp_path / str(seed)), Inline()).folder
        for seed, path in catalogs.items()
    }
    results = {s: json.loads((f / "walk_forward.json").read_text()) for s, f in folders.items()}
    fitted = {s: result["folds"][0]["fitted"] for s, result in results.items()}
    assert sorted(fitted[SEED]) == ["toxicity_threshold", "vpin_bucket"]
    # No leak: the test day is of another market, and nothing that was fitted has moved.
    assert fitted[OTHER] == fitted[SEED]

    def decided(seed: int) -> pa.Table:
        return pq.read_table(folders[seed] / "fold-00" / "decision_trace.parquet")

    assert not decided(SEED).equals(decided(OTHER))  # though the test itself sees the other day

    # V is the median minute of the training day without the purged hour; the test was given both.
    volumes = minute_volumes(catalogs[SEED], "2024-01-01")[: 23 * 60]
    assert fitted[SEED]["vpin_bucket"] == pytest.approx(np.median(volumes[volumes > 0]))
    resolved = yaml.safe_load((folders[SEED] / "fold-00" / "config_resolved.yaml").read_text())
    assert fitted[SEED].items() <= resolved["strategy"]["config"].items()


def minute_volumes(path: Path, day: str) -> np.ndarray:
    folder = path / "data" / "bars" / "BTCUSDT-PERP.BINANCE-1-MINUTE-LAST-EXTERNAL"
    table = pq.read_table(sorted(folder.glob("*.parquet")))
    days = np.array([str(t)[:10] for t in table["ts_init"].to_pylist()])
    return table["volume"].cast(pa.float64()).to_numpy()[days == day]


def test_values_that_are_given_are_not_fitted(catalogs: dict[int, Path]) -> None:
    suite = walk_forward(catalogs[SEED], Path("unused"), vpin_bucket=3.5, toxicity_threshold=1.0)
    assert not suite.settings.needs_fit
