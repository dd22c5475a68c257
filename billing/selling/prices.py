"""Prices as Stripe has them: found by lookup key or id, and described in words."""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import stripe

from billing.calls import NotPossible, all_rows, calling
from billing.money import main_units
from billing.reply_fields import field_of
from metering.stripe.client import PAGE_ROWS

if TYPE_CHECKING:
    from stripe.params import PriceListParams

PRICES_LISTED_MAX: Final = 2_000
_ID: Final = re.compile(r"price_[A-Za-z0-9_]+")
_SHOWN_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class PriceAtStripe:
    """A price that exists. `unit_amount` is in the currency's smallest unit, per `package` units; None where tiers decide."""

    id: str
    lookup_key: str | None
    active: bool
    currency: str
    unit_amount: Decimal | None
    package: int
    round_up: bool
    tiers_mode: str | None
    interval: str | None
    interval_count: int
    meter: str | None

    @property
    def name(self) -> str:
        """What a person calls it."""
        return self.lookup_key or self.id

    @property
    def terms(self) -> str:
        """What a unit costs, in words: `0.04 USD per 1,000 (rounded up)`, in the currency's main unit."""
        if self.unit_amount is None:
            return f"{self.tiers_mode} tiers" if self.tiers_mode else "-"
        amount = f"{main_units(self.unit_amount, self.currency)} {self.currency.upper()}"
        return amount if self.package == 1 else f"{amount} per {self.package:,} (rounded {'up' if self.round_up else 'down'})"


async def find_price(client: stripe.StripeClient, key_or_id: str) -> PriceAtStripe:
    """The active price with this lookup key or id. Raises NotPossible when there is none, and names the lookup keys there are."""
    if _ID.fullmatch(key_or_id):
        try:
            price = await show_price(client, key_or_id)
        except stripe.InvalidRequestError as error:
            if error.http_status != 404:
                raise
            raise await _no_such(client, key_or_id) from None
        if not price.active:
            raise NotPossible(f"the price {key_or_id} is archived: nothing new is sold at it")
        return price
    found = await calling(lambda: client.v1.prices.list_async({"lookup_keys": [key_or_id], "active": True, "limit": 1}))
    if not found.data:
        raise await _no_such(client, key_or_id)
    return price_record(found.data[0])


async def show_price(client: stripe.StripeClient, price_id: str) -> PriceAtStripe:
    """The price with this id, archived or not. Raises what the library raises."""
    return price_record(await calling(lambda: client.v1.prices.retrieve_async(price_id)))


async def find_metered_prices(client: stripe.StripeClient, keys_or_ids: list[str]) -> list[PriceAtStripe]:
    """The prices with these lookup keys or ids, all of them for metered usage. Raises NotPossible otherwise, and for none or the same one twice."""
    if not keys_or_ids:
        raise NotPossible("no price is named")
    prices = [await find_price(client, each) for each in keys_or_ids]
    for price in prices:
        if price.meter is None:
            raise NotPossible(f"the price {price.name} bills no meter, so there is no usage to bill by it")
    if len({price.id for price in prices}) < len(prices):
        raise NotPossible("the same price is named twice")
    return prices


async def list_prices(client: stripe.StripeClient) -> list[PriceAtStripe]:
    """The active prices, newest first. Raises NotPossible when there are more than 2,000."""

    async def fetch(after: str | None) -> stripe.ListObject[stripe.Price]:
        params: PriceListParams = {"active": True, "limit": PAGE_ROWS}
        if after is not None:
            params["starting_after"] = after
        return await client.v1.prices.list_async(params)

    return [price_record(price) for price in await all_rows(fetch, what="prices", rows_max=PRICES_LISTED_MAX)]


def price_record(price: stripe.Price) -> PriceAtStripe:
    """The record of what the library returns."""
    recurring, transform = field_of(price, "recurring"), field_of(price, "transform_quantity")
    return PriceAtStripe(
        id=price.id,
        lookup_key=field_of(price, "lookup_key"),
        active=price.active,
        currency=price.currency,
        unit_amount=None if price.billing_scheme == "tiered" else _amount(price),
        package=1 if transform is None else transform.divide_by,
        round_up=transform is not None and transform.round == "up",
        tiers_mode=field_of(price, "tiers_mode"),
        interval=None if recurring is None else recurring.interval,
        interval_count=1 if recurring is None else recurring.interval_count,
        meter=field_of(recurring, "meter"),
    )


def _amount(price: stripe.Price) -> Decimal | None:
    """The exact amount; the whole one where Stripe gives no other."""
    exact, whole = field_of(price, "unit_amount_decimal"), field_of(price, "unit_amount")
    if exact is not None:
        return Decimal(exact)
    return None if whole is None else Decimal(whole)


async def _no_such(client: stripe.StripeClient, asked: str) -> NotPossible:
    keys = sorted(price.name for price in await list_prices(client) if price.meter is not None)
    more = f" and {len(keys) - _SHOWN_MAX} more" if len(keys) > _SHOWN_MAX else ""
    there = ", ".join(keys[:_SHOWN_MAX]) + more if keys else "none; `taximeter stripe setup` makes those of the settings file"
    return NotPossible(f"this account has no active price {asked!r}; for metered usage it has {there}")
