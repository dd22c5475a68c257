"""What the emitter needs from the transport of its batches."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from taximeter_emitter.wire.errors import TaximeterError

FAILURES: Final = ("unreachable", "unauthorized", "busy", "wrong_answer")
"""Why nothing can be sent now: nobody is reached, or nobody acknowledges; the key is not known; there is too much at once; what answers does not do
what it should."""


class ProducerFailed(TaximeterError):
    """A record was not taken, or nobody can be reached; the record may or may not be in the log.

    `reason`: one of FAILURES. `wait_seconds`: for which the other side asked not to be asked again.
    """

    def __init__(self, detail: str, *, reason: str = "unreachable", wait_seconds: float = 0.0) -> None:
        super().__init__(detail)
        self.reason = reason
        self.wait_seconds = wait_seconds


class BatchRefused(TaximeterError):
    """The other side will not take this batch, however often it is sent, and takes others. `reason`: its name for that."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


RecordHeaders = Sequence[tuple[str, bytes]]
"""Of a record; only those that no reader minds, such as `traceparent`."""


class BatchProducer(Protocol):
    """A way to append records to one topic. After the first ProducerFailed, of a call or a future, it is useless."""

    async def open(self) -> int:
        """Connect; the number of partitions of the topic. Raises ProducerFailed."""
        ...

    async def append(self, partition: int, value: bytes, *, secret: str = "", headers: RecordHeaders = ()) -> "asyncio.Future[object]":
        """Queue a record; the future is done when all in-sync replicas have it. Waits while too much is queued. Raises ProducerFailed.

        `secret`: of the emitter that numbered the batch, where that has to be proven. `headers` go with a record to Kafka.
        The future fails with ProducerFailed or BatchRefused.
        """
        ...

    async def close(self, *, seconds: float) -> None:
        """Wait for what is queued, at most for `seconds`, then let go of everything."""
        ...

    async def discard(self) -> None:
        """Let go of everything at once."""
        ...


ProducerFactory = Callable[[], BatchProducer]
