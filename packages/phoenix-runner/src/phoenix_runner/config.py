"""The suite file: every key, its type, unit and default.

A suite is YAML. `load_suite` in `suite` reads it into a [SuiteConfig][] and checks what no single
key can say. Relative paths are relative to the current directory. Durations are written with their
unit: `"500ms"`, `"90s"`, `"15m"`, `"6h"`, `"30d"`; times are ISO 8601 in UTC, and every range
excludes its end.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from phoenix_schemas.timestamps import (
    NS_PER_DAY,
    NS_PER_HOUR,
    NS_PER_MINUTE,
    NS_PER_MS,
    NS_PER_SECOND,
    parse_utc,
)

_UNITS = {
    "ms": NS_PER_MS, "s": NS_PER_SECOND, "m": NS_PER_MINUTE, "h": NS_PER_HOUR, "d": NS_PER_DAY,
}  # fmt: skip
_DURATION = re.compile(r"(\d+)(ms|s|m|h|d)")
_BALANCE = re.compile(r"\d+(?:\.\d+)? [A-Z0-9]+")

Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Bps = Annotated[float, msgspec.Meta(ge=0.0, le=1_000.0)]
"""Up to a tenth of the price; what is assumed beyond that is a mistake of units."""
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=NS_PER_DAY // NS_PER_MS)]
PathText = Annotated[str, msgspec.Meta(min_length=1, pattern=r"^[^\0]*$")]
LONGEST_YEARS = 20
"""Perpetuals of Binance exist since 2019, and each minute of a range costs, also without data."""

DataType = Literal[
    "QuoteTick",
    "TradeTick",
    "Bar",
    "MarkPriceUpdate",
    "IndexPriceUpdate",
    "BinanceBookDepthPct",
    "BinanceOiMetrics",
    "BinanceFundingRate",
    "BinanceIndexPriceKline",
    "BinancePremiumIndex",
    "BinanceKlineExtras",
]
FundingMode = Literal["settle", "flat", "off"]
FeeTier = Literal[
    "VIP0", "VIP1", "VIP2", "VIP3", "VIP4", "VIP5", "VIP6", "VIP7", "VIP8", "VIP9"
]  # fmt: skip


def duration_ns(text: str) -> int:
    """Nanoseconds of a duration with its unit.

    >>> duration_ns("15m") // 10**9
    900
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f'duration must carry a unit, as "90s", "15m" or "6h" (was {text!r})')
    return int(match[1]) * _UNITS[match[2]]


def duration_text(ns: int) -> str:
    """A duration in its largest whole unit, as suites write it.

    >>> [duration_text(n * 10**9) for n in (0, 90, 7_200, 172_800)]
    ['0s', '90s', '2h', '2d']
    """
    for unit in ("d", "h", "m", "s"):
        if ns and ns % _UNITS[unit] == 0:
            return f"{ns // _UNITS[unit]}{unit}"
    return f"{ns / NS_PER_SECOND:g}s"


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every section: frozen, closed."""


class CatalogSection(Section, frozen=True, kw_only=True):
    """Where the data are."""

    path: PathText
    manifest_path: str | None = None
    """Default: `manifest.json` in the catalog."""
    instrument_specs_path: str | None = None
    """Default: the specs kept beside the catalog, else the packaged baseline."""


class OutputSection(Section, frozen=True, kw_only=True):
    """Where the bundle goes; nothing here changes a result."""

    dir: PathText = "runs"
    suite_name: str = "suite"
    overwrite: bool = False
    """Run again although this very experiment is finished, and replace it."""


class UniverseSection(Section, frozen=True, kw_only=True):
    """What is traded, and with what account."""

    instrument_ids: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    venue: Literal["BINANCE"] = "BINANCE"
    oms_type: Literal["NETTING"] = "NETTING"
    account_type: Literal["MARGIN"] = "MARGIN"
    book_type: str = "L1_MBP"
    base_currency: str | None = None
    """The currency the account is kept in: that in which the universe settles, or None for the same."""
    starting_balances: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = ("10000 USDT",)
    """One amount, in the currency in which the universe settles."""
    leverage: Decimal | None = None
    """Initial margin is 1 / leverage of notional; None takes `margin_init` of the specs."""

    def __post_init__(self) -> None:
        if self.book_type != "L1_MBP":
            raise ValueError(
                f"book_type must be L1_MBP (was {self.book_type}); the archive has no order-book "
                "deltas to build a deeper book from"
            )
        for balance in self.starting_balances:
            if _BALANCE.fullmatch(balance) is None:
                raise ValueError(
                    f'starting_balances must be amount and currency, as "10000 USDT" '
                    f"(was {balance!r})"
                )
            if Decimal(balance.split()[0]) == 0:
                raise ValueError(
                    f'starting_balances must be more than nothing (was {balance!r}); "10000 USDT" is '
                    "typical"
                )
        if len(self.starting_balances) > 1:
            raise ValueError(
                f"starting_balances must be one amount (was {', '.join(self.starting_balances)}); all "
                "contracts of a run are settled from it"
            )
        if len(set(self.instrument_ids)) < len(self.instrument_ids):
            raise ValueError("instrument_ids must name each instrument once")


class DataSection(Section, frozen=True, kw_only=True):
    """What is replayed."""

    include: Annotated[tuple[DataType, ...], msgspec.Meta(min_length=1)] = ("Bar",)
    bars_from_trades: bool = False
    """Build the 1-minute bars from the trades, as Binance builds its klines, instead of reading
    them from the catalog."""


class TimeSection(Section, frozen=True, kw_only=True):
    """When. Trading goes from `start_utc` to `end_utc` (excluded)."""

    start_utc: str
    end_utc: str
    warmup: str = "0s"
    """Data before `start_utc` that feed signals but cannot trade and are not scored."""

    def __post_init__(self) -> None:
        duration_ns(self.warmup)
        if self.end_ns <= self.start_ns:
            raise ValueError(
                f"end_utc must be after start_utc {self.start_utc} (was {self.end_utc}); "
                "the end is excluded"
            )
        for name, ns in (
            ("start_utc", self.start_ns),
            ("end_utc", self.end_ns),
            ("warmup", self.warmup_ns),
        ):
            if ns % NS_PER_MINUTE:
                raise ValueError(f"{name} must be whole minutes (was {getattr(self, name)})")
        if self.warmup_ns > self.start_ns:
            raise ValueError(
                f"warmup must begin after 1970 (was {self.warmup} before {self.start_utc}); 2h is "
                "typical"
            )
        if self.end_ns - self.start_ns + self.warmup_ns > LONGEST_YEARS * 366 * NS_PER_DAY:
            raise ValueError(
                f"end_utc must be at most {LONGEST_YEARS} years after the start of the warm-up (was "
                f"{self.start_utc} to {self.end_utc}, warmup {self.warmup})"
            )

    @property
    def start_ns(self) -> int:
        return parse_utc(self.start_utc)

    @property
    def end_ns(self) -> int:
        return parse_utc(self.end_utc)

    @property
    def warmup_ns(self) -> int:
        return duration_ns(self.warmup)


class Screen(Section, frozen=True, kw_only=True):
    """Put all sets in order by batch signals and a simple fill rule first, see `screening`."""

    keep: Annotated[int, msgspec.Meta(ge=1)] = 5
    """How many of the best are replayed on each training range, where the choice is made."""


class Search(Section, frozen=True, kw_only=True):
    """Parameter sets to try: each key path of the suite with its values."""

    parameters: Annotated[dict[str, list[Any]], msgspec.Meta(min_length=1)]
    """For instance `strategy.config.fast_bars: [5, 10, 20]`."""
    method: Literal["grid", "random"] = "grid"
    """Every combination, or `samples` of them drawn from `determinism_seed`."""
    samples: Annotated[int, msgspec.Meta(ge=1)] | None = None
    screen: Screen | None = None
    """None replays every set. Of a walk-forward only."""

    def __post_init__(self) -> None:
        for key, values in self.parameters.items():
            if not values:
                raise ValueError(f"parameters must have a value for each key (had none for {key})")
            for index, value in enumerate(values):
                if any(value == other for other in values[:index]):
                    raise ValueError(
                        f"parameters must have each value of {key} once (was {value!r} twice); every "
                        "set counts as a trial"
                    )
        if (self.method == "random") != (self.samples is not None):
            raise ValueError("samples must go with method: random, and the other way round")


class SingleMode(Section, frozen=True, kw_only=True, tag_field="kind", tag="single"):
    """One run over the whole range."""


class WalkForwardMode(Section, frozen=True, kw_only=True, tag_field="kind", tag="walk_forward"):
    """Choose on training ranges, judge on the test ranges that follow them.

    T_j = start + train + j step; train [T_j - train, T_j - purge) (anchored: from the start), test
    [T_j + embargo, T_j + embargo + test). Test ranges must begin and end at midnight UTC.
    """

    train: str
    test: str
    step: str | None = None
    """Default: `test`."""
    purge: str = "0s"
    """At least `horizon`."""
    embargo: str = "0s"
    horizon: str = "0s"
    """The longest holding or label horizon of the strategy."""
    folds: Literal["rolling", "anchored"] = "rolling"
    objective: Literal["net", "sharpe", "return_over_drawdown"] = "sharpe"
    """What a set is chosen by on its training range, after all costs."""
    search: Search
    declared_trials: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Parameter sets tried on these data before, outside this suite."""
    overfitting: bool = True
    """Replay every set over the whole range too, for the probability of backtest overfitting."""

    def __post_init__(self) -> None:
        for name in ("train", "test", "step", "purge", "embargo", "horizon"):
            value = getattr(self, name)
            if value is not None:
                duration_ns(value)


class SweepMode(Section, frozen=True, kw_only=True, tag_field="kind", tag="sweep"):
    """Every parameter set over the whole range: what was tried, not what to expect."""

    search: Search


class AblationMode(Section, frozen=True, kw_only=True, tag_field="kind", tag="ablation"):
    """Named variants of the suite over the whole range, the suite itself first."""

    variants: Annotated[dict[str, dict[str, Any]], msgspec.Meta(min_length=1)]
    """For each name the key paths that differ, as `no_queue: {execution.queue_position: false}`."""


class CostsMode(Section, frozen=True, kw_only=True, tag_field="kind", tag="costs"):
    """The suite again under other costs, one assumption changed at a time."""

    fee_tiers: tuple[FeeTier, ...] = ("VIP0", "VIP3", "VIP6", "VIP9")
    insert_latencies_ms: tuple[Milliseconds, ...] = (0, 20, 100, 500)
    prob_slippages: tuple[Share, ...] = (0.5, 1.0)
    """For suites with quotes."""
    spreads_bps: tuple[Bps, ...] = (0.0, 1.0, 2.0, 5.0, 10.0)
    """For suites without: the spread assumed around each bar's close."""
    slippages_bps: tuple[Bps, ...] = (0.5, 2.0)
    """For suites without: what each order pays beyond half the spread."""


Mode = SingleMode | WalkForwardMode | SweepMode | AblationMode | CostsMode


class StrategySection(Section, frozen=True, kw_only=True):
    """Who trades. `config` holds the strategy's own settings."""

    name: str = "ema_cross"
    config: dict[str, Any] = {}


HIGHEST_FEE = Decimal("0.01")
"""No venue of perpetuals charges 1 % of notional: a rate like that is a percentage by mistake."""
HIGHEST_FUNDING = Decimal("0.05")
"""Nor does funding exceed a few percent an interval, either way."""


RATE_DECIMALS = 16
"""More than any venue states, and as many as the engine's decimals hold beside whole digits."""


class FeesSection(Section, frozen=True, kw_only=True):
    """What trading costs: the instrument's spec, a tier of the venue, or rates of your own."""

    source: Literal["spec", "tier", "rates"] = "spec"
    tier: Literal[
        "VIP0", "VIP1", "VIP2", "VIP3", "VIP4", "VIP5", "VIP6", "VIP7", "VIP8", "VIP9"
    ] = "VIP0"
    """Used with `source: tier`: USD-M tiers as Binance published them in 2024, without discounts."""
    maker: Decimal | None = None
    taker: Decimal | None = None
    """Used with `source: rates`: fractions of notional; a negative maker rate is a rebate."""

    def __post_init__(self) -> None:
        rates = (self.maker, self.taker)
        if self.source == "rates" and None in rates:
            raise ValueError("maker and taker must both be given with source: rates")
        if self.source != "rates" and rates != (None, None):
            raise ValueError(f"maker and taker must go with source: rates (was {self.source})")
        if self.source != "tier" and self.tier != "VIP0":
            raise ValueError(f"tier must go with source: tier (was {self.source})")
        if self.maker is None or self.taker is None:
            return
        if not (self.taker.is_finite() and 0 <= self.taker < HIGHEST_FEE):
            raise ValueError(
                f"taker must be a fraction of notional from 0 to below {HIGHEST_FEE} (was "
                f"{self.taker}); 0.0005 is typical"
            )
        if not (self.maker.is_finite() and -self.taker <= self.maker < HIGHEST_FEE):
            raise ValueError(
                f"maker must be a fraction of notional below {HIGHEST_FEE}, and as a rebate at most "
                f"the taker's fee {self.taker} (was {self.maker}); 0.0002 is typical"
            )


class LatencySection(Section, frozen=True, kw_only=True):
    """Time from a decision to the venue."""

    insert_ms: Milliseconds = 0
    update_ms: Milliseconds = 0
    cancel_ms: Milliseconds = 0


class FillSection(Section, frozen=True, kw_only=True):
    """Luck at the touch, drawn from `determinism_seed`."""

    prob_fill_on_limit: Share = 1.0
    """Chance that a resting order fills when the market touches it without trading through."""
    prob_slippage: Share = 0.0
    """Chance that an order which takes liquidity fills one tick worse."""


class BarExecutionSection(Section, frozen=True, kw_only=True):
    """How bars make a market in a suite without quotes.

    Each bar's close c stands as bid c (1 - x) and ask c (1 + x), x = (spread_bps / 2 + slippage_bps)
    / 10,000, rounded outward to the tick, until the next bar. Orders sent on a bar fill there.
    """

    spread_bps: Bps
    slippage_bps: Bps = 0.0


class LiquidationSection(Section, frozen=True, kw_only=True):
    """Forced closing when equity falls below `trigger_ratio` times maintenance margin."""

    enabled: bool = False
    trigger_ratio: Annotated[float, msgspec.Meta(gt=0.0)] = 1.0


class ExecutionSection(Section, frozen=True, kw_only=True):
    """How orders meet the market."""

    fees: FeesSection = FeesSection()
    latency: LatencySection = LatencySection()
    fill: FillSection = FillSection()
    trade_execution: bool | None = None
    """Trades of the archive fill resting orders. Default: on if trades are replayed and the strategy
    posts limit orders."""
    queue_position: bool | None = None
    """A resting order waits until the size displayed ahead of it has traded. Default: as
    `trade_execution`."""
    liquidity_consumption: bool = False
    """Displayed size that was taken is gone until the quote changes."""
    bar_execution: BarExecutionSection | None = None
    """Needed exactly when no quotes are replayed."""
    liquidation: LiquidationSection = LiquidationSection()

    def __post_init__(self) -> None:
        if self.queue_position and self.trade_execution is False:
            raise ValueError(
                "queue_position must go with trade_execution: true; only trades move a queue"
            )


class FundingSection(Section, frozen=True, kw_only=True):
    """What holding a perpetual pays or costs.

    `settle` uses the archive's rates; `flat` one rate at every boundary; `off` nothing.
    """

    mode: FundingMode = "settle"
    flat_rate: Decimal = Decimal("0.0001")
    """Used with `mode: flat`: fraction of notional per interval; longs pay a positive rate."""
    interval_hours: Literal[1, 2, 4, 8] = 8
    """Used with `mode: flat`."""

    def __post_init__(self) -> None:
        if self.mode != "flat":
            for name, default in (("flat_rate", Decimal("0.0001")), ("interval_hours", 8)):
                if getattr(self, name) != default:
                    raise ValueError(
                        f"{name} must go with mode: flat (was {self.mode}, which does not use it)"
                    )
        exponent = self.flat_rate.as_tuple().exponent
        if isinstance(exponent, int) and exponent < -RATE_DECIMALS:
            raise ValueError(
                f"flat_rate must have at most {RATE_DECIMALS} decimals (was {self.flat_rate}); 0.0001 "
                "is typical"
            )
        if not (self.flat_rate.is_finite() and abs(self.flat_rate) < HIGHEST_FUNDING):
            raise ValueError(
                f"flat_rate must be a fraction of notional within {HIGHEST_FUNDING} either way (was "
                f"{self.flat_rate}); 0.0001 is typical"
            )


class SignalPin(Section, frozen=True, kw_only=True):
    """An estimator version that the experiment relies on."""

    id: str
    version: Annotated[int, msgspec.Meta(ge=1)]


class TraceSection(Section, frozen=True, kw_only=True):
    """What a run writes down beyond its results."""

    decisions: bool = False
    """Every decision: values, gates that refused, what was intended."""
    signals: bool = False
    """Every record of the signal engine."""


class SuiteConfig(Section, frozen=True, kw_only=True):
    """A whole suite."""

    schema_version: Literal["1"] = "1"
    catalog: CatalogSection
    output: OutputSection = OutputSection()
    universe: UniverseSection
    data: DataSection = DataSection()
    time: TimeSection
    mode: Mode = SingleMode()
    strategy: StrategySection = StrategySection()
    execution: ExecutionSection = ExecutionSection()
    funding: FundingSection | FundingMode = FundingSection()
    determinism_seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0
    signals: tuple[SignalPin, ...] = ()
    trace: TraceSection = TraceSection()

    @property
    def funding_section(self) -> FundingSection:
        """`funding`, also where the file has only its mode."""
        funding = self.funding
        return funding if isinstance(funding, FundingSection) else FundingSection(mode=funding)
