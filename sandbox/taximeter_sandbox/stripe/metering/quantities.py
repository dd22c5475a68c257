"""Exact quantities: a payload value as text, the number it means, and sums that never round."""

import re
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import TypeAlias

DIGITS_MAX = 15
Quantity: TypeAlias = int | Decimal

PLAIN = re.compile(r"-?[0-9]+(?:\.[0-9]+)?\Z", re.ASCII)
EXPONENT = re.compile(r"-?[0-9]+(?:\.[0-9]+)?[eE][+-]?[0-9]{1,2}\Z", re.ASCII)
# 15 digits a value and two-digit exponents leave sums far below 400 digits; if one ever did not fit, it must not be rounded.
EXACT = Context(prec=400, traps=[Inexact, InvalidOperation])


def is_number(text: str) -> bool:
    """Whether a payload value is a plain decimal number or one with an exponent."""
    return PLAIN.match(text) is not None or EXPONENT.match(text) is not None


def quantity(text: str) -> Quantity:
    """The number that a valid payload value means: an int where it has no fraction, else a Decimal."""
    try:
        return int(text)
    except ValueError:
        return EXACT.create_decimal(text)


def add(left: Quantity, right: Quantity) -> Quantity:
    """The exact sum."""
    if isinstance(left, int) and isinstance(right, int):
        return left + right
    return EXACT.add(Decimal(left), Decimal(right))


def negated(value: Quantity) -> Quantity:
    """The exact negative."""
    return -value if isinstance(value, int) else value.copy_negate()


def exact_text(value: Quantity) -> str:
    """Plain decimal digits, without exponent and without trailing zeros in the fraction."""
    if isinstance(value, int):
        return str(value)
    text = format(value, "f")
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"


def digit_count(text: str) -> int:
    """Digits of a plain or exponent number, leading zeros not counted."""
    mantissa = re.split("[eE]", text)[0].lstrip("-")
    return len(mantissa.replace(".", "").lstrip("0"))
