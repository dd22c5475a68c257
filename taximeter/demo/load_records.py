"""Load past both doors: another producer's single JSON events straight into usage.events. `python -m taximeter.demo.load_records ORDER`.

Nobody looks at these before the aggregator does, so its dead letters come from here: malformed values, and ids used for two contents.
"""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from metering.clock import SystemClock
from metering.kafka import KafkaSettings, make_producer, started
from taximeter.demo.journal import Journal
from taximeter.demo.load import LoadOrder, LoadProgress, Timetable, write_progress
from taximeter.demo.workload import Emission, Times, Workload, document_of, in_batches

BATCH: Final = 200
BROKEN_JSON_EVERY: Final = 16


class RecordLoad:
    """One process's records. The producer is idempotent and keyed by customer: what is sent first stands first."""

    def __init__(self, order: LoadOrder, producer: AIOKafkaProducer) -> None:
        self._order = order
        self._producer = producer
        self._topic = f"{order.topic_prefix}.events"
        self._times = Times()
        self._broken = 0

    async def send(self, emissions: Sequence[Emission]) -> None:
        """Returns when all in-sync replicas have them. Raises KafkaError."""
        # One after the other into the producer, so that an id used twice arrives in the order of the journal.
        acknowledged = [await self._hand_over(emission) for emission in emissions]
        await asyncio.gather(*acknowledged)

    async def _hand_over(self, emission: Emission) -> asyncio.Future[RecordMetadata]:
        value = orjson.dumps(document_of(emission, self._order.source, self._times))
        if emission.flaw:
            self._broken += 1
            if self._broken % BROKEN_JSON_EVERY == 0:
                value = value[:-7]
        acknowledged: asyncio.Future[RecordMetadata] = await self._producer.send(self._topic, value, key=emission.customer.encode())
        return acknowledged


async def run(order: LoadOrder) -> int:
    """Send everything; a failure to send ends the process with a traceback and leaves the journal without an outcome."""
    workload = Workload(order.name, seed=order.seed, customers=order.customers, mix=order.mix)
    clock, timetable = SystemClock(), Timetable(order.events, order.seconds)
    kafka = KafkaSettings(bootstrap_servers=(order.bootstrap_servers,), topic_prefix=order.topic_prefix, partitions=order.partitions)
    emitted = 0
    with Journal(order.journal) as journal:
        async with started(make_producer(kafka, client_id=order.name, linger_ms=5)) as producer:
            load = RecordLoad(order, producer)
            for size in in_batches(order.events, BATCH):
                emissions = workload.take(size, clock.now_ms())
                number = journal.sending(emissions)
                await load.send(emissions)
                journal.told(number)
                emitted += size
                if timetable.is_time_to_tell():
                    write_progress(order.progress, LoadProgress(emitted=emitted))
                await timetable.wait(emitted)
    write_progress(order.progress, LoadProgress(emitted=emitted, done=True))
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(run(LoadOrder.read(Path(sys.argv[1])))))
