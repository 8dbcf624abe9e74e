"""The ready suites of configs/: each loads, and trades on a simulated day or on the real captures."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from phoenix_etl.config import EtlConfig
from phoenix_etl.pipeline import ingest
from phoenix_etl.synthetic import write_market
from phoenix_runner.backtest import RunResult, run_backtest
from phoenix_runner.errors import NoDataError
from phoenix_runner.experiment import run_suite
from phoenix_runner.screening import screen
from phoenix_runner.suite import Suite, load_suite
from phoenix_runner.variants import variants_of
from phoenix_schemas.signal_records import SCHEMAS, VolatilitySignal
from phoenix_strategies import registry

CONFIGS = Path(__file__).parents[1] / "configs"

# The suites are written for a day of two million quotes. Here it is the small market of the same
# days, in which a bucket of a million takes an hour; everything else is as shipped.
SMALL = {"phoenix": ["strategy.config.vol_bucket_size=100000"]}
ON_THE_DAY = ["phoenix", "phoenix_lpi", "liquidity_pressure", "toxicity_volatility"]
ON_CAPTURES = ["phoenix_lpi_btcusdt_ticks", "liquidity_pressure_btcusdt_ticks"]


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("day")
    write_market(
        folder / "raw", symbols=["BTCUSDT"], start=dt.date(2024, 1, 1), days=1, seed=7,
        profile="small",
    )  # fmt: skip
    config = EtlConfig(raw_roots=[str(folder / "raw")], catalog_path=str(folder / "catalog"))
    assert not ingest(config).failed
    return folder / "catalog"


@pytest.fixture(scope="module")
def captures(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("captures")
    config = EtlConfig(
        raw_roots=[str(real_data / "raw")], catalog_path=str(folder), symbols=["BTCUSDT"],
        datasets=["bookTicker", "trades"], start="2023-04-04", end="2023-04-06",
        trade_source="trades",
    )  # fmt: skip
    assert not ingest(config).failed
    return folder


def run(suite: Suite) -> RunResult:
    return run_backtest(suite, suite.config.time.start_ns, suite.config.time.end_ns)


def check(result: RunResult) -> None:
    assert result.fills
    assert not result.open_positions
    assert all(
        row["status"] in ("FILLED", "CANCELED", "EXPIRED", "REJECTED") for row in result.orders
    )


@pytest.mark.parametrize("name", ON_THE_DAY)
def test_a_suite_trades_on_the_simulated_day(name: str, day: Path) -> None:
    suite = load_suite(CONFIGS / f"{name}.yaml", [f"catalog.path={day}", *SMALL.get(name, [])])
    result = run(suite)
    check(result)
    assert result.decisions is not None
    assert result.decisions.num_rows > 100


@pytest.mark.real_data
@pytest.mark.parametrize("name", ON_CAPTURES)
def test_a_suite_trades_on_the_real_captures(name: str, captures: Path) -> None:
    check(run(load_suite(CONFIGS / f"{name}.yaml", [f"catalog.path={captures}"])))


def test_the_comparison_holds_every_strategy_beside_ema_cross() -> None:
    suite = load_suite(CONFIGS / "comparison.yaml")
    (baseline, *variants), left_out = variants_of(suite)
    assert left_out == []
    assert (baseline.parameters, suite.config.strategy.name) == ({}, "ema_cross")
    others = {variant.parameters["strategy"]["name"] for variant in variants}
    assert others == set(registry.names()) - {"ema_cross"}


def test_every_preset_trades_through_every_execution(day: Path) -> None:
    path = CONFIGS / "toxicity_volatility.yaml"
    for preset, execution in (("A", "twap"), ("B", "limit"), ("C", "market")):
        overrides = [
            f"catalog.path={day}",
            f"strategy.config.preset={preset}",
            f"strategy.config.execution={execution}",
            "execution.trade_execution=true",
            "execution.queue_position=true",
        ]
        result = run(load_suite(path, overrides))
        assert result.orders
        assert not result.open_positions
        assert ("twap_parents.parquet" in result.records) == (execution == "twap")


def test_volatility_signals_decisions_and_parents_are_parquet_in_the_bundle(
    day: Path, tmp_path: Path
) -> None:
    overrides = [
        f"catalog.path={day}", f"output.dir={tmp_path}", "strategy.config.execution=twap",
        "execution.trade_execution=true", "execution.queue_position=true",
    ]  # fmt: skip
    published = run_suite(load_suite(CONFIGS / "toxicity_volatility.yaml", overrides))
    signals = pq.read_table(published.folder / "signal_trace.parquet")
    decisions = pq.read_table(published.folder / "decision_trace.parquet")
    parents = pq.read_table(published.folder / "twap_parents.parquet")
    assert signals.drop_columns(["strategy_id"]).schema.names == SCHEMAS[VolatilitySignal].names
    assert signals.num_rows >= decisions.num_rows > 100
    values = dict(decisions["values"][-1].as_py())
    assert {"f1", "theta"} <= values.keys()
    for parent in parents.to_pylist():
        assert parent["filled"] + parent["abandoned"] == parent["quantity"]
    twap = published.summary["twap"]
    assert twap["parents"] == parents.num_rows > 0
    known = parents.filter(pc.is_valid(parents["shortfall_bps"]))["shortfall_bps"]
    assert pc.min(known).as_py() <= twap["shortfall_bps"] <= pc.max(known).as_py()


def test_the_summary_says_the_last_share_of_buckets_without_an_impulse(
    day: Path, tmp_path: Path
) -> None:
    overrides = [f"catalog.path={day}", f"output.dir={tmp_path}", "trace={signals: true}"]
    published = run_suite(load_suite(CONFIGS / "phoenix_lpi.yaml", overrides))
    trace = pq.read_table(published.folder / "signal_trace.parquet")
    [(strategy_id, said)] = published.summary["signals"].items()
    assert set(trace["strategy_id"].to_pylist()) == {strategy_id}
    assert said == {"zero_impulse_share": trace["zero_impulse_share"][-1].as_py()}
    assert 0 < said["zero_impulse_share"] < 1


def test_phoenix_at_the_published_threshold_does_not_trade_and_the_preset_does(day: Path) -> None:
    # Without depletion lpi cannot pass 0.7: 0.75 is rare once depth is compared like with like.
    def entries(threshold: float) -> int:
        overrides = [
            f"catalog.path={day}", *SMALL["phoenix"],
            f"strategy.config.lpi_entry_threshold={threshold}",
        ]  # fmt: skip
        return len(run(load_suite(CONFIGS / "phoenix.yaml", overrides)).orders)

    assert entries(0.75) == 0 < entries(0.60)


@pytest.mark.parametrize(
    "path",
    [p for p in sorted(CONFIGS.rglob("*.yaml")) if "strategy:" in p.read_text("utf-8")],
    ids=lambda path: path.stem,
)
def test_slip_22_no_shipped_suite_trades_for_nothing(path: Path) -> None:
    suite = load_suite(path)
    fees = suite.config.execution.fees
    assert fees.source == "spec"
    assert all(spec.maker_fee > 0 and spec.taker_fee > 0 for spec in suite.instruments.values())


def test_slip_22_a_start_before_the_data_is_refused_or_named(day: Path) -> None:
    early = ["time.start_utc=2023-12-30T00:00:00Z", "time.end_utc=2023-12-31T00:00:00Z"]
    suite = load_suite(CONFIGS / "phoenix_lpi.yaml", [f"catalog.path={day}", *early])
    with pytest.raises(NoDataError, match="the catalog has it from 2024-01-01"):
        run(suite)
    partly = ["time.start_utc=2023-12-31T23:00:00Z", "time.end_utc=2024-01-01T01:00:00Z"]
    result = run(load_suite(CONFIGS / "phoenix_lpi.yaml", [f"catalog.path={day}", *partly]))
    quotes = [gap for gap in result.gaps if gap["type"] == "QuoteTick"]
    assert quotes[0]["start_utc"].startswith("2023-12-31T23:00:00")


SCREENED = {
    "phoenix_lpi": ("strategy.config.theta_lpi", [1.5, 4.0], [
        "strategy.config.mean_rev_post_only=false", "strategy.config.trade_size=0.001",
    ]),
    "liquidity_pressure": ("strategy.config.entry_threshold", [0.5, 1.0], [
        "strategy.config.trade_size=0.001", "data.include=[QuoteTick, Bar]",
    ]),
}  # fmt: skip


@pytest.mark.parametrize("name", SCREENED)
def test_a_screen_from_batch_signals_agrees_with_the_replay(name: str, day: Path) -> None:
    # Orders that take liquidity at once, small enough for the touch: what the fill rule assumes.
    key, values, overrides = SCREENED[name]
    overrides = [
        f"catalog.path={day}", "execution.latency={}", "funding=off", "time.warmup=6h",
        "time.start_utc=2024-01-01T06:00:00Z", *overrides,
    ]  # fmt: skip
    path = CONFIGS / f"{name}.yaml"
    suite = load_suite(path, overrides)
    time = suite.config.time
    found = screen(
        suite, [{key: v} for v in values], start_utc=time.start_utc, end_utc=time.end_utc
    )
    for value, screened in zip(values, found, strict=True):
        result = run(load_suite(path, [*overrides, f"{key}={value}"]))
        assert screened.net == pytest.approx(float(result.record.attribution.net), rel=0.01)
        orders = sum(row["status"] == "FILLED" for row in result.orders)
        # A reversal is two orders and one change of position.
        assert orders * 0.9 <= screened.fills <= orders
        assert screened.fills > 10
