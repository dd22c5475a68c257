"""`taximeter stripe subscribe`: bill a customer's usage by a price."""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

from billing.selling.subscribing import NewSubscription, PendingSetup, Subscribed, subscribe
from metering.configuration.secrets import Secret
from taximeter.exit_codes import OK, USAGE
from taximeter.stripe_commands.running import price_keys, print_json, run_billing, shown
from taximeter.stripe_commands.stripe_connection import StripeConnection


def run(arguments: argparse.Namespace) -> int:
    """Make the subscription and show it."""
    file: Path | None = arguments.client_secret_file
    if file is not None and file.exists():
        print(f"taximeter: {file} exists already: it is not written over", file=sys.stderr)
        return USAGE

    async def command(connection: StripeConnection) -> int:
        prices = tuple(price_keys(connection, arguments.price))
        new = NewSubscription(arguments.customer, prices, arguments.anchor, arguments.backdate, arguments.again)
        subscribed = await subscribe(connection.client, new, now=int(time.time()))
        if file is not None and subscribed.setup is not None:
            _write(file, subscribed.setup.client_secret)
        if arguments.json:
            print_json(_as_json(subscribed, with_secret=arguments.show_client_secret))
        else:
            _show(subscribed, with_secret=arguments.show_client_secret, file=file)
        return OK

    return run_billing(arguments, command)


def _write(file: Path, secret: Secret) -> None:
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:  # noqa: PTH123  # Path.open has no mode
        stream.write(secret.reveal() + "\n")


def _show(subscribed: Subscribed, *, with_secret: bool, file: Path | None) -> None:
    subscription, setup = subscribed.subscription, subscribed.setup
    print(subscription.id)
    print(f"status: {subscription.status}")
    for item in subscription.items:
        print(f"price: {item.lookup_key or item.price}, from {shown(item.period_start)} to {shown(item.period_end)}")
    if setup is None:
        print("payment details: none asked for" if subscription.payment_method is None else "payment details: saved already")
        return
    print(f"payment details: wait for {setup.id} ({setup.status})")
    _tell_of_the_secret(setup, with_secret=with_secret, file=file)


def _tell_of_the_secret(setup: PendingSetup, *, with_secret: bool, file: Path | None) -> None:
    if file is not None:
        print(f"its client secret is in {file}: for this customer's browser only, where stripe.confirmSetup uses it")
    if with_secret:
        print(f"its client secret, for this customer's browser only, where stripe.confirmSetup uses it: {setup.client_secret.reveal()}")
    if file is None and not with_secret:
        print("its client secret is not shown; say --show-client-secret or --client-secret-file, or read it from the SetupIntent by its id")


def _as_json(subscribed: Subscribed, *, with_secret: bool) -> dict[str, Any]:
    subscription, setup = subscribed.subscription, subscribed.setup
    pending: dict[str, str] | None = None
    if setup is not None:
        pending = {"id": setup.id, "status": setup.status}
        if with_secret:
            pending["client_secret"] = setup.client_secret.reveal()
    return {
        "id": subscription.id,
        "customer": subscription.customer,
        "status": subscription.status,
        "livemode": subscription.livemode,
        "current_period_start": subscription.period_start,
        "current_period_end": subscription.period_end,
        "items": [
            {
                "id": item.id,
                "price": item.price,
                "lookup_key": item.lookup_key,
                "meter": item.meter,
                "current_period_start": item.period_start,
                "current_period_end": item.period_end,
            }
            for item in subscription.items
        ],
        "payment_method": subscription.payment_method,
        "pending_setup_intent": pending,
    }
