"""Files: text from integers, and the same bytes each time."""

from __future__ import annotations

import zipfile
from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from phoenix_etl.synthetic.dump import Flag, Number, Text, lines, write

INTEGERS = st.lists(st.integers(-(10**17), 10**17), min_size=1, max_size=20)


def texts(column) -> list[str]:
    return b"".join(lines([column])).decode().splitlines()


@given(values=INTEGERS, decimals=st.integers(0, 10), zeros=st.integers(0, 4))
def test_a_number_is_its_decimal_written_out(values, decimals, zeros) -> None:
    exact = [Decimal(value).scaleb(-decimals) for value in values]
    zeros = zeros if decimals else 0
    wanted = [f"{value:.{decimals + zeros}f}" for value in exact]
    assert texts(Number(np.array(values), decimals, zeros=zeros)) == wanted


@given(values=INTEGERS, decimals=st.integers(1, 10))
def test_stripped_numbers_keep_their_value_and_lose_their_zeros(values, decimals) -> None:
    written = texts(Number(np.array(values), decimals, strip=True))
    assert [Decimal(text) for text in written] == [Decimal(v).scaleb(-decimals) for v in values]
    assert not any("." in text and text[-1] in "0." for text in written)


def test_rows_of_several_blocks_are_whole() -> None:
    n = 250_000
    columns = [
        Number(np.arange(n)),
        Flag(np.arange(n) % 3 == 0),
        Text.same("BTCUSDT", n),
        Text.times(np.arange(n)),
    ]
    rows = b"".join(lines(columns)).decode().splitlines()
    assert len(rows) == n
    assert rows[0] == "0,true,BTCUSDT,1970-01-01 00:00:00"
    assert rows[-1] == "249999,true,BTCUSDT,1970-01-03 21:26:39"
    assert rows[200_000] == "200000,false,BTCUSDT,1970-01-03 07:33:20"


def test_an_archive_holds_the_csv_and_is_the_same_twice(tmp_path: Path) -> None:
    columns = [Number(np.arange(1000), 2)]
    for name in ("a.zip", "b/a.zip", "a.csv"):
        assert write(tmp_path / name, "x", columns, date(2024, 1, 31)) == 1000
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b/a.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.namelist() == ["a.csv"]
        assert archive.getinfo("a.csv").date_time == (2024, 2, 1, 0, 0, 0)
        assert archive.read("a.csv") == (tmp_path / "a.csv").read_bytes()
