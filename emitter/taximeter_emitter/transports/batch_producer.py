"""What the emitter needs from the transport of its batches."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from taximeter_emitter.wire.errors import TaximeterError


class ProducerFailed(TaximeterError):
    """Kafka did not take a record, or cannot be reached; the record may or may not be in the log."""


class BatchProducer(Protocol):
    """A way to append records to one topic. Futures fail with ProducerFailed; after the first failure the producer is useless."""

    async def open(self) -> int:
        """Connect; the number of partitions of the topic. Raises ProducerFailed."""
        ...

    async def append(self, partition: int, value: bytes) -> "asyncio.Future[object]":
        """Queue a record; the future is done when all in-sync replicas have it. Waits while too much is queued. Raises ProducerFailed."""
        ...

    async def close(self, *, seconds: float) -> None:
        """Wait for what is queued, at most for `seconds`, then let go of everything."""
        ...

    async def discard(self) -> None:
        """Let go of everything at once."""
        ...


ProducerFactory = Callable[[], BatchProducer]
