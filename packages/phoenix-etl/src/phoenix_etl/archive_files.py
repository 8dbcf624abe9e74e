"""Which files the public archive has, where they lie in it, and where under a raw root."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass

from phoenix_schemas.datasets import DatasetSpec, Market, Period, dataset
from phoenix_schemas.timestamps import utc_day

from phoenix_etl.errors import UsageError

DEFAULT_DATASETS: dict[Market, tuple[str, ...]] = {
    "futures": ("aggTrades", "bookTicker", "metrics", "klines", "bookDepth", "fundingRate"),
    "spot": ("aggTrades", "klines"),
}
MONTHLY_ONLY = frozenset({"fundingRate"})
_SYMBOL = re.compile(r"[A-Z0-9]{2,20}(_[A-Z0-9]{1,10})?")


@dataclass(frozen=True)
class ArchiveFile:
    """One file of the archive, by what it holds."""

    spec: DatasetSpec
    symbol: str
    period: Period
    date_key: str

    @property
    def name(self) -> str:
        return f"{self.symbol}-{self.spec.file_label}-{self.date_key}.zip"

    @property
    def remote_path(self) -> str:
        """Below the base URL.

        >>> ArchiveFile(dataset("futures", "klines"), "BTCUSDT", "daily", "2024-01-01").remote_path
        'data/futures/um/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01-01.zip'
        """
        market = "futures/um" if self.spec.market == "futures" else "spot"
        interval = f"{self.spec.file_label}/" if self.spec.file_label != self.spec.name else ""
        return f"data/{market}/{self.period}/{self.spec.name}/{self.symbol}/{interval}{self.name}"

    @property
    def path(self) -> str:
        """Below the raw root.

        >>> ArchiveFile(dataset("futures", "klines"), "BTCUSDT", "daily", "2024-01-01").path
        'futures/daily/klines_1m/BTCUSDT-1m-2024-01-01.zip'
        """
        if self.spec.market == "spot":
            return f"spot_data/{self.period}/{self.spec.name}/{self.name}"
        folder = "klines_1m" if self.spec.name == "klines" else self.spec.name
        return f"futures/{self.period}/{folder}/{self.name}"


def archive_files(
    symbols: Sequence[str],
    start_ns: int,
    end_ns: int,
    *,
    market: Market = "futures",
    datasets: Sequence[str] | None = None,
) -> list[ArchiveFile]:
    """The files that cover [start, end): monthly ones of fundingRate, daily ones of all others.

    Raises UsageError for an empty range or a malformed symbol, SchemaError for an unknown dataset.
    """
    if start_ns >= end_ns:
        raise UsageError("start must lie before end (end is exclusive); e.g. 2024-01-01 2024-02-01")
    for symbol in symbols:
        if not _SYMBOL.fullmatch(symbol):
            raise UsageError(f"symbol must be as the archive writes it (was {symbol!r}); BTCUSDT")
    specs = [dataset(market, name) for name in datasets or DEFAULT_DATASETS[market]]
    first, last = utc_day(start_ns), utc_day(end_ns - 1)
    days = [(first + dt.timedelta(days=i)).isoformat() for i in range((last - first).days + 1)]
    months = sorted({day[:7] for day in days})
    return [
        ArchiveFile(spec, symbol, "monthly" if monthly else "daily", key)
        for symbol in symbols
        for spec in specs
        for monthly in (spec.name in MONTHLY_ONLY,)
        for key in (months if monthly else days)
    ]
