"""A dataset is one `DatasetSpec` and its fixture: registering it is all that the ETL needs.

The page docs/how-to/add-a-dataset.md does this with a custom data class of its own.
"""

from __future__ import annotations

from decimal import Decimal

import pytest
from phoenix_schemas.datasets import DATASETS, Check, Column, DatasetSpec, Kind, Rule, Target

T0 = 1_704_067_200_000
SPEC = DatasetSpec(
    name="blockTrades",
    market="futures",
    folders=("blockTrades",),
    file_label="blockTrades",
    columns=(
        Column("block_id", Kind.INTEGER),
        Column("time", Kind.EPOCH),
        Column("price", Kind.PRICE, ("px",)),
        Column("quantity", Kind.SIZE),
        Column("is_buyer_maker", Kind.FLAG),
        Column("venue", Kind.UNUSED),
    ),
    clock=("time",),
    key=("block_id",),
    checks=(Check(Rule.POSITIVE, ("quantity",)),),
    targets=(
        Target("TradeTick", "{id}", {
            "price": "price", "size": "quantity", "aggressor_side": "is_buyer_maker",
            "trade_id": "block_id",
        }),
    ),
)  # fmt: skip


def test_one_spec_adds_a_dataset(dumps, catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS, ("futures", "blockTrades"), SPEC)
    dumps.put(
        "data/futures/um/daily/blockTrades/BTCUSDT/BTCUSDT-blockTrades-2024-01-01.zip",
        "block_id,time,px,quantity,is_buyer_maker,venue\n"
        f"7,{T0 + 9},42000.10,12.5,false,otc\n"
        f"6,{T0 + 3},42000.1,1,true,otc\n"
        f"8,{T0 + 9},42000.1,0,true,otc\n"
        f"6,{T0 + 3},42000.10,1.000,true,otc\n",
    )
    dumps.add("blockTrades", "2024-02", [f"9,{T0 + 40 * 86_400_000},1,2,true,"], header=False)
    result = catalog.ingest(max_reject_share=0.5)
    totals = result.manifest.datasets["futures/blockTrades"]
    assert (totals.rows_read, totals.events, totals.duplicates, totals.rejected) == (5, 3, 1, 1)
    trades = [(t["trade_id"], t["price"], t["aggressor_side"]) for t in catalog.rows("TradeTick")]
    assert trades == [
        ("6", Decimal("42000.1"), "SELL"), ("7", Decimal("42000.1"), "BUY"), ("9", Decimal(1), "SELL"),
    ]  # fmt: skip
    assert "futures/blockTrades | quantity must be positive | 1 | rejected" in catalog.report()
    assert catalog.verify().problems == []
    assert catalog.ingest(max_reject_share=0.5).nothing_to_do
