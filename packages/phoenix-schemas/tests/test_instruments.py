"""What is assumed of each instrument, and what NautilusTrader makes of it."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest
from phoenix_schemas.errors import ConfigError, InstrumentError
from phoenix_schemas.instruments import (
    default_specs_text,
    instrument_for_symbol,
    load_instrument_specs,
)

SPECS = load_instrument_specs()
CONFIGS = Path(__file__).parents[3] / "configs"


def test_the_packaged_specifications_are_those_of_configs() -> None:
    assert (CONFIGS / "instrument_specs.yaml").read_text("utf-8") == default_specs_text()


def test_what_is_shipped() -> None:
    assert set(SPECS) == {
        *(f"{s}USDT-PERP.BINANCE" for s in ("BTC", "ETH", "AVAX", "NEAR", "FIL", "LINK")),
        "BTCUSDT.BINANCE",
    }
    btc = SPECS["BTCUSDT-PERP.BINANCE"]
    assert (btc.price_precision, btc.price_increment) == (2, Decimal("0.10"))
    assert (btc.size_precision, btc.size_increment) == (3, Decimal("0.001"))
    assert (btc.maker_fee, btc.taker_fee) == (Decimal("0.0002"), Decimal("0.0004"))
    assert "assumed / acceptance baseline" in default_specs_text()


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_nautilus_takes_every_specification(spec) -> None:
    instrument = spec.to_nautilus(ts=7)
    assert str(instrument.id) == spec.instrument_id
    assert (instrument.price_precision, instrument.size_precision) == (
        spec.price_precision, spec.size_precision,
    )  # fmt: skip
    assert instrument.price_increment.as_decimal() == spec.price_increment
    assert instrument.size_increment.as_decimal() == spec.size_increment
    assert instrument.min_quantity.as_decimal() == spec.min_quantity
    assert instrument.max_quantity.as_decimal() == spec.max_quantity
    assert instrument.min_notional.as_decimal() == spec.min_notional
    assert Decimal(str(instrument.margin_init)) == spec.margin_init
    assert (instrument.ts_event, instrument.ts_init) == (7, 7)


def test_symbols_are_found_in_their_market() -> None:
    assert instrument_for_symbol(SPECS, "BTCUSDT", "futures") is SPECS["BTCUSDT-PERP.BINANCE"]
    assert instrument_for_symbol(SPECS, "BTCUSDT", "spot") is SPECS["BTCUSDT.BINANCE"]
    assert instrument_for_symbol(SPECS, "ETHUSDT", "spot") is None


def test_leverage_is_one_over_the_initial_margin() -> None:
    spec = SPECS["BTCUSDT-PERP.BINANCE"]
    assert spec.with_leverage(10).margin_init == Decimal("0.1")
    for wrong in (0, -1, Decimal("0.5"), Decimal("NaN")):
        with pytest.raises(InstrumentError, match="leverage must be at least 1"):
            spec.with_leverage(wrong)
    with pytest.raises(InstrumentError, match=r"must keep initial margin above .* at most 250"):
        spec.with_leverage(300)


@pytest.mark.parametrize(
    ("pattern", "wrong", "said"),
    [
        (r'price_increment: "0.10"', 'price_increment: "0.101"',
         r"\$.instruments\[0\].price_increment: must fit the precision of 2 decimals \(was 0.101\)"),
        (r'size_increment: "0.001"', 'size_increment: "0"', "size_increment: must be positive"),
        (r'min_quantity: "0.001"', 'min_quantity: "2000"',
         r"min_quantity: must not exceed max_quantity 1000 \(was 2000\)"),
        (r'taker_fee: "0.0004"', 'taker_fee: "-1"', "taker_fee: must not be negative"),
        (r'margin_maint: "0.004"', 'margin_maint: "0.006"',
         r"margin_maint: must not exceed margin_init 0.005 \(was 0.006\)"),
        ("class: perp", "class: future", "expected one of 'perp', 'spot'"),
        ("instrument_id: BTCUSDT-PERP.BINANCE", "instrument_id: BTCUSDT.BINANCE",
         "instrument_id: must be BTCUSDT-PERP.BINANCE for a perp"),
        ("instrument_id: ETHUSDT-PERP.BINANCE", "instrument_id: BTCUSDT-PERP.BINANCE",
         r"\$.instruments\[1\].instrument_id: BTCUSDT-PERP.BINANCE must appear once"),
        ("price_precision: 2", "price_precision: 17", "expected int <= 16"),
        ("base_currency: BTC", "base_currency: ''", "base_currency: must be a currency's code"),
    ],
)  # fmt: skip
def test_a_specification_that_contradicts_itself_is_refused(
    tmp_path: Path, pattern: str, wrong: str, said: str
) -> None:
    path = tmp_path / "specs.yaml"
    text = default_specs_text()
    assert re.search(pattern, text)
    path.write_text(re.sub(pattern, wrong, text, count=1), "utf-8")
    with pytest.raises(ConfigError, match=said) as caught:
        load_instrument_specs(path)
    assert str(caught.value).startswith(f"{path}")
