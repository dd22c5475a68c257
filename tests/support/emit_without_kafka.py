"""Run by each Python version in an environment that has the emitter and nothing else.

With a directory: emits, spools, crashes, and empties the spool. Without: leaves everything to the end of the interpreter.
"""

import asyncio
import atexit
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import partial

from taximeter_emitter import Emitter, Reason
from taximeter_emitter.transports.batch_producer import BatchProducer, ProducerFailed, RecordHeaders

EVENTS = 1_000


class Kafka:
    """A Kafka of one process."""

    def __init__(self) -> None:
        self.is_away = True
        self.is_broken = False
        self.records = 0

    def new_producer(self) -> BatchProducer:
        return Producer(self)


class Producer:
    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka

    async def open(self) -> int:
        if self._kafka.is_away:
            raise ProducerFailed("nobody answers")
        # As a client that looks up the names of brokers does, in the loop's executor.
        await asyncio.get_running_loop().getaddrinfo("localhost", 9092)
        return 4

    async def append(self, partition: int, value: bytes, *, secret: str = "", headers: RecordHeaders = ()) -> "asyncio.Future[object]":  # noqa: ARG002  # as the protocol says
        if self._kafka.is_broken:
            raise ZeroDivisionError(f"a fault in the program, at partition {partition} with {len(value)} bytes")
        self._kafka.records += 1
        acknowledged: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        acknowledged.set_result(None)
        return acknowledged

    async def close(self, *, seconds: float) -> None:
        assert seconds >= 0

    async def discard(self) -> None:
        await asyncio.sleep(0)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def emit_all(emitter: Emitter) -> None:
    times: list[datetime | str | None] = ["2025-11-22T10:00:00Z", "2025-11-22T10:00:00.1+01:00", datetime.now(timezone(timedelta(hours=2))), None]
    for number in range(EVENTS):
        assert emitter.emit(customer=f"cus_{number % 17}", usage={"n": number}, dimensions={"model": "alpaca"}, time=times[number % 4])
    assert not emitter.emit(customer="", usage={"n": 1})
    assert emitter.stats().counts.rejected == {Reason.MISSING_FIELD: 1} == {"missing_field": 1}
    assert f"{Reason.MISSING_FIELD} {Reason.MISSING_FIELD!s}" == "missing_field missing_field"


def main(spool_dir: str) -> None:
    kafka = Kafka()
    new_emitter = partial(Emitter, source="smoke", spool_dir=spool_dir, new_producer=kafka.new_producer, linger_ms=5)
    with new_emitter() as emitter:
        emit_all(emitter)
    counts = emitter.stats().counts
    assert (counts.emitted, counts.spooled, counts.lost) == (EVENTS, EVENTS, 0), counts
    kafka.is_away, kafka.is_broken = False, True
    emitter = new_emitter()
    until(lambda: emitter.stats().counts.restarts > 0)
    kafka.is_broken = False
    emit_all(emitter)
    until(lambda: emitter.stats().counts.adopted == EVENTS)
    counts = emitter.close().counts
    assert (counts.sent, counts.lost) == (EVENTS, 0), counts
    assert kafka.records > 0


def leave_to_the_exit() -> None:
    """An emitter that nobody closes reaches Kafka for the first time while the interpreter ends."""
    kafka = Kafka()
    emitters: list[Emitter] = []

    def at_the_end() -> None:
        counts = emitters[0].stats().counts
        assert (counts.sent, counts.lost) == (1, 0), counts
        print("all sent", flush=True)

    # Those registered last run first: this after the emitter's own, and the other before.
    atexit.register(at_the_end)
    emitters.append(Emitter(source="smoke", new_producer=kafka.new_producer, linger_ms=5))
    atexit.register(lambda: setattr(kafka, "is_away", False))
    assert emitters[0].emit(customer="c", usage={"n": 1})


if __name__ == "__main__":
    if sys.argv[1:]:
        main(sys.argv[1])
    else:
        leave_to_the_exit()
