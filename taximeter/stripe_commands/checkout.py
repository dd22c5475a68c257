"""`taximeter stripe checkout`: make a page at Stripe on which a customer subscribes."""

import argparse

from billing.selling.checkout import NewCheckout, create_checkout
from taximeter.exit_codes import OK
from taximeter.stripe_commands.running import price_keys, print_json, run_billing
from taximeter.stripe_commands.stripe_connection import StripeConnection


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
