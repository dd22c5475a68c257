"""How records are read in Python: what is refused, which way events go, and what is remembered of them."""

import pytest

from aggregator.reading import series as series_module
from aggregator.reading.events import Ways
from metering.records.record import Record
from tests.support.aggregator_reading import GOOD, LOG_TIME_MS, document, facts_of, facts_of_values, plain_reader_of, records_of
from tests.support.aggregator_records import Beat, Event, Item, Numbered, encode


def test_one_event_that_cannot_be_read_does_not_send_its_neighbours_the_long_way() -> None:
    values = [document({"id": f"q-{number}"}) for number in range(20)]
    values[4] = b"{"
    reader, _ = plain_reader_of()
    reading = reader.read(records_of(values))
    assert list(reading.refusals) == [4]
    assert reading.ways == Ways(plain=len(values) - 1, long=1)


def test_few_events_are_read_one_by_one_to_the_same() -> None:
    values = [document({"id": str(number)}) for number in range(20)]
    assert facts_of_values(values)[:3] == facts_of_values(values[:3])


def test_the_order_of_dimensions_makes_no_difference_to_what_an_event_is_known_by() -> None:
    values = [document({}), document({"dimensions": {"model": "a", "region": "eu"}})] * 20
    assert len(set(map(str, facts_of_values(values)))) == 1


def test_everything_has_its_place() -> None:
    event = Event(None, "c", (("input", 3), ("mystery", 5)), "m", LOG_TIME_MS)
    items: list[Item] = [Numbered("e", 0, (event, event)), Beat("e", 2, final=False), Numbered("e", 2, (event,), partition=7)]
    records = [Record(place, LOG_TIME_MS, None, *encode(item)) for place, item in enumerate(items)]
    records += [Record(3, LOG_TIME_MS, None, document({})), Record(4, LOG_TIME_MS, b"k", None)]
    reader, series = plain_reader_of()
    reading = reader.read(records)
    assert reading.events.records.tolist() == [0, 0, 3]
    assert [(batch.record, batch.emitter, batch.first_seq, batch.count) for batch in reading.batches] == [(0, "e", 0, 2)]
    assert (list(reading.heartbeats), [(place, refused.is_batch) for place, refused in reading.refusals.items()]) == ([1], [(2, True), (4, False)])
    assert reading.events.unknown == [(0, "mystery", 5), (1, "mystery", 5)]
    assert reading.events.usage["input"].tolist() == [3, 3, 1]
    assert [series.names[number][0] for number in reading.events.series.tolist()] == ["c", "c", GOOD["customer"]]


def test_a_table_with_many_series_says_that_it_is_full_and_starts_again_when_it_is_emptied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series_module, "SERIES_MAX", 2)
    reader, series = plain_reader_of()
    values = records_of([document({"customer": customer}) for customer in "abcab"])
    first = facts_of(reader.read(values), series, 5)
    assert (series.is_full, len(series)) == (True, 3)
    series.clear()
    reader.forget()
    assert (series.is_full, len(series)) == (False, 0)
    assert facts_of(reader.read(values[2:]), series, 3) == first[2:]


def test_the_longest_series_is_known_with_eight_for_each_dimension() -> None:
    reader, series = plain_reader_of()
    reader.read(records_of([document({"customer": "c" * 5}), document({"customer": "c" * 3})]))
    assert series.longest == 5 + len("regioneumodela") + 16


def test_customers_of_other_partitions_are_told() -> None:
    reader, series = plain_reader_of()
    foreign = []
    for customers in (("c", "c"), ("c", "foreign", "c")):
        events = reader.read(records_of([document({"customer": customer}) for customer in customers])).events
        foreign.append((series.has_foreign, series.are_home(events.series).tolist()))
    assert foreign == [(False, [True, True]), (True, [True, False, True])]
