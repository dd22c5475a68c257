"""`taximeter customers sync`: link customers as a metadata field of Stripe's customers says."""

import argparse
import sys
from typing import Final

from billing.selling.customers import list_customers
from metering.folds.metadata_links import MetadataNames, named_in, reason_of, wanted_links
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
    reason = reason_of(arguments.field)
    arguments.reason, arguments.unchecked = reason, True  # Stripe has just named them
    if told(writing_problems(arguments)):
        return USAGE
    kafka = kafka_settings(arguments)

    async def command(connection: StripeConnection) -> int:
        names = MetadataNames()
        for each in await list_customers(connection.client, rows_max=STRIPE_CUSTOMERS_MAX):
            names.take(each.id, named_in(each.metadata.get(arguments.field, "")))
        async with LinkWriting(arguments, kafka) as writing:
            linked = {link.customer for link in writing.links if link.reason == reason}
            wanted = wanted_links({**dict.fromkeys(names.customers), **dict.fromkeys(linked)}, names, writing.links, reason)
            if told(
                f"{customer} is claimed by {' and by '.join(claimed_by)}, in their metadata {arguments.field}: take it out of one"
                for customer, claimed_by in sorted(wanted.disputed.items())
            ):
                return DISCREPANCY
            checked_links({customer: billed for customer, billed in wanted.links.items() if billed})
            return await writing.write(wanted.links)

    try:
        return run_billing(arguments, command)
    except LinksUnusable as error:
        print(f"taximeter: {error}", file=sys.stderr)
        return DISCREPANCY
    except (LogUnavailable, FailClosed) as error:
        print(f"taximeter: {error}", file=sys.stderr)
        return PRECONDITION
