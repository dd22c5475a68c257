"""The reporter's core, case by case."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from taximeter_emitter.wire.limits import DAY_MS, MINUTE_MS

from metering.folds.ledger import Ledger, ledger_from
from metering.records.chain import ChainLink
from metering.records.fail_closed import ChainBroken
from metering.records.ledger_records import MeterEvent, Outcome, Settlement
from metering.records.tally import Tally, TallyRow
from reporter.planning.billing_periods import BillingPeriods
from reporter.planning.planner import PLANNING_MARGIN_MS, PartitionReporter, open_meter_events
from reporter.planning.unplanned import LARGEST_MS
from tests.support.reporter_planning import NOW_MS, planned, tally

HELD = frozenset({"tokens"})


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


def sums(events: Sequence[MeterEvent]) -> int:
    return sum(event.value for event in events)


def test_usage_of_a_held_meter_goes_from_intent_to_intent_and_is_sent_once_when_the_meter_is_back() -> None:
    subject = reporter(tally(0, -1, 5, 6))
    subject.hold(HELD)
    first = planned(subject)
    assert (first.meter_events, sums(first.carried)) == ([], 11)
    assert subject.observe(0, 0, first, mine=True)
    subject.add(1, tally(1, 0, 7))
    second = planned(subject)
    assert (second.meter_events, sums(second.carried)) == ([], 18)
    assert subject.observe(1, 0, second, mine=True)
    subject.hold(frozenset())
    third = planned(subject)  # no tally came since
    assert (third.link, sums(third.meter_events), third.carried) == (ChainLink(2, 2, 1), 18, [])
    assert subject.observe(2, 0, third, mine=True)
    assert subject.plan(NOW_MS, 10, 10) is None


def test_units_are_unreported_from_when_they_are_read_to_their_final_outcome() -> None:
    subject = reporter(tally(0, -1, 5, 6))
    (meter,) = subject.unreported_units()
    assert subject.unreported_units() == {meter: 11}
    intent = planned(subject)
    assert subject.unreported_units() == {meter: 11}, "planned, and not appended yet"
    assert subject.observe(0, 0, intent, mine=True)
    subject.add(1, tally(1, 0, 7))
    assert subject.unreported_units() == {meter: 18}
    settled = subject.receipt([Settlement(0, index, Outcome.ACCEPTED, NOW_MS) for index in range(len(intent.meter_events))])
    assert subject.observe(1, 0, settled, mine=True)
    assert subject.unreported_units() == {meter: 7}


def test_usage_of_held_meters_alone_is_worth_an_intent_until_one_carries_it() -> None:
    subject = reporter()
    subject.hold(HELD)
    subject.add(0, tally(0, -1, 5))
    assert (len(subject.unplanned), subject.carries_more) == (0, True)
    subject.observe(0, 0, planned(subject), mine=True)
    assert (len(subject.carried), subject.carries_more) == (1, False)


def test_however_much_is_carried_the_other_meters_go_on() -> None:
    subject = reporter()
    subject.hold(HELD)
    for number in range(5):
        rows = [TallyRow(f"cus_{number}_{place}", "tokens", (), NOW_MS, 1, 1) for place in range(100)]  # rows_max is 100
        rows.append(TallyRow("cus", "images", (), NOW_MS, 1, 1))
        subject.add(number, replace(tally(number, number - 1, 1), rows=rows))
        assert not subject.is_full
    intent = planned(subject)
    assert (sums(intent.meter_events), sums(intent.carried)) == (5, 500)
    assert subject.observe(0, 0, intent, mine=True)
    subject.hold(frozenset())
    assert sums(planned(subject).meter_events) == 500


def test_a_new_owner_finds_what_is_carried_even_where_nothing_is_open() -> None:
    subject = reporter(tally(0, -1, 5))
    subject.hold(HELD)
    intent = planned(subject)
    subject.observe(0, 0, intent, mine=True)
    assert subject.ledger.checkpoint == 0
    heir = PartitionReporter(0, "heir", ledger_from(0, intent), rows_max=100, periods=BillingPeriods())
    heir.observe(0, 0, intent)
    heir.begin()
    assert sums(planned(heir).meter_events) == 5


def test_what_was_postponed_is_in_the_next_intent_and_until_then_the_ledger_is_read_from_where_it_was_planned() -> None:
    subject = reporter(tally(0, -1, 5, 6))
    intent = planned(subject)
    subject.observe(0, 0, intent, mine=True)
    subject.observe(1, 0, subject.receipt([Settlement(0, 0, Outcome.POSTPONED, NOW_MS), Settlement(0, 1, Outcome.ACCEPTED, NOW_MS)]), mine=True)
    assert (subject.ledger.open, subject.ledger.checkpoint) == ({}, 0)
    again = planned(subject)
    assert [event.value for event in again.meter_events] == [intent.meter_events[0].value]
    assert again.identifier(0) != intent.identifier(0)
    subject.observe(2, 0, again, mine=True)
    assert (subject.ledger.waiting, subject.ledger.checkpoint) == ([], 2)


def test_who_is_not_alone_postpones_nothing() -> None:
    subject = reporter(tally(0, -1, 5))
    subject.observe(0, 0, planned(subject), mine=True)
    rival = PartitionReporter(0, "rival", subject.ledger, rows_max=100, periods=BillingPeriods())
    subject.observe(1, 0, rival.receipt([]))
    subject.observe(2, 0, subject.receipt([Settlement(0, 0, Outcome.POSTPONED, NOW_MS)]), mine=True)
    assert (subject.ledger.waiting, subject.ledger.settled) == ([], {Outcome.PARKED: 1})
    assert subject.plan(NOW_MS, 10, 10) is None


def test_of_two_intents_without_tallies_at_one_place_the_first_counts() -> None:
    subject, rival = reporter(tally(0, -1, 5)), reporter(tally(0, -1, 5))
    subject.hold(HELD)
    first = planned(subject)
    for each in (subject, rival):
        each.observe(0, 0, first, mine=each is subject)
        each.hold(frozenset())
    taken, late = planned(subject), planned(rival)
    assert taken.link == late.link
    assert subject.observe(1, 0, taken, mine=True)
    assert not subject.observe(2, 0, late)
    assert rival.observe(1, 0, taken)
    assert not rival.observe(2, 0, late, mine=True)
    assert rival.plan(NOW_MS, 10, 10) is None
    assert len({first.identifier(0), taken.identifier(0)}) == 2


def test_an_intent_from_before_one_without_tallies_does_not_count_although_its_range_fits() -> None:
    subject, rival = reporter(tally(0, -1, 5)), reporter(tally(0, -1, 5))
    subject.hold(HELD)
    first = planned(subject)
    for each in (subject, rival):
        each.observe(0, 0, first, mine=each is subject)
        each.hold(frozenset())
    rival.add(1, tally(1, 0, 7))
    taken, late = planned(subject), planned(rival)
    assert subject.observe(1, 0, taken, mine=True)
    assert not subject.observe(2, 0, late)
    assert rival.observe(1, 0, taken)
    assert not rival.observe(2, 0, late, mine=True)
    rival.add(1, tally(1, 0, 7))
    assert sums(planned(rival).meter_events) == 7


def test_intents_without_tallies_have_identifiers_of_their_own() -> None:
    subject = reporter(tally(0, -1, 5))
    names = set()
    for offset in range(0, 6, 2):
        intent = planned(subject)
        names.add(intent.identifier(0))
        subject.observe(offset, 0, intent, mine=True)
        subject.observe(offset + 1, 0, subject.receipt([Settlement(offset, 0, Outcome.POSTPONED, NOW_MS)]), mine=True)
    assert len(names) == 3


def test_usage_of_other_meters_is_planned_beside_a_held_one() -> None:
    subject = reporter()
    rows = [TallyRow("cus", meter, (), NOW_MS, 3, 1) for meter in ("tokens", "images")]
    subject.hold(HELD)
    subject.add(0, replace(tally(0, -1, 1), rows=rows))
    intent = planned(subject)
    assert ([event.meter for event in intent.meter_events], [event.meter for event in intent.carried]) == (["images"], ["tokens"])


def test_carried_usage_that_becomes_too_old_is_unbillable() -> None:
    subject = reporter(tally(0, -1, 5))
    subject.hold(HELD)
    subject.observe(0, 0, planned(subject), mine=True)
    subject.add(1, tally(1, 0))
    intent = subject.plan(NOW_MS + 35 * DAY_MS, 100, 100)
    assert intent is not None
    assert (sums(intent.unbillable), intent.carried) == (5, [])
    subject.observe(1, 0, intent, mine=True)
    assert (len(subject.carried), subject.ledger.waiting) == (0, [])
