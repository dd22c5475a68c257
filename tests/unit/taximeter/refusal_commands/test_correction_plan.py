"""What would be done about each refused, lost or doubtful meter event, and why not about others."""

from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from taximeter_emitter.wire.limits import DAY_MS, HOUR_MS

from audit.refused_usage import MendState, PartitionRefusals, RefusedEvent
from metering.folds.corrections import CorrectionPlace, Fate, MeterEventPlace, Target, objection
from metering.folds.customer_links import CustomerLinks
from metering.reconciliation.cells import CustomerMeter, Member
from metering.reconciliation.findings import EvidenceBook
from metering.records.ledger_records import BILLED_TO_NOBODY, CorrectionKind, MeterEvent, Outcome
from metering.records.notes.customer_link import CustomerLink
from metering.records.notes.evidence import CellVerdict, Finding
from metering.records.notes.resolution import Resolution, Resolved
from taximeter.refusal_commands.correction_plan import CorrectionPlan, NoPlan, plan_missing, plan_of, plan_refusals, stale
from taximeter.refusal_commands.plan_file import read_plan, write_plan
from taximeter.replay_plans.plan_directory import PlanDirectory, PlanUnusable

NOW = 100 * DAY_MS
HOUR = NOW - 3 * HOUR_MS
PAIR = CustomerMeter("cus_1", "tokens")
LINKS = CustomerLinks()
LINKS.fold(0, CustomerLink("org_linked", "cus_9", "", "", 0))


def refused(index: int, value: int, outcome: Outcome = Outcome.REJECTED, time_ms: int = HOUR, resolved: Resolved | None = None) -> RefusedEvent:
    identifier = f"tm-c-0-0-2-{index}"
    decided = None if resolved is None else Resolution("c", 0, 9, "t", 0, index, identifier, resolved, "", (), "why", "ann", HOUR)
    event = MeterEvent(*PAIR, (), time_ms, value)
    target = Target(MeterEventPlace("c", 0, 0, 2, index), 0, identifier, HOUR, event, Fate(outcome, resolution=decided))
    return RefusedEvent(target, "parked" if outcome is Outcome.PARKED else "code", "message", HOUR)


def read(*, doubts: int, taken: tuple[int, ...], reads: int = 3, hours: int = 2) -> Finding:
    since = NOW - hours * HOUR_MS
    return Finding(*PAIR, HOUR, HOUR + HOUR_MS, CellVerdict.SETTLED, 5, 5 + sum(taken), 0, NOW, since, reads, doubts=doubts, taken=taken)


def planned(events: list[RefusedEvent], *findings: Finding, to_customer: str = "") -> CorrectionPlan:
    refusals = PartitionRefusals(events)
    refusals.evidence.take(findings)
    plan = CorrectionPlan(NOW)
    plan_refusals(refusals, events, plan, LINKS, to_customer)
    return plan


def steps(plan: CorrectionPlan) -> list[tuple[str, int, str]]:
    return [(each.step.value, each.value, each.to_customer) for each in plan.steps]


def test_what_was_refused_by_name_is_sent_again_or_billed_to_another_customer() -> None:
    assert steps(planned([refused(0, 7)])) == [("resend", 7, "")]
    assert steps(planned([refused(0, 7)], to_customer="cus_2")) == [("move", 7, "cus_2")]


def for_nobody(customer: str) -> RefusedEvent:
    event = refused(0, 7)
    event.target.event = replace(event.target.event, customer=customer, linked=BILLED_TO_NOBODY)
    return event


def test_what_was_for_nobody_is_billed_to_whom_the_customer_is_linked_now() -> None:
    plan = planned([for_nobody("org_linked")])
    assert steps(plan) == [("move", 7, "cus_9")]
    assert plan.steps[0].customer == "org_linked"
    waits = planned([for_nobody("org_waits")])
    assert (waits.steps, list(waits.skipped)) == ([], ["its customer has no link: taximeter customers link, and then again"])
    assert steps(planned([for_nobody("org_waits")], to_customer="cus_3")) == [("move", 7, "cus_3")]
    assert "customers link" in (objection(for_nobody("org_linked").target, CorrectionKind.RESEND) or "")


def test_what_was_found_missing_and_not_sent_yet_is_sent() -> None:
    assert steps(planned([refused(0, 7, Outcome.PARKED, resolved=Resolved.NOT_AT_STRIPE)])) == [("resend", 7, "")]
    done = planned([refused(0, 7, Outcome.PARKED, resolved=Resolved.AT_STRIPE)])
    assert (done.steps, list(done.skipped)) == ([], ["it is at stripe already"])


def test_what_is_older_than_stripe_takes_is_left() -> None:
    plan = planned([refused(0, 7, time_ms=NOW - 35 * DAY_MS)])
    assert not plan.steps
    assert "older than Stripe takes" in next(iter(plan.skipped))


def test_stripes_sum_decides_of_each_parked_meter_event_and_of_equal_ones_the_first_is_there() -> None:
    parked = [refused(index, value, Outcome.PARKED) for index, value in enumerate((7, 7, 9))]
    plan = planned(parked, read(doubts=3, taken=(7,)))
    assert [(each.identifier[-1], each.step.value) for each in plan.steps] == [("0", "found"), ("1", "lost"), ("2", "lost")]
    assert plan.units == {"tokens": 16}
    moved = planned(parked, read(doubts=3, taken=(7,)), to_customer="cus_2")
    assert [each.to_customer for each in moved.steps] == ["", "cus_2", "cus_2"]
    # Whoever is selected alone gets the same answer.
    alone = CorrectionPlan(NOW)
    refusals = PartitionRefusals(parked)
    refusals.evidence.take([read(doubts=3, taken=(7,))])
    plan_refusals(refusals, parked[1:2], alone, LINKS)
    assert steps(alone) == [("lost", 7, "")]


def test_a_parked_correction_is_decided_of_like_parked_usage_and_never_moved() -> None:
    """It takes back 7 of an hour in which 7 others are parked."""
    taken_back = Target(CorrectionPlace("c", 0, 5), 5, "tm-c-0-c5", HOUR, MeterEvent(*PAIR, (), HOUR, -7), Fate(Outcome.PARKED))
    parked = [refused(0, 7, Outcome.PARKED), RefusedEvent(taken_back, "parked", "message", HOUR)]
    plan = planned(parked, read(doubts=2, taken=(-7,)))
    assert [(each.identifier, each.step.value, each.value) for each in plan.steps] == [("tm-c-0-0-2-0", "lost", 7), ("tm-c-0-c5", "found", -7)]
    plan = planned(parked, read(doubts=2, taken=(7,)), to_customer="cus_2")
    assert [(each.identifier, each.step.value, each.to_customer) for each in plan.steps] == [("tm-c-0-0-2-0", "found", ""), ("tm-c-0-c5", "lost", "")]


@pytest.mark.parametrize(
    ("finding", "why"),
    [
        (None, "nobody has compared"),
        (read(doubts=1, taken=(), reads=2), "in 2 of 3 reads"),
        (read(doubts=1, taken=(), hours=0), "over an hour: wait"),
        (read(doubts=2, taken=()), "something of its hour has changed"),
        (replace(read(doubts=1, taken=()), verdict=CellVerdict.UNDECIDED, taken=None), "does not show whether it has it: undecided"),
    ],
)
def test_without_enough_evidence_what_is_parked_stays_so(finding: Finding | None, why: str) -> None:
    plan = planned([refused(0, 7, Outcome.PARKED)], *([finding] if finding else []))
    assert not plan.steps
    assert why in next(iter(plan.skipped))


def test_a_resolution_after_the_read_makes_it_say_nothing_more() -> None:
    late = refused(1, 7, Outcome.PARKED, resolved=Resolved.AT_STRIPE)
    assert late.target.fate.resolution is not None
    late.target.fate.resolution = replace(late.target.fate.resolution, at_ms=NOW)
    plan = planned([refused(0, 7, Outcome.PARKED), late], read(doubts=1, taken=(7,)))
    assert "something of its hour has changed" in " ".join(plan.skipped)


MISSING = Finding(*PAIR, HOUR, HOUR + HOUR_MS, CellVerdict.MISSING, 20, 11, -9, NOW, HOUR, 2, confirmed=True, cause="lost")
MEMBERS = [Member(f"tm-c-0-0-2-{index}", value, HOUR) for index, value in enumerate((4, 5, 11))]


def test_what_two_reads_show_to_be_missing_is_a_choice_of_meter_events() -> None:
    plan = CorrectionPlan(NOW)
    plan_missing(MISSING, MEMBERS, plan)
    assert sorted((each.step.value, each.value) for each in plan.steps) == [("lost", 4), ("lost", 5)]
    assert {(each.customer, each.meter, len(each.reads)) for each in plan.steps} == {(*PAIR, 2)}


@pytest.mark.parametrize(
    ("finding", "members", "why"),
    [
        (replace(MISSING, confirmed=False), MEMBERS, "at one read only"),
        (replace(MISSING, difference=-8), MEMBERS, "no choice of meter events"),
        (replace(MISSING, difference=-11), [Member("tm-c-0-c7", 11, HOUR)], "no choice of meter events"),
        (replace(MISSING, verdict=CellVerdict.EXTRA, difference=9), MEMBERS, "extra is not corrected"),
    ],
)
def test_what_is_not_certain_or_too_much_is_not_corrected(finding: Finding, members: list[Member], why: str) -> None:
    plan = CorrectionPlan(NOW)
    plan_missing(finding, members, plan)
    assert not plan.steps
    assert why in next(iter(plan.skipped))


def test_a_plan_survives_its_file_and_nothing_else_is_one() -> None:
    plan = CorrectionPlan(NOW)
    plan_missing(MISSING, MEMBERS, plan)
    plan.skipped["why"] += 2
    assert plan_of(orjson.loads(orjson.dumps(plan.as_json()))) == plan
    wrong: list[object] = [{"schema": "taximeter.plan/1"}, {}, [], {**plan.as_json(), "steps": [{}]}]
    for each in wrong:
        with pytest.raises(NoPlan):
            plan_of(each)


def test_a_step_is_stale_once_a_later_read_shows_something_else() -> None:
    plan = CorrectionPlan(NOW)
    plan_missing(MISSING, MEMBERS, plan)
    book = EvidenceBook(10)
    book.take([MISSING])
    assert stale(plan.steps[0], book) is None
    book.take([replace(MISSING, stripe=20, difference=0, verdict=CellVerdict.SETTLED)])
    assert stale(plan.steps[0], book) is not None
    assert refused(0, 7).state is MendState.OPEN


def test_whoever_applies_it_as_a_plan_of_adjustments_is_told_the_command(tmp_path: Path) -> None:
    plan = CorrectionPlan(NOW)
    plan_missing(MISSING, MEMBERS, plan)
    assert read_plan(write_plan(tmp_path / "mend", plan).parent) == plan
    with pytest.raises(PlanUnusable, match="taximeter correct --apply"):
        PlanDirectory(tmp_path / "mend").header()
    with pytest.raises(FileExistsError):
        write_plan(tmp_path / "mend", plan)
