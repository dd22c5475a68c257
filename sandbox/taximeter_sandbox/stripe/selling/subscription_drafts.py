"""Reading of the parameters that create, change, cancel and list subscriptions."""

from typing import NamedTuple, cast

from taximeter_sandbox.stripe.http.errors import invalid, missing_parameter
from taximeter_sandbox.stripe.http.metadata import Metadata, MetadataChange, read_change, read_metadata
from taximeter_sandbox.stripe.http.parameters import Parameters
from taximeter_sandbox.stripe.selling.subscriptions import BillingMode, CollectionMethod

ITEMS_MAX = 20
DAYS_UNTIL_DUE_MAX = 730
BEHAVIORS = ("allow_incomplete", "default_incomplete", "error_if_incomplete", "pending_if_incomplete")
STATUSES = ("active", "all", "canceled", "ended", "incomplete", "incomplete_expired", "past_due", "paused", "trialing", "unpaid")


class ItemDraft(NamedTuple):
    """One item of a subscription to be; `param` is what errors about its price name."""

    price: str
    metadata: Metadata
    param: str


class SubscriptionDraft(NamedTuple):
    """The validated parameters of a create call, apart from what they refer to. Times in Unix seconds."""

    customer: str
    items: tuple[ItemDraft, ...]
    billing_mode: BillingMode = "flexible"
    collection_method: CollectionMethod = "charge_automatically"
    days_until_due: int | None = None
    saves_payment_method: bool = False
    default_payment_method: str | None = None
    anchor: int | None = None
    backdate_start_date: int | None = None
    cancel_at_period_end: bool = False
    description: str | None = None
    metadata: Metadata = ()


class SubscriptionChange(NamedTuple):
    """An update: None leaves a field as it is, "" unsets it."""

    cancel_at_period_end: bool | None
    default_payment_method: str | None
    description: str | None
    saves_payment_method: bool | None
    metadata: MetadataChange


class SubscriptionFilter(NamedTuple):
    """What a list call asks for; bounds of the current period's start and end in Unix seconds, all inclusive."""

    customer: str | None
    status: str | None
    price: str | None
    period_ends: tuple[int, int]
    period_starts: tuple[int, int]


def read_subscription_draft(parameters: Parameters) -> SubscriptionDraft:
    """Validate the parameters of `POST /v1/subscriptions`. Raises ApiError."""
    customer = parameters.text("customer", length_max=5000)
    items = read_items(parameters, "items")
    collection = cast("CollectionMethod | None", parameters.optional_choice("collection_method", ("charge_automatically", "send_invoice")))
    days = parameters.optional_integer("days_until_due")
    if collection == "send_invoice" and days is None:
        raise invalid("If you are not charging a customer automatically, you must set days_until_due.", "days_until_due")
    if days is not None and not 0 <= days <= DAYS_UNTIL_DUE_MAX:
        raise invalid(f"days_until_due must be within 0..{DAYS_UNTIL_DUE_MAX}.", "days_until_due")
    if collection != "send_invoice" and days is not None:
        raise invalid("days_until_due can only be set when collection_method is send_invoice.", "days_until_due")
    parameters.optional_choice("payment_behavior", BEHAVIORS)  # nothing is due at the start of a metered subscription, so none differs
    parameters.optional_choice("proration_behavior", ("always_invoice", "create_prorations", "none"))
    return SubscriptionDraft(
        customer=customer,
        items=items,
        billing_mode=_read_mode(parameters),
        collection_method=collection or "charge_automatically",
        days_until_due=days,
        saves_payment_method=_read_payment_settings(parameters) is True,
        default_payment_method=parameters.optional_text("default_payment_method", length_max=5000),
        anchor=parameters.optional_integer("billing_cycle_anchor"),
        backdate_start_date=parameters.optional_integer("backdate_start_date"),
        cancel_at_period_end=parameters.optional_flag("cancel_at_period_end") is True,
        description=parameters.optional_text("description", length_max=500),
        metadata=read_metadata(parameters),
    )


def read_items(parameters: Parameters, name: str) -> tuple[ItemDraft, ...]:
    """A list of prices, at most 20 of them. Raises ApiError; a quantity is refused, because it comes from metered usage."""
    items = []
    for number, given in enumerate(parameters.optional_groups(name, count_max=ITEMS_MAX) or []):
        price = given.text("price", length_max=5000)
        if given.optional_integer("quantity") is not None:
            raise invalid("You cannot set the quantity for metered plans.", f"{name}[{number}][quantity]")
        items.append(ItemDraft(price, read_metadata(given), f"{name}[{number}][price]"))
        given.finish()
    if not items:
        raise missing_parameter(name)
    return tuple(items)


def _read_mode(parameters: Parameters) -> BillingMode:
    given = parameters.optional_group("billing_mode")
    if given is None:
        return "flexible"
    mode = cast("BillingMode", given.choice("type", ("classic", "flexible")))
    given.finish()
    return mode


def _read_payment_settings(parameters: Parameters) -> bool | None:
    given = parameters.optional_group("payment_settings")
    if given is None:
        return None
    saves = given.optional_choice("save_default_payment_method", ("off", "on_subscription"))
    given.texts("payment_method_types", count_max=50, length_max=100)
    given.finish()
    return None if saves is None else saves == "on_subscription"


def read_subscription_change(parameters: Parameters) -> SubscriptionChange:
    """Validate the parameters of `POST /v1/subscriptions/{id}`. Raises ApiError."""
    return SubscriptionChange(
        cancel_at_period_end=parameters.optional_flag("cancel_at_period_end"),
        default_payment_method=parameters.clearable_text("default_payment_method", length_max=5000),
        description=parameters.clearable_text("description", length_max=500),
        saves_payment_method=_read_payment_settings(parameters),
        metadata=read_change(parameters),
    )


def read_subscription_filter(parameters: Parameters) -> SubscriptionFilter:
    """Validate what `GET /v1/subscriptions` can be narrowed by. Raises ApiError."""
    customer = parameters.optional_text("customer", length_max=5000)
    status = parameters.optional_choice("status", STATUSES)
    price = parameters.optional_text("price", length_max=5000)
    ends, starts = (_read_times(parameters, f"current_period_{side}") for side in ("end", "start"))
    return SubscriptionFilter(customer, status, price, ends, starts)


def _read_times(parameters: Parameters, name: str) -> tuple[int, int]:
    low, high = 0, 1 << 62
    bounds = parameters.optional_group(name)
    if bounds is not None:
        low = max(bounds.optional_integer("gte") or 0, (bounds.optional_integer("gt") or -1) + 1)
        most, less = bounds.optional_integer("lte"), bounds.optional_integer("lt")
        high = min(high if most is None else most, high if less is None else less - 1)
        bounds.finish()
    return low, high
