"""Which publications count, and which version is in force."""

import pytest
from taximeter_emitter.wire.limits import MINUTE_MS

from metering.folds.catalogue_timeline import (
    CLOCKS_APART_MS,
    FOR_EVER_MS,
    NOTICE_MS_MIN,
    CatalogueTimeline,
    CatalogueVersion,
    PublishedCatalogues,
    taken_by_any,
)
from metering.records.fail_closed import ChainBroken, RecordCorrupt
from metering.records.meters import Catalogue, Meter
from metering.records.notes.publication import Publication, decode_publication, encode_publication

OLD, NEW = Catalogue([Meter("tokens", ("a",))]), Catalogue([Meter("tokens", ("a", "b"))])
NOW_MS = 1_780_000_000_000


def publication(catalogue: Catalogue, *, after: int, from_ms: int) -> Publication:
    return Publication(after, from_ms, catalogue.version, catalogue.definition, "why", "ann", NOW_MS)


def published() -> PublishedCatalogues:
    found = PublishedCatalogues()
    assert found.fold(0, NOW_MS, publication(OLD, after=-1, from_ms=0))
    return found


def test_a_publication_is_read_as_it_was_written() -> None:
    written = publication(NEW, after=0, from_ms=NOW_MS)
    assert decode_publication(encode_publication(written)) == written


@pytest.mark.parametrize("value", [None, b"", b"{}", b"noise", b'{"format":"tally/2"}', b'{"format":"catalogue/1"}', b'{"format":"catalogue/1",'])
def test_what_is_none_counts_for_nobody(value: bytes | None) -> None:
    found = published()
    assert decode_publication(value) is None
    assert not found.fold(1, NOW_MS, decode_publication(value))
    assert (found.next_offset, found.refused, len(found.versions)) == (2, 1, 1)


def test_a_definition_that_its_version_does_not_name_counts_for_nobody() -> None:
    written = encode_publication(publication(NEW, after=0, from_ms=NOW_MS)).replace(NEW.version.encode(), OLD.version.encode())
    assert decode_publication(written) is None


def test_a_format_of_a_later_release_is_not_passed_over() -> None:
    with pytest.raises(RecordCorrupt, match="unknown format 'catalogue/2'"):
        decode_publication(b'{"format":"catalogue/2"}')


def test_meters_of_a_form_that_is_not_known_are_not_passed_over() -> None:
    strange = [["tokens", 7]]
    about = Publication(0, NOW_MS + NOTICE_MS_MIN, "v", strange, "why", "ann", NOW_MS)
    with pytest.raises(RecordCorrupt, match="meters that this release does not know"):
        published().fold(1, NOW_MS, about)


@pytest.mark.parametrize(
    ("after", "ahead_ms", "counts"),
    [(0, NOTICE_MS_MIN, True), (0, NOTICE_MS_MIN - 1, False), (-1, NOTICE_MS_MIN, False), (7, NOTICE_MS_MIN, False)],
)
def test_a_version_follows_the_last_one_and_does_not_hold_too_soon(after: int, ahead_ms: int, counts: bool) -> None:
    found = published()
    about = publication(NEW, after=after, from_ms=NOW_MS + ahead_ms)
    assert (found.objection(about, NOW_MS) is None) is counts
    assert found.fold(1, NOW_MS, about) is counts
    assert found.head == int(counts)


def test_the_first_version_holds_from_the_beginning_and_the_first_written_is_the_first() -> None:
    found = PublishedCatalogues()
    assert not found.fold(0, NOW_MS, publication(OLD, after=-1, from_ms=NOW_MS + NOTICE_MS_MIN))
    assert found.fold(1, NOW_MS, publication(OLD, after=-1, from_ms=0))
    assert not found.fold(2, NOW_MS, publication(NEW, after=-1, from_ms=0))
    assert [version.catalogue.version for version in found.versions] == [OLD.version]


def test_versions_hold_in_the_order_in_which_they_are_published() -> None:
    found = published()
    assert found.fold(1, NOW_MS, publication(NEW, after=0, from_ms=NOW_MS + 2 * NOTICE_MS_MIN))
    assert not found.fold(2, NOW_MS, publication(OLD, after=1, from_ms=NOW_MS + 2 * NOTICE_MS_MIN))
    assert found.fold(3, NOW_MS, publication(OLD, after=1, from_ms=NOW_MS + 2 * NOTICE_MS_MIN + 1))


def test_a_record_is_not_folded_twice() -> None:
    found = published()
    with pytest.raises(ChainBroken):
        found.fold(0, NOW_MS, None)


def test_a_version_holds_from_its_time_to_that_of_the_next() -> None:
    found, starts = published(), NOW_MS + NOTICE_MS_MIN
    found.fold(1, NOW_MS, publication(NEW, after=0, from_ms=starts))
    timeline = CatalogueTimeline(found.versions)
    assert [timeline.in_force(moment).number for moment in (0, starts - 1, starts, FOR_EVER_MS)] == [1, 1, 2, 2]
    assert [timeline.end_of(version) for version in timeline.versions] == [starts, FOR_EVER_MS]


def test_who_takes_events_knows_what_is_in_force_by_any_broker_s_clock_and_what_is_to_come() -> None:
    found, starts = published(), NOW_MS + NOTICE_MS_MIN
    found.fold(1, NOW_MS, publication(NEW, after=0, from_ms=starts))
    timeline = CatalogueTimeline(found.versions)
    serving = [[version.number for version in timeline.serving(moment)] for moment in (NOW_MS, starts + MINUTE_MS, starts + CLOCKS_APART_MS)]
    assert serving == [[1, 2], [1, 2], [2]]


def test_while_one_version_follows_the_other_an_event_is_refused_only_if_both_refuse_it() -> None:
    before = Catalogue([Meter("tokens", ("a",)), Meter("rest", ("a",), less=("c",)), Meter("new", ("d",), less=("c",))], ["free"])
    after = Catalogue([Meter("tokens", ("b",)), Meter("new", ("d",), less=("c",))])
    joined = taken_by_any([CatalogueVersion(number, 0, 0, 0, each) for number, each in enumerate((before, after), 1)]).of(())
    assert joined.known_fields == {"a", "b", "c", "d", "free"}
    assert joined.below_zero([("a", 1), ("c", 2), ("d", 2)]) is None
    refusing = joined.below_zero([("d", 1), ("c", 2)])
    assert refusing is not None
    assert refusing.event_name == "new"
    assert taken_by_any([CatalogueVersion(1, 0, 0, 0, before)]) is before
