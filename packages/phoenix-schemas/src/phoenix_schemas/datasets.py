"""What each dump file of binance.vision means: one `DatasetSpec` per dataset.

A spec is data, not code: the columns (with the names that other eras gave them), the clock, the key
that makes a row unique, the rules that a row must keep, and the catalog types it becomes. Everything
that reads dumps works from these specs alone, so a new dataset is one more entry and its fixture.

Times: `ts_event` is when it happened by the exchange's stamp, `ts_init` the first moment a strategy
may know it (`Availability`). Both are int64 nanoseconds UTC.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from phoenix_schemas.errors import SchemaError
from phoenix_schemas.timestamps import NS_PER_MINUTE, parse_utc

Market = Literal["futures", "spot"]
Period = Literal["daily", "monthly"]

METRICS_START_LABEL_ERA_NS = parse_utc("2026-06-25")
"""From here on `create_time` of metrics labels the START of its 5 minutes; before, the END."""


class Kind(enum.Enum):
    """What a column holds, and so how its text becomes a number without loss."""

    PRICE = "price"
    """Decimal, exact at the instrument's price precision."""
    SIZE = "size"
    """Decimal, exact at the instrument's size precision."""
    PRICE_8 = "price_8"
    """Decimal with up to 8 decimals of its own (mark, index and premium prices)."""
    AMOUNT = "amount"
    """Decimal with up to 16 decimals (notional, open interest, quote volume)."""
    RATIO = "ratio"
    """float64, allowed only where the float's shortest form equals the text as a decimal."""
    INTEGER = "integer"
    """int64 count or identifier."""
    EPOCH = "epoch"
    """Integer time; its unit (s, ms, us) is told by magnitude, one unit per file."""
    DATETIME = "datetime"
    """`YYYY-MM-DD hh:mm:ss` in UTC."""
    FLAG = "flag"
    """The words true/false or True/False, nothing else."""
    TEXT = "text"
    """A word, compared and kept as it stands."""
    UNUSED = "unused"
    """Present in the file, without information."""


_WITHOUT_ORDER = (Kind.AMOUNT, Kind.FLAG, Kind.TEXT, Kind.UNUSED)
"""Kinds that are not held as 64-bit numbers."""


@dataclass(frozen=True)
class Column:
    """One column of a dump: its name, kind, and the names other eras gave it."""

    name: str
    kind: Kind
    aliases: tuple[str, ...] = ()
    nullable: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.aliases)


class Availability(enum.Enum):
    """When a row's content could be known, from its clock."""

    AT_CLOCK = "at_clock"
    METRICS_PERIOD = "metrics_period"
    """End of the row's 5 minutes: the clock itself before 2026-06-25, 5 minutes later since."""


class Rule(enum.Enum):
    """A condition on the columns of one row; a row that breaks it is rejected with this reason."""

    POSITIVE = "must be positive"
    NOT_NEGATIVE = "must not be negative"
    INSTRUMENT_SYMBOL = "must equal the symbol of the file's name"
    OHLC = "must hold low <= open, close <= high"
    CLOSE_TIME = "must be one interval after open_time, less one unit"
    ID_RANGE = "must not be below first_trade_id"
    WHOLE_HOURS = "must be 1 to 24 hours"


@dataclass(frozen=True)
class Check:
    """A rule and the columns it reads."""

    rule: Rule
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Target:
    """A catalog type that rows become: its identifier and where each of its columns comes from.

    Values of `columns` name columns of the dump; the catalog type decides the form they take
    (decimal, text of an integer, BUY/SELL from `is_buyer_maker`). `ts` names the time on which the
    record lies: "ts" for the dataset's own clock, "boundary" for the settlement time of funding.
    """

    type_name: str
    identifier: str
    columns: Mapping[str, str]
    ts: Literal["ts", "boundary"] = "ts"


@dataclass(frozen=True)
class DatasetSpec:
    """One dataset of the archive.

    `folders` are the folder names it appears under; `file_label` is the middle part of a file name
    (`BTCUSDT-<file_label>-2024-01-01.csv`), an interval such as `1m` for klines, whose folder
    decides. `key` makes a row unique ("ts_event" stands for the clock in force); within a partition rows
    are ordered by (ts_event, key). `clock` lists the columns that may date a row, the default first.
    `alternative_to` names the dataset that carries the same market events in another form.
    """

    name: str
    market: Market
    folders: tuple[str, ...]
    file_label: str
    columns: tuple[Column, ...]
    clock: tuple[str, ...]
    key: tuple[str, ...]
    targets: tuple[Target, ...]
    checks: tuple[Check, ...] = ()
    availability: Availability = Availability.AT_CLOCK
    interval_ns: int | None = None
    """Spacing of the rows where it is fixed."""
    gap_ns: int | None = NS_PER_MINUTE
    """A longer time without a row is reported as a gap; None where silence means nothing."""
    continuous_ids: tuple[str, str] | None = None
    """(first, last) id columns that run without holes from row to row."""
    alternative_to: str | None = None

    def __post_init__(self) -> None:
        for name in self.key:
            if name != "ts_event" and (kind := self.column(name).kind) in _WITHOUT_ORDER:
                raise SchemaError(
                    f"{self.name}: key column {name!r} must be an integer, a time, a price, a size or "
                    f"a ratio (was {kind.value}); rows are put in order by 64-bit numbers"
                )

    def column(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise SchemaError(f"{self.name} has no column {name!r}")


def _columns(**kinds: Kind) -> tuple[Column, ...]:
    return tuple(Column(name, kind) for name, kind in kinds.items())


def _kline_columns(price: Kind, volume: Kind) -> tuple[Column, ...]:
    return (
        Column("open_time", Kind.EPOCH),
        Column("open", price),
        Column("high", price),
        Column("low", price),
        Column("close", price),
        Column("volume", volume),
        Column("close_time", Kind.EPOCH),
        Column("quote_volume", Kind.AMOUNT, ("quote_asset_volume",)),
        Column("count", Kind.INTEGER, ("number_of_trades", "trades", "num_trades")),
        Column("taker_buy_volume", volume, ("taker_buy_base_asset_volume", "taker_buy_base")),
        Column(
            "taker_buy_quote_volume",
            Kind.AMOUNT,
            ("taker_buy_quote_asset_volume", "taker_buy_quote"),
        ),
        Column("ignore", Kind.UNUSED),
    )


_OHLC = ("open", "high", "low", "close")
_BAR_CHECKS = (
    Check(Rule.OHLC, _OHLC),
    Check(Rule.CLOSE_TIME, ("open_time", "close_time")),
    Check(Rule.NOT_NEGATIVE, ("volume",)),
    Check(Rule.NOT_NEGATIVE, ("count",)),
)


def _bar_target(kind: str) -> Target:
    columns = {name: name for name in (*_OHLC, "volume")}
    return Target("Bar", f"{{id}}-1-MINUTE-{kind}-EXTERNAL", columns)


def _klines(market: Market) -> DatasetSpec:
    """Traded-price bars; they close, and are known, at close_time."""
    return DatasetSpec(
        name="klines",
        market=market,
        folders=("klines", "klines_1m"),
        file_label="1m",
        columns=_kline_columns(Kind.PRICE, Kind.SIZE),
        clock=("close_time",),
        key=("open_time",),
        interval_ns=NS_PER_MINUTE,
        checks=(
            Check(Rule.POSITIVE, ("open",)),
            Check(Rule.POSITIVE, ("low",)),
            *_BAR_CHECKS,
            Check(Rule.NOT_NEGATIVE, ("taker_buy_volume",)),
        ),
        targets=(
            _bar_target("LAST"),
            Target(
                "BinanceKlineExtras",
                "{id}",
                {
                    "quote_volume": "quote_volume",
                    "trade_count": "count",
                    "taker_buy_volume": "taker_buy_volume",
                    "taker_buy_quote_volume": "taker_buy_quote_volume",
                },
            ),
        ),
    )


def _price_klines(name: str, targets: tuple[Target, ...], signed: bool = False) -> DatasetSpec:
    """1-minute bars of a price that is not traded (mark, index, premium index)."""
    positive = () if signed else (Check(Rule.POSITIVE, ("open",)), Check(Rule.POSITIVE, ("low",)))
    return DatasetSpec(
        name=name,
        market="futures",
        folders=(name, f"{name}_1m"),
        file_label="1m",
        columns=_kline_columns(Kind.PRICE_8, Kind.SIZE),
        clock=("close_time",),
        key=("open_time",),
        interval_ns=NS_PER_MINUTE,
        checks=(*positive, *_BAR_CHECKS),
        targets=targets,
    )


def _trades(market: Market, extra: tuple[Column, ...]) -> DatasetSpec:
    columns = (
        Column("id", Kind.INTEGER, ("trade_id",)),
        Column("price", Kind.PRICE),
        Column("qty", Kind.SIZE, ("quantity",)),
        Column("quote_qty", Kind.AMOUNT, ("quoteQty",)),
        Column("time", Kind.EPOCH),
        Column("is_buyer_maker", Kind.FLAG, ("isBuyerMaker",)),
        *extra,
    )
    return DatasetSpec(
        name="trades",
        market=market,
        folders=("trades",),
        file_label="trades",
        columns=columns,
        clock=("time",),
        key=("id",),
        continuous_ids=("id", "id"),
        alternative_to="aggTrades",
        checks=(Check(Rule.POSITIVE, ("price",)), Check(Rule.POSITIVE, ("qty",))),
        targets=(
            Target(
                "TradeTick",
                "{id}",
                {
                    "price": "price",
                    "size": "qty",
                    "aggressor_side": "is_buyer_maker",
                    "trade_id": "id",
                },
            ),
        ),
    )


def _agg_trades(market: Market, extra: tuple[Column, ...]) -> DatasetSpec:
    return DatasetSpec(
        name="aggTrades",
        market=market,
        folders=("aggTrades",),
        file_label="aggTrades",
        columns=(
            Column("agg_trade_id", Kind.INTEGER, ("id",)),
            Column("price", Kind.PRICE),
            Column("quantity", Kind.SIZE, ("qty",)),
            Column("first_trade_id", Kind.INTEGER, ("first",)),
            Column("last_trade_id", Kind.INTEGER, ("last",)),
            Column("transact_time", Kind.EPOCH, ("time", "timestamp")),
            Column("is_buyer_maker", Kind.FLAG, ("isBuyerMaker",)),
            *extra,
        ),
        clock=("transact_time",),
        key=("agg_trade_id",),
        continuous_ids=("first_trade_id", "last_trade_id"),
        checks=(
            Check(Rule.POSITIVE, ("price",)),
            Check(Rule.POSITIVE, ("quantity",)),
            Check(Rule.ID_RANGE, ("first_trade_id", "last_trade_id")),
        ),
        targets=(
            Target(
                "TradeTick",
                "{id}",
                {
                    "price": "price",
                    "size": "quantity",
                    "aggressor_side": "is_buyer_maker",
                    "trade_id": "agg_trade_id",
                },
            ),
        ),
    )


_BEST_MATCH = (Column("is_best_match", Kind.FLAG, ("isBestMatch",)),)

_OI_NUMBERS = {
    "sum_open_interest": Kind.AMOUNT,
    "sum_open_interest_value": Kind.AMOUNT,
    "count_toptrader_long_short_ratio": Kind.RATIO,
    "sum_toptrader_long_short_ratio": Kind.RATIO,
    "count_long_short_ratio": Kind.RATIO,
    "sum_taker_long_short_vol_ratio": Kind.RATIO,
}

_SPECS = (
    _agg_trades("futures", ()),
    _trades("futures", ()),
    DatasetSpec(
        name="bookTicker",
        market="futures",
        folders=("bookTicker",),
        file_label="bookTicker",
        columns=_columns(
            update_id=Kind.INTEGER,
            best_bid_price=Kind.PRICE,
            best_bid_qty=Kind.SIZE,
            best_ask_price=Kind.PRICE,
            best_ask_qty=Kind.SIZE,
            transaction_time=Kind.EPOCH,
            event_time=Kind.EPOCH,
        ),
        clock=("event_time", "transaction_time"),
        key=("ts_event", "update_id"),
        checks=(
            Check(Rule.POSITIVE, ("best_bid_price",)),
            Check(Rule.POSITIVE, ("best_ask_price",)),
            Check(Rule.NOT_NEGATIVE, ("best_bid_qty",)),
            Check(Rule.NOT_NEGATIVE, ("best_ask_qty",)),
        ),
        targets=(
            Target(
                "QuoteTick",
                "{id}",
                {
                    "bid_price": "best_bid_price",
                    "ask_price": "best_ask_price",
                    "bid_size": "best_bid_qty",
                    "ask_size": "best_ask_qty",
                },
            ),
        ),
    ),
    DatasetSpec(
        name="bookDepth",
        market="futures",
        folders=("bookDepth",),
        file_label="bookDepth",
        columns=_columns(
            timestamp=Kind.DATETIME,
            percentage=Kind.RATIO,
            depth=Kind.AMOUNT,
            notional=Kind.AMOUNT,
        ),
        clock=("timestamp",),
        key=("ts_event", "percentage"),
        gap_ns=2 * NS_PER_MINUTE,  # snapshots come 19 to 42 s apart
        checks=(
            Check(Rule.NOT_NEGATIVE, ("depth",)),
            Check(Rule.NOT_NEGATIVE, ("notional",)),
        ),
        targets=(
            Target(
                "BinanceBookDepthPct",
                "{id}",
                {"percentage": "percentage", "depth": "depth", "notional": "notional"},
            ),
        ),
    ),
    DatasetSpec(
        name="metrics",
        market="futures",
        folders=("metrics",),
        file_label="metrics",
        columns=(
            Column("create_time", Kind.DATETIME),
            Column("symbol", Kind.TEXT),
            *(Column(name, kind, nullable=True) for name, kind in _OI_NUMBERS.items()),
        ),
        clock=("create_time",),
        key=("create_time",),
        interval_ns=5 * NS_PER_MINUTE,
        gap_ns=5 * NS_PER_MINUTE,
        availability=Availability.METRICS_PERIOD,
        checks=(
            Check(Rule.INSTRUMENT_SYMBOL, ("symbol",)),
            # Nothing open at all is an outage written as a number, not an observation.
            Check(Rule.POSITIVE, ("sum_open_interest",)),
            Check(Rule.POSITIVE, ("sum_open_interest_value",)),
            *(Check(Rule.NOT_NEGATIVE, (name,)) for name in _OI_NUMBERS),
        ),
        targets=(Target("BinanceOiMetrics", "{id}", {name: name for name in _OI_NUMBERS}),),
    ),
    DatasetSpec(
        name="fundingRate",
        market="futures",
        folders=("fundingRate",),
        file_label="fundingRate",
        columns=_columns(
            calc_time=Kind.EPOCH,
            funding_interval_hours=Kind.INTEGER,
            last_funding_rate=Kind.AMOUNT,
        ),
        clock=("calc_time",),
        key=("calc_time",),
        gap_ns=None,
        checks=(Check(Rule.WHOLE_HOURS, ("funding_interval_hours",)),),
        targets=(
            Target(
                "FundingRateUpdate",
                "{id}",
                {"rate": "last_funding_rate", "interval": "funding_interval_hours"},
                ts="boundary",
            ),
            Target(
                "BinanceFundingRate",
                "{id}",
                {"rate": "last_funding_rate", "interval_hours": "funding_interval_hours"},
            ),
        ),
    ),
    _klines("futures"),
    _price_klines(
        "markPriceKlines",
        (Target("MarkPriceUpdate", "{id}", {"value": "close"}), _bar_target("MARK")),
    ),
    _price_klines(
        "indexPriceKlines",
        (
            Target("IndexPriceUpdate", "{id}", {"value": "close"}),
            Target("BinanceIndexPriceKline", "{id}", {name: name for name in _OHLC}),
        ),
    ),
    _price_klines(
        "premiumIndexKlines",
        (Target("BinancePremiumIndex", "{id}", {name: name for name in _OHLC}),),
        signed=True,
    ),
    _agg_trades("spot", _BEST_MATCH),
    _trades("spot", _BEST_MATCH),
    _klines("spot"),
)

DATASETS: dict[tuple[Market, str], DatasetSpec] = {(s.market, s.name): s for s in _SPECS}
"""Every dataset that Phoenix reads, by (market, name)."""


def dataset(market: Market, name: str) -> DatasetSpec:
    """The spec of a dataset.

    >>> dataset("futures", "aggTrades").key
    ('agg_trade_id',)

    Raises SchemaError that lists the market's datasets when there is none of that name.
    """
    spec = DATASETS.get((market, name))
    if spec is None:
        known = ", ".join(n for m, n in DATASETS if m == market)
        raise SchemaError(f"dataset must be one of {known} (was {name!r}, market {market})")
    return spec
