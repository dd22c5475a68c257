"""A publisher on a Kafka in memory."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry
from taximeter_emitter.buffer.batching import Batcher
from taximeter_emitter.clock import SystemClock
from taximeter_emitter.wire.event import UsageEvent

from ingest.admission.byte_budget import ByteBudget
from ingest.metrics import GatewayMetrics
from ingest.publishing.pending_requests import PendingRequest
from ingest.publishing.publisher import Publisher
from ingest.requests.request_columns import RequestPart, parts_of
from tests.support.emitter_fake_kafka import FakeKafka
from tests.support.waiting import until_async


def event(number: int) -> UsageEvent:
    return UsageEvent(
        event_id=f"r-{number}", source="s", customer=f"cus_{number % 17}", time_ms=1_000 + number, usage=(("n", number),), dimensions=()
    )


def place(publisher: Publisher, numbers: Iterable[int]) -> tuple[PendingRequest, list[RequestPart]]:
    """The pending request with these events, and its parts."""
    request = parts_of([(index, event(number)) for index, number in enumerate(numbers)])
    return publisher.place([part.events for part in request]), request


def unknown(pending: PendingRequest, request: list[RequestPart]) -> list[int]:
    """The places in the request of the events that Kafka has not acknowledged."""
    return [part.indexes[place] for number, part in enumerate(request) for place in pending.unknown(number, len(part.ids))]


def make(
    kafka: FakeKafka, *, acknowledge_seconds: float = 20.0, heartbeat_seconds: float = 60.0, budget_bytes: int = 10**9
) -> tuple[Publisher, ByteBudget]:
    budget = ByteBudget(budget_bytes)
    publisher = Publisher(
        Batcher("gateway", events_max=50),
        new_producer=kafka.new_producer,
        budget=budget,
        metrics=GatewayMetrics.create(CollectorRegistry()),
        linger_seconds=0.001,
        acknowledge_seconds=acknowledge_seconds,
        heartbeat_seconds=heartbeat_seconds,
        clock=SystemClock(),
    )
    return publisher, budget


@asynccontextmanager
async def running(publisher: Publisher) -> AsyncIterator[None]:
    task = asyncio.create_task(publisher.run())
    try:
        await until_async(lambda: publisher.problem() is None)
        yield
    finally:
        await publisher.close(5.0)
        await task
