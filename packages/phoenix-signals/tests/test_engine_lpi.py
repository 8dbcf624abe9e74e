"""The LPI engine: against a transcription from event lists, its batch form, and itself."""

from __future__ import annotations

import dataclasses
import itertools
import math
import pickle
import statistics
from decimal import Decimal

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market import (
    MS,
    PRICE_PRECISION,
    SECOND,
    SIZE_PRECISION,
    START,
    Market,
    after,
    assert_same,
    empty,
    random_market,
    records,
    replay,
)
from phoenix_schemas.signal_records import SignalSnapshot, Validity, from_table
from phoenix_signals.batch.columns import Depth, Quotes, Trades
from phoenix_signals.batch.lpi import lpi_engine
from phoenix_signals.engines import LpiConfig, LpiEngine, SignalEngine
from phoenix_signals.errors import InputError, ParameterError, VersionError


def lpi_config(**changes) -> LpiConfig:
    base = {
        "price_precision": PRICE_PRECISION, "size_precision": SIZE_PRECISION,
        "price_increment": 0.1, "bucket_interval_ns": SECOND, "bucket_notional": 40_000.0,
        "z_window_buckets": 20, "z_min_count": 5, "oi_window_rows": 8, "funding_window_rows": 6,
        "rv_window_buckets": 4, "depth_max_age_ns": 5 * SECOND, "quote_max_age_ns": 2 * SECOND,
        "oi_max_age_ns": 8 * SECOND, "max_gap_ns": 4 * SECOND,
    }  # fmt: skip
    return LpiConfig(**(base | changes))


VARIANTS = {
    "time": {},
    "notional": {"bucket_mode": "notional"},
    "no depth": {"use_depth": False},
    "notional, no depth": {"bucket_mode": "notional", "use_depth": False},
    "eta": {"eta_bps": 0.5},
    "ties": {"impulse_quote": "at_or_before"},
    "ties, notional": {"impulse_quote": "at_or_before", "bucket_mode": "notional"},
    "additive": {"liquidity_mode": "additive", "lambda_ld": 0.5, "lambda_liq": 2.0},
    "mean_std": {"z_kind": "mean_std", "z_clip": 2.0},
    "raw": {"z_kind": "none"},
    "no OI": {"use_open_interest": False},
    "no funding": {"lambda_f": 0.0},
    "depth 1 %": {"depth_pct": 1.0},
}
every_variant = pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())

MARKETS = {
    "busy": lambda: random_market(1),
    "sparse": lambda: random_market(2, events=150),
    "gaps": lambda: random_market(3, events=1_000, gaps_s=(9.0, 4.0, 30.0)),
    "no depth data": lambda: dataclasses.replace((m := random_market(4)), depth=empty(m.depth)),
    "stale depth": lambda: random_market(5, depth_every_s=11.0),
    "no trades": lambda: dataclasses.replace((m := random_market(6)), trades=empty(m.trades)),
    "no quotes": lambda: dataclasses.replace((m := random_market(7)), quotes=empty(m.quotes)),
    "nothing": lambda: random_market(8).until(START - 1),
    "late quotes": lambda: dataclasses.replace(
        (m := random_market(9)), quotes=Quotes(*(c[400:] for c in quote_columns(m)))
    ),
}


def quote_columns(market: Market):
    return list(market.quotes.arrays().values())


@every_variant
@pytest.mark.parametrize("name", MARKETS)
def test_streaming_equals_batch(name, changes):
    market, config = MARKETS[name](), lpi_config(**changes)
    streamed = replay(LpiEngine(config), market)
    batch = from_table(lpi_engine(*market.columns(), config=config), SignalSnapshot)
    assert_same(streamed, batch)
    if name == "busy":
        for field in ("lpi_fast", "exh", "lev", "spread", "rv"):
            if changes == {"use_open_interest": False} and field == "lev":
                continue
            assert sum(getattr(s, field) is not None for s in streamed) > 10, field
        shares = [s.zero_impulse_share for s in streamed]
        assert min(shares) < 1.0


@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(VARIANTS)), st.integers(20, 900))
@settings(max_examples=25, deadline=None)
def test_streaming_equals_batch_on_any_market(seed, variant, events):
    market = random_market(seed, seconds=60.0, events=events, gaps_s=(5.0,))
    config = lpi_config(**VARIANTS[variant])
    batch = from_table(lpi_engine(*market.columns(), config=config), SignalSnapshot)
    assert_same(replay(LpiEngine(config), market), batch)


def z_of(window, kind, min_scale=0.0, clip=10.0):
    x = window[-1]
    if kind == "none":
        return x
    sd = statistics.pstdev(window)
    if kind == "mean_std":
        centre, scale = statistics.fmean(window), max(sd, min_scale)
    else:
        centre = statistics.median(window)
        mad = statistics.median(abs(v - centre) for v in window)
        scale = max(1.4826 * mad, 0.1 * sd, min_scale)
    return 0.0 if scale == 0 else max(-clip, min(clip, (x - centre) / scale))


def transcription(market: Market, config: LpiConfig) -> list[dict]:
    """LPI fast, EXH and LEV of every time bucket, from the formulas, looking everything up anew."""
    price = 10.0**-config.price_precision
    size = 10.0**-config.size_precision
    q = [
        (ts, bid * price, ask * price, bs * size, as_ * size)
        for ts, bid, ask, bs, as_ in zip(*(c.tolist() for c in quote_columns(market)), strict=True)
    ]
    t = [
        (ts, p * price, s * size, d)
        for ts, p, s, d in zip(
            market.trades.ts_ns.tolist(), market.trades.price_raw.tolist(),
            market.trades.size_raw.tolist(), market.trades.side.tolist(), strict=True,
        )
    ]  # fmt: skip
    snapshots = {}
    for ts, percentage, notional in zip(
        market.depth.ts_ns.tolist(), market.depth.percentage.tolist(),
        market.depth.notional.tolist(), strict=True,
    ):  # fmt: skip
        if abs(percentage) == config.depth_pct:
            snapshots.setdefault(ts, {})[percentage] = notional
    d = [(ts, sum(level.values())) for ts, level in sorted(snapshots.items()) if len(level) == 2]
    width, eta = config.bucket_interval_ns, config.eta_bps / 10_000
    n, least, kind = config.z_window_buckets, config.z_min_count, config.z_kind
    times = sorted(row[0] for row in (*q, *t))
    close = times[0] - times[0] % width + width
    impulses, liquidities, deltas, changes, out = [], [], [], [], []
    last_lpi = last_spread = None

    def z(values, least=least, window=n, min_scale=0.0):
        if kind == "none":
            return values[-1] if values else None
        return (
            z_of(values[-window:], kind, min_scale, config.z_clip) if len(values) >= least else None
        )

    while close <= times[-1]:
        row = {"ts_event": close, "lpi": None, "exh": None, "p": None}
        known_q = [x for x in q if x[0] < close]
        quote = known_q[-1] if known_q else None
        fresh = quote is not None and close - quote[0] <= config.quote_max_age_ns
        known_d = [x for x in d if x[0] < close]
        impulse = 0.0
        for ts, p, s, side in t:
            if close - width <= ts < close:
                met = [x for x in q if x[0] < ts]
                if met and side < 0 and p < met[-1][1] * (1 - eta) - 1e-9:
                    impulse += p * s
                if met and side > 0 and p > met[-1][2] * (1 + eta) + 1e-9:
                    impulse -= p * s
        spread = half_tick = None
        if fresh:
            mid = (quote[1] + quote[2]) / 2
            spread, half_tick = (quote[2] - quote[1]) / mid, 0.05 / mid
        liquidity, scale, relief = spread, half_tick, None
        if config.use_depth:
            liquidity = None
            if known_d and close - known_d[-1][0] <= config.depth_max_age_ns:
                if spread is not None:
                    liquidity = (quote[2] - quote[1]) / (known_d[-1][1] + 1.0)
                    scale = 0.05 / (known_d[-1][1] + 1.0)
                moves = [b[1] - a[1] for a, b in itertools.pairwise(known_d)]
                change = z(moves)
                relief = None if change is None else config.lambda_liq * change
        elif spread is not None and last_spread is not None:
            changes.append(spread - last_spread)
            change = z(changes, min_scale=half_tick)
            relief = None if change is None else -config.lambda_spr * change
        last_spread = spread
        lpi = None
        if quote is not None:
            impulses.append(impulse)
            row["p"] = p = z(impulses)
            if liquidity is not None:
                liquidities.append(liquidity)
                ld = z(liquidities, min_scale=scale)
                if p is not None and ld is not None:
                    thin = ld if config.liquidity_mode == "additive" else np.sign(p) * max(0, ld)
                    lpi = p + config.lambda_ld * thin
        row["lpi"] = lpi
        if lpi is not None and last_lpi is not None:
            deltas.append(lpi - last_lpi)
            fade = z(deltas)
            if fade is not None and relief is not None:
                row["exh"] = -np.sign(round(lpi, 9)) * fade + relief
        last_lpi = lpi
        out.append(row)
        close += width
    return out


@pytest.mark.parametrize("variant", ["time", "no depth", "eta", "additive", "mean_std", "raw"])
def test_engine_is_its_formula(variant):
    config = lpi_config(**VARIANTS[variant])
    market = random_market(21, seconds=60.0, events=900, depth_every_s=1.7)
    expected = transcription(market, config)
    found = replay(LpiEngine(config), market)
    assert [s.ts_event for s in found] == [row["ts_event"] for row in expected]
    for snapshot, row in zip(found, expected, strict=True):
        for value, key in (
            (snapshot.pressure_z, "p"),
            (snapshot.lpi_fast, "lpi"),
            (snapshot.exh, "exh"),
        ):
            expectation = None if row[key] is None else pytest.approx(row[key], rel=1e-7, abs=1e-7)
            assert value == expectation, (key, row)
    assert sum(row["exh"] is not None for row in expected) > 20


@every_variant
def test_the_future_changes_nothing_before_it(changes):
    config = lpi_config(**changes)
    market = random_market(11, gaps_s=(6.0,))
    whole = replay(LpiEngine(config), market)
    batch = from_table(lpi_engine(*market.columns(), config=config), SignalSnapshot)
    for cut in (START, START + 20 * SECOND, whole[len(whole) // 2].ts_event, START + 100 * SECOND):
        part = market.until(cut)
        early = replay(LpiEngine(config), part)
        assert early == whole[: len(early)]
        assert all(s.ts_event > cut for s in whole[len(early) + 1 :])
        told = from_table(lpi_engine(*part.columns(), config=config), SignalSnapshot)
        assert_same(told, batch[: len(told)])


def test_a_snapshot_knows_nothing_of_its_own_instant():
    """Events at the very time of the close, or later, leave its numbers as they were."""
    config = lpi_config()
    market = random_market(12)
    expected = replay(LpiEngine(config), market)
    at = expected[60].ts_event
    rng = np.random.default_rng(1)

    def shaken(values, ts, factor, shift=0):
        noise = rng.integers(0, 9, len(values))
        return np.where(ts >= at, values * factor + noise + shift, values)

    q, t, d = market.quotes, market.trades, market.depth
    changed = dataclasses.replace(
        market,
        quotes=Quotes(
            q.ts_ns, shaken(q.bid_raw, q.ts_ns, 1), shaken(q.ask_raw, q.ts_ns, 1, 9),
            shaken(q.bid_size_raw, q.ts_ns, 3), q.ask_size_raw,
        ),
        trades=Trades(t.ts_ns, shaken(t.price_raw, t.ts_ns, 2), t.size_raw, t.side),
        depth=Depth(d.ts_ns, d.percentage, shaken(d.notional, d.ts_ns, 5)),
    )  # fmt: skip
    found = replay(LpiEngine(config), changed)
    assert found[:61] == expected[:61]
    assert found[61:] != expected[61:]


def test_the_scale_of_integers_does_not_matter():
    """NautilusTrader's raw (precision 16) gives the same bytes as the instrument's precision."""
    for changes in ({}, {"bucket_mode": "notional", "eta_bps": 0.5, "use_depth": False}):
        config = lpi_config(**changes)
        fine = dataclasses.replace(config, price_precision=16, size_precision=16)
        market = random_market(13)
        assert replay(LpiEngine(fine), market, 10**14, 10**13) == replay(LpiEngine(config), market)


@pytest.mark.parametrize("changes", [{}, {"use_depth": False}, {"bucket_mode": "notional"}])
def test_slip_14_mirror_negates_lpi_and_keeps_exhaustion(changes):
    """Slip 14: the directional indices hold for both sides.

    Around a constant mid M the mirror image of price p is 2M - p. Sizes n (2M - p) and n p give
    each print and its image the same notional.
    """
    rng = np.random.default_rng(31)
    mid, count = 3_000_000, 1_500
    ts = START + np.sort(rng.integers(0, 60_000, count)) * MS
    half = rng.choice([5, 5, 5, 10, 20], count)
    quotes = Quotes(ts, mid - half, mid + half, *rng.integers(1, 9_999, (2, count)))
    mirrored = Quotes(ts, mid - half, mid + half, quotes.ask_size_raw, quotes.bid_size_raw)
    when = START + np.sort(rng.integers(0, 60_000, 400)) * MS
    price = mid + rng.integers(-40, 41, 400)
    lots = rng.integers(1, 9, 400)
    side = np.sign(price - mid) + (price == mid)
    one = Trades(when, price, lots * (2 * mid - price), side)
    other = Trades(when, 2 * mid - price, lots * price, -side)
    market = random_market(31, seconds=60.0)
    config = lpi_config(size_precision=9, bucket_notional=400.0, **changes)
    a = replay(LpiEngine(config), dataclasses.replace(market, trades=one, quotes=quotes))
    b = replay(LpiEngine(config), dataclasses.replace(market, trades=other, quotes=mirrored))
    assert len(a) > 30
    assert any(s.exh is not None for s in a)
    for x, y in zip(a, b, strict=True):
        for name in ("pressure_z", "lpi_fast", "delta_lpi"):
            value = getattr(x, name)
            assert getattr(y, name) == (None if value is None else -value)
        assert (y.exh, y.ld_z, y.lev, y.spread) == (x.exh, x.ld_z, x.lev, x.spread)
        assert y.validity_flags == x.validity_flags


def feed(engine, *events):
    found = []
    for name, *arguments in events:
        getattr(engine, f"on_{name}")(*arguments)
        while (record := engine.maybe_emit()) is not None:
            found.append(record)
    return found


def test_empty_time_buckets_are_stamped_at_their_ends():
    engine = LpiEngine(lpi_config(use_depth=False, max_gap_ns=60 * SECOND))
    found = feed(
        engine, ("quote", START + 1, 100, 110, 5, 5), ("trade", START + 2, 90, 3, -1),
        ("trade", START + 3 * SECOND, 110, 3, 1),
    )  # fmt: skip
    assert [s.ts_event - START for s in found] == [SECOND, 2 * SECOND, 3 * SECOND]
    assert [s.zero_impulse_share for s in found] == [0.0, 1 / 2, 2 / 3]
    assert [Validity.QUOTE_STALE in s.validity_flags for s in found] == [False, False, True]


def test_a_gap_discards_the_partial_bucket_and_marks_the_next():
    engine = LpiEngine(lpi_config(use_depth=False))
    found = feed(
        engine, ("quote", START, 100, 110, 5, 5), ("quote", START + SECOND, 100, 110, 5, 5),
        ("trade", START + SECOND + 5, 90, 3, -1), ("quote", START + 10 * SECOND, 100, 110, 5, 5),
        ("quote", START + 12 * SECOND, 100, 110, 5, 5),
    )  # fmt: skip
    assert [(s.ts_event - START) // SECOND for s in found] == [1, 11, 12]
    assert [Validity.AFTER_GAP in s.validity_flags for s in found] == [False, True, False]
    assert found[1].zero_impulse_share == 1.0  # the impulse before the gap is gone


def test_missing_and_stale_inputs_are_named():
    market = random_market(14, depth_every_s=20.0)
    found = replay(LpiEngine(lpi_config(depth_max_age_ns=3 * SECOND)), market)
    stale = [s for s in found if Validity.DEPTH_STALE in s.validity_flags]
    assert len(stale) > 50
    assert all(s.lpi_fast is s.exh is s.depth_proxy is None for s in stale)
    assert sum(s.pressure_z is not None for s in stale) > 50
    early = found[0].validity_flags
    assert {Validity.PRESSURE_WARMUP, Validity.OPEN_INTEREST_MISSING, Validity.RV_WARMUP} <= set(
        early
    )
    for snapshot in found:
        if snapshot.validity_flags == Validity.VALID:
            values = msgspec.structs.asdict(snapshot)
            assert None not in values.values()
    bare = replay(LpiEngine(lpi_config()), dataclasses.replace(
        market, quotes=empty(market.quotes)
    ))  # fmt: skip
    assert all(s.validity_flags & Validity.QUOTE_MISSING for s in bare)
    assert all(s.pressure_z is None for s in bare)


@pytest.mark.parametrize("changes", [{}, {"bucket_mode": "notional", "bucket_notional": 0.00285}])
def test_the_quote_met_is_strictly_before_the_trade(changes):
    for rule, share in (("strictly_before", 0.0), ("at_or_before", 1.0)):
        engine = LpiEngine(lpi_config(use_depth=False, impulse_quote=rule, **changes))
        found = feed(
            engine, ("quote", START + 1, 100, 110, 5, 5), ("quote", START + 9, 94, 99, 5, 5),
            ("quote", START + 9, 90, 99, 5, 5), ("trade", START + 9, 95, 3, -1),
            ("quote", START + SECOND, 90, 99, 5, 5),
        )  # fmt: skip
        assert found[0].zero_impulse_share == share


def test_eta_is_exact_at_its_edge():
    """5 bps below a bid of 20,000.00 is 19,990.00: that price is no impulse, one tick lower is."""
    for price, share in ((1_999_000, 1.0), (1_998_990, 0.0)):
        engine = LpiEngine(lpi_config(use_depth=False, eta_bps=5.0))
        found = feed(
            engine, ("quote", START + 1, 2_000_000, 2_000_010, 5, 5),
            ("trade", START + 2, price, 3, -1), ("quote", START + SECOND, 1, 2, 5, 5),
        )  # fmt: skip
        assert found[0].zero_impulse_share == share


def test_a_notional_bucket_closes_with_the_trade_that_fills_it():
    config = lpi_config(bucket_mode="notional", bucket_notional=100.0, use_depth=False)
    engine = LpiEngine(config)  # 100 quote units are 10,000,000 raw
    found = feed(
        engine, ("quote", START, 100_000, 100_010, 5, 5), ("trade", START + 1, 100_000, 99, 1),
        ("trade", START + 2, 100_000, 1, 1), ("trade", START + 3, 100_000, 250, -1),
    )  # fmt: skip
    assert [s.ts_event - START for s in found] == [2, 3]


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (("quote", START - 1, 100, 110, 5, 5), "must not go back"),
        (("trade", START - 1, 100, 5, 1), "must not go back"),
        (("quote", START + 1, 111, 110, 5, 5), "0 < bid <= ask"),
        (("quote", START + 1, 0, 110, 5, 5), "0 < bid <= ask"),
        (("quote", START + 1, 100, 110, -1, 5), "sizes of at least 0"),
        (("quote", START + 1, 100, 110, 5, -1), "sizes of at least 0"),
        (("trade", START + 1, 100, 0, 1), "size_raw must be an integer of at least 1"),
        (("trade", START + 1, -100, 5, 1), "price_raw must be an integer of at least 1"),
        (("trade", START + 1, 100, 5, 0), r"side must be \+1"),
        (("quote", START, 111, 110, 5, 5), "0 < bid <= ask"),
        (("trade", START, 100, 5, 0), r"side must be \+1"),
        (("trade", START + 2 * SECOND, 100, 5, 2), r"side must be \+1"),
        (("quote", START + 60 * SECOND, 100, 110, 5, -1), "sizes of at least 0"),
    ],
)
@pytest.mark.parametrize("bucket_mode", ["time", "notional"])
def test_impossible_events_are_refused_and_leave_the_engine(event, message, bucket_mode):
    engine = LpiEngine(lpi_config(bucket_mode=bucket_mode))
    feed(engine, ("quote", START, 100, 110, 5, 5), ("trade", START, 90, 5, -1))
    before = engine.snapshot()
    with pytest.raises(InputError, match=message):
        feed(engine, event)
    assert engine.snapshot() == before


BAD = (math.nan, math.inf, -math.inf, 10**200, -(10**200), 1e200)
GOOD = {
    "quote": (START + 1, 100, 110, 5, 5), "trade": (START + 1, 90, 5, -1),
    "bid": (START + 1, 100, 5, -1), "ask": (START + 1, 115, 5, 1), "beyond": (START + 1, 115, 5, 1),
}  # fmt: skip


def spoilt(row):
    for at, bad in itertools.product(range(len(row)), BAD):
        yield (*row[:at], bad, *row[at + 1 :])


@pytest.mark.parametrize(
    ("bucket_mode", "late"), [("time", 60 * SECOND), ("notional", 0), ("notional", 60 * SECOND)]
)
def test_numbers_that_cannot_be_are_refused_whenever_a_bucket_may_close(bucket_mode, late):
    """Everything is checked where a bucket may close: always in notional mode."""
    for kind in ("quote", "trade"):
        for ts_ns, *rest in spoilt(GOOD[kind]):
            engine = LpiEngine(lpi_config(bucket_mode=bucket_mode))
            feed(engine, ("quote", START, 100, 110, 5, 5), ("trade", START, 90, 5, -1))
            before = engine.snapshot()
            with pytest.raises(InputError):
                feed(engine, (kind, ts_ns + late, *rest))
            assert engine.snapshot() == before


def test_the_short_way_refuses_at_once_what_it_would_add():
    """NaN and times anywhere, and each number of a print that counts."""
    for kind in ("trade", "bid", "ask", "beyond"):
        for row in spoilt(GOOD[kind]):
            engine = LpiEngine(lpi_config())
            feed(engine, ("quote", START, 100, 110, 5, 5), ("trade", START, 90, 5, -1))
            before = engine.snapshot()
            if kind == "bid" and row[2] > 0:
                continue  # the size of a print inside the touch is not used
            with pytest.raises(InputError):
                feed(engine, ("trade", *row))
            assert engine.snapshot() == before, row


@pytest.mark.parametrize("eta_bps", [0.0, 5.0])
@pytest.mark.parametrize("side", [1, -1])
def test_a_fraction_is_refused_where_it_would_be_added(side, eta_bps):
    """The short way takes a print beyond the touch in integers alone, of Python or numpy."""
    price, size = (2_000_000, 2_100_000)[side > 0] + side * 10_000, 3
    for shift in (0, 1):  # at the time of the last quote, and behind it
        engine = LpiEngine(lpi_config(eta_bps=eta_bps))
        feed(engine, ("quote", START, 2_000_000, 2_100_000, 5, 5),
             ("quote", START + 1, 2_000_000, 2_100_000, 5, 5))  # fmt: skip
        before = engine.snapshot()
        for bad in ((price + 0.5, size), (float(price), size), (price, 2.5), (price, 3.0)):
            with pytest.raises(InputError, match="must be an integer"):
                feed(engine, ("trade", START + 1 + shift, *bad, side))
            assert engine.snapshot() == before, bad
        feed(engine, ("trade", START + 1 + shift, np.int64(price), np.int64(size), side))
        feed(engine, ("trade", START + 1 + shift, price, size, side))
        name = "_buy_impulse" if side > 0 else "_sell_impulse"
        assert engine.snapshot()["state"][name] == 2 * price * size


def test_a_sale_for_nothing_is_refused_before_there_is_a_quote():
    engine = LpiEngine(lpi_config())
    feed(engine, ("trade", START, 1, 5, -1))
    for price in (0, -1):
        with pytest.raises(InputError, match="price_raw must be an integer of at least 1"):
            feed(engine, ("trade", START + 1, price, 5, -1))


@pytest.mark.parametrize("use_depth", [True, False])
def test_a_quote_that_cannot_be_never_reaches_a_number(use_depth):
    """Refused at once, or by the first event that would use it, under its own name."""
    held = [(START + 1, 90.5, 110, 5, 5), (START + 1, 100, 110, 5, 1.5)]
    for row in [*spoilt(GOOD["quote"]), *held]:
        engine, clean = (LpiEngine(lpi_config(use_depth=use_depth)) for _ in range(2))
        for each in (engine, clean):
            feed(each, ("quote", START, 100, 110, 5, 5))
        before = engine.snapshot()
        try:
            feed(engine, ("quote", *row))
        except InputError:
            assert engine.snapshot() == before
            continue
        assert row[0] == START + 1
        with pytest.raises(InputError, match=f"quote at ts_ns {START + 1} must have 0 < bid"):
            feed(engine, ("trade", START + 2 * SECOND, 100, 5, 1))
        found = feed(engine, ("trade", START + 2 * SECOND, 100, 5, 1))
        assert found, "forgotten, it stops nothing"
        assert all(s.spread is None for s in found), "no quote is known since"
    engine = LpiEngine(lpi_config())
    feed(engine, ("quote", START, 100, 110, 5, 5), ("quote", START + 1, math.inf, math.inf, 5, 5))
    with pytest.raises(InputError, match=f"quote at ts_ns {START + 1}"):
        feed(engine, ("trade", START + 2, 90, 5, -1))  # infinitely far below such a bid


def test_custom_data_that_cannot_be_is_refused():
    market = random_market(15)
    rows = [row for _, row in records(market)]
    engine = LpiEngine(lpi_config())
    engine.on_custom_data(rows[5])
    with pytest.raises(InputError, match="must not go back"):
        engine.on_custom_data(dataclasses.replace(rows[5], ts_init=rows[5].ts_init - 1))
    funding = next(row for row in rows if hasattr(row, "rate"))
    endless = dataclasses.replace(funding, ts_init=rows[-1].ts_init, rate=Decimal("inf"))
    with pytest.raises(InputError, match="rate must be a finite number"):
        engine.on_custom_data(endless)
    with pytest.raises(InputError, match="notional must be a finite number"):
        engine.on_custom_data(dataclasses.replace(rows[5], notional=-rows[5].notional))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bucket_mode": "volume"}, "bucket_mode must be one of time, notional"),
        ({"eta_bps": -1.0}, "eta_bps must lie in"),
        ({"eta_bps": math.nan}, "eta_bps must lie in"),
        ({"price_increment": 0.001}, "positive multiple of"),
        ({"bucket_interval_ns": 0}, "bucket_interval_ns"),
        ({"bucket_notional": 0.0}, "bucket_notional"),
        ({"max_gap_ns": 1}, "max_gap_ns must be at least bucket_interval_ns"),
        ({"z_window_buckets": 1}, "z_window_buckets must be an integer of at least 2"),
        ({"z_min_count": 0}, "z_min_count must be an integer of at least 1"),
        ({"oi_window_rows": 1}, "oi_window_rows must be an integer of at least 2"),
        ({"z_min_count": 9}, "z_min_count must be at most oi_window_rows 8"),
        ({"price_increment": math.inf}, "price_increment must be a positive multiple of"),
        ({"price_increment": None}, "price_increment must be a positive multiple of"),
        ({"eta_bps": "5"}, "eta_bps must lie in .* .was '5'"),
        ({"lambda_ld": None}, "lambda_ld must be a number of at least 0 .was None"),
        ({"z_clip": math.inf}, "z_clip must be a finite number above 0 .was inf"),
        ({"lambda_liq": -1.0}, "lambda_liq"),
        ({"impulse_quote": "after"}, "impulse_quote"),
        ({"rv_window_buckets": 1}, "rv_window_buckets"),
    ],
)
def test_bad_configs_are_refused(changes, message):
    with pytest.raises(ParameterError, match=message):
        lpi_config(**changes)


@every_variant
def test_snapshot_restore_and_reset(changes):
    config = lpi_config(**changes)
    market = random_market(16, seconds=60.0, gaps_s=(6.0,))
    whole = replay(LpiEngine(config), market)
    first = LpiEngine(config)
    cut = START + 33 * SECOND + 500 * MS
    early = replay(first, market.until(cut))
    second = LpiEngine(config)
    replay(second, random_market(99, seconds=30.0))
    second.restore(pickle.loads(pickle.dumps(first.snapshot())))
    assert early + replay(second, after(market, cut)) == whole
    second.reset()
    assert replay(second, market) == whole
    with pytest.raises(VersionError, match="parameters"):
        LpiEngine(lpi_config(lambda_f=9.0)).restore(first.snapshot())


def test_custom_data_waiting_for_a_close_stays_bounded():
    """Hours of depth without a trade or a quote must not pile up."""
    engine = LpiEngine(lpi_config())
    feed(engine, ("quote", START, 100, 110, 5, 5))
    market = random_market(17, seconds=600.0, depth_every_s=0.5)
    for _, row in records(market):
        engine.on_custom_data(row)
    assert len(engine.snapshot()["state"]["_rows"]) < 30


def test_the_engine_keeps_the_protocol():
    assert isinstance(LpiEngine(lpi_config()), SignalEngine)
