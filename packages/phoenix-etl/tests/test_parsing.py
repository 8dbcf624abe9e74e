"""Text into exact columns: the fast and the strict reading agree, and no value changes."""

from __future__ import annotations

import gzip
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from phoenix_etl.errors import SourceError
from phoenix_etl.parsing import (
    BlockParser,
    Parsed,
    Precisions,
    _exact_floats,
    sniff_header,
    written_decimals,
)
from phoenix_etl.reading import Block
from phoenix_schemas.datasets import DATASETS, Column, DatasetSpec, Kind

PRECISIONS = Precisions(2, 3)
AGG_TRADES = DATASETS["futures", "aggTrades"]
METRICS = DATASETS["futures", "metrics"]

USUAL = {
    Kind.PRICE: ["42000.10", "1", "71799.36", "1e2", ".5", "5.", "-1.5", "0E-8", "+7", "1.50000"],
    Kind.SIZE: ["0.001", "12", "3.5", "0.0000", "000.5"],
    Kind.PRICE_8: ["42000.12345678", "-0.00012345", "92233720368.5"],
    Kind.AMOUNT: ["123.456789", "0", "17014118346046", "-17014118346046.0", "0.0000000000000001",
                  "12345678901234.1234567890123456"],
    Kind.RATIO: ["1.5", "-5", "-5.00", "0E-8", "0.20", "1.23456789"],
    Kind.INTEGER: ["1", "123456789", "-5", "0007", "999999999999999999"],
    Kind.EPOCH: ["1704067200123", "1704067200"],
    Kind.DATETIME: ["2024-01-01 00:05:00", "2024-02-29 23:59:59"],
    Kind.FLAG: ["true", "False", "True", "false"],
    Kind.TEXT: ["BTCUSDT"],
    Kind.UNUSED: ["0", ""],
}  # fmt: skip
PIECES = [
    *"0123456789.-+eE: TZxXnaNiIft_,\"'\r\t \x00é٣", "true", "null", "NaN", "inf", "e400", "E-999",
    "0" * 45, "9" * 20, "\ufeff", "E+00000000005", "e9999999999999999999", "." + "0" * 40, "-0",
    "9223372036854775808", "92233720368.54775808", "17014118346046.0000000000000001",
]  # fmt: skip


@st.composite
def lines(draw: st.DrawFn, spec: DatasetSpec | None = None) -> tuple[DatasetSpec, str]:
    """A line of some dataset with up to three small damages."""
    spec = spec or draw(st.sampled_from(list(DATASETS.values())))
    cells = [draw(st.sampled_from(USUAL[c.kind])) for c in spec.columns]
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(cells) - 1))
        cell, piece = cells[at], draw(st.sampled_from(PIECES))
        start = draw(st.integers(0, len(cell)))
        end = draw(st.integers(start, len(cell)))
        cells[at] = cell[:start] + piece + cell[end:]
    return spec, ",".join(cells)


def parse(spec: DatasetSpec, data: bytes) -> tuple[Parsed, Parsed]:
    """The block as it is read, and line by line."""
    # The scale that the first line writes is what a real file would be read at.
    first = data.split(b"\n")[0].decode("utf-8", "replace")
    parser = BlockParser(spec.columns, PRECISIONS, written_decimals(spec.columns, first))
    block = Block(1, data, data.count(b"\n"))
    return parser(block), parser._strict(block)


def meant(column: Column, value: object) -> Decimal:
    if column.kind in (Kind.PRICE, Kind.SIZE, Kind.PRICE_8):
        return Decimal(value).scaleb(-PRECISIONS.of(column.kind))
    return Decimal(repr(value) if isinstance(value, float) else value)


@settings(max_examples=400, deadline=None)
@given(lines())
@example((AGG_TRADES, "1,3.5E-999,1,1,1,1704067200123,true"))  # pyarrow reads 0
@example((AGG_TRADES, "1,1,1,1,-9223372036854775808,1704067200123,true"))  # has no int64 negative
@example((METRICS, "2024-01-01,BTCUSDT, 1,1,1,1,1,1"))  # a blank where none belongs
@example((METRICS, "2024-01-01 0005,BTCUSDT,1,1,1,1,1,1"))
def test_both_readings_agree_and_keep_every_value(line: tuple[DatasetSpec, str]) -> None:
    spec, text = line
    fast, strict = parse(spec, text.encode() + b"\n")
    assert fast.table.equals(strict.table)
    assert fast.rejects == strict.rejects
    assert fast.blank_lines == strict.blank_lines
    if fast.table.num_rows:
        numbers = {Kind.PRICE, Kind.SIZE, Kind.PRICE_8, Kind.AMOUNT, Kind.INTEGER, Kind.RATIO}
        for column, cell in zip(spec.columns, text.removesuffix("\r").split(","), strict=True):
            if column.kind in numbers and cell:
                value = fast.table.column(column.name)[0].as_py()
                assert meant(column, value) == Decimal(cell)


@settings(max_examples=60, deadline=None)
@given(st.lists(lines(AGG_TRADES), max_size=6), st.booleans())
def test_a_bad_line_costs_no_other_line(found: list[tuple[DatasetSpec, str]], crlf: bool) -> None:
    end = "\r\n" if crlf else "\n"
    data = "".join(f"{text}{end}" for _, text in found).encode()
    whole, _ = parse(AGG_TRADES, data)
    alone = [parse(AGG_TRADES, f"{text}{end}".encode())[0] for _, text in found]
    assert whole.table.num_rows == sum(p.table.num_rows for p in alone)
    kept = [n for n, p in enumerate(alone, start=1) if p.table.num_rows]
    assert whole.lines.tolist() == kept
    assert [r.line for r in whole.rejects] == [n for n, p in enumerate(alone, 1) if p.rejects]


@pytest.mark.parametrize(
    ("cell", "column", "reason"),
    [
        ("42000.123", 1, "price needs 3 decimals where the catalog keeps 2 (was '42000.123')"),
        ("0.0005", 2, "quantity needs 4 decimals where the catalog keeps 3 (was '0.0005')"),
        ("17014118346047", 1, "price must be within +-17014118346046 (was '17014118346047')"),
        ("1.70027E+12", 5, "transact_time must be a whole number (was '1.70027E+12')"),
        ("yes", 6, "is_buyer_maker must be true or false (was 'yes')"),
        ("1", 6, "is_buyer_maker must be true or false (was '1')"),
        ("TRUE", 6, "is_buyer_maker must be true or false (was 'TRUE')"),
        ("NaN", 1, "price must be a decimal number (was 'NaN')"),
        ("0x10", 0, "agg_trade_id must be a whole number (was '0x10')"),
        ("", 1, "price must not be blank"),
        # Arrow looks these up far outside its table of powers of ten; see hostile_input.py.
        ("1e-999999999", 1, "price must be a decimal number (was '1e-999999999')"),
        ("0e-999", 6, "is_buyer_maker must be true or false (was '0e-999')"),
    ],
)
def test_a_rejected_cell_says_why(cell: str, column: int, reason: str) -> None:
    cells = ["1", "42000.10", "0.5", "1", "2", "1704067200123", "true"]
    cells[column] = cell
    parsed, _ = parse(AGG_TRADES, ",".join(cells).encode() + b"\n")
    assert [r.reason for r in parsed.rejects] == [reason]
    assert parsed.table.num_rows == 0


def test_an_exponent_does_not_hide_behind_a_flag_without_its_e() -> None:
    """As many `e` as lines: only what follows them tells an exponent, which can end the process."""
    lines = [b"1,1e-999999999,0.5,1,2,1704067200123,tru", b"2,1,0.5,1,2,1704067200123,True"]
    parsed, strict = parse(AGG_TRADES, b"\n".join(lines) + b"\n")
    (reject,) = parsed.rejects
    assert reject.reason == "price must be a decimal number (was '1e-999999999')"
    assert parsed.table.equals(strict.table)


def test_bytes_that_are_no_text_are_rejected_as_they_stand() -> None:
    parsed, _ = parse(AGG_TRADES, b"1,42000.10,0.5,1,2,1704067200123,tr\xffue\n")
    (reject,) = parsed.rejects
    assert reject.reason == "bytes must be UTF-8"
    assert reject.text.endswith(r"tr\xffue")


def test_a_ratio_that_a_float_cannot_show_is_rejected() -> None:
    row = "2024-01-01 00:05:00,BTCUSDT,1,1,1.2345678901234567890123,1,1,1"
    parsed, _ = parse(METRICS, row.encode() + b"\n")
    (reject,) = parsed.rejects
    assert "must equal its shortest float64 form" in reject.reason


@given(st.lists(st.from_regex(r"-?[0-9]{1,12}(\.[0-9]{1,12})?", fullmatch=True) | st.none()))
@example(["0.1", "2.5", None, "-5.00", "0.30000000", "123456789012.12"])
@example(["0.1", "0.1234567890123456789"])
def test_ratios_are_the_nearest_floats_and_exact(texts: list[str | None]) -> None:
    found = _exact_floats(pa.array(texts, pa.string()))
    exact = all(t is None or Decimal(t) == Decimal(repr(float(t))) for t in texts)
    assert (found is not None) == exact
    if found is not None:
        assert [repr(v) for v in found.to_pylist()] == [
            repr(None if t is None else float(t)) for t in texts
        ]


def test_a_header_is_known_by_its_names() -> None:
    header = ",".join(c.name for c in AGG_TRADES.columns)
    columns, found = sniff_header(AGG_TRADES, header, "f.csv")
    assert found
    assert columns == AGG_TRADES.columns


def test_a_header_may_name_the_columns_in_another_order() -> None:
    names = [c.name for c in reversed(AGG_TRADES.columns)]
    columns, found = sniff_header(AGG_TRADES, ",".join(names), "f.csv")
    assert found
    assert [c.name for c in columns] == names


def test_older_names_of_klines_are_known() -> None:
    old = (
        "open_time,open,high,low,close,volume,close_time,quote_asset_volume,number_of_trades,"
        "taker_buy_base_asset_volume,taker_buy_quote_asset_volume,ignore"
    )
    spec = DATASETS["futures", "klines"]
    columns, found = sniff_header(spec, old, "f.csv")
    assert found
    assert columns == spec.columns


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a,b,c", r"f.csv:1: aggTrades must have 7 columns \(has 3: 'a,b,c'\); is this another file"),
        ("agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,colour",
         "f.csv:1: unknown column 'colour' in the header of aggTrades; known columns: agg_trade_id"),
        ("agg_trade_id,price,price,first_trade_id,last_trade_id,transact_time,is_buyer_maker",
         r"f.csv:1: the header must name price once \(names it 2 times"),
        ("agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time",
         r"f.csv:1: the header must name is_buyer_maker once \(names it 0 times"),
    ],
)  # fmt: skip
def test_a_wrong_first_line_is_refused(line: str, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        sniff_header(AGG_TRADES, line, "f.csv")


@pytest.mark.parametrize(
    ("data", "next_step"),
    [
        (gzip.compress(b"1,2,3\n", mtime=0), "it is packed by gzip: unpack it"),
        (b"PK\x03\x04\x14\x00\x00", "it is a ZIP file: unpack it, or name it .zip"),
        ("1,42000.1,0.5,1,1,1704067200000,true".encode("utf-16"), "it is UTF-16: save it as UTF-8"),
        (b"<html>404</html>", "it is the answer of a web server: download it again"),
        (b"1,1,1,1,1,1,true\r2,1,1,1,1,1,true", "its lines end in carriage returns alone"),
        (b"1;1;1;1;1;1;true", "cells must be separated by commas"),
        (b"1\t1\t1\t1\t1\t1\ttrue", "cells must be separated by commas"),
        (b"\x00\x00\x00,", r"7 columns \(has 2: .*\); is this another file?"),
    ],
)
def test_a_file_of_another_kind_is_refused_with_what_to_do(data: bytes, next_step: str) -> None:
    line = data.partition(b"\n")[0].decode("utf-8", "backslashreplace")
    with pytest.raises(SourceError, match=next_step):
        sniff_header(AGG_TRADES, line, "f.csv")


def test_a_bad_byte_in_the_first_row_does_not_refuse_the_file() -> None:
    columns, header = sniff_header(AGG_TRADES, "1,4\x002,0.5,1,1,1704067200000,true", "f.csv")
    assert (columns, header) == (AGG_TRADES.columns, False)
