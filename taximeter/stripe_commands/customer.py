"""`taximeter stripe customer`: create, list and show customers."""

import argparse
from typing import Any

from rich.table import Table

from billing.selling.customers import Customer, NewCustomer, create_customer, list_customers, show_customer
from taximeter.command import Command, add_commands
from taximeter.exit_codes import OK, USAGE
from taximeter.stripe_commands.running import add_common_options, console, pair, print_json, run_billing, shown
from taximeter.stripe_commands.stripe_connection import StripeConnection


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommands."""
    commands = (
        Command("create", "make a customer and print its id", _add_create_options, _create),
        Command("list", "show the customers, newest first", _add_list_options, _list),
        Command("show", "show one customer", _add_show_options, _show),
    )
    add_commands(parser, commands, parser_class=type(parser))


def run(_: argparse.Namespace) -> int:
    """Never reached: a subcommand is required and runs instead."""
    return USAGE


def _add_create_options(parser: argparse.ArgumentParser) -> None:
    add_common_options(parser)
    parser.add_argument("--name", required=True, help="as it stands on invoices")
    parser.add_argument("--email", help="where Stripe sends invoices")
    parser.add_argument("--key", help="your own name for the customer; a second `create` with it prints the id of the first")
    parser.add_argument("--metadata", type=pair, action="append", default=[], metavar="NAME=VALUE", help="kept with the customer; may be repeated")
    parser.add_argument("--idempotency-key", help="a repetition with the same one makes nothing new for 24 hours (default: from --key, else random)")


def _create(arguments: argparse.Namespace) -> int:
    new = NewCustomer(arguments.name, arguments.email, arguments.key, dict(arguments.metadata))

    async def command(connection: StripeConnection) -> int:
        created = await create_customer(connection.client, new, key=arguments.idempotency_key)
        if arguments.json:
            print_json({**_as_json(created.customer), "is_new": created.is_new})
        else:
            print(created.customer.id)
        return OK

    return run_billing(arguments, command)


def _add_list_options(parser: argparse.ArgumentParser) -> None:
    add_common_options(parser)
    parser.add_argument("--email", help="only customers with this address")


def _list(arguments: argparse.Namespace) -> int:
    async def command(connection: StripeConnection) -> int:
        found = await list_customers(connection.client, email=arguments.email)
        if arguments.json:
            print_json({"customers": [_as_json(customer) for customer in found]})
            return OK
        table = Table("id", "name", "e-mail", "key", "created")
        for customer in found:
            table.add_row(customer.id, customer.name or "-", customer.email or "-", customer.key or "-", shown(customer.created))
        console().print(table)
        return OK

    return run_billing(arguments, command)


def _add_show_options(parser: argparse.ArgumentParser) -> None:
    add_common_options(parser)
    parser.add_argument("customer", metavar="CUSTOMER", help="id, cus_...")


def _show(arguments: argparse.Namespace) -> int:
    async def command(connection: StripeConnection) -> int:
        customer = await show_customer(connection.client, arguments.customer)
        if arguments.json:
            print_json(_as_json(customer))
            return OK
        lines = [("id", customer.id), ("name", customer.name), ("e-mail", customer.email), ("created", shown(customer.created))]
        lines += [("mode", "live" if customer.livemode else "test"), *sorted(customer.metadata.items())]
        for name, value in lines:
            print(f"{name}: {value or '-'}")
        return OK

    return run_billing(arguments, command)


def _as_json(customer: Customer) -> dict[str, Any]:
    return {
        "id": customer.id,
        "name": customer.name,
        "email": customer.email,
        "key": customer.key,
        "created": customer.created,
        "livemode": customer.livemode,
        "metadata": dict(customer.metadata),
    }
