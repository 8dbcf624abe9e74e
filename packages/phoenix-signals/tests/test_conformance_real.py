"""Streaming equals batch for every signal, on numbers of real markets.

Ties, bursts, pinned spreads and round sizes come as the market makes them. Where no recording has a
column (open interest at the rate of trades), one is derived from what was recorded: the point is the
arithmetic on hard numbers, not a study.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import real_market
from phoenix_signals import batch, conformance, registry
from phoenix_signals.conformance import compare, run, run_batch

pytestmark = pytest.mark.real_data

ENTRIES = [e for e in registry.installed() if issubclass(e.signal, conformance.CHECKED)]
ROWS = 2_500
SLOW = {"shrinkage_covariance"}
"""Fits a library's model on every row: 200 of them will do."""


def event_columns(source: str) -> dict[str, np.ndarray]:
    """What stands at each trade of a capture: the trade, the quote, and what follows from them."""
    quotes, trades = real_market.capture(source)
    met = batch.quote_before(quotes.ts_ns, trades.ts_ns)
    first = int(np.argmax(met >= 0))
    part = slice(first, first + ROWS)
    met = met[part]
    ts_ns, price_raw, size_raw, side = (
        c[part] for c in (trades.ts_ns, trades.price_raw, trades.size_raw, trades.side)
    )
    bid_raw, ask_raw = quotes.bid_raw[met], quotes.ask_raw[met]
    bid_size_raw, ask_size_raw = quotes.bid_size_raw[met], quotes.ask_size_raw[met]
    mid = (bid_raw + ask_raw) / 200
    moves = np.diff(mid, prepend=mid[0])
    spread = 1e4 * (ask_raw - bid_raw) / 100 / mid
    buys, sells = np.where(side > 0, size_raw, 0), np.where(side < 0, size_raw, 0)
    share = buys.cumsum() / size_raw.cumsum()
    signed = np.cumsum(side * size_raw)
    obi = (bid_size_raw - ask_size_raw) / (bid_size_raw + ask_size_raw)
    return {
        "ts_ns": ts_ns, "price_raw": price_raw, "size_raw": size_raw, "amount_raw": size_raw,
        "side": side, "bid_raw": bid_raw, "ask_raw": ask_raw, "bid_size_raw": bid_size_raw,
        "ask_size_raw": ask_size_raw, "bid": bid_raw / 100, "ask": ask_raw / 100,
        "bid_size": bid_size_raw / 1000, "ask_size": ask_size_raw / 1000,
        "quote": np.arange(len(met)) * 1.0, "buy_raw": buys, "sell_raw": sells,
        "volume_raw": size_raw, "volume": size_raw / 1000, "price": price_raw / 100,
        "close": price_raw / 100, "price_1": price_raw / 100, "price_2": mid,
        "variance": moves**2, "is_source": (side > 0).astype(int), "x": moves,
        "min_scale": np.full(len(met), 0.05), "impulse": side * size_raw * 1.0,
        "liquidity": spread, "lpi": moves, "relief": -np.diff(spread, prepend=spread[0]),
        "open_interest": 1e5 + signed / 1000, "funding_rate": moves * 1e-6, "fsi": 1 - share,
        "imbalance": np.abs(obi), "ldr": bid_size_raw / np.maximum(ask_size_raw, 1),
        "spread_bps": spread, "spread": spread, "depth": (bid_size_raw + ask_size_raw) / 1000,
        "long_short_ratio": (buys.cumsum() + 1) / (sells.cumsum() + 1), "vpin": np.abs(obi),
        "obi": obi, "svi": side * 1.0, "ofi": np.diff(signed, prepend=0) * 1.0,
        "taker_ratio": (buys.cumsum() + 1) / (sells.cumsum() + 1),
        "is_toxic": (spread > np.median(spread)).astype(int), "asset": (side > 0).astype(int),
    }  # fmt: skip


def bar_columns() -> dict[str, np.ndarray]:
    table = real_market.klines("NEARUSDT-1m-2023-09").head(ROWS)
    columns = {"open_": table["open"], "ts_ns": table["close_time"] * real_market.MS_NS}
    columns |= {n: table[n] for n in ("high", "low", "close", "volume")}
    return {n: c.to_numpy() for n, c in columns.items()}


def real_inputs(signal, source: str) -> dict[str, list]:
    names = conformance.arguments(signal)
    if "percentage" in names:
        table = real_market.book_depth().head(ROWS)
        return {n: table[n].tolist() for n in names}
    columns = bar_columns() if "open_" in names else event_columns(source)
    inputs = {n: columns[n].tolist() if n in columns else [] for n in names}
    vectors = conformance.random_inputs(signal, 1, seed=0)
    for name in ("x", "z"):
        if name in names and isinstance(vectors[name][0], list):
            moves = [np.diff(columns[c], prepend=columns[c][0]) for c in ("price", "bid", "ask")]
            wide = len(vectors[name][0])
            picked = list(itertools.islice(itertools.cycle(moves), wide))
            inputs[name] = np.column_stack(picked).tolist()
    return inputs


@pytest.mark.parametrize("entry", ENTRIES, ids=[e.id for e in ENTRIES])
@pytest.mark.parametrize("source", ["2023", "2024"])
def test_streaming_equals_batch(entry, source):
    told = 0
    for parameters in entry.signal.EXAMPLES:
        signal = entry.signal(**parameters)
        inputs = real_inputs(signal, source)
        assert min(map(len, inputs.values())) > 1_000
        if entry.id in SLOW:
            inputs = {n: column[:200] for n, column in inputs.items()}
        streamed = run(signal, inputs)
        assert compare(streamed, run_batch(entry.signal(**parameters), inputs)) is None, parameters
        told += sum(int(np.isfinite(c.astype(float)).sum()) for c in streamed.values())
    assert told > 300
