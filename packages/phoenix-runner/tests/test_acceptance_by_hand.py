"""A day of trading worked out on paper, order by order, fee by fee, funding by funding.

BTCUSDT-PERP, 10,000 USDT, maker 2 bps, taker 4 bps, funding at 08:00 and 16:00.

| time  | what                                                | quantity x price | cash       | fee      |
|-------|-----------------------------------------------------|------------------|------------|----------|
| 07:00 | market buy, at the ask                              | 0.5 x 40,000.10  | -20,000.05 | 8.000020 |
| 07:30 | limit sell joins 5.000 at the ask: they trade 07:40 |                  |            |          |
| 07:45 | ... and it does                                     | 0.2 x 40,080.10  |  +8,016.02 | 1.603204 |
| 08:00 | funding: long 0.3, mark 40,050, +1 bp               | 0.3 x 40,050     |    -1.2015 |          |
| 09:00 | market sell, at the bid, through zero               | 0.8 x 40,200.00  | +32,160.00 | 12.86400 |
| 16:00 | funding: short 0.5, mark 40,300, -2 bp              | 0.5 x 40,300     |    -4.0300 |          |
| 17:00 | market buy, at the ask                              | 0.5 x 39,900.10  | -19,950.05 | 7.980020 |

Cash of the trades 225.92, fees 30.447244, funding 5.2315: net 190.241256.

Against the mids in force (40,000.05; 40,080.05; 40,200.05; 39,900.05) the trades would have made
0.5 x -40,000.05 + 0.2 x 40,080.05 + 0.8 x 40,200.05 - 0.5 x 39,900.05 = 226.00; the resting order
earned 0.05 a unit on 0.2, the three others paid it on 1.8: spread -0.08.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from phoenix_runner.backtest import run_backtest
from phoenix_runner.suite import suite_from
from small_catalog import HOUR, INSTRUMENT, MINUTE, SECOND, START, quote, suite_values, trade, write

PRICES = [  # from this minute on, the bid stands here and the ask 0.10 above
    (0, 40_000), (7 * 60 + 10, 40_080), (8 * 60 + 30, 40_200), (15 * 60, 40_290),
    (16 * 60 + 30, 39_900),
]  # fmt: skip
SCRIPT = ["07:00 buy 0.5", "07:30 sell 0.2 @ 40080.10", "09:00 sell 0.8", "17:00 buy 0.5"]


def write_day(root: Path) -> None:
    quotes = []
    for minute in range(0, 18 * 60, 5):
        bid = [price for start, price in PRICES if start <= minute][-1]
        quotes.append(quote(START + minute * MINUTE, f"{bid}.00", f"{bid}.10", "5.000"))
    write(root, "QuoteTick", quotes)
    trades = [
        trade(START + 6 * HOUR, "40000.10", "0.100", "BUY", 1),
        trade(START + 7 * HOUR + 40 * MINUTE, "40080.10", "5.000", "BUY", 2),
        trade(START + 7 * HOUR + 45 * MINUTE, "40080.10", "0.300", "BUY", 3),
        trade(START + 10 * HOUR, "40200.00", "0.100", "SELL", 4),
    ]
    write(root, "TradeTick", trades)
    marks = [(8 * HOUR - SECOND, "40050.00"), (16 * HOUR - SECOND, "40300.00")]
    write(root, "MarkPriceUpdate", [{"ts": START + t, "value": v} for t, v in marks])
    rates = [(8 * HOUR, "0.0001"), (16 * HOUR, "-0.0002")]
    write(root, "FundingRateUpdate",
          [{"ts": START + t, "rate": r, "interval": 480} for t, r in rates])  # fmt: skip


def test_a_day_matches_the_paper_to_the_cent(tmp_path: Path) -> None:
    root = tmp_path / "catalog"
    write_day(root)
    values = suite_values(
        root,
        universe={"instrument_ids": [INSTRUMENT], "leverage": 10},
        data={"include": ["QuoteTick", "TradeTick", "MarkPriceUpdate"]},
        time={"start_utc": "2024-01-28", "end_utc": "2024-01-28T18:00:00Z"},
        strategy={"name": "scripted_strategy:SCRIPT", "config": {"script": SCRIPT}},
        execution={"trade_execution": True, "queue_position": True},
        funding="settle",
    )
    suite = suite_from(values, source="by hand")
    result = run_backtest(suite, START, START + 18 * HOUR)

    assert [
        ((f["ts_ns"] - START) // MINUTE, f["side"], f["quantity"], f["price"], f["liquidity"],
         Decimal(f["commission"]), f["reference_price"])
        for f in result.fills
    ] == [
        (420, "BUY", "0.500", "40000.10", "TAKER", Decimal("8.000020"), "40000.05"),
        (465, "SELL", "0.200", "40080.10", "MAKER", Decimal("1.603204"), "40080.05"),
        (540, "SELL", "0.800", "40200.00", "TAKER", Decimal("12.864000"), "40200.05"),
        (1020, "BUY", "0.500", "39900.10", "TAKER", Decimal("7.980020"), "39900.05"),
    ]  # fmt: skip
    assert [((r["ts_ns"] - START) // HOUR, Decimal(r["amount"])) for r in result.funding] == [
        (8, Decimal("-1.2015")), (16, Decimal("-4.03")),
    ]  # fmt: skip

    parts = result.record.attribution
    assert parts.gross == Decimal("226.000")
    assert parts.spread == Decimal("-0.08")
    assert parts.fees == Decimal("-30.447244")
    assert parts.funding == Decimal("-5.2315")
    assert parts.net == Decimal("190.241256")
    assert result.record.final_equity == Decimal("10190.241256")
    # Two positions: long from 07:00, turned over at 09:00 into the short that ends at 17:00.
    long, short = result.positions
    assert (long["entry"], long["peak_qty"], short["entry"], short["peak_qty"]) == (
        "BUY", "0.500", "SELL", "0.500",
    )  # fmt: skip
    assert Decimal(long["realized_pnl"]) + Decimal(short["realized_pnl"]) == Decimal("190.241256")


def test_equity_on_the_way_is_what_could_be_had_then(tmp_path: Path) -> None:
    root = tmp_path / "catalog"
    write_day(root)
    values = suite_values(
        root,
        data={"include": ["QuoteTick", "TradeTick"]},
        time={"start_utc": "2024-01-28", "end_utc": "2024-01-28T18:00:00Z"},
        strategy={"name": "scripted_strategy:SCRIPT", "config": {"script": SCRIPT[:1]}},
        execution={"trade_execution": True, "queue_position": True},
    )
    result = run_backtest(suite_from(values, source="by hand"), START, START + 18 * HOUR)
    equity = dict(
        zip(result.equity["ts_ns"].to_pylist(), result.equity["equity"].to_pylist(), strict=True)
    )
    # Long 0.5 from 40,000.10 for 8.00002: marked at the bid of each hour.
    for hour, bid in ((6, None), (8, 40_080), (10, 40_200), (15, 40_290)):
        expected = 10_000.0 if bid is None else 10_000 - 8.00002 + 0.5 * (bid - 40_000.10)
        assert abs(equity[START + hour * HOUR] - expected) < 1e-6
