"""Columns of integers read back as they were packed, in as few bytes as the largest needs."""

from array import array
from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from taximeter_emitter.wire.packed import ARRAYS_FROM, CHARS_MAX, fits, greatest, integers, least, pack, unpack

columns = st.sampled_from([8, 16, 32, 63]).flatmap(lambda bits: st.lists(st.integers(0, 2**bits - 1), min_size=1, max_size=2 * ARRAYS_FROM))


@given(columns)
def test_a_column_reads_back_as_it_was_packed(column: list[int]) -> None:
    found = unpack(pack(column), len(column))
    assert found.tolist() == integers(found).tolist() == integers(column).tolist() == column
    assert (least(found), greatest(found)) == (least(column), greatest(column)) == (min(column), max(column))
    assert fits(found, max(column))
    assert max(column) == 0 or not fits(found, max(column) - 1)


@given(columns)
def test_a_column_takes_no_more_bytes_than_its_largest_integer_needs(column: list[int]) -> None:
    text = pack(column)
    width = int(text[0])
    assert len(b64decode(text[1:])) == width * len(column)
    assert width in (1, 2, 4, 8)
    assert max(column) < 256**width
    assert width == 1 or max(column) >= 256 ** (width // 2)


@given(columns)
def test_an_integer_adds_no_more_text_than_is_said(column: list[int]) -> None:
    assert len(pack(column)) <= CHARS_MAX * len(column) + 3


def test_integers_are_little_endian() -> None:
    assert pack([812, 40, 7]) == "2LAMoAAcA"
    assert unpack("2LAMoAAcA", 3) == array("H", [812, 40, 7])


@pytest.mark.parametrize("length", [0, 1, 2, 4, 6])
def test_a_text_of_another_length_is_no_column(length: int) -> None:
    with pytest.raises(ValueError, match="these are 3"):
        unpack(pack([300, 2, 3]), length)


@pytest.mark.parametrize(
    "text", ["", "1", "AAE=", "3AAE=", "4AAE=", "1AAE", "1AAE=\n", "1 AAE=", "1AAE=AAE=", "1A_E=", "1=", "1\u00e4\u00e4\u00e4\u00e4"]
)
def test_what_is_not_such_a_text_is_no_column(text: str) -> None:
    with pytest.raises(ValueError, match=r"base64|begins|these"):
        unpack(text, 2)


@pytest.mark.parametrize("column", [[-1], [0, 2**64]])
def test_an_integer_beyond_64_bits_is_not_packed(column: list[int]) -> None:
    with pytest.raises(OverflowError):
        pack(column)
