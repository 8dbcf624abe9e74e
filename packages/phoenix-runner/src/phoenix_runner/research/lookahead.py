"""Does a strategy know what it cannot know? The suite again with its future cut off, and altered.

For each cut time the suite is run on a catalog that ends there, and on one whose rows after it tell of
another market (see `altered_catalog`). Decisions, signal records and orders before the cut must be the
same in all three; the first that is not is named. The catalog's path is replaced wherever the suite
has it, the strategy's own settings included, so a strategy that reads files is checked as well.

    tasks_of_cuts, tasks_of_warmups -> run_tasks -> compare_cuts, compare_warmups

What this cannot see: a strategy that reads data from elsewhere, or a catalog whose rows are stamped
before they were known (verifying that is ingestion's).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
import pyarrow.parquet as pq
from phoenix_schemas.timestamps import NS_PER_MINUTE, NS_PER_MS, format_utc, parse_utc

from phoenix_runner.bundle import experiment_id
from phoenix_runner.catalog_series import Catalog, public_path
from phoenix_runner.config import TraceSection, duration_ns
from phoenix_runner.errors import RunnerError, SuiteError
from phoenix_runner.experiment import describe_experiment
from phoenix_runner.records import SIGNAL_TRACE
from phoenix_runner.research.altered_catalog import altered, cut
from phoenix_runner.suite import Suite, suite_from
from phoenix_runner.tasks import AnyTask, Files, Task, Work, run_whole

KINDS = ("decision", "signal", "order")
"""What is compared."""

COPIES = ("cut", "altered")
"""How a catalog loses its future, by the name of the comparison."""


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

    @property
    def compared(self) -> int:
        """Everything that was compared."""
        return self.decisions + self.signals + self.orders


NOT_SEEN = (
    "Not seen by this: data that a strategy reads from elsewhere, and rows of the catalog that are "
    "stamped before they were known."
)
WHY_COUNTS_DIFFER = (
    "A run on data cut off ends at the cut and begins to close its positions just before, so less of it "
    "is compared than of one on data altered from the cut on."
)


def passed_sentence(checks: Sequence[CutCheck]) -> str:
    """What may be said of comparisons that found no difference; no more than was compared.

    >>> passed_sentence([CutCheck("2024-01-01T00:00:00Z", "cut", 12, 0, 3)])
    'No decision or order before a cut depends on what came after'
    """
    counts = {name: sum(getattr(c, f"{name}s") for c in checks) for name in KINDS}
    compared = [name for name in KINDS if counts[name]]
    if not compared:
        return (
            "Nothing was compared: the strategy traced, recorded and ordered nothing before any cut, so "
            "this says nothing of it; use a longer range, or let it call self.trace(...)"
        )
    *first, last = compared
    what = f"{', '.join(first)} or {last}" if first else last
    sentence = f"No {what} before a cut depends on what came after"
    if compared == ["order"]:
        return f"{sentence}; only orders were compared: this strategy traces nothing"
    return sentence


@dataclass(frozen=True)
class WarmupRow:
    """The suite with another length of warm-up. `same_orders`: orders equal to those of the first."""

    warmup: str
    net: str
    fills: int
    orders: int
    same_orders: int


@dataclass(frozen=True)
class CopyTask:
    """The suite on a copy of its catalog that has no future after `cut_ns`, or another one."""

    label: str
    suite: Suite
    catalog_digest: str
    catalog: Path
    kind: str
    cut_ns: int

    @property
    def identity(self) -> str:
        """Experiment id of the suite with what became of its catalog."""
        experiment = describe_experiment(self.suite, self.catalog_digest)
        return f"{experiment_id(experiment)}-{self.kind}-{self.cut_ns}"

    @property
    def work(self) -> Work:
        """What a worker does: it makes the copy, and drops it again."""
        return _run_on_copy

    def request(self) -> dict[str, Any]:
        """What travels to a worker."""
        return {
            "suite": self.suite.to_builtins(),
            "catalog_digest": self.catalog_digest,
            "catalog": str(self.catalog),
            "kind": self.kind,
            "cut_ns": self.cut_ns,
        }


def tasks_of_cuts(suite: Suite, catalog: Path, digest: str, cuts: int) -> list[AnyTask]:
    """The suite as it is, then on both copies for each of `cuts` times spread over its range.

    Raises SuiteError for cuts that the range cannot hold.
    """
    end_ns = suite.config.time.end_ns
    tasks: list[AnyTask] = [Task("as it is", _traced(suite, end_ns), digest, whole=True)]
    for cut_ns in _cut_times(suite, cuts):
        for kind in COPIES:
            own = _traced(suite, cut_ns if kind == "cut" else end_ns)
            label = f"data {kind} at {format_utc(cut_ns)}"
            tasks.append(CopyTask(label, own, digest, catalog, kind, cut_ns))
    return tasks


def compare_cuts(tasks: Sequence[AnyTask], found: Sequence[Files]) -> list[CutCheck]:
    """What the runs of [tasks_of_cuts][] did before each cut, side by side.

    Raises LookaheadError that names the first decision, signal or order that differs.
    """
    checks: list[CutCheck] = []
    for task, files in zip(tasks[1:], found[1:], strict=True):
        assert isinstance(task, CopyTask)
        # A run that ends at the cut begins to close just before it.
        until_ns = _closing_ns(task.suite) if task.kind == "cut" else task.cut_ns
        compared = _compare(found[0], files, until_ns, task)
        if isinstance(compared, Difference):
            raise LookaheadError(compared, checks)
        checks.append(compared)
    return checks


def tasks_of_warmups(suite: Suite, digest: str, warmups: Sequence[str]) -> list[AnyTask]:
    """The suite with each length of warm-up."""
    tasks: list[AnyTask] = []
    for warmup in warmups:
        duration_ns(warmup)
        values = suite.to_builtins()
        values["mode"] = {"kind": "single"}
        values["time"] = {**values["time"], "warmup": warmup}
        own = suite_from(values, source=f"warmup {warmup}")
        tasks.append(Task(f"warm-up of {warmup}", own, digest, whole=True))
    return tasks


def compare_warmups(warmups: Sequence[str], found: Sequence[Files]) -> list[WarmupRow]:
    """How results change with the length of the warm-up, first one first."""
    rows: list[WarmupRow] = []
    orders = [
        [tuple(row.values()) for row in _trace(files, "orders").to_pylist()] for files in found
    ]
    for warmup, files, own in zip(warmups, found, orders, strict=True):
        summary = json.loads(files["summary.json"])
        rows.append(
            WarmupRow(
                warmup=warmup,
                net=summary["net"],
                fills=summary["fills"],
                orders=len(own),
                same_orders=len(set(own) & set(orders[0])),
            )
        )
    return rows


def local_catalog(suite: Suite) -> Path:
    """The folder of the suite's catalog on this machine; SuiteError for one that is elsewhere."""
    path = suite.config.catalog.path
    if "://" not in path:
        return Path(path)
    if not path.startswith("file://"):
        raise SuiteError(
            f"catalog.path must be on a local disk for this check, which copies it (was "
            f"{public_path(path)}); copy the catalog here and name it with --set catalog.path=FOLDER"
        )
    return Path(Catalog.open(path).root)


def _cut_times(suite: Suite, cuts: int) -> list[int]:
    section = suite.config.time
    minutes = (section.end_ns - section.start_ns) // NS_PER_MINUTE
    if cuts < 1 or minutes < cuts + 1:
        raise SuiteError(
            f"cuts must be at least 1 and fewer than the {minutes} minutes of the range (was {cuts})"
        )
    return [section.start_ns + minutes * (i + 1) // (cuts + 1) * NS_PER_MINUTE for i in range(cuts)]


def _traced(suite: Suite, end_ns: int) -> Suite:
    """One run of the suite until `end_ns` that keeps its decisions and signals."""
    values = suite.to_builtins()
    values["mode"] = {"kind": "single"}
    values["time"] = {**values["time"], "end_utc": format_utc(end_ns)}
    values["trace"] = msgspec.to_builtins(TraceSection(decisions=True, signals=True))
    return suite_from(values, source="look-ahead check")


def _closing_ns(suite: Suite) -> int:
    """When a run begins to close its positions, so that they are closed at its end."""
    latency = suite.config.execution.latency
    return suite.config.time.end_ns - 1 - (latency.insert_ms + latency.cancel_ms) * NS_PER_MS


def _run_on_copy(request: Mapping[str, Any]) -> Files:
    values = request["suite"]
    given, catalog = values["catalog"]["path"], request["catalog"]
    with tempfile.TemporaryDirectory(prefix="phoenix-lookahead-") as folder:
        place, cut_ns = Path(folder) / "c", request["cut_ns"]
        if request["kind"] == "cut":
            cut(Path(catalog), place, cut_ns)
        else:
            altered(Path(catalog), place, cut_ns, parse_utc(values["time"]["end_utc"]))
        copy = str(place)
        values = _replaced(values, given, copy)
        if given != catalog:  # settings may name the same folder as a plain path
            values = _replaced(values, catalog, copy)
        # What is rare (funding, metrics) may have no row left before a cut.
        own = suite_from(values, source="look-ahead check")
        return run_whole(own, request["catalog_digest"], strict=False)


def _replaced(value: Any, old: str, new: str) -> Any:
    """The value with a path replaced in every text that begins with it."""
    if isinstance(value, dict):
        return {key: _replaced(item, old, new) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(item, old, new) for item in value]
    if isinstance(value, str) and (value == old or value.startswith(f"{old.rstrip('/')}/")):
        return new + value[len(old.rstrip("/")) :] if value != old else new
    return value


_ORDER_KEYS = (
    "ts_init_ns", "strategy_id", "instrument_id", "purpose", "side", "type", "quantity", "price",
)  # fmt: skip


def _compare(whole: Files, other: Files, until_ns: int, task: CopyTask) -> CutCheck | Difference:
    """Rows before `until_ns` of both runs, kind by kind, in the order they were written."""
    cut_utc = format_utc(task.cut_ns)
    counts = {}
    for name in (f"{kind}s" for kind in KINDS):
        one, two = (_before(_trace(files, name), until_ns) for files in (whole, other))
        counts[name] = one.num_rows
        difference = None if one.equals(two) else _first_difference(one, two)
        if difference is not None:
            at_ns = min(row["ts_ns"] for row in difference if row is not None)
            said = (_said(row) for row in difference)
            return Difference(cut_utc, task.kind, name[:-1], format_utc(at_ns), *said)
    return CutCheck(cut_utc, task.kind, **counts)


def _trace(files: Files, name: str) -> pa.Table:
    """Decisions, signals or orders of a run, with their times as int64 `ts_ns`."""
    if name == "orders":
        types = dict.fromkeys(_ORDER_KEYS, pa.string()) | {"ts_init_ns": pa.int64()}
        options = pv.ConvertOptions(include_columns=_ORDER_KEYS, column_types=types)
        table = pv.read_csv(pa.BufferReader(files["orders.csv"]), convert_options=options)
        return table.rename_columns(["ts_ns", *_ORDER_KEYS[1:]])
    content = files.get("decision_trace.parquet" if name == "decisions" else SIGNAL_TRACE)
    if content is None:  # a strategy that decides or records nothing
        return pa.table({"ts_ns": pa.array([], pa.int64())})
    table = pq.read_table(pa.BufferReader(content))
    table = table.rename_columns(["ts_ns" if n == "ts_event" else n for n in table.column_names])
    times = table.column_names.index("ts_ns")
    return table.set_column(times, "ts_ns", table["ts_ns"].cast(pa.int64()))


def _before(table: pa.Table, until_ns: int) -> pa.Table:
    return table.filter(pc.less(table["ts_ns"], until_ns))


type _Row = dict[str, Any] | None


def _first_difference(one: pa.Table, two: pa.Table) -> tuple[_Row, _Row] | None:
    """The first rows that are not the same; None where tables differ in form alone."""
    rows = [table.to_pylist() for table in (one, two)]
    for index in range(max(map(len, rows))):
        first, second = (own[index] if index < len(own) else None for own in rows)
        if repr(first) != repr(second):
            return first, second
    return None


def _said(row: _Row) -> str:
    """What a row says beside its time."""
    if row is None:
        return "absent"
    return " ".join(str(v) for k, v in row.items() if k != "ts_ns" and v not in ("", None))
