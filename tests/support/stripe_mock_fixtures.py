"""Stripe's fixtures with what a seller of usage has: a metered price. The rest is as Stripe made it."""

import copy
from typing import Any

EVENT_NAME = "alpaca_ai_tokens"
LOOKUP_KEY = "alpaca_ai_tokens_monthly"
METER = "mtr_1"
IDENTIFIER = "tm-ab-1-0-5-0"


def metered(fixtures: Any) -> dict[str, Any]:
    """The objects by name."""
    found: dict[str, Any] = copy.deepcopy(fixtures["resources"])
    found["billing.meter"] |= {
        "id": METER,
        "event_name": EVENT_NAME,
        "customer_mapping": {"event_payload_key": "stripe_customer_id", "type": "by_id"},
    }
    found["billing.meter_event_adjustment"]["cancel"]["identifier"] = IDENTIFIER
    price = found["price"]
    _meter(price)
    for item in [found["subscription_item"], *found["subscription"]["items"]["data"]]:
        _meter(item["price"])
        item |= {"current_period_start": 1_790_000_000, "current_period_end": 4_000_000_000}
    found["subscription"] |= {"status": "active", "ended_at": None, "start_date": 1_790_000_000, "pending_setup_intent": found["setup_intent"]["id"]}
    found["product"]["metadata"] = {"taximeter_product": "alpaca_ai"}
    line = found["line_item"]
    line |= {"quantity_decimal": "1789", "pricing": {"type": "price_details", "price_details": {"price": price["id"], "product": price["product"]}}}
    for each in found["invoice"]["lines"]["data"]:
        each["pricing"] = line["pricing"]
    found["checkout.session"]["url"] = "https://checkout.stripe.com/c/pay/cs_test_1"
    found["webhook_endpoint"]["secret"] = "whsec_1"
    return found


def _meter(price: dict[str, Any]) -> None:
    price |= {"lookup_key": LOOKUP_KEY, "transform_quantity": {"divide_by": 1000, "round": "up"}, "unit_amount": 4, "unit_amount_decimal": "4"}
    price["recurring"] |= {"meter": METER, "usage_type": "metered"}
