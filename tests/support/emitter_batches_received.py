"""What a reader of usage.events makes of the records of one test: an independent account, by sequence numbers."""

from collections import defaultdict
from collections.abc import Iterable

import orjson
from taximeter_emitter.wire.batch import Batch

from metering.records.batch_decoding import decode_batch


def batches_of(log: Iterable[tuple[int, bytes]]) -> list[Batch]:
    """All records, in order, each checked to be of the partition it is in."""
    found = []
    for partition, value in log:
        batch = decode_batch(orjson.loads(value))
        assert batch.partition == partition
        found.append(batch)
    return found


def quantities(batches: Iterable[Batch], field: str = "n") -> list[int]:
    """The quantities of all distinct events. Repetitions must be byte for byte the same batch."""
    seen: dict[tuple[str, int, int], Batch] = {}
    for batch in batches:
        if batch.count:
            key = (batch.emitter, batch.partition, batch.first_seq)
            assert seen.setdefault(key, batch) == batch, "the same numbers were used for other events"
    return sorted(quantity for batch in seen.values() for quantity in batch.usage.get(field, ()))


def gaps(batches: Iterable[Batch]) -> dict[tuple[str, int], list[tuple[int, int]]]:
    """Numbers that are missing, per emitter and partition, as far as the final heartbeat (or the last batch) says."""
    ranges: dict[tuple[str, int], set[tuple[int, int]]] = defaultdict(set)
    ends: dict[tuple[str, int], int] = {}
    for batch in batches:
        key = (batch.emitter, batch.partition)
        ends[key] = max(ends.get(key, 0), batch.first_seq + batch.count)
        if batch.count:
            ranges[key].add((batch.first_seq, batch.first_seq + batch.count))
    missing: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for key, end in ends.items():
        position = 0
        for first, after in sorted(ranges[key]):
            if first > position:
                missing.setdefault(key, []).append((position, first - 1))
            position = max(position, after)
        if position < end:
            missing.setdefault(key, []).append((position, end - 1))
    return missing


def finals(batches: Iterable[Batch]) -> dict[tuple[str, int], int]:
    """What the final heartbeats say: events numbered, per emitter and partition."""
    return {(batch.emitter, batch.partition): batch.first_seq for batch in batches if batch.final}
