"""What makes the simulated market believable, and what makes it worth studying.

Bounds are wide on purpose: they hold for the seed of the fixtures and would hold for almost any.
"""

from __future__ import annotations

import itertools
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from phoenix_etl.synthetic import latent
from phoenix_etl.synthetic.listing import LISTINGS, listing
from phoenix_etl.synthetic.story import Story, Volume

SYMBOLS = ("BTCUSDT", "NEARUSDT")
NS = 10**9


def log_mid(quotes: pd.DataFrame, seconds: int) -> pd.Series:
    """Log mid at the end of each interval, by the time at which it was known."""
    last = np.log(quotes.mid).groupby(quotes.event_time // (1000 * seconds)).last()
    return last.reindex(range(last.index[0], last.index[-1] + 1)).ffill()


def inside(times_ns: pd.Series, episodes: list[dict], after_s: float = 0.0) -> np.ndarray:
    hit = np.zeros(len(times_ns), dtype=bool)
    for e in episodes:
        hit |= times_ns.between(e["start_ns"], e["end_ns"] + int(after_s * NS)).to_numpy()
    return hit


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_realized_variance_is_the_true_one_within_sampling_error(clean, symbol: str) -> None:
    path = clean.path(symbol)
    calm = ~inside(path.time, list(clean.episodes("cascade", symbol)), 900.0)
    calm &= ~inside(path.time, list(clean.episodes("decoy", symbol)), 60.0)
    calm &= ~inside(path.time + 60 * NS, list(clean.episodes("jump", symbol)), 60.0)
    mid = pd.concat([log_mid(clean.quotes(symbol, day), 60) for day in (1, 2)])
    squares = mid.diff().pow(2).reindex(path.time // (60 * NS)).to_numpy()
    use = calm & ~np.isnan(squares)
    ratio = squares[use].sum() / path.integrated_variance[use].sum()
    error = np.sqrt(2.0 * (path.integrated_variance[use] ** 2).sum())
    assert abs(ratio - 1.0) < 4.0 * error / path.integrated_variance[use].sum() + 0.05


def test_the_latent_path_has_the_variance_that_truth_says() -> None:
    story = Story(listing("ETHUSDT"), seed=5, volume=Volume(1000, 4000))
    squares = variance = 0.0
    for k in range(5):
        day = story.day(date(2024, 3, 1) + timedelta(days=k))
        state = latent.simulate(listing("ETHUSDT"), day, 5)
        moves = np.diff(state.log_value)
        quiet = np.abs(moves) < 8 * state.sigma  # without jumps
        squares += (moves[quiet] ** 2).sum()
        variance += (state.sigma[quiet] ** 2).sum()
    assert squares / variance == pytest.approx(1.0, abs=0.02)


def test_days_join_exactly_and_levels_stay_plausible() -> None:
    for symbol, listed in LISTINGS.items():
        story = Story(listed, seed=11, volume=Volume(1000, 4000))
        days = story.days(date(2024, 1, 1), 3)
        paths = [latent.simulate(listed, day, 11) for day in days]
        for day, path, after in zip(days, paths, days[1:], strict=False):
            assert path.log_value[0] == day.log_open
            # What a cascade has still to give back at midnight is less than a thousandth of a bp.
            assert path.log_value[-1] == pytest.approx(after.log_open, abs=1e-5), symbol
        for one, two in itertools.pairwise(paths):
            assert one.log_interest[-1] == pytest.approx(two.log_interest[0], abs=1e-12)
            assert one.premium[-1] == pytest.approx(two.premium[0], abs=1e-12)
        year = [day.log_open for day in story.days(date(2024, 1, 1), 366)]
        assert max(abs(level) for level in year) < 3.0
        assert np.diff(year).std() == pytest.approx(listed.daily_volatility, rel=0.35)


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_the_spread_is_mostly_one_tick_and_queues_are_heavy_tailed(clean, symbol: str) -> None:
    quotes = clean.quotes(symbol)
    held = quotes.event_time.diff().shift(-1).fillna(0)
    one = held[quotes.ask - quotes.bid == 1].sum() / held.sum()
    assert one > 0.95
    lots = quotes.bid_lots
    assert lots.quantile(0.99) > 8 * lots.median()
    # ... and mean-reverting: a long queue is on average shorter a while later.
    later = lots.shift(-200) - lots
    assert later[lots > lots.quantile(0.9)].mean() < 0 < later[lots < lots.quantile(0.1)].mean()


def test_the_spread_widens_in_cascades(clean) -> None:
    quotes = clean.quotes()
    hit = inside(quotes.event_time * 10**6, list(clean.episodes("cascade")))
    spread = quotes.ask - quotes.bid
    assert spread[hit].mean() > 3 * spread[~hit].mean()


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_signs_have_long_memory_and_arrivals_cluster(clean, symbol: str) -> None:
    trades = clean.trades(symbol)
    orders = trades.drop_duplicates("transact_time")
    sign = np.where(orders.sells, -1.0, 1.0)
    acf = [np.corrcoef(sign[:-lag], sign[lag:])[0, 1] for lag in (1, 5, 20)]
    assert acf[0] > 0.1
    assert acf[0] > acf[1] > acf[2] > 0.0
    counts = np.bincount((orders.transact_time - orders.transact_time.iloc[0]) // 1000)
    assert counts.var() > 2 * counts.mean()  # Poisson: equal
    quotes = clean.quotes(symbol)
    assert (quotes.transaction_time.diff() == 0).mean() > 0.15


def test_volatility_clusters(clean) -> None:
    size = log_mid(clean.quotes(), 60).diff().abs().dropna()
    assert np.mean([size.autocorr(lag) for lag in (1, 2, 3, 5, 10)]) > 0.05


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_order_flow_and_imbalance_explain_mid_moves_a_little(clean, symbol: str) -> None:
    quotes = clean.quotes(symbol)
    up, down = quotes.bid.diff(), quotes.ask.diff()
    bid_in = quotes.bid_lots.where(up >= 0, 0) - quotes.bid_lots.shift().where(up <= 0, 0)
    ask_in = quotes.ask_lots.where(down <= 0, 0) - quotes.ask_lots.shift().where(down >= 0, 0)
    minute = quotes.event_time // 60_000
    flow = (bid_in - ask_in).groupby(minute).sum()
    move = log_mid(quotes, 60).diff()
    assert 0.2 < flow.corr(move) < 0.95
    # The next change of the mid leans to the side of the longer queue, but not by much.
    imbalance = (quotes.bid_lots - quotes.ask_lots) / (quotes.bid_lots + quotes.ask_lots)
    following = quotes.mid.where(quotes.mid.diff() != 0).shift(-1).bfill() - quotes.mid
    rises = (following > 0)[following != 0]
    heavy, light = rises[imbalance > 0.5].mean(), rises[imbalance < -0.5].mean()
    assert 0.53 < heavy < 0.8
    assert 0.2 < light < 0.47


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_prints_far_from_the_touch_belong_to_cascades(clean, symbol: str) -> None:
    quotes, trades = clean.quotes(symbol), clean.trades(symbol)
    joined = pd.merge_asof(
        trades, quotes, left_on="transact_time", right_on="transaction_time",
        allow_exact_matches=False,
    )  # fmt: skip
    touch = np.where(joined.sells, joined.bid, joined.ask)
    side = np.where(joined.sells, -1, 1)
    bps = side * (joined.ticks - touch) / touch * 1e4
    cascade = inside(trades.transact_time * 10**6, list(clean.episodes("cascade", symbol)))
    # Of a symbol whose tick is 3 bps, two orders in one millisecond make 5 bps now and then.
    assert (bps[~cascade] > 5).mean() < 0.003
    assert (bps[cascade] > 5).mean() > 0.02
    assert bps.max() < 60
    forced = set(pd.read_parquet(clean.market.truth_root / f"{symbol}-forced.parquet").agg_trade_id)
    is_forced = trades.agg_trade_id.isin(forced)
    assert is_forced[cascade].mean() > 0.3
    assert not is_forced[~cascade].any()


def test_cascades_show_in_every_stream_and_decoys_do_not() -> None:
    """Over many days of latent state: what precedes, marks and follows, against the decoys."""
    story = Story(listing("BTCUSDT"), seed=3, volume=Volume(1000, 4000))
    cascades, decoys = [], {"volume": [], "news": [], "thin": []}
    for day in story.days(date(2024, 5, 1), 12):
        state = latent.simulate(listing("BTCUSDT"), day, 3)

        def facts(at: float, end: float, state: latent.Latent = state) -> dict[str, float]:
            before, during = slice(int(at) - 600, int(at)), slice(int(at) + 5, int(end) + 1)
            minute, over = int(at) // 60, int(end) // 60 + 2
            return {
                "rate": state.rate[during].mean() / state.rate[before].mean(),
                "depth": state.depth[during].mean() / state.depth[before].mean(),
                "interest": state.log_interest[over] - state.log_interest[minute],
                "forced": state.forced[during].mean(),
                "premium": state.premium[minute],
                "move": state.log_value[int(end) + 1] - state.log_value[int(at)],
                "back": state.log_value[min(int(end) + 1500, 86_400)]
                - state.log_value[int(end) + 1],
            }

        for cascade in day.cascades:
            found = facts(cascade.start, cascade.start + cascade.duration)
            cascades.append(found | {"side": cascade.side})
        for decoy in day.decoys:
            decoys[decoy.kind].append(facts(decoy.start, decoy.start + decoy.duration))
    seen = pd.DataFrame(cascades)
    assert len(seen) >= 12
    assert {-1, 1} == set(seen.side)
    assert (seen.rate > 2.5).all()
    assert (seen.depth < 0.55).all()
    assert (seen.interest < -0.01).all()
    assert (seen.side * seen.move > 0.001).mean() > 0.8
    assert (seen.side * seen.forced > 0.15).all()
    assert (seen.side * seen.back).mean() < -0.0005
    assert (seen.side * (seen.premium - 0.00008)).mean() < -0.0001
    others = {kind: pd.DataFrame(rows) for kind, rows in decoys.items()}
    assert all(len(rows) for rows in others.values())
    for rows in others.values():
        assert (rows.forced == 0.0).all()
        assert (rows.interest > -0.006).all()
    assert (others["volume"].rate > 2.0).all()
    assert (others["volume"].depth > 0.7).all()
    assert (others["thin"].depth < 0.6).all()
    assert (others["thin"].rate < 2.0).all()
    assert (others["news"].interest > 0.003).all()


def test_open_interest_falls_and_depth_thins_in_the_files(clean) -> None:
    metrics, depth = clean.text("metrics"), clean.text("bookDepth")
    interest = metrics.sum_open_interest.astype(float)
    ends = pd.to_datetime(metrics.create_time)
    first = depth[depth.percentage.isin(["-1", "1"])]
    lots = first.depth.astype(float).groupby(first.timestamp).sum()
    lots.index = pd.to_datetime(lots.index)
    start = pd.Timestamp("2024-01-02")
    for cascade in clean.episodes("cascade"):
        begin, end = (pd.Timestamp(cascade[key]) for key in ("start_ns", "end_ns"))
        if begin >= start:
            continue
        before = interest[ends <= begin].iloc[-1]
        after = interest[ends >= end].iloc[0]
        assert after / before < 0.99
        thin = lots[(lots.index > begin + (end - begin) / 2) & (lots.index < end)]
        usual = lots[(lots.index < begin) & (lots.index > begin - pd.Timedelta(minutes=30))]
        assert thin.min() < 0.5 * usual.mean()


def test_symbols_share_a_common_factor(clean) -> None:
    moves = [
        pd.concat([log_mid(clean.quotes(symbol, day), 300).diff() for day in (1, 2)])
        for symbol in SYMBOLS
    ]
    correlation = pd.concat(moves, axis=1).corr().iloc[0, 1]
    assert 0.35 < correlation < 0.9  # 0.92 * 0.68, less what each does alone


def test_a_moving_average_cross_earns_nothing_before_fees() -> None:
    """No free lunch: 20 days of minutes; an edge of a taker's fee would be 4 bps per trade."""
    story = Story(listing("BTCUSDT"), seed=9, volume=Volume(1000, 4000))
    price = np.concatenate(
        [
            latent.simulate(listing("BTCUSDT"), day, 9).log_value[:-1:60]
            for day in story.days(date(2024, 2, 1), 20)
        ]
    )
    fast, slow = (pd.Series(price).ewm(span=span, adjust=False).mean() for span in (10, 20))
    position = np.sign(fast - slow).to_numpy()[:-1]
    gains = position * np.diff(price)
    per_day = gains[: 1440 * 19].reshape(19, 1440).sum(axis=1)
    trades = (np.diff(position) != 0).sum()
    assert abs(gains.sum() * 1e4 / trades) < 2.0
    assert abs(per_day.mean() / per_day.std() * np.sqrt(19)) < 4.0
