"""Times as int64 nanoseconds, exact in both directions."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from phoenix_schemas.errors import SchemaError
from phoenix_schemas.timestamps import (
    NS_PER_DAY,
    UNIT_NS,
    day_start,
    epoch_bounds,
    epoch_unit,
    format_utc,
    parse_utc,
    utc_day,
)

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
# int64 ns reach from 1677 to 2262
moments = st.integers(-(2**63) // 2, 2**63 - 1)


@given(moments)
def test_text_and_back_is_the_same_nanosecond(ns: int) -> None:
    assert parse_utc(format_utc(ns)) == ns


@given(st.integers(0, 9_000_000_000_000_000))
def test_the_library_agrees_to_the_microsecond(microseconds: int) -> None:
    moment = EPOCH + dt.timedelta(microseconds=microseconds)
    theirs = microseconds * 1_000
    moment = moment.replace(tzinfo=None)
    for text in (moment.isoformat(), moment.isoformat(" "), f"{moment.isoformat()}Z",
                 f"{moment.isoformat()}+00:00"):  # fmt: skip
        assert parse_utc(text) == theirs


@given(moments)
def test_a_time_lies_in_its_day(ns: int) -> None:
    start = day_start(utc_day(ns))
    assert start <= ns < start + NS_PER_DAY


@pytest.mark.parametrize("text", [
    "", "now", "2024", "2024-1-1", "2024-02-30", "2024-01-01T25:00", "2024-01-01T00:00:60",
    "2024-01-01T00:00:00+01:00", "2024-01-01T00:00:00.1234567891", "1704067200", "2024-01-01T",
    "01/02/2024",
])  # fmt: skip
def test_what_is_no_time_in_utc_is_refused(text: str) -> None:
    with pytest.raises(SchemaError, match="time must"):
        parse_utc(text)


@given(st.integers(1_262_304_000_000, 4_102_444_799_999))
def test_a_market_time_tells_its_unit(ms: int) -> None:
    assert epoch_unit(ms // 1000) == "s"
    assert epoch_unit(ms) == "ms"
    assert epoch_unit(ms * 1_000) == "us"
    assert epoch_unit(ms * 1_000_000) == "ns"


@given(st.integers())
def test_at_most_one_unit_reads_a_number_as_a_market_time(value: int) -> None:
    fits = [u for u in UNIT_NS if epoch_bounds(u)[0] <= value < epoch_bounds(u)[1]]
    assert fits == ([epoch_unit(value)] if epoch_unit(value) else [])


def test_the_last_nanosecond_of_a_day_is_of_that_day() -> None:
    end = day_start(dt.date(2024, 3, 1))
    assert utc_day(end - 1) == dt.date(2024, 2, 29)
    assert utc_day(end) == dt.date(2024, 3, 1)
