"""What has to be done so that Stripe has what the settings file wants. Pure: two descriptions in, an ordered list of actions out.

Stripe keeps some things forever: a meter's event name, formula and payload keys, a price's amounts. Where such a thing differs, a price is replaced
by a new one, which takes over its lookup_key; a meter cannot be replaced, because its event name is taken: that is an obstacle, and nothing
is done until a person has removed it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias

from billing.catalogue.account import Account, FoundMeter, FoundPrice, Terms
from billing.catalogue.pricing import Price, Product, Tier, Wanted
from billing.money import main_units, plain
from metering.records.meters import Meter


@dataclass(frozen=True, slots=True)
class CreateMeter:
    """A meter that Stripe does not have."""

    meter: Meter


@dataclass(frozen=True, slots=True)
class RenameMeter:
    """Another display name, the only thing of a meter that can change."""

    id: str
    event_name: str
    found: str
    wanted: str


@dataclass(frozen=True, slots=True)
class ReactivateMeter:
    """The meter is inactive, and Stripe refuses its events."""

    id: str
    event_name: str


@dataclass(frozen=True, slots=True)
class CreateProduct:
    """A product that Stripe does not have."""

    product: Product


@dataclass(frozen=True, slots=True)
class ChangeProduct:
    """Another name, or an archived product that is wanted again."""

    id: str
    key: str
    found: str
    wanted: str
    was_active: bool


@dataclass(frozen=True, slots=True)
class CreatePrice:
    """A price that Stripe does not have, with Stripe's ids of its product and meter, "" where an earlier action of the plan makes them.

    `replaces` is the id of the price that holds the lookup_key and differs; `differences` says how.
    """

    price: Price
    product: str = ""
    meter: str = ""
    replaces: str | None = None
    differences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReactivatePrice:
    """The price is as wanted, but archived."""

    id: str
    key: str


@dataclass(frozen=True, slots=True)
class ArchivePrice:
    """A price that was replaced: nobody can subscribe to it any more, and existing subscriptions keep it."""

    id: str
    key: str


Action: TypeAlias = CreateMeter | RenameMeter | ReactivateMeter | CreateProduct | ChangeProduct | CreatePrice | ReactivatePrice | ArchivePrice


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Something that differs and cannot be changed by this program, why, and the way out."""

    subject: str
    difference: str
    why: str
    way_out: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Actions in the order in which they must be done; obstacles (a single one forbids every action); notes that ask for nothing."""

    actions: tuple[Action, ...] = ()
    obstacles: tuple[Obstacle, ...] = ()
    notes: tuple[str, ...] = ()
    unchanged: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether Stripe has all that is wanted."""
        return not self.actions and not self.obstacles


@dataclass(frozen=True, slots=True)
class _Part:
    """What one wanted thing asks for."""

    actions: tuple[Action, ...] = ()
    obstacles: tuple[Obstacle, ...] = ()
    notes: tuple[str, ...] = ()


def plan(wanted: Wanted, found: Account) -> Plan:
    """Compare, and say what to do: meters first, then products, then prices, since each refers to those before it."""
    parts = [_meter(meter, found.meter(meter.event_name)) for meter in wanted.meters]
    parts += [_product(product, found) for product in wanted.products]
    parts += [_price(price, found) for price in wanted.prices]
    return Plan(
        actions=tuple(action for part in parts for action in part.actions),
        obstacles=tuple(obstacle for part in parts for obstacle in part.obstacles),
        notes=tuple(note for part in parts for note in part.notes) + tuple(_left_over(wanted, found)),
        unchanged=sum(not part.actions and not part.obstacles for part in parts),
    )


def terms_of(price: Price, *, product: str, meter: str) -> Terms:
    """The terms of a wanted price, given Stripe's ids of its product and its meter."""
    return Terms(
        product=product,
        meter=meter,
        usage_type="metered",
        currency=price.currency,
        interval=price.interval,
        interval_count=price.interval_count,
        unit_amount=price.unit_amount,
        package=price.package,
        tiers_mode=price.tiers_mode,
        tiers=price.tiers,
    )


def meter_differences(meter: Meter, found: FoundMeter) -> tuple[str, ...]:
    """How an existing meter differs in what Stripe never changes; one sentence each."""
    pairs = (
        ("formula", meter.stripe_formula, found.formula),
        ("customer_mapping[event_payload_key]", meter.customer_key, found.customer_key),
        ("value_settings[event_payload_key]", meter.value_key, found.value_key),
    )
    differences = [f"{field} is {at_stripe!r}, the settings file needs {ours!r}" for field, ours, at_stripe in pairs if ours != at_stripe]
    if found.event_time_window is not None:
        differences.append(
            f"event_time_window is {found.event_time_window!r}: of all events of a customer in one {found.event_time_window} "
            "Stripe keeps only the last one it receives, so most usage would be lost; it must be none"
        )
    return tuple(differences)


def price_differences(wanted: Terms, found: Terms) -> tuple[str, ...]:
    """How an existing price differs, one phrase for each field. Ids that are "" in `wanted` belong to what is yet to be made."""
    fields = ("product", "meter", "usage_type", "currency", "interval", "interval_count")
    differences = [
        f"{field}: {getattr(found, field)!r} -> {getattr(wanted, field) or 'a new one'!r}"
        for field in fields
        if getattr(wanted, field) != getattr(found, field)
    ]
    if _rate(wanted) != _rate(found):
        differences.append(f"{rate_text(found)} -> {rate_text(wanted)}")
    return tuple(differences)


def rate_text(terms: Terms) -> str:
    """What a unit costs, for people: `0.04 usd per 1,000, rounded up`."""
    if terms.tiers:
        return f"{terms.tiers_mode} tiers: " + ", ".join(_tier_text(tier, terms.currency) for tier in terms.tiers)
    amount = f"{main_units(terms.unit_amount or Decimal(0), terms.currency)} {terms.currency}"
    return f"{amount} per unit" if terms.package is None else f"{amount} per {terms.package.units:,}, rounded {terms.package.round}"


def _tier_text(tier: Tier, currency: str) -> str:
    flat = f" + {main_units(tier.flat_amount, currency)}" if tier.flat_amount else ""
    return f"{main_units(tier.unit_amount, currency)}{flat} up to {'any' if tier.up_to is None else format(tier.up_to, ',')}"


def _rate(terms: Terms) -> tuple[object, ...]:
    """Equal for prices that bill alike: 4 and 4.00 are the same amount, also as texts."""
    unit = None if terms.unit_amount is None else plain(terms.unit_amount)
    return unit, terms.package, terms.tiers_mode, terms.tiers


def _meter(meter: Meter, found: FoundMeter | None) -> _Part:
    if found is None:
        return _Part((CreateMeter(meter),))
    subject = f"meter {meter.event_name}"
    obstacles = tuple(
        Obstacle(
            subject,
            difference,
            "Stripe never changes this of a meter, and an event name belongs to one meter forever",
            "choose another event_name in [[meters]] and run this again; usage sent from then on goes to the new meter",
        )
        for difference in meter_differences(meter, found)
    )
    if obstacles:
        return _Part(obstacles=obstacles)
    actions: list[Action] = [] if found.active else [ReactivateMeter(found.id, meter.event_name)]
    # A display name that is the event name is one that the file does not give: then the one at Stripe is left alone.
    if meter.display_name not in {"", meter.event_name, found.display_name}:
        actions.append(RenameMeter(found.id, meter.event_name, found.display_name, meter.display_name))
    return _Part(tuple(actions))


def _product(product: Product, found: Account) -> _Part:
    same = found.products_of(product.key)
    if not same:
        return _Part((CreateProduct(product),))
    if len(same) > 1:
        ids = ", ".join(each.id for each in same)
        why = "this program cannot know which one is meant"
        return _Part(
            obstacles=(
                Obstacle(
                    f"product {product.key}", f"{ids} all have this key in their metadata", why, "remove it from all but one in Stripe's dashboard"
                ),
            )
        )
    (one,) = same
    if one.active and one.name == product.name:
        return _Part()
    return _Part((ChangeProduct(one.id, product.key, one.name, product.name, one.active),))


def _price(price: Price, found: Account) -> _Part:
    products, meter = found.products_of(price.product), found.meter(price.meter)
    terms = terms_of(price, product=products[0].id if products else "", meter=meter.id if meter is not None else "")
    holder = found.price(price.key)
    # Left by a run that was interrupted between making a new price and archiving the old one, which has lost its key by then.
    outdated = tuple(ArchivePrice(each.id, price.key) for each in found.prices if each.active and not each.key and each.made_as == price.key)
    if holder is None:
        return _Part((CreatePrice(price, terms.product, terms.meter), *outdated))
    differences = price_differences(terms, holder.terms)
    if not differences:
        reactivation = () if holder.active else (ReactivatePrice(holder.id, price.key),)
        return _Part((*reactivation, *outdated))
    archived = (ArchivePrice(holder.id, price.key),) if holder.active else ()
    note = f"price {price.key}: subscriptions that are running keep the old price ({holder.id}) until each is moved to the new one"
    return _Part((CreatePrice(price, terms.product, terms.meter, holder.id, differences), *archived, *outdated), notes=(note,))


def _left_over(wanted: Wanted, found: Account) -> Iterator[str]:
    """What Taximeter made once and the file does not have: named, and never touched, since somebody may be subscribed to it."""
    keys = {product.key for product in wanted.products}
    for product in found.products:
        if product.active and product.key not in keys:
            yield f"product {product.key} ({product.id}) is not in the settings file; it is left as it is"
    for price in found.prices:
        if _is_left_over(price, wanted.prices):
            yield f"price {price.key} ({price.id}) is not in the settings file; it is left as it is, and so are its subscriptions"


def _is_left_over(price: FoundPrice, wanted: Sequence[Price]) -> bool:
    return price.active and bool(price.key) and all(price.key != each.key for each in wanted)
