"""Columns of a catalog: what they refuse, and what batch engines refuse of them."""

from __future__ import annotations

import dataclasses
import re
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from market import PRICE_PRECISION, SIZE_PRECISION, random_market
from phoenix_signals import batch
from phoenix_signals.errors import InputError, ParameterError
from test_engine_lpi import lpi_config
from test_engines import bar_config, composite_config, volatility_config

MARKET = random_market(3, seconds=5.0, events=50)
TRADES, QUOTES, BARS = MARKET.trades, MARKET.quotes, MARKET.bars
CALLS = {
    "lpi": lambda t, q, b: batch.lpi_engine(t, q, config=lpi_config()),
    "composite": lambda t, q, b: batch.composite_lpi_engine(t, config=composite_config()),
    "bar": lambda t, q, b: batch.bar_lpi_engine(b, q, config=bar_config()),
    "volatility": lambda t, q, b: batch.toxicity_volatility_engine(
        t, q, b, config=volatility_config()
    ),
    "features": lambda t, q, b: batch.toxicity_volatility_features(
        t, q, b, config=volatility_config()
    ),
}
USED = {
    "lpi": "trades quotes", "composite": "trades", "bar": "quotes bars",
    "volatility": "trades quotes bars", "features": "trades quotes bars",
}  # fmt: skip


def trades_table(**changes) -> pa.Table:
    columns = {
        "ts_init": pa.array([7], pa.timestamp("ns", tz="UTC")), "price": [Decimal("60000.10")],
        "size": [Decimal("0.002")], "aggressor_side": ["SELL"],
    }  # fmt: skip
    return pa.table(columns | changes)


def with_precisions(prices: int, sizes: int) -> pa.Table:
    metadata = {"price_precision": str(prices), "size_precision": str(sizes)}
    return trades_table().replace_schema_metadata(metadata)


def test_the_table_knows_its_precisions():
    trades = batch.Trades.from_catalog(with_precisions(2, 5))
    assert trades.precisions == (2, 5)
    assert (trades.price_raw.tolist(), trades.size_raw.tolist()) == ([6_000_010], [200])
    assert batch.Trades.from_catalog(with_precisions(2, 5), size_precision=3).precisions == (2, 3)


@pytest.mark.parametrize("engine", CALLS)
@pytest.mark.parametrize("name", ["trades", "quotes", "bars"])
def test_columns_of_another_precision_than_the_config_are_refused_by_name(engine, name):
    known = (PRICE_PRECISION, SIZE_PRECISION)
    given = {
        n: dataclasses.replace(c, precisions=known)
        for n, c in (("trades", TRADES), ("quotes", QUOTES), ("bars", BARS))
    }
    CALLS[engine](*given.values())  # these are those of the config
    given[name] = dataclasses.replace(given[name], precisions=(3, 3))
    if name not in USED[engine].split():
        CALLS[engine](*given.values())
        return
    with pytest.raises(ParameterError, match=rf"{name} must have .* 2 and .* 3 \(was 3 and 3\)"):
        CALLS[engine](*given.values())


def test_a_table_leaves_its_precisions_in_the_columns_and_their_parts():
    trades = batch.Trades.from_catalog(trades_table(), 3, 4)
    assert trades.precisions == trades.before(1).precisions == (3, 4)
    assert (trades.price_raw.tolist(), trades.size_raw.tolist()) == ([60_000_100], [20])
    assert TRADES.precisions is None, "nobody knows those of arrays"


@pytest.mark.parametrize("engine", CALLS)
def test_columns_in_the_wrong_place_are_named(engine):
    first = USED[engine].split()[0]
    with pytest.raises(InputError, match=f"{first} must be {first.title()} .was Bars|quotes must"):
        CALLS[engine](BARS, BARS, BARS)
    with pytest.raises(InputError, match=r"must be .* .was DataFrame.; make them with batch"):
        CALLS[engine](*[pd.DataFrame()] * 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: batch.Trades.from_catalog(trades_table().drop_columns("price"), 2, 3),
         "Arrow table of data/trades/<instrument id> (was one without price, with ts_init, size"),
        (lambda: batch.Quotes.from_catalog(trades_table(), 2, 3), "without bid_price, ask_price"),
        (lambda: batch.Funding.from_catalog(trades_table()), "data/custom/BinanceFundingRate"),
        (lambda: batch.Trades.from_catalog(trades_table().to_pandas(), 2, 3),
         "must get an Arrow table of data/trades/<instrument id> (was DataFrame); read it with"),
        (lambda: batch.Trades.from_catalog(trades_table(), 0, 3),
         "price_precision must be at least 1, which the values need (was 0); the table's metadata has"),
        (lambda: batch.Trades.from_catalog(with_precisions(2, 5), 2, 2),
         "size_precision must be at least 3, which the values need (was 2); the table's metadata says 5"),
        (lambda: batch.Trades.from_catalog(trades_table(), 17, 3),
         "values must fit in 18 digits at price_precision 17"),
        (lambda: batch.Trades.from_catalog(trades_table()), "price_precision must be given for a table"),
        (lambda: batch.Trades.from_catalog(trades_table(), 2.0, 3), "precision must be an integer"),
        (lambda: batch.Trades(*[[1]] * 4), "ts_ns must be a numpy array (was list)"),
        (lambda: batch.Trades(np.array([1]), np.array([1.5]), np.array([1]), np.array([1])),
         "price_raw must hold integers"),
    ],
)  # fmt: skip
def test_tables_and_arrays_of_another_kind_are_refused(make, message):
    with pytest.raises((InputError, ParameterError), match=re.escape(message)):
        make()


def test_times_and_sides_that_are_no_integers_say_what_to_pass():
    sizes, sides = [5, 5], [1, -1]
    for zone in (None, "UTC"):
        times = pd.Series(pd.to_datetime(["2024-01-01", "2024-01-02"]).tz_localize(zone))
        with pytest.raises(InputError, match=r"ts_ns .* of pandas column.dt.as_unit\("):
            batch.time_clock(times, sizes, sides, interval_ns=10**9)
        ns = times.dt.as_unit("ns").astype("int64")  # as the message says
        found = batch.time_clock(ns, sizes, sides, interval_ns=10**9)
        assert found.ts_open_ns[0] == 1704067200 * 10**9
    with pytest.raises(
        InputError, match=r"side must hold integers .* 1 for a buy and -1 for a sale"
    ):
        batch.time_clock([1, 2], sizes, ["BUY", "SELL"], interval_ns=10**9)
