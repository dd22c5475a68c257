"""Whether the plans of the log are what their headers say, by the rows that are derived from the events again. Pure."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from audit.adjustments.plan_book import LoggedPlan, PlanBook, PlanState
from audit.adjustments.plan_derivation import DERIVED_KINDS
from audit.adjustments.plan_scope import overlap
from metering.plans.plan_header import PlanHeader
from metering.records.adjustment import AdjustmentKind, partition_digest, short


class PlanProof(Enum):
    """How far the rows of a plan are proved."""

    DERIVED = "derived again from the events"
    OPPOSITE = "the other sign of another plan's"
    EVIDENCE = "taken on the plan's evidence"
    WORD = "taken on the plan's word, because its events are not kept any more"


@dataclass(slots=True)
class DerivedDigests:
    """Of one plan in one partition that it read: the digests of its own parts in order, and of those that move usage elsewhere.

    `gone`: the events are not kept any more, so there are none. `named`: units of fields that were unknown when they were counted.
    """

    stays: list[str] = field(default_factory=list)
    moves: list[str] = field(default_factory=list)
    gone: bool = False
    named: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class CheckedPlan:
    """One plan. `problems` are phrases about it; none: it is as its header says. `named`: units of usage fields that were unknown before it."""

    plan: LoggedPlan
    state: PlanState
    proof: PlanProof
    problems: Sequence[str]
    named: Mapping[str, int]


def check_plans(book: PlanBook, derived: Mapping[str, Mapping[int, DerivedDigests]], home_of: Callable[[str], int]) -> Iterator[CheckedPlan]:
    """Every plan, oldest first. `derived`: by plan and partition, what their rows must be, of plans whose rows follow from the logs."""
    for plan in book.in_order():
        problems = [*plan.forged, *_header_problems(plan)]
        proof = PlanProof.WORD
        header = plan.header
        if header is not None:
            expected, proof = _expected(header, derived.get(plan.plan, {}), home_of)
            if expected is not None:
                problems += _differences(plan, expected)
            problems += _rivals(book, plan, header)
        named = sum((each.named for each in derived.get(plan.plan, {}).values()), Counter[str]())
        yield CheckedPlan(plan, book.state_of(plan), proof, problems, named)


def _header_problems(plan: LoggedPlan) -> Iterator[str]:
    header = plan.header
    if header is None:
        yield plan.problem or "has parts, and no part with its header"
        return
    if header.rule.kind is not plan.kind:
        yield f"is a {header.rule.kind} by its header, and a {plan.kind} by its parts"
    for partition, parts in plan.parts.items():
        named = header.parts.get(partition)
        if named is None or named.parts < len(parts):
            yield f"has {len(parts)} parts in partition {partition}, where its header names {0 if named is None else named.parts}"
        elif named.parts == len(parts) and named.digest != partition_digest(part.digest for part in parts):
            yield f"has other parts in partition {partition} than its header names"
        if partition in header.ranges and parts[0].offset < header.ranges[partition].base:
            yield f"has a part at tally {parts[0].offset} of partition {partition}, before it was planned"


def _expected(
    header: PlanHeader, derived: Mapping[int, DerivedDigests], home_of: Callable[[str], int]
) -> tuple[Mapping[int, Sequence[str]] | None, PlanProof]:
    """The digests that its parts must have by partition; None: nothing can be said."""
    kind = header.rule.kind
    if kind is AdjustmentKind.REVERT:
        return {partition: each.stays for partition, each in derived.items()}, PlanProof.OPPOSITE
    if kind not in DERIVED_KINDS:
        return None, PlanProof.EVIDENCE
    if any(each.gone for each in derived.values()) or header.ranges.keys() - derived.keys():
        return None, PlanProof.WORD
    expected = {partition: list(each.stays) for partition, each in derived.items()}
    if header.rule.to_customer:
        moved = [digest for _, each in sorted(derived.items()) for digest in each.moves]
        expected.setdefault(home_of(header.rule.to_customer), []).extend(moved)
    return expected, PlanProof.DERIVED


def _differences(plan: LoggedPlan, expected: Mapping[int, Sequence[str]]) -> Iterator[str]:
    for partition, parts in sorted(plan.parts.items()):
        wanted = expected.get(partition, ())
        for number, part in enumerate(parts):
            if number >= len(wanted) or part.digest != wanted[number]:
                yield f"has rows in part {number} of partition {partition} (tally {part.offset}) that do not follow from what it is about"
                break
    header = plan.header
    for partition, wanted in sorted(expected.items()):
        named = header.parts.get(partition) if header is not None else None
        if len(wanted) != (0 if named is None else named.parts):
            yield f"names {0 if named is None else named.parts} parts for partition {partition}, and {len(wanted)} follow from what it is about"


def _rivals(book: PlanBook, plan: LoggedPlan, header: PlanHeader) -> Iterator[str]:
    """Plans about the same usage that came between its making and its last part: then it may have changed something twice."""
    for rival in book.in_order():
        if rival.plan == plan.plan or rival.header is None or not overlap(book, header, rival.header):
            continue
        for partition, parts in sorted(plan.parts.items()):
            planned = header.ranges.get(partition)
            base = parts[0].offset if planned is None else planned.base
            if any(base <= part.offset < parts[-1].offset for part in rival.parts.get(partition, ())):
                yield f"was made before plan {short(rival.plan)} about the same usage was accepted in partition {partition}, and written after it"
                break
