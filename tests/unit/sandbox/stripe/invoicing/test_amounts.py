"""What a quantity costs: packages, decimal amounts, tiers, and the one rounding at the end."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from taximeter_sandbox.stripe.invoicing.amounts import AmountRules, line_amount
from taximeter_sandbox.stripe.metering.quantities import Quantity
from taximeter_sandbox.stripe.selling.price_drafts import read_price_draft
from taximeter_sandbox.stripe.selling.prices import Package, Rounding, Tier, TiersMode

from tests.support.stripe_account import form
from tests.support.stripe_amounts import AMOUNTS, RULES, half_up, price
from tests.support.stripe_shop import price_fields, tiers


@pytest.mark.parametrize(
    ("quantity", "rounding", "cents"),
    [(0, "up", 0), (1, "up", 4), (999, "up", 4), (1000, "up", 4), (1001, "up", 8), (1_000_000, "up", 4000), (999, "down", 0), (1999, "down", 4)],
)
def test_a_package_is_rounded_once_for_the_whole_quantity(quantity: int, rounding: Rounding, cents: int) -> None:
    assert line_amount(price("4", Package(1000, rounding)), quantity, RULES) == cents


def test_a_fraction_of_a_unit_starts_another_package() -> None:
    assert line_amount(price("4", Package(1000, "up")), Decimal("1000.25"), RULES) == 8
    assert line_amount(price("4", Package(1000, "down")), Decimal("999.999"), RULES) == 0


@pytest.mark.parametrize(
    ("unit", "quantity", "cents"),
    [
        ("0.004", 124, 0),  # 0.496
        ("0.004", 125, 1),  # 0.5
        ("0.004", 1_000_000, 4000),
        ("0.000000000001", 500_000_000_000, 1),  # half a cent
        ("0.000000000001", 499_999_999_999, 0),
        ("0.1", Decimal("3.5"), 0),  # 0.35
        ("4", -3, 0),
    ],
)
def test_decimal_amounts_are_exact_until_the_cent(unit: str, quantity: Quantity, cents: int) -> None:
    assert line_amount(price(unit), quantity, RULES) == cents


def test_half_a_cent_goes_up_or_to_the_even_cent() -> None:
    assert [line_amount(price("0.5"), count, RULES) for count in (1, 3, 5)] == [1, 2, 3]
    assert [line_amount(price("0.5"), count, AmountRules(half_even=True)) for count in (1, 3, 5)] == [0, 2, 2]


GRADUATED = (Tier(10, "5", None), Tier(20, "3", "100"), Tier(None, "1", None))


@pytest.mark.parametrize(("quantity", "cents"), [(0, 0), (1, 5), (10, 50), (11, 153), (20, 180), (21, 181), (1020, 1180)])
def test_graduated_tiers_price_each_unit_in_its_own_tier(quantity: int, cents: int) -> None:
    assert line_amount(price(mode="graduated", rows=GRADUATED), quantity, RULES) == cents


@pytest.mark.parametrize(("quantity", "cents"), [(0, 0), (10, 50), (11, 133), (20, 160), (21, 21)])
def test_volume_tiers_price_all_units_in_the_tier_of_the_whole(quantity: int, cents: int) -> None:
    assert line_amount(price(mode="volume", rows=GRADUATED), quantity, RULES) == cents


@pytest.mark.parametrize("mode", ["graduated", "volume"])
def test_a_first_tiers_flat_fee_without_usage_is_charged_or_not(mode: TiersMode) -> None:
    rows = (Tier(10, None, "700"), Tier(None, "1", None))
    assert line_amount(price(mode=mode, rows=rows), 0, RULES) == 700
    assert line_amount(price(mode=mode, rows=rows), 0, AmountRules(flat_fee_at_zero=False)) == 0
    assert line_amount(price(mode=mode, rows=rows), 1, AmountRules(flat_fee_at_zero=False)) == 700


def test_tiers_are_rounded_together_or_each_on_its_own() -> None:
    rows = (Tier(1, "0.5", None), Tier(2, "0.5", None), Tier(None, "0.5", None))
    assert line_amount(price(mode="graduated", rows=rows), 3, RULES) == 2  # 1.5
    assert line_amount(price(mode="graduated", rows=rows), 3, AmountRules(rounds_each_tier=True)) == 3


@settings(deadline=None)
@given(AMOUNTS, st.integers(0, 10**15))
def test_a_unit_price_agrees_with_fractions(unit: Decimal, quantity: int) -> None:
    assert line_amount(price(format(unit, "f")), quantity, RULES) == half_up(Fraction(unit) * quantity)


def test_tiers_of_a_call_become_tiers_of_a_price() -> None:
    draft = read_price_draft(form(**price_fields("mtr_1", **{k: v for k, v in tiers(("10", "5", ""), ("inf", "0.25", "3")).items() if v})))
    assert draft.tiers == (Tier(10, "5", None), Tier(None, "0.25", "3"))
