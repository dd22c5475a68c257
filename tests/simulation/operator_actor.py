"""An operator at the command line, who takes back or sends again what strikes the eye: the real `reporter.correcting`, interrupted anywhere."""

from typing import Self

from metering.folds.corrections import MeterEventPlace
from metering.kafka.partition_log import LogUnavailable
from metering.records.ledger_records import Intent, decode_entry
from reporter.correcting import Correcting, NotCorrectable, Request
from tests.simulation.kafka import SimulatedAppender, SimulatedReader
from tests.simulation.processes import Process, turn
from tests.simulation.world import LEDGER, TOPICS, World


class Operator(Process):
    """One person who runs one command after the other."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self.start("correct", self._work())

    def again(self) -> Self:
        """The same person, after the command was interrupted."""
        return type(self)(self.world, self.name)

    async def _work(self) -> None:
        while True:
            await turn()
            place = self._choose()
            if place is None:
                await super().sleep(1.0)
            else:
                try:
                    await self._correct(place)
                except (NotCorrectable, LogUnavailable) as error:
                    self._note(f"does not correct {place}: {error}")

    async def _correct(self, place: MeterEventPlace) -> None:
        correcting = Correcting(SimulatedReader(self.world), SimulatedAppender(self.world), TOPICS, self, place)
        request = Request(undo=self.world.chance(0.5), reason="it looked wrong", by=self.name)
        target = await correcting.find()
        try:
            correcting.kind(target, request)
        except NotCorrectable:
            request = Request(undo=not request.undo, reason=request.reason, by=self.name)
        corrected = await correcting.correct(request)
        self._note(f"corrects {target.identifier} ({corrected.correction.kind}) at {corrected.offset} of {place.partition}")

    async def sleep(self, _seconds: float) -> None:
        """Somebody else's turn: a person waits no longer than that."""
        await turn()

    def _choose(self) -> MeterEventPlace | None:
        """Any meter event that any intent names, the accepted ones among them."""
        world = self.world
        partition = world.rng.below(world.partitions)
        log = world.logs[LEDGER, partition]
        record = log[world.rng.below(len(log))] if log else None
        entry = decode_entry(record.value) if record is not None else None
        if not isinstance(entry, Intent) or not entry.meter_events:
            return None
        index = world.rng.below(len(entry.meter_events))
        return MeterEventPlace(entry.chain_id, partition, entry.link.start, entry.link.end, index)

    def _note(self, text: str) -> None:
        if self.world.tracing:
            self.world.note(f"{self.name} {text}")
