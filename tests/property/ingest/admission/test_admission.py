"""Rates against the sum of what they let through."""

from hypothesis import given
from hypothesis import strategies as st

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
