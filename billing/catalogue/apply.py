"""Carry out a plan, one action after another, so that an interrupted run, or two runs at once, make nothing twice.

Each object is created under an idempotency key that follows from its content, so that a second run gets the same object. Stripe
keeps the first answer to a key for a day, failures and since deleted objects included; therefore each creation is looked up afterwards, and
repeated under another key when the answer turns out to be of the past. A mere change needs no key: setting a value twice changes nothing.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, cast

import aiohttp
import orjson
import stripe
from stripe.params import PriceCreateParams, ProductCreateParams
from stripe.params.billing import MeterCreateParams
from taximeter_emitter.clock import SystemClock
from taximeter_emitter.retry import Backoff, RetryPolicy

from billing.calls import NotPossible, calling, idempotency_key
from billing.catalogue.account_reading import PRICE_KEY, PRODUCT_KEY, find_price, read_meters, read_products
from billing.catalogue.plan import (
    Action,
    ArchivePrice,
    ChangeProduct,
    CreateMeter,
    CreatePrice,
    CreateProduct,
    Plan,
    ReactivateMeter,
    ReactivatePrice,
    RenameMeter,
)
from billing.catalogue.pricing import Price, Product, Tier
from billing.money import plain
from billing.reply_fields import field_of, text_of
from metering.records.meters import Meter
from metering.stripe.client import ReplyTooLarge

# Another run's call under the same key may be under way for as long as its client waits: 409 until then.
CREATING: Final = RetryPolicy(base_seconds=0.5, cap_seconds=4.0, deadline_seconds=90.0)
# How often a creation is tried, each time under another idempotency key.
KEYS: Final = RetryPolicy(base_seconds=2.0, cap_seconds=8.0, attempts_max=4)
_SERVER_ERROR: Final = 500
# How old an object may be that an answer of the past names: Stripe keeps answers for a day. And how far clocks may be apart.
_KEPT_S: Final = 25 * 3600
_CLOCKS_S: Final = 120


@dataclass(frozen=True, slots=True)
class Done:
    """An action that was carried out, and Stripe's id of what it was about."""

    action: Action
    id: str


class Stopped(Exception):
    """An action failed; those in `done` were carried out, and those after it were not begun. `cause` is what happened."""

    def __init__(self, done: tuple[Done, ...], action: Action, cause: Exception) -> None:
        super().__init__(f"stopped after {len(done)} actions: {cause}")
        self.done = done
        self.action = action
        self.cause = cause


@dataclass(frozen=True, slots=True)
class _Answer:
    """The object that Stripe says it made. `is_old`: the answer is one that Stripe kept, to an earlier call under the same key."""

    id: str
    request_id: str
    is_old: bool


@dataclass(frozen=True, slots=True)
class _Creation:
    """How to create something: the call, who has it already, and whether what an answer names is still there."""

    content: tuple[str, ...]
    create: Callable[[stripe.RequestOptions], Awaitable[object]]
    find: Callable[[], Awaitable[str | None]]
    stands: Callable[[str], Awaitable[bool]]


@dataclass(slots=True)
class _Ids:
    """Stripe's ids of the products and meters that this run made."""

    products: dict[str, str] = field(default_factory=dict)
    meters: dict[str, str] = field(default_factory=dict)


async def apply(client: stripe.StripeClient, plan: Plan, *, on_done: Callable[[Done], None] = lambda _: None) -> tuple[Done, ...]:
    """Carry out every action of a plan, in its order; `on_done` is called after each.

    Raises ValueError for a plan with obstacles, before anything is done, and Stopped at the first action that fails for good: planning
    and applying again continues from there. May be cancelled at any await. Blocks at most for some minutes for each action.
    """
    if plan.obstacles:
        raise ValueError("a plan with obstacles is not carried out: " + "; ".join(obstacle.difference for obstacle in plan.obstacles))
    done: list[Done] = []
    ids = _Ids()
    for action in plan.actions:
        try:
            identity = await _carry_out(client, action, ids)
        except (stripe.StripeError, aiohttp.ClientError, TimeoutError, ReplyTooLarge, NotPossible) as error:
            raise Stopped(tuple(done), action, error) from error
        done.append(Done(action, identity))
        on_done(done[-1])
    return tuple(done)


async def _carry_out(client: stripe.StripeClient, action: Action, ids: _Ids) -> str:
    meters, products, prices = client.v1.billing.meters, client.v1.products, client.v1.prices
    match action:
        case CreateMeter(meter):
            identity = ids.meters[meter.event_name] = await _created(_meter_creation(client, meter))
            return identity
        case CreateProduct(product):
            identity = ids.products[product.key] = await _created(_product_creation(client, product))
            return identity
        case CreatePrice():
            return await _created(_price_creation(client, action, ids))
        case RenameMeter(identity, wanted=name):
            await calling(lambda: meters.update_async(identity, {"display_name": name}))
        case ReactivateMeter(identity):
            await _reactivate(client, identity)
        case ChangeProduct(identity, wanted=name):
            await calling(lambda: products.update_async(identity, {"name": name, "active": True}))
        case ReactivatePrice(identity):
            await calling(lambda: prices.update_async(identity, {"active": True}))
        case ArchivePrice(identity):
            await calling(lambda: prices.update_async(identity, {"active": False}))
    return action.id


async def _created(creation: _Creation) -> str:
    """The id of what was created, by this run or by another one that did the same."""
    clock = SystemClock()
    backoff = Backoff(KEYS, now=clock.monotonic(), random=Random())
    while True:
        options: stripe.RequestOptions = {"idempotency_key": idempotency_key(*creation.content, str(backoff.attempts))}
        try:
            answer = await calling(_Creating(creation, options), policy=CREATING)
        except (stripe.StripeError, aiohttp.ClientError, TimeoutError):
            # It may have been carried out all the same, or another run was first. The key stays as it is: without an answer that call may
            # still be under way.
            found = await creation.find()
            if found is not None:
                return found
            raise
        identity = await creation.find() if isinstance(answer, stripe.StripeError) else answer.id
        if identity is not None and await creation.stands(identity):
            return identity
        delay = backoff.next_delay(clock.monotonic())
        if delay is None:
            break
        await clock.sleep(delay)
    if isinstance(answer, stripe.StripeError):
        raise answer
    raise NotPossible(_not_listed(creation.content[0], answer))


def _not_listed(kind: str, answer: _Answer) -> str:
    """What to say of an answer whose object Stripe does not list, though all went well by its status."""
    came = f"{answer.id}{f' [{answer.request_id}]' if answer.request_id else ''}"
    if answer.is_old:
        return f"Stripe answers with a {kind} of the last 24 hours that was deleted or changed since: {came}; try again tomorrow"
    return (
        f"Stripe answered that it made the {kind} {came}, and does not list it as what was asked for, {KEYS.attempts_max} times in a row; "
        "look for it in Stripe's dashboard, and run this again in a minute"
    )


@dataclass(frozen=True, slots=True)
class _Creating:
    """The call: an id, or a failure that Stripe keeps and will answer to this key for a day, so asking again is useless."""

    creation: _Creation
    options: stripe.RequestOptions

    async def __call__(self) -> _Answer | stripe.StripeError:
        began = time.time()
        try:
            made = await self.creation.create(self.options)
        except stripe.StripeError as error:
            if error.http_status == _SERVER_ERROR:
                return error
            raise
        reply = field_of(made, "last_response")
        identity, request_id = text_of(made, "id"), text_of(reply, "request_id")
        if not identity:
            raise NotPossible(
                f"Stripe answered the creation of a {self.creation.content[0]} with an object without an id [{request_id or 'no request id'}]"
            )
        return _Answer(identity, request_id, _is_old(made, reply, began))


def _is_old(made: object, reply: object, now: float) -> bool:
    """Whether Stripe says that it repeats an answer, or the object is older than the call, and not older than answers are kept."""
    headers = field_of(reply, "headers") or {}
    if any(name.lower() == "idempotent-replayed" and value == "true" for name, value in headers.items()):
        return True
    created = field_of(made, "created")
    return isinstance(created, int) and _CLOCKS_S < now - created < _KEPT_S


async def _reactivate(client: stripe.StripeClient, meter: str) -> None:
    try:
        await calling(lambda: client.v1.billing.meters.reactivate_async(meter))
    except stripe.InvalidRequestError:
        # Also the answer when it is active already: by another run, or by an attempt whose answer was lost.
        if (await calling(lambda: client.v1.billing.meters.retrieve_async(meter))).status != "active":
            raise


def _meter_creation(client: stripe.StripeClient, meter: Meter) -> _Creation:
    params = cast("MeterCreateParams", meter_params(meter))

    async def find() -> str | None:
        return next((each.id for each in await read_meters(client) if each.event_name == meter.event_name), None)

    async def stands(_: str) -> bool:
        return True  # meters are never deleted, and one that is inactive is found by its event name when a plan is made

    return _Creation(_content("meter", params), lambda options: client.v1.billing.meters.create_async(params, options), find, stands)


def _product_creation(client: stripe.StripeClient, product: Product) -> _Creation:
    params = cast("ProductCreateParams", product_params(product))

    async def find() -> str | None:
        return next((each.id for each in await read_products(client) if each.key == product.key), None)

    async def stands(identity: str) -> bool:
        return any(each.id == identity for each in await read_products(client) if each.key == product.key)

    return _Creation(_content("product", params), lambda options: client.v1.products.create_async(params, options), find, stands)


def _price_creation(client: stripe.StripeClient, action: CreatePrice, ids: _Ids) -> _Creation:
    price = action.price
    product, meter = action.product or ids.products[price.product], action.meter or ids.meters[price.meter]
    params = cast("PriceCreateParams", price_params(price, product=product, meter=meter, takes_key_over=action.replaces is not None))

    async def find() -> str | None:
        holder = await find_price(client, price.key)
        return holder.id if holder is not None and holder.id != action.replaces else None

    async def stands(identity: str) -> bool:
        holder = await find_price(client, price.key)
        return holder is not None and holder.id == identity

    # With the one that it replaces: to come back to an earlier price within a day must not be answered with that earlier price.
    content = (*_content("price", params), action.replaces or "")
    return _Creation(content, lambda options: client.v1.prices.create_async(params, options), find, stands)


def meter_params(meter: Meter) -> dict[str, Any]:
    """What creates this meter. It has no event_time_window: with one, Stripe would keep the last event of each window only."""
    return {
        "display_name": meter.display_name or meter.event_name,
        "event_name": meter.event_name,
        "default_aggregation": {"formula": meter.stripe_formula},
        "customer_mapping": {"event_payload_key": meter.customer_key, "type": "by_id"},
        "value_settings": {"event_payload_key": meter.value_key},
    }


def product_params(product: Product) -> dict[str, Any]:
    """What creates this product."""
    return {"name": product.name, "metadata": {PRODUCT_KEY: product.key}}


def price_params(price: Price, *, product: str, meter: str, takes_key_over: bool) -> dict[str, Any]:
    """What creates this price, given Stripe's ids of its product and meter; `takes_key_over` when another price holds the lookup_key."""
    params: dict[str, Any] = {
        "product": product,
        "currency": price.currency,
        "recurring": {"interval": price.interval, "interval_count": price.interval_count, "usage_type": "metered", "meter": meter},
        "lookup_key": price.key,
        "metadata": {PRICE_KEY: price.key},
    }
    if takes_key_over:
        params["transfer_lookup_key"] = True
    if price.unit_amount is None:
        return params | {"billing_scheme": "tiered", "tiers_mode": price.tiers_mode, "tiers": [_tier_params(tier) for tier in price.tiers]}
    if price.package is not None:
        params["transform_quantity"] = {"divide_by": price.package.units, "round": price.package.round}
    whole = price.unit_amount == price.unit_amount.to_integral_value()
    # As texts: the library would write a small decimal with an exponent.
    amount = {"unit_amount": int(price.unit_amount)} if whole else {"unit_amount_decimal": plain(price.unit_amount)}
    return params | {"billing_scheme": "per_unit"} | amount


def _tier_params(tier: Tier) -> dict[str, Any]:
    flat = {"flat_amount": int(tier.flat_amount)} if tier.flat_amount else {}
    return {"up_to": "inf" if tier.up_to is None else tier.up_to, "unit_amount_decimal": plain(tier.unit_amount), **flat}


def _content(kind: str, params: Mapping[str, Any]) -> tuple[str, ...]:
    return kind, orjson.dumps(params, option=orjson.OPT_SORT_KEYS).decode()
