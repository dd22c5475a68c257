"""Hypothesis strategies of the records of usage.events: usual, strange and unreadable ones."""

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from taximeter_emitter.wire.limits import DAY_MS, HOUR_MS, MINUTE_MS

from tests.support.aggregator_records import HORIZON_MS, START_MS, Beat, Event, Garbage, Item, Numbered, Single

GARBAGE = [
    Garbage(None, 1, "null_value"),
    Garbage(b"{", 1, "malformed_json"),
    Garbage(b"7", 1, "not_an_object"),
    Garbage(b'{"id":"x","customer":"c","usage":{"input":1.5}}', 1, "not_an_integer"),
    Garbage(b'{"id":"x","customer":"c","usage":{"input":true}}', 1, "wrong_type"),
    Garbage(b'{"id":"x","customer":"c","usage":{"input":-1}}', 1, "negative"),
    Garbage(b'{"id":"x","customer":"c","usage":{"input":1000000000001}}', 1, "too_large"),
    Garbage(b'{"id":"x","usage":{"input":1}}', 1, "missing_field"),
    Garbage(b'{"taximeter":1,"emitter":"e","partition":0,"first_seq":0,"count":3}', 3, "bad_batch"),
    Garbage(b'{"taximeter":2,"emitter":"e","partition":0,"first_seq":0,"count":2,"customers":["c"],"series":0}', 2, "bad_batch"),
    Garbage(b'{"taximeter":3,"count":-4}', 1, "bad_batch"),
]
AGES = [
    0,
    0,
    0,
    MINUTE_MS,
    HOUR_MS,
    HORIZON_MS,
    HORIZON_MS + 1,
    HORIZON_MS + HOUR_MS,
    -1,
    -5 * MINUTE_MS,
    -5 * MINUTE_MS - 1,
    -50 * MINUTE_MS,
    -HOUR_MS,
    -HOUR_MS - 1,
    -3 * HOUR_MS,
    -35 * DAY_MS,
    35 * DAY_MS,
    35 * DAY_MS + 1,
]
USAGES = [
    (("input", 3),),
    (("input", 2), ("output", 5)),
    (("calls", 1),),
    (("calls", 0),),
    (("input", 3), ("mystery", 1)),
    (("input", 4), ("mystery", 0)),
    (("input", 0), ("mystery", 2)),
    (("mystery", 5),),
]
IDS: st.SearchStrategy[Any] = st.sampled_from(["a", "b", "c", "d"])
NUMBERS = st.integers(0, 8)
EMITTERS = st.sampled_from(["e1", "e2"])


def events(ids: st.SearchStrategy[Any]) -> st.SearchStrategy[Event]:
    """Events whose time is relative to that of their record."""
    customers = st.sampled_from(["c1", "c1", "c2", "away"])
    times = st.sampled_from([-age for age in AGES])
    return st.builds(
        Event, ids, customers, st.sampled_from(USAGES), st.sampled_from(["m1", "m1", "m2"]), times, st.sampled_from([False, False, True])
    )


ITEMS: st.SearchStrategy[Item] = st.one_of(
    st.builds(Single, events(IDS), st.sampled_from(["own", "structured", "binary"])),
    st.builds(Numbered, EMITTERS, NUMBERS, st.lists(events(st.none() | IDS), min_size=1, max_size=4).map(tuple), st.sampled_from([0, 0, 0, 1])),
    st.builds(Beat, EMITTERS, NUMBERS, st.booleans(), st.sampled_from([0, 1])),
    st.sampled_from(GARBAGE),
)


def placed(item: Item, log_time_ms: int) -> Item:
    """The item with its times counted from this moment.

    Ids are not used again for another event once the horizon has passed: nobody could tell such an event from a new one.
    """
    era = (log_time_ms - START_MS) // HORIZON_MS

    def now(event: Event) -> Event:
        event_id = None if event.event_id is None else f"{event.event_id}{era}"
        return replace(event, event_id=event_id, time_ms=log_time_ms + event.time_ms)

    match item:
        case Single(event, form):
            return Single(now(event), form)
        case Numbered():
            return replace(item, events=tuple(now(event) for event in item.events))
        case _:
            return item
