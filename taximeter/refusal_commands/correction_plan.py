"""What would be done about meter events that Stripe refused, lost or may not have. Pure: what was read is handed in."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from taximeter_emitter.wire.limits import HOUR_MS

from audit.refused_usage import MendState, PartitionRefusals, RefusedEvent
from metering.folds.corrections import LATEST_OBJECTION, MeterEventPlace, place_of
from metering.folds.customer_links import BilledCustomers
from metering.reconciliation.cells import CellKey, CustomerMeter, Member
from metering.reconciliation.differences import chosen
from metering.reconciliation.findings import EvidenceBook
from metering.records.ledger_records import MeterEvent
from metering.records.notes.evidence import CellVerdict, Finding
from metering.records.notes.resolution import SumRead
from metering.records.service_limits import EVENT_AGE_MAX_MS
from reporter.correcting import TOO_OLD
from reporter.planning.planner import PLANNING_MARGIN_MS

CORRECTIONS_SCHEMA: Final = "taximeter.corrections/1"
PLAN_AGE_MAX_MS: Final = 24 * HOUR_MS
NO_LINK_YET: Final = "its customer has no link: taximeter customers link, and then again"
ABSENCE_READS: Final = 3
ABSENCE_MS: Final = HOUR_MS  # between the first and the last of them


class CorrectionStep(StrEnum):
    """What is to be done about one meter event."""

    RESEND = "resend"  # Stripe certainly does not have it: sent again
    MOVE = "move"  # the same, and billed to another customer
    FOUND = "found"  # it was in doubt, and Stripe's sum shows that it has it
    LOST = "lost"  # Stripe's sum shows that it has not: noted so, and sent again


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One meter event by its identifier, what is to be done, who is billed, the reads that this rests on, and why in words."""

    identifier: str
    step: CorrectionStep
    customer: str
    meter: str
    time_ms: int
    value: int
    to_customer: str = ""
    reads: tuple[SumRead, ...] = ()
    why: str = ""

    @property
    def sends(self) -> bool:
        """Whether Stripe gets a meter event by it."""
        return self.step is not CorrectionStep.FOUND

    @property
    def billed_customer(self) -> str:
        """Who is billed."""
        return self.to_customer or self.customer

    def as_json(self) -> dict[str, Any]:
        """For the plan's file; quantities as strings."""
        return {
            "identifier": self.identifier,
            "step": self.step.value,
            "customer": self.customer,
            "meter": self.meter,
            "time_ms": self.time_ms,
            "value": str(self.value),
            "to_customer": self.to_customer,
            "reads": [[read.at_ms, str(read.stripe), str(read.sure)] for read in self.reads],
            "why": self.why,
        }


@dataclass(slots=True)
class CorrectionPlan:
    """`made_at_ms` is when it was made; `skipped`: why others of those that were selected are not in it, with how many."""

    made_at_ms: int
    steps: list[PlannedStep] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def units(self) -> Counter[str]:
        """By meter, what Stripe would be told."""
        units: Counter[str] = Counter()
        for each in self.steps:
            if each.sends:
                units[each.meter] += each.value
        return units

    @property
    def is_complete(self) -> bool:
        """Whether nothing that was selected is left."""
        return not self.skipped

    def as_json(self) -> dict[str, Any]:
        """For its file and for `--json`."""
        return {
            "schema": CORRECTIONS_SCHEMA,
            "made_at_ms": self.made_at_ms,
            "units": {meter: str(units) for meter, units in sorted(self.units.items())},
            "steps": [each.as_json() for each in self.steps],
            "skipped": dict(self.skipped.most_common()),
        }


class NoPlan(Exception):
    """The file is no plan of corrections; the message says what to do."""


def plan_of(document: Any) -> CorrectionPlan:
    """From its file. Raises NoPlan."""
    try:
        if document["schema"] != CORRECTIONS_SCHEMA:
            raise NoPlan(f"it is of the form {document['schema']!r}, not {CORRECTIONS_SCHEMA}: make it again")
        return CorrectionPlan(document["made_at_ms"], [_step(each) for each in document["steps"]], Counter(document["skipped"]))
    except (KeyError, TypeError, ValueError) as error:
        raise NoPlan(f"it is no plan of corrections: {error!r}") from None


def _step(document: Mapping[str, Any]) -> PlannedStep:
    return PlannedStep(
        identifier=document["identifier"],
        step=CorrectionStep(document["step"]),
        customer=document["customer"],
        meter=document["meter"],
        time_ms=document["time_ms"],
        value=int(document["value"]),
        to_customer=document["to_customer"],
        reads=tuple(SumRead(at_ms, int(stripe), int(sure)) for at_ms, stripe, sure in document["reads"]),
        why=document["why"],
    )


def plan_refusals(
    refusals: PartitionRefusals, selected: Iterable[RefusedEvent], plan: CorrectionPlan, links: BilledCustomers, to_customer: str = ""
) -> None:
    """Add to the plan what is to be done about the selected ones of a partition's refusals. What is for nobody is billed to whom `links` says now."""
    proofs = _proofs(refusals)
    asked_for = to_customer
    for each in selected:
        to_customer = asked_for
        if each.target.event.is_for_nobody and not asked_for:
            to_customer = links.of(each.target.event.customer) or ""
        if each.target.event.time_ms + EVENT_AGE_MAX_MS - PLANNING_MARGIN_MS <= plan.made_at_ms:
            plan.skipped[TOO_OLD] += 1
            continue
        if each.target.event.reading is not None:
            plan.skipped[LATEST_OBJECTION] += 1
            continue
        match each.state:
            case MendState.OPEN if each.target.event.is_for_nobody and not to_customer:
                plan.skipped[NO_LINK_YET] += 1
            case MendState.OPEN:
                step = CorrectionStep.MOVE if to_customer else CorrectionStep.RESEND
                plan.steps.append(_planned(each.target.identifier, each.target.event, step, to_customer=to_customer, why=each.code))
            case MendState.MOVED if each.target.fate.resolution is not None and each.target.fate.resolution.to_customer == to_customer:
                # It may have been interrupted before the other customer was billed.
                plan.steps.append(
                    _planned(each.target.identifier, each.target.event, CorrectionStep.MOVE, to_customer=to_customer, why="moved before")
                )
            case MendState.UNDECIDED:
                proof = proofs[each.target.identifier]
                if isinstance(proof, str):
                    plan.skipped[proof] += 1
                else:
                    moves = proof.sends and isinstance(each.target.place, MeterEventPlace)
                    plan.steps.append(replace(proof, to_customer=to_customer) if moves else proof)
            case done:
                plan.skipped[f"it is {done.value.replace('_', ' ')} already"] += 1


def _proofs(refusals: PartitionRefusals) -> dict[str, PlannedStep | str]:
    """Of every meter event in doubt, what Stripe's sums show; or why they do not.

    Of equal values, which of them Stripe has is nobody's business: the first are said to be there, in the order of the ledger.
    """
    cells: defaultdict[CellKey, list[RefusedEvent]] = defaultdict(list)
    for each in refusals.events:
        if each.state is MendState.UNDECIDED:
            event = each.target.event
            cells[CellKey(event.billed, event.meter, event.time_ms - event.time_ms % HOUR_MS)].append(each)
    resolved_ms: defaultdict[CellKey, int] = defaultdict(int)
    for each in refusals.events:
        event, resolution = each.target.event, each.target.fate.resolution
        if resolution is not None:
            key = CellKey(event.billed, event.meter, event.time_ms - event.time_ms % HOUR_MS)
            resolved_ms[key] = max(resolved_ms[key], resolution.at_ms)
    found: dict[str, PlannedStep | str] = {}
    for key, events in cells.items():
        evidence = refusals.evidence.cells_of(CustomerMeter(key.customer, key.meter)).get(key.start_ms)
        found |= _proofs_of_cell(sorted(events, key=lambda each: (each.target.intent, each.target.place.index)), evidence, resolved_ms[key])
    return found


def _proofs_of_cell(events: Sequence[RefusedEvent], found: Finding | None, resolved_ms: int) -> dict[str, PlannedStep | str]:
    why = _no_proof(events, found, resolved_ms)
    if why or found is None or found.stripe is None:
        return {each.target.identifier: why for each in events}
    taken = Counter(found.taken or ())
    reads = (SumRead(found.since_ms, found.stripe, found.ours), SumRead(found.read_at_ms, found.stripe, found.ours))
    proofs: dict[str, PlannedStep | str] = {}
    for each in events:
        target = each.target
        if taken[target.event.value]:
            taken[target.event.value] -= 1
            told = f"Stripe's sum of the hour is {found.stripe:,}, and without it {found.ours:,} are sure"
            proofs[target.identifier] = _planned(target.identifier, target.event, CorrectionStep.FOUND, reads=reads, why=told)
        elif found.reads < ABSENCE_READS or found.read_at_ms - found.since_ms < ABSENCE_MS:
            proofs[target.identifier] = f"Stripe's sum lacks it in {found.reads} of {ABSENCE_READS} reads over an hour: wait"
        else:
            told = f"Stripe's sum of the hour lacks it in {found.reads} reads"
            proofs[target.identifier] = _planned(target.identifier, target.event, CorrectionStep.LOST, reads=reads, why=told)
    return proofs


def _no_proof(events: Sequence[RefusedEvent], found: Finding | None, resolved_ms: int) -> str:
    if found is None:
        return "nobody has compared its hour with Stripe's sums yet: the reporter does, or taximeter reconcile --record"
    if found.verdict is not CellVerdict.SETTLED or found.taken is None:
        return f"Stripe's sum does not show whether it has it: {found.verdict}" + (f", {found.cause}" if found.cause else "")
    if found.doubts != len(events) or found.since_ms <= max(resolved_ms, *(each.at_ms for each in events)):
        return "something of its hour has changed since it was compared with Stripe's sums: wait for the next comparison"
    return ""


def plan_missing(found: Finding, members: Sequence[Member], plan: CorrectionPlan) -> None:
    """Add to the plan the meter events of a cell that make what Stripe's sum lacks. `members`: those that Stripe has for sure by the ledger.

    What a correction sent is not corrected again, so it is not among the choices.
    """
    if found.verdict is not CellVerdict.MISSING:
        plan.skipped[f"{found.verdict} is not corrected: {found.cause or 'look at it'}"] += 1
        return
    if not found.confirmed or found.stripe is None:
        plan.skipped["missing at one read only: compare again in five minutes, with --record, or wait for the reporter"] += 1
        return
    lost = chosen([member for member in members if isinstance(place_of(member.identifier), MeterEventPlace)], -found.difference)
    if lost is None:
        plan.skipped["missing, and no choice of meter events makes just so many units: Stripe loses whole ones, so look at it"] += 1
        return
    reads = (SumRead(found.since_ms, found.stripe, found.ours), SumRead(found.read_at_ms, found.stripe, found.ours))
    for each in lost:
        event = MeterEvent(found.customer, found.meter, (), each.time_ms, each.value)
        if event.time_ms + EVENT_AGE_MAX_MS - PLANNING_MARGIN_MS <= plan.made_at_ms:
            plan.skipped[TOO_OLD] += 1
        else:
            plan.steps.append(_planned(each.identifier, event, CorrectionStep.LOST, reads=reads, why=found.cause))


def stale(step: PlannedStep, evidence: EvidenceBook) -> str | None:
    """Why a step of a plan no longer rests on the last word of evidence; None if it does. Steps without reads rest on a refusal."""
    if not step.reads:
        return None
    found = evidence.of(CustomerMeter(step.customer, step.meter), step.time_ms - step.time_ms % HOUR_MS)
    if found is None or (found.stripe, found.ours) == (step.reads[-1].stripe, step.reads[-1].sure):
        return None
    return "Stripe's sum or the ledger has changed since: plan again"


def _planned(
    identifier: str, event: MeterEvent, step: CorrectionStep, *, to_customer: str = "", reads: tuple[SumRead, ...] = (), why: str = ""
) -> PlannedStep:
    billed = event.customer if event.is_for_nobody else event.billed
    return PlannedStep(identifier, step, billed, event.meter, event.time_ms, event.value, to_customer, reads, why)
