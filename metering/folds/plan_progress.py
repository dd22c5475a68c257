"""How far a plan is in one partition: which of its parts the chain has, and the record of the next one. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from taximeter_emitter.wire.errors import TaximeterError

from metering.folds.tallies import Tallies
from metering.records.adjustment import (
    Adjustment,
    AdjustmentKind,
    PlannedParts,
    part_digest,
    partition_digest,
    plan_digest,
    planned_parts,
    short,
)
from metering.records.chain import ChainLink
from metering.records.fail_closed import RecordCorrupt
from metering.records.tally import EventCounts, RecordCounts, Tally, TallyRow


class NotAdjusted(TaximeterError):
    """Nothing more of the plan is written; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class PlanInPartition:
    """What a plan has in one partition. `digests`: the `part_digest` of each part, in order. `reason` and `by`: why it is applied, and who does it.

    Raises NotAdjusted if the header names other parts than these.
    """

    partition: int
    header: str
    kind: AdjustmentKind
    digests: Sequence[str]
    reason: str
    by: str

    def __post_init__(self) -> None:
        try:
            named = planned_parts(self.header).get(self.partition)
        except RecordCorrupt as error:
            raise NotAdjusted(f"{error}: this plan was not written by this program") from error
        if named is None or not self._has(named):
            raise NotAdjusted(f"the parts for partition {self.partition} are not those that the plan's header names: plan again")

    @property
    def plan(self) -> str:
        """The plan's digest."""
        return plan_digest(self.header)

    @property
    def parts(self) -> int:
        """How many parts it has."""
        return planned_parts(self.header)[self.partition].parts

    def _has(self, named: PlannedParts) -> bool:
        return named == PlannedParts(len(self.digests), partition_digest(self.digests))


class BegunPlan(PlanInPartition):
    """A plan as the log knows it, to be abandoned: `digests` are those of the parts that were accepted. No further part can be written."""

    def _has(self, named: PlannedParts) -> bool:
        return len(self.digests) <= named.parts


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of one part, and the identities of past-horizon events that count by it."""

    rows: Sequence[TallyRow]
    ids: bytes = b""


OnRival = Callable[[int, Adjustment], None]
"""Hears of each adjustment of another plan that is accepted, and its offset; raises NotAdjusted if ours may not go on then."""


class PlanProgress:
    """Folds one partition of usage.tallies, and notes the parts of one plan that are accepted: `accepted` maps each to its offset.

    `tallies` may begin anywhere before the first of them.
    """

    def __init__(self, plan: PlanInPartition, tallies: Tallies, on_rival: OnRival = lambda _offset, _adjustment: None) -> None:
        self.plan = plan
        self._on_rival = on_rival
        self._parts = plan.parts
        self.tallies = tallies
        self.accepted: dict[int, int] = {}
        self.abandoned: Adjustment | None = None
        self._digest = plan.plan

    @property
    def next_offset(self) -> int:
        """The first offset that was not read yet: where the next record must land."""
        return self.tallies.chain.next_offset

    @property
    def next_part(self) -> int | None:
        """The first part that the chain does not have; None if it has all."""
        return len(self.accepted) if len(self.accepted) < self._parts else None

    def fold(self, offset: int, tally: Tally) -> bool:
        """The next record. Returns whether it is accepted; raises NotAdjusted if the plan's parts in the log are not those of our plan."""
        if not self.tallies.fold(offset, tally):
            return False
        adjustment = tally.adjustment
        if adjustment is not None and adjustment.plan == self._digest:
            self._note(offset, adjustment)
        elif adjustment is not None:
            self._on_rival(offset, adjustment)
        return True

    def read_to(self, end: int) -> None:
        """Offsets before `end` that were not folded hold no record."""
        self.tallies.chain.next_offset = max(end, self.next_offset)

    def adjusting(self, part: Part, *, at_ms: int, instance: str) -> Tally:
        """The record of the next part, as it must land next. Raises NotAdjusted if this is not the part, or the plan was abandoned."""
        number, plan = self.next_part, self.plan
        assert number is not None, "nothing is left to write"
        if self.tallies.chain_id is None:
            raise NotAdjusted(f"partition {plan.partition} has no tallies: nothing was counted that could be adjusted")
        if self.abandoned is not None:
            raise NotAdjusted(f"plan {short(self._digest)} was abandoned by {self.abandoned.by} ({self.abandoned.reason}): make another plan")
        digest = part_digest(part.rows, part.ids)
        if digest not in plan.digests[number : number + 1]:
            raise NotAdjusted(f"part {number} of plan {short(self._digest)} is not as it was planned: its file is damaged, plan again")
        header = plan.header if number == 0 else None
        adjustment = Adjustment(self.next_offset, self._digest, number, self._parts, digest, plan.kind, plan.reason, plan.by, at_ms, header, part.ids)
        return self._tally(adjustment, part.rows, instance)

    def abandoning(self, *, at_ms: int, instance: str) -> Tally:
        """The record that says that no more parts will come, as it must land next."""
        done, ends, plan = len(self.accepted), AdjustmentKind.ABANDON, self.plan
        adjustment = Adjustment(self.next_offset, self._digest, done, done, part_digest(()), ends, plan.reason, plan.by, at_ms, None)
        return self._tally(adjustment, (), instance)

    def _tally(self, adjustment: Adjustment, rows: Sequence[TallyRow], instance: str) -> Tally:
        fold = self.tallies
        assert fold.chain_id is not None, "a chain without a founder has no parts"
        return Tally(
            chain_id=fold.chain_id,
            partition=self.plan.partition,
            link=ChainLink(fold.chain.end, fold.chain.end, fold.chain.head),
            checkpoint=fold.checkpoint,
            instance=instance,
            catalogue=fold.catalogue,
            log_time_ms=fold.log_time_ms,
            records=RecordCounts(),
            events=EventCounts(),
            rows=rows,
            losses=fold.losses,
            adjustment=adjustment,
        )

    def _note(self, offset: int, adjustment: Adjustment) -> None:
        if adjustment.kind is AdjustmentKind.ABANDON:
            self.abandoned = adjustment
            return
        place = (adjustment.part, adjustment.parts)
        known = self.plan.digests[adjustment.part : adjustment.part + 1]
        if place != (len(self.accepted), self._parts) or adjustment.digest not in known:
            raise NotAdjusted(f"{adjustment.name}, accepted at offset {offset} of partition {self.plan.partition}, is not the part of this plan")
        self.accepted[adjustment.part] = offset
