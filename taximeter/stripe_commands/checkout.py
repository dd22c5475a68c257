"""`taximeter stripe checkout`: a page at Stripe on which a customer subscribes."""

import argparse

from billing.selling.checkout import NewCheckout, create_checkout
from taximeter.exit_codes import OK
from taximeter.stripe_commands.running import add_common_options, price_keys, print_json, run_billing
from taximeter.stripe_commands.stripe_connection import StripeConnection


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter stripe checkout`."""
    add_common_options(parser)
    parser.add_argument("--customer", metavar="ID", help="who subscribes (default: Stripe makes a new customer)")
    parser.add_argument(
        "--price", action="append", default=[], metavar="KEY_OR_ID", help="may be repeated (default: the only one of the settings file)"
    )
    parser.add_argument(
        "--success-url", required=True, metavar="URL", help="where Stripe sends the customer then; {CHECKOUT_SESSION_ID} is filled in"
    )
    parser.add_argument("--cancel-url", required=True, metavar="URL", help="where Stripe sends who turns back")
    parser.epilog = "The address is for one customer and one use, for 24 hours. The webhook checkout.session.completed says that it was used."


def run(arguments: argparse.Namespace) -> int:
    """Make the session and print its address."""

    async def command(connection: StripeConnection) -> int:
        prices = tuple(price_keys(connection, arguments.price))
        session = await create_checkout(connection.client, NewCheckout(prices, arguments.success_url, arguments.cancel_url, arguments.customer))
        if arguments.json:
            print_json({"id": session.id, "url": session.url, "expires_at": session.expires_at})
        else:
            print(session.url)
        return OK

    return run_billing(arguments, command)
