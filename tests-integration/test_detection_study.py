"""Do the pressure indices find what the simulated market hides? Cascades are labelled, so we know.

Four simulated days go through the whole way: dump files, catalog, columns, batch engines. A bucket is
positive when a cascade overlaps it; the ten minutes behind a cascade belong to neither class. Rank is
the size of the index, AUC the chance that a cascade bucket ranks above another one.

The floors are reasoned, not tuned: each is what something simpler than the index reaches (chance, volume,
the mere fact of a print), with the standard errors that the counts give; its derivation stands in the
test. Those errors are of independent buckets. The some seven buckets of one cascade are not: if they were
all alike, errors would be sqrt(7) times as large, so against chance five are asked for, nearly two of the
larger kind. The table is printed with `-s`, and the numbers of this seed stand in
docs/signals-measured.md.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from phoenix_etl.config import EtlConfig
from phoenix_etl.pipeline import ingest
from phoenix_etl.synthetic import write_market
from phoenix_signals import batch
from phoenix_signals.engines import BarLpiConfig, CompositeLpiConfig, LpiConfig

BTC = "BTCUSDT-PERP.BINANCE"
SECOND = 10**9
AFTERMATH = 600 * SECOND


@dataclass(frozen=True)
class Days:
    """Columns of the simulated days, and what was hidden in them."""

    trades: batch.Trades
    quotes: batch.Quotes
    depth: batch.Depth
    metrics: batch.Metrics
    funding: batch.Funding
    bars: batch.Bars
    episodes: list[dict]

    def overlap(self, start, end, kind: str, side: str | None = None, *, after: int = 0):
        """Buckets (start, end] that meet an episode, or the time `after` it."""
        hit = np.zeros(len(start), dtype=bool)
        for e in self.episodes:
            if e["kind"] == kind and (side is None or e["side"] == side):
                hit |= (start < e["end_ns"] + after) & (end > e["start_ns"])
        return hit


@pytest.fixture(scope="module")
def days(tmp_path_factory) -> Days:
    root = tmp_path_factory.mktemp("study")
    write_market(
        root / "raw", symbols=["BTCUSDT"], start=date(2024, 1, 1), days=4, seed=7, profile="small"
    )
    config = EtlConfig(
        raw_roots=[str(root / "raw")], catalog_path=str(root / "catalog"), symbols=["BTCUSDT"],
        datasets=["aggTrades", "bookTicker", "bookDepth", "metrics", "fundingRate", "klines"],
        ingest_workers=1,
    )  # fmt: skip
    assert ingest(config).failed == {}
    data = root / "catalog" / "data"

    def read(folder: str) -> pa.Table:
        return pq.read_table(data / folder)

    return Days(
        batch.Trades.from_catalog(read(f"trades/{BTC}"), 2, 3),
        batch.Quotes.from_catalog(read(f"quotes/{BTC}"), 2, 3),
        batch.Depth.from_catalog(read(f"custom/BinanceBookDepthPct/{BTC}")),
        batch.Metrics.from_catalog(read(f"custom/BinanceOiMetrics/{BTC}")),
        batch.Funding.from_catalog(read(f"custom/BinanceFundingRate/{BTC}")),
        batch.Bars.from_catalog(read(f"bars/{BTC}-1-MINUTE-LAST-EXTERNAL"), 2, 3),
        json.loads((root / "raw-truth" / "truth.json").read_text("utf-8"))["episodes"],
    )


def places(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Share of the negatives that each positive ranks above, ties counting half; the mean is the AUC."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, "left")
    upto = np.searchsorted(ordered, positive, "right")
    return (below + upto) / 2 / len(negative)


def error(positive: int, negative: int) -> float:
    """Standard error of the AUC of a ranking that knows nothing."""
    return math.sqrt((positive + negative + 1) / (12 * positive * negative))


def column(table: pa.Table, name: str) -> np.ndarray:
    return table[name].cast(pa.float64()).to_numpy()


@dataclass(frozen=True)
class Ranking:
    """Scores of an index by bucket, and which buckets are cascades, decoys and neither."""

    start: np.ndarray
    end: np.ndarray
    score: np.ndarray
    cascade: np.ndarray
    decoy: np.ndarray
    rest: np.ndarray

    @property
    def places(self) -> np.ndarray:
        return places(self.score[self.cascade], self.score[self.rest])

    @property
    def auc(self) -> float:
        return float(self.places.mean())

    @property
    def auc_decoys(self) -> float:
        return float(places(self.score[self.cascade], self.score[self.decoy]).mean())

    @property
    def noise(self) -> float:
        return error(int(self.cascade.sum()), int(self.rest.sum()))


def ranking(days: Days, end, score, width: int | None = None, side: str | None = None) -> Ranking:
    start = end - width if width else np.append(end[:1], end[:-1])
    known = ~np.isnan(score)
    any_cascade = days.overlap(start, end, "cascade", after=AFTERMATH)
    cascade = days.overlap(start, end, "cascade", side)
    decoy = days.overlap(start, end, "decoy") & ~any_cascade
    return Ranking(start, end, score, known & cascade, known & decoy, known & ~any_cascade)


def lpi_table(days: Days, **changes) -> pa.Table:
    base = {"price_precision": 2, "size_precision": 3, "price_increment": 0.1, "lambda_f": 0.0}
    config = LpiConfig(**(base | changes))
    return batch.lpi_engine(
        days.trades, days.quotes, days.depth, days.metrics, days.funding, config=config
    )


def lpi_ranking(days: Days, *, use_oi: bool = False, **changes) -> tuple[Ranking, pa.Table]:
    """|LPI fast| per 10 s; with `use_oi` only where LEV, here Z(open interest), is above 0."""
    table = lpi_table(days, **changes)
    score = np.abs(column(table, "lpi_fast"))
    if use_oi:
        lev = column(table, "lev")
        score = np.where(np.isnan(lev), np.nan, np.where(lev > 0.0, score, 0.0))
    end = table["ts_event"].cast(pa.int64()).to_numpy()
    return ranking(days, end, score, 10 * SECOND), table


def traded(days: Days, end, width: int) -> np.ndarray:
    """Notional that was traded in each bucket, in quote currency."""
    running = np.append(0, np.cumsum(days.trades.price_raw * days.trades.size_raw))
    stop, start = (np.searchsorted(days.trades.ts_ns, t) for t in (end, end - width))
    return (running[stop] - running[start]) / 1e5


def told(what: str, found: Ranking) -> str:
    counts = f"{found.cascade.sum()} cascade, {found.decoy.sum()} decoy buckets"
    return f"{what:<36} AUC {found.auc:.3f}, against decoys {found.auc_decoys:.3f} ({counts})"


@pytest.mark.parametrize("use_depth", [True, False], ids=["depth", "spread"])
def test_lpi_fast_ranks_cascades_first(days, use_depth):
    """At eta 0: far from chance, and unlike volume not taken in by decoys.

    Chance has an AUC of 0.5 with a standard error that the counts give; five of them is the floor, and
    there must be enough cascades for it to lie in the lower half of what is better than chance.
    Decoys are bursts of volume and thin books without forced prints: a ranking by traded notional
    cannot tell them from cascades well, an index of prints beyond the touch must do better, by more
    than the standard error.

    Where the index is loud, its sign names the side that is forced. With a share p of cascade buckets
    that are loud and q of the others, ordinary noise makes at most q / p of the loud cascade buckets
    loud, and its sign is wrong half of the time: q / 2p, and two standard errors for the few there are.
    That must be far from a coin, or the sign would say nothing.
    """
    found, table = lpi_ranking(days, eta_bps=0.0, use_depth=use_depth)
    notional = traded(days, found.end, 10 * SECOND)
    volume = ranking(
        days, found.end, np.where(np.isnan(found.score), np.nan, notional), 10 * SECOND
    )
    print(told(f"LPI fast, eta 0, {'depth' if use_depth else 'spread'}", found))
    print(told("traded notional", volume))
    assert 5 * found.noise < 0.25
    assert found.auc > 0.5 + 5 * found.noise
    assert found.auc_decoys > volume.auc_decoys + error(found.cascade.sum(), found.decoy.sum())
    lpi = column(table, "lpi_fast")
    is_loud = found.score > 2.0
    p, q = (float(np.mean(is_loud[part])) for part in (found.cascade, found.rest))
    loud = found.cascade & is_loud
    sells = days.overlap(found.start, found.end, "cascade", "sell")
    noise = q / p / 2
    allowed = noise + 2 * math.sqrt(noise * (1 - noise) / loud.sum())
    assert allowed < 0.5 - 2 * math.sqrt(0.25 / loud.sum())
    assert np.mean((lpi[loud] > 0) != sells[loud]) <= allowed


@pytest.mark.parametrize("use_depth", [True, False], ids=["depth", "spread"])
def test_lpi_fast_at_5_bps_knows_at_least_whether_anything_printed(days, use_depth):
    """At eta 5 nearly all buckets score 0: the floor is what the mere fact of a print would reach.

    With a share p of cascade buckets and q of the others that hold a print beyond 5 bps, a yes or
    no ranks with AUC 1/2 + (p - q) / 2, which must itself be five errors from chance: forced orders
    reach 5 to 40 bps, no other sweep more than 3. The size of the index then ranks the p q pairs in
    which both print; a coin would leave the AUC as it is, with its standard error for so few.
    """
    found, table = lpi_ranking(days, eta_bps=5.0, use_depth=use_depth)
    p_z = np.abs(column(table, "pressure_z"))
    prints, others = (int(np.sum(p_z[part] > 0)) for part in (found.cascade, found.rest))
    p, q = prints / found.cascade.sum(), others / found.rest.sum()
    print(told(f"LPI fast, eta 5, {'depth' if use_depth else 'spread'}", found))
    assert (p - q) / 2 > 5 * found.noise
    coin = error(prints, others) if others else 0.0
    assert found.auc >= 0.5 + (p - q) / 2 - p * q * coin


@pytest.mark.parametrize("eta_bps", [0.0, 5.0])
def test_open_interest_as_a_filter_costs_recall(days, eta_bps):
    """LEV only ever filters: whatever it refuses ranks last, and cascades close positions.

    It costs more than sampling error would explain, but no more than its refusals do: if it lets
    pass a share k of the cascade buckets and r of the others, whatever their LPI, then a pair of which
    both pass ranks as before, one that passes ranks above one that does not, and two that do not are
    a coin: k r AUC + k (1 - r) + (1 - k)(1 - r) / 2, less its standard error.
    """
    free, _ = lpi_ranking(days, eta_bps=eta_bps)
    kept, table = lpi_ranking(days, eta_bps=eta_bps, use_oi=True)
    print(told(f"LPI fast, eta {eta_bps:g}, depth, LEV > 0", kept))
    passes = column(table, "lev") > 0.0
    k, r = (float(np.mean(passes[part])) for part in (kept.cascade, kept.rest))
    assert kept.auc < free.auc - kept.noise
    assert kept.auc > k * r * free.auc + k * (1 - r) + (1 - k) * (1 - r) / 2 - kept.noise


def test_composite_lpi_ranks_forced_selling_first(days):
    """Against chance by five errors, and better than without its depth: that does thin in a cascade.

    Both rank the same buckets, so the gain is that of each cascade bucket's place; its mean must be
    more than its own standard error.
    """
    config = CompositeLpiConfig(price_precision=2, size_precision=3)
    table = batch.composite_lpi_engine(days.trades, days.depth, days.metrics, config=config)
    end = table["ts_event"].cast(pa.int64()).to_numpy()
    lpi = column(table, "lpi")
    found = ranking(days, end, lpi, side="sell")
    oi = column(table, "oi_zscore")
    gated = np.where(np.isnan(oi), np.nan, np.where(oi > 0.0, lpi, 0.0))
    forced = ranking(days, end, np.where(np.isnan(lpi), np.nan, column(table, "fsi")), side="sell")
    still = dataclasses.replace(
        days.depth, notional=np.ones(len(days.depth))
    )  # LDR is 1 throughout
    flat = batch.composite_lpi_engine(days.trades, still, days.metrics, config=config)
    without_depth = ranking(days, end, column(flat, "lpi"), side="sell")
    print(told("composite LPI", found))
    print(told("composite LPI, open interest z > 0", ranking(days, end, gated, side="sell")))
    print(told("composite LPI without its depth", without_depth))
    print(told("its FSI alone", forced))
    assert found.auc > 0.5 + 5 * found.noise
    gain = found.places - without_depth.places
    assert gain.mean() > gain.std(ddof=1) / math.sqrt(len(gain))
    # Without depth the index must fall silent, not go on without its term.
    silent = batch.composite_lpi_engine(days.trades, None, days.metrics, config=config)
    assert silent["lpi"].null_count == len(silent)


@pytest.mark.parametrize("imbalance", ["l1", "depth_pct"])
def test_bar_lpi_ranks_the_bars_of_a_cascade_above_the_quiet_half(days, imbalance):
    """Not a detector of cascades; but they trade much, and quiet bars score 0.

    A share z of all bars has no more than the median volume of its window and so scores exactly 0:
    half of them, by the definition of a median, within two standard errors if each window of 60 bars
    counts once. Bars of a cascade lie above them; if they were nothing special among the rest, the
    AUC would be z + (1 - z) / 2. One standard error is allowed for the few bars there are.
    """
    config = BarLpiConfig(
        price_precision=2, size_precision=3, price_increment=0.1, imbalance=imbalance
    )
    table = batch.bar_lpi_engine(days.bars, days.quotes, days.depth, config=config)
    end = table["ts_event"].cast(pa.int64()).to_numpy()
    found = ranking(days, end, np.abs(column(table, "lpi")), 60 * SECOND)
    print(told(f"bar LPI, {imbalance}", found))
    quiet = float(np.mean(found.score[found.rest] == 0.0))
    assert abs(quiet - 0.5) < 2 * math.sqrt(0.25 / (found.rest.sum() / config.lookback_bars))
    assert found.auc > quiet + (1 - quiet) / 2 - found.noise


def test_labels_in_the_wrong_place_find_nothing(days):
    """The control: the same study with every cascade moved by five hours must see chance.

    Within five standard errors, as the floors are beyond it by five: none of them can be met by luck.
    """
    moved = [
        {
            **e,
            "start_ns": e["start_ns"] + 5 * 3600 * SECOND,
            "end_ns": e["end_ns"] + 5 * 3600 * SECOND,
        }
        for e in days.episodes
    ]
    found, _ = lpi_ranking(dataclasses.replace(days, episodes=moved))
    assert abs(found.auc - 0.5) < 5 * found.noise
