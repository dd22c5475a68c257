"""Give unplaced events their partitions and numbers, once Kafka has said how many partitions there are. Pure.

They get the numbers of an emitter of their own. The process that reaches Kafka first does this, and it may be another one than the process
that emitted them, which may have died at any moment. The numbers are kept in the same transaction as the batches that have them.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from taximeter_emitter.buffer.batching import Batcher, EventColumns
from taximeter_emitter.spool.encoded_batch import EncodedBatch
from taximeter_emitter.wire.partitioner import partition_of


class Placement(NamedTuple):
    """Batches, in the order of their numbers, and the number that comes next in each partition."""

    batches: list[EncodedBatch]
    next_seq: dict[int, int]


def place(parts: Iterable[EventColumns], *, emitter: str, partitions: int, next_seq: Mapping[int, int], is_last: bool) -> Placement:
    """Batches of all these events. `is_last`: none will follow, so each partition gets its final number."""
    batcher = Batcher(emitter)
    batcher.next_seq.update(next_seq)
    for columns in parts:
        for partition, part in spread(columns, partitions):
            batcher.add_columns(partition, part)
    batches = [EncodedBatch(batch.partition, batch.first_seq, batch.count, batch.value) for batch in batcher.take_all()]
    if is_last:
        batches += [EncodedBatch(partition, seq, 0, batcher.heartbeat(partition, final=True)) for partition, seq in batcher.next_seq.items()]
    return Placement(batches, batcher.next_seq)


def spread(columns: EventColumns, partitions: int) -> Iterable[tuple[int, EventColumns]]:
    """The events of each partition that has any."""
    places: defaultdict[int, list[int]] = defaultdict(list)
    for place, customer in enumerate(columns.customers):
        places[partition_of(customer, partitions)].append(place)
    return [(partition, columns.at(found)) for partition, found in places.items()]
