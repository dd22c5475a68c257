"""A plan in words, for people and for JSON."""

from dataclasses import dataclass
from typing import Any

from billing.catalogue.account import Terms
from billing.catalogue.plan import (
    Action,
    ArchivePrice,
    ChangeProduct,
    CreateMeter,
    CreatePrice,
    CreateProduct,
    Obstacle,
    Plan,
    ReactivateMeter,
    ReactivatePrice,
    RenameMeter,
    rate_text,
    terms_of,
)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a plan. `sign` is + for what is made, ~ for what is changed, - for what is archived, ! for what is in the way."""

    sign: str
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.sign} {self.subject}: {self.text}"


def describe(action: Action) -> Line:
    """What an action does."""
    match action:
        case CreateMeter(meter):
            return Line("+", f"meter {meter.event_name}", f"create {meter.display_name!r}: sums {meter.value_key!r} for each {meter.customer_key!r}")
        case RenameMeter(_, name, found, wanted):
            return Line("~", f"meter {name}", f"rename {found!r} to {wanted!r}")
        case ReactivateMeter(_, name):
            return Line("~", f"meter {name}", "reactivate: it is inactive, and Stripe refuses its events")
        case CreateProduct(product):
            return Line("+", f"product {product.key}", f"create {product.name!r}")
        case ChangeProduct():
            changes = [f"rename {action.found!r} to {action.wanted!r}"] if action.found != action.wanted else []
            changes += [] if action.was_active else ["reactivate: it is archived"]
            return Line("~", f"product {action.key}", "; ".join(changes))
        case CreatePrice(price, replaces=None):
            return Line("+", f"price {price.key}", f"create for {price.meter}: {price_text(terms_of(price, product='', meter=''))}")
        case CreatePrice(price, replaces=old):
            return Line("+", f"price {price.key}", f"create a new one that takes over the key of {old}: {'; '.join(action.differences)}")
        case ReactivatePrice(_, key):
            return Line("~", f"price {key}", "reactivate: it is archived")
        case ArchivePrice(identity, key):
            return Line("-", f"price {key}", f"archive {identity}, the old one: nobody can subscribe to it any more, existing subscriptions keep it")


def price_text(terms: Terms) -> str:
    """What is asked for, and how often: `0.04 usd per 1,000, rounded up, each month`."""
    often = f"each {terms.interval}" if terms.interval_count == 1 else f"every {terms.interval_count} {terms.interval}s"
    return f"{rate_text(terms)}, {often}"


def obstacle_line(obstacle: Obstacle) -> Line:
    """What is in the way, why, and the way out."""
    return Line("!", obstacle.subject, f"{obstacle.difference}. It cannot be changed: {obstacle.why}. Way out: {obstacle.way_out}.")


def plan_lines(plan: Plan) -> list[Line]:
    """The whole plan: what is in the way first."""
    return [*map(obstacle_line, plan.obstacles), *map(describe, plan.actions)]


def plan_json(plan: Plan) -> dict[str, Any]:
    """The whole plan as JSON."""
    return {
        "actions": [{"action": _kind(action), "subject": (line := describe(action)).subject, "text": line.text} for action in plan.actions],
        "obstacles": [{"subject": each.subject, "difference": each.difference, "why": each.why, "way_out": each.way_out} for each in plan.obstacles],
        "notes": list(plan.notes),
        "unchanged": plan.unchanged,
    }


def _kind(action: Action) -> str:
    """`CreateMeter` as `create_meter`."""
    name = type(action).__name__
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
