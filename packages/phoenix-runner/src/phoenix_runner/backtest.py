"""One run: a suite over one range, in one engine, from catalog to result.

[run_backtest][] builds engine, venue, strategies and recorder, feeds the replay window by window,
raises what a callback raised, and takes the books when the engine has ended. It writes nothing;
`bundle` does. Ranges are end-exclusive, times int64 ns UTC.
"""

from __future__ import annotations

import gc
import importlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
from nautilus_trader.backtest import BacktestEngine, BacktestEngineConfig
from nautilus_trader.common import LoggerConfig
from nautilus_trader.model import ClientId, Venue
from nautilus_trader.portfolio import PortfolioConfig
from numpy.typing import NDArray
from phoenix_schemas.custom_data import register_custom_data
from phoenix_schemas.timestamps import NS_PER_MS, format_utc
from phoenix_strategies.run_control import RunControl

from phoenix_runner.books import Row, Rows, take_books
from phoenix_runner.bundle import DECISION_SCHEMA
from phoenix_runner.catalog_series import Catalog
from phoenix_runner.engine_lifetime import collecting_here
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


@dataclass(frozen=True)
class RunResult:
    """What one run left, as rows and tables of the bundle (see `bundle` for the columns)."""

    record: RunRecord
    orders: Rows
    fills: Rows
    funding: Rows
    positions: Rows
    account: Rows
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


def _build(
    suite: Suite, control: RunControl, end_ns: int
) -> tuple[BacktestEngine, RunRecorder, Venue]:
    engine = BacktestEngine(
        BacktestEngineConfig(
            logging=LoggerConfig(bypass_logging=True),
            # The engine's own statistics and curve, which nobody reads, grow with every order.
            run_analysis=False,
            portfolio=PortfolioConfig(equity_curve=False),
        )
    )
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
    books = take_books(engine, venue, recorder, control.trading_start_ns)
    currency = next(iter(suite.instruments.values())).settlement_currency
    starting = sum(
        (Decimal(b.split()[0]) for b in suite.config.universe.starting_balances
         if b.split()[1] == currency),
        Decimal(0),
    )  # fmt: skip
    still_open = {str(p.instrument_id): p for p in engine.cache.positions_open()}
    payments = [
        FundingPayment(r["ts_ns"], r["instrument_id"], Decimal(r["amount"])) for r in books.funding
    ]
    executions = [_fill(row) for row in books.fills]
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
        mids=_mids(books.fills),
    )
    refusals: dict[str, dict[str, int]] = {}
    for (strategy_id, reason), count in sorted(control.refusals.items()):
        refusals.setdefault(strategy_id, {})[reason] = count
    decisions = control.decisions.table() if isinstance(control.decisions, DecisionTable) else None
    return RunResult(
        record=record,
        orders=books.orders,
        fills=books.fills,
        funding=books.funding,
        positions=books.positions,
        account=books.account,
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


def _mids(fills: Rows) -> dict[int, NDArray[np.float64]]:
    """Mids after each fill by horizon; none at all when no fill has one."""
    mids = {s: fills.table[f"mid_{s}s"].cast(pa.float64()).to_numpy() for s in MARKOUT_SECONDS}
    return mids if any(np.isfinite(m).any() for m in mids.values()) else {}


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
