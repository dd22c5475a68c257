"""One life of a Kafka producer: opened, used, and thrown away at the first failure.

An idempotent producer that failed once may have lost its place in the broker's sequence, so it is never used again. That costs nothing in
exactness: batches carry numbers of their own, and sending the same bytes through a new producer changes no count.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from metering.kafka.clients import KafkaSettings, discard, make_producer
from taximeter_emitter.wire.errors import TaximeterError
from taximeter_emitter.wire.limits import ENVELOPE_BYTES, EVENT_RECORD_BYTES_MAX


class LinkFailed(TaximeterError):
    """Kafka did not take a record, or cannot be reached; the record may or may not be in the log."""


class Link(Protocol):
    """A way to append records to one topic. Futures fail with LinkFailed; after the first failure the link is useless."""

    async def open(self) -> int:
        """Connect; the number of partitions of the topic. Raises LinkFailed."""
        ...

    async def append(self, partition: int, value: bytes) -> asyncio.Future[object]:
        """Queue a record; the future is done when all in-sync replicas have it. Waits while too much is queued. Raises LinkFailed."""
        ...

    async def close(self, *, seconds: float) -> None:
        """Wait for what is queued, at most so long, then let go of everything."""
        ...

    async def discard(self) -> None:
        """Let go of everything at once."""
        ...


LinkFactory = Callable[[], Link]


class ProducerLink:
    """A Link on an aiokafka producer (acks=all, idempotent)."""

    def __init__(self, kafka: KafkaSettings, *, topic: str, client_id: str, open_seconds: float) -> None:
        self._kafka = kafka
        self._topic = topic
        self._client_id = client_id
        self._open_seconds = open_seconds
        self._producer: AIOKafkaProducer | None = None

    async def open(self) -> int:
        """Connect, at most for `open_seconds`."""
        producer = self._producer = make_producer(self._kafka, client_id=self._client_id, max_request_size=EVENT_RECORD_BYTES_MAX + ENVELOPE_BYTES)
        try:
            async with asyncio.timeout(self._open_seconds):
                await producer.start()
                partitions = await producer.partitions_for(self._topic)
        except (KafkaError, OSError, TimeoutError) as error:
            await self.discard()
            raise LinkFailed(f"cannot reach topic {self._topic}: {_words(error)}") from None
        except BaseException:
            await self.discard()
            raise
        return len(partitions)

    async def append(self, partition: int, value: bytes) -> asyncio.Future[object]:
        """Queue a record for the partition, without a key."""
        if self._producer is None:
            raise LinkFailed("the link is closed")
        try:
            acknowledged: asyncio.Future[object] = await self._producer.send(self._topic, value, partition=partition)
        except (KafkaError, OSError, AssertionError) as error:
            # The producer asserts that the partition exists.
            raise LinkFailed(_words(error)) from None
        return acknowledged

    async def close(self, *, seconds: float) -> None:
        """Flush and disconnect."""
        producer = self._producer
        if producer is None:
            return
        with suppress(KafkaError, TimeoutError):
            async with asyncio.timeout(max(seconds, 0.0)):
                await producer.flush()
        await self.discard()

    async def discard(self) -> None:
        """Disconnect, whatever the broker does."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        await discard(producer)


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
