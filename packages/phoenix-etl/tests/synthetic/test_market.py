"""What must hold exactly of every simulated market, read back from its files."""

from __future__ import annotations

import hashlib
import json
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from phoenix_etl.synthetic import SyntheticError, SyntheticMarket, write_market

SYMBOLS = ("BTCUSDT", "NEARUSDT")
BOTH_DAYS = [(symbol, day) for symbol in SYMBOLS for day in (1, 2)]
GOLDEN = Path(__file__).with_name("golden_digests.json")


def digests(market: SyntheticMarket) -> dict[str, str]:
    return {
        file.path: hashlib.sha256((market.raw_root / file.path).read_bytes()).hexdigest()
        for file in market.files
    }


def test_the_bytes_are_the_same_on_every_machine_and_python(clean) -> None:
    """Golden: CPython 3.12, NumPy 2.5, x86-64. Rewrite the file only when the model changes."""
    assert digests(clean.market) == json.loads(GOLDEN.read_text())


def test_one_day_alone_is_that_day_of_a_longer_run(clean, tmp_path: Path) -> None:
    alone = write_market(
        tmp_path / "raw", symbols=["NEARUSDT"], start=date(2024, 1, 2), days=1, seed=7,
        profile="small",
    )  # fmt: skip
    whole, part = digests(clean.market), digests(alone)
    daily = [path for path in part if "daily" in path]
    assert len(daily) == 9
    assert {path: part[path] for path in daily} == {path: whole[path] for path in daily}


def test_another_seed_is_another_market_and_archives_hold_the_same_rows(
    clean, tmp_path: Path
) -> None:
    other = write_market(
        tmp_path / "raw", symbols=["NEARUSDT"], start=date(2024, 1, 1), days=1, seed=8,
        profile="small", compress=True,
    )  # fmt: skip
    assert {Path(file.path).suffix for file in other.files} == {".zip"}
    path = other.raw_root / "futures/daily/aggTrades/NEARUSDT-aggTrades-2024-01-01.zip"
    mine, theirs = pd.read_csv(path, dtype=str), clean.text("aggTrades", "NEARUSDT")
    assert mine.columns.equals(theirs.columns)
    assert not mine.price.head(500).equals(theirs.price.head(500))


def test_the_truth_lies_beside_the_raw_root_and_counts_every_file(clean) -> None:
    market = clean.market
    assert market.truth_root == market.raw_root.parent / "raw-truth"
    found = {p.relative_to(market.raw_root).as_posix() for p in market.raw_root.rglob("*.*")}
    listed = {file["path"]: file["rows"] for file in clean.truth["files"]}
    assert found == set(listed)
    for path, rows in listed.items():
        assert (market.raw_root / path).read_bytes().count(b"\n") == rows + 1


def test_progress_counts_up_to_the_number_of_files(tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    market = write_market(
        tmp_path / "raw", symbols=["FILUSDT"], start=date(2026, 7, 1), days=1, seed=1,
        profile="small", progress=lambda *args: seen.append(args),
    )  # fmt: skip
    assert [done for done, _, _ in seen] == list(range(1, 11))
    assert {total for _, total, _ in seen} == {10}
    assert [path for _, _, path in seen] == [file.path for file in market.files]
    # In 2026 metrics label the start of their period, and book depth has twelve levels.
    folder = market.raw_root / "futures/daily"
    metrics = pd.read_csv(folder / "metrics/FILUSDT-metrics-2026-07-01.csv", dtype=str)
    assert metrics.create_time.iloc[[0, -1]].str[11:].tolist() == ["00:00:00", "23:55:00"]
    depth = pd.read_csv(folder / "bookDepth/FILUSDT-bookDepth-2026-07-01.csv", dtype=str)
    assert depth.percentage.head(12).tolist() == [
        "-5.00", "-4.00", "-3.00", "-2.00", "-1.00", "-0.20",
        "0.20", "1.00", "2.00", "3.00", "4.00", "5.00",
    ]  # fmt: skip


@pytest.mark.parametrize(("symbol", "day"), BOTH_DAYS)
def test_no_quote_is_crossed_and_none_goes_back_in_time(clean, symbol: str, day: int) -> None:
    quotes = clean.quotes(symbol, day)
    assert (quotes.bid < quotes.ask).all()
    assert (quotes[["bid_lots", "ask_lots"]] > 0).all(axis=None)
    assert (quotes.update_id.diff().dropna() > 0).all()
    assert (quotes.event_time.diff().dropna() >= 0).all()
    assert (quotes.event_time - quotes.transaction_time).between(3, 12).all()
    state = quotes[["bid", "bid_lots", "ask", "ask_lots"]]
    assert (state.diff().iloc[1:] != 0).any(axis=1).mean() > 0.999


@pytest.mark.parametrize(("symbol", "day"), BOTH_DAYS)
def test_every_aggregate_equals_its_fills(clean, symbol: str, day: int) -> None:
    agg, fills = clean.trades(symbol, day), clean.text("trades", symbol, day)
    assert (agg.agg_trade_id.diff().dropna() == 1).all()
    ids = fills["id"].astype("int64")
    assert (ids.diff().dropna() == 1).all()
    assert (agg.first_trade_id.iloc[1:].to_numpy() == agg.last_trade_id.iloc[:-1] + 1).all()
    count = (agg.last_trade_id - agg.first_trade_id + 1).to_numpy()
    owner = np.repeat(np.arange(len(agg)), count)
    tick, lot = clean.TICKS[symbol], clean.LOTS[symbol]
    lots, ticks = clean.scaled(fills.qty, lot), clean.scaled(fills.price, tick)
    quote = clean.scaled(fills.quote_qty, lot * tick)
    assert (np.bincount(owner, lots) == agg.lots).all()
    assert (lots > 0).all()
    assert (ticks == agg.ticks.to_numpy()[owner]).all()
    assert (quote == lots * ticks).all()
    assert (fills.time.astype("int64") == agg.transact_time.to_numpy()[owner]).all()
    assert ((fills.is_buyer_maker == "true") == agg.sells.to_numpy()[owner]).all()


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_ids_and_levels_go_on_through_midnight(clean, symbol: str) -> None:
    first, second = clean.trades(symbol, 1), clean.trades(symbol, 2)
    assert second.agg_trade_id.iloc[0] == first.agg_trade_id.iloc[-1] + 1
    assert second.first_trade_id.iloc[0] == first.last_trade_id.iloc[-1] + 1
    before, after = clean.quotes(symbol, 1), clean.quotes(symbol, 2)
    assert after.update_id.iloc[0] > before.update_id.iloc[-1]
    jump = np.log(after.mid.iloc[0] / before.mid.iloc[-1])
    minute = np.log(before.mid).groupby(before.event_time // 60_000).last().diff().std()
    assert abs(jump) < 3 * minute


@pytest.mark.parametrize(
    ("market", "symbol", "day"),
    [*(("clean", symbol, day) for symbol, day in BOTH_DAYS), ("damaged", "BTCUSDT", 9)],
)
def test_bars_are_their_trades_in_half_open_minutes(
    request: pytest.FixtureRequest, market: str, symbol: str, day: int
) -> None:
    read = request.getfixturevalue(market)  # the thin market has minutes without a trade
    trades, bars = read.trades(symbol, day), read.text("klines_1m", symbol, day)
    assert (bars["count"] == "0").any() == (market == "damaged")
    start = int(bars.open_time.iloc[0])
    assert bars.open_time.astype("int64").tolist() == [start + 60_000 * i for i in range(1440)]
    assert (bars.close_time.astype("int64") - bars.open_time.astype("int64") == 59_999).all()
    minute = (trades.transact_time - start) // 60_000
    grouped = trades.groupby(minute)
    rebuilt = grouped.ticks.agg(["first", "max", "min", "last"])
    rebuilt["lots"] = grouped.lots.sum()
    rebuilt["quote"] = (trades.ticks * trades.lots).groupby(minute).sum()
    rebuilt["count"] = (trades.last_trade_id - trades.first_trade_id + 1).groupby(minute).sum()
    buys = trades[~trades.sells]
    rebuilt["buys"] = buys.lots.groupby(minute).sum()
    rebuilt["buys_quote"] = (buys.ticks * buys.lots).groupby(minute).sum()
    rebuilt = rebuilt.reindex(range(1440))
    rebuilt["last"] = rebuilt["last"].ffill()
    for column in ("first", "max", "min"):  # a minute without a trade stands at the last close
        rebuilt[column] = rebuilt[column].fillna(rebuilt["last"])
    rebuilt = rebuilt.fillna(0).astype("int64")
    tick, lot = read.TICKS[symbol], read.LOTS[symbol]
    for column, source, scale in (
        ("open", "first", tick), ("high", "max", tick), ("low", "min", tick),
        ("close", "last", tick), ("volume", "lots", lot), ("quote_volume", "quote", tick * lot),
        ("count", "count", 1), ("taker_buy_volume", "buys", lot),
        ("taker_buy_quote_volume", "buys_quote", tick * lot),
    ):  # fmt: skip
        assert (read.scaled(bars[column], scale) == rebuilt[source]).all(), column


@pytest.mark.parametrize(("symbol", "day"), BOTH_DAYS)
def test_every_trade_follows_a_quote_and_starts_at_its_touch(clean, symbol: str, day: int) -> None:
    quotes, trades = clean.quotes(symbol, day), clean.trades(symbol, day)
    assert quotes.event_time.iloc[0] < trades.transact_time.iloc[0]
    first = trades[~trades.duplicated("transact_time")]
    one_sided = trades.groupby("transact_time").sells.nunique() == 1
    first = first[first.transact_time.map(one_sided)]
    joined = pd.merge_asof(
        first, quotes, left_on="transact_time", right_on="transaction_time",
        allow_exact_matches=False,
    )  # fmt: skip
    touch = np.where(joined.sells, joined.bid, joined.ask)
    # A lane of the simulation begins with a quote: a few orders meet that, in their millisecond.
    assert (touch == joined.ticks).mean() > 0.997
    worse = np.where(trades.sells, -1, 1) * trades.groupby("transact_time").ticks.diff()
    same_side = trades.groupby("transact_time").sells.transform("nunique") == 1
    assert (worse[same_side].dropna() >= 0).mean() > 0.98


def test_slow_streams_keep_their_rhythm_and_their_order(clean) -> None:
    depth = clean.text("bookDepth")
    at = pd.to_datetime(depth.timestamp)
    waits = at[::10].diff().dt.total_seconds().dropna()
    assert waits.between(20, 42).all()
    assert (at.groupby(np.arange(len(at)) // 10).nunique() == 1).all()
    levels = depth.percentage.astype(int).to_numpy().reshape(-1, 10)
    assert (levels == [-5, -4, -3, -2, -1, 1, 2, 3, 4, 5]).all()
    for column in ("depth", "notional"):
        book = depth[column].astype(float).to_numpy().reshape(-1, 10)
        assert (np.diff(book[:, :5]) < 0).all()
        assert (np.diff(book[:, 5:]) > 0).all()
    metrics = clean.text("metrics")
    assert len(metrics) == 288
    stamps = pd.to_datetime(metrics.create_time)
    assert (stamps.diff().dropna() == pd.Timedelta(minutes=5)).all()
    assert metrics.create_time.iloc[[0, -1]].tolist() == [
        "2024-01-01 00:05:00", "2024-01-02 00:00:00",
    ]  # fmt: skip
    trades = clean.trades()
    period = (
        trades.transact_time - trades.transact_time.iloc[0] // 86_400_000 * 86_400_000
    ) // 300_000
    bought, sold = (
        trades[trades.sells == sells].lots.groupby(period).sum().reindex(range(288), fill_value=0)
        for sells in (False, True)
    )
    ratio = metrics.sum_taker_long_short_vol_ratio.astype(float)
    assert np.allclose(ratio, bought / sold, atol=1e-6)


def test_funding_stands_on_its_boundaries_a_little_late(clean) -> None:
    path = clean.market.raw_root / "futures/monthly/fundingRate/BTCUSDT-fundingRate-2024-01.csv"
    funding = pd.read_csv(path, dtype=str)
    late = funding.calc_time.astype("int64") - (1_704_067_200_000 + 28_800_000 * np.arange(93))
    assert late.between(0, 13).all()
    assert (funding.funding_interval_hours == "8").all()
    premium = clean.path().premium.to_numpy()
    for k in (1, 2):  # settled from the eight hours before
        mean = premium[480 * (k - 1) : 480 * k].mean()
        rate = mean + np.clip(0.0001 - mean, -0.0005, 0.0005)
        assert float(funding.last_funding_rate[k]) == pytest.approx(rate, abs=1e-8)


def test_mark_index_and_premium_agree(clean) -> None:
    mark, index, premium, traded = (
        clean.text(name)[["open", "high", "low", "close"]].astype(float)
        for name in ("markPriceKlines", "indexPriceKlines", "premiumIndexKlines", "klines_1m")
    )
    for bars in (mark, index, premium):
        assert (bars.high >= bars[["open", "close"]].max(axis=1)).all()
        assert (bars.low <= bars[["open", "close"]].min(axis=1)).all()
    assert np.abs(np.log(mark.close / traded.close)).median() < 3e-4
    basis = mark.close / index.close - 1.0
    assert np.corrcoef(basis, premium.close)[0, 1] > 0.9


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"symbols": ["DOGEUSDT"]}, "symbol must be listed"),
        ({"symbols": []}, "symbols must be named"),
        ({"symbols": ["BTCUSDT", "BTCUSDT"]}, "symbols must be named"),
        ({"days": 0}, "days must be at least 1"),
        ({"profile": "huge"}, "profile must be one of"),
        ({"start": date(1999, 1, 1)}, "day must lie from"),
        ({"profile": "defects"}, "days must be at least 9"),
        ({"profile": "defects", "days": 9, "compress": True}, "compress must be off"),
        ({"profile": "defects", "days": 9, "start": date(2026, 2, 1)}, "days must end before"),
    ],
)
def test_what_cannot_be_simulated_is_refused(tmp_path: Path, wrong: dict, said: str) -> None:
    asked = {
        "symbols": ["BTCUSDT"], "start": date(2024, 1, 1), "days": 1, "seed": 1, "profile": "small",
    }  # fmt: skip
    with pytest.raises(SyntheticError, match=said):
        write_market(tmp_path / "raw", **(asked | wrong))
    assert not list(tmp_path.iterdir())


def test_a_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("a\n")
    with pytest.raises(SyntheticError, match="out must be a new or empty folder"):
        write_market(
            tmp_path, symbols=["BTCUSDT"], start=date(2024, 1, 1), days=1, seed=1, profile="small"
        )
    assert [path.name for path in tmp_path.iterdir()] == ["mine.csv"]
