"""Whether Stripe has a customer, so that what is sent for it is recorded and not only accepted.

Stripe takes a meter event of any customer, looks the customer up later, and then records it or does not.
"""

import argparse
import os
from enum import StrEnum

import aiohttp
import stripe

from metering.configuration.secrets import Redactor
from metering.configuration.settings import SettingsError
from metering.process.service_command import load_configuration
from metering.stripe.client import ReplyTooLarge, StripeHttp, make_client
from metering.stripe.settings import StripeSettings, stripe_is_configured


class CustomerState(StrEnum):
    """What Stripe says of a customer."""

    EXISTS = "exists"
    GONE = "gone"  # deleted, or never there, in this account and mode
    UNKNOWN = "unknown"


async def customer_state(arguments: argparse.Namespace, customer: str) -> tuple[CustomerState, str]:
    """The state, and the reason where it is not EXISTS. Waits for Stripe, a bounded time; raises nothing for what is wrong with Stripe."""
    if not stripe_is_configured(load_configuration({}, environ=os.environ, file=arguments.config).file, os.environ):
        return CustomerState.UNKNOWN, "there is no Stripe key here to look the customer up with (STRIPE_API_KEY)"
    try:
        settings = load_configuration({"stripe": StripeSettings}, environ=os.environ, file=arguments.config).of(StripeSettings)
    except SettingsError as error:
        return CustomerState.UNKNOWN, "; ".join(error.problems)
    http = StripeHttp(connections=1, timeout_s=settings.timeout_seconds)
    try:
        client = make_client(http, api_key=settings.api_key, api_base=settings.api_base)
        return await looked_up(client, customer, Redactor([settings.api_key]))
    finally:
        await http.close_async()


async def looked_up(client: stripe.StripeClient, customer: str, redactor: Redactor) -> tuple[CustomerState, str]:
    """As customer_state, with this client."""
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
