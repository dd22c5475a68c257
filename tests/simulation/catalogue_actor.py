"""Somebody who changes the meters: the real publishing, interrupted anywhere. Some write at the same time as others."""

from typing import Self

from metering.folds.catalogue_timeline import NOTICE_MS_MIN
from metering.following.catalogue_log import CatalogueLog
from metering.following.publishing import NotPublished, Publishing
from metering.kafka.partition_log import LogUnavailable
from tests.simulation.aggregator_process import CATALOGUES
from tests.simulation.kafka import SimulatedAppender, SimulatedReader
from tests.simulation.processes import Process
from tests.simulation.world import MINUTE, TOPICS, World


class CatalogueKeeper(Process):
    """One person who publishes one version after the other."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self.start("publish", self._work())

    def again(self) -> Self:
        """The same person, after the command was interrupted."""
        return type(self)(self.world, self.name)

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
            world.rng.pick(CATALOGUES), from_ms=from_ms, reason="prices changed", by=self.name
        )
        if world.tracing:
            world.note(f"{self.name} has published version {version.number}, {version.catalogue.version}, from {version.from_ms} on")
