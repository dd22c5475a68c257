"""Deliveries that fail at random are attempted until they succeed."""

from hypothesis import given
from hypothesis import strategies as st
from taximeter_sandbox.stripe.webhooks.deliveries import Delivery, DeliveryQueue

from tests.support.stripe_deliveries import ended


@given(
    due=st.lists(st.tuples(st.integers(0, 50), st.sampled_from("ab")), max_size=30),
    connections=st.integers(1, 5),
    failures=st.integers(0, 3),
)
def test_every_delivery_is_attempted_until_it_succeeds_and_never_too_many_at_once(
    due: list[tuple[int, str]], connections: int, failures: int
) -> None:
    queue = DeliveryQueue()
    for due_ms, destination in due:
        assert queue.add(Delivery(queue.next_number, "evt", destination, 0, due_ms))
    attempts: dict[int, int] = {}
    for now_ms in range(200):
        taken = queue.take_due(now_ms, connections)
        for destination in "ab":
            assert sum(one.destination_id == destination for one in taken) <= connections
        assert all(one.due_ms <= now_ms for one in taken)
        for one in taken:
            attempts[one.number] = attempts.get(one.number, 0) + 1
            queue.settle(ended(one, now_ms + 5 if one.attempts < failures else None))
    assert attempts == dict.fromkeys(range(len(due)), failures + 1)
    assert (len(queue), queue.in_flight, queue.pending_of("evt"), queue.unsettled(10**9)) == (0, 0, 0, False)
