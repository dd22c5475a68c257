"""Which events of a record are meant, whatever form the record has."""

from collections.abc import Sequence

import pytest

from audit.adjustments.selected_events import selected_places
from audit.decoder.record_contents import BatchContents, SingleContents
from audit.decoder.record_reading import contents_of
from metering.plans.usage_selector import UsageSelector
from metering.records.record import Record
from tests.support.aggregator_records import START_MS, Event, Item, Numbered, Single, encode

EVENTS = tuple(Event(None, customer, (("input", 1),), "m", START_MS + at * 1000) for at, customer in enumerate(("c1", "c2", "c1", "c3")))
BATCH = Numbered("e1", 0, EVENTS)


def meant(selector: UsageSelector, item: Item, places: Sequence[int] = range(4)) -> list[int]:
    record = Record(7, START_MS, None, *encode(item))
    contents = contents_of(record)
    assert isinstance(contents, SingleContents | BatchContents)
    return list(selected_places(selector, record, contents, places))


@pytest.mark.parametrize("form", ["own", "structured", "binary"])
def test_a_single_event_is_of_its_source(form: str) -> None:
    single = Single(Event("a", "c1", (("input", 1),), "m", START_MS), form)
    assert meant(UsageSelector(sources=frozenset({"s", "t"})), single, [0]) == [0]
    assert meant(UsageSelector(sources=frozenset({"t", "e1"})), single, [0]) == []


@pytest.mark.parametrize(
    ("selector", "places"),
    [
        (UsageSelector(), [0, 1, 2, 3]),
        (UsageSelector(sources=frozenset({"e1"})), [0, 1, 2, 3]),
        (UsageSelector(sources=frozenset({"s"})), []),
        (UsageSelector(customers=frozenset({"c1", "c3"})), [0, 2, 3]),
        (UsageSelector(customers=frozenset({"c1"}), event_from_ms=START_MS + 1), [2]),
        (UsageSelector(event_from_ms=START_MS + 1000, event_to_ms=START_MS + 3000), [1, 2]),
        (UsageSelector(customers=frozenset({"c9"})), []),
        (UsageSelector(from_ms=START_MS + 1), []),
        (UsageSelector(to_ms=START_MS), []),
        (UsageSelector(offsets=((7, 7),)), [0, 1, 2, 3]),
        (UsageSelector(offsets=((0, 6),)), []),
    ],
)
def test_events_of_a_batch_are_meant_one_by_one(selector: UsageSelector, places: list[int]) -> None:
    assert meant(selector, BATCH) == places
    assert meant(selector, BATCH, [2, 3]) == [place for place in places if place in {2, 3}]
