"""An aggregator process: the workers of `aggregator.worker`, with a simulated group, Kafka and disk around them."""

from collections.abc import Sequence
from dataclasses import dataclass

from aggregator.core.counting_rules import CountingRules
from aggregator.repair import AcceptingLoss, NothingAccepted
from aggregator.settings import AggregatorSettings
from aggregator.snapshots import IdSnapshots
from aggregator.takeover import CountingTakeover
from aggregator.worker import CountingWorker
from metering.following.catalogue_following import CatalogueFollowing
from metering.following.catalogue_log import CatalogueLog
from metering.formulas.dimension_filters import where_from
from metering.formulas.meter_formulas import Aggregate
from metering.kafka.partition_log import LogUnavailable
from metering.records.fail_closed import FailClosed, HistoryLost
from metering.records.meters import Catalogue, Meter
from metering.workers.partition_worker import WorkerKit
from tests.simulation.kafka import Feed, SimulatedAppender, SimulatedReader
from tests.simulation.latest_check import LATEST
from tests.simulation.processes import Process, SimulatedTurns
from tests.simulation.silence import AGGREGATOR_METRICS, CATALOGUE_METRICS, GROUP_METRICS, LOGGER, ProcessLog
from tests.simulation.world import EVENTS, TALLIES, TOPICS, PartitionStopped, World

CATALOGUE = Catalogue([Meter("tokens", ("input_tokens", "output_tokens")), Meter("requests", ("requests",), ("model",))])
CATALOGUES = (
    CATALOGUE,
    Catalogue([Meter("tokens", ("input_tokens", "output_tokens"))], ["requests"]),
    Catalogue([Meter("tokens", ("input_tokens", "output_tokens"), ("model",)), Meter("requests", ("requests",))]),
)
"""What versions there are in a world: with the meter `requests`, or where they are free, and by different dimensions."""
_LATEST = Meter("stored", ("output_tokens",), where=where_from([["model", ["alpaca-7b"]]]), aggregate=Aggregate.LAST)
LATEST_CATALOGUES = tuple(Catalogue([*each.meters, _LATEST], each.unmetered) for each in CATALOGUES)
"""The same, with a meter that tells the latest value: every event is a reading of it, and the first of each customer a reading of 0."""
FLUSH_BYTES = (1, 500, 800_000)  # how large a tally may become before a run of records is broken off
FLUSH_SECONDS = (0.2, 2.0, 8.0)


def catalogues_of(world: World) -> Sequence[Catalogue]:
    """The versions that there may be in a world."""
    return LATEST_CATALOGUES if LATEST in world.meters else CATALOGUES


@dataclass(frozen=True, slots=True)
class AggregatorOrder:
    """How the aggregators of a world are run. `mended`: somebody looks at partitions that stop because events were deleted."""

    rules: CountingRules
    mended: bool


class AggregatorProcess(Process):
    """One operating-system process."""

    def __init__(self, world: World, name: str, order: AggregatorOrder, snapshots: IdSnapshots) -> None:
        super().__init__(world, name)
        self._rules = rules = order.rules
        self._settings = AggregatorSettings(
            flush_seconds=world.rng.pick(FLUSH_SECONDS), flush_bytes=world.rng.pick(FLUSH_BYTES), idle_tally_seconds=world.rng.pick((60.0, 3_600.0))
        )
        reader, appender = SimulatedReader(world), SimulatedAppender(world)
        self._catalogue = CatalogueFollowing(
            CatalogueLog(reader, TOPICS.catalogue.name),
            world.rng.pick(catalogues_of(world)),
            founder=appender,
            metrics=CATALOGUE_METRICS,
            clock=self,
            notices=ProcessLog(LOGGER, {}, world, name),
        )
        self._takeover = CountingTakeover(reader, rules, tallies_topic=TALLIES, found_at_log_start=False, snapshots=snapshots)
        self._snapshots = snapshots
        self._feeds: dict[int, Feed] = {}
        self._kit = WorkerKit(
            topics=TOPICS,
            appender=appender,
            seek=lambda partition, position: self._feeds[partition].seek(position),
            metrics=GROUP_METRICS,
            clock=self,
            log=ProcessLog(LOGGER, {}, world, name, self._call_somebody if order.mended else None),
            turns=SimulatedTurns(self),
            random=world.rng,
        )
        self.workers: dict[int, CountingWorker] = {}
        self.start("catalogue", self._catalogue.run())

    def assign(self, partition: int) -> None:
        """Own a partition; a counter that was let go in good order goes on."""
        before = self.workers.get(partition)
        kept = before.release() if before is not None and not self.owns(partition) and not self.runs(f"partition {partition}") else None
        self._stop_feed(partition)
        feed = self._feeds[partition] = Feed(self, EVENTS, partition)
        self.workers[partition] = feed.worker = worker = CountingWorker(
            partition,
            self._kit,
            settings=self._settings,
            takeover=self._takeover,
            catalogue=self._catalogue,
            metrics=AGGREGATOR_METRICS,
            snapshots=self._snapshots,
            kept=kept,
        )
        self.start(f"partition {partition}", worker.run())

    def revoke(self, partition: int) -> None:
        """Finish what was counted, and stop."""
        if partition in self.workers:
            self._stop_feed(partition)
            self.workers[partition].drain()

    def owns(self, partition: int) -> bool:
        """Whether a worker runs this partition and was not told to let it go."""
        return self.runs(f"partition {partition}") and self._feeds[partition].worker is not None

    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to count."""
        return len(self.workers) == self.world.partitions and all(self._has_counted(worker) for worker in self.workers.values())

    def kill(self) -> None:
        """kill -9."""
        for partition in self._feeds:
            self._stop_feed(partition)
        super().kill()

    def _has_counted(self, worker: CountingWorker) -> bool:
        counter = worker.counter
        if counter is None or counter.pending_records:
            return False
        return counter.position >= self.world.end_of(EVENTS, worker.partition)

    def _stop_feed(self, partition: int) -> None:
        if partition in self._feeds:
            self._feeds[partition].stop()

    # Persons

    def _call_somebody(self, partition: int) -> None:
        self.start(f"person at {partition}", self._accept(partition, self.workers[partition]))

    async def _accept(self, partition: int, worker: CountingWorker) -> None:
        """A person looks and accepts what is lost, until the partition goes on. If there is nothing to accept the partition is started again."""
        world, accepting = (
            self.world,
            AcceptingLoss(SimulatedReader(self.world), TOPICS, partition, horizon_ms=self._rules.deduplication_horizon_ms, clock=self),
        )
        while worker.stopped is not None:
            await self.sleep(world.rng.spread(1, 60))
            try:
                lost = await accepting.find()
                offset = await accepting.accept(lost, SimulatedAppender(world), reason="retention was too short", by="ann")
            except NothingAccepted:
                if worker.stopped is not None:
                    self.assign(partition)
                return
            except (LogUnavailable, HistoryLost):
                continue  # somebody looks again: more may have been deleted meanwhile
            except FailClosed as error:
                raise PartitionStopped(f"what is lost of partition {partition} cannot be accepted: {type(error).__name__}: {error}") from error
            if world.tracing:
                world.note(f"ann accepts [{lost.start}, {lost.end}) of {partition} as lost, ids from {lost.ids_from_ms}, at {offset}")
