"""`taximeter stripe customer`: create, list and show customers."""

import argparse
from typing import Any

from rich.table import Table

from billing.selling.customers import Customer, NewCustomer, create_customer, list_customers, show_customer
from taximeter.exit_codes import OK
from taximeter.stripe_commands.running import console, print_json, run_billing, shown
from taximeter.stripe_commands.stripe_connection import StripeConnection


def create(arguments: argparse.Namespace) -> int:
    """Make a customer and print its id."""
    new = NewCustomer(arguments.name, arguments.email, arguments.key, dict(arguments.metadata))

    async def command(connection: StripeConnection) -> int:
        created = await create_customer(connection.client, new, key=arguments.idempotency_key)
        if arguments.json:
            print_json({**_as_json(created.customer), "is_new": created.is_new})
        else:
            print(created.customer.id)
        return OK

    return run_billing(arguments, command)


def list_all(arguments: argparse.Namespace) -> int:
    """Show the customers, newest first."""

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


def show(arguments: argparse.Namespace) -> int:
    """Show one customer."""

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
