"""One run: errors and interrupts end it, warm-up cannot trade, money adds up as by hand."""

from __future__ import annotations

import gc
import os
import signal
import time
import traceback
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
import yaml
from phoenix_runner.backtest import RunResult, run_backtest
from phoenix_runner.errors import InterruptedRunError
from phoenix_runner.interrupts import PATIENCE_SECONDS
from phoenix_runner.suite import suite_from
from phoenix_strategies.errors import CallbackError
from probe_strategies import Probe
from small_catalog import (
    BAR_TYPE,
    HOUR,
    MINUTE,
    MS,
    SECOND,
    START,
    bar_rows,
    quote,
    suite_values,
    trade,
    write,
)

CONFIGS = Path(__file__).parents[3] / "configs"


def run_probe(root: Path, config: dict[str, Any], **sections: Any) -> RunResult:
    include = sections.pop("include", ["QuoteTick"])
    values = suite_values(
        root,
        data={"include": include},
        strategy={"name": "probe_strategies:PROBE", "config": {"listen": include, **config}},
        **{"execution": {}, **sections},
    )
    suite = suite_from(values, source="test")
    window = sections.get("window_ns", HOUR)
    return run_backtest(suite, suite.config.time.start_ns, suite.config.time.end_ns,
                        window_ns=window)  # fmt: skip


@pytest.fixture
def quotes(tmp_path: Path) -> Path:
    """Ten-second quotes for an hour: bid 100.00, ask 100.10, rising by 1.00 after half an hour."""
    rows = []
    for i in range(360):
        up = 1 if i >= 180 else 0
        rows.append(quote(START + i * 10 * SECOND, f"{100 + up}.00", f"{100 + up}.10"))
    write(tmp_path / "c", "QuoteTick", rows)
    return tmp_path / "c"


def test_an_exception_in_a_callback_ends_the_run_with_its_own_error(quotes: Path) -> None:
    with pytest.raises(
        CallbackError, match=r"Probe.on_quote raised LookupError: planted"
    ) as caught:
        run_probe(quotes, {"raise_at": 7})
    assert isinstance(caught.value.__cause__, LookupError)
    assert caught.value.exit_code == 1
    assert len(Probe.log) == 7


def test_nothing_of_the_engine_outlives_a_run_that_failed(quotes: Path) -> None:
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(CallbackError) as caught:
            run_probe(quotes, {"raise_at": 7})
        alive = [type(each).__name__ for each in gc.get_objects() if isinstance(each, Probe)]
        lines = "".join(traceback.format_exception(caught.value))
    finally:
        gc.enable()
    assert alive == []
    assert "planted" in lines
    assert "probe_strategies.py" in lines


def test_ctrl_c_ends_the_run_within_a_second(tmp_path: Path) -> None:
    rows = [quote(START + i * MS, "100.00", "100.10") for i in range(60_000)]
    write(tmp_path / "c", "QuoteTick", rows)
    with pytest.raises(InterruptedRunError, match="nothing was written") as caught:
        run_probe(tmp_path / "c", {"interrupt_at": 1000})
    assert caught.value.exit_code == 130
    assert len(Probe.log) == 1000
    assert time.monotonic() - Probe.interrupted_at < 1


def test_a_second_ctrl_c_ends_a_callback_that_does_not_return(
    quotes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def forever(_probe: Probe) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        deadline = time.monotonic() + PATIENCE_SECONDS + 0.5
        while time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("the second Ctrl-C was not heard")

    monkeypatch.setattr(Probe, "act", forever)
    with pytest.raises(InterruptedRunError, match="nothing was written"):
        run_probe(quotes, {})
    assert capsys.readouterr().err.endswith("Ctrl-C again ends it at once\n")


def test_warm_up_is_fed_but_neither_trades_nor_counts(quotes: Path) -> None:
    time_section = {
        "start_utc": "2024-01-28T00:20:00Z", "end_utc": "2024-01-28T01:00:00Z", "warmup": "10m",
    }  # fmt: skip
    result = run_probe(quotes, {"buy_at": 3}, time=time_section)
    assert Probe.log[0][1] == START + 10 * MINUTE
    assert result.orders == []
    assert result.equity["ts_ns"][0].as_py() == START + 20 * MINUTE
    assert pc.unique(result.equity["equity"]).to_pylist() == [10_000.0]
    # The 61st quote is the first one at which trading is allowed.
    result = run_probe(quotes, {"buy_at": 61}, time=time_section)
    assert result.orders[0]["ts_init_ns"] == START + 20 * MINUTE


def test_a_round_trip_is_worth_what_it_is_by_hand(quotes: Path) -> None:
    # Buy 0.1 at 100.10, sell at 101.00: 0.1 * 0.90 = 0.09 before costs.
    # Taker fee 4 bps: 0.1 * 100.10 * 0.0004 = 0.004004 and 0.1 * 101.00 * 0.0004 = 0.004040.
    # Mids 100.05 and 101.05: gross 0.1 * 1.00 = 0.10, spread 0.1 * (0.05 + 0.05) = 0.01.
    result = run_probe(quotes, {"buy_at": 10, "sell_at": 200})
    record, parts = result.record, result.record.attribution
    assert (parts.gross, parts.spread, parts.fees, parts.funding) == (
        Decimal("0.10"), Decimal("-0.01"), Decimal("-0.008044"), 0,
    )  # fmt: skip
    assert record.final_equity - record.starting_equity == Decimal("0.081956") == parts.net
    first, second = result.fills
    assert (first["price"], first["reference_price"]) == ("100.10", "100.05")
    assert (first["mid_1s"], first["mid_60s"]) == ("100.05", "100.05")
    assert second["purpose"] == "exit"
    assert [p["realized_pnl"] for p in result.positions] == ["0.08195600"]


def test_what_is_held_at_the_end_is_closed_before_it_with_costs(quotes: Path) -> None:
    result = run_probe(quotes, {"buy_at": 10})
    close = result.fills[-1]
    assert (close["purpose"], close["side"], close["price"]) == ("close", "SELL", "101.00")
    assert close["ts_ns"] == START + HOUR - 1
    assert result.open_positions == {}
    assert result.record.attribution.net == Decimal("0.081956")


def test_or_stays_open_and_is_marked(quotes: Path) -> None:
    result = run_probe(quotes, {"buy_at": 10, "close_positions_on_stop": False})
    record = result.record
    assert result.open_positions == {"BTCUSDT-PERP.BINANCE": "0.1"}
    # Marked at the bid, where a long would be closed: 0.1 * (101.00 - 100.10) less one fee.
    assert record.final_equity - record.starting_equity == Decimal("0.085996")
    assert record.attribution.net == Decimal("0.085996")


@pytest.mark.parametrize(
    ("fees", "expected"),
    [
        ({"source": "spec"}, "0.0040040"),
        ({"source": "tier", "tier": "VIP0"}, "0.0050050"),
        ({"source": "tier", "tier": "VIP9"}, "0.0017017"),
        ({"source": "rates", "maker": "0", "taker": "0.001"}, "0.01001"),
    ],
)
def test_fees_are_those_of_the_suite(quotes: Path, fees: dict[str, str], expected: str) -> None:
    result = run_probe(quotes, {"buy_at": 10}, execution={"fees": fees})
    assert Decimal(result.fills[0]["commission"]) == Decimal(expected)


def test_each_instrument_pays_the_fees_of_its_own_specification(
    quotes: Path, tmp_path: Path
) -> None:
    other = "AVAXUSDT-PERP.BINANCE"
    rows = [quote(START + i * 10 * SECOND, "30.0000", "30.0100", "50") for i in range(360)]
    write(quotes, "QuoteTick", rows, other, price_precision=4, size_precision=0)
    packaged = yaml.safe_load((CONFIGS / "instrument_specs.yaml").read_text("utf-8"))

    def paid(path: Path | None, taker: dict[str, str]) -> dict[str, Decimal]:
        if path is not None:
            for spec in packaged["instruments"]:
                spec["taker_fee"] = taker.get(spec["instrument_id"], spec["taker_fee"])
            path.write_text(yaml.safe_dump(packaged), "utf-8")
        named = tmp_path / "named.yaml"
        catalog = {"path": str(quotes)}
        if path == named:
            catalog["instrument_specs_path"] = str(named)
        result = run_probe(
            quotes, {"buy_at": 10, "quantity": "1"}, catalog=catalog,
            universe={"instrument_ids": ["BTCUSDT-PERP.BINANCE", other]},
        )  # fmt: skip
        return {f["instrument_id"]: Decimal(f["commission"]) for f in result.fills[:2]}

    btc = "BTCUSDT-PERP.BINANCE"
    # 1 at 100.10 and 1 at 30.01: the packaged 4 bps, those beside the catalog, those that are named.
    assert paid(None, {}) == {btc: Decimal("0.04004"), other: Decimal("0.012004")}
    beside = paid(quotes / "instrument_specs.yaml", {other: "0.001"})
    assert beside == {btc: Decimal("0.04004"), other: Decimal("0.03001")}
    named = paid(tmp_path / "named.yaml", {btc: "0.002"})
    assert named == {btc: Decimal("0.2002"), other: Decimal("0.03001")}


def test_latency_moves_the_fill_to_the_market_of_its_arrival(quotes: Path) -> None:
    # The decision is on the last quote at 100; the order arrives 12 s later, after the rise.
    slow = {"latency": {"insert_ms": 12_000}}
    result = run_probe(quotes, {"buy_at": 180}, execution=slow)
    decided = START + 179 * 10 * SECOND
    assert result.orders[0]["ts_init_ns"] == decided
    assert (result.fills[0]["ts_ns"], result.fills[0]["price"]) == (
        decided + 12 * SECOND, "101.10",
    )  # fmt: skip
    # And the closing order is sent early enough to arrive before the end.
    assert result.fills[-1]["ts_ns"] == START + HOUR - 1


def test_flat_funding_is_paid_at_each_boundary(tmp_path: Path) -> None:
    rows = [quote(START + i * MINUTE, "100.00", "100.10") for i in range(0, 17 * 60, 5)]
    write(tmp_path / "c", "QuoteTick", rows)
    result = run_probe(
        tmp_path / "c", {"buy_at": 2, "close_positions_on_stop": True},
        time={"start_utc": "2024-01-28", "end_utc": "2024-01-28T17:00:00Z"},
        funding={"mode": "flat", "flat_rate": "0.0003"},
    )  # fmt: skip
    # Long 0.1 over 08:00 and 16:00 (not 00:00, before the entry): 0.1 * 100.05 * 0.0003 each.
    assert [(r["ts_ns"] - START, r["amount"]) for r in result.funding] == [
        (8 * HOUR, "-0.00300150"), (16 * HOUR, "-0.00300150"),
    ]  # fmt: skip
    assert result.record.attribution.funding == Decimal("-0.006003")
    result.record.attribution.reconcile(
        result.record.final_equity - result.record.starting_equity, tolerance=Decimal(0)
    )


def test_flat_funding_falls_at_its_own_interval(tmp_path: Path) -> None:
    rows = [quote(START + i * MINUTE, "100.00", "100.10") for i in range(0, 9 * 60, 5)]
    write(tmp_path / "c", "QuoteTick", rows)
    result = run_probe(
        tmp_path / "c", {"buy_at": 2},
        time={"start_utc": "2024-01-28", "end_utc": "2024-01-28T09:00:00Z"},
        funding={"mode": "flat", "interval_hours": 4},
    )  # fmt: skip
    # Long 0.1 over 04:00 and 08:00, at the default rate: 0.1 * 100.05 * 0.0001 each.
    assert [(r["ts_ns"] - START, r["amount"]) for r in result.funding] == [
        (4 * HOUR, "-0.00100050"), (8 * HOUR, "-0.00100050"),
    ]  # fmt: skip


def test_equity_starts_at_the_balance_of_the_suite_and_buys_no_more_than_it(quotes: Path) -> None:
    universe = {"instrument_ids": ["BTCUSDT-PERP.BINANCE"], "leverage": 1}
    rich, poor = (
        run_probe(quotes, {"buy_at": 10}, universe={**universe, "starting_balances": [balance]})
        for balance in ("250 USDT", "9 USDT")
    )
    assert rich.record.starting_equity == 250
    assert rich.equity["equity"][0].as_py() == 250.0
    assert rich.record.final_equity == 250 + rich.record.attribution.net
    assert len(rich.fills) == 2
    # 0.1 at 100.10 needs 10.01 of margin at leverage 1.
    assert (poor.record.final_equity, poor.fills) == (9, [])


def test_settled_funding_uses_the_archive_and_off_pays_nothing(tmp_path: Path) -> None:
    root = tmp_path / "c"
    rows = [quote(START + i * MINUTE, "100.00", "100.10") for i in range(0, 9 * 60, 5)]
    write(root, "QuoteTick", rows)
    write(root, "FundingRateUpdate", [
        {"ts": START + 8 * HOUR, "rate": "-0.00012345", "interval": 480}])  # fmt: skip
    when = {"start_utc": "2024-01-28", "end_utc": "2024-01-28T09:00:00Z"}
    paid = {
        mode: [r["amount"] for r in
               run_probe(root, {"buy_at": 2}, time=when, funding=mode).funding]
        for mode in ("settle", "off")
    }  # fmt: skip
    # Long under a negative rate receives: 0.1 * 100.05 * 0.00012345 = 0.001235117..., 8 decimals.
    assert paid == {"settle": ["0.00123512"], "off": []}


def test_bars_alone_fill_at_their_own_close_plus_the_stated_cost(tmp_path: Path) -> None:
    write(tmp_path / "c", "Bar", bar_rows([f"{40000 + i}.00" for i in range(60)]), BAR_TYPE)
    result = run_probe(
        tmp_path / "c", {"buy_at": 5, "sell_at": 10}, include=["Bar"],
        execution={"bar_execution": {"spread_bps": 2.0, "slippage_bps": 0.5}},
    )  # fmt: skip
    # Closes 40004 and 40009, 1.5 bps each way, outward to the tick of 0.10: 39997.90 / 40010.10
    # and 40002.90 / 40015.10.
    assert [(f["price"], f["reference_price"]) for f in result.fills] == [
        ("40010.10", "40004.00"), ("40002.90", "40009.00"),
    ]  # fmt: skip
    assert result.fills[0]["ts_ns"] == START + 5 * MINUTE - MS
    assert (result.fills[0]["mid_30s"], result.fills[0]["mid_60s"]) == (None, "40005.00")


def test_bars_do_not_move_a_market_that_has_quotes(tmp_path: Path) -> None:
    root = tmp_path / "c"
    write(root, "QuoteTick", [quote(START + i * MINUTE, "100.00", "100.10") for i in range(60)])
    write(root, "Bar", bar_rows(["500.00"] * 60), BAR_TYPE)
    # Decide on the quote at minute 30, right after a bar that closed at 500.
    result = run_probe(root, {"buy_at": 31}, include=["QuoteTick", "Bar"])
    assert result.fills[0]["price"] == "100.10"
    assert set(result.marks["mark"].to_pylist()) <= {None, 100.05}


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """26 hours of quotes, trades, depth and bars, over a midnight and many windows."""
    root = tmp_path_factory.mktemp("day") / "c"
    minutes = range(26 * 60)
    price = [100 + 3 * ((i // 47) % 5) for i in minutes]
    write(root, "QuoteTick", [quote(START + i * MINUTE, f"{p}.00", f"{p}.10")
                              for i, p in zip(minutes, price, strict=True)])  # fmt: skip
    write(root, "TradeTick", [trade(START + i * MINUTE + 20 * SECOND, f"{p}.00", i=i)
                              for i, p in zip(minutes, price, strict=True)])  # fmt: skip
    write(root, "BinanceBookDepthPct", [
        {"ts": START + i * MINUTE + 30 * SECOND, "percentage": side, "depth": 5.0, "notional": 500.0}
        for i in minutes[::10] for side in (-1.0, 1.0)])  # fmt: skip
    write(root, "Bar", bar_rows([f"{p}.00" for p in price]), BAR_TYPE)
    return root


@pytest.fixture(scope="module")
def whole(day: Path) -> list[Any]:
    return outcome_by_window(day, HOUR)


def outcome_by_window(root: Path, window_ns: int) -> list[Any]:
    suite = suite_from(
        suite_values(
            root,
            data={"include": ["QuoteTick", "TradeTick", "Bar", "BinanceBookDepthPct"]},
            strategy={"config": {"fast_bars": 5, "slow_bars": 20, "trade_size": "1"}},
            execution={"latency": {"insert_ms": 700}, "trade_execution": True},
            funding={"mode": "flat"},
            trace={"decisions": True},
            time={"start_utc": "2024-01-28T01:00:00Z", "end_utc": "2024-01-29T02:00:00Z",
                  "warmup": "1h"},
        ),
        source="test",
    )  # fmt: skip
    section = suite.config.time
    result = run_backtest(suite, section.start_ns, section.end_ns, window_ns=window_ns)
    assert result.decisions is not None
    return [result.orders, result.fills, result.account, result.equity.to_pydict(),
            result.marks.to_pydict(), result.record.attribution, result.decisions.to_pydict(),
            result.funding, result.rows, result.gaps, result.events]  # fmt: skip


@pytest.mark.parametrize("window_ns", [7 * MINUTE, 5 * HOUR, 24 * HOUR, 48 * HOUR])
def test_results_do_not_depend_on_the_window(day: Path, whole: list[Any], window_ns: int) -> None:
    orders, fills = whole[:2]
    assert len(fills) > 10
    assert len(orders) == len(fills)
    assert outcome_by_window(day, window_ns) == whole
