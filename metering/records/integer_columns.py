"""Columns of integers as the services read and sum them; how they are packed: taximeter_emitter.wire.packed."""

import sys
from array import array
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from taximeter_emitter.wire.packed import TYPECODES

Integers: TypeAlias = npt.NDArray[np.int64]

ARRAYS_FROM: Final = 64  # shorter columns are searched faster without numpy
_LARGEST: Final[Mapping[int, int]] = {width: (1 << 8 * width) - 1 for width in (1, 2, 4, 8)}
_BIG_ENDIAN: Final = sys.byteorder == "big"


def unpack(text: str, length: int) -> "array[int]":
    """The column of `length` integers. Raises ValueError if that is not what the text holds."""
    code = TYPECODES.get(text[:1])
    if code is None:
        raise ValueError("it begins with 1, 2, 4 or 8, the bytes of each")
    try:
        column = array(code, a2b_base64(text[1:], strict_mode=True))
    except (Base64Error, ValueError):
        raise ValueError(f"not base64 of integers of {text[0]} bytes") from None
    if len(column) != length:
        raise ValueError(f"these are {len(column)}")
    if _BIG_ENDIAN:
        column.byteswap()
    return column


def fits(column: Sequence[int], maximum: int) -> bool:
    """Whether no integer of a column that is not empty is above the maximum. The width of a packed column may be answer enough."""
    return (isinstance(column, array) and _LARGEST[column.itemsize] <= maximum) or greatest(column) <= maximum


def greatest(column: Sequence[int]) -> int:
    """The greatest of a column that is not empty."""
    return int(view(column).max()) if len(column) >= ARRAYS_FROM else max(column)


def view(column: Sequence[int]) -> "npt.NDArray[np.integer]":
    """A column as a numpy array, of integers as wide as they are packed: sums overflow in it."""
    return np.frombuffer(column, column.typecode) if isinstance(column, array) else np.array(column, np.int64)
