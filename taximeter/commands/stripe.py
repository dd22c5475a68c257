"""`taximeter stripe ...`: everything on Stripe's side."""

import argparse
from typing import Final

from taximeter.command import Command, add_commands
from taximeter.exit_codes import USAGE
from taximeter.stripe_commands import checkout, customer, demo_page, doctor, errors, listen, preview, send_test_event, setup, subscribe, usage

STRIPE_COMMANDS: Final[tuple[Command, ...]] = (
    Command("setup", "make the meters, products and prices of the settings file at Stripe", setup.add_arguments, setup.run),
    Command("doctor", "check the key, its permissions, the clock, and what Stripe has", doctor.add_arguments, doctor.run),
    Command("customer", "create, list and show customers", customer.add_arguments, customer.run),
    Command("subscribe", "bill a customer's usage by a price", subscribe.add_arguments, subscribe.run),
    Command("checkout", "make a page at Stripe on which a customer subscribes", checkout.add_arguments, checkout.run),
    Command("send-test-event", "send one meter event outside of the pipeline", send_test_event.add_arguments, send_test_event.run),
    Command("usage", "show what Stripe's summaries have for a customer", usage.add_arguments, usage.run),
    Command("errors", "show what Stripe accepted and refused later", errors.add_arguments, errors.run),
    Command("listen", "show Stripe's events as they come", listen.add_arguments, listen.run),
    Command("preview", "show what a customer's next invoice comes to so far", preview.add_arguments, preview.run),
    Command("demo-page", "serve a page on which a customer signs up, on this machine", demo_page.add_arguments, demo_page.run),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommands."""
    add_commands(parser, STRIPE_COMMANDS, parser_class=type(parser))


def run(_: argparse.Namespace) -> int:
    """Never reached: a subcommand is required and runs instead."""
    return USAGE
