"""Reading of `POST /v1/prices`: what makes sense together is Stripe's, the meter that is named must be there and active."""

import re
from typing import NamedTuple, cast

from taximeter_sandbox.stripe.http.errors import ApiError, invalid, missing_parameter
from taximeter_sandbox.stripe.http.metadata import Metadata, read_metadata
from taximeter_sandbox.stripe.http.parameters import Parameters
from taximeter_sandbox.stripe.selling import products
from taximeter_sandbox.stripe.selling.prices import (
    LOOKUP_KEY_LENGTH_MAX,
    Interval,
    Package,
    Recurring,
    Rounding,
    Tier,
    TiersMode,
    UsageType,
    amount_text,
)
from taximeter_sandbox.stripe.selling.products import ProductDraft

CURRENCY = re.compile(r"[a-z]{3}\Z", re.ASCII)
AMOUNT_MAX = 999_999_999_999
TIERS_MAX = 100
INTERVALS_MAX = {"day": 1095, "week": 156, "month": 36, "year": 3}  # three years


class PriceDraft(NamedTuple):
    """The validated parameters of a create call. Exactly one of `product` and `product_draft` is set."""

    currency: str
    product: str | None
    product_draft: ProductDraft | None
    active: bool
    unit_amount: str | None
    tiers_mode: TiersMode | None
    tiers: tuple[Tier, ...]
    package: Package | None
    recurring: Recurring | None
    nickname: str | None
    lookup_key: str | None
    transfers_lookup_key: bool
    tax_behavior: str
    metadata: Metadata


def read_price_draft(parameters: Parameters) -> PriceDraft:
    """Validate the parameters, apart from what they refer to. Raises ApiError."""
    currency = parameters.text("currency", length_max=100).lower()
    if not CURRENCY.match(currency):
        raise invalid(f"Invalid currency: {currency}. It must be a three-letter ISO code in lower case.", "currency")
    product, product_draft = _read_product(parameters)
    scheme = parameters.optional_choice("billing_scheme", ("per_unit", "tiered")) or "per_unit"
    unit_amount = _read_amount(parameters, "unit_amount")
    mode = parameters.optional_choice("tiers_mode", ("graduated", "volume"))
    tiers = _read_tiers(parameters)
    package = _read_package(parameters)
    _check_scheme(scheme, unit_amount=unit_amount, mode=mode, tiers=tiers, package=package)
    return PriceDraft(
        currency=currency,
        product=product,
        product_draft=product_draft,
        active=parameters.optional_flag("active") is not False,
        unit_amount=unit_amount,
        tiers_mode=cast("TiersMode | None", mode),
        tiers=tiers,
        package=package,
        recurring=_read_recurring(parameters),
        nickname=parameters.optional_text("nickname", length_max=5000),
        lookup_key=parameters.optional_text("lookup_key", length_max=LOOKUP_KEY_LENGTH_MAX),
        transfers_lookup_key=parameters.optional_flag("transfer_lookup_key") is True,
        tax_behavior=parameters.optional_choice("tax_behavior", ("exclusive", "inclusive", "unspecified")) or "unspecified",
        metadata=read_metadata(parameters),
    )


def _read_product(parameters: Parameters) -> tuple[str | None, ProductDraft | None]:
    product = parameters.optional_text("product", length_max=5000)
    data = parameters.optional_group("product_data")
    if product is not None and data is not None:
        raise invalid("You may only specify one of these parameters: product, product_data.", "product_data")
    if product is None and data is None:
        raise missing_parameter("product")
    return product, None if data is None else products.read_inline_draft(data)


def _read_amount(parameters: Parameters, name: str) -> str | None:
    whole = parameters.optional_integer(name)
    decimal = parameters.optional_decimal(f"{name}_decimal")
    if whole is not None and decimal is not None:
        raise invalid(f"You may only specify one of these parameters: {name}, {name}_decimal.", name)
    if whole is not None and not 0 <= whole <= AMOUNT_MAX:
        raise invalid(f"Invalid integer: {whole}; must be within 0..{AMOUNT_MAX}", name, "parameter_invalid_integer")
    if whole is not None:
        return str(whole)
    return None if decimal is None else amount_text(decimal)


def _read_tiers(parameters: Parameters) -> tuple[Tier, ...]:
    tiers = []
    for given in parameters.optional_groups("tiers", count_max=TIERS_MAX) or []:
        bound = given.text("up_to", length_max=20)
        if bound != "inf" and not (bound.isdecimal() and int(bound) > 0):
            raise invalid(f"Invalid up_to: {bound}; must be a positive integer or inf", "tiers")
        tier = Tier(None if bound == "inf" else int(bound), _read_amount(given, "unit_amount"), _read_amount(given, "flat_amount"))
        given.finish()
        if tier.unit_amount is None and tier.flat_amount is None:
            raise invalid("Each tier needs a unit amount or a flat amount.", "tiers")
        tiers.append(tier)
    bounds = [tier.up_to for tier in tiers]
    if bounds and (bounds[-1] is not None or None in bounds[:-1]):
        raise invalid("The last tier, and no other, must have up_to=inf.", "tiers")
    finite = [bound for bound in bounds if bound is not None]
    if finite != sorted(set(finite)):
        raise invalid("Tiers must be in ascending order of up_to.", "tiers")
    return tuple(tiers)


def _read_package(parameters: Parameters) -> Package | None:
    given = parameters.optional_group("transform_quantity")
    if given is None:
        return None
    divide_by = given.integer("divide_by")
    rounding = given.choice("round", ("down", "up"))
    given.finish()
    if not 1 <= divide_by <= AMOUNT_MAX:
        raise invalid(f"Invalid integer: {divide_by}; must be within 1..{AMOUNT_MAX}", "transform_quantity[divide_by]")
    return Package(divide_by, cast("Rounding", rounding))


def _check_scheme(scheme: str, *, unit_amount: str | None, mode: str | None, tiers: tuple[Tier, ...], package: Package | None) -> None:
    if scheme == "per_unit":
        if tiers or mode is not None:
            raise invalid("billing_scheme must be tiered for a price with tiers or tiers_mode.", "billing_scheme")
        if unit_amount is None:
            raise missing_parameter("unit_amount")
        return
    if not tiers:
        raise missing_parameter("tiers")
    if mode is None:
        raise missing_parameter("tiers_mode")
    if unit_amount is not None:
        raise invalid("A price with billing_scheme=tiered takes its amounts from its tiers; unit_amount cannot be set.", "unit_amount")
    if package is not None:
        raise invalid("transform_quantity cannot be combined with tiers.", "transform_quantity")


def _read_recurring(parameters: Parameters) -> Recurring | None:
    given = parameters.optional_group("recurring")
    if given is None:
        return None
    interval = given.choice("interval", ("day", "month", "week", "year"))
    count = given.optional_integer("interval_count")
    usage = given.optional_choice("usage_type", ("licensed", "metered")) or "licensed"
    meter = given.optional_text("meter", length_max=5000)
    given.finish()
    count = 1 if count is None else count
    if not 1 <= count <= INTERVALS_MAX[interval]:
        raise invalid(f"Invalid interval_count: {count}; the interval may be three years at most.", "recurring[interval_count]")
    if usage == "metered" and meter is None:
        raise invalid("Metered prices must be backed by a meter: set recurring[meter].", "recurring[meter]", "parameter_missing")
    if usage == "licensed" and meter is not None:
        raise invalid("recurring[meter] can only be set when recurring[usage_type] is metered.", "recurring[meter]")
    return Recurring(cast("Interval", interval), count, cast("UsageType", usage), meter)


def lookup_key_taken(price_id: str) -> ApiError:
    """400: another price has the lookup key, and the call does not ask to move it."""
    return invalid(f"A price (`{price_id}`) already uses that lookup key.", "lookup_key")
