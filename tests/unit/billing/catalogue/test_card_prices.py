"""The prices of a rate card: exact amounts of one unit, a product for each model, and every problem by its place."""

import tomllib
from decimal import Decimal
from typing import Any

import pytest

from billing.catalogue.pricing import Product, parse_wanted, wanted_of
from tests.support.rate_card import CARD


def test_a_card_makes_a_product_of_each_model_and_a_price_of_each_pair() -> None:
    wanted = wanted_of(tomllib.loads(CARD))
    assert wanted.products == (Product("alpaca-7b", "alpaca-7b"), Product("alpaca-70b", "alpaca-70b"))
    assert {(price.key, price.product, price.meter, price.unit_amount) for price in wanted.prices} == {
        ("alpaca-7b_input_month", "alpaca-7b", "alpaca-7b_input", Decimal("0.00002")),
        ("alpaca-7b_cached_input_month", "alpaca-7b", "alpaca-7b_cached_input", Decimal("0.000005")),
        ("alpaca-70b_input_month", "alpaca-70b", "alpaca-70b_input", Decimal("0.00009")),
        ("alpaca-70b_cached_input_month", "alpaca-70b", "alpaca-70b_cached_input", Decimal(0)),
    }


def test_a_card_without_prices_makes_meters_only() -> None:
    wanted = wanted_of(tomllib.loads(CARD.split("[rate_cards.prices]", maxsplit=1)[0]))
    assert (len(wanted.meters), wanted.products, wanted.prices) == (4, (), ())


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        (', cached_input = "0.05"', "", 'rate_cards[1].prices.amounts.alpaca-7b: has no cached_input; write cached_input = "0" if it is free'),
        ('{input = "0.90"', '{output = "1", input = "0.90"', "rate_cards[1].prices.amounts.alpaca-70b.output: the card has no such model and kind"),
        ('"0.20"', "0.20", "rate_cards[1].prices.amounts.alpaca-7b.input: must be a text of digits"),
        ("1_000_000", "3", "rate_cards[1].prices.amounts.alpaca-7b.input: 0.20 for 3 is no exact amount of one unit"),
        ('"0.20"', '"0.00000000001"', "rate_cards[1].prices.amounts.alpaca-7b.input.amount: has more than 14 decimals"),
        ("1_000_000", "0", "rate_cards[1].prices.per: must be a whole number"),
        ('"usd"', '"dollars"', "rate_cards[1].prices.amounts.alpaca-7b.input.currency: must be a currency"),
        ('interval = "month"', "", "rate_cards[1].prices.amounts.alpaca-7b.input.interval: must be one of day"),
        ('"usd"', '"usd"\nround = "up"', "rate_cards[1].prices: unknown key 'round'"),
    ],
)
def test_a_wrong_price_is_named_by_its_place(before: str, after: str, problem: str) -> None:
    document: dict[str, Any] = tomllib.loads(CARD.replace(before, after, 1))
    wanted, problems = parse_wanted(document)
    assert wanted is None
    assert any(found.startswith(problem) for found in problems), problems
