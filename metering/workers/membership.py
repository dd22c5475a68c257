"""Membership in the consumer group: to join, and what the group gives and takes."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from prometheus_client import Counter
from taximeter_emitter.transports.aiokafka_internals import silent_seconds
from taximeter_emitter.wire.errors import TaximeterError

from metering.kafka.batches.responses import AS_RECORDS, GivenForm
from metering.kafka.clients import FETCH_LIMITS, FetchLimits, KafkaSettings, make_group_consumer, started
from metering.kafka.tolerant_fetching import fetch_tolerantly
from metering.process.service import ServiceContext
from metering.records.fail_closed import FailClosed, PartitionsAdded
from metering.workers.owned_partitions import OwnedPartitions


class MembershipLost(TaximeterError):
    """The client will neither fetch nor rebalance any more; a new one must take its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMember:
    """Who this process is in which group, and its patience: `revoke_seconds` for workers that drain in a rebalance, `stall_seconds` without
    progress before it is not ready. `static_instance_id`: one that Kafka remembers over restarts. `form`: in which workers are handed records.
    """

    topic: str
    group_id: str
    instance: str
    static_instance_id: str | None
    revoke_seconds: float
    stall_seconds: float
    fetch: FetchLimits = FETCH_LIMITS
    form: GivenForm = AS_RECORDS


class Membership(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """Gives what is assigned to `owned`, and takes it back. `on_assigned` is called after each assignment."""

    def __init__(
        self,
        context: ServiceContext,
        kafka: KafkaSettings,
        member: GroupMember,
        owned: OwnedPartitions[Any],
        *,
        rebalances: Counter,
        on_assigned: Callable[[], None],
    ) -> None:
        self._context = context
        self._kafka = kafka
        self._member = member
        self._owned = owned
        self._rebalances = rebalances
        self._on_assigned = on_assigned
        self._consumer: AIOKafkaConsumer | None = None
        self._heard_at = context.clock.monotonic()

    def silent_seconds(self) -> float:
        """For how long no broker has answered this member."""
        now = self._context.clock.monotonic()
        if self._consumer is not None:
            self._heard_at = max(self._heard_at, now - silent_seconds(self._consumer))
        return now - self._heard_at

    @asynccontextmanager
    async def joined(self) -> AsyncIterator[AIOKafkaConsumer]:
        """A client that is in the group; it leaves at the end. Raises KafkaError."""
        member = self._member
        consumer = make_group_consumer(
            self._kafka, group_id=member.group_id, client_id=member.instance, instance_id=member.static_instance_id, fetch=member.fetch
        )
        async with started(consumer):
            fetch_tolerantly(consumer, member.form)
            self._consumer = consumer
            self._owned.settled = False
            consumer.subscribe([member.topic], listener=self)
            yield consumer

    def seek(self, partition: int, offset: int) -> None:
        """Continue reading the partition at this offset; nothing if it went away meanwhile."""
        consumer, place = self._consumer, self._owned.place(partition)
        if consumer is not None and place in consumer.assignment():
            consumer.seek(place, offset)

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Let the workers finish if that is quick. What they do not finish is done again by the next owner.

        A rebalance takes all partitions and gives most of them back: finished workers are kept until it is known which.
        """
        self._owned.settled = False
        partitions = [place.partition for place in revoked]
        if partitions:
            self._rebalances.labels("revoked").inc()
        await self._owned.finish(partitions, self._member.revoke_seconds)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Start a worker for each partition. None is fetched before its worker knows where its chain ends."""
        consumer = self._consumer
        assert consumer is not None
        places = list(assigned)
        for place in places:
            # A position must be set at once, or the client would ask for a committed one; it is replaced by the worker's `seek`.
            consumer.seek(place, 0)
            consumer.pause(place)
        self._rebalances.labels("assigned").inc()
        if self._context.stop.is_set():
            return  # they are given up again in a moment
        partitions = [place.partition for place in places]
        self._owned.unread = {partition: self._beyond(partition) for partition in partitions if partition >= self._kafka.partitions}
        self._owned.start(partition for partition in partitions if partition not in self._owned.unread)
        self._on_assigned()
        self._context.log.info("assigned", partitions=sorted(self._owned.workers))

    def _beyond(self, partition: int) -> FailClosed:
        """Somebody added partitions to the topic. The client sees it when it refreshes its metadata, every minute."""
        error = PartitionsAdded(
            f"{self._member.topic} was given partition {partition}, TAXIMETER_KAFKA_PARTITIONS is {self._kafka.partitions}: its records are not read."
            " The other partitions go on; start producers with the old number, and move to a new TAXIMETER_KAFKA_TOPIC_PREFIX for more partitions"
        )
        self._context.log.error("the partition is not read", kind=type(error).__name__, partition=partition, reason=str(error))
        return error
