"""Cancelling meter events through the port, over HTTP, by the simulator's clock."""

import time
from collections.abc import AsyncIterator

import pytest
from taximeter_emitter.wire.limits import HOUR_MS

from metering.configuration.secrets import Secret
from reporter.sending.verdicts import Delivered, Refused, StopTheWorld
from reporter.stripe.meter_events_v1 import StripeMeterEvents
from tests.support.stripe_target import KEY, Target

NOW_S = int(time.time())


@pytest.fixture
async def port(simulator: Target) -> AsyncIterator[StripeMeterEvents]:
    subject = StripeMeterEvents(api_key=Secret(KEY), api_base=simulator.control.url, connections=2, timeout_s=30.0)
    yield subject
    await subject.close()


async def send(simulator: Target, port: StripeMeterEvents, *values: int) -> None:
    """A meter, a customer, and meter events named by their index."""
    await simulator.meter(event_name="tokens")
    customer = await simulator.customer()
    for index, value in enumerate(values):
        payload = {"stripe_customer_id": customer, "value": str(value)}
        name = f"tm-c-0-0-1-{index}"
        assert await port.send(event_name="tokens", payload=payload, identifier=name, timestamp_s=NOW_S, idempotency_key=name) == Delivered()


def units(simulator: Target) -> int:
    simulator.control.call("POST", "/_control/clock", {"advance_ms": 600_000})
    return sum(int(row["total"]) for row in simulator.control.call("GET", "/_oracle/books")["rows"])


async def test_a_cancelled_event_is_not_billed_and_the_same_attempt_again_gets_the_same_answer(simulator: Target, port: StripeMeterEvents) -> None:
    await send(simulator, port, 5, 7)
    for _ in range(2):
        assert await port.cancel(event_name="tokens", identifier="tm-c-0-0-1-0", idempotency_key="tm-c-0-c2") == Delivered()
    assert units(simulator) == 7


async def test_what_cannot_be_cancelled_is_refused(simulator: Target, port: StripeMeterEvents) -> None:
    await send(simulator, port, 5, 7)
    assert await port.cancel(event_name="tokens", identifier="tm-c-0-0-1-0", idempotency_key="tm-c-0-c2") == Delivered()
    again = await port.cancel(event_name="tokens", identifier="tm-c-0-0-1-0", idempotency_key="tm-c-0-c3")
    unknown = await port.cancel(event_name="tokens", identifier="tm-c-0-0-1-9", idempotency_key="tm-c-0-c4")
    simulator.control.call("POST", "/_control/clock", {"advance_ms": 25 * HOUR_MS})
    late = await port.cancel(event_name="tokens", identifier="tm-c-0-0-1-1", idempotency_key="tm-c-0-c5")
    assert [type(verdict) for verdict in (again, unknown, late)] == [Refused] * 3
    assert units(simulator) == 7


async def test_a_negative_value_takes_back_what_was_sent(simulator: Target, port: StripeMeterEvents) -> None:
    await send(simulator, port, 5, 7)
    (row,) = (await simulator.client.v1.customers.list_async()).data
    payload = {"stripe_customer_id": row.id, "value": "-5"}
    verdict = await port.send(event_name="tokens", payload=payload, identifier="tm-c-0-c2", timestamp_s=NOW_S, idempotency_key="tm-c-0-c2")
    assert verdict == Delivered()
    assert units(simulator) == 7


async def test_a_key_that_is_refused_stops_everything_and_is_not_told(simulator: Target) -> None:
    subject = StripeMeterEvents(api_key=Secret("sk_nonsense_123456"), api_base=simulator.control.url, connections=1, timeout_s=30.0)
    try:
        verdict = await subject.cancel(event_name="tokens", identifier="tm-c-0-0-1-0", idempotency_key="tm-c-0-c2")
    finally:
        await subject.close()
    assert isinstance(verdict, StopTheWorld)
    assert "123456" not in verdict.reason
