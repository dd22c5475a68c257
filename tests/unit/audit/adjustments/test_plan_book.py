"""What the log says of plans: how far each is, and every part that is not what it claims to be."""

from dataclasses import replace
from typing import Any

import pytest

from audit.adjustments.plan_book import PlanBook, PlanState
from audit.adjustments.plan_check import CheckedPlan, check_plans
from audit.verification.plan_terms import plan_terms
from metering.plans.plan_header import PlanHeader, PlanRule
from metering.plans.usage_selector import UsageSelector
from metering.records.adjustment import AdjustmentKind, PlannedParts, part_digest, partition_digest
from metering.records.tally import Tally, TallyRow
from tests.support.metering_tallies import a_tally, an_adjustment

ROWS = [[TallyRow("cus_1", "tokens", (), 0, -units, 0)] for units in (40, 2)]
DIGESTS = [part_digest(rows) for rows in ROWS]
HEADER = PlanHeader(
    rule=PlanRule(AdjustmentKind.RESOLVE, evidence="Stripe's sum of 10:00"),
    selector=UsageSelector(),
    planned_ms=5,
    ranges={},
    window_ms=60_000,
    parts={0: PlannedParts(2, partition_digest(DIGESTS))},
)


def part(number: int, offset: int, **changes: Any) -> Tally:
    about: dict[str, Any] = {
        "plan": HEADER.plan,
        "part": number,
        "parts": 2,
        "kind": AdjustmentKind.RESOLVE,
        "header": HEADER.text if number == 0 else None,
        "digest": DIGESTS[number],
    }
    return an_adjustment(ROWS[number], offset=offset, end=9, adjusts=about | changes)


def the_end(parts: int, offset: int) -> Tally:
    about = {"plan": HEADER.plan, "part": parts, "parts": parts, "kind": AdjustmentKind.ABANDON, "header": None}
    return an_adjustment([], offset=offset, end=9, adjusts=about)


def checked(*tallies: Tally) -> CheckedPlan:
    book = PlanBook()
    for offset, tally in enumerate(tallies, 3):
        book.take(offset, tally)
    book.take(99, a_tally())
    book.finish()
    (found,) = check_plans(book, {}, lambda _customer: 0)
    return found


@pytest.mark.parametrize(
    ("tallies", "state", "terms"),
    [
        ((part(0, 3), part(1, 4)), PlanState.APPLIED, ["plan_on_evidence"]),
        ((part(0, 3),), PlanState.UNFINISHED, ["unfinished_plan", "plan_on_evidence"]),
        ((part(0, 3), the_end(1, 4)), PlanState.ABANDONED, ["plan_on_evidence"]),
    ],
)
def test_a_plan_is_as_far_as_its_accepted_parts(tallies: tuple[Tally, ...], state: PlanState, terms: list[str]) -> None:
    found = checked(*tallies)
    assert (found.state, list(found.problems)) == (state, [])
    assert [term.name for _, term in plan_terms([found])] == terms


def test_an_unfinished_plan_says_how_many_of_its_parts_there_are() -> None:
    (term, _) = plan_terms([checked(part(0, 3))])
    assert term[1].short == f"plan {HEADER.plan[:8]}: 1 of 2 parts"


@pytest.mark.parametrize(
    ("tallies", "problem"),
    [
        ((part(0, 3, digest="0" * 32),), "not those of its digest"),
        ((part(0, 3, header=HEADER.text + " "),), "not the one that it is named by"),
        ((part(0, 3), part(0, 4)), "not part 1"),
        ((part(1, 3),), "not part 0"),
        ((part(0, 3), part(1, 4, kind=AdjustmentKind.COUNT)), "not part 1"),
        ((part(0, 3), the_end(1, 4), part(1, 5)), "where it was abandoned before"),
        ((part(0, 3), the_end(2, 4)), "after 2 parts, not 1"),
        ((part(0, 3), an_adjustment(ROWS[0], offset=4, end=9, adjusts={"plan": HEADER.plan, "part": 1, "parts": 2, "header": None})), "other parts"),
    ],
)
def test_a_part_that_is_not_what_it_claims_to_be_is_named(tallies: tuple[Tally, ...], problem: str) -> None:
    assert any(problem in phrase for phrase in checked(*tallies).problems), checked(*tallies).problems


def test_books_of_two_partitions_are_one() -> None:
    books = [PlanBook(), PlanBook()]
    books[0].take(3, part(0, 3))
    books[1].take(4, replace(part(0, 4), partition=1))
    books[0].add(books[1])
    (plan,) = books[0].plans.values()
    assert (plan.forged, plan.accepted, plan.units) == ([], 2, {"tokens": -80})
