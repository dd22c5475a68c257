"""A reporter process: the real core, takeover and lanes, driven in the order of `reporter.worker` and `reporter.dispatch`.

A worker takes over, puts what is open into the lanes as doubtful, folds tallies, and now and then writes an intent; its meter events enter the
lanes when the log says that it is accepted. Outcomes are written as receipts. One dispatcher serves all partitions of the process.
"""

from metering.kafka.partition_log import Appended, LogUnavailable
from metering.kafka.topics import Topics
from metering.records.fail_closed import FailClosed
from metering.records.ledger_records import Intent, Receipt, Settlement, encode_intent, encode_receipt
from metering.records.tally import decode_tally
from reporter.planning.billing_periods import BillingPeriods
from reporter.planning.planner import PartitionReporter, cancelled_by, open_meter_events
from reporter.sending.lanes import Attempt, Lanes, MeterSend
from reporter.sending.verdicts import Verdict
from reporter.takeover import ReportingTakeover
from tests.simulation.checker import HOURLY_MAX
from tests.simulation.lying_stripe import LyingStripe
from tests.simulation.world import LEDGER, TALLIES, PartitionStopped, Process, SimulatedAppender, SimulatedReader, World, turn

EMPTY_INTENT_TALLIES = 12
ROWS_MAX = 60


class ReporterWorker:
    """One owned partition."""

    def __init__(self, process: "ReporterProcess", partition: int) -> None:
        self.partition = partition
        self.reporter: PartitionReporter | None = None
        self.draining = False
        self._process = process
        self._world = process.world
        self._takeover = process.takeover
        self._settlements: list[Settlement] = []
        self._fetch = 0
        self._skipped_at: int | None = None

    def settle(self, settlements: list[Settlement]) -> None:
        """Take outcomes from the dispatcher."""
        if self.reporter is not None:
            self._settlements += settlements

    @property
    def is_done(self) -> bool:
        """Whether everything that is counted is reported and settled."""
        reporter = self.reporter
        return (
            reporter is not None
            and not self._settlements
            and not reporter.ledger.open
            and not len(reporter.unplanned)
            and reporter.ledger.chain.next_offset == len(self._world.logs[LEDGER, self.partition])
            and reporter.tally_position == len(self._world.logs[TALLIES, self.partition])
        )

    async def run(self) -> None:
        try:
            while not (self.draining and self.reporter is None):
                try:
                    await self._own()
                    return
                except LogUnavailable:
                    self.reporter = None
                    self._drop_sends()
                    await turn()
                except FailClosed as error:
                    raise PartitionStopped(f"{self._process.name} stopped partition {self.partition}: {type(error).__name__}: {error}") from error
        finally:
            self._process.lanes.forget(self.partition)

    async def _own(self) -> None:
        reporter = await self._takeover.take_over(self.partition)
        if reporter.ledger.open:
            claim = reporter.receipt(())
            await self._observed(reporter, claim, await self._append(encode_receipt(claim)))
        reporter.take_corrections()
        for offset in list(reporter.ledger.open):
            self._enqueue(reporter, offset, doubtful=reporter.is_doubtful(offset))
        self._fetch = reporter.tally_position
        self.reporter = reporter
        world = self._world
        if world.tracing:
            world.note(f"{self._process.name} reports partition {self.partition} from {self._fetch}, {reporter.ledger.open_events} open")
        while True:
            await turn()
            self._fold_some(reporter)
            if self._settlements and (self.draining or world.soon(0.4)):
                await self._write_receipt(reporter)
            if self.draining:
                return
            await self._follow_ledger(reporter)
            if self._intent_is_due(reporter):
                await self._write_intent(reporter)

    def _fold_some(self, reporter: PartitionReporter) -> None:
        log = self._world.logs[TALLIES, self.partition]
        if self._fetch and self._world.chance(0.03):
            # The consumer repeats records, or passes over some; never over the same ones twice.
            self._fetch = self._world.rng.below(self._fetch if self._skipped_at is not None else min(self._fetch + 3, len(log)))
        for _ in range(self._world.rng.between(1, 8)):
            if self._fetch >= len(log) or reporter.unplanned.is_full:
                return
            record = log[self._fetch]
            self._fetch += 1
            position = reporter.tally_position
            if record is None or record.offset < position:
                continue
            if record.offset > position and self._skipped_at != position:
                self._skipped_at = position
                self._fetch = position
                return
            reporter.add(record.offset, decode_tally(record.value))

    # Intents

    def _intent_is_due(self, reporter: PartitionReporter) -> bool:
        if not len(reporter.unplanned):
            return reporter.uncovered >= EMPTY_INTENT_TALLIES
        if not reporter.unplanned.is_full and not self._world.soon(0.2):
            return False
        lanes = self._process.lanes
        return reporter.ledger.open_events <= 8 and lanes.room >= 2 * len(reporter.unplanned) and lanes.stopped is None

    async def _write_intent(self, reporter: PartitionReporter) -> None:
        rng = self._world.rng
        intent = reporter.plan(self._process.clock_ms, rng.pick((2, 20, 1_000)), rng.pick((HOURLY_MAX, 1_000)))
        if intent is None:
            return
        landed = await self._append(encode_intent(intent))
        accepted = await self._observed(reporter, intent, landed)
        if self._world.tracing:
            word = "accepted" if accepted else "lost"
            self._world.note(f"{self._process.name} intent [{intent.link.start}, {intent.link.end}) at {landed.offset} of {self.partition}: {word}")
        if accepted:
            self._enqueue(reporter, landed.offset, doubtful=False)
        else:
            self._start_from(reporter)

    def _start_from(self, reporter: PartitionReporter) -> None:
        """Another writer's intent came first: what is open now, no matter whose, is sent again, and tallies are read from where that intent ends."""
        self._drop_sends()
        reporter.take_corrections()
        for offset in list(reporter.ledger.open):
            self._enqueue(reporter, offset, doubtful=True)
        self._fetch = reporter.tally_position

    def _enqueue(self, reporter: PartitionReporter, offset: int, *, doubtful: bool) -> None:
        entry = reporter.ledger.open.get(offset)
        if entry is None:
            return
        planned = entry.entry
        for index, event in open_meter_events(reporter.ledger, offset):
            self._process.lanes.add(
                MeterSend(self.partition, offset, index, planned.identifier(index), event, entry.log_time_ms, doubtful, cancelled_by(planned))
            )

    def _drop_sends(self) -> None:
        self._process.lanes.forget(self.partition)
        self._settlements.clear()

    async def _follow_ledger(self, reporter: PartitionReporter) -> None:
        """Corrections are found when the ledger is looked at, and sent once an entry of this worker's lies behind them."""
        if self._world.chance(0.05):
            head = reporter.ledger.chain.head
            await self._takeover.follow(reporter)
            if reporter.must_claim:
                claim = reporter.receipt(())
                await self._observed(reporter, claim, await self._append(encode_receipt(claim)))
            if reporter.ledger.chain.head != head:
                self._start_from(reporter)
        for offset in reporter.take_corrections():
            self._enqueue(reporter, offset, doubtful=reporter.is_doubtful(offset))

    # Receipts

    async def _write_receipt(self, reporter: PartitionReporter) -> None:
        settlements = list(self._settlements)
        receipt = reporter.receipt(settlements)
        head = reporter.ledger.chain.head
        landed = await self._append(encode_receipt(receipt))
        await self._observed(reporter, receipt, landed)
        del self._settlements[: len(settlements)]
        if self._world.tracing:
            told = [(s.intent, s.index, s.outcome.value) for s in settlements]
            self._world.note(f"{self._process.name} receipt at {landed.offset} of {self.partition}: {told}")
        if reporter.ledger.chain.head != head:
            self._start_from(reporter)

    async def _append(self, value: bytes) -> Appended:
        return await self._process.appender.append(LEDGER, self.partition, value)

    async def _observed(self, reporter: PartitionReporter, entry: Intent | Receipt, landed: Appended) -> bool:
        if landed.offset == reporter.ledger.chain.next_offset:
            return reporter.observe(landed.offset, landed.log_time_ms, entry, mine=True)
        return await self._takeover.catch_up(reporter, entry, landed.offset, landed.log_time_ms)


class ReporterProcess(Process):
    """One operating-system process: a worker for each partition it owns, and one dispatcher."""

    def __init__(self, world: World, name: str, topics: Topics, stripe: LyingStripe, periods: BillingPeriods) -> None:
        super().__init__(world, name)
        self.appender = SimulatedAppender(world)
        self.takeover = ReportingTakeover(SimulatedReader(world), topics, instance=name, rows_max=ROWS_MAX, periods=periods)
        self.lanes = Lanes(capacity=5_000, in_flight_max=6, retry_delay_s=lambda attempts: min(45.0, 0.5 * 2.0**attempts), probe_every_s=30.0)
        self.workers: dict[int, ReporterWorker] = {}
        self._stripe = stripe
        self._verdicts: list[tuple[Attempt, Verdict]] = []
        self.start("dispatch", self._dispatch())

    def assign(self, partition: int) -> None:
        """Own a partition."""
        self.workers[partition] = worker = ReporterWorker(self, partition)
        self.start(f"partition {partition}", worker.run())

    def revoke(self, partition: int) -> None:
        """Write the outcomes that are known, and stop."""
        if partition in self.workers:
            self.workers[partition].draining = True

    def owns(self, partition: int) -> bool:
        """Whether a worker runs this partition and was not told to let it go."""
        return self.runs(f"partition {partition}") and not self.workers[partition].draining

    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to report."""
        return len(self.workers) == self.world.partitions and all(worker.is_done for worker in self.workers.values())

    async def _dispatch(self) -> None:
        while True:
            await turn()
            verdicts, self._verdicts = self._verdicts, []
            for attempt, verdict in verdicts:
                self.lanes.done(attempt, verdict, self.clock_ms, self.monotonic)
            while (ready := self.lanes.next_ready(self.clock_ms, self.monotonic)) is not None:
                self._call(ready)
            self._hand_out()

    def _call(self, attempt: Attempt) -> None:
        send = attempt.send
        if self.world.tracing:
            self.world.note(f"{self.name} sends {send.identifier} (attempt {attempt.number}, key {attempt.idempotency_key})")

        def deliver(verdict: Verdict) -> None:
            self._verdicts.append((attempt, verdict))

        if send.cancels is not None:
            self._stripe.cancel(send.cancels, attempt.idempotency_key, deliver)
        else:
            self._stripe.call(send.identifier, attempt.idempotency_key, send.event, deliver)

    def _hand_out(self) -> None:
        settled: dict[int, list[Settlement]] = {}
        for entry in self.lanes.take_settlements():
            settled.setdefault(entry.partition, []).append(entry.settlement)
        for partition, settlements in settled.items():
            worker = self.workers.get(partition)
            if worker is not None:
                worker.settle(settlements)
