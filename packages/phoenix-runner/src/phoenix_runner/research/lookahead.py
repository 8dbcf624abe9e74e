"""Does a strategy know what it cannot know? The suite again with its future cut off, and altered.

For each cut time the suite is run on a catalog that ends there, and on one whose rows after it tell of
another market (see `altered_catalog`). Decisions, signal records and orders before the cut must be the
same in all three; the first that is not is named. The catalog's path is replaced wherever the suite
has it, the strategy's own settings included, so a strategy that reads files is checked as well.

What this cannot see: a strategy that reads data from elsewhere, or a catalog whose rows are stamped
before they were known (verifying that is ingestion's).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from phoenix_schemas.timestamps import NS_PER_MINUTE, format_utc

from phoenix_runner.backtest import RunResult, run_backtest
from phoenix_runner.catalog_series import Catalog, public_path
from phoenix_runner.config import TraceSection, duration_ns
from phoenix_runner.errors import RunnerError, SuiteError
from phoenix_runner.records import SIGNAL_TRACE
from phoenix_runner.research.altered_catalog import altered, cut
from phoenix_runner.suite import Suite, suite_from

type Say = Callable[[str], None]


@dataclass(frozen=True)
class Difference:
    """The first `what` (decision, signal, order) that was not the same without its future."""

    cut_utc: str
    kind: str
    what: str
    at_utc: str
    on_whole: str
    on_other: str


class LookaheadError(RunnerError):
    """A decision depended on data from after it; `passed` were compared before and found equal.

    `folder`: where it is written down, if it is.
    """

    def __init__(
        self, difference: Difference, passed: Sequence[CutCheck], folder: Path | None = None
    ) -> None:
        d = self.difference = difference
        self.passed = list(passed)
        self.folder = folder
        page = "" if folder is None else f"; see {folder / 'report.html'}"
        super().__init__(
            f"{d.what} at {d.at_utc} must not depend on later data (with data {d.kind} at "
            f"{d.cut_utc} it was {d.on_other}, on the whole catalog {d.on_whole}); the strategy "
            f"reads or fits what it could not know yet{page}"
        )


@dataclass(frozen=True)
class CutCheck:
    """One comparison that found nothing: the cut, the kind of catalog, and how much was compared."""

    cut_utc: str
    kind: str
    decisions: int
    signals: int
    orders: int


@dataclass(frozen=True)
class WarmupRow:
    """The suite with another length of warm-up. `same_orders`: orders equal to those of the first."""

    warmup: str
    net: str
    fills: int
    orders: int
    same_orders: int


def check_lookahead(suite: Suite, *, cuts: int = 3, say: Say | None = None) -> list[CutCheck]:
    """Run the suite on cut and altered catalogs at `cuts` times spread over its range.

    Raises LookaheadError that names the first decision, signal or order that differs. The catalog
    must be on a local disk; copies live in a temporary folder.
    """
    catalog = _local(suite.config.catalog.path)
    section = suite.config.time
    minutes = (section.end_ns - section.start_ns) // NS_PER_MINUTE
    if cuts < 1 or minutes < cuts + 1:
        raise SuiteError(
            f"cuts must be at least 1 and fewer than the {minutes} minutes of the range (was {cuts})"
        )
    times = [
        section.start_ns + minutes * (i + 1) // (cuts + 1) * NS_PER_MINUTE for i in range(cuts)
    ]
    tell: Say = say or (lambda _text: None)
    tell("the suite as it is")
    whole = _run(suite, suite.config.catalog.path, section.end_ns)
    found: list[CutCheck] = []
    for cut_ns in times:
        for kind, make in (("cut", cut), ("altered", altered)):
            tell(f"data {kind} at {format_utc(cut_ns)}")
            with tempfile.TemporaryDirectory(prefix="phoenix-lookahead-") as folder:
                copy = make(catalog, Path(folder) / "catalog", cut_ns)
                end_ns = cut_ns if kind == "cut" else section.end_ns
                # What is rare (funding, metrics) may have no row left before a cut.
                other = _run(suite, str(copy), end_ns, strict=False)
            # A run that ends at the cut begins to close just before it.
            until = other.closing_ns if kind == "cut" else cut_ns
            compared = _compare(whole, other, until, kind, cut_ns)
            if isinstance(compared, Difference):
                raise LookaheadError(compared, found)
            found.append(compared)
    return found


def compare_warmups(suite: Suite, warmups: Sequence[str]) -> list[WarmupRow]:
    """How results change with the length of the warm-up, first one first."""
    rows: list[WarmupRow] = []
    first: list[tuple[Any, ...]] = []
    for warmup in warmups:
        duration_ns(warmup)
        values = suite.to_builtins()
        values["time"] = {**values["time"], "warmup": warmup}
        own = suite_from(values, source=f"warmup {warmup}")
        time = own.config.time
        result = run_backtest(own, time.start_ns, time.end_ns)
        orders = _orders(result, time.end_ns)
        first = first or orders
        rows.append(
            WarmupRow(
                warmup=warmup,
                net=f"{result.record.attribution.net:f}",
                fills=len(result.fills),
                orders=len(orders),
                same_orders=len(set(orders) & set(first)),
            )
        )
    return rows


@dataclass(frozen=True)
class _Behaviour:
    """What a run did, in comparable rows that begin with a time."""

    decisions: list[tuple[Any, ...]]
    signals: list[tuple[Any, ...]]
    orders: list[tuple[Any, ...]]
    closing_ns: int


def _local(path: str) -> Path:
    """The folder of a catalog on this machine; SuiteError for one that is elsewhere."""
    if "://" not in path:
        return Path(path)
    if not path.startswith("file://"):
        raise SuiteError(
            f"catalog.path must be on a local disk for this check, which copies it (was "
            f"{public_path(path)}); copy the catalog here and name it with --set catalog.path=FOLDER"
        )
    return Path(Catalog.open(path).root)


def _run(suite: Suite, catalog: str, end_ns: int, *, strict: bool = True) -> _Behaviour:
    given = suite.config.catalog.path
    values = _replaced(suite.to_builtins(), given, catalog)
    if "://" in given and catalog != given:  # settings may name the same folder as a plain path
        values = _replaced(values, str(_local(given)), catalog)
    values["mode"] = {"kind": "single"}
    values["time"] = {**values["time"], "end_utc": format_utc(end_ns)}
    values["trace"] = msgspec.to_builtins(TraceSection(decisions=True, signals=True))
    own = suite_from(values, source="look-ahead check")
    result = run_backtest(own, own.config.time.start_ns, end_ns, strict=strict)
    latency = own.config.execution.latency
    closing = end_ns - 1 - (latency.insert_ms + latency.cancel_ms) * 1_000_000
    decisions: list[tuple[Any, ...]] = []
    if result.decisions is not None:
        decisions = [
            (row["ts_ns"], row["strategy_id"], tuple(row["values"]), row["gates"], row["intent"])
            for row in result.decisions.to_pylist()
        ]
    signals: list[tuple[Any, ...]] = []
    if SIGNAL_TRACE in result.records:
        table = result.records[SIGNAL_TRACE]
        times = table["ts_event"].cast("int64").to_pylist()
        columns = [n for n in table.column_names if n != "ts_event"]
        rows = zip(*(table[n].to_pylist() for n in columns), strict=True)
        signals = [(ts, *row) for ts, row in zip(times, rows, strict=True)]
    return _Behaviour(decisions, signals, _orders(result, closing), closing)


def _orders(result: RunResult, before_ns: int) -> list[tuple[Any, ...]]:
    return [
        (o["ts_init_ns"], o["strategy_id"], o["instrument_id"], o["purpose"], o["side"], o["type"],
         o["quantity"], o["price"])
        for o in result.orders
        if o["ts_init_ns"] < before_ns
    ]  # fmt: skip


def _replaced(value: Any, old: str, new: str) -> Any:
    """The value with a path replaced in every text that begins with it."""
    if isinstance(value, dict):
        return {key: _replaced(item, old, new) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(item, old, new) for item in value]
    if isinstance(value, str) and (value == old or value.startswith(f"{old.rstrip('/')}/")):
        return new + value[len(old.rstrip("/")) :] if value != old else new
    return value


def _compare(
    whole: _Behaviour, other: _Behaviour, until_ns: int, kind: str, cut_ns: int
) -> CutCheck | Difference:
    counts = {}
    for name in ("decisions", "signals", "orders"):
        one, two = ([row for row in getattr(b, name) if row[0] < until_ns] for b in (whole, other))
        counts[name] = len(one)
        for index in range(max(len(one), len(two))):
            first, second = (rows[index] if index < len(rows) else None for rows in (one, two))
            if first != second:
                at_ns = min(row[0] for row in (first, second) if row is not None)
                return Difference(
                    format_utc(cut_ns),
                    kind,
                    name[:-1],
                    format_utc(at_ns),
                    _said(first),
                    _said(second),
                )
    return CutCheck(format_utc(cut_ns), kind, **counts)


def _said(row: tuple[Any, ...] | None) -> str:
    return "absent" if row is None else " ".join(str(v) for v in row[1:] if v not in ("", None))
