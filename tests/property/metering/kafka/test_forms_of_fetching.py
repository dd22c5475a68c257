"""Both forms of fetching give the same of whatever logs there are, and stop at the same damage for the same reason; what they call holes is none."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from metering.kafka.batches.framed_response import AsParts
from metering.kafka.batches.plain_batches import BatchUnreadable
from metering.kafka.batches.record_batches import ExaminedPart, Holds, spans_of
from metering.kafka.batches.responses import AS_RECORDS, GivenForm
from tests.support.kafka_log_batches import ABORT, COMMIT, compacted, marker
from tests.support.metering_framers import FRAMERS
from tests.support.wire_records import WireBatch, WireRecord

PLACE = TopicPartition("usage.events", 3)
TRANSACTIONAL, LOG_APPEND_TIME = 0x10, 0x08

texts = st.none() | st.binary(max_size=5)
wire_records = st.builds(
    WireRecord,
    key=texts,
    value=texts,
    headers=st.lists(st.tuples(st.binary(max_size=3), texts), max_size=2),
    attributes=st.sampled_from([0, 0, 0, 0x80, 1]),
    timestamp_delta=st.integers(-3, 300),
    padding=st.sampled_from([0, 0, 0, 1, 3]),
)
batches_of_records = st.builds(
    WireBatch,
    records=st.lists(wire_records, min_size=1, max_size=4),
    attributes=st.sampled_from([0, 0, 0, 1, 2, 3, 4]).flatmap(lambda codec: st.sampled_from([codec, codec | TRANSACTIONAL, codec | LOG_APPEND_TIME])),
    first_timestamp=st.integers(0, 1_000),
    max_timestamp=st.integers(1_000, 2_000),
    producer=st.sampled_from([(7, 0, 0), (8, 0, 0)]),
)
steps = st.lists(
    st.one_of(
        batches_of_records,
        batches_of_records,
        st.tuples(st.just("end"), st.sampled_from([ABORT, COMMIT]), st.sampled_from([7, 8])),
        st.tuples(st.just("compacted"), st.sets(st.integers(0, 4)), st.just(5)),
        st.tuples(st.just("gone"), st.integers(1, 3), st.just(0)),
        st.tuples(st.just("damaged"), st.integers(0, 10_000), st.integers(1, 255)),
        st.tuples(st.just("inside"), st.binary(max_size=40), st.just(1)),
    ),
    min_size=1,
    max_size=9,
)


@dataclass
class StoredPartition:
    """Batches as a broker has them, and the transactions that were aborted."""

    batches: list[bytes]
    ends: list[int]
    aborted: list[tuple[int, int]]

    def fetch(self, offset: int, bytes_max: int) -> bytes:
        found = [data for data, end in zip(self.batches, self.ends, strict=True) if end > offset]
        return b"".join(found)[: max(bytes_max, len(found[0]))] if found else b""


def stored_partition(wanted: Sequence[Any]) -> StoredPartition:
    partition, offset, began = StoredPartition([], [], []), 0, dict[int, int]()

    def append(data: bytes, count: int) -> None:
        nonlocal offset
        offset += count
        partition.batches.append(data)
        partition.ends.append(offset)

    for step in wanted:
        if isinstance(step, WireBatch):
            if step.attributes & TRANSACTIONAL:
                began.setdefault(step.producer[0], offset)
            append(replace(step, base_offset=offset).encoded(), len(step.records))
            continue
        what, one, other = step
        if what == "end":
            first = began.pop(other, None)
            if one == ABORT and first is not None:
                partition.aborted.append((other, first))
            append(marker(offset, one, producer=other), 1)
        elif what == "compacted":
            append(compacted(offset, other, left=sorted(one)), other)
        elif what == "gone":
            offset += one
        elif what == "inside":
            append(WireBatch([WireRecord()], base_offset=offset).around(one), 1)
        elif partition.batches:
            spoiled = bytearray(partition.batches[-1])
            spoiled[one % len(spoiled)] ^= other
            if int.from_bytes(spoiled[:8], "big") == int.from_bytes(partition.batches[-1][:8], "big"):  # a broker knows where a batch begins
                partition.batches[-1] = bytes(spoiled)
    return partition


@dataclass
class Read:
    """All that a client gets to see."""

    records: list[tuple[Any, ...]]
    holes: list[tuple[int, int]]
    position: int
    error: str


def read(form: GivenForm, partition: StoredPartition, start: int, bytes_max: int, items_max: int) -> Read:
    """As the library's fetcher goes on: item by item, and by the position after them."""
    found, doubtful = Read([], [], start, ""), False
    for _ in range(200):
        data = partition.fetch(found.position, bytes_max)
        if not data:
            return found
        try:
            response = form.response(data, partition.aborted, found.position, doubtful=doubtful)
        except BatchUnreadable as error:
            found.error = str(error)
            return found
        for taken, item in enumerate(response.items(), 1):
            for part in form.parts([item]):
                found.records += [(each.offset, each.timestamp, each.key, each.value, tuple(each.headers)) for each in part.records]
                found.holes += part.holes
            if taken == items_max:
                break  # a seek, or another owner
        found.position, doubtful = response.next_offset, response.is_damaged
    raise AssertionError("it does not end")


@pytest.mark.parametrize("framer", FRAMERS)
@given(steps, st.integers(0, 6), st.sampled_from([1, 100, 300, 10_000]), st.integers(1, 3))
def test_parts_are_the_same_records_up_to_the_same_damage(framer: str, wanted: list[Any], start: int, bytes_max: int, items_max: int) -> None:
    partition = stored_partition(wanted)
    records = read(AS_RECORDS, partition, start, bytes_max, 10_000)
    parts = read(AsParts(FRAMERS[framer]), partition, start, bytes_max, items_max)
    assert parts.records == records.records
    assert (parts.position, parts.error) == (records.position, records.error)
    offsets = [offset for offset, *_ in parts.records]
    assert offsets == sorted(set(offsets))
    # What is called a hole is what is proved to be one by other code; together with the records it is all of a log from which nothing was taken.
    whole = [data for data, end in zip(partition.batches, partition.ends, strict=True) if start < end <= parts.position]
    examined = ExaminedPart(start, spans_of(b"".join(whole), partition.aborted))
    holes = set(chain.from_iterable(range(*hole) for hole in parts.holes))
    assert {offset for offset in range(start, parts.position) if examined.at(offset)[0] is Holds.NOTHING} <= holes
    assert all(examined.at(offset)[0] is Holds.NOTHING for offset in holes)
