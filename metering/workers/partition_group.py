"""Partitions shared among processes by a consumer group: one poll loop, one worker for each owned partition.

The group only shares the work. Which records count is decided by the chains, so a member that was thrown out and does not know it yet
can do no harm; committed offsets are published for lag tools and never read back.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Generic

from aiokafka.errors import KafkaError
from prometheus_client import Gauge

from metering.kafka.clients import KafkaSettings, client_cancelled_itself
from metering.process.health import Progress
from metering.process.logs import RateLimited
from metering.process.service import ServiceContext
from metering.workers.group_metrics import GroupMetrics
from metering.workers.membership import GroupMember, Membership, MembershipLost
from metering.workers.observing import Observing
from metering.workers.owned_partitions import OwnedPartitions, W
from metering.workers.polling import Polling

REJOIN_SECONDS: Final = 1.0
# Longer than Kafka takes to replace a broker that went silent.
SILENT_SECONDS_MAX: Final = 15.0
DRAIN_SECONDS_MAX: Final = 15.0


class PartitionGroup(Generic[W]):
    """A member of a consumer group over one topic.

    `start` makes the worker of a partition, as OwnedPartitions says. A worker calls `seek` when it knows where to read, and is handed no record
    before. `before_drain` is awaited at the end, before the workers drain. `by_partition` as Observing says.
    """

    def __init__(
        self,
        context: ServiceContext,
        kafka: KafkaSettings,
        member: GroupMember,
        metrics: GroupMetrics,
        *,
        start: Callable[[int, W | None], W],
        by_partition: Sequence[Gauge] = (),
        before_drain: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._context = context
        self._revoke_seconds = member.revoke_seconds
        self._before_drain = before_drain
        self._warnings = RateLimited(context.clock)
        self._owned = OwnedPartitions(context, member.topic, start, metrics.assigned)
        self._observing = Observing(context, self._owned, metrics, by_partition=by_partition, stall_seconds=member.stall_seconds)
        self._polling = Polling(context, self._owned, member.form, paused=metrics.paused, look=self._observing.observe)
        self._membership = Membership(context, kafka, member, self._owned, rebalances=metrics.rebalances, on_assigned=self._observing.forget_others)
        metrics.kafka_silent.set_function(self._membership.silent_seconds)

    @property
    def workers(self) -> Mapping[int, W]:
        """The workers of the owned partitions."""
        return self._owned.workers

    @property
    def progress(self) -> Progress:
        """Whether what waits gets done."""
        return self._observing.progress

    def seek(self, partition: int, offset: int) -> None:
        """Continue reading the partition at this offset; nothing if it went away meanwhile."""
        self._membership.seek(partition, offset)

    async def run(self) -> None:
        """Until the context's stop event; then lets the workers drain and publishes where they ended. Raises what crashed a worker."""
        context = self._context
        context.health.require("partitions", self._observing.stopped_partitions)
        context.health.require("progress", self.progress.problem)
        context.health.require("takeover", self._observing.not_taken_over)
        context.health.require("kafka", self._silence)
        context.health.require("transactions", self._observing.open_transactions)
        try:
            while not context.stop.is_set():
                try:
                    await lost_if_it_cancels_itself(self._belong())
                except (KafkaError, MembershipLost) as error:
                    self._warnings.warning(context.log, "joining the group again", reason=repr(error))
                    await self._owned.finish_all(self._revoke_seconds)
                    await context.clock.sleep(REJOIN_SECONDS)
        finally:
            await self._owned.cancel_all()
        if self._owned.crashed:
            raise self._owned.crashed[0]

    async def _belong(self) -> None:
        """One membership, until the service stops. Raises MembershipLost or KafkaError when it cannot go on."""
        async with self._membership.joined() as consumer:
            self._context.health.mark_started()
            publisher = asyncio.create_task(self._observing.publish(consumer), name="publish-offsets")
            try:
                await self._polling.run(consumer)
            finally:
                publisher.cancel()
                await asyncio.wait({publisher})
            if self._before_drain is not None:
                await self._before_drain()
            await self._owned.finish_all(DRAIN_SECONDS_MAX)
            await self._observing.publish_once(consumer)

    def _silence(self) -> str | None:
        silent = self._membership.silent_seconds()
        return f"Kafka has not answered for {silent:.0f} s" if silent > SILENT_SECONDS_MAX else None


async def lost_if_it_cancels_itself(work: Awaitable[None]) -> None:
    """Raises MembershipLost where the client cancelled what waited for it: it does so when the coordinator goes while offsets are committed."""
    try:
        await work
    except asyncio.CancelledError:
        if client_cancelled_itself():
            raise MembershipLost("the client cancelled what waited for it") from None
        raise
