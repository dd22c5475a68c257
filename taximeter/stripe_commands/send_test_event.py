"""`taximeter stripe send-test-event`: one meter event outside of the pipeline."""

import argparse
import asyncio
import sys
import time
from typing import Final

from billing.selling.customers import show_customer
from billing.selling.single_events import SingleEvent, send_event, total_of_the_minute
from billing.selling.usage import MeterAtStripe, find_meter
from taximeter.exit_codes import OK, PENDING, USAGE
from taximeter.stripe_commands.running import add_common_options, meter_of, moment, natural, pair, print_json, run_billing
from taximeter.stripe_commands.stripe_connection import CannotDo, StripeConnection

WAIT_S: Final = 180.0
_POLL_S: Final = (0.5, 1.0, 2.0, 5.0)
_WARNING: Final = "this event is billed to the customer, and it is not in Taximeter's ledger: comparisons with Stripe show it as a difference"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter stripe send-test-event`."""
    add_common_options(parser)
    parser.add_argument("customer", metavar="CUSTOMER", help="id, cus_...")
    parser.add_argument("--meter", help="event name of the meter (default: the only one of the settings file)")
    parser.add_argument("--value", type=natural, default=1, metavar="N", help="how many units (default %(default)s)")
    parser.add_argument("--dimension", type=pair, action="append", default=[], metavar="NAME=VALUE", help="a dimension of the meter; may be repeated")
    parser.add_argument("--at", type=moment, metavar="TIME", help="RFC 3339; at most 35 days back (default: now)")
    parser.add_argument("--live", action="store_true", help="do it with a live key: it costs a real customer money")
    parser.add_argument(
        "--wait", action="store_true", help=f"wait until Stripe's summaries show it, at most {WAIT_S:g} s; exit code 5 if they do not"
    )
    parser.epilog = f"Mind: {_WARNING}."


def run(arguments: argparse.Namespace) -> int:
    """Send one event; with --wait, exit code 5 when the summaries do not show it in time."""

    async def command(connection: StripeConnection) -> int:
        if connection.settings.production and not arguments.live:
            raise CannotDo("the key is a live key: the event would cost a real customer money; say --live if that is what you want", USAGE)
        meter = meter_of(connection, arguments.meter)
        now = int(time.time())
        event = SingleEvent(meter, arguments.customer, arguments.value, arguments.at if arguments.at is not None else now, dict(arguments.dimension))
        problems = event.problems(now)
        if problems:
            raise CannotDo("; ".join(problems), USAGE)
        at_stripe = await find_meter(connection.client, meter.event_name)
        await show_customer(connection.client, event.customer)
        return await _send(connection, at_stripe, event, arguments)

    return run_billing(arguments, command)


async def _send(connection: StripeConnection, meter: MeterAtStripe, event: SingleEvent, arguments: argparse.Namespace) -> int:
    before = await total_of_the_minute(connection.client, meter, event) if arguments.wait else 0
    await send_event(connection.client, event)
    print(f"taximeter: {_WARNING}", file=sys.stderr)
    visible = await _wait_until_visible(connection, meter, event, before) if arguments.wait else None
    if arguments.json:
        payload = {"identifier": event.identifier, "meter": event.meter.event_name, "customer": event.customer}
        print_json({**payload, "value": event.value, "timestamp": event.timestamp, "dimensions": dict(event.dimensions), "visible": visible})
    else:
        print(event.identifier)
        if visible is not None:
            print("Stripe's summaries show it" if visible else f"Stripe's summaries did not show it within {WAIT_S:g} s")
    return PENDING if visible is False else OK


async def _wait_until_visible(connection: StripeConnection, meter: MeterAtStripe, event: SingleEvent, before: int) -> bool:
    """Whether the minute of the event came to hold that much more. Other usage of the same minute counts towards it."""
    began = time.monotonic()
    polls = 0
    while (waited := time.monotonic() - began) < WAIT_S:
        if await total_of_the_minute(connection.client, meter, event) >= before + event.value:
            return True
        print(f"taximeter: received by Stripe; not in its summaries after {waited:.0f} s", file=sys.stderr, flush=True)
        await asyncio.sleep(_POLL_S[min(polls, len(_POLL_S) - 1)])
        polls += 1
    return False
