from dataclasses import replace
from decimal import Decimal

import pytest

from billing.catalogue.price_list import AmountRange, PriceList
from billing.catalogue.pricing import Package
from tests.support.billing_catalogue import FOUND_PRICE

TERMS = replace(FOUND_PRICE.terms, package=None)


def priced(**changes: object) -> PriceList:
    return PriceList({"tokens": (replace(FOUND_PRICE, terms=replace(TERMS, **changes)),)})  # type: ignore[arg-type]  # built from parts


@pytest.mark.parametrize(
    ("prices", "units", "text"),
    [
        (priced(), [("tokens", 3)], "0.12 USD"),
        (priced(), [("tokens", 3), ("tokens", -5)], "-0.08 USD"),
        (priced(unit_amount=Decimal("0.0035")), [("tokens", 1)], "0.000035 USD"),
        (priced(currency="jpy"), [("tokens", 3)], "12 JPY"),
        (priced(package=Package(1000, "up")), [("tokens", 1_500)], "0.04 to 0.08 USD"),
        (priced(package=Package(1000, "down")), [("tokens", 2_000)], "0.08 USD"),
        (priced(package=Package(1000, "up")), [("tokens", -1)], "-0.04 to 0.00 USD"),
        # Of each customer by itself: two halves of a package are one package, or two.
        (priced(package=Package(1000, "up")), [("tokens", 500), ("tokens", 500)], "0.00 to 0.08 USD"),
    ],
)
def test_units_come_to(prices: PriceList, units: list[tuple[str, int]], text: str) -> None:
    assert [amount.text for amount in prices.amounts(units)] == [text]


def test_several_prices_of_a_meter_are_a_range_and_two_currencies_are_two_amounts() -> None:
    dear = replace(FOUND_PRICE, terms=replace(TERMS, unit_amount=Decimal(7)))
    euro = replace(FOUND_PRICE, terms=replace(TERMS, currency="eur"))
    found = PriceList({"tokens": (replace(FOUND_PRICE, terms=TERMS), dear, euro)}).amounts([("tokens", 2)])
    assert found == (AmountRange("eur", Decimal(8), Decimal(8)), AmountRange("usd", Decimal(8), Decimal(14)))
    assert found[1].as_json() == {"currency": "usd", "low": "0.08", "high": "0.14"}


def test_a_meter_without_a_price_is_named() -> None:
    assert priced().amounts([("queries", 5)]) == ()
    assert priced().unpriced(["tokens", "queries", "queries"]) == ("queries",)
