"""Datasets held against each other, day by day: what one says must agree with what another says.

For each symbol and day, where both sides are there:

- 1-minute bars rebuilt from trades equal klines: open, high, low, close, volume, taker-buy volume and
  number of trades (of aggTrades: from first and last trade id);
- every trade has a quote at most [QUOTE_BOUND_NS][] old before it;
- funding boundaries are complete, by the interval that each row states;
- trades and aggTrades of the same day agree in quantity and number of trades, although only one of
  them is in the catalog.

(That no spread is negative is counted while a day is built.)

A check reads catalog files and nothing else, so it is a function of the catalog; its outcome is kept in
the manifest under a fingerprint of those files and made again only when one of them changes. A
difference is a remark, not a failure: the archive itself differs in places.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from phoenix_schemas.timestamps import NS_PER_DAY, NS_PER_MINUTE, day_start, format_utc

from phoenix_etl.arrays import int64_of_decimals, numbers
from phoenix_etl.catalog_files import FILLS_KEY, ROW_GROUP_ROWS, WrittenFile
from phoenix_etl.errors import CatalogError
from phoenix_etl.trade_totals import MINUTES_PER_DAY, TradeTotals, decimal_text

if TYPE_CHECKING:
    from phoenix_etl.manifest import FileEntry, Manifest, PartitionEntry

CHECK_VERSION = 1
"""Rises when a check would say something else of the same files."""
QUOTE_BOUND_NS = NS_PER_MINUTE
"""The time without a row that counts as a gap of an event stream."""
MAX_EXAMPLES = 3
BAR_FIELDS = ("open", "high", "low", "close", "volume", "taker_buy_volume", "count")


class BarCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Bars of a day against its trades. `fields` counts differing minutes by field; a minute of
    trades without a bar counts as `missing`."""

    minutes: int
    differing: int
    missing: int
    fields: dict[str, int]
    examples: list[str]


class QuoteCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Age of the last quote at every trade of a day. `stale`: older than the bound, or none."""

    trades: int
    stale: int
    oldest_ns: int
    first_stale_ns: int | None


class FundingCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Funding boundaries of a day."""

    boundaries: int
    missing_ns: list[int]


class TotalsCheck(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the other source of trades against the day in the catalog."""

    file: str
    fills: int
    fills_in_catalog: int
    quantity: str
    quantity_in_catalog: str

    @property
    def agrees(self) -> bool:
        same_count = self.fills == self.fills_in_catalog
        return same_count and self.quantity == self.quantity_in_catalog


class CrossCheck(msgspec.Struct, frozen=True, kw_only=True):
    """All checks of one symbol and day; None where one side is not there."""

    fingerprint: str
    bars: BarCheck | None = None
    quotes: QuoteCheck | None = None
    funding: FundingCheck | None = None
    totals: list[TotalsCheck] = []


@dataclass(frozen=True)
class CheckTask:
    """What to check: the day's files by catalog type, and what the manifest knows around them."""

    root: Path
    key: str
    """`<market>/<symbol>/<day>`."""
    files: dict[str, WrittenFile]
    last_quote_ns: int | None
    """Last quote of the day before."""
    funding_span: tuple[int, int] | None
    """Times of this day that the funding files cover."""
    catalog_totals: TradeTotals | None
    other_totals: dict[str, TradeTotals] = field(default_factory=dict)

    @property
    def day(self) -> str:
        return self.key.rpartition("/")[2]

    @property
    def fingerprint(self) -> str:
        parts = [
            CHECK_VERSION,
            [[file.path, file.sha256] for file in self.files.values()],
            self.last_quote_ns,
            self.funding_span,
            self.catalog_totals,
            sorted(self.other_totals.items()),
        ]
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]


def plan_checks(manifest: Manifest, root: Path) -> Iterator[CheckTask]:
    """The checks that a catalog allows, in order of their keys."""
    days: dict[tuple[str, str, str], dict[str, PartitionEntry]] = defaultdict(dict)
    for part in manifest.partitions.values():
        days[part.market, part.symbol, part.day][part.dataset] = part
    replaced: dict[tuple[str, str, str], dict[str, TradeTotals]] = defaultdict(dict)
    for path, entry in manifest.files.items():
        for day, totals in entry.report.replaced_totals.items():
            replaced[entry.market, entry.symbol, day][f"{entry.dataset} {path}"] = totals
    for (market, symbol, day), parts in sorted(days.items()):
        sources = [parts[name] for name in ("aggTrades", "trades") if name in parts]
        # Rows of both in one day (a boundary of the range) are in no common order.
        trades = sources[0] if len(sources) == 1 else None
        files: dict[str, WrittenFile] = {}
        quotes, bars, funding = (parts.get(n) for n in ("bookTicker", "klines", "fundingRate"))
        if trades is not None and (quotes is not None or bars is not None):
            files["TradeTick"] = trades.files[0]
            for other in (quotes, bars):
                if other is not None:
                    files |= {file.type_name: file for file in other.files}
        if funding is not None:
            files |= {f.type_name: f for f in funding.files if f.type_name == "FundingRateUpdate"}
        others = {
            name: totals
            for name, totals in replaced[market, symbol, day].items()
            if trades is not None and not name.startswith(f"{trades.dataset} ")
        }
        if not files and not others:
            continue
        yesterday = (dt.date.fromisoformat(day) - dt.timedelta(days=1)).isoformat()
        before = days.get((market, symbol, yesterday), {}).get("bookTicker")
        carried = before.stats.last_ts_event if before and before.stats and quotes else None
        yield CheckTask(
            root=root,
            key=f"{market}/{symbol}/{day}",
            files=files,
            last_quote_ns=carried,
            funding_span=None if funding is None else _span(funding, manifest.files),
            catalog_totals=trades.stats.totals if others and trades and trades.stats else None,
            other_totals=others,
        )


def _span(part: PartitionEntry, files: dict[str, FileEntry]) -> tuple[int, int]:
    """Times of a partition's day that its files were asked for."""
    first = day_start(dt.date.fromisoformat(part.day))
    starts = [files[p].start_ns for p in part.inputs if p in files]
    ends = [files[p].end_ns for p in part.inputs if p in files]
    low = min((first if s is None else s for s in starts), default=first)
    high = max((first + NS_PER_DAY if e is None else e for e in ends), default=first + NS_PER_DAY)
    return max(first, low), min(first + NS_PER_DAY, high)


def run_check(task: CheckTask) -> CrossCheck:
    """Carry out the checks of one symbol and day.

    Raises CatalogError for a catalog file that cannot be read.
    """
    try:
        bars = quotes = funding = None
        trades = task.files.get("TradeTick")
        if trades is not None and "Bar" in task.files and "BinanceKlineExtras" in task.files:
            bars = _check_bars(task, trades)
        if trades is not None and "QuoteTick" in task.files:
            quotes = _check_quotes(task, trades)
        if task.funding_span is not None:
            funding = _check_funding(task, task.funding_span)
    except (OSError, pa.ArrowInvalid) as error:
        raise CatalogError(
            f"{task.key}: its catalog files cannot be read back ({error}); run phoenix-etl verify "
            f"--catalog {task.root}"
        ) from error
    totals = [
        TotalsCheck(
            file=name.partition(" ")[2],
            fills=other.fills,
            fills_in_catalog=own.fills,
            quantity=other.quantity,
            quantity_in_catalog=own.quantity,
        )
        for name, other in sorted(task.other_totals.items())
        for own in (task.catalog_totals,)
        if own is not None
    ]
    return CrossCheck(
        fingerprint=task.fingerprint, bars=bars, quotes=quotes, funding=funding, totals=totals
    )


@dataclass
class MinuteBars:
    """The 1,440 minutes of a day in units of the last decimal; `count` 0 where nothing traded."""

    values: dict[str, np.ndarray] = field(
        default_factory=lambda: {name: np.zeros(MINUTES_PER_DAY, np.int64) for name in BAR_FIELDS}
    )
    seen: np.ndarray = field(default_factory=lambda: np.zeros(MINUTES_PER_DAY, bool))

    def add(self, ts: np.ndarray, price: np.ndarray, size: np.ndarray, is_buy: np.ndarray) -> None:
        """Take trades in order of time, after those taken before."""
        if not len(ts):
            return
        minute = ts % NS_PER_DAY // NS_PER_MINUTE
        starts = np.flatnonzero(np.concatenate([[True], minute[1:] != minute[:-1]]))
        ends = np.append(starts[1:], len(ts))
        at = minute[starts]
        old, values = self.seen[at], self.values
        high, low = np.maximum.reduceat(price, starts), np.minimum.reduceat(price, starts)
        values["open"][at] = np.where(old, values["open"][at], price[starts])
        values["high"][at] = np.where(old, np.maximum(values["high"][at], high), high)
        values["low"][at] = np.where(old, np.minimum(values["low"][at], low), low)
        values["close"][at] = price[ends - 1]
        values["volume"][at] += np.add.reduceat(size, starts)
        values["taker_buy_volume"][at] += np.add.reduceat(np.where(is_buy, size, 0), starts)
        self.seen[at] = True


def _check_bars(task: CheckTask, trades: WrittenFile) -> BarCheck:
    rebuilt = MinuteBars()
    with pq.ParquetFile(task.root / trades.path) as file:
        metadata = file.schema_arrow.metadata
        precisions = (int(metadata[b"price_precision"]), int(metadata[b"size_precision"]))
        columns = ["ts_event", "price", "size", "aggressor_side"]
        for batch in file.iter_batches(ROW_GROUP_ROWS, columns=columns):
            rebuilt.add(
                _nanoseconds(batch.column("ts_event")),
                _units(batch.column("price"), precisions[0]),
                _units(batch.column("size"), precisions[1]),
                _is_buy(batch.column("aggressor_side")),
            )
        fills = file.metadata.metadata[FILLS_KEY.encode()].split(b",")
        rebuilt.values["count"][:] = [int(text) for text in fills]
    bars = pq.ParquetFile(task.root / task.files["Bar"].path).read()
    extras = pq.ParquetFile(task.root / task.files["BinanceKlineExtras"].path).read()
    close = _nanoseconds(bars.column("ts_event"))
    minute = close % NS_PER_DAY // NS_PER_MINUTE
    stated = {n: _units(bars.column(n), precisions[0]) for n in ("open", "high", "low", "close")}
    stated["volume"] = _units(bars.column("volume"), precisions[1])
    stated["taker_buy_volume"] = _units(extras.column("taker_buy_volume"), precisions[1])
    stated["count"] = numbers(extras.column("trade_count"))
    traded = rebuilt.seen[minute]
    differs = {}
    for name in BAR_FIELDS:
        expected = rebuilt.values[name][minute]
        if name in ("open", "high", "low", "close"):
            # Nothing traded: the bar repeats one price.
            expected = np.where(traded, expected, stated["close"])
        differs[name] = stated[name] != expected
    any_differs = np.logical_or.reduce([*differs.values()])
    examples = []
    for row in np.flatnonzero(any_differs)[:MAX_EXAMPLES].tolist():
        name = next(n for n in BAR_FIELDS if differs[n][row])
        start = int(close[row]) // NS_PER_MINUTE * NS_PER_MINUTE
        decimals = {"count": 0, "volume": precisions[1], "taker_buy_volume": precisions[1]}
        texts = [
            decimal_text(int(value), decimals.get(name, precisions[0]))
            for value in (rebuilt.values[name][minute[row]], stated[name][row])
        ]
        from_trades = texts[0] if traded[row] else "no trade"
        examples.append(f"{format_utc(start)} {name}: trades {from_trades}, kline {texts[1]}")
    without = rebuilt.seen.copy()
    without[minute] = False
    return BarCheck(
        minutes=len(minute),
        differing=int(np.count_nonzero(any_differs)),
        missing=int(np.count_nonzero(without)),
        fields={n: int(np.count_nonzero(d)) for n, d in differs.items() if d.any()},
        examples=examples,
    )


def _check_quotes(task: CheckTask, trades: WrittenFile) -> QuoteCheck:
    with pq.ParquetFile(task.root / trades.path) as file:
        times = _nanoseconds(file.read(["ts_event"]).column("ts_event"))
    none = np.iinfo(np.int64).min // 2
    latest = none if task.last_quote_ns is None else task.last_quote_ns
    last = np.full(len(times), none, np.int64)
    done = 0
    with pq.ParquetFile(task.root / task.files["QuoteTick"].path) as file:
        for batch in file.iter_batches(ROW_GROUP_ROWS, columns=["ts_event"]):
            quotes = _nanoseconds(batch.column("ts_event"))
            end = int(np.searchsorted(times, quotes[-1], side="right"))
            place = np.searchsorted(quotes, times[done:end], side="right") - 1
            last[done:end] = np.where(place >= 0, quotes[place], latest)
            done, latest = max(done, end), int(quotes[-1])
    last[done:] = latest
    age = times - last
    stale = age > QUOTE_BOUND_NS
    known = last > none
    return QuoteCheck(
        trades=len(times),
        stale=int(np.count_nonzero(stale)),
        oldest_ns=int(age[known].max(initial=0)),
        first_stale_ns=int(times[stale][0]) if stale.any() else None,
    )


def _check_funding(task: CheckTask, span: tuple[int, int]) -> FundingCheck:
    table = pq.ParquetFile(task.root / task.files["FundingRateUpdate"].path).read()
    boundaries = _nanoseconds(table.column("ts_event")).tolist()
    intervals = (numbers(table.column("interval")).astype(np.int64) * NS_PER_MINUTE).tolist()
    missing: list[int] = []
    before = span[0] - 1
    for boundary, interval in zip(boundaries, intervals, strict=True):
        missing += range(boundary - interval, before, -interval)
        before = boundary
    missing += range(boundaries[-1] + intervals[-1], span[1], intervals[-1])
    return FundingCheck(boundaries=len(boundaries), missing_ns=sorted(missing))


def _is_buy(side: pa.DictionaryArray) -> np.ndarray:
    words = side.dictionary.to_pylist()
    buy = words.index("BUY") if "BUY" in words else len(words)
    is_buy: np.ndarray = numbers(side.indices) == buy
    return is_buy


def _nanoseconds(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    return numbers(column.cast(pa.int64()))


def _units(column: pa.Array | pa.ChunkedArray, precision: int) -> np.ndarray:
    """Decimals as integers of their last decimal."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    values = int64_of_decimals(column.cast(pa.decimal128(38, precision)))
    if values is None:
        raise CatalogError(
            f"a value beyond 64 bits at {precision} decimals; run phoenix-etl verify"
        )
    return values


@dataclass(frozen=True)
class CheckSummary:
    """One check over all days of a symbol."""

    check: str
    symbol: str
    days: int
    compared: int
    unit: str
    differing: int
    differing_days: int
    examples: tuple[str, ...]


def summaries(manifest: Manifest) -> list[CheckSummary]:
    """The outcome of the checks by symbol, in order; only those that could be made."""
    by_symbol: dict[tuple[str, str], dict[str, CrossCheck]] = defaultdict(dict)
    for key, check in sorted(manifest.crosschecks.items()):
        market, symbol, day = key.split("/")
        by_symbol[market, symbol][day] = check
    found = [
        summary
        for (market, symbol), days in by_symbol.items()
        for summary in _summaries_of(f"{market} {symbol}", days)
    ]
    spreads: dict[str, list[PartitionEntry]] = defaultdict(list)
    for part in manifest.partitions.values():
        if part.dataset == "bookTicker" and part.stats is not None:
            spreads[f"{part.market} {part.symbol}"].append(part)
    for symbol, parts in spreads.items():
        counts = [
            (p.day, sum(i.counts.written for i in p.inputs.values()), p.stats.crossed_quotes)
            for p in parts
            if p.stats is not None
        ]
        where = [f"{day}: {crossed:,}" for day, _, crossed in counts if crossed]
        found.append(_summary("spread never negative", symbol, "quotes", counts, where))
    return sorted(found, key=lambda s: (s.symbol, s.check))


def _summaries_of(symbol: str, days: dict[str, CrossCheck]) -> Iterator[CheckSummary]:
    bars = [(day, c.bars) for day, c in days.items() if c.bars is not None]
    if bars:
        counts = [(day, b.minutes + b.missing, b.differing + b.missing) for day, b in bars]
        where = [example for _, b in bars for example in b.examples]
        where += [f"{day}: {b.missing} minutes without a kline" for day, b in bars if b.missing]
        yield _summary("klines equal bars of the trades", symbol, "minutes", counts, where)
    quotes = [(day, c.quotes) for day, c in days.items() if c.quotes is not None]
    if quotes:
        counts = [(day, q.trades, q.stale) for day, q in quotes]
        where = [
            f"from {format_utc(q.first_stale_ns)}: {q.stale:,}"
            for _, q in quotes
            if q.first_stale_ns is not None
        ]
        bound = QUOTE_BOUND_NS // 1_000_000_000
        yield _summary(
            f"a quote within {bound} s before every trade", symbol, "trades", counts, where
        )
    funding = [(day, c.funding) for day, c in days.items() if c.funding is not None]
    if funding:
        counts = [(day, f.boundaries + len(f.missing_ns), len(f.missing_ns)) for day, f in funding]
        where = [format_utc(ns) for _, f in funding for ns in f.missing_ns]
        yield _summary("funding boundaries complete", symbol, "boundaries", counts, where)
    totals = [(day, t) for day, c in days.items() for t in c.totals]
    if totals:
        counts = [(day, 1, int(not t.agrees)) for day, t in totals]
        where = [
            f"{day}: {t.fills:,} trades, {t.quantity} in {t.file}; "
            f"{t.fills_in_catalog:,} trades, {t.quantity_in_catalog} in the catalog"
            for day, t in totals
            if not t.agrees
        ]
        yield _summary("aggTrades and trades agree in total", symbol, "files", counts, where)


def _summary(
    check: str, symbol: str, unit: str, counts: Iterable[tuple[str, int, int]], where: list[str]
) -> CheckSummary:
    counts = list(counts)
    return CheckSummary(
        check=check,
        symbol=symbol,
        days=len({day for day, _, _ in counts}),
        compared=sum(compared for _, compared, _ in counts),
        unit=unit,
        differing=sum(differing for _, _, differing in counts),
        differing_days=len({day for day, _, differing in counts if differing}),
        examples=tuple(where[:MAX_EXAMPLES]),
    )
