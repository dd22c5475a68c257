import time
from dataclasses import replace

import pytest
from taximeter_emitter.wire.limits import DAY_MS, HOUR_MS

from metering.records.ledger_records import Outcome
from metering.records.service_limits import EVENT_AGE_MAX_MS, RETRY_SAME_IDENTIFIER_MS
from reporter.sending.lanes import ATTEMPT_MARGIN_MS, MeterSend, idempotency_key
from reporter.sending.verdicts import Delivered, Refused, Retry, StopTheWorld, TooOld, TryAgain, Verdict, interrupted, unreachable
from tests.support.reporter_lanes import START_MS, lanes, none_ready, outcomes, send, start

LOST = interrupted(Retry.TIMEOUT, "10 s")
REFUSED = Refused("no_meter", "No active meter")
DENIED = StopTheWorld("HTTP 401")
HOUR_S = 3600.0


@pytest.mark.parametrize(
    ("doubtful", "verdict", "outcome"),
    [
        (False, Delivered(), Outcome.ACCEPTED),
        (True, Delivered(), Outcome.ACCEPTED),
        (False, Delivered(duplicate=True), Outcome.DUPLICATE),
        (True, Delivered(duplicate=True), Outcome.DUPLICATE),
        (False, REFUSED, Outcome.REJECTED),
        (True, REFUSED, Outcome.PARKED),
        (False, TooOld("35 days"), Outcome.UNBILLABLE),
        (True, TooOld("35 days"), Outcome.PARKED),
    ],
)
def test_a_final_verdict_settles_and_a_refusal_decides_nothing_about_an_earlier_attempt(doubtful: bool, verdict: Verdict, outcome: Outcome) -> None:
    subject = lanes()
    subject.add(send(3, partition=5, doubtful=doubtful))
    subject.done(start(subject), verdict, START_MS + 40, 0.04)
    *_, entry = subject.take_settlements()
    assert (entry.partition, entry.settlement.intent, entry.settlement.index) == (5, 7, 3)
    assert (entry.settlement.outcome, entry.settlement.at_ms) == (outcome, START_MS + 40)
    assert (subject.sends, subject.in_flight, subject.take_settlements()) == (0, 0, [])


def test_the_ledger_is_told_that_an_attempt_before_ours_may_arrive_yet() -> None:
    subject = lanes()
    for index, (doubtful, verdict) in enumerate([(True, Delivered()), (True, Delivered(duplicate=True)), (False, Delivered())]):
        subject.add(send(index, customer=f"cus_{index}", doubtful=doubtful))
        subject.done(start(subject), verdict, START_MS, 0.0)
    assert outcomes(subject) == [(0, Outcome.UNKNOWN), (0, Outcome.ACCEPTED), (1, Outcome.DUPLICATE), (2, Outcome.ACCEPTED)]


def test_a_cancellation_has_no_age_but_that_of_its_correction() -> None:
    subject = lanes()
    subject.add(replace(send(0, age_ms=EVENT_AGE_MAX_MS), cancels="tm-0-9"))
    attempt = start(subject)
    assert (attempt.send.cancels, attempt.idempotency_key) == ("tm-0-9", "tm-0-0")
    subject.done(attempt, REFUSED, START_MS, 0.0)
    assert outcomes(subject) == [(0, Outcome.REJECTED)]


def test_a_lane_has_one_attempt_in_flight_and_keeps_its_order() -> None:
    subject = lanes()
    for index in range(3):
        subject.add(send(index))
    for index in range(3):
        attempt = start(subject)
        assert attempt.send.index == index
        assert none_ready(subject)
        subject.done(attempt, Delivered(), START_MS, 0.0)
    assert [index for index, _ in outcomes(subject)] == [0, 1, 2]


def test_lanes_are_by_customer_and_meter_and_take_turns() -> None:
    subject = lanes()
    for index, (customer, meter) in enumerate([("a", "m"), ("a", "m"), ("a", "n"), ("b", "m"), ("am", "")]):
        subject.add(send(index, customer=customer, meter=meter))
    attempts = [start(subject) for _ in range(4)]
    assert [attempt.send.index for attempt in attempts] == [0, 2, 3, 4]
    assert none_ready(subject)
    subject.done(attempts[0], Delivered(), START_MS, 0.0)
    assert start(subject).send.index == 1


def test_a_long_lane_does_not_keep_the_others_waiting() -> None:
    subject = lanes(in_flight_max=1)
    for index in range(10):
        subject.add(send(index, customer="long"))
    subject.add(send(10, customer="short"))
    order = []
    while attempt := subject.next_ready(START_MS, 0.0):
        order.append(attempt.send.index)
        subject.done(attempt, Delivered(), START_MS, 0.0)
    assert order == [0, 10, *range(1, 10)]


def test_a_failed_head_is_retried_later_with_the_same_identifier_and_holds_back_its_lane_only() -> None:
    subject = lanes(retry_s=2.0)
    subject.add(send(0, customer="a"))
    subject.add(send(1, customer="a"))
    subject.add(send(2, customer="b"))
    first = start(subject)
    subject.done(first, unreachable("refused"), START_MS, 0.0)
    assert start(subject).send.index == 2
    assert none_ready(subject, 1.9)
    assert subject.wait_s(1.5) == 0.5
    again = start(subject, 2.0)
    assert (again.send, again.number, again.idempotency_key) == (first.send, 2, first.idempotency_key)
    assert outcomes(subject) == []


def test_the_first_attempt_that_may_have_arrived_is_recorded_once() -> None:
    subject = lanes()
    subject.add(send())
    subject.done(start(subject), unreachable("refused"), START_MS, 0.0)
    assert outcomes(subject) == []
    subject.done(start(subject, 1.0), LOST, START_MS, 1.0)
    (entry,) = subject.take_settlements()
    assert (entry.settlement.outcome, entry.settlement.detail) == (Outcome.UNKNOWN, "timeout: 10 s")
    subject.done(start(subject, 3.0), LOST, START_MS, 3.0)
    subject.done(start(subject, 6.0), Delivered(duplicate=True), START_MS, 6.0)
    assert outcomes(subject) == [(0, Outcome.DUPLICATE)]


def test_doubt_is_of_one_send_and_not_of_its_lane() -> None:
    subject = lanes()
    subject.add(send(0))
    subject.add(send(1))
    subject.done(start(subject), LOST, START_MS, 0.0)
    subject.done(start(subject, 1.0), Delivered(), START_MS, 1.0)
    attempt = start(subject, 1.0)
    assert (attempt.send.index, attempt.number) == (1, 1)
    subject.done(attempt, REFUSED, START_MS, 1.0)
    assert outcomes(subject) == [(0, Outcome.UNKNOWN), (0, Outcome.ACCEPTED), (1, Outcome.REJECTED)]


def test_what_an_earlier_owner_may_have_sent_is_not_recorded_as_unknown_again() -> None:
    subject = lanes()
    subject.add(send(doubtful=True))
    subject.done(start(subject), LOST, START_MS, 0.0)
    assert outcomes(subject) == []


def test_the_idempotency_key_changes_when_asked_and_every_eighth_attempt_the_identifier_never() -> None:
    subject = lanes(retry_s=0.001)
    subject.add(send())
    keys = []
    for number in range(1, 20):
        attempt = start(subject, float(number))
        keys.append(attempt.idempotency_key)
        assert attempt.send.identifier == "tm-0-0"
        subject.done(attempt, TryAgain(Retry.SERVER_ERROR, maybe_arrived=True, rotate_key=number == 3), START_MS, float(number))
    assert keys == ["tm-0-0"] * 3 + ["tm-0-0.2"] * 5 + ["tm-0-0.3"] * 8 + ["tm-0-0.4"] * 3
    assert len(idempotency_key("x" * 100, 10**6)) <= 255


def test_after_twenty_hours_a_send_is_parked_and_the_lane_goes_on() -> None:
    subject = lanes()
    subject.add(send(0))
    subject.add(send(1, log_time_ms=START_MS + HOUR_MS))
    last_chance = RETRY_SAME_IDENTIFIER_MS / 1000 - 0.001
    subject.done(start(subject, last_chance), LOST, START_MS, last_chance)
    attempt = start(subject, last_chance + 1)
    assert attempt.send.index == 1
    unknown, parked = subject.take_settlements()
    assert unknown.settlement.outcome is Outcome.UNKNOWN
    assert (parked.settlement.outcome, parked.settlement.index) == (Outcome.PARKED, 0)
    assert "timeout: 10 s" in parked.settlement.detail


def test_exactly_at_twenty_hours_nothing_is_sent_any_more() -> None:
    subject = lanes()
    subject.add(send())
    assert none_ready(subject, 20 * HOUR_S)
    assert outcomes(subject) == [(0, Outcome.PARKED)]
    assert (subject.sends, subject.ready_lanes, subject.wait_s(20 * HOUR_S)) == (0, 0, None)


@pytest.mark.parametrize(("doubtful", "outcome"), [(False, Outcome.UNBILLABLE), (True, Outcome.PARKED)])
def test_usage_too_old_for_stripe_is_not_sent(doubtful: bool, outcome: Outcome) -> None:
    subject = lanes()
    subject.add(send(0, age_ms=EVENT_AGE_MAX_MS - ATTEMPT_MARGIN_MS, doubtful=doubtful))
    subject.add(send(1, age_ms=EVENT_AGE_MAX_MS - ATTEMPT_MARGIN_MS - 1, doubtful=doubtful))
    assert start(subject).send.index == 1
    assert outcomes(subject) == [(0, outcome)]


def test_a_wall_clock_set_back_delays_no_retry() -> None:
    subject = lanes()
    subject.add(send())
    subject.done(start(subject, 50.0), unreachable("refused"), START_MS, 50.0)
    assert subject.next_ready(START_MS - DAY_MS, 51.0) is not None


def test_a_denied_key_stops_every_lane_and_settles_nothing() -> None:
    subject = lanes(probe_every_s=30.0)
    for index in range(4):
        subject.add(send(index, customer=f"cus_{index}"))
    first, second = start(subject), start(subject)
    subject.done(first, DENIED, START_MS, 5.0)
    assert subject.stopped == "HTTP 401"
    assert none_ready(subject, 34.9)
    assert subject.wait_s(10.0) == 25.0
    # What was in flight already may still come through; it says nothing about the key now.
    subject.done(second, Delivered(), START_MS, 6.0)
    assert outcomes(subject) == [(1, Outcome.ACCEPTED)]
    assert none_ready(subject, 34.9)


def test_a_probe_at_a_time_finds_out_when_the_world_may_go_on() -> None:
    subject = lanes(probe_every_s=30.0)
    for index in range(4):
        subject.add(send(index, customer=f"cus_{index}"))
    denied = start(subject)
    subject.done(denied, DENIED, START_MS, 0.0)
    for number in range(1, 4):
        probe = start(subject, number * 30.0)
        assert none_ready(subject, number * 30.0 + 10)
        assert subject.wait_s(number * 30.0) is None
        subject.done(probe, DENIED if number < 3 else unreachable("refused"), START_MS, number * 30.0)
        assert subject.stopped == "HTTP 401"
    assert none_ready(subject, 119.0)
    probe = start(subject, 120.0)
    subject.done(probe, Delivered(), START_MS, 120.0)
    assert subject.stopped is None
    rest = [start(subject, 200.0) for _ in range(3)]
    # The denied attempts count as not made.
    assert {attempt.send.index for attempt in (*rest, probe)} == {0, 1, 2, 3}
    assert sorted(attempt.number for attempt in rest) == [1, 1, 2]


def test_denials_of_what_was_in_flight_do_not_put_the_probe_off() -> None:
    subject = lanes(probe_every_s=30.0)
    for index in range(2):
        subject.add(send(index, customer=f"cus_{index}"))
    first, second = start(subject), start(subject)
    subject.done(first, DENIED, START_MS, 0.0)
    subject.done(second, StopTheWorld("HTTP 403"), START_MS, 9.0)
    assert subject.stopped == "HTTP 403"
    assert subject.wait_s(9.0) == 21.0
    start(subject, 30.0)


def test_a_stopped_world_does_not_wait_for_a_probe_when_nothing_is_left_to_send() -> None:
    subject = lanes()
    subject.add(send(0))
    subject.done(start(subject), DENIED, START_MS, 0.0)
    assert none_ready(subject, 21 * HOUR_S)
    assert outcomes(subject) == [(0, Outcome.PARKED)]
    empty = subject.stopped  # were it set, no intent would be written, and no send would ever find out
    subject.add(send(1, log_time_ms=START_MS + 21 * HOUR_MS))
    assert (empty, subject.stopped) == (None, "HTTP 401")
    subject.done(start(subject, 21 * HOUR_S), Delivered(), START_MS + 21 * HOUR_MS, 21 * HOUR_S)
    assert subject._stopped is None


def test_a_refused_event_proves_that_the_key_works() -> None:
    subject = lanes()
    subject.add(send(0))
    subject.done(start(subject), DENIED, START_MS, 0.0)
    subject.done(start(subject, 30.0), REFUSED, START_MS, 30.0)
    assert subject.stopped is None
    assert outcomes(subject) == [(0, Outcome.REJECTED)]


def test_attempts_in_flight_are_bounded() -> None:
    subject = lanes(in_flight_max=2)
    for index in range(3):
        subject.add(send(index, customer=f"cus_{index}"))
    first = start(subject)
    start(subject)
    assert none_ready(subject)
    assert (subject.in_flight, subject.wait_s(0.0)) == (2, None)
    subject.done(first, Delivered(), START_MS, 0.0)
    assert start(subject).send.index == 2


def test_settlements_that_nobody_takes_use_up_the_room() -> None:
    subject = lanes(capacity=2)
    subject.add(send(0))
    subject.add(send(1))
    assert subject.room == 0
    subject.done(start(subject), Delivered(), START_MS, 0.0)
    assert subject.room == 0
    with pytest.raises(AssertionError, match="full"):
        subject.add(send(2))
    subject.take_settlements()
    assert subject.room == 1
    subject.add(send(2))


def test_an_attempt_cannot_be_done_twice() -> None:
    subject = lanes()
    subject.add(send(0))
    subject.add(send(1))
    attempt = start(subject)
    subject.done(attempt, Delivered(), START_MS, 0.0)
    with pytest.raises(AssertionError, match="not in flight"):
        subject.done(attempt, Delivered(), START_MS, 0.0)


def test_a_partition_given_up_takes_its_sends_and_settlements_along() -> None:
    subject = lanes()
    for index, partition in enumerate([0, 0, 1, 1, 1]):
        subject.add(send(index, customer=f"cus_{index}", partition=partition))
    attempts = [start(subject) for _ in range(4)]
    subject.done(attempts[0], Delivered(), START_MS, 0.0)
    subject.done(attempts[2], Delivered(), START_MS, 0.0)
    subject.done(attempts[3], unreachable("refused"), START_MS, 0.0)
    assert (subject.ready_lanes, subject.waiting_lanes, subject.in_flight) == (1, 1, 1)
    subject.forget(1)
    assert (subject.ready_lanes, subject.waiting_lanes, subject.in_flight, subject.sends) == (0, 0, 1, 1)
    assert outcomes(subject) == [(0, Outcome.ACCEPTED)]


def test_what_still_waits_after_a_partition_was_given_up_is_retried_in_order_of_time() -> None:
    subject = lanes(in_flight_max=20)
    delays = [1.0, 50.0, 2.0, 60.0, 55.0, 3.0, 4.0]
    for index in range(len(delays)):
        subject.add(send(index, customer=f"cus_{index}", partition=1 if index in {0, 2} else 0))
    attempts = [start(subject) for _ in delays]
    for attempt, delay in zip(attempts, delays, strict=True):
        # The wait of a first attempt is one second.
        subject.done(attempt, unreachable("refused"), START_MS, delay - 1.0)
    subject.forget(1)
    assert [start(subject, now_s).send.index for now_s in (3.0, 4.0, 50.0, 55.0, 60.0)] == [5, 6, 1, 4, 3]


def test_an_attempt_that_outlives_its_partition_keeps_the_lane_busy_and_settles_nothing() -> None:
    subject = lanes()
    subject.add(send(0))
    old = start(subject)
    subject.forget(0)
    # The partition comes back, with the same send from the ledger.
    subject.add(send(0, doubtful=True))
    assert none_ready(subject)
    subject.done(old, LOST, START_MS, 0.0)
    assert outcomes(subject) == []
    again = start(subject)
    assert (again.number, again.send.doubtful) == (1, True)
    subject.done(again, Delivered(duplicate=True), START_MS, 0.0)
    assert outcomes(subject) == [(0, Outcome.DUPLICATE)]
    assert (subject.sends, subject.in_flight) == (0, 0)


def test_a_probe_whose_partition_was_given_up_still_tells_about_the_key() -> None:
    subject = lanes()
    subject.add(send(0))
    subject.done(start(subject), DENIED, START_MS, 0.0)
    probe = start(subject, 30.0)
    subject.forget(0)
    subject.done(probe, Delivered(), START_MS, 30.0)
    assert subject.stopped is None
    assert (subject.sends, subject.in_flight, outcomes(subject)) == (0, 0, [])


@pytest.mark.parametrize(("capacity", "in_flight_max", "probe"), [(0, 1, 1.0), (1, 0, 1.0), (1, 1, 0.0)])
def test_bounds_must_be_positive(capacity: int, in_flight_max: int, probe: float) -> None:
    with pytest.raises(ValueError, match="above zero"):
        lanes(capacity=capacity, in_flight_max=in_flight_max, probe_every_s=probe)


def test_many_lanes_cost_no_more_for_each_send_than_a_few() -> None:
    def seconds_per_send(lane_count: int) -> float:
        subject = lanes(capacity=20_000, in_flight_max=64)
        sends = [send(index, customer=f"cus_{index % lane_count}") for index in range(5_000)]
        began = time.perf_counter()
        for item in sends:
            subject.add(item)
        while attempt := subject.next_ready(START_MS, 0.0):
            subject.done(attempt, Delivered(), START_MS, 0.0)
        taken = time.perf_counter() - began
        assert len(subject.take_settlements()) == len(sends)
        return taken / len(sends)

    # Work in proportion to the lanes would be a thousand times slower; a shared machine is not.
    assert seconds_per_send(5_000) < 20 * seconds_per_send(5)


def test_the_first_success_after_an_outage_ends_long_waits() -> None:
    subject = lanes(retry_s=10.0)
    for number in range(12):
        subject.add(send(number, customer=f"cus_{number}"))
    now_s = 0.0
    for _ in range(3):
        # Each time all fail, one of them at last a little later.
        for attempt in [start(subject, now_s) for _ in range(10)]:
            subject.done(attempt, LOST, START_MS, now_s)
        for attempt in [start(subject, now_s) for _ in range(2)]:
            subject.done(attempt, LOST, START_MS, now_s)
        now_s += 30.0
    assert subject.waiting_lanes == 12
    subject.add(send(99, customer="cus_new"))
    subject.done(start(subject, 61.0), Delivered(), START_MS, 61.0)
    assert subject.wait_s(61.0) == pytest.approx(10.0)
    assert all(subject.next_ready(START_MS, 71.0) for _ in range(10))


def test_a_success_among_a_few_failures_ends_no_wait() -> None:
    subject = lanes(retry_s=10.0)
    for number in range(10):
        subject.add(send(number, customer=f"cus_{number}"))
    first, *others = [start(subject) for _ in range(10)]
    for attempt in others:
        subject.done(attempt, LOST, START_MS, 0.0)
    subject.done(first, Delivered(), START_MS, 0.0)
    subject.done(start(subject, 10.0), LOST, START_MS, 10.0)
    subject.done(start(subject, 10.0), Delivered(), START_MS, 10.0)
    waits = [subject.next_ready(START_MS, 10.0) for _ in range(7)]
    assert all(waits)
    assert subject.wait_s(10.0) == pytest.approx(20.0)


def test_of_a_stripe_customer_with_several_customers_only_those_of_a_given_up_partition_are_forgotten() -> None:
    subject = lanes()

    def linked(customer: str, index: int, partition: int) -> MeterSend:
        plain = send(index, customer=customer, partition=partition)
        return replace(plain, event=replace(plain.event, linked="cus_A"))

    for one in (linked("org_a", 0, 0), linked("org_b", 1, 1), linked("org_a", 2, 0), linked("org_b", 3, 1)):
        subject.add(one)
    flying = start(subject)
    assert none_ready(subject)  # Stripe takes one at a time for each of its customers and meters
    subject.forget(0)
    assert subject.sends == 2
    subject.done(flying, Delivered(), START_MS, 0.0)
    assert outcomes(subject) == []
    for index in (1, 3):
        attempt = start(subject)
        assert (attempt.send.index, attempt.number) == (index, 1)
        subject.done(attempt, Delivered(), START_MS, 0.0)
    assert ([index for index, _ in outcomes(subject)], subject.sends) == ([1, 3], 0)
