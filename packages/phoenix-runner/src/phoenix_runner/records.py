"""Records that strategies and execution algorithms leave behind, as tables of the bundle."""

from __future__ import annotations

from collections import Counter
from dataclasses import astuple
from typing import Any

import pyarrow as pa
from phoenix_schemas.arrow import DECIMAL
from phoenix_schemas.signal_records import SCHEMAS, to_table
from phoenix_strategies.twap_algorithm import TwapReport

from phoenix_runner.errors import RunnerError

SIGNAL_TRACE = "signal_trace.parquet"
TWAP_PARENTS = "twap_parents.parquet"

TWAP_SCHEMA = pa.schema(
    [
        ("strategy_id", pa.string()),
        ("instrument_id", pa.string()),
        ("ts_start", pa.int64()),
        ("ts_end", pa.int64()),
        ("client_order_id", pa.string()),
        ("side", pa.int8()),
        ("quantity", DECIMAL),
        ("filled", DECIMAL),
        ("abandoned", DECIMAL),
        ("ending", pa.string()),
        ("slices", pa.int32()),
        ("passive_slices", pa.int32()),
        ("arrival_mid", pa.float64()),
        ("average_price", pa.float64()),
        ("shortfall_bps", pa.float64()),
        ("participation", pa.float64()),
    ]
)


class RecordTables:
    """Collects records: signals if asked for, reports of parent orders always.

    >>> from decimal import Decimal
    >>> report = TwapReport(0, 9, "O-1", 1, *map(Decimal, "321"), "flipped", 2, 0, *[None] * 4)
    >>> collect = RecordTables(signals=False)
    >>> collect("TOX-001", "BTCUSDT-PERP.BINANCE", report)
    >>> collect.tables()["twap_parents.parquet"]["ending"].to_pylist()
    ['flipped']
    """

    def __init__(self, *, signals: bool) -> None:
        self._keep_signals = signals
        self._signals: list[Any] = []
        self._of: list[tuple[str, str]] = []
        self._parents: list[tuple[Any, ...]] = []

    def __call__(self, strategy_id: str, instrument_id: str, record: Any) -> None:
        if isinstance(record, TwapReport):
            self._parents.append((strategy_id, instrument_id, *astuple(record)))
            return
        if not self._keep_signals:
            return
        if type(record) not in SCHEMAS or (
            self._signals and type(record) is not type(self._signals[0])
        ):
            raise RunnerError(
                f"records of a run must be of one class of phoenix_schemas.signal_records "
                f"(was {type(record).__name__}); trace values of your own with self.trace"
            )
        self._signals.append(record)
        self._of.append((strategy_id, instrument_id))

    def tables(self) -> dict[str, pa.Table]:
        """Tables by file name; a kind that never came has no table."""
        found = {}
        if self._signals:
            table = to_table(self._signals, type(self._signals[0]))
            strategies, instruments = (list(column) for column in zip(*self._of, strict=True))
            if "instrument_id" not in table.column_names:
                table = table.add_column(0, "instrument_id", pa.array(instruments, pa.string()))
            found[SIGNAL_TRACE] = table.add_column(
                0, "strategy_id", pa.array(strategies, pa.string())
            )
        if self._parents:
            columns = zip(*self._parents, strict=True)
            arrays = [
                pa.array(column, field.type)
                for field, column in zip(TWAP_SCHEMA, columns, strict=True)
            ]
            found[TWAP_PARENTS] = pa.Table.from_arrays(arrays, schema=TWAP_SCHEMA)
        return found


def parents_summary(parents: pa.Table) -> dict[str, Any]:
    """What became of all parent orders together, for `summary.json`.

    `shortfall_bps` is the mean over parents of what their fills cost against the arrival mid, weighted
    by the notional filled; None where nothing filled.

    >>> from decimal import Decimal
    >>> mid, average, shortfall = 100.0, 100.1, 10.0
    >>> report = TwapReport(
    ...     0, 9, "O-1", 1, *map(Decimal, "422"), "flipped", 2, 0, mid, average, shortfall, None)
    >>> collect = RecordTables(signals=False)
    >>> collect("TOX-001", "BTCUSDT-PERP.BINANCE", report)
    >>> parents_summary(collect.tables()[TWAP_PARENTS])
    {'parents': 1, 'slices': 2, 'filled_share': 0.5, 'endings': {'flipped': 1}, 'shortfall_bps': 10.0}
    """
    rows = parents.to_pylist()
    judged = [
        (row["shortfall_bps"], float(row["filled"]) * row["average_price"])
        for row in rows
        if row["shortfall_bps"] is not None
    ]
    weight = sum(w for _, w in judged)
    return {
        "parents": len(rows),
        "slices": sum(row["slices"] for row in rows),
        "filled_share": float(sum(r["filled"] for r in rows) / sum(r["quantity"] for r in rows)),
        "endings": dict(sorted(Counter(row["ending"] for row in rows).items())),
        "shortfall_bps": sum(s * w for s, w in judged) / weight if weight else None,
    }
