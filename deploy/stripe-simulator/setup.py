# ruff: noqa: INP001 - a script that is mounted into a container, not part of a package
"""Make the meters of taximeter.toml and some customers in the Stripe simulator, through the calls that Stripe itself has.

May be run again: what is there already stays. Talks to the simulator only; it refuses Stripe's own address.
"""

import argparse
import asyncio
import os
import sys
from pathlib import Path

import aiohttp
import stripe

from metering.catalogue import Meter, catalogue_of
from metering.settings import FILE_VARIABLE, SettingsError, read_settings_file

API_KEY = "sk_test_simulator"
TIMEOUT_SECONDS = 10.0


async def make_meters(client: stripe.StripeClient, meters: tuple[Meter, ...]) -> None:
    """Create each meter whose event name has none. Raises StripeError."""
    listed = await client.v1.billing.meters.list_async({"limit": 100})
    known = {meter.event_name async for meter in listed.auto_paging_iter()}
    for meter in meters:
        if meter.event_name in known:
            print(f"meter {meter.event_name} is there")
            continue
        await client.v1.billing.meters.create_async(
            {
                "display_name": meter.event_name,
                "event_name": meter.event_name,
                "default_aggregation": {"formula": "sum"},
                "customer_mapping": {"type": "by_id", "event_payload_key": meter.customer_key},
                "value_settings": {"event_payload_key": meter.value_key},
            }
        )
        print(f"meter {meter.event_name} made")


async def make_customers(api_base: str, number: int) -> None:
    """Make the customers cus_1 to cus_<number>. Raises ClientError."""
    ids = [f"cus_{index}" for index in range(1, number + 1)]
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    async with (
        aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session,
        session.post(f"{api_base}/_control/customers", json={"ids": ids}) as response,
    ):
        await response.read()
    print(f"customers cus_1 to cus_{number} are there")


async def set_up(api_base: str, customers: int, meters: tuple[Meter, ...]) -> None:
    """Meters first, then customers. Raises StripeError, ClientError or TimeoutError."""
    http = stripe.AIOHTTPClient(timeout=TIMEOUT_SECONDS)
    client = stripe.StripeClient(API_KEY, base_addresses={"api": api_base}, http_client=http, max_network_retries=2)
    try:
        await make_meters(client, meters)
    finally:
        await http.close_async()  # type: ignore[no-untyped-call] # the library left it without types
    await make_customers(api_base, customers)


def main() -> int:
    """Returns the exit code: 0 all is there, 1 the simulator does not answer as it should, 3 arguments or settings are wrong."""
    parser = argparse.ArgumentParser(description="Make meters and customers in the Stripe simulator.")
    parser.add_argument("--api-base", required=True, metavar="URL")
    parser.add_argument("--customers", type=int, default=100, metavar="N")
    options = parser.parse_args()
    if "stripe.com" in options.api_base:
        print("setup: this is for the simulator only", file=sys.stderr)
        return 3
    try:
        catalogue = catalogue_of(read_settings_file(Path(os.environ.get(FILE_VARIABLE, "taximeter.toml"))))
    except (SettingsError, ValueError) as error:
        print(f"setup: {error}", file=sys.stderr)
        return 3
    try:
        asyncio.run(set_up(options.api_base.rstrip("/"), options.customers, catalogue.meters))
    except (stripe.StripeError, aiohttp.ClientError, TimeoutError) as error:
        print(f"setup: {str(error) or type(error).__name__}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
