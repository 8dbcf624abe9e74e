"""TWAP whose pace follows a decaying alpha: the schedule, as plain integers.

A parent order of `parent_lots` is cut into slices of a size fixed for its life; only the wait
between slices changes. [TwapSchedule][] is a state machine without clock or engine: every method
takes `now` and returns the slices to send and the children to cancel; [TwapSchedule.next_wake][]
says when it wants to be called again. Quantities are whole lots and times int64 ns UTC, so that

    filled + open + unscheduled + abandoned = parent

holds exactly after every call, whatever signals, fills, rejections and cancels arrive.

How the wait is made, with theta_eff = theta 2^(-(now - ts_signal) / half_life):

| when | then |
|---|---|
| no signal yet | wait = interval: a plain TWAP |
| sgn(theta_eff) = side and abs(theta_eff) > upper | factor 1 / (1 + acceleration (abs - upper)) |
| abs(theta_eff) < lower | factor damping (> 1) |
| regime HIGH_VARIANCE | factor high_variance_factor |
| regime LOW_LIQUIDITY | pause: nothing is sent until it lifts |
| sgn(theta_eff) = -side and abs(theta_eff) >= lower | stop, the rest is abandoned |
| abs(theta_eff) < floor | `on_decay`: the rest goes out as one slice, or is abandoned |

wait = interval * product of factors, clamped to [min_interval, max_interval]. The end is start +
horizon, and grace later once there has been a pause. At the end the rest goes out as one slice or
is abandoned (`on_horizon`); in a pause it is abandoned. No slice leaves after the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from phoenix_strategies.errors import SettingsError, StrategyError

SECOND_NS = 1_000_000_000

Regime = Literal["NORMAL", "HIGH_VARIANCE", "LOW_LIQUIDITY"]
Ending = Literal["complete", "horizon", "flipped", "decayed", "canceled", "below_minimum"]
SliceWhy = Literal["schedule", "cross", "horizon", "decayed"]


class TwapConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of one parent order; all fields may arrive as strings ([twap_config][]).

    min_interval_secs and max_interval_secs default to a quarter and four times the interval.
    half_life_secs is theta's; None keeps theta as it came. passive_share is the part of each wait
    that a slice rests at the touch before it crosses (0 crosses at once).
    """

    horizon_secs: float
    interval_secs: float
    min_interval_secs: float | None = None
    max_interval_secs: float | None = None
    half_life_secs: float | None = None
    upper: float = 0.5
    lower: float = 0.1
    floor: float = 0.0
    acceleration: float = 2.0
    damping: float = 2.0
    high_variance_factor: float = 0.5
    on_horizon: Literal["cross", "abandon"] = "cross"
    on_decay: Literal["finish", "abandon"] = "finish"
    grace_secs: float = 0.0
    passive_share: float = 0.0

    def __post_init__(self) -> None:
        rules = {
            "interval_secs": (self.interval_secs > 0, "positive; 10 is typical"),
            "horizon_secs": (
                self.interval_secs <= self.horizon_secs,
                "at least interval_secs; 300 is typical",
            ),
            "min_interval_secs": (
                self.min_interval_secs is None or 0 < self.min_interval_secs <= self.interval_secs,
                "positive and at most interval_secs; leave it out for a quarter of it",
            ),
            "max_interval_secs": (
                self.max_interval_secs is None or self.max_interval_secs >= self.interval_secs,
                "at least interval_secs; leave it out for four times it",
            ),
            "half_life_secs": (
                self.half_life_secs is None or self.half_life_secs > 0,
                "positive; 60 is typical",
            ),
            "floor": (0 <= self.floor <= self.lower, "between 0 and lower; 0 is never"),
            "lower": (self.lower <= self.upper, "at most upper; 0.1 is typical"),
            "acceleration": (self.acceleration >= 0, "at least 0; 2 is typical"),
            "damping": (self.damping >= 1, "at least 1; 2 is typical"),
            "high_variance_factor": (self.high_variance_factor > 0, "positive; 0.5 is typical"),
            "grace_secs": (self.grace_secs >= 0, "at least 0; 60 is typical"),
            "passive_share": (0 <= self.passive_share < 1, "in [0, 1); 0.5 is typical"),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                must, typical = rule.split("; ")
                raise SettingsError(f"{name} must be {must} (was {getattr(self, name)}); {typical}")


def twap_config(params: Mapping[str, str]) -> TwapConfig:
    """A config from `exec_algorithm_params`, which Nautilus carries as strings.

    >>> twap_config({"horizon_secs": "300", "interval_secs": "10", "on_horizon": "abandon"}).upper
    0.5
    """
    try:
        return msgspec.convert(dict(params), TwapConfig, strict=False)
    except msgspec.ValidationError as error:
        raise StrategyError(
            f"TWAP parameters must be those of TwapConfig (was: {error}); "
            'horizon_secs="300", interval_secs="10" is the least'
        ) from error


@dataclass(frozen=True, slots=True)
class Slice:
    """Send a child order of `lots`: at the touch if `passive`, else across the spread.

    Children are numbered from 1 in the order in which they leave.
    """

    child: int
    lots: int
    passive: bool


@dataclass(frozen=True, slots=True)
class CancelChild:
    """Cancel what is open of a child order."""

    child: int


type Action = Slice | CancelChild


@dataclass(slots=True)
class Child:
    """A child order as its events have left it; `leaves` can still fill."""

    leaves: int
    cross_at: int | None = None
    """When a child that rests at the touch is to cross; None for one that crossed at once."""
    cancel_sent: bool = False


@dataclass(frozen=True, slots=True)
class SliceRecord:
    """One slice, for the report and the timeline: when, how much, and what set the pace."""

    ts: int
    lots: int
    passive: bool
    wait_ns: int
    theta_eff: float | None
    why: SliceWhy


@dataclass(slots=True)
class TwapSchedule:
    """The state machine; see the module's text.

    Twenty lots over 40 s, 10 s apart; then the signal flips and the rest is abandoned:

    >>> twap = TwapSchedule(TwapConfig(horizon_secs=40, interval_secs=10), side=1, parent_lots=20)
    >>> twap.start(0)
    [Slice(child=1, lots=5, passive=False)]
    >>> twap.on_fill(0, 1, 5), twap.next_wake // SECOND_NS
    ([], 10)
    >>> twap.on_time(10 * SECOND_NS)
    [Slice(child=2, lots=5, passive=False)]
    >>> twap.on_signal(12 * SECOND_NS, theta=-0.4)
    []
    >>> twap.filled, twap.open, twap.unscheduled, twap.abandoned, twap.ending
    (5, 5, 0, 10, 'flipped')
    """

    config: TwapConfig
    side: Literal[1, -1]
    parent_lots: int
    min_lots: int = 1
    """The smallest child the venue takes."""

    filled: int = 0
    open: int = 0
    unscheduled: int = 0
    abandoned: int = 0
    ending: Ending | None = None
    """Why no further slice will be planned; None while there is a plan."""
    ended_at: int | None = None

    slices: list[SliceRecord] = field(default_factory=list)
    children: dict[int, Child] = field(default_factory=dict)
    """Open children by number."""

    _start: int | None = None
    _due: int = 0
    _theta: float | None = None
    _theta_ts: int = 0
    _regime: Regime = "NORMAL"
    _paused_once: bool = False
    _finishing: bool = False

    def __post_init__(self) -> None:
        if self.parent_lots <= 0 or self.min_lots <= 0:
            raise StrategyError(
                "parent_lots and min_lots must be positive "
                f"(was {self.parent_lots}, {self.min_lots}); lots are quantity / size increment"
            )
        self.unscheduled = self.parent_lots

    # What happens -------------------------------------------------------------------------------

    def start(self, now: int) -> list[Action]:
        """Begin at `now`: the first slice leaves at once, unless a pause or the signal forbids."""
        self._start = self._due = now
        return self._step(now)

    def on_time(self, now: int) -> list[Action]:
        """Time has passed; does nothing before [next_wake][]."""
        return self._step(now)

    def on_signal(self, now: int, theta: float, ts_signal: int | None = None) -> list[Action]:
        """A new theta in [-1, 1], made at `ts_signal` (`now` if None); positive favours buying."""
        if not -1 <= theta <= 1:
            raise StrategyError(f"theta must lie in [-1, 1] (was {theta}); pass it through tanh")
        self._theta = theta
        self._theta_ts = now if ts_signal is None else ts_signal
        self._plan(now)
        return self._step(now)

    def on_regime(self, now: int, regime: Regime) -> list[Action]:
        """The volatility regime changed."""
        self._regime = regime
        self._paused_once |= self.paused and self.ending is None
        self._plan(now)
        return self._step(now)

    def on_fill(self, now: int, child: int, lots: int) -> list[Action]:
        """`lots` of a child filled."""
        order = self.children.get(child)
        if order is None or not 0 < lots <= order.leaves:
            leaves = "is not open" if order is None else f"has {order.leaves}"
            raise StrategyError(
                f"a fill must lie within its child's leaves (was {lots} of child {child}, which "
                f"{leaves}); report each fill once"
            )
        order.leaves -= lots
        self.open -= lots
        self.filled += lots
        if order.leaves == 0:
            del self.children[child]
        return self._step(now)

    def on_closed(self, now: int, child: int) -> list[Action]:
        """A child was rejected, canceled, expired or denied: its leaves return to the schedule.

        Once the parent has ended they are abandoned instead. A close of a child that is not open
        (already filled, or reported twice) changes nothing.
        """
        order = self.children.pop(child, None)
        if order is None:
            return []
        self.open -= order.leaves
        if self.ending is not None:
            self.abandoned += order.leaves
            return []
        self.unscheduled += order.leaves
        crossing = order.cancel_sent and order.leaves >= self.min_lots
        if crossing and not self.paused and now < self.end:
            return [self._spawn(now, order.leaves, "cross"), *self._step(now)]
        return self._step(now)

    def cancel(self, now: int) -> list[Action]:
        """The parent was canceled: every open child is canceled and nothing else leaves."""
        if self.ending is not None and self.open == 0:
            return []
        resting = self._end(now, "canceled")
        return resting + [
            self._cancel(child) for child, o in self.children.items() if not o.cancel_sent
        ]

    # What it says -------------------------------------------------------------------------------

    @property
    def done(self) -> bool:
        """Nothing is open and nothing will be sent."""
        return self.ending is not None and self.open == 0

    @property
    def paused(self) -> bool:
        """Liquidity is too low to send."""
        return self._regime == "LOW_LIQUIDITY"

    @property
    def end(self) -> int:
        """The last time at which a slice may leave."""
        if self._start is None:
            raise StrategyError("a schedule must be started before it has an end; call start(now)")
        seconds = self.config.horizon_secs + (self.config.grace_secs if self._paused_once else 0.0)
        return self._start + _ns(seconds)

    @property
    def next_wake(self) -> int | None:
        """When [on_time][] is next wanted, later than the last call; None when all is planned."""
        if self.ending is not None or self._start is None:
            return None
        times = [self.end]
        if not self.paused:
            if self.unscheduled >= self.min_lots or self.open == 0:
                times.append(self._due)
            times += [
                order.cross_at
                for order in self.children.values()
                if order.cross_at is not None and not order.cancel_sent
            ]
        return min(times)

    def theta_eff(self, now: int) -> float | None:
        """theta 2^(-(now - ts_signal) / half_life); None before the first signal."""
        if self._theta is None or self.config.half_life_secs is None:
            return self._theta
        age_secs = max(now - self._theta_ts, 0) / SECOND_NS
        return float(self._theta * 2.0 ** (-age_secs / self.config.half_life_secs))

    def wait_ns(self, now: int) -> int:
        """The wait between slices as things stand at `now`."""
        config = self.config
        factor = 1.0
        theta = self.theta_eff(now)
        if theta is not None:
            if theta * self.side > config.upper:
                factor /= 1 + config.acceleration * (abs(theta) - config.upper)
            elif abs(theta) < config.lower:
                factor *= config.damping
        if self._regime == "HIGH_VARIANCE":
            factor *= config.high_variance_factor
        shortest = config.min_interval_secs or config.interval_secs / 4
        longest = config.max_interval_secs or config.interval_secs * 4
        return max(_ns(min(max(config.interval_secs * factor, shortest), longest)), 1)

    @property
    def slice_lots(self) -> int:
        """q0 = parent * interval / horizon, down to the lot and up to the minimum."""
        interval, horizon = _ns(self.config.interval_secs), _ns(self.config.horizon_secs)
        return max(self.parent_lots * interval // horizon, self.min_lots)

    # How it decides -----------------------------------------------------------------------------

    def _plan(self, now: int) -> None:
        """Set when the next slice is due, counted from the last one, at the pace of `now`."""
        if self.slices and not self._finishing:
            self._due = self._last + self.wait_ns(now)

    @property
    def _last(self) -> int:
        return next(s.ts for s in reversed(self.slices) if s.why != "cross")

    def _step(self, now: int) -> list[Action]:
        if self._start is None or self.ending is not None:
            return []
        if self.unscheduled == 0 and self.open == 0:
            return self._end(now, "complete")
        if now > self.end:
            return self._end(now, "horizon")
        theta = self.theta_eff(now)
        if theta is not None and theta * self.side < 0 and abs(theta) >= self.config.lower:
            return self._end(now, "flipped")
        if now == self.end:
            last = self.config.on_horizon == "cross" and not self.paused
            return (self._slice(now, self.unscheduled, "horizon") if last else []) + self._end(
                now, "horizon"
            )
        if self.paused:
            return []
        if theta is not None and abs(theta) < self.config.floor and not self._finishing:
            if self.config.on_decay == "abandon":
                return self._end(now, "decayed")
            self._finishing, self._due = True, now
        actions: list[Action] = [
            self._cancel(child)
            for child, order in self.children.items()
            if order.cross_at is not None
            and not order.cancel_sent
            and (order.cross_at <= now or self._finishing)
        ]
        if now >= self._due:
            if self._finishing:
                actions += self._slice(now, self.unscheduled, "decayed")
            else:
                actions += self._slice(now, min(self.slice_lots, self.unscheduled), "schedule")
            if self.unscheduled < self.min_lots and self.open == 0:
                return self._end(now, "below_minimum")
        return actions

    def _slice(self, now: int, lots: int, why: SliceWhy) -> list[Action]:
        """A slice, with the rest in it if that would be too small to leave alone."""
        if 0 < self.unscheduled - lots < self.min_lots:
            lots = self.unscheduled
        if lots < self.min_lots:
            return []
        action = self._spawn(now, lots, why)
        self._due = now + self.wait_ns(now)
        return [action]

    def _spawn(self, now: int, lots: int, why: SliceWhy) -> Slice:
        wait = self.wait_ns(now)
        cross_at = now + round(wait * self.config.passive_share)
        passive = why == "schedule" and now < cross_at < self.end
        self.unscheduled -= lots
        self.open += lots
        child = len(self.slices) + 1
        self.children[child] = Child(lots, cross_at if passive else None)
        self.slices.append(SliceRecord(now, lots, passive, wait, self.theta_eff(now), why))
        return Slice(child, lots, passive)

    def _cancel(self, child: int) -> CancelChild:
        self.children[child].cancel_sent = True
        return CancelChild(child)

    def _end(self, now: int, ending: Ending) -> list[Action]:
        """Abandon what is unscheduled and withdraw what rests at the touch."""
        self.ending = ending
        self.ended_at = now
        self.abandoned += self.unscheduled
        self.unscheduled = 0
        return [
            self._cancel(child)
            for child, order in self.children.items()
            if order.cross_at is not None and not order.cancel_sent
        ]


def _ns(seconds: float) -> int:
    return round(seconds * SECOND_NS)
