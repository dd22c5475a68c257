"""`taximeter customers sync`: link customers as a metadata field of Stripe's customers says."""

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from billing.selling.customers import Customer, list_customers
from metering.folds.customer_links import CustomerLinks
from metering.kafka.partition_log import LogUnavailable
from metering.records.fail_closed import FailClosed
from taximeter.before_writing import told, writing_problems
from taximeter.connection import kafka_settings
from taximeter.customer_commands.link_changes import LinksUnusable, checked_links
from taximeter.customer_commands.linking import LinkWriting
from taximeter.exit_codes import DISCREPANCY, PRECONDITION, USAGE
from taximeter.stripe_commands.running import run_billing
from taximeter.stripe_commands.stripe_connection import StripeConnection

STRIPE_CUSTOMERS_MAX: Final = 100_000


def run(arguments: argparse.Namespace) -> int:
    """Link customers as a metadata field of Stripe's customers says."""
    reason = f"metadata {arguments.field}"
    arguments.reason, arguments.unchecked = reason, True  # Stripe has just named them
    if told(writing_problems(arguments)):
        return USAGE
    kafka = kafka_settings(arguments)

    async def command(connection: StripeConnection) -> int:
        customers = await list_customers(connection.client, rows_max=STRIPE_CUSTOMERS_MAX)
        said = said_by(customers, arguments.field)
        if told(said.conflicts):
            return DISCREPANCY
        async with LinkWriting(arguments, kafka) as writing:
            return await writing.write({**withdrawn(writing.links, said.links, reason), **checked_links(said.links)})

    try:
        return run_billing(arguments, command)
    except LinksUnusable as error:
        print(f"taximeter: {error}", file=sys.stderr)
        return DISCREPANCY
    except (LogUnavailable, FailClosed) as error:
        print(f"taximeter: {error}", file=sys.stderr)
        return PRECONDITION


@dataclass(slots=True)
class SaidLinks:
    """What Stripe's customers say of themselves: `links`, and the `conflicts` where two claim one customer."""

    links: dict[str, str] = field(default_factory=dict)
    conflicts: list[str] = field(default_factory=list)


def said_by(customers: Iterable[Customer], name: str) -> SaidLinks:
    """The links in this metadata field: customers, separated by commas. Pure."""
    found = SaidLinks()
    for each in customers:
        for customer in filter(None, map(str.strip, each.metadata.get(name, "").split(","))):
            other = found.links.setdefault(customer, each.id)
            if other != each.id:
                found.conflicts.append(f"{customer} is claimed by {other} and by {each.id}, in their metadata {name}: take it out of one")
    return found


def withdrawn(links: CustomerLinks, said: dict[str, str], reason: str) -> dict[str, str]:
    """The links that were written because Stripe's customers said so, and that none says any more. Pure."""
    return {link.customer: "" for link in links if link.reason == reason and link.customer not in said}
