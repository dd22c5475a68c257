"""What the demo makes in a Stripe account and reads from it, through the official library: meters, customers, summaries."""

import asyncio
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

import stripe

from metering.configuration.secrets import Secret
from taximeter_sandbox.demo.plan import METERS

# A sandbox takes 25 calls a second; half of that leaves room for the reporters.
CALLS_PER_SECOND: Final = 12
TIMEOUT_SECONDS: Final = 20
RETRIES: Final = 3
MINUTE_SECONDS: Final = 60


class AccountUnsuitable(Exception):
    """The account has something that the demo cannot work with; the message says what."""


class StripeAccount:
    """One account in test mode. Every method raises stripe.StripeError; use it as a context manager."""

    def __init__(self, key: Secret, api_base: str | None) -> None:
        stripe.enable_telemetry = False
        self._http = stripe.AIOHTTPClient(timeout=TIMEOUT_SECONDS)
        self._client = stripe.StripeClient(
            key.reveal(),
            base_addresses={} if api_base is None else {"api": api_base, "meter_events": api_base},
            http_client=self._http,
            max_network_retries=RETRIES,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._http.close_async()  # type: ignore[no-untyped-call]  # the library left this one without types

    async def ensure_meters(self) -> dict[str, str]:
        """The ids of the demo's meters by event name; made where missing. Raises AccountUnsuitable for one that does not sum."""
        found: dict[str, str] = {}
        meters = await self._client.v1.billing.meters.list_async({"status": "active", "limit": 100})
        async for meter in meters.auto_paging_iter():
            if meter.event_name in METERS:
                if meter.default_aggregation.formula != "sum":
                    raise AccountUnsuitable(f"the account's meter {meter.event_name} does not sum; deactivate it or use another sandbox")
                found[meter.event_name] = meter.id
        for name in METERS:
            if name not in found:
                made = await self._client.v1.billing.meters.create_async(
                    {
                        "display_name": f"Taximeter demo: {name}",
                        "event_name": name,
                        "default_aggregation": {"formula": "sum"},
                        "customer_mapping": {"type": "by_id", "event_payload_key": "stripe_customer_id"},
                        "value_settings": {"event_payload_key": "value"},
                    }
                )
                found[name] = made.id
        return found

    async def create_customers(self, count: int) -> list[str]:
        """New customers, at the pace a sandbox takes."""
        ids = []
        for number in range(count):
            customer = await self._client.v1.customers.create_async({"name": f"Taximeter demo {number}"})
            ids.append(customer.id)
            await asyncio.sleep(1 / CALLS_PER_SECOND)
        return ids

    async def summaries(self, customers: Sequence[str], *, since_s: int) -> dict[tuple[str, str], int]:
        """Units by meter and customer since a Unix time, as far as the summaries show them yet."""
        meters = await self.ensure_meters()
        start = since_s // MINUTE_SECONDS * MINUTE_SECONDS
        end = (int(time.time()) // MINUTE_SECONDS + 6) * MINUTE_SECONDS
        units: dict[tuple[str, str], int] = {}
        for name, meter in meters.items():
            for customer in customers:
                found = await self._client.v1.billing.meters.event_summaries.list_async(
                    meter, {"customer": customer, "start_time": start, "end_time": end}
                )
                total = sum(round(summary.aggregated_value) for summary in found.data)
                if total:
                    units[(name, customer)] = total
                await asyncio.sleep(1 / CALLS_PER_SECOND)
        return units
