"""Payment methods: Stripe's test cards, by the names under which its documentation lists them."""

from dataclasses import dataclass
from typing import NamedTuple

from taximeter_sandbox.stripe.http.errors import ApiError


class TestCard(NamedTuple):
    """What a test name stands for: whether it can be saved at all, and whether it can be charged once saved."""

    brand: str
    last4: str
    saves: bool = True
    charges: bool = True


TEST_CARDS = {
    "pm_card_visa": TestCard("visa", "4242"),
    "pm_card_visa_debit": TestCard("visa", "5556"),
    "pm_card_mastercard": TestCard("mastercard", "4444"),
    "pm_card_amex": TestCard("amex", "8431"),
    "pm_card_discover": TestCard("discover", "1117"),
    "pm_card_chargeDeclined": TestCard("visa", "0002", saves=False, charges=False),
    "pm_card_visa_chargeDeclined": TestCard("visa", "0002", saves=False, charges=False),
    "pm_card_chargeDeclinedInsufficientFunds": TestCard("visa", "9995", saves=False, charges=False),
    "pm_card_visa_chargeDeclinedInsufficientFunds": TestCard("visa", "9995", saves=False, charges=False),
    "pm_card_chargeDeclinedExpiredCard": TestCard("visa", "0069", saves=False, charges=False),
    "pm_card_chargeCustomerFail": TestCard("visa", "0341", charges=False),
}


@dataclass(frozen=True, slots=True)
class PaymentMethod:
    """A saved card; `created` in Unix seconds."""

    id: str
    created: int
    livemode: bool
    customer: str | None
    brand: str
    last4: str
    charges: bool


def card_declined() -> ApiError:
    """402: the bank said no."""
    return ApiError(402, "Your card was declined.", outcome="card_declined", kind="card_error", code="card_declined", stored=True)


def payment_method_object(method: PaymentMethod) -> dict[str, object]:
    """The `payment_method` that the API shows."""
    return {
        "id": method.id,
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": {"address": None, "email": None, "name": None, "phone": None, "tax_id": None},
        "card": {"brand": method.brand, "country": "US", "exp_month": 12, "exp_year": 2099, "funding": "credit", "last4": method.last4},
        "created": method.created,
        "customer": method.customer,
        "livemode": method.livemode,
        "metadata": {},
        "type": "card",
    }
