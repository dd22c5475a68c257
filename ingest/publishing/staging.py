"""Gathers the events of many requests for a moment, then spreads them over the partitions together. Pure.

Spreading costs the same for each partition, whether it gets one event or a hundred. Ten requests that are spread together cost as much as one.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from itertools import chain

from taximeter_emitter.buffer.batching import Batcher, EventColumns, PartitionBatch
from taximeter_emitter.buffer.partition_cache import PartitionCache

from ingest.publishing.pending_requests import EventsInBatch, PendingRequest

_Part = tuple[PendingRequest, int, EventColumns]
"""The request, the number of the part in it, and the events of the part."""


class Staging:
    """Parts of requests that are in no batch yet. `count` is the number of their events."""

    def __init__(self) -> None:
        self.count = 0
        self._parts: dict[tuple[str, ...], list[_Part]] = {}
        self._requests: list[PendingRequest] = []

    def add(self, request: PendingRequest, parts: Iterable[EventColumns]) -> None:
        """Add the parts of a request."""
        self._requests.append(request)
        for number, events in enumerate(parts):
            self.count += len(events.customers)
            self._parts.setdefault(events.fields, []).append((request, number, events))

    def spread(self, batcher: Batcher, partition_cache: PartitionCache, refused: Collection[int] = ()) -> dict[PartitionBatch, list[PendingRequest]]:
        """Put all events into batches, in the order of their arrival. Returns the requests that wait for each batch.

        Events of `refused` partitions go into batches that are not the batcher's, and are never closed.
        """
        requests, self._requests = self._requests, []
        staged, self._parts, self.count = self._parts, {}, 0
        batches: dict[PendingRequest, set[PartitionBatch]] = {request: set() for request in requests}
        for parts in staged.values():
            _spread_alike(parts, batches, batcher, partition_cache, refused)
        waiting: defaultdict[PartitionBatch, list[PendingRequest]] = defaultdict(list)
        for request, own in batches.items():
            request.start(own)
            for batch in own:
                waiting[batch].append(request)
        return waiting


def _spread_alike(
    parts: Sequence[_Part],
    batches: dict[PendingRequest, set[PartitionBatch]],
    batcher: Batcher,
    partition_cache: PartitionCache,
    refused: Collection[int],
) -> None:
    """Spread parts with the same usage fields; adds to the batches of each request."""
    events = EventColumns.joined([part for _, _, part in parts])
    partition_of_each = list(map(partition_cache.of, events.customers))
    by_partition: defaultdict[int, list[int]] = defaultdict(list)
    for place, partition in enumerate(partition_of_each):
        by_partition[partition].append(place)
    in_partition: dict[int, list[EventsInBatch]] = {}
    for partition, places in by_partition.items():
        chosen = events if len(places) == len(partition_of_each) else events.at(places)
        added = [(PartitionBatch(partition), len(places))] if partition in refused else batcher.add_columns(partition, chosen)
        in_partition[partition] = list(_placed(added, places))
    placed = list(chain.from_iterable(in_partition.values()))
    first = 0
    for request, number, part in parts:
        end = first + len(part.customers)
        request.note_part(number, first, placed)
        for partition in set(partition_of_each[first:end]):
            batches[request].update(_holding(in_partition[partition], first, end))
        first = end


def _placed(counts: Sequence[tuple[PartitionBatch, int]], places: Sequence[int]) -> Iterable[EventsInBatch]:
    start = 0
    for batch, count in counts:
        yield EventsInBatch(batch, places[start : start + count] if len(counts) > 1 else places)
        start += count


def _holding(placed: Sequence[EventsInBatch], first: int, end: int) -> Iterable[PartitionBatch]:
    """The batches of a partition with events of places from `first` up to, but not including, `end`. There is at least one."""
    if len(placed) == 1:
        return (placed[0].batch,)
    found = []
    for batch, places in placed:
        at = bisect_left(places, first)
        if at < len(places) and places[at] < end:
            found.append(batch)
    return found
