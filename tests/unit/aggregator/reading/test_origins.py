"""Whose events a record holds, as far as it says it, even where it cannot be read."""

import pytest
from taximeter_emitter.wire.limits import BATCH_EVENTS_MAX, CUSTOMER_CHARS_MAX

from aggregator.reading.origins import claimed, origin_of_batch
from metering.records.dead_letter import LETTER_CUSTOMERS_MAX, Origin
from metering.records.record import Record


def record(value: bytes | None, key: bytes | None = None, headers: tuple[tuple[str, bytes | None], ...] = ()) -> Record:
    return Record(0, 0, key, value, headers)


@pytest.mark.parametrize(
    ("value", "events"),
    [
        (None, 1),
        (b"{", 1),
        (b'{"id":"a","customer":"c","usage":{}}', 1),
        (b'{"taximeter":1,"count":7}', 7),
        (b'{"taximeter":1,"count":0}', 1),
        (b'{"taximeter":1,"count":-7}', 1),
        (b'{"taximeter":1,"count":true}', 1),
        (b'{"taximeter":1,"count":%d}' % (BATCH_EVENTS_MAX + 1), 1),
        (b'{"count":7}', 1),
    ],
)
def test_an_unreadable_record_stands_for_what_it_says_of_itself_within_reason(value: bytes | None, events: int) -> None:
    assert claimed(record(value)).events == events


@pytest.mark.parametrize(
    ("unread", "origin"),
    [
        (record(None, b"cus_1"), Origin(customers=(("cus_1", 1),))),
        (record(b"{", b"\xff"), Origin(customers=(("\ufffd", 1),))),
        (record(b"[]"), Origin()),
        (record(b'{"source":"s","customer":"c"}', b"key"), Origin("s", "", (("c", 1),))),
        (record(b'{"source":7,"customer":["c"]}', b"key"), Origin(customers=(("key", 1),))),
        (record(b'{"source":"s","data":{"customer":"c"}}'), Origin("s", "", (("c", 1),))),
        (record(b'{"source":"s","data":[]}'), Origin("s")),
        (record(b'{"customer":"c"}', None, (("CE_source", b"s"),)), Origin("s", "", (("c", 1),))),
        (record(b'{"customer":"c"}', None, (("ce_source", None),)), Origin("", "", (("c", 1),))),
        (record(b'{"taximeter":1,"count":7,"emitter":"e"}', b"key"), Origin("", "e", (("key", 7),))),
        (record(b'{"taximeter":1,"emitter":{}}'), Origin()),
    ],
)
def test_an_unreadable_record_names_who_sent_it_as_far_as_it_can_be_told(unread: Record, origin: Origin) -> None:
    assert claimed(unread).origin == origin


def test_a_long_text_is_cut() -> None:
    ((customer, _),) = claimed(record(b"{", b"k" * 100_000)).origin.customers
    assert len(customer) == CUSTOMER_CHARS_MAX


def test_of_a_batch_the_customers_with_the_most_events_are_named() -> None:
    customers = [f"c{number}" for number in range(2 * LETTER_CUSTOMERS_MAX)]
    at = [*range(len(customers)), 7, 7, 3]
    whole = origin_of_batch("e", map(customers.__getitem__, at))
    assert (whole.emitter, len(whole.customers), whole.customers[:2]) == ("e", LETTER_CUSTOMERS_MAX, (("c7", 3), ("c3", 2)))
