"""The numbers of docs/signals-measured.md, found again on the real data."""

from __future__ import annotations

import numpy as np
import pytest
import real_market
from phoenix_signals import batch
from phoenix_signals.engines import BarLpiConfig, LpiConfig

pytestmark = pytest.mark.real_data
SECOND = 1_000_000_000


def snapshots(year, seconds, eta_bps):
    quotes, trades = real_market.capture(year)
    config = LpiConfig(
        price_precision=2, size_precision=3, price_increment=0.1, eta_bps=eta_bps,
        use_depth=False, use_open_interest=False, bucket_interval_ns=seconds * SECOND,
    )  # fmt: skip
    table = batch.lpi_engine(
        batch.Trades(trades.ts_ns, trades.price_raw, trades.size_raw, trades.side),
        batch.Quotes(
            quotes.ts_ns, quotes.bid_raw, quotes.ask_raw, quotes.bid_size_raw, quotes.ask_size_raw
        ),
        config=config,
    )
    return table.to_pandas()


@pytest.mark.parametrize(
    ("year", "seconds", "shares"),
    [
        ("2023", 1, (0.78, 0.99, 1.0)), ("2023", 10, (0.12, 0.86, 1.0)),
        ("2024", 1, (0.78, 0.98, 1.0)), ("2024", 10, (0.31, 0.85, 1.0)),
    ],
)  # fmt: skip
def test_share_of_buckets_without_an_impulse(year, seconds, shares):
    for eta_bps, share in zip((0.0, 1.0, 5.0), shares, strict=True):
        found = snapshots(year, seconds, eta_bps)["zero_impulse_share"].iloc[-1]
        assert found == pytest.approx(share, abs=0.005)


@pytest.mark.parametrize(("eta_bps", "passes"), [(0.0, 136), (1.0, 15), (5.0, 0)])
def test_lpi_fast_passes_its_threshold(eta_bps, passes):
    lpi = np.concatenate([snapshots(year, 1, eta_bps)["lpi_fast"] for year in ("2023", "2024")])
    assert np.isfinite(lpi).sum() == 936
    assert (np.abs(lpi) >= 2.0).sum() == passes


def test_exhaustion_passes_its_thresholds():
    exh = np.concatenate([snapshots(year, 1, 0.0)["exh"] for year in ("2023", "2024")])
    assert (np.isfinite(exh).sum(), (exh > 0.5).sum(), (exh < -0.5).sum()) == (876, 20, 165)


def bar_lpi(year):
    """Bar LPI on bars of a second, of which the captures hold enough, with the quoted sizes."""
    quotes, trades = real_market.capture(year)
    second = trades.ts_ns // SECOND
    first = np.flatnonzero(np.diff(second, prepend=-1))
    price = trades.price_raw
    bars = batch.Bars(
        (second[first] + 1) * SECOND - 1, price[first], np.maximum.reduceat(price, first),
        np.minimum.reduceat(price, first), price[np.append(first[1:], len(price)) - 1],
        np.add.reduceat(trades.size_raw, first),
    )  # fmt: skip
    config = BarLpiConfig(price_precision=2, size_precision=3, price_increment=0.1)
    columns = (quotes.ts_ns, quotes.bid_raw, quotes.ask_raw, quotes.bid_size_raw)
    table = batch.bar_lpi_engine(bars, batch.Quotes(*columns, quotes.ask_size_raw), config=config)
    return table.to_pandas()["lpi"].to_numpy()


def test_bar_lpi_passes_its_threshold():
    lpi = np.concatenate([bar_lpi(year) for year in ("2023", "2024")])
    valid = lpi[np.isfinite(lpi)]
    assert (len(valid), (np.abs(valid) >= 1.0).sum()) == (911, 164)
    assert (valid == 0.0).mean() == pytest.approx(0.5, abs=0.05)


def test_composite_lpi_without_depletion_stays_below_the_published_threshold():
    trades = real_market.spot_day()
    buckets = batch.notional_clock(
        trades.ts_ns, trades.price_raw, trades.size_raw, trades.side, bucket_raw=10**13
    )
    fsi = batch.fsi(buckets.buy_raw, buckets.sell_raw)
    one_sided = np.abs(buckets.buy_raw - buckets.sell_raw) / (buckets.buy_raw + buckets.sell_raw)
    for ldr, above in ((1.0, 0.057), (0.9, 0.088)):
        lpi = batch.composite_lpi(fsi, one_sided, np.full(len(fsi), ldr))
        valid = lpi[np.isfinite(lpi)]
        assert len(valid) == 1_108
        assert (valid >= 0.60).mean() == pytest.approx(above, abs=0.001)
        assert (valid >= 0.75).sum() == 0
        assert valid.max() < 0.7 + 0.3 * (1 - ldr)


def test_depth_seldom_thins_between_snapshots():
    table = real_market.book_depth()
    ldr = batch.ldr(*(table[n].to_numpy() for n in ("ts_ns", "percentage", "notional")))[9::10]
    assert (ldr < 0.9).mean() == pytest.approx(0.016, abs=0.001)
    assert (ldr < 0.75).mean() == pytest.approx(0.003, abs=0.0005)
    assert np.median(ldr) == pytest.approx(1.0, abs=0.005)
