"""From dump files through the catalog into NautilusTrader's own engine, with nothing of Phoenix between.

Custom data reach a strategy's `on_data` as they are stored; funding is paid on the exact boundary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from nautilus_trader.backtest import BacktestEngine, BacktestEngineConfig
from nautilus_trader.common import LoggerConfig
from nautilus_trader.execution import MakerTakerFeeModel
from nautilus_trader.model import (
    AccountType,
    BookType,
    ClientId,
    Currency,
    DataType,
    InstrumentId,
    Money,
    NautilusDataType,
    OmsType,
    OrderSide,
    Quantity,
    StandardMarginModel,
    Venue,
)
from nautilus_trader.persistence import ParquetDataCatalog
from nautilus_trader.trading import Strategy, StrategyConfig
from phoenix_etl.config import EtlConfig
from phoenix_etl.pipeline import ingest
from phoenix_etl.synthetic import write_market
from phoenix_schemas.arrow import CATALOG_TYPES
from phoenix_schemas.custom_data import CUSTOM_TYPES, register_custom_data

PERP = "BTCUSDT-PERP.BINANCE"
BINANCE = ClientId("BINANCE")
T0 = 1_704_067_200_000
MS = 1_000_000
MINUTE = 60_000
HOUR = 60 * MINUTE


class Listener(Strategy):
    """Keeps what arrives in `on_data`, and does at each quote what a test asks for."""

    def __init__(self, config: StrategyConfig) -> None:
        super().__init__(config)
        self.received: list[tuple[int, Any]] = []
        self.failure: Exception | None = None
        self.identifier = PERP
        self.at_quote: Callable[[Listener, Any], None] = lambda _strategy, _quote: None

    def on_start(self) -> None:
        for cls in CUSTOM_TYPES:
            self.subscribe_data(
                DataType(cls.__name__, identifier=self.identifier), client_id=BINANCE
            )
        self.subscribe_quotes(InstrumentId.from_str(PERP))

    def on_data(self, data: Any) -> None:
        self.received.append((self.clock.timestamp_ns(), getattr(data, "data", data)))

    def on_quote(self, quote: Any) -> None:
        try:
            self.at_quote(self, quote)
        except Exception as error:  # the engine would swallow it
            self.failure = self.failure or error


@contextmanager
def engine_of(catalog: ParquetDataCatalog) -> Iterator[BacktestEngine]:
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggerConfig(bypass_logging=True)))
    engine.add_venue(
        Venue("BINANCE"), OmsType.NETTING, AccountType.MARGIN, [Money.from_str("1000000 USDT")],
        base_currency=Currency.from_str("USDT"), default_leverage=Decimal(1),
        margin_model=StandardMarginModel(), fee_model=MakerTakerFeeModel(Decimal(0), Decimal(0)),
        book_type=BookType.L1_MBP,
    )  # fmt: skip
    (instrument,) = (i for i in catalog.instruments() if str(i.id) == PERP)
    engine.add_instrument(instrument)
    try:
        yield engine
    finally:
        engine.dispose()


def stored(root: Path, type_name: str) -> list[dict[str, Any]]:
    """Rows of a type as Parquet holds them, times as integers, in order of `ts_init`."""
    folder = root / CATALOG_TYPES[type_name].folder(PERP)
    table = pa.concat_tables(pq.read_table(f, partitioning=None) for f in sorted(folder.iterdir()))
    for index, column in enumerate(table.schema):
        if pa.types.is_timestamp(column.type):
            times = table.column(index).cast(pa.int64())
            table = table.set_column(index, column.name, times)
    return table.drop_columns(["type", "data_type"]).to_pylist()


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated day of every dataset, ingested."""
    folder = tmp_path_factory.mktemp("market")
    write_market(
        folder / "raw", symbols=["BTCUSDT"], start=date(2024, 1, 1), days=1, seed=3, profile="small"
    )
    ingest(EtlConfig(raw_roots=[str(folder / "raw")], catalog_path=str(folder / "catalog")))
    register_custom_data()
    return folder / "catalog"


def test_every_custom_type_reaches_on_data_as_it_is_stored(market: Path) -> None:
    catalog = ParquetDataCatalog(str(market))
    with engine_of(catalog) as engine:
        for cls in CUSTOM_TYPES:
            rows = catalog.query(NautilusDataType.Custom(cls.__name__), [PERP])
            engine.add_data(rows, client_id=BINANCE, sort=False)
        engine.sort_data()
        listener = Listener(StrategyConfig())
        engine.add_strategy(listener)
        engine.run()
        received = list(listener.received)
    assert all(now == record.ts_init for now, record in received)
    for cls in CUSTOM_TYPES:
        mine = [asdict(record) for _, record in received if type(record) is cls]
        expected = stored(market, cls.__name__)
        assert len(expected) > 2
        key = sorted(expected[0])
        assert sorted(mine, key=lambda r: [str(r[k]) for k in key]) == sorted(
            expected, key=lambda r: [str(r[k]) for k in key]
        )


def test_another_instruments_records_do_not_arrive(market: Path) -> None:
    """The identifier that a record carries is what routes it (slip 9: without one, nobody sees it)."""
    catalog = ParquetDataCatalog(str(market))
    with engine_of(catalog) as engine:
        rows = catalog.query(NautilusDataType.Custom("BinanceOiMetrics"), [PERP])
        engine.add_data(rows, client_id=BINANCE)
        listener = Listener(StrategyConfig())
        listener.identifier = "ETHUSDT-PERP.BINANCE"
        engine.add_strategy(listener)
        engine.run()
        assert len(rows) > 100
        assert listener.received == []


def write_dumps(root: Path) -> None:
    """25 hours of quotes and mark prices, and funding 3, 13 and 0 ms late."""
    quotes, marks = [], []
    for minute in range(0, 25 * 60, 5):
        at = T0 + minute * MINUTE
        quotes.append(f"{minute + 1},42000.00,5,42000.10,5,{at},{at + 1}")
    for minute in range(25 * 60):
        opened, price = T0 + minute * MINUTE, f"{43000 + minute}.12345678"
        marks.append(f"{opened},{price},{price},{price},{price},0,{opened + MINUTE - 1},0,0,0,0,0")
    funding = [
        f"{T0 + 8 * HOUR + 3},8,0.00010000",
        f"{T0 + 16 * HOUR + 13},8,-0.00023457",
        f"{T0 + 24 * HOUR},8,0.00030000",
    ]
    for path, lines in {
        "daily/bookTicker/BTCUSDT-bookTicker-2024-01-01.csv": quotes,
        "daily/markPriceKlines/BTCUSDT-1m-2024-01-01.csv": marks,
        "monthly/fundingRate/BTCUSDT-fundingRate-2024-01.csv": funding,
    }.items():
        target = root / "futures" / path
        target.parent.mkdir(parents=True)
        target.write_text("\n".join(lines) + "\n", "utf-8")


def test_a_held_position_pays_rate_times_notional_at_mark_three_times_a_day(tmp_path: Path) -> None:
    write_dumps(tmp_path / "raw")
    result = ingest(
        EtlConfig(raw_roots=[str(tmp_path / "raw")], catalog_path=str(tmp_path / "catalog"))
    )
    assert result.failed == {}
    register_custom_data()
    catalog = ParquetDataCatalog(str(tmp_path / "catalog"))
    balances: list[tuple[int, Decimal]] = []

    def at_quote(strategy: Listener, quote: Any) -> None:
        if not balances:
            order = strategy.order_factory.market(
                InstrumentId.from_str(PERP), OrderSide.BUY, Quantity.from_str("0.500")
            )
            strategy.submit_order(order)
        account = strategy.cache.account_for_venue(Venue("BINANCE"))
        balances.append((quote.ts_init, account.balance_total().as_decimal()))

    with engine_of(catalog) as engine:
        for name in ("QuoteTick", "MarkPriceUpdate", "FundingRateUpdate"):
            engine.add_data(catalog.query(NautilusDataType(name), [PERP]), sort=False)
        raw = catalog.query(NautilusDataType.Custom("BinanceFundingRate"), [PERP])
        engine.add_data(raw, client_id=BINANCE, sort=False)
        engine.sort_data()
        listener = Listener(StrategyConfig())
        listener.at_quote = at_quote
        engine.add_strategy(listener)
        engine.run()
        assert listener.failure is None
        received = [(now, record.rate) for now, record in listener.received]

    paid = [
        (at, after - before) for (_, before), (at, after) in pairwise(balances) if after != before
    ]
    # Seen at the first quote after the boundary. Long pays a positive rate: 0.5 x rate x the mark
    # price known then, that of the minute which ended 1 ms before; money has 8 decimals.
    expected = []
    for hours, rate in ((8, "0.0001"), (16, "-0.00023457"), (24, "0.0003")):
        mark = Decimal(f"{43000 + hours * 60 - 1}.12345678")
        amount = -Decimal("0.5") * Decimal(rate) * mark
        expected.append(((T0 + hours * HOUR + 1) * MS, amount.quantize(Decimal("1e-8"))))
    assert paid == expected
    # And for strategies and signals, the rate at the raw time at which it was published.
    assert received == [
        ((T0 + 8 * HOUR + 3) * MS, Decimal("0.0001")),
        ((T0 + 16 * HOUR + 13) * MS, Decimal("-0.00023457")),
        ((T0 + 24 * HOUR) * MS, Decimal("0.0003")),
    ]
