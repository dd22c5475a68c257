"""Meters that Stripe refuses: their lanes stand still, all others go on, and nothing of them is settled for good."""

from dataclasses import replace

import pytest
from taximeter_emitter.wire.limits import DAY_MS, HOUR_MS

from metering.records.ledger_records import Outcome
from metering.records.service_limits import EVENT_AGE_MAX_MS
from reporter.sending.held_meters import LOOK_SECONDS_MAX, HeldMeters
from reporter.sending.lanes import ATTEMPT_MARGIN_MS, HELD_LOOK_S, Lanes
from reporter.sending.verdicts import Delivered, MeterRefused, Refused, Retry, StopTheWorld, TryAgain, Verdict, interrupted
from tests.support.reporter_lanes import START_MS, lanes, none_ready, outcomes, send, start

INACTIVE = MeterRefused("archived_meter", "The meter must be active.")
LOST = interrupted(Retry.TIMEOUT, "10 s")


def held(subject: Lanes) -> Lanes:
    """A meter event of `tokens` was refused for its meter, at once, and postponed."""
    subject.add(send(0))
    subject.done(start(subject), INACTIVE, START_MS, 0.0)
    assert none_ready(subject)
    return subject


def test_what_was_surely_not_taken_is_postponed_and_nothing_is_rejected() -> None:
    subject = lanes()
    for index in range(3):
        subject.add(send(index))
    subject.add(send(9, customer="cus_2"))
    subject.done(start(subject), INACTIVE, START_MS, 0.0)
    assert none_ready(subject)
    assert sorted(outcomes(subject)) == [(index, Outcome.POSTPONED) for index in (0, 1, 2, 9)]
    assert subject.sends == 0
    assert subject.held.names == {"tokens"}


def test_other_meters_and_other_customers_of_them_go_on() -> None:
    subject = held(lanes())
    subject.add(send(1))
    subject.add(send(2, meter="images"))
    attempt = start(subject)
    assert attempt.send.event.meter == "images"
    subject.done(attempt, Delivered(), START_MS, 0.0)
    assert set(outcomes(subject)) == {(0, Outcome.POSTPONED), (1, Outcome.POSTPONED), (2, Outcome.ACCEPTED)}


def test_attempts_that_were_under_way_postpone_their_events_too() -> None:
    subject = lanes()
    subject.add(send(0))
    subject.add(send(1, customer="cus_2"))
    first, second = start(subject), start(subject)
    subject.done(first, INACTIVE, START_MS, 0.0)
    subject.done(second, INACTIVE, START_MS, 0.1)
    assert none_ready(subject, 0.1)
    assert outcomes(subject) == [(0, Outcome.POSTPONED), (1, Outcome.POSTPONED)]


def test_an_attempt_that_began_before_the_meter_was_refused_does_not_release_it() -> None:
    subject = lanes()
    subject.add(send(0))
    subject.add(send(1, customer="cus_2"))
    first, second = start(subject), start(subject)
    subject.done(first, INACTIVE, START_MS, 0.0)
    subject.done(second, Delivered(), START_MS, 0.1)
    assert subject.held.is_held("tokens")


def test_what_may_have_arrived_waits_under_its_identifier_and_another_key_until_the_meter_is_back() -> None:
    subject = held(lanes())
    subject.add(send(4, doubtful=True))
    assert none_ready(subject)
    assert outcomes(subject) == [(0, Outcome.POSTPONED)]
    assert subject.held.try_again("tokens", seen_at=1.0)
    attempt = start(subject, HELD_LOOK_S)
    assert attempt.send.identifier == "tm-0-4"
    subject.done(attempt, INACTIVE, START_MS, HELD_LOOK_S)
    assert none_ready(subject, HELD_LOOK_S)
    assert outcomes(subject) == []
    assert subject.held.try_again("tokens", seen_at=HELD_LOOK_S + 1)
    again = start(subject, 2 * HELD_LOOK_S)
    assert (again.send.identifier, again.idempotency_key) == ("tm-0-4", "tm-0-4.2")
    subject.done(again, Delivered(duplicate=True), START_MS, 2 * HELD_LOOK_S)
    assert outcomes(subject) == [(4, Outcome.DUPLICATE)]


def test_a_refusal_of_the_meter_after_a_lost_answer_postpones_nothing() -> None:
    subject = lanes()
    subject.add(send(0))
    subject.done(start(subject), LOST, START_MS, 0.0)
    subject.done(start(subject, 2.0), INACTIVE, START_MS, 2.0)
    assert none_ready(subject, 3.0)
    assert outcomes(subject) == [(0, Outcome.UNKNOWN)]
    assert none_ready(subject, 20 * 3600.0)
    assert outcomes(subject) == [(0, Outcome.PARKED)]


def test_a_request_with_many_events_that_may_have_been_taken_in_part_leaves_doubt() -> None:
    subject = lanes()
    subject.add(send(0))
    subject.done(start(subject), MeterRefused("archived_meter", "", maybe_arrived=True), START_MS, 0.0)
    assert none_ready(subject)
    assert outcomes(subject) == [(0, Outcome.UNKNOWN)]


def test_while_a_meter_is_on_trial_one_of_its_events_is_under_way_and_then_all_follow() -> None:
    subject = held(lanes())
    subject.held.try_again("tokens", seen_at=1.0)
    for index in range(1, 4):
        subject.add(send(index, customer=f"cus_{index}"))
    trial = start(subject)
    assert none_ready(subject)
    subject.done(trial, Delivered(), START_MS, 1.0)
    assert {trial.send.index, start(subject, 1.0).send.index, start(subject, 1.0).send.index} == {1, 2, 3}
    assert not subject.held.is_on_trial("tokens")


@pytest.mark.parametrize(("verdict", "taken"), [(Refused("x", "y"), True), (TryAgain(Retry.TIMEOUT), False), (StopTheWorld("401"), False)])
def test_a_trial_is_over_when_stripe_looked_at_the_event_itself(verdict: Verdict, taken: bool) -> None:
    subject = held(lanes())
    subject.held.try_again("tokens", seen_at=1.0)
    subject.add(send(1))
    subject.done(start(subject), verdict, START_MS, 1.0)
    assert subject.held.is_on_trial("tokens") is not taken


def test_a_partition_that_is_given_up_in_the_middle_of_a_trial_leaves_room_for_another_trial() -> None:
    subject = held(lanes())
    subject.held.try_again("tokens", seen_at=1.0)
    subject.add(send(1))
    trial = start(subject)
    subject.forget(0)
    subject.done(trial, interrupted(Retry.CONNECTION_LOST, ""), START_MS, 1.0)
    subject.add(send(2, customer="cus_2", partition=1))
    assert start(subject, 1.0).send.index == 2


def test_a_correction_for_a_held_meter_is_rejected_with_what_to_do_so_that_it_can_be_written_again() -> None:
    subject = held(lanes())
    subject.add(replace(send(1), is_correction=True))
    assert none_ready(subject)
    *_, entry = subject.take_settlements()
    assert entry.settlement.outcome is Outcome.REJECTED
    assert "write it again when Stripe takes the meter" in entry.settlement.detail


def test_usage_that_becomes_too_old_in_its_lane_is_settled_there() -> None:
    subject = held(lanes())
    subject.add(send(1, doubtful=True, age_ms=EVENT_AGE_MAX_MS - ATTEMPT_MARGIN_MS - HOUR_MS, log_time_ms=START_MS + DAY_MS))
    assert none_ready(subject)
    assert none_ready(subject, 3600.0)
    assert outcomes(subject)[-1] == (1, Outcome.PARKED)


def test_looks_come_at_a_growing_interval_that_has_an_end() -> None:
    subject, now = HeldMeters(30.0), 0.0
    assert subject.wait_s(now) is None
    assert subject.refused("tokens", "inactive", 0, now)
    assert not subject.refused("tokens", "inactive", 0, now + 1)
    waits = []
    for _ in range(8):
        wait = subject.wait_s(now)
        assert wait is not None
        waits.append(wait)
        now += wait
        assert not subject.still_refused("tokens", "inactive", 0, now)
    assert waits == [30.0, 60.0, 120.0, 240.0] + [LOOK_SECONDS_MAX] * 4
    assert subject.try_again("tokens", seen_at=now)
    assert subject.refused("tokens", "inactive", 0, now), "held again"
    assert subject.wait_s(now) == LOOK_SECONDS_MAX, "a trial that failed starts no faster"
    subject.try_again("tokens", seen_at=now)
    assert subject.took("tokens")
    subject.refused("tokens", "inactive", 0, now)
    assert subject.wait_s(now) == 30.0


def test_a_look_from_before_the_refusal_releases_nothing() -> None:
    subject = HeldMeters(30.0)
    subject.refused("tokens", "inactive", 0, 10.0)
    assert not subject.try_again("tokens", seen_at=9.0)
    assert subject.names == {"tokens"}
    assert list(subject.holds) == ["tokens"]
