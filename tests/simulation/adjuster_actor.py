"""Somebody who plans to take out what was counted, applies plans, reverts and abandons them: the real AdjustmentWriter, interrupted anywhere.

Plans lie on a shelf, as files do: two people may apply the same one at the same time, and what one has begun another goes on with.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import orjson

from metering.folds.plan_progress import NotAdjusted, Part, PlanInPartition, PlanProgress
from metering.folds.tallies import Tallies
from metering.kafka.adjustment_writer import AdjustmentWriter
from metering.kafka.partition_log import LogUnavailable
from metering.records.adjustment import AdjustmentKind, part_digest, partition_digest
from metering.records.fail_closed import FailClosed
from metering.records.tally import TallyRow, decode_tally
from tests.simulation.kafka import SimulatedAppender, SimulatedReader
from tests.simulation.processes import Process, turn
from tests.simulation.world import TALLIES, World

PARTS_MAX = 3
PLANS_MAX = 4
REST_SECONDS = 5.0  # between two commands: most of them find that all is done

PlannedRow = tuple[str, str, int, int]
"""Customer, meter, window, quantity: of a part, as the checker knows it."""


@dataclass(slots=True)
class ShelvedPlan:
    """A plan, as it is in files. `position`: how much of usage.tallies its planner had read."""

    plan: PlanInPartition
    position: int
    parts: Sequence[Part]
    reverted: bool = False

    @property
    def rows(self) -> list[list[PlannedRow]]:
        """Those of each part."""
        return [[(row.customer, row.meter, row.window_start_ms, row.quantity) for row in part.rows] for part in self.parts]


@dataclass(slots=True)
class PlanShelf:
    """All plans of a world. `taken`: the rows that plans take out, by partition, offset of the tally and place in it: no row is taken out twice."""

    plans: list[ShelvedPlan] = field(default_factory=list)
    taken: set[tuple[int, int, int]] = field(default_factory=set)


class Adjuster(Process):
    """One person who runs one command after the other."""

    def __init__(self, world: World, name: str, shelf: PlanShelf) -> None:
        super().__init__(world, name)
        self._shelf = shelf
        self._writer = AdjustmentWriter(SimulatedReader(world), SimulatedAppender(world), TALLIES, instance=name, clock=self)
        self.start("adjust", self._work())

    def again(self) -> Self:
        """The same person, after the command was interrupted."""
        return type(self)(self.world, self.name, self._shelf)

    async def sleep(self, _seconds: float) -> None:
        """Somebody else's turn: a person waits no longer than that."""
        await turn()

    async def _work(self) -> None:
        while True:
            await turn()
            try:
                found = self._choose()
                if found is not None:
                    await self._apply(found)
            except (NotAdjusted, LogUnavailable, FailClosed) as error:
                self._note(f"does not finish: {error}")
            await super().sleep(REST_SECONDS)

    async def _apply(self, found: ShelvedPlan) -> None:
        if self.world.chance(0.05):
            await self._writer.abandon(found.plan, found.position)
        else:
            await self._writer.apply(found.plan, found.position, found.parts.__getitem__, self._brake)
        self._note(f"is done with plan {found.plan.plan[:8]} in {found.plan.partition}")

    async def _brake(self, _progress: PlanProgress) -> None:
        for _ in range(self.world.rng.below(3)):
            await turn()

    def _choose(self) -> ShelvedPlan | None:
        plans, world = self._shelf.plans, self.world
        if plans and (len(plans) >= PLANS_MAX or world.chance(0.7)):
            found = world.rng.pick(plans)
            return self._reverting(found) or found
        return self._planned(world.rng.below(world.partitions))

    def _reverting(self, found: ShelvedPlan) -> ShelvedPlan | None:
        """Now and then: a plan that takes a plan back which is in the log as a whole."""
        if found.reverted or found.plan.kind is AdjustmentKind.REVERT or not self.world.chance(0.2):
            return None
        progress = PlanProgress(found.plan, Tallies())
        log = self.world.logs[TALLIES, found.plan.partition]
        try:
            for record in log:
                if record is not None:
                    progress.fold(record.offset, decode_tally(record.value))
        except NotAdjusted:
            return None
        if progress.next_part is not None:
            return None
        found.reverted = True
        parts = [Part([row._replace(quantity=-row.quantity, events=-row.events) for row in part.rows]) for part in found.parts]
        return self._shelve(found.plan.partition, AdjustmentKind.REVERT, parts, len(log))

    def _planned(self, partition: int) -> ShelvedPlan | None:
        """A plan that takes out some rows of accepted tallies."""
        world, fold, rows = self.world, Tallies(), list[tuple[tuple[int, int, int], TallyRow]]()
        log = world.logs[TALLIES, partition]
        for record in log:
            if record is None:
                continue
            tally = decode_tally(record.value)
            if fold.fold(record.offset, tally) and tally.adjustment is None:
                places = [((partition, record.offset, place), row) for place, row in enumerate(tally.rows)]
                rows += [each for each in places if each[0] not in self._shelf.taken]
        if not rows:
            return None
        chosen = dict(world.rng.pick(rows) for _ in range(world.rng.between(1, PARTS_MAX + 1)))
        self._shelf.taken.update(chosen)
        parts = [Part([row._replace(quantity=-row.quantity, events=-row.events)]) for row in chosen.values()]
        return self._shelve(partition, AdjustmentKind.TAKE_OUT, parts, len(log))

    def _shelve(self, partition: int, kind: AdjustmentKind, parts: Sequence[Part], position: int) -> ShelvedPlan:
        digests = [part_digest(part.rows) for part in parts]
        about = {"number": len(self._shelf.plans), "parts": {str(partition): [len(parts), partition_digest(digests)]}}
        plan = PlanInPartition(partition, orjson.dumps(about).decode(), kind, digests, "sent twice", self.name)
        found = ShelvedPlan(plan, position, parts)
        self._shelf.plans.append(found)
        self._note(f"plans {plan.plan[:8]} ({kind}) in {partition}: {found.rows}")
        return found

    def _note(self, text: str) -> None:
        if self.world.tracing:
            self.world.note(f"{self.name} {text}")
