"""`taximeter customers list` and `show`: who is billed for whom, and what waits for a link."""

import argparse
from collections.abc import Collection
from typing import Any, Final

from rich.table import Table

from metering.folds.customer_links import CustomerLinks
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogReader
from metering.records.notes.customer_link import CustomerLink
from taximeter.connection import kafka_settings, run_on_logs
from taximeter.customer_commands.held_usage import HeldUsage, read_held
from taximeter.exit_codes import DISCREPANCY, OK
from taximeter.links_now import links_now
from taximeter.stripe_commands.running import console, print_json, shown

CUSTOMERS_SCHEMA: Final = "taximeter.customers/1"


def list_links(arguments: argparse.Namespace) -> int:
    """The links, or what waits for one."""
    kafka = kafka_settings(arguments)
    return run_on_logs(_list_held(arguments, kafka) if arguments.held else _list(arguments, kafka))


def show(arguments: argparse.Namespace) -> int:
    """Who is billed for a customer.

    Exit code 2 when its usage would be held.
    """
    return run_on_logs(_show(arguments, kafka_settings(arguments)))


async def _list(arguments: argparse.Namespace, kafka: KafkaSettings) -> int:
    links = await links_now(kafka)
    found = sorted(links, key=lambda link: link.customer)
    if arguments.json:
        print_json({"schema": CUSTOMERS_SCHEMA, "links": [_as_json(link) for link in found]})
        return OK
    table = Table()
    for heading in ("customer", "is billed as", "since", "by", "reason"):
        table.add_column(heading, overflow="fold")
    for link in found:
        table.add_row(link.customer, link.stripe_customer, shown(link.at_ms // 1000), link.by, link.reason)
    console().print(table)
    return OK


async def _list_held(arguments: argparse.Namespace, kafka: KafkaSettings) -> int:
    held = await _held(kafka, await links_now(kafka))
    if arguments.json:
        print_json({"schema": CUSTOMERS_SCHEMA, "held": [{"customer": each.customer, "meter": each.meter, **held[each].as_json()} for each in held]})
        return OK
    if not held:
        print("nothing waits for a link")
        return OK
    table = Table()
    for heading in ("customer", "meter", "units", "since", "billable until"):
        table.add_column(heading, overflow="fold", justify="right" if heading == "units" else "left")
    for each, amount in sorted(held.items(), key=lambda found: found[1].oldest_ms):
        since, until = shown(amount.oldest_ms // 1000), shown(amount.billable_until_ms // 1000)
        table.add_row(each.customer, each.meter, f"{amount.units:,}", since, until)
    console().print(table)
    print("to release it: taximeter customers link CUSTOMER cus_...")
    return OK


async def _show(arguments: argparse.Namespace, kafka: KafkaSettings) -> int:
    links = await links_now(kafka)
    held = await _held(kafka, links, {arguments.customer})
    customer, billed, link = arguments.customer, links.of(arguments.customer), links.link_of(arguments.customer)
    others = sorted(set(links.customers_of(customer)) - {customer})
    if arguments.json:
        amounts = [{"meter": each.meter, **amount.as_json()} for each, amount in held.items()]
        named = None if link is None else _as_json(link)
        print_json({"schema": CUSTOMERS_SCHEMA, "customer": customer, "billed": billed, "link": named, "billed_for": others, "held": amounts})
    else:
        _print_one(customer, billed, link, others, held)
    return OK if billed is not None or others else DISCREPANCY


def _print_one(customer: str, billed: str | None, link: CustomerLink | None, others: list[str], held: HeldUsage) -> None:
    if link is not None:
        print(f"{customer} is billed as {link.stripe_customer} since {shown(link.at_ms // 1000)}, by {link.by}: {link.reason}")
    elif billed is not None:
        print(f"{customer} is billed as itself: it is an id that Stripe gave")
    elif not others:
        print(f"{customer} has no link: its usage is held. To link it: taximeter customers link {customer} cus_...")
    if others:
        print(f"{customer} is billed for {', '.join(others)}")
    for each, amount in held.items():
        print(f"  held, {each.meter}: {amount.text()}")


async def _held(kafka: KafkaSettings, links: CustomerLinks, customers: Collection[str] | None = None) -> HeldUsage:
    reader = LogReader(kafka, "customers")
    try:
        return await read_held(reader, kafka, links, customers)
    finally:
        await reader.close()


def _as_json(link: CustomerLink) -> dict[str, Any]:
    return {
        "customer": link.customer,
        "stripe_customer": link.stripe_customer,
        "at_ms": link.at_ms,
        "by": link.by,
        "reason": link.reason,
    }
