"""Sums as Stripe's API writes them: floating-point numbers."""

from decimal import Decimal
from typing import Final

_EXACT_BELOW: Final = 2**53


def quantity(value: float) -> tuple[int | Decimal, bool]:
    """A summary's number, and whether it is exact: an integer where it is one, else the decimal that it shows.

    JSON may write a whole number without a point, which is read as an integer.
    """
    if isinstance(value, int) or value.is_integer():
        return int(value), abs(value) < _EXACT_BELOW
    return Decimal(repr(value)), False
