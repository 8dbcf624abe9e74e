"""What a run writes down while it goes: equity each minute, and the market around each fill.

An actor inside the engine. It samples on a timer (after the data of that nanosecond), which costs
1,440 calls a day; NautilusTrader's simulation modules would be called at every event.
"""

from __future__ import annotations

import itertools
import math
from array import array
from collections.abc import Sequence
from decimal import Decimal
from functools import partial
from typing import Any, Self

import numpy as np
import pyarrow as pa
from nautilus_trader.backtest import BacktestEngine
from nautilus_trader.common import DataActor, DataActorConfig
from nautilus_trader.model import ActorId, Currency, InstrumentId, Venue
from numpy.typing import NDArray
from phoenix_schemas.timestamps import NS_PER_MINUTE, NS_PER_SECOND
from phoenix_strategies.nautilus_seam import GuardedCallbacks
from phoenix_strategies.run_control import RunControl

from phoenix_runner.bundle import EQUITY_SCHEMA, MARKS_SCHEMA
from phoenix_runner.feeds import GAP_NS
from phoenix_runner.metrics import DAY_NS

MARKOUT_SECONDS = (1, 5, 30, 60)
UNKNOWN = -1
"""Where there was no quote, in place of a mid."""


class RunRecorder(GuardedCallbacks, DataActor):
    """Samples one engine. Times before `control.trading_start_ns` are warm-up and not kept."""

    def __new__(cls, *_carried: Any, **_named: Any) -> Self:
        # The stubs give DataActor no __new__; at run time it takes the config there.
        return super().__new__(cls, DataActorConfig(actor_id=ActorId("RECORDER-001")))  # type: ignore[call-arg]

    def __init__(
        self,
        engine: BacktestEngine,
        venue: Venue,
        currency: str,
        instrument_ids: list[str],
        control: RunControl,
        end_ns: int,
        markout_seconds: tuple[int, ...] = MARKOUT_SECONDS,
    ) -> None:
        super().__init__(DataActorConfig(actor_id=ActorId("RECORDER-001")))
        self.control = control
        self._portfolio = engine.portfolio
        self._venue = venue
        self._currency = Currency.from_str(currency)
        self._instruments = [(name, InstrumentId.from_str(name)) for name in instrument_ids]
        self._end_ns = end_ns
        self._markout_seconds = markout_seconds
        # Flat columns: rows as objects would be the only thing that grows over a long run.
        self._times = array("q")
        self._equity = array("d")
        self._marks = array("d")
        self._places: dict[str, int] = {}
        """Of each fill in `_mids`, by trade id."""
        self._mids = array("q")
        """The mid in force at each fill and those after it, doubled and in units of the last digit."""
        self._digits: dict[InstrumentId, int] = {}
        self._idle: list[str] = []
        self._numbers = itertools.count(1)
        control.on_fill = self.see_fill

    def on_start(self) -> None:
        now = self.clock.timestamp_ns()
        first = now // NS_PER_MINUTE * NS_PER_MINUTE
        # Nothing was traded before the first event: equity stood at its start.
        for ts_ns in range(self.control.trading_start_ns, first + 1, NS_PER_MINUTE):
            self.sample(ts_ns)
        self.every("minute", NS_PER_MINUTE, first, lambda event: self.sample(event.ts_event))

    def sample(self, ts_ns: int) -> None:
        """Note equity and marks at `ts_ns`."""
        if ts_ns < self.control.trading_start_ns:
            return
        gross = net = 0.0
        for _, instrument_id in self._instruments:
            mark = self.mid(instrument_id)
            position = float(self._portfolio.net_position(instrument_id))
            self._marks.extend((math.nan if mark is None else float(mark), position))
            if mark is not None:
                gross += abs(position) * float(mark)
                net += position * float(mark)
        equity = self.equity()
        # Not portfolio.account(): it copies the account's whole history at each call.
        money = self._portfolio.unrealized_pnls(self._venue).get(self._currency)
        unrealized = Decimal(0) if money is None else money.as_decimal()
        self._times.append(ts_ns)
        self._equity.extend(
            (float(equity), float(equity - unrealized), float(unrealized), gross, net)
        )

    def equity(self) -> Decimal:
        """Account equity with open positions marked."""
        money = self._portfolio.equity(self._venue).get(self._currency)
        return Decimal(0) if money is None else Decimal(money.as_decimal())

    def mid(self, instrument_id: InstrumentId) -> Decimal | None:
        """Exact mid of the quote in force."""
        quote = self._quote(instrument_id, None)
        if quote is None:
            return None
        mid: Decimal = (quote.bid_price.as_decimal() + quote.ask_price.as_decimal()) / 2
        return mid

    def _quote(self, instrument_id: InstrumentId, max_age_ns: int | None) -> Any | None:
        """The quote in force, if there is one young enough."""
        quote = self.cache.quote(instrument_id)
        if quote is None:
            return None
        if max_age_ns is not None and self.clock.timestamp_ns() - quote.ts_init > max_age_ns:
            return None
        return quote

    def see_fill(self, event: Any) -> None:
        """Note the market at a fill now, and ask to be woken at each markout."""
        trade_id = str(event.trade_id)
        instrument_id = event.instrument_id
        if trade_id not in self._places:
            self._places[trade_id] = len(self._mids)
            self._mids.extend([UNKNOWN] * (1 + len(MARKOUT_SECONDS)))
        self._note_mid(trade_id, 0, instrument_id, None)
        now = self.clock.timestamp_ns()
        for seconds in self._markout_seconds:
            at = now + seconds * NS_PER_SECOND
            if at < self._end_ns:
                # The clock keeps the callback of every name it has heard, so names are used again.
                name = self._idle.pop() if self._idle else f"markout-{next(self._numbers)}"
                see = partial(self._see_markout, name, trade_id, instrument_id, seconds)
                self.at(name, at, see)

    def _see_markout(
        self, name: str, trade_id: str, instrument_id: InstrumentId, seconds: int, _event: Any
    ) -> None:
        self._idle.append(name)
        # Quotes come when they change, so the last one stands, unless the data have a gap there.
        place = 1 + MARKOUT_SECONDS.index(seconds)
        self._note_mid(trade_id, place, instrument_id, GAP_NS["QuoteTick"])

    def _note_mid(
        self, trade_id: str, place: int, instrument_id: InstrumentId, max_age_ns: int | None
    ) -> None:
        quote = self._quote(instrument_id, max_age_ns)
        if quote is not None:
            digits = self._digits.setdefault(instrument_id, quote.bid_price.precision)
            twice = quote.bid_price.as_decimal() + quote.ask_price.as_decimal()
            self._mids[self._places[trade_id] + place] = int(twice.scaleb(digits))

    def reference(self, trade_id: str, instrument_id: InstrumentId) -> Decimal | None:
        """Mid in force at a fill, if its strategy heard of it while there was a quote."""
        return self._noted(trade_id, instrument_id, 0)

    def markout(self, trade_id: str, instrument_id: InstrumentId, seconds: int) -> Decimal | None:
        """Mid so long after a fill, if there was a quote young enough."""
        return self._noted(trade_id, instrument_id, 1 + MARKOUT_SECONDS.index(seconds))

    def _noted(self, trade_id: str, instrument_id: InstrumentId, place: int) -> Decimal | None:
        first = self._places.get(trade_id)
        if first is None or (twice := self._mids[first + place]) == UNKNOWN:
            return None
        return Decimal(twice).scaleb(-self._digits[instrument_id]) / 2

    def leave_out(self, days_ns: NDArray[np.int64]) -> None:
        """Drop the samples of UTC days without data, but for the start, and an end that moved."""
        times = np.array(self._times)
        equity = np.array(self._equity).reshape(times.size, -1)
        marks = np.array(self._marks).reshape(times.size, -1)
        keep = ~np.isin((times - 1) // DAY_NS * DAY_NS, days_ns)
        keep[0] = True
        if not keep[-1]:
            keep[-1] = equity[-1, 0] != equity[np.flatnonzero(keep)[-1], 0]
        self._times = array("q", times[keep].tobytes())
        self._equity = array("d", equity[keep].tobytes())
        self._marks = array("d", marks[keep].tobytes())

    def equity_table(self) -> pa.Table:
        """`equity.parquet`."""
        columns = np.array(self._equity).reshape(-1, len(EQUITY_SCHEMA) - 1).T
        return pa.table([np.array(self._times), *columns], schema=EQUITY_SCHEMA)

    def marks_table(self) -> pa.Table:
        """`marks.parquet`."""
        names = [name for name, _ in self._instruments]
        mark, position = np.array(self._marks).reshape(-1, 2).T
        columns = [
            pa.array(np.repeat(np.array(self._times), len(names))),
            pa.array(names * len(self._times), pa.string()),
            pa.array(mark, mask=np.isnan(mark)),
            pa.array(position),
        ]
        return pa.table(columns, schema=MARKS_SCHEMA)


def rows_table(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    """A table from rows in the order of the schema's fields."""
    columns: list[Any] = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
    return pa.table(arrays, schema=schema)
