"""The events of dead letters, and what edits make of them."""

import orjson
import pytest
from taximeter_emitter.wire.batch import NO_ID, Batch, encode_batch
from taximeter_emitter.wire.errors import EventRejected, Reason
from taximeter_emitter.wire.limits import HOUR_MS

from aggregator.dead_letters.letter_events import LetterEvent, events_of
from metering.records.dead_letter import DeadLetter
from metering.records.redrive import NO_EDIT, Edit

TIME_MS = 1_780_000_000_000
SINGLE = {"id": "1", "customer": "cus_1", "usage": {"cached": 7, "input": 2}, "dimensions": {"model": "m"}}
IDS = bytes(16) + b"f" * 16 + b"g" * 16


def letter(value: bytes | None, indexes: tuple[int, ...] = (), headers: tuple[tuple[str, bytes], ...] = ()) -> DeadLetter:
    return DeadLetter("usage.events", 0, 9, TIME_MS, Reason.UNKNOWN_USAGE_FIELD, "", "", indexes, max(1, len(indexes)), None, value, headers)


def batch(base_time_ms: int = TIME_MS, *, stamped: bool = False) -> bytes:
    return encode_batch(
        Batch(
            stamped=stamped,
            emitter="e",
            partition=0,
            first_seq=0,
            count=3,
            customers=["cus_1", "cus_2"],
            dimensions=[(), (("model", "m"),)],
            series_dimensions=[0, 1],
            at=[0, 1, 1],
            base_time_ms=base_time_ms,
            time=[0, 1, 2],
            usage={"cached": [7, 0, 9], "input": [0, 3, 4]},
            ids=IDS,
        )
    )


def single(edit: Edit) -> LetterEvent:
    (event,) = events_of(letter(orjson.dumps(SINGLE)), edit)
    return event


def test_a_single_event_is_read_as_it_was_written() -> None:
    event = single(NO_EDIT)
    assert (event.at, event.customer, event.time_ms, dict(event.usage), event.dimensions) == (
        0,
        "cus_1",
        TIME_MS,
        {"cached": 7, "input": 2},
        (("model", "m"),),
    )
    assert event.fingerprint != NO_ID


def test_only_the_events_of_a_batch_that_the_letter_names_are_read() -> None:
    found = events_of(letter(batch(), (0, 2)))
    assert [(event.at, event.customer, event.time_ms, dict(event.usage), event.fingerprint) for event in found] == [
        (0, "cus_1", TIME_MS, {"cached": 7}, NO_ID),
        (2, "cus_2", TIME_MS + 2, {"cached": 9, "input": 4}, b"g" * 16),
    ]
    assert len(events_of(letter(batch()))) == 3


@pytest.mark.parametrize(
    ("edit", "usage", "customer"),
    [
        (Edit(rename=(("cached", "cached_tokens"),)), {"cached_tokens": 7, "input": 2}, "cus_1"),
        (Edit(rename=(("absent", "other"),)), {"cached": 7, "input": 2}, "cus_1"),
        (Edit(drop=("cached",)), {"input": 2}, "cus_1"),
        (Edit(customer="cus_9"), {"cached": 7, "input": 2}, "cus_9"),
    ],
)
def test_edits_of_a_single_event(edit: Edit, usage: dict[str, int], customer: str) -> None:
    event = single(edit)
    assert (dict(event.usage), event.customer) == (usage, customer)


def test_edits_of_a_batch_sum_what_gets_one_name() -> None:
    edit = Edit(rename=(("cached", "input"),), customer="cus_9")
    found = events_of(letter(batch(), (0, 2)), edit)
    assert [(dict(event.usage), event.customer) for event in found] == [({"input": 7}, "cus_9"), ({"input": 13}, "cus_9")]
    assert found[1].fingerprint == b"g" * 16


def test_a_field_of_a_single_event_is_not_renamed_to_one_that_it_has() -> None:
    # In a batch both are columns, and zero in most events; in a single event somebody meant both.
    assert dict(single(Edit(rename=(("cached", "input"),))).usage) == {"cached": 7, "input": 2}


def test_without_ids_leaves_the_fingerprint_out() -> None:
    assert single(Edit(without_ids=True)).fingerprint == NO_ID
    assert {event.fingerprint for event in events_of(letter(batch()), Edit(without_ids=True))} == {NO_ID}


def test_an_edit_may_mend_what_made_an_event_unreadable() -> None:
    nobody = letter(orjson.dumps({"id": "1", "usage": {"input": 2}}))
    with pytest.raises(EventRejected):
        events_of(nobody)
    assert [event.customer for event in events_of(nobody, Edit(customer="cus_1"))] == ["cus_1"]


def test_a_cloudevent_is_edited_after_it_was_read() -> None:
    headers = tuple((f"ce_{name}", text) for name, text in (("specversion", b"1.0"), ("id", b"1"), ("source", b"s"), ("type", b"t")))
    value = orjson.dumps({"customer": "cus_1", "usage": {"cached": 7}})
    (event,) = events_of(letter(value, (), headers), Edit(rename=(("cached", "input"),), customer="cus_2"))
    assert (event.customer, dict(event.usage)) == ("cus_2", {"input": 7})


@pytest.mark.parametrize("value", [None, b"", b"no json", b"[]"])
def test_what_cannot_be_read_is_refused_with_an_edit_too(value: bytes | None) -> None:
    for edit in (NO_EDIT, Edit(customer="cus_1")):
        with pytest.raises(EventRejected):
            events_of(letter(value), edit)


def test_a_time_that_a_clock_far_ahead_set_stays_unless_the_ids_go_too() -> None:
    ahead = letter(batch(TIME_MS + 2 * HOUR_MS, stamped=True), (1, 2))
    assert [event.time_ms for event in events_of(ahead)] == [TIME_MS + 2 * HOUR_MS + 1, TIME_MS + 2 * HOUR_MS + 2]
    assert {event.time_ms for event in events_of(ahead, Edit(without_ids=True))} == {TIME_MS}
    assert {event.time_ms for event in events_of(letter(batch(TIME_MS + HOUR_MS - 2, stamped=True), (1, 2)))} == {TIME_MS}
