"""Features of a catalog, as a notebook would compute them: one column per signal id.

    python features.py CATALOG OUT.parquet [--pin ID=VERSION ...]

The metadata of the Parquet file says which version of each signal made it; a pin that is not installed
is refused with where to get it.
"""

from __future__ import annotations

import argparse
import json

import pyarrow as pa
import pyarrow.parquet as pq
from phoenix_signals import batch, registry
from phoenix_signals.errors import SignalsError

INSTRUMENT = "BTCUSDT-PERP.BINANCE"


def features(catalog: str) -> dict[str, list[float]]:
    """Each signal at every quote, or at every trade."""
    folder = f"{catalog}/data"
    quotes = batch.Quotes.from_catalog(pq.read_table(f"{folder}/quotes/{INSTRUMENT}"), 2, 3)
    trades = batch.Trades.from_catalog(pq.read_table(f"{folder}/trades/{INSTRUMENT}"), 2, 3)
    bid, ask = quotes.bid_raw / 100, quotes.ask_raw / 100
    bid_size, ask_size = quotes.bid_size_raw / 1000, quotes.ask_size_raw / 1000
    tape = (trades.ts_ns, trades.size_raw, trades.side)
    return {
        "spread_bps": batch.spread_bps(bid, ask),
        "obi": batch.obi(bid_size, ask_size),
        "weighted_mid": batch.weighted_mid(bid, ask, bid_size, ask_size),
        "ofi": batch.ofi(
            quotes.bid_raw, quotes.ask_raw, quotes.bid_size_raw, quotes.ask_size_raw
        ),
        "svi": batch.svi(*tape, window_ns=60 * 10**9),
        "vpin": batch.vpin(*tape, bucket_raw=100_000),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("catalog")
    parser.add_argument("out")
    parser.add_argument("--pin", action="append", default=[], metavar="ID=VERSION")
    arguments = parser.parse_args()
    try:
        for pin in arguments.pin:
            signal_id, _, version = pin.partition("=")
            registry.find(signal_id, int(version))
    except SignalsError as error:
        raise SystemExit(str(error)) from error
    columns = features(arguments.catalog)
    versions = {signal_id: registry.find(signal_id).version for signal_id in columns}
    longest = max(len(values) for values in columns.values())
    table = pa.table(
        {n: pa.array(v).cast(pa.float64()) if len(v) == longest else pa.concat_arrays(
            [pa.array(v), pa.nulls(longest - len(v), pa.float64())]) for n, v in columns.items()}
    )  # fmt: skip
    pq.write_table(
        table.replace_schema_metadata({"signal_versions": json.dumps(versions)}), arguments.out
    )


if __name__ == "__main__":
    main()
