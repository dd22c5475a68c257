"""Events of many requests spread together: each comes out once, in its order, and each request knows which batch has which of its events."""

import asyncio
from collections import defaultdict
from contextlib import closing

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from taximeter_emitter.buffer.batching import Batcher, EventColumns, PartitionBatch
from taximeter_emitter.buffer.partition_cache import PartitionCache
from taximeter_emitter.wire.batch import NO_ID, Batch

from ingest.publishing.pending_requests import PendingRequest
from ingest.publishing.staging import Staging
from metering.records.batch_decoding import decode_batch

PARTITIONS = 3


FIELDS = (("a",), ("a", "b"), ("c",))
parts = st.tuples(st.sampled_from(FIELDS), st.lists(st.integers(0, 5), min_size=1, max_size=9))
requests = st.lists(st.lists(parts, min_size=1, max_size=2, unique_by=lambda part: part[0]), min_size=1, max_size=8)
Rounds = list[list[list[tuple[tuple[str, ...], list[int]]]]]


def columns(fields: tuple[str, ...], customers: list[int], first: int) -> EventColumns:
    """Events whose time is their number, from `first` on."""
    times = list(range(first, first + len(customers)))
    names = [f"cus_{customer}" for customer in customers]
    return EventColumns(fields, names, [()] * len(times), times, [False] * len(times), [NO_ID] * len(times), [times for _ in fields], 100)


def numbers_of(batch: Batch) -> list[int]:
    return [batch.base_time_ms + offset for offset in batch.time]


@settings(max_examples=100)
@given(st.lists(requests, min_size=1, max_size=3), st.integers(1, 12), st.data())
def test_each_request_knows_the_fate_of_each_of_its_events(rounds: Rounds, events_max: int, data: st.DataObject) -> None:
    with closing(asyncio.new_event_loop()) as loop:
        check(loop, rounds, events_max, data)


def check(loop: asyncio.AbstractEventLoop, rounds: Rounds, events_max: int, data: st.DataObject) -> None:
    batcher, staging, partition_cache = Batcher("e", events_max=events_max), Staging(), PartitionCache(PARTITIONS)
    numbers: dict[PendingRequest, list[list[int]]] = {}
    expected: defaultdict[tuple[int, tuple[str, ...]], list[int]] = defaultdict(list)
    waiting: defaultdict[PartitionBatch, list[PendingRequest]] = defaultdict(list)
    number = 1
    for staged in rounds:
        for request in staged:
            pending, given_parts = PendingRequest(loop.create_future()), []
            numbers[pending] = []
            for fields, customers in request:
                given_parts.append(columns(fields, customers, number))
                numbers[pending].append(list(range(number, number + len(customers))))
                for customer in customers:
                    expected[partition_cache.of(f"cus_{customer}"), fields].append(number)
                    number += 1
            staging.add(pending, given_parts)
            assert not pending.all_acknowledged
            assert [pending.unknown(place, len(part)) for place, part in enumerate(numbers[pending])] == [
                list(range(len(p))) for p in numbers[pending]
            ]
        for batch, waiters in staging.spread(batcher, partition_cache).items():
            waiting[batch] += waiters
        assert staging.count == 0
    batches = batcher.take_all()
    assert set(batches) == set(waiting)
    contents = {batch: decode_batch(orjson.loads(batch.value)) for batch in batches}
    failed = {batch for batch in batches if data.draw(st.booleans())}
    lost = {event for batch in failed for event in numbers_of(contents[batch])}
    for batch in batches:
        for pending in waiting[batch]:
            pending.resolve(batch, acknowledged=batch not in failed)
    for pending, own in numbers.items():
        assert pending.settled.done()
        assert [[part[place] for place in pending.unknown(at, len(part))] for at, part in enumerate(own)] == [
            [event for event in part if event in lost] for part in own
        ]
        assert pending.all_acknowledged == lost.isdisjoint(event for part in own for event in part)
        # It waits for the batches that hold its events, and for no others.
        holding = {batch for batch, content in contents.items() if not {event for part in own for event in part}.isdisjoint(numbers_of(content))}
        assert holding == {batch for batch, waiters in waiting.items() if pending in waiters}
    fields_of = {event: key for key, events in expected.items() for event in events}
    found: defaultdict[tuple[int, tuple[str, ...]], list[int]] = defaultdict(list)
    for batch in batches:
        for event in numbers_of(contents[batch]):
            found[batch.partition, fields_of[event][1]].append(event)
    assert found == expected
