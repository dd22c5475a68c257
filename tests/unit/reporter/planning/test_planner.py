"""The reporter's core, case by case."""

import pytest
from taximeter_emitter.wire.limits import DAY_MS, MINUTE_MS

from metering.folds.ledger import Ledger
from metering.records.chain import ChainLink
from metering.records.fail_closed import ChainBroken
from metering.records.ledger_records import Outcome, Settlement
from metering.records.tally import Tally
from reporter.planning.billing_periods import BillingPeriods
from reporter.planning.planner import PLANNING_MARGIN_MS, PartitionReporter, open_meter_events
from reporter.planning.unplanned import LARGEST_MS
from tests.support.reporter_planning import NOW_MS, planned, tally


def reporter(*tallies: Tally) -> PartitionReporter:
    subject = PartitionReporter(0, "r", Ledger(), rows_max=100, periods=BillingPeriods())
    subject.begin()
    for offset, found in enumerate(tallies):
        subject.add(offset, found)
    return subject


def test_nothing_counted_means_nothing_planned() -> None:
    assert reporter().plan(NOW_MS, 10, 10) is None
    subject = reporter(tally(0, -1, 5))
    subject.observe(0, 0, planned(subject), mine=True)
    assert subject.plan(NOW_MS, 10, 10) is None
    subject.add(1, tally(9, 0, 5))  # it lost its race: read, and worth no intent
    assert (subject.uncovered, subject.plan(NOW_MS, 10, 10)) == (1, None)


def test_an_intent_covers_every_record_that_was_read_also_the_lost_ones() -> None:
    intent = planned(reporter(tally(0, -1, 5), tally(9, 0, 7), tally(1, 0, 2)))
    assert (intent.link, intent.tally_head, intent.events_end) == (ChainLink(0, 3, -1), 2, 2)
    assert [event.value for event in intent.meter_events] == [7]


def test_an_intent_without_usage_only_moves_the_chain() -> None:
    intent = planned(reporter(tally(0, -1), tally(1, 0)))
    assert (intent.link.end, intent.meter_events, intent.unbillable) == (2, [], [])


def test_the_plan_merges_to_what_can_be_sent_in_time() -> None:
    assert len(planned(reporter(tally(0, -1, *[1] * 30))).meter_events) == 30
    merged = planned(reporter(tally(0, -1, *[1] * 30)), rows=5).meter_events
    assert len(merged) <= 5
    assert sum(event.value for event in merged) == 30


@pytest.mark.parametrize(("hourly_max", "left"), [(4, 4), (3, 1), (0, 1)])
def test_windows_grow_beyond_an_hour_only_where_hours_would_be_too_many(hourly_max: int, left: int) -> None:
    # Four hours, all in the quarter of a day that ends with them.
    tallies = tally(0, -1, *[1] * 240, age_ms=NOW_MS % LARGEST_MS + MINUTE_MS)
    assert len(planned(reporter(tallies), rows=2, hourly_max=hourly_max).meter_events) == max(left, 1)
    assert len(planned(reporter(tallies), rows=4, hourly_max=hourly_max).meter_events) == 4, "what can be sent soon stays hourly"


@pytest.mark.parametrize(("late_ms", "billable"), [(0, True), (1, False)])
def test_usage_too_old_for_stripe_is_unbillable_and_recorded(late_ms: int, billable: bool) -> None:
    intent = planned(reporter(tally(0, -1, 5, age_ms=35 * DAY_MS - PLANNING_MARGIN_MS + late_ms)))
    assert (len(intent.meter_events), len(intent.unbillable)) == ((1, 0) if billable else (0, 1))


def test_a_gap_in_the_tallies_stops_the_partition() -> None:
    subject = reporter(tally(0, -1, 5))
    with pytest.raises(ChainBroken, match="records between them are missing"):
        subject.add(2, tally(1, 0, 5))


def test_another_writers_intent_makes_it_forget_and_go_on_from_there() -> None:
    log = [tally(0, -1, 5), tally(1, 0, 2), tally(2, 1, 3)]
    subject, other = reporter(*log), reporter(*log[:2])
    assert subject.observe(0, 0, planned(other))
    assert (subject.tally_position, len(subject.unplanned), subject.unplanned_since_ms) == (2, 0, None)
    assert [event.value for _, event in open_meter_events(subject.ledger, 0)] == [2, 5] or sum(
        e.value for _, e in open_meter_events(subject.ledger, 0)
    ) == 7
    subject.add(2, log[2])
    assert planned(subject).link == ChainLink(2, 3, 0)


def test_its_own_late_intent_loses_and_leaves_the_others_standing() -> None:
    subject, other = reporter(tally(0, -1, 5)), reporter(tally(0, -1, 5))
    intent = planned(subject)
    assert subject.observe(0, 0, planned(other))
    assert not subject.observe(1, 1, intent, mine=True)
    assert list(subject.ledger.open) == [0]
    assert subject.plan(NOW_MS, 10, 10) is None


def test_a_receipt_needs_a_ledger() -> None:
    with pytest.raises(ChainBroken, match="no ledger"):
        reporter().receipt([Settlement(0, 0, Outcome.ACCEPTED, NOW_MS)])


def test_a_settled_intent_has_nothing_open() -> None:
    subject = reporter(tally(0, -1, 5))
    subject.observe(0, 0, planned(subject), mine=True)
    assert len(open_meter_events(subject.ledger, 0)) == 1
    subject.observe(1, 1, subject.receipt([Settlement(0, 0, Outcome.DUPLICATE, NOW_MS)]), mine=True)
    assert open_meter_events(subject.ledger, 0) == []


def test_the_age_of_what_waits_is_that_of_the_first_tally_with_usage() -> None:
    subject = reporter(tally(0, -1))
    ages = [subject.unplanned_since_ms]
    subject.add(1, tally(1, 0, 5))
    ages.append(subject.unplanned_since_ms)
    subject.observe(0, 0, planned(subject), mine=True)
    ages.append(subject.unplanned_since_ms)
    assert ages == [None, NOW_MS, None]
