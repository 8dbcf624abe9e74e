"""Composite LPI, bar LPI and toxicity-volatility engines: transcriptions, batch forms, no look-ahead."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import pickle
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market import (
    PRICE_PRECISION,
    SECOND,
    SIZE_PRECISION,
    START,
    after,
    assert_same,
    empty,
    random_market,
    records,
    replay,
)
from phoenix_schemas.signal_records import (
    BarLpiSignal,
    PhoenixSignal,
    Validity,
    VolatilitySignal,
    from_table,
)
from phoenix_signals.batch import (
    bar_lpi_engine,
    composite_lpi_engine,
    toxicity_volatility_engine,
)
from phoenix_signals.batch.columns import Bars
from phoenix_signals.engines import (
    BarLpiConfig,
    BarLpiEngine,
    CompositeLpiConfig,
    CompositeLpiEngine,
    SignalEngine,
    ToxicityVolatilityConfig,
    ToxicityVolatilityEngine,
)
from phoenix_signals.errors import InputError, ParameterError

BAD = (math.nan, math.inf, -math.inf, 10**200, -(10**200), 1e200)
PRECISIONS = {"price_precision": PRICE_PRECISION, "size_precision": SIZE_PRECISION}


def composite_config(**changes) -> CompositeLpiConfig:
    base = {
        "bucket_notional": 40_000.0, "fsi_window_buckets": 20, "z_min_count": 5,
        "oi_window_rows": 8, "oi_max_age_ns": 12 * SECOND, "depth_max_age_ns": 5 * SECOND,
        "max_gap_ns": 4 * SECOND,
    }  # fmt: skip
    return CompositeLpiConfig(**(PRECISIONS | base | changes))


def bar_config(**changes) -> BarLpiConfig:
    base = {
        "price_increment": 0.1, "lookback_bars": 20, "z_min_count": 5,
        "depth_max_age_ns": 5 * SECOND, "quote_max_age_ns": 2 * SECOND,
    }  # fmt: skip
    return BarLpiConfig(**(PRECISIONS | base | changes))


def volatility_config(**changes) -> ToxicityVolatilityConfig:
    base = {
        "instrument_id": "BTCUSDT-PERP.BINANCE", "price_increment": 0.1, "vpin_bucket": 3.0,
        "vpin_window_buckets": 5, "bar_interval_ns": SECOND, "decision_interval_ns": SECOND,
        "half_life_short_bars": 3, "half_life_long_bars": 9, "z_window_bars": 20,
        "z_min_count": 5, "funding_window_rows": 5, "metrics_window_rows": 12,
        "metrics_max_age_ns": 12 * SECOND, "depth_max_age_ns": 5 * SECOND,
        "quote_max_age_ns": 2 * SECOND, "max_gap_ns": 4 * SECOND,
    }  # fmt: skip
    return ToxicityVolatilityConfig(**(PRECISIONS | base | changes))


ENGINES = {
    "composite": (CompositeLpiEngine, composite_config()),
    "composite, ask 5 %": (CompositeLpiEngine, composite_config(depth_pct=5.0, depth_side="ask")),
    "composite, small": (CompositeLpiEngine, composite_config(bucket_notional=1_000.0)),
    "bar l1": (BarLpiEngine, bar_config()),
    "bar depth": (BarLpiEngine, bar_config(imbalance="depth_pct", depth_pct=1.0)),
    "bar mean_std": (BarLpiEngine, bar_config(z_kind="mean_std", z_clip=1.5)),
    "volatility": (ToxicityVolatilityEngine, volatility_config()),
    "volatility, slow": (
        ToxicityVolatilityEngine,
        volatility_config(
            decision_interval_ns=5 * SECOND,
            vpin_unit="notional",
            vpin_bucket=30_000.0,
            svi_window_bars=4,
            ofi_window_bars=3,
            toxicity_threshold=0.3,
            oi_mode="amplify",
            z_kind="mean_std",
            theta_weights=(2.0, 0.5),
            depth_pct=1.0,
        ),
    ),
    "volatility, funding alone": (ToxicityVolatilityEngine, volatility_config(a2=0.0, a3=0.0)),
}
every_engine = pytest.mark.parametrize(("cls", "config"), ENGINES.values(), ids=ENGINES.keys())


def batch_of(cls, market, config) -> list:
    if cls is CompositeLpiEngine:
        table = composite_lpi_engine(market.trades, market.depth, market.metrics, config=config)
        return from_table(table, PhoenixSignal)
    if cls is BarLpiEngine:
        table = bar_lpi_engine(market.bars, market.quotes, market.depth, config=config)
        return from_table(table, BarLpiSignal)
    rest = market.depth, market.metrics, market.funding
    table = toxicity_volatility_engine(
        market.trades, market.quotes, market.bars, *rest, config=config
    )
    return from_table(table, VolatilitySignal)


MARKETS = {
    "busy": lambda: random_market(1),
    "sparse": lambda: random_market(2, events=150),
    "gaps": lambda: random_market(3, events=1_000, gaps_s=(9.0, 30.0)),
    "stale depth": lambda: random_market(5, depth_every_s=11.0, metrics_every_s=30.0),
    "no depth": lambda: dataclasses.replace((m := random_market(4)), depth=empty(m.depth)),
    "no trades": lambda: dataclasses.replace((m := random_market(6)), trades=empty(m.trades)),
    "no quotes": lambda: dataclasses.replace((m := random_market(7)), quotes=empty(m.quotes)),
    "no metrics": lambda: dataclasses.replace((m := random_market(8)), metrics=empty(m.metrics)),
    "nothing": lambda: random_market(9).until(START - 1),
}


@every_engine
@pytest.mark.parametrize("name", MARKETS)
def test_streaming_equals_batch(name, cls, config):
    market = MARKETS[name]()
    streamed = replay(cls(config), market)
    assert_same(streamed, batch_of(cls, market, config))
    if name == "busy":
        value = "theta" if cls is ToxicityVolatilityEngine else "lpi"
        assert sum(getattr(s, value) is not None for s in streamed) > 10


@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(ENGINES)), st.integers(20, 900))
@settings(max_examples=20, deadline=None)
def test_streaming_equals_batch_on_any_market(seed, name, events):
    cls, config = ENGINES[name]
    market = random_market(seed, seconds=60.0, events=events, gaps_s=(5.0,))
    assert_same(replay(cls(config), market), batch_of(cls, market, config))


@every_engine
def test_the_future_changes_nothing_before_it(cls, config):
    market = random_market(11, gaps_s=(6.0,))
    whole = replay(cls(config), market)
    batch = batch_of(cls, market, config)
    for cut in (START, START + 20 * SECOND, whole[len(whole) // 2].ts_event, START + 100 * SECOND):
        part = market.until(cut)
        early = replay(cls(config), part)
        assert early == whole[: len(early)]
        assert all(s.ts_event > cut for s in whole[len(early) :])
        assert_same(batch_of(cls, part, config), batch[: len(early)])


@every_engine
def test_snapshot_restore_and_reset(cls, config):
    market = random_market(16, seconds=60.0, gaps_s=(6.0,))
    whole = replay(cls(config), market)
    first = cls(config)
    cut = START + 33 * SECOND
    early = replay(first, market.until(cut))
    second = cls(config)
    replay(second, random_market(99, seconds=30.0))
    second.restore(pickle.loads(pickle.dumps(first.snapshot())))
    assert early + replay(second, after(market, cut)) == whole
    second.reset()
    assert replay(second, market) == whole


@every_engine
def test_the_scale_of_integers_does_not_matter(cls, config):
    fine = dataclasses.replace(config, price_precision=16, size_precision=16)
    market = random_market(13)
    assert replay(cls(fine), market, 10**14, 10**13) == replay(cls(config), market)


@every_engine
def test_impossible_events_are_refused_and_leave_the_engine(cls, config):
    engine = cls(config)
    assert isinstance(engine, SignalEngine)
    market = random_market(12, seconds=30.0)
    replay(engine, market)
    now = int(max(market.quotes.ts_ns[-1], market.trades.ts_ns[-1], market.bars.ts_ns[-1]))
    rows = [row for _, row in records(market)]
    bad = [lambda: engine.on_custom_data(dataclasses.replace(rows[0], ts_init=1))]
    if cls is not CompositeLpiEngine:
        bad += [
            lambda: engine.on_quote(now, 11, 10, 1, 1),
            lambda: engine.on_quote(now, 9, 10, -1, 1),
            lambda: engine.on_quote(1, 9, 10, 1, 1),
            lambda: engine.on_bar(now, 1, 1, 1, 1, -1),
            lambda: engine.on_bar(1, 1, 1, 1, 1, 1),
        ]
    if cls is not BarLpiEngine:
        bad += [
            lambda: engine.on_trade(now, 10, 0, 1),
            lambda: engine.on_trade(now, 0, 10, 1),
            lambda: engine.on_trade(now, 10, 10, 0),
            lambda: engine.on_trade(1, 10, 10, 1),
        ]
    events = [(engine.on_trade, (now, 3_000_000, 10, 1))] if cls is not BarLpiEngine else []
    if cls is not CompositeLpiEngine:
        events += [(engine.on_quote, (now, 2_999_990, 3_000_000, 5, 5))]
        bar = (now, 3_000_000, 3_000_010, 2_999_990, 3_000_000, 5)
        bars = [(engine.on_bar, (*bar[:at], b, *bar[at + 1 :])) for at in (0, 5) for b in BAD]
        bad += [functools.partial(call, *row) for call, row in bars]
    if cls is ToxicityVolatilityEngine:
        events += [(engine.on_bar, bar)]
    for call, row in events:
        for at, b in itertools.product(range(len(row)), (*BAD, 1.5)):
            bad.append(functools.partial(call, *row[:at], b, *row[at + 1 :]))
    before = engine.snapshot()
    for call in bad:
        with pytest.raises(InputError):
            call()
        assert engine.snapshot() == before


def mean_z(window, clip=10.0):
    sd = statistics.pstdev(window)
    return 0.0 if sd == 0 else max(-clip, min(clip, (window[-1] - statistics.fmean(window)) / sd))


def robust_z(window, min_scale, clip=10.0):
    centre = statistics.median(window)
    mad = statistics.median(abs(v - centre) for v in window)
    scale = max(1.4826 * mad, 0.1 * statistics.pstdev(window), min_scale)
    return 0.0 if scale == 0 else max(-clip, min(clip, (window[-1] - centre) / scale))


def test_composite_engine_is_its_formula():
    config, market = composite_config(), random_market(21)
    found = replay(CompositeLpiEngine(config), market)
    levels = [
        (ts, notional)
        for ts, percentage, notional in zip(
            *(c.tolist() for c in (market.depth.ts_ns, market.depth.percentage)),
            market.depth.notional.tolist(), strict=True,
        )
        if percentage == -1.0
    ]  # fmt: skip
    interest = [
        (ts, oi)
        for ts, oi in zip(
            market.metrics.ts_ns.tolist(), market.metrics.open_interest.tolist(), strict=True
        )
        if not math.isnan(oi)
    ]
    shares, expected, buy, sell = [], [], 0.0, 0.0
    for ts, price, size, side in zip(
        *(c.tolist() for c in (market.trades.ts_ns, market.trades.price_raw)),
        market.trades.size_raw.tolist(), market.trades.side.tolist(), strict=True,
    ):  # fmt: skip
        buy, sell = (buy + price * size, sell) if side > 0 else (buy, sell + price * size)
        if (buy + sell) / 1e5 < config.bucket_notional:
            continue
        shares.append(sell / (buy + sell))
        imbalance = abs(buy - sell) / (buy + sell)
        buy = sell = 0.0
        ldr = oi_z = lpi = None
        known = [row for row in levels if row[0] < ts]
        if known and ts - known[-1][0] <= config.depth_max_age_ns:
            pair = len(known) > 1 and known[-2][1]
            ldr = known[-1][1] / known[-2][1] if pair else 1.0
        rows = [row for row in interest if row[0] < ts]
        if len(rows) >= 5 and ts - rows[-1][0] <= config.oi_max_age_ns:
            oi_z = mean_z([oi for _, oi in rows][-8:])
        if len(shares) >= 5 and ldr is not None:
            forced = math.tanh(max(0, mean_z(shares[-20:])))
            lpi = 0.6 * forced + 0.3 * max(0, 1 - ldr) + 0.1 * imbalance
        expected.append((ts, ldr, oi_z, lpi))
    assert len(expected) > 40
    assert sum(lpi is not None and oi is not None for _, _, oi, lpi in expected) > 20
    for signal, (ts, ldr, oi_z, lpi) in zip(found, expected, strict=True):
        assert signal.ts_event == ts
        for value, expectation in ((signal.ldr, ldr), (signal.oi_zscore, oi_z), (signal.lpi, lpi)):
            assert value == (None if expectation is None else pytest.approx(expectation, rel=1e-9))
        assert signal.is_valid == (lpi is not None and oi_z is not None)


@pytest.mark.parametrize("imbalance", ["l1", "depth_pct"])
def test_bar_engine_is_its_formula(imbalance):
    config = bar_config(imbalance=imbalance, depth_pct=1.0, quote_max_age_ns=150_000_000)
    market = random_market(22)
    found = replay(BarLpiEngine(config), market)
    quotes = list(zip(*(c.tolist() for c in market.quotes.arrays().values()), strict=True))
    sides: dict = {}
    for ts, percentage, notional in zip(
        *(c.tolist() for c in (market.depth.ts_ns, market.depth.percentage)),
        market.depth.notional.tolist(), strict=True,
    ):  # fmt: skip
        if abs(percentage) == 1.0:
            sides.setdefault(ts, {})[percentage] = notional
    depth = [(ts, level) for ts, level in sorted(sides.items()) if len(level) == 2]
    logs, spreads = [], []
    for signal, ts, volume in zip(
        found, market.bars.ts_ns.tolist(), market.bars.volume_raw.tolist(), strict=True
    ):
        logs.append(math.log(1 + volume / 1000))
        known = [row for row in quotes if row[0] <= ts]
        spread = book = None
        if known and ts - known[-1][0] <= config.quote_max_age_ns:
            _, bid, ask, bid_size, ask_size = known[-1]
            spread = 1e4 * (ask - bid) / ((ask + bid) / 2)
            spreads.append(spread)
            half_tick = 1e4 * 5 / ((ask + bid) / 2)
            book = (bid_size - ask_size) / (bid_size + ask_size)
        if imbalance == "depth_pct":
            rows = [row for row in depth if row[0] <= ts]
            book = None
            if rows and ts - rows[-1][0] <= config.depth_max_age_ns:
                book = (rows[-1][1][-1.0] - rows[-1][1][1.0]) / sum(rows[-1][1].values())
        lpi = None
        if len(logs) >= 5 and spread is not None and len(spreads) >= 5 and book is not None:
            loud = max(0, robust_z(logs[-20:], 0.0))
            lpi = book * loud / (1 + max(0, robust_z(spreads[-20:], half_tick)))
        for value, expectation in (
            (signal.lpi, lpi), (signal.spread_bps, spread), (signal.imbalance, book),
        ):  # fmt: skip
            assert value == (None if expectation is None else pytest.approx(expectation, rel=1e-9))
    assert sum(s.lpi is None for s in found[10:]) > 5
    assert sum(bool(s.lpi) for s in found) > 20


def test_slip_15_bar_windows_take_every_bar():
    """Slip 15: windows that skip the bars a gate refused, here for want of a fresh quote."""
    config, market = bar_config(), random_market(23)
    cut = slice(300, 900)
    thinned = dataclasses.replace(
        market,
        quotes=type(market.quotes)(
            *(np.delete(column, cut) for column in market.quotes.arrays().values())
        ),
    )  # fmt: skip
    whole, holed = (replay(BarLpiEngine(config), m) for m in (market, thinned))
    assert sum(s.lpi is None for s in holed[10:]) > 10
    volumes = [s.volume for s in whole]
    assert [s.volume for s in holed] == volumes
    flat = dataclasses.replace(config, z_kind="mean_std")
    engine = BarLpiEngine(flat)
    replay(engine, thinned)
    assert engine.snapshot()["state"]["_bar_lpi"]["state"]["volume_z"] == pytest.approx(
        mean_z([math.log1p(v) for v in volumes][-20:])
    )


def test_missing_inputs_are_named():
    market = random_market(24)
    bare = replay(
        BarLpiEngine(bar_config()), dataclasses.replace(market, quotes=empty(market.quotes))
    )
    assert all(Validity.QUOTE_MISSING in s.validity_flags for s in bare)
    assert all(s.lpi is s.spread_bps is s.imbalance is None for s in bare)
    config = bar_config(imbalance="depth_pct")
    bare = replay(BarLpiEngine(config), dataclasses.replace(market, depth=empty(market.depth)))
    assert all(Validity.DEPTH_MISSING in s.validity_flags for s in bare)
    assert all(s.lpi is None for s in bare)
    engine = BarLpiEngine(bar_config())
    engine.on_quote(START, 10, 11, 0, 0)
    engine.on_bar(START + 1, 10, 10, 10, 10, 5)
    assert Validity.BOOK_EMPTY in engine.maybe_emit().validity_flags
    for signal in replay(BarLpiEngine(bar_config()), market):
        assert (signal.lpi is None) == (signal.validity_flags != Validity.VALID)


def test_an_exit_can_read_lpi_without_open_interest():
    market = random_market(25)
    found = replay(
        CompositeLpiEngine(composite_config()),
        dataclasses.replace(market, metrics=empty(market.metrics)),
    )
    assert sum(s.lpi is not None for s in found) > 20
    assert not any(s.is_valid for s in found)


def test_a_bucket_knows_no_depth_or_open_interest_of_its_own_instant():
    """Whatever order a feed has at one time: a row as old as the closing trade comes too late."""
    rows = [row for _, row in records(random_market(27))]
    depth = [r for r in rows if getattr(r, "percentage", None) == -1.0][:2]
    interest = [r for r in rows if getattr(r, "sum_open_interest", None)][:5]
    engine = CompositeLpiEngine(composite_config(bucket_notional=1.0, depth_max_age_ns=10**18))
    now = START + 10**12
    for i, row in enumerate(interest):
        engine.on_custom_data(dataclasses.replace(row, ts_init=now + i - 4))
    engine.on_custom_data(dataclasses.replace(depth[0], ts_init=now))
    engine.on_trade(now, 3_000_000, 1_000, 1)
    signal = engine.maybe_emit()
    assert (signal.ldr, signal.oi_zscore) == (None, None)
    engine.on_trade(now + 1, 3_000_000, 1_000, 1)
    signal = engine.maybe_emit()
    assert signal.ldr == 1.0
    assert signal.oi_zscore is not None


def test_slip_10_ldr_compares_like_with_like():
    """Slip 10, at the engine: rows of other levels never enter the ratio."""
    market = random_market(26)
    found = replay(CompositeLpiEngine(composite_config()), market)
    keep = market.depth.percentage == -1.0
    only = type(market.depth)(
        market.depth.ts_ns[keep], market.depth.percentage[keep], market.depth.notional[keep]
    )
    alone = replay(CompositeLpiEngine(composite_config()), dataclasses.replace(market, depth=only))
    assert [s.ldr for s in alone] == [s.ldr for s in found]
    assert len({s.ldr for s in found}) > 10


def test_batch_refuses_bars_that_cannot_be():
    one = np.array([1])
    with pytest.raises(InputError, match="low_raw must lie in"):
        Bars(one, one * 5, one * 9, one * 6, one * 7, one)
    with pytest.raises(InputError, match="volume_raw must be at least 0"):
        Bars(one, one * 5, one * 9, one * 5, one * 7, -one)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: composite_config(bucket_notional=-1.0), "bucket_notional"),
        (lambda: composite_config(fsi_window_buckets=1), "fsi_window_buckets"),
        (
            lambda: composite_config(oi_window_rows=4),
            "z_min_count must be at most oi_window_rows 4",
        ),
        (lambda: volatility_config(theta_weights=None), "theta_weights must be two"),
        (lambda: volatility_config(theta_gain=math.inf), "theta_gain must be a finite number"),
        (lambda: volatility_config(a2=None), "a2 must be a number of at least 0"),
        (lambda: volatility_config(half_life_long_bars=math.inf), "half_life_long_bars must be a"),
        (lambda: volatility_config(metrics_window_rows=1), "metrics_window_rows must be an"),
        (lambda: composite_config(depth_side="mid"), "depth_side must be one of bid, ask"),
        (lambda: composite_config(oi_max_age_ns=-1), "oi_max_age_ns"),
        (lambda: composite_config(max_gap_ns=0), "max_gap_ns"),
        (lambda: bar_config(imbalance="l2"), "imbalance must be one of l1, depth_pct"),
        (lambda: bar_config(lookback_bars=1), "lookback_bars"),
        (lambda: bar_config(price_increment=0.0), "price_increment"),
        (lambda: bar_config(depth_pct=0.0), "depth_pct"),
    ],
)
def test_bad_configs_are_refused(build, message):
    with pytest.raises(ParameterError, match=message):
        build()
