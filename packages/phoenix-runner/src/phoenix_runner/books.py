"""The books of a run: its orders, fills, positions, funding and account, taken from the engine.

They are kept as columns, a few hundred bytes an order where objects take ten thousand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, overload

import pyarrow as pa
import pyarrow.compute as pc
from nautilus_trader.backtest import BacktestEngine
from nautilus_trader.model import OrderFilled, Venue
from phoenix_schemas.timestamps import format_utc

from phoenix_runner.bundle import (
    ACCOUNT_COLUMNS,
    FILL_COLUMNS,
    FUNDING_COLUMNS,
    ORDER_COLUMNS,
    POSITION_COLUMNS,
)
from phoenix_runner.recorder import MARKOUT_SECONDS, RunRecorder

type Row = dict[str, Any]

LIQUIDATION = "LIQUIDATION-"
"""How the ids of the orders begin with which the engine liquidates."""

_AT_ONCE = 1_000
"""Rows that are objects at a time."""
_NUMBERS = {
    **{name: pa.int64() for name in
       ("ts_ns", "ts_init_ns", "ts_last_ns", "ts_opened_ns", "ts_closed_ns", "number")},
    "avg_px_open": pa.float64(), "avg_px_close": pa.float64(),
}  # fmt: skip


class Rows(Sequence[Row]):
    """Rows of a CSV file, kept as columns: objects come into being as they are looked at."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> list[Row]: ...
    def __getitem__(self, place: int | slice) -> Row | list[Row]:
        places = range(len(self))[place]
        if isinstance(places, range):
            return [self[p] for p in places]
        return {name: self.table[name][places].as_py() for name in self.table.column_names}

    def __iter__(self) -> Iterator[Row]:
        for batch in self.table.to_batches(max_chunksize=_AT_ONCE):
            yield from batch.to_pylist()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # compared by content

    def __repr__(self) -> str:
        return repr(list(self))


class _Columns:
    """Collects rows of one kind, a batch at a time."""

    def __init__(self, names: Sequence[str]) -> None:
        self._schema = pa.schema([(name, _NUMBERS.get(name, pa.string())) for name in names])
        self._waiting: list[Row] = []
        self._batches: list[pa.RecordBatch] = []

    def add(self, row: Row) -> None:
        self._waiting.append(row)
        if len(self._waiting) == _AT_ONCE:
            self.pack()

    def pack(self) -> None:
        """Make columns of the rows that are still objects."""
        if self._waiting:
            self._batches.append(pa.RecordBatch.from_pylist(self._waiting, schema=self._schema))
            self._waiting = []

    def table(self) -> pa.Table:
        self.pack()
        return pa.Table.from_batches(self._batches, schema=self._schema)


@dataclass(frozen=True)
class Books:
    """What a run did and had, in order; see `bundle` for the columns."""

    orders: Rows
    fills: Rows
    positions: Rows
    funding: Rows
    account: Rows


def take_books(engine: BacktestEngine, venue: Venue, recorder: RunRecorder, start_ns: int) -> Books:
    """The books of an engine that has ended, whose scored time began at `start_ns`."""
    orders, fills = _orders_and_fills(engine, recorder)
    positions, funding = _positions_and_funding(engine)
    return Books(orders, fills, positions, funding, _account(engine, venue, start_ns))


def _orders_and_fills(engine: BacktestEngine, recorder: RunRecorder) -> tuple[Rows, Rows]:
    orders = _Columns([*ORDER_COLUMNS, "number", "tie"])
    fills = _Columns([*FILL_COLUMNS, "number"])
    # One at a time: the cache hands out copies.
    for order_id in engine.cache.client_order_ids():
        order: Any = engine.cache.order(order_id)
        liquidation = str(order_id).startswith(LIQUIDATION)
        purpose = "liquidation" if liquidation else order.tags[0] if order.tags else ""
        orders.add(_order_row(order, purpose, liquidation))
        for event in order.events():
            if isinstance(event, OrderFilled):
                fills.add(_fill_row(event, purpose, recorder))
    in_order = _sorted(orders.table(), "ts_init_ns", "number", "tie")
    ids = in_order["client_order_id"]
    # Of trades at one time with one number the earlier order's comes first.
    filled = fills.table()
    filled = filled.append_column("tie", pc.index_in(filled["client_order_id"], ids))
    filled = _sorted(filled, "ts_ns", "number", "tie")
    names = _liquidations(ids)
    return (
        Rows(_renamed(in_order, names).select(ORDER_COLUMNS)),
        Rows(_renamed(filled, names).select(FILL_COLUMNS)),
    )


def _order_row(order: Any, purpose: str, liquidation: bool) -> Row:
    """A row, with what puts orders of one time in order: the engine's own first, then by number."""
    values = order.to_dict()
    order_id = str(order.client_order_id)
    return {
        "client_order_id": order_id,
        "strategy_id": str(order.strategy_id),
        "instrument_id": str(order.instrument_id),
        "purpose": purpose,
        "side": order.side.name,
        "type": order.order_type.name,
        "quantity": str(order.quantity),
        "price": values.get("price"),
        "time_in_force": order.time_in_force.name,
        "post_only": str(bool(values.get("is_post_only"))).lower(),
        "reduce_only": str(bool(order.is_reduce_only)).lower(),
        "status": order.status.name,
        "filled_qty": str(order.filled_qty),
        "avg_px": values.get("avg_px"),
        "ts_init_ns": order.ts_init,
        "ts_last_ns": order.ts_last,
        "number": -1 if liquidation else _number(order_id),
        "tie": str(order.instrument_id) if liquidation else f"{order.strategy_id} {order_id}",
    }


def _fill_row(event: OrderFilled, purpose: str, recorder: RunRecorder) -> Row:
    trade_id = str(event.trade_id)
    instrument_id = event.instrument_id
    reference = recorder.reference(trade_id, instrument_id)
    if reference is None:  # a fill while stopping: the strategy no longer heard of it
        reference = recorder.mid(instrument_id)
    return {
        "ts_ns": event.ts_event,
        "time": format_utc(event.ts_event),
        "trade_id": trade_id,
        "client_order_id": str(event.client_order_id),
        "strategy_id": str(event.strategy_id),
        "instrument_id": str(instrument_id),
        "purpose": purpose,
        "side": event.order_side.name,
        "quantity": str(event.last_qty),
        "price": str(event.last_px),
        "reference_price": str(event.last_px) if reference is None else f"{reference:f}",
        "commission": str(event.commission.as_decimal()) if event.commission else "0",
        "currency": str(event.currency),
        "liquidity": event.liquidity_side.name,
        **{
            f"mid_{s}s": _plain(recorder.markout(trade_id, instrument_id, s))
            for s in MARKOUT_SECONDS
        },
        "number": _number(trade_id),
    }


def _positions_and_funding(engine: BacktestEngine) -> tuple[Rows, Rows]:
    positions, funding = _Columns(POSITION_COLUMNS), _Columns(FUNDING_COLUMNS)
    for position in (*engine.cache.position_snapshots(), *engine.cache.positions()):
        if position.ts_opened:
            positions.add(_position_row(position))
        for change in position.adjustments():
            if change.adjustment_type.name == "FUNDING":
                funding.add(_funding_row(change))
    return (
        Rows(_sorted(positions.table(), "ts_opened_ns", "instrument_id", "strategy_id")),
        Rows(_sorted(funding.table(), "ts_ns", "instrument_id")),
    )


def _position_row(position: Any) -> Row:
    pnl = position.realized_pnl
    return {
        "instrument_id": str(position.instrument_id),
        "strategy_id": str(position.strategy_id),
        "entry": position.entry.name,
        "peak_qty": str(position.peak_qty),
        "ts_opened_ns": position.ts_opened,
        "ts_closed_ns": position.ts_closed or None,
        "avg_px_open": position.avg_px_open,
        "avg_px_close": position.avg_px_close,
        "realized_pnl": str(pnl.as_decimal()) if pnl is not None else None,
        "currency": str(position.settlement_currency),
    }


def _funding_row(change: Any) -> Row:
    return {
        "ts_ns": change.ts_event,
        "time": format_utc(change.ts_event),
        "instrument_id": str(change.instrument_id),
        "amount": str(change.pnl_change.as_decimal()),
        "currency": str(change.pnl_change.currency),
    }


def _account(engine: BacktestEngine, venue: Venue, start_ns: int) -> Rows:
    """The account's states as the engine reports them, a row for each change."""
    report = engine.generate_account_report(venue=venue)
    states = _Columns(ACCOUNT_COLUMNS)
    for stamp, state in zip(report.index, report.to_dict("records"), strict=True):
        ts_ns = max(int(stamp.value), start_ns)  # the opening state carries the first event's time
        margins = state["margins"]
        states.add(
            {
                "ts_ns": ts_ns,
                "time": format_utc(ts_ns),
                "total": state["total"],
                "locked": state["locked"],
                "free": state["free"],
                "currency": state["currency"],
                "margin_initial": _total(m["initial"] for m in margins),
                "margin_maintenance": _total(m["maintenance"] for m in margins),
            }
        )
    return Rows(states.table())


def _sorted(table: pa.Table, *keys: str) -> pa.Table:
    return table.sort_by([(key, "ascending") for key in keys])


def _liquidations(order_ids: pa.ChunkedArray) -> dict[str, str]:
    """Names of the engine's liquidations, whose ids are random in every run, in their order."""
    found = order_ids.filter(pc.starts_with(order_ids, LIQUIDATION)).to_pylist()
    return {order_id: f"{LIQUIDATION}{n}" for n, order_id in enumerate(found, start=1)}


def _renamed(table: pa.Table, names: Mapping[str, str]) -> pa.Table:
    if not names:
        return table
    ids = [names.get(order_id, order_id) for order_id in table["client_order_id"].to_pylist()]
    place = table.column_names.index("client_order_id")
    return table.set_column(place, "client_order_id", pa.array(ids, pa.string()))


def _number(identifier: str) -> int:
    """The counter at the end of an order or trade id; a spawned order (-E1) has its parent's.

    >>> _number("O-20240101-065659-001-001-2-E1")
    2
    """
    return int(identifier.partition("-E")[0].rpartition("-")[2])


def _total(amounts: Iterable[str]) -> str:
    return str(sum((Decimal(amount) for amount in amounts), Decimal(0)))


def _plain(value: Decimal | None) -> str | None:
    return None if value is None else f"{value:f}"
