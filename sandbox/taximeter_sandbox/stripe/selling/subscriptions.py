"""Subscriptions: records, and what the API shows of them. All items of one subscription share its billing period."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from taximeter_sandbox.stripe.http.metadata import Metadata
from taximeter_sandbox.stripe.selling.prices import Price, plan_object, price_object

BillingMode = Literal["flexible", "classic"]
CollectionMethod = Literal["charge_automatically", "send_invoice"]
SubscriptionStatus = Literal["active", "past_due", "canceled"]

# Fields that Stripe's object has and nothing here ever sets.
NEVER_SET = [
    "application",
    "application_fee_percent",
    "billing_cycle_anchor_config",
    "billing_thresholds",
    "customer_account",
    "default_source",
    "next_pending_invoice_item_invoice",
    "on_behalf_of",
    "pause_collection",
    "pending_invoice_item_interval",
    "pending_update",
    "schedule",
    "test_clock",
    "transfer_data",
    "trial_end",
    "trial_start",
]


@dataclass(frozen=True, slots=True)
class SubscriptionItem:
    """One price of a subscription."""

    id: str
    created: int
    price: str
    metadata: Metadata = ()


@dataclass(frozen=True, slots=True)
class Subscription:
    """One subscription; times in Unix seconds. The current period is [period_start, period_end)."""

    id: str
    created: int
    livemode: bool
    customer: str
    currency: str
    items: tuple[SubscriptionItem, ...]
    start_date: int
    anchor: int
    period_start: int
    period_end: int
    billing_mode: BillingMode
    collection_method: CollectionMethod
    days_until_due: int | None
    saves_payment_method: bool
    default_payment_method: str | None
    description: str | None
    metadata: Metadata
    status: SubscriptionStatus = "active"
    cancel_at_period_end: bool = False
    canceled_at: int | None = None
    ended_at: int | None = None
    pending_setup_intent: str | None = None
    latest_invoice: str | None = None
    announced: bool = False  # invoice.upcoming was sent for the current period

    @property
    def runs(self) -> bool:
        """Whether it is billed: not ended."""
        return self.ended_at is None


def subscription_object(subscription: Subscription, price_of: Callable[[str], Price]) -> dict[str, object]:
    """The `subscription` that the API shows, nothing expanded."""
    ends = subscription.cancel_at_period_end and subscription.runs
    return {
        **dict.fromkeys(NEVER_SET),
        "id": subscription.id,
        "object": "subscription",
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
        "billing_cycle_anchor": subscription.anchor,
        "billing_mode": {"flexible": None, "type": subscription.billing_mode},
        "billing_schedules": [],
        "cancel_at": subscription.period_end if ends else None,
        "cancel_at_period_end": subscription.cancel_at_period_end,
        "canceled_at": subscription.canceled_at,
        "cancellation_details": {
            "comment": None,
            "feedback": None,
            "reason": None if subscription.canceled_at is None else "cancellation_requested",
        },
        "collection_method": subscription.collection_method,
        "created": subscription.created,
        "currency": subscription.currency,
        "customer": subscription.customer,
        "days_until_due": subscription.days_until_due,
        "default_payment_method": subscription.default_payment_method,
        "default_tax_rates": [],
        "description": subscription.description,
        "discounts": [],
        "ended_at": subscription.ended_at,
        "invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}},
        "items": {
            "object": "list",
            "data": [_item_object(item, subscription, price_of(item.price)) for item in subscription.items],
            "has_more": False,
            "url": f"/v1/subscription_items?subscription={subscription.id}",
        },
        "latest_invoice": subscription.latest_invoice,
        "livemode": subscription.livemode,
        "metadata": dict(subscription.metadata),
        "payment_settings": {
            "payment_method_options": None,
            "payment_method_types": None,
            "save_default_payment_method": "on_subscription" if subscription.saves_payment_method else "off",
        },
        "pending_setup_intent": subscription.pending_setup_intent,
        "start_date": subscription.start_date,
        "status": subscription.status,
        "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
    }


def _item_object(item: SubscriptionItem, subscription: Subscription, price: Price) -> dict[str, object]:
    return {
        "id": item.id,
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": item.created,
        "current_period_end": subscription.period_end,
        "current_period_start": subscription.period_start,
        "discounts": [],
        "metadata": dict(item.metadata),
        "plan": plan_object(price),
        "price": price_object(price),
        "subscription": subscription.id,
        "tax_rates": [],
    }
