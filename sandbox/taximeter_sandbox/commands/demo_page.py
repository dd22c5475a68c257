"""`taximeter stripe demo-page`: serve a page on which a customer signs up, on this machine.

The customer saves payment details there too.
"""

import argparse
import asyncio
import os
import re
import signal
from typing import Final

from billing.selling.prices import find_metered_prices
from metering.process.listener import CannotListen
from taximeter.exit_codes import OK, PRECONDITION, USAGE
from taximeter.stripe_commands.running import price_keys, run_billing
from taximeter.stripe_commands.stripe_connection import CannotDo, StripeConnection
from taximeter_sandbox.commands.arguments import KEY_VARIABLE
from taximeter_sandbox.signup_page.server import DemoPage, Offer

_PUBLISHABLE: Final = re.compile(r"pk_test_[A-Za-z0-9_]{1,250}")


def run(arguments: argparse.Namespace) -> int:
    """Serve the page until a signal."""

    async def command(connection: StripeConnection) -> int:
        publishable_key = _publishable_key(connection, arguments.publishable_key)
        keys = price_keys(connection, [arguments.price] if arguments.price else [])
        [price] = await find_metered_prices(connection.client, keys)
        try:
            listener, address = await DemoPage(connection.client, Offer(price, publishable_key)).start(arguments.port)
        except CannotListen as error:
            raise CannotDo(str(error), PRECONDITION) from None
        try:
            print(address, flush=True)
            await _until_told()
        finally:
            await listener.stop()
        return OK

    return run_billing(arguments, command)


def _publishable_key(connection: StripeConnection, given: str | None) -> str | None:
    if connection.settings.production:
        raise CannotDo("the demo page takes test keys only, and this is a live key", USAGE)
    if connection.is_simulator:
        return None
    key = given or os.environ.get(KEY_VARIABLE, "")
    if not _PUBLISHABLE.fullmatch(key):
        raise CannotDo(f"Stripe.js needs the account's publishable test key, pk_test_...: say --publishable-key or set {KEY_VARIABLE}", USAGE)
    return key


async def _until_told() -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.set)
    await told.wait()
