"""What is in flight is bounded, and let go of exactly once."""

import pytest

from ingest.admission.byte_budget import ByteBudget
from ingest.admission.rate_limit import EventRate


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
