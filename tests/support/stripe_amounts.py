"""Prices, and an independent calculation of what they come to."""

from fractions import Fraction

from hypothesis import strategies as st
from taximeter_sandbox.stripe.invoicing.amounts import AmountRules
from taximeter_sandbox.stripe.selling.prices import Package, Price, Tier, TiersMode

RULES = AmountRules()


def price(unit: str | None = None, package: Package | None = None, mode: TiersMode | None = None, rows: tuple[Tier, ...] = ()) -> Price:
    return Price("price_1", 0, False, "usd", "prod_1", True, unit, mode, rows, package, None, None, None, "unspecified", ())


def half_up(value: Fraction) -> int:
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)


AMOUNTS = st.decimals(min_value=0, max_value=1000, places=12, allow_nan=False, allow_infinity=False)
