"""What the suite runs against: the simulator or Stripe's sandbox, through the official library."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import stripe

from tests.support.stripe_simulator_process import SimulatorProcess

HOUR_S = 3600
KEY = "sk_test_contract1234"
NO_LIMITS = {"meter_events_per_second": 0, "global_per_second": 0, "endpoint_per_second": 0}


@contextmanager
def simulated_stripe(folder: Path, *customers: str) -> Iterator[SimulatorProcess]:
    """A simulator as a process, without rate limits, with these customers."""
    process = SimulatorProcess(folder)
    process.start()
    try:
        process.call("POST", "/_control/config", {"limits": NO_LIMITS})
        process.call("POST", "/_control/customers", {"ids": customers})
        yield process
    finally:
        process.stop()


def client_of(url: str, http_client: stripe.HTTPClient, key: str = KEY) -> stripe.StripeClient:
    return stripe.StripeClient(key, base_addresses={"api": url, "meter_events": url}, http_client=http_client, max_network_retries=0)


@dataclass(slots=True)
class Target:
    """A Stripe. `simulator` is None on the real one; `patience_s` is how long usage may take to show in summaries."""

    client: stripe.StripeClient
    api_key: str
    patience_s: float
    simulator: SimulatorProcess | None = None
    meters: list[str] = field(default_factory=list)
    customers: list[str] = field(default_factory=list)

    @property
    def control(self) -> SimulatorProcess:
        """The simulator's control API; only for tests that run on nothing else."""
        assert self.simulator is not None, "this test is for the simulator"
        return self.simulator

    async def meter(self, **changes: Any) -> Any:
        """A new meter under an event name of its own."""
        params = {"display_name": "Taximeter contract", "event_name": f"taximeter_{uuid.uuid4().hex}", "default_aggregation": {"formula": "sum"}}
        meter = await self.client.v1.billing.meters.create_async({**params, **changes})  # type: ignore[typeddict-item]  # built from parts
        self.meters.append(meter.id)
        return meter

    async def customer(self) -> str:
        """A new customer's id."""
        customer = await self.client.v1.customers.create_async({"name": "Taximeter contract"})
        self.customers.append(customer.id)
        return customer.id

    async def send(self, event_name: str, customer: str, value: object, *, key: str | None = None, **changes: Any) -> Any:
        """One meter event."""
        params = {"event_name": event_name, "payload": {"stripe_customer_id": customer, "value": str(value)}, **changes}
        options: dict[str, Any] = {} if key is None else {"idempotency_key": key}
        return await self.client.v1.billing.meter_events.create_async(params, options)  # type: ignore[arg-type]  # built from parts

    async def total(self, meter_id: str, customer: str) -> float:
        """The value in the summary of the last two hours."""
        end = int(time.time()) // HOUR_S * HOUR_S + HOUR_S
        params: Any = {"customer": customer, "start_time": end - 2 * HOUR_S, "end_time": end}
        rows = (await self.client.v1.billing.meters.event_summaries.list_async(meter_id, params)).data
        assert len(rows) == 1
        return rows[0].aggregated_value

    async def until(self, expected: float, read: Callable[[], Awaitable[float]]) -> None:
        """Wait for a value that arrives in its own time."""
        deadline = time.monotonic() + self.patience_s
        while (value := await read()) != expected:
            assert time.monotonic() < deadline, f"still {value}, not {expected}"
            await asyncio.sleep(min(2.0, self.patience_s / 20))

    async def tidy(self) -> None:
        """Take the meters and customers of a test out of use."""
        for meter_id in self.meters:
            if (await self.client.v1.billing.meters.retrieve_async(meter_id)).status == "active":
                await self.client.v1.billing.meters.deactivate_async(meter_id)
        for customer in self.customers:
            await self.client.v1.customers.delete_async(customer)


async def refused(call: Awaitable[Any]) -> stripe.StripeError:
    """The error that a call ends in."""
    try:
        await call
    except stripe.StripeError as error:
        return error
    raise AssertionError("the call was not refused")
