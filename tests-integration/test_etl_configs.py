"""The ingest settings of configs/: they load, say what they should, and run."""

from __future__ import annotations

from pathlib import Path

import msgspec
from phoenix_etl.config import EtlConfig, load_config
from phoenix_etl.pipeline import ingest
from phoenix_etl.synthetic import write_market
from phoenix_schemas.timestamps import parse_utc, utc_day

CONFIGS = Path(__file__).parents[1] / "configs"


def test_etl_yaml_writes_out_every_default() -> None:
    text = (CONFIGS / "etl.yaml").read_text("utf-8")
    config = load_config(CONFIGS / "etl.yaml")
    assert config == EtlConfig()
    published = {"start_date_key", "end_date_key"}  # names of start and end in another tool
    for field in msgspec.structs.fields(EtlConfig):
        assert f"\n{field.name}: " in text or field.name in published, field.name


def test_the_acceptance_range_is_that_of_the_contract(tmp_path: Path) -> None:
    config = load_config(CONFIGS / "acceptance_etl.yaml")
    assert config.range_ns == (parse_utc("2023-05-16"), parse_utc("2024-04-01"))
    assert config.symbols == ["BTCUSDT"]
    # One simulated day inside the range, one before it.
    first = utc_day(parse_utc("2023-05-15"))
    write_market(
        tmp_path / "raw", symbols=["BTCUSDT"], start=first, days=2, seed=1, profile="small"
    )
    here = {"raw_roots": [str(tmp_path / "raw")], "catalog_path": str(tmp_path / "catalog")}
    manifest = ingest(msgspec.structs.replace(config, **here)).manifest
    days = {part.day for part in manifest.partitions.values()}
    assert "2023-05-16" in days
    assert "2023-05-15" not in days
