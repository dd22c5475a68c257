"""Short ways to sell things on an account, without HTTP."""

from datetime import UTC, datetime
from typing import Any

import orjson
from taximeter_sandbox.stripe.account import Account
from taximeter_sandbox.stripe.invoicing.invoices import Invoice
from taximeter_sandbox.stripe.selling.price_drafts import read_price_draft
from taximeter_sandbox.stripe.selling.prices import Price
from taximeter_sandbox.stripe.selling.subscription_drafts import ItemDraft, SubscriptionDraft
from taximeter_sandbox.stripe.selling.subscriptions import Subscription

from tests.support.stripe_account import MemoryJournal, add_customer, add_meter, form, make_account, submission

PACKAGE = {"unit_amount": "4", "transform_quantity[divide_by]": "1000", "transform_quantity[round]": "up"}


def at(text: str) -> int:
    """Milliseconds since the epoch of a date, or of a date and time, in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


def seconds(text: str) -> int:
    return at(text) // 1000


def price_fields(meter_id: str, /, **fields: str) -> dict[str, str]:
    recurring = {"recurring[interval]": "month", "recurring[usage_type]": "metered", "recurring[meter]": meter_id}
    given = {"currency": "usd", "product_data[name]": "Alpaca", **recurring, **fields}
    return {name: value for name, value in given.items() if value}


def tiers(*rows: tuple[str, str, str], mode: str = "graduated") -> dict[str, str]:
    """Fields of a tiered price from rows of (up_to, unit amount or "", flat amount or "")."""
    fields = {"billing_scheme": "tiered", "tiers_mode": mode}
    for number, (up_to, unit, flat) in enumerate(rows):
        fields[f"tiers[{number}][up_to]"] = up_to
        fields[f"tiers[{number}][unit_amount_decimal]"] = unit
        fields[f"tiers[{number}][flat_amount_decimal]"] = flat
    return fields


def add_price(account: Account, now_ms: int, /, event_name: str = "tokens", **fields: str) -> Price:
    meter = account.meters.by_event_name(event_name) or add_meter(account, event_name)
    return account.billing.selling.create_price(read_price_draft(form(**price_fields(meter.id, **fields))), livemode=False, now_ms=now_ms)


def subscribe(
    account: Account, now_ms: int, *prices: Price, customer: str = "cus_1", card: str | None = "pm_card_visa", **changes: Any
) -> Subscription:
    method = None if card is None else account.billing.paying.attach(card, customer, now_ms, livemode=False).id
    items = tuple(ItemDraft(price.id, (), f"items[{number}][price]") for number, price in enumerate(prices))
    draft = SubscriptionDraft(customer, items, default_payment_method=method, **changes)
    return account.billing.subscribing.create(draft, now_ms, livemode=False)


def use(account: Account, now_ms: int, value: str, timestamp: int | None = None, *, customer: str = "cus_1", event_name: str = "tokens") -> None:
    """One meter event, received at a time."""
    fields = {"event_name": event_name, "payload[stripe_customer_id]": customer, "payload[value]": value}
    if timestamp is not None:
        fields["timestamp"] = str(timestamp)
    account.accept(submission(account, now_ms, **fields), now_ms)


def shop(start: str, journal: MemoryJournal | None = None, /, *, card: str | None = "pm_card_visa", **fields: str) -> tuple[Account, Subscription]:
    """An account with one customer subscribed to one price since a time."""
    account = make_account(journal)
    add_customer(account)
    price = add_price(account, at(start), **(fields or PACKAGE))
    return account, subscribe(account, at(start), price, card=card)


def invoices(account: Account) -> list[Invoice]:
    return list(account.billing.invoicing.invoices)


def current(account: Account, subscription: Subscription) -> Subscription:
    return account.billing.subscriptions.get(subscription.id)


def told(account: Account, *kinds: str) -> list[tuple[str, int]]:
    """Events of these kinds (all, when none is named) and the Unix seconds at which they happened, in order."""
    events = reversed(list(account.notifications.log.snapshots()))
    return [(event.type, event.created_ms // 1000) for event in events if not kinds or event.type in kinds]


def after_a_kill(journal: MemoryJournal) -> Account:
    """The account that another process makes of a journal, read back from its bytes."""
    account = make_account()
    account.replay(orjson.loads(orjson.dumps(entry)) for entry in journal.entries)
    account.reseed("another")
    return account
