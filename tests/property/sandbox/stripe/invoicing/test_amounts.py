"""Tiered amounts against an addition of unit ranges."""

from decimal import Decimal
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st
from taximeter_sandbox.stripe.invoicing.amounts import line_amount
from taximeter_sandbox.stripe.selling.prices import Tier

from tests.support.stripe_amounts import AMOUNTS, RULES, half_up, price


@settings(deadline=None)
@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=5, unique=True), st.lists(AMOUNTS, min_size=12, max_size=12), st.integers(1, 2 * 10**6))
def test_graduated_tiers_agree_with_adding_unit_ranges(bounds: list[int], amounts: list[Decimal], quantity: int) -> None:
    tops: list[int | None] = [*sorted(bounds), None]
    rows = tuple(Tier(top, format(amounts[2 * i], "f"), format(amounts[2 * i + 1], "f")) for i, top in enumerate(tops))
    expected = Fraction(0)
    for i, bottom in enumerate([0, *sorted(bounds)]):
        top = tops[i]
        units = len(range(bottom, quantity if top is None else min(quantity, top)))
        if units > 0:
            expected += Fraction(amounts[2 * i]) * units + Fraction(amounts[2 * i + 1])
    assert line_amount(price(mode="graduated", rows=rows), quantity, RULES) == half_up(expected)
