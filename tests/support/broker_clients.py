"""aiokafka clients for tests, with the settings that the services rely on."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient


@asynccontextmanager
async def producer_on(bootstrap: str, **options: Any) -> AsyncIterator[AIOKafkaProducer]:
    """A started idempotent producer with acks=all."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, **{"acks": "all", "enable_idempotence": True, "linger_ms": 1, **options})
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


@asynccontextmanager
async def consumer_on(bootstrap: str, *topics: str, **options: Any) -> AsyncIterator[AIOKafkaConsumer]:
    """A started consumer that commits nothing by itself and never resets an offset by itself unless told to."""
    defaults = {"enable_auto_commit": False, "auto_offset_reset": "none", "fetch_max_wait_ms": 200}
    consumer = AIOKafkaConsumer(*topics, bootstrap_servers=bootstrap, **{**defaults, **options})
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


@asynccontextmanager
async def admin_on(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """A started admin client."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def read_records(consumer: AIOKafkaConsumer, count: int, *, polls: int = 60) -> list[ConsumerRecord]:
    """The next ``count`` records or more, in the order of arrival; gives up after ``polls`` polls of half a second."""
    records: list[ConsumerRecord] = []
    for _ in range(polls):
        for batch in (await consumer.getmany(timeout_ms=500)).values():
            records.extend(batch)
        if len(records) >= count:
            return records
    raise AssertionError(f"{len(records)} records came, {count} were expected")


async def poll_until(consumers: list[AIOKafkaConsumer], reached: Callable[[], bool], *, polls: int = 200) -> None:
    """Keep group members polling until a state is reached; about fifty milliseconds a poll."""
    for _ in range(polls):
        if reached():
            return
        for consumer in consumers:
            await consumer.getmany(timeout_ms=50 // len(consumers))
    raise AssertionError("the group did not get there")
