"""A BatchProducer in memory, with the faults that a real broker shows."""

import asyncio
from dataclasses import dataclass, field

from taximeter_emitter.transports.batch_producer import ProducerFailed, RecordHeaders


@dataclass(slots=True)
class FakeKafka:
    """One topic. `is_away`: nobody can connect. `is_silent`: records are taken and never acknowledged. `keeps`: ... but they are in the log.

    `silent_partitions`: the same for these alone, until `wake`.
    """

    partitions: int = 4
    is_away: bool = False
    is_silent: bool = False
    keeps: bool = True
    silent_partitions: set[int] = field(default_factory=set)
    log: list[tuple[int, bytes]] = field(default_factory=list)
    headers: list[RecordHeaders] = field(default_factory=list)
    producers: list["FakeProducer"] = field(default_factory=list)

    def new_producer(self) -> "FakeProducer":
        self.producers.append(FakeProducer(self))
        return self.producers[-1]

    def wake(self) -> None:
        """Acknowledge what silent partitions have taken, and all that comes."""
        self.silent_partitions = set()
        for producer in self.producers:
            producer.wake()

    def break_producers(self) -> None:
        """All that is not acknowledged fails."""
        for producer in self.producers:
            producer.fail()


class FakeProducer:
    def __init__(self, kafka: FakeKafka) -> None:
        self.is_open = False
        self._kafka = kafka
        self._unacknowledged: list[asyncio.Future[object]] = []

    async def open(self) -> int:
        await asyncio.sleep(0)
        if self._kafka.is_away:
            raise ProducerFailed("nobody answers")
        self.is_open = True
        return self._kafka.partitions

    async def append(self, partition: int, value: bytes, *, secret: str = "", headers: RecordHeaders = ()) -> asyncio.Future[object]:  # noqa: ARG002  # as the protocol says
        await asyncio.sleep(0)
        if not self.is_open or self._kafka.is_away:
            raise ProducerFailed("nobody answers")
        assert 0 <= partition < self._kafka.partitions
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        if not self._kafka.is_silent or self._kafka.keeps:
            self._kafka.log.append((partition, value))
            self._kafka.headers.append(headers)
        if self._kafka.is_silent or partition in self._kafka.silent_partitions:
            self._unacknowledged.append(future)
        else:
            future.set_result(len(self._kafka.log))
        return future

    async def close(self, *, seconds: float) -> None:
        assert seconds >= 0
        self.is_open = False

    async def discard(self) -> None:
        self.is_open = False
        self._unacknowledged.clear()

    def wake(self) -> None:
        for future in self._unacknowledged:
            if not future.done():
                future.set_result(None)
        self._unacknowledged.clear()

    def fail(self) -> None:
        for future in self._unacknowledged:
            if not future.done():
                future.set_exception(ProducerFailed("broken"))
        self._unacknowledged.clear()
