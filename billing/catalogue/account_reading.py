"""Read what Stripe has of that which the settings file speaks of: its meters, products and prices."""

from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, cast

import stripe
from stripe.params import PriceListParams, ProductListParams
from stripe.params.billing import MeterListParams

from billing.calls import all_rows
from billing.catalogue.account import Account, FoundMeter, FoundPrice, FoundProduct, Terms
from billing.catalogue.price_list import PriceList
from billing.catalogue.pricing import Package, Tier, Wanted
from metering.stripe.client import PAGE_ROWS

PRODUCT_KEY: Final = "taximeter_product"  # in a product's metadata
PRICE_KEY: Final = "taximeter_price"  # in a price's metadata: what its lookup_key was when it was made
ROWS_MAX: Final = 10_000
_LOOKUP_KEYS_MAX: Final = 10  # Stripe's limit for one call


async def read_account(client: stripe.StripeClient, wanted: Wanted) -> Account:
    """Read everything that a plan needs, all pages. Changes nothing.

    Raises what `billing.calls.calling` raises, and Refused when the account has more than 10,000 meters, products, or prices of one product.
    """
    meters = await read_meters(client)
    if not wanted.products and not wanted.prices:
        return Account(meters)
    products = await read_products(client)
    prices: dict[str, FoundPrice] = {}
    keys = [price.key for price in wanted.prices]
    for start in range(0, len(keys), _LOOKUP_KEYS_MAX):
        prices.update(await _read_prices(client, {"lookup_keys": keys[start : start + _LOOKUP_KEYS_MAX]}))
    for product in products:
        prices.update(await _read_prices(client, {"product": product.id}))
    return Account(meters, products, tuple(prices.values()))


async def read_meters(client: stripe.StripeClient) -> tuple[FoundMeter, ...]:
    """All meters of the account, active or not. Raises as read_account does."""

    async def fetch(after: str | None) -> stripe.ListObject[Any]:
        return await client.v1.billing.meters.list_async(cast("MeterListParams", _page({}, after)))

    return tuple(_meter(row.to_dict()) for row in await all_rows(fetch, what="meters", rows_max=ROWS_MAX))


async def read_products(client: stripe.StripeClient) -> tuple[FoundProduct, ...]:
    """The products that Taximeter made, the oldest first. Raises as read_account does."""

    async def fetch(after: str | None) -> stripe.ListObject[Any]:
        return await client.v1.products.list_async(cast("ProductListParams", _page({}, after)))

    rows = [row.to_dict() for row in await all_rows(fetch, what="products", rows_max=ROWS_MAX)]
    # Stripe lists the newest first; the oldest is the one that others refer to.
    return tuple(_product(row) for row in reversed(rows) if (row.get("metadata") or {}).get(PRODUCT_KEY))


async def find_price(client: stripe.StripeClient, key: str) -> FoundPrice | None:
    """The price that holds this lookup_key, archived or not. Raises as read_account does."""
    return next(iter((await _read_prices(client, {"lookup_keys": [key]})).values()), None)


async def read_price_list(client: stripe.StripeClient) -> PriceList:
    """Every active price that bills a meter. Changes nothing. Raises as read_account does."""
    meters = {meter.id: meter.event_name for meter in await read_meters(client)}
    found = await _read_prices(client, {"active": True})
    prices: defaultdict[str, list[FoundPrice]] = defaultdict(list)
    for price in found.values():
        if price.terms.meter in meters:
            prices[meters[price.terms.meter]].append(price)
    return PriceList({meter: tuple(each) for meter, each in prices.items()})


async def _read_prices(client: stripe.StripeClient, which: Mapping[str, object]) -> dict[str, FoundPrice]:
    async def fetch(after: str | None) -> stripe.ListObject[Any]:
        return await client.v1.prices.list_async(cast("PriceListParams", _page({**which, "expand": ["data.tiers"]}, after)))

    rows = [row.to_dict() for row in await all_rows(fetch, what="prices", rows_max=ROWS_MAX)]
    return {row["id"]: _price(row) for row in rows}


def _page(params: dict[str, object], after: str | None) -> dict[str, object]:
    cursor = {} if after is None else {"starting_after": after}
    return {**params, "limit": PAGE_ROWS, **cursor}


def _meter(row: Mapping[str, Any]) -> FoundMeter:
    return FoundMeter(
        id=row["id"],
        event_name=row["event_name"],
        display_name=row["display_name"],
        formula=row["default_aggregation"]["formula"],
        customer_key=row["customer_mapping"]["event_payload_key"],
        value_key=row["value_settings"]["event_payload_key"],
        event_time_window=row.get("event_time_window"),
        active=row["status"] == "active",
    )


def _product(row: Mapping[str, Any]) -> FoundProduct:
    return FoundProduct(row["id"], row["metadata"][PRODUCT_KEY], row["name"], row["active"])


def _price(row: Mapping[str, Any]) -> FoundPrice:
    recurring = row.get("recurring") or {}
    package = row.get("transform_quantity")
    tiers = tuple(_tier(tier) for tier in row.get("tiers") or ())
    product = row["product"]
    return FoundPrice(
        id=row["id"],
        key=row.get("lookup_key") or "",
        made_as=(row.get("metadata") or {}).get(PRICE_KEY, ""),
        active=row["active"],
        terms=Terms(
            product=product if isinstance(product, str) else product["id"],
            meter=recurring.get("meter") or "",
            usage_type=recurring.get("usage_type") or "",
            currency=row["currency"],
            interval=recurring.get("interval") or "",
            interval_count=recurring.get("interval_count") or 1,
            unit_amount=None if tiers else _amount(row, "unit_amount"),
            package=Package(package["divide_by"], package["round"]) if package else None,
            tiers_mode=row.get("tiers_mode"),
            tiers=tiers,
        ),
    )


def _tier(row: Mapping[str, Any]) -> Tier:
    return Tier(row.get("up_to"), _amount(row, "unit_amount"), _amount(row, "flat_amount"))


def _amount(row: Mapping[str, Any], name: str) -> Decimal:
    """The exact amount; Stripe gives the whole one too, when it is whole. None counts as nothing: a tier may have only one of its amounts."""
    exact, whole = row.get(f"{name}_decimal"), row.get(name)
    return Decimal(str(exact)) if exact is not None else Decimal(whole or 0)
