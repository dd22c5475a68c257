"""`taximeter stripe demo-page`: sign up and save payment details in a browser, on this machine."""

import argparse
import asyncio
import os
import re
import signal
from typing import Final

from billing.selling.prices import find_metered_prices
from taximeter.demo_page.server import DemoPage, Offer
from taximeter.exit_codes import OK, PRECONDITION, USAGE
from taximeter.stripe_commands.running import price_keys, run_billing
from taximeter.stripe_commands.stripe_connection import CannotDo, StripeConnection, add_connection_options

DEMO_PAGE_PORT: Final = 4242
KEY_VARIABLE: Final = "STRIPE_PUBLISHABLE_KEY"
_PUBLISHABLE: Final = re.compile(r"pk_test_[A-Za-z0-9_]{1,250}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter stripe demo-page`."""
    add_connection_options(parser)
    parser.add_argument("--port", type=int, default=DEMO_PAGE_PORT, help="on 127.0.0.1; 0 for a free one (default %(default)s)")
    parser.add_argument(
        "--publishable-key", metavar="KEY", help=f"pk_test_... of the same account (default: ${KEY_VARIABLE}); only with Stripe itself"
    )
    parser.add_argument("--price", metavar="KEY_OR_ID", help="what is sold (default: the only price of the settings file)")
    parser.epilog = "A page to look at and to take from, for test keys only; Ctrl-C ends it. With the simulator, a form stands in for Stripe's own."


def run(arguments: argparse.Namespace) -> int:
    """Serve the page until a signal."""

    async def command(connection: StripeConnection) -> int:
        publishable_key = _publishable_key(connection, arguments.publishable_key)
        keys = price_keys(connection, [arguments.price] if arguments.price else [])
        [price] = await find_metered_prices(connection.client, keys)
        try:
            runner, address = await DemoPage(connection.client, Offer(price, publishable_key)).start(arguments.port)
        except (OSError, OverflowError) as error:
            raise CannotDo(f"cannot listen on port {arguments.port}: {error}", PRECONDITION) from None
        try:
            print(address, flush=True)
            await _until_told()
        finally:
            await runner.cleanup()
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
