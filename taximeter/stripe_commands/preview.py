"""`taximeter stripe preview`: show what a customer's next invoice comes to so far."""

import argparse
import sys
from typing import Any

from rich.table import Table

from billing.money import main_units
from billing.selling.customers import show_customer
from billing.selling.invoices import InvoiceLine, InvoicePreview, preview_invoice
from billing.selling.subscribing import list_subscriptions
from taximeter.exit_codes import OK, USAGE
from taximeter.stripe_commands.arguments import LAG
from taximeter.stripe_commands.running import console, print_json, run_billing, shown
from taximeter.stripe_commands.stripe_connection import CannotDo, StripeConnection


def run(arguments: argparse.Namespace) -> int:
    """Show the next invoices."""
    if (arguments.customer is None) == (arguments.subscription is None):
        print("taximeter: say either a customer or --subscription", file=sys.stderr)
        return USAGE

    async def command(connection: StripeConnection) -> int:
        asked = [arguments.subscription] if arguments.subscription else await _running(connection, arguments.customer)
        previews = [await preview_invoice(connection.client, subscription) for subscription in asked]
        if arguments.json:
            print_json({"invoices": [_as_json(preview) for preview in previews]})
            return OK
        for preview in previews:
            _show(preview)
        print(LAG)
        return OK

    return run_billing(arguments, command)


async def _running(connection: StripeConnection, customer: str) -> list[str]:
    await show_customer(connection.client, customer)
    found = [each.id for each in await list_subscriptions(connection.client, customer) if not each.ended]
    if not found:
        raise CannotDo(f"{customer} has no running subscription; `taximeter stripe subscribe {customer}` makes one")
    return found


def _show(preview: InvoicePreview) -> None:
    out = console()
    currency = preview.currency.upper()
    out.print(f"{preview.subscription} of {preview.customer or 'nobody'}: {main_units(preview.total, preview.currency)} {currency} so far")
    table = Table()
    for heading in ("line", "from", "to", "quantity", "price", f"amount, {currency}"):
        table.add_column(heading, justify="right" if heading.startswith(("quantity", "amount")) else "left")
    for line in preview.lines:
        quantity = "-" if line.quantity is None else f"{line.quantity:,}"
        terms = "-" if line.price is None else line.price.terms
        amount = main_units(line.amount, preview.currency)
        table.add_row(line.description or "-", shown(line.period_start), shown(line.period_end), quantity, terms, amount)
    table.add_row("total", "", "", "", "", main_units(preview.total, preview.currency))
    out.print(table)
    if preview.amount_due != preview.total:
        out.print(f"to be paid, after credit: {main_units(preview.amount_due, preview.currency)} {currency}")
    if preview.finalizes_at is not None:
        out.print(f"it becomes final at {shown(preview.finalizes_at)}")
    elif preview.period_end is not None:
        out.print(
            f"the period ends at {shown(preview.period_end)}; the invoice becomes final an hour later, unless the account is set to wait longer"
        )


def _as_json(preview: InvoicePreview) -> dict[str, Any]:
    return {
        "subscription": preview.subscription,
        "customer": preview.customer,
        "currency": preview.currency,
        "subtotal": preview.subtotal,
        "total": preview.total,
        "amount_due": preview.amount_due,
        "period_end": preview.period_end,
        "finalizes_at": preview.finalizes_at,
        "lines": [_line_json(line) for line in preview.lines],
    }


def _line_json(line: InvoiceLine) -> dict[str, Any]:
    price = line.price
    return {
        "description": line.description,
        "price": None if price is None else price.id,
        "lookup_key": None if price is None else price.lookup_key,
        "unit_amount": None if price is None or price.unit_amount is None else str(price.unit_amount),
        "package": None if price is None else price.package,
        "tiers_mode": None if price is None else price.tiers_mode,
        # As a string: a reader of JSON may make a float of a number.
        "quantity": None if line.quantity is None else str(line.quantity),
        "amount": line.amount,
        "period_start": line.period_start,
        "period_end": line.period_end,
    }
