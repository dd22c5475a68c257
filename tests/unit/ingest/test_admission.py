"""What is in flight is bounded, and let go of exactly once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.admission.byte_budget import ByteBudget, Reservation
from ingest.admission.rate_limit import EventRate


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 60)), max_size=40))
def test_requests_never_hold_more_than_the_bound(steps: list[tuple[int, int]]) -> None:
    budget = ByteBudget(100)
    reservations: dict[int, Reservation] = {}
    sizes: dict[int, int] = {}
    for request, size in steps:
        if request in reservations and size == 0:
            reservations.pop(request).__exit__(None, None, None)
            del sizes[request]
        else:
            reservation = reservations.setdefault(request, budget.reserve())
            taken = reservation.grow_to(size)
            before = sizes.setdefault(request, 0)
            assert taken == (sum(sizes.values()) - before + max(size, before) <= 100 or size <= before)
            if taken:
                sizes[request] = max(before, size)
        assert budget.in_flight == sum(sizes.values()) <= 100
    for reservation in reservations.values():
        reservation.__exit__(None, None, None)
    assert budget.in_flight == 0


def test_what_came_of_admitted_bytes_keeps_others_out_until_it_is_released() -> None:
    budget = ByteBudget(100)
    assert budget.admit(60)
    budget.charge(80)
    assert not budget.admit(1)
    budget.release(60)
    assert budget.admit(20)
    budget.release(100)
    with pytest.raises(AssertionError):
        budget.release(1)


def test_a_rate_lets_through_what_it_says_over_time() -> None:
    rate = EventRate(10, now=0.0)
    assert rate.wait_seconds(0.0) == 0
    rate.spend(30, 0.0)
    # 20 events too many: two seconds, and a tenth for the next event.
    assert rate.wait_seconds(0.0) == pytest.approx(2.1)
    assert rate.wait_seconds(2.0) == pytest.approx(0.1)
    assert rate.wait_seconds(2.2) == 0
    rate.spend(1, 1_000.0)
    assert rate.wait_seconds(1_000.0) == 0


@given(st.integers(1, 100), st.lists(st.tuples(st.floats(0, 3), st.integers(1, 50)), min_size=1, max_size=30))
def test_no_sender_gets_more_than_its_rate_and_one_request(per_second: int, gaps: list[tuple[float, int]]) -> None:
    rate = EventRate(per_second, now=0.0)
    now, sent = 0.0, 0
    for gap, events in gaps:
        now += gap
        if rate.wait_seconds(now) == 0:
            rate.spend(events, now)
            sent += events
    assert sent <= per_second * (now + 1) + 50


def test_what_was_decoded_is_charged_whether_there_is_room_or_not_and_given_back() -> None:
    budget = ByteBudget(100)
    with budget.reserve() as reservation:
        assert reservation.grow_to(60)
        reservation.charge(300)
        assert budget.in_flight == 300
        assert not budget.admit(1)
        reservation.charge(10)
        assert budget.admit(90)
        budget.release(90)
    assert budget.in_flight == 0
