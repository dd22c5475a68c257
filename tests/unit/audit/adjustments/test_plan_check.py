"""What is said of the plans of a log: proved, on their word, unfinished, forged."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from audit.adjustments.plan_book import LoggedPart, LoggedPlan, PlanBook, PlanState
from audit.adjustments.plan_check import CheckedPlan, DerivedDigests, PlanProof, check_plans
from audit.verification.plan_terms import plan_problems, plan_terms
from audit.verification.term import ProofWord
from metering.plans.plan_header import PlanHeader, PlannedRange, PlanRule
from metering.plans.usage_selector import EVERYTHING_SELECTED
from metering.records.adjustment import AdjustmentKind, PlannedParts, partition_digest

PARTS = (LoggedPart(20, "d0", 5), LoggedPart(21, "d1", 3))


def logged(
    name: str, kind: AdjustmentKind, parts: Sequence[LoggedPart] = PARTS, *, planned: int = 2, base: int = 10, reverts: str = ""
) -> LoggedPlan:
    digests = [part.digest for part in parts] + ["later"] * (planned - len(parts))
    header = PlanHeader(
        PlanRule(kind, reverts=reverts),
        EVERYTHING_SELECTED,
        base,
        {0: PlannedRange(0, 100, base, "chain")},
        60_000,
        {0: PlannedParts(planned, partition_digest(digests))},
    )
    return LoggedPlan(name, kind, "ann", "why", base, header, parts={0: list(parts)})


def checked(*plans: LoggedPlan, derived: Mapping[str, DerivedDigests]) -> list[CheckedPlan]:
    book = PlanBook()
    book.plans = {plan.plan: plan for plan in plans}
    book.finish()
    return list(check_plans(book, {name: {0: each} for name, each in derived.items()}, lambda _customer: 0))


def words(plans: Sequence[CheckedPlan]) -> list[ProofWord]:
    return [word for word, _ in plan_terms(plans)]


def test_a_plan_that_follows_from_the_events_is_proved() -> None:
    (found,) = checked(logged("a", AdjustmentKind.TAKE_OUT), derived={"a": DerivedDigests(["d0", "d1"])})
    assert (found.proof, found.state, list(found.problems)) == (PlanProof.DERIVED, PlanState.APPLIED, [])
    assert words([found]) == []


def test_a_plan_whose_events_are_gone_is_taken_on_its_word_by_name() -> None:
    found = checked(logged("a", AdjustmentKind.TAKE_OUT), derived={"a": DerivedDigests(gone=True)})
    assert [each.proof for each in found] == [PlanProof.WORD]
    ((word, term),) = plan_terms(found)
    assert (word, term.count, list(plan_problems(found))) == (ProofWord.EXACT_BUT, 8, [])


def test_an_unfinished_plan_is_pending_and_its_parts_are_checked() -> None:
    plan = logged("a", AdjustmentKind.TAKE_OUT, PARTS[:1])
    (found,) = checked(plan, derived={"a": DerivedDigests(["d0", "d1"])})
    assert (found.state, list(found.problems), words([found])) == (PlanState.UNFINISHED, [], [ProofWord.PENDING])
    assert checked(plan, derived={"a": DerivedDigests(["other", "d1"])})[0].problems


@pytest.mark.parametrize("derived", [["d0", "other"], ["d0"], [], ["d0", "d1", "d2"]])
def test_rows_that_do_not_follow_are_a_problem(derived: list[str]) -> None:
    found = checked(logged("a", AdjustmentKind.TAKE_OUT), derived={"a": DerivedDigests(derived)})
    assert list(plan_problems(found))


def test_a_revert_has_the_opposite_rows_of_its_target() -> None:
    target = logged("a", AdjustmentKind.TAKE_OUT)
    opposite = [LoggedPart(30, "o0", 5), LoggedPart(31, "o1", 3)]
    derived = {"a": DerivedDigests(["d0", "d1"]), "b": DerivedDigests(["o0", "o1"])}
    one, two = checked(target, logged("b", AdjustmentKind.REVERT, opposite, base=25, reverts="a"), derived=derived)
    assert (one.state, two.proof, list(one.problems), list(two.problems)) == (PlanState.REVERTED, PlanProof.OPPOSITE, [], [])
    forged = [opposite[0], opposite[1]._replace(digest="o2")]
    _, two = checked(target, logged("b", AdjustmentKind.REVERT, forged, base=25, reverts="a"), derived=derived)
    assert two.problems


def test_a_plan_that_came_between_the_making_and_the_parts_of_another_is_a_problem() -> None:
    first, second = (
        logged("a", AdjustmentKind.TAKE_OUT),
        logged("b", AdjustmentKind.TAKE_OUT, [part._replace(offset=part.offset + 5) for part in PARTS]),
    )
    derived = {name: DerivedDigests(["d0", "d1"]) for name in ("a", "b")}
    one, two = checked(first, second, derived=derived)
    assert (list(one.problems), len(two.problems)) == ([], 1)
    assert second.header is not None
    second.header = replace(second.header, ranges={0: PlannedRange(0, 100, 22, "chain")})
    assert not [problem for each in checked(first, second, derived=derived) for problem in each.problems]


def test_a_header_that_is_not_the_named_one_is_a_problem() -> None:
    plan = logged("a", AdjustmentKind.TAKE_OUT)
    plan.header, plan.problem = None, "its header is not the one that it is named by"
    assert list(plan_problems(checked(plan, derived={}))) == ["plan a its header is not the one that it is named by"]
