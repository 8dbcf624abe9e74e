"""What is assumed of each instrument: precisions, increments, limits, margins, fees.

The specifications come from one YAML file (`instrument_specs.yaml`; a packaged baseline marked
"assumed / acceptance baseline" is the default) and are copied beside every catalog, so an experiment
can show what it assumed. Nothing infers a specification from market data.
"""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from phoenix_schemas.errors import ConfigError, InstrumentError
from phoenix_schemas.yaml_config import load_yaml, parse_yaml

if TYPE_CHECKING:
    from nautilus_trader.model import CryptoPerpetual, CurrencyPair

Precision = Annotated[int, msgspec.Meta(ge=0, le=16)]


class InstrumentSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One instrument, as assumed.

    Prices in quote currency, sizes in base units, `min_notional` in quote currency, margins and fees
    as fractions of notional. A stored value may use up to `price_precision` (`size_precision`)
    decimals; an order's price (size) is a multiple of `price_increment` (`size_increment`).
    """

    instrument_id: str
    class_: Literal["perp", "spot"] = msgspec.field(name="class")
    raw_symbol: str
    base_currency: str
    quote_currency: str
    settlement_currency: str
    is_inverse: bool
    price_precision: Precision
    size_precision: Precision
    price_increment: Decimal
    size_increment: Decimal
    min_quantity: Decimal
    max_quantity: Decimal
    min_notional: Decimal
    margin_init: Decimal
    margin_maint: Decimal
    maker_fee: Decimal
    taker_fee: Decimal

    @property
    def market(self) -> Literal["futures", "spot"]:
        return "futures" if self.class_ == "perp" else "spot"

    def with_leverage(self, leverage: Decimal | int) -> InstrumentSpec:
        """The same instrument with `margin_init = 1 / leverage`, Binance's meaning of leverage."""
        leverage = Decimal(leverage)
        if not leverage.is_finite() or leverage < 1:
            raise InstrumentError(f"leverage must be at least 1 (was {leverage}); 10 is typical")
        margin = (1 / leverage).quantize(Decimal("1e-8"))
        if margin < self.margin_maint:
            raise InstrumentError(
                f"leverage must keep initial margin above the maintenance margin {self.margin_maint} "
                f"of {self.instrument_id} (was {leverage}); at most {1 / self.margin_maint:f}"
            )
        return msgspec.structs.replace(self, margin_init=margin)

    def to_nautilus(self, ts: int = 0) -> CryptoPerpetual | CurrencyPair:
        """The NautilusTrader instrument, stamped `ts` (ns UTC)."""
        from nautilus_trader.model import (
            CryptoPerpetual,
            Currency,
            CurrencyPair,
            InstrumentId,
            Money,
            Price,
            Quantity,
            Symbol,
        )

        def size(value: Decimal) -> Quantity:
            return Quantity.from_str(f"{value:.{self.size_precision}f}")

        quote = Currency.from_str(self.quote_currency)
        common: dict[str, Any] = {
            "instrument_id": InstrumentId.from_str(self.instrument_id),
            "raw_symbol": Symbol(self.raw_symbol),
            "base_currency": Currency.from_str(self.base_currency),
            "quote_currency": quote,
            "price_precision": self.price_precision,
            "size_precision": self.size_precision,
            "price_increment": Price.from_str(f"{self.price_increment:.{self.price_precision}f}"),
            "size_increment": size(self.size_increment),
            "min_quantity": size(self.min_quantity),
            "max_quantity": size(self.max_quantity),
            "min_notional": Money.from_str(f"{self.min_notional} {self.quote_currency}"),
            "margin_init": self.margin_init,
            "margin_maint": self.margin_maint,
            "ts_event": ts,
            "ts_init": ts,
        }
        if self.class_ == "spot":
            return CurrencyPair(**common)
        settlement = Currency.from_str(self.settlement_currency)
        return CryptoPerpetual(settlement_currency=settlement, is_inverse=self.is_inverse, **common)


class InstrumentSpecs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of specifications and where they come from."""

    status: str
    instruments: list[InstrumentSpec]


def default_specs_text() -> str:
    """The packaged baseline, as YAML text."""
    source = resources.files("phoenix_schemas") / "instrument_specs.yaml"
    return source.read_text(encoding="utf-8")


@cache
def _default_specs() -> InstrumentSpecs:
    return parse_yaml(default_specs_text(), InstrumentSpecs, source="instrument_specs.yaml")


def load_instrument_specs(path: Path | str | None = None) -> dict[str, InstrumentSpec]:
    """Specifications by instrument id, from a file or (None) the packaged baseline.

    >>> load_instrument_specs()["BTCUSDT-PERP.BINANCE"].price_increment
    Decimal('0.10')

    Raises ConfigError that names file, line and key for a file that is wrong.
    """
    if path is None:
        source, specs = "instrument_specs.yaml (packaged)", _default_specs()
    else:
        source, specs = str(path), load_yaml(path, InstrumentSpecs)
    found: dict[str, InstrumentSpec] = {}
    for position, spec in enumerate(specs.instruments):
        where = f"{source}: at $.instruments[{position}]"
        if spec.instrument_id in found:
            raise ConfigError(f"{where}.instrument_id: {spec.instrument_id} must appear once")
        _check(spec, where)
        found[spec.instrument_id] = spec
    return found


def instrument_for_symbol(
    specs: dict[str, InstrumentSpec], symbol: str, market: str
) -> InstrumentSpec | None:
    """The specification of an archive's symbol in a market ("futures" or "spot"), if there is one."""
    for spec in specs.values():
        if spec.raw_symbol == symbol and spec.market == market:
            return spec
    return None


def _check(spec: InstrumentSpec, where: str) -> None:
    for name, precision in (
        ("price_increment", spec.price_precision),
        ("size_increment", spec.size_precision),
        ("min_quantity", spec.size_precision),
        ("max_quantity", spec.size_precision),
    ):
        value = getattr(spec, name)
        if not value.is_finite() or value <= 0:
            raise ConfigError(f"{where}.{name}: must be positive (was {value})")
        if value != round(value, precision):
            raise ConfigError(
                f"{where}.{name}: must fit the precision of {precision} decimals (was {value})"
            )
    for name in ("min_notional", "margin_init", "margin_maint", "maker_fee", "taker_fee"):
        value = getattr(spec, name)
        if not value.is_finite() or (value < 0 and name != "maker_fee"):  # a rebate is negative
            raise ConfigError(f"{where}.{name}: must not be negative (was {value})")
    for name, bound in (("min_quantity", "max_quantity"), ("margin_maint", "margin_init")):
        value, limit = getattr(spec, name), getattr(spec, bound)
        if value > limit:
            raise ConfigError(f"{where}.{name}: must not exceed {bound} {limit} (was {value})")
    for name in ("base_currency", "quote_currency", "settlement_currency"):
        value = getattr(spec, name)
        if not value.isalnum() or not value.isascii():
            raise ConfigError(f"{where}.{name}: must be a currency's code (was {value!r})")
    suffix = "-PERP.BINANCE" if spec.class_ == "perp" else ".BINANCE"
    expected = f"{spec.raw_symbol}{suffix}"
    if spec.instrument_id != expected:
        raise ConfigError(
            f"{where}.instrument_id: must be {expected} for a {spec.class_} "
            f"(was {spec.instrument_id})"
        )
