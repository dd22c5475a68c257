"""Whether two plans are about the same usage, and which plans are in the way of another. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from audit.adjustments.plan_book import LoggedPlan, PlanBook, PlanState
from audit.adjustments.plan_derivation import EarlierPlan, earlier_plan
from metering.plans.plan_header import PlanHeader
from metering.plans.usage_selector import UsageSelector
from metering.records.adjustment import AdjustmentKind


def overlap(book: PlanBook, one: PlanHeader, other: PlanHeader) -> bool:
    """Whether both may be about the same event and meter. A revert is about what its target is; given rows are about no event."""
    first, second = _scope(book, one), _scope(book, other)
    if AdjustmentKind.RESOLVE in {first.rule.kind, second.rule.kind} or not _share_records(first, second):
        return False
    return not _meant(first).is_apart_from(_meant(second))


def in_the_way(book: PlanBook, header: PlanHeader) -> Iterator[LoggedPlan]:
    """Plans of which only a part counts, about the same usage: what is derived now would change when they go on."""
    for plan in book.in_order():
        if plan.plan == header.plan or not plan.accepted or _is_settled(book, plan):
            continue
        if plan.header is None or overlap(book, header, plan.header):
            yield plan


def later_than(book: PlanBook, header: PlanHeader) -> Iterator[LoggedPlan]:
    """Plans about the same usage of which a part was accepted after this one was made: it is stale."""
    for plan in book.in_order():
        if plan.plan == header.plan or not any(_after(plan, partition, each.base) for partition, each in header.ranges.items()):
            continue
        if plan.header is None or overlap(book, header, plan.header):
            yield plan


def built_upon(book: PlanBook, target: LoggedPlan) -> Iterator[LoggedPlan]:
    """Plans about the same usage that were made when the target was applied, and still count: they must be taken back before it."""
    header = target.header
    if header is not None:
        for plan in later_than(book, header):
            counts = plan.kind is not AdjustmentKind.REVERT and book.state_of(plan) is not PlanState.REVERTED
            if counts and plan.plan not in target.reverted_by and _follows(plan, target):
                yield plan


def earlier_plans(book: PlanBook, partition: int, base: int) -> Sequence[EarlierPlan]:
    """What was active in a partition for one who had read usage.tallies up to `base`."""
    found = []
    here = [plan for plan in book.plans.values() if _before(plan, partition, base)]
    for plan in sorted(here, key=lambda plan: plan.parts[partition][0].offset):
        if plan.header is None:
            continue
        if any(_before(book.plans[name], partition, base) for name in plan.reverted_by):
            continue
        earlier = earlier_plan(plan.header, partition)
        if earlier is not None:
            found.append(earlier)
    return found


def _is_settled(book: PlanBook, plan: LoggedPlan) -> bool:
    reverts = [book.plans[name] for name in plan.reverted_by]
    if any(not revert.is_whole for revert in reverts):
        return False
    return book.state_of(plan) in {PlanState.APPLIED, PlanState.REVERTED}


def _before(plan: LoggedPlan, partition: int, base: int) -> bool:
    return any(part.offset < base for part in plan.parts.get(partition, ()))


def _after(plan: LoggedPlan, partition: int, base: int) -> bool:
    return any(part.offset >= base for part in plan.parts.get(partition, ()))


def _follows(plan: LoggedPlan, target: LoggedPlan) -> bool:
    return any(parts[-1].offset > target.parts[partition][0].offset for partition, parts in plan.parts.items() if target.parts.get(partition))


def _scope(book: PlanBook, header: PlanHeader) -> PlanHeader:
    """The header that says what the plan is about: of a revert, its target's."""
    target = book.plans.get(header.rule.reverts)
    return header if target is None or target.header is None else target.header


def _share_records(one: PlanHeader, other: PlanHeader) -> bool:
    shared = ((each, other.ranges[partition]) for partition, each in one.ranges.items() if partition in other.ranges)
    return any(a.start < b.end and b.start < a.end for a, b in shared)


def _meant(header: PlanHeader) -> UsageSelector:
    """What it selects; a COUNT plan only its meter."""
    return replace(header.selector, meters=frozenset({header.rule.meter})) if header.rule.kind is AdjustmentKind.COUNT else header.selector
