"""The money in a plan: the account's prices, where a Stripe key is configured, for every command that shows what its plan would bill.

money = await plan_money(arguments)
print(*money.lines(units), sep="\\n")  # units: (meter, units of one customer in one period)
"""

import argparse
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import aiohttp

from billing.catalogue.price_list import PriceList
from metering.configuration.secrets import Redactor
from metering.configuration.settings import SettingsError
from metering.process.service_command import load_configuration
from metering.stripe.settings import StripeSettings, stripe_is_configured


@dataclass(frozen=True, slots=True)
class PlanMoney:
    """The prices at which a plan is shown, and `whose` they are; or none, and why."""

    prices: PriceList | None
    why_not: str = ""
    whose: str = "the account's"

    def lines(self, units: Iterable[tuple[str, int]]) -> list[str]:
        """What these units come to, a line for each currency, and a line about what has no price. Entries as `PriceList.amounts` takes them."""
        entries = list(units)
        if self.prices is None:
            return [f"no amount: {self.why_not}"]
        found = [f"{amount.text} by {self.whose} prices" for amount in self.prices.amounts(entries)]
        missing = self.prices.unpriced(meter for meter, quantity in entries if quantity)
        return found + ([f"no active price bills {', '.join(missing)}"] if missing else [])

    def as_json(self, units: Iterable[tuple[str, int]]) -> dict[str, Any]:
        """For `--json`: the amounts by currency as texts, and which meters have no price. Without prices, why."""
        entries = list(units)
        if self.prices is None:
            return {"amounts": None, "why_not": self.why_not}
        missing = self.prices.unpriced(meter for meter, quantity in entries if quantity)
        return {"amounts": [amount.as_json() for amount in self.prices.amounts(entries)], "unpriced": list(missing)}


async def plan_money(arguments: argparse.Namespace) -> PlanMoney:
    """Read the account's prices: `arguments` has --config. Waits for Stripe, a bounded time; raises nothing for what is wrong with Stripe.

    Without a key, or without an answer, there are no prices, and the plan is shown without money.
    """
    if not stripe_is_configured(load_configuration({}, environ=os.environ, file=arguments.config).file, os.environ):
        return PlanMoney(None, "there is no Stripe key here to read the prices with (STRIPE_API_KEY)")
    try:
        settings = load_configuration({"stripe": StripeSettings}, environ=os.environ, file=arguments.config).of(StripeSettings)
    except SettingsError as error:
        return PlanMoney(None, "; ".join(error.problems))
    return await _read(settings)


async def _read(settings: StripeSettings) -> PlanMoney:
    # Only here: the Stripe library takes half a second to import.
    import stripe  # noqa: PLC0415

    from billing.calls import NotPossible  # noqa: PLC0415
    from billing.catalogue.account_reading import read_price_list  # noqa: PLC0415
    from metering.stripe.client import ReplyTooLarge, StripeHttp, make_client  # noqa: PLC0415

    http = StripeHttp(connections=1, timeout_s=settings.timeout_seconds)
    try:
        return PlanMoney(await read_price_list(make_client(http, api_key=settings.api_key, api_base=settings.api_base)))
    except (stripe.StripeError, aiohttp.ClientError, TimeoutError, ReplyTooLarge, NotPossible) as error:
        text = Redactor([settings.api_key]).redact(str(error) or type(error).__name__)
        return PlanMoney(None, f"the prices could not be read: {text}")
    finally:
        await http.close_async()
