"""Whether Stripe would record what is about to be sent: it takes a meter event of any customer, and looks the customer and the meter up later."""

import argparse
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import aiohttp
import stripe

from billing.calls import NotPossible
from billing.selling.usage import find_meter
from metering.configuration.secrets import Redactor
from metering.configuration.settings import SettingsError
from metering.process.service_command import load_configuration
from metering.stripe.client import ReplyTooLarge, StripeHttp, make_client
from metering.stripe.settings import StripeSettings, stripe_is_configured

CUSTOMERS_LOOKED_UP_MAX: Final = 1_000


class CustomerState(StrEnum):
    """What Stripe says of a customer."""

    EXISTS = "exists"
    GONE = "gone"  # deleted, or never there, in this account and mode
    UNKNOWN = "unknown"


@dataclass(slots=True)
class LookedUp:
    """`gone`: why Stripe would not record usage of a customer or meter, by its name. `doubt`: why not all were looked up, "" if they were."""

    gone: dict[str, str] = field(default_factory=dict)
    doubt: str = ""

    def objection(self, customer: str, meter: str) -> str | None:
        """Why Stripe would not record a meter event of these; None if it would, or if that is not known."""
        return self.gone.get(customer) or self.gone.get(f"meter {meter}")


async def look_up(arguments: argparse.Namespace, customers: Iterable[str], meters: Iterable[str]) -> LookedUp:
    """Each customer and meter once. Waits for Stripe, a bounded time a call; raises nothing for what is wrong with Stripe."""
    if not stripe_is_configured(load_configuration({}, environ=os.environ, file=arguments.config).file, os.environ):
        return LookedUp(doubt="there is no Stripe key here to look customers up with (STRIPE_API_KEY)")
    try:
        settings = load_configuration({"stripe": StripeSettings}, environ=os.environ, file=arguments.config).of(StripeSettings)
    except SettingsError as error:
        return LookedUp(doubt="; ".join(error.problems))
    redactor = Redactor([settings.api_key])
    http = StripeHttp(connections=1, timeout_s=settings.timeout_seconds)
    found = LookedUp()
    try:
        client = make_client(http, api_key=settings.api_key, api_base=settings.api_base)
        for meter in sorted(set(meters)):
            await look_at_meter(client, meter, found)
        for number, customer in enumerate(sorted(set(customers))):
            if number >= CUSTOMERS_LOOKED_UP_MAX:
                found.doubt = f"only the first {CUSTOMERS_LOOKED_UP_MAX:,} customers were looked up"
                break
            state, why = await looked_up(client, customer, redactor)
            if state is CustomerState.GONE:
                found.gone[customer] = why
            elif state is CustomerState.UNKNOWN:
                found.doubt = why
    finally:
        await http.close_async()
    found.doubt = redactor.redact(found.doubt)
    return found


async def look_at_meter(client: stripe.StripeClient, meter: str, found: LookedUp) -> None:
    """Note why Stripe would not record anything of this meter, or why that is not known. Raises nothing for what is wrong with Stripe."""
    try:
        at_stripe = await find_meter(client, meter)
    except NotPossible as error:
        found.gone[f"meter {meter}"] = str(error)
        return
    except (stripe.StripeError, aiohttp.ClientError, TimeoutError, ReplyTooLarge) as error:
        found.doubt = f"the meter could not be looked up: {str(error) or type(error).__name__}"
        return
    if not at_stripe.active:
        found.gone[f"meter {meter}"] = f"the meter {meter} is inactive at Stripe"


async def looked_up(client: stripe.StripeClient, customer: str, redactor: Redactor) -> tuple[CustomerState, str]:
    """The state, and the reason where it is not EXISTS. Waits for Stripe, a bounded time; raises nothing for what is wrong with Stripe."""
    if not customer.startswith("cus_"):
        return CustomerState.UNKNOWN, f"{customer!r} is no id of a customer that can be looked up"
    try:
        found = await client.v1.customers.retrieve_async(customer)
    except stripe.InvalidRequestError as error:
        if error.http_status == 404 or error.code == "resource_missing":
            return CustomerState.GONE, f"Stripe has no customer {customer} in this account and mode"
        return CustomerState.UNKNOWN, redactor.redact(str(error))
    except (stripe.StripeError, aiohttp.ClientError, TimeoutError, ReplyTooLarge) as error:
        return CustomerState.UNKNOWN, redactor.redact(f"the customer could not be looked up: {str(error) or type(error).__name__}")
    return (CustomerState.GONE, f"the customer {customer} is deleted in Stripe") if getattr(found, "deleted", False) else (CustomerState.EXISTS, "")
