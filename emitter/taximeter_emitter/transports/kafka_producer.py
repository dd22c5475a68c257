"""One life of a Kafka producer: opened, used, and thrown away at the first failure.

An idempotent producer that failed once may have lost its place in the broker's sequence, so it is never used again. That costs nothing in
exactness: batches carry numbers of their own, and sending the same bytes through a new producer changes no count.
"""

import asyncio
from contextlib import suppress

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from taximeter_emitter.deadlines import timeout
from taximeter_emitter.transports.aiokafka_internals import discard
from taximeter_emitter.transports.batch_producer import ProducerFailed, RecordHeaders
from taximeter_emitter.transports.client_logs import limit_client_logs
from taximeter_emitter.transports.kafka_connection import make_producer
from taximeter_emitter.transports.kafka_options import KafkaOptions
from taximeter_emitter.wire.limits import EVENT_RECORD_BYTES_MAX


class KafkaProducer:
    """A BatchProducer on an aiokafka producer (acks=all, idempotent)."""

    def __init__(self, kafka: KafkaOptions, *, topic: str, client_id: str, open_seconds: float) -> None:
        self._kafka = kafka
        self._topic = topic
        self._client_id = client_id
        self._open_seconds = open_seconds
        self._producer: AIOKafkaProducer | None = None

    async def open(self) -> int:
        """Connect, at most for `open_seconds`."""
        limit_client_logs()
        try:
            producer = self._producer = make_producer(self._kafka, client_id=self._client_id, record_bytes_max=EVENT_RECORD_BYTES_MAX)
            async with timeout(self._open_seconds):
                await producer.start()
                partitions = await producer.partitions_for(self._topic)
        except (KafkaError, OSError, TimeoutError, asyncio.TimeoutError) as error:
            await self.discard()
            raise ProducerFailed(f"cannot reach topic {self._topic}: {_words(error)}") from None
        except BaseException:
            await self.discard()
            raise
        return len(partitions)

    async def append(
        self,
        partition: int,
        value: bytes,
        *,
        secret: str = "",  # noqa: ARG002  # as the protocol says
        headers: RecordHeaders = (),
    ) -> "asyncio.Future[object]":
        """Queue a record for the partition, without a key. Who may write to Kafka need not prove who numbered it."""
        if self._producer is None:
            raise ProducerFailed("the producer is closed")
        try:
            acknowledged: asyncio.Future[object] = await self._producer.send(self._topic, value, partition=partition, headers=list(headers))
        except (KafkaError, OSError, AssertionError) as error:
            # aiokafka's producer asserts that the partition exists.
            raise ProducerFailed(_words(error)) from None
        return acknowledged

    async def close(self, *, seconds: float) -> None:
        """Flush and disconnect."""
        producer = self._producer
        if producer is None:
            return
        with suppress(KafkaError, TimeoutError, asyncio.TimeoutError):
            async with timeout(max(seconds, 0.0)):
                await producer.flush()
        await self.discard()

    async def discard(self) -> None:
        """Disconnect, even if the broker does not respond."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        await discard(producer)


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
