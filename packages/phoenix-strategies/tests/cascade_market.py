"""A quarter of an hour with one forced-selling cascade, as engine objects.

Calm quotes and trades around 10,000; then sells print far through a falling bid while depth thins and
open interest was high; then the flow dries up, depth refills, and half of the fall comes back. The
mirrored version exchanges buyers and sellers.
"""

from __future__ import annotations

import random
from decimal import Decimal
from functools import cache
from typing import Any

from engine_market import INSTRUMENT, SECOND, START
from nautilus_trader.model import (
    AggressorSide,
    Bar,
    BarType,
    CustomData,
    DataType,
    Price,
    Quantity,
    QuoteTick,
    TradeId,
    TradeTick,
)
from phoenix_schemas.custom_data import (
    BinanceBookDepthPct,
    BinanceFundingRate,
    BinanceOiMetrics,
    BinanceRecord,
)

BAR_TYPE = BarType.from_str(f"{INSTRUMENT}-1-MINUTE-LAST-EXTERNAL")
CASCADE_FROM, CASCADE_TO = 600, 640  # seconds
MIRROR = 2_000_000  # price 10,000.00 in cents, doubled


@cache
def market(seconds: int = 900, *, seed: int = 1, mirrored: bool = False) -> list[Any]:
    """Quotes, trades, depth, metrics, funding and bars in delivery order; do not change the list."""
    rng = random.Random(seed)
    data: list[tuple[int, int, Any]] = []  # time, tie order, object
    fair = 1_000_000.0  # cents
    bars: dict[int, list[tuple[int, int]]] = {}
    trade_number = 0
    for step in range(seconds * 4):
        ts = START + step * SECOND // 4
        second = step / 4
        running = CASCADE_FROM <= second < CASCADE_TO
        after = CASCADE_TO <= second < CASCADE_TO + 60
        fair += rng.gauss(0, 20.0) - 60.0 * running + 20.0 * after
        bid = round(fair / 10) * 10 - 10 * (2 if running else 0)
        ask = bid + (30 if running else 10)
        size = rng.randint(500, 5_000) // (10 if running else 1)
        data.append((ts, 0, _quote(ts, bid, ask, size, rng.randint(500, 5_000), mirrored)))
        flow = 3 if running else rng.random() < (0.05 if after else 0.5)
        for _ in range(int(flow)):
            trade_number += 1
            sell = running or rng.random() < 0.5
            through = 10 * rng.randint(0, 4) if running else 10 * (rng.random() < 0.3)
            price = bid - through if sell else ask + through
            quantity = rng.randint(100, 20_000 if running else 3_000)
            at = ts + 1_000_000
            trade = _trade(at, price, quantity, sell, trade_number, mirrored)
            data.append((at, 1, trade))
            bars.setdefault((at - START) // (60 * SECOND), []).append((price, quantity))
        if step % 50 == 0:  # every 12.5 s, so that a short history is enough
            depth = Decimal(200_000 if running else 2_000_000 + rng.randint(0, 200_000))
            for percentage in (-5.0, -1.0, 1.0, 5.0):
                notional = depth * (1 if abs(percentage) == 5 else Decimal("0.3"))
                data.append((ts, 2, _custom(BinanceBookDepthPct(
                    ts_event=ts, ts_init=ts, instrument_id=str(INSTRUMENT),
                    percentage=percentage, depth=notional / 10_000, notional=notional,
                ))))  # fmt: skip
        if step % 20 == 0:  # metrics every 5 s
            oi = Decimal(1_000 + rng.randint(0, 20) + (400 if 550 <= second < 640 else 0))
            data.append((ts, 3, _custom(BinanceOiMetrics(
                ts_event=ts, ts_init=ts, instrument_id=str(INSTRUMENT), sum_open_interest=oi,
                sum_open_interest_value=oi * 10_000, count_toptrader_long_short_ratio=1.0,
                sum_toptrader_long_short_ratio=1.0,
                count_long_short_ratio=1.5 + rng.gauss(0, 0.05),
                sum_taker_long_short_vol_ratio=1.0,
            ))))  # fmt: skip
        if step % 40 == 0:
            rate = Decimal(rng.randint(50, 150)) / 1_000_000
            data.append((ts, 4, _custom(BinanceFundingRate(
                ts_event=ts, ts_init=ts, instrument_id=str(INSTRUMENT), rate=rate,
                interval_hours=8,
            ))))  # fmt: skip
    for minute, prints in sorted(bars.items()):
        close = START + (minute + 1) * 60 * SECOND - 1_000_000
        data.append((close, 5, _bar(close, prints, mirrored)))
    data.sort(key=lambda row: row[:2])
    return [obj for _, _, obj in data]


def _px(cents: int) -> Price:
    return Price.from_decimal_dp(Decimal(cents) / 100, 2)


def _qty(units: int) -> Quantity:
    return Quantity.from_decimal_dp(Decimal(units) / 1000, 3)


def _quote(ts: int, bid: int, ask: int, bid_size: int, ask_size: int, mirrored: bool) -> QuoteTick:
    if mirrored:
        bid, ask, bid_size, ask_size = MIRROR - ask, MIRROR - bid, ask_size, bid_size
    return QuoteTick(INSTRUMENT, _px(bid), _px(ask), _qty(bid_size), _qty(ask_size), ts, ts)


def _trade(ts: int, cents: int, units: int, sell: bool, number: int, mirrored: bool) -> TradeTick:
    if mirrored:
        cents, sell = MIRROR - cents, not sell
    side = AggressorSide.SELL if sell else AggressorSide.BUY
    return TradeTick(INSTRUMENT, _px(cents), _qty(units), side, TradeId(str(number)), ts, ts)


def _bar(ts: int, prints: list[tuple[int, int]], mirrored: bool) -> Bar:
    prices = [MIRROR - p if mirrored else p for p, _ in prints]
    volume = sum(q for _, q in prints)
    return Bar(
        BAR_TYPE, _px(prices[0]), _px(max(prices)), _px(min(prices)), _px(prices[-1]),
        _qty(volume), ts, ts,
    )  # fmt: skip


def _custom(record: BinanceRecord) -> CustomData:
    return CustomData(DataType(type(record).__name__, identifier=str(INSTRUMENT)), record)
