"""Settings of an ingest: `configs/etl.yaml`, frozen and checked.

Keys and defaults are those of the published configuration where they still make sense; keys that
belonged to row objects are refused by name with the reason.
"""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from phoenix_schemas.datasets import DATASETS, Market
from phoenix_schemas.errors import ConfigError, SchemaError
from phoenix_schemas.timestamps import NS_PER_DAY, day_start, parse_utc
from phoenix_schemas.yaml_config import decode_config, parse_yaml

QuoteClock = Literal["event_time", "transaction_time"]
TradeSource = Literal["aggTrades", "trades"]

RETIRED_KEYS = {
    "batch_size": "rows are columns now and never become objects in batches",
    "sort_within_batch": "a whole day is ordered by (ts_event, key), not a batch",
    "ingest_queue_max_batches": "there is no queue of row objects; memory_budget bounds memory",
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(MiB|GiB)")


class EtlConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to ingest, from where, to where, and how strictly.

    `start` and `end` are ISO times in UTC, `end` exclusive; None means all there is. A run adds to
    what the catalog holds and takes nothing away: where an earlier run took another range of the same
    file, the file is taken from the earlier start to the later end. `ingest_workers` of None means one
    per core. `max_reject_share` is the share of a file's rows that may be rejected
    before the file is refused; `strict` refuses at the first.
    """

    raw_roots: list[str] = []
    catalog_path: str = "data/catalog/binance"
    manifest_path: str | None = None
    validation_report_path: str | None = None
    instrument_specs_path: str | None = None
    universe: Market = "futures"
    venue: Literal["BINANCE"] = "BINANCE"
    symbols: list[str] | None = None
    datasets: list[str] | None = None
    trade_source: TradeSource = "aggTrades"
    quote_clock: QuoteClock = "event_time"
    start: str | None = None
    end: str | None = None
    start_date_key: str | None = None
    end_date_key: str | None = None
    strict: bool = False
    max_reject_share: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.001
    ingest_workers: Annotated[int, msgspec.Meta(ge=1, le=1024)] | None = None
    memory_budget: str = "1 GiB"

    def __post_init__(self) -> None:
        if self.start is not None and self.start_date_key is not None:
            raise ValueError("start and start_date_key must not both be given; keep start")
        if self.end is not None and self.end_date_key is not None:
            raise ValueError("end and end_date_key must not both be given; keep end")
        for key in ("start", "start_date_key", "end", "end_date_key"):
            text = getattr(self, key)
            try:
                parse_utc(text or "2024-01-01")
            except SchemaError as error:
                raise ValueError(f"{key} must be a time: {error}") from None
        first, end = self.range_ns
        if first is not None and end is not None and first >= end:
            raise ValueError(f"start must lie before end (was {self.start} to {self.end})")
        known = [name for market, name in DATASETS if market == self.universe]
        for name in self.datasets or []:
            if name not in known:
                meant = _dataset_meant(name, self.universe)
                hint = f"; did you mean {meant}?" if meant else ""
                raise ValueError(f"datasets must be among {', '.join(known)} (was {name!r}){hint}")
        if _SIZE.fullmatch(self.memory_budget) is None or not self.memory_budget_bytes:
            raise ValueError(
                f"memory_budget must be a size such as '1 GiB' (was {self.memory_budget!r})"
            )
        if not self.catalog_path or "" in self.raw_roots:
            key = "raw_roots" if self.catalog_path else "catalog_path"
            raise ValueError(f"{key} must name a folder (was empty)")

    @property
    def range_ns(self) -> tuple[int | None, int | None]:
        """(start, end) in ns UTC, end exclusive; None where open."""
        first = self.start if self.start is not None else self.start_date_key
        start = None if first is None else parse_utc(first)
        if self.end_date_key is not None:
            # The published configuration's end names the last day included.
            last = dt.date.fromordinal(dt.date(1970, 1, 1).toordinal())
            last += dt.timedelta(days=parse_utc(self.end_date_key) // NS_PER_DAY)
            return start, day_start(last) + NS_PER_DAY
        return start, None if self.end is None else parse_utc(self.end)

    @property
    def memory_budget_bytes(self) -> int:
        match = _SIZE.fullmatch(self.memory_budget)
        assert match is not None  # checked at construction
        return int(float(match[1]) * (1 << (30 if match[2] == "GiB" else 20)))

    @property
    def catalog(self) -> Path:
        return Path(self.catalog_path)

    @property
    def manifest(self) -> Path:
        return Path(self.manifest_path) if self.manifest_path else self.catalog / "manifest.json"

    @property
    def validation_report(self) -> Path:
        if self.validation_report_path:
            return Path(self.validation_report_path)
        return self.catalog / "validation_report.md"


def _dataset_meant(name: str, universe: Market) -> str | None:
    """The dataset that a folder's name, or one in other letters, stands for."""
    for (market, dataset), spec in DATASETS.items():
        if market == universe and name.lower() in {n.lower() for n in (dataset, *spec.folders)}:
            return dataset
    return None


def load_config(path: Path | str | None, **overrides: Any) -> EtlConfig:
    """Settings from a YAML file (or the defaults), with overrides that are not None put on top.

    Raises ConfigError, with file, line and key where the file is at fault, for a file that cannot be
    read, a key or value that does not hold, and a key that was retired.
    """
    source = "command line"
    values: dict[str, Any] = {}
    if path is not None:
        source = str(path)
        try:
            text = Path(path).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise ConfigError(f"{path}: no such file; see configs/etl.yaml for a start") from None
        except IsADirectoryError:
            raise ConfigError(f"{path}: a folder; name the YAML file in it") from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read as UTF-8 text ({error})") from None
        for number, line in enumerate(text.splitlines(), start=1):
            key = line.partition(":")[0].strip()
            if key in RETIRED_KEYS:
                raise ConfigError(
                    f"{path}:{number}: at $.{key}: no longer a setting, because "
                    f"{RETIRED_KEYS[key]}; delete the line"
                )
        config = parse_yaml(text, EtlConfig, source=source)
        values = msgspec.to_builtins(config)
    values |= {name: value for name, value in overrides.items() if value is not None}
    for name in ("start", "end"):  # a command line range replaces the published keys
        if overrides.get(name) is not None:
            values[f"{name}_date_key"] = None
    return decode_config(values, EtlConfig, source=source)
