"""Stripe Checkout: a page at Stripe on which a customer subscribes and leaves payment details."""

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import uuid4

import stripe

from billing.calls import NotPossible, calling, idempotency_key
from billing.reply_fields import text_of
from billing.selling.customers import show_customer
from billing.selling.prices import find_metered_prices

if TYPE_CHECKING:
    from stripe.params.checkout import SessionCreateParams


@dataclass(frozen=True, slots=True)
class CheckoutSession:
    """A session: the customer opens `url`, until `expires_at` (Unix seconds)."""

    id: str
    url: str
    expires_at: int


@dataclass(frozen=True, slots=True)
class NewCheckout:
    """A session to be; `prices` are lookup keys or ids. Without a customer, Stripe makes one.

    In `success_url`, Stripe puts the session's id in the place of `{CHECKOUT_SESSION_ID}`.
    """

    prices: tuple[str, ...]
    success_url: str
    cancel_url: str
    customer: str | None = None


async def create_checkout(client: stripe.StripeClient, new: NewCheckout) -> CheckoutSession:
    """Make a session that subscribes to metered prices. Raises NotPossible for an unknown customer or price, and for what is no web address."""
    for name, url in (("success URL", new.success_url), ("cancel URL", new.cancel_url)):
        _check_url(name, url)
    if new.customer is not None:
        await show_customer(client, new.customer)
    prices = await find_metered_prices(client, list(new.prices))
    params: SessionCreateParams = {
        "mode": "subscription",
        # Without a quantity: usage is metered.
        "line_items": [{"price": price.id} for price in prices],
        "success_url": new.success_url,
        "cancel_url": new.cancel_url,
    }
    if new.customer is not None:
        params["customer"] = new.customer
    key = idempotency_key("checkout", uuid4().hex)
    session = await calling(lambda: client.v1.checkout.sessions.create_async(params, {"idempotency_key": key}))
    url = text_of(session, "url")
    if not url:
        raise NotPossible(f"Stripe made the session {session.id} and gave no address of its page; it costs nothing and ends by itself")
    return CheckoutSession(session.id, url, session.expires_at)


def _check_url(name: str, url: str) -> None:
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = None
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise NotPossible(f"the {name} must begin with https:// or http:// and name a host, is {url[:200]!r}")
