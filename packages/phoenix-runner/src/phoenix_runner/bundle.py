"""The folder that a finished run leaves behind, and its hash.

`<output.dir>/<experiment_id>/` holds, for a single run:

- `experiment.json`: what decides the result: config without paths and names, catalog digest,
  package and estimator versions, a hash of the code. `experiment_id` is the start of its SHA-256
- `summary.json`: the result in numbers, see below
- `orders.csv`, a row per order: `client_order_id, strategy_id, instrument_id, purpose, side, type,
  quantity, price, time_in_force, post_only, reduce_only, status, filled_qty, avg_px, ts_init_ns,
  ts_last_ns`
- `fills.csv`, a row per fill, in order: `ts_ns, time, trade_id, client_order_id, strategy_id,
  instrument_id, purpose, side, quantity, price, reference_price, commission, currency, liquidity,
  mid_1s, mid_5s, mid_30s, mid_60s`
- `funding.csv`, a row per settlement: `ts_ns, time, instrument_id, amount, currency` (positive:
  received)
- `positions.csv`, a row per position, flat to flat: `instrument_id, strategy_id, entry, peak_qty,
  ts_opened_ns, ts_closed_ns, avg_px_open, avg_px_close, realized_pnl, currency`
- `account_report.csv`, a row per account state: `ts_ns, time, total, locked, free, currency,
  margin_initial, margin_maintenance`
- `equity.parquet`, a row per UTC minute from start to end: `ts_ns` int64; `equity, balance,
  unrealized_pnl, gross_notional, net_notional` float64, in the settlement currency
- `marks.parquet`, a row per minute and instrument: `ts_ns` int64; `instrument_id` string; `mark`
  float64 (mid of the quote in force; null before any); `position` float64 (signed quantity)
- `decision_trace.parquet`, if asked for: `ts_ns` int64; `strategy_id, instrument_id` string;
  `values` map of string to float64; `gates, intent` string
- `signal_trace.parquet`, if asked for: `strategy_id`, `instrument_id` and the columns of the
  strategy's signal record, see `phoenix_schemas.signal_records`
- `twap_parents.parquet`, if any: a row per parent order of the TWAP algorithm, the columns of
  `phoenix_strategies.twap_algorithm.TwapReport`
- `manifest_ref.json`: `catalog_digest`, `rows` replayed by type and instrument, `ranges` from the first
  of them to the last, `gaps` in the data
- `config_resolved.yaml`: the suite as run, every default written out, paths included
- `environment.json`: Phoenix, NautilusTrader, Python and library versions, platform, git commit
- `timing.json`: wall-clock facts: `started_utc, seconds, events_per_second`
- `report.html`: drawn from the files above; `phoenix report` draws it again
- `bundle.sha256`: hash over the files that two equal runs share

In the CSV files quantities, prices and money are exact decimals as text; `reference_price` is the
mid just before the event that filled the order, see `fills` (in a market made of bars, of the assumed
quote); `mid_*` are
mids that many seconds after it, empty where none is known or the market was not seen that often.
`purpose` is the strategy's own word for the order. `time` is `ts_ns` in ISO 8601.

`summary.json`: `experiment_id`, `strategy`, `instrument_ids`, `venue`, `currency`, `start_utc`,
`end_utc`, `trading_start_utc`, `bar_fills` (spread and slippage assumed if bars made the market,
else null), `starting_equity`, `final_equity`, the attribution `gross`, `fees`, `spread`, `funding`,
`net` and `residual` (money as decimal text), `orders`, `fills`, `positions` (counts),
`open_positions` (signed quantity by instrument), `events` (replayed), `refusals`
(`{strategy_id: {reason: count}}`), `signals` if a strategy says something of them (`{strategy_id:
{figure: value}}`; `zero_impulse_share` of the last window of buckets), `gaps` (`type, instrument_id,
start_utc, end_utc` each), `figures` (all of `summary.summarize`).

The hash covers every file but `config_resolved.yaml` and `environment.json` (paths and machines;
what matters of them is in `experiment.json`), `timing.json` (wall clock) and `report.html` (drawn
from the rest). A bundle appears under its name only when it is complete.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import os
import platform
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from phoenix_runner.errors import BundleError, NoRunError

HASH_FILE = "bundle.sha256"
UNHASHED = frozenset(
    {HASH_FILE, "config_resolved.yaml", "environment.json", "timing.json", "report.html"}
)

ORDER_COLUMNS = (
    "client_order_id", "strategy_id", "instrument_id", "purpose", "side", "type", "quantity",
    "price", "time_in_force", "post_only", "reduce_only", "status", "filled_qty", "avg_px",
    "ts_init_ns", "ts_last_ns",
)  # fmt: skip
FILL_COLUMNS = (
    "ts_ns", "time", "trade_id", "client_order_id", "strategy_id", "instrument_id", "purpose",
    "side", "quantity", "price", "reference_price", "commission", "currency", "liquidity",
    "mid_1s", "mid_5s", "mid_30s", "mid_60s",
)  # fmt: skip
FUNDING_COLUMNS = ("ts_ns", "time", "instrument_id", "amount", "currency")
POSITION_COLUMNS = (
    "instrument_id", "strategy_id", "entry", "peak_qty", "ts_opened_ns", "ts_closed_ns",
    "avg_px_open", "avg_px_close", "realized_pnl", "currency",
)  # fmt: skip
ACCOUNT_COLUMNS = (
    "ts_ns", "time", "total", "locked", "free", "currency", "margin_initial", "margin_maintenance",
)  # fmt: skip

EQUITY_SCHEMA = pa.schema(
    [
        ("ts_ns", pa.int64()),
        *((n, pa.float64()) for n in
          ("equity", "balance", "unrealized_pnl", "gross_notional", "net_notional")),
    ]
)  # fmt: skip
MARKS_SCHEMA = pa.schema(
    [
        ("ts_ns", pa.int64()),
        ("instrument_id", pa.string()),
        ("mark", pa.float64()),
        ("position", pa.float64()),
    ]
)
DECISION_SCHEMA = pa.schema(
    [
        ("ts_ns", pa.int64()),
        ("strategy_id", pa.string()),
        ("instrument_id", pa.string()),
        ("values", pa.map_(pa.string(), pa.float64())),
        ("gates", pa.string()),
        ("intent", pa.string()),
    ]
)


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no optional space: one text per value.

    >>> canonical_json({"b": 1, "a": [None, 0.1]})
    '{"a":[null,0.1],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def experiment_id(experiment: Mapping[str, Any]) -> str:
    """Sixteen hex digits that name an experiment, from what decides its result."""
    return hashlib.sha256(canonical_json(experiment).encode()).hexdigest()[:16]


class BundleFiles:
    """Files of a bundle in memory, by name: what a worker hands to whoever publishes."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}

    def text(self, name: str, text: str) -> None:
        """Add a text file."""
        self.content[name] = text.encode("utf-8")

    def json(self, name: str, value: Any) -> None:
        """Add a JSON file for people: sorted, indented."""
        self.text(name, json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False) + "\n")

    def csv(self, name: str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows under a header; None is an empty cell."""
        out = io.StringIO(newline="")
        writer = csv.DictWriter(out, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        self.text(name, out.getvalue())

    def parquet(self, name: str, table: pa.Table) -> None:
        """Add a table in one row group."""
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", row_group_size=2**30)
        self.content[name] = sink.getvalue().to_pybytes()


_BEING_WRITTEN: set[Path] = set()
"""By this process."""
_WRITERS = itertools.count()


class BundleWriter:
    """Writes one bundle beside its final place, and moves it there when it is whole.

    Used as a context manager: an exception inside removes what was written.
    """

    def __init__(self, final: Path) -> None:
        self.final = final
        # Not visible as a run, on the same file system, and apart from other processes and threads.
        self._mine = f".{final.name}.{platform.node()}."
        writer = f"{os.getpid()}-{next(_WRITERS)}"
        self.folder = final.parent / f"{self._mine}{writer}.partial"
        self._replaces = False

    def __enter__(self) -> Self:
        try:
            self._replaces = self.final.exists()
            self._remove_leftovers()
            _BEING_WRITTEN.add(self.folder)
            self.folder.mkdir(parents=True)
        except OSError as error:
            raise BundleError(
                f"{self.final.parent}: output folder must be writable ({error.strerror}); "
                "set output.dir"
            ) from None
        return self

    def __exit__(self, kind: object, _error: object, _trace: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        _BEING_WRITTEN.discard(self.folder)

    def _remove_leftovers(self) -> None:
        """Of processes on this machine that were killed while they wrote this bundle."""
        for left in self.final.parent.glob(f"{self._mine}*.partial"):
            pid = left.name.removeprefix(self._mine).removesuffix(".partial").partition("-")[0]
            mine = pid == str(os.getpid()) and left not in _BEING_WRITTEN
            if mine or not _is_running(pid):
                shutil.rmtree(left, ignore_errors=True)

    def write(self, files: Mapping[str, bytes], into: str = ".") -> None:
        """Write files, into a subfolder if named."""
        folder = self.folder / into
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)

    def publish(self) -> str:
        """Hash the files and move the folder to its final name; returns the hash."""
        digest = bundle_hash(self.folder)
        self.write({HASH_FILE: f"{digest}\n".encode()})
        retired = self.folder.with_suffix(".retired")
        if self._replaces and self.final.exists():
            self.final.rename(retired)
        try:
            self.folder.rename(self.final)
        except OSError:
            if not is_finished(self.final):
                raise
            # Another process finished the same experiment meanwhile: its bundle stays.
        shutil.rmtree(retired, ignore_errors=True)
        return digest


def _is_running(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (ValueError, PermissionError):  # no process of ours to judge
        return True
    return True


def bundle_hash(folder: Path) -> str:
    """SHA-256 over names and contents of the files that two equal runs share."""
    total = hashlib.sha256()
    files = [p for p in folder.rglob("*") if p.is_file() and p.name not in UNHASHED]
    for path in sorted(files, key=lambda p: p.relative_to(folder).as_posix()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return total.hexdigest()


def is_finished(folder: Path) -> bool:
    """Whether the folder is a published bundle."""
    return (folder / HASH_FILE).is_file() and (folder / "summary.json").is_file()


def verify_bundle(folder: Path | str) -> str:
    """The hash of a bundle, checked against what it claims.

    Raises BundleError for a folder that is no bundle, or whose files have changed.
    """
    folder = Path(folder)
    if not is_finished(folder):
        raise BundleError(
            f"{folder}: must be the folder of a finished run (no {HASH_FILE} or summary.json); "
            "list them with `phoenix runs`"
        )
    claimed = (folder / HASH_FILE).read_text(encoding="utf-8", errors="replace").strip()
    found = bundle_hash(folder)
    if found != claimed:
        raise BundleError(
            f"{folder}: files must be as the run left them (hash is {found[:12]}, "
            f"{HASH_FILE} says {claimed[:12]}); run the suite again"
        )
    return found


def read_json(folder: Path | str, name: str) -> dict[str, Any]:
    """A JSON file of a bundle, as `summary.json`; BundleError if it is none."""
    folder = Path(folder)
    try:
        value = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"{folder / name}: must be a readable JSON file ({error})") from None
    if not isinstance(value, dict):
        raise BundleError(
            f"{folder / name}: must be a JSON object (was {type(value).__name__}); run the suite again"
        )
    return value


def find_run(name: str, root: Path | str) -> Path:
    """A finished run by its folder, or by the start of its id under `root`.

    Raises NoRunError if there is none, BundleError if there is more than one.
    """
    if is_finished(Path(name)):
        return Path(name)
    found = [p for p in finished_runs(root) if p.name.startswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise BundleError(f"{name!r} must name one run (fits {', '.join(p.name for p in found)})")
    raise NoRunError(
        f"{name!r} must be the folder of a finished run, or the start of an id in {root} (no such "
        "run); list them with `phoenix runs`"
    )


def find_part(name: str, root: Path) -> tuple[Path, Path]:
    """The finished run that a name means, and the part of it: itself, or a fold or variant in it.

    A part is named by its folder, or as `<start of an id>/fold-00`.
    """
    whole, _, inside = name.partition("/")
    if Path(name).is_dir():
        for folder in (Path(name), *Path(name).parents[:2]):
            if is_finished(folder):
                return folder, Path(name)
    elif inside:
        found = find_run(whole, root)
        if (found / inside / "summary.json").is_file():
            return found, found / inside
    found = find_run(name, root)
    return found, found


def finished_runs(root: Path | str) -> list[Path]:
    """Bundles under a folder, newest first (by their timing, then by name)."""
    root = Path(root)
    if not root.is_dir():
        return []

    def started(folder: Path) -> str:
        try:
            return str(read_json(folder, "timing.json").get("started_utc"))
        except BundleError:  # it decides nothing but the order, and must not hide the others
            return ""

    runs = [p for p in root.iterdir() if not p.name.startswith(".") and is_finished(p)]
    return sorted(runs, key=lambda p: (started(p), p.name), reverse=True)
