"""One run: a suite over one range, in one engine, from catalog to result.

[run_backtest][] builds engine, venue, strategies and recorder, feeds the replay window by window,
raises what a callback raised, and takes the books when the engine has ended. It writes nothing;
`bundle` does. Ranges are end-exclusive, times int64 ns UTC.
"""

from __future__ import annotations

import gc
import importlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa
from nautilus_trader.backtest import BacktestEngine, BacktestEngineConfig
from nautilus_trader.common import LoggerConfig
from nautilus_trader.model import ClientId, OrderFilled, Venue
from phoenix_schemas.custom_data import register_custom_data
from phoenix_schemas.timestamps import NS_PER_MS, format_utc
from phoenix_strategies.run_control import RunControl

from phoenix_runner.bundle import DECISION_SCHEMA
from phoenix_runner.catalog_series import Catalog
from phoenix_runner.errors import InterruptedRunError, RunnerError
from phoenix_runner.feeds import GAP_NS
from phoenix_runner.fills import Fill, FundingPayment, attribute
from phoenix_runner.interrupts import stop_on_signal
from phoenix_runner.metrics import days_within
from phoenix_runner.recorder import MARKOUT_SECONDS, RunRecorder, rows_table
from phoenix_runner.records import RecordTables
from phoenix_runner.replay import DEFAULT_WINDOW_NS, Replay, delivery
from phoenix_runner.suite import Suite
from phoenix_runner.summary import RunRecord
from phoenix_runner.venue import add_venue

type Progress = Callable[[int, int], None]
"""Called after each window with the time reached and the events replayed so far."""

type Row = dict[str, Any]

LIQUIDATION = "LIQUIDATION-"
"""How the ids of the orders begin with which the engine liquidates."""


@dataclass(frozen=True)
class RunResult:
    """What one run left, as rows and tables of the bundle (see `bundle` for the columns)."""

    record: RunRecord
    orders: list[Row]
    fills: list[Row]
    funding: list[Row]
    positions: list[Row]
    account: list[Row]
    equity: pa.Table
    marks: pa.Table
    decisions: pa.Table | None
    records: dict[str, pa.Table]
    """By file name: the signal trace, if asked for, and the reports of parent orders."""
    open_positions: dict[str, str]
    refusals: dict[str, dict[str, int]]
    signal_figures: dict[str, dict[str, float]]
    rows: dict[str, dict[str, int]]
    ranges: dict[str, dict[str, list[str]]]
    gaps: list[dict[str, str]]
    data_start_ns: int | None
    """First row of a market type, warm-up included."""
    events: int
    seconds: float


class DecisionTable:
    """Collects decisions."""

    def __init__(self) -> None:
        self._rows: list[tuple[Any, ...]] = []

    def __call__(
        self,
        ts_ns: int,
        strategy_id: str,
        instrument_id: str,
        values: Mapping[str, float],
        gates: str,
        intent: str,
    ) -> None:
        self._rows.append(
            (ts_ns, strategy_id, instrument_id, sorted(values.items()), gates, intent)
        )

    def table(self) -> pa.Table:
        """`decision_trace.parquet`."""
        return rows_table(self._rows, DECISION_SCHEMA)


def run_backtest(
    suite: Suite,
    start_ns: int,
    end_ns: int,
    *,
    window_ns: int = DEFAULT_WINDOW_NS,
    progress: Progress | None = None,
    strict: bool = True,
) -> RunResult:
    """Run a suite from `start_ns` (after its warm-up) to `end_ns`.

    Raises CallbackError with what a strategy raised, InterruptedRunError after Ctrl-C, NoDataError
    if `strict` for a range without rows of a type that the suite includes.
    """
    register_custom_data()
    # The engine imports it when an actor is added: a second or more in which no Ctrl-C would be heard.
    importlib.import_module("pandas")
    config = suite.config
    catalog = Catalog.open(config.catalog.path)
    replay = Replay(suite, catalog, start_ns, end_ns, config.time.warmup_ns, strict=strict)
    latency = config.execution.latency
    slowest = (latency.insert_ms + latency.cancel_ms) * NS_PER_MS
    control = RunControl(
        trading_start_ns=start_ns,
        trading_end_ns=end_ns - 1 - slowest,
        insert_latency_ns=latency.insert_ms * NS_PER_MS,
        cancel_latency_ns=latency.cancel_ms * NS_PER_MS,
        longest_silence_ns=GAP_NS["QuoteTick"],
        decisions=DecisionTable() if config.trace.decisions else None,
        records=RecordTables(signals=config.trace.signals),
    )
    with collecting_here(), stop_on_signal(control):
        return _run(suite, replay, control, window_ns, progress)


def _run(
    suite: Suite,
    replay: Replay,
    control: RunControl,
    window_ns: int,
    progress: Progress | None,
) -> RunResult:
    """The run itself; nothing of the engine outlives this call."""
    began = time.perf_counter()
    engine, recorder, venue = _build(suite, control, replay.end_ns)
    try:
        events = _feed(engine, replay, control, window_ns, progress)
        recorder.sample(replay.end_ns)
        seconds = time.perf_counter() - began
        return _collect(suite, engine, recorder, control, replay, venue, events, seconds)
    finally:
        engine.dispose()
        control.on_fill = None


@contextmanager
def collecting_here() -> Iterator[None]:
    """Collect cyclic garbage in this thread only, at the end.

    Engine objects must die in the thread that made them, and an automatic collection runs in
    whichever thread happens to allocate (the one that reads ahead, for instance).
    """
    automatic = gc.isenabled()
    gc.disable()
    gc.freeze()  # what lives already is not looked through again and again
    try:
        yield
    finally:
        gc.collect()
        gc.unfreeze()
        if automatic:
            gc.enable()


def _build(
    suite: Suite, control: RunControl, end_ns: int
) -> tuple[BacktestEngine, RunRecorder, Venue]:
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggerConfig(bypass_logging=True)))
    venue = add_venue(engine, suite, suite.config.determinism_seed)
    first = next(iter(suite.instruments.values()))
    by_minute = suite.config.execution.bar_execution is not None
    recorder = RunRecorder(
        engine, venue, first.settlement_currency, list(suite.instruments), control, end_ns,
        # A market of minute bars says nothing about the seconds after a fill.
        markout_seconds=(60,) if by_minute else MARKOUT_SECONDS,
    )  # fmt: skip
    engine.add_actor(recorder)
    for algorithm in suite.spec.algorithms(suite.settings, control):
        engine.add_exec_algorithm(algorithm)
    for number, instrument_id in enumerate(suite.traded, start=1):
        engine.add_strategy(suite.spec.build(instrument_id, number, suite.settings, control))
    return engine, recorder, venue


def _feed(
    engine: BacktestEngine,
    replay: Replay,
    control: RunControl,
    window_ns: int,
    progress: Progress | None,
) -> int:
    """Run every window; returns the number of events."""
    decoders: dict[tuple[str, str], Any] = {}
    events = 0
    client = ClientId("BINANCE")
    for window in replay.windows(window_ns):
        _raise_if_ended(control, window.start_ns)
        for batch, objects in delivery(window, decoders):
            engine.add_data(
                objects, client_id=client if batch.is_custom else None, validate=False, sort=False
            )
        engine.sort_data()
        engine.run(streaming=True, end=replay.end_ns - 1)
        engine.clear_data()
        gc.collect(1)
        events += window.rows
        _raise_if_ended(control, window.end_ns)
        if progress is not None:
            progress(window.end_ns, events)
    engine.end()  # fires what is due before the end of the range, then stops the strategies
    _raise_if_ended(control, replay.end_ns)
    return events


def _raise_if_ended(control: RunControl, reached_ns: int) -> None:
    if control.error is not None:
        raise control.error
    if control.stop_requested:
        raise InterruptedRunError(
            f"stopped by the user before {format_utc(reached_ns)}; nothing was written"
        )


def _collect(
    suite: Suite,
    engine: BacktestEngine,
    recorder: RunRecorder,
    control: RunControl,
    replay: Replay,
    venue: Venue,
    events: int,
    seconds: float,
) -> RunResult:
    cache = engine.cache
    orders = sorted(cache.orders(), key=_by_time)
    names = _order_names(orders)
    purposes = {names[str(o.client_order_id)]: _purpose(o) for o in orders}
    filled = sorted(
        (e for o in orders for e in o.events() if isinstance(e, OrderFilled)),
        key=lambda e: (e.ts_event, _number(str(e.trade_id))),
    )
    fills = [_fill_row(event, names, purposes, recorder) for event in filled]
    positions = [*cache.position_snapshots(), *cache.positions()]
    positions.sort(key=lambda p: (p.ts_opened, str(p.instrument_id), str(p.strategy_id)))
    funding = _funding_rows(positions)
    currency = next(iter(suite.instruments.values())).settlement_currency
    starting = sum(
        (Decimal(b.split()[0]) for b in suite.config.universe.starting_balances
         if b.split()[1] == currency),
        Decimal(0),
    )  # fmt: skip
    still_open = {str(p.instrument_id): p for p in cache.positions_open()}
    payments = [
        FundingPayment(r["ts_ns"], r["instrument_id"], Decimal(r["amount"])) for r in funding
    ]
    executions = [_fill(row) for row in fills]
    recorder.leave_out(days_within(replay.silence()))
    equity = recorder.equity_table()
    record = RunRecord(
        start_ns=control.trading_start_ns,
        end_ns=replay.end_ns,
        currency=currency,
        starting_equity=starting,
        final_equity=recorder.equity(),
        ts_ns=equity["ts_ns"].to_numpy()[1:],  # the first sample is the start
        equity=equity["equity"].to_numpy()[1:],
        net_notional=equity["net_notional"].to_numpy()[1:],
        gross_notional=equity["gross_notional"].to_numpy()[1:],
        attribution=attribute(
            executions, payments, {name: _mark(p, engine) for name, p in still_open.items()}
        ),
        fills=executions,
        funding=payments,
        mids=_mids(fills),
    )
    refusals: dict[str, dict[str, int]] = {}
    for (strategy_id, reason), count in sorted(control.refusals.items()):
        refusals.setdefault(strategy_id, {})[reason] = count
    decisions = control.decisions.table() if isinstance(control.decisions, DecisionTable) else None
    return RunResult(
        record=record,
        orders=[_order_row(order, names, purposes) for order in orders],
        fills=fills,
        funding=funding,
        positions=[_position_row(p) for p in positions if p.ts_opened],
        account=_account_rows(engine, venue, control.trading_start_ns),
        equity=equity,
        marks=recorder.marks_table(),
        decisions=decisions,
        records=control.records.tables() if isinstance(control.records, RecordTables) else {},
        open_positions={name: str(p.signed_qty) for name, p in sorted(still_open.items())},
        refusals=refusals,
        signal_figures=dict(sorted(control.signal_figures.items())),
        rows=replay.rows(),
        ranges=replay.ranges(),
        gaps=replay.gaps(),
        data_start_ns=replay.data_start_ns(),
        events=events,
        seconds=seconds,
    )


def _by_time(order: Any) -> tuple[int, int, str]:
    order_id = str(order.client_order_id)
    if order_id.startswith(LIQUIDATION):
        return order.ts_init, -1, str(order.instrument_id)
    return order.ts_init, _number(order_id), f"{order.strategy_id} {order_id}"


def _order_names(orders: list[Any]) -> dict[str, str]:
    """Names of orders in the bundle: their ids, but for the engine's liquidations, whose ids are
    random in every run and are counted instead."""
    ids = [str(order.client_order_id) for order in orders]
    liquidations = (order_id for order_id in ids if order_id.startswith(LIQUIDATION))
    counted = {random: f"{LIQUIDATION}{n}" for n, random in enumerate(liquidations, start=1)}
    return {order_id: counted.get(order_id, order_id) for order_id in ids}


def _number(identifier: str) -> int:
    """The counter at the end of an order or trade id; a spawned order (-E1) has its parent's.

    >>> _number("O-20240101-065659-001-001-2-E1")
    2
    """
    return int(identifier.partition("-E")[0].rpartition("-")[2])


def _purpose(order: Any) -> str:
    if str(order.client_order_id).startswith(LIQUIDATION):
        return "liquidation"
    return order.tags[0] if order.tags else ""


def _fill_row(
    event: OrderFilled, names: dict[str, str], purposes: dict[str, str], recorder: RunRecorder
) -> Row:
    name = names[str(event.client_order_id)]
    trade_id = str(event.trade_id)
    later = recorder.markouts.get(trade_id, {})
    reference = recorder.references.get(trade_id)
    if reference is None:  # a fill while stopping: the strategy no longer heard of it
        reference = recorder.mid(event.instrument_id)
    return {
        "ts_ns": event.ts_event,
        "time": format_utc(event.ts_event),
        "trade_id": trade_id,
        "client_order_id": name,
        "strategy_id": str(event.strategy_id),
        "instrument_id": str(event.instrument_id),
        "purpose": purposes[name],
        "side": event.order_side.name,
        "quantity": str(event.last_qty),
        "price": str(event.last_px),
        "reference_price": str(event.last_px) if reference is None else f"{reference:f}",
        "commission": str(event.commission.as_decimal()) if event.commission else "0",
        "currency": str(event.currency),
        "liquidity": event.liquidity_side.name,
        **{f"mid_{s}s": _plain(later.get(s)) for s in MARKOUT_SECONDS},
    }


def _fill(row: Row) -> Fill:
    return Fill(
        ts_ns=row["ts_ns"],
        instrument_id=row["instrument_id"],
        side=1 if row["side"] == "BUY" else -1,
        quantity=Decimal(row["quantity"]),
        price=Decimal(row["price"]),
        reference_price=Decimal(row["reference_price"]),
        commission=Decimal(row["commission"]),
        maker=row["liquidity"] == "MAKER",
    )


def _mids(rows: list[Row]) -> dict[int, list[float]]:
    """Mids after each fill by horizon; none at all when no fill has one."""
    mids = {s: [float(r[f"mid_{s}s"] or "nan") for r in rows] for s in MARKOUT_SECONDS}
    return mids if any(r[f"mid_{s}s"] for r in rows for s in MARKOUT_SECONDS) else {}


def _plain(value: Decimal | None) -> str | None:
    return None if value is None else f"{value:f}"


def _order_row(order: Any, names: dict[str, str], purposes: dict[str, str]) -> Row:
    values = order.to_dict()
    name = names[str(order.client_order_id)]
    return {
        "client_order_id": name,
        "strategy_id": str(order.strategy_id),
        "instrument_id": str(order.instrument_id),
        "purpose": purposes[name],
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
    }


def _funding_rows(positions: list[Any]) -> list[Row]:
    payments = [
        (a.ts_event, str(a.instrument_id), a.pnl_change)
        for position in positions
        for a in position.adjustments()
        if a.adjustment_type.name == "FUNDING"
    ]
    return [
        {
            "ts_ns": ts_ns,
            "time": format_utc(ts_ns),
            "instrument_id": instrument_id,
            "amount": str(money.as_decimal()),
            "currency": str(money.currency),
        }
        for ts_ns, instrument_id, money in sorted(payments, key=lambda p: p[:2])
    ]


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


def _account_rows(engine: BacktestEngine, venue: Venue, start_ns: int) -> list[Row]:
    """The account's states as the engine reports them, a row for each change."""
    report = engine.generate_account_report(venue=venue)
    rows: list[Row] = []
    for stamp, state in zip(report.index, report.to_dict("records"), strict=True):
        ts_ns = max(int(stamp.value), start_ns)  # the opening state carries the first event's time
        margins = state["margins"]
        rows.append(
            {
                "ts_ns": ts_ns,
                "time": format_utc(ts_ns),
                "total": state["total"],
                "locked": state["locked"],
                "free": state["free"],
                "currency": state["currency"],
                "margin_initial": str(sum((Decimal(m["initial"]) for m in margins), Decimal(0))),
                "margin_maintenance": str(
                    sum((Decimal(m["maintenance"]) for m in margins), Decimal(0))
                ),
            }
        )
    return rows


def _mark(position: Any, engine: BacktestEngine) -> Decimal:
    """The price at which the account's equity marks an open position: the venue's mark price, where the
    suite includes it, else where it could be closed."""
    update = engine.cache.mark_price(position.instrument_id)
    if update is not None:
        mark: Decimal = update.value.as_decimal()
        return mark
    quote = engine.cache.quote(position.instrument_id)
    if quote is None:
        raise RunnerError(f"an open position must have a quote to mark it (was {position!r})")
    price = quote.bid_price if position.signed_qty > 0 else quote.ask_price
    where: Decimal = price.as_decimal()
    return where
