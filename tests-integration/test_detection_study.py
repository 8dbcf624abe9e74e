"""Do the pressure indices find what the simulated market hides? Cascades are labelled, so we know.

Four simulated days go through the whole way: dump files, catalog, columns, batch engines. A bucket is
positive when a cascade overlaps it; the ten minutes behind a cascade belong to neither class. Rank is
the size of the index, AUC the chance that a cascade bucket ranks above another one.

The floors are reasoned, not tuned (see each test); the table is printed with `-s`, and the numbers of
this seed stand in docs/signals-measured.md.
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


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Chance that a positive ranks above a negative, ties counting half."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, "left")
    upto = np.searchsorted(ordered, positive, "right")
    return float(((below + upto) / 2).mean() / len(negative))


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
    def auc(self) -> float:
        return auc(self.score[self.cascade], self.score[self.rest])

    @property
    def auc_decoys(self) -> float:
        return auc(self.score[self.cascade], self.score[self.decoy])

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

    Chance has an AUC of 0.5 with a standard error that the counts give; five of them is the floor.
    Decoys are bursts of volume and thin books without forced prints: a ranking by traded notional
    cannot tell them from cascades well, an index of prints beyond the touch must do better.
    """
    found, table = lpi_ranking(days, eta_bps=0.0, use_depth=use_depth)
    notional = traded(days, found.end, 10 * SECOND)
    volume = ranking(
        days, found.end, np.where(np.isnan(found.score), np.nan, notional), 10 * SECOND
    )
    print(told(f"LPI fast, eta 0, {'depth' if use_depth else 'spread'}", found))
    print(told("traded notional", volume))
    assert found.cascade.sum() > 40
    assert found.auc > 0.5 + 5 * found.noise
    assert found.auc_decoys > volume.auc_decoys + error(found.cascade.sum(), found.decoy.sum())
    # Where the index is loud, its sign names the side that is forced.
    lpi = column(table, "lpi_fast")
    loud = found.cascade & (found.score > 2.0)
    sells = days.overlap(found.start, found.end, "cascade", "sell")
    assert loud.sum() > 20
    assert np.mean((lpi[loud] > 0) == sells[loud]) > 0.9


@pytest.mark.parametrize("use_depth", [True, False], ids=["depth", "spread"])
def test_lpi_fast_at_5_bps_knows_at_least_whether_anything_printed(days, use_depth):
    """At eta 5 nearly all buckets score 0: the floor is what the mere fact of a print would reach.

    With a share p of cascade buckets and q of the others that hold a print beyond 5 bps, a yes or
    no ranks with AUC p (1 - q) + (p q + (1 - p)(1 - q)) / 2.
    """
    found, table = lpi_ranking(days, eta_bps=5.0, use_depth=use_depth)
    p_z = np.abs(column(table, "pressure_z"))
    p, q = (float(np.mean(p_z[part] > 0)) for part in (found.cascade, found.rest))
    print(told(f"LPI fast, eta 5, {'depth' if use_depth else 'spread'}", found))
    assert p > 0.25, "cascades print 5 to 40 bps beyond the touch"
    assert q < 0.01, "nothing else does"
    assert found.auc >= p * (1 - q) + (p * q + (1 - p) * (1 - q)) / 2 - p * q


@pytest.mark.parametrize("eta_bps", [0.0, 5.0])
def test_open_interest_as_a_filter_costs_recall(days, eta_bps):
    """LEV only ever filters: whatever it refuses ranks last, so it cannot help a ranking.

    What remains must still beat chance; the numbers say what the filter costs.
    """
    free, _ = lpi_ranking(days, eta_bps=eta_bps)
    kept, _ = lpi_ranking(days, eta_bps=eta_bps, use_oi=True)
    print(told(f"LPI fast, eta {eta_bps:g}, depth, LEV > 0", kept))
    assert 0.5 + 2 * kept.noise < kept.auc < free.auc


def test_composite_lpi_ranks_forced_selling_first(days):
    """Against chance by five errors, and better than FSI alone: depth does thin in a cascade."""
    config = CompositeLpiConfig(price_precision=2, size_precision=3)
    table = batch.composite_lpi_engine(days.trades, days.depth, days.metrics, config=config)
    end = table["ts_event"].cast(pa.int64()).to_numpy()
    lpi = column(table, "lpi")
    found = ranking(days, end, lpi, side="sell")
    oi = column(table, "oi_zscore")
    gated = np.where(np.isnan(oi), np.nan, np.where(oi > 0.0, lpi, 0.0))
    without_depth = ranking(
        days, end, np.where(np.isnan(lpi), np.nan, column(table, "fsi")), side="sell"
    )
    print(told("composite LPI", found))
    print(told("composite LPI, open interest z > 0", ranking(days, end, gated, side="sell")))
    print(told("its FSI alone (no depth)", without_depth))
    assert found.auc > 0.5 + 5 * found.noise
    assert found.auc > without_depth.auc
    # Without depth the index must fall silent, not go on without its term.
    silent = batch.composite_lpi_engine(days.trades, None, days.metrics, config=config)
    assert silent["lpi"].null_count == len(silent)


@pytest.mark.parametrize("imbalance", ["l1", "depth_pct"])
def test_bar_lpi_ranks_the_bars_of_a_cascade_above_the_quiet_half(days, imbalance):
    """Not a detector of cascades; but they trade much, and quiet bars score 0.

    A share z of all bars has less than its usual volume and so scores exactly 0. Bars of a cascade
    lie above them; if they were nothing special among the rest, the AUC would be z + (1 - z) / 2.
    Two standard errors are allowed for the few bars there are.
    """
    config = BarLpiConfig(
        price_precision=2, size_precision=3, price_increment=0.1, imbalance=imbalance
    )
    table = batch.bar_lpi_engine(days.bars, days.quotes, days.depth, config=config)
    end = table["ts_event"].cast(pa.int64()).to_numpy()
    found = ranking(days, end, np.abs(column(table, "lpi")), 60 * SECOND)
    print(told(f"bar LPI, {imbalance}", found))
    quiet = float(np.mean(found.score[found.rest] == 0.0))
    assert 0.4 < quiet < 0.6
    assert found.auc > quiet + (1 - quiet) / 2 - 2 * found.noise


def test_labels_in_the_wrong_place_find_nothing(days):
    """The control: the same study with every cascade moved by five hours must see chance."""
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
