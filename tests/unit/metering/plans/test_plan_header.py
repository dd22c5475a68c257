"""A plan's header survives its text, and its name changes with all that it says."""

from dataclasses import replace

import pytest

from metering.plans.current_period import IntoCurrent
from metering.plans.plan_header import MeterTotal, PlanHeader, PlannedRange, PlanRule, header_from
from metering.plans.usage_selector import UsageSelector
from metering.records.adjustment import AdjustmentKind, PlannedParts, planned_parts
from metering.records.fail_closed import RecordCorrupt

HEADER = PlanHeader(
    PlanRule(AdjustmentKind.MOVE, to_customer="c2", into=IntoCurrent(1_780_000_000_000, {"c1": ((60_000, 120_000), (180_000, 240_000))})),
    UsageSelector(customers=frozenset({"c1"}), from_ms=7),
    1_780_000_000_000,
    {0: PlannedRange(0, 10, 4, "a"), 11: PlannedRange(5, 9, 3, "b")},
    60_000,
    {11: PlannedParts(2, "d1"), 0: PlannedParts(1, "d0")},
    {"tokens": MeterTotal(-(10**30), -5, 4)},
)


def test_a_header_survives_its_text() -> None:
    assert header_from(HEADER.text) == HEADER
    assert header_from(HEADER.text).plan == HEADER.plan
    assert planned_parts(HEADER.text) == HEADER.parts


def test_the_name_is_of_all_that_the_header_says() -> None:
    others = [
        replace(HEADER, rule=replace(HEADER.rule, to_customer="c3")),
        replace(HEADER, rule=replace(HEADER.rule, into=None)),
        replace(HEADER, rule=replace(HEADER.rule, into=IntoCurrent(1_780_000_000_000, {"c1": ((60_000, 120_000),)}))),
        replace(HEADER, selector=UsageSelector()),
        replace(HEADER, planned_ms=1),
        replace(HEADER, ranges={0: PlannedRange(0, 10, 5, "a")}),
        replace(HEADER, parts={0: PlannedParts(1, "other")}),
        replace(HEADER, totals={}),
    ]
    assert len({HEADER.plan, *(other.plan for other in others)}) == len(others) + 1


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", HEADER.text.replace("plan/1", "plan/2"), HEADER.text.replace('"move"', '"burn"'), HEADER.text.replace('"ended"', '"over"')],
)
def test_what_is_no_header_is_refused(text: str) -> None:
    with pytest.raises(RecordCorrupt):
        header_from(text)
