"""`taximeter stripe send-test-event`: send one meter event outside of the pipeline."""

import argparse
import asyncio
import sys
import time
from typing import Final

from billing.selling.customers import show_customer
from billing.selling.single_events import SingleEvent, send_event, total_of_the_minute
from billing.selling.usage import MeterAtStripe, find_meter
from taximeter.exit_codes import OK, PENDING, USAGE
from taximeter.stripe_commands.arguments import BILLED_WARNING, WAIT_S
from taximeter.stripe_commands.running import meter_of, print_json, run_billing
from taximeter.stripe_commands.stripe_connection import CannotDo, StripeConnection

_POLL_S: Final = (0.5, 1.0, 2.0, 5.0)


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
    print(f"taximeter: {BILLED_WARNING}", file=sys.stderr)
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
