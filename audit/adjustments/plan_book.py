"""The plans that the log has, from the adjustments that the chain accepted. Pure.

Memory: of each part its place and digests, about 500 bytes for 5,000 rows.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from metering.plans.plan_header import PlanHeader, header_from
from metering.records.adjustment import Adjustment, AdjustmentKind, part_digest, plan_digest
from metering.records.fail_closed import RecordCorrupt
from metering.records.tally import Tally


class PlanState(StrEnum):
    """How far a plan is."""

    UNFINISHED = "unfinished"  # some parts are in the log, more are to come
    APPLIED = "applied"
    ABANDONED = "abandoned"  # some parts are in the log, and a person decided that no more come
    REVERTED = "reverted"  # another plan took its parts back


class LoggedPart(NamedTuple):
    """An accepted part: its offset in usage.tallies, its digest, and how many rows it has."""

    offset: int
    digest: str
    rows: int


@dataclass(slots=True)
class LoggedPlan:
    """One plan. `parts` are the accepted ones by partition, in order; `ended` how many of them there were when it was abandoned, by partition.

    `first_at_ms`: by the clock of who applied it. `units` by meter, of the accepted parts. `problem`: why its header cannot be used. `forged`:
    what is wrong with its records, as phrases.
    """

    plan: str
    kind: AdjustmentKind
    by: str
    reason: str
    first_at_ms: int
    header: PlanHeader | None = None
    problem: str = ""
    parts: dict[int, list[LoggedPart]] = field(default_factory=dict)
    ended: dict[int, int] = field(default_factory=dict)
    units: Counter[str] = field(default_factory=Counter)
    reverted_by: list[str] = field(default_factory=list)
    forged: list[str] = field(default_factory=list)

    @property
    def accepted(self) -> int:
        """How many parts are in the log."""
        return sum(len(parts) for parts in self.parts.values())

    @property
    def planned(self) -> int:
        """How many parts its header names; 0 if that is not known."""
        return 0 if self.header is None else sum(each.parts for each in self.header.parts.values())

    @property
    def is_whole(self) -> bool:
        """Whether the log has every part."""
        header = self.header
        return header is not None and all(len(self.parts.get(partition, ())) == each.parts for partition, each in header.parts.items())


class PlanBook:
    """All plans of all partitions. Take the adjustments of each partition in order."""

    def __init__(self) -> None:
        self.plans: dict[str, LoggedPlan] = {}

    def take(self, offset: int, tally: Tally) -> None:
        """An accepted tally; one that adjusts nothing is passed over."""
        adjustment = tally.adjustment
        if adjustment is None:
            return
        plan = self._plan_of(adjustment)
        rows, known = tally.rows, len(plan.parts.get(tally.partition, ()))
        if tally.partition in plan.ended:
            plan.forged.append(f"goes on at tally {offset} of partition {tally.partition}, where it was abandoned before")
        if adjustment.kind is AdjustmentKind.ABANDON:
            if adjustment.parts != known:
                plan.forged.append(f"is abandoned at tally {offset} of partition {tally.partition} after {adjustment.parts} parts, not {known}")
            plan.ended[tally.partition] = adjustment.parts
            return
        if adjustment.part != known or adjustment.kind is not plan.kind:
            plan.forged.append(f"has a part {adjustment.part} ({adjustment.kind}) at tally {offset} of partition {tally.partition}, not part {known}")
        if part_digest(rows, adjustment.ids) != adjustment.digest:
            plan.forged.append(f"has rows at tally {offset} of partition {tally.partition} that are not those of its digest")
        plan.parts.setdefault(tally.partition, []).append(LoggedPart(offset, adjustment.digest, len(rows)))
        for row in rows:
            plan.units[row.meter] += row.quantity

    def add(self, other: "PlanBook") -> None:
        """Add what another book has of other partitions."""
        for name, theirs in other.plans.items():
            mine = self.plans.setdefault(name, theirs)
            if mine is theirs:
                continue
            mine.parts |= theirs.parts
            mine.ended |= theirs.ended
            mine.units.update(theirs.units)
            mine.header = mine.header or theirs.header
            mine.first_at_ms = min(mine.first_at_ms, theirs.first_at_ms)
            mine.forged += theirs.forged
            mine.problem = mine.problem or theirs.problem

    def finish(self) -> None:
        """Everything was taken: note which plans take back which."""
        for plan in self.plans.values():
            target = self.plans.get(plan.header.rule.reverts) if plan.header is not None else None
            if target is not None and plan.plan not in target.reverted_by:
                target.reverted_by.append(plan.plan)

    def state_of(self, plan: LoggedPlan) -> PlanState:
        """How far a plan is. A revert that is unfinished leaves its target as it was: look at the revert, too."""
        if any(self.plans[name].is_whole for name in plan.reverted_by):
            return PlanState.REVERTED
        if plan.is_whole:
            return PlanState.APPLIED
        return PlanState.ABANDONED if plan.ended else PlanState.UNFINISHED

    def active(self) -> Iterator[LoggedPlan]:
        """Plans that changed what counts and were not taken back, in the order in which they were made."""
        for plan in self.in_order():
            if self.state_of(plan) is not PlanState.REVERTED and plan.accepted and plan.kind is not AdjustmentKind.REVERT:
                yield plan

    def in_order(self) -> Sequence[LoggedPlan]:
        """All plans, oldest first."""
        return sorted(self.plans.values(), key=lambda plan: (plan.header.planned_ms if plan.header else plan.first_at_ms, plan.plan))

    def find(self, prefix: str) -> LoggedPlan | None:
        """The plan whose name begins so; None if there is none. Raises ValueError if there are several."""
        found = [plan for name, plan in self.plans.items() if name.startswith(prefix)]
        if len(found) > 1:
            raise ValueError(f"{len(found)} plans begin with {prefix}: give more of the name")
        return found[0] if found else None

    def _plan_of(self, adjustment: Adjustment) -> LoggedPlan:
        plan = self.plans.get(adjustment.plan)
        if plan is None:
            plan = LoggedPlan(adjustment.plan, adjustment.kind, adjustment.by, adjustment.reason, adjustment.at_ms)
            self.plans[adjustment.plan] = plan
        if adjustment.header is not None and plan_digest(adjustment.header) != adjustment.plan:
            plan.problem = "its header is not the one that it is named by"
        elif adjustment.header is not None and plan.header is None:
            try:
                plan.header = header_from(adjustment.header)
            except RecordCorrupt as error:
                plan.problem = str(error)
        return plan
