"""Whatever bytes a broker sends are records, or a named reason why they are none; what the library reads is read alike."""

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from metering.kafka.batches.plain_batches import BatchUnreadable, PlainRecord, batches, header_of, records_of
from tests.support import wire_strategies
from tests.support.wire_records import WireBatch

BATCHES = wire_strategies.batches(wire_strategies.FIELDS)


def read(data: bytes) -> list[PlainRecord]:
    return [record for batch in batches(data) for record in records_of(batch, header_of(batch))]


@given(st.lists(BATCHES, min_size=1, max_size=3))
def test_every_record_of_a_whole_batch_is_read_as_it_was_written(written: list[WireBatch]) -> None:
    found = read(b"".join(batch.encoded() for batch in written))
    assert [(record.key, record.value) for record in found] == [(record.key, record.value) for batch in written for record in batch.records]
    for record, told in zip(found, (record for batch in written for record in batch.records), strict=True):
        assert [value for _, value in record.headers] == [value for _, value in told.headers]
        assert [name for name, _ in record.headers] == [name.decode("utf-8", "backslashreplace") for name, _ in told.headers]


@given(BATCHES, st.data())
def test_damage_is_found_or_changes_nothing_that_is_checked(written: WireBatch, data: st.DataObject) -> None:
    whole = bytearray(written.encoded())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = read(bytes(whole))
    except BatchUnreadable:
        return
    # The offset, the length's sign or the leader's epoch are not under the checksum.
    assert [record.value for record in found] == [record.value for record in written.records][: len(found)]


@given(BATCHES, st.binary(max_size=40))
def test_any_bytes_in_place_of_records_are_a_named_reason(written: WireBatch, inside: bytes) -> None:
    with suppress(BatchUnreadable):
        read(WireBatch(written.records, written.attributes).around(inside))


@given(st.binary(max_size=200))
def test_any_bytes_at_all_are_a_named_reason(data: bytes) -> None:
    with suppress(BatchUnreadable):
        read(data)
