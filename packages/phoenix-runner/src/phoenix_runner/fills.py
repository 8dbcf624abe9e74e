"""What a run's fills say: where the money went, the round trips, and the price afterwards.

Money is Decimal and exact: an operation that would have to round raises instead. A [Fill][] carries
the `reference_price` it is judged against: the mid just before the event that filled it (without
quotes, of the market assumed around the last bar's close). For an order that takes liquidity the event
is its arrival, so that is the mid of the quote it fills on. A resting order is filled by a trade, or by
a quote that reaches its price; then the mid is of the quote before that one, and the move that filled
it is no part of its spread: gross has what resting orders lose to such moves (see [markouts][]). Then,
over linear contracts settled in the quote currency,

    gross   = what the same quantities would have earned at reference prices
    spread  = - side (price - reference_price) quantity, summed: paid to cross, earned by resting
    fees    = - commissions
    funding = payments received less paid
    net     = gross + fees + spread + funding = change of equity

[attribute][] computes the parts, [Attribution.reconcile][] holds them against the account.
[round_trips][] cuts the fills flat to flat, [trade_statistics][] summarises those,
[markouts][] measures the mid at fixed times after each fill.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, localcontext
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phoenix_runner.errors import RunnerError
from phoenix_runner.time_columns import times_ns

MARKOUT_HORIZONS_S = (1, 5, 30, 60)
"""Seconds after a fill at which its mark-out is taken."""

_ZERO = Decimal(0)
_CENT = Decimal("0.01")
_EXACT = Context(prec=120, traps=[Inexact, InvalidOperation, DivisionByZero])
_ROUNDING = Context(prec=60, traps=[InvalidOperation, DivisionByZero])


class FillError(RunnerError):
    """Fills contradict themselves or the account."""


@dataclass(frozen=True)
class Fill:
    """One execution. `side` is +1 for a buy, -1 for a sell; quantities and prices are positive."""

    ts_ns: int
    instrument_id: str
    side: Literal[1, -1]
    quantity: Decimal
    price: Decimal
    reference_price: Decimal
    commission: Decimal = _ZERO
    maker: bool = False


@dataclass(frozen=True)
class FundingPayment:
    """One settlement: `amount` is positive when received."""

    ts_ns: int
    instrument_id: str
    amount: Decimal


@dataclass(frozen=True)
class Attribution:
    """Net result by cause, exact. Costs are negative."""

    gross: Decimal
    fees: Decimal
    spread: Decimal
    funding: Decimal

    @property
    def net(self) -> Decimal:
        with _exact():
            return self.gross + self.fees + self.spread + self.funding

    def reconcile(self, equity_change: Decimal, *, tolerance: Decimal = _CENT) -> Decimal:
        """Difference to the account's change of equity; an error when it exceeds `tolerance`.

        The account rounds each commission and settlement to its currency's precision, hence the
        allowance.
        """
        residual = equity_change - self.net
        if abs(residual) > tolerance:
            raise FillError(
                f"gross {self.gross} + fees {self.fees} + spread {self.spread} + funding "
                f"{self.funding} must equal the change of equity {equity_change} within "
                f"{tolerance} (was off by {residual}); a fill, commission or funding payment is "
                "missing or counted twice"
            )
        return residual


@dataclass(frozen=True)
class RoundTrip:
    """From flat to flat (or through zero) in one instrument.

    `entry_price` and `exit_price` are quantity-weighted averages as float, for reading; `pnl` is
    the exact price result of the fills, before `commission` and plus `funding`. `exit_ns` is None
    for a position still open, whose `pnl` counts what was realised by average cost: nothing is
    marked.
    """

    instrument_id: str
    side: Literal[1, -1]
    entry_ns: int
    exit_ns: int | None
    quantity: Decimal
    entry_price: float
    exit_price: float
    pnl: Decimal
    commission: Decimal
    funding: Decimal

    @property
    def net(self) -> Decimal:
        with _exact():
            return self.pnl - self.commission + self.funding


@dataclass(frozen=True)
class TradeStatistics:
    """Closed round trips, net of commission and funding. Ratios are None when undefined."""

    count: int
    still_open: int
    long_count: int
    wins: int
    win_rate: float | None
    mean_net: float | None
    mean_win: float | None
    mean_loss: float | None
    profit_factor: float | None
    best: float | None
    worst: float | None
    median_holding_s: float | None
    longest_holding_s: float | None


@dataclass(frozen=True)
class Markout:
    """Mean mid move in a fill's favour, in bps of its price, `horizon_s` seconds later.

    `standard_error` takes fills as independent; None for fewer than two. `missing` counts the fills
    for which no fresh mid is known at that time.
    """

    horizon_s: int
    count: int
    missing: int
    mean_bps: float | None
    standard_error_bps: float | None


def attribute(
    fills: Iterable[Fill],
    funding: Iterable[FundingPayment] = (),
    final_marks: Mapping[str, Decimal] | None = None,
) -> Attribution:
    """Split the net result into gross, fees, spread and funding, exactly.

    `final_marks` prices what is still open, by instrument; a position without one is an error.

    >>> d = Decimal
    >>> a = attribute([Fill(0, "X", 1, d("2"), d("100.5"), d("100"), d("0.08")),
    ...                Fill(1, "X", -1, d("2"), d("103"), d("103.5"), d("0.08"))])
    >>> a.gross, a.spread, a.fees, a.net
    (Decimal('7.0'), Decimal('-2.0'), Decimal('-0.16'), Decimal('4.84'))
    """
    marks = final_marks or {}
    gross = spread = fees = paid = _ZERO
    position: dict[str, Decimal] = {}
    with _exact():
        for fill in fills:
            _check(fill)
            signed = fill.side * fill.quantity
            gross -= signed * fill.reference_price
            spread -= signed * (fill.price - fill.reference_price)
            fees -= fill.commission
            position[fill.instrument_id] = position.get(fill.instrument_id, _ZERO) + signed
        for payment in funding:
            paid += payment.amount
        for instrument, quantity in position.items():
            if quantity == 0:
                continue
            if instrument not in marks:
                raise FillError(
                    f"final_marks must price every open position (had none for {quantity} "
                    f"{instrument}); give the last mark or mid"
                )
            gross += quantity * marks[instrument]
    return Attribution(gross=gross, fees=fees, spread=spread, funding=paid)


def round_trips(
    fills: Iterable[Fill], funding: Iterable[FundingPayment] = ()
) -> tuple[RoundTrip, ...]:
    """Cut fills into round trips per instrument, in order of their end (open ones last).

    A fill that turns a position over closes one trip and opens the next; its commission is split by
    quantity, the parts summing to the whole. Funding falls to the trip open at its time (a payment
    at the very nanosecond of an entry is not that trip's, at that of an exit it is).
    """
    by_instrument: dict[str, list[Fill]] = {}
    for fill in fills:
        _check(fill)
        by_instrument.setdefault(fill.instrument_id, []).append(fill)
    payments: dict[str, list[FundingPayment]] = {}
    for payment in funding:
        payments.setdefault(payment.instrument_id, []).append(payment)
    trips: list[RoundTrip] = []
    for instrument, own in by_instrument.items():
        legs: list[Fill] = []
        position = _ZERO
        with _exact():
            for fill in own:
                signed = fill.side * fill.quantity
                if position != 0 and (position > 0) != (signed > 0) and abs(signed) > abs(position):
                    closing, opening = _split(fill, abs(position))
                    trips.append(_trip([*legs, closing], payments.get(instrument, ())))
                    legs, position = [opening], opening.side * opening.quantity
                    continue
                legs.append(fill)
                position += signed
                if position == 0:
                    trips.append(_trip(legs, payments.get(instrument, ())))
                    legs = []
            if legs:
                trips.append(_trip(legs, payments.get(instrument, ())))
    return tuple(sorted(trips, key=lambda t: (t.exit_ns is None, t.exit_ns or 0, t.entry_ns)))


def trade_statistics(trips: Sequence[RoundTrip]) -> TradeStatistics:
    """Counts, win rate, profit factor and holding times of the closed round trips.

    A win has net > 0. Profit factor = sum of wins / |sum of losses|, None without losses.
    """
    closed = [(trip, trip.exit_ns - trip.entry_ns) for trip in trips if trip.exit_ns is not None]
    nets = [trip.net for trip, _ in closed]
    wins = [n for n in nets if n > 0]
    losses = [n for n in nets if n < 0]
    holding = [ns / 1e9 for _, ns in closed]
    return TradeStatistics(
        count=len(closed),
        still_open=len(trips) - len(closed),
        long_count=sum(trip.side == 1 for trip, _ in closed),
        wins=len(wins),
        win_rate=len(wins) / len(nets) if nets else None,
        mean_net=_mean(nets),
        mean_win=_mean(wins),
        mean_loss=_mean(losses),
        profit_factor=float(sum(wins, _ZERO) / -sum(losses, _ZERO)) if losses else None,
        best=float(max(nets)) if nets else None,
        worst=float(min(nets)) if nets else None,
        median_holding_s=float(np.median(holding)) if holding else None,
        longest_holding_s=max(holding) if holding else None,
    )


def markouts(
    side: ArrayLike, price: ArrayLike, mids: Mapping[int, ArrayLike]
) -> tuple[Markout, ...]:
    """Mean mark-out per horizon: side (mid_h - price) / price, in bps; positive is in our favour.

    `mids` maps each horizon in seconds to the mid that many seconds after every fill, NaN where it
    is not known (see [sample_asof][]).

    >>> [m] = markouts([1, -1], [100.0, 100.0], {5: [100.02, 100.01]})
    >>> m.count, round(m.mean_bps, 9)
    (2, 0.5)
    """
    direction = np.asarray(side, dtype=np.float64)
    paid = np.asarray(price, dtype=np.float64)
    found = []
    for horizon, values in mids.items():
        moves = direction * (np.asarray(values, dtype=np.float64) - paid) / paid * 1e4
        known = moves[np.isfinite(moves)]
        count = int(known.size)
        found.append(
            Markout(
                horizon_s=horizon,
                count=count,
                missing=int(moves.size) - count,
                mean_bps=float(known.mean()) if count else None,
                standard_error_bps=(
                    float(known.std(ddof=1)) / math.sqrt(count) if count > 1 else None
                ),
            )
        )
    return tuple(found)


def sample_asof(
    ts_ns: ArrayLike, values: ArrayLike, at_ns: ArrayLike, *, max_age_ns: int
) -> NDArray[np.float64]:
    """The last value known at each time of `at_ns` (at or before it), NaN when older than allowed.

    `ts_ns` must not decrease; of several values at one time the last wins. A value that will be looked
    up after the series ends is the caller's to refuse, as `labels` does: what was known then may still
    be what counts, as a funding rate does until the next.

    >>> sample_asof([0, 100], [1.0, 2.0], [-1, 0, 99, 120, 170], max_age_ns=50).tolist()
    [nan, 1.0, nan, 2.0, nan]
    """
    times = times_ns("ts_ns", ts_ns)
    known = np.asarray(values, dtype=np.float64)
    wanted = times_ns("at_ns", at_ns)
    if times.size == 0:
        return np.full(wanted.shape, np.nan)
    if np.any(np.diff(times) < 0):
        raise FillError("ts_ns must not decrease; sort the series by time first")
    index = np.searchsorted(times, wanted, side="right") - 1
    held = np.maximum(index, 0)
    fresh = (index >= 0) & (wanted - times[held] <= max_age_ns)
    return np.where(fresh, known[held], np.nan)


def _exact() -> AbstractContextManager[Context]:
    """Arithmetic that raises where it would have to round."""
    return localcontext(_EXACT)


def _check(fill: Fill) -> None:
    if fill.side not in (1, -1):
        raise FillError(f"side must be 1 or -1 (was {fill.side!r})")
    if not (fill.quantity > 0 and fill.price > 0 and fill.reference_price > 0):
        raise FillError(
            f"quantity, price and reference_price must be positive (was {fill.quantity}, "
            f"{fill.price}, {fill.reference_price} at {fill.ts_ns})"
        )


def _split(fill: Fill, first: Decimal) -> tuple[Fill, Fill]:
    """A fill as two, the first of the given quantity; the commissions add up to the whole."""
    with localcontext(_ROUNDING):
        share = (fill.commission * first / fill.quantity).quantize(Decimal("1e-16"))
    return (
        replace(fill, quantity=first, commission=share),
        replace(fill, quantity=fill.quantity - first, commission=fill.commission - share),
    )


def _trip(legs: Sequence[Fill], payments: Iterable[FundingPayment]) -> RoundTrip:
    side = legs[0].side
    entries = [leg for leg in legs if leg.side == side]
    exits = [leg for leg in legs if leg.side != side]
    entered = sum((leg.quantity for leg in entries), _ZERO)
    left = sum((leg.quantity for leg in exits), _ZERO)
    bought = sum((leg.quantity * leg.price for leg in entries), _ZERO)
    sold = sum((leg.quantity * leg.price for leg in exits), _ZERO)
    closed = left == entered
    if closed:
        pnl = side * (sold - bought)
    else:
        with localcontext(_ROUNDING):  # an average cost is a quotient
            pnl = (side * (sold - bought * left / entered)).quantize(Decimal("1e-16"))
    last = legs[-1].ts_ns if closed else None
    return RoundTrip(
        instrument_id=legs[0].instrument_id,
        side=side,
        entry_ns=legs[0].ts_ns,
        exit_ns=last,
        quantity=entered,
        entry_price=float(bought) / float(entered),
        exit_price=float(sold) / float(left) if left else math.nan,
        pnl=pnl,
        commission=sum((leg.commission for leg in legs), _ZERO),
        funding=sum(
            (
                p.amount
                for p in payments
                if legs[0].ts_ns < p.ts_ns and (last is None or p.ts_ns <= last)
            ),
            _ZERO,
        ),
    )


def _mean(values: Sequence[Decimal]) -> float | None:
    return float(sum(values, _ZERO) / len(values)) if values else None
