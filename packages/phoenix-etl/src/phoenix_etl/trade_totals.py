"""What trades add up to: how many, and how much.

The same whether they are told one by one (`trades`) or joined (`aggTrades`), so either source can be
held against the other, and against klines.
"""

from __future__ import annotations

import msgspec
import numpy as np
import pyarrow as pa
from phoenix_schemas.datasets import DatasetSpec, Target
from phoenix_schemas.timestamps import NS_PER_DAY, NS_PER_MINUTE

from phoenix_etl.arrays import numbers

MINUTES_PER_DAY = NS_PER_DAY // NS_PER_MINUTE
_HALF = 32


class TradeTotals(msgspec.Struct, frozen=True, kw_only=True):
    """Number of trades and their quantity in base units, as decimal text."""

    fills: int
    quantity: str


class TradeSum:
    """Adds up the trades of tables; `by_minute` counts them by minute of the UTC day."""

    def __init__(self, spec: DatasetSpec, size_precision: int) -> None:
        target = trade_target(spec)
        assert target is not None  # only trades are added up
        self._size = target.columns["size"]
        self._ids = spec.continuous_ids
        self._precision = size_precision
        self._fills = 0
        self._units = 0
        self.by_minute = np.zeros(MINUTES_PER_DAY, np.int64)

    def add(self, table: pa.Table) -> None:
        fills = self._fills_of(table)
        size = numbers(table.column(self._size))
        self._fills += _sum(fills)
        self._units += _sum(size)
        minute = numbers(table.column("ts_event")) % NS_PER_DAY // NS_PER_MINUTE
        if len(minute):  # rows of one minute lie together, most often
            starts = np.flatnonzero(np.concatenate([[True], minute[1:] != minute[:-1]]))
            np.add.at(self.by_minute, minute[starts], np.add.reduceat(fills, starts))

    def _fills_of(self, table: pa.Table) -> np.ndarray:
        """Trades that each row stands for: as many as it joins, one where it names none."""
        if self._ids is None:
            return np.ones(table.num_rows, np.int64)
        first, last = self._ids
        fills: np.ndarray = numbers(table.column(last)) - numbers(table.column(first)) + 1
        return fills

    def result(self) -> TradeTotals:
        return TradeTotals(fills=self._fills, quantity=decimal_text(self._units, self._precision))


def trade_target(spec: DatasetSpec) -> Target | None:
    """The target of a dataset whose rows are trades."""
    return next((t for t in spec.targets if t.type_name == "TradeTick"), None)


def decimal_text(units: int, precision: int) -> str:
    """Text of an integer in units of its last decimal.

    >>> decimal_text(-5, 2), decimal_text(1250, 3), decimal_text(7, 0)
    ('-0.05', '1.250', '7')
    """
    digits = str(abs(units)).rjust(precision + 1, "0")
    whole = len(digits) - precision
    sign = "-" if units < 0 else ""
    return f"{sign}{digits[:whole]}.{digits[whole:]}" if precision else f"{sign}{digits}"


def _sum(values: np.ndarray) -> int:
    """Exact sum of int64 values, which may exceed int64."""
    low = values & ((1 << _HALF) - 1)
    return (int((values >> _HALF).sum()) << _HALF) + int(low.sum())
