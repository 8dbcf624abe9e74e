"""`examples/pinning.py` without its wheels: both versions, one script, one small catalog.

`nox -s pinning` builds and installs the two; here the changed copy stands before this package on the
path of a process of its own. So a signal that moves, or a script that no longer runs, is seen at once.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from market import PRICE_PRECISION, SIZE_PRECISION, random_market

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPT = EXAMPLES / "features.py"


@pytest.fixture(scope="module")
def pinning():
    spec = importlib.util.spec_from_file_location("pinning", EXAMPLES / "pinning.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def catalog(tmp_path_factory) -> Path:
    """Quotes and trades of two minutes, as a catalog holds them."""
    root, market = tmp_path_factory.mktemp("catalog"), random_market(41)

    def decimals(raw, precision: int) -> list[Decimal]:
        return [Decimal(int(value)).scaleb(-precision) for value in raw]

    def times(ts_ns) -> pa.Array:
        return pa.array(ts_ns, pa.timestamp("ns", tz="UTC"))

    q, t = market.quotes, market.trades
    tables = {
        "quotes": {
            "ts_init": times(q.ts_ns),
            "bid_price": decimals(q.bid_raw, PRICE_PRECISION),
            "ask_price": decimals(q.ask_raw, PRICE_PRECISION),
            "bid_size": decimals(q.bid_size_raw, SIZE_PRECISION),
            "ask_size": decimals(q.ask_size_raw, SIZE_PRECISION),
        },
        "trades": {
            "ts_init": times(t.ts_ns),
            "price": decimals(t.price_raw, PRICE_PRECISION),
            "size": decimals(40 * t.size_raw, SIZE_PRECISION),  # enough for VPIN's buckets
            "aggressor_side": ["BUY" if side > 0 else "SELL" for side in t.side],
        },
    }
    for name, columns in tables.items():
        folder = root / "data" / name / "BTCUSDT-PERP.BINANCE"
        folder.mkdir(parents=True)
        pq.write_table(pa.table(columns), folder / "part.parquet")
    return root


def features(source: Path, *arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(source)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_difference_of_two_versions_is_told_by_signal_id(pinning, catalog, tmp_path):
    changed = pinning.changed_copy(tmp_path)
    sources = {1: pinning.PACKAGE / "src", 2: changed / "src"}
    outs = [tmp_path / f"{version}.parquet" for version in sources]
    for (version, source), out in zip(sources.items(), outs, strict=True):
        done = features(source, catalog, out, "--pin", f"spread_bps={version}")
        assert (done.returncode, done.stderr) == (0, "")

    found = dict(line.split(maxsplit=1) for line in pinning.differences(*outs))
    assert re.match(r"version 1 -> 2 +100\.00% of 1,600 values differ", found.pop("spread_bps"))
    assert found.keys() == {"obi", "weighted_mid", "ofi", "svi", "vpin"}
    for told in found.values():  # an index that nobody touched says the same to the last bit
        assert re.match(
            r"version 1 -> 1 +0\.00% of [\d,]+ values differ, by at most 0\.00e\+00", told
        )
        assert " of 0 values" not in told

    refused = features(sources[2], catalog, outs[0], "--pin", "spread_bps=1")
    assert refused.returncode == 1
    assert re.fullmatch(
        r"signal spread_bps version 1 must be installed \(was version 2, .*\); "
        r"install phoenix-signals>=0\.1\.0,<0\.2\.0\n",
        refused.stderr,
    )
