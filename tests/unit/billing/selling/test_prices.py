from dataclasses import replace
from decimal import Decimal

import pytest

from billing.selling.prices import PriceAtStripe

PRICE = PriceAtStripe(
    id="price_1",
    lookup_key="tokens_monthly",
    active=True,
    currency="usd",
    unit_amount=Decimal(4),
    package=1000,
    round_up=True,
    tiers_mode=None,
    interval="month",
    interval_count=1,
    meter="mtr_1",
)


@pytest.mark.parametrize(
    ("price", "terms"),
    [
        (PRICE, "0.04 USD per 1,000 (rounded up)"),
        (replace(PRICE, round_up=False), "0.04 USD per 1,000 (rounded down)"),
        (replace(PRICE, package=1, unit_amount=Decimal("0.004")), "0.00004 USD"),
        (replace(PRICE, package=1, currency="jpy"), "4 JPY"),
        (replace(PRICE, package=1, currency="kwd"), "0.004 KWD"),
        (replace(PRICE, unit_amount=None, tiers_mode="graduated"), "graduated tiers"),
    ],
)
def test_a_price_is_told_in_the_currencys_main_unit(price: PriceAtStripe, terms: str) -> None:
    assert price.terms == terms


def test_a_price_is_called_by_its_lookup_key_if_it_has_one() -> None:
    assert PRICE.name == "tokens_monthly"
    assert replace(PRICE, lookup_key=None).name == "price_1"
