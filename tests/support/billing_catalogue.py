"""A small catalogue: what a settings file wants, and an account that has it."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from billing.catalogue.account import Account, FoundMeter, FoundPrice, FoundProduct
from billing.catalogue.plan import terms_of
from billing.catalogue.pricing import Package, Price, Product, Wanted
from metering.records.meters import Meter

METER = Meter("tokens", ("input_tokens",), display_name="Tokens")
PRODUCT = Product("ai", "AI usage")
PRICE = Price("monthly", "ai", "tokens", "usd", "month", 1, Decimal(4), Package(1000, "up"))
WANTED = Wanted((METER,), (PRODUCT,), (PRICE,))
FOUND_METER = FoundMeter("mtr_0", "tokens", "Tokens", "sum", "stripe_customer_id", "value", None, active=True)
FOUND_PRODUCT = FoundProduct("prod_0", "ai", "AI usage", active=True)
FOUND_PRICE = FoundPrice("price_0", "monthly", "monthly", active=True, terms=terms_of(PRICE, product="prod_0", meter="mtr_0"))
COMPLETE = Account((FOUND_METER,), (FOUND_PRODUCT,), (FOUND_PRICE,))


def with_price(**changes: Any) -> Wanted:
    return replace(WANTED, prices=(replace(PRICE, **changes),))


def with_meter(**changes: Any) -> Account:
    return replace(COMPLETE, meters=(replace(FOUND_METER, **changes),))
