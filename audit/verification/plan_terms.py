"""What plans of adjustments mean for the verdict. Pure."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from audit.adjustments.plan_book import PlanState
from audit.adjustments.plan_check import CheckedPlan, PlanProof
from audit.verification.term import ProofWord, Term
from metering.records.adjustment import short


def plan_problems(plans: Sequence[CheckedPlan]) -> Iterator[str]:
    """A sentence for each thing that does not hold."""
    for each in plans:
        for problem in each.problems:
            yield f"plan {short(each.plan.plan)} {problem}"


def plan_terms(plans: Sequence[CheckedPlan]) -> Iterator[tuple[ProofWord, Term]]:
    """What keeps the verdict from EXACT, besides problems."""
    for each in plans:
        plan, name = each.plan, short(each.plan.plan)
        if each.state is PlanState.UNFINISHED:
            what = f"plan {name}: {plan.accepted:,} of {plan.planned:,} parts"
            text = f"{what} are in the log; the rest is not written yet ({plan.kind}, by {plan.by}: {plan.reason})"
            yield ProofWord.PENDING, Term("unfinished_plan", plan.planned - plan.accepted, what, text, f"taximeter replay show {name}")
        rows = sum(part.rows for parts in plan.parts.values() for part in parts)
        if each.proof is PlanProof.WORD:
            what = f"{rows:,} rows on the word of plan {name}"
            text = f"{what} ({plan.kind}, by {plan.by}: {plan.reason}): the events that it is about are not kept any more"
            yield ProofWord.EXACT_BUT, Term("plan_on_its_word", rows, what, text, f"taximeter replay show {name}", _units(plan.units))
        if each.proof is PlanProof.EVIDENCE:
            evidence = plan.header.rule.evidence if plan.header is not None else ""
            what = f"{rows:,} rows on the evidence of plan {name}"
            yield (
                ProofWord.EXACT_BUT,
                Term("plan_on_evidence", rows, what, f"{what}: {evidence}", f"taximeter replay show {name}", _units(plan.units)),
            )


def plan_as_json(each: CheckedPlan) -> dict[str, Any]:
    """For `--json`."""
    plan = each.plan
    return {
        "plan": plan.plan,
        "kind": plan.kind.value,
        "state": each.state.value,
        "proof": each.proof.name.lower(),
        "parts": plan.accepted,
        "planned_parts": plan.planned,
        "units": _units(plan.units),
        "by": plan.by,
        "reason": plan.reason,
        "problems": list(each.problems),
    }


def plan_line(each: CheckedPlan) -> str:
    """One line for people."""
    plan = each.plan
    units = ", ".join(f"{quantity:+,} {meter}" for meter, quantity in _units(plan.units).items()) or "no units"
    return f"plan {short(plan.plan)}, {plan.kind}, {each.state}, by {plan.by}: {plan.reason}; {units}; {each.proof.value}"


def _units(units: Counter[str]) -> dict[str, int]:
    return {meter: quantity for meter, quantity in sorted(units.items()) if quantity}
