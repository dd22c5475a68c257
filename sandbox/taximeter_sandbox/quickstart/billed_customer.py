"""A customer who is billed: meters and prices of a settings file, a customer, a subscription, and what the next invoice comes to.

The same calls as `taximeter stripe setup`, `customer create`, `subscribe` and `preview`.
"""

import time
import tomllib
from typing import Final, Self

import stripe

from billing.calls import NotPossible
from billing.catalogue.account_reading import read_account
from billing.catalogue.apply import apply
from billing.catalogue.plan import plan
from billing.catalogue.pricing import parse_wanted
from billing.selling.customers import NewCustomer, create_customer
from billing.selling.invoices import InvoicePreview, preview_invoice
from billing.selling.subscribing import NewSubscription, list_subscriptions, subscribe
from metering.configuration.secrets import Secret
from metering.stripe.client import StripeHttp, make_client
from taximeter_sandbox.quickstart.offer import CUSTOMER, PRICES, SETTINGS

CONNECTIONS: Final = 2
CALL_SECONDS: Final = 10.0


class BilledCustomer:
    """At the Stripe of this address and key. Every method waits for Stripe, and raises stripe.StripeError, aiohttp.ClientError or TimeoutError."""

    def __init__(self, client: stripe.StripeClient, http: StripeHttp) -> None:
        self._client = client
        self._http = http
        self._subscription = ""
        self.stripe_customer = ""

    @classmethod
    def at(cls, url: str, key: Secret) -> Self:
        """Of the account that this key opens."""
        http = StripeHttp(connections=CONNECTIONS, timeout_s=CALL_SECONDS)
        return cls(make_client(http, api_key=key, api_base=url), http)

    async def set_up(self) -> None:
        """Make all that the offer needs, if it is not there from an earlier run. Raises NotPossible besides."""
        wanted, problems = parse_wanted(tomllib.loads(SETTINGS))
        if wanted is None:
            raise NotPossible("; ".join(problems))
        await apply(self._client, plan(wanted, await read_account(self._client, wanted)))
        created = await create_customer(self._client, NewCustomer(name="Northwind", key=CUSTOMER))
        self.stripe_customer = created.customer.id
        running = [each.id for each in await list_subscriptions(self._client, self.stripe_customer) if not each.ended]
        self._subscription = running[0] if running else await self._subscribed()

    async def _subscribed(self) -> str:
        made = await subscribe(self._client, NewSubscription(self.stripe_customer, PRICES, anchor="minute"), now=int(time.time()))
        return made.subscription.id

    async def next_invoice(self) -> InvoicePreview:
        """As it would be at present. Raises NotPossible besides."""
        return await preview_invoice(self._client, self._subscription)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close_async()
