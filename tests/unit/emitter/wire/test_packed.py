"""Columns of integers read back as they were packed, in as few bytes as the largest needs."""

from array import array

import pytest
from taximeter_emitter.wire.packed import pack

from metering.records.integer_columns import unpack


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
