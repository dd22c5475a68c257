"""What Stripe's customers say in a metadata field: for which customers each is billed. Pure.

A customer that one Stripe customer names is linked to it. One that several name is disputed, and its link stays. One that none names any more loses
its link, if it had it from this field.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from metering.folds.customer_links import CustomerLinks

DEFAULT_FIELD: Final = "taximeter_customers"


def reason_of(name: str) -> str:
    """The reason of a link that comes from the metadata field of this name."""
    return f"metadata {name}"


def named_in(text: str) -> frozenset[str]:
    """The customers that a field names, separated by commas."""
    return frozenset(filter(None, map(str.strip, text.split(","))))


class MetadataNames:
    """Which customers each Stripe customer names."""

    def __init__(self) -> None:
        self._customers: dict[str, frozenset[str]] = {}
        self._named_by: dict[str, set[str]] = {}

    @property
    def customers(self) -> Collection[str]:
        """All that are named."""
        return self._named_by.keys()

    def of(self, stripe_customer: str) -> frozenset[str]:
        """The customers that it names."""
        return self._customers.get(stripe_customer, frozenset())

    def named_by(self, customer: str) -> Collection[str]:
        """The Stripe customers that name this one."""
        return self._named_by.get(customer, ())

    def take(self, stripe_customer: str, customers: frozenset[str]) -> None:
        """It names these, and no others any more."""
        for customer in self.of(stripe_customer) - customers:
            others = self._named_by[customer]
            others.discard(stripe_customer)
            if not others:
                del self._named_by[customer]
        for customer in customers:
            self._named_by.setdefault(customer, set()).add(stripe_customer)
        if customers:
            self._customers[stripe_customer] = customers
        else:
            self._customers.pop(stripe_customer, None)


@dataclass(slots=True)
class WantedLinks:
    """`links`: who is to be billed for each customer, "" for nobody. `disputed`: the Stripe customers that name the same one, sorted."""

    links: dict[str, str] = field(default_factory=dict)
    disputed: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def changes(self, links: CustomerLinks) -> Mapping[str, str]:
        """Those that are not so yet."""
        return {customer: billed for customer, billed in self.links.items() if billed != _linked_to(links, customer)}


def wanted_links(customers: Iterable[str], names: MetadataNames, links: CustomerLinks, reason: str) -> WantedLinks:
    """What the names say about these customers. `reason` is that of links that come from them."""
    found = WantedLinks()
    for customer in customers:
        named_by = sorted(names.named_by(customer))
        if len(named_by) > 1:
            found.disputed[customer] = tuple(named_by)
        elif named_by:
            found.links[customer] = named_by[0]
        elif (link := links.link_of(customer)) is not None and link.reason == reason:
            found.links[customer] = ""
    return found


def linked_for(reason: str, links: CustomerLinks, stripe_customer: str) -> set[str]:
    """The customers for which it is billed by links with this reason."""
    return {customer for customer in links.customers_of(stripe_customer) if (link := links.link_of(customer)) is not None and link.reason == reason}


def _linked_to(links: CustomerLinks, customer: str) -> str:
    link = links.link_of(customer)
    return "" if link is None else link.stripe_customer
