"""The books of a run: rows kept as columns, and liquidations named in order."""

from __future__ import annotations

import pyarrow as pa
from phoenix_runner.books import Rows, _liquidations, _renamed


def test_rows_read_like_a_list_of_dicts() -> None:
    whole = [{"n": n, "name": f"row {n}"} for n in range(2500)]
    rows = Rows(pa.Table.from_pylist(whole))
    assert len(rows) == 2500
    assert rows[0] == whole[0]
    assert rows[-1] == whole[-1]
    assert rows[3:5] == whole[3:5]
    assert list(rows) == whole
    assert rows == whole
    assert rows != whole[1:]
    assert not Rows(pa.Table.from_pylist(whole).slice(0, 0))


def test_liquidations_have_random_ids_and_are_counted_instead() -> None:
    ids = pa.chunked_array([["O-1-1", "LIQUIDATION-9f"], ["LIQUIDATION-0a", "O-1-2"]])
    names = _liquidations(ids)
    assert names == {"LIQUIDATION-9f": "LIQUIDATION-1", "LIQUIDATION-0a": "LIQUIDATION-2"}
    fills = pa.table({"price": [1, 2, 3], "client_order_id": ["LIQUIDATION-0a", "O-1-1", "x"]})
    assert _renamed(fills, names)["client_order_id"].to_pylist() == ["LIQUIDATION-2", "O-1-1", "x"]
