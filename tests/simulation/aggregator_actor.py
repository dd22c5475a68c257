"""An aggregator process: the real core and the real takeover, driven in the order of `aggregator.worker`.

A worker takes over (or refreshes a counter that was let go), reads from where its counter stands, counts some records, and now and then
flushes: dead letters and forwarded events first, then the tally, then what the log says of it. An append that was not acknowledged drops
everything and starts over. Where the asyncio worker decides by time and bytes when to flush, this one decides by chance.
"""

from collections.abc import Sequence
from dataclasses import replace

import orjson
from taximeter_emitter.wire.event import encode_event

from aggregator.core.counting import PartitionCounter
from aggregator.core.counting_rules import CountingRules
from aggregator.core.pending_tally import Cut
from aggregator.snapshots import IdSnapshots
from aggregator.takeover import CountingTakeover
from metering.kafka.partition_log import Appended, LogUnavailable
from metering.records.dead_letter import encode_dead_letter
from metering.records.fail_closed import ChainBroken, FailClosed
from metering.records.meters import Catalogue, Meter
from tests.simulation.world import (
    DEADLETTERS,
    EVENTS,
    TALLIES,
    PartitionStopped,
    Process,
    SimulatedAppender,
    SimulatedReader,
    SimulatedRecord,
    World,
    turn,
)

CATALOGUE = Catalogue([Meter("tokens", ("input_tokens", "output_tokens")), Meter("requests", ("requests",), ("model",))])
FLUSH_BYTES = (1, 500, 800_000)  # how large a tally may become before a run of records is broken off


class AggregatorWorker:
    """One owned partition."""

    def __init__(self, process: "AggregatorProcess", partition: int, kept: PartitionCounter | None) -> None:
        self.partition = partition
        self.counter: PartitionCounter | None = None
        self.draining = False
        self._process = process
        self._world = process.world
        self._takeover = process.takeover
        self._kept = kept
        self._head = b""  # the record of our last accepted tally
        self._fetch = 0
        self._skipped_at: int | None = None

    def release(self) -> PartitionCounter | None:
        """The counter, if it stands exactly at an accepted tally."""
        counter = self.counter
        return counter if counter is not None and not counter.pending_records else None

    @property
    def is_done(self) -> bool:
        """Whether all that is in the partition is in accepted tallies."""
        counter = self.counter
        if counter is None or counter.pending_records:
            return False
        return not any(self._world.logs[EVENTS, self.partition][counter.position :])

    async def run(self) -> None:
        while not (self.draining and self.counter is None):
            try:
                await self._own()
                return
            except LogUnavailable:
                self.counter = None
                await turn()
            except FailClosed as error:
                raise PartitionStopped(f"{self._process.name} stopped partition {self.partition}: {type(error).__name__}: {error}") from error

    async def _own(self) -> None:
        counter, self._kept = self._kept, None
        if counter is None:
            counter = await self._takeover.take_over(self.partition)
        else:
            await self._takeover.refresh(counter)
        self._fetch = counter.position
        self.counter = counter
        world = self._world
        if world.tracing:
            world.note(f"{self._process.name} owns partition {self.partition} from {counter.position}, {len(counter.ids)} ids")
        while True:
            await turn()
            await self._count_some(counter)
            if self.draining:
                if counter.pending_records:
                    await self._flush(counter)
                if self._head and not counter.pending_records:
                    self._process.snapshots.save_all(counter, self._head)
                return
            if world.soon(0.35) if counter.pending_records else world.chance(0.01):
                await self._flush(counter)

    async def _count_some(self, counter: PartitionCounter) -> None:
        log = self._world.logs[EVENTS, self.partition]
        if self._fetch and self._world.chance(0.03):
            # The consumer repeats records, or passes over some; never over the same ones twice.
            self._fetch = self._world.rng.below(self._fetch if self._skipped_at is not None else min(self._fetch + 3, len(log)))
        for _ in range(self._world.rng.between(1, 6)):
            while self._fetch < len(log) and (log[self._fetch] is None or self._fetch < counter.position):
                self._fetch += 1
            run = self._run(log, self._world.rng.between(1, 12))
            if not run:
                return
            record = run[0]
            if record.offset > counter.position and not await self._takeover.holds_no_record(self.partition, counter.position, record.offset):
                if self._skipped_at == counter.position:
                    raise ChainBroken(f"records {counter.position} to {record.offset - 1} were skipped twice")
                self._skipped_at = self._fetch = counter.position
                return
            self._fetch += counter.count_many(run, self._world.rng.pick(FLUSH_BYTES))
            self._world.read_to[self.partition] = max(self._world.read_to[self.partition], counter.position)

    def _run(self, log: Sequence[SimulatedRecord | None], most: int) -> Sequence[SimulatedRecord]:
        """The next records, as far as they follow each other."""
        run = log[self._fetch : self._fetch + most]
        return [record for record in run[: run.index(None) if None in run else most] if record is not None]

    async def _flush(self, counter: PartitionCounter) -> None:
        cut = counter.cut()
        await self._process.set_aside(self.partition, cut)
        landed = await self._process.appender.append(TALLIES, self.partition, cut.value)
        accepted = await self._settle(counter, cut, landed)
        if self._world.tracing:
            what = f"tally [{cut.tally.link.start}, {cut.tally.link.end}) at {landed.offset} of {self.partition}"
            self._world.note(f"{self._process.name} {what}: {'accepted' if accepted else 'lost'}, {cut.tally.events}")
        if accepted:
            self._head = cut.value
            self._process.snapshots.save(counter, cut.value)
        else:
            self._head = b""
            self._fetch = counter.position

    async def _settle(self, counter: PartitionCounter, cut: Cut, landed: Appended) -> bool:
        if landed.offset == counter.tallies.chain.next_offset:
            return counter.observe(landed.offset, cut.tally)
        return await self._takeover.catch_up(counter, cut.tally, landed.offset)


class AggregatorProcess(Process):
    """One operating-system process."""

    def __init__(self, world: World, name: str, rules: CountingRules, snapshots: IdSnapshots) -> None:
        super().__init__(world, name)
        # So that many runs are read as columns, although the worlds are small.
        rules = replace(rules, run_min=2, shape_min=3, batches_min=1)
        self.appender = SimulatedAppender(world)
        self.takeover = CountingTakeover(SimulatedReader(world), rules, tallies_topic=TALLIES, found_at_log_start=False, snapshots=snapshots)
        self.snapshots = snapshots
        self.workers: dict[int, AggregatorWorker] = {}
        self._partition_of = rules.partition_of

    def assign(self, partition: int) -> None:
        """Own a partition; a counter that was let go in good order goes on."""
        before = self.workers.get(partition)
        kept = before.release() if before is not None and before.draining and not self.runs(f"partition {partition}") else None
        self.workers[partition] = worker = AggregatorWorker(self, partition, kept)
        self.start(f"partition {partition}", worker.run())

    def revoke(self, partition: int) -> None:
        """Finish what was counted, and stop."""
        if partition in self.workers:
            self.workers[partition].draining = True

    def owns(self, partition: int) -> bool:
        """Whether a worker runs this partition and was not told to let it go."""
        return self.runs(f"partition {partition}") and not self.workers[partition].draining

    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to count."""
        return len(self.workers) == self.world.partitions and all(worker.is_done for worker in self.workers.values())

    async def set_aside(self, partition: int, cut: Cut) -> None:
        """Make dead letters and forwarded events durable."""
        for letter in cut.dead_letters:
            value, headers = encode_dead_letter(letter)
            await self.appender.append(DEADLETTERS, partition, value, key=letter.key, headers=headers)
        for event in cut.forwards:
            home = self._partition_of(event.customer)
            await self.appender.append(EVENTS, home, orjson.dumps(encode_event(event)), key=event.customer.encode())
