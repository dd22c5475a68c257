"""Subscriptions: a customer, prices, and a billing period. What makes usage cost money.

Nothing is due at the start of one that bills usage alone, so Stripe gives a pending SetupIntent with it: with its client secret, the customer's
browser saves the payment details (Stripe.js, `confirmSetup`) that the invoices are paid with.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import stripe

from billing.calls import NotPossible, all_rows, calling, idempotency_key
from billing.reply_fields import field_of, text_of
from billing.selling.calendar import next_full_minute_end, next_month_start
from billing.selling.customers import show_customer
from billing.selling.prices import PriceAtStripe, find_metered_prices
from metering.configuration.secrets import Secret
from metering.stripe.client import PAGE_ROWS

if TYPE_CHECKING:
    from stripe.params import SubscriptionCreateParams, SubscriptionListParams

SUBSCRIPTIONS_MAX: Final = 1_000
ITEMS_MAX: Final = 20  # Stripe's limit
_KEY_SECONDS: Final = 600
_ENDED: Final = frozenset({"canceled", "incomplete_expired"})

Anchor = int | Literal["month-start", "minute"]


@dataclass(frozen=True, slots=True)
class SubscriptionItem:
    """One price of a subscription and its current period `[period_start, period_end)`, in Unix seconds; `meter` is the meter's id."""

    id: str
    price: str
    lookup_key: str | None
    meter: str | None
    period_start: int
    period_end: int


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription as Stripe has it; times in Unix seconds. The period is the one of its first item."""

    id: str
    customer: str
    status: str
    created: int
    livemode: bool
    items: tuple[SubscriptionItem, ...]
    cancel_at_period_end: bool
    payment_method: str | None
    setup_intent: str | None

    @property
    def ended(self) -> bool:
        """Whether it bills nothing more."""
        return self.status in _ENDED

    @property
    def period_start(self) -> int | None:
        """The first second of the current period; None without an item."""
        return self.items[0].period_start if self.items else None

    @property
    def period_end(self) -> int | None:
        """The second at which the next period begins; None without an item."""
        return self.items[0].period_end if self.items else None


@dataclass(frozen=True, slots=True)
class PendingSetup:
    """The SetupIntent that waits for payment details. Anyone who has the client secret can finish it: it goes to that customer's browser only."""

    id: str
    status: str
    client_secret: Secret


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The new subscription, and what collects its payment details, unless the customer's are there already."""

    subscription: Subscription
    setup: PendingSetup | None


@dataclass(frozen=True, slots=True)
class NewSubscription:
    """A subscription to be; `prices` are lookup keys or ids.

    `anchor` says when the first period ends: in Unix seconds, "month-start" at the first second of the next UTC month, "minute" an interval after
    the minute in which it begins, None an interval after the second at which Stripe makes it. Usage is summed by the UTC minute, so periods that
    end on a full minute are better (billing.selling.calendar says why). `backdate` is a past start: usage since then is billed with the first
    period. `again` makes one although the customer is subscribed to one of the prices already.
    """

    customer: str
    prices: tuple[str, ...]
    anchor: Anchor | None = None
    backdate: int | None = None
    again: bool = False


async def subscribe(client: stripe.StripeClient, new: NewSubscription, *, now: int) -> Subscribed:
    """Make a subscription that bills usage; `now` in Unix seconds.

    Done by two at once it is one subscription: for ten minutes, the idempotency key follows from the customer, what is asked for, and the last
    subscription there was. No longer, because Stripe answers with a stored failure, too, for as long as a key is the same.
    Raises NotPossible for an unknown customer or price, and when the customer has one of the prices already.
    """
    customer = await show_customer(client, new.customer)
    if len(new.prices) > ITEMS_MAX:
        raise NotPossible(f"a subscription has at most {ITEMS_MAX} prices")
    prices = await find_metered_prices(client, list(new.prices))
    present = await list_subscriptions(client, customer.id)
    if not new.again:
        _refuse_a_second(present, prices)
    params = _parameters(new, prices, now)
    times = (str(params.get("billing_cycle_anchor", "")), str(new.backdate or ""), str(now // _KEY_SECONDS))
    key = idempotency_key("subscription", customer.id, *sorted(price.id for price in prices), *times, present[0].id if present else "")
    return _subscribed(await calling(lambda: client.v1.subscriptions.create_async(params, {"idempotency_key": key})))


async def list_subscriptions(client: stripe.StripeClient, customer: str) -> list[Subscription]:
    """All subscriptions of a customer, ended ones too, newest first. Raises NotPossible when there are more than 1,000."""

    async def fetch(after: str | None) -> stripe.ListObject[stripe.Subscription]:
        params: SubscriptionListParams = {"customer": customer, "status": "all", "limit": PAGE_ROWS}
        if after is not None:
            params["starting_after"] = after
        return await client.v1.subscriptions.list_async(params)

    found = await all_rows(fetch, what="subscriptions of this customer", rows_max=SUBSCRIPTIONS_MAX)
    return [subscription_record(subscription) for subscription in found]


async def show_subscription(client: stripe.StripeClient, subscription_id: str) -> Subscription:
    """The subscription with this id. Raises NotPossible when there is none."""
    try:
        return subscription_record(await calling(lambda: client.v1.subscriptions.retrieve_async(subscription_id)))
    except stripe.InvalidRequestError as error:
        if error.http_status != 404:
            raise
        raise NotPossible(f"there is no subscription {subscription_id!r} in this account") from None


def billing_meter(subscriptions: Iterable[Subscription], meter_id: str) -> SubscriptionItem | None:
    """The item that bills this meter at present, of the newest subscription if there are several; `subscriptions` are newest first."""
    items = (item for subscription in subscriptions if not subscription.ended for item in subscription.items)
    return next((item for item in items if item.meter == meter_id), None)


def subscription_record(subscription: stripe.Subscription) -> Subscription:
    """The record of what the library returns."""
    items = tuple(
        SubscriptionItem(
            id=item.id,
            price=item.price.id,
            lookup_key=field_of(item, "price", "lookup_key"),
            meter=field_of(item, "price", "recurring", "meter"),
            period_start=item.current_period_start,
            period_end=item.current_period_end,
        )
        for item in subscription.items.data
    )
    customer = id_of(subscription.customer)
    if customer is None:
        raise NotPossible(f"Stripe shows the subscription {subscription.id} without a customer")
    return Subscription(
        id=subscription.id,
        customer=customer,
        status=subscription.status,
        created=subscription.created,
        livemode=subscription.livemode,
        items=items,
        cancel_at_period_end=subscription.cancel_at_period_end,
        payment_method=id_of(field_of(subscription, "default_payment_method")),
        setup_intent=id_of(field_of(subscription, "pending_setup_intent")),
    )


def id_of(field: Any) -> str | None:
    """The id in a field that Stripe fills with an id or, expanded, with the object."""
    return field if field is None or isinstance(field, str) else str(field.id)


def _parameters(new: NewSubscription, prices: list[PriceAtStripe], now: int) -> "SubscriptionCreateParams":
    params: SubscriptionCreateParams = {
        "customer": new.customer,
        "items": [{"price": price.id} for price in prices],
        "payment_behavior": "default_incomplete",
        "payment_settings": {"save_default_payment_method": "on_subscription"},
        "expand": ["pending_setup_intent"],
    }
    if new.backdate is not None:
        if new.backdate >= now:
            raise NotPossible("a subscription can be backdated to a time in the past only")
        params["backdate_start_date"] = new.backdate
    anchor = new.anchor
    if anchor == "month-start":
        anchor = next_month_start(now)
    elif anchor == "minute":
        interval, count = prices[0].interval or "month", prices[0].interval_count
        anchor = next_full_minute_end(now if new.backdate is None else new.backdate, now, interval, count)
    if isinstance(anchor, int):
        if anchor <= now:
            raise NotPossible("the anchor is the end of the first period: it must be in the future")
        params["billing_cycle_anchor"] = anchor
    return params


def _refuse_a_second(present: list[Subscription], prices: list[PriceAtStripe]) -> None:
    wanted = {price.id: price for price in prices}
    for subscription in present:
        for item in subscription.items:
            if item.price in wanted and not subscription.ended:
                raise NotPossible(
                    f"{subscription.customer} is subscribed to {wanted[item.price].name} already, by {subscription.id} ({subscription.status}): "
                    "a second one would bill the same usage twice (--again makes one all the same)"
                )


def _subscribed(made: stripe.Subscription) -> Subscribed:
    intent = field_of(made, "pending_setup_intent")
    setup = None
    if client_secret := text_of(intent, "client_secret"):
        setup = PendingSetup(intent.id, intent.status, Secret(client_secret))
    return Subscribed(subscription_record(made), setup)
