"""A stock producer (librdkafka) with transactions and headers. `python -m tests.chaos.loads.transactions ORDER`.

Some transactions are aborted: their events are in no journal and must not be billed. Some are left open by a producer that goes away; the next one
with its id ends them. One whose end is not known is sent again with the same ids.
"""

import sys
import time
from pathlib import Path
from random import Random
from typing import Any, Final

import orjson
from confluent_kafka import KafkaException, Producer
from taximeter_emitter.clock import SystemClock
from taximeter_sandbox.demo.load.journal import Journal
from taximeter_sandbox.demo.load.load_orders import LoadOrder, LoadProgress, Timetable, write_progress
from taximeter_sandbox.demo.load.workload import Emission, Times, Workload, document_of

BATCH: Final = 30
ABORTED: Final = 0.25
LEFT_OPEN: Final = 0.05
SECONDS_MAX: Final = 15.0
GIVE_UP_SECONDS: Final = 900.0
HEADERS: Final = ([("traceparent", b"00-1"), ("empty", None)], [("content-type", b"application/json")], [("\u00e9", b"\xff\x00")], None)


class Transactions:
    """`again`: how often a transaction had to be sent again."""

    def __init__(self, order: LoadOrder) -> None:
        self.again = 0
        self._order = order
        self._random = Random(order.seed)
        self._times = Times()
        self._producer: Any = None

    def commit(self, emissions: list[Emission]) -> int:
        """Send them in one transaction until it is committed; how often it was sent again. Raises KafkaException after 15 minutes."""
        deadline = time.monotonic() + GIVE_UP_SECONDS
        tries = 0
        while True:
            try:
                self._write([(emission.customer, document_of(emission, self._order.source, self._times)) for emission in emissions])
                self._producer.commit_transaction(SECONDS_MAX)
                return tries
            except KafkaException:
                self._producer = None
                tries += 1
                self.again += 1
                if time.monotonic() > deadline:
                    raise
                time.sleep(1.0)

    def abort(self, emissions: list[Emission], *, leave_open: bool) -> None:
        """Write events that must never be billed, and take them back; or go away, so that the next producer does."""
        try:
            named = [emission._replace(event_id=f"aborted-{emission.event_id}") for emission in emissions]
            self._write([(emission.customer, document_of(emission, self._order.source, self._times)) for emission in named])
            self._producer.flush(SECONDS_MAX)
            if not leave_open:
                self._producer.abort_transaction(SECONDS_MAX)
        except KafkaException:
            leave_open = True
        if leave_open:
            self._producer = None

    def _write(self, documents: list[tuple[str, dict[str, Any]]]) -> None:
        if self._producer is None:
            self._producer = Producer(
                {
                    "bootstrap.servers": self._order.bootstrap_servers,
                    "transactional.id": f"{self._order.topic_prefix}-{self._order.name}",
                    "transaction.timeout.ms": 15_000,
                    "partitioner": "murmur2_random",
                    "message.timeout.ms": 15_000,
                }
            )
            self._producer.init_transactions(SECONDS_MAX)
        self._producer.begin_transaction()
        for customer, document in documents:
            headers = self._random.choice(HEADERS)
            self._producer.produce(f"{self._order.topic_prefix}.events", orjson.dumps(document), key=customer.encode(), headers=headers)


def run(order: LoadOrder) -> int:
    """Send everything."""
    workload = Workload(order.name, seed=order.seed, customers=order.customers, mix=order.mix)
    aborted = Workload(f"{order.name}-aborted", seed=order.seed, customers=order.customers, mix=order.mix)
    clock, timetable, random = SystemClock(), Timetable(order.events, order.seconds), Random(order.seed)
    load = Transactions(order)
    emitted = 0
    with Journal(order.journal) as journal:
        while emitted < order.events:
            if random.random() < ABORTED:
                load.abort(aborted.take(BATCH, clock.now_ms()), leave_open=random.random() < LEFT_OPEN / ABORTED)
            emissions = workload.take(BATCH, clock.now_ms())
            number = journal.sending(emissions)
            journal.told(number, resent=load.commit(emissions))
            emitted += BATCH
            write_progress(order.progress, LoadProgress(emitted=emitted, resent=load.again * BATCH))
            time.sleep(timetable.delay(emitted))
    write_progress(order.progress, LoadProgress(emitted=emitted, resent=load.again * BATCH, done=True))
    return 0


if __name__ == "__main__":
    sys.exit(run(LoadOrder.read(Path(sys.argv[1]))))
