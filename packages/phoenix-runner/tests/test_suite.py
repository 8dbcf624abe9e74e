"""Suite files: what loads, and every refusal with its reason, before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from phoenix_runner.bundle import experiment_id
from phoenix_runner.config import duration_ns
from phoenix_runner.experiment import config_text, describe_experiment
from phoenix_runner.suite import Suite, load_suite, suite_from, suite_schema
from phoenix_schemas.errors import PhoenixError

BARS = """\
schema_version: "1"
catalog:
  path: data/catalog/binance
universe:
  instrument_ids: [AVAXUSDT-PERP.BINANCE]
  leverage: 5
time:
  start_utc: "2024-02-01"
  end_utc: "2024-03-01"
strategy:
  name: ema_cross
  config:
    fast_bars: 10
    trade_size: 10
execution:
  bar_execution: {spread_bps: 2}
funding: flat
"""


def load(tmp_path: Path, text: str = BARS, *overrides: str) -> Suite:
    path = tmp_path / "suite.yaml"
    path.write_text(text, "utf-8")
    return load_suite(path, overrides)


def refused(tmp_path: Path, text: str, *overrides: str) -> str:
    with pytest.raises(PhoenixError) as caught:
        load(tmp_path, text, *overrides)
    assert caught.value.exit_code == 2
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix(str(tmp_path / "suite.yaml"))


def test_defaults_are_written_out_and_the_resolved_suite_is_itself_a_suite(tmp_path: Path) -> None:
    suite = load(tmp_path)
    values = suite.to_builtins()
    assert values["strategy"]["config"]["slow_bars"] == 20
    assert values["funding"] == {"mode": "flat", "flat_rate": "0.0001", "interval_hours": 8}
    assert suite_from(values, source="again").to_builtins() == values
    assert str(suite.instruments["AVAXUSDT-PERP.BINANCE"].margin_init) == "0.20000000"


def test_fees_show_what_their_source_uses_and_no_two_sources_share_an_id(tmp_path: Path) -> None:
    ids = {}
    for written, shown in (
        ("{source: spec}", {"source": "spec"}),
        ("{source: tier}", {"source": "tier", "tier": "VIP0"}),
        ("{source: tier, tier: VIP1}", {"source": "tier", "tier": "VIP1"}),
        (
            "{source: rates, maker: '0.0002', taker: '0.0005'}",
            {"source": "rates", "maker": "0.0002", "taker": "0.0005"},
        ),
    ):
        suite = load(tmp_path, BARS, f"execution.fees={written}")
        values = suite.to_builtins()
        assert values["execution"]["fees"] == shown
        again = suite_from(values, source="again")
        assert again.config.execution == suite.config.execution
        ids[experiment_id(describe_experiment(again, "digest"))] = written
    assert len(ids) == 4
    assert "tier" not in config_text(load(tmp_path))


def test_a_suite_without_a_strategy_runs_ema_cross(tmp_path: Path) -> None:
    values = yaml.safe_load(BARS)
    del values["strategy"]
    values["universe"]["instrument_ids"] = ["BTCUSDT-PERP.BINANCE"]
    suite = load(tmp_path, yaml.safe_dump(values))
    assert (suite.spec.name, suite.traded) == ("ema_cross", ["BTCUSDT-PERP.BINANCE"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("fast_bars: 10", "fast_bars: ten",
         ':13: at $.strategy.config.fast_bars: expected int, was "ten"'),
        ("fast_bars: 10", "fst_bars: 10",
         ":13: at $.strategy.config.fst_bars: unknown key; did you mean 'fast_bars'?"),
        ("fast_bars: 10", "fast_bars: 30",
         ": at $.strategy.config.slow_bars: slow_bars must be > fast_bars = 30 (was 20)"),
        ("catalog:", "cataloge:", ":2: at $.cataloge: unknown key; did you mean 'catalog'?"),
        ("name: ema_cross", "name: ema_crss",
         ": at $.strategy.name: strategy must be one of ema_cross"),
        ("name: ema_cross", "name: no.such.module:SPEC",
         ": at $.strategy.name: strategy 'no.such.module:SPEC' must be importable"),
        ("AVAXUSDT-PERP.BINANCE", "AVAXUSDT.BINANCE",
         ": at $.universe.instrument_ids[0]: no specification of 'AVAXUSDT.BINANCE'"),
        ("AVAXUSDT-PERP.BINANCE", "BTCUSDT.BINANCE",
         "which names spot); did you mean BTCUSDT-PERP.BINANCE?"),
        ("leverage: 5", "leverage: 5000", "at $.universe.leverage: leverage must keep initial"),
        ("leverage: 5", "book_type: L2_MBP",
         "book_type must be L1_MBP (was L2_MBP); the archive has no order-book deltas"),
        ("leverage: 5", "oms_type: HEDGING", "at $.universe.oms_type: expected one of 'NETTING'"),
        ("leverage: 5", "starting_balances: [10000]", "expected str, was 10000"),
        ("leverage: 5", "starting_balances: [10k USDT]", "starting_balances must be amount and"),
        ('"2024-03-01"', '"2024-01-01"', "end_utc must be after start_utc 2024-02-01"),
        ('"2024-03-01"', '"2024-02-30"', "time must exist in the calendar (was '2024-02-30'"),
        ('"2024-03-01"', '"2024-03-01T00:00:30"', "end_utc must be whole minutes"),
        ('end_utc: "2024-03-01"', 'end_utc: "2024-03-01"\n  warmup: 600',
         ":10: at $.time.warmup: expected str, was 600"),
        ('end_utc: "2024-03-01"', 'end_utc: "2024-03-01"\n  warmup: "600"',
         "duration must carry a unit"),
        ("  bar_execution: {spread_bps: 2}", "  latency: {insert_ms: 5}",
         "at $.execution.bar_execution: must be given when data.include has no QuoteTick"),
        ("{spread_bps: 2}", "{spread_bps: -2}", "expected float >= 0.0, was -2"),
        ("  bar_execution: {spread_bps: 2}",
         "  bar_execution: {spread_bps: 2}\n  queue_position: true\n  trade_execution: false",
         "queue_position must go with trade_execution: true"),
        ("  bar_execution: {spread_bps: 2}",
         "  bar_execution: {spread_bps: 2}\n  trade_execution: true",
         "at $.execution.trade_execution: must go with TradeTick in data.include"),
        ("  bar_execution: {spread_bps: 2}",
         "  bar_execution: {spread_bps: 2}\n  fees: {source: rates}",
         "maker and taker must both be given with source: rates"),
        ("  bar_execution: {spread_bps: 2}",
         "  bar_execution: {spread_bps: 2}\n  fees: {maker: 0}",
         "maker and taker must go with source: rates (was spec)"),
        ("funding: flat", "funding: flat\ndata: {include: [QuoteTick, Bar]}",
         "bars must not move a market that has quotes"),
        ("funding: flat", "funding: flat\ndata: {include: [TradeTick]}",
         "must have Bar, which strategy ema_cross decides on (was TradeTick)"),
        ("funding: flat", "funding: flat\ndata: {bars_from_trades: true}",
         "at $.data.bars_from_trades: must go with Bar and TradeTick"),
        ("funding: flat", "funding: flat\nsignals: [{id: vpin, version: 1}]",
         "'vpin' must be an estimator of ema_cross (it uses: none)"),
        ("funding: flat", "funding: flat\ndeterminism_seed: -1", "expected int >= 0, was -1"),
        ("funding: flat", "funding: flat\nfunding: off", ":18: key 'funding' must appear once"),
        ("leverage: 5", "starting_balances: [0 USDT]",
         "at $.universe.starting_balances: starting_balances must be more than nothing (was '0 USDT')"),
        ("leverage: 5", "starting_balances: [100 USDT, 200 USDT]",
         "starting_balances must be one amount (was 100 USDT, 200 USDT)"),
        ("leverage: 5", "starting_balances: [1 BTC]",
         "at $.universe.starting_balances: must be in USDT, in which the universe settles (was '1 BTC'"),
        ("leverage: 5", "starting_balances: [100 XYZQ]", "must be in USDT, in which the universe"),
        ("leverage: 5", "starting_balances: [99999999999999999999999 USDT]",
         "must be an amount that USDT can hold"),
        ("leverage: 5", "starting_balances: [0.0000000001 USDT]", "must be an amount that USDT can"),
        ("leverage: 5", "base_currency: EURX",
         "at $.universe.base_currency: must be USDT, in which the universe settles (was EURX)"),
        ("leverage: 5", "base_currency: BTC", "must be USDT, in which the universe settles (was BTC"),
        ("trade_size: 10", 'trade_size: "0.5"',
         "at $.strategy.config.trade_size: must be at least 1, the smallest order in AVAXUSDT-PERP"),
        ("  bar_execution: {spread_bps: 2}",
         "  bar_execution: {spread_bps: 2}\n  fees: {source: rates, maker: 0.0002, taker: -0.001}",
         ":17: at $.execution.fees.taker: taker must be a fraction of notional from 0 to below 0.01"),
        ("  bar_execution: {spread_bps: 2}",
         "  bar_execution: {spread_bps: 2}\n  fees: {source: rates, maker: 0.0002, taker: 0.05}",
         "taker must be a fraction of notional from 0 to below 0.01 (was 0.05)"),
        ("  bar_execution: {spread_bps: 2}",
         "  bar_execution: {spread_bps: 2}\n  fees: {source: rates, maker: -0.0006, taker: 0.0005}",
         ("maker must be a fraction of notional below 0.01, and as a rebate at most the taker's fee "
         "0.0005 (was -0.0006); 0.0002 is typical")),
        ("  bar_execution: {spread_bps: 2}",
         "  bar_execution: {spread_bps: 2}\n  fees: {source: rates, maker: 0.02, taker: 0.0005}",
         "maker must be a fraction of notional below 0.01"),
        ("  bar_execution: {spread_bps: 2}",
         "  bar_execution: {spread_bps: 2}\n  fees: {source: rates, maker: NaN, taker: 0.0005}",
         "maker must be a fraction of notional below 0.01"),
        ("funding: flat", "funding: {mode: settle, flat_rate: 0.0003}",
         "at $.funding: flat_rate must go with mode: flat (was settle, which does not use it)"),
        ("funding: flat", "funding: {mode: 'off', interval_hours: 1}",
         "at $.funding: interval_hours must go with mode: flat (was off"),
        ("funding: flat", "funding: {mode: flat, flat_rate: 1}",
         "flat_rate must be a fraction of notional within 0.05 either way (was 1); 0.0001"),
        ("funding: flat", "funding: flat\ndeterminism_seed: 99999999999999999999999",
         "at $.determinism_seed: expected int <= 9223372036854775807"),
        ("funding: flat", ("funding: flat\nmode: {kind: sweep, search: {parameters: "
         "{strategy.config.fast_bars: [5, 10, 5]}}}"),
         "parameters must have each value of strategy.config.fast_bars once (was 5 twice)"),
        ("trade_size: 10", "trade_size: NaN", "trade_size must be > 0 (was NaN)"),
        ("trade_size: 10", "trade_size: Infinity", "trade_size must be > 0 (was Infinity)"),
        (("name: ema_cross\n  config:\n    fast_bars: 10\n    trade_size: 10\nexecution:\n"
         "  bar_execution: {spread_bps: 2}\n"),
         ("name: liquidity_pressure\n  config: {trade_size: sNaN}\n"
         "data: {include: [QuoteTick, Bar]}\n"),
         "at $.strategy.config.trade_size: must be a number (was sNaN); 0.01 is typical"),
        ("path: data/catalog/binance", 'path: ""', ":3: at $.catalog.path: expected str of length >= 1"),
        ("funding: flat", 'funding: flat\noutput: {dir: "a\\0b"}',
         ":18: at $.output.dir: expected str matching regex"),
        ("{spread_bps: 2}", "{spread_bps: 20000}", "expected float <= 1000.0, was 20000"),
        ("  bar_execution: {spread_bps: 2}",
         "  bar_execution: {spread_bps: 2}\n  latency: {insert_ms: 9223372036854775807}",
         "at $.execution.latency.insert_ms: expected int <= 86400000"),
        ("funding: flat", "funding: {mode: flat, flat_rate: 1e-40}",
         "flat_rate must have at most 16 decimals (was 1E-40)"),
        ('"2024-03-01"', '"2262-01-01"', ":9: at $.time.end_utc: end_utc must be at most 20 years"),
        ('end_utc: "2024-03-01"', 'end_utc: "2024-03-01"\n  warmup: 99999999d',
         ":10: at $.time.warmup: warmup must begin after 1970"),
        ('"2024-02-01"', '"1969-02-01"', "must begin after 1970"),
        ('schema_version: "1"', 'schema_version: "2"', "expected one of '1', was \"2\""),
    ],
)  # fmt: skip
def test_wrong_suites_are_refused_in_one_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in BARS
    assert message in refused(tmp_path, BARS.replace(old, new, 1))


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(PhoenixError, match="no such suite") as caught:
        load_suite(tmp_path / "absent.yaml")
    assert caught.value.exit_code == 2


def test_overrides_are_typed_like_the_file(tmp_path: Path) -> None:
    suite = load(tmp_path, BARS, "strategy.config.fast_bars=3", "output.dir=elsewhere")
    assert (suite.settings.fast_bars, suite.config.output.dir) == (3, "elsewhere")  # type: ignore[attr-defined]
    assert "expected int" in refused(tmp_path, BARS, "strategy.config.fast_bars=x")
    assert "--set must be key.path=value" in refused(tmp_path, BARS, "strategy")
    assert "must be a section" in refused(tmp_path, BARS, "schema_version.x=1")


def probe_values(**sections: Any) -> dict[str, Any]:
    values = yaml.safe_load(BARS)
    values["data"] = {"include": ["QuoteTick", "TradeTick"]}
    values["strategy"] = {
        "name": "probe_strategies:PROBE", "config": {"posts_limit_orders": True},
    }  # fmt: skip
    values["execution"] = {}
    return {**values, **sections}


def test_limit_orders_beside_trades_need_a_queue() -> None:
    # Left open, they are decided as the strategy needs them, and written out.
    decided = suite_from(probe_values(execution={}), source="ok").to_builtins()["execution"]
    assert (decided["trade_execution"], decided["queue_position"]) == (True, True)
    market = suite_from(
        probe_values(execution={}, strategy={"name": "probe_strategies:PROBE"}), source="ok"
    )
    assert market.config.execution.trade_execution is False
    for execution in (
        {"trade_execution": False}, {"queue_position": False},
        {"trade_execution": True, "queue_position": False},
    ):  # fmt: skip
        with pytest.raises(PhoenixError, match="posts limit orders beside trades; without them"):
            suite_from(probe_values(execution=execution), source="wrong")


PUBLISHED = """\
schema_version: "1"
catalog:
  path: data/catalog/BTCUSDT
  manifest_path: data/catalog/BTCUSDT/manifest.json
  instrument_specs_path: null
output:
  dir: runs
  suite_name: phoenix_lpi
  overwrite: false
universe:
  venue: BINANCE
  instrument_ids: [BTCUSDT.BINANCE]
  oms_type: NETTING
  account_type: MARGIN
  base_currency: USDT
  starting_balances: ["100000 USDT"]
data:
  include: [QuoteTick, TradeTick, BinanceBookDepthPct, BinanceOiMetrics, BinanceFundingRate]
time:
  start_utc: "2023-10-16T00:00:00Z"
  end_utc: "2023-10-17T00:00:00Z"
  warmup: 0s
mode:
  kind: single
strategy:
  name: phoenix_lpi
  config:
    trade_size: "0.01"
    bucket_mode: time
    bucket_interval_ms: 10000
    bucket_notional_threshold: 1000000
    eta_bps: 5.0
    use_depth_pct: true
    depth_pct_abs: 5.0
    min_depth_notional: 0.0
    depth_max_age_ms: 5000
    use_zscore: true
    z_window_buckets: 600
    z_min_count: 30
    theta_lpi: 2.0
    theta_exh_low: -0.5
    theta_exh_high: 0.5
    lpi_exit_abs: 0.5
    lev_min: null
    max_rel_spread_bps: 20.0
    quote_max_age_ms: 1000
    momentum_use_market: true
    mean_rev_post_only: true
    mean_rev_improve_ticks: 0
    entry_ttl_buckets: 5
    max_hold_buckets_momentum: 10
    max_hold_buckets_mean_rev: 60
    close_positions_on_stop: true
    reduce_only_on_stop: true
determinism_seed: 42
"""
"""The published suite: its keys and values as published."""


def test_the_published_suite_loads_after_two_edits(tmp_path: Path) -> None:
    wrong = refused(tmp_path, PUBLISHED)
    assert "did you mean BTCUSDT-PERP.BINANCE?" in wrong
    edited = PUBLISHED.replace("BTCUSDT.BINANCE", "BTCUSDT-PERP.BINANCE").replace(
        "depth_max_age_ms: 5000", "depth_max_age_ms: 60000"
    )
    suite = load(tmp_path, edited)
    assert suite.spec.name == "phoenix_lpi"
    assert suite.config.execution.queue_position is True


def test_pinned_estimators_must_have_the_pinned_version() -> None:
    execution = {"trade_execution": True, "queue_position": True}
    pin = {"signals": [{"id": "probe", "version": 3}], "execution": execution}
    suite_from(probe_values(**pin), source="ok")
    pin["signals"] = [{"id": "probe", "version": 2}]
    with pytest.raises(PhoenixError, match=r"probe must have version 2 \(installed is 3\)"):
        suite_from(probe_values(**pin), source="wrong")


def test_the_schema_names_the_strategys_settings() -> None:
    schema = suite_schema()
    assert "EmaCrossSettings" in schema["$defs"]
    assert "leverage" in schema["$defs"]["UniverseSection"]["properties"]


@pytest.mark.parametrize(
    ("text", "ns"), [("0s", 0), ("500ms", 500_000_000), ("2d", 172_800_000_000_000)]
)
def test_durations(text: str, ns: int) -> None:
    assert duration_ns(text) == ns


SUITES = [
    path
    for path in sorted((Path(__file__).parents[3] / "configs").rglob("*.yaml"))
    if "schema_version:" in path.read_text("utf-8")
]


@pytest.mark.parametrize("suite", SUITES, ids=lambda path: path.stem)
def test_every_suite_of_the_repository_loads(suite: Path) -> None:
    loaded = load_suite(suite)
    assert loaded.config.output.suite_name != "suite"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("data_types=lambda settings: 'Bar'", "data_types of own must give its answer"),
        ("estimators=lambda settings: None", "estimators of own must give its answer"),
        ("longest_holding_ns=lambda settings: settings.hours", "has no attribute 'hours'"),
    ],
)
def test_what_a_spec_of_ones_own_answers_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, said: str
) -> None:
    name = f"own_answers_{abs(hash(answer))}"
    (tmp_path / f"{name}.py").write_text(
        "import dataclasses\nfrom phoenix_strategies import registry\n"
        f"SPEC = dataclasses.replace(registry.find('ema_cross'), name='own', {answer})\n",
        "utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    message = refused(tmp_path, BARS, f"strategy.name={name}:SPEC")
    assert "at $.strategy.name: " in message
    assert said in message
