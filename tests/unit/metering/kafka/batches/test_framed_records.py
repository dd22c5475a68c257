"""Framed records give out what they were made of, in whole and in part; and what is wanted of many without making one."""

import pytest

from metering.kafka.batches.framed_records import FramedRecords
from metering.records.record import Record
from tests.support.metering_framed_records import framed

RECORDS = [
    Record(7, 1_000, b"key", b"value", ()),
    Record(8, 1_001, None, None, ()),
    Record(10, 999, b"", b"", (("one", b"1"), ("zw\u00f6lf", None))),
    Record(11, 1_002, None, b"another", (("", b""),)),
]


@pytest.mark.parametrize("part", [slice(None), slice(1, 3), slice(2, None), slice(3, 3), slice(0, 1)])
def test_records_and_each_part_of_them_are_what_they_were_made_of(part: slice) -> None:
    found = framed(RECORDS)[part]
    assert list(found) == [found[index] for index in range(len(found))] == RECORDS[part]
    assert found.offsets.tolist() == [record.offset for record in RECORDS[part]]
    assert found.timestamps.tolist() == [record.timestamp for record in RECORDS[part]]
    assert found.value_bytes == sum(len(record.value or b"") for record in RECORDS[part])


def test_a_part_is_a_view_and_the_last_record_is_at_minus_one() -> None:
    whole = framed(RECORDS)
    part = whole[1:]
    assert part.data is whole.data
    assert part.offsets.base is whole.offsets
    assert whole[-1] == part[-1] == RECORDS[-1]
    with pytest.raises(IndexError):
        whole[4]


@pytest.mark.parametrize(("bytes_max", "count"), [(0, 0), (4, 0), (5, 3), (11, 3), (12, 4), (100, 4)])
def test_how_many_are_within_so_many_bytes(bytes_max: int, count: int) -> None:
    assert framed(RECORDS).within(bytes_max) == count


def test_parts_of_the_same_bytes_are_joined_without_a_copy() -> None:
    whole = framed(RECORDS)
    again = whole[:1].joined_with([whole[1:3], whole[3:]])
    assert again.data is whole.data
    assert list(again) == RECORDS


def test_parts_of_different_bytes_are_joined_without_what_was_before_them() -> None:
    one, other = framed(RECORDS), framed([Record(12, 5, b"k", b"v", (("h", b"i"),)), Record(13, 6, None, None, ())])
    again = one[2:].joined_with([other, other[2:]])
    assert isinstance(again, FramedRecords)
    assert list(again) == [*RECORDS[2:], *other]
    assert b"value" not in again.data
    assert list(one) == RECORDS
