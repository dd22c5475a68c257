"""Rates against the sum of what they let through."""

from hypothesis import given
from hypothesis import strategies as st

from ingest.admission.byte_budget import ByteBudget, Reservation
from ingest.admission.rate_limit import EventRate


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
