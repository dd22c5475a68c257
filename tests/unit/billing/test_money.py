"""Amounts: what people write, and what Stripe takes."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.money import currency_problem, main_units, plain, smallest_units

SMALLEST_PER_MAIN = {"usd": 100, "eur": 100, "isk": 100, "jpy": 1, "krw": 1, "kwd": 1000}


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        ("0.04", "usd", "4"),
        ("0.00004", "usd", "0.004"),
        ("4", "usd", "400"),
        ("4", "jpy", "4"),
        ("0.5", "jpy", "0.5"),
        ("1.234", "kwd", "1234"),
        ("0.00000000000001", "usd", "0.000000000001"),
    ],
)
def test_an_amount_in_the_main_unit_becomes_smallest_units(amount: str, currency: str, expected: str) -> None:
    assert plain(smallest_units(amount, currency)) == expected


@pytest.mark.parametrize(
    "amount", ["", ".", "-1", "+1", "1e3", "1,5", "1 000", "0x1", "NaN", "\u0661", "1.2.3", "0.000000000000001", "9" * 39, "1" * 41]
)
def test_what_is_no_amount_is_refused_in_words(amount: str) -> None:
    with pytest.raises(ValueError, match=r"digits|decimals|too large"):
        smallest_units(amount, "usd")


def test_more_decimals_than_stripe_keeps_are_refused_even_when_most_are_zeros() -> None:
    assert smallest_units("0.0400000000000000000000", "usd") == 4
    with pytest.raises(ValueError, match="14 decimals"):
        smallest_units("0.0400000000000001", "usd")


@given(
    st.sampled_from(sorted(SMALLEST_PER_MAIN)),
    st.integers(min_value=0, max_value=10**9 - 1),
    st.integers(min_value=0, max_value=10**12 - 1),
)
def test_conversion_is_exact_both_ways(currency: str, whole: int, fraction: int) -> None:
    text = f"{whole}.{fraction:012d}"
    smallest = smallest_units(text, currency)
    assert Fraction(smallest) == Fraction(text) * SMALLEST_PER_MAIN[currency]
    assert Fraction(main_units(smallest, currency)) == Fraction(text)
    assert "e" not in plain(smallest).lower()


def test_amounts_are_shown_with_the_decimals_of_the_currency_and_more_where_needed() -> None:
    assert main_units(4, "usd") == "0.04"
    assert main_units(400, "usd") == "4.00"
    assert main_units(Decimal("0.004"), "usd") == "0.00004"
    assert main_units(500, "jpy") == "500"
    assert main_units(1, "kwd") == "0.001"


@pytest.mark.parametrize("currency", ["USD", "us", "usdx", "u$d", "", None, 840, "ugx", "éur"])
def test_what_is_no_currency_is_refused(currency: object) -> None:
    assert currency_problem(currency) is not None


def test_a_currency_is_taken() -> None:
    assert currency_problem("usd") is None
