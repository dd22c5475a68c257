"""A column of integers as text: a digit, and base64 of unsigned little-endian integers that take as many bytes each.

The digit is 1, 2, 4 or 8, as few bytes as the largest needs: 812, 40, 7 is "2LAMoAAcA". It is written down so that a column of another length
is never taken for one of other integers.
"""

import struct
import sys
from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from typing import Final

CHARS_MAX: Final = 11
"""At most this many characters of text are added by one more integer, beside the few that a column begins and ends with."""

TYPECODES: Final[Mapping[str, str]] = {"1": "B", "2": "H", "4": "I", "8": "Q"}
"""The digit that a column begins with, and the type of its integers, for struct and array."""

_ORDER: Final = "<" if sys.byteorder == "big" else "@"  # the machine's own order is packed faster under this name


def pack(column: Sequence[int]) -> str:
    """The text of a column that is not empty. Raises OverflowError for an integer below 0 or above 64 bits."""
    for width, code in TYPECODES.items():
        # Trying is quicker than to look for the largest: the first integer that does not fit ends it.
        try:
            packed = struct.pack(f"{_ORDER}{len(column)}{code}", *column)
        except struct.error:
            continue
        return width + b2a_base64(packed, newline=False).decode()
    raise OverflowError("an integer below 0 or above 64 bits")
