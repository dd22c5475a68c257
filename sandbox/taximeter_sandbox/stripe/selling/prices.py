"""Prices: how much a product costs, and per what."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal

from taximeter_sandbox.stripe.http.metadata import Metadata, read_change
from taximeter_sandbox.stripe.http.parameters import Parameters
from taximeter_sandbox.stripe.metering.quantities import exact_text

Interval = Literal["day", "week", "month", "year"]
UsageType = Literal["licensed", "metered"]
TiersMode = Literal["graduated", "volume"]
Rounding = Literal["up", "down"]
LOOKUP_KEY_LENGTH_MAX = 200


@dataclass(frozen=True, slots=True)
class Tier:
    """One tier, up to and including `up_to` units (None: without end). Amounts are decimal texts in the smallest currency unit."""

    up_to: int | None
    unit_amount: str | None
    flat_amount: str | None


@dataclass(frozen=True, slots=True)
class Recurring:
    """How often, and where the quantity comes from; `meter` is set for a metered price."""

    interval: Interval
    interval_count: int
    usage_type: UsageType
    meter: str | None


@dataclass(frozen=True, slots=True)
class Package:
    """Usage is divided by `divide_by` and rounded to whole packages before it is multiplied."""

    divide_by: int
    round: Rounding


@dataclass(frozen=True, slots=True)
class Price:
    """One price; `unit_amount` is a decimal text in the smallest currency unit, None for a tiered price."""

    id: str
    created: int
    livemode: bool
    currency: str
    product: str
    active: bool
    unit_amount: str | None
    tiers_mode: TiersMode | None
    tiers: tuple[Tier, ...]
    package: Package | None
    recurring: Recurring | None
    nickname: str | None
    lookup_key: str | None
    tax_behavior: str
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class PriceChange:
    """An update; `lookup_key` is None when it stays, "" when it goes."""

    lookup_key: str | None
    transfers_lookup_key: bool
    apply: Callable[[Price], Price]


def read_change_of_price(parameters: Parameters) -> PriceChange:
    """Validate the parameters of `POST /v1/prices/{id}`. What a price costs cannot be changed. Raises ApiError."""
    active = parameters.optional_flag("active")
    nickname = parameters.clearable_text("nickname", length_max=5000)
    lookup_key = parameters.clearable_text("lookup_key", length_max=LOOKUP_KEY_LENGTH_MAX)
    transfers = parameters.optional_flag("transfer_lookup_key") is True
    metadata = read_change(parameters)
    parameters.finish()

    def apply(price: Price) -> Price:
        return replace(
            price,
            active=price.active if active is None else active,
            nickname=price.nickname if nickname is None else nickname or None,
            lookup_key=price.lookup_key if lookup_key is None else lookup_key or None,
            metadata=metadata.applied(price.metadata),
        )

    return PriceChange(lookup_key, transfers, apply)


def price_object(price: Price, *, with_tiers: bool = False) -> dict[str, object]:
    """The `price` that the API shows. Tiers are shown only when they are expanded."""
    shown: dict[str, object] = {
        "id": price.id,
        "object": "price",
        "active": price.active,
        "billing_scheme": "tiered" if price.tiers else "per_unit",
        "created": price.created,
        "currency": price.currency,
        "custom_unit_amount": None,
        "livemode": price.livemode,
        "lookup_key": price.lookup_key,
        "metadata": dict(price.metadata),
        "nickname": price.nickname,
        "product": price.product,
        "recurring": None if price.recurring is None else recurring_object(price.recurring),
        "tax_behavior": price.tax_behavior,
        "tiers_mode": price.tiers_mode,
        "transform_quantity": None if price.package is None else {"divide_by": price.package.divide_by, "round": price.package.round},
        "type": "one_time" if price.recurring is None else "recurring",
        "unit_amount": whole_amount(price.unit_amount),
        "unit_amount_decimal": price.unit_amount,
    }
    if with_tiers and price.tiers:
        shown["tiers"] = [_tier_object(tier) for tier in price.tiers]
    return shown


def plan_object(price: Price) -> dict[str, object]:
    """The `plan` that subscription items still carry beside their price."""
    assert price.recurring is not None, "only a recurring price can be subscribed to"
    return {
        "id": price.id,
        "object": "plan",
        "active": price.active,
        "amount": whole_amount(price.unit_amount),
        "amount_decimal": price.unit_amount,
        "billing_scheme": "tiered" if price.tiers else "per_unit",
        "created": price.created,
        "currency": price.currency,
        "interval": price.recurring.interval,
        "interval_count": price.recurring.interval_count,
        "livemode": price.livemode,
        "metadata": dict(price.metadata),
        "meter": price.recurring.meter,
        "nickname": price.nickname,
        "product": price.product,
        "tiers_mode": price.tiers_mode,
        "transform_usage": None if price.package is None else {"divide_by": price.package.divide_by, "round": price.package.round},
        "trial_period_days": None,
        "usage_type": price.recurring.usage_type,
    }


def recurring_object(recurring: Recurring) -> dict[str, object]:
    """The `recurring` of a price."""
    return {
        "interval": recurring.interval,
        "interval_count": recurring.interval_count,
        "meter": recurring.meter,
        "trial_period_days": None,
        "usage_type": recurring.usage_type,
    }


def _tier_object(tier: Tier) -> dict[str, object]:
    return {
        "flat_amount": whole_amount(tier.flat_amount),
        "flat_amount_decimal": tier.flat_amount,
        "unit_amount": whole_amount(tier.unit_amount),
        "unit_amount_decimal": tier.unit_amount,
        "up_to": tier.up_to,
    }


def whole_amount(amount: str | None) -> int | None:
    """The amount as an integer, None when there is none or it has a fraction."""
    return int(amount) if amount is not None and "." not in amount else None


def amount_text(amount: Decimal) -> str:
    """A decimal amount as the API shows it: without exponent and trailing zeros."""
    return exact_text(amount)
