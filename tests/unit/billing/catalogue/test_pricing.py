"""Products and prices in the settings file."""

import tomllib
from decimal import Decimal
from typing import Any

import pytest

from billing.catalogue.pricing import PRICES_MAX, Package, Price, Product, Tier, parse_wanted, wanted_of

FILE = """
[[meters]]
event_name = "tokens"
sum = ["input_tokens"]

[[products]]
key = "ai"
name = "AI usage"

[[prices]]
key = "tokens_monthly"
product = "ai"
meter = "tokens"
currency = "usd"
interval = "month"
amount = "0.04"
package = 1000
round = "up"
"""


def document(**changes: Any) -> dict[str, Any]:
    """FILE with other entries in its one price; None removes one."""
    parsed = tomllib.loads(FILE)
    (price,) = parsed["prices"]
    price |= changes
    parsed["prices"] = [{key: value for key, value in price.items() if value is not None}]
    return parsed


def problems(**changes: Any) -> list[str]:
    wanted, found = parse_wanted(document(**changes))
    assert (wanted is None) == bool(found)
    return found


def test_a_package_price_is_read_exactly() -> None:
    wanted = wanted_of(document())
    assert wanted.products == (Product("ai", "AI usage"),)
    assert wanted.prices == (Price("tokens_monthly", "ai", "tokens", "usd", "month", 1, Decimal(4), Package(1000, "up")),)
    assert wanted.price("tokens_monthly") is wanted.prices[0]
    assert wanted.price("other") is None


def test_a_price_per_unit_may_be_a_small_part_of_a_cent() -> None:
    (price,) = wanted_of(document(amount="0.00004", package=None, round=None)).prices
    assert price.unit_amount == Decimal("0.004")
    assert price.package is None


def test_yen_have_no_decimals() -> None:
    (price,) = wanted_of(document(currency="jpy", amount="5")).prices
    assert price.unit_amount == Decimal(5)


def test_tiers_are_read_in_smallest_units() -> None:
    tiers = [{"up_to": 1_000_000, "amount": "0.00004"}, {"up_to": "inf", "amount": "0.00003", "flat_amount": "1.00"}]
    (price,) = wanted_of(document(amount=None, package=None, round=None, tiers_mode="graduated", tiers=tiers, interval_count=3)).prices
    assert price.tiers == (Tier(1_000_000, Decimal("0.004")), Tier(None, Decimal("0.003"), Decimal(100)))
    assert price.unit_amount is None
    assert price.interval_count == 3


def test_a_file_without_prices_is_one_without_problems() -> None:
    parsed = document()
    del parsed["prices"], parsed["products"]
    assert wanted_of(parsed).prices == ()


TIERED: dict[str, Any] = {"amount": None, "package": None, "round": None, "tiers_mode": "volume"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"amount": 0.04}, "prices[1].amount: must be a text in the main unit of usd"),
        ({"amount": 4}, "prices[1].amount: must be a text in the main unit of usd"),
        ({"amount": "4 cents"}, "prices[1].amount: must be digits"),
        ({"amount": None}, "prices[1].amount: is missing"),
        ({"key": ""}, "prices[1].key: must be a text of 1 to 200"),
        ({"key": "k" * 201}, "prices[1].key: must be a text of 1 to 200"),
        ({"product": "other"}, "no [[products]] table has the key 'other'"),
        ({"meter": "other"}, "no [[meters]] table has the event_name 'other'"),
        ({"currency": "USD"}, "prices[1].currency: must be a currency"),
        ({"currency": None}, "prices[1].currency: must be a currency"),
        ({"interval": "hour"}, "prices[1].interval: must be one of day, week, month, year"),
        ({"interval": ["month"]}, "prices[1].interval: must be one of"),
        ({"interval_count": 37}, "interval_count: must be a whole number from 1 to 36"),
        ({"interval_count": True}, "interval_count: must be a whole number"),
        ({"package": 0}, "prices[1].package: must be a whole number"),
        ({"round": None}, "package and round go together"),
        ({"round": "half"}, 'prices[1].round: must be "up" or "down"'),
        ({"unit_amount": "1"}, "prices[1]: unknown key 'unit_amount'"),
        ({"tiers": []}, "has tiers and an amount"),
        ({**TIERED, "tiers": []}, "must be a list of 1 to 100 tables"),
        ({**TIERED, "tiers": [{"up_to": 5, "amount": "1"}]}, 'the last tier must be without end: up_to = "inf"'),
        ({**TIERED, "tiers": [{"up_to": "inf", "amount": "1"}, {"up_to": "inf", "amount": "1"}]}, "only the last tier is without end"),
        ({**TIERED, "tiers": [{"up_to": 5, "amount": "1"}, {"up_to": 5, "amount": "1"}, {"up_to": "inf", "amount": "1"}]}, "above 5"),
        ({**TIERED, "tiers": [{"up_to": "inf"}]}, "needs an amount"),
        ({**TIERED, "tiers": [{"up_to": "inf", "amount": 0.1}]}, "tiers[1].amount: must be a text"),
        ({**TIERED, "tiers": [{"up_to": "inf", "flat_amount": "0.001"}]}, "must be whole in the smallest unit of usd"),
        ({**TIERED, "tiers": [{"up_to": "inf", "amount": "1", "price": 1}]}, "tiers[1]: unknown key 'price'"),
        ({**TIERED, "tiers_mode": "stairs", "tiers": [{"up_to": "inf", "amount": "1"}]}, 'must be "graduated" or "volume"'),
    ],
)
def test_each_mistake_is_named_with_its_field(changes: dict[str, Any], said: str) -> None:
    assert any(said in problem for problem in problems(**changes)), problems(**changes)


def test_every_problem_is_told_at_once() -> None:
    parsed = document(amount=0.04, currency="dollars")
    parsed["products"].append({"key": "ai", "name": ""})
    parsed["meters"][0]["sum"] = []
    found = "\n".join(parse_wanted(parsed)[1])
    assert "meters[1].sum" in found
    assert "products[2].name" in found
    assert "currency" in found
    # The meter and the product exist, with problems of their own.
    assert "no [[meters]]" not in found
    assert "no [[products]]" not in found


def test_keys_are_unique() -> None:
    parsed = document()
    parsed["prices"] *= 2
    parsed["products"] *= 2
    assert parse_wanted(parsed)[1] == ["products: key 'ai' is used twice", "prices: key 'tokens_monthly' is used twice"]


def test_there_are_not_more_prices_than_are_taken() -> None:
    parsed = document()
    parsed["prices"] = [{**parsed["prices"][0], "key": f"k{number}"} for number in range(PRICES_MAX + 1)]
    assert parse_wanted(parsed)[1] == [f"{PRICES_MAX + 1} prices; at most {PRICES_MAX} are taken"]


@pytest.mark.parametrize("wrong", [{}, "month", [1]])
def test_prices_that_are_no_tables_are_named(wrong: object) -> None:
    parsed = document()
    parsed["prices"] = wrong
    assert parse_wanted(parsed)[1] == ["prices: must be tables, each under [[prices]]"]
