"""Somebody who changes the meters: the real publishing, interrupted anywhere. Some write at the same time as others."""

from functools import partial
from typing import Self

from taximeter_emitter.buffer.batching import Batcher

from metering.folds.catalogue_timeline import NOTICE_MS_MIN
from metering.following.catalogue_log import CatalogueLog
from metering.following.publishing import NotPublished, Publishing
from metering.kafka.partition_log import LogUnavailable
from tests.simulation.aggregator_process import catalogues_of
from tests.simulation.kafka import SimulatedAppender, SimulatedReader
from tests.simulation.processes import Process
from tests.simulation.world import EVENTS, MINUTE, SECOND, TOPICS, World


class CatalogueKeeper(Process):
    """One person who publishes one version after the other. `moves_leaders`: clocks go back when a version begins to hold."""

    def __init__(self, world: World, name: str, *, moves_leaders: bool) -> None:
        super().__init__(world, name)
        self._moves_leaders = moves_leaders
        self.start("publish", self._work())

    def again(self) -> Self:
        """The same person, after the command was interrupted."""
        return type(self)(self.world, self.name, moves_leaders=self._moves_leaders)

    async def _work(self) -> None:
        while True:
            await self.sleep(self.world.rng.spread(1, 1_200))
            try:
                await self._publish()
            except (NotPublished, LogUnavailable) as error:
                if self.world.tracing:
                    self.world.note(f"{self.name} has not published: {error}")

    async def _publish(self) -> None:
        world = self.world
        log = CatalogueLog(SimulatedReader(world), TOPICS.catalogue.name)
        await log.read_on()
        last_ms = max((version.from_ms for version in log.published.versions), default=0)
        from_ms = max(world.now_ms, last_ms) + NOTICE_MS_MIN + world.rng.between(-MINUTE, 10 * MINUTE)
        version = await Publishing(log, SimulatedAppender(world), self).publish(
            world.rng.pick(catalogues_of(world)), from_ms=from_ms, reason="prices changed", by=self.name
        )
        if self._moves_leaders:
            partition = world.rng.below(world.partitions)
            for before_ms, clock_ms in ((100 * SECOND, 2 * MINUTE), (70 * SECOND, -2 * MINUTE)):
                world.wake_at(version.from_ms - before_ms, partial(self._move_leader, partition, clock_ms))
        if world.tracing:
            world.note(f"{self.name} has published version {version.number}, {version.catalogue.version}, from {version.from_ms} on")

    def _move_leader(self, partition: int, clock_ms: int) -> None:
        """Another broker leads a partition of the events, by a clock that is so far ahead, and somebody writes what counts for nothing."""
        self.world.elect_at((EVENTS, partition), clock_ms)
        self.world.land(EVENTS, partition, Batcher(f"{self.name}.{clock_ms}", events_max=2).heartbeat(partition))
