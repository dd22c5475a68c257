"""Events of many requests, gathered for a moment and then spread over the partitions together. Pure.

Spreading is work for each partition that is touched, whether it gets one event or a hundred: done for ten requests at once, it is done once.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain

from taximeter_emitter.buffer.batching import Batcher, EventColumns, PartitionBatch
from taximeter_emitter.buffer.partition_cache import PartitionCache

from ingest.publishing.pending_requests import Placed, Ticket

_Part = tuple[Ticket, int, EventColumns]
"""Who waits for it, which part of the request it is, and its events."""


class Staging:
    """The parts of requests that are in no batch yet. `count` is how many events they have."""

    def __init__(self) -> None:
        self.count = 0
        self._parts: dict[tuple[str, ...], list[_Part]] = {}
        self._tickets: list[Ticket] = []

    def add(self, ticket: Ticket, parts: Iterable[EventColumns]) -> None:
        """Take a request in."""
        self._tickets.append(ticket)
        for number, events in enumerate(parts):
            self.count += len(events.customers)
            self._parts.setdefault(events.fields, []).append((ticket, number, events))

    def spread(self, batcher: Batcher, partition_cache: PartitionCache) -> dict[PartitionBatch, list[Ticket]]:
        """Put everything into batches, in the order in which it came; who waits for which batch."""
        tickets, self._tickets = self._tickets, []
        staged, self._parts, self.count = self._parts, {}, 0
        batches: dict[Ticket, set[PartitionBatch]] = {ticket: set() for ticket in tickets}
        for parts in staged.values():
            _spread_alike(parts, batches, batcher, partition_cache)
        waiting: defaultdict[PartitionBatch, list[Ticket]] = defaultdict(list)
        for ticket, own in batches.items():
            ticket.start(own)
            for batch in own:
                waiting[batch].append(ticket)
        return waiting


def _spread_alike(parts: Sequence[_Part], batches: dict[Ticket, set[PartitionBatch]], batcher: Batcher, partition_cache: PartitionCache) -> None:
    """Parts with the same usage fields; adds to each ticket's batches."""
    events = EventColumns.joined([part for _, _, part in parts])
    partition_of_each = list(map(partition_cache.of, events.customers))
    by_partition: defaultdict[int, list[int]] = defaultdict(list)
    for place, partition in enumerate(partition_of_each):
        by_partition[partition].append(place)
    in_partition: dict[int, list[Placed]] = {}
    for partition, places in by_partition.items():
        chosen = events if len(places) == len(partition_of_each) else events.at(places)
        in_partition[partition] = list(_placed(batcher.add_columns(partition, chosen), places))
    placed = list(chain.from_iterable(in_partition.values()))
    first = 0
    for ticket, number, part in parts:
        end = first + len(part.customers)
        ticket.share(number, first, placed)
        for partition in set(partition_of_each[first:end]):
            batches[ticket].update(_holding(in_partition[partition], first, end))
        first = end


def _placed(counts: Sequence[tuple[PartitionBatch, int]], places: Sequence[int]) -> Iterable[Placed]:
    start = 0
    for batch, count in counts:
        yield Placed(batch, places[start : start + count] if len(counts) > 1 else places)
        start += count


def _holding(placed: Sequence[Placed], first: int, end: int) -> Iterable[PartitionBatch]:
    """The batches of a partition that hold events of places from `first` to before `end`, of which there are some."""
    if len(placed) == 1:
        return (placed[0].batch,)
    found = []
    for batch, places in placed:
        at = bisect_left(places, first)
        if at < len(places) and places[at] < end:
            found.append(batch)
    return found
