"""The touch of the book, event by event: queues, spread, orders that trade and sweep.

The rules of one event are sequential (what an order does depends on the queue that it meets), so
the day is cut into lanes of up to a thousand events that are stepped side by side, hundreds of
lanes in one array operation. A lane starts from the latent value at its first event, so prices go
on from lane to lane and the cut looks like one more quote update.

What happens at an event, with `gap` = value - mid:

- An order trades. When the gap has outgrown a random threshold it is informed: it sweeps toward
  the value. Otherwise its sign is the flow's (long memory), or leans with the queue imbalance,
  and it takes from the touch; when it is as large as the queue, the touch is depleted.
- A limit event closes a wide spread from the side that the value is on; or, when the gap is large,
  withdraws the touch; or changes one queue, which drifts to a typical size that grows on the side
  that the value moves away from. So imbalance foretells the next move a little, as it does.
- A forced order takes what it finds: often the touch, sometimes 5 to 40 bps of a thin book.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from phoenix_etl.synthetic.draws import Bools, Draws, Floats, Ints, exp
from phoenix_etl.synthetic.latent import Latent, ticks_at
from phoenix_etl.synthetic.listing import Listing

_LONGEST_LANE: Final = 1_000
_LANES: Final = 512
"""Lanes stepped side by side, and so the events whose inputs are held at a time."""
_SWEEP_CAP: Final = 0.0003
"""No sweep outside cascades prints further than 3 bps from the touch."""
_FORCED_NEAR, _FORCED_FAR = 0.0005, 0.0040


@dataclass(frozen=True)
class Book:
    """Quote after every event, in ticks and lots, and what each order did."""

    bid: Ints
    ask: Ints
    bid_lots: Ints
    ask_lots: Ints
    order: Ints
    """Event index of each order."""
    side: Ints
    """Of each order: +1 buys, -1 sells."""
    touch: Ints
    """Price in ticks at which each order starts to trade."""
    span: Ints
    """How many ticks the touch moved away: 0 when the order stayed within the queue."""
    lots: Ints
    """Size traded at the touch."""
    forced: Bools


def _signs(orders: int, draws: Draws) -> Floats:
    """Order signs with long memory: parent orders of Pareto length, each split and of one sign."""
    ends = np.cumsum(np.floor(draws.pareto(1.4, orders)))
    parent = np.searchsorted(ends, np.arange(orders, dtype=np.float64), side="right")
    direction = np.where(draws.uniform(orders) < 0.5, -1.0, 1.0)
    return np.asarray(direction[parent])


class _Lanes:
    """A block of events, cut into lanes: row `step` of a cut array is one event of every lane."""

    def __init__(self, events: int, length: int) -> None:
        self.count = -(-events // length)
        self._length = length
        self._pad = self.count * length - events

    def cut(self, values: Floats) -> Floats:
        padded = np.concatenate([values, np.repeat(values[-1:], self._pad)])
        return np.ascontiguousarray(padded.reshape(self.count, self._length).T)

    def join(self, values: Floats) -> Ints:
        whole = values.T.reshape(-1)
        return whole[: len(whole) - self._pad].astype(np.int64)


def _limits_first(is_order: Bools, length: int) -> Bools:
    """Let each lane begin with a limit event: it publishes the book that its first order meets."""
    is_order = is_order.copy()
    for first in range(0, len(is_order), length):
        if is_order[first]:
            lane = is_order[first : first + length]
            free = np.flatnonzero(~lane)
            if len(free):
                lane[0], lane[free[0]] = False, True
    return is_order


def _straying(latent: Latent, second: Ints) -> Floats:
    """How far the value typically moves between two events (log), by the pace of the minute."""
    running = np.concatenate([[0], np.cumsum(np.bincount(second, minlength=len(latent.sigma)))])
    edge = np.arange(len(latent.sigma))
    low, high = np.maximum(edge - 30, 0), np.minimum(edge + 31, len(edge))
    pace = np.maximum((running[high] - running[low]) / (high - low), 0.2)
    return np.asarray(latent.sigma / np.sqrt(pace))


def simulate(
    listed: Listing, latent: Latent, milliseconds: Ints, is_order: Bools, draws: Draws
) -> Book:
    """Step the book through the day's events."""
    n = len(milliseconds)
    length = min(max(math.isqrt(n), 100), _LONGEST_LANE)
    is_order = _limits_first(is_order, length)
    order = np.flatnonzero(is_order)
    second = milliseconds // 1000
    value = ticks_at(latent, listed, milliseconds, draws)
    straying = _straying(latent, second)

    # What the orders bring: the sign that they propose, their size, whether they are forced.
    chance = latent.forced[second[order]]
    hit = draws.uniform(len(order)) < np.abs(chance)
    flow = {name: np.zeros(n) for name in ("sign", "size", "forced")}
    flow["forced"][order] = np.where(hit, np.sign(chance), 0.0)
    flow["sign"][order] = _signs(len(order), draws)
    heavy = exp(1.7 * draws.normal(len(order)))
    block = draws.uniform(len(order)) < 0.03  # now and then someone is in a hurry
    heavy = np.where(block, heavy * 12.0, heavy) * np.where(hit, 3.0, 1.0)
    flow["size"][order] = np.floor(listed.order_lots * heavy) + 1.0

    made: dict[str, list[Ints]] = {name: [] for name in (*_QUOTE, *_ORDER)}
    for start in range(0, n, _LANES * length):
        rows = slice(start, min(start + _LANES * length, n))
        inputs = {name: values[rows] for name, values in flow.items()}
        inputs |= {"order": is_order[rows].astype(np.float64), "value": value[rows]}
        at = second[rows]
        stray = straying[at] * value[rows]
        queue = listed.queue_lots * latent.depth[at]
        inputs |= _chances(stray, queue, latent.stress[at], value[rows], draws)
        lanes = _Lanes(rows.stop - start, length)
        out = {name: np.empty((length, lanes.count)) for name in made}
        _step({name: lanes.cut(values) for name, values in inputs.items()}, out)
        for name in _QUOTE:
            made[name].append(lanes.join(out[name]))
        for name in _ORDER:
            made[name].append(lanes.join(out[name])[is_order[rows]])
    joined = {name: np.concatenate(parts) for name, parts in made.items()}
    return Book(**joined, order=order, forced=flow["forced"][order] != 0.0)


def _chances(
    stray: Floats, queue: Floats, stress: Floats, value: Floats, draws: Draws
) -> dict[str, Floats]:
    """The random inputs of a block of events."""
    n = len(value)
    reach = draws.uniform(n)
    reach = _FORCED_NEAR + (_FORCED_FAR - _FORCED_NEAR) * (reach * reach * reach)
    wide = np.floor(draws.exponential(n) * stress * 5.0)
    return {
        "stray": stray,
        "queue": queue,
        "patience": np.maximum(2.8 * stray, 0.25) * (0.5 + draws.uniform(n)),
        "fresh_bid": np.floor(queue * 0.5 * exp(1.2 * draws.normal(n))) + 1.0,
        "fresh_ask": np.floor(queue * 0.5 * exp(1.2 * draws.normal(n))) + 1.0,
        "amount": np.floor(queue * 0.03 * exp(1.5 * draws.normal(n))) + 1.0,
        "target": 1.0 + wide + (draws.uniform(n) < 0.012 * (1.0 + 10.0 * stress)),
        "deep": np.where(draws.uniform(n) < 0.1, np.floor(reach * value) + 1.0, 0.0),
        "cap": np.maximum(np.floor(value * _SWEEP_CAP), 1.0),
        "overshoot": 0.7 + 0.5 * draws.uniform(n),
        "u": draws.uniform(n),
        "v": draws.uniform(n),
    }


_QUOTE: Final = ("bid", "ask", "bid_lots", "ask_lots")
_ORDER: Final = ("side", "touch", "span", "lots")


def _step(cut: dict[str, Floats], out: dict[str, Floats]) -> None:
    """Run all lanes side by side, filling `out` with the state after each event."""
    bid = np.floor(cut["value"][0])
    ask = bid + 1.0
    bid_lots, ask_lots = cut["fresh_bid"][0].copy(), cut["fresh_ask"][0].copy()
    for step in range(len(cut["value"])):
        e = {name: values[step] for name, values in cut.items()}
        is_order = e["order"] > 0.0
        gap = e["value"] - 0.5 * (bid + ask)
        spread = ask - bid
        away = np.abs(gap)
        beyond = away > 0.5 * spread + e["patience"]
        far = away > 0.5 * spread + 2.0 * e["patience"]
        toward = np.where(gap > 0.0, 1.0, -1.0)
        leap = np.maximum(np.rint(away * e["overshoot"]), 1.0)

        # Orders.
        imbalance = (bid_lots - ask_lots) / (bid_lots + ask_lots)
        lean = np.where(e["u"] * 4.0 < 0.5 * (1.0 + 0.9 * imbalance), 1.0, -1.0)
        side = np.where(e["u"] < 0.25, lean, e["sign"])
        forced = e["forced"] != 0.0
        side = np.where(
            forced, e["forced"], np.where(beyond & (far | (e["v"] < 0.4)), toward, side)
        )
        buys = side > 0.0
        queue = np.where(buys, ask_lots, bid_lots)
        agrees = side * gap > -0.25 * spread
        depletes = (e["size"] >= queue) & (agrees | forced)
        swept = np.where(
            beyond & (side == toward), np.minimum(leap, e["cap"]), np.where(depletes, 1.0, 0.0)
        )
        swept = np.where(forced & (e["deep"] > 0.0), e["deep"], swept)
        swept = np.where(is_order, swept, 0.0)
        lots = np.where(swept > 0.0, queue, np.minimum(e["size"], np.maximum(queue - 1.0, 1.0)))

        # Limit orders and cancels.
        closes = ~is_order & (spread > e["target"]) & (e["v"] < 0.93)
        rises = closes & (gap >= 0.0)  # the bid comes up to the ask
        falls = closes & (gap < 0.0)
        withdraws = ~is_order & ~closes & beyond & (e["u"] < np.where(far, 0.7, 0.1))
        withdrawn = np.where(withdraws, leap, 0.0)
        changes = ~is_order & ~closes & ~withdraws
        on_bid = e["v"] * 7.0 % 1.0 < 0.5
        mine = np.where(on_bid, bid_lots, ask_lots)
        slant = np.clip(gap / (e["stray"] * 2.0 + 0.5), -1.5, 1.5) * np.where(on_bid, 1.0, -1.0)
        typical = e["queue"] * (1.0 + 0.6 * slant)
        adds = (e["u"] < 0.5 + 0.45 * (typical - mine) / (typical + mine)) | (mine <= 1.0)
        urge = np.floor(e["amount"] * (1.0 + 3.0 * np.maximum(np.where(adds, slant, -slant), 0.0)))
        changed = np.where(adds, mine + urge, mine - np.minimum(urge, mine - 1.0))

        # New touch. A queue that was emptied, or a price that is new, has a fresh queue.
        ask_move = np.where(buys, swept, 0.0) + np.where(toward > 0.0, withdrawn, 0.0)
        bid_move = np.where(buys, 0.0, swept) + np.where(toward > 0.0, 0.0, withdrawn)
        out["side"][step], out["span"][step], out["lots"][step] = side, swept, lots
        out["touch"][step] = np.where(buys, ask, bid)
        left = np.where(queue > lots, queue - lots, np.where(buys, e["fresh_ask"], e["fresh_bid"]))
        hit_ask, hit_bid = is_order & buys, is_order & ~buys
        ask_lots = np.where(hit_ask, left, np.where(changes & ~on_bid, changed, ask_lots))
        bid_lots = np.where(hit_bid, left, np.where(changes & on_bid, changed, bid_lots))
        new_ask = np.where(falls, bid + e["target"], ask + ask_move)
        new_bid = np.where(rises, ask - e["target"], bid - bid_move)
        # Mostly the other side has followed before the update is published.
        follows = (e["v"] * 13.0 % 1.0 < 0.85) & ~(forced & (e["deep"] > 0.0))
        new_bid = np.where(follows & (ask_move > 0.0), new_ask - e["target"], new_bid)
        new_ask = np.where(follows & (bid_move > 0.0), new_bid + e["target"], new_ask)
        ask_lots = np.where(new_ask != ask, e["fresh_ask"], ask_lots)
        bid_lots = np.where(new_bid != bid, e["fresh_bid"], bid_lots)
        ask, bid = new_ask, new_bid
        out["bid"][step], out["ask"][step] = bid, ask
        out["bid_lots"][step], out["ask_lots"][step] = bid_lots, ask_lots
