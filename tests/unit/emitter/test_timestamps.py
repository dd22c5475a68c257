"""Python 3.10 reads the times that later versions read."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from taximeter_emitter.wire.timestamps import parse_iso_time, parse_iso_time_by_hand


def of_width(width: int, last: int) -> st.SearchStrategy[str]:
    return st.integers(0, last).map(lambda number: f"{number:0{width}}")


digits = st.text("0123456789", min_size=1, max_size=9)
fractions = st.one_of(st.just(""), st.tuples(st.sampled_from(".,"), digits).map("".join))
dates = st.one_of(
    st.tuples(of_width(4, 9999), st.just("-"), of_width(2, 13), st.just("-"), of_width(2, 32)).map("".join),
    st.tuples(of_width(4, 9999), of_width(2, 13), of_width(2, 32)).map("".join),
    st.tuples(of_width(4, 9999), st.just("-W"), of_width(2, 54), st.just("-"), of_width(1, 9)).map("".join),
    st.tuples(of_width(4, 9999), st.just("W"), of_width(2, 54), of_width(1, 9)).map("".join),
)
clock_times = st.one_of(
    st.tuples(of_width(2, 23), st.just(":"), of_width(2, 60), st.just(":"), of_width(2, 60), fractions).map("".join),
    st.tuples(of_width(2, 23), of_width(2, 60), of_width(2, 60), fractions).map("".join),
    st.tuples(of_width(2, 23), st.just(":"), of_width(2, 60)).map("".join),
    of_width(2, 23),
)
zones = st.one_of(st.sampled_from(["", "Z", "z"]), st.tuples(st.sampled_from("+-"), clock_times).map("".join))
times = st.tuples(dates, st.sampled_from(["T", " ", "t", "_"]), clock_times, zones).map("".join)


def read(parse: object, text: str) -> object:
    assert callable(parse)
    try:
        moment = parse(text)
    except ValueError:
        return ValueError
    return moment, moment.utcoffset()


@given(times)
def test_what_is_read_by_hand_is_what_python_reads(text: str) -> None:
    assert read(parse_iso_time_by_hand, text) == read(datetime.fromisoformat, text)


@pytest.mark.parametrize("text", ["2026-11-22T10:00:00Z", "2026-11-22T10:00:00.123456789+01:00", "2026-11-22 10:00:00-00:30"])
def test_times_of_rfc_3339_are_read(text: str) -> None:
    assert parse_iso_time_by_hand(text) == parse_iso_time(text)


@pytest.mark.parametrize("text", ["", "soon", "2026-11-22", "2026-11-22T10:00:00ZZ", "2026-1-22T10:00:00Z", "\u0662026-11-22T10:00:00Z"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an ISO 8601 time"):
        parse_iso_time_by_hand(text)
