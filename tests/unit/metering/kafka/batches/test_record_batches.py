"""What the offsets of stored batches hold, from their headers alone."""

import pytest

from metering.kafka.batches.record_batches import ExaminedPart, Holds, spans_of
from metering.records.fail_closed import RecordCorrupt, RecordUnreadable
from tests.support.kafka_log_batches import ABORT, COMMIT, compacted, marker, stored


def held(data: bytes, aborted: list[tuple[int, int]] | None = None) -> list[tuple[int, int, Holds]]:
    return [(span.start, span.end, span.holds) for span in spans_of(data, aborted or [])]


def test_records_and_markers_are_told_apart() -> None:
    data = stored(5, 3) + stored(8, 1, producer=7, transactional=True) + marker(9, COMMIT, producer=7) + stored(10, 2, compression=1)
    assert held(data) == [(5, 8, Holds.RECORDS), (8, 9, Holds.RECORDS), (9, 10, Holds.NOTHING), (10, 12, Holds.RECORDS)]


def test_data_of_an_aborted_transaction_holds_nothing_up_to_its_marker() -> None:
    data = (
        stored(0, 2, producer=7, transactional=True)
        + stored(2, 1, producer=8, transactional=True)
        + stored(3, 1)
        + marker(4, ABORT, producer=7)
        + stored(5, 1, producer=7, transactional=True)
        + marker(6, COMMIT, producer=8)
        + marker(7, COMMIT, producer=7)
    )
    nothing, records = Holds.NOTHING, Holds.RECORDS
    assert [holds for _, _, holds in held(data, [(7, 0)])] == [nothing, records, records, nothing, records, nothing, nothing]


def test_an_aborted_transaction_that_began_before_the_part_holds_nothing_either() -> None:
    assert held(stored(6, 2, producer=7, transactional=True), [(7, 3)]) == [(6, 8, Holds.NOTHING)]


def test_a_later_aborted_transaction_of_the_same_producer_changes_nothing_before_it() -> None:
    data = stored(0, 1, producer=7, transactional=True) + marker(1, COMMIT, producer=7) + stored(2, 1, producer=7, transactional=True)
    assert [holds for _, _, holds in held(data, [(7, 2)])] == [Holds.RECORDS, Holds.NOTHING, Holds.NOTHING]


def test_of_a_batch_that_compaction_took_records_from_those_are_seen_that_are_left() -> None:
    data = stored(0, 2) + compacted(4, 9, left=(1, 2, 7)) + stored(13, 1)
    assert held(data) == [
        (0, 2, Holds.RECORDS),
        (5, 6, Holds.RECORDS),
        (6, 7, Holds.RECORDS),
        (11, 12, Holds.RECORDS),
        (13, 14, Holds.RECORDS),
    ]
    part = ExaminedPart(0, spans_of(data, []))
    assert [part.at(offset) for offset in (3, 5, 8, 12)] == [(None, 5), (Holds.RECORDS, 7), (None, 11), (None, 13)]


@pytest.mark.parametrize("cut", [1, 30, 61, 80])
def test_an_incomplete_batch_at_the_end_is_left_out(cut: int) -> None:
    assert held(stored(0, 2) + stored(2, 3)[:cut]) == [(0, 2, Holds.RECORDS)]


def test_another_format_is_refused_by_name() -> None:
    data = bytearray(stored(0, 1))
    data[16] = 1
    with pytest.raises(RecordCorrupt, match="message format 1"):
        held(bytes(data))


def test_a_part_says_of_each_offset_what_it_holds_and_how_far() -> None:
    data = stored(5, 3) + stored(8, 1) + marker(9, COMMIT, producer=7) + marker(10, COMMIT, producer=8) + stored(15, 1)
    part = ExaminedPart(5, spans_of(data, []))
    assert (part.start, part.end) == (5, 16)
    assert part.at(6) == part.at(8) == (Holds.RECORDS, 9)
    assert part.at(9) == part.at(10) == (Holds.NOTHING, 11)
    assert part.at(12) == (None, 15)
    assert ExaminedPart(7, iter(())).at(7) == (None, 7)


@pytest.mark.parametrize("place", [17, 61, 68, -1])
def test_a_damaged_marker_is_named(place: int) -> None:
    data = bytearray(marker(9, COMMIT, producer=7))
    data[place] ^= 0xFF
    with pytest.raises(RecordUnreadable, match="the marker at offset 9"):
        list(spans_of(bytes(data), []))
