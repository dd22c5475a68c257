"""Run by each Python version in an environment that has the emitter and nothing else: emits, spools, crashes, and empties the spool."""

import asyncio
import sys
import time
from datetime import datetime, timedelta, timezone

from taximeter_emitter import Emitter, Reason
from taximeter_emitter.transports.batch_producer import ProducerFailed

EVENTS = 1_000


class Producer:
    """A Kafka of one process. `log` is None while it is away."""

    log = None

    async def open(self):
        if self.log is None:
            await asyncio.sleep(0)
            raise ProducerFailed("nobody answers")
        return 4

    async def append(self, partition, value):
        if self.log == "crash":
            raise ZeroDivisionError("a fault in the program")
        self.log.append((partition, value))
        acknowledged = asyncio.get_running_loop().create_future()
        acknowledged.set_result(None)
        return acknowledged

    async def close(self, *, seconds):
        pass

    async def discard(self):
        pass


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def emit_all(emitter):
    times = ["2025-11-22T10:00:00Z", "2025-11-22T10:00:00.1+01:00", datetime.now(timezone(timedelta(hours=2))), None]
    for number in range(EVENTS):
        assert emitter.emit(customer=f"cus_{number % 17}", usage={"n": number}, dimensions={"model": "alpaca"}, time=times[number % 4])
    assert not emitter.emit(customer="", usage={"n": 1})
    assert emitter.stats().counts.rejected == {Reason.MISSING_FIELD: 1} == {"missing_field": 1}
    assert f"{Reason.MISSING_FIELD} {Reason.MISSING_FIELD!s}" == "missing_field missing_field"


def main(spool_dir):
    options = {"source": "smoke", "spool_dir": spool_dir, "new_producer": Producer, "linger_ms": 5}
    with Emitter(partitions=4, **options) as emitter:
        emit_all(emitter)
    counts = emitter.stats().counts
    assert (counts.emitted, counts.spooled, counts.lost) == (EVENTS, EVENTS, 0), counts
    Producer.log = "crash"
    emitter = Emitter(**options)
    until(lambda: emitter.stats().counts.restarts > 0)
    Producer.log = []
    emit_all(emitter)
    until(lambda: emitter.stats().counts.adopted == EVENTS)
    counts = emitter.close().counts
    assert (counts.sent, counts.lost) == (EVENTS, 0), counts


if __name__ == "__main__":
    main(sys.argv[1])
