"""What the doctor finds in given facts: each cause once, most urgent first, with what to type."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from audit.next_boundary import NextBoundary
from audit.positions import PACE_MS, CarriedUsage, PartitionPosition
from audit.stops import GroupMemberSeen, GroupSeen
from billing.catalogue.price_list import PriceList
from billing.checkup.checks import Check
from taximeter.account_prices import PlanMoney
from taximeter.doctor.diagnosis import Cause, Urgency, diagnose, meets_deadline, needs_a_person
from taximeter.doctor.doctor_facts import Facts, GatewaySeen, StripeFacts
from taximeter.doctor.doctor_page import document, page
from tests.support.billing_catalogue import FOUND_PRICE

NOW_MS = 1_700_000_000_000
NOW_S = NOW_MS // 1000
PRICES = PriceList({"tokens": (replace(FOUND_PRICE, terms=replace(FOUND_PRICE.terms, package=None, unit_amount=Decimal(4))),)})
STRIPE = StripeFacts(configured=True, boundary=NextBoundary(NOW_S + 86_400, 3, True, 3_600), money=PlanMoney(PRICES), events_limit=100)


def position(partition: int = 0, **changed: Any) -> PartitionPosition:
    settled: dict[str, Any] = {
        "partition": partition,
        "events_end": 9,
        "readable_end": 9,
        "uncounted": 0,
        "counted_to": 9,
        "tallies_end": 4,
        "reported_to": 4,
        "unreported": 0,
        "uncovered_rows": 0,
        "open_meter_events": 0,
        "unknown_meter_events": 0,
        "open_corrections": 0,
    }
    return PartitionPosition(**{**settled, **changed})


def group(*owned: tuple[int, ...], stopped: Mapping[int, str] | None = None, state: str = "Stable", version: str = "0.1.0") -> GroupSeen:
    members = tuple(GroupMemberSeen(f"process-{number}", "10.0.0.1", partitions) for number, partitions in enumerate(owned))
    return GroupSeen(state, members, stopped or {}, frozenset({version}))


def facts(**changed: Any) -> Facts:
    well: dict[str, Any] = {
        "now_ms": NOW_MS,
        "version": "0.1.0",
        "partitions": 2,
        "hours": 24.0,
        "brokers": 3,
        "positions": [position(0), position(1)],
        "groups": {"aggregator": group((0,), (1,)), "reporter": group((0,), (1,))},
        "set_aside": {},
        "refused": {},
        "versions": (),
        "stripe": STRIPE,
    }
    return Facts(**{**well, **changed})


def only(found: list[Cause]) -> Cause:
    (cause,) = found
    return cause


def waiting(events: int, *, since_s: int = 30, lately: int = 0, units: int = 50) -> list[PartitionPosition]:
    return [
        position(0, uncovered_rows=events, waiting={("cus_1", "tokens"): units}, waits_since_ms=NOW_MS - since_s * 1000, settled_lately=lately),
        position(1),
    ]


def test_a_healthy_installation_needs_nobody() -> None:
    assert diagnose(facts()) == []
    assert "All is well: nothing needs a person" in page(facts(), width=80, runbooks="docs/runbooks")


def test_kafka_away_is_one_cause_and_hides_nothing_of_stripe() -> None:
    away = facts(kafka_problem="connection refused", positions=[], groups={}, set_aside=None, refused=None, versions=None)
    cause = only(diagnose(away))
    assert (cause.urgency, cause.runbook) == (Urgency.NOW, "TaximeterKafkaUnavailable")
    both = diagnose(replace(away, stripe=replace(STRIPE, problem="Invalid API Key", refused=True)))
    assert {each.runbook for each in both} == {"TaximeterKafkaUnavailable", "TaximeterStripeHalted"}


@pytest.mark.parametrize(
    ("reason", "command"),
    [
        ("HistoryLost: retention deleted events of partition 1 that were never counted: 3 to 8", "taximeter repair accept-loss 1"),
        ("Unforeseen: KeyError at offset 17, 3 times in a row", "taximeter repair skip --partition 1 --offset 17"),
        (
            "RecordUnreadable: no copy can be read; taximeter repair skip --topic tallies --partition 1 --offset 5 shows it",
            "taximeter repair skip --topic tallies --partition 1 --offset 5",
        ),
        ("ChainBroken: the topic was cut or created again", "taximeter verify"),
        ("FormDiffers: tally 7 of partition 1 has a sum of meter seats", "taximeter verify"),
    ],
)
def test_a_stopped_partition_has_its_reason_and_the_command_to_type(reason: str, command: str) -> None:
    cause = only(diagnose(facts(groups={"aggregator": group((0,), (1,), stopped={1: reason}), "reporter": group((0,), (1,))})))
    assert reason in cause.what
    assert cause.commands[0].startswith(command)
    assert cause.runbook == "TaximeterPartitionStopped"


def test_partitions_that_stopped_for_one_reason_are_one_cause() -> None:
    stopped = {0: "MeterMissing: tokens", 1: "MeterMissing: tokens"}
    cause = only(diagnose(facts(groups={"aggregator": group((0,), (1,)), "reporter": group((0,), (1,), stopped=stopped)})))
    assert cause.what.startswith("the reporter stopped partitions 0, 1:")


def test_what_its_owner_stopped_is_not_told_again_as_a_contradiction() -> None:
    stopped = {0: "ChainBroken: the topic was cut"}
    positions = [position(0, problem="ChainBroken: the topic was cut"), position(1)]
    groups = {"aggregator": group((0,), (1,), stopped=stopped), "reporter": group((0,), (1,))}
    assert len(diagnose(facts(positions=positions, groups=groups))) == 1
    assert only(diagnose(facts(positions=positions))).commands == ("taximeter verify",)


def test_nobody_at_work_some_unowned_and_one_alone_are_told_apart() -> None:
    whole = group((0,), (1,))
    gone = diagnose(facts(groups={"aggregator": whole, "reporter": GroupSeen("Empty")}, positions=waiting(5, since_s=4_000)))
    assert [each.runbook for each in gone] == ["TaximeterServiceDown"], "and that reporting is late follows from it"
    assert only(diagnose(facts(groups={"aggregator": group((0,), ()), "reporter": whole}))).runbook == "TaximeterPartitionsUnowned"
    alone = diagnose(facts(groups={"aggregator": group((0, 1)), "reporter": whole}))
    assert (only(alone).urgency, needs_a_person(alone)) == (Urgency.NOTE, False)
    moving = diagnose(facts(groups={"aggregator": group((), (), state="PreparingRebalance"), "reporter": whole}))
    assert only(moving).urgency is Urgency.NOTE


def test_stripe_away_is_for_now_only_when_invoices_become_final_soon() -> None:
    away = replace(STRIPE, problem="connection reset")
    far = diagnose(facts(stripe=away, positions=waiting(5, since_s=4_000)))
    assert [(each.urgency, each.runbook) for each in far] == [(Urgency.SOON, "TaximeterStripeUnavailable")]
    near = replace(away, boundary=NextBoundary(NOW_S - 600, 3, True, 3_600))
    assert only(diagnose(facts(stripe=near))).runbook == "TaximeterStripeUnavailableNearInvoice"
    assert only(diagnose(facts(stripe=replace(away, boundary=None)))).urgency is Urgency.NOW


def test_a_backlog_goes_at_the_pace_that_was_seen_and_the_rest_with_the_next_report() -> None:
    assert facts().catch_up_seconds == 0.0
    assert facts(positions=waiting(50, lately=300)).catch_up_seconds == 60 + 50 / 100
    pace = 3_000
    assert facts(positions=waiting(6_000, lately=pace)).catch_up_seconds == 6_000 * PACE_MS / 1000 / pace
    assert facts(positions=waiting(50), stripe=replace(STRIPE, problem="away")).catch_up_seconds is None
    assert facts(positions=waiting(50), groups={"reporter": GroupSeen("Empty")}).catch_up_seconds is None


def test_what_will_miss_its_invoice_is_told_before_it_does() -> None:
    late = facts(positions=waiting(100_000, lately=300, since_s=1_000))
    assert meets_deadline(late) is False
    assert [each.runbook for each in diagnose(late)] == ["TaximeterUsageMissesInvoice"]
    stuck = diagnose(facts(positions=waiting(5, since_s=1_000)))
    assert (only(stuck).urgency, only(stuck).what) == (Urgency.NOW, "meter events wait and none got an outcome in five minutes")
    delayed = facts(positions=waiting(5, since_s=1_000, lately=1))
    assert meets_deadline(delayed) is True
    assert [each.runbook for each in diagnose(delayed)] == ["TaximeterReportingDelayed"]


def test_of_a_period_that_has_just_ended_the_usage_that_waits_since_before_decides() -> None:
    """The next boundary is far: what waits is for the invoice that becomes final in ten minutes."""
    ended = replace(STRIPE, boundary=NextBoundary(NOW_S + 30 * 86_400, 3, True, 3_600, ended_s=NOW_S - 3_000, ended_customers=2))
    waits = waiting(100_000, lately=15_000, since_s=3_300)
    assert meets_deadline(facts(positions=waits)) is True
    missed = facts(positions=waits, stripe=ended)
    assert meets_deadline(missed) is False
    assert [each.runbook for each in diagnose(missed)] == ["TaximeterUsageMissesInvoice"]
    lines = page(missed, width=80, runbooks="docs/runbooks")
    assert any("the period of 2 customers ended 50 min ago" in line for line in lines)
    assert "WHAT WAITS WILL BE TOO LATE" in " ".join(" ".join(lines).split())
    assert max(map(len, lines)) <= 80
    of_the_new_period = facts(positions=waiting(100_000, lately=15_000, since_s=60), stripe=ended)
    assert meets_deadline(of_the_new_period) is True
    away = diagnose(facts(stripe=replace(ended, problem="connection reset"), positions=waits))
    assert only(away).runbook == "TaximeterStripeUnavailableNearInvoice"


def test_what_waits_for_a_decision_is_told_with_its_command() -> None:
    held = CarriedUsage(70, NOW_MS - 1000)
    positions = [position(0, carried={"tokens": held}), position(1, unlinked={"tokens": held}, outcomes=Counter())]
    found = diagnose(
        facts(positions=positions, refused={"parked": 2}, unnamed=3, set_aside={"malformed_json": 4}, topic_problems=["retention.ms is 1"])
    )
    assert [(each.urgency, each.runbook) for each in found] == [
        (Urgency.NOW, "TaximeterTopicsWrong"),
        (Urgency.NOW, "TaximeterMeterEventsParked"),
        (Urgency.NOW, "TaximeterStripeRefusalsUnnamed"),
        (Urgency.NOW, "TaximeterMeterHeld"),
        (Urgency.SOON, "TaximeterUnlinkedUsage"),
        (Urgency.SOON, "TaximeterDeadLetters"),
    ]
    assert all(each.commands for each in found)


def test_a_source_that_did_not_answer_is_named_and_hides_no_other() -> None:
    found = diagnose(facts(refused=None, unasked=["what Stripe refused: no answer within 6 s"], set_aside={"negative": 1}))
    assert [each.what for each in found if "not known" in each.what] == ["not known: what Stripe refused: no answer within 6 s"]
    assert len(found) == 2


def test_partitions_that_kafka_is_silent_about_are_named_once_and_wake_nobody_at_first() -> None:
    found = diagnose(facts(positions=[PartitionPosition.not_read(0, "Kafka did not answer within 8 s"), position(1)]))
    assert (only(found).urgency, only(found).runbook) == (Urgency.SOON, "TaximeterKafkaUnsteady")
    assert only(found).what.startswith("the position of partition 0 is not known")


def test_an_open_transaction_and_several_versions_need_nobody_yet() -> None:
    groups = {"aggregator": group((0,), (1,)), "reporter": group((0,), (1,), version="0.2.0")}
    found = diagnose(facts(groups=groups, positions=[position(0, readable_end=5), position(1)]))
    assert not needs_a_person(found)
    assert len(found) == 2


def test_the_page_fits_in_eighty_columns_and_says_units_money_and_time() -> None:
    checks = (Check("meter tokens", "failed", "is not there", "run setup"),)
    said = facts(
        positions=waiting(1_200, since_s=700, lately=3_000, units=1_234),
        stripe=replace(STRIPE, checks=checks),
        groups={"aggregator": group((0,), (1,), stopped={1: "HistoryLost: " + "lost " * 40}), "reporter": group((0,), (1,))},
    )
    lines = page(said, width=80, runbooks="https://runbooks.example")
    text = " ".join(" ".join(lines).split())
    assert max(map(len, lines)) <= 80
    assert "NOT WELL: 2 things need a person now" in text
    assert "1,234 units, the oldest counted 11 min 40 s ago: 49.36 USD by the account's prices" in text
    assert "runbook https://runbooks.example/TaximeterPartitionStopped.md" in text
    assert "next billing boundary in 1 d" in text
    assert text.index("1,234 units") < text.index("invoices are final")


def test_the_document_says_the_same_in_numbers() -> None:
    found = document(facts(positions=waiting(5)), runbooks="docs/runbooks")
    assert found["needs_a_person"] is False
    assert found["waiting"]["units"] == {"tokens": 50}
    assert found["waiting"]["money"]["amounts"] == [{"currency": "usd", "low": "2.00", "high": "2.00"}]
    assert (found["waiting"]["meter_events"], found["will_be_met"]) == (5, True)
    away = document(facts(kafka_problem="refused", positions=[], groups={}), runbooks="https://r.example/")
    assert away["causes"][0]["runbook"] == "https://r.example/TaximeterKafkaUnavailable.md"
    assert (away["waiting"], away["catch_up_seconds"]) == (None, None), "nobody knows"
    assert away["kafka"] == {"answers": False, "problem": "refused", "brokers": 3}


def test_a_gateway_that_takes_nothing_needs_a_person_and_one_that_was_not_asked_is_not_called_well() -> None:
    dead, full, good = GatewaySeen("http://a", "refused", answers=False), GatewaySeen("http://b", "kafka: no answer"), GatewaySeen("http://c")
    found = facts(gateways=[dead, full, good])
    causes = diagnose(found)
    assert [cause.urgency for cause in causes] == [Urgency.NOW, Urgency.NOW]
    assert [cause.what for cause in causes] == [
        "the gateway at http://a does not answer: refused. What is sent to it is not taken",
        "the gateway at http://b takes no events: kafka: no answer",
    ]
    assert any("1 of 3 take events" in line for line in page(found, width=80, runbooks="r"))
    assert any(line.startswith("gateways") and "not asked" in line for line in page(facts(), width=80, runbooks="r"))
    assert [each["answers"] for each in document(found, runbooks="r")["gateways"]] == [False, True, True]


def test_without_kafka_a_gateway_that_says_so_is_no_second_cause() -> None:
    gateways = [GatewaySeen("http://a", "kafka: no answer"), GatewaySeen("http://b", "refused", answers=False)]
    found = diagnose(facts(kafka_problem="no broker", gateways=gateways))
    assert [cause.what.split(":")[0] for cause in found] == ["Kafka does not answer", "the gateway at http"]
