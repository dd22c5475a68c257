"""What a whole billing period costs, from its first unit on."""

from decimal import Decimal

import pytest

from billing.catalogue.account import FoundPrice, Terms
from billing.catalogue.price_list import PriceList, period_cost
from billing.catalogue.pricing import Package, Tier


def terms(**about: object) -> Terms:
    plain = {
        "product": "p",
        "meter": "m",
        "usage_type": "metered",
        "currency": "usd",
        "interval": "month",
        "interval_count": 1,
        "unit_amount": None,
        "package": None,
        "tiers_mode": None,
        "tiers": (),
    }
    return Terms(**plain | about)  # type: ignore[arg-type]


TIERS = (Tier(10, Decimal(5), Decimal(100)), Tier(None, Decimal(2)))


@pytest.mark.parametrize(
    ("price", "units", "cost"),
    [
        (terms(unit_amount=Decimal("0.5")), 3, "1.5"),
        (terms(unit_amount=Decimal("0.5")), -3, "0"),
        (terms(unit_amount=Decimal(4), package=Package(1000, "up")), 1001, "8"),
        (terms(unit_amount=Decimal(4), package=Package(1000, "down")), 1999, "4"),
        (terms(tiers_mode="graduated", tiers=TIERS), 12, "154"),
        (terms(tiers_mode="volume", tiers=TIERS), 12, "24"),
        (terms(tiers_mode="graduated", tiers=TIERS), 0, "0"),
    ],
)
def test_a_period_costs_what_its_units_cost_from_the_first_on(price: Terms, units: int, cost: str) -> None:
    assert period_cost(price, units) == Decimal(cost)


def test_several_prices_are_a_range_and_currencies_stay_apart() -> None:
    def found(**about: object) -> FoundPrice:
        return FoundPrice("price_1", "", "", True, terms(**about))

    prices = PriceList(
        {
            "a": (found(unit_amount=Decimal(1)), found(unit_amount=Decimal(3)), found(unit_amount=Decimal(2), currency="eur")),
            "b": (found(unit_amount=Decimal(10)),),
        }
    )
    usd, eur = sorted(prices.totals([("a", 100), ("b", 1), ("free", 7)]), key=lambda amount: amount.currency, reverse=True)
    assert (usd.text, eur.text) == ("1.10 to 3.10 USD", "2.00 EUR")
