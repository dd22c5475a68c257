"""A tally names each event that it does not count, and the rules by which it counted; a replay costs next to nothing."""

import pytest

from aggregator.core.counting import PartitionCounter
from aggregator.core.uncounted_places import UncountedPlaces
from metering.records.chain import ChainLink
from metering.records.meters import Catalogue, catalogue_from
from metering.records.record import Record
from metering.records.tally import EventCounts, NotCounted, RecordCounts, Tally, WhyNotCounted
from tests.support.aggregator_counters import counter, cut
from tests.support.aggregator_records import HORIZON_MS, METERS, START_MS, Beat, Event, Item, Numbered, Single, encode
from tests.support.metering_tallies import a_tally

EVENTS = [Event(f"e{number}", "c1", (("input", 3),), "m1", START_MS) for number in range(100)]
SINGLES: list[Item] = [Single(event, "own") for event in EVENTS]
LARGE: list[Item] = [Numbered("e1", 100 * number, tuple(EVENTS)) for number in range(3)]
NUMBERED: list[Item] = [Numbered("e1", 2 * number, (Event(None, "c1", (("input", 3),), "m1", START_MS),) * 2) for number in range(50)]


def records(items: list[Item], *, start: int = 0, step: int = 1) -> list[Record]:
    return [Record(start + step * place, START_MS, None, *encode(item)) for place, item in enumerate(items)]


def counted(subject: PartitionCounter, found: list[Record], *, at_once: int = 10**9) -> Tally:
    while found:
        found = found[subject.count_many(found[:at_once], 10**9) :]
    return cut(subject).tally


@pytest.mark.parametrize("at_once", [10**6, 1], ids=["many at a time", "one by one"])
@pytest.mark.parametrize(("items", "why"), [(SINGLES, "duplicate"), (NUMBERED, "known_number"), ([*SINGLES, *NUMBERED], "both")])
def test_a_replay_is_a_run_of_offsets(items: list[Item], why: str, at_once: int) -> None:
    subject = counter()
    assert counted(subject, records(items), at_once=at_once).not_counted == []
    again = counted(subject, records(items, start=len(items)), at_once=at_once)
    if why == "both":
        assert [(run.offset, run.offsets) for run in again.not_counted] == [(150, 100), (250, 50)]
    else:
        assert again.not_counted == [NotCounted(len(items), len(items), 0, 0, WhyNotCounted(why))]


def test_holes_and_heartbeats_do_not_divide_a_run() -> None:
    subject = counter()
    counted(subject, records(SINGLES))
    again = records([*SINGLES[:3], Beat("e9", 0, final=False), *SINGLES[3:6]], start=100, step=2)
    assert counted(subject, again).not_counted == [NotCounted(100, 13, 0, 0, WhyNotCounted.DUPLICATE)]


def test_the_same_ids_in_batches_with_new_numbers_are_a_run() -> None:
    subject = counter()
    counted(subject, records(LARGE[:1]))
    assert counted(subject, records(LARGE[1:], start=1)).not_counted == [NotCounted(1, 2, 0, 0, WhyNotCounted.DUPLICATE)]


def test_a_batch_of_which_half_is_known_is_named_by_place() -> None:
    subject = counter()
    counted(subject, records([Numbered("e1", 10, tuple(EVENTS[:4])), Single(EVENTS[8], "own")]))
    half = Numbered("e1", 12, tuple(EVENTS[4:12]))
    known, again = WhyNotCounted.KNOWN_NUMBER, WhyNotCounted.DUPLICATE
    assert counted(subject, records([half], start=2)).not_counted == [NotCounted(2, 1, 0, 2, known), NotCounted(2, 1, 4, 1, again)]


def test_a_forwarded_event_is_named() -> None:
    subject = counter()
    away = Event("a", "away", (("input", 3),), "m1", START_MS)
    assert counted(subject, records([Single(away, "own")])).not_counted == [NotCounted(0, 1, 0, 0, WhyNotCounted.FORWARDED)]


def test_the_size_of_the_record_is_estimated_from_above_when_every_second_event_is_known() -> None:
    subject = counter()
    events = [Event(f"e{number}", "c1", (("input", 3),), "m1", START_MS) for number in range(5_000)]
    counted(subject, records([Numbered("e1", 0, tuple(events[::2]))]))
    assert subject.count_many(records([Numbered("e2", 0, tuple(events))], start=1), 10**9) == 1
    assert subject.pending_bytes > 2_500 * 30
    estimated = subject.pending_bytes
    found = subject.cut()
    assert len(found.tally.not_counted) == 2_500
    assert len(found.value) < estimated + 2_000


def test_a_tally_says_its_horizon_and_a_checkpoint_the_meters() -> None:
    subject = counter()
    first, second = counted(subject, records(SINGLES[:1])), counted(subject, records(SINGLES[1:2], start=1))
    assert first.horizon_ms == second.horizon_ms == HORIZON_MS
    assert first.catalogue_definition is not None
    assert catalogue_from(first.catalogue_definition).version == first.catalogue == second.catalogue
    assert second.catalogue_definition is None


def test_a_tally_after_one_of_another_catalogue_says_the_meters() -> None:
    subject = counter()
    counted(subject, records(SINGLES[:1]))
    theirs = Tally(
        "chain", 0, ChainLink(1, 2, 0), 0, "other", Catalogue(METERS, ["free"]).version, START_MS, RecordCounts(singles=1), EventCounts(1), ()
    )
    assert subject.observe(1, theirs)
    assert counted(subject, records(SINGLES[2:3], start=2)).catalogue_definition == Catalogue(METERS).definition
    assert counted(subject, records(SINGLES[3:4], start=3)).catalogue_definition is None


def test_the_places_of_what_did_not_count() -> None:
    places = UncountedPlaces()
    known, again = WhyNotCounted.KNOWN_NUMBER, WhyNotCounted.DUPLICATE
    runs = [NotCounted(10, 3, 0, 0, again), NotCounted(14, 1, 2, 2, known), NotCounted(14, 1, 7, 1, again)]
    places.add(a_tally(link=ChainLink(10, 20, -1), records=RecordCounts(batches=10), set_aside=[(15, ()), (14, (5,))], not_counted=runs))
    assert [places.of(offset) for offset in (9, 10, 12, 15)] == [frozenset(), None, None, None]
    assert sorted(places.of(14) or ()) == [2, 3, 5, 7]
    assert not places.of(13)
    assert places.of(13) is not None
