from dataclasses import replace
from decimal import Decimal

from billing.catalogue.price_list import PriceList
from taximeter.account_prices import PlanMoney
from tests.support.billing_catalogue import FOUND_PRICE

PRICES = PriceList({"tokens": (replace(FOUND_PRICE, terms=replace(FOUND_PRICE.terms, package=None, unit_amount=Decimal(4))),)})


def test_money_is_told_by_currency_and_what_has_no_price_by_name() -> None:
    money = PlanMoney(PRICES)
    assert money.lines([("tokens", 25), ("queries", 1)]) == ["1.00 USD by the account's prices", "no active price bills queries"]
    assert money.as_json([("tokens", 25)]) == {"amounts": [{"currency": "usd", "low": "1.00", "high": "1.00"}], "unpriced": []}


def test_without_prices_it_says_why() -> None:
    money = PlanMoney(None, "there is no Stripe key")
    assert money.lines([("tokens", 25)]) == ["no amount: there is no Stripe key"]
    assert money.as_json([("tokens", 25)]) == {"amounts": None, "why_not": "there is no Stripe key"}
