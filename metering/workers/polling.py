"""The poll loop: fetches for the workers that want records, and pauses the partitions of the others."""

from collections.abc import Callable
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from prometheus_client import Gauge
from taximeter_emitter.transports.aiokafka_internals import is_dead

from metering.kafka.batches.responses import GivenForm
from metering.kafka.tolerant_fetching import RecordsUnreadable
from metering.process.logs import RateLimited
from metering.process.service import ServiceContext
from metering.workers.membership import MembershipLost
from metering.workers.owned_partitions import OwnedPartitions

GROUP_POLL_MS: Final = 250
IDLE_SECONDS: Final = 0.02
FAILED_SECONDS: Final = 1.0
OBSERVE_SECONDS: Final = 0.25  # how often it is looked at how far each partition is, however often there is a poll


class Polling:
    """`look` is called with the client again and again, between polls."""

    def __init__(
        self, context: ServiceContext, owned: OwnedPartitions[Any], form: GivenForm, *, paused: Gauge, look: Callable[[AIOKafkaConsumer], None]
    ) -> None:
        self._context = context
        self._owned = owned
        self._form = form
        self._paused = paused
        self._look = look
        self._looked_at = float("-inf")
        self._warnings = RateLimited(context.clock)

    async def run(self, consumer: AIOKafkaConsumer) -> None:
        """Until the service stops. Raises MembershipLost when this client cannot go on."""
        clock = self._context.clock
        while not self._context.stop.is_set():
            if is_dead(consumer):
                raise MembershipLost("the client's background work has ended")
            self._pause_and_resume(consumer)
            wanted = [self._owned.place(partition) for partition, worker in self._owned.workers.items() if worker.wants_records]
            try:
                batch = await consumer.getmany(*wanted, timeout_ms=GROUP_POLL_MS, max_records=self._form.items_max) if wanted else {}
            except RecordsUnreadable as error:
                worker = self._owned.workers.get(error.place.partition)
                if worker is not None:
                    worker.cannot_read(error.offset, error.reason)
                await clock.sleep(0.0)
                continue
            except KafkaError as error:
                self._failed(error)
                await clock.sleep(FAILED_SECONDS)
                continue
            for place, items in batch.items():
                worker = self._owned.workers.get(place.partition)
                if worker is not None:
                    for records, holes in self._form.parts(items):
                        worker.hand_in(records, holes)
            if clock.monotonic() >= self._looked_at + OBSERVE_SECONDS:
                self._looked_at = clock.monotonic()
                self._look(consumer)
            # getmany does not yield to the loop when records are buffered: let the workers have their turn.
            await clock.sleep(0.0 if wanted else IDLE_SECONDS)

    def _failed(self, error: KafkaError) -> None:
        """A fault of one partition shows again when its next worker takes over."""
        self._warnings.warning(self._context.log, "polling failed", reason=repr(error))
        places = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
        for place in places:
            if isinstance(place, TopicPartition) and place.partition in self._owned.workers:
                self._owned.restart(place.partition)

    def _pause_and_resume(self, consumer: AIOKafkaConsumer) -> None:
        paused, assignment = consumer.paused(), consumer.assignment()
        held = 0
        for partition, worker in self._owned.workers.items():
            place = self._owned.place(partition)
            if place not in assignment:
                continue
            if place in paused:
                if worker.wants_records and worker.may_resume:
                    consumer.resume(place)
                else:
                    held += 1
            elif not worker.wants_records:
                consumer.pause(place)
                held += 1
        self._paused.set(held)
