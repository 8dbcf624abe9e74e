"""Engines on recorded minutes and a real spot day: streaming equals batch there too."""

from __future__ import annotations

import numpy as np
import pytest
from market import SECOND, Market, assert_same, replay
from phoenix_schemas.signal_records import (
    BarLpiSignal,
    PhoenixSignal,
    SignalSnapshot,
    VolatilitySignal,
    from_table,
)
from phoenix_signals import batch
from phoenix_signals.engines import (
    BarLpiConfig,
    BarLpiEngine,
    CompositeLpiConfig,
    CompositeLpiEngine,
    LpiConfig,
    LpiEngine,
    ToxicityVolatilityConfig,
    ToxicityVolatilityEngine,
)
from real_market import capture, spot_day

pytestmark = pytest.mark.real_data

NONE = np.empty(0, dtype=np.int64)
BASE = {"price_precision": 2, "size_precision": 3}


def bars_of(trades, width: int) -> batch.Bars:
    """Bars of the trades on [i width, (i + 1) width), stamped at their last millisecond."""
    index = trades.ts_ns // width
    first = np.flatnonzero(np.diff(index, prepend=-1))
    last = np.append(first[1:], len(index)) - 1
    price = trades.price_raw
    return batch.Bars(
        (index[first] + 1) * width - 1_000_000,
        price[first],
        np.maximum.reduceat(price, first),
        np.minimum.reduceat(price, first),
        price[last],
        np.add.reduceat(trades.size_raw, first),
    )


@pytest.fixture(params=["2023", "2024"])
def market(request) -> Market:
    """One capture, with bars of a second, as in a replay: a bar comes last of its time."""
    quotes, trades = capture(request.param)
    mine = batch.Trades(trades.ts_ns, trades.price_raw, trades.size_raw, trades.side)
    return Market(
        mine,
        batch.Quotes(
            quotes.ts_ns, quotes.bid_raw, quotes.ask_raw, quotes.bid_size_raw, quotes.ask_size_raw
        ),
        batch.Depth(NONE, NONE.astype(float), NONE.astype(float)),
        batch.Metrics(NONE, NONE.astype(float), NONE.astype(float)),
        batch.Funding(NONE, NONE.astype(float)),
        bars_of(mine, SECOND),
    )


@pytest.mark.parametrize("eta_bps", [0.0, 1.0])
@pytest.mark.parametrize("bucket_mode", ["time", "notional"])
def test_lpi_engine(market, eta_bps, bucket_mode):
    config = LpiConfig(
        **BASE, price_increment=0.1, eta_bps=eta_bps, bucket_mode=bucket_mode, use_depth=False,
        bucket_interval_ns=SECOND, bucket_notional=50_000.0, use_open_interest=False,
        max_gap_ns=10 * SECOND,
    )  # fmt: skip
    found = replay(LpiEngine(config), market)
    table = batch.lpi_engine(market.trades, market.quotes, config=config)
    assert_same(found, from_table(table, SignalSnapshot))
    assert sum(s.exh is not None for s in found) > 100


def test_bar_engine(market):
    config = BarLpiConfig(**BASE, price_increment=0.1)
    found = replay(BarLpiEngine(config), market)
    table = batch.bar_lpi_engine(market.bars, market.quotes, config=config)
    assert_same(found, from_table(table, BarLpiSignal))
    assert sum(s.lpi is not None for s in found) > 100


def test_toxicity_volatility_engine(market):
    config = ToxicityVolatilityConfig(
        **BASE, instrument_id="BTCUSDT-PERP.BINANCE", price_increment=0.1, vpin_bucket=5.0,
        vpin_window_buckets=10, bar_interval_ns=SECOND, decision_interval_ns=5 * SECOND,
        half_life_short_bars=10, half_life_long_bars=60, z_window_bars=60, a2=0.0, a3=0.0,
    )  # fmt: skip
    found = replay(ToxicityVolatilityEngine(config), market)
    table = batch.toxicity_volatility_engine(
        market.trades, market.quotes, market.bars, config=config
    )
    assert_same(found, from_table(table, VolatilitySignal))
    assert sum(s.theta is not None for s in found) > 20


def test_composite_engine_on_the_spot_day():
    day = spot_day()
    trades = batch.Trades(day.ts_ns, day.price_raw, day.size_raw, day.side)
    config = CompositeLpiConfig(price_precision=2, size_precision=5)
    engine = CompositeLpiEngine(config)
    columns = trades.ts_ns, trades.price_raw, trades.size_raw, trades.side
    rows = zip(*(column.tolist() for column in columns), strict=True)
    found = [engine.maybe_emit() for trade in rows if engine.on_trade(*trade)]
    assert_same(found, from_table(batch.composite_lpi_engine(trades, config=config), PhoenixSignal))
    assert len(found) > 500
