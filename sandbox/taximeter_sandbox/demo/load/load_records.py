"""Load past both doors: another producer's single JSON events straight into usage.events. `python -m taximeter_sandbox.demo.load.load_records ORDER`.

Nobody looks at these before the aggregator does, so its dead letters come from here: malformed values, and ids used for two contents.
"""

import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Final

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import RecordMetadata
from taximeter_emitter.clock import SystemClock
from taximeter_emitter.retry import RetryPolicy, retrying
from taximeter_emitter.transports.aiokafka_internals import discard
from taximeter_emitter.transports.kafka_connection import make_producer
from taximeter_emitter.wire.limits import EVENT_RECORD_BYTES_MAX

from metering.kafka.clients import KafkaSettings
from taximeter_sandbox.demo.load.journal import Journal
from taximeter_sandbox.demo.load.load_orders import LoadOrder, LoadProgress, Timetable, write_progress
from taximeter_sandbox.demo.load.workload import Emission, Times, Workload, document_of, in_batches

BATCH: Final = 200
BROKEN_JSON_EVERY: Final = 16
RETRY: Final = RetryPolicy(base_seconds=0.2, cap_seconds=2.0, deadline_seconds=900.0)


class RecordLoad:
    """One process's records. The producer is idempotent and nearly all is keyed by customer: what is sent first stands first."""

    def __init__(self, order: LoadOrder, new_producer: Callable[[], AIOKafkaProducer]) -> None:
        self._order = order
        self._new_producer = new_producer
        self._producer: AIOKafkaProducer | None = None
        self._topic = f"{order.topic_prefix}.events"
        self._times = Times()
        self._random = Random(order.seed)
        self._broken = 0

    async def send(self, emissions: Sequence[Emission]) -> int:
        """Send in this order until all in-sync replicas have them; how often they were sent again. Raises KafkaError after 15 minutes."""
        values = [self._value(emission) for emission in emissions]
        misplaced = self._order.mix.misplaced
        keys = [None if self._random.random() < misplaced else emission.customer.encode() for emission in emissions]
        resent = 0

        def count_resent(_error: Exception, _delay: float) -> None:
            nonlocal resent
            resent += 1

        await retrying(
            lambda: self._send_once(keys, values),
            policy=RETRY,
            clock=SystemClock(),
            random=self._random,
            retry_on=(KafkaError, OSError),
            on_retry=count_resent,
        )
        return resent

    async def close(self) -> None:
        """Disconnect."""
        if self._producer is not None:
            await discard(self._producer)
            self._producer = None

    async def _send_once(self, keys: Sequence[bytes | None], values: Sequence[bytes]) -> None:
        try:
            if self._producer is None:
                self._producer = self._new_producer()
                await self._producer.start()
            acknowledged: list[asyncio.Future[RecordMetadata]] = []
            # One after the other into the producer, so that an id used twice arrives in the order of the journal.
            for key, value in zip(keys, values, strict=True):
                acknowledged.append(await self._producer.send(self._topic, value, key=key))
            await asyncio.gather(*acknowledged)
        except (KafkaError, OSError):
            # Behind a record that failed this producer would number the next ones wrongly.
            await self.close()
            raise

    def _value(self, emission: Emission) -> bytes:
        value = orjson.dumps(document_of(emission, self._order.source, self._times))
        if emission.flaw:
            self._broken += 1
            if self._broken % BROKEN_JSON_EVERY == 0:
                value = value[:-7]
        return value


async def run(order: LoadOrder) -> int:
    """Send everything; 15 minutes without Kafka end the process with a traceback and leave the journal without an outcome."""
    workload = Workload(order.name, seed=order.seed, customers=order.customers, mix=order.mix)
    clock, timetable = SystemClock(), Timetable(order.events, order.seconds)
    kafka = KafkaSettings(bootstrap_servers=tuple(order.bootstrap_servers.split(",")), topic_prefix=order.topic_prefix, partitions=order.partitions)
    load = RecordLoad(order, lambda: make_producer(kafka.options(), client_id=order.name, record_bytes_max=EVENT_RECORD_BYTES_MAX, linger_ms=5))
    emitted = again = 0
    with Journal(order.journal) as journal:
        try:
            for size in in_batches(order.events, BATCH):
                emissions = workload.take(size, clock.now_ms())
                number = journal.sending(emissions)
                resent = await load.send(emissions)
                journal.told(number, resent=resent)
                emitted += size
                again += size * resent
                if timetable.is_time_to_tell():
                    write_progress(order.progress, LoadProgress(emitted=emitted, resent=again))
                await timetable.wait(emitted)
        finally:
            await load.close()
    write_progress(order.progress, LoadProgress(emitted=emitted, resent=again, done=True))
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(run(LoadOrder.read(Path(sys.argv[1])))))
