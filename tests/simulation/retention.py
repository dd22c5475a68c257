"""Events that retention deletes before they were counted, or while their ids still matter; and persons who accept that.

It happens where no aggregator ran for long, which is what `delete_a_prefix` makes true. Aggregators that live on may have in memory what is
deleted, and count it: an acceptance then comes too late for the chain. A process that stops because of what is gone waits until it is accepted, as
`aggregator.worker` does; now and then somebody looks at it, and accepts by the real `aggregator.repair`.
"""

from aggregator.core.counting_rules import CountingRules
from aggregator.repair import AcceptingLoss, NothingAccepted
from aggregator.snapshots import IdSnapshots
from metering.kafka.partition_log import LogUnavailable
from metering.records.fail_closed import FailClosed, HistoryLost
from tests.simulation.aggregator_actor import AggregatorProcess, AggregatorWorker
from tests.simulation.world import EVENTS, TOPICS, PartitionStopped, Process, SimulatedAppender, SimulatedReader, World, turn


class MendedAggregator(AggregatorProcess):
    """An aggregator whose partitions go on after a loss was accepted."""

    def __init__(self, world: World, name: str, rules: CountingRules, snapshots: IdSnapshots) -> None:
        super().__init__(world, name, rules, snapshots)
        self._horizon_ms = rules.deduplication_horizon_ms

    def assign(self, partition: int) -> None:
        super().assign(partition)
        self.start(f"partition {partition}", self._run(self.workers[partition]))

    async def _run(self, worker: AggregatorWorker) -> None:
        """As `AggregatorWorker.run`; what was deleted stops the partition until somebody accepts that."""
        seen = 0
        while True:
            try:
                await worker.run()
                return
            except PartitionStopped as stopped:
                if not isinstance(stopped.__cause__, HistoryLost):
                    raise
                if self.world.tracing:
                    self.world.note(str(stopped))
            if worker.counter is not None:
                seen = max(seen, worker.counter.tallies.chain.next_offset)
                worker.counter = None
            accepted = False
            while not accepted:
                await turn()
                if worker.draining:
                    return
                if self.world.soon(0.2) and not await self._accept(worker.partition):
                    break
                try:
                    accepted, seen = await self.takeover.accepted_loss(worker.partition, seen)
                except (LogUnavailable, FailClosed):
                    continue

    async def _accept(self, partition: int) -> bool:
        """A person looks and accepts. False if there is nothing to accept: then the aggregator is started again."""
        world = self.world
        accepting = AcceptingLoss(SimulatedReader(world), TOPICS, partition, horizon_ms=self._horizon_ms, clock=_PersonsClock(self))
        try:
            lost = await accepting.find()
        except NothingAccepted:
            return False
        except (LogUnavailable, HistoryLost):
            return True  # somebody looks again: more may have been deleted meanwhile
        except FailClosed as error:
            raise PartitionStopped(f"what is lost of partition {partition} cannot be accepted: {type(error).__name__}: {error}") from error
        try:
            offset = await accepting.accept(lost, SimulatedAppender(world), reason="retention was too short", by="ann")
        except (NothingAccepted, LogUnavailable):
            return True
        if world.tracing:
            world.note(f"ann accepts [{lost.start}, {lost.end}) of {partition} as lost, ids from {lost.ids_from_ms}, at {offset}")
        return True


def delete_a_prefix(world: World) -> None:
    """Retention deletes some events of a partition, counted or not, from the beginning on."""
    partition = world.rng.below(world.partitions)
    kept = world.kept_from[partition]
    end = len(world.logs[EVENTS, partition])
    world.kept_from[partition] = kept = world.rng.between(kept, end + 1)
    if world.tracing:
        world.note(f"events of {partition} are kept from {kept} on, of {end}; an aggregator has read up to {world.read_to[partition]}")


class _PersonsClock:
    """The clock of the machine at which somebody accepts a loss."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def now_ms(self) -> int:
        return self._process.clock_ms

    def monotonic(self) -> float:
        return self._process.monotonic

    async def sleep(self, _seconds: float) -> None:
        await turn()
