"""Who is billed for whom: the fold of usage.customers. Pure.

The last link of a customer holds. An id that Stripe gave is its own link where there is no other. What has no link is held, and not billed.
"""

from collections.abc import Collection, Iterator
from typing import Final, Protocol

from metering.records.notes.customer_link import CustomerLink

OWN_LINK_PREFIXES: Final = ("cus_", "acct_")
"""How ids of Stripe's customers begin, and of accounts that stand for one."""
LINKS_MAX: Final = 1_000_000


class BilledCustomers(Protocol):
    """Who is billed for a customer, as far as it is known now."""

    @property
    def changes(self) -> int:
        """While it stays the same, so does every answer."""
        ...

    def of(self, customer: str) -> str | None:
        """The Stripe customer; None: nobody is billed yet."""
        ...

    def customers_of(self, stripe_customer: str) -> Collection[str]:
        """For whom this Stripe customer is billed."""
        ...


def shares_its_link(links: BilledCustomers, customer: str) -> bool:
    """Whether somebody else's usage is billed to the same Stripe customer: then a latest value of one would take the place of another's."""
    billed = links.of(customer)
    return billed is not None and any(other not in {customer, billed} for other in links.customers_of(billed))


class EachItsOwn:
    """Every customer is the Stripe customer of that id, however it begins."""

    changes = 0

    def of(self, customer: str) -> str:
        """See BilledCustomers."""
        return customer

    def customers_of(self, stripe_customer: str) -> Collection[str]:
        """See BilledCustomers."""
        return (stripe_customer,)


class CustomerLinks:
    """The fold. `next_offset`: the first offset that was not read yet. `refused`: links beyond `links_max`, which count for nothing: their customers
    stay without one.
    """

    def __init__(self, links_max: int = LINKS_MAX) -> None:
        self.next_offset = 0
        self.refused = 0
        self.changes = 0
        self._links_max = links_max
        self._links: dict[str, CustomerLink] = {}
        self._customers: dict[str, set[str]] = {}  # by Stripe customer
        self.ever_linked: set[str] = set()  # Stripe customers that were ever billed for others

    def __len__(self) -> int:
        """How many customers have a link of their own."""
        return len(self._links)

    def __iter__(self) -> Iterator[CustomerLink]:
        return iter(self._links.values())

    def link_of(self, customer: str) -> CustomerLink | None:
        """The link that somebody wrote."""
        return self._links.get(customer)

    def of(self, customer: str) -> str | None:
        """See BilledCustomers."""
        link = self._links.get(customer)
        if link is not None:
            return link.stripe_customer
        return customer if customer.startswith(OWN_LINK_PREFIXES) else None

    def customers_of(self, stripe_customer: str) -> Collection[str]:
        """See BilledCustomers."""
        found = self._customers.get(stripe_customer, ())
        own = stripe_customer.startswith(OWN_LINK_PREFIXES) and stripe_customer not in self._links
        return {stripe_customer, *found} if own else found

    def fold(self, offset: int, link: CustomerLink | None) -> None:
        """Take in the record at `offset`; None: Taximeter did not write it."""
        self.next_offset = offset + 1
        if link is None:
            return
        before = self._links.get(link.customer)
        if before is None and link.stripe_customer and len(self._links) >= self._links_max:
            self.refused += 1
            return
        if before is not None:
            self._unlink(before)
        if link.stripe_customer:
            self._links[link.customer] = link
            self._customers.setdefault(link.stripe_customer, set()).add(link.customer)
            self.ever_linked.add(link.stripe_customer)
        if (before.stripe_customer if before is not None else "") != link.stripe_customer:
            self.changes += 1

    def _unlink(self, link: CustomerLink) -> None:
        del self._links[link.customer]
        others = self._customers[link.stripe_customer]
        others.discard(link.customer)
        if not others:
            del self._customers[link.stripe_customer]
