"""Whether Stripe would record what is about to be sent: it takes a meter event of any customer, and looks the customer and the meter up later."""

import argparse
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
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
from taximeter.commands.customer_state import CustomerState, looked_up

CUSTOMERS_LOOKED_UP_MAX: Final = 1_000


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
            await _look_at_meter(client, meter, found)
        for number, customer in enumerate(sorted(set(customers))):
            if number >= CUSTOMERS_LOOKED_UP_MAX:
                found.doubt = f"only the first {CUSTOMERS_LOOKED_UP_MAX:,} customers were looked up"
                break
            state, why = await looked_up(client, customer, redactor)
            if state is CustomerState.GONE:
                found.gone[customer] = why
            elif state is CustomerState.UNKNOWN:
                found.doubt = why
    except (stripe.StripeError, aiohttp.ClientError, TimeoutError, ReplyTooLarge) as error:
        found.doubt = redactor.redact(f"Stripe could not be asked: {str(error) or type(error).__name__}")
    finally:
        await http.close_async()
    return found


async def _look_at_meter(client: stripe.StripeClient, meter: str, found: LookedUp) -> None:
    try:
        at_stripe = await find_meter(client, meter)
    except NotPossible as error:
        found.gone[f"meter {meter}"] = str(error)
        return
    if not at_stripe.active:
        found.gone[f"meter {meter}"] = f"the meter {meter} is inactive at Stripe"
