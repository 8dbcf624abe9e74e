"""The toxicity-volatility engine: its features transcribed, its alerts, its missing inputs."""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics

import numpy as np
import pytest
from market import SECOND, START, empty, random_market, replay
from phoenix_schemas.signal_records import VolatilityRegime
from phoenix_signals.batch import toxicity_volatility_features
from phoenix_signals.engines import ToxicityVolatilityConfig, ToxicityVolatilityEngine
from phoenix_signals.errors import ParameterError
from test_engines import volatility_config


class Recorder(ToxicityVolatilityEngine):
    """Keeps the features of every decision."""

    __slots__ = ("kept",)

    def __init__(self, config):
        super().__init__(config)
        self.kept = []

    def on_bar(self, *bar):
        decided = super().on_bar(*bar)
        if decided:
            self.kept.append(self.features)
        return decided


def run(market, config):
    engine = Recorder(config)
    signals = replay(engine, market)
    return engine.kept, signals


def z_of(window, kind, min_scale=0.0, clip=10.0):
    sd = statistics.pstdev(window)
    centre = statistics.fmean(window) if kind == "mean_std" else statistics.median(window)
    scale = max(sd, min_scale)
    if kind == "median_mad":
        mad = statistics.median(abs(v - centre) for v in window)
        scale = max(1.4826 * mad, 0.1 * sd, min_scale)
    return 0.0 if scale == 0 else max(-clip, min(clip, (window[-1] - centre) / scale))


def rows(columns):
    return list(zip(*(c.tolist() for c in columns.arrays().values()), strict=True))


def transcription(market, config):
    """Features of every bar, looked up and summed anew from lists of events."""
    kind, n, least = config.z_kind, config.z_window_bars, config.z_min_count
    trades, quotes = rows(market.trades), rows(market.quotes)
    alpha_s = 1 - 2 ** (-1 / config.half_life_short_bars)
    alpha_l = 1 - 2 ** (-1 / config.half_life_long_bars)
    flows = []  # order flow imbalance of each quote update
    for (_, b0, a0, bs0, as0), (ts, b1, a1, bs1, as1) in itertools.pairwise(quotes):
        e = (b1 >= b0) * bs1 - (b1 <= b0) * bs0 - (a1 <= a0) * as1 + (a1 >= a0) * as0
        flows.append((ts, e / 1000))
    # VPIN: lots one by one would be exact and slow; split each trade over the open bucket.
    v, held, imbalances, vpins, last = config.vpin_bucket_raw, [0, 0], [], [], None
    for ts, price, size, side in trades:
        if last is not None and sum(held) and ts - last > config.max_gap_ns:
            held = [0, 0]
        last = ts
        left = size if config.vpin_unit == "base" else price * size
        before = len(imbalances)
        while left:
            part = min(left, v - sum(held))
            held[side < 0] += part
            left -= part
            if sum(held) == v:
                imbalances.append(abs(held[0] - held[1]))
                held = [0, 0]
        k = config.vpin_window_buckets
        if len(imbalances) > before and len(imbalances) >= k:
            vpins.append((ts, sum(imbalances[-k:]) / (k * v)))
    depths = {}
    for ts, percentage, notional in rows(market.depth):
        if abs(percentage) == config.depth_pct:
            depths.setdefault(ts, {})[percentage] = notional
    depths = [(ts, sum(d.values())) for ts, d in sorted(depths.items()) if len(d) == 2]

    out, previous = [], None
    short = long = variance = None
    compressions, vs, spreads, ts_, obis, svis, ofis = [], [], [], [], [], [], []
    bars = rows(market.bars)
    for i, (ts, o, h, low, c, _) in enumerate(bars):
        gk = 0.5 * math.log(h / low) ** 2 - (2 * math.log(2) - 1) * math.log(c / o) ** 2
        short = gk if short is None else short + alpha_s * (gk - short)
        long = gk if long is None else long + alpha_l * (gk - long)
        if previous is not None:
            r2 = math.log(c / previous) ** 2
            variance = r2 if variance is None else variance + alpha_s * (r2 - variance)
        previous = c
        row = dict.fromkeys(("f1", "f2", "toxicity", "variance", "vpin", "vpin_reference"))
        row["ts_event"] = ts
        if i + 1 >= math.ceil(config.half_life_long_bars) and short > 0 and long > 0:
            compressions.append(-0.5 * math.log(short / long))
            if len(compressions) >= least:
                row["f1"] = z_of(compressions[-n:], kind, 1e-9)
        if i >= least:
            row["variance"] = variance
        start = bars[i - 1][0] if i else -1
        quote = [q for q in quotes if q[0] <= ts][-1:]
        spread = obi = None
        if quote and ts - quote[0][0] <= config.quote_max_age_ns:
            _, b, a, bs, as_ = quote[0]
            spread, obi = 2 * (a - b) / (a + b), (bs - as_) / (bs + as_)
            spreads.append(spread)
            obis.append(obi)
            half_tick = 10 / (a + b)
        known = [x for x in vpins if x[0] <= ts]
        t = None
        if known:
            row["vpin"] = known[-1][1]
            vs.append(row["vpin"])
            if len(known) >= least:
                history = sorted(x for _, x in known)
                k = math.ceil(config.toxicity_share * len(history)) - 1
                row["vpin_reference"] = history[k]
        if known and spread is not None and len(vs) >= least and len(spreads) >= least:
            t = z_of(vs[-n:], kind) + z_of(spreads[-n:], kind, half_tick)
            ts_.append(t)
        row["toxicity"] = t
        toxic = None
        if t is not None and config.toxicity_threshold is not None:
            toxic = t >= config.toxicity_threshold
        elif t is not None and len(ts_) >= least:
            toxic = sum(x <= t for x in ts_) / len(ts_) >= config.toxicity_share
        row["is_toxic"] = toxic
        first = bars[i - config.svi_window_bars][0] if i >= config.svi_window_bars else -1
        traded = [x for x in trades if first < x[0] <= ts]
        svi = None
        if i + 1 >= config.svi_window_bars and traded:
            svi = sum(s * d for _, _, s, d in traded) / sum(s for _, _, s, _ in traded)
            svis.append(svi)
        first = bars[i - config.ofi_window_bars][0] if i >= config.ofi_window_bars else -1
        if i + 1 >= config.ofi_window_bars:
            ofis.append(sum(e for when, e in flows if first < when <= ts))
        if (
            toxic is not None
            and obi is not None
            and svi is not None
            and (min(len(obis), len(svis), len(ofis)) >= least)
        ):
            parts = [z_of(x[-n:], kind) for x in (obis, svis, ofis)]
            row["f2"] = 0.0 if toxic else sum(parts)
        assert start < ts
        out.append(row)
    return out


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"toxicity_threshold": 0.3, "z_kind": "mean_std", "svi_window_bars": 4,
         "ofi_window_bars": 3, "vpin_unit": "notional", "vpin_bucket": 60_000.0},
    ],
    ids=["base", "notional"],
)  # fmt: skip
def test_features_are_their_formulas(changes):
    config = volatility_config(**changes)
    market = random_market(41, seconds=90.0, events=1_500)
    expected = transcription(market, config)
    features, _ = run(market, config)
    assert [f.ts_event for f in features] == [row["ts_event"] for row in expected]
    for f, row in zip(features, expected, strict=True):
        for name, value in row.items():
            if isinstance(value, float):
                assert getattr(f, name) == pytest.approx(value, rel=1e-8, abs=1e-10), (name, f)
            else:
                assert getattr(f, name) == value, (name, f)
    assert sum(f.f1 is not None for f in features) > 40
    assert {f.is_toxic for f in features} == {None, True, False}
    assert sum(bool(f.f2) for f in features) > 20


@pytest.mark.parametrize(
    "changes", [{}, {"decision_interval_ns": 5 * SECOND}, {"crowding_threshold": 0.5}]
)
def test_batch_features_equal_the_streaming_ones(changes):
    config = volatility_config(**changes)
    market = random_market(42, gaps_s=(7.0,))
    features, _ = run(market, config)
    table = toxicity_volatility_features(
        market.trades, market.quotes, market.bars, market.depth, market.metrics, market.funding,
        config=config,
    )  # fmt: skip
    names = table.column_names
    assert names == list(features[0]._fields)
    for name in names[1:]:
        found = table[name].to_pylist()
        mine = [getattr(f, name) for f in features]
        if isinstance(next((v for v in mine if v is not None), None), float):
            assert [v is None for v in found] == [v is None for v in mine], name
            np.testing.assert_allclose(
                [v for v in found if v is not None], [v for v in mine if v is not None],
                rtol=1e-12, atol=1e-13, err_msg=name,
            )  # fmt: skip
        else:
            assert found == mine, name
    assert {f.regime for f in features} >= set(VolatilityRegime)
    assert {f.f3 for f in features} >= {-1, 0, 1}


def test_theta_is_the_fused_direction():
    features, signals = run(random_market(43), volatility_config(theta_weights=(2.0, 1.0)))
    told = 0
    for f in features:
        parts = []
        if f.f2 is not None:
            parts.append((2.0, max(-3, min(3, f.f2 / 3))))
        if f.crowding is not None:
            parts.append((1.0, max(-3, min(3, -f.crowding / 3))))
        if not parts:
            assert f.theta is None
            continue
        told += 1
        score = sum(w * z for w, z in parts) / sum(w for w, _ in parts)
        assert f.theta == pytest.approx(math.tanh(score))
    assert told > 50
    for signal in signals:
        assert signal.strength == (None if signal.theta is None else abs(signal.theta))


def test_decisions_fall_on_the_ends_of_their_interval():
    for interval in (1, 5, 15):
        config = volatility_config(decision_interval_ns=interval * SECOND)
        features, _ = run(random_market(44, seconds=60.0), config)
        ends = [(f.ts_event + 1_000_000 - START) / SECOND for f in features]
        offset = START // SECOND % interval
        assert ends
        assert all((end + offset) % interval == 0 for end in ends)
    minute = ToxicityVolatilityConfig(
        instrument_id="X", price_precision=2, size_precision=3, price_increment=0.1,
        vpin_bucket=1.0, decision_interval_ns=300 * SECOND,
    )  # fmt: skip
    closes = [60 * SECOND * k for k in range(1, 16)]
    assert [k for k, ts in enumerate(closes, 1) if minute.is_decision(ts)] == [5, 10, 15]
    assert [k for k, ts in enumerate(closes, 1) if minute.is_decision(ts - 1)] == [5, 10, 15]


def test_an_alert_tells_when_vpin_crosses_between_decisions():
    config = volatility_config(decision_interval_ns=10 * SECOND)
    market = random_market(45)
    features, signals = run(market, config)
    decided = {f.ts_event for f in features}
    alerts = [s for s in signals if s.ts_event not in decided]
    assert len(alerts) > 3
    trade_times = set(market.trades.ts_ns.tolist())
    by_time = sorted(features)
    for alert in alerts:
        assert alert.ts_event in trade_times
        before = [f for f in by_time if f.ts_event < alert.ts_event][-1]
        assert (alert.theta, alert.variance) == (before.theta, before.variance)


def test_missing_inputs_make_a_decision_invalid_and_not_a_number():
    market = random_market(46)
    whole, signals = run(market, volatility_config())
    assert sum(s.valid for s in signals) > 10
    for part, names in (
        ("metrics", ("crowding", "f3")), ("funding", ("crowding", "f3", "funding_z")),
        ("quotes", ("spread_bps", "toxicity", "f2")), ("trades", ("vpin", "toxicity", "f2")),
    ):  # fmt: skip
        bare = dataclasses.replace(market, **{part: empty(getattr(market, part))})
        features, signals = run(bare, volatility_config())
        assert len(features) == len(whole)
        assert not any(s.valid for s in signals)
        assert all(getattr(f, name) is None for f in features for name in names)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vpin_bucket": 0.0}, "vpin_bucket"),
        ({"vpin_unit": "lots"}, "vpin_unit must be one of base, notional"),
        ({"decision_interval_ns": SECOND // 2}, "must be a multiple of bar_interval_ns"),
        ({"half_life_short_bars": 9}, "half_life_short_bars must be below"),
        ({"toxicity_share": 70}, "toxicity_share must lie between 0 and 1"),
        ({"theta_weights": (0.0, 1.0)}, "weights must not hold 0"),
        ({"a1": 0.0, "a2": 0.0, "a3": 0.0}, "must be above 0"),
        ({"svi_window_bars": 0}, "svi_window_bars"),
        ({"hysteresis": 2.0}, "hysteresis"),
    ],
)
def test_bad_configs_are_refused(changes, message):
    with pytest.raises(ParameterError, match=message):
        volatility_config(**changes)
