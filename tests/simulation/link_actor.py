"""Customers that are billed to others at Stripe: who needs a link, and somebody who links, changes links, and takes them back.

At Stripe they have another name, made of their own: so the checker, which knows the customers of the events, sees whom a meter event is for.
"""

from typing import Final, Self

from metering.folds.customer_links import CustomerLinks
from metering.following.customers_log import CustomersLog
from metering.kafka.partition_log import LogUnavailable
from metering.records.notes.customer_link import CustomerLink, decode_link, encode_link
from tests.simulation.journal import Journal
from tests.simulation.kafka import SimulatedAppender, SimulatedReader
from tests.simulation.processes import Process
from tests.simulation.world import CUSTOMERS, TOPICS, Log, World

NAMES_AT_STRIPE: Final = 2
_BETWEEN: Final = "_billed_"


def at_stripe(customer: str, name: int) -> str:
    """One of its names there."""
    return f"{customer}{_BETWEEN}{name}"


def own_name(billed: str) -> str:
    """The customer that has this name at Stripe."""
    return billed.partition(_BETWEEN)[0]


def needs_a_link(customer: str) -> bool:
    """Half of them do, in a world with links."""
    number = customer.rpartition("_")[2]
    return number.isdigit() and int(number) % 2 == 1


class SimulatedLinks(CustomerLinks):
    """In which ids that look like Stripe's are not all their own links."""

    def of(self, customer: str) -> str | None:
        link = self.link_of(customer)
        if link is not None:
            return link.stripe_customer
        return None if needs_a_link(customer) else customer


class LinkKeeper(Process):
    """One person who links, now one customer and now another."""

    def __init__(self, world: World, name: str, journal: Journal) -> None:
        super().__init__(world, name)
        self._journal = journal
        self.start("link", self._work())

    def again(self) -> Self:
        """The same person, after the command was interrupted."""
        return type(self)(self.world, self.name, self._journal)

    async def _work(self) -> None:
        log = CustomersLog(SimulatedReader(self.world), TOPICS.customers.name)
        appender, rng = SimulatedAppender(self.world), self.world.rng
        while True:
            await self.sleep(rng.spread(1, 600))
            customers = sorted({customer for customer, _ in self._journal.events if needs_a_link(customer)})
            if not customers:
                continue
            customer = rng.pick(tuple(customers))
            billed = "" if rng.random() < 0.2 else at_stripe(customer, rng.below(NAMES_AT_STRIPE))
            try:
                await log.write(appender, CustomerLink(customer, billed, "a contract", self.name, self.now_ms()))
            except LogUnavailable:
                continue
            if self.world.tracing:
                self.world.note(f"{self.name} has linked {customer} to {billed or 'nobody'}")


def links_written(log: Log) -> dict[str, set[str]]:
    """The names at Stripe that each customer ever had."""
    found: dict[str, set[str]] = {}
    for record in log:
        link = decode_link(record.value) if record is not None else None
        if link is not None and link.stripe_customer:
            found.setdefault(link.customer, set()).add(link.stripe_customer)
    return found


def link_all(world: World, journal: Journal) -> None:
    """Those that have no link yet get one, at once."""
    links = SimulatedLinks()
    for record in world.logs[CUSTOMERS, 0]:
        if record is not None:
            links.fold(record.offset, decode_link(record.value))
    for customer in sorted({customer for customer, _ in journal.events}):
        if links.of(customer) is None:
            world.land(CUSTOMERS, 0, encode_link(CustomerLink(customer, at_stripe(customer, 0), "the rest", "operator", world.now_ms)))
