"""What goes into one request of the meter event stream, and how it is found again."""

from dataclasses import dataclass

import orjson
from hypothesis import given
from hypothesis import strategies as st

from reporter.stripe.stream_requests import (
    STREAM_BODY_BYTES_MAX,
    STREAM_EVENTS_MAX,
    Gathered,
    SentRequests,
    StreamEvent,
    body_of,
    encode_event,
    request_key,
    rfc3339,
)


@dataclass(frozen=True)
class Item:
    event: StreamEvent


def event(name: str, size: int = 10, key: str = "") -> StreamEvent:
    return StreamEvent(name, key or name, b"1" * size)


def test_an_event_is_written_as_stripe_reads_it() -> None:
    encoded = encode_event(event_name="tokens", payload={"value": "5"}, identifier="tm-1", timestamp_s=1_764_000_000)
    assert orjson.loads(encoded) == {
        "event_name": "tokens",
        "payload": {"value": "5"},
        "identifier": "tm-1",
        "timestamp": "2025-11-24T16:00:00Z",
    }
    assert orjson.loads(body_of([StreamEvent("tm-1", "tm-1", encoded)] * 2))["events"][1]["identifier"] == "tm-1"
    assert rfc3339(0) == "1970-01-01T00:00:00Z"


@given(st.lists(st.integers(1, STREAM_BODY_BYTES_MAX * 2), max_size=300))
def test_requests_hold_everything_in_order_and_keep_both_bounds(sizes: list[int]) -> None:
    gathered: Gathered[Item] = Gathered()
    for number, size in enumerate(sizes):
        gathered.add(Item(event(str(number), size)))
    requests = []
    while gathered:
        requests.append([item.event for item in gathered.take()])
    assert [each.identifier for request in requests for each in request] == [str(number) for number in range(len(sizes))]
    for request in requests:
        assert 1 <= len(request) <= STREAM_EVENTS_MAX
        assert len(request) == 1 or len(body_of(request)) <= STREAM_BODY_BYTES_MAX
    assert gathered.take() == []


def test_a_request_has_a_key_of_its_own() -> None:
    events = [event("a"), event("b")]
    assert request_key(events) == request_key(list(events))
    others = [events[::-1], events[:1], [event("ab")], [event("a"), event("b", key="b.2")], [event("a"), event("b"), event("c")]]
    keys = {request_key(each) for each in others}
    assert len(keys) == len(others)
    assert request_key(events) not in keys
    assert all(len(key) <= 255 for key in keys)


def test_what_went_out_is_found_by_its_key_until_there_is_too_much() -> None:
    sent = SentRequests(identifiers_max=5)
    sent.note("k1", [event("a"), event("b")])
    sent.note("k2", [event("c"), event("d")])
    sent.note("k1", [event("a"), event("b")])
    assert sent.identifiers_of("k1") == ("a", "b")
    sent.note("k3", [event("e"), event("f")])
    assert sent.identifiers_of("k2") == ()
    assert sent.identifiers_of("k1") == ("a", "b")
    assert sent.identifiers_of("k3") == ("e", "f")
    sent.note("k4", [event(str(number)) for number in range(9)])
    assert len(sent.identifiers_of("k4")) == 9
    assert sent.identifiers_of("k3") == ()
