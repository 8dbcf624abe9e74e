"""What a run and the strategies in it share: when trading is allowed, why it ended, what was seen.

The engine swallows every Python exception, so a callback cannot stop a run by raising. Instead
each run owns one [RunControl][]: guarded callbacks (see `nautilus_seam`) put the first exception
here and turn silent, a signal handler calls `stop`, and the runner looks after every window. The
same object carries the facts a strategy may not decide for itself (end of warm-up, time of the
closing trades, latency) and collects what the report shows (refusals, decisions).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from phoenix_strategies.errors import CallbackError


class DecisionSink(Protocol):
    """Receives one decision: see [RunControl.decisions][]."""

    def __call__(
        self,
        ts_ns: int,
        strategy_id: str,
        instrument_id: str,
        values: Mapping[str, float],
        gates: str,
        intent: str,
    ) -> None: ...


class RecordSink(Protocol):
    """Receives one record (a signal, a finished parent order): see [RunControl.records][]."""

    def __call__(self, strategy_id: str, instrument_id: str, record: Any) -> None: ...


@dataclass(slots=True)
class RunControl:
    """State of one run, shared by its runner, strategies and execution algorithms.

    All times are int64 nanoseconds UTC on the engine's clock; ranges are end-exclusive.

    Examples
    --------
    >>> control = RunControl(trading_start_ns=100)
    >>> control.may_trade(99), control.may_trade(100)
    (False, True)
    >>> control.fail(KeyError("bid"), "EmaCross.on_bar", 150)
    >>> control.halted
    True
    >>> str(control.error)
    "EmaCross.on_bar raised KeyError: 'bid'"
    """

    trading_start_ns: int = 0
    """End of warm-up: before it strategies are fed and may decide, but no order leaves."""

    trading_end_ns: int | None = None
    """From here on only closing orders leave; strategies that close on stop close now."""

    insert_latency_ns: int = 0
    """Delay of a new order on its way to the venue, as the venue's latency model has it."""

    cancel_latency_ns: int = 0
    """The same for a cancel."""

    longest_silence_ns: int | None = None
    """Longest time without a quote or a trade of an instrument in which it can be traded; longer ones are
    gaps in the data, and nobody knows the price an order would get. None: any."""

    decisions: DecisionSink | None = None
    """Where decisions are recorded; None records nothing and costs nothing."""

    records: RecordSink | None = None
    """Where signal records and the reports of execution algorithms go; all are frozen.
    None records nothing."""

    volume: dict[str, float] = field(default_factory=dict)
    """Base volume traded by the market so far, by instrument, as strategies that watch trades count
    it: what an execution algorithm measures its participation against."""

    on_fill: Callable[[Any], None] | None = None
    """Called with every fill event at its time, before the strategy hears of it."""

    refusals: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often each (strategy id, reason) kept an order from leaving."""

    signal_figures: dict[str, dict[str, float]] = field(default_factory=dict)
    """What a strategy has the summary say of its signals, as they are last, by strategy id."""

    error: CallbackError | None = None
    """The first exception of any callback."""

    stop_requested: bool = False
    """Set by a signal handler: the user wants the run to end."""

    halted: bool = False
    """True after an error or a stop: callbacks do nothing from then on."""

    def may_trade(self, ts_ns: int) -> bool:
        """Whether an order that opens or increases a position may leave now."""
        return self.trading_start_ns <= ts_ns and (
            self.trading_end_ns is None or ts_ns < self.trading_end_ns
        )

    def fail(self, error: BaseException, where: str, ts_ns: int | None) -> None:
        """Keep the first exception and silence every later callback.

        A second Ctrl-C, which ends a callback that does not return, is the user's and no error.
        """
        asked = self.stop_requested and isinstance(error, KeyboardInterrupt)
        if self.error is None and not asked:
            self.error = CallbackError(where, ts_ns, error)
        self.halted = True

    def stop(self) -> None:
        """Ask the run to end; safe inside a signal handler."""
        self.stop_requested = True
        self.halted = True
